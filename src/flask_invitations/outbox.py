"""The outbox: every mail is a row written in its invitation's transaction, and leaves after the commit.

A row is ``queued`` until its time comes, ``sending`` while one worker holds its lease, then ``sent``, ``failed`` or
``cancelled``. Between two mails a worker runs one short transaction: it writes down how the last one went, leases the
next, and looks whether that is still true. No transaction is open while a mail is rendered and sent. The number of the
attempt fences: a worker that outlived its lease completes nothing.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

from .context import Context, log
from .errors import MailRefused, TryAgain
from .gate import WrongAnswer
from .hooks import invitation_sent
from .mail.compose import Letter, compose, introduce
from .mail.failures import is_final
from .model.states import DeliveryState, Kind, Status
from .model.tables import Invitation
from .model.values import DeliveryInfo, InvitationInfo
from .store.found import FoundMail
from .tokens import Token

FIRST_DELAY, LONGEST_DELAY = timedelta(minutes=1), timedelta(hours=6)
#: What was looked at longer ago is not sent, but put back and looked at again: it may have been revoked.
FRESH = timedelta(seconds=1)
#: How often a worker looks first for mails that another one died over: however many wait, those do not wait for long.
RESCUE = timedelta(seconds=1)


@dataclass(frozen=True)
class Posted:
    """An invitation with its outbox row written; ``letter`` is what :func:`dispatch` sends itself."""

    info: InvitationInfo
    letter: Letter | None = None


@dataclass(frozen=True)
class Outcome:
    """How one attempt went.

    :param delivery: as it is afterwards; its number of attempts is the fence.
    """

    delivery: DeliveryInfo
    kind: str
    invitation: InvitationInfo
    next_attempt_at: datetime | None = None


# Writing rows


def post(ctx: Context, row: Invitation, token: Token, now: datetime, info: InvitationInfo, inviter: Any) -> Posted:
    """Write the outbox row of an invitation's mail, inside its transaction.

    Where we send it ourselves right after the commit, the row is born leased to us: a crash in between
    leaves it to the worker, and no statement is spent on claiming it.

    :param inviter: the host's user who invites, or ``None``.
    """
    kind = Kind.INVITATION
    if ctx.config.delivery == "queue":
        return Posted(replace(info, delivery=ctx.store.mails.add(row, kind, now).info()))
    delivery = ctx.store.mails.add(
        row,
        kind,
        now,
        state=DeliveryState.SENDING,
        attempts=1,
        next_attempt_at=None,
        last_attempt_at=now,
        leased_until=now + ctx.config.delivery_lease,
    )
    info, name = replace(info, delivery=delivery.info()), ctx.hooks.tenant_name(row.tenant_id)
    return Posted(info, Letter(delivery.info(), kind, info, name, introduce(ctx, inviter), token))


def notify(ctx: Context, row: Invitation, kind: str, now: datetime) -> None:
    """Write the outbox row of any other mail, inside the transaction of what it tells; it leaves after the commit."""
    delivery = ctx.store.mails.add(row, kind, now)
    ctx.unit.after_commit(partial(_wake, ctx, row.id, delivery.id))


# After the commit


def dispatch(ctx: Context, posted: Posted) -> Posted:
    """After the commit: send the mail, or wake a worker."""
    delivery, letter = posted.info.delivery, posted.letter
    if letter is not None:
        sent = ctx.observe("sending a mail", posted.info.id, partial(_send_posted, ctx, letter))
        return Posted(replace(posted.info, delivery=sent or letter.delivery))
    if delivery is not None:
        _wake(ctx, posted.info.id, delivery.id)
    return posted


def _send_posted(ctx: Context, letter: Letter) -> DeliveryInfo | None:
    """Send the mail of a row that was born leased, unless a host's own transaction went on after it was posted, and has
    revoked or resent (B11, R13), or went on for so long that a worker has it by now. ``None``: it is left to that."""
    found = [one for one in ctx.unit.run(lambda: ctx.store.mails.find([letter.delivery.id])) if _is_ours(one, letter)]
    if not found:
        return None
    link, live = letter.token and letter.token.hash, _is_true(found[0], letter.kind, ctx.now())
    still = live and found[0].row.token_hash == link
    outcome = send(ctx, letter) if still else _end(letter, DeliveryState.CANCELLED)
    return outcome.delivery if ctx.unit.run(lambda: _write_down(ctx, [outcome])) else None


def _is_ours(found: FoundMail, letter: Letter) -> bool:
    return found.mail.state == DeliveryState.SENDING and found.mail.attempts == letter.delivery.attempts


def _wake(ctx: Context, invitation_id: uuid.UUID, delivery_id: uuid.UUID) -> None:
    enqueue = ctx.hooks.enqueue
    if ctx.config.delivery == "inline":
        ctx.observe("sending a mail", invitation_id, partial(deliver, ctx, delivery_id))
    elif enqueue is not None:
        ctx.observe("enqueue", invitation_id, partial(enqueue, delivery_id))


# The worker


def deliver(
    ctx: Context,
    delivery_id: uuid.UUID | None = None,
    *,
    batch: int = 1,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda count: None,
) -> Counter[str]:
    """Send one mail if it is due, or all that are.

    :param batch: how many are leased, and how their outcomes are written, at a time. A worker that dies sends again
        what it has sent of its batch: at most so many mails.
    :param stop: asked after each mail; ``True``: put back what was not begun, and return.
    :param progress: told how many mails have ended since it was told last.
    :returns: how many mails ended in which state.
    :raises TryAgain: the database does not answer; leased mails are due again when their lease is over.
    """
    ended: Counter[str] = Counter()
    outcomes, ready = list[Outcome](), list[Letter | Outcome]()
    wanted, rescued = 1 if delivery_id is not None else batch, ctx.now()
    while True:
        take = 0 if stop() or (ended and delivery_id is not None) else wanted
        rescue = ctx.now() - rescued >= RESCUE
        rescued = ctx.now() if rescue else rescued
        lease = partial(_lease, ctx, take, only=delivery_id, rescue=rescue)
        ready = _turn(ctx, outcomes, ready[len(outcomes) :], lease)
        if not ready:
            return ended
        outcomes = _send_some(ctx, ready, stop)
        ended.update(outcome.delivery.state for outcome in outcomes)
        progress(len(outcomes))


def count_due(ctx: Context) -> int:
    """How many mails are due now."""
    return ctx.unit.run(lambda: ctx.store.mails.count_due(ctx.now()))


def retry_failed(ctx: Context) -> int:
    """Queue again every mail that was given up; the next :func:`deliver` finds which of them are still true.

    :returns: how many.
    """
    return ctx.unit.run(lambda: ctx.store.mails.revive(ctx.now()))


def _lease(ctx: Context, count: int, *, only: uuid.UUID | None, rescue: bool) -> Sequence[FoundMail]:
    now = ctx.now()
    until = now + ctx.config.delivery_lease
    return ctx.store.mails.lease(now, until, count, only=only, rescue=rescue) if count else ()


def _turn(
    ctx: Context,
    outcomes: Sequence[Outcome],
    untried: Sequence[Letter | Outcome],
    lease: Callable[[], Sequence[FoundMail]],
) -> list[Letter | Outcome]:
    """Between two batches, in one transaction: write down how the last one went, lease the next, and look at it.

    A hook that fails for one mail must not keep the others from leaving (J5): then these are three steps, and each mail
    is looked at on its own.

    :param untried: what was leased and not begun; it is put back.
    :returns: what there is to send; what need not be sent has its outcome already.
    """

    def turn() -> list[Letter | Outcome]:
        _write_down(ctx, outcomes, untried)
        return _look(ctx, lease())

    try:
        return ctx.unit.run(turn)
    except TryAgain:
        raise
    except Exception:
        log.exception("a hook failed for a mail that is due")
        ctx.unit.run(lambda: _write_down(ctx, outcomes, untried))
        return [each for mail in ctx.unit.run(lease) for each in _look_alone(ctx, mail)]


def _look(ctx: Context, leased: Sequence[FoundMail]) -> list[Letter | Outcome]:
    """What it takes to send these mails; the host is asked once about each tenant."""
    now, hooks = ctx.now(), ctx.hooks
    is_active, name = cache(hooks.tenant_is_active), cache(hooks.tenant_name)
    ctx = replace(ctx, hooks=hooks.but(tenant_is_active=is_active, tenant_name=name))
    return [_letter(ctx, found, now) for found in leased]


def _look_alone(ctx: Context, leased: FoundMail) -> list[Letter | Outcome]:
    def look() -> list[Letter | Outcome]:
        found = ctx.store.mails.find([leased.mail.id])
        return _look(ctx, [replace(one, abandoned=leased.abandoned) for one in found])

    try:
        return ctx.unit.run(look)
    except TryAgain:
        raise
    except Exception as error:
        return [_failed(ctx, _letter_without_hooks(leased, ctx.now()), error)]


def _send_some(ctx: Context, ready: Sequence[Letter | Outcome], stop: Callable[[], bool]) -> list[Outcome]:
    """Send the first of them, and as many more as there is time for."""
    looked_at, outcomes = ctx.now(), list[Outcome]()
    for each in ready:
        if outcomes and (stop() or ctx.now() - looked_at > FRESH):
            break
        outcomes.append(send(ctx, each) if isinstance(each, Letter) else each)
    return outcomes


def _letter(ctx: Context, found: FoundMail, now: datetime) -> Letter | Outcome:
    letter, row = _letter_without_hooks(found, now), found.row
    if found.abandoned and (letter.delivery.attempts - 1) % ctx.config.delivery_attempts == 0:
        return _end(letter, DeliveryState.FAILED, error="WorkerLost")
    if not _is_true(found, letter.kind, now) or not ctx.hooks.tenant_is_active(row.tenant_id):
        return _end(letter, DeliveryState.CANCELLED)
    inviter, token = introduce(ctx, found.inviter), None
    if letter.kind in Kind.TO_INVITER and (inviter is None or inviter.email is None):
        return _end(letter, DeliveryState.CANCELLED)
    if letter.kind in Kind.WITH_LINK:
        token = _token(ctx, row, now, letter.kind)
        if token is None:
            return _end(letter, DeliveryState.CANCELLED)
    return replace(letter, tenant_name=ctx.hooks.tenant_name(row.tenant_id), inviter=inviter, token=token)


def _letter_without_hooks(found: FoundMail, now: datetime) -> Letter:
    info = found.row.info(now, found.inviter_email, found.mail)
    return Letter(found.mail, found.kind, info, "", None)


def _is_true(found: FoundMail, kind: str, now: datetime) -> bool:
    """Whether what the mail says is still so, and no later mail says it."""
    overtaken = found.replaced and kind in Kind.WITH_LINK
    return found.row.status_at(now) == Kind.WHILE[kind] and found.row.email_key is not None and not overtaken


def _token(ctx: Context, row: Invitation, now: datetime, kind: str) -> Token | None:
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


# One attempt


def send(ctx: Context, letter: Letter) -> Outcome:
    """Render and send one mail. Never raises for what the mailer did."""
    try:
        ctx.hooks.mailer(compose(ctx, letter))
    except Exception as failure:
        return _failed(ctx, letter, failure)
    return _end(letter, DeliveryState.SENT, sent_at=ctx.now(), error=None)


def _end(letter: Letter, state: str, **values: Any) -> Outcome:
    delivery = replace(letter.delivery, state=state, **values)
    return Outcome(delivery, letter.kind, letter.invitation)


def _failed(ctx: Context, letter: Letter, failure: Exception) -> Outcome:
    """The outcome of a try that failed: another one later, or none where that cannot help or there were enough."""
    attempts, info = letter.delivery.attempts, letter.invitation
    error = _name(failure)
    log.warning("mail for invitation %s was not sent: %s", info.id, _told(failure))
    if is_final(failure) or attempts % ctx.config.delivery_attempts == 0:
        return _end(letter, DeliveryState.FAILED, error=error)
    outcome = _end(letter, DeliveryState.QUEUED, error=error)
    return replace(outcome, next_attempt_at=ctx.now() + backoff(attempts % ctx.config.delivery_attempts))


def _name(failure: Exception) -> str:
    """What is kept of a failure: its class only, since its text may hold the address, or the mail itself."""
    reason = failure.__cause__ if isinstance(failure, MailRefused) and failure.__cause__ else failure
    return type(reason).__name__


def _told(failure: Exception) -> str:
    """What the log says of a failure: of a hook's wrong answer all of it, since that holds nothing personal."""
    return str(failure) if isinstance(failure, WrongAnswer) else _name(failure)


def backoff(attempt: int) -> timedelta:
    """How long to wait after failed attempt number ``attempt``: 1 minute doubling, at most 6 hours, less up to a
    tenth, so that mails which failed together do not come back together."""
    delay = min(FIRST_DELAY * float(2 ** (attempt - 1)), LONGEST_DELAY)
    return delay * random.uniform(0.9, 1)  # noqa: S311 - jitter, no secret


def _write_down(
    ctx: Context, outcomes: Sequence[Outcome], untried: Sequence[Letter | Outcome] = ()
) -> Collection[uuid.UUID]:
    """How attempts went; what was leased and not begun is put back. After the commit the host is told.

    :returns: the mails that were still ours to write.
    """
    now = ctx.now()
    ctx.store.mails.put_back({each.delivery.id: each.delivery.attempts for each in untried}, now)
    ours = {key for group in _alike(outcomes) for key in _settle(ctx, group)}
    ctx.store.add_events([_event(one, now) for one in outcomes if one.delivery.state in _EVENTS and _has(one, ours)])
    for one in outcomes:
        if one.delivery.state == DeliveryState.SENT and one.kind in Kind.WITH_LINK and _has(one, ours):
            info = replace(one.invitation, delivery=one.delivery)
            ctx.unit.after_commit(partial(ctx.announce, invitation_sent, info))
    return ours


def _has(one: Outcome, ours: Collection[uuid.UUID]) -> bool:
    return one.delivery.id in ours


def _alike(outcomes: Sequence[Outcome]) -> Collection[list[Outcome]]:
    """Those that one statement can write down; failed tries differ in when the next one is due."""
    groups: dict[Any, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault((one.delivery.state, one.delivery.error, one.next_attempt_at), []).append(one)
    return groups.values()


def _settle(ctx: Context, group: Sequence[Outcome]) -> Collection[uuid.UUID]:
    last = group[-1]
    return ctx.store.mails.settle(
        {one.delivery.id: one.delivery.attempts for one in group},
        last.delivery.state,
        sent_at=last.delivery.sent_at,
        last_error=last.delivery.error,
        next_attempt_at=last.next_attempt_at,
    )


_EVENTS = {DeliveryState.SENT: "sent", DeliveryState.FAILED: "mail_failed"}


def _event(one: Outcome, now: datetime) -> Mapping[str, Any]:
    about = {"delivery_id": str(one.delivery.id), "kind": one.kind}
    if one.delivery.error is not None:
        about["error"] = one.delivery.error
    return {"row": one.invitation, "type": _EVENTS[one.delivery.state], "at": now, "details": about}
