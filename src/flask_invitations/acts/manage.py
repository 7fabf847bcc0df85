"""Resend and revoke."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from .. import outbox
from ..addresses import key_of
from ..clock import as_utc
from ..context import Context
from ..errors import InvitationAccepted, InvitationError, InvitationNotFound, InvitationReplaced, InvitationRevoked
from ..hooks import invitation_resent, invitation_revoked
from ..model.states import OPEN, RESEND, REVOKE, DeliveryState, Kind, Status
from ..model.tables import Invitation, pending_key
from ..model.values import BulkChange, BulkChangeResult, DeliveryInfo, InvitationInfo, plain_key
from ..outbox import Posting
from ..shapes import our_id
from ..store.found import Found
from ..store.histories import Past
from ..store.statements import EVERYWHERE
from ..tokens import Token
from . import caps, rules
from .callers import Caller, Manager, leaver
from .facts import Case, confirmed, in_turn, resending
from .invite import confirm as confirm_address
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
    tenants = _tenants(ctx, by, [invitation_id])

    def again() -> InvitationInfo:
        caps.hold(ctx, *tenants)
        now, row = ctx.now(), find(ctx, by, invitation_id).row
        (case,) = resending(ctx, by, row.tenant_id, [row], now)
        case = confirmed(case) if confirm else case
        ((case, refusal),) = in_turn(rules.RESEND, [case], _room(ctx, row.tenant_id, [case], now))
        if refusal is not None:
            raise refusal
        how = Renewal(by, by.user, vouched(ctx, by, row.tenant_id), expires_in)
        (info,) = renew(ctx, [(row, case.past)], how, now, rotate=rotate, show_link=ctx.config.return_link)
        confirm_address(ctx, [(case, info)])
        return info

    return ctx.unit.run(again, anew=caps.capped(ctx))


def _tenants(ctx: Context, by: Manager, ids: Sequence[uuid.UUID | str]) -> Sequence[Any]:
    """The tenants that have to be held before the invitations are read: only the system has to look which they are."""
    if by.tenant_id is not EVERYWHERE or not caps.capped(ctx):
        return [by.tenant_id]
    found = ctx.unit.ahead(lambda: _known(ctx, by, ids))
    return sorted({each.row.tenant_id for each in found.values()})


def _room(ctx: Context, tenant_id: Any, cases: Sequence[Case], now: datetime) -> caps.Room:
    """Asked only where one of them needs a place."""
    return caps.room(ctx, tenant_id, now, held=True) if any(each.opens for each in cases) else caps.Room()


def resend_many(ctx: Context, *, by: Manager, ids: Sequence[uuid.UUID | str]) -> BulkChange:
    """The same for many invitations in one transaction, each with a new link; an id that comes twice is sent once.
    Within a tenant the statements do not grow with their number, but for chunks.

    :raises RateLimited: so many are too many for now, of this inviter or in this tenant.
    """
    ctx.limits.inviting(by.id, by.tenant_id, len(ids), "ids")
    tenants = _tenants(ctx, by, ids)

    def again() -> BulkChange:
        caps.hold(ctx, *tenants)
        now, rows = ctx.now(), dict[Any, list[Invitation]]()
        found, told = _known(ctx, by, ids), dict[uuid.UUID, InvitationError | None]()
        for each in found.values():
            rows.setdefault(each.row.tenant_id, []).append(each.row)
        for tenant_id, these in rows.items():
            told.update(_resend_some(ctx, by, tenant_id, these, now))
        return _verdicts(ids, told)

    return ctx.unit.run(again, anew=caps.capped(ctx))


def _resend_some(
    ctx: Context, by: Manager, tenant_id: Any, rows: Sequence[Invitation], now: datetime
) -> Mapping[uuid.UUID, InvitationError | None]:
    """Those of one tenant: what stands in the way of each, by its id."""
    cases = resending(ctx, by, tenant_id, rows, now)
    judged = list(in_turn(rules.RESEND, cases, _room(ctx, tenant_id, cases, now)))
    allowed = [(row, case.past) for row, (case, refusal) in zip(rows, judged, strict=True) if refusal is None]
    if allowed:
        renew(ctx, allowed, Renewal(by, by.user, vouched(ctx, by, tenant_id)), now)
    return {case.id: refusal for case, refusal in judged}


def known(ctx: Context, *, by: Manager, ids: Sequence[uuid.UUID | str]) -> Sequence[InvitationInfo]:
    """Those of many invitations that ``by`` may see, in the order in which they are asked for."""
    return ctx.unit.look(lambda: [each.info(ctx.now()) for each in _known(ctx, by, ids).values()])


def _known(ctx: Context, by: Manager, ids: Sequence[uuid.UUID | str]) -> Mapping[uuid.UUID, Found]:
    """Those of many invitations that ``by`` may see, in the order in which they are asked for."""
    wanted = dict.fromkeys(each for given in ids if (each := _read_id(given)) is not None)
    found = {each.row.id: each for each in ctx.store.by_ids(by.tenant_id, list(wanted))}
    return {each: found[each] for each in wanted if each in found}


def _read_id(given: uuid.UUID | str) -> uuid.UUID | None:
    try:
        return our_id(given)
    except InvitationNotFound:
        return None


def _verdicts(ids: Sequence[uuid.UUID | str], told: Mapping[uuid.UUID, InvitationError | None]) -> BulkChange:
    """:param told: what stands in the way of each that there is; a foreign id and an unknown one are told apart nowhere
    (C7)."""
    results = list[BulkChangeResult]()
    for index, given in enumerate(ids):
        known = _read_id(given)
        error = InvitationNotFound() if known is None or known not in told else told[known]
        results.append(BulkChangeResult(index, str(given), "done" if error is None else "refused", error))
    return BulkChange(results)


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
    again: Sequence[tuple[Invitation, Past]],
    how: Renewal,
    now: datetime,
    *,
    rotate: bool = True,
    show_link: bool = False,
) -> Sequence[InvitationInfo]:
    """Open invitations of one tenant for another span of time, and write their emails; inside a unit.

    :param again: each with what there was for its address.
    """
    rows = [row for row, _ in again]
    before = {row.id: row.invited_by_id for row in rows}
    holders = [holder for row, past in again if (holder := past.holder(but=row.id)) is not None]
    expire(ctx, ctx.store.whole(holders), now, [how.columns.get("invited_by_id")])
    same = {row.id: None if rotate else ctx.mint.recover(row.token_nonce, row.token_hash) for row in rows}
    links = {row.id: _link(ctx, row, same[row.id], show_link) for row in rows}
    each = {row.id: {**_opened(row, past, how, now), **links[row.id][0]} for row, past in again}
    ctx.store.move_all(rows, RESEND, now, each=each, reminded_at=None, **how.columns)
    ctx.store.mails.cancel(rows, InvitationReplaced.code)
    ctx.store.events.add_all([(row, RESEND.event, _told(row, same[row.id], before[row.id], how)) for row in rows], now)
    postings = [Posting(row, links[row.id][1], _info(ctx, row, how, now, links[row.id][1], show_link)) for row in rows]
    for one in postings:
        ctx.unit.after_commit(partial(ctx.announce, invitation_resent, one.info))
    outbox.post(ctx, postings, now, how.inviter)
    return [one.info for one in postings]


def _opened(row: Invitation, past: Past, how: Renewal, now: datetime) -> dict[str, Any]:
    """The columns of its own that open an invitation once more."""
    return {
        "pending_key": pending_key(row.tenant_id, row.email_key or ""),
        "link_number": past.next_link_number,
        "expires_at": _expiry(row, how, now),
    }


def _told(row: Invitation, same: Token | None, before: Any, how: Renewal) -> dict[str, Any]:
    """The columns of the event.

    :param same: the link that it keeps.
    """
    return {"details": {"rotated": same is None, "was_invited_by": plain_key(before)}, **_managing(how.by)}


def _info(ctx: Context, row: Invitation, how: Renewal, now: datetime, token: Token, show_link: bool) -> InvitationInfo:
    info = row.info(now, getattr(how.inviter, "email", None))
    return replace(info, accept_url=ctx.config.link(token.reveal())) if show_link else info


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
        return {"link_shown": show or row.link_shown}, same
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


def revoke_many(ctx: Context, *, by: Manager, ids: Sequence[uuid.UUID | str]) -> BulkChange:
    """The same for many invitations, in one transaction; the statements do not grow with their number, but for
    chunks."""

    def close() -> BulkChange:
        found, now = _known(ctx, by, ids), ctx.now()
        still = [each for each in found.values() if each.row.status in OPEN]
        if still:
            _revoke(ctx, by, still, now)
        accepted = {each.row.id: each.row.status == Status.ACCEPTED for each in found.values()}
        return _verdicts(ids, {key: InvitationAccepted() if late else None for key, late in accepted.items()})

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
    return _close(ctx, by, older, now, lambda row: {"decided_by": decided[row.tenant_id, row.email_key]})


def close_all(ctx: Context, tenant_id: Any, email_key: str, by: Caller, decided_by: uuid.UUID) -> None:
    """Somebody wants nothing more from a tenant, and that is written: whatever is open for them there is revoked. What
    others were inviting them to at that moment, and could not know it, is looked for once more after the commit.

    :param decided_by: the invitation by which they said so.
    """

    def close() -> None:
        found = ctx.store.histories.open_to(tenant_id, email_key)
        _close(ctx, by, found, ctx.now(), lambda row: {"decided_by": str(decided_by)})

    close()
    again = partial(ctx.unit.run, close)
    ctx.unit.after_commit(partial(ctx.observe, "closing what was invited meanwhile", decided_by, again))


def _close(
    ctx: Context, by: Caller, rows: Sequence[Invitation], now: datetime, details: Callable[[Invitation], Any]
) -> Sequence[InvitationInfo]:
    _end(ctx, by, rows, now, details)
    infos = [each.info(now) for each in rows]
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
