"""What the host's tables are like on MariaDB and MySQL. A foreign key there needs the engine of the table that it
points at, and, where keys are text, the character set and the collation of the column.

The host says so in its models, or it stands in the database only: where tables are made, that is what counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import mapped_column

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


#: In the ``info`` of a column of ours: the host's column whose keys it holds.
_KEY = "flask_invitations_key"
_IN_DATABASE = sa.text(
    "SELECT LOWER(engine), character_set_name, collation_name, @@collation_database, LOWER(@@default_storage_engine)"
    " FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)"
    " WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table AND column_name = :column"
)


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
        if _meaning(name) == "engine":
            _refuse_without_transactions(table, str(value))
    return options


def _refuse_without_transactions(table: Any, engine: str) -> None:
    if engine.lower() in _WITHOUT_TRANSACTIONS:
        raise ConfigurationError(f"The table {table.name} uses {engine}, which has no transactions. Use InnoDB.")


def key_column(target: sa.Column[Any], *link: sa.ForeignKey, nullable: bool = True) -> Any:
    """A column that holds keys of a table of the host's."""
    return mapped_column(_key_type(target), *link, nullable=nullable, info={_KEY: target})


def _key_type(target: sa.Column[Any]) -> Any:
    kind: Any = target.type
    for dialect in _DIALECTS:
        said = _said(target.table, dialect)
        if said and _is_text(kind):
            kind = _with(kind, dialect, said)
    return kind


def _with(kind: sa.String, dialect: str, said: Mapping[str, Any]) -> Any:
    if kind.collation or getattr(kind, "charset", None):
        return kind  # the column says so itself
    try:
        return kind.with_variant(_text(kind, said), dialect)
    except ArgumentError:  # the host has a type of its own for this dialect
        return kind


def _text(kind: sa.String, said: Mapping[str, Any]) -> Any:
    sort: Any = mysql.CHAR if isinstance(kind, sa.CHAR) else mysql.VARCHAR
    return sort(kind.length, **said)


def _is_text(kind: Any) -> bool:
    return isinstance(kind, sa.String) and not isinstance(kind, sa.Enum)


def _said(table: Any, dialect: str) -> dict[str, Any]:
    """The character set and collation that a table has on a dialect, as far as the host says so."""
    options = ((_meaning(name), value) for name, value in table.kwargs.items() if name.startswith(f"{dialect}_"))
    return {meaning: value for meaning, value in options if meaning in ("charset", "collation")}


def _meaning(option: str) -> str | None:
    dialect, _, name = option.partition("_")
    return _SPELLED.get(name.lower().replace(" ", "_")) if dialect in _DIALECTS else None


def match(table: sa.Table, connection: Any, **_more: Any) -> None:
    """Fit one of our tables, which is about to be made, to what the host's tables are like in the database.

    :raises ConfigurationError: one of them is kept by an engine without transactions.
    """
    if not isinstance(connection, sa.Connection) or connection.dialect.name not in _DIALECTS:
        return
    for column in table.columns:
        if _KEY in column.info:
            _match(column, column.info[_KEY], connection)


def _match(column: sa.Column[Any], target: sa.Column[Any], connection: sa.Connection) -> None:
    where = {"schema": target.table.schema, "table": target.table.name, "column": target.name}
    found = connection.execute(_IN_DATABASE, where).first()
    if found is None:
        return  # there is no such table yet: then it will be what the models say
    engine, charset, collation, usual_collation, usual_engine = found
    dialect, kind = connection.dialect.name, cast(Any, target.type)
    _refuse_without_transactions(target.table, engine)
    if engine != usual_engine:
        column.table.kwargs[f"{dialect}_engine"] = engine
    if _is_text(kind) and collation != usual_collation:
        base: Any = sa.CHAR if isinstance(kind, sa.CHAR) else sa.String
        said = {"charset": charset, "collation": collation}
        column.type = base(kind.length).with_variant(_text(kind, said), dialect)
