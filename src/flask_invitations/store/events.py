"""The audit trail: lines are added, and counted where the same would be told again, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa

from ..model.states import EventType, Status
from ..model.tables import InvitationEvent, new_id, repeat_key
from .statements import Tables, by_key, chunks

#: What may tell of a person; forgotten in time.
_PERSONAL = ("remote_addr", "user_agent", "details")
_EMPTY: Mapping[str, Any] = {
    **dict.fromkeys(("actor_id", *_PERSONAL, "repeat_key", "last_at")),
    "times": 1,
}
_FORGOTTEN: Mapping[str, Any] = dict.fromkeys((*_PERSONAL, "personal_at"))
#: The moment and the id of an event.
Place = tuple[datetime, UUID]


class Told(Protocol):
    """The invitation that a line is about: its row, or what went out of it."""

    @property
    def id(self) -> Any: ...

    @property
    def tenant_id(self) -> Any: ...

    @property
    def email_key(self) -> str | None: ...


class Events(Tables):
    """The rows of ``user_invitation_events``."""

    def add(self, about: Told, kind: EventType, now: datetime, **values: Any) -> None:
        """One line of the audit trail, in the transaction of what it tells."""
        self.add_all([(about, kind, values)], now)

    def add_all(self, lines: Sequence[tuple[Told, EventType, Mapping[str, Any]]], now: datetime) -> None:
        """Lines of the audit trail: what each is about, its type, and its further columns; one statement.

        Of a purged invitation nothing personal is written any more.
        """
        rows = [
            {
                **_EMPTY,
                **(values if about.email_key is not None else {"actor_id": values.get("actor_id")}),
                "type": kind,
                "at": now,
                "id": new_id(now),
                "invitation_id": about.id,
                "tenant_id": about.tenant_id,
            }
            for about, kind, values in lines
        ]
        for row in rows:
            row["personal_at"] = None if row["remote_addr"] is row["user_agent"] is row["details"] is None else now
        self._insert(self.models.InvitationEvent, rows)

    def count(self, about: Told, kind: EventType, now: datetime, link: str, **values: Any) -> None:
        """One line for whatever somebody repeats with one link: a stranger must not be able to fill the trail. Where
        two write the first at once, the unique key has one of them look again."""
        event, key = self.models.InvitationEvent, repeat_key(about.id, kind, link, values.get("details"))
        again = (
            sa.update(event)
            .where(self._holding([about.tenant_id]), event.repeat_key == key)
            .values(times=event.times + 1, last_at=now)
        )
        if self._execute(again) == 0:
            self.add(about, kind, now, repeat_key=key, **values)

    def of(
        self, invitation_id: UUID, limit: int, *, after: Place | None = None
    ) -> Sequence[tuple[InvitationEvent, str | None]]:
        """Oldest first, each with the email of its actor."""
        at, key = self.models.InvitationEvent.at, self.models.InvitationEvent.id
        rows = self._lines(invitation_id).order_by(at, key).limit(limit)
        if after is not None:
            rows = rows.where(sa.or_(at > after[0], sa.and_(at == after[0], key > after[1])))
        return [(found[0], found[1]) for found in self._binds.read(lambda session: session.execute(rows).all())]

    def latest(
        self, invitation_id: UUID, limit: int, *, before: Place | None = None
    ) -> Sequence[tuple[InvitationEvent, str | None]]:
        """The same, newest first."""
        at, key = self.models.InvitationEvent.at, self.models.InvitationEvent.id
        rows = self._lines(invitation_id).order_by(at.desc(), key.desc()).limit(limit)
        if before is not None:
            rows = rows.where(sa.or_(at < before[0], sa.and_(at == before[0], key < before[1])))
        return [(found[0], found[1]) for found in self._binds.read(lambda session: session.execute(rows).all())]

    def _lines(self, invitation_id: UUID) -> Any:
        event, user = self.models.InvitationEvent, self.models.user
        lines = sa.select(event, self.models.user_email).outerjoin(user, self._key_of(user) == event.actor_id)
        return lines.where(event.invitation_id == invitation_id)

    def forget(self, invitation_ids: Sequence[UUID]) -> None:
        """Forget from where the lines of invitations came, and what they quote; what happened when is kept."""
        event = self.models.InvitationEvent
        for chunk in chunks(invitation_ids):
            self._execute(sa.update(event).where(event.invitation_id.in_(chunk)).values(_FORGOTTEN))

    def old(self, before: datetime, limit: int) -> Sequence[UUID]:
        """The ids of lines that were written by ``before``, hold personal data still, and are about a closed
        invitation, whenever that was closed."""
        event, about = self.models.InvitationEvent.__table__.c, self.models.Invitation.__table__.c
        lines = sa.select(event.id).join_from(event.id.table, about.id.table, about.id == event.invitation_id)
        lines = lines.where(event.personal_at <= before, about.status != Status.PENDING)
        return list(self._rows(lines.order_by(event.personal_at).limit(limit)).scalars())

    def forget_lines(self, ids: Sequence[UUID]) -> None:
        """The same as :meth:`forget`, of these lines."""
        event = self.models.InvitationEvent
        self._execute(by_key(sa.update(event.__table__)).where(event.id.in_(ids)).values(_FORGOTTEN))
