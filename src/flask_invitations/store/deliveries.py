"""The outbox's SQL: leases, outcomes, and what a provider reports. Like the rest of the store it never decides.

The worker runs the same few statements for every mail; they are built once: to build one costs more than to run it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import Any

import sqlalchemy as sa

from ..model.binding import Models
from ..model.states import FINAL, TO_INVITER, WITH_LINK, DeliveryState, Kind
from ..model.tables import Delivery, Invitation, new_id
from ..model.values import DeliveryInfo
from ..tokens import Maker
from .found import FoundMail, People, made
from .statements import LOOKUP, Tables, by_key, chunks
from .unit import Stale

#: An app takes up what is its own at once, and another's never; but what lies for so long, with links to our own pages,
#: was made under a key that is gone, and what lies for so long, with links by one of our keys, before we moved.
KEY_GONE, MOVED = timedelta(minutes=2), timedelta(hours=1)
#: What the last look before an email reads of its invitation.
GLANCED = ("email_key", "status", "expires_at", "token_hash")


def _moments(now: datetime) -> dict[str, datetime]:
    """What the rules of who takes up a mail, and when, are asked with."""
    return {"now": now, "key_gone": now - KEY_GONE, "moved": now - MOVED}


class Mails(Tables):
    """The rows of ``user_invitation_deliveries``.

    :param maker: the app whose rows we make, and take up.
    """

    def __init__(self, session: Callable[[], Any], models: Models, people: People, maker: Maker) -> None:
        super().__init__(session, models)
        self._people, self._maker = people, maker

    def add(self, rows: Sequence[Invitation], kind: Kind, now: datetime, **values: Any) -> Sequence[DeliveryInfo]:
        """An email about each of these invitations, waiting to be sent unless ``values`` say otherwise."""
        columns = {
            "kind": kind,
            "state": DeliveryState.QUEUED,
            "maker": self._maker.marks[0],
            "fence": None,
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

    def glance(
        self, delivery_id: uuid.UUID, fence: uuid.UUID, pseudonyms: Sequence[str]
    ) -> tuple[Invitation, bool, bool] | None:
        """What says whether a mail that was leased by ``fence`` is still to leave: of its invitation, :data:`GLANCED`,
        whether a resend has made another mail since, and whether whoever it goes to wants none; ``None``: it is no
        longer ours. Asked for each mail, so it reads no more than that.

        :param pseudonyms: of whom it goes to.
        """
        theirs = {f"pseudonym_{number}": one for number, one in enumerate(pseudonyms)}
        line = self._rows(self._glance(len(theirs)), {"id": delivery_id, "held": fence, **theirs}).first()
        return line and (made(Invitation, GLANCED, line[2:]), line[0], line[1])

    # Leases

    def count_due(self, now: datetime) -> int:
        """How many mails a worker would find."""
        count: int = self._rows(sa.select(sa.func.count(self._table.c.id)).where(sa.or_(*self.due(now)))).scalar()
        return count

    def due(self, now: datetime) -> tuple[Any, Any]:
        """The two rules by which a worker takes up a mail: its time has come; its last worker outlived its lease."""
        return self._rules(**_moments(now))

    def _rules(self, now: Any, key_gone: Any, moved: Any) -> tuple[Any, Any]:
        def taken_up(state: DeliveryState, due: Any) -> Any:
            ours = self._is_ours(due <= key_gone, due <= moved)
            return sa.and_(self._table.c.state == state, due <= now, ours)

        mail = self._table.c
        return taken_up(DeliveryState.QUEUED, mail.next_attempt_at), taken_up(DeliveryState.SENDING, mail.leased_until)

    def _is_ours(self, key_gone: Any = True, moved: Any = True) -> Any:
        """That a mail is this app's, or has been left to it."""
        made_by, maker = self._table.c.maker, self._maker
        same_key = sa.or_(*(made_by.like(f"%.{key}") for key in maker.keys))
        left = sa.and_(key_gone, made_by.like(f"{maker.site}.%")), sa.and_(moved, same_key)
        return sa.or_(made_by.in_(maker.marks), made_by.is_(None), *left)

    def lease(
        self,
        now: datetime,
        until: datetime,
        limit: int,
        *,
        only: uuid.UUID | None = None,
        rescue: bool = False,
        mark: uuid.UUID | None = None,
    ) -> Sequence[FoundMail]:
        """Lease at most ``limit`` due mails, the longest waiting first, by UPDATEs that must find them still due.

        Rows that another worker is leasing are passed over (SKIP LOCKED); SQLite knows no such locks, and has one
        writer at a time.

        :param only: this one, if it is due.
        :param rescue: those that another worker died over come first; else they come when no other is due.
        :param mark: the fence that they get.
        """
        leased: list[FoundMail] = []
        lease = {**_moments(now), "until": until, "mark": mark or uuid.uuid4(), "only": only}
        for abandoned in (True, False) if rescue else (False, True):
            given = {**lease, "count": limit - len(leased)}
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
        return [
            replace(one, mail=replace(one.mail, attempts=one.mail.attempts + 1, **taken), fence=given["mark"])
            for one in due
        ]

    def _take(self, due: Sequence[FoundMail], given: Mapping[str, Any]) -> int:
        return self._execute(self._lease_these, {**given, "ids": [one.mail.id for one in due]})

    def renew(self, delivery_id: uuid.UUID, fence: uuid.UUID, until: datetime) -> bool:
        """Have a mail for ourselves until then; ``False``: it is no longer ours."""
        mail = self.models.Delivery
        mine = (mail.id == delivery_id, mail.fence == fence, mail.state == DeliveryState.SENDING)
        return self._execute(sa.update(mail).where(*mine).values(leased_until=until)) == 1

    # Outcomes

    def settle(
        self,
        ids: Collection[uuid.UUID],
        fence: uuid.UUID,
        state: str,
        tenants: Collection[Any],
        *,
        sent_at: datetime | None,
        last_error: str | None,
        next_attempt_at: datetime | None,
        tried: bool,
    ) -> Collection[uuid.UUID]:
        """End attempts, all in the same way. What somebody has reported of a mail meanwhile stands; only that it was
        sent, and when, is added.

        :param fence: by which they were leased.
        :param tenants: of all that this transaction writes down.
        :param tried: ``False``: no attempt is counted.
        :returns: those that were still ours: neither another worker's since their lease ran out, nor written down
            before.
        """
        these = {"ids": list(ids), "held": fence, "mark": uuid.uuid4()}
        held = self._named_tenants(tenants)
        how = {"to": state, "sent": sent_at, "error": last_error, "next": next_attempt_at, "untried": int(not tried)}
        if self._execute(self._settle, {**these, **how, **held}) == len(ids):
            return ids
        if state == DeliveryState.SENT:
            self._execute(self._complete, {**these, **held, "sent": sent_at})
        found: Sequence[uuid.UUID] = self._rows(self._settled, these).scalars().all()
        return found

    def put_back(self, ids: Collection[uuid.UUID], fence: uuid.UUID, tenants: Collection[Any], now: datetime) -> None:
        """Give up leases on mails that were not tried: due again at once, and no attempt is counted."""
        if ids:
            held = self._named_tenants(tenants)
            self._execute(self._put_back, {"ids": list(ids), "held": fence, "now": now, **held})

    def release(self, fence: uuid.UUID, now: datetime) -> None:
        """The same for whatever was leased by this fence."""
        self._execute(self._release, {"held": fence, "now": now})

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
    def _glance(self) -> Callable[[int], Any]:
        return cache(self._find_glance)

    def _find_glance(self, count: int) -> Any:
        """With so many pseudonyms, each a parameter: a list of them would be made into SQL each time."""
        mail, ours, refused = self._table.c, self._columns, self.models.Suppression.__table__.c
        them = refused.pseudonym.in_([sa.bindparam(f"pseudonym_{number}") for number in range(count)])
        unwanted = sa.exists().where(them, refused.reason.in_(FINAL))
        glanced = sa.select(mail.link_number < ours.link_number, unwanted, *(ours[name] for name in GLANCED))
        held = (mail.id == sa.bindparam("id"), mail.state == DeliveryState.SENDING, mail.fence == sa.bindparam("held"))
        return glanced.where(ours.id == mail.invitation_id, *held)

    @cached_property
    def _due(self) -> Callable[[str, bool, bool], Any]:
        return cache(self._find_due)

    def _find_due(self, dialect: str, abandoned: bool, only: bool) -> Any:
        """By one rule the longest waiting mails, locked; on PostgreSQL, which can, leased as well."""
        mail = self._table.c
        since = mail.leased_until if abandoned else mail.next_attempt_at
        moments = {name: sa.bindparam(name, type_=since.type) for name in ("now", "key_gone", "moved")}
        due = sa.select(self._table).where(self._rules(**moments)[abandoned]).order_by(since)
        due = due.where(mail.id == sa.bindparam("only")) if only else due
        # PostgreSQL takes a parameter there for a tenth of the table, and would plan each lease again.
        due = due.limit(sa.bindparam("count", type_=sa.Integer, literal_execute=True)).with_for_update(skip_locked=True)
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
            "fence": sa.bindparam("mark"),
            "attempts": mail.attempts + 1,
            "next_attempt_at": None,
            "last_attempt_at": self._now,
            "leased_until": sa.bindparam("until"),
        }
        return by_key(sa.update(self._table)).where(still_due).values(**lease)

    @cached_property
    def _lease_these(self) -> Any:
        return self._leased.where(self._named)

    @property
    def _named(self) -> Any:
        return self._table.c.id.in_(sa.bindparam("ids", expanding=True))

    @property
    def _held(self) -> Any:
        """An UPDATE of what was leased by a fence, and is not anybody else's by now."""
        mail = self._table.c
        return sa.update(self._table).where(mail.state == DeliveryState.SENDING, mail.fence == sa.bindparam("held"))

    @cached_property
    def _settle(self) -> Any:
        return by_key(self._held.where(self._tenants_held, self._named)).values(
            state=sa.bindparam("to"),
            fence=sa.bindparam("mark"),
            attempts=self._table.c.attempts - sa.bindparam("untried"),
            leased_until=None,
            next_attempt_at=sa.bindparam("next"),
            last_error=sa.bindparam("error"),
            sent_at=sa.bindparam("sent"),
        )

    @cached_property
    def _complete(self) -> Any:
        """Of what was leased by a fence, and is in another state by now without another lease, that it was sent."""
        mail = self._table.c
        ended = mail.state.not_in((DeliveryState.QUEUED, DeliveryState.SENDING))
        cancelled = mail.state == DeliveryState.CANCELLED
        these = (self._tenants_held, self._named, mail.fence == sa.bindparam("held"), ended)
        update = by_key(sa.update(self._table)).where(*these)
        return update.ordered_values(  # in this order: MariaDB and MySQL read what the assignment before has written
            (mail.last_error, sa.case((cancelled, sa.null()), else_=mail.last_error)),
            (mail.state, sa.case((cancelled, sa.literal(DeliveryState.SENT.value)), else_=mail.state)),
            (mail.sent_at, sa.bindparam("sent")),
            (mail.fence, sa.bindparam("mark")),
        )

    @cached_property
    def _settled(self) -> Any:
        return sa.select(self._table.c.id).where(self._named, self._table.c.fence == sa.bindparam("mark"))

    @cached_property
    def _put_back(self) -> Any:
        return by_key(self._release.where(self._tenants_held, self._named))

    @cached_property
    def _release(self) -> Any:
        return self._held.values(
            state=DeliveryState.QUEUED,
            leased_until=None,
            next_attempt_at=sa.bindparam("now"),
            attempts=self._table.c.attempts - 1,
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
        self._cancel(rows, why, self.models.Delivery.state == DeliveryState.QUEUED)

    def stop(self, rows: Sequence[Invitation], why: str) -> None:
        """The invitee wants none of the emails about these invitations: neither those that wait nor those that a worker
        has in hand; of one that is on its way already, the worker writes down that it was sent."""
        mail = self.models.Delivery
        in_hand = mail.state.in_((DeliveryState.QUEUED, DeliveryState.SENDING))
        self._cancel(rows, why, in_hand, mail.kind.not_in(TO_INVITER))

    def _cancel(self, rows: Sequence[Invitation], why: str, *which: Any) -> None:
        mail = self.models.Delivery
        ended = {"state": DeliveryState.CANCELLED, "next_attempt_at": None, "leased_until": None, "last_error": why}
        for chunk in chunks(rows):
            these = mail.invitation_id.in_([row.id for row in chunk])
            self._execute(sa.update(mail).where(these, *which).values(ended))

    def revive(self, due: datetime, only: Collection[uuid.UUID] | None = None) -> int:
        """Queue again what was given up, or of that these; returns how many."""
        mail = self.models.Delivery
        failed = sa.update(mail).where(mail.state == DeliveryState.FAILED, self._is_ours())
        if only is not None:
            failed = failed.where(mail.id.in_(only))
        return self._execute(failed.values(state=DeliveryState.QUEUED, next_attempt_at=due))

    def report(self, found: FoundMail, state: str, before: Sequence[str], sent_at: datetime | None) -> bool:
        """Write down what the provider says of a mail; ``False`` where its state is none of ``before``.

        :param sent_at: by when it was sent, where the report tells that it was, and nobody has written down when.
        """
        mail = self.models.Delivery
        sent = sa.func.coalesce(mail.sent_at, sa.literal(sent_at, mail.sent_at.type))
        still = (mail.id == found.mail.id, mail.state.in_(before))
        update = sa.update(mail).where(self._holding([found.row.tenant_id]), *still)
        return self._execute(update.values(state=state, next_attempt_at=None, leased_until=None, sent_at=sent)) == 1
