"""The invitations' SQL. It never decides: it finds, changes what is still as it was found, and counts.

Every change is a single guarded UPDATE: the state that the decision was made on stands in its WHERE.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm.attributes import set_committed_value

from ..model.binding import Models
from ..model.states import Status
from ..model.tables import Invitation, InvitationEvent, new_id
from ..model.values import InvitationInfo
from .deliveries import Mails
from .found import Found, People
from .statements import Tables
from .unit import Stale, Unit

Rows = Sequence[tuple[Invitation, "str | None"]]

#: In place of a tenant's id: all tenants. For the system only.
EVERYWHERE: Final = object()


#: So many values stand in one IN.
MANY = 500

#: Compared byte by byte; only MariaDB and MySQL have to be told.
_BYTES = sa.String().with_variant(mysql.BINARY(), "mysql", "mariadb")


def _is_exactly(column: Any, text: str) -> Any:
    """``column == text``, also where the database's collation takes é for e (F1); the index serves the first half."""
    return sa.and_(column == text, sa.cast(column, _BYTES) == sa.literal(text, sa.String()))


class Store(Tables):
    """The rows of one host.

    :param session: gives the host's session.
    """

    def __init__(self, session: Callable[[], Any], models: Models) -> None:
        super().__init__(session, models)
        self.unit: Unit = Unit(session, models)
        self._people = People(session, models, self.unit)
        self.mails: Mails = Mails(session, models, self._people)
        email = sa.inspect(models.user).all_orm_descriptors.get("email")
        self._inviter_email: Any = sa.null() if email is None else models.user.email

    # The host's rows

    def user(self, user_id: Any) -> Any:
        return self._get(self.models.user, user_id)

    def tenant(self, tenant_id: Any) -> Any:
        return self._get(self.models.tenant, tenant_id)

    def _get(self, model: type[Any] | None, key: Any) -> Any:
        if model is None or key is None:
            return None
        row = self.session.get(model, key)
        self.unit.keep([row])
        return row

    def users_by_email(self, key: str) -> Sequence[Any]:
        """Whom the database holds equal to ``key``; its collation may hold more equal than we do."""
        user = self.models.user
        found: Sequence[Any] = self.session.scalars(sa.select(user).where(user.email == key).limit(20)).unique().all()
        return found

    def users_by_emails(self, keys: Sequence[str]) -> Sequence[Any]:
        """The same for many at once, a statement for each ``MANY`` of them."""
        user, wanted = self.models.user, list(dict.fromkeys(keys))
        chunks = (wanted[start : start + MANY] for start in range(0, len(wanted), MANY))
        found = (self.session.scalars(sa.select(user).where(user.email.in_(chunk))) for chunk in chunks)
        return [each for users in found for each in users.unique()]

    def save(self, user: Any) -> Any:
        """Write a new user (or what a hook changed) now, so that it has its key; returns the key."""
        if sa.inspect(user).transient:
            self.session.add(user)
        self.session.flush()
        return self.models.user_id(user)

    # Invitations

    def _select(self) -> Any:
        row, user = self.models.Invitation, self.models.user
        statement = sa.select(row, self._inviter_email)
        return statement.outerjoin(user, self._key_of(user) == row.invited_by_id).execution_options(
            populate_existing=True
        )

    def _one(self, statement: Any) -> tuple[Invitation, str | None] | None:
        found = self.session.execute(statement).first()
        return None if found is None else (found[0], found[1])

    def by_token(self, token_hash: str) -> Found | None:
        """The invitation that this link opens or, before the latest resend, opened."""
        found = self._people.find(self._by_token, {"token_hash": token_hash})
        return found[0] if found else None

    @cached_property
    def _by_token(self) -> Any:
        ours, token_hash = self.models.Invitation.__table__.c, sa.bindparam("token_hash", type_=sa.String())
        opens = sa.or_(ours.token_hash == token_hash, ours.previous_token_hash == token_hash)
        return self._people.invitations().where(opens)

    def by_id(self, tenant_id: Any, invitation_id: uuid.UUID) -> tuple[Invitation, str | None] | None:
        row = self.models.Invitation
        return self._one(self._select().where(row.id == invitation_id, *self._within(tenant_id)))

    def by_pending_key(self, key: str) -> tuple[Invitation, str | None] | None:
        return self._one(self._select().where(self.models.Invitation.pending_key == key))

    def _within(self, tenant_id: Any) -> tuple[Any, ...]:
        return () if tenant_id is EVERYWHERE else (self.models.Invitation.tenant_id == tenant_id,)

    def page(
        self,
        tenant_id: Any,
        now: datetime,
        *,
        limit: int,
        after: tuple[datetime, uuid.UUID] | None = None,
        status: str | None = None,
        role: str | None = None,
        email_key: str | None = None,
        q: str | None = None,
    ) -> Rows:
        """Newest first, after the (created_at, id) of the last one seen; ``q`` is a part of the address."""
        row = self.models.Invitation
        where = self._filters(tenant_id, role=role, email_key=email_key, q=q)
        if status is not None:
            where.append(self._effective(status, now))
        if after is not None:
            at, last = after
            where.append(sa.or_(row.created_at < at, sa.and_(row.created_at == at, row.id < last)))
        newest_first = row.created_at.desc(), row.id.desc()
        rows = self.session.execute(self._select().where(*where).order_by(*newest_first).limit(limit))
        return [(found[0], found[1]) for found in rows]

    def _filters(
        self, tenant_id: Any, *, role: str | None = None, email_key: str | None = None, q: str | None = None
    ) -> list[Any]:
        row = self.models.Invitation
        where = [*self._within(tenant_id)]
        if role is not None:
            where.append(row.role == role)
        if email_key is not None:
            where.append(_is_exactly(row.email_key, email_key))
        if q is not None:  # an international domain is found as it was typed, and as ASCII
            part = unicodedata.normalize("NFC", q.lower())
            where.append(sa.or_(*(each.contains(part, autoescape=True) for each in (row.email_key, row.email))))
        return where

    def counts(self, tenant_id: Any, now: datetime, **filters: str | None) -> Mapping[str, int]:
        """How many there are of each effective status, zeros included; ``filters``: those of :meth:`page`."""
        row = self.models.Invitation
        overdue = sa.func.sum(sa.case((row.expires_at <= now, 1), else_=0))
        statement = sa.select(row.status, sa.func.count(), overdue).where(*self._filters(tenant_id, **filters))
        found = dict.fromkeys(Status.ALL, 0)
        for status, count, late in self.session.execute(statement.group_by(row.status)):
            found[status] += count
            if status == Status.PENDING:
                found[Status.PENDING] -= int(late)
                found[Status.EXPIRED] += int(late)
        return found

    def _effective(self, status: str, now: datetime) -> Any:
        row = self.models.Invitation
        if status == Status.PENDING:
            return sa.and_(row.status == Status.PENDING, row.expires_at > now)
        if status == Status.EXPIRED:
            overdue = sa.and_(row.status == Status.PENDING, row.expires_at <= now)
            return sa.or_(row.status == Status.EXPIRED, overdue)
        return row.status == status

    def pending_ids_of(self, tenant_id: Any, inviter_id: Any, email_key: str | None) -> Sequence[uuid.UUID]:
        """Open invitations *by* this user and *to* this address."""
        row = self.models.Invitation
        to = sa.false() if email_key is None else _is_exactly(row.email_key, email_key)
        who = sa.or_(row.invited_by_id == inviter_id, to)
        ids: Sequence[uuid.UUID] = self.session.scalars(
            sa.select(row.id).where(row.status == Status.PENDING, who, *self._within(tenant_id))
        ).all()
        return ids

    def insert(self, **values: Any) -> Invitation:
        """Write a new invitation; a live one for the same address breaks its unique ``pending_key``."""
        self._insert(self.models.Invitation, values)
        return self.models.Invitation(**values)

    def change(self, row: Invitation, now: datetime, *guards: Any, **values: Any) -> None:
        """The one guarded UPDATE of an invitation: its present hash and ``guards`` stand in the WHERE.

        :raises Stale: no longer so.
        """
        model = self.models.Invitation
        values["updated_at"] = now
        statement = sa.update(model).where(model.id == row.id, model.token_hash == row.token_hash, *guards)
        self._exactly_one(statement.values(**values))
        for name, value in values.items():
            set_committed_value(row, name, value)

    def close(self, row: Invitation, status: str, now: datetime, **values: Any) -> None:
        """Make a live pending invitation ``accepted``, ``declined`` or ``revoked``: no link opens it again."""
        model = self.models.Invitation
        live = (model.status == Status.PENDING, model.expires_at > now)
        self.change(row, now, *live, status=status, pending_key=None, closed_at=now, **values)

    def expire(self, row: Invitation, now: datetime) -> None:
        """Make an overdue pending invitation ``expired``."""
        model = self.models.Invitation
        overdue = (model.status == Status.PENDING, model.expires_at <= now)
        self.change(row, now, *overdue, status=Status.EXPIRED, pending_key=None, closed_at=now)

    def take_link_request(self, row: Invitation, now: datetime, before: datetime) -> bool:
        """Note that a fresh link is asked for; ``False`` where one was after ``before``, or the link is another now."""
        model = self.models.Invitation
        waited = sa.or_(model.link_requested_at.is_(None), model.link_requested_at <= before)
        update = sa.update(model).where(model.id == row.id, model.token_hash == row.token_hash, waited)
        return self._execute(update.values(link_requested_at=now)) == 1

    def _exactly_one(self, statement: Any) -> None:
        if self._execute(statement) != 1:
            raise Stale

    # Sweeping

    def overdue(self, now: datetime, limit: int) -> Sequence[Invitation]:
        """Pending invitations past their time that nobody else is working on, locked."""
        model = self.models.Invitation
        return self._locked(sa.and_(model.status == Status.PENDING, model.expires_at <= now), limit)

    def to_remind(self, now: datetime, until: datetime, limit: int) -> Sequence[Invitation]:
        """Pending invitations that expire by ``until`` and of which no reminder was decided on, locked."""
        model = self.models.Invitation
        soon = sa.and_(model.expires_at > now, model.expires_at <= until)
        return self._locked(sa.and_(model.status == Status.PENDING, soon, model.reminded_at.is_(None)), limit)

    def purgeable(self, closed_before: datetime, limit: int) -> Sequence[Invitation]:
        """Closed invitations that still hold personal data, locked."""
        model = self.models.Invitation
        old = sa.and_(model.status != Status.PENDING, model.closed_at <= closed_before)
        return self._locked(sa.and_(old, model.email_key.is_not(None)), limit)

    def _locked(self, where: Any, limit: int) -> Sequence[Invitation]:
        model = self.models.Invitation
        statement = sa.select(model).where(where).order_by(model.id).limit(limit).with_for_update(skip_locked=True)
        rows: Sequence[Invitation] = self.session.scalars(
            statement, execution_options={"populate_existing": True}
        ).all()
        return rows

    def purge(self, row: Invitation, now: datetime) -> None:
        """Forget who was invited, and from where the events came; what happened when is kept."""
        model, event = self.models.Invitation, self.models.InvitationEvent
        personal = dict.fromkeys(("email", "email_key", "message", "details", "locale"))
        self.change(row, now, model.status == row.status, **personal)
        forget = sa.update(event).where(event.invitation_id == row.id)
        self._execute(forget.values(remote_addr=None, user_agent=None, details=None))

    # Events

    def event(self, row: Invitation | InvitationInfo, kind: str, now: datetime, **values: Any) -> None:
        """One line of the audit trail, in the transaction of what it tells."""
        self.add_events([{"row": row, "type": kind, "at": now, **values}])

    def add_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Lines of the audit trail; each names its invitation as ``row``."""
        empty = dict.fromkeys(("actor_id", "remote_addr", "user_agent", "details"))
        lines = [
            {
                **empty,
                **{name: value for name, value in event.items() if name != "row"},
                "id": new_id(event["at"]),
                "invitation_id": event["row"].id,
                "tenant_id": event["row"].tenant_id,
            }
            for event in events
        ]
        if lines:
            self._insert(self.models.InvitationEvent, lines if len(lines) > 1 else lines[0])

    def events(self, invitation_id: uuid.UUID, limit: int) -> Sequence[tuple[InvitationEvent, str | None]]:
        """Oldest first, each with the e-mail of its actor; of very many, the latest ``limit``."""
        event, user = self.models.InvitationEvent, self.models.user
        latest_first = event.at.desc(), event.id.desc()
        statement = sa.select(event, self._inviter_email).outerjoin(user, self._key_of(user) == event.actor_id)
        rows = self.session.execute(
            statement.where(event.invitation_id == invitation_id).order_by(*latest_first).limit(limit)
        ).all()
        return [(found[0], found[1]) for found in reversed(rows)]
