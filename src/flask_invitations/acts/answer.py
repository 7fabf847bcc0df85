"""What the invitee does: look at the offer, accept it, decline it. Whoever holds the token may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from .. import outbox
from ..addresses import key_of
from ..context import Context
from ..errors import (
    AccountExists,
    AccountUnverified,
    AlreadyMember,
    InvalidRequest,
    InvitationAccepted,
    InvitationError,
    InvitationNotFound,
    InvitationReplaced,
    InvitationWithdrawn,
    RoleNotAllowed,
    Sentence,
    TryAgain,
    WrongAccount,
)
from ..hooks import invitation_accepted, invitation_declined
from ..mail.compose import introduce
from ..model.states import Kind, Status
from ..model.tables import Invitation
from ..model.values import InvitationInfo
from ..store.found import Found
from ..tokens import Token, parse
from .callers import Origin, audit
from .manage import REFUSAL
from .read import infos


@dataclass(frozen=True)
class TenantInfo:
    """:param name: text of the host's users: show it as plain text."""

    id: Any
    name: str


@dataclass(frozen=True)
class Offer:
    """What the invitee is offered.

    :param obstacle: why whoever is signed in now (or nobody) could not accept it; ``None``: nothing known.
    """

    invitation: InvitationInfo
    tenant: TenantInfo
    account_exists: bool
    obstacle: InvitationError | None = None


@dataclass(frozen=True)
class AcceptedUser:
    """The account that accepted, and what it was granted."""

    id: Any
    email: str | None
    role: str
    tenant_id: Any


@dataclass(frozen=True)
class Acceptance:
    """:param session: what ``on_accepted`` returned; :param again: it had been accepted by this account before."""

    user: AcceptedUser
    invitation: InvitationInfo
    session: Mapping[str, Any] | None = None
    again: bool = False


def preview(ctx: Context, *, token: str, user: Any = None) -> Offer:
    """What the link offers. Changes nothing.

    :param user: whoever is signed in, or ``None``.
    :raises InvitationNotFound: unknown or malformed token (no statement is run for the latter).
    :raises InvitationGone, InvitationAccepted: the link is dead.
    :raises TryAgain: the database refused to the last.
    """
    link = _token(token)

    def look() -> Offer:
        now = ctx.now()
        found = _find(ctx, link)
        if user is not None and _is_accepted_by(ctx.models.user_id(user), found.row, link):
            raise InvitationAccepted(mine=True)
        _check_live(found.row, link, now)
        check_standing(ctx, found.row)
        return _offer(ctx, found, now, user)

    return ctx.unit.look(look)


def decline(ctx: Context, *, token: str, reason: str | None = None, user: Any = None, origin: Origin) -> Offer:
    """Turn the offer down; the link is dead afterwards.

    :param reason: at most 500 characters, kept in the audit trail.
    :raises InvitationNotFound, InvitationGone, InvitationAccepted: as :func:`preview`.
    """
    link = _token(token)
    actor_id = None if user is None else ctx.models.user_id(user)

    def turn_down() -> Offer:
        now = ctx.now()
        found = _live(ctx, link, now)
        row = found.row
        check_standing(ctx, row)
        ctx.store.close(row, Status.DECLINED, now)
        ctx.store.mails.cancel(row)
        ctx.store.event(row, "declined", now, details=reason and {"reason": reason}, **audit(actor_id, origin))
        _tell_inviter(ctx, row, Kind.DECLINED, now)
        offer = _offer(ctx, found, now, user)
        ctx.unit.after_commit(lambda: ctx.announce(invitation_declined, offer.invitation))
        return offer

    return ctx.unit.run(turn_down)


def accept(
    ctx: Context,
    *,
    token: str,
    password: str | None = None,
    profile: Mapping[str, Any] | None = None,
    user: Any = None,
    origin: Origin,
) -> Acceptance:
    """Accept: a new account, or the signed-in ``user`` joins. All or nothing, at most once.

    E-mail, tenant and role come from the invitation's row alone (A3). A refused accept spends nothing (B12)
    and is written to the audit trail.

    :param password: for a new account.
    :param profile: the fields of the host's ``profile_schema``, not yet loaded.
    :param user: whoever is signed in, or ``None``.
    :raises InvitationError: anything from the table of errors; the invitation stands as it was.
    """
    link = _token(token)
    actor_id = None if user is None else ctx.models.user_id(user)
    attempt = _Attempt(ctx, link, password, profile or {}, user, actor_id, origin)
    try:
        return ctx.unit.run(attempt.run, then=attempt.finish, conflict=AccountExists)
    except TryAgain:
        raise
    except InvitationError as refusal:
        code = refusal.code
        ctx.observe("recording a refusal", "", lambda: ctx.unit.run(lambda: attempt.record(code)))
        raise


@dataclass
class _Attempt:
    """One call of :func:`accept`; ``run`` may be called several times, each time from the start."""

    ctx: Context
    link: Token
    password: str | None = field(repr=False)
    profile: Mapping[str, Any] = field(repr=False)
    user: Any
    actor_id: Any
    origin: Origin
    account: Any = None

    def run(self) -> Acceptance:
        ctx, now = self.ctx, self.ctx.now()
        found = _find(ctx, self.link)
        row, inviter_email = found.row, found.inviter_email
        if _is_accepted_by(self.actor_id, row, self.link):
            again = infos(ctx, [(row, inviter_email)])[0]
            return Acceptance(self._user(row, self.actor_id), again, again=True)
        _check_live(row, self.link, now)
        check_standing(ctx, row)
        check_inviter_may_still_grant(ctx, row)
        info = row.info(now, inviter_email)
        self.account = self._make_user(row, info)
        user_id = ctx.store.save(self.account)
        now = ctx.now()  # hashing took its time: what counts is the moment of the claim
        ctx.store.close(row, Status.ACCEPTED, now, accepted_at=now, accepted_by_id=user_id)
        details = {"joined": self.user is not None}
        ctx.store.event(row, "accepted", now, details=details, **audit(user_id, self.origin))
        _tell_inviter(ctx, row, Kind.ACCEPTED, now)
        return Acceptance(self._user(row, user_id), infos(ctx, [(row, inviter_email)])[0])

    def finish(self, acceptance: Acceptance) -> Acceptance:
        """After the commit: tell everybody."""
        ctx, info, on_accepted = self.ctx, acceptance.invitation, self.ctx.hooks.on_accepted
        if acceptance.again:
            return acceptance
        ctx.announce(invitation_accepted, info, user=self.account)
        if on_accepted is None:
            return acceptance
        session = ctx.observe("on_accepted", info.id, lambda: on_accepted(self.account, info))
        return replace(acceptance, session=session if isinstance(session, Mapping) else None)

    def record(self, code: str) -> None:
        """The audit trail's line about a refusal; nothing where the token is nobody's."""
        found = self.ctx.store.by_token(self.link.hash)
        if found is not None:
            who = audit(self.actor_id, self.origin)
            self.ctx.store.event(found.row, "accept_refused", self.ctx.now(), details={"code": code}, **who)

    def _user(self, row: Invitation, user_id: Any) -> AcceptedUser:
        return AcceptedUser(user_id, row.email_key, row.role, row.tenant_id)

    def _make_user(self, row: Invitation, info: InvitationInfo) -> Any:
        """The account that this makes or joins; flushed by the caller, before the invitation's row is locked."""
        hooks, account = self.ctx.hooks, _account(self.ctx, row, self.user)
        _check_account(self.ctx, row, self.user, account)
        if account is None:
            made = hooks.create_user(info, self._checked_profile(info), self.password)
            if not isinstance(made, self.ctx.models.user):
                raise TypeError(f"create_user returned {type(made).__name__}: return the new user.")
            return made
        if hooks.join is not None:
            hooks.join(account, info)
        return account

    def _checked_profile(self, info: InvitationInfo) -> Mapping[str, Any]:
        """Profile and password, checked before hashing and before any lock; all complaints at once."""
        errors: dict[str, Any] = {}
        profile: Mapping[str, Any] = {}
        try:
            profile = self.ctx.hooks.load_profile(self.profile)
        except InvalidRequest as refusal:
            errors.update(refusal.errors)
        try:
            self._check_password(info)
        except InvalidRequest as refusal:
            errors.update(refusal.errors)
        if errors:
            raise InvalidRequest(errors)
        return profile

    def _check_password(self, info: InvitationInfo) -> None:
        if self.password is not None:
            self.ctx.hooks.validate_password(self.password, info)
        elif self.ctx.config.password_required:
            raise InvalidRequest({"password": [Sentence("Choose a password.")]})


def _token(text: str) -> Token:
    token = parse(text)
    if token is None:
        raise InvitationNotFound
    return token


def _find(ctx: Context, link: Token) -> Found:
    found = ctx.store.by_token(link.hash)
    if found is None:
        raise InvitationNotFound
    return found


def _live(ctx: Context, link: Token, now: datetime) -> Found:
    found = _find(ctx, link)
    _check_live(found.row, link, now)
    return found


def _tell_inviter(ctx: Context, row: Invitation, kind: str, now: datetime) -> None:
    """By mail, where the host wants that and somebody did invite."""
    if ctx.config.notify_inviter and row.invited_by_id is not None:
        outbox.notify(ctx, row, kind, now)


def _is_accepted_by(user_id: Any, row: Invitation, link: Token) -> bool:
    mine = user_id is not None and row.accepted_by_id == user_id
    return row.status == Status.ACCEPTED and mine and row.token_hash == link.hash


def _check_live(row: Invitation, link: Token, now: datetime) -> None:
    """The state of the invitation, told to whoever holds a real link to it."""
    status = row.status_at(now)
    if row.token_hash != link.hash and status in (Status.PENDING, Status.EXPIRED):
        raise InvitationReplaced
    if status != Status.PENDING:
        raise REFUSAL[status]


def check_standing(ctx: Context, row: Invitation) -> None:
    """The tenant lives, and the inviter is still there (C9, C10)."""
    if not ctx.hooks.tenant_is_active(row.tenant_id):
        raise InvitationWithdrawn
    if not ctx.config.recheck_inviter or row.inviter_ref is None:
        return
    inviter = ctx.store.user(row.invited_by_id)
    if inviter is None:
        raise InvitationWithdrawn
    stranger = ctx.hooks.role_of(inviter, row.tenant_id) is None
    if stranger and not ctx.hooks.can_invite(inviter, row.tenant_id, row.role):
        raise InvitationWithdrawn


def check_inviter_may_still_grant(ctx: Context, row: Invitation) -> None:
    """The role ceiling once more, against the inviter's present role (C3)."""
    if not ctx.config.recheck_inviter or row.inviter_ref is None:
        return
    inviter = ctx.store.user(row.invited_by_id)  # from the session's identity map: no statement
    if not ctx.hooks.can_invite(inviter, row.tenant_id, row.role):
        raise RoleNotAllowed


def _account(ctx: Context, row: Invitation, user: Any) -> Any:
    """The account of the invited address; ``None``: there is none."""
    email_key = row.email_key or ""
    account = ctx.hooks.find_user(email_key)
    if account is None and user is not None and key_of(getattr(user, "email", None)) == email_key:
        return user
    return account


def _check_account(ctx: Context, row: Invitation, user: Any, account: Any) -> None:
    """May whoever is signed in accept for this account? An existing one is never touched by anybody but its
    signed-in owner (A5, A12), whose address must be verified (A1, A14)."""
    if user is not None and (account is None or ctx.models.user_id(account) != ctx.models.user_id(user)):
        raise WrongAccount
    if account is None:
        return
    if user is None:
        raise AccountExists
    if not ctx.hooks.email_is_verified(account):
        raise AccountUnverified
    if ctx.hooks.role_of(account, row.tenant_id) is not None:
        raise AlreadyMember
    if ctx.hooks.join is None:
        raise AccountExists(Sentence("This address has an account, and accounts cannot join another organization."))


def _offer(ctx: Context, found: Found, now: datetime, user: Any) -> Offer:
    row = found.row
    tenant = TenantInfo(row.tenant_id, ctx.hooks.tenant_name(row.tenant_id))
    account, obstacle = _account(ctx, row, user), None
    try:
        _check_account(ctx, row, user, account)
    except InvitationError as refusal:
        obstacle = refusal
    info = replace(row.info(now), invited_by=introduce(ctx, found.inviter))
    return Offer(info, tenant, account is not None, obstacle)
