"""Invite: people, by email, into one tenant. Inviting one is inviting a list of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from typing import Any
from uuid import UUID

from .. import outbox
from ..addresses import Address
from ..context import Context
from ..errors import InvalidRequest, InvitationError
from ..hooks import invitation_created, invitation_expired
from ..model.states import EventType, Status
from ..model.tables import Invitation, pending_key
from ..model.values import InvitationInfo
from ..outbox import Posting
from ..store.statements import EVERYWHERE
from ..tokens import Token
from .callers import Manager
from .facts import Case, draft, making, mark
from .rules import MAKE, first, obstacle, reasons


@dataclass(frozen=True)
class Wanted:
    """One invitation that is asked for.

    :param role: ``None``: the setting ``DEFAULT_ROLE``.
    :param expires_in: for how long it is open; ``None``: the setting ``TTL``.
    """

    address: Address
    role: str | None = None
    message: str | None = None
    details: Mapping[str, Any] | None = None
    expires_in: timedelta | None = None
    locale: str | None = None

    @classmethod
    def loaded(cls, given: Mapping[str, Any]) -> Wanted:
        """:param given: the fields of an invitation, as the shape of ``POST /invite`` has loaded them."""
        return cls(
            given["email"], given["role"], given["message"], given["details"], given["expires_in"], given["locale"]
        )


@dataclass(frozen=True)
class Explanation:
    """What inviting somebody would come to; see :func:`explain`.

    :param allowed: the invitation would be made; ``approval``: it would wait for another manager's.
    :param reasons: everything that stands in the way, in the order in which the act would say it.
    """

    allowed: bool
    approval: bool
    reasons: Sequence[InvitationError]


def invite(
    ctx: Context,
    *,
    by: Manager,
    wanted: Wanted,
    mail: bool = True,
    confirm: bool = False,
    show_link: bool = False,
) -> InvitationInfo:
    """Make an invitation and its outbox row; send the email after the commit.

    :param mail: ``False``: no email is sent; the link is worth something only with ``show_link``.
    :param confirm: the address is right, although an email there came back or was reported as spam.
    :param show_link: fill ``accept_url`` of the result; then the link no longer proves a mailbox.
    :raises InvitationError: a rule of *Make* (``docs/rules.md``); nothing was written.
    :raises RateLimited: too many for now, of this inviter or in this tenant.
    """
    show_link = show_link or ctx.config.return_link
    ctx.limits.inviting(by.id, by.tenant_id)

    def make() -> InvitationInfo:
        (case,) = _plan(ctx, by, [wanted], confirm)
        first(MAKE, case.facts)
        (info,) = _make(ctx, by, [(case, wanted)], mail=mail, show_link=show_link)
        return info

    return ctx.unit.run(make)


def invite_many(
    ctx: Context, *, by: Manager, wanted: Sequence[Wanted], mail: bool = True, confirm: bool = False
) -> Sequence[InvitationInfo | InvitationError]:
    """Make many invitations in one transaction; the statements do not grow with their number, but for chunks.

    :returns: for each the invitation or its first refusal, in order; what is refused keeps no other from being made.
    """
    ctx.limits.inviting(by.id, by.tenant_id, len(wanted))

    def make() -> Sequence[InvitationInfo | InvitationError]:
        cases = _plan(ctx, by, wanted, confirm)
        refusals = [obstacle(MAKE, case.facts) for case in cases]
        pairs = zip(cases, wanted, refusals, strict=True)
        allowed = [(case, each) for case, each, refusal in pairs if refusal is None]
        made = iter(_make(ctx, by, allowed, mail=mail, show_link=ctx.config.return_link))
        return [refusal or next(made) for refusal in refusals]

    return ctx.unit.run(make)


def explain(ctx: Context, *, by: Manager, wanted: Wanted, confirm: bool = False) -> Explanation:
    """What :func:`invite` would say, with every reason; nothing is written."""

    def look() -> Explanation:
        (case,) = _plan(ctx, by, [wanted], confirm)
        against = reasons(MAKE, case.facts)
        return Explanation(not against, False, against)

    return ctx.unit.look(look)


def _plan(ctx: Context, by: Manager, wanted: Sequence[Wanted], confirm: bool) -> Sequence[Case]:
    """The facts about each; of two for the same address the second finds the place taken."""
    if by.tenant_id is EVERYWHERE:
        raise InvalidRequest({"tenant_id": ["Name the tenant to invite into."]})
    now = ctx.now()
    drafts = [
        draft(
            each.address,
            role=each.role or ctx.config.default_role,
            tenant_id=by.tenant_id,
            inviter=by.user,
            details=each.details,
        )
        for each in wanted
    ]
    cases = making(ctx, by, by.tenant_id, drafts, now, confirm)
    return cases if len(cases) == 1 else _doubles_refused(cases)


def _doubles_refused(cases: Sequence[Case]) -> Sequence[Case]:
    taken = dict[str, UUID]()
    told = list[Case]()
    for case in cases:
        key = case.draft.email_key
        if key in taken:
            case = replace(case, facts=replace(case.facts, holder=case.facts.holder or taken[key]))
        elif obstacle(MAKE, case.facts) is None:
            taken[key] = case.id
        told.append(case)
    return told


def _make(
    ctx: Context, by: Manager, allowed: Sequence[tuple[Case, Wanted]], *, mail: bool, show_link: bool
) -> Sequence[InvitationInfo]:
    now = ctx.now()
    overdue = [holder for case, _ in allowed if (holder := case.past.holder()) is not None]
    expire(ctx, ctx.store.whole(overdue), now, [by.id])
    minted = [ctx.mint.new() for _ in allowed]
    columns = [
        _columns(ctx, by, case, wanted, nonce, token, now, show_link)
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
    for each in postings:
        ctx.unit.after_commit(partial(ctx.announce, invitation_created, each.info))
    if mail:
        outbox.post(ctx, postings, now, by.user)
    return [each.info for each in postings]


def _columns(
    ctx: Context, by: Manager, case: Case, wanted: Wanted, nonce: str, token: Token, now: datetime, link_shown: bool
) -> Mapping[str, Any]:
    """A new row."""
    span = wanted.expires_in or ctx.config.ttl
    return {
        "id": case.id,
        "version": 1,
        "number": case.past.next_number,
        "link_number": case.past.next_link_number,
        "tenant_id": by.tenant_id,
        "email": case.draft.email,
        "email_key": case.draft.email_key,
        "role": case.draft.role,
        "message": wanted.message,
        "details": wanted.details,
        "locale": wanted.locale,
        "link_shown": link_shown,
        "token_hash": token.hash,
        "token_nonce": nonce,
        "previous_token_hash": None,
        "status": Status.PENDING,
        "pending_key": pending_key(by.tenant_id, case.draft.email_key),
        **vouched(ctx, by, by.tenant_id),
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
