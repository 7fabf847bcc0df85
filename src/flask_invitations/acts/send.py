"""Send: what the outbox asks about each email at the moment it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache

from ..context import Context
from ..errors import InvitationError, InvitationNotFound, InvitationReplaced, TenantInactive
from ..model.states import WHILE, WITH_LINK
from ..store.found import FoundMail
from .facts import sending
from .rules import ENDED, SEND, obstacle


def forbidden(ctx: Context, mails: Sequence[FoundMail], now: datetime) -> Sequence[InvitationError | None]:
    """For each email why it must not leave, or ``None``."""
    active = cache(ctx.hooks.tenant_is_active)
    facts = iter(sending(ctx, [each for each in mails if each.kind in WITH_LINK], now, active))

    def one(mail: FoundMail) -> InvitationError | None:
        if mail.kind in WITH_LINK:
            return obstacle(SEND, next(facts))
        return _untrue(mail, now) or (None if active(mail.row.tenant_id) else TenantInactive())

    return [one(each) for each in mails]


def _untrue(notice: FoundMail, now: datetime) -> InvitationError | None:
    """Why what a notice says is no longer so."""
    status = notice.row.status_at(now)
    if notice.row.email_key is None:
        return InvitationNotFound()
    if status == WHILE[notice.kind]:
        return None
    return ENDED[status]() if status in ENDED else InvitationReplaced()
