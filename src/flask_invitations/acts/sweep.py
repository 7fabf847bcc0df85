"""Sweep: write down what time has done. Nothing depends on it for safety; run it every few minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..context import Context
from .invite import expire

CHUNK = 200


@dataclass(frozen=True)
class Swept:
    """:param expired: invitations marked expired; :param purged: closed ones that lost their personal data."""

    expired: int
    purged: int


def sweep(ctx: Context) -> Swept:
    """Expire what is overdue, and purge what was closed longer ago than the setting ``RETENTION``.

    In short transactions of ``CHUNK`` rows: may be killed, repeated, and run by several at once.
    """
    return Swept(_until_done(ctx, lambda: _expire_some(ctx)), _until_done(ctx, lambda: _purge_some(ctx)))


def _until_done(ctx: Context, some: Callable[[], int]) -> int:
    total = count = ctx.unit.run(some)
    while count == CHUNK:
        count = ctx.unit.run(some)
        total += count
    return total


def _expire_some(ctx: Context) -> int:
    now = ctx.now()
    rows = ctx.store.overdue(now, CHUNK)
    for row in rows:
        expire(ctx, row, now)
    return len(rows)


def _purge_some(ctx: Context) -> int:
    now = ctx.now()
    rows = ctx.store.purgeable(now - ctx.config.retention, CHUNK)
    for row in rows:
        ctx.store.purge(row, now)
        ctx.store.event(row, "purged", now)
    return len(rows)
