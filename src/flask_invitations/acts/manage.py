"""Resend and revoke."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from .. import outbox
from ..addresses import key_of
from ..context import Context
from ..errors import (
    InvitationAccepted,
    InvitationDeclined,
    InvitationError,
    InvitationExpired,
    InvitationRevoked,
    MailBounced,
)
from ..hooks import invitation_resent, invitation_revoked
from ..model.states import DeliveryState, Kind, Status
from ..model.tables import Invitation
from ..model.values import InvitationInfo
from ..outbox import Posted
from ..tokens import Token
from .callers import Manager, check_grant, check_tenant
from .invite import make_room
from .read import find, infos

#: What to answer for an invitation that is no longer pending.
REFUSAL: Mapping[str, type[InvitationError]] = {
    Status.ACCEPTED: InvitationAccepted,
    Status.DECLINED: InvitationDeclined,
    Status.REVOKED: InvitationRevoked,
    Status.EXPIRED: InvitationExpired,
}


def resend(
    ctx: Context, *, by: Manager, invitation_id: uuid.UUID, rotate: bool = True, confirm: bool = False
) -> InvitationInfo:
    """Send the mail of a pending or expired invitation once more; its time starts anew (setting ``TTL``).

    :param rotate: with a new link, the old one dead (B5); ``False``: with the same link.
    :param confirm: the address is right, although a mail to it came back or was reported as spam.
    :raises InvitationNotFound: unknown, or another tenant's.
    :raises InvitationAccepted, InvitationRevoked, InvitationDeclined: it is closed.
    :raises RoleNotAllowed, TenantInactive, AlreadyInvited, MailBounced: nothing was changed.
    """

    def finish(posted: Posted) -> Posted:
        ctx.announce(invitation_resent, posted.info)
        return outbox.dispatch(ctx, posted)

    return ctx.unit.run(lambda: _resend(ctx, by, invitation_id, rotate, confirm), then=finish).info


def _resend(ctx: Context, by: Manager, invitation_id: uuid.UUID, rotate: bool, confirm: bool) -> Posted:
    now = ctx.now()
    row, inviter_email = find(ctx, by, invitation_id)
    status = row.status_at(now)
    if status not in Status.OPEN or row.email_key is None:
        raise REFUSAL[status]
    check_grant(ctx, by, row.tenant_id, row.role)
    check_tenant(ctx, row.tenant_id)
    if not confirm:
        check_wanted(ctx, row)
    return renew(ctx, row, by, now, inviter_email, rotate=rotate, show_link=ctx.config.return_link)


def renew(
    ctx: Context,
    row: Invitation,
    by: Manager,
    now: datetime,
    inviter_email: str | None,
    *,
    rotate: bool = True,
    show_link: bool = False,
) -> Posted:
    """Let an open invitation stand anew, and write its mail; inside a unit.

    :raises AlreadyInvited: another one stands for this address.
    """
    key = make_room(ctx, row.tenant_id, row.email_key or "", now, but=row)
    token, link = _link(ctx, row, rotate, show_link)
    ctx.store.change(
        row,
        now,
        ctx.models.Invitation.status.in_(Status.OPEN),
        status=Status.PENDING,
        pending_key=key,
        closed_at=None,
        expires_at=now + ctx.config.ttl,
        reminded_at=None,
        **link,
    )
    ctx.store.mails.cancel(row)
    ctx.store.event(row, "resent", now, details={"rotated": bool(link)}, **by.audit())
    info = row.info(now, inviter_email)
    if show_link:
        info = replace(info, accept_url=ctx.config.link(token.reveal()))
    inviter = by.user if by.actor_id == row.invited_by_id else ctx.store.user(row.invited_by_id)
    return outbox.post(ctx, row, token, now, info, inviter)


def check_wanted(ctx: Context, row: Invitation) -> None:
    """:raises MailBounced: the address does not take our mails."""
    latest = ctx.store.mails.latest([row.id]).get(row.id)
    if latest is not None and latest.state in DeliveryState.UNWANTED:
        raise MailBounced


def _link(ctx: Context, row: Invitation, rotate: bool, show: bool) -> tuple[Token, dict[str, Any]]:
    """The link to send, and the columns to change for it: none where it stays as it is."""
    same = None if rotate else ctx.mint.recover(row.token_nonce, row.token_hash)
    if same is not None:
        return same, {"link_shown": True} if show else {}
    nonce, token = ctx.mint.new()
    return token, {
        "token_nonce": nonce,
        "token_hash": token.hash,
        "previous_token_hash": row.token_hash,
        "link_shown": show,
    }


def revoke(ctx: Context, *, by: Manager, invitation_id: uuid.UUID) -> InvitationInfo:
    """Make sure that an invitation opens nothing any more. Revoking a closed one again changes nothing.

    :raises InvitationNotFound: unknown, or another tenant's.
    :raises InvitationAccepted: too late, there is a user.
    """
    return ctx.unit.run(lambda: _revoke(ctx, by, invitation_id))


def _revoke(ctx: Context, by: Manager, invitation_id: uuid.UUID) -> InvitationInfo:
    now = ctx.now()
    row, inviter_email = find(ctx, by, invitation_id)
    if row.status == Status.ACCEPTED:
        raise InvitationAccepted
    if row.status not in Status.OPEN:
        return infos(ctx, [(row, inviter_email)])[0]
    open_ = ctx.models.Invitation.status.in_(Status.OPEN)
    ctx.store.change(row, now, open_, status=Status.REVOKED, pending_key=None, closed_at=now)
    ctx.store.mails.cancel(row)
    ctx.store.event(row, "revoked", now, **by.audit())
    info = infos(ctx, [(row, inviter_email)])[0]
    ctx.unit.after_commit(lambda: ctx.announce(invitation_revoked, info))
    if ctx.config.notify_revoked and info.delivery is not None and info.delivery.sent_at is not None:
        outbox.notify(ctx, row, Kind.REVOKED, now)
    return info


def revoke_for(ctx: Context, *, by: Manager, user: Any) -> int:
    """Revoke what a leaving user left open: invitations *by* them and *to* their address, in ``by``'s tenant (C9).

    :returns: how many were revoked.
    """

    def work() -> int:
        email_key = key_of(getattr(user, "email", None))
        ids = ctx.store.pending_ids_of(by.tenant_id, ctx.models.user_id(user), email_key)
        for each in ids:
            _revoke(ctx, by, each)
        return len(ids)

    return ctx.unit.run(work)
