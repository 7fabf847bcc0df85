"""The outbox's SQL: leases, outcomes, and what a provider reports. Like the rest of the store it never decides.

The worker runs the same few statements for every mail; they are built once: to build one costs more than to run it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, cached_property
from typing import Any

import sqlalchemy as sa

from ..model.binding import Models
from ..model.states import WITH_LINK, DeliveryState, Kind
from ..model.tables import Delivery, Invitation, new_id
from ..model.values import DeliveryInfo
from .found import FoundMail, People, made
from .statements import LOOKUP, Tables, by_key, chunks
from .unit import Stale


def _named(attempts: Mapping[uuid.UUID, int]) -> dict[str, Any]:
    """The parameters of ``Mails._mine``."""
    return {"ids": list(attempts), "pairs": list(attempts.items())}


class Mails(Tables):
    """The rows of ``user_invitation_deliveries``."""

    def __init__(self, session: Callable[[], Any], models: Models, people: People) -> None:
        super().__init__(session, models)
        self._people = people

    def add(self, rows: Sequence[Invitation], kind: Kind, now: datetime, **values: Any) -> Sequence[DeliveryInfo]:
        """An email about each of these invitations, waiting to be sent unless ``values`` say otherwise."""
        columns = {
            "kind": kind,
            "state": DeliveryState.QUEUED,
            "attempts": 0,
            "next_attempt_at": now,
            "last_attempt_at": None,
            "leased_until": None,
            "last_error": None,
            "sent_at": None,
            "created_at": now,
            **values,
        }
        mails = [
            {
                "id": new_id(now),
                "invitation_id": row.id,
                "version": row.version,
                "link_number": row.link_number,
                **columns,
            }
            for row in rows
        ]
        self._insert(self.models.Delivery, mails)
        return [made(Delivery, each.keys(), each.values()).info() for each in mails]

    def latest(self, invitation_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, DeliveryInfo]:
        """For each invitation its latest mail with the link."""
        mail = self._table.c
        with_link = sa.select(self._table).order_by(mail.version, mail.id)
        lines = self._with_link(with_link, invitation_ids)
        return {line.invitation_id: made(Delivery, mail.keys(), line).info() for line in lines}

    def reached(self, invitation_ids: Sequence[uuid.UUID]) -> Collection[uuid.UUID]:
        """The invitations of which any email with the link has left."""
        left = sa.select(self._table.c.invitation_id).where(self._table.c.sent_at.is_not(None))
        return {line.invitation_id for line in self._with_link(left, invitation_ids)}

    def _with_link(self, select: Any, invitation_ids: Sequence[uuid.UUID]) -> Iterator[Any]:
        """What ``select`` finds of the mails with the link of these invitations, one statement for each chunk."""
        mail = self._table.c
        for chunk in chunks(invitation_ids, LOOKUP):
            yield from self._rows(select.where(mail.invitation_id.in_(chunk), mail.kind.in_(WITH_LINK)))

    def find(self, delivery_ids: Collection[uuid.UUID]) -> Sequence[FoundMail]:
        """These mails, with their invitations and inviters."""
        return self._people.find_mails(self._these, {"ids": list(delivery_ids)}) if delivery_ids else ()

    # Leases

    def count_due(self, now: datetime) -> int:
        """How many mails a worker would find."""
        mail = self.models.Delivery
        count: int = self._rows(sa.select(sa.func.count(mail.id)).where(sa.or_(*self.due(now)))).scalar()
        return count

    def due(self, now: Any) -> tuple[Any, Any]:
        """The two rules by which a worker takes up a mail: its time has come; its last worker outlived its lease."""
        mail = self._table.c
        waiting = sa.and_(mail.state == DeliveryState.QUEUED, mail.next_attempt_at <= now)
        abandoned = sa.and_(mail.state == DeliveryState.SENDING, mail.leased_until <= now)
        return waiting, abandoned

    def lease(
        self,
        now: datetime,
        until: datetime,
        limit: int,
        *,
        only: uuid.UUID | None = None,
        rescue: bool = False,
    ) -> Sequence[FoundMail]:
        """Lease at most ``limit`` due mails, the longest waiting first, by UPDATEs that must find them still due.

        Rows that another worker is leasing are passed over (SKIP LOCKED); SQLite knows no such locks, and has one
        writer at a time.

        :param only: this one, if it is due.
        :param rescue: those that another worker died over come first; else they come when no other is due.
        """
        leased: list[FoundMail] = []
        for abandoned in (True, False) if rescue else (False, True):
            given = {"now": now, "until": until, "count": limit - len(leased), "only": only}
            leased += [replace(one, abandoned=abandoned) for one in self._lease(abandoned, given)]
            if len(leased) == limit:
                break
        return leased

    def _lease(self, abandoned: bool, given: Mapping[str, Any]) -> Sequence[FoundMail]:
        dialect = self._binds.connection().dialect.name
        due = self._people.find_mails(self._due(dialect, abandoned, given["only"] is not None), given)
        if dialect == "postgresql":  # leased by the same statement
            return due
        if dialect == "sqlite":  # locks no rows
            due = [one for one in due if self._take([one], given)]
        elif due and self._take(due, given) != len(due):
            raise Stale  # cannot be, with their rows locked
        taken = {"state": DeliveryState.SENDING, "last_attempt_at": given["now"]}
        return [replace(one, mail=replace(one.mail, attempts=one.mail.attempts + 1, **taken)) for one in due]

    def _take(self, due: Sequence[FoundMail], given: Mapping[str, Any]) -> int:
        these = _named({one.mail.id: one.mail.attempts for one in due})
        return self._execute(self._lease_these, {**given, **these})

    # Outcomes

    def settle(
        self,
        attempts: Mapping[uuid.UUID, int],
        state: str,
        tenants: Collection[Any],
        *,
        sent_at: datetime | None,
        last_error: str | None,
        next_attempt_at: datetime | None,
    ) -> Collection[uuid.UUID]:
        """End attempts, all in the same way.

        :param attempts: delivery ids, and which attempt at it this was: the number fences.
        :param tenants: of all that this transaction writes down.
        :returns: those that were still ours, and not another worker's since their lease ran out.
        """
        these = {**_named(attempts), **self._named_tenants(tenants)}
        how = {"to": state, "sent": sent_at, "error": last_error, "next": next_attempt_at}
        if self._execute(self._settle, {**these, **how}) == len(attempts):
            return attempts.keys()
        ours = sa.select(self._table.c.id).where(self._table.c.state == state, *self._mine)
        found: Sequence[uuid.UUID] = self._rows(ours, _named(attempts)).scalars().all()
        return found

    def put_back(self, attempts: Mapping[uuid.UUID, int], tenants: Collection[Any], now: datetime) -> None:
        """Give up leases on mails that were not tried: due again at once, and no attempt is counted."""
        if attempts:
            self._execute(self._put_back, {**_named(attempts), **self._named_tenants(tenants), "now": now})

    def _named_tenants(self, tenants: Collection[Any]) -> dict[str, Any]:
        """The parameters of ``_tenants_held``."""
        return {} if self.models.tenant is None else {"tenants": list(tenants)}

    # The statements of the worker

    @property
    def _table(self) -> sa.Table:
        return self.models.Delivery.__table__

    @cached_property
    def _these(self) -> Any:
        return self._people.mails(self._table).where(self._table.c.id.in_(sa.bindparam("ids", expanding=True)))

    @cached_property
    def _due(self) -> Callable[[str, bool, bool], Any]:
        return cache(self._find_due)

    def _find_due(self, dialect: str, abandoned: bool, only: bool) -> Any:
        """By one rule the longest waiting mails, locked; on PostgreSQL, which can, leased as well."""
        mail = self._table.c
        since = mail.leased_until if abandoned else mail.next_attempt_at
        due = sa.select(self._table).where(self.due(self._now)[abandoned]).order_by(since)
        due = due.where(mail.id == sa.bindparam("only")) if only else due
        due = due.limit(sa.bindparam("count", type_=sa.Integer)).with_for_update(skip_locked=True)
        if dialect != "postgresql":
            return self._people.mails(due.subquery("due"))
        chosen = sa.select(due.with_only_columns(mail.id).cte("due").c.id)
        return self._people.mails(self._leased.where(mail.id.in_(chosen)).returning(self._table).cte("leased"))

    @cached_property
    def _now(self) -> Any:
        return sa.bindparam("now", type_=self._table.c.leased_until.type)

    @property
    def _leased(self) -> Any:
        mail = self._table.c
        still_due = sa.func.coalesce(mail.next_attempt_at, mail.leased_until) <= self._now  # either rule, by the CHECKs
        lease = {
            "state": DeliveryState.SENDING,
            "attempts": mail.attempts + 1,
            "next_attempt_at": None,
            "last_attempt_at": self._now,
            "leased_until": sa.bindparam("until"),
        }
        return by_key(sa.update(self._table)).where(still_due).values(**lease)

    @cached_property
    def _lease_these(self) -> Any:
        return self._leased.where(*self._mine)

    @property
    def _mine(self) -> tuple[Any, Any]:
        mail = self._table.c
        exactly = sa.tuple_(mail.id, mail.attempts).in_(sa.bindparam("pairs", expanding=True))
        return mail.id.in_(sa.bindparam("ids", expanding=True)), exactly  # the first is what an index serves

    @cached_property
    def _settle(self) -> Any:
        ours = (self._tenants_held, self._table.c.state == DeliveryState.SENDING, *self._mine)
        return by_key(sa.update(self._table).where(*ours)).values(
            state=sa.bindparam("to"),
            leased_until=None,
            next_attempt_at=sa.bindparam("next"),
            last_error=sa.bindparam("error"),
            sent_at=sa.bindparam("sent"),
        )

    @cached_property
    def _put_back(self) -> Any:
        mail = self._table.c
        ours = (self._tenants_held, mail.state == DeliveryState.SENDING, *self._mine)
        return by_key(sa.update(self._table).where(*ours)).values(
            state=DeliveryState.QUEUED,
            leased_until=None,
            next_attempt_at=sa.bindparam("now"),
            attempts=mail.attempts - 1,
        )

    @property
    def _tenants_held(self) -> Any:
        """That the tenants of what is written down are held before any row of ours is: so the host can delete one."""
        return self._holds(self.models.tenant, sa.bindparam("tenants", expanding=True))

    # Other ends

    def cancel(self, rows: Sequence[Invitation], why: str) -> None:
        """Nobody needs the waiting emails of these invitations any more.

        :param why: the code of the refusal that a link in them would meet.
        """
        mail = self.models.Delivery
        for chunk in chunks(rows):
            waiting = (mail.invitation_id.in_([row.id for row in chunk]), mail.state == DeliveryState.QUEUED)
            ended = {"state": DeliveryState.CANCELLED, "next_attempt_at": None, "last_error": why}
            self._execute(sa.update(mail).where(*waiting).values(ended))

    def revive(self, now: datetime) -> int:
        """Queue again what was given up; returns how many."""
        mail = self.models.Delivery
        failed = sa.update(mail).where(mail.state == DeliveryState.FAILED)
        return self._execute(failed.values(state=DeliveryState.QUEUED, next_attempt_at=now))

    def report(self, found: FoundMail, state: str, before: Sequence[str], sent_at: datetime) -> bool:
        """Write down what the provider says of a mail; ``False`` where its state is none of ``before``."""
        mail = self.models.Delivery
        sent = sa.func.coalesce(mail.sent_at, sa.literal(sent_at, mail.sent_at.type))
        still = (mail.id == found.mail.id, mail.state.in_(before))
        update = sa.update(mail).where(self._holding([found.row.tenant_id]), *still)
        return self._execute(update.values(state=state, next_attempt_at=None, leased_until=None, sent_at=sent)) == 1
