"""The emails that leave by the outbox: a row each, written in its invitation's transaction, sent after the commit."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from time import monotonic
from typing import Any

from ..context import Context
from ..errors import (
    AddressSuppressed,
    InvitationError,
    InvitationNotFound,
    InvitationReplaced,
    InvitationWithdrawn,
    TryAgain,
)
from ..hooks import invitation_sent
from ..mail.compose import Letter, compose, introduce
from ..model.states import ENDED, TO_INVITER, WHILE, WITH_LINK, DeliveryState, Kind, Status
from ..model.tables import Invitation
from ..model.values import DeliveryInfo, InvitationInfo, complete
from ..store.found import FoundMail
from ..tokens import Token
from . import engine
from .breaker import breaker_of
from .outcomes import end, failed, postponed
from .work import Hold, Lost, Outcome, Work

#: Where there is nobody (any more) to write to.
NO_RECIPIENT = InvitationWithdrawn.code
#: Where the key that made the link is gone: a newer email has to bring another.
NO_LINK = InvitationReplaced.code
#: For how long a request, which has sent an email itself, tries to write that down.
PATIENCE = timedelta(seconds=5)
#: A request sends no more emails than this itself: where one act has more, all of them are left to a worker.
AT_ONCE = 10


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
    at_once, held = _is_at_once(ctx, len(rows)), Hold[Letter](now, ctx.config.delivery_lease)
    mails = ctx.store.mails.add(rows, kind, now, **(_leased(held) if at_once else {}))
    name, introduced = cache(ctx.hooks.tenant_name), introduce(ctx, inviter) if at_once else None
    for each, mail in zip(postings, mails, strict=True):
        complete(each.info, delivery=mail)
        if not at_once:
            _enqueue(ctx, each.row.id, mail.id)
        else:
            about = replace(each.info, accept_url=None)
            letter = Letter(mail, kind, about, name(each.row.tenant_id), introduced, each.token)
            one = replace(held, ready=[letter], outcomes=[], is_asked=not ctx.unit.goes_on())
            dispatch = partial(_dispatch, ctx, one, each.info)
            ctx.unit.after_commit(dispatch, instead=partial(engine.let_go, ctx, one))


def _is_at_once(ctx: Context, count: int, most: int = AT_ONCE) -> bool:
    """Whether we send so many emails of one act ourselves, right after the commit."""
    return ctx.config.delivery == "inline" and count <= most


def _leased(held: Hold[Letter]) -> dict[str, Any]:
    """The columns of a row that is born leased."""
    return {
        "state": DeliveryState.SENDING,
        "fence": held.fence,
        "attempts": 1,
        "next_attempt_at": None,
        "last_attempt_at": held.since,
        "leased_until": held.since + held.lease,
    }


def notify(ctx: Context, rows: Sequence[Invitation], kind: Kind, now: datetime, most: int = AT_ONCE) -> None:
    """Write the outbox rows of any other email, inside the transaction of what it tells; sent after the commit.

    :param most: where there are more, all of them are left to a worker.
    """
    at_once = _is_at_once(ctx, len(rows), most)
    for row, mail in zip(rows, ctx.store.mails.add(rows, kind, now), strict=True):
        if at_once:
            send = partial(deliver, ctx, mail.id, patience=PATIENCE)
            ctx.unit.after_commit(partial(ctx.observe, "sending an email", row.id, send))
        else:
            _enqueue(ctx, row.id, mail.id)


# After the commit


def _dispatch(ctx: Context, held: Hold[Letter], info: InvitationInfo) -> None:
    """Send the email of a row that was born leased, unless a host's own transaction went on after it was posted, and
    has revoked or resent (B11, R13), or went on for so long that a worker has it by now."""
    sent = ctx.observe("sending an email", info.id, partial(_send_posted, ctx, held))
    complete(info, delivery=sent or held.ready[0].delivery)


def _send_posted(ctx: Context, held: Hold[Letter]) -> DeliveryInfo | None:
    """``None``: it is left to a worker."""
    written = engine.perform(ctx, MAILS, held, PATIENCE)
    return held.outcomes[0].delivery if written else None


def _enqueue(ctx: Context, invitation_id: uuid.UUID, delivery_id: uuid.UUID) -> None:
    """Have a worker woken, where the host has a way to."""
    enqueue = ctx.hooks.enqueue
    if enqueue is not None:
        ctx.unit.after_commit(partial(ctx.observe, "enqueue", invitation_id, partial(enqueue, delivery_id)))


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
        link = {"token_nonce": nonce, "token_hash": token.hash, "previous_token_hash": row.token_hash}
        ctx.store.change(row, now, pending, wait=False, **link)  # the email is locked already
    return token


def send(ctx: Context, letter: Letter, held: Hold[Letter]) -> Outcome:
    """Render one email; look whether it still is to leave; send it. Between the last two no hook is called.

    :raises Lost: it is no longer ours.
    :raises TryAgain: the database does not answer, so nobody can look.
    """
    try:
        # What the host's templates and its limiter read, they read apart: on MariaDB the last look would see nothing
        # newer in their transaction.
        message, wait = ctx.unit.apart(
            "what comes before an email", lambda: (compose(ctx, letter), _crowded(ctx, letter))
        )
        why = None if wait is not None else _forbidden(ctx, letter, held)
    except (Lost, TryAgain):
        raise
    except Exception as failure:
        return failed(ctx, letter, failure)
    if wait is not None:
        return postponed(ctx, letter, wait)
    if why is not None:
        return end(letter, DeliveryState.CANCELLED, error=why)
    try:
        ctx.unit.apart("the mailer", lambda: ctx.hooks.mailer(message))
    except Exception as failure:
        return failed(ctx, letter, failure)
    breaker_of(ctx.sender).succeeded()
    return end(letter, DeliveryState.SENT, sent_at=ctx.now(), error=None)


def _crowded(ctx: Context, letter: Letter) -> int | None:
    """How many seconds an email with a link has to wait, since there were too many to the same person (E5). Asked for
    its first attempt only, and before the last look: nothing that takes time comes after that."""
    if letter.kind not in WITH_LINK or letter.delivery.attempts > 1:
        return None
    return ctx.limits.mailing(letter.invitation.email_key or "")


def _forbidden(ctx: Context, letter: Letter, held: Hold[Letter]) -> str | None:
    """The code of what forbids an email at the moment it leaves. The rules are asked only where they were asked some
    time ago: that takes as long as the host's hooks take, so the row itself is looked at last."""
    if not held.is_fresh(ctx.now()):
        (refusal,) = ctx.unit.run(lambda: ctx.forbids(ctx, [_found(ctx, letter, held)], ctx.now()))
        if refusal is not None:
            return refusal.code
    if not held.is_fresh(ctx.now()):
        ctx.unit.run(lambda: _renew(ctx, letter, held))
    return ctx.unit.ahead(lambda: _overtaken(ctx, letter, held), anew=True, by_commit=held.follows)


def _renew(ctx: Context, letter: Letter, held: Hold[Letter]) -> None:
    """Have the row for ourselves once more from now on. The last look is not in this transaction: a decision would
    slip in while it is committed."""
    if not ctx.store.mails.renew(letter.delivery.id, held.fence, ctx.now() + held.lease):
        raise Lost
    held.renewed = monotonic()


def _overtaken(ctx: Context, letter: Letter, held: Hold[Letter]) -> str | None:
    """The code of what has become of the invitation since the rules were asked.

    :raises Lost: another worker has the email, or somebody has ended it.
    """
    info, to_inviter = letter.invitation, letter.kind in TO_INVITER
    names = () if to_inviter else ctx.pseudonyms.of(info.tenant_id, info.email_key or "")
    glanced = ctx.store.mails.glance(letter.delivery.id, held.fence, names)
    if glanced is None:
        raise Lost
    row, replaced, unwanted = glanced
    refusal = untrue(row, letter.kind, replaced, ctx.now())
    if refusal is None and unwanted:
        refusal = AddressSuppressed()
    if refusal is None and letter.token is not None and row.token_hash != letter.token.hash:
        refusal = InvitationReplaced()
    return None if refusal is None else refusal.code


def _found(ctx: Context, letter: Letter, held: Hold[Letter]) -> FoundMail:
    """:raises Lost: another worker has it, or somebody has ended it."""
    found = next(iter(ctx.store.mails.find([letter.delivery.id])), None)
    if found is None or found.mail.state != DeliveryState.SENDING or found.fence != held.fence:
        raise Lost
    return found


def untrue(row: Invitation, kind: Kind, replaced: bool, now: datetime) -> InvitationError | None:
    """Why what an email of this kind says about an invitation is no longer so.

    :param replaced: a resend has made another email since.
    """
    status = row.status_at(now)
    if row.email_key is None:
        return InvitationNotFound()
    if status != WHILE.get(kind, Status.PENDING):
        return ENDED.get(status, InvitationReplaced)()
    return InvitationReplaced() if replaced and kind in WITH_LINK else None


def _settled(ctx: Context, one: Outcome) -> None:
    """After the commit the host is told of what was sent."""
    if one.delivery.state == DeliveryState.SENT and one.kind in WITH_LINK:
        info = replace(one.invitation, delivery=one.delivery)
        ctx.unit.after_commit(partial(ctx.announce, invitation_sent, info))


def _is_watched(ctx: Context) -> bool:
    return bool(invitation_sent.has_receivers_for(ctx.sender))


#: The work of the outbox's engine that is emails.
MAILS: Work[Letter] = Work(_prepare, _bare, send, _settled, _is_watched)
