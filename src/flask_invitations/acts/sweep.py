"""Sweep: write down what time has done. Nothing depends on it for safety; run it every few minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from .. import outbox
from ..clock import as_utc
from ..context import Context
from ..model.states import OUT, EventType, Kind, Status
from ..model.tables import Invitation
from ..model.values import DeliveryInfo
from .invite import expire

CHUNK = 200


@dataclass(frozen=True)
class Swept:
    """:param expired: invitations marked expired; :param purged: closed ones that lost their personal data;
    :param reminded: those of which a reminder is on its way."""

    expired: int
    purged: int
    reminded: int = 0


def sweep(ctx: Context) -> Swept:
    """Expire what is overdue, purge what was closed longer ago than the setting ``RETENTION``, and remind of what
    expires within ``REMIND_BEFORE``.

    In short transactions of ``CHUNK`` rows: may be killed, repeated, and run by several at once.
    """
    expired = _until_done(ctx, lambda: _expire_some(ctx))
    purged = _until_done(ctx, lambda: _purge_some(ctx))
    _until_done(ctx, lambda: _age_some(ctx))
    _until_done(ctx, lambda: _drop_some(ctx))
    return Swept(expired, purged, _until_done(ctx, lambda: _remind_some(ctx)))


def _until_done(ctx: Context, some: Callable[[], tuple[int, int]]) -> int:
    """:param some: works on a chunk of rows; returns how many there were, and for how many something was done."""
    total, seen = 0, CHUNK
    while seen == CHUNK:
        seen, done = ctx.unit.run(some)
        total += done
    return total


def _expire_some(ctx: Context) -> tuple[int, int]:
    now = ctx.now()
    rows = ctx.store.overdue(now, CHUNK)
    expire(ctx, rows, now)
    return len(rows), len(rows)


def _purge_some(ctx: Context) -> tuple[int, int]:
    now = ctx.now()
    rows = ctx.store.purgeable(now - ctx.config.retention, CHUNK)
    if rows:
        ctx.store.purge(rows, now)
        ctx.store.events.add_all([(row, EventType.PURGED, {}) for row in rows], now)
    return len(rows), len(rows)


def _age_some(ctx: Context) -> tuple[int, int]:
    """Events age as well: what was written after an invitation was closed, and of one that was open for long."""
    ids = ctx.store.events.old(ctx.now() - ctx.config.retention, CHUNK)
    if ids:
        ctx.store.events.forget_lines(ids)
    return len(ids), len(ids)


def _drop_some(ctx: Context) -> tuple[int, int]:
    """Answers that are not given again any more."""
    now = ctx.now()
    key_hashes = ctx.store.requests.expired(now, CHUNK)
    if key_hashes:
        ctx.store.requests.drop(key_hashes, now)
    return len(key_hashes), len(key_hashes)


def _remind_some(ctx: Context) -> tuple[int, int]:
    """Each invitation is decided on once, at the first sweep after its moment; what becomes untrue of it before the
    reminder leaves, the outbox finds (B11)."""
    span, now = ctx.config.remind_before, ctx.now()
    rows = [] if span is None else ctx.store.to_remind(now, now + span, CHUNK)
    if span is None or not rows:
        return 0, 0
    column, mails = ctx.models.Invitation, ctx.store.mails.latest([row.id for row in rows])
    ctx.store.change_all(rows, now, column.status == Status.PENDING, column.reminded_at.is_(None), reminded_at=now)
    due = [row for row in rows if _is_due(row, mails.get(row.id), span)]
    outbox.notify(ctx, due, Kind.REMINDER, now, most=CHUNK)
    return len(rows), len(due)


def _is_due(row: Invitation, mail: DeliveryInfo | None, span: timedelta) -> bool:
    """Only of an email that left before the moment for the reminder, and did not come back."""
    if mail is None or mail.state not in OUT or mail.sent_at is None:
        return False
    return mail.sent_at <= as_utc(row.expires_at) - span
