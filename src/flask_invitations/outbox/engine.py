"""The engine of the outbox: lease, turn, settle, back off. What leaves by it is somebody else's, see :class:`Work`.

A row is ``queued`` until its time comes, ``sending`` while one worker holds its lease, then ``sent``, ``failed`` or
``cancelled``. Between two of them a worker runs one short transaction: it writes down how the last one went, leases the
next, and prepares that. No transaction is open while it is performed. A fence, which each lease changes, keeps a worker
that outlived its lease from completing anything; what it knows of its own it keeps until that is written down.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ..context import Context, log
from ..errors import ConfigurationError, TryAgain
from ..model.states import DeliveryState
from ..store.found import FoundMail
from .breaker import breaker_of
from .outcomes import end, failed, keep, keep_before_the_end, spare, write_down
from .work import Hold, L, Lost, Outcome, Work

#: How often a worker looks first for what another one died over: however many wait, those do not wait for long.
RESCUE = timedelta(seconds=1)
#: At most so many are leased at a time.
MOST = 1000


def deliver(
    ctx: Context,
    work: Work[L],
    delivery_id: uuid.UUID | None = None,
    *,
    batch: int = 1,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda count: None,
    patience: timedelta | None = None,
) -> Counter[str]:
    """Perform one row if it is due, or all that are.

    :param batch: how many are leased, and how their outcomes are written, at a time; at most :data:`MOST`. A worker
        that dies performs again what it has performed of its batch: at most so many.
    :param stop: asked after each; ``True``: put back what was not begun, and return.
    :param progress: told how many have ended since it was told last.
    :param patience: for how long to try to write an outcome down; default: as long as the lease holds.
    :returns: how many ended in which state.
    :raises TryAgain: the database does not answer; leased rows are due again when their lease is over.
    """
    ended, rescued, hold = Counter[str](), ctx.now(), _nothing(ctx)
    most = fit = 1 if delivery_id is not None else min(batch, MOST)
    while True:
        over = stop() or (ended and delivery_id is not None)
        take = 0 if over else breaker_of(ctx.sender).room(fit, ctx.now())
        rescue = ctx.now() - rescued >= RESCUE
        rescued = ctx.now() if rescue else rescued
        hold = _turn(ctx, work, hold, partial(_lease, ctx, take, only=delivery_id, rescue=rescue), patience)
        if not hold.ready:
            return ended
        try:
            _perform_some(ctx, work, hold, stop)
            # What was prepared and is put back is prepared again: no more of it than there is time for.
            fit = max(1, hold.done) if hold.untried else min(2 * fit, most)
            ended.update(str(outcome.delivery.state) for outcome in hold.outcomes)
            progress(len(hold.outcomes))
        except BaseException:
            keep_before_the_end(ctx, work, hold, patience)
            raise


def count_due(ctx: Context) -> int:
    """How many rows are due now."""
    return ctx.unit.look(lambda: ctx.store.mails.count_due(ctx.now()))


def retry_failed(ctx: Context) -> int:
    """Queue again every row that was given up; the next :func:`deliver` finds which of them are still true.

    :returns: how many.
    """
    return ctx.unit.run(lambda: ctx.store.mails.revive(ctx.now()))


def _nothing(ctx: Context) -> Hold[Any]:
    return Hold(ctx.now(), ctx.config.delivery_lease)


def _lease(ctx: Context, count: int, fence: uuid.UUID, *, only: uuid.UUID | None, rescue: bool) -> Sequence[FoundMail]:
    now = ctx.now()
    until = now + ctx.config.delivery_lease
    return ctx.store.mails.lease(now, until, count, only=only, rescue=rescue, mark=fence) if count else ()


def _turn(
    ctx: Context,
    work: Work[L],
    before: Hold[L],
    lease: Callable[[uuid.UUID], Sequence[FoundMail]],
    patience: timedelta | None,
) -> Hold[L]:
    """Between two batches, in one transaction: write down how the last one went, lease the next, and prepare it.

    A hook that fails for one row must not keep the others from leaving (J5): then these are three steps, and each row
    is prepared on its own.

    :param before: the last batch; what of it was not begun is put back.
    :returns: the next; what need not be performed has its outcome already.
    """
    follows = bool(before.outcomes)
    if follows and work.is_watched(ctx):
        keep(ctx, work, before, patience)
        before = _nothing(ctx)
    after = replace(_nothing(ctx), follows=follows)

    def turn() -> Sequence[L | Outcome]:
        write_down(ctx, work, before)
        return _prepared(ctx, work, lease(after.fence))

    try:
        after.ready = ctx.unit.run(turn)
    except TryAgain:
        if not before.ready:
            raise
        keep(ctx, work, before, patience, lost=after.fence)
        return _turn(ctx, work, _nothing(ctx), lease, patience)
    except ConfigurationError:  # our tables are missing: no row is to blame, and nothing can be written down
        raise
    except Exception as error:
        ctx.hide(error)
        log.exception("a hook failed for an email that is due")
        keep(ctx, work, before, patience, lost=after.fence)
        return _turn_apart(ctx, work, lease)
    except BaseException:
        keep_before_the_end(ctx, work, before, patience)
        let_go(ctx, after)
        raise
    return after


def _turn_apart(ctx: Context, work: Work[L], lease: Callable[[uuid.UUID], Sequence[FoundMail]]) -> Hold[L]:
    """The next batch, each row prepared on its own."""
    after: Hold[L] = _nothing(ctx)
    leased = ctx.unit.run(lambda: lease(after.fence))
    try:
        after.ready = [each for one in leased for each in _prepared_alone(ctx, work, one)]
    except BaseException:
        let_go(ctx, after)
        raise
    return after


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


def perform(ctx: Context, work: Work[L], hold: Hold[L], patience: timedelta) -> Collection[uuid.UUID]:
    """Perform what we have leased in another way, and write down how that went.

    :param patience: for how long to try that.
    :returns: the rows of which it was written down.
    :raises TryAgain: the database does not answer.
    """
    try:
        _perform_some(ctx, work, hold)
    except BaseException:
        keep_before_the_end(ctx, work, hold, patience)
        raise
    return keep(ctx, work, hold, patience)


def let_go(ctx: Context, hold: Hold[Any]) -> None:
    """Put back whatever is still leased together with this; what went wrong goes on afterwards."""
    with suppress(TryAgain, SQLAlchemyError):
        ctx.unit.run(lambda: ctx.store.mails.release(hold.fence, ctx.now()))


def _perform_some(ctx: Context, work: Work[L], hold: Hold[L], stop: Callable[[], bool] = lambda: False) -> None:
    """Perform the first of them, and as many more as there is time for; those that are no longer ours are passed over.

    Where the database does not answer, nobody can tell whether the next one still is to be performed.
    """
    breaker = breaker_of(ctx.sender)
    for each in hold.ready:
        if hold.done and (stop() or not breaker.is_closed or not hold.is_fresh(ctx.now())):
            break
        try:
            hold.outcomes.append(each if isinstance(each, Outcome) else work.perform(ctx, each, hold))
        except Lost:
            log.info("email %s was no longer ours to send", each.delivery.id)
        except TryAgain:
            break
        except BaseException as interrupt:
            if not isinstance(each, Outcome):
                hold.outcomes.append(failed(ctx, each, interrupt))
                hold.done += 1
            raise
        hold.done += 1
    spare(ctx, hold)
