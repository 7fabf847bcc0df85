"""The steps, in the order in which they are applied: each is one small revision, one table with its indexes.

SQLite and MariaDB commit after every statement of DDL, so a revision that breaks half-way cannot be taken back: the
less stands in one, the less there is to mend by hand.

**The rule.** A step is for ever once it is released: it stands in the trees of hosts. The first four are built from
the mapped tables, which have the host's keys already; that is right only as long as the tables are what they were at
the release. The tests pin what each step makes, as DDL on each database (``tests/migrations/ddl``). When a change of
``model/tables.py`` breaks them after a release, do not renew the pins: write the step's table down here as it was, and
add a further step (nullable columns and new tables first, so that old code still runs) that alters it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import renderers
from alembic.operations import ops

from ..model.binding import Models


class LeaveOp(ops.MigrateOperation):
    """Ends an upgrade where the table is there already. Not ``if_not_exists``: MySQL has none for indexes."""

    def __init__(self, table: sa.Table) -> None:
        self.table = table


@renderers.dispatch_for(LeaveOp)
def _leave(_context: Any, operation: LeaveOp) -> list[str]:
    table = operation.table
    schema = "" if table.schema is None else f", schema={table.schema!r}"
    there = f"sa.inspect(op.get_bind()).has_table({table.name!r}{schema})"
    # An empty line is where Alembic's printer ends a block.
    return [f"if not op.get_context().as_sql and {there}:", "return  # it was here before this revision", ""]


@dataclass(frozen=True)
class Step:
    """One revision: makes a table, and takes away what it made.

    :param needed: whether a host needs it.
    """

    number: str
    table: Callable[[Models], sa.Table]
    needed: Callable[[Models], bool] = lambda models: True

    def upgrade(self, models: Models, *, adopt: bool = False) -> list[ops.MigrateOperation]:
        """
        :param adopt: leave the table as it is where there is one.
        """
        table = self.table(models)
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        made = [ops.CreateTableOp.from_table(table), *map(ops.CreateIndexOp.from_index, indexes)]
        return [LeaveOp(table), *made] if adopt else made

    def downgrade(self, models: Models) -> list[ops.MigrateOperation]:
        """Only the table: its indexes go with it, and MariaDB refuses to drop one that a foreign key leans on."""
        return [ops.DropTableOp.from_table(self.table(models))]


STEPS = (
    Step("0001", lambda models: models.Invitation.__table__),
    Step("0002", lambda models: models.InvitationEvent.__table__),
    Step("0003", lambda models: models.Delivery.__table__),
    Step("0004", lambda models: models.Suppression.__table__),
    Step("0005", lambda models: models.Request.__table__),
    Step("0006", lambda models: models.Turn.__table__, lambda models: models.Turn is not None),
)
