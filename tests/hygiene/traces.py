"""Looks for a secret in everything that a flow leaves behind, in every dress that it may wear."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

import flask_invitations
from flask_invitations import Message
from tests.hosts import Host


def dresses(secret: str) -> set[str]:
    """``secret``, percent-encoded, in base64 (wherever in a longer text it begins) and in hexadecimal."""
    raw = secret.encode()
    found = {secret, secret[::-1], "".join(f"%{byte:02x}" for byte in raw), raw.hex()}
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
        inner = coded[-(-shift * 8 // 6) : -1].decode()  # less what its neighbours share in
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    with suppress(binascii.Error):
        found.add(base64.b64decode(secret + "=" * (-len(secret) % 4), "-_", validate=True).hex())
    return {each.lower() for each in found}


class Traces:
    """Every text that somebody else may read, by where it was found."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []

    def add(self, where: str, thing: Any) -> None:
        self.texts.append((where, thing if isinstance(thing, str) else f"{thing!r}\n{thing}"))

    def of(self, secret: str) -> list[str]:
        """Where ``secret`` was found."""
        looks = dresses(secret)
        return [where for where, text in self.texts if any(each in text.lower() for each in looks)]

    def response(self, where: str, answer: Any) -> None:
        """Status, headers and body, and what is in the cookies."""
        self.add(where, f"{answer.status}\n{answer.headers}\n{answer.get_data(as_text=True)}")

    def database(self, host: Host, but: tuple[str, ...] = ()) -> None:
        """Every cell of every table, and the whole file where there is one; without the columns ``but``."""
        metadata = host.User.metadata
        with host.engine.connect() as connection:
            for table in metadata.sorted_tables:
                for row in connection.execute(sa.select(table)).mappings():
                    cells = {name: value for name, value in row.items() if name not in but}
                    self.add(f"table {table.name}", json.dumps(cells, default=str))
        file = make_url(host.app.config["SQLALCHEMY_DATABASE_URI"]).database or ""
        if not but and host.engine.dialect.name == "sqlite":
            self.add("the database file", Path(file).read_bytes().decode("latin-1"))

    def values_on_the_stack(self, where: str, frame: FrameType | None) -> None:
        """What a crash reporter would show of our own objects in the calls that led here."""
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith("flask_invitations"):
                for name, value in frame.f_locals.items():
                    if dataclasses.is_dataclass(value) and type(value).__module__.startswith("flask_invitations"):
                        self.add(f"{where}: {frame.f_code.co_name}, {name}", value)
            frame = frame.f_back


class Listener(logging.Handler):
    """Keeps every log line, rendered with its traceback."""

    def __init__(self, traces: Traces) -> None:
        super().__init__(logging.DEBUG)
        self._traces = traces
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._traces.add(f"log of {record.name}", f"{self.format(record)} {record.args!r}")


@contextmanager
def everything_logged(traces: Traces) -> Iterator[None]:
    """Every logger there is, at DEBUG: of SQLAlchemy's that is each statement, its parameters and its rows."""
    listener, root = Listener(traces), logging.getLogger()
    loggers = [root, *(each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger))]
    before = [(each, each.level, each.disabled, each.propagate) for each in loggers]
    root.addHandler(listener)
    for each in loggers:
        each.disabled, each.propagate = False, True
        each.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(listener)
        for each, level, disabled, propagate in before:
            each.setLevel(level)
            each.disabled, each.propagate = disabled, propagate


@contextmanager
def signals_heard(host: Host, traces: Traces) -> Iterator[None]:
    """Every signal that the app sends, with all that it carries."""

    def hear(sender: Any, **payload: Any) -> None:
        user = payload.pop("user", None)
        traces.add("signal", payload)
        traces.add("signal's user", {} if user is None else vars(user))
        raise RuntimeError("a receiver that fails is logged")

    names = [name for name in flask_invitations.__all__ if name.startswith("invitation_")]
    signals = [getattr(flask_invitations, name) for name in names]
    for each in signals:
        each.connect(hear, sender=host.app)
    try:
        yield
    finally:
        for each in signals:
            each.disconnect(hear, sender=host.app)


class TalkativeMailer:
    """Keeps the mails; when told to fail, it does so with the whole mail in its error, as some clients do."""

    def __init__(self, traces: Traces) -> None:
        self.messages: list[Message] = []
        self.failing = False
        self._traces = traces

    def __call__(self, message: Message) -> None:
        self._traces.add("the message", message)
        self._traces.values_on_the_stack("mailer", sys._getframe())
        self.messages.append(message)
        if self.failing:
            raise ConnectionError(f"could not send {message.text} {message.accept_url}")
