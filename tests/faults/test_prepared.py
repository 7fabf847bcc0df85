"""R23: what psycopg has prepared stays prepared while a worker works, unless a pooler may take it away."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress

import pytest

from tests.hosts import Host, build
from tests.queued import deliver, waiting
from tests.races.proxy import Proxy

pytestmark = pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
QUEUE = {"INVITATIONS_DELIVERY": "queue"}
#: The message by which a server tells a new connection its process and a secret to cancel statements with.
KEY = re.compile(rb"(K\0\0\0\x0c)....", re.DOTALL)


class Pooler(Proxy):
    """Gives each connection a key of its own, as poolers do: one session of the server serves many of them."""

    @staticmethod
    def _downwards(client: socket.socket, server: socket.socket, _swallow: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(KEY.sub(lambda found: found[1] + b"\0\0\0\1", data))


def prepared(host: Host) -> dict[str, int]:
    """With which words the statements begin that the driver has prepared on the one idle connection, and how often each
    of them was run by a plan from before, at least."""
    statement = "SELECT statement, generic_plans FROM pg_prepared_statements ORDER BY generic_plans DESC"
    with host.engine.connect() as connection:
        return {text.split()[0]: count for text, count in connection.exec_driver_sql(statement)}


@pytest.mark.parametrize("known", [False, True])
def test_what_is_prepared_stays(database_url: str, known: bool) -> None:
    """R23: psycopg prepares a statement at its sixth run, and forgets all of them at a ROLLBACK. A worker meets none,
    and PostgreSQL plans nothing again, however well it knows the tables."""
    with build(database_url, config=QUEUE) as host:
        waiting(host, 500)
        if known:
            with host.engine.begin() as connection:
                connection.exec_driver_sql("ANALYZE")
        sent = host.outbox.messages
        assert deliver(host, stop=lambda: len(sent) == 15) == {"sent": 15}
        counts = prepared(host)
    assert min(counts[word] for word in ("WITH", "SELECT", "UPDATE", "INSERT")) > 0, counts


def test_behind_a_pooler(database_url: str) -> None:
    """R23: the next transaction may be in another session of the server, so nothing stays prepared for it."""
    with Pooler(database_url) as pooler, build(pooler.url, config=QUEUE) as host:
        waiting(host, 15)
        assert deliver(host) == {"sent": 15}
        assert prepared(host) == {}
