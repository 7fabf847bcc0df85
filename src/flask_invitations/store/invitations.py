"""The invitations' SQL. It never decides: it finds, changes what is still as it was found, and counts.

Every change is a single guarded UPDATE: the state that the decision was made on stands in its WHERE.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import cache, cached_property
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from ..model.binding import Models
from ..model.states import EXPIRE, OPEN, Move, Status
from ..model.tables import Invitation
from ..tokens import Maker, Pseudonyms
from .deliveries import Mails
from .events import Events
from .found import Found, People, made
from .health import Health
from .histories import Histories
from .hosts import Hosts
from .requests import Requests
from .statements import EVERYWHERE, Tables, bound, by_key, chunks, is_exactly
from .suppressions import Suppressions
from .unit import Stale, Unit

#: No row has a value of its own.
EMPTY: Mapping[uuid.UUID, Mapping[str, Any]] = MappingProxyType({})


class Store(Tables):
    """The rows of one host.

    :param session: gives the host's session.
    :param maker: the app whose emails these are.
    :param pseudonyms: of the addresses that are remembered.
    """

    def __init__(self, session: Callable[[], Any], models: Models, maker: Maker, pseudonyms: Pseudonyms) -> None:
        super().__init__(session, models)
        self.unit: Unit = Unit(session, models)
        self.hosts: Hosts = Hosts(session, models, self.unit)
        self.events: Events = Events(session, models)
        self.health: Health = Health(session, models)
        self.histories: Histories = Histories(session, models)
        self.requests: Requests = Requests(session, models)
        self._people = People(session, models, self.unit)
        self.mails: Mails = Mails(session, models, self._people, maker)
        self.suppressions: Suppressions = Suppressions(session, models, pseudonyms)
        self._page, self._counts = cache(self._build_page), cache(self._build_counts)

    # One

    def by_token(self, token_hash: str) -> Found | None:
        """The invitation that this link opens or, before the latest resend, opened; a purged one is nobody's."""
        found = self._people.find(self._by_token, {"token_hash": token_hash})
        return found[0] if found else None

    def by_id(self, tenant_id: Any, invitation_id: uuid.UUID) -> Found | None:
        """One invitation with its latest email and the host's row of its inviter."""
        given = {"id": invitation_id, **bound(tenant_id)}
        found = self._people.find(self._by_id[tenant_id is EVERYWHERE], given)
        return found[0] if found else None

    def by_ids(self, tenant_id: Any, ids: Sequence[uuid.UUID]) -> Sequence[Found]:
        """The invitations of these ids that there are, in any order, with their latest emails."""
        given, select = bound(tenant_id), self._by_ids[tenant_id is EVERYWHERE]
        return [found for chunk in chunks(ids) for found in self._people.find_shown(select, {**given, "ids": chunk})]

    def links(self, token_hashes: Sequence[str]) -> Mapping[str, Status | None]:
        """The links among these that are ours: the status of what each opens, ``None`` where it was replaced."""
        column = self._columns
        now, before = (each.in_(token_hashes) for each in (column.token_hash, column.previous_token_hash))
        select = sa.select(column.token_hash, column.previous_token_hash, column.status).where(sa.or_(now, before))
        lines = self._rows(select).all()
        return {**{line[1]: None for line in lines}, **{line[0]: Status(line[2]) for line in lines}}

    @cached_property
    def _by_token(self) -> Any:
        token_hash = sa.bindparam("token_hash", type_=sa.String())
        opens = sa.or_(self._columns.token_hash == token_hash, self._columns.previous_token_hash == token_hash)
        return self._people.invitations().where(opens, self._columns.email_key.is_not(None))

    @cached_property
    def _by_id(self) -> Mapping[bool, Any]:
        """By whether the tenant does not matter."""
        anywhere = self._people.invitations_with_mail().where(self._columns.id == sa.bindparam("id", type_=sa.Uuid()))
        return {True: anywhere, False: anywhere.where(self._in_tenant)}

    @cached_property
    def _by_ids(self) -> Mapping[bool, Any]:
        """Likewise."""
        these = self._columns.id.in_(sa.bindparam("ids", expanding=True, type_=sa.Uuid()))
        anywhere = self._people.shown().where(these)
        return {True: anywhere, False: anywhere.where(self._in_tenant)}

    # Many

    def page(
        self,
        tenant_id: Any,
        now: datetime,
        *,
        limit: int,
        after: tuple[datetime, uuid.UUID] | None = None,
        before: tuple[datetime, uuid.UUID] | None = None,
        **filters: str | None,
    ) -> Sequence[Found]:
        """Newest first, after the (created_at, id) of the last one seen; or oldest first, those before the first one.

        :param filters: ``status``, effective; ``role``; ``email_key``; ``q``, a part of the address.
        """
        wanted = {name: value for name, value in filters.items() if value is not None}
        given = {**bound(tenant_id), **_values(wanted), "now": now, "limit": limit}
        names = set(wanted)
        for name, place in (("after", after), ("before", before)):
            if place is not None:
                names.add(name)
                given["at"], given["last"] = place
        return self._people.find_shown(
            self._page(tenant_id is EVERYWHERE, frozenset(names), wanted.get("status")), given
        )

    def _build_page(self, anywhere: bool, names: Collection[str], status: str | None) -> Any:
        column = self._columns
        where = self._where(anywhere, names)
        if status is not None:
            where.append(self._effective(Status(status)))
        at, last = sa.bindparam("at", type_=column.created_at.type), sa.bindparam("last", type_=sa.Uuid())
        order: tuple[Any, ...] = column.created_at.desc(), column.id.desc()
        if "after" in names:
            where.append(sa.or_(column.created_at < at, sa.and_(column.created_at == at, column.id < last)))
        if "before" in names:
            where.append(sa.or_(column.created_at > at, sa.and_(column.created_at == at, column.id > last)))
            order = column.created_at, column.id
        statement = self._people.shown().where(*where)
        return statement.order_by(*order).limit(sa.bindparam("limit", type_=sa.Integer()))

    def _where(self, anywhere: bool, names: Collection[str]) -> list[Any]:
        """The filters of these names, and the tenant."""
        where = [] if anywhere else [self._in_tenant]
        return where + [self._filter(name) for name in ("role", "email_key", "q") if name in names]

    def _filter(self, name: str) -> Any:
        column, value = self._columns, sa.bindparam(name, type_=sa.String())
        if name == "role":
            return column.role == value
        if name == "email_key":
            return is_exactly(column.email_key, value)
        # an international domain is found as it was typed, and as ASCII
        return sa.or_(column.email_key.like(value, escape="/"), column.email.like(value, escape="/"))

    def _effective(self, status: Status) -> Any:
        """That an invitation has this status at the parameter ``now``."""
        column, now = self._columns, self._now
        if status == Status.PENDING:
            return sa.and_(column.status == Status.PENDING, column.expires_at > now)
        if status == Status.EXPIRED:
            overdue = sa.and_(column.status == Status.PENDING, column.expires_at <= now)
            return sa.or_(column.status == Status.EXPIRED, overdue)
        return column.status == status

    def counts(self, tenant_id: Any, now: datetime, **filters: str | None) -> Mapping[Status, int]:
        """How many there are of each effective status, zeros included; ``filters``: those of :meth:`page`."""
        wanted = {name: value for name, value in filters.items() if value is not None}
        statement = self._counts(tenant_id is EVERYWHERE, frozenset(wanted))
        found = dict.fromkeys(Status, 0)
        for name, count, late in self._rows(statement, {**bound(tenant_id), **_values(wanted), "now": now}):
            found[Status(name)] += count
            if name == Status.PENDING:
                found[Status.PENDING] -= int(late)
                found[Status.EXPIRED] += int(late)
        return found

    def _build_counts(self, anywhere: bool, names: Collection[str]) -> Any:
        column = self._columns
        late = sa.func.sum(sa.case((column.expires_at <= self._now, 1), else_=0))
        statement = sa.select(column.status, sa.func.count(), late).group_by(column.status)
        return statement.where(*self._where(anywhere, names))

    def count_open(self, tenant_id: Any, now: datetime, *, held: bool) -> int:
        """How many invitations of a tenant are open.

        :param held: the tenant is. Then what is committed counts: where the transaction may have an older snapshot,
            only rows that are locked are read as they are.
        """
        statement = self._open[held and not self.unit.has_begun_anew()]
        count: int = self._rows(statement, {**bound(tenant_id), "now": now}).scalar()
        return count

    @cached_property
    def _open(self) -> Mapping[bool, Any]:
        """By whether the rows are locked."""
        ours = sa.select(self._columns.id).where(self._in_tenant, self._effective(Status.PENDING))
        both = {False: ours, True: ours.with_for_update(read=True, key_share=True)}
        return {locked: sa.select(sa.func.count()).select_from(these.subquery()) for locked, these in both.items()}

    @property
    def _now(self) -> Any:
        return sa.bindparam("now", type_=self._columns.expires_at.type)

    def open_of(self, tenant_id: Any, inviter_id: Any, email_key: str | None) -> Sequence[Found]:
        """Pending and expired invitations *by* this user and *to* this address."""
        column = self._columns
        to = sa.false() if email_key is None else is_exactly(column.email_key, sa.literal(email_key, sa.String()))
        by = sa.and_(column.invited_by_id == inviter_id, column.email_key.is_not(None))
        where = (column.status.in_(OPEN), sa.or_(by, to), *self._where(tenant_id is EVERYWHERE, ()))
        return self._people.find_shown(self._people.shown().where(*where), bound(tenant_id))

    # Rows

    def whole(self, rows: Sequence[Invitation]) -> Sequence[Invitation]:
        """Rows of which little was read, with all their columns.

        :raises Stale: one of them is not as it was found.
        """
        found, select = list[Invitation](), sa.select(self.models.Invitation.__table__)
        for chunk in chunks(rows):
            found += map(self._row, self._rows(select.where(*self._as_found(chunk))))
        if len(found) != len(rows):
            raise Stale
        return found

    def _row(self, line: Sequence[Any]) -> Invitation:
        return made(Invitation, self._columns.keys(), line)

    # Changes

    def insert_many(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Invitation]:
        """Write new invitations; a live one for the same address breaks its unique ``pending_key``. In the order of
        that: of two who write the same ones at once, one waits for the other."""
        self._insert(self.models.Invitation, sorted(rows, key=itemgetter("pending_key")))
        return [made(Invitation, row.keys(), row.values()) for row in rows]

    def change(self, row: Invitation, now: datetime, *guards: Any, **how: Any) -> None:
        """The one guarded UPDATE of an invitation: its version and ``guards`` stand in the WHERE.

        :raises Stale: no longer so.
        """
        self.change_all([row], now, *guards, **how)

    def change_all(
        self,
        rows: Sequence[Invitation],
        now: datetime,
        *guards: Any,
        each: Mapping[uuid.UUID, Mapping[str, Any]] = EMPTY,
        users: Collection[Any] = (),
        wait: bool = True,
        **values: Any,
    ) -> None:
        """The same for several, in one statement for each chunk of them.

        :param each: by the ids of all of them, the columns of which each has a value of its own.
        :param users: the keys of those that what follows in this transaction will point at.
        :param wait: ``False``: give up at once, to be run again, where the host is at work on their tenants.
        :raises Stale: one of them is not as it was found.
        """
        values = {**values, "updated_at": now}
        named = (values.get(name) for name in ("invited_by_id", "accepted_by_id"))
        tenants, users = {row.tenant_id for row in rows}, {*users, *named} - {None}
        held = self._holding(tenants, users, wait=wait)
        raised = {**values, "version": self._columns.version + 1}
        for chunk in chunks(rows):
            update = by_key(sa.update(self.models.Invitation.__table__)).where(held, *self._as_found(chunk), *guards)
            own = self._own(chunk, each) if each else {}
            if self._execute(update.values({**raised, **own}), cached=not own or len(chunk) == 1) != len(chunk):
                raise Stale
        for row in rows:
            vars(row).update(values, version=row.version + 1, **each.get(row.id, {}))

    def _own(self, rows: Sequence[Invitation], each: Mapping[uuid.UUID, Mapping[str, Any]]) -> dict[str, Any]:
        """What an UPDATE of all these rows sets, where each has a value of its own."""
        return {name: self._chosen(name, {row.id: each[row.id][name] for row in rows}) for name in each[rows[0].id]}

    def _chosen(self, name: str, values: Mapping[uuid.UUID, Any]) -> Any:
        """A value for each id; where they are all the same, that."""
        column, (first, *others) = self._columns, values.values()
        if all(other == first for other in others):
            return first
        whens = (
            (sa.literal(key, column.id.type), sa.literal(value, column[name].type)) for key, value in values.items()
        )
        return sa.case(*whens, value=column.id)

    def _as_found(self, rows: Sequence[Invitation]) -> tuple[Any, Any]:
        column, pairs = self._columns, [(row.id, row.version) for row in rows]
        exactly = sa.tuple_(column.id, column.version).in_(pairs)
        return column.id.in_([row.id for row in rows]), exactly  # the first is what an index serves

    def move(self, row: Invitation, move: Move, now: datetime, **how: Any) -> None:
        """Change the status as ``move`` says, with further columns.

        :raises Stale: it is not where the move starts from, or its time is over (or not yet).
        """
        self.move_all([row], move, now, **how)

    def move_all(self, rows: Sequence[Invitation], move: Move, now: datetime, **how: Any) -> None:
        """The same for several; ``how``: what :meth:`change_all` takes.

        :raises Stale: one of them is not as it was found.
        """
        column = self._columns
        guards = [column.status.in_(move.before)]
        if move.on_time is not None:
            guards.append(column.expires_at > now if move.on_time else column.expires_at <= now)
        closes = {"pending_key": None, "closed_at": now} if move.after != Status.PENDING else {"closed_at": None}
        values: dict[str, Any] = {**closes, "status": move.after, **how}
        self.change_all(rows, now, *guards, **values)

    def expire(self, rows: Sequence[Invitation], now: datetime, users: Collection[Any] = ()) -> None:
        """Make overdue pending invitations ``expired``: they closed when their time was over, not now."""
        self.move_all(rows, EXPIRE, now, users=users, closed_at=self._columns.expires_at)
        for row in rows:
            row.closed_at = row.expires_at

    # Sweeping

    def overdue(self, now: datetime, limit: int) -> Sequence[Invitation]:
        """Pending invitations past their time that nobody else is working on, locked."""
        column = self._columns
        return self._locked(sa.and_(column.status == Status.PENDING, column.expires_at <= now), limit)

    def to_remind(self, now: datetime, until: datetime, limit: int) -> Sequence[Invitation]:
        """Pending invitations that expire by ``until`` and of which no reminder was decided on, locked."""
        column = self._columns
        soon = sa.and_(column.expires_at > now, column.expires_at <= until)
        return self._locked(sa.and_(column.status == Status.PENDING, soon, column.reminded_at.is_(None)), limit)

    def purgeable(self, closed_before: datetime, limit: int) -> Sequence[Invitation]:
        """Closed invitations that still hold personal data, locked."""
        column = self._columns
        old = sa.and_(column.status != Status.PENDING, column.closed_at <= closed_before)
        return self._locked(sa.and_(old, column.email_key.is_not(None)), limit)

    def _locked(self, where: Any, limit: int) -> Sequence[Invitation]:
        """The first of them that there are, their tenants held before they are locked."""
        ours = self.models.Invitation.__table__
        some = sa.select(ours.c.id, ours.c.tenant_id).where(where).order_by(ours.c.id).limit(limit)
        found = self._rows(some).all()
        held = self._holding({line.tenant_id for line in found})
        these = sa.select(ours).where(held, ours.c.id.in_([line.id for line in found]), where).order_by(ours.c.id)
        locked = these.with_for_update(skip_locked=True)
        return [self._row(line) for line in self._rows(locked)] if found else []

    def purge(self, rows: Sequence[Invitation], now: datetime) -> None:
        """Forget who was invited, and from where the events came; what happened when is kept."""
        personal: dict[str, Any] = dict.fromkeys(("email", "email_key", "message", "details", "locale", "made_for"))
        self.change_all(rows, now, self._columns.status != Status.PENDING, **personal)
        self.events.forget([row.id for row in rows])


def _values(filters: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of the filters: a part of an address as a pattern."""
    if "q" not in filters:
        return dict(filters)
    part = unicodedata.normalize("NFC", filters["q"].lower())
    for special in "/%_":
        part = part.replace(special, f"/{special}")
    return {**filters, "q": f"%{part}%"}
