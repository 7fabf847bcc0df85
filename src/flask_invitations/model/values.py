"""The frozen values that go out: to hooks, signals, callers and templates."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from ..errors import InvitationError
from .states import DeliveryStateValue, EventTypeValue, StatusValue


def plain_key(key: Any) -> int | str | None:
    """A primary key of the host's as JSON has it: an integer stays one, everything else is text."""
    return key if key is None or isinstance(key, int) else str(key)


@dataclass(frozen=True)
class Inviter:
    """Who invited: the host's user id and, while the account exists, its email.

    :param name: filled only where the invitee is told, in emails and on pages.
    """

    id: Any
    email: str | None = field(repr=False)
    name: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class DeliveryInfo:
    """How the latest email of an invitation fares.

    :param error: the class and code of the last failure; of a cancelled one, the code of the refusal that stopped it.
    """

    id: uuid.UUID
    state: DeliveryStateValue
    attempts: int
    last_attempt_at: datetime | None
    sent_at: datetime | None
    error: str | None


@dataclass(frozen=True)
class InvitationInfo:
    """An invitation as everybody outside the tables sees it; never holds the token, its hash or its nonce.

    ``status`` is effective at the moment of reading: past ``expires_at`` a pending one reads ``expired``.
    Times are aware UTC. ``lifetime`` is for how long it was made to be open, which a resend gives again. ``email`` is
    what was typed, ``email_key`` its canonical form; both are ``None`` once the retention time has passed.
    ``accept_url`` is set only where somebody asked to see the link, ``obstacle`` (why it could not be accepted now)
    only where one invitation was asked for, ``tenant_name`` only where somebody chooses a password. ``closed_at`` is
    when it was accepted, declined or revoked, or had expired (where that was noticed by now). Its ``repr`` holds
    nothing personal: it ends up in logs.
    """

    id: uuid.UUID
    tenant_id: Any
    email: str | None = field(repr=False)
    email_key: str | None = field(repr=False)
    role: str
    status: StatusValue
    message: str | None = field(repr=False)
    details: Mapping[str, Any] | None = field(repr=False)
    locale: str | None
    invited_by: Inviter | None = field(repr=False)
    link_shown: bool
    lifetime: timedelta
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    accepted_at: datetime | None
    accepted_by_id: Any
    delivery: DeliveryInfo | None = None
    accept_url: str | None = field(default=None, repr=False)
    obstacle: InvitationError | None = None
    tenant_name: str | None = field(default=None, repr=False)
    closed_at: datetime | None = None


@dataclass(frozen=True)
class InvitationDraft:
    """An invitation that is about to be made, or sent again: what the hook ``check_invitee`` decides on.

    :param email: as it was typed; ``email_key``: its canonical form; ``domain``: its domain, in ASCII.
    :param inviter: the host's user who invites, or ``None``: the system.
    :param source: by which way it came: ``"invite"``, ``"bulk"`` or ``"resend"``.
    """

    email: str = field(repr=False)
    email_key: str = field(repr=False)
    domain: str
    role: str
    tenant_id: Any
    inviter: Any = field(repr=False)
    details: Mapping[str, Any] | None = field(default=None, repr=False)
    grants: Mapping[str, Any] | None = field(default=None, repr=False)
    source: str = "invite"


@dataclass(frozen=True)
class EventInfo:
    """One line of the audit trail."""

    id: uuid.UUID
    type: EventTypeValue
    at: datetime
    actor_id: Any
    remote_addr: str | None
    user_agent: str | None
    details: Mapping[str, Any] | None


@dataclass(frozen=True)
class BulkInviteResult:
    """What became of one row of many; see :class:`BulkInvite`.

    :param index: the place of the row, from 0.
    :param email: as it was given; ``None`` where that was no text.
    :param outcome: ``"created"``, ``"requested"`` (it waits for approval) or ``"refused"``.
    :param invitation: what was made; ``None`` in a dry run.
    :param error: why it was refused.
    """

    index: int
    email: str | None = field(repr=False)
    outcome: Literal["created", "requested", "refused"]
    invitation: InvitationInfo | None = None
    error: InvitationError | None = None


@dataclass(frozen=True)
class BulkInvite:
    """What became of many rows, or in a dry run what would.

    :param results: one for each row, in order.
    :param plan: a digest of addresses, roles and verdicts: given back with the real call, nothing is written where one
        of them differs by then.
    """

    results: Sequence[BulkInviteResult]
    plan: str

    @property
    def created(self) -> int:
        """How many were made."""
        return self._counts["created"]

    @property
    def requested(self) -> int:
        """How many wait for approval."""
        return self._counts["requested"]

    @property
    def refused(self) -> int:
        """How many were refused."""
        return self._counts["refused"]

    @property
    def _counts(self) -> Counter[str]:
        return Counter(each.outcome for each in self.results)


@dataclass(frozen=True)
class BulkChangeResult:
    """What became of one id of many; see :class:`BulkChange`.

    :param index: the place of the id, from 0.
    :param id: as it was given, as text.
    :param error: why it was refused.
    """

    index: int
    id: str
    outcome: Literal["done", "refused"]
    error: InvitationError | None = None


@dataclass(frozen=True)
class BulkChange:
    """What became of many invitations that were to be resent, or revoked.

    :param results: one for each id, in order.
    """

    results: Sequence[BulkChangeResult]

    @property
    def done(self) -> int:
        """How many were."""
        return sum(each.error is None for each in self.results)

    @property
    def refused(self) -> int:
        """How many were refused."""
        return len(self.results) - self.done


def complete(value: Any, **known: Any) -> None:
    """Fill in what is known of a value only after the commit: ``delivery``, ``session``.

    The caller holds the value by then, where the act ran inside a unit of the host's; so it is filled in place, once,
    and by the act that made it.
    """
    for name, what in known.items():
        object.__setattr__(value, name, what)
