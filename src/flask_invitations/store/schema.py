"""Whether a table of ours is in the database as the models say: all that the acts write fits, and the database keeps
the rules that only it can keep. What somebody has added, and what bothers nobody, is not looked at."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa

_Found: TypeAlias = Collection[Any]


def exists(table: sa.Table, connection: sa.Connection) -> bool:
    """Whether there is a table of that name."""
    return sa.inspect(connection).has_table(table.name, schema=table.schema)


def absent(table: sa.Table, connection: sa.Connection) -> Sequence[str]:
    """The columns that a table that exists should have, and has not."""
    there = {each["name"] for each in sa.inspect(connection).get_columns(table.name, schema=table.schema)}
    return [column.name for column in table.columns if column.name not in there]


def differences(table: sa.Table, connection: sa.Connection) -> Sequence[str]:
    """What is wrong with a table that exists, a few words each; empty: nothing."""
    look = sa.inspect(connection)
    where: dict[str, Any] = {"table_name": table.name, "schema": table.schema}
    indexes = look.get_indexes(**where)
    return [
        *_columns(table, look.get_columns(**where), connection.dialect),
        *_keys(table, look.get_pk_constraint(**where), look.get_unique_constraints(**where), indexes),
        *_links(table, look.get_foreign_keys(**where)),
        *_checks(table, look.get_check_constraints(**where)),
        *_indexes(table, indexes),
    ]


def _columns(table: sa.Table, found: _Found, dialect: sa.Dialect) -> Iterator[str]:
    there = {each["name"]: each for each in found}
    for column in table.columns:
        if column.name not in there:
            yield f"{column.name} is missing"
            continue
        one = there.pop(column.name)
        wrong = _type(_plain(column.type.dialect_impl(dialect)), one["type"])
        if wrong is not None:
            yield f"{column.name} {wrong}"
        if column.nullable is not one["nullable"]:
            yield f"{column.name} must {'' if column.nullable else 'not '}be nullable"
    for name, one in there.items():
        if not one["nullable"] and one["default"] is None and not one.get("computed"):
            yield f"{name} is required and is no column of this package"


def _plain(kind: Any) -> Any:
    """What a type of the host's is stored as."""
    return kind.impl_instance if isinstance(kind, sa.types.TypeDecorator) else kind


def _type(wanted: Any, found: Any) -> str | None:
    family = _family(wanted)
    if None is not family != _family(found) is not None:
        return f"must hold {family}"
    short = any(low > high for low, high in zip(_widths(wanted, found), _widths(found, found), strict=True))
    return "is too short" if short else None


def _family(kind: Any) -> str | None:
    if isinstance(kind, sa.Integer):
        return "numbers"
    return "text" if isinstance(kind, (sa.String, sa.Uuid)) else None


def _widths(kind: Any, found: Any) -> tuple[float, ...]:
    """How much a type holds: of text, of numbers, of a second, of the world's clocks."""
    length = getattr(kind, "length", None)
    text = (float("inf") if length is None else length) if isinstance(kind, sa.String) else 0
    number = (2 + isinstance(kind, sa.BigInteger) - isinstance(kind, sa.SmallInteger)) * isinstance(kind, sa.Integer)
    return text, number, getattr(kind, "fsp", None) or 0


def _keys(table: sa.Table, primary: Any, unique: _Found, indexes: _Found) -> Iterator[str]:
    whole = [each for each in indexes if each["unique"] and not _is_partial(each)]
    there = {frozenset(each["column_names"]) for each in (*unique, *whole)}
    key = set(primary["constrained_columns"])
    for constraint in _sorted(table.constraints):
        if not isinstance(constraint, (sa.UniqueConstraint, sa.PrimaryKeyConstraint)):
            continue
        columns = [column.name for column in constraint.columns]
        if isinstance(constraint, sa.PrimaryKeyConstraint):
            if set(columns) != key:
                yield f"{' and '.join(columns)} must be the primary key"
        elif set(columns) != key and frozenset(columns) not in there:
            yield f"{' and '.join(columns)} must be unique"


def _is_partial(index: Any) -> bool:
    return any(option.endswith("_where") for option in index.get("dialect_options", ()))


def _links(table: sa.Table, found: _Found) -> Iterator[str]:
    there = {(*each["constrained_columns"], each["referred_table"], each["options"].get("ondelete")) for each in found}
    for link in _sorted(table.foreign_key_constraints):
        target = link.referred_table.name
        if (*link.column_keys, target, link.ondelete) not in there:
            yield f"{' and '.join(link.column_keys)} must point at {target}, ON DELETE {link.ondelete}"


def _checks(table: sa.Table, found: _Found) -> Iterator[str]:
    """Databases write a CHECK in their own words; what is quoted in it is as we wrote it."""
    there = {each["name"]: _quoted(each["sqltext"]) for each in found}
    for constraint in _sorted(table.constraints):
        if isinstance(constraint, sa.CheckConstraint):
            name = str(constraint.name)
            if not _quoted(str(constraint.sqltext)) <= there.get(name, set()):
                yield f"the check {name} is {'another one' if name in there else 'missing'}"


def _quoted(check: str) -> set[str]:
    return set(re.findall(r"'(\w+)'", check))


def _indexes(table: sa.Table, found: _Found) -> Iterator[str]:
    there = {tuple(each["column_names"]) for each in found}
    for index in _sorted(table.indexes):
        if tuple(column.name for column in index.columns) not in there:
            yield f"the index {index.name} is missing"


def _sorted(those: _Found) -> Sequence[Any]:
    """SQLAlchemy keeps them in sets."""
    return sorted(those, key=lambda each: str(each.name))
