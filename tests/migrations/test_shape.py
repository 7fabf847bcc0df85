"""What counts as a difference between a table of ours and the one in the database, on each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from flask_invitations.store.schema import differences, exists
from tests.hosts import KEYS, TENANCIES, Key, Shape, Tenancy, shape


def made(url: str, kind: Shape, change: Callable[[Any], None] = lambda _tables: None) -> list[str]:
    """The differences of our tables, made as the models say after this change of a copy of them."""
    copy, ours = sa.MetaData(), [table for table in kind.db.metadata.sorted_tables if _is_ours(table)]
    for table in kind.db.metadata.tables.values():
        table.to_metadata(copy)
    change(copy.tables)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        assert not any(exists(table, connection) for table in ours)
        copy.create_all(connection)
        assert all(exists(table, connection) for table in ours)
        return [f"{table.name}: {each}" for table in ours for each in differences(table, connection)]


def _is_ours(table: sa.Table) -> bool:
    return table.name.startswith("user_invitation")


@pytest.mark.parametrize("tenancy", TENANCIES)
@pytest.mark.parametrize("key", KEYS)
def test_what_the_models_make_has_the_right_shape(empty_url: str, key: Key, tenancy: Tenancy) -> None:
    """Whatever keys the host has."""
    assert made(empty_url, shape(key, tenancy)) == []


def _type(column: str, kind: Any) -> Callable[[Any], None]:
    def change(tables: Any) -> None:
        tables["user_invitations"].c[column].type = kind

    return change


def _without(name: str) -> Callable[[Any], None]:
    def change(tables: Any) -> None:
        table = tables["user_invitations"]
        for those in (table.constraints, table.indexes):
            those -= {each for each in those if each.name == name}

    return change


def _nullable(column: str, nullable: bool) -> Callable[[Any], None]:
    def change(tables: Any) -> None:
        tables["user_invitations"].c[column].nullable = nullable

    return change


def _another(**options: Any) -> Callable[[Any], None]:
    def change(tables: Any) -> None:
        tables["user_invitations"].append_column(sa.Column("plan", sa.String(9), **options))

    return change


def _half(tables: Any) -> None:
    """A check of an older version, which knows fewer states."""
    _without("ck_user_invitations_status")(tables)
    check = sa.CheckConstraint("status IN ('pending', 'accepted')", name="ck_user_invitations_status")
    tables["user_invitations"].append_constraint(check)


def _no_link(tables: Any) -> None:
    table = tables["user_invitations"]
    table.constraints -= {each for each in table.foreign_key_constraints if "tenant_id" in each.column_keys}


def _other_delete(tables: Any) -> None:
    for link in tables["user_invitations"].foreign_key_constraints:
        if "tenant_id" in link.column_keys:
            link.ondelete = "SET NULL"
    tables["user_invitations"].c.tenant_id.nullable = True


CHANGES: dict[str, tuple[Callable[[Any], None], list[str]]] = {
    "too short": (_type("email", sa.String(100)), ["email is too short"]),
    "not as long as we like": (_type("message", sa.String(100)), ["message is too short"]),
    "longer": (_type("email", sa.String(500)), []),
    "numbers for text": (_type("role", sa.Integer()), ["role must hold text"]),
    "small numbers": (_type("lifetime", sa.SmallInteger()), ["lifetime is too short"]),
    "not null": (_nullable("locale", False), ["locale must be nullable"]),
    "null": (_nullable("role", True), ["role must not be nullable"]),
    "no uniqueness": (_without("uq_user_invitations_pending_key"), ["pending_key must be unique"]),
    "no check": (
        _without("ck_user_invitations_pending_key"),
        ["the check ck_user_invitations_pending_key is missing"],
    ),
    "an older check": (_half, ["the check ck_user_invitations_status is another one"]),
    "no foreign key": (_no_link, ["tenant_id must point at tenants, ON DELETE CASCADE"]),
    "another foreign key": (
        _other_delete,
        ["tenant_id must not be nullable", "tenant_id must point at tenants, ON DELETE CASCADE"],
    ),
    "no index": (
        _without("ix_user_invitations_closed_at"),
        ["the index ix_user_invitations_closed_at is missing"],
    ),
    "a further column": (_another(), []),
    "a further column that somebody must fill": (
        _another(nullable=False),
        ["plan is required and is no column of this package"],
    ),
    "a further column that fills itself": (_another(nullable=False, server_default="free"), []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_difference(empty_url: str, name: str) -> None:
    """What would break an act, or a rule that only the database keeps, is told; nothing else is."""
    change, told = CHANGES[name]
    assert made(empty_url, shape(), change) == [f"user_invitations: {each}" for each in told]


@pytest.mark.parametrize("_database", ["mariadb"], indirect=True)
def test_whole_seconds(empty_url: str) -> None:
    """MariaDB would cut the time at which an invitation expires."""
    assert made(empty_url, shape(), _type("expires_at", mysql.DATETIME())) == [
        "user_invitations: expires_at is too short"
    ]


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
def test_unique_for_some(empty_url: str) -> None:
    """A unique index on some of the rows guards no others."""

    def change(tables: Any) -> None:
        _without("uq_user_invitations_token_hash")(tables)
        table = tables["user_invitations"]
        sa.Index("uq_some", table.c.token_hash, unique=True, postgresql_where=table.c.status == "pending")

    assert made(empty_url, shape(), change) == ["user_invitations: token_hash must be unique"]
