"""What the rooms of SQL share: how a statement of ours reaches our tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa

from ..model.binding import Models
from .binds import Binds

#: At most so many rows or keys go into one statement.
CHUNK = 500
#: The same, where a row has one parameter: databases take 32,766 of them and more.
LOOKUP = 10_000

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


_insert = lru_cache(maxsize=64)(sa.insert)


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

    def _execute(self, statement: Any, values: Mapping[str, Any] | None = None) -> int:
        """How many rows an UPDATE of one of our tables changed."""
        count: int = self._binds.connection(statement).execute(statement, values).rowcount
        return count

    def _insert(self, model: type[Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows that all have the same columns, in one statement for each ``CHUNK`` of them."""
        insert = _insert(model.__table__)
        for chunk in chunks(rows):
            self._binds.connection(insert).execute(insert, chunk if len(chunk) > 1 else chunk[0])
