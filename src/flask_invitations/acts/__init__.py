"""What can be done with an invitation. Each act is one transaction; every rule stands here, once."""

from .answer import Acceptance, AcceptedUser, Offer, TenantInfo, accept, decline, preview
from .callers import Caller, Manager, Origin, caller, grantable, manager, named, system
from .fresh import request_link
from .invite import Explanation, Unreadable, Wanted, explain, invite, invite_many
from .manage import known, resend, resend_many, revoke, revoke_for, revoke_many
from .pasted import recognize
from .read import complete_deliveries, counts, events, get, list_page, story, tenant_name
from .report import record_delivery
from .send import forbidden
from .sweep import Swept, sweep

__all__ = [
    "Acceptance",
    "AcceptedUser",
    "Caller",
    "Explanation",
    "Manager",
    "Offer",
    "Origin",
    "Swept",
    "TenantInfo",
    "Unreadable",
    "Wanted",
    "accept",
    "caller",
    "complete_deliveries",
    "counts",
    "decline",
    "events",
    "explain",
    "forbidden",
    "get",
    "grantable",
    "invite",
    "invite_many",
    "known",
    "list_page",
    "manager",
    "named",
    "preview",
    "recognize",
    "record_delivery",
    "request_link",
    "resend",
    "resend_many",
    "revoke",
    "revoke_for",
    "revoke_many",
    "story",
    "sweep",
    "system",
    "tenant_name",
]
