"""Somebody who is faster, at a chosen moment; and the ways in which a host writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from flask_invitations.current import override
from tests.hosts import Host

#: So that a rival may be at work in a hook: with caps, an act has the tenant to itself.
UNHELD = {"INVITATIONS_PENDING_MAX": None}
#: In seconds: whoever needs longer waits for a lock that the test holds.
STUCK = 60


def elsewhere(host: Host, act: Callable[[], Any], patience: float | None = None) -> threading.Thread:
    """Do something in a session of its own, and come back when it is committed.

    :param patience: after so many seconds it may go on alone: it waits for a lock of whoever waits for it.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            with host.app.app_context():
                act()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(STUCK if patience is None else patience)
    if patience is None and thread.is_alive():
        raise AssertionError("The rival waits for a lock of the test's.")
    if raised:
        raise raised[0]
    return thread


@contextmanager
def rival(host: Host, act: Callable[[], Any], at: int = 1) -> Iterator[None]:
    """While the block's acts are deciding, somebody else does ``act``, once: when they ask for the time, for the
    ``at``-th time."""
    asked, ours = 0, threading.get_ident()

    def clock() -> Any:
        nonlocal asked
        if threading.get_ident() == ours:
            asked += 1
            if asked == at:
                elsewhere(host, act)
        return host.clock()

    with override(host.app, clock=clock):
        yield


def _add(host: Host, name: str) -> None:
    host.db.session.add(host.Tenant(name=name))


def _flush(host: Host, name: str) -> None:
    _add(host, name)
    host.db.session.flush()


def _autoflush(host: Host, name: str) -> None:
    _add(host, name)
    host.db.session.scalar(sa.select(sa.func.count()).select_from(host.User))


def _core(host: Host, name: str) -> None:
    host.db.session.execute(sa.insert(host.Tenant.__table__).values(name=name, active=True))


def _orm_insert(host: Host, name: str) -> None:
    host.db.session.execute(sa.insert(host.Tenant), [{"name": name}, {"name": f"{name} (2)"}])


def _bulk(host: Host, name: str) -> None:
    host.db.session.bulk_insert_mappings(sa.inspect(host.Tenant), [{"name": name}])


def _connection(host: Host, name: str) -> None:
    host.db.session.connection().execute(sa.insert(host.Tenant.__table__).values(name=name, active=True))


def _driver_sql(host: Host, name: str) -> None:
    host.db.session.connection().exec_driver_sql(f"INSERT INTO tenants (name, active) VALUES ('{name}', true)")


def _text(host: Host, name: str) -> None:
    host.db.session.execute(sa.text("  -- a note\n INSERT INTO tenants (name, active) VALUES (:n, true)"), {"n": name})


def _savepoint(host: Host, name: str) -> None:
    with host.db.session.begin_nested():
        _add(host, name)


def _lost_savepoint(host: Host, name: str) -> None:
    _flush(host, name)
    nested = host.db.session.begin_nested()
    _flush(host, f"{name} (undone)")
    nested.rollback()


def _rename(host: Host, name: str) -> None:
    row: Any = host.db.session.scalar(sa.select(host.Tenant).where(host.Tenant.name == f"Old {name}"))
    row.name = name


#: Each leaves a tenant of that name in the session, written or not; one that is renamed is there as "Old" before.
WRITES: dict[str, Callable[[Host, str], None]] = {
    each.__name__.strip("_"): each
    for each in (
        _add,
        _flush,
        _autoflush,
        _core,
        _orm_insert,
        _bulk,
        _connection,
        _driver_sql,
        _text,
        _savepoint,
        _lost_savepoint,
        _rename,
    )
}


def is_there(host: Host, name: str) -> bool:
    """Whether a tenant of that name is committed."""
    return bool(host.rows(host.Tenant, name=name))
