"""D2, R23: what psycopg has prepared stays prepared while a worker works, unless a pooler may take it away."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa

from tests.hosts import Host, build
from tests.http.tools import invite, people
from tests.queued import deliver, mails, states, waiting
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
        with host.statements() as seen:
            assert deliver(host, stop=lambda: len(sent) == 15) == {"sent": 15}
        counts = prepared(host)
    assert min(counts[word] for word in ("WITH", "SELECT", "UPDATE", "INSERT")) > 0, counts
    assert [each for each in seen if "pg_backend_pid" in each] == []  # no listener hears that a pooler is looked for


def test_one_email_alone(database_url: str) -> None:
    """R23: what is sent right after an invitation leaves nothing prepared on a connection of the host's requests."""
    with build(database_url) as host:
        _, admin, *_ = people(host)
        for number in range(8):
            invite(host.client(admin), f"p{number}@example.com")
        assert len(host.outbox.messages) == 8
        assert prepared(host) == {}


def test_a_task_for_each_email(database_url: str) -> None:
    """R23: nor does a worker that is told to send one."""
    with build(database_url, config=QUEUE) as host:
        waiting(host, 8)
        for mail in mails(host):
            assert deliver(host, delivery_id=mail.id) == {"sent": 1}
        assert prepared(host) == {}


def test_what_is_done_as_a_transaction_begins(database_url: str) -> None:
    """T3: a listener of the engine's writes whenever a transaction begins. What it wrote before a look is not kept."""
    with build(database_url, config=QUEUE) as host:
        waiting(host, 5)

        def begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("INSERT INTO tenants (name, active) SELECT 'Begun ' || gen_random_uuid(), true")

        sa.event.listen(host.engine, "begin", begin)
        assert deliver(host) == {"sent": 5}
        sa.event.remove(host.engine, "begin", begin)
        begun = [tenant for tenant in host.rows(host.Tenant) if tenant.name.startswith("Begun")]
    assert len(begun) == 6  # one for each turn


def test_behind_a_pooler(database_url: str) -> None:
    """R23: the next transaction may be in another session of the server, so nothing stays prepared for it."""
    with Pooler(database_url) as pooler, build(pooler.url, config=QUEUE) as host:
        waiting(host, 15)
        assert deliver(host) == {"sent": 15}
        assert prepared(host) == {}


def _server(connection: Any) -> Any:
    return connection.connection.dbapi_connection.pgconn


def forgotten(host: Host) -> None:
    """As where a pool resets its connections with DISCARD ALL."""
    with host.engine.connect() as connection:
        _server(connection).exec_(b"DISCARD ALL")


def taken(host: Host) -> None:
    """As where another client of a pooler has prepared statements there, under the names that psycopg gives."""
    host.engine.dispose()
    with host.engine.connect() as connection:
        for number in range(100):
            _server(connection).exec_(f"PREPARE _pg3_{number} AS SELECT 1".encode())


def altered(host: Host) -> None:
    """As where a migration runs while a worker works."""
    with sa.create_engine(host.engine.url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE users ALTER COLUMN name TYPE varchar(999)")
        connection.exec_driver_sql("ALTER TABLE user_invitations ALTER COLUMN status TYPE varchar(99)")


@pytest.mark.parametrize("spoil", [forgotten, taken, altered])
def test_what_was_prepared_is_of_no_use(
    database_url: str, spoil: Callable[[Host], None], caplog: pytest.LogCaptureFixture
) -> None:
    """D2: the work is done again; each email is sent at once, and once, and no hook is blamed for it."""
    with build(database_url, config=QUEUE) as host:
        waiting(host, 40)
        sent = host.outbox.messages
        for end in (10, 20, 30, 40):
            assert deliver(host, stop=lambda end=end: len(sent) == end) == {"sent": 10}
            spoil(host)
        assert len({message.id for message in sent}) == len(sent) == 40
        assert states(host) == {"sent": 40}
    assert caplog.messages == []
