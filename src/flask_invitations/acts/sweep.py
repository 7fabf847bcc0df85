"""Sweep: write down what time has done. Nothing depends on it for safety; run it every few minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from .. import outbox
from ..clock import as_utc
from ..context import Context
from ..model.states import DeliveryState, Kind, Status
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
    for row in rows:
        expire(ctx, row, now)
    return len(rows), len(rows)


def _purge_some(ctx: Context) -> tuple[int, int]:
    now = ctx.now()
    rows = ctx.store.purgeable(now - ctx.config.retention, CHUNK)
    for row in rows:
        ctx.store.purge(row, now)
        ctx.store.event(row, "purged", now)
    return len(rows), len(rows)


def _remind_some(ctx: Context) -> tuple[int, int]:
    """Each invitation is decided on once, at the first sweep after its moment; what becomes untrue of it before the
    reminder leaves, the outbox finds (B11)."""
    span, now = ctx.config.remind_before, ctx.now()
    if span is None:
        return 0, 0
    rows = ctx.store.to_remind(now, now + span, CHUNK)
    mails = ctx.store.mails.latest([row.id for row in rows])
    return len(rows), sum(_remind(ctx, row, mails.get(row.id), span, now) for row in rows)


def _remind(ctx: Context, row: Invitation, mail: DeliveryInfo | None, span: timedelta, now: datetime) -> bool:
    """Only of a mail that went out before the moment for the reminder, and did not come back."""
    pending = ctx.models.Invitation.status == Status.PENDING
    ctx.store.change(row, now, pending, ctx.models.Invitation.reminded_at.is_(None), reminded_at=now)
    if mail is None or mail.state not in DeliveryState.OUT or mail.sent_at is None:
        return False
    if mail.sent_at > as_utc(row.expires_at) - span:
        return False
    outbox.notify(ctx, row, Kind.REMINDER, now)
    return True
