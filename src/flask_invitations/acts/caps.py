"""Caps: how many invitations may be open in a tenant, and how many more members fit.

What decides on them is asked with the tenant held, before anything else is read: so none of many at once is one too
many. What only tells does not hold it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..context import Context


@dataclass(frozen=True)
class Room:
    """:param places: so many invitations more may be open; :param seats: so many more that are accepted would find a
    seat. ``None``: any number."""

    places: int | None = None
    seats: int | None = None

    def after(self, taken: int) -> dict[str, Any]:
        """What the next invitation finds less of than there could be, where so many have taken their place."""
        full = {"has_room": False} if self.places is not None and self.places <= taken else {}
        return full if self.seats is None else {**full, "seats": self.seats - taken}


def capped(ctx: Context) -> bool:
    """Whether anything here is limited: then an act that opens an invitation begins with :func:`hold`."""
    said = ctx.hooks.seats, ctx.hooks.limits_for, ctx.config.pending_max
    return any(each is not None for each in said)


def hold(ctx: Context, *tenant_ids: Any) -> None:
    """Have the tenants to ourselves until the transaction is over, where anything is limited.

    :param tenant_ids: in the order of their keys.
    """
    for tenant_id in tenant_ids if capped(ctx) else ():
        ctx.store.hosts.hold(tenant_id)


def room(ctx: Context, tenant_id: Any, now: datetime, *, held: bool) -> Room:
    """What there is room for in a tenant.

    :param held: the tenant is; ``False``: what is told may be over a moment later.
    """
    most, seats = _pending_max(ctx, tenant_id), free_seats(ctx, tenant_id)
    if most is None and seats is None:
        return Room()
    taken = ctx.store.count_open(tenant_id, now, held=held)
    return Room(None if most is None else most - taken, None if seats is None else seats - taken)


def _pending_max(ctx: Context, tenant_id: Any) -> int | None:
    """How many invitations may be open in a tenant."""
    most: int | None = ctx.limits.of(tenant_id).get("PENDING_MAX", ctx.config.pending_max)
    return most


def free_seats(ctx: Context, tenant_id: Any) -> int | None:
    """How many more members fit now, as the host says; ``None``: any number."""
    return None if ctx.hooks.seats is None else ctx.hooks.seats(tenant_id)
