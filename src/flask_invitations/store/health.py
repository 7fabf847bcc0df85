"""What is asked of a database to tell whether all is well: only by ``flask invitations doctor``, never by an act."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..model.states import Status
from .schema import absent, differences, exists
from .statements import Tables

#: So many rows are fetched at a time.
FETCH = 10_000


class Health(Tables):
    """The tables of one host, ours and that of its users."""

    def shapes(self) -> Mapping[str, Sequence[str] | None]:
        """For each of our tables the differences to what it should be; ``None``: it is missing."""
        connection = self._binds.connection()
        return {
            table.name: differences(table, connection) if exists(table, connection) else None
            for table in self.models.tables
        }

    def lacks(self) -> Iterator[tuple[str, Sequence[str]]]:
        """The host's tables that are not as its models say, each with its missing columns; none: the table itself."""
        connection = self._binds.connection()
        mapped = [sa.inspect(each).tables for each in (self.models.tenant, self.models.user) if each is not None]
        for table in dict.fromkeys(each for tables in mapped for each in tables if isinstance(each, sa.Table)):
            if not exists(table, connection):
                yield table.name, ()
            elif columns := absent(table, connection):
                yield table.name, columns

    def is_unswept(self, expired_before: datetime, closed_before: datetime) -> bool:
        """Whether something was left as it is although its time came before these moments."""
        column = self._columns
        overdue = sa.and_(column.status == Status.PENDING, column.expires_at <= expired_before)
        closed = sa.and_(column.closed_at <= closed_before, column.email_key.is_not(None))
        return self._rows(sa.select(column.id).where(sa.or_(overdue, closed)).limit(1)).first() is not None

    def emails(self) -> Iterator[str]:
        """The email of every user who has one."""
        email = self.models.user_email
        select = sa.select(email).where(email.is_not(None)).execution_options(yield_per=FETCH)
        return iter(self._rows(select).scalars())

    def email_is_unique(self) -> bool:
        """Whether the database keeps two users from having the same email, written alike or not; also said of what is
        no column."""
        column = self._email_column
        if column is None:
            return True
        look = sa.inspect(self._binds.connection())
        where: dict[str, Any] = {"table_name": column.table.name, "schema": column.table.schema}
        indexes = [each for each in look.get_indexes(**where) if each["unique"]]
        keys = [each["column_names"] for each in (*look.get_unique_constraints(**where), *indexes)]
        keys.append(look.get_pk_constraint(**where)["constrained_columns"])
        texts = [text for each in indexes for text in each.get("expressions", ())]
        # SQLite tells nothing of an index on an expression, so the one that is declared has to do.
        texts += [str(each) for index in column.table.indexes if index.unique for each in index.expressions]
        return [column.name] in keys or any("lower(" in text.lower() and column.name in text for text in texts)

    @property
    def _email_column(self) -> Any:
        columns = getattr(getattr(self.models.user_email, "property", None), "columns", [None])
        return columns[0] if isinstance(columns[0], sa.Column) else None
