"""What can be done with an invitation. Each act is one transaction; every rule stands here, once."""

from .accept import Acceptance, AcceptedUser, accept, recall_acceptance
from .answer import Offer, TenantInfo, decline, preview
from .callers import Caller, Manager, Origin, caller, counted, grantable, manager, named, system
from .fresh import request_link
from .invite import Explanation, Unreadable, Wanted, explain, invite, invite_many
from .manage import known, resend, resend_many, revoke, revoke_for, revoke_many
from .once import Once, Recall, known_by
from .pasted import recognize
from .read import complete_deliveries, counts, events, get, list_page, story, tenant_name
from .recalls import recall_changes, recall_invitation, recall_rows
from .report import record_delivery
from .send import forbidden
from .suppress import lift, stop, suppressions
from .sweep import Swept, sweep

__all__ = [
    "Acceptance",
    "AcceptedUser",
    "Caller",
    "Explanation",
    "Manager",
    "Offer",
    "Once",
    "Origin",
    "Recall",
    "Swept",
    "TenantInfo",
    "Unreadable",
    "Wanted",
    "accept",
    "caller",
    "complete_deliveries",
    "counted",
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
    "known_by",
    "lift",
    "list_page",
    "manager",
    "named",
    "preview",
    "recall_acceptance",
    "recall_changes",
    "recall_invitation",
    "recall_rows",
    "recognize",
    "record_delivery",
    "request_link",
    "resend",
    "resend_many",
    "revoke",
    "revoke_for",
    "revoke_many",
    "stop",
    "story",
    "suppressions",
    "sweep",
    "system",
    "tenant_name",
]
