"""What the invitee does with a link, but for accepting: look at the offer, decline it. The holder of the token may."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from .. import outbox
from ..context import Context
from ..errors import (
    InvitationAccepted,
    InvitationDeclined,
    InvitationError,
    InvitationNotFound,
)
from ..hooks import invitation_declined, invitation_reported
from ..languages.plain import NAME, shortened
from ..mail.compose import introduce
from ..model.states import DECLINE, EventType, Kind, Reason, Status
from ..model.tables import Invitation
from ..model.values import InvitationInfo
from ..store.found import Found
from ..tokens import Secret, Token, parse
from . import rules
from .callers import Caller, counted
from .facts import accepting, account_of, address, opening
from .manage import close_all, close_older


@dataclass(frozen=True)
class TenantInfo:
    """:param name: text of the host's users: show it as plain text."""

    id: Any
    name: str


@dataclass(frozen=True)
class Offer:
    """What the invitee is offered.

    :param obstacle: what accept would answer to whoever is signed in now (or nobody), fields and password aside;
        ``None``: it would accept.
    """

    invitation: InvitationInfo
    tenant: TenantInfo
    account_exists: bool
    obstacle: InvitationError | None = None


def preview(ctx: Context, *, token: Secret | str, by: Caller) -> Offer:
    """What the link offers to ``by``. Changes nothing.

    :raises InvitationNotFound: unknown or malformed token (no statement is run for the latter).
    :raises InvitationGone, InvitationAccepted: the link is dead.
    :raises TryAgain: the database refused to the last.
    :raises RateLimited: too often for now, from where ``by`` calls.
    """
    counted(ctx, by)
    link = token_of(token)
    del token

    def look() -> Offer:
        now, found = ctx.now(), opened_by(ctx, link)
        if is_accepted_by(by, found.row, link):
            raise InvitationAccepted(mine=True)
        opened = opening(ctx, found, link, now)
        rules.first(rules.OPENS, opened)
        facts, account = accepting(ctx, found, opened, by, found.info(now))
        return _offer(ctx, found, account, rules.obstacle(rules.ACCEPT, facts), now)

    return ctx.unit.look(look)


def decline(
    ctx: Context,
    *,
    token: Secret | str,
    reason: str | None = None,
    never_again: bool = False,
    report: bool = False,
    by: Caller,
) -> Offer:
    """Turn the offer down; the link is dead afterwards.

    :param reason: at most 500 characters, kept in the audit trail.
    :param never_again: the tenant cannot invite this address any more.
    :param report: that, and the operator is told.
    :raises InvitationNotFound, InvitationGone, InvitationAccepted, RateLimited: as :func:`preview`.
    """
    counted(ctx, by)
    link, wish = token_of(token), Reason.REPORTED if report else Reason.NEVER_AGAIN if never_again else None
    del token

    def say() -> Offer:
        now, found = ctx.now(), opened_by(ctx, link)
        rules.first(rules.OPENS, opening(ctx, found, link, now))
        offer = _offer(ctx, found, account_of(ctx, found.row, by.user), InvitationDeclined(), now)
        declined = turn_down(ctx, found.row, offer.invitation, by, now, reason=reason, wish=wish)
        return replace(offer, invitation=declined)

    return ctx.unit.run(say)


def turn_down(
    ctx: Context,
    row: Invitation,
    info: InvitationInfo,
    by: Caller,
    now: datetime,
    *,
    reason: str | None = None,
    wish: Reason | None = None,
) -> InvitationInfo:
    """Decline an invitation that is live; inside a unit.

    :param info: what is told of it.
    :param wish: what is to be remembered, where the invitee wants nothing more from there.
    """
    if wish is not None:
        ctx.store.suppressions.add(row.tenant_id, ctx.pseudonyms.of(*address(row)), wish, now)
    ctx.store.move(row, DECLINE, now)
    ctx.store.mails.cancel([row], InvitationDeclined.code)
    details = {"reason": reason} if reason else None
    ctx.store.events.add(row, DECLINE.event, now, details=details, **by.audit())
    declined = replace(info, status=Status.DECLINED, updated_at=now)
    ctx.unit.after_commit(partial(ctx.announce, invitation_declined, declined))
    if wish is Reason.REPORTED:
        ctx.store.events.add(row, EventType.REPORTED, now, **by.audit())
        ctx.unit.after_commit(partial(ctx.announce, invitation_reported, declined))
    if wish is None:
        close_older(ctx, [row], by, now)
    else:
        close_all(ctx, *address(row), by, row.id)
    tell_inviter(ctx, row, Kind.DECLINED, now)
    return declined


def token_of(given: Secret | str) -> Token:
    token = parse(given)
    if token is None:
        raise InvitationNotFound
    return token


def opened_by(ctx: Context, link: Token) -> Found:
    found = ctx.store.by_token(link.hash)
    if found is None:
        raise InvitationNotFound
    return found


def tell_inviter(ctx: Context, row: Invitation, kind: Kind, now: datetime) -> None:
    """By email, where the host wants that and somebody did invite."""
    if ctx.config.notify_inviter and row.invited_by_id is not None:
        outbox.notify(ctx, [row], kind, now)


def is_accepted_by(by: Caller, row: Invitation, link: Token) -> bool:
    mine = by.id is not None and row.accepted_by_id == by.id
    return row.status == Status.ACCEPTED and mine and row.token_hash == link.hash


def _offer(ctx: Context, found: Found, account: Any, obstacle: InvitationError | None, now: datetime) -> Offer:
    tenant_id = found.row.tenant_id
    tenant = TenantInfo(tenant_id, shortened(str(ctx.hooks.tenant_name(tenant_id)), NAME))
    invitation = replace(found.info(now), invited_by=introduce(ctx, found.inviter))
    return Offer(invitation, tenant, account is not None, obstacle)
