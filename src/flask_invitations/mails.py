"""The outbox's SQL: leases, outcomes, and what a provider reports. Like ``store.py`` it never decides.

The worker runs the same few statements for every mail; they are built once: to build one costs more than to run it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import cache, cached_property
from typing import Any, NamedTuple

import sqlalchemy as sa

from .models import Delivery, DeliveryState, Invitation, Kind, new_id
from .tables import Tables
from .unit import Stale


def _by_key(update: Any) -> Any:
    """An UPDATE that finds its rows by their primary key: else MariaDB and MySQL read a small table whole, and lock (or
    wait for) every row that they read."""
    for dialect in ("mysql", "mariadb"):
        update = update.with_hint("FORCE INDEX (PRIMARY)", dialect_name=dialect)
    return update


def _named(attempts: Mapping[uuid.UUID, int]) -> dict[str, Any]:
    """The parameters of ``Mails._mine``."""
    return {"ids": list(attempts), "pairs": list(attempts.items())}


class _Choice(NamedTuple):
    """By one rule: the longest waiting mails; for PostgreSQL the UPDATE that leases them in the same statement."""

    look: Any
    lease: Any


class Mails(Tables):
    """The rows of ``user_invitation_deliveries``."""

    def add(self, row: Invitation, kind: str, now: datetime, **values: Any) -> Delivery:
        columns = {
            "id": new_id(now),
            "invitation_id": row.id,
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
        self._insert(self.models.Delivery, columns)
        return self.models.Delivery(**columns)

    def latest(self, invitation_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, Delivery]:
        """For each invitation its latest mail with the link."""
        if not invitation_ids:
            return {}
        mail = self.models.Delivery
        wanted = (mail.invitation_id.in_(invitation_ids), mail.kind.in_(Kind.WITH_LINK))
        rows = self.session.scalars(
            sa.select(mail).where(*wanted).order_by(mail.created_at, mail.id),
            execution_options={"populate_existing": True},
        )
        return {row.invitation_id: row for row in rows}

    def is_replaced(self) -> Any:
        """The condition that a resend has made another mail since."""
        mail, newer = self._table, self._table.alias()
        after = (newer.c.invitation_id == mail.c.invitation_id, newer.c.created_at > mail.c.created_at)
        return sa.exists().where(*after, newer.c.kind == Kind.INVITATION).correlate(mail)

    # Leases

    def count_due(self, now: datetime) -> int:
        """How many mails a worker would find."""
        mail = self.models.Delivery
        count: int = self.session.scalar(sa.select(sa.func.count(mail.id)).where(sa.or_(*self.due(now))))
        return count

    def due(self, now: Any) -> tuple[Any, Any]:
        """The two rules by which a worker takes up a mail: its time has come; its last worker outlived its lease."""
        mail = self._table.c
        waiting = sa.and_(mail.state == DeliveryState.QUEUED, mail.next_attempt_at <= now)
        abandoned = sa.and_(mail.state == DeliveryState.SENDING, mail.leased_until <= now)
        return waiting, abandoned

    def claim(
        self,
        now: datetime,
        leased_until: datetime,
        limit: int,
        *,
        only: uuid.UUID | None = None,
        rescue: bool = False,
    ) -> Mapping[uuid.UUID, bool]:
        """Lease at most ``limit`` due mails, the longest waiting first, by UPDATEs that must find them still due.

        Rows that another worker is claiming are passed over (SKIP LOCKED); SQLite knows no such locks, and has one
        writer at a time.

        :param only: this one, if it is due.
        :param rescue: those that another worker died over come first; else they come when no other is due.
        :returns: their ids, and whether a worker had died over it.
        """
        claimed, connection = dict[uuid.UUID, bool](), self.connection
        for abandoned in (True, False) if rescue else (False, True):
            choice = self._choice(abandoned, only is not None)
            given = {"now": now, "until": leased_until, "count": limit - len(claimed), "only": only}
            claimed.update(dict.fromkeys(self._lease(connection, choice, given), abandoned))
            if len(claimed) == limit:
                break
        return claimed

    def _lease(self, connection: Any, choice: _Choice, given: Mapping[str, Any]) -> Sequence[uuid.UUID]:
        if connection.dialect.name == "postgresql":
            at_once: Sequence[uuid.UUID] = connection.scalars(choice.lease, given).all()
            return at_once
        ids: Sequence[uuid.UUID] = connection.scalars(choice.look, given).all()
        if connection.dialect.name == "sqlite":  # locks no rows; and for a WITH ... UPDATE its driver would not BEGIN
            return [each for each in ids if connection.execute(self._lease_these, {**given, "ids": [each]}).rowcount]
        if ids and connection.execute(self._lease_these, {**given, "ids": ids}).rowcount != len(ids):
            raise Stale  # cannot be, with their rows locked
        return ids

    # Outcomes

    def settle(
        self,
        attempts: Mapping[uuid.UUID, int],
        state: str,
        *,
        sent_at: datetime | None,
        last_error: str | None,
        next_attempt_at: datetime | None,
    ) -> Collection[uuid.UUID]:
        """End attempts, all in the same way.

        :param attempts: delivery ids, and which attempt at it this was: the number fences.
        :returns: those that were still ours, and not another worker's since their lease ran out.
        """
        these = _named(attempts)
        how = {"to": state, "sent": sent_at, "error": last_error, "next": next_attempt_at}
        if self._execute(self._settle, {**these, **how}) == len(attempts):
            return attempts.keys()
        ours = sa.select(self._table.c.id).where(self._table.c.state == state, *self._mine)
        found: Sequence[uuid.UUID] = self.connection.scalars(ours, these).all()
        return found

    def put_back(self, attempts: Mapping[uuid.UUID, int], now: datetime) -> None:
        """Give up leases on mails that were not tried: due again at once, and no attempt is counted."""
        if attempts:
            self._execute(self._put_back, {**_named(attempts), "now": now})

    # The statements of the worker

    @property
    def _table(self) -> sa.Table:
        return self.models.Delivery.__table__

    @cached_property
    def _choice(self) -> Callable[[bool, bool], _Choice]:
        return cache(self._choose)

    def _choose(self, abandoned: bool, only: bool) -> _Choice:
        mail, now = self._table.c, self._now
        since = mail.leased_until if abandoned else mail.next_attempt_at
        look = sa.select(mail.id).where(self.due(now)[abandoned]).order_by(since)
        look = look.where(mail.id == sa.bindparam("only")) if only else look
        look = look.limit(sa.bindparam("count", type_=sa.Integer)).with_for_update(skip_locked=True)
        chosen = sa.select(look.cte("oldest").c.id)
        return _Choice(look, self._leased.where(mail.id.in_(chosen)).returning(mail.id))

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
        return _by_key(sa.update(self._table)).where(still_due).values(**lease)

    @cached_property
    def _lease_these(self) -> Any:
        return self._leased.where(self._table.c.id.in_(sa.bindparam("ids", expanding=True)))

    @property
    def _mine(self) -> tuple[Any, Any]:
        mail = self._table.c
        exactly = sa.tuple_(mail.id, mail.attempts).in_(sa.bindparam("pairs", expanding=True))
        return mail.id.in_(sa.bindparam("ids", expanding=True)), exactly  # the first is what an index serves

    @cached_property
    def _settle(self) -> Any:
        update = _by_key(sa.update(self._table)).where(self._table.c.state == DeliveryState.SENDING, *self._mine)
        return update.values(
            state=sa.bindparam("to"),
            leased_until=None,
            next_attempt_at=sa.bindparam("next"),
            last_error=sa.bindparam("error"),
            sent_at=sa.bindparam("sent"),
        )

    @cached_property
    def _put_back(self) -> Any:
        mail = self._table.c
        update = _by_key(sa.update(self._table)).where(mail.state == DeliveryState.SENDING, *self._mine)
        return update.values(
            state=DeliveryState.QUEUED,
            leased_until=None,
            next_attempt_at=sa.bindparam("now"),
            attempts=mail.attempts - 1,
        )

    # Other ends

    def cancel(self, row: Invitation) -> None:
        """Nobody needs the waiting mails of this invitation any more."""
        mail = self.models.Delivery
        waiting = (mail.invitation_id == row.id, mail.state == DeliveryState.QUEUED)
        self._execute(sa.update(mail).where(*waiting).values(state=DeliveryState.CANCELLED, next_attempt_at=None))

    def revive(self, now: datetime) -> int:
        """Queue again what was given up; returns how many."""
        mail = self.models.Delivery
        failed = sa.update(mail).where(mail.state == DeliveryState.FAILED)
        return self._execute(failed.values(state=DeliveryState.QUEUED, next_attempt_at=now))

    def report(self, delivery_id: uuid.UUID, state: str, before: Sequence[str], sent_at: datetime) -> bool:
        """Write down what the provider says of a mail; ``False`` where its state is none of ``before``."""
        mail = self.models.Delivery
        sent = sa.func.coalesce(mail.sent_at, sa.literal(sent_at, mail.sent_at.type))
        update = sa.update(mail).where(mail.id == delivery_id, mail.state.in_(before))
        return self._execute(update.values(state=state, next_attempt_at=None, leased_until=None, sent_at=sent)) == 1
