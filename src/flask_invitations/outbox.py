"""The outbox: every mail is a row written in its invitation's transaction, and leaves after the commit.

A row is ``queued`` until its time comes, ``sending`` while one worker holds its lease, then ``sent``, ``failed``
or ``cancelled``. The number of the attempt fences: a worker that outlived its lease completes nothing.
No transaction is open while a mail is rendered and sent.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from .context import Context, log
from .hooks import invitation_sent
from .mail import Letter, compose
from .models import DeliveryInfo, DeliveryState, Invitation, InvitationInfo, Status
from .tokens import Token

#: How long one attempt may take: longer than a mail server that answers each step just before its time-out.
LEASE = timedelta(minutes=2)
FIRST_DELAY, LONGEST_DELAY = timedelta(minutes=1), timedelta(hours=6)
INVITATION = "invitation"


@dataclass(frozen=True)
class Posted:
    """An invitation with its outbox row written; ``letter`` is what :func:`dispatch` sends itself."""

    info: InvitationInfo
    letter: Letter | None = None


def post(ctx: Context, row: Invitation, token: Token, now: datetime, info: InvitationInfo) -> Posted:
    """Write the outbox row of an invitation's mail, inside its transaction.

    Where we send it ourselves right after the commit, the row is born leased to us: a crash in between
    leaves it to the worker, and no statement is spent on claiming it.
    """
    if ctx.config.delivery == "queue":
        return Posted(replace(info, delivery=ctx.store.add_delivery(row, INVITATION, now).info()))
    delivery = ctx.store.add_delivery(
        row,
        INVITATION,
        now,
        state=DeliveryState.SENDING,
        attempts=1,
        next_attempt_at=None,
        last_attempt_at=now,
        leased_until=now + LEASE,
    )
    info = replace(info, delivery=delivery.info())
    return Posted(info, Letter(delivery.info(), INVITATION, info, ctx.hooks.tenant_name(row.tenant_id), token))


def dispatch(ctx: Context, posted: Posted) -> Posted:
    """After the commit: send the mail, or wake a worker."""
    delivery, letter = posted.info.delivery, posted.letter
    if letter is not None:
        live = ctx.observe("looking before a mail", posted.info.id, lambda: ctx.unit.run(partial(_live, ctx, letter)))
        if live is None:
            return posted  # left to the worker
        after = send(ctx, letter) if live else replace(letter.delivery, state=DeliveryState.CANCELLED)
        return Posted(replace(posted.info, delivery=after))
    enqueue = ctx.hooks.enqueue
    if enqueue is not None and delivery is not None:
        ctx.observe("enqueue", posted.info.id, lambda: enqueue(delivery.id))
    return posted


def _live(ctx: Context, letter: Letter) -> bool:
    """Whether the link of ``letter`` still opens something; if not, its mail is cancelled. A host's own transaction
    may have gone on after the mail was posted, and have revoked or resent (B11, R13)."""
    found = ctx.store.delivery(letter.delivery.id)
    row = None if found is None else found[1]
    if row is not None and row.status_at(ctx.now()) == Status.PENDING and row.token_hash == letter.token.hash:
        return True
    ctx.store.settle_delivery(letter.delivery.id, letter.delivery.attempts, DeliveryState.CANCELLED)
    return False


def deliver(ctx: Context, delivery_id: uuid.UUID | None = None, *, limit: int = 1000) -> Counter[str]:
    """Send what is due: one mail, or up to ``limit``.

    :returns: how many mails ended in which state.
    """
    if delivery_id is not None:
        due = [delivery_id]
    else:
        due = list(ctx.unit.run(lambda: ctx.store.due_deliveries(ctx.now(), limit)))
    ended: Counter[str] = Counter()
    for each in due:
        letter = ctx.unit.run(partial(_claim, ctx, each))
        if isinstance(letter, Letter):
            ended[send(ctx, letter).state] += 1
        elif letter is not None:
            ended[letter] += 1
    return ended


def _claim(ctx: Context, delivery_id: uuid.UUID) -> Letter | str | None:
    """Lease one mail and gather what it takes; ``None``: somebody else has it; a state: nothing to send."""
    now = ctx.now()
    if not ctx.store.claim_delivery(delivery_id, now, now + LEASE):
        return None
    found = ctx.store.delivery(delivery_id)
    if found is None:
        return None
    delivery, row, inviter_email = found
    live = row.status_at(now) == Status.PENDING and ctx.hooks.tenant_is_active(row.tenant_id)
    if not live:
        ctx.store.settle_delivery(delivery.id, delivery.attempts, DeliveryState.CANCELLED)
        return DeliveryState.CANCELLED
    if delivery.attempts > ctx.config.delivery_attempts:  # its worker died in the last attempt
        ctx.store.settle_delivery(delivery.id, delivery.attempts, DeliveryState.FAILED)
        return DeliveryState.FAILED
    token = _token(ctx, row, now)
    info = row.info(now, inviter_email, delivery)
    return Letter(delivery.info(), delivery.kind, info, ctx.hooks.tenant_name(row.tenant_id), token)


def _token(ctx: Context, row: Invitation, now: datetime) -> Token:
    """The link's token as it was; a new one where the key that made it is gone."""
    token = ctx.mint.recover(row.token_nonce, row.token_hash)
    if token is None:
        nonce, token = ctx.mint.new()
        pending = ctx.models.Invitation.status == Status.PENDING
        ctx.store.change(
            row, now, pending, token_nonce=nonce, token_hash=token.hash, previous_token_hash=row.token_hash
        )
    return token


def send(ctx: Context, letter: Letter) -> DeliveryInfo:
    """Render and send one mail, then record how it went. Never raises for what the mailer did."""
    error: str | None = None
    try:
        ctx.hooks.mailer(compose(ctx, letter))
    except Exception as failure:
        error = type(failure).__name__
        log.warning("mail for invitation %s was not sent: %s", letter.invitation.id, error)
    recorded = ctx.observe("recording a mail", letter.invitation.id, lambda: _record(ctx, letter, error))
    return recorded or letter.delivery


def _record(ctx: Context, letter: Letter, error: str | None) -> DeliveryInfo | None:
    """Write how an attempt went.

    The error is a class only: its text may hold the address, or the mail itself."""
    info, before = letter.invitation, letter.delivery

    def write() -> DeliveryInfo | None:
        now = ctx.now()
        outcome, values = _outcome(ctx, before.attempts, error, now)
        if not ctx.store.settle_delivery(before.id, before.attempts, outcome, **values):
            return None
        if error is None:
            row = ctx.models.Invitation(id=info.id, tenant_id=info.tenant_id)
            ctx.store.event(row, "sent", now, details={"delivery_id": str(before.id)})
        return replace(before, state=outcome, sent_at=values.get("sent_at"), error=error)

    after = ctx.unit.run(write)
    if error is None and after is not None:
        ctx.announce(invitation_sent, replace(info, delivery=after))
    return after


def _outcome(ctx: Context, attempt: int, error: str | None, now: datetime) -> tuple[str, dict[str, Any]]:
    if error is None:
        return DeliveryState.SENT, {"sent_at": now, "last_error": None}
    if attempt >= ctx.config.delivery_attempts:
        return DeliveryState.FAILED, {"last_error": error}
    return DeliveryState.QUEUED, {"last_error": error, "next_attempt_at": now + backoff(attempt)}


def backoff(attempt: int) -> timedelta:
    """How long to wait after failed attempt number ``attempt``: 1 minute doubling, at most 6 hours, less up to a
    tenth, so that mails which failed together do not come back together."""
    delay = min(FIRST_DELAY * float(2 ** (attempt - 1)), LONGEST_DELAY)
    return delay * random.uniform(0.9, 1)  # noqa: S311 - jitter, no secret
