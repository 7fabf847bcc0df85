"""What can be done with an invitation. Each act is one transaction; every rule stands here, once."""

from .answer import Acceptance, AcceptedUser, Offer, TenantInfo, accept, decline, preview
from .callers import Manager, Origin, grantable, manager, system
from .fresh import request_link
from .invite import invite
from .manage import resend, revoke, revoke_for
from .read import counts, events, get, list_page, story, tenant_name
from .report import record_delivery
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
    "counts",
    "decline",
    "events",
    "get",
    "grantable",
    "invite",
    "list_page",
    "manager",
    "preview",
    "record_delivery",
    "request_link",
    "resend",
    "revoke",
    "revoke_for",
    "story",
    "sweep",
    "system",
    "tenant_name",
]
