"""The invitations that one address has had in one tenant, in the order of their numbers.

Numbers order them, never times: two servers have two clocks.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from ..model.states import OPEN, Status
from ..model.tables import Invitation
from .found import made
from .statements import Tables, bound, chunks, is_exactly

#: What is read of the invitations of an address: enough to decide on another.
_PAST = ("number", "link_number", "id", "version", "email_key", "status", "expires_at")


@dataclass(frozen=True)
class Past:
    """What one tenant has to do with one address: its invitations, oldest first, of which little is read."""

    rows: Sequence[Invitation] = ()

    @property
    def next_number(self) -> int:
        """The number of another invitation of this address. Two that are made at once would both be pending, which
        ``pending_key`` forbids."""
        return self.rows[-1].number + 1 if self.rows else 1

    @property
    def next_link_number(self) -> int:
        """The link number of an invitation of this address that is made, or sent again."""
        return max(row.link_number for row in self.rows) + 1 if self.rows else 1

    def holder(self, but: uuid.UUID | None = None) -> Invitation | None:
        """The one that is pending, as stored; another than ``but``."""
        return next((row for row in self.rows if row.status == Status.PENDING and row.id != but), None)

    def live(self, now: datetime, but: uuid.UUID | None = None) -> uuid.UUID | None:
        """The id of the one that is pending at this time; another than ``but``."""
        held = self.holder(but)
        return held.id if held is not None and held.status_at(now) == Status.PENDING else None

    def is_newest(self, row: Invitation) -> bool:
        """Whether none was made after ``row``."""
        return not self.rows or self.rows[-1].id == row.id


#: What a tenant has to do with most addresses.
NOTHING: Final = Past()


class Histories(Tables):
    """Reads the invitations of addresses."""

    def of(self, tenant_id: Any, email_keys: Sequence[str]) -> Mapping[str, Past]:
        """What a tenant has to do with each of these addresses; one statement for each chunk of them."""
        wanted, rows = dict.fromkeys(email_keys, NOTHING), defaultdict[str, list[Invitation]](list)
        past = self._past[self._binds.connection().dialect.name == "postgresql"]
        for chunk in chunks(list(wanted)):
            for line in self._rows(past, {**bound(tenant_id), "keys": list(chunk)}):
                if line.email_key in wanted:  # a collation may take é for e
                    rows[line.email_key].append(made(Invitation, _PAST, line))
        return wanted | {key: Past(sorted(found, key=attrgetter("number", "id"))) for key, found in rows.items()}

    @cached_property
    def _past(self) -> Mapping[bool, Any]:
        """Each invitation of some addresses; by whether it is PostgreSQL. There a prepared statement compares each row
        of a tenant with each of the addresses, one by one, as long as the table was not analyzed; what is unnested it
        hashes."""
        ours = self._columns
        statement = sa.select(*(ours[name] for name in _PAST)).where(self._in_tenant)
        unnested = sa.select(sa.func.unnest(sa.bindparam("keys", type_=postgresql.ARRAY(sa.String()))))
        listed = ours.email_key.in_(sa.bindparam("keys", expanding=True))
        return {False: statement.where(listed), True: statement.where(ours.email_key.in_(unnested))}

    def open_to(self, tenant_id: Any, email_key: str) -> Sequence[Invitation]:
        """What is open for an address in a tenant."""
        to = is_exactly(self._columns.email_key, sa.literal(email_key, sa.String()))
        found = sa.select(self.models.Invitation.__table__).where(self._in_tenant, self._columns.status.in_(OPEN), to)
        return [made(Invitation, self._columns.keys(), line) for line in self._rows(found, bound(tenant_id))]

    def open_addresses(self, tenant_id: Any) -> Sequence[str]:
        """The addresses for which anything is open in a tenant."""
        there = self._in_tenant, self._columns.status.in_(OPEN), self._columns.email_key.is_not(None)
        found = sa.select(self._columns.email_key).where(*there).distinct()
        return list(self._rows(found, bound(tenant_id)).scalars())

    def older_open(self, rows: Sequence[Invitation]) -> Sequence[Invitation]:
        """What was made for the same addresses in the same tenants before ``rows``, and is still open."""
        found = dict[uuid.UUID, Invitation]()
        for chunk in chunks([row.id for row in rows]):
            lines = self._rows(self._older_open, {"ids": chunk})
            found.update((line.id, made(Invitation, self._columns.keys(), line)) for line in lines)
        return list(found.values())

    @cached_property
    def _older_open(self) -> Any:
        ours = self.models.Invitation.__table__
        newer, older = ours.alias(), ours.c
        # What was made at one moment by two servers has one number, and is about one person.
        before = sa.and_(older.number <= newer.c.number, older.id != newer.c.id)
        same_tenant = newer.c.tenant_id == older.tenant_id if self.models.tenant is not None else sa.true()
        same = sa.and_(same_tenant, is_exactly(older.email_key, newer.c.email_key), before)
        these = newer.c.id.in_(sa.bindparam("ids", expanding=True, type_=sa.Uuid()))
        return sa.select(ours).join(newer, same).where(these, older.status.in_(OPEN))
