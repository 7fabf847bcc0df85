"""The audit trail: lines are added, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa

from ..model.states import EventType, Status
from ..model.tables import InvitationEvent, new_id
from .statements import Tables, by_key, chunks

#: What may tell of a person; forgotten in time.
_PERSONAL = ("remote_addr", "user_agent", "details")
_EMPTY: Mapping[str, Any] = dict.fromkeys(("actor_id", *_PERSONAL))


_FORGOTTEN: Mapping[str, Any] = dict.fromkeys((*_PERSONAL, "personal_at"))


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

    def of(self, invitation_id: UUID, limit: int) -> Sequence[tuple[InvitationEvent, str | None]]:
        """Oldest first, each with the email of its actor; of very many, the latest ``limit``."""
        event, user = self.models.InvitationEvent, self.models.user
        latest_first = event.at.desc(), event.id.desc()
        statement = sa.select(event, self._email).outerjoin(user, self._key_of(user) == event.actor_id)
        rows = self.session.execute(
            statement.where(event.invitation_id == invitation_id).order_by(*latest_first).limit(limit)
        ).all()
        return [(found[0], found[1]) for found in reversed(rows)]

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
        return list(self.connection.scalars(lines.order_by(event.personal_at).limit(limit)))

    def forget_lines(self, ids: Sequence[UUID]) -> None:
        """The same as :meth:`forget`, of these lines."""
        event = self.models.InvitationEvent
        self._execute(by_key(sa.update(event.__table__)).where(event.id.in_(ids)).values(_FORGOTTEN))

    @property
    def _email(self) -> Any:
        has = "email" in sa.inspect(self.models.user).all_orm_descriptors
        return self.models.user.email if has else sa.null()
