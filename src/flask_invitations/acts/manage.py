"""Resend and revoke."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from .. import outbox
from ..addresses import key_of
from ..clock import as_utc
from ..context import Context
from ..errors import InvitationAccepted, InvitationReplaced, InvitationRevoked
from ..hooks import invitation_resent, invitation_revoked
from ..model.states import OPEN, RESEND, REVOKE, DeliveryState, Kind, Status
from ..model.tables import Invitation, pending_key
from ..model.values import DeliveryInfo, InvitationInfo, plain_key
from ..outbox import Posting
from ..store.found import Found
from ..store.histories import Past
from ..tokens import Token
from . import rules
from .callers import Caller, Manager, leaver
from .facts import resending
from .invite import expire, vouched
from .read import find


def resend(
    ctx: Context,
    *,
    by: Manager,
    invitation_id: uuid.UUID,
    rotate: bool = True,
    confirm: bool = False,
    expires_in: timedelta | None = None,
) -> InvitationInfo:
    """Send the email of a pending or expired invitation once more. The caller vouches for it, and becomes its inviter.

    :param rotate: with a new link, the old one dead (B5); ``False``: with the same link.
    :param confirm: the address is right, although an email there came back or was reported as spam.
    :param expires_in: for how long it is open from now on, this once; ``None``: as long as it was made for.
    :raises InvitationNotFound: unknown, or another tenant's.
    :raises InvitationError: a rule of *Resend* (``docs/rules.md``); nothing was changed.
    :raises RateLimited: too many for now, of this inviter or in this tenant.
    """
    ctx.limits.inviting(by.id, by.tenant_id)

    def again() -> InvitationInfo:
        now, found = ctx.now(), find(ctx, by, invitation_id)
        case = resending(ctx, by, found.row, by.user, now, confirm)
        rules.first(rules.RESEND, case.facts)
        how = Renewal(by, by.user, vouched(ctx, by, found.row.tenant_id), expires_in)
        return renew(ctx, found.row, case.past, how, now, rotate=rotate, show_link=ctx.config.return_link)

    return ctx.unit.run(again)


@dataclass(frozen=True)
class Renewal:
    """Who has an invitation sent again.

    :param inviter: the host's user who stands behind it then.
    :param columns: the columns that say so, where they change.
    :param expires_in: ``None``: as long as it was made for.
    """

    by: Caller
    inviter: Any
    columns: dict[str, Any]
    expires_in: timedelta | None = None


def renew(
    ctx: Context,
    row: Invitation,
    past: Past,
    how: Renewal,
    now: datetime,
    *,
    rotate: bool = True,
    show_link: bool = False,
) -> InvitationInfo:
    """Open an invitation for another span of time, and write its email; inside a unit."""
    before, token = row.invited_by_id, None if rotate else ctx.mint.recover(row.token_nonce, row.token_hash)
    rotated = token is None
    holder = past.holder(but=row.id)
    expire(ctx, ctx.store.whole([] if holder is None else [holder]), now, [how.columns.get("invited_by_id")])
    link, token = _link(ctx, row, token, show_link)
    again = {"link_number": past.next_link_number, "expires_at": _expiry(row, how, now), "reminded_at": None}
    key = pending_key(row.tenant_id, row.email_key or "")
    ctx.store.move(row, RESEND, now, pending_key=key, **again, **link, **how.columns)
    ctx.store.mails.cancel([row], InvitationReplaced.code)
    details = {"rotated": rotated, "was_invited_by": plain_key(before)}
    ctx.store.events.add(row, RESEND.event, now, details=details, **_managing(how.by))
    info = row.info(now, getattr(how.inviter, "email", None))
    if show_link:
        info = replace(info, accept_url=ctx.config.link(token.reveal()))
    ctx.unit.after_commit(partial(ctx.announce, invitation_resent, info))
    outbox.post(ctx, [Posting(row, token, info)], now, how.inviter)
    return info


def _managing(by: Caller) -> dict[str, Any]:
    """Columns of an event that follows from what ``by`` did. Of the holder of a link the event of that act tells, and
    no other: see :data:`..model.states.BY_HOLDER`."""
    return by.audit() if isinstance(by, Manager) else {}


def _expiry(row: Invitation, how: Renewal, now: datetime) -> datetime:
    """Never earlier than it was, unless somebody says so."""
    if how.expires_in is not None:
        return now + how.expires_in
    return max(as_utc(row.expires_at), now + timedelta(seconds=row.lifetime))


def _link(ctx: Context, row: Invitation, same: Token | None, show: bool) -> tuple[dict[str, Any], Token]:
    """The columns to change for the link, and its token: ``same``, or else a new one."""
    if same is not None:
        return {"link_shown": True} if show else {}, same
    nonce, token = ctx.mint.new()
    return {
        "token_nonce": nonce,
        "token_hash": token.hash,
        "previous_token_hash": row.token_hash,
        "link_shown": show,
    }, token


def revoke(ctx: Context, *, by: Manager, invitation_id: uuid.UUID) -> InvitationInfo:
    """Make sure that an invitation opens nothing any more. Revoking a closed one again changes nothing.

    :raises InvitationNotFound: unknown, or another tenant's.
    :raises InvitationAccepted: too late, there is a user.
    """

    def close() -> InvitationInfo:
        found, now = find(ctx, by, invitation_id), ctx.now()
        if found.row.status == Status.ACCEPTED:
            raise InvitationAccepted
        if found.row.status not in OPEN:
            return found.info(now)
        return _revoke(ctx, by, [found], now)[0]

    return ctx.unit.run(close)


def revoke_for(ctx: Context, *, by: Manager, user: Any) -> int:
    """Revoke what a leaving user left open: invitations *by* them and *to* their address, in ``by``'s tenant (C9).

    :returns: how many were revoked.
    """
    leaving_id, email = leaver(ctx, user)

    def close() -> int:
        found = ctx.store.open_of(by.tenant_id, leaving_id, key_of(email))
        return len(_revoke(ctx, by, found, ctx.now())) if found else 0

    return ctx.unit.run(close)


def _revoke(ctx: Context, by: Manager, found: Sequence[Found], now: datetime) -> Sequence[InvitationInfo]:
    """Revoke open invitations, and what is older; the statements do not grow with their number, but for chunks.

    :returns: all that were revoked, these first.
    """
    rows = [each.row for each in found]
    _end(ctx, by, rows, now)
    infos = [replace(each, mail=_cancelled(each.mail)).info(now) for each in found]
    for info in infos:
        ctx.unit.after_commit(partial(ctx.announce, invitation_revoked, info))
    if ctx.config.notify_revoked:
        reached = ctx.store.mails.reached([row.id for row in rows])
        outbox.notify(ctx, [row for row in rows if row.id in reached], Kind.REVOKED, now)
    return [*infos, *close_older(ctx, rows, by, now)]


def close_older(ctx: Context, rows: Sequence[Invitation], by: Caller, now: datetime) -> Sequence[InvitationInfo]:
    """A decision is about a person in a tenant: what was made for the same address before is revoked with it (T6)."""
    newest_last = sorted(rows, key=lambda row: row.number)
    decided = {(row.tenant_id, row.email_key): str(row.id) for row in newest_last}
    older = ctx.store.histories.older_open(rows)
    _end(ctx, by, older, now, lambda row: {"decided_by": decided[row.tenant_id, row.email_key]})
    infos = [each.info(now) for each in older]
    for info in infos:
        ctx.unit.after_commit(partial(ctx.announce, invitation_revoked, info))
    return infos


def _end(
    ctx: Context,
    by: Caller,
    rows: Sequence[Invitation],
    now: datetime,
    details: Callable[[Invitation], Any] = lambda row: None,
) -> None:
    if not rows:
        return
    ctx.store.move_all(rows, REVOKE, now)
    ctx.store.mails.cancel(rows, InvitationRevoked.code)
    ctx.store.events.add_all([(row, REVOKE.event, {**_managing(by), "details": details(row)}) for row in rows], now)


def _cancelled(mail: DeliveryInfo | None) -> DeliveryInfo | None:
    """The latest email, as it is once what waits was cancelled."""
    if mail is None or mail.state != DeliveryState.QUEUED:
        return mail
    return replace(mail, state=DeliveryState.CANCELLED, error=InvitationRevoked.code)
