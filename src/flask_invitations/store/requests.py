"""The SQL of calls with an ``Idempotency-Key``: which there were, and what they were answered. It never decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ..model.tables import Request
from .drivers import is_locked, is_unique
from .found import made
from .statements import Tables


class Requests(Tables):
    """The rows of ``user_invitation_requests``."""

    def find(self, key_hashes: Sequence[str]) -> Request | None:
        """The call that is known by one of these."""
        columns = self._requests.c
        line = self._rows(sa.select(self._requests).where(columns.key_hash.in_(key_hashes))).first()
        return None if line is None else made(Request, columns.keys(), line)

    def claim(self, columns: Mapping[str, Any]) -> bool:
        """Have nobody else begin the same call until the transaction is over.

        On SQLite nothing is done: what is written there keeps everybody else from writing, while the act may take its
        time. There :meth:`write` finds out.

        :returns: ``False``: somebody else has begun it. Whether they are done is not waited for, or for a second where
            the database cannot say it at once.
        """
        connection = self._binds.connection()
        if connection.dialect.name == "sqlite":
            return True
        if connection.dialect.name == "postgresql":
            lock = int.from_bytes(bytes.fromhex(columns["key_hash"])[:8], "big", signed=True)
            written = _unless_there(connection, self._insert_locked, {**columns, "lock": lock})
            return written is not None and written.first() is not None
        with _impatient(connection):
            return _unless_there(connection, sa.insert(self._requests), columns) is not None

    def write(self, columns: Mapping[str, Any]) -> bool:
        """Write down what a call was answered.

        :returns: ``False``: somebody else was faster.
        """
        connection = self._binds.connection()
        if connection.dialect.name == "sqlite":
            return _unless_there(connection, sa.insert(self._requests), columns) is not None
        claimed = self._requests.c.key_hash == columns["key_hash"]
        connection.execute(sa.update(self._requests).where(claimed), columns)
        return True

    def expired(self, now: datetime, limit: int) -> Sequence[str]:
        """The key hashes of calls whose time is over."""
        columns = self._requests.c
        over = sa.select(columns.key_hash).where(columns.expires_at <= now).order_by(columns.expires_at).limit(limit)
        found: Sequence[str] = self._rows(over).scalars().all()
        return found

    def drop(self, key_hashes: Sequence[str], now: datetime) -> None:
        """Delete those of them whose time is over: each by its key, so that no database locks another row."""
        columns, connection = self._requests.c, self._binds.connection()
        key_hash = sa.bindparam("key", type_=columns.key_hash.type)
        delete = sa.delete(self._requests).where(columns.key_hash == key_hash, columns.expires_at <= now)
        connection.execute(delete, [{"key": each} for each in key_hashes])

    @cached_property
    def _insert_locked(self) -> Any:
        """An INSERT for PostgreSQL that does nothing where another transaction has the lock of the same key: a plain
        one would wait for that."""
        lock = sa.func.pg_try_advisory_xact_lock(sa.bindparam("lock", type_=sa.BigInteger()))
        names = ("key_hash", "body_hash", "status", "expires_at")
        values = (sa.bindparam(name, type_=self._requests.c[name].type) for name in names)
        insert = sa.insert(self._requests).from_select(names, sa.select(*values).where(lock))
        return insert.returning(self._requests.c.key_hash)

    @property
    def _requests(self) -> sa.Table:
        return self.models.Request.__table__


def _unless_there(connection: sa.Connection, insert: Any, columns: Mapping[str, Any]) -> Any:
    """What the INSERT of a row gives; ``None`` where the row is there, or somebody else is writing it."""
    try:
        return connection.execute(insert, columns)
    except DBAPIError as error:
        if is_unique(error) or is_locked(error):
            return None
        raise


@contextmanager
def _impatient(connection: sa.Connection) -> Iterator[None]:
    """Have MariaDB and MySQL wait no longer than a second for what somebody else has locked."""
    connection.exec_driver_sql("SET @invitations_wait = @@innodb_lock_wait_timeout, innodb_lock_wait_timeout = 1")
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.exec_driver_sql("SET innodb_lock_wait_timeout = @invitations_wait")
