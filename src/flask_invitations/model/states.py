"""The states of an invitation and of its emails, and every move between them: the state machine, as data.

CHECK texts, the guards of the UPDATEs and the table test are made from what is written here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from ..errors import (
    InvitationAccepted,
    InvitationDeclined,
    InvitationError,
    InvitationExpired,
    InvitationRevoked,
)


class _Text(str, Enum):
    """A string enum that prints its value, as ``enum.StrEnum`` does from Python 3.11 on."""

    def __str__(self) -> str:
        return str.__str__(self)

    def __format__(self, spec: str) -> str:
        return str.__format__(self, spec)


class Status(_Text):
    """The states of an invitation. Only ``pending`` opens anything; :data:`MOVES` says what leads where."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    REVOKED = "revoked"
    EXPIRED = "expired"


#: A status as a value that goes out carries it: a type checker refuses to compare it with a word that is none.
StatusValue = Literal[
    Status.PENDING,
    Status.ACCEPTED,
    Status.DECLINED,
    Status.REVOKED,
    Status.EXPIRED,
    "pending",
    "accepted",
    "declined",
    "revoked",
    "expired",
]

#: What to answer for an invitation that is no longer pending.
ENDED: Mapping[Status, type[InvitationError]] = {
    Status.ACCEPTED: InvitationAccepted,
    Status.DECLINED: InvitationDeclined,
    Status.REVOKED: InvitationRevoked,
    Status.EXPIRED: InvitationExpired,
}

#: What can be resent and revoked.
OPEN = (Status.PENDING, Status.EXPIRED)


class EventType(_Text):
    """What a line of the audit trail tells."""

    CREATED = "created"
    SENT = "sent"
    MAIL_FAILED = "mail_failed"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    RESENT = "resent"
    LINK_REQUESTED = "link_requested"
    REVOKED = "revoked"
    DECLINED = "declined"
    REPORTED = "reported"
    ACCEPTED = "accepted"
    ACCEPT_REFUSED = "accept_refused"
    EXPIRED = "expired"
    PURGED = "purged"


#: What the holder of a link causes, whoever that is: anybody may have been forwarded it.
BY_HOLDER = frozenset({EventType.DECLINED, EventType.REPORTED, EventType.ACCEPT_REFUSED, EventType.LINK_REQUESTED})

#: An event type as a value that goes out carries it.
EventTypeValue = Literal[
    EventType.CREATED,
    EventType.SENT,
    EventType.MAIL_FAILED,
    EventType.DEFERRED,
    EventType.DELIVERED,
    EventType.BOUNCED,
    EventType.COMPLAINED,
    EventType.RESENT,
    EventType.LINK_REQUESTED,
    EventType.REVOKED,
    EventType.DECLINED,
    EventType.REPORTED,
    EventType.ACCEPTED,
    EventType.ACCEPT_REFUSED,
    EventType.EXPIRED,
    EventType.PURGED,
    "created",
    "sent",
    "mail_failed",
    "deferred",
    "delivered",
    "bounced",
    "complained",
    "resent",
    "link_requested",
    "revoked",
    "declined",
    "reported",
    "accepted",
    "accept_refused",
    "expired",
    "purged",
]


@dataclass(frozen=True)
class Move:
    """What one act does to an invitation.

    :param before: the statuses, as stored, that it may start from.
    :param after: where it leads.
    :param event: what the audit trail says of it.
    :param on_time: ``True``: only before ``expires_at``; ``False``: only from then on; ``None``: whenever.
    """

    before: Collection[Status]
    after: Status
    event: EventType
    on_time: bool | None = None


ACCEPT = Move((Status.PENDING,), Status.ACCEPTED, EventType.ACCEPTED, on_time=True)
DECLINE = Move((Status.PENDING,), Status.DECLINED, EventType.DECLINED, on_time=True)
REVOKE = Move(OPEN, Status.REVOKED, EventType.REVOKED)
RESEND = Move(OPEN, Status.PENDING, EventType.RESENT)
EXPIRE = Move((Status.PENDING,), Status.EXPIRED, EventType.EXPIRED, on_time=False)

#: Every move there is, by the name of its act.
MOVES: Mapping[str, Move] = {
    "accept": ACCEPT,
    "decline": DECLINE,
    "revoke": REVOKE,
    "resend": RESEND,
    "expire": EXPIRE,
}


class DeliveryState(_Text):
    """The states of one email.

    ``queued`` <-> ``sending`` -> ``sent`` | ``failed``; either of the first two may be ``cancelled``. Where the host
    passes on what its provider reports, ``sent`` -> ``deferred`` -> ``delivered`` -> ``bounced`` -> ``complained``,
    of which any may be left out, and none goes back.
    """

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: A delivery's state as a value that goes out carries it.
DeliveryStateValue = Literal[
    DeliveryState.QUEUED,
    DeliveryState.SENDING,
    DeliveryState.SENT,
    DeliveryState.DEFERRED,
    DeliveryState.DELIVERED,
    DeliveryState.BOUNCED,
    DeliveryState.COMPLAINED,
    DeliveryState.FAILED,
    DeliveryState.CANCELLED,
    "queued",
    "sending",
    "sent",
    "deferred",
    "delivered",
    "bounced",
    "complained",
    "failed",
    "cancelled",
]

#: The mailer took it.
OUT = (DeliveryState.SENT, DeliveryState.DEFERRED, DeliveryState.DELIVERED)
#: The address does not take our emails.
UNWANTED = (DeliveryState.BOUNCED, DeliveryState.COMPLAINED)


class Reason(_Text):
    """What is remembered of an address in a tenant."""

    NEVER_AGAIN = "never_again"
    REPORTED = "reported"
    BOUNCED = "bounced"
    COMPLAINED = "complained"


#: Said by the invitee: holds until somebody lifts it. The others tell of an email, and hold until another one leaves.
FINAL = (Reason.NEVER_AGAIN, Reason.REPORTED)


class Kind(_Text):
    """What an email is about; the name of its templates."""

    INVITATION = "invitation"
    REMINDER = "reminder"
    REVOKED = "revoked"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    LINK_REQUEST = "link_request"


#: Those that carry the link. What an invitation shows of its delivery is the latest of these.
WITH_LINK = (Kind.INVITATION, Kind.REMINDER)
#: Those to the inviter; the others go to the invitee.
TO_INVITER = (Kind.ACCEPTED, Kind.DECLINED, Kind.LINK_REQUEST)
#: Those to the invitee that nobody has asked for one by one: none of them after a bounce or a complaint.
UNASKED = (Kind.REMINDER, Kind.REVOKED)
#: The status that an invitation must still have for a notice, an email without a link, to be true.
WHILE: Mapping[str, Status] = {
    Kind.REVOKED: Status.REVOKED,
    Kind.ACCEPTED: Status.ACCEPTED,
    Kind.DECLINED: Status.DECLINED,
    Kind.LINK_REQUEST: Status.EXPIRED,
}
