"""A rehearsal: the host's hooks are called as an act calls them, in one transaction of which nothing is kept."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from traceback import walk_tb
from typing import Any, NoReturn
from unittest import SkipTest

import sqlalchemy as sa
from flask import Flask
from werkzeug.exceptions import HTTPException

from ..acts import Wanted, invite, system
from ..acts.facts import draft, refuse_another
from ..addresses import key_of, parse
from ..context import Context
from ..current import get_state, state_of
from ..errors import InvitationError
from ..gate import Function, WrongAnswer
from ..hooks import Message
from ..mail.compose import Letter, compose
from ..model.states import Kind
from ..model.values import DeliveryInfo, InvitationDraft, InvitationInfo
from ..shapes import load
from ..store.unit import TransactionMisuse
from .people import highest, token_of

_WRITE = re.compile(r"\s*(?:WITH\b.*)?\b(?:INSERT|UPDATE|DELETE|REPLACE|MERGE)\b", re.IGNORECASE | re.DOTALL)


class _Over(Exception):
    """Takes back what was done."""


def fail(what: str, fix: str) -> NoReturn:
    """:raises AssertionError: naming what the host does, and the fix."""
    raise AssertionError(f"{what}. {fix}.")


@contextmanager
def asking(hook: str, fix: str = "An invitation cannot go on without its answer") -> Iterator[None]:
    """Around a call of the host's: whatever it raises names the hook.

    :raises AssertionError: in place of what was raised.
    """
    try:
        yield
    except (WrongAnswer, TransactionMisuse) as error:  # which name the hook and the fix already
        raise AssertionError(str(error)) from error
    except (AssertionError, SkipTest):
        raise
    except Exception as error:
        said = ": ".join(
            filter(None, (type(error).__name__, " ".join(str(getattr(error, "errors", error)).split()).rstrip(".")))
        )
        raise AssertionError(f"{_asked(error) or hook} raised {said}. {fix}.") from error


def _asked(error: BaseException) -> str | None:
    """The hook that has raised it, innermost last: a hook may be asked by an act, or by another hook."""
    callers = (frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__))
    return next((each.name for each in reversed([*callers]) if isinstance(each, Function)), None)


class Rehearsal:
    """What is done in one transaction of the host's.

    :param given: the ``domain``, ``profile`` and ``password`` of the host's test class, and how it makes a tenant.
    """

    def __init__(self, ctx: Context, given: Any) -> None:
        self.ctx: Context = ctx
        self.mark: str = secrets.token_hex(4)
        self._given = given

    # What is asked

    def ask(self, hook: str, *arguments: Any, fix: str = "An invitation cannot go on without its answer") -> Any:
        """Call a hook as the package does, behind its gate."""
        with asking(hook, fix):
            return getattr(self.ctx.hooks, hook)(*arguments)

    def has(self, hook: str) -> bool:
        return getattr(self.ctx.hooks, hook) is not None

    # What is made

    def email(self, name: str) -> str:
        """An address that nobody has."""
        return f"{name}-{self.mark}@{self._given.domain}"

    def tenant(self, name: str = "One") -> Any:
        """The id of a new tenant; ``None`` where there are none."""
        models = self.ctx.models
        if models.tenant is None:
            return None
        fix = "Override make_tenant(name) in your test class: add a tenant, flush, and return it or its id"
        with asking("make_tenant", fix):
            return models.tenant_id(self._given.make_tenant(f"{name} {self.mark}"))

    def invite(self, name: str, tenant_id: Any, role: str | None = None) -> InvitationInfo:
        """An invitation with a row, as hooks get it."""
        with asking("A hook"):
            try:
                fields = {"email": self.email(name), "role": role, "mail": False}
                wanted = Wanted.loaded(load(get_state().invite_body, fields))
                return invite(self.ctx, by=system(tenant_id), wanted=wanted)
            except InvitationError as refusal:
                fail(
                    f"Your rules refuse to invite {self.email(name)} into a new tenant: {refusal.code}",
                    "Set `domain` in your test class to one whose addresses may be invited, or override make_tenant",
                )

    def profile(self) -> Mapping[str, Any]:
        """What an invitee types, loaded."""
        try:
            return self.ctx.hooks.load_profile(self._given.profile)
        except InvitationError as refusal:
            fail(
                f"profile_schema refuses the `profile` of your test class: {getattr(refusal, 'errors', refusal)}",
                "Set `profile` to what an invitee would send",
            )

    def create(self, info: InvitationInfo, password: str | None = "") -> Any:
        """A new account, as accept makes it. It is read again before anything is asked about it."""
        ctx = self.ctx
        typed = self._given.password if password == "" else password
        with asking("create_user", "It must make an account for any invitation"):
            user = ctx.hooks.create_user(info, self.profile(), typed)
            refuse_another(user, info.email_key)
            ctx.store.hosts.save(user)
        return self._anew(user)

    def join(self, user: Any, info: InvitationInfo) -> None:
        """An existing account joins, as accept has it."""
        with asking("join", "It must let any account join"):
            self.ask("join", user, info)
            self.ctx.store.hosts.save(user)
        self._anew(user)

    def _anew(self, user: Any) -> Any:
        self.session.expire(user)
        return user

    def member(self, name: str, tenant_id: Any, role: str | None = None) -> Any:
        """A new account in a tenant."""
        return self.create(self.invite(name, tenant_id, role))

    def draft(self, name: str, tenant_id: Any) -> InvitationDraft:
        """What ``check_invitee`` decides on."""
        return draft(parse(self.email(name)), role=self.ctx.config.default_role, tenant_id=tenant_id, inviter=None)

    def two_tenants(self) -> tuple[Any, Any]:
        """The ids of two new tenants."""
        if self.ctx.models.tenant is None:
            raise SkipTest("no tenant_model")
        return self.tenant("One"), self.tenant("Two")

    def joining(self) -> tuple[Any, InvitationInfo]:
        """An account, and an invitation that lets it join another tenant."""
        if not self.has("join"):
            raise SkipTest("no join hook")
        here, there = self.two_tenants()
        return self.member("new", here), self.invite("new", there)

    def message(self) -> Message:
        """An email as the mailer gets it."""
        tenant_id = self.tenant()
        info = self.invite("new", tenant_id)
        sending = DeliveryInfo(uuid.uuid4(), "sending", 1, None, None, None)
        name, token = self.ctx.hooks.tenant_name(tenant_id), token_of(self.ctx, info.id)
        return compose(self.ctx, Letter(sending, Kind.INVITATION, info, name, None, token))

    def questions(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Each hook that is only asked something, with arguments."""
        tenant_id, role = self.tenant(), self.ctx.config.default_role
        info, user = self.invite("new", tenant_id), self.member("manager", tenant_id, highest(self.ctx.config))
        email = key_of(self.email("manager"))
        asked: dict[str, tuple[Any, ...]] = {
            "tenant_is_active": (tenant_id,),
            "tenant_name": (tenant_id,),
            "tenant_of": (user,),
            "role_of": (user, tenant_id),
            "can_invite": (user, tenant_id, role),
            "find_user": (email,),
            "find_users": ([email],),
            "email_is_verified": (user,),
            "display_name": (user,),
            "validate_password": (self._given.password, info),
            "check_invitee": (self.draft("other", tenant_id),),
            "check_acceptance": (info, None),
            "seats": (tenant_id,),
            "limits_for": (tenant_id,),
            "login_url": (),
            "logout_url": (),
            "clock": (),
        }
        yield from ((hook, arguments) for hook, arguments in asked.items() if self.has(hook))

    # What must be

    def is_found(self, email: str | None, user: Any, otherwise: str) -> None:
        """``find_user`` gives ``user``."""
        found = self.ask("find_user", email)
        if found is None or self.ctx.models.user_id(found) != self.ctx.models.user_id(user):
            fail(otherwise, "Store the address as invitation.email_key has it, and have find_user look for that")

    def is_nobody(self, name: str, why: str) -> None:
        """No user has that address."""
        if self.ask("find_user", key_of(self.email(name))) is not None:
            fail(
                f"find_user gives a user for an address {why}",
                "Return a user only if their canonical address equals the one that it is asked about, else None",
            )

    def has_role(self, user: Any, tenant_id: Any, role: str, hook: str) -> None:
        """``user`` is a member with that role."""
        given = self.ask("role_of", user, tenant_id)
        if given != role:
            fail(
                f"After {hook}, role_of gives {given!r} for a user who was invited as {role!r}",
                f"Have {hook} keep invitation.role for invitation.tenant_id, and role_of read it there",
            )

    # What is done to the transaction

    @property
    def session(self) -> Any:
        return self.ctx.hooks.house.session()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What is done in the block is rolled back, as before another attempt."""
        with suppress(_Over), self.ctx.unit.joined():
            yield
            raise _Over

    def written(self, hook: str, *arguments: Any) -> Sequence[str]:
        """Ask a hook, and tell what it has written, or has left to be written."""
        seen, session = list[str](), self.session
        session.flush()

        def listen(_cursor: Any, statement: str, *_rest: Any) -> None:
            if _WRITE.match(statement):
                seen.append(" ".join(statement.split())[:80])

        with _listening(listen), suppress(InvitationError):  # to refuse is an answer too
            getattr(self.ctx.hooks, hook)(*arguments)
        changed = (each for each in session.dirty if session.is_modified(each))
        return [*seen, *(f"an unsaved {type(each).__name__}" for each in (*session.new, *session.deleted, *changed))]


@contextmanager
def _listening(listen: Callable[..., None]) -> Iterator[None]:
    """Whatever engine a hook writes by. The events of a connection would slow all engines down for as long as the
    process lives, also once nobody listens any more."""
    names = ("do_execute", "do_executemany", "do_execute_no_params")
    for name in names:
        sa.event.listen(sa.Engine, name, listen)
    try:
        yield
    finally:
        for name in names:
            sa.event.remove(sa.Engine, name, listen)


@contextmanager
def rehearsal(app: Flask, given: Any, *, in_request: bool = True) -> Iterator[Rehearsal]:
    """One transaction of the host's, rolled back at the end.

    :param in_request: as an invitee's request has it, the host's ``before_request`` functions run; else as a worker.
    """
    with _around(app, in_request):
        ctx = get_state().ctx
        try:
            with suppress(_Over), ctx.unit.joined():
                yield Rehearsal(ctx, given)
                raise _Over
        except TransactionMisuse as error:  # told at the end, whatever was said before
            raise AssertionError(str(error)) from error


@contextmanager
def _around(app: Flask, in_request: bool) -> Iterator[None]:
    if not in_request:
        with app.app_context():
            yield
        return
    path = f"{state_of(app).ctx.config.api_prefix}/accept-invite"
    with app.test_request_context(path, method="POST", json={}):
        with suppress(HTTPException, InvitationError):
            app.preprocess_request()
        yield
