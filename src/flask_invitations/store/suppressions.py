"""What is remembered of addresses: who wants no more invitations from a tenant, and whose emails came back. They are
found by their pseudonyms; no address is kept.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import sqlalchemy as sa

from ..model.binding import Models
from ..model.states import FINAL, OUT, Reason
from ..model.tables import Suppression, new_id
from ..tokens import Pseudonyms
from .found import made
from .statements import EVERYWHERE, LOOKUP, Tables, by_key, chunks

#: A tenant's id and a canonical email.
Address = tuple[Any, str]


@dataclass(frozen=True)
class Standing:
    """How an address stands with a tenant.

    :param unwanted: the invitee wants nothing from there.
    :param bounces: the rows that tell of an email which came back, or was reported as spam, and still count.
    """

    unwanted: bool = False
    bounces: Sequence[uuid.UUID] = ()

    @property
    def bounced(self) -> bool:
        return bool(self.bounces)


#: How most addresses stand.
GOOD: Final = Standing()


class Suppressions(Tables):
    """The rows of ``user_invitation_suppressions``."""

    def __init__(self, session: Callable[[], Any], models: Models, pseudonyms: Pseudonyms) -> None:
        super().__init__(session, models)
        self._pseudonyms = pseudonyms

    def of(self, addresses: Iterable[Address]) -> Mapping[Address, Standing]:
        """How each of these addresses stands; one statement for each chunk of them."""
        named = {name: address for address in addresses for name in self._pseudonyms.of(*address)}
        lines = defaultdict[Address, list[Any]](list)
        for chunk in chunks(list(named), LOOKUP):
            for line in self._rows(self._found, {"pseudonyms": chunk}):
                lines[named[line.pseudonym]].append(line)
        return dict.fromkeys(named.values(), GOOD) | {address: _standing(found) for address, found in lines.items()}

    @cached_property
    def _found(self) -> Any:
        ours, mail = self._table, self.models.Delivery.__table__
        both = ours.outerjoin(mail, mail.c.id == ours.c.confirmed_by)
        found = sa.select(ours.c.id, ours.c.pseudonym, ours.c.reason, mail.c.state).select_from(both)
        return found.where(ours.c.pseudonym.in_(sa.bindparam("pseudonyms", expanding=True)))

    def add(self, tenant_id: Any, pseudonyms: Sequence[str], reason: Reason, now: datetime) -> None:
        """Remember it. Where it is remembered already, under whichever key, it counts again.

        :param pseudonyms: of the address, the one to be written first.
        """
        ours = self._table.c
        known = (self._holding([tenant_id]), ours.pseudonym.in_(pseudonyms), ours.reason == reason)
        if self._execute(sa.update(self._table).where(*known).values(confirmed_by=None)) == 0:
            new = {"id": new_id(now), "tenant_id": tenant_id, "pseudonym": pseudonyms[0], "reason": reason}
            self._insert(self.models.Suppression, [{**new, "confirmed_by": None, "created_at": now}])

    def confirm(self, emails: Mapping[uuid.UUID, uuid.UUID]) -> None:
        """Once these emails have left, earlier ones no longer count.

        :param emails: what was remembered of earlier ones, by :attr:`Standing.bounces`, to the email that is sent now.
        """
        update = by_key(sa.update(self._table)).where(self._table.c.id == sa.bindparam("row"))
        given = [{"row": row, "email": email} for row, email in emails.items()]
        if given:
            self._binds.connection(update).execute(update.values(confirmed_by=sa.bindparam("email")), given)

    def listed(self, tenant_id: Any) -> Sequence[Suppression]:
        """All that is remembered there, oldest first."""
        ours = self._table
        lines = self._rows(sa.select(ours).where(self._there(tenant_id)).order_by(ours.c.created_at, ours.c.id))
        return [made(Suppression, ours.c.keys(), line) for line in lines]

    def lift(self, tenant_id: Any, email_key: str) -> int:
        """Forget what is remembered of an address there; returns how many rows that were."""
        tenants = self._rows(sa.select(self._table.c.tenant_id).where(self._there(tenant_id)).distinct()).scalars()
        named = [name for tenant in tenants for name in self._pseudonyms.of(tenant, email_key)]
        forget = sa.delete(self._table)
        return sum(self._execute(forget.where(self._table.c.pseudonym.in_(chunk))) for chunk in chunks(named, LOOKUP))

    def _there(self, tenant_id: Any) -> Any:
        """In this tenant; where there are none, and everywhere, each row is."""
        if tenant_id is EVERYWHERE or self.models.tenant is None:
            return sa.true()
        return self._table.c.tenant_id == tenant_id

    @property
    def _table(self) -> sa.Table:
        return self.models.Suppression.__table__


def _standing(lines: Sequence[Any]) -> Standing:
    about_emails = [line for line in lines if line.reason not in FINAL]
    return Standing(
        unwanted=len(about_emails) < len(lines), bounces=[line.id for line in about_emails if line.state not in OUT]
    )
