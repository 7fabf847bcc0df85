"""Accept: what the holder of a link does to become a member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ..context import Context
from ..errors import (
    AccountExists,
    AccountUnverified,
    InvalidRequest,
    InvitationAccepted,
    InvitationError,
    InvitationNotFound,
    Sentence,
    TryAgain,
)
from ..hooks import invitation_accepted
from ..model.states import ACCEPT, EventType, Kind
from ..model.tables import Invitation
from ..model.values import InvitationInfo, complete
from ..store.found import Found
from ..tokens import Secret, Token, parse, revealed, sealed
from . import rules
from .answer import is_accepted_by, opened_by, tell_inviter, token_of
from .callers import Caller, counted
from .caps import free_seats
from .facts import accepting, ended, opening, refuse_another
from .manage import close_older
from .once import Recall


@dataclass(frozen=True)
class AcceptedUser:
    """The account that accepted, and what it was granted."""

    id: Any
    email: str | None = field(repr=False)
    role: str
    tenant_id: Any


@dataclass(frozen=True)
class Acceptance:
    """:param session: what ``on_accepted`` returned; :param again: it had been accepted by this account before;
    :param next: where the hook ``accepted_url`` leads."""

    user: AcceptedUser
    invitation: InvitationInfo
    session: Mapping[str, Any] | None = None
    again: bool = False
    next: str | None = None


def accept(
    ctx: Context,
    *,
    token: Secret | str,
    password: Secret | str | None = None,
    profile: Mapping[str, Any] | None = None,
    by: Caller,
) -> Acceptance:
    """Accept: a new account, or the signed-in user joins. All or nothing, at most once.

    Email, tenant and role come from the invitation's row alone (A3). A refused accept spends nothing (B12)
    and is written to the audit trail.

    :param password: for a new account.
    :param profile: the fields of the host's ``profile_schema``, not yet loaded.
    :raises InvitationError: a rule of *Accept* (``docs/rules.md``), or what is wrong with profile and password; the
        invitation is as it was.
    :raises RateLimited: too often for now, from where ``by`` calls or with this token.
    """
    counted(ctx, by, parse(token))
    attempt = _Attempt(ctx, token_of(token), sealed(password), profile or {}, by)
    del token, password  # where they were no secrets yet, they were text
    try:
        return attempt.run()
    except TryAgain:
        raise
    except InvitationError as refusal:
        return attempt.look_again(refusal)


def recall_acceptance(ctx: Context, token: Secret | str) -> Recall[Acceptance]:
    """How the holder of a token is given the answer to their accept again, without ``session``. A malformed token is
    refused by the act, which counts the call first."""
    link = parse(token)
    del token

    def again(_kept: None) -> Acceptance:
        if link is None:
            raise InvitationNotFound
        found = opened_by(ctx, link)
        if found.row.accepted_by_id is None:  # the account was deleted since
            raise InvitationAccepted
        return Acceptance(_accepted_user(found.row, found.row.accepted_by_id), found.info(ctx.now()))

    return Recall(("token", "" if link is None else link.hash), lambda _acceptance: None, again)


@dataclass(frozen=True)
class _Looked:
    """What an attempt has found, by the rules and the checks that it has passed.

    :param account: the one that joins; ``None``: a new one, with ``profile``.
    :param again: it had been accepted by this account before.
    """

    found: Found
    info: InvitationInfo
    account: Any
    profile: Mapping[str, Any] = field(default_factory=dict, repr=False)
    again: bool = False


@dataclass
class _Attempt:
    """One call of :func:`accept`."""

    ctx: Context
    link: Token
    password: Secret | None
    profile: Mapping[str, Any] = field(repr=False)
    by: Caller
    #: A rule of the database that the account broke; a second look is for who was faster, not for another account.
    broken: Exception | None = field(default=None, init=False)
    _ahead: _Looked | None = field(default=None, init=False, repr=False)
    _tenant_id: Any = field(default=None, init=False)

    def remember(self, broken: Exception) -> None:
        self.broken = broken

    def run(self) -> Acceptance:
        """For a new account all that takes time is done ahead of the transaction, but for the hashing; where seats are
        counted, a full house is told without a lock."""
        counted = self.ctx.hooks.seats is not None
        if self.by.user is None or counted:
            self._ahead = self._look()
            self._tenant_id = self._ahead.found.row.tenant_id
        return self.ctx.unit.run(self._accept, conflict=self.remember, anew=counted)

    def _accept(self) -> Acceptance:
        """May be run several times: what was looked at ahead is good for the first, but for the seats."""
        counted = self.ctx.hooks.seats is not None
        if counted:
            self.ctx.store.hosts.hold(self._tenant_id)
        looked, self._ahead = self._ahead or self._look(), None
        if looked.again:
            return self._again(looked.found)
        if counted:
            rules.first([rules.seat], rules.Facts(seats=free_seats(self.ctx, self._tenant_id)))
        account = self._make(looked) if looked.account is None else self._join(looked)
        user_id = self.ctx.store.hosts.save(account)
        self._look_at_people(looked, account)
        return self._claim(looked.found, account, user_id)

    def _look(self) -> _Looked:
        looked = self.ctx.unit.ahead(self._ask)
        if looked.again or looked.account is not None:
            return looked
        return replace(looked, profile=self.ctx.unit.ahead(partial(self._checked_profile, looked.info)))

    def _ask(self) -> _Looked:
        """The rules of *Accept*."""
        ctx, now = self.ctx, self.ctx.now()
        found = opened_by(ctx, self.link)
        info = found.info(now)
        if is_accepted_by(self.by, found.row, self.link):
            return _Looked(found, info, None, again=True)
        facts, account = accepting(ctx, found, opening(ctx, found, self.link, now), self.by, info)
        rules.first(rules.ACCEPT, facts)
        if self.broken is not None:
            raise self.broken
        if account is None:
            info = replace(info, tenant_name=ctx.hooks.tenant_name(found.row.tenant_id))
        return _Looked(found, info, account)

    def _look_at_people(self, looked: _Looked, account: Any) -> None:
        """The same rules, of what was committed since they were asked: hashing took its time. The invitation itself is
        not read again, since its version stands in the claim."""
        ctx, row, now = self.ctx, looked.found.row, self.ctx.now()
        inviter_id, own_id = row.invited_by_id, None if looked.account is None else self.by.id
        users = ctx.store.hosts.fresh(row.tenant_id, {inviter_id, own_id})
        found = replace(looked.found, inviter=users.get(inviter_id))
        facts, _ = accepting(ctx, found, opening(ctx, found, self.link, now), self.by, looked.info, account)
        rules.first(rules.ACCEPT, facts)

    def _claim(self, found: Found, account: Any, user_id: Any) -> Acceptance:
        """The account is flushed before the invitation's row is locked; the claim is one guarded UPDATE."""
        ctx, row, now = self.ctx, found.row, self.ctx.now()
        ctx.store.move(row, ACCEPT, now, accepted_at=now, accepted_by_id=user_id)
        who = {**self.by.audit(), "actor_id": user_id}
        ctx.store.events.add(row, ACCEPT.event, now, details={"joined": self.by.user is not None}, **who)
        close_older(ctx, [row], self.by, now)
        tell_inviter(ctx, row, Kind.ACCEPTED, now)
        acceptance = Acceptance(_accepted_user(row, user_id), found.info(now))
        ctx.unit.after_commit(partial(self._finish, acceptance, account))
        return acceptance

    def _finish(self, acceptance: Acceptance, account: Any) -> None:
        """After the commit: tell everybody."""
        info, on_accepted = acceptance.invitation, self.ctx.hooks.on_accepted
        self.ctx.announce(invitation_accepted, info, user=account)
        if on_accepted is not None:
            tell = partial(self._tell, on_accepted, account, info)
            session = self.ctx.observe("on_accepted", info.id, tell)
            complete(acceptance, session=session if isinstance(session, Mapping) else None)
        self._lead(acceptance, account)

    def _lead(self, acceptance: Acceptance, account: Any) -> None:
        """Where to go on, if the host says so."""
        info, accepted_url = acceptance.invitation, self.ctx.hooks.accepted_url
        if accepted_url is not None:
            tell = partial(self._tell, accepted_url, account, info)
            complete(acceptance, next=self.ctx.observe("accepted_url", info.id, tell))

    def _tell(self, hook: Any, account: Any, info: InvitationInfo) -> Any:
        return hook(self.ctx.store.hosts.attached(account), info)

    def _again(self, found: Found) -> Acceptance:
        user = _accepted_user(found.row, self.by.id)
        acceptance = Acceptance(user, found.info(self.ctx.now()), again=True)
        self.ctx.unit.after_commit(partial(self._lead, acceptance, self.by.user))
        return acceptance

    def look_again(self, refusal: InvitationError) -> Acceptance:
        """A refusal may be the trace of somebody who was faster between two looks. Where that was this very account,
        it gets its answer again; where the link is dead by now, that is the refusal. It is written down.

        :raises InvitationError: the refusal.
        """
        ctx = self.ctx

        def look() -> Acceptance | InvitationError:
            found = ctx.store.by_token(self.link.hash)
            if found is None:
                return refusal
            if is_accepted_by(self.by, found.row, self.link):
                return self._again(found)
            now = ctx.now()
            final = ended(found.row, self.link, now) or refusal
            ctx.store.events.count(found.row, EventType.ACCEPT_REFUSED, now, self.link.hash, **self._told(final))
            return final

        seen = ctx.observe("recording a refusal", "", partial(ctx.unit.run, look))
        if isinstance(seen, Acceptance):
            return seen
        raise seen or refusal

    def _told(self, refusal: InvitationError) -> Mapping[str, Any]:
        """The columns of a refusal's line, which managers read: of an account only where they may learn of that."""
        if isinstance(refusal, (AccountExists, AccountUnverified)) and not self.ctx.config.reveal_accounts:
            return {**self.by.audit(), "actor_id": None}
        return {**self.by.audit(), "details": {"code": refusal.code}}

    def _join(self, looked: _Looked) -> Any:
        if self.ctx.hooks.join is not None:
            self.ctx.hooks.join(looked.account, looked.info)
        return looked.account

    def _make(self, looked: _Looked) -> Any:
        user = self.ctx.hooks.create_user(looked.info, looked.profile, revealed(self.password))
        refuse_another(user, looked.info.email_key)
        return user

    def _checked_profile(self, info: InvitationInfo) -> Mapping[str, Any]:
        """The profile, where it and the password are right; all complaints at once."""
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
            self.ctx.hooks.validate_password(self.password.reveal(), info)
        elif self.ctx.config.password_required:
            raise InvalidRequest({"password": [Sentence("Choose a password.")]})


def _accepted_user(row: Invitation, user_id: Any) -> AcceptedUser:
    return AcceptedUser(user_id, row.email_key, row.role, row.tenant_id)
