"""A fresh link in place of an expired one, for the holder of that."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from .. import outbox
from ..clock import as_utc
from ..context import Context
from ..errors import InvitationError, InvitationReplaced, RateLimited, TryAgain
from ..model.states import EventType, Kind, Status
from ..store.found import Found
from ..store.histories import Past
from ..tokens import Secret, Token, parse
from . import rules
from .callers import Caller, counted
from .facts import sending
from .manage import Renewal, renew

#: How long one invitation has to wait for the next request.
PAUSE = timedelta(hours=1)


def request_link(ctx: Context, *, token: Secret | str, by: Caller) -> None:
    """Do what the setting ``FRESH_LINK`` says for the holder of an expired link, at most once an hour.

    ``"send"``: a new link is mailed to the address that was invited. ``"ask"``: the inviter is asked for one, by email;
    nobody is where the system invited. The caller is told nothing: not whether the link is known, expired, too young
    for another request, or of an invitation that no longer works.

    :raises TryAgain: the database refused; nothing happened.
    :raises RateLimited: too often for now, from where ``by`` calls.
    """
    counted(ctx, by)
    link = parse(token)
    del token
    if link is None or ctx.config.fresh_link is None:
        return
    if ctx.config.fresh_link == "send" and not _is_within_limits(ctx, link):
        return

    def ask() -> None:
        found = _find(ctx, link)
        if found is not None:
            _request(ctx, found, by, ctx.now())

    ctx.unit.run(ask)


def _is_within_limits(ctx: Context, link: Token) -> bool:
    """The email counts as the inviter's, outside of the transaction and only where it may well be sent: whoever holds
    the link is not to use up what the inviter may."""
    found = ctx.unit.ahead(lambda: _find(ctx, link))
    if found is None:
        return False
    try:
        ctx.limits.inviting(found.row.invited_by_id, found.row.tenant_id)
    except RateLimited:
        return False
    return True


def _find(ctx: Context, link: Token) -> Found | None:
    """The invitation, where a link may be asked for in place of this one now."""
    found, asks = ctx.store.by_token(link.hash), ctx.config.fresh_link == "ask"
    if found is None or found.row.token_hash != link.hash:
        return None
    row, now = found.row, ctx.now()
    if row.status_at(now) != Status.EXPIRED or (asks and row.invited_by_id is None):
        return None
    recent = row.link_requested_at is not None and as_utc(row.link_requested_at) > now - PAUSE
    return None if recent else found


def _request(ctx: Context, found: Found, by: Caller, now: datetime) -> None:
    row, asks = found.row, ctx.config.fresh_link == "ask"
    past = ctx.store.histories.of(row.tenant_id, [row.email_key or ""])[row.email_key or ""]
    if not _may_ask(ctx, found, past, now):
        return
    ctx.store.change(row, now, link_requested_at=now)
    ctx.store.events.add(row, EventType.LINK_REQUESTED, now, **by.audit())
    if asks:
        outbox.notify(ctx, [row], Kind.LINK_REQUEST, now)
    else:
        renew(ctx, [(row, past)], Renewal(by, found.inviter, {}), now)


def _may_ask(ctx: Context, found: Found, past: Past, now: datetime) -> bool:
    """Said inside the unit: a refusal that left it would take the host's own writes with it, and nobody is told."""
    try:
        _check(ctx, found, past, now)
    except TryAgain:
        raise
    except InvitationError:
        return False
    return True


def _check(ctx: Context, found: Found, past: Past, now: datetime) -> None:
    """The rules of *Send*, of which only the newest invitation of an address is live (T6), beside none that is live and
    older since it was sent again, and of a bounce.

    :raises InvitationError: no fresh link.
    """
    alone = past.is_newest(found.row) and past.live(now, but=found.row.id) is None
    (facts,) = sending(ctx, [found], now)
    rules.first(rules.SEND, replace(facts, ended=None if alone else InvitationReplaced()))
    if ctx.config.fresh_link == "send":
        rules.first([rules.bounce], facts)
