"""Invitations for Flask: an admin invites by email, the invitee opens a link, sets a password, and is a user with
the right tenant and role; the token is then spent."""

from importlib.metadata import version

from .acts import Acceptance, AcceptedUser, Explanation, Offer, Swept, TenantInfo
from .addresses import canonical_email
from .errors import (
    AccountExists,
    AccountUnverified,
    AddressNotAllowed,
    AddressSuppressed,
    AlreadyInvited,
    AlreadyMember,
    BodyTooLarge,
    ConfigurationError,
    CrossSite,
    Forbidden,
    GrantsNotAllowed,
    InvalidRequest,
    InvitationAccepted,
    InvitationDeclined,
    InvitationError,
    InvitationExpired,
    InvitationGone,
    InvitationNotFound,
    InvitationReplaced,
    InvitationRevoked,
    InvitationWithdrawn,
    MailBounced,
    MailRefused,
    MalformedRequest,
    NoSeats,
    OpenAPIUnavailable,
    PasswordRejected,
    RateLimited,
    RoleNotAllowed,
    TenantInactive,
    TooManyPending,
    TryAgain,
    Unauthenticated,
    UnsupportedMediaType,
    WrongAccount,
)
from .extension import Invitations
from .hooks import (
    Message,
    invitation_accepted,
    invitation_created,
    invitation_declined,
    invitation_expired,
    invitation_resent,
    invitation_revoked,
    invitation_sent,
)
from .mail.headers import to_email
from .mail.log import LogMailer
from .mail.smtp import SMTPMailer
from .model.states import DeliveryState, EventType, Status
from .model.values import DeliveryInfo, EventInfo, InvitationDraft, InvitationInfo, Inviter
from .tokens import RedactFilter, redact

__version__ = version("flask-invitations")

__all__ = [
    "Acceptance",
    "AcceptedUser",
    "AccountExists",
    "AccountUnverified",
    "AddressNotAllowed",
    "AddressSuppressed",
    "AlreadyInvited",
    "AlreadyMember",
    "BodyTooLarge",
    "ConfigurationError",
    "CrossSite",
    "DeliveryInfo",
    "DeliveryState",
    "EventInfo",
    "EventType",
    "Explanation",
    "Forbidden",
    "GrantsNotAllowed",
    "InvalidRequest",
    "InvitationAccepted",
    "InvitationDeclined",
    "InvitationDraft",
    "InvitationError",
    "InvitationExpired",
    "InvitationGone",
    "InvitationInfo",
    "InvitationNotFound",
    "InvitationReplaced",
    "InvitationRevoked",
    "InvitationWithdrawn",
    "Invitations",
    "Inviter",
    "LogMailer",
    "MailBounced",
    "MailRefused",
    "MalformedRequest",
    "Message",
    "NoSeats",
    "Offer",
    "OpenAPIUnavailable",
    "PasswordRejected",
    "RateLimited",
    "RedactFilter",
    "RoleNotAllowed",
    "SMTPMailer",
    "Status",
    "Swept",
    "TenantInactive",
    "TenantInfo",
    "TooManyPending",
    "TryAgain",
    "Unauthenticated",
    "UnsupportedMediaType",
    "WrongAccount",
    "canonical_email",
    "invitation_accepted",
    "invitation_created",
    "invitation_declined",
    "invitation_expired",
    "invitation_resent",
    "invitation_revoked",
    "invitation_sent",
    "redact",
    "to_email",
]

# Each room that was imported left its name here. The rooms are private: what can be seen is what is public.
for _name in [name for name in globals() if name not in __all__ and not name.startswith("__")]:
    del globals()[_name]
del _name
