"""E3, R23: on PostgreSQL the last look before an email is outside of any transaction, where it can be."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations.current import get_state
from tests.hosts import Host
from tests.queued import deliver, states, waiting

pytestmark = pytest.mark.parametrize("_database", ["postgresql"], indirect=True)


@contextmanager
def looking(host: Host, event: str, do: Callable[[sa.Connection], None]) -> Iterator[list[str]]:
    """Does something once, around the statement of the first last look; collects what the driver is sent."""
    sent: list[str] = []

    def listen(connection: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        sent.append(text)
        if "EXISTS" in text and sum("EXISTS" in each for each in sent) == 1:
            do(connection)

    sa.event.listen(host.engine, event, listen)
    try:
        yield sent
    finally:
        sa.event.remove(host.engine, event, listen)


def driver_of(connection: Any) -> Any:
    return connection.connection.dbapi_connection


def is_as_it_was(host: Host) -> bool:
    """Whether the next connection of the host's begins transactions, and is in none."""
    with host.engine.connect() as connection:
        driver = driver_of(connection)
        return not driver.autocommit and driver.info.transaction_status.name == "IDLE"


def test_outside_of_any_transaction(queued: Host) -> None:
    """R23: the look begins none, so none is rolled back, and the connection goes back as it came."""
    waiting(queued, 2)
    found: list[Any] = []

    def note(connection: sa.Connection) -> None:
        found.append(driver_of(connection).info.transaction_status.name)

    with looking(queued, "after_cursor_execute", note):
        assert deliver(queued) == {"sent": 2}
    assert found == ["IDLE"]
    assert is_as_it_was(queued)


def test_where_a_listener_has_begun_one(queued: Host) -> None:
    """A host sets, when a transaction begins, what its rows are filtered by (row level security), or writes: the look
    is in that transaction, and what was written is not kept."""
    waiting(queued, 1)
    begun: list[str] = []

    def after_begin(_session: Any, _transaction: Any, connection: sa.Connection) -> None:
        begun.append(f"Begun {len(begun)}")
        connection.execute(sa.insert(queued.Tenant).values(name=begun[-1], active=True))

    found: list[Any] = []

    def note(connection: sa.Connection) -> None:
        found.append((len(begun), driver_of(connection).info.transaction_status.name))

    sa.event.listen(queued.db.session, "after_begin", after_begin)
    with looking(queued, "after_cursor_execute", note):
        assert deliver(queued) == {"sent": 1}
    sa.event.remove(queued.db.session, "after_begin", after_begin)
    assert found == [(2, "INTRANS")]
    kept = {row.name for row in queued.rows(queued.Tenant)} & set(begun)
    assert kept == {begun[0], begun[2]}  # of the two turns


def test_a_connection_of_the_hosts(queued: Host) -> None:
    """A session on a connection on which the host has begun a transaction, as in tests that undo all they did: the look
    neither commits nor ends it."""
    waiting(queued, 1)
    with queued.app.app_context(), queued.engine.connect() as connection:
        session: Any = queued.db.session()
        session.get_bind = lambda *_arguments, **_named: connection
        outer, ctx = connection.begin(), get_state().ctx
        driver_of(connection).cursor().execute("INSERT INTO tenants (name, active) VALUES ('Outer', true)")
        assert ctx.unit.ahead(lambda: ctx.store.mails.glance(uuid.uuid4(), uuid.uuid4(), ()), anew=True) is None
        assert outer.is_active
        outer.rollback()
    assert queued.rows(queued.Tenant, name="Outer") == []


def test_a_connection_that_is_lost(queued: Host) -> None:
    """E1: lost at the look, it is looked again on another; none is left in the pool as the look had it."""
    waiting(queued, 1)

    def lose(connection: sa.Connection) -> None:
        number = driver_of(connection).info.backend_pid
        with queued.engine.connect() as another:
            another.exec_driver_sql(f"SELECT pg_terminate_backend({number}, 5000)")

    with looking(queued, "before_cursor_execute", lose) as sent:
        assert deliver(queued) == {"sent": 1}
    assert sum("EXISTS" in each for each in sent) == 2
    assert states(queued) == {"sent": 1}
    assert is_as_it_was(queued)


def test_a_connection_that_cannot_go_back(queued: Host) -> None:
    """Where the driver cannot be told to begin transactions again, nobody else gets the connection."""
    waiting(queued, 1)
    numbers: list[int] = []

    def begin(connection: sa.Connection) -> None:
        numbers.append(driver_of(connection).info.backend_pid)
        driver_of(connection).cursor().execute("BEGIN")

    with looking(queued, "after_cursor_execute", begin):
        assert deliver(queued) == {"sent": 1}
    assert is_as_it_was(queued)
    with queued.engine.connect() as connection:
        assert driver_of(connection).info.backend_pid not in numbers


# A pooler that knows nothing of prepared statements


def forgotten(host: Host) -> None:
    """As where another session of the server is behind the connection: it has none of what psycopg has prepared."""
    with host.engine.connect() as connection:
        driver_of(connection).pgconn.exec_(b"DEALLOCATE ALL")


def taken(host: Host) -> None:
    """As where another client has prepared statements there, under the names that psycopg gives."""
    host.engine.dispose()
    with host.engine.connect() as connection:
        for number in range(100):
            driver_of(connection).pgconn.exec_(f"PREPARE _pg3_{number} AS SELECT 1".encode())


def reached(host: Host, count: int) -> bool:
    return len(host.outbox.messages) >= count


@pytest.mark.parametrize("spoil", [forgotten, taken])
def test_what_was_prepared_is_gone(
    queued: Host, spoil: Callable[[Host], None], caplog: pytest.LogCaptureFixture
) -> None:
    """D2: the work is done again on another connection; each email is sent, once, and no hook is blamed for it."""
    waiting(queued, 40)
    for end in (10, 20, 30, 40):
        assert deliver(queued, stop=partial(reached, queued, end)) == {"sent": 10}
        spoil(queued)
    assert len({message.id for message in queued.outbox.messages}) == len(queued.outbox.messages) == 40
    assert states(queued) == {"sent": 40}
    assert caplog.messages == []
