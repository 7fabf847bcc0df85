"""Send: what the outbox asks about each email at the moment it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache

from ..context import Context
from ..errors import InvitationError, TenantInactive
from ..model.states import UNASKED, WITH_LINK
from ..outbox import untrue
from ..store.found import FoundMail
from .facts import address, sending
from .rules import SEND, Facts, bounce, obstacle, suppression


def forbidden(ctx: Context, mails: Sequence[FoundMail], now: datetime) -> Sequence[InvitationError | None]:
    """For each email why it must not leave, or ``None``. Whether the invitee wants none is looked up for those that
    nobody has asked for; of the others the last look asks it, which costs no statement of its own."""
    active = cache(ctx.hooks.tenant_is_active)
    known = ctx.store.suppressions.of(address(each.row) for each in mails if each.kind in UNASKED)
    facts = iter(sending(ctx, [each for each in mails if each.kind in WITH_LINK], now, active, known))

    def one(mail: FoundMail) -> InvitationError | None:
        if mail.kind in WITH_LINK:
            refusal = obstacle(SEND, next(facts))
        else:
            refusal = untrue(mail.row, mail.kind, mail.replaced, now) or (
                None if active(mail.row.tenant_id) else TenantInactive()
            )
        if refusal is None and mail.kind in UNASKED:
            standing = known[address(mail.row)]
            refusal = obstacle((suppression, bounce), Facts(suppressed=standing.unwanted, bounced=standing.bounced))
        return refusal

    return [one(each) for each in mails]
