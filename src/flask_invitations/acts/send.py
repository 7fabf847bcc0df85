"""Send: what the outbox asks about each email at the moment it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from ..context import Context
from ..errors import InvitationError, MailBounced, TenantInactive
from ..model.states import UNASKED, WITH_LINK
from ..outbox import untrue
from ..store.found import FoundMail
from ..store.histories import Past
from .facts import sending
from .rules import SEND, obstacle


def forbidden(ctx: Context, mails: Sequence[FoundMail], now: datetime) -> Sequence[InvitationError | None]:
    """For each email why it must not leave, or ``None``."""
    active = cache(ctx.hooks.tenant_is_active)
    facts = iter(sending(ctx, [each for each in mails if each.kind in WITH_LINK], now, active))
    past = _past(ctx, [each for each in mails if each.kind in UNASKED])

    def one(mail: FoundMail) -> InvitationError | None:
        if mail.kind in WITH_LINK:
            refusal = obstacle(SEND, next(facts))
        else:
            refusal = untrue(mail.row, mail.kind, mail.replaced, now) or (
                None if active(mail.row.tenant_id) else TenantInactive()
            )
        if refusal is None and mail.kind in UNASKED and past[mail.row.tenant_id][mail.row.email_key or ""].bounced:
            refusal = MailBounced()
        return refusal

    return [one(each) for each in mails]


def _past(ctx: Context, mails: Sequence[FoundMail]) -> Mapping[Any, Mapping[str, Past]]:
    """What each tenant has to do with the addresses of these emails."""
    keys: dict[Any, list[str]] = {}
    for each in mails:
        keys.setdefault(each.row.tenant_id, []).append(each.row.email_key or "")
    return {tenant_id: ctx.store.histories.of(tenant_id, these) for tenant_id, these in keys.items()}
