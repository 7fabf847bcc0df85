"""What the host says about its tables on MariaDB and MySQL. A foreign key there needs the engine of the table that it
points at, and, where keys are text, the character set and the collation of the column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import ArgumentError

from ..errors import ConfigurationError

_DIALECTS = ("mysql", "mariadb")
#: How a host may write each option: SQLAlchemy passes on what it finds behind the dialect's name.
_SPELLED = {
    "engine": "engine",
    "charset": "charset",
    "default_charset": "charset",
    "character_set": "charset",
    "default_character_set": "charset",
    "collate": "collation",
    "default_collate": "collation",
}
#: Storage engines that can take nothing back, and know no foreign keys.
_WITHOUT_TRANSACTIONS = frozenset({"myisam", "aria", "memory", "heap", "csv", "archive"})


def shared(tables: Iterable[sa.Table]) -> dict[str, Any]:
    """The options of our tables: those that all these tables have in common.

    :raises ConfigurationError: one of them is kept by an engine without transactions.
    """
    found = [_refused(table) for table in tables]
    first, *others = found
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _refused(table: sa.Table) -> Mapping[str, Any]:
    options = {name: value for name, value in table.kwargs.items() if _meaning(name) is not None}
    for name, value in options.items():
        if _meaning(name) == "engine" and str(value).lower() in _WITHOUT_TRANSACTIONS:
            raise ConfigurationError(f"The table {table.name} uses {value}, which has no transactions. Use InnoDB.")
    return options


def reference_type(target: sa.Column[Any]) -> Any:
    """The type of a column that holds keys of a table of the host's."""
    kind: Any = target.type
    for dialect in _DIALECTS:
        said = _said(target.table, dialect)
        if said and isinstance(kind, sa.String) and not isinstance(kind, sa.Enum):
            kind = _with(kind, dialect, said)
    return kind


def _with(kind: sa.String, dialect: str, said: Mapping[str, Any]) -> Any:
    if kind.collation or getattr(kind, "charset", None):
        return kind  # the column says so itself
    sort: Any = mysql.CHAR if isinstance(kind, sa.CHAR) else mysql.VARCHAR
    try:
        return kind.with_variant(sort(kind.length, **said), dialect)
    except ArgumentError:  # the host has a type of its own for this dialect
        return kind


def _said(table: Any, dialect: str) -> dict[str, Any]:
    """The character set and collation that a table has on a dialect, as far as the host says so."""
    options = ((_meaning(name), value) for name, value in table.kwargs.items() if name.startswith(f"{dialect}_"))
    return {meaning: value for meaning, value in options if meaning in ("charset", "collation")}


def _meaning(option: str) -> str | None:
    dialect, _, name = option.partition("_")
    return _SPELLED.get(name.lower().replace(" ", "_")) if dialect in _DIALECTS else None
