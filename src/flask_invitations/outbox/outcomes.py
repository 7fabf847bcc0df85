"""How attempts went: what comes of each, and how that is written down, whatever the database does meanwhile."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ..context import Context, log
from ..errors import MailRefused, RateLimited, TryAgain
from ..gate import WrongAnswer
from ..mail.failures import described, is_final
from ..model.states import TO_INVITER, DeliveryState, EventType
from .breaker import breaker_of, doubled
from .work import Hold, L, Leased, Outcome, Work

FIRST_DELAY, LONGEST_DELAY = timedelta(minutes=1), timedelta(hours=6)
#: Seconds between two tries to write an outcome down, at first and at last.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


def end(one: Leased, state: DeliveryState, **values: Any) -> Outcome:
    """The outcome of an attempt that ends in ``state``."""
    return Outcome(replace(one.delivery, state=state, **values), one.kind, one.invitation)


def postponed(ctx: Context, one: Leased, seconds: int) -> Outcome:
    """The outcome of an email that has to wait because of how many the same person got: nobody has tried to send it."""
    attempts = one.delivery.attempts - 1
    later = end(one, DeliveryState.QUEUED, attempts=attempts, error=RateLimited.code)
    return replace(later, next_attempt_at=ctx.now() + timedelta(seconds=seconds), tried=False)


def failed(ctx: Context, one: Leased, failure: BaseException) -> Outcome:
    """The outcome of a try that failed: another one later, or none where that cannot help or there were enough."""
    now, tries = ctx.now(), one.delivery.attempts % ctx.config.delivery_attempts
    error = _name(failure)
    log.warning("email for invitation %s was not sent: %s", one.invitation.id, _said(failure))
    if tries == 0 or (is_final(failure) and not _is_about_us(ctx, one, failure, now)):
        return end(one, DeliveryState.FAILED, error=error)
    return replace(end(one, DeliveryState.QUEUED, error=error), next_attempt_at=now + backoff(tries))


def _is_about_us(ctx: Context, one: Leased, failure: BaseException, now: datetime) -> bool:
    """Whether so many were refused in a row that it can hardly be about their mailboxes."""
    in_doubt: bool = getattr(failure, "in_doubt", True)
    return in_doubt and breaker_of(ctx.sender).refused(_whom(one), one.delivery.id, now)


def _whom(one: Leased) -> Hashable:
    """To whom it was to go."""
    return one.invitation.invited_by if one.kind in TO_INVITER else one.invitation.email_key


def _name(failure: BaseException) -> str:
    """What is kept of a failure: of one that a mailer says is final, what it says was its cause."""
    reason = failure.__cause__ if isinstance(failure, MailRefused) and failure.__cause__ else failure
    return described(reason)


def _said(failure: BaseException) -> str:
    """What the log says of a failure: of a hook's wrong answer all of it, since that holds nothing personal."""
    return str(failure) if isinstance(failure, WrongAnswer) else _name(failure)


def backoff(attempt: int) -> timedelta:
    """How long to wait after failed attempt number ``attempt``: 1 minute doubling, at most 6 hours, less up to a
    tenth, so that emails which failed together do not come back together."""
    return doubled(FIRST_DELAY, attempt, LONGEST_DELAY) * random.uniform(0.9, 1)  # noqa: S311 - jitter, no secret


def keep(
    ctx: Context, work: Work[L], hold: Hold[L], patience: timedelta | None = None, lost: uuid.UUID | None = None
) -> Collection[uuid.UUID]:
    """Write down how attempts went, again and again if need be, as long as the lease holds: what was sent, and is not
    written down, is sent twice.

    :param patience: for how long from now, in place of the lease.
    :param lost: the fence of a lease of which it is not known whether the database has taken it; it is given back.
    :returns: the rows that were still ours to write.
    :raises TryAgain: the database did not answer in time.
    """
    end = hold.until if patience is None else time.monotonic() + patience.total_seconds()
    pause = FIRST_PAUSE

    def close() -> Collection[uuid.UUID]:
        if lost is not None:
            ctx.store.mails.release(lost, ctx.now())
        return write_down(ctx, work, hold)

    while True:
        try:
            return ctx.unit.run(close)
        except (TryAgain, SQLAlchemyError):
            if time.monotonic() + pause > end:
                _cry(hold)
                raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        except BaseException:
            with suppress(Exception):
                ctx.unit.run(close)
            raise


def keep_before_the_end(ctx: Context, work: Work[L], hold: Hold[L], patience: timedelta | None) -> None:
    """The same, where another exception goes on afterwards."""
    with suppress(TryAgain, SQLAlchemyError):
        keep(ctx, work, hold, patience)


def _cry(hold: Hold[Any]) -> None:
    twice = [str(one.delivery.id) for one in hold.outcomes if one.delivery.state == DeliveryState.SENT]
    if twice:
        log.error(
            "%d email(s) were sent, but the database did not answer for as long as they were ours. They may be sent "
            "twice: %s",
            len(twice),
            ", ".join(twice),
        )


def write_down(ctx: Context, work: Work[L], hold: Hold[L]) -> Collection[uuid.UUID]:
    """How attempts went, inside a transaction; what was leased and not begun is put back.

    :returns: the rows that were still ours to write.
    """
    now = ctx.now()
    tenants = {each.invitation.tenant_id for each in (*hold.outcomes, *hold.ready)}
    ctx.store.mails.put_back(hold.untried, hold.fence, tenants, now)
    ours = {key for group in _alike(hold.outcomes) for key in _settle(ctx, hold.fence, group, tenants)}
    settled = [one for one in hold.outcomes if one.delivery.id in ours]
    told = [
        (one.invitation, _EVENTS[one.delivery.state], _told(one)) for one in settled if one.delivery.state in _EVENTS
    ]
    ctx.store.events.add_all(told, now)
    for one in settled:
        work.settled(ctx, one)
    _revive(ctx, now)
    return ours


def _revive(ctx: Context, now: datetime) -> None:
    """Queue again what was given up before the breaker found that it was about us."""
    breaker = breaker_of(ctx.sender)
    wronged = breaker.wronged()
    if wronged:
        revived = ctx.store.mails.revive(now + backoff(1), wronged)
        if revived == len(wronged) or breaker.is_closed:  # else another thread has still to give them up
            ctx.unit.after_commit(partial(breaker.righted, wronged))


def _alike(outcomes: Sequence[Outcome]) -> Collection[list[Outcome]]:
    """Those that one statement can write down; failed tries differ in when the next one is due."""
    groups: dict[Any, list[Outcome]] = {}
    for one in outcomes:
        how = (one.delivery.state, one.delivery.error, one.next_attempt_at, one.tried)
        groups.setdefault(how, []).append(one)
    return groups.values()


def _settle(
    ctx: Context, fence: uuid.UUID, group: Sequence[Outcome], tenants: Collection[Any]
) -> Collection[uuid.UUID]:
    last = group[-1]
    return ctx.store.mails.settle(
        [one.delivery.id for one in group],
        fence,
        last.delivery.state,
        tenants,
        sent_at=last.delivery.sent_at,
        last_error=last.delivery.error,
        next_attempt_at=last.next_attempt_at,
        tried=last.tried,
    )


_EVENTS: Mapping[str, EventType] = {
    DeliveryState.SENT: EventType.SENT,
    DeliveryState.FAILED: EventType.MAIL_FAILED,
}


def _told(one: Outcome) -> Mapping[str, Any]:
    """The columns of an outcome's line in the audit trail."""
    about = {"delivery_id": str(one.delivery.id), "kind": one.kind}
    if one.delivery.error is not None:
        about["error"] = one.delivery.error
    return {"details": about}


def spare(ctx: Context, hold: Hold[L]) -> None:
    """What was given up of this batch is not, where the breaker has found since that it was about us."""
    breaker = breaker_of(ctx.sender)
    wronged = breaker.wronged()
    here = {one.delivery.id for one in hold.outcomes if one.delivery.id in wronged}
    if here:
        hold.outcomes[:] = [_again(ctx, one) if one.delivery.id in here else one for one in hold.outcomes]
        breaker.righted(here)


def _again(ctx: Context, one: Outcome) -> Outcome:
    queued = replace(one.delivery, state=DeliveryState.QUEUED)
    return replace(one, delivery=queued, next_attempt_at=ctx.now() + backoff(1))
