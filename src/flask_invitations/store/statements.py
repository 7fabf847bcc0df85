"""What the rooms of SQL share: how a statement of ours reaches our tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from ..model.binding import Models
from .binds import Binds

#: In place of a tenant's id: all tenants. For the system only.
EVERYWHERE: Final = object()
#: Compared byte by byte; only MariaDB and MySQL have to be told.
_BYTES = sa.String().with_variant(mysql.BINARY(), "mysql", "mariadb")

#: At most so many rows or keys go into one statement.
CHUNK = 500
#: The same, where a row has one parameter: databases take 32,766 of them and more.
LOOKUP = 10_000
#: At most so many rows are written together. Some drivers send them as one packet, of which MariaDB takes 16 MiB; the
#: longest row, with its message and its details escaped, has 13 KiB.
TOGETHER = 1_000

T = TypeVar("T")


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterable[Sequence[T]]:
    """``items`` in pieces of at most ``size``."""
    if len(items) <= size:
        return (items,) if items else ()
    return (items[start : start + size] for start in range(0, len(items), size))


def by_key(update: Any) -> Any:
    """An UPDATE that finds its rows by their primary key: else MariaDB and MySQL read a small table whole, and lock (or
    wait for) every row that they read."""
    for dialect in ("mysql", "mariadb"):
        update = update.with_hint("FORCE INDEX (PRIMARY)", dialect_name=dialect)
    return update


def bound(tenant_id: Any) -> dict[str, Any]:
    """The parameter of ``Tables._in_tenant``."""
    return {} if tenant_id is EVERYWHERE or tenant_id is None else {"tenant_id": tenant_id}


def is_exactly(column: Any, value: Any) -> Any:
    """``column == value``, also where the database's collation takes é for e (F1); the index serves the first half."""
    return sa.and_(column == value, sa.cast(column, _BYTES) == sa.cast(value, _BYTES))


_insert = lru_cache(maxsize=64)(sa.insert)


def _filled(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The same rows, the first without the columns that are ``None`` in all of them: SQLAlchemy writes those that the
    first one has."""
    first = {name: value for name, value in rows[0].items() if any(row[name] is not None for row in rows)}
    return [first, *rows[1:]]


class Tables:
    """The tables of one host.

    :param session: gives the host's session.
    """

    def __init__(self, session: Callable[[], Any], models: Models) -> None:
        self.models = models
        self._binds = Binds(session, models)

    def engines(self) -> Collection[sa.Engine]:
        """Where the host's session sends statements that change something, and those that only read."""
        return self._binds.engines()

    def _rows(self, statement: Any, values: Any = None) -> Any:
        """What a SELECT finds that needs nothing of the ORM."""
        return self._binds.connection(statement).execute(statement, values)

    @staticmethod
    def _key_of(model: type[Any]) -> Any:
        """The one column that one of the host's classes is known by."""
        return sa.inspect(model).primary_key[0]

    @property
    def _columns(self) -> Any:
        return self.models.Invitation.__table__.c

    @property
    def _in_tenant(self) -> Any:
        """In the tenant of the parameter ``tenant_id``; a host without tenants has NULL there."""
        tenant_id = self._columns.tenant_id
        if self.models.tenant is None:
            return tenant_id.is_(None)
        return tenant_id == sa.bindparam("tenant_id", type_=tenant_id.type)

    def _holding(self, tenant_ids: Collection[Any], user_ids: Collection[Any] = (), *, wait: bool = True) -> Any:
        """A guard that is always true. Before the statement in which it stands locks a row of ours, it holds the host's
        rows that ours point at, until the transaction is over: tenants first, then users.

        In that order a DELETE of the host's locks them too, so that neither waits for what the other one has.

        :param wait: ``False``: a transient error where the host has them already.
        """
        pairs = ((self.models.tenant, tenant_ids), (self.models.user, user_ids))
        return sa.and_(sa.true(), *(self._holds(model, keys, wait) for model, keys in pairs if keys))

    def _holds(self, model: type[Any] | None, keys: Any, wait: bool = True) -> Any:
        """The same for rows of one of the host's classes; ``keys`` may be a parameter."""
        if model is None:
            return sa.true()
        key = self._key_of(model)
        these = sa.select(key).where(key.in_(keys)).order_by(key)
        held = these.with_for_update(read=True, key_share=True, nowait=not wait).subquery()
        return sa.select(sa.func.count()).select_from(held).scalar_subquery() >= 0  # to count them is to lock them

    def _execute(self, statement: Any, values: Mapping[str, Any] | None = None, *, cached: bool = True) -> int:
        """How many rows an UPDATE of one of our tables changed.

        :param cached: ``False``: it is long, and there will hardly be another like it.
        """
        options = {} if cached else {"compiled_cache": None}
        count: int = self._binds.connection(statement).execute(statement, values, execution_options=options).rowcount
        return count

    def _insert(self, model: type[Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows that all have the same columns, at most ``TOGETHER`` at a time.

        What is NULL in each row of many is left out: it is so by default, and to bind it is a third of the work.
        """
        insert = _insert(model.__table__)
        for chunk in chunks(rows, TOGETHER):
            given = _filled(chunk) if len(chunk) > 1 else chunk[0]
            self._binds.connection(insert).execute(insert, given)
