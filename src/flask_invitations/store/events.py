"""The audit trail: lines are added, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa

from ..model.states import EventType
from ..model.tables import InvitationEvent, new_id
from .statements import Tables, chunks

_EMPTY: Mapping[str, Any] = dict.fromkeys(("actor_id", "remote_addr", "user_agent", "details"))


class Told(Protocol):
    """The invitation that a line is about: its row, or what went out of it."""

    @property
    def id(self) -> Any: ...

    @property
    def tenant_id(self) -> Any: ...


class Events(Tables):
    """The rows of ``user_invitation_events``."""

    def add(self, about: Told, kind: EventType, now: datetime, **values: Any) -> None:
        """One line of the audit trail, in the transaction of what it tells."""
        self.add_all([(about, kind, values)], now)

    def add_all(self, lines: Sequence[tuple[Told, EventType, Mapping[str, Any]]], now: datetime) -> None:
        """Lines of the audit trail: what each is about, its type, and its further columns; one statement."""
        rows = [
            {
                **_EMPTY,
                **values,
                "type": kind,
                "at": now,
                "id": new_id(now),
                "invitation_id": about.id,
                "tenant_id": about.tenant_id,
            }
            for about, kind, values in lines
        ]
        self._insert(self.models.InvitationEvent, rows)

    def of(self, invitation_id: UUID, limit: int) -> Sequence[tuple[InvitationEvent, str | None]]:
        """Oldest first, each with the email of its actor; of very many, the latest ``limit``."""
        event, user = self.models.InvitationEvent, self.models.user
        latest_first = event.at.desc(), event.id.desc()
        statement = sa.select(event, self.models.user_email).outerjoin(user, self._key_of(user) == event.actor_id)
        latest = statement.where(event.invitation_id == invitation_id).order_by(*latest_first).limit(limit)
        rows = self._binds.read(lambda session: session.execute(latest).all())
        return [(found[0], found[1]) for found in reversed(rows)]

    def forget(self, invitation_ids: Sequence[UUID]) -> None:
        """Forget from where the lines of invitations came, and what they quote; what happened when is kept."""
        event = self.models.InvitationEvent
        for chunk in chunks(invitation_ids):
            forget = sa.update(event).where(event.invitation_id.in_(chunk))
            self._execute(forget.values(remote_addr=None, user_agent=None, details=None))
