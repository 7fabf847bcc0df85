"""Invitations for Flask: an admin invites by e-mail, the invitee opens a link, sets a password, and is a user with
the right tenant and role; the token is then spent."""

from importlib.metadata import version

from .acts import Acceptance, AcceptedUser, Offer, Swept, TenantInfo
from .errors import (
    AccountExists,
    AccountUnverified,
    AlreadyInvited,
    AlreadyMember,
    BodyTooLarge,
    ConfigurationError,
    CrossSite,
    Forbidden,
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
    OpenAPIUnavailable,
    PasswordRejected,
    RoleNotAllowed,
    TenantInactive,
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
from .model.states import DeliveryState, Status
from .model.values import DeliveryInfo, EventInfo, InvitationInfo, Inviter
from .tokens import RedactFilter, redact

__version__ = version("flask-invitations")

__all__ = [
    "Acceptance",
    "AcceptedUser",
    "AccountExists",
    "AccountUnverified",
    "AlreadyInvited",
    "AlreadyMember",
    "BodyTooLarge",
    "ConfigurationError",
    "CrossSite",
    "DeliveryInfo",
    "DeliveryState",
    "EventInfo",
    "Forbidden",
    "InvalidRequest",
    "InvitationAccepted",
    "InvitationDeclined",
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
    "Offer",
    "OpenAPIUnavailable",
    "PasswordRejected",
    "RedactFilter",
    "RoleNotAllowed",
    "SMTPMailer",
    "Status",
    "Swept",
    "TenantInactive",
    "TenantInfo",
    "TryAgain",
    "Unauthenticated",
    "UnsupportedMediaType",
    "WrongAccount",
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
