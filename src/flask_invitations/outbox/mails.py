"""The emails that leave by the outbox: a row each, written in its invitation's transaction, sent after the commit."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from typing import Any

from ..context import Context
from ..errors import InvitationReplaced, InvitationWithdrawn
from ..hooks import invitation_sent
from ..mail.compose import Letter, compose, introduce
from ..model.states import TO_INVITER, WITH_LINK, DeliveryState, Kind, Status
from ..model.tables import Invitation
from ..model.values import DeliveryInfo, InvitationInfo, complete
from ..store.found import FoundMail
from ..tokens import Token
from . import engine
from .engine import Outcome, Work, end

#: Where there is nobody (any more) to write to.
NO_RECIPIENT = InvitationWithdrawn.code
#: Where the key that made the link is gone: a newer email has to bring another.
NO_LINK = InvitationReplaced.code


@dataclass(frozen=True)
class Posting:
    """An invitation whose email is to be written; ``info`` gets its ``delivery``, which is filled in as it fares."""

    row: Invitation
    token: Token
    info: InvitationInfo


def post(ctx: Context, postings: Sequence[Posting], now: datetime, inviter: Any) -> None:
    """Write the outbox rows of invitations' emails, inside their transaction; they leave after the commit.

    Where we send them ourselves right after the commit, the rows are born leased to us: a crash in between
    leaves them to the worker, and no statement is spent on claiming them.

    :param inviter: the host's user who invites, or ``None``.
    """
    rows, kind = [each.row for each in postings], Kind.INVITATION
    queued = ctx.config.delivery == "queue"
    until = now + ctx.config.delivery_lease
    leased = {"state": DeliveryState.SENDING, "attempts": 1, "next_attempt_at": None, "last_attempt_at": now}
    mails = ctx.store.mails.add(rows, kind, now, **({} if queued else {**leased, "leased_until": until}))
    for each, mail in zip(postings, mails, strict=True):
        complete(each.info, delivery=mail)
        if queued:
            ctx.unit.after_commit(partial(_wake, ctx, each.row.id, mail.id))
        else:
            name = ctx.hooks.tenant_name(each.row.tenant_id)
            letter = Letter(mail, kind, replace(each.info), name, introduce(ctx, inviter), each.token)
            ctx.unit.after_commit(partial(_dispatch, ctx, letter, each.info, judge=ctx.unit.goes_on()))


def notify(ctx: Context, rows: Sequence[Invitation], kind: Kind, now: datetime) -> None:
    """Write the outbox rows of any other email, inside the transaction of what it tells; sent after the commit."""
    for row, mail in zip(rows, ctx.store.mails.add(rows, kind, now), strict=True):
        ctx.unit.after_commit(partial(_wake, ctx, row.id, mail.id))


# After the commit


def _dispatch(ctx: Context, letter: Letter, info: InvitationInfo, *, judge: bool) -> None:
    sent = ctx.observe("sending an email", info.id, partial(_send_posted, ctx, letter, judge=judge))
    complete(info, delivery=sent or letter.delivery)


def _send_posted(ctx: Context, letter: Letter, *, judge: bool) -> DeliveryInfo | None:
    """Send the email of a row that was born leased, unless a host's own transaction went on after it was posted, and
    has revoked or resent (B11, R13), or went on for so long that a worker has it by now. ``None``: it is left to that.

    :param judge: ask the rules too: they were asked in the same transaction, but that went on.
    """
    found = [one for one in ctx.unit.run(lambda: ctx.store.mails.find([letter.delivery.id])) if _is_ours(one, letter)]
    if not found:
        return None
    why = _overtaken(found[0], letter, ctx.now())
    if why is None and judge:
        (refusal,) = ctx.unit.run(lambda: ctx.forbids(ctx, found, ctx.now()))
        why = None if refusal is None else refusal.code
    outcome = send(ctx, letter) if why is None else end(letter, DeliveryState.CANCELLED, error=why)
    return outcome.delivery if ctx.unit.run(lambda: engine.write_down(ctx, MAILS, [outcome])) else None


def _is_ours(found: FoundMail, letter: Letter) -> bool:
    return found.mail.state == DeliveryState.SENDING and found.mail.attempts == letter.delivery.attempts


def _overtaken(found: FoundMail, letter: Letter, now: datetime) -> str | None:
    """The code of what has become of the invitation since its rules were asked, in the same transaction."""
    status = found.row.status_at(now)
    if status != Status.PENDING:
        return f"invitation-{status}"
    same = letter.token is not None and found.row.token_hash == letter.token.hash
    return None if same and not found.replaced else InvitationReplaced.code


def _wake(ctx: Context, invitation_id: uuid.UUID, delivery_id: uuid.UUID) -> None:
    enqueue = ctx.hooks.enqueue
    if ctx.config.delivery == "inline":
        ctx.observe("sending an email", invitation_id, partial(deliver, ctx, delivery_id))
    elif enqueue is not None:
        ctx.observe("enqueue", invitation_id, partial(enqueue, delivery_id))


# The worker


def deliver(ctx: Context, delivery_id: uuid.UUID | None = None, **how: Any) -> Counter[str]:
    """Send one email if it is due, or all that are; see :func:`.engine.deliver`."""
    return engine.deliver(ctx, MAILS, delivery_id, **how)


def _prepare(ctx: Context, leased: Sequence[FoundMail]) -> Sequence[Letter | Outcome]:
    """What it takes to send these emails; the host is asked once about each tenant."""
    now, name = ctx.now(), cache(ctx.hooks.tenant_name)
    refusals = ctx.forbids(ctx, leased, now)
    pairs = zip(leased, refusals, strict=True)
    return [
        _letter(ctx, found, name, now)
        if refusal is None
        else end(_bare(ctx, found), DeliveryState.CANCELLED, error=refusal.code)
        for found, refusal in pairs
    ]


def _letter(ctx: Context, found: FoundMail, tenant_name: Any, now: datetime) -> Letter | Outcome:
    letter, inviter, token = _bare(ctx, found), introduce(ctx, found.inviter), None
    if letter.kind in TO_INVITER and (inviter is None or inviter.email is None):
        return end(letter, DeliveryState.CANCELLED, error=NO_RECIPIENT)
    if letter.kind in WITH_LINK:
        token = _token(ctx, found.row, now, letter.kind)
        if token is None:
            return end(letter, DeliveryState.CANCELLED, error=NO_LINK)
    return replace(letter, tenant_name=tenant_name(found.row.tenant_id), inviter=inviter, token=token)


def _bare(ctx: Context, found: FoundMail) -> Letter:
    return Letter(found.mail, found.kind, found.info(ctx.now()), "", None)


def _token(ctx: Context, row: Invitation, now: datetime, kind: Kind) -> Token | None:
    """The link's token as it was. Where the key that made it is gone, an invitation gets a new one; a reminder is not
    sent: the link that was mailed still opens."""
    token = ctx.mint.recover(row.token_nonce, row.token_hash)
    if token is None and kind == Kind.INVITATION:
        nonce, token = ctx.mint.new()
        pending = ctx.models.Invitation.status == Status.PENDING
        ctx.store.change(
            row, now, pending, token_nonce=nonce, token_hash=token.hash, previous_token_hash=row.token_hash
        )
    return token


def send(ctx: Context, letter: Letter) -> Outcome:
    """Render and send one email. Never raises for what the mailer did."""
    try:
        ctx.unit.apart("the mailer", lambda: ctx.hooks.mailer(compose(ctx, letter)))
    except Exception as failure:
        return engine.failed(ctx, letter, failure)
    return end(letter, DeliveryState.SENT, sent_at=ctx.now(), error=None)


def _settled(ctx: Context, one: Outcome) -> None:
    """After the commit the host is told of what was sent."""
    if one.delivery.state == DeliveryState.SENT and one.kind in WITH_LINK:
        info = replace(one.invitation, delivery=one.delivery)
        ctx.unit.after_commit(partial(ctx.announce, invitation_sent, info))


#: The work of the outbox's engine that is emails.
MAILS: Work[Letter] = Work(_prepare, _bare, send, _settled)
