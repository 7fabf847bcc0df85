"""What can be done with an invitation. Each act is one transaction; every rule stands here, once."""

from .answer import Acceptance, AcceptedUser, Offer, TenantInfo, accept, decline, preview
from .invite import invite
from .manage import resend, revoke, revoke_for
from .people import Manager, Origin, manager, system
from .read import events, get, list_page
from .sweep import Swept, sweep

__all__ = [
    "Acceptance",
    "AcceptedUser",
    "Manager",
    "Offer",
    "Origin",
    "Swept",
    "TenantInfo",
    "accept",
    "decline",
    "events",
    "get",
    "invite",
    "list_page",
    "manager",
    "preview",
    "resend",
    "revoke",
    "revoke_for",
    "sweep",
    "system",
]
