"""Get, list, events: what a manager may see of their own tenant.

Each raises ``TryAgain`` where the database refuses to the last.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..context import Context
from ..errors import InvitationNotFound
from ..model.states import BY_HOLDER, Status
from ..model.tables import InvitationEvent
from ..model.values import BulkInvite, EventInfo, InvitationInfo, complete
from ..store.events import Told
from ..store.found import Found
from .callers import Manager
from .facts import seated, sending
from .rules import OBSTACLE, obstacle


def get(ctx: Context, *, by: Manager, invitation_id: uuid.UUID) -> InvitationInfo:
    """One invitation, with what stands in the way of accepting it as its ``obstacle``.

    :raises InvitationNotFound: unknown, or another tenant's.
    """
    return ctx.unit.look(lambda: _explained(ctx, find(ctx, by, invitation_id)))


def list_page(
    ctx: Context,
    *,
    by: Manager,
    limit: int = 20,
    after: tuple[datetime, uuid.UUID] | None = None,
    before: tuple[datetime, uuid.UUID] | None = None,
    **filters: Any,
) -> tuple[Sequence[InvitationInfo], bool]:
    """Newest first; one statement whatever the size.

    :param limit: 1 to 100.
    :param after: ``(created_at, id)`` of the last one seen (keyset: stable while rows come and go).
    :param before: that of the first one seen: the page that ends before it.
    :param filters: ``status``, ``role``, ``email_key``, ``q`` (part of the address).
    :returns: the page, and whether another follows in that direction.
    """

    def look() -> tuple[Sequence[InvitationInfo], bool]:
        now = ctx.now()
        found = ctx.store.page(by.tenant_id, now, limit=limit + 1, after=after, before=before, **filters)
        shown = found[:limit] if before is None else found[:limit][::-1]
        return [each.info(now) for each in shown], len(found) > limit

    return ctx.unit.look(look)


def counts(ctx: Context, *, by: Manager, **filters: Any) -> Mapping[Status, int]:
    """How many invitations there are of each status; one statement.

    :param filters: ``role``, ``email_key``, ``q``, as for :func:`list_page`.
    """
    return ctx.unit.look(lambda: ctx.store.counts(by.tenant_id, ctx.now(), **filters))


def find(ctx: Context, by: Manager, invitation_id: uuid.UUID) -> Found:
    """One invitation that ``by`` may see. A foreign id and an unknown one are told apart nowhere (C7)."""
    found = ctx.store.by_id(by.tenant_id, invitation_id)
    if found is None:
        raise InvitationNotFound
    return found


def _explained(ctx: Context, found: Found) -> InvitationInfo:
    now = ctx.now()
    (facts,) = sending(ctx, [found], now)
    facts = seated(ctx, OBSTACLE, facts, found.row.tenant_id)
    return replace(found.info(now), obstacle=obstacle(OBSTACLE, facts))


def events(
    ctx: Context,
    *,
    by: Manager,
    invitation_id: uuid.UUID,
    limit: int = 100,
    after: tuple[datetime, uuid.UUID] | None = None,
) -> tuple[Sequence[EventInfo], bool]:
    """The audit trail, oldest first.

    :param limit: 1 to 100.
    :param after: ``(at, id)`` of the last one seen.
    :returns: the page, and whether another follows.
    :raises InvitationNotFound: unknown, or another tenant's.
    """

    def look() -> tuple[Sequence[EventInfo], bool]:
        row = find(ctx, by, invitation_id).row
        found = ctx.store.events.of(row.id, limit + 1, after=after)
        return [info for info, _ in _told(ctx, row, found[:limit])], len(found) > limit

    return ctx.unit.look(look)


@dataclass(frozen=True)
class Story:
    """An invitation and a page of its audit trail.

    :param events: oldest first, each with the email of its actor while that account exists.
    :param more: older ones came before.
    """

    invitation: InvitationInfo
    events: Sequence[tuple[EventInfo, str | None]]
    more: bool


def story(
    ctx: Context,
    *,
    by: Manager,
    invitation_id: uuid.UUID,
    limit: int,
    before: tuple[datetime, uuid.UUID] | None = None,
) -> Story:
    """One invitation as :func:`get` has it, and the last page of its audit trail.

    :param before: ``(at, id)``: the page that ends before that event.
    :raises InvitationNotFound: unknown, or another tenant's.
    """

    def look() -> Story:
        info = _explained(ctx, find(ctx, by, invitation_id))
        found = ctx.store.events.latest(info.id, limit + 1, before=before)
        return Story(info, _told(ctx, info, found[limit - 1 :: -1]), len(found) > limit)

    return ctx.unit.look(look)


def _told(
    ctx: Context, about: Told, lines: Sequence[tuple[InvitationEvent, str | None]]
) -> Sequence[tuple[EventInfo, str | None]]:
    """Lines of the audit trail, each with the email of its actor. Of somebody who was forwarded a link, and is no
    member, a manager is told neither who they are nor from where they came."""
    held = {event.actor_id for event, _ in lines if event.type in BY_HOLDER} - {None}
    users = ctx.store.hosts.users(list(held)) if held else ()
    members = {ctx.models.user_id(user) for user in users if ctx.hooks.role_of(user, about.tenant_id) is not None}
    strangers = held - members
    return [
        (_unnamed(event.info()), None)
        if event.type in BY_HOLDER and event.actor_id in strangers
        else (event.info(), email)
        for event, email in lines
    ]


def _unnamed(event: EventInfo) -> EventInfo:
    return replace(event, actor_id=None, remote_addr=None, user_agent=None)


def complete_deliveries(ctx: Context, values: Sequence[Any]) -> None:
    """Fill in how the emails of invitations fare by now; see :func:`..model.values.complete`.

    :param values: what acts have returned, whatever that is.
    """
    infos = [info for info in _infos(values) if info.delivery is not None]
    if not infos:
        return
    ids = list({info.id for info in infos})
    latest = ctx.observe("reading deliveries", ids[0], lambda: ctx.unit.run(lambda: ctx.store.mails.latest(ids)))
    for info in infos:
        complete(info, delivery=(latest or {}).get(info.id, info.delivery))


def _infos(value: Any) -> Iterator[InvitationInfo]:
    if isinstance(value, InvitationInfo):
        yield value
    elif isinstance(value, BulkInvite):
        yield from (each.invitation for each in value.results if each.invitation is not None)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _infos(each)


def tenant_name(ctx: Context, *, by: Manager) -> str:
    """What the tenant in which ``by`` acts is called."""
    return ctx.unit.look(lambda: ctx.hooks.tenant_name(by.tenant_id))
