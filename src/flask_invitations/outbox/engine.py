"""The engine of the outbox: lease, turn, settle, back off. What leaves by it is somebody else's, see :class:`Work`.

A row is ``queued`` until its time comes, ``sending`` while one worker holds its lease, then ``sent``, ``failed`` or
``cancelled``. Between two of them a worker runs one short transaction: it writes down how the last one went, leases the
next, and prepares that. No transaction is open while it is performed. The number of the attempt fences: a worker that
outlived its lease completes nothing.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from ..context import Context, log
from ..errors import MailRefused, TryAgain
from ..gate import WrongAnswer
from ..mail.failures import is_final
from ..model.states import DeliveryState, EventType, Kind
from ..model.values import DeliveryInfo, InvitationInfo
from ..store.found import FoundMail

FIRST_DELAY, LONGEST_DELAY = timedelta(minutes=1), timedelta(hours=6)
#: What was prepared longer ago is not performed, but put back and prepared again: it may have been revoked.
FRESH = timedelta(seconds=1)
#: How often a worker looks first for what another one died over: however many wait, those do not wait for long.
RESCUE = timedelta(seconds=1)


class Leased(Protocol):
    """One row that is leased to us, made ready to perform.

    ``delivery`` is as it was leased: its number of attempts fences the outcome.
    """

    @property
    def delivery(self) -> DeliveryInfo: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def invitation(self) -> InvitationInfo: ...


@dataclass(frozen=True)
class Outcome:
    """How one attempt went.

    :param delivery: as it is afterwards; its number of attempts is the fence.
    """

    delivery: DeliveryInfo
    kind: Kind
    invitation: InvitationInfo
    next_attempt_at: datetime | None = None


L = TypeVar("L", bound=Leased)


@dataclass(frozen=True)
class Work(Generic[L]):
    """What leaves by the outbox.

    :param prepare: inside the transaction that leased them; what need not be performed has its outcome already.
    :param bare: one of them without anything that the host must be asked for: to write down that preparing it failed.
    :param perform: outside of any transaction; never raises.
    :param settled: inside the transaction that writes an outcome down, where the row was still ours.
    """

    prepare: Callable[[Context, Sequence[FoundMail]], Sequence[L | Outcome]]
    bare: Callable[[Context, FoundMail], L]
    perform: Callable[[Context, L], Outcome]
    settled: Callable[[Context, Outcome], None]


def deliver(
    ctx: Context,
    work: Work[L],
    delivery_id: uuid.UUID | None = None,
    *,
    batch: int = 1,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda count: None,
) -> Counter[str]:
    """Perform one row if it is due, or all that are.

    :param batch: how many are leased, and how their outcomes are written, at a time. A worker that dies performs again
        what it has performed of its batch: at most so many.
    :param stop: asked after each; ``True``: put back what was not begun, and return.
    :param progress: told how many have ended since it was told last.
    :returns: how many ended in which state.
    :raises TryAgain: the database does not answer; leased rows are due again when their lease is over.
    """
    ended: Counter[str] = Counter()
    outcomes, ready = list[Outcome](), list[L | Outcome]()
    wanted, rescued = 1 if delivery_id is not None else batch, ctx.now()
    while True:
        take = 0 if stop() or (ended and delivery_id is not None) else wanted
        rescue = ctx.now() - rescued >= RESCUE
        rescued = ctx.now() if rescue else rescued
        lease = partial(_lease, ctx, take, only=delivery_id, rescue=rescue)
        ready = _turn(ctx, work, outcomes, ready[len(outcomes) :], lease)
        if not ready:
            return ended
        outcomes = _perform_some(ctx, work, ready, stop)
        ended.update(str(outcome.delivery.state) for outcome in outcomes)
        progress(len(outcomes))


def count_due(ctx: Context) -> int:
    """How many rows are due now."""
    return ctx.unit.run(lambda: ctx.store.mails.count_due(ctx.now()))


def retry_failed(ctx: Context) -> int:
    """Queue again every row that was given up; the next :func:`deliver` finds which of them are still true.

    :returns: how many.
    """
    return ctx.unit.run(lambda: ctx.store.mails.revive(ctx.now()))


def _lease(ctx: Context, count: int, *, only: uuid.UUID | None, rescue: bool) -> Sequence[FoundMail]:
    now = ctx.now()
    until = now + ctx.config.delivery_lease
    return ctx.store.mails.lease(now, until, count, only=only, rescue=rescue) if count else ()


def _turn(
    ctx: Context,
    work: Work[L],
    outcomes: Sequence[Outcome],
    untried: Sequence[L | Outcome],
    lease: Callable[[], Sequence[FoundMail]],
) -> list[L | Outcome]:
    """Between two batches, in one transaction: write down how the last one went, lease the next, and prepare it.

    A hook that fails for one row must not keep the others from leaving (J5): then these are three steps, and each row
    is prepared on its own.

    :param untried: what was leased and not begun; it is put back.
    :returns: what there is to perform; what need not be performed has its outcome already.
    """

    def turn() -> list[L | Outcome]:
        write_down(ctx, work, outcomes, untried)
        return _prepared(ctx, work, lease())

    try:
        return ctx.unit.run(turn)
    except TryAgain:
        raise
    except Exception as error:
        ctx.hide(error)
        log.exception("a hook failed for an email that is due")
        ctx.unit.run(lambda: write_down(ctx, work, outcomes, untried))
        return [each for one in ctx.unit.run(lease) for each in _prepared_alone(ctx, work, one)]


def _prepared(ctx: Context, work: Work[L], leased: Sequence[FoundMail]) -> list[L | Outcome]:
    """What was leased, made ready; a row over which as many workers died as it may have attempts is given up."""
    lost, rest = list[FoundMail](), list[FoundMail]()
    for one in leased:
        out_of_tries = one.abandoned and (one.mail.attempts - 1) % ctx.config.delivery_attempts == 0
        (lost if out_of_tries else rest).append(one)
    given_up = [end(work.bare(ctx, one), DeliveryState.FAILED, error="WorkerLost") for one in lost]
    return [*given_up, *(work.prepare(ctx, rest) if rest else ())]


def _prepared_alone(ctx: Context, work: Work[L], leased: FoundMail) -> list[L | Outcome]:
    def prepare() -> list[L | Outcome]:
        found = ctx.store.mails.find([leased.mail.id])
        return _prepared(ctx, work, [replace(one, abandoned=leased.abandoned) for one in found])

    try:
        return ctx.unit.run(prepare)
    except TryAgain:
        raise
    except Exception as error:
        return [failed(ctx, work.bare(ctx, leased), error)]


def _perform_some(ctx: Context, work: Work[L], ready: Sequence[L | Outcome], stop: Callable[[], bool]) -> list[Outcome]:
    """Perform the first of them, and as many more as there is time for."""
    looked_at, outcomes = ctx.now(), list[Outcome]()
    for each in ready:
        if outcomes and (stop() or ctx.now() - looked_at > FRESH):
            break
        outcomes.append(each if isinstance(each, Outcome) else work.perform(ctx, each))
    return outcomes


# Outcomes


def end(one: Leased, state: DeliveryState, **values: Any) -> Outcome:
    """The outcome of an attempt that ends in ``state``."""
    return Outcome(replace(one.delivery, state=state, **values), one.kind, one.invitation)


def failed(ctx: Context, one: Leased, failure: Exception) -> Outcome:
    """The outcome of a try that failed: another one later, or none where that cannot help or there were enough."""
    attempts = one.delivery.attempts
    error = _name(failure)
    log.warning("email for invitation %s was not sent: %s", one.invitation.id, _said(failure))
    if is_final(failure) or attempts % ctx.config.delivery_attempts == 0:
        return end(one, DeliveryState.FAILED, error=error)
    outcome = end(one, DeliveryState.QUEUED, error=error)
    return replace(outcome, next_attempt_at=ctx.now() + backoff(attempts % ctx.config.delivery_attempts))


def _name(failure: Exception) -> str:
    """What is kept of a failure: its class only, since its text may hold the address, or the email itself."""
    reason = failure.__cause__ if isinstance(failure, MailRefused) and failure.__cause__ else failure
    return type(reason).__name__


def _said(failure: Exception) -> str:
    """What the log says of a failure: of a hook's wrong answer all of it, since that holds nothing personal."""
    return str(failure) if isinstance(failure, WrongAnswer) else _name(failure)


def backoff(attempt: int) -> timedelta:
    """How long to wait after failed attempt number ``attempt``: 1 minute doubling, at most 6 hours, less up to a
    tenth, so that emails which failed together do not come back together."""
    delay = min(FIRST_DELAY * float(2 ** (attempt - 1)), LONGEST_DELAY)
    return delay * random.uniform(0.9, 1)  # noqa: S311 - jitter, no secret


def write_down(
    ctx: Context, work: Work[L], outcomes: Sequence[Outcome], untried: Sequence[Leased | Outcome] = ()
) -> Collection[uuid.UUID]:
    """How attempts went; what was leased and not begun is put back.

    :returns: the rows that were still ours to write.
    """
    now = ctx.now()
    ctx.store.mails.put_back({each.delivery.id: each.delivery.attempts for each in untried}, now)
    ours = {key for group in _alike(outcomes) for key in _settle(ctx, group)}
    settled = [one for one in outcomes if one.delivery.id in ours]
    told = [
        (one.invitation, _EVENTS[one.delivery.state], _told(one)) for one in settled if one.delivery.state in _EVENTS
    ]
    ctx.store.events.add_all(told, now)
    for one in settled:
        work.settled(ctx, one)
    return ours


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
