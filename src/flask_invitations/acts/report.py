"""Report: what the mail provider says became of a mail."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import datetime

from ..context import Context
from ..errors import InvalidRequest, MailBounced, text_of
from ..model.states import TO_INVITER, UNWANTED, DeliveryState, EventType, Reason
from ..store.found import FoundMail
from ..traces import unaddressed

_BEFORE_SENT = (DeliveryState.QUEUED, DeliveryState.SENDING, DeliveryState.SENT)
_NOT_DELIVERED = (*_BEFORE_SENT, DeliveryState.FAILED, DeliveryState.CANCELLED, DeliveryState.DEFERRED)

#: The states that each state may follow. It only goes forward, so reports may come twice and in any order.
_AFTER: Mapping[str, tuple[str, ...]] = {
    DeliveryState.DEFERRED: _NOT_DELIVERED[:-1],
    DeliveryState.FAILED: (DeliveryState.SENDING, DeliveryState.SENT, DeliveryState.DEFERRED),
    DeliveryState.DELIVERED: _NOT_DELIVERED,
    DeliveryState.BOUNCED: (*_NOT_DELIVERED, DeliveryState.DELIVERED),
    DeliveryState.COMPLAINED: (*_NOT_DELIVERED, DeliveryState.DELIVERED, DeliveryState.BOUNCED),
}

#: Anymail's names for what a provider reports, and the state that each means; ``None``: nothing that we keep.
EVENTS: Mapping[str, DeliveryState | None] = {
    "queued": None,
    "sent": None,
    "rejected": DeliveryState.BOUNCED,
    "failed": DeliveryState.FAILED,
    "bounced": DeliveryState.BOUNCED,
    "deferred": DeliveryState.DEFERRED,
    "delivered": DeliveryState.DELIVERED,
    "autoresponded": None,
    "opened": DeliveryState.DELIVERED,
    "clicked": DeliveryState.DELIVERED,
    "complained": DeliveryState.COMPLAINED,
    "unsubscribed": DeliveryState.COMPLAINED,
    "subscribed": None,
    "inbound": None,
    "inbound_failed": None,
    "unknown": None,
}
#: Those that say that the provider never sent it.
_NEVER_SENT = ("failed", "rejected")
#: What the audit trail says of each.
_TOLD: Mapping[DeliveryState, EventType] = {
    DeliveryState.DEFERRED: EventType.DEFERRED,
    DeliveryState.FAILED: EventType.MAIL_FAILED,
    DeliveryState.DELIVERED: EventType.DELIVERED,
    DeliveryState.BOUNCED: EventType.BOUNCED,
    DeliveryState.COMPLAINED: EventType.COMPLAINED,
}
MAX_DETAIL = 500
_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")


def record_delivery(ctx: Context, *, message_id: uuid.UUID | str, event: str, detail: str | None = None) -> bool:
    """Write down what a provider's webhook says of a mail.

    :param message_id: ``Message.id``, as it is or as text, or the whole ``Message-ID`` header.
    :param event: one of Anymail's names, https://anymail.dev/en/stable/sending/tracking/.
    :param detail: what the provider says of it, for the audit trail; without addresses, cut to 500 characters.
    :returns: whether that was news: ``False`` for a repeated or overtaken report, and for a mail that is not ours.
    :raises InvalidRequest: no such event.
    """
    if not isinstance(event, str) or event not in EVENTS:
        raise InvalidRequest({"event": [f"Must be one of: {', '.join(EVENTS)}."]})
    delivery_id, state = _delivery_id(message_id), EVENTS[event]
    if delivery_id is None or state is None:
        return False
    return ctx.unit.run(lambda: _record(ctx, delivery_id, state, event, detail))


def _record(ctx: Context, delivery_id: uuid.UUID, state: DeliveryState, event: str, detail: str | None) -> bool:
    now = ctx.now()
    found = next(iter(ctx.store.mails.find([delivery_id])), None)
    if found is None or found.row.email_key is None:  # a purged invitation's email is nobody's
        return False
    if not ctx.store.mails.report(found, state, _AFTER[state], None if event in _NEVER_SENT else now):
        return False
    about = {"delivery_id": str(delivery_id), "event": event}
    if detail:
        about["detail"] = unaddressed(text_of(detail).replace("\0", ""))[:MAX_DETAIL]
    ctx.store.events.add(found.row, _TOLD[state], now, details=about)
    if state in UNWANTED and found.kind not in TO_INVITER:
        _stop(ctx, found, Reason(state), now)
    return True


def _stop(ctx: Context, unwanted: FoundMail, why: Reason, now: datetime) -> None:
    """Whatever else waits for that address there is not sent either. What is made from now on needs to be confirmed, or
    is looked at again before it leaves."""
    row, key = unwanted.row, unwanted.row.email_key or ""
    ctx.store.suppressions.add(row.tenant_id, ctx.pseudonyms.of(row.tenant_id, key), why, now)
    ctx.store.mails.stop(ctx.store.histories.of(row.tenant_id, [key])[key].rows, MailBounced.code)


def _delivery_id(message_id: uuid.UUID | str) -> uuid.UUID | None:
    if isinstance(message_id, uuid.UUID):
        return message_id
    if not isinstance(message_id, str):
        return None
    found = _UUID.match(message_id.strip().removeprefix("<").lower())
    return uuid.UUID(found.group()) if found else None
