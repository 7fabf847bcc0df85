"""A database that is away for a while, and then there again: whichever it is."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

from sqlalchemy.engine import make_url

from tests.hosts import Host, build
from tests.races.proxy import Proxy


class Database:
    """One that can be sent away.

    :param url: by which the host has to come, so that it can.
    """

    def __init__(self, url: str, proxy: Proxy | None = None) -> None:
        self.url, self._proxy = url, proxy

    def leave_for(self, seconds: float) -> None:
        """Be away for so long from now on."""
        if self._proxy is not None:
            self._proxy.leave_for(seconds)
            return
        gone = threading.Event()
        threading.Thread(target=self._lock, args=(seconds, gone), daemon=True).start()
        assert gone.wait(5)

    def _lock(self, seconds: float, gone: threading.Event) -> None:
        """SQLite has no server to lose: here somebody else has the file for themselves."""
        with closing(sqlite3.connect(make_url(self.url).database or "", timeout=5)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            gone.set()
            time.sleep(seconds)
            connection.rollback()


@contextmanager
def reached_by(url: str) -> Iterator[Database]:
    """The database at ``url``, so that it can be sent away."""
    if url.startswith("sqlite"):
        yield Database(url)
        return
    with Proxy(url) as proxy:
        yield Database(proxy.url, proxy)


@contextmanager
def fragile(url: str, **options: Any) -> Iterator[tuple[Host, Database]]:
    """A host whose emails a worker sends, on a database that can be sent away."""
    config = {"INVITATIONS_DELIVERY": "queue", **options.pop("config", {})}
    if url.startswith("sqlite"):
        config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"timeout": 0.02}}  # it does not wait for a lock
    with reached_by(url) as database, build(database.url, config=config, **options) as host:
        yield host, database


def templates(render: Any) -> Any:
    """Every template of an app, rendered by ``render``, which is told its name and its words."""
    return lambda name: SimpleNamespace(render=partial(render, name))
