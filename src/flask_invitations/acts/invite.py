"""Invite: people, by email, into one tenant. Inviting one is inviting a list of one."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from math import ceil
from typing import Any
from uuid import UUID

from .. import outbox
from ..addresses import Address
from ..context import Context
from ..errors import AlreadyInvited, InvalidRequest, InvitationError, PlanChanged, TenantInactive, text_of
from ..hooks import invitation_created, invitation_expired
from ..model.states import EventType, Status
from ..model.tables import Invitation, pending_key
from ..model.values import BulkInvite, BulkInviteResult, InvitationInfo
from ..outbox import Posting
from ..store.statements import EVERYWHERE
from ..tokens import Token
from . import caps
from .callers import Manager
from .facts import Case, confirmed, draft, in_turn, making, mark
from .rules import MAKE, reasons


@dataclass(frozen=True)
class Wanted:
    """One invitation that is asked for.

    :param role: ``None``: the setting ``DEFAULT_ROLE``.
    :param expires_in: for how long it is open; ``None``: the setting ``TTL``.
    :param mail: ``False``: no email is sent; the link is worth something only where it is shown.
    :param confirm: the address is right, although an email there came back or was reported as spam.
    """

    address: Address
    role: str | None = None
    message: str | None = None
    details: Mapping[str, Any] | None = None
    expires_in: timedelta | None = None
    locale: str | None = None
    mail: bool = True
    confirm: bool = False

    @classmethod
    def loaded(cls, given: Mapping[str, Any]) -> Wanted:
        """:param given: the fields of an invitation, as the shape of ``POST /invite`` has loaded them."""
        return cls(given["email"], **{name: value for name, value in given.items() if name != "email"})

    @property
    def email(self) -> str:
        """As it was typed."""
        return self.address.typed


@dataclass(frozen=True)
class Unreadable:
    """One of many that are asked for, with fields that are wrong.

    :param email: as it was given, where that was text.
    """

    email: str | None
    error: InvalidRequest


@dataclass(frozen=True)
class Explanation:
    """What inviting somebody would come to; see :func:`explain`.

    :param allowed: the invitation would be made; ``approval``: it would wait for another manager's.
    :param reasons: everything that stands in the way, in the order in which the act would say it.
    """

    allowed: bool
    approval: bool
    reasons: Sequence[InvitationError]


def invite(ctx: Context, *, by: Manager, wanted: Wanted, show_link: bool = False) -> InvitationInfo:
    """Make an invitation and its outbox row; send the email after the commit.

    :param show_link: fill ``accept_url`` of the result; then the link no longer proves a mailbox.
    :raises InvitationError: a rule of *Make* (``docs/rules.md``); nothing was written.
    :raises RateLimited: too many for now, of this inviter or in this tenant.
    """
    show_link = show_link or ctx.config.return_link
    ctx.limits.inviting(by.id, by.tenant_id)

    def make() -> InvitationInfo:
        ((case, refusal),) = _cases(ctx, by, [wanted], "invite", held=True)
        if refusal is not None:
            raise refusal
        (info,) = _make(ctx, by, [(case, wanted)], show_link)
        return info

    return ctx.unit.run(make, anew=caps.capped(ctx))


def invite_many(
    ctx: Context,
    *,
    by: Manager,
    rows: Sequence[Wanted | Unreadable],
    dry_run: bool = False,
    plan: str | None = None,
) -> BulkInvite:
    """Make many invitations in one transaction; the statements do not grow with their number, but for chunks. What is
    refused keeps no other from being made.

    :param dry_run: only tell what would become of them.
    :param plan: what a dry run told.
    :raises TenantInactive: nobody is invited there.
    :raises PlanChanged: something else would become of one of them by now; nothing was written.
    :raises RateLimited: so many are too many for now, of this inviter or in this tenant.
    """
    if not dry_run:
        ctx.limits.inviting(by.id, by.tenant_id, len(rows))

    def make() -> BulkInvite:
        judged = _judge(ctx, by, rows, dry_run)
        digest = _digest(by, judged)
        if plan is not None and plan != digest:
            raise PlanChanged
        allowed = [(each.case, each.row) for each in judged if each.case is not None and each.refusal is None]
        made = iter(() if dry_run else _make(ctx, by, allowed, ctx.config.return_link))
        results = [
            BulkInviteResult(index, each.row.email, "refused", error=each.refusal)
            if each.refusal is not None
            else BulkInviteResult(index, each.row.email, "created", next(made, None))
            for index, each in enumerate(judged)
        ]
        return BulkInvite(results, digest)

    return ctx.unit.look(make) if dry_run else ctx.unit.run(make, anew=caps.capped(ctx))


def explain(ctx: Context, *, by: Manager, wanted: Wanted) -> Explanation:
    """What :func:`invite` would say, with every reason; nothing is written."""

    def look() -> Explanation:
        ((case, _),) = _cases(ctx, by, [wanted], "invite", held=False)
        against = reasons(MAKE, case.facts)
        return Explanation(not against, False, against)

    return ctx.unit.look(look)


def _cases(
    ctx: Context, by: Manager, wanted: Sequence[Wanted], source: str, *, held: bool
) -> Sequence[tuple[Case, InvitationError | None]]:
    """What is known about each, and its first refusal.

    :param held: hold the tenant, so that it is good until the transaction is over; ``False``: it is only told.
    """
    if by.tenant_id is EVERYWHERE:
        raise InvalidRequest({"tenant_id": ["Name the tenant to invite into."]})
    if held:
        caps.hold(ctx, by.tenant_id)
    now = ctx.now()
    drafts = [
        draft(
            each.address,
            role=each.role or ctx.config.default_role,
            tenant_id=by.tenant_id,
            inviter=by.user,
            details=each.details,
            source=source,
        )
        for each in wanted
    ]
    pairs = zip(making(ctx, by, by.tenant_id, drafts, now), wanted, strict=True)
    cases = [confirmed(case) if each.confirm else case for case, each in pairs]
    return list(in_turn(MAKE, cases, caps.room(ctx, by.tenant_id, now, held=held)))


@dataclass(frozen=True)
class _Judged:
    """One of many, what is known about it, and what stands in its way."""

    row: Any
    case: Case | None
    refusal: InvitationError | None


def _judge(ctx: Context, by: Manager, rows: Sequence[Wanted | Unreadable], dry_run: bool) -> Sequence[_Judged]:
    """:raises TenantInactive: which is about none of them."""
    cases = _cases(ctx, by, [row for row in rows if isinstance(row, Wanted)], "bulk", held=not dry_run)
    if cases and not cases[0][0].facts.tenant_active:
        raise TenantInactive
    imagined = {case.id for case, _ in cases} if dry_run else ()
    judged = ((case, _as_told(refusal, imagined)) for case, refusal in cases)
    return [
        _Judged(row, None, row.error) if isinstance(row, Unreadable) else _Judged(row, *next(judged)) for row in rows
    ]


def _as_told(refusal: InvitationError | None, imagined: Collection[UUID]) -> InvitationError | None:
    """The same without the id of an invitation that nobody makes."""
    is_double = isinstance(refusal, AlreadyInvited) and refusal.invitation_id in imagined
    return AlreadyInvited(None) if is_double else refusal


def _digest(by: Manager, judged: Sequence[_Judged]) -> str:
    """Of addresses, roles and verdicts, in order, in this tenant."""
    told = [
        (
            each.row.email if each.case is None else each.case.draft.email_key,
            each.case and each.case.draft.role,
            each.refusal and text_of(each.refusal.code),
        )
        for each in judged
    ]
    return sha256(json.dumps([str(by.tenant_id), *told]).encode()).hexdigest()


def _make(
    ctx: Context, by: Manager, allowed: Sequence[tuple[Case, Wanted]], show_link: bool
) -> Sequence[InvitationInfo]:
    now = ctx.now()
    overdue = [holder for case, _ in allowed if (holder := case.past.holder()) is not None]
    expire(ctx, ctx.store.whole(overdue), now, [by.id])
    minted = [ctx.mint.new() for _ in allowed]
    common = {**vouched(ctx, by, by.tenant_id), "link_shown": show_link}
    columns = [
        {**_columns(ctx, case, wanted, now), "token_hash": token.hash, "token_nonce": nonce, **common}
        for (case, wanted), (nonce, token) in zip(allowed, minted, strict=True)
    ]
    rows = ctx.store.insert_many(columns)
    ctx.store.events.add_all(
        [(row, EventType.CREATED, {**by.audit(), "details": {"role": row.role}}) for row in rows], now
    )
    email = getattr(by.user, "email", None)
    postings = [
        Posting(row, token, _shown(ctx, row, token, row.info(now, email)))
        for row, (_, token) in zip(rows, minted, strict=True)
    ]
    ctx.unit.after_commit(partial(ctx.announce, invitation_created, *(each.info for each in postings)))
    mailed = [each for each, (_, wanted) in zip(postings, allowed, strict=True) if wanted.mail]
    outbox.post(ctx, mailed, now, by.user)
    confirm(ctx, [(case, each.info) for (case, _), each in zip(allowed, postings, strict=True)])
    return [each.info for each in postings]


def confirm(ctx: Context, posted: Sequence[tuple[Case, InvitationInfo]]) -> None:
    """Where emails are sent although earlier ones there came back, it is what becomes of these that counts."""
    ctx.store.suppressions.confirm(
        {row: info.delivery.id for case, info in posted for row in case.standing.bounces if info.delivery is not None}
    )


def _columns(ctx: Context, case: Case, wanted: Wanted, now: datetime) -> Mapping[str, Any]:
    """A new row, but for its link and for who vouches for it."""
    span = wanted.expires_in or ctx.config.ttl
    return {
        "id": case.id,
        "version": 1,
        "number": case.past.next_number,
        "link_number": case.past.next_link_number,
        "tenant_id": case.draft.tenant_id,
        "email": case.draft.email,
        "email_key": case.draft.email_key,
        "role": case.draft.role,
        "message": wanted.message,
        "details": wanted.details,
        "locale": wanted.locale,
        "previous_token_hash": None,
        "status": Status.PENDING,
        "pending_key": pending_key(case.draft.tenant_id, case.draft.email_key),
        "accepted_by_id": None,
        "lifetime": ceil(span.total_seconds()),
        "expires_at": now + span,
        **dict.fromkeys(("accepted_at", "reminded_at", "link_requested_at", "closed_at")),
        "created_at": now,
        "updated_at": now,
    }


def vouched(ctx: Context, by: Manager, tenant_id: Any) -> dict[str, Any]:
    """The columns that name the inviter, and the mark of whom it is made for."""
    made_for = mark(ctx, tenant_id, by.user) if ctx.store.hosts.ids_come_again else None
    return {"invited_by_id": by.id, "inviter_ref": None if by.id is None else str(by.id), "made_for": made_for}


def _shown(ctx: Context, row: Invitation, token: Token, info: InvitationInfo) -> InvitationInfo:
    """The invitation with its link, where somebody asked to see that."""
    return replace(info, accept_url=ctx.config.link(token.reveal())) if row.link_shown else info


def expire(ctx: Context, rows: Sequence[Invitation], now: datetime, users: Collection[Any] = ()) -> None:
    """Write down that invitations have expired; announced after the commit.

    :param users: the keys of those that what follows in this transaction will point at.
    """
    if not rows:
        return
    ctx.store.expire(rows, now, users)
    ctx.store.events.add_all([(row, EventType.EXPIRED, {}) for row in rows], now)
    for row in rows:
        ctx.unit.after_commit(partial(ctx.announce, invitation_expired, row.info(now)))
