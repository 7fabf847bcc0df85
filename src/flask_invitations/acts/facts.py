"""Facts: what the rules read, asked of the tables and of the host, for many invitations at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any
from uuid import UUID

from ..addresses import key_of
from ..context import Context
from ..errors import InvitationError, InvitationNotFound, InvitationReplaced
from ..gate import WrongAnswer
from ..model.states import ENDED, OPEN, Status
from ..model.tables import Invitation, new_id
from ..model.values import InvitationDraft, InvitationInfo
from ..store.found import Found, FoundMail
from ..store.histories import NOTHING, Past
from ..store.suppressions import GOOD, Address, Standing
from ..tokens import Token
from . import caps
from .callers import Caller, Manager, may_grant
from .caps import Room
from .rules import ACCEPT, Facts, Rule, Session, obstacle


def draft(address: Any, **columns: Any) -> InvitationDraft:
    """:param address: the parsed address; ``columns``: the rest of the draft."""
    return InvitationDraft(address.typed, address.key, address.key.rpartition("@")[2], **columns)


# Make, Resend


@dataclass(frozen=True)
class Case:
    """An invitation to make, or to send again; what is known about it, and what there was for its address.

    :param id: what a new one is called.
    :param standing: how its address stands, whatever somebody has confirmed.
    :param opens: it takes a place that it does not have yet.
    """

    id: UUID
    draft: InvitationDraft
    facts: Facts
    past: Past
    standing: Standing
    opens: bool = True


def confirmed(case: Case) -> Case:
    """The same once somebody has checked the address, although an email there came back."""
    return replace(case, facts=replace(case.facts, bounced=False))


def making(
    ctx: Context, by: Manager, tenant_id: Any, drafts: Sequence[InvitationDraft], now: datetime
) -> Sequence[Case]:
    """The facts of *Make* for drafts in one tenant; the statements do not grow with their number, but for chunks."""
    keys = list(dict.fromkeys(each.email_key for each in drafts))
    active, accounts, past, standings = (
        ctx.hooks.tenant_is_active(tenant_id),
        _accounts(ctx, keys),
        ctx.store.histories.of(tenant_id, keys),
        ctx.store.suppressions.of((tenant_id, key) for key in keys),
    )
    if len(keys) == 1 and not accounts:
        _take_as_long(ctx, by, tenant_id)
    grant = cache(lambda role: may_grant(ctx, by, tenant_id, role))
    common = {"tenant_active": active, **_joining(ctx)}

    def one(each: InvitationDraft) -> Case:
        before, account = past[each.email_key], accounts.get(each.email_key)
        standing = standings[tenant_id, each.email_key]
        facts = Facts(
            may_grant=grant(each.role),
            address_refused=ctx.config.domains.refusal(each.domain) or _refusal(ctx.hooks.check_invitee, each),
            suppressed=standing.unwanted,
            bounced=standing.bounced,
            holder=before.live(now),
            **common,
            **_membership(ctx, account, tenant_id),
        )
        return Case(new_id(now), each, facts, before, standing)

    return [one(each) for each in drafts]


def resending(ctx: Context, by: Manager, tenant_id: Any, rows: Sequence[Invitation], now: datetime) -> Sequence[Case]:
    """The facts of *Resend* for invitations of one tenant, of which ``by`` is to be the inviter."""
    again = [row for row in rows if row.status_at(now) in OPEN and row.email_key is not None]
    cases = making(ctx, by, tenant_id, [_again(row, by.user) for row in again], now) if again else ()
    known = {row.id: _its_own(case, row, now) for row, case in zip(again, cases, strict=True)}
    return [known.get(row.id) or _ended(row, now) for row in rows]


def _again(row: Invitation, inviter: Any) -> InvitationDraft:
    return InvitationDraft(
        email=row.email or "",
        email_key=row.email_key or "",
        domain=(row.email_key or "").rpartition("@")[2],
        role=row.role,
        tenant_id=row.tenant_id,
        inviter=inviter,
        details=row.details,
        source="resend",
    )


def _its_own(case: Case, row: Invitation, now: datetime) -> Case:
    """An invitation is not in its own way, and a pending one has its place."""
    holder = None if case.facts.holder == row.id else case.facts.holder
    opens = row.status_at(now) == Status.EXPIRED
    return replace(case, id=row.id, opens=opens, facts=replace(case.facts, holder=holder))


def _ended(row: Invitation, now: datetime) -> Case:
    return Case(row.id, _again(row, None), Facts(ended=ENDED[row.status_at(now)]()), NOTHING, GOOD, opens=False)


def in_turn(rules: Sequence[Rule], cases: Sequence[Case], room: Room) -> Iterator[tuple[Case, InvitationError | None]]:
    """Each with its first refusal: what one of them takes, those that follow do not get.

    :param room: what there is room for, at first.
    """
    taken, places = dict[str, UUID](), 0
    for case in cases:
        key = case.draft.email_key
        since = room.after(places) if case.opens else {}
        if key in taken:
            since["holder"] = taken[key]
        if since:
            case = replace(case, facts=replace(case.facts, **since))
        refusal = obstacle(rules, case.facts)
        if refusal is None:
            taken[key] = case.id
            places += case.opens
        yield case, refusal


def _joining(ctx: Context) -> dict[str, Any]:
    return {"can_join": ctx.hooks.join is not None, "tells_of_accounts": ctx.config.reveal_accounts}


def _membership(ctx: Context, account: Any, tenant_id: Any) -> dict[str, Any]:
    is_member = account is not None and ctx.hooks.role_of(account, tenant_id) is not None
    return {"has_account": account is not None, "is_member": is_member}


def _take_as_long(ctx: Context, by: Manager, tenant_id: Any) -> None:
    """Ask of whoever calls what would be asked of an account: where they are not to learn whether there is one, the
    time of the answer must not tell (G2)."""
    is_hidden = ctx.hooks.join is not None or not ctx.config.reveal_accounts
    if is_hidden and by.user is not None:
        ctx.hooks.role_of(by.user, tenant_id)


def _refusal(hook: Callable[..., None] | None, *about: Any) -> InvitationError | None:
    """What the host's own rule says."""
    if hook is None:
        return None
    try:
        hook(*about)
    except InvitationError as refusal:
        return refusal
    return None


def _accounts(ctx: Context, keys: Sequence[str]) -> Mapping[str, Any]:
    """The account of each address that has one."""
    if len(keys) > 1:
        return ctx.hooks.accounts(keys)
    return {key: user for key in keys if (user := ctx.hooks.find_user(key)) is not None}


# Send, Accept


def sending(
    ctx: Context,
    mails: Sequence[Found],
    now: datetime,
    is_active: Callable[[Any], bool] | None = None,
    standings: Mapping[Address, Standing] | None = None,
) -> Sequence[Facts]:
    """The facts of *Send* for invitations, each with its inviter's row; and whether the last email there came back.

    :param is_active: the hook ``tenant_is_active``, where a caller remembers its answers.
    :param standings: of their addresses, where a caller has looked; one that it has not looked for is in good standing.
    """
    accounts = _accounts(ctx, _keys(each.row for each in mails))
    active = is_active or cache(ctx.hooks.tenant_is_active)
    known = ctx.store.suppressions.of(address(each.row) for each in mails) if standings is None else standings

    def one(found: Found) -> Facts:
        row = found.row
        account, standing = accounts.get(row.email_key or ""), known.get(address(row), GOOD)
        return Facts(
            ended=_ended_mail(found, now),
            tenant_active=active(row.tenant_id) and _is_same_tenant(ctx, row),
            suppressed=standing.unwanted,
            bounced=standing.bounced,
            **_inviter(ctx, found),
            **_membership(ctx, account, row.tenant_id),
            **_joining(ctx),
        )

    return [one(each) for each in mails]


def address(row: Invitation) -> Address:
    """Of an invitation: its tenant and its email."""
    return row.tenant_id, row.email_key or ""


def _keys(rows: Iterable[Invitation]) -> list[str]:
    return list(dict.fromkeys(row.email_key for row in rows if row.email_key is not None))


def _ended_mail(found: Found, now: datetime) -> InvitationError | None:
    """Why the link in an email would open nothing; a purged invitation is unknown."""
    status = found.row.status_at(now)
    if status != Status.PENDING:
        return ENDED[status]()
    if isinstance(found, FoundMail) and found.replaced:
        return InvitationReplaced()
    return None if found.row.email_key is not None else InvitationNotFound()


def _inviter(ctx: Context, found: Found) -> dict[str, Any]:
    """Whether the inviter is there, and may still grant the role; the system always is, and may."""
    row, inviter = found.row, found.inviter
    if not ctx.config.recheck_inviter or row.inviter_ref is None:
        return {"inviter_there": True, "inviter_may_grant": True}
    if inviter is None or not _is_same_inviter(row, inviter):
        return {"inviter_there": False, "inviter_may_grant": False}
    is_member = ctx.hooks.role_of(inviter, row.tenant_id) is not None
    may = ctx.hooks.can_invite(inviter, row.tenant_id, row.role)
    return {"inviter_there": is_member or may, "inviter_may_grant": may}


def mark(ctx: Context, tenant_id: Any, inviter: Any) -> str:
    """A mark of a tenant and an inviter by what people know them by, beside their ids: where the database gives ids of
    deleted rows to new ones, a link must not open somebody else's tenant."""
    return _digest(ctx.hooks.tenant_name(tenant_id)) + _digest(key_of(getattr(inviter, "email", None)))


def _digest(name: str | None) -> str:
    return sha256(str(name).encode()).hexdigest()[:32]


def _is_same_tenant(ctx: Context, row: Invitation) -> bool:
    return row.made_for is None or row.made_for[:32] == _digest(ctx.hooks.tenant_name(row.tenant_id))


def _is_same_inviter(row: Invitation, inviter: Any) -> bool:
    return row.made_for is None or row.made_for[32:] == _digest(key_of(getattr(inviter, "email", None)))


def opening(ctx: Context, found: Found, link: Token, now: datetime) -> Facts:
    """The facts of a link: whether it leads anywhere."""
    active = ctx.hooks.tenant_is_active(found.row.tenant_id) and _is_same_tenant(ctx, found.row)
    return Facts(ended=ended(found.row, link, now), tenant_active=active, **_inviter(ctx, found))


def ended(row: Invitation, link: Token, now: datetime) -> InvitationError | None:
    """The state of an invitation, as the holder of a real link to it is told; ``None``: live."""
    status = row.status_at(now)
    if row.token_hash != link.hash and status in (Status.PENDING, Status.EXPIRED):
        return InvitationReplaced()
    return None if status == Status.PENDING else ENDED[status]()


def accepting(
    ctx: Context, found: Found, opened: Facts, by: Caller, info: InvitationInfo, own: Any = None
) -> tuple[Facts, Any]:
    """The facts of *Accept* for one invitation and one caller, and the account that it is for (``None``: a new one).

    :param opened: the facts of the link, by :func:`opening`.
    :param own: the account that this acceptance has just made, or has had join: neither is in its way.

    The host's own gate and its seats are asked last, and only where nothing else refuses: the gate sees nobody but the
    right person.
    """
    row = found.row
    account = account_of(ctx, row, by.user)
    if by.user is None and _is_same(ctx, account, own):
        account = None
    session = _session(ctx, by, account)
    facts = replace(opened, session=session, has_account=account is not None, **_joining(ctx))
    if session is Session.OWNER:
        facts = replace(facts, verified=ctx.hooks.email_is_verified(account))
    if session is Session.OWNER and own is None:
        facts = replace(facts, **_membership(ctx, account, row.tenant_id))
    if ctx.hooks.check_acceptance is not None and obstacle(ACCEPT, facts) is None:
        facts = replace(facts, gate=_refusal(ctx.hooks.check_acceptance, info, account))
    return facts if own is not None else seated(ctx, ACCEPT, facts, row.tenant_id), account


def seated(ctx: Context, asked: Sequence[Rule], facts: Facts, tenant_id: Any) -> Facts:
    """The same with the seats of the tenant, where none of the rules that are ``asked`` refuses without."""
    if ctx.hooks.seats is None or obstacle(asked, facts) is not None:
        return facts
    return replace(facts, seats=caps.free_seats(ctx, tenant_id))


def _is_same(ctx: Context, one: Any, other: Any) -> bool:
    return one is not None and other is not None and ctx.models.user_id(one) == ctx.models.user_id(other)


def account_of(ctx: Context, row: Invitation, user: Any) -> Any:
    """The account of the invited address; ``None``: there is none."""
    email_key = row.email_key or ""
    account = ctx.hooks.find_user(email_key)
    if account is None and user is not None and key_of(getattr(user, "email", None)) == email_key:
        return user
    return account


def refuse_another(user: Any, email_key: str | None) -> None:
    """:raises WrongAnswer: the account that ``create_user`` made, or found, is somebody else's."""
    if key_of(getattr(user, "email", None)) not in (None, email_key):
        raise WrongAnswer("create_user returned a user of another address. Return the new user of this address.")


def _session(ctx: Context, by: Caller, account: Any) -> Session:
    if by.user is None:
        return Session.NOBODY
    owner = account is not None and ctx.models.user_id(account) == by.id
    return Session.OWNER if owner else Session.OTHER
