"""Invite: one person, by e-mail, into one tenant."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from .. import outbox
from ..addresses import Address
from ..context import Context
from ..errors import AlreadyInvited, AlreadyMember, InvalidRequest
from ..hooks import invitation_created, invitation_expired
from ..model.states import Status
from ..model.tables import Invitation, new_id, pending_key
from ..model.values import InvitationInfo
from ..outbox import Posted
from ..store.invitations import EVERYWHERE
from .callers import Manager, check_grant, check_tenant


def invite(
    ctx: Context,
    *,
    by: Manager,
    address: Address,
    role: str | None = None,
    message: str | None = None,
    details: dict[str, Any] | None = None,
    expires_in: timedelta | None = None,
    locale: str | None = None,
    mail: bool = True,
    show_link: bool = False,
) -> InvitationInfo:
    """Make an invitation and its outbox row; send the mail after the commit.

    :param expires_in: how long it stands; default: the setting ``TTL``.
    :param mail: ``False``: no mail is sent; the link is worth something only with ``show_link``.
    :param show_link: fill ``accept_url`` of the result; then the link no longer proves a mailbox.
    :raises RoleNotAllowed, TenantInactive, AlreadyMember, AlreadyInvited: nothing was written.
    """
    wanted = {
        "email": address.typed,
        "email_key": address.key,
        "role": role or ctx.config.default_role,
        "message": message,
        "details": details,
        "locale": locale,
        "link_shown": show_link or ctx.config.return_link,
    }
    span = expires_in or ctx.config.ttl

    def finish(posted: Posted) -> Posted:
        ctx.announce(invitation_created, posted.info)
        return outbox.dispatch(ctx, posted) if mail else posted

    return ctx.unit.run(lambda: _create(ctx, by, wanted, span, mail), then=finish).info


def _create(ctx: Context, by: Manager, wanted: dict[str, Any], span: timedelta, mail: bool) -> Posted:
    now = ctx.now()
    if by.tenant_id is EVERYWHERE:
        raise InvalidRequest({"tenant_id": ["Name the tenant to invite into."]})
    check_grant(ctx, by, by.tenant_id, wanted["role"])
    check_tenant(ctx, by.tenant_id)
    _check_not_member(ctx, by.tenant_id, wanted["email_key"])
    key = make_room(ctx, by.tenant_id, wanted["email_key"], now)
    nonce, token = ctx.mint.new()
    row = ctx.store.insert(
        **wanted,
        id=new_id(now),
        tenant_id=by.tenant_id,
        token_hash=token.hash,
        token_nonce=nonce,
        previous_token_hash=None,
        status=Status.PENDING,
        pending_key=key,
        invited_by_id=by.actor_id,
        inviter_ref=None if by.actor_id is None else str(by.actor_id),
        accepted_by_id=None,
        expires_at=now + span,
        accepted_at=None,
        reminded_at=None,
        link_requested_at=None,
        closed_at=None,
        created_at=now,
        updated_at=now,
    )
    ctx.store.event(row, "created", now, details={"role": row.role}, **by.audit())
    info = row.info(now, getattr(by.user, "email", None))
    if row.link_shown:
        info = replace(info, accept_url=ctx.config.link(token.reveal()))
    return outbox.post(ctx, row, token, now, info, by.user) if mail else Posted(info)


def _check_not_member(ctx: Context, tenant_id: Any, email_key: str) -> None:
    user = ctx.hooks.find_user(email_key)
    if user is not None and ctx.hooks.role_of(user, tenant_id) is not None:
        raise AlreadyMember


def make_room(ctx: Context, tenant_id: Any, email_key: str, now: datetime, but: Invitation | None = None) -> str:
    """The ``pending_key`` of an address, free for use by ``but`` or a new row: an overdue holder is expired.

    :raises AlreadyInvited: a live invitation holds it. The unique key refuses whoever looked too early.
    """
    key = pending_key(tenant_id, email_key)
    found = ctx.store.by_pending_key(key)
    if found is not None and (but is None or found[0].id != but.id):
        holder = found[0]
        if holder.status_at(now) == Status.PENDING:
            raise AlreadyInvited(holder.id)
        expire(ctx, holder, now)
    return key


def expire(ctx: Context, row: Invitation, now: datetime) -> None:
    """Write down that an invitation has expired; announced after the commit."""
    ctx.store.expire(row, now)
    ctx.store.event(row, "expired", now)
    info = row.info(now)
    ctx.unit.after_commit(lambda: ctx.announce(invitation_expired, info))
