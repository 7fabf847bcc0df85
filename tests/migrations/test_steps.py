"""What each step makes is pinned: a released step stands in the trees of hosts and must stay what it was.

A pin that breaks *before* the release of its step: delete the file, run the test, read what it wrote. A pin that
breaks after: do not renew it, write a further step (see ``flask_invitations/migrations/steps.py``).
"""

from __future__ import annotations

import io
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.orm import DeclarativeBase, mapped_column

from flask_invitations.migrations.steps import STEPS
from flask_invitations.model.binding import Models, bind

PINS = Path(__file__).parent / "ddl"


def bound(key: Any, *, tenants: bool) -> Models:
    """Our tables, on a host with such keys."""

    class Base(DeclarativeBase):
        pass

    class User(Base):
        __tablename__ = "users"
        id = mapped_column(key, primary_key=True)

    class Tenant(Base):
        __tablename__ = "tenants"
        id = mapped_column(key, primary_key=True)

    return bind(User, Tenant if tenants else None)


def ddl(models: Models, dialect: str) -> str:
    """The statements of all steps, up and down."""
    text = io.StringIO()
    context = MigrationContext.configure(dialect_name=dialect, opts={"as_sql": True, "output_buffer": text})
    for step in (each for each in STEPS if each.needed(models)):
        for title, operations in (("up", step.upgrade(models)), ("down", step.downgrade(models))):
            text.write(f"-- {step.number} {title}\n\n")
            for operation in operations:
                Operations(context).invoke(operation)
    lines = [line.rstrip(" ,") for line in text.getvalue().strip().splitlines()]
    blocks = groupby(lines, lambda line: "CONSTRAINT" in line)  # SQLAlchemy keeps them in a set
    return "\n".join(line for unordered, block in blocks for line in (sorted(block) if unordered else block)) + "\n"


@pytest.mark.parametrize(("shape", "key", "tenants"), [("int", sa.Integer, True), ("uuid-no-tenants", sa.Uuid, False)])
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_the_steps_are_what_they_were(dialect: str, shape: str, key: Any, tenants: bool) -> None:
    """Each step makes, on each kind of database, exactly what it made when it was pinned."""
    pin, made = PINS / f"{dialect}-{shape}.sql", ddl(bound(key, tenants=tenants), dialect)
    if not pin.exists():
        pin.write_text(made)
        pytest.fail(f"{pin.name} was missing and has been written: read it, then run the test again")
    assert made == pin.read_text()


def test_every_table_has_its_step() -> None:
    """The steps make all of our tables, each once, in an order that the foreign keys allow."""
    for tenants in (True, False):
        models = bound(sa.Integer, tenants=tenants)
        assert tuple(step.table(models) for step in STEPS if step.needed(models)) == models.tables
    assert [step.number for step in STEPS] == sorted({step.number for step in STEPS})
