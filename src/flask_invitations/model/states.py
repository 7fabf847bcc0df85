"""The states of an invitation and of its mails."""

from __future__ import annotations

from collections.abc import Mapping


class Status:
    """The states of an invitation. Only ``pending`` opens anything.

    ``pending`` -> ``accepted`` | ``declined`` | ``revoked`` | ``expired``; ``expired`` -> ``pending``
    (resend) | ``revoked``. The other three are final.
    """

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    REVOKED = "revoked"
    EXPIRED = "expired"
    ALL = (PENDING, ACCEPTED, DECLINED, REVOKED, EXPIRED)
    #: What can be resent and revoked.
    OPEN = (PENDING, EXPIRED)


class DeliveryState:
    """The states of one mail.

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
    ALL = (QUEUED, SENDING, SENT, DEFERRED, DELIVERED, BOUNCED, COMPLAINED, FAILED, CANCELLED)
    #: The mailer took it.
    OUT = (SENT, DEFERRED, DELIVERED)
    #: The address does not take our mails.
    UNWANTED = (BOUNCED, COMPLAINED)


class Kind:
    """What a mail is about; the name of its templates."""

    INVITATION = "invitation"
    REMINDER = "reminder"
    REVOKED = "revoked"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    LINK_REQUEST = "link_request"
    #: Those that carry the link. What an invitation shows of its delivery is the latest of these.
    WITH_LINK = (INVITATION, REMINDER)
    #: Those to the inviter; the others go to the invitee.
    TO_INVITER = (ACCEPTED, DECLINED, LINK_REQUEST)
    #: The status that an invitation must still have for the mail to be true.
    WHILE: Mapping[str, str] = {
        INVITATION: Status.PENDING,
        REMINDER: Status.PENDING,
        REVOKED: Status.REVOKED,
        ACCEPTED: Status.ACCEPTED,
        DECLINED: Status.DECLINED,
        LINK_REQUEST: Status.EXPIRED,
    }
