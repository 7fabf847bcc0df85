"""The invitations' SQL. It never decides: it finds, changes what is still as it was found, and counts.

Every change is a single guarded UPDATE: the state that the decision was made on stands in its WHERE.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from ..model.binding import Models
from ..model.states import EXPIRE, OPEN, OUT, TO_INVITER, UNWANTED, Move, Status
from ..model.tables import Invitation
from ..tokens import Maker
from .deliveries import Mails
from .events import Events
from .found import Found, People, made
from .hosts import Hosts
from .statements import Tables, by_key, chunks
from .unit import Stale, Unit

#: In place of a tenant's id: all tenants. For the system only.
EVERYWHERE: Final = object()

#: Compared byte by byte; only MariaDB and MySQL have to be told.
_BYTES = sa.String().with_variant(mysql.BINARY(), "mysql", "mariadb")


#: What is read of the invitations of an address: enough to decide on another.
_PAST = ("id", "email_key", "status", "expires_at", "token_hash")


@dataclass(frozen=True)
class Past:
    """What one tenant has to do with one address: its invitations, oldest first, of which little is read.

    :param bounced: the last email to this address that left came back, or was reported as spam.
    """

    rows: Sequence[Invitation] = ()
    bounced: bool = False

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


class Store(Tables):
    """The rows of one host.

    :param session: gives the host's session.
    :param maker: the app whose emails these are.
    """

    def __init__(self, session: Callable[[], Any], models: Models, maker: Maker) -> None:
        super().__init__(session, models)
        self.unit: Unit = Unit(session, models)
        self.hosts: Hosts = Hosts(session, models, self.unit)
        self.events: Events = Events(session, models)
        self._people = People(session, models, self.unit)
        self.mails: Mails = Mails(session, models, self._people, maker)
        self._page, self._counts = cache(self._build_page), cache(self._build_counts)

    # One

    def by_token(self, token_hash: str) -> Found | None:
        """The invitation that this link opens or, before the latest resend, opened."""
        found = self._people.find(self._by_token, {"token_hash": token_hash})
        return found[0] if found else None

    def by_id(self, tenant_id: Any, invitation_id: uuid.UUID) -> Found | None:
        """One invitation with its latest email and the host's row of its inviter."""
        given = {"id": invitation_id, **_bound(tenant_id)}
        found = self._people.find(self._by_id[tenant_id is EVERYWHERE], given)
        return found[0] if found else None

    @cached_property
    def _by_token(self) -> Any:
        token_hash = sa.bindparam("token_hash", type_=sa.String())
        opens = sa.or_(self._columns.token_hash == token_hash, self._columns.previous_token_hash == token_hash)
        return self._people.invitations().where(opens)

    @cached_property
    def _by_id(self) -> Mapping[bool, Any]:
        """By whether the tenant does not matter."""
        anywhere = self._people.invitations_with_mail().where(self._columns.id == sa.bindparam("id", type_=sa.Uuid()))
        return {True: anywhere, False: anywhere.where(self._in_tenant)}

    @property
    def _columns(self) -> Any:
        return self.models.Invitation.__table__.c

    @property
    def _in_tenant(self) -> Any:
        """In the tenant of the parameter ``tenant_id``; a host without tenants has NULL there."""
        tenant_id = self._columns.tenant_id
        if self.models.tenant is None:
            return tenant_id.is_(None)
        return tenant_id == sa.bindparam("tenant_id", type_=tenant_id.type)

    # Many

    def page(
        self,
        tenant_id: Any,
        now: datetime,
        *,
        limit: int,
        after: tuple[datetime, uuid.UUID] | None = None,
        **filters: str | None,
    ) -> Sequence[Found]:
        """Newest first, after the (created_at, id) of the last one seen.

        :param filters: ``status``, effective; ``role``; ``email_key``; ``q``, a part of the address.
        """
        wanted = {name: value for name, value in filters.items() if value is not None}
        given = {**_bound(tenant_id), **_values(wanted), "now": now, "limit": limit}
        names = set(wanted)
        if after is not None:
            names.add("after")
            given["at"], given["last"] = after
        return self._people.find_shown(
            self._page(tenant_id is EVERYWHERE, frozenset(names), wanted.get("status")), given
        )

    def _build_page(self, anywhere: bool, names: Collection[str], status: str | None) -> Any:
        column = self._columns
        where = self._where(anywhere, names)
        if status is not None:
            where.append(self._effective(Status(status)))
        if "after" in names:
            at, last = sa.bindparam("at", type_=column.created_at.type), sa.bindparam("last", type_=sa.Uuid())
            where.append(sa.or_(column.created_at < at, sa.and_(column.created_at == at, column.id < last)))
        statement = self._people.shown().where(*where)
        newest_first = column.created_at.desc(), column.id.desc()
        return statement.order_by(*newest_first).limit(sa.bindparam("limit", type_=sa.Integer()))

    def _where(self, anywhere: bool, names: Collection[str]) -> list[Any]:
        """The filters of these names, and the tenant."""
        where = [] if anywhere else [self._in_tenant]
        return where + [self._filter(name) for name in ("role", "email_key", "q") if name in names]

    def _filter(self, name: str) -> Any:
        column, value = self._columns, sa.bindparam(name, type_=sa.String())
        if name == "role":
            return column.role == value
        if name == "email_key":
            return _is_exactly(column.email_key, value)
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
        for name, count, late in self.connection.execute(
            statement, {**_bound(tenant_id), **_values(wanted), "now": now}
        ):
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

    @property
    def _now(self) -> Any:
        return sa.bindparam("now", type_=self._columns.expires_at.type)

    def open_of(self, tenant_id: Any, inviter_id: Any, email_key: str | None) -> Sequence[Found]:
        """Pending and expired invitations *by* this user and *to* this address."""
        column = self._columns
        to = sa.false() if email_key is None else _is_exactly(column.email_key, sa.literal(email_key, sa.String()))
        by = sa.and_(column.invited_by_id == inviter_id, column.email_key.is_not(None))
        where = (column.status.in_(OPEN), sa.or_(by, to), *self._where(tenant_id is EVERYWHERE, ()))
        return self._people.find_shown(self._people.shown().where(*where), _bound(tenant_id))

    # One address

    def past(self, tenant_id: Any, email_keys: Sequence[str]) -> Mapping[str, Past]:
        """What a tenant has to do with each of these addresses; one statement for each chunk of them."""
        lines: dict[str, list[Any]] = {key: [] for key in email_keys}
        for chunk in chunks(list(lines)):
            for line in self.connection.execute(self._past, {**_bound(tenant_id), "keys": chunk}):
                if line.email_key in lines:  # a collation may take é for e
                    lines[line.email_key].append(line)
        return {key: self._put_together(found) for key, found in lines.items()}

    @cached_property
    def _past(self) -> Any:
        """Each invitation of some addresses with each of its emails that left for the invitee."""
        ours, mail = self.models.Invitation.__table__, self.models.Delivery.__table__
        left = (mail.c.kind.not_in(TO_INVITER), mail.c.state.in_((*OUT, *UNWANTED)))
        both = ours.outerjoin(mail, sa.and_(mail.c.invitation_id == ours.c.id, *left))
        read = (ours.c[name] for name in _PAST)
        told = mail.c.created_at.label("mailed_at"), mail.c.id.label("mail_id"), mail.c.state.label("mail_state")
        statement = sa.select(*read, *told)
        to = ours.c.email_key.in_(sa.bindparam("keys", expanding=True))
        return statement.select_from(both).where(self._in_tenant, to).order_by(ours.c.created_at, ours.c.id)

    def _put_together(self, lines: Sequence[Any]) -> Past:
        rows = {line.id: made(Invitation, _PAST, line[: len(_PAST)]) for line in lines}
        mails = [tuple(line[len(_PAST) :]) for line in lines if line.mail_id is not None]
        return Past(tuple(rows.values()), bool(mails) and max(mails)[-1] in UNWANTED)

    def whole(self, rows: Sequence[Invitation]) -> Sequence[Invitation]:
        """Rows of which little was read, with all their columns."""
        found: list[Invitation] = []
        for chunk in chunks([row.id for row in rows]):
            ours = self.models.Invitation.__table__
            found += map(self._row, self.connection.execute(sa.select(ours).where(ours.c.id.in_(chunk))))
        return found

    def older_open(self, rows: Sequence[Invitation]) -> Sequence[Invitation]:
        """What was made for the same addresses in the same tenants before ``rows``, and is still open."""
        found = dict[uuid.UUID, Invitation]()
        for chunk in chunks([row.id for row in rows]):
            lines = self.connection.execute(self._older_open, {"ids": chunk})
            found.update((line.id, self._row(line)) for line in lines)
        return list(found.values())

    @cached_property
    def _older_open(self) -> Any:
        ours = self.models.Invitation.__table__
        newer, older = ours.alias(), ours.c
        before = sa.or_(
            older.created_at < newer.c.created_at,
            sa.and_(older.created_at == newer.c.created_at, older.id < newer.c.id),
        )
        same_tenant = newer.c.tenant_id == older.tenant_id if self.models.tenant is not None else sa.true()
        same = sa.and_(same_tenant, _is_exactly(older.email_key, newer.c.email_key), before)
        these = newer.c.id.in_(sa.bindparam("ids", expanding=True, type_=sa.Uuid()))
        return sa.select(ours).join(newer, same).where(these, older.status.in_(OPEN))

    def _row(self, line: Sequence[Any]) -> Invitation:
        return made(Invitation, self._columns.keys(), line)

    # Changes

    def insert_many(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Invitation]:
        """Write new invitations; a live one for the same address breaks its unique ``pending_key``."""
        self._insert(self.models.Invitation, rows)
        return [made(Invitation, row.keys(), row.values()) for row in rows]

    def change(self, row: Invitation, now: datetime, *guards: Any, **values: Any) -> None:
        """The one guarded UPDATE of an invitation: its present hash and ``guards`` stand in the WHERE.

        :raises Stale: no longer so.
        """
        self.change_all([row], now, *guards, **values)

    def change_all(self, rows: Sequence[Invitation], now: datetime, *guards: Any, **values: Any) -> None:
        """The same for several, in one statement for each chunk of them.

        :raises Stale: one of them is not as it was found.
        """
        column, values = self._columns, {**values, "updated_at": now}
        for chunk in chunks(rows):
            # No hash is ever used twice: so each row of the chunk is matched by its own.
            these = column.id.in_([row.id for row in chunk]), column.token_hash.in_([row.token_hash for row in chunk])
            update = by_key(sa.update(self.models.Invitation.__table__)).where(*these, *guards)
            if self._execute(update.values(values)) != len(chunk):
                raise Stale
        for row in rows:
            vars(row).update(values)

    def move(self, row: Invitation, move: Move, now: datetime, **values: Any) -> None:
        """Change the status as ``move`` says, with further columns.

        :raises Stale: it is not where the move starts from, or its time is over (or not yet).
        """
        self.move_all([row], move, now, **values)

    def move_all(self, rows: Sequence[Invitation], move: Move, now: datetime, **values: Any) -> None:
        """The same for several.

        :raises Stale: one of them is not as it was found.
        """
        column = self._columns
        guards = [column.status.in_(move.before)]
        if move.on_time is not None:
            guards.append(column.expires_at > now if move.on_time else column.expires_at <= now)
        closes = {"pending_key": None, "closed_at": now} if move.after != Status.PENDING else {"closed_at": None}
        self.change_all(rows, now, *guards, **{**closes, "status": move.after, **values})

    def expire(self, rows: Sequence[Invitation], now: datetime) -> None:
        """Make overdue pending invitations ``expired``: they closed when their time was over, not now."""
        self.move_all(rows, EXPIRE, now, closed_at=self._columns.expires_at)
        for row in rows:
            row.closed_at = row.expires_at

    def take_link_request(self, row: Invitation, now: datetime, before: datetime) -> bool:
        """Note that a fresh link is asked for; ``False`` where one was after ``before``, or the link is another now."""
        model = self.models.Invitation
        waited = sa.or_(model.link_requested_at.is_(None), model.link_requested_at <= before)
        update = sa.update(model).where(model.id == row.id, model.token_hash == row.token_hash, waited)
        return self._execute(update.values(link_requested_at=now)) == 1

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
        ours = self.models.Invitation.__table__
        statement = sa.select(ours).where(where).order_by(ours.c.id).limit(limit).with_for_update(skip_locked=True)
        return [self._row(line) for line in self.connection.execute(statement)]

    def purge(self, rows: Sequence[Invitation], now: datetime) -> None:
        """Forget who was invited, and from where the events came; what happened when is kept."""
        personal = dict.fromkeys(("email", "email_key", "message", "details", "locale"))
        self.change_all(rows, now, self._columns.status != Status.PENDING, **personal)
        self.events.forget([row.id for row in rows])


def _bound(tenant_id: Any) -> dict[str, Any]:
    return {} if tenant_id is EVERYWHERE or tenant_id is None else {"tenant_id": tenant_id}


def _values(filters: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of the filters: a part of an address as a pattern."""
    if "q" not in filters:
        return dict(filters)
    part = unicodedata.normalize("NFC", filters["q"].lower())
    for special in "/%_":
        part = part.replace(special, f"/{special}")
    return {**filters, "q": f"%{part}%"}


def _is_exactly(column: Any, value: Any) -> Any:
    """``column == value``, also where the database's collation takes é for e (F1); the index serves the first half."""
    return sa.and_(column == value, sa.cast(column, _BYTES) == sa.cast(value, _BYTES))
