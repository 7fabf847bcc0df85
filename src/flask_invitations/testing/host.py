"""``HostContract``: checks of the host's own hooks, for what the package counts on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest import SkipTest

import sqlalchemy as sa
from flask import Flask

from ..addresses import key_of
from ..current import get_state, state_of
from ..mail.log import LogMailer
from .people import PASSWORD, highest, override
from .rehearsal import Rehearsal, asking, fail, rehearsal

#: What a worker and the command line ask too, where there is no request.
_WITHOUT_REQUEST = (
    "tenant_is_active",
    "tenant_name",
    "role_of",
    "can_invite",
    "find_user",
    "find_users",
    "email_is_verified",
    "display_name",
    "check_invitee",
    "seats",
    "limits_for",
    "clock",
)
#: What a limiter of the host's own is asked about.
_SCOPES = ("accept", "token", "invite", "tenant", "recipient")
_SPEAKS_OUTSIDE = "A worker and the command line ask it too, and there is no request. Ask has_request_context() first"


class HostContract:
    """Checks your hooks for what this package counts on. Subclass it in your tests, and set ``app``::

        class TestOurHooks(HostContract):  # with unittest: class TestOurHooks(HostContract, TestCase)
            app = create_app("testing")

    Each check is one test. Most of them play an invitation on your own models, in one transaction that is rolled back:
    the tables must be there, and nothing stays in them. A check that is about a hook that you do not have is skipped.
    To do without a check, set it to ``None``.
    """

    #: Your app, its tables made. A fixture or ``setUp`` may set it too.
    app: Flask
    #: The domain of the addresses that are invited.
    domain: str = "example.com"
    #: What an invitee sends for your ``profile_schema``.
    profile: Mapping[str, Any] = {}
    #: One that your ``validate_password`` takes.
    password: str = PASSWORD

    def make_tenant(self, name: str) -> Any:
        """A new tenant, or its id. Add it to your session and flush, but do not commit."""
        ctx = get_state().ctx
        session, tenant = ctx.hooks.house.session(), ctx.models.tenant
        made = tenant and tenant(name=name)
        session.add(made)
        session.flush()
        return made

    def broken_mail(self) -> AbstractContextManager[Any] | None:
        """A ``with`` block in which your mailer can send nothing, for example a wrong port; ``None``: not checked."""
        return None

    # Who is signed in

    def test_current_user_gives_nobody_where_nobody_signed_in(self) -> None:
        """A request without any credentials is nobody's, and is no error."""
        ctx, failed = state_of(self._app()).ctx, list[AssertionError]()

        def current_user() -> None:
            try:  # the app may have a page for errors, which would hide this one
                with asking("current_user", "Return None if nobody is signed in"):
                    if ctx.hooks.current_user() is not None:
                        fail("current_user gives a user to a request that nobody signed in to", "Return None there")
            except AssertionError as error:
                failed.append(error)

        with override(self._app(), current_user=current_user):
            self._app().test_client().get(f"{ctx.config.api_prefix}/invitations")
        if failed:
            raise failed[0]

    # New accounts

    def test_profile_and_password_are_taken(self) -> None:
        """The other checks need a profile that the schema loads, and a password that is good enough."""
        with self._rehearsal() as play:
            play.profile()
            fix = "Set `password` in your test class to one that it takes, and have it raise PasswordRejected only"
            play.ask("validate_password", self.password, play.invite("new", play.tenant()), fix=fix)

    def test_create_user_makes_an_account_that_find_user_finds(self) -> None:
        """Whoever has accepted is known by their address."""
        with self._rehearsal() as play:
            info = play.invite("new", play.tenant())
            play.is_found(info.email_key, play.create(info), "find_user does not find the user that create_user made")

    def test_create_user_gives_the_role(self) -> None:
        """Whoever has accepted is a member, with the role that the invitation says."""
        with self._rehearsal() as play:
            tenant_id = play.tenant()
            for role in (play.ctx.config.default_role, highest(play.ctx.config)):
                play.has_role(play.member(role, tenant_id, role), tenant_id, role, "create_user")

    def test_create_user_keeps_no_password_as_typed(self) -> None:
        """No column of the new user holds the password itself."""
        with self._rehearsal() as play:
            user = play.member("new", play.tenant())
            for name in [each.key for each in sa.inspect(type(user)).column_attrs]:
                if getattr(user, name) in (self.password, self.password.encode()):
                    fail(f"create_user stores the password as it was typed, in {name}", "Store a hash of it")

    def test_create_user_takes_no_password(self) -> None:
        """Where a password is no must, there may be none."""
        with self._rehearsal() as play:
            if play.ctx.config.password_required:
                raise SkipTest("INVITATIONS_PASSWORD_REQUIRED is on")
            with asking("create_user", "INVITATIONS_PASSWORD_REQUIRED is off, so password may be None"):
                play.create(play.invite("new", play.tenant()), password=None)

    def test_create_user_keeps_to_the_transaction(self) -> None:
        """What it adds is gone when the transaction is rolled back: nothing was committed on any connection."""
        with self._rehearsal() as play:
            play.member("new", play.tenant())
            email = key_of(play.email("new"))
        with self._rehearsal() as play:
            if play.ask("find_user", email) is not None:
                fail(
                    "create_user kept the account although the transaction was rolled back",
                    "Add it to the session of your db, and leave the commit to the package",
                )

    def test_create_user_can_run_again(self) -> None:
        """After a deadlock the whole act runs again, and so does it."""
        with self._rehearsal() as play:
            info = play.invite("new", play.tenant())
            with play.undone():
                play.create(info)
            with asking("create_user", "It runs again after a rollback. Keep nothing outside of the database"):
                user = play.create(info)
            play.is_found(info.email_key, user, "After a rollback and a second create_user, find_user fails")

    # Existing accounts

    def test_join_gives_the_role(self) -> None:
        """An account that joins a tenant is a member there, with the role that the invitation says."""
        with self._rehearsal() as play:
            user, info = play.joining()
            play.join(user, info)
            play.has_role(user, info.tenant_id, info.role, "join")

    def test_join_can_run_again(self) -> None:
        """After a deadlock the whole act runs again, and so does it."""
        with self._rehearsal() as play:
            user, info = play.joining()
            with play.undone():
                play.join(user, info)
            with asking("join", "It runs again after a rollback. Keep nothing outside of the database"):
                play.join(user, info)
            play.has_role(user, info.tenant_id, info.role, "join")

    # Who may do what

    def test_role_of_is_about_one_tenant(self) -> None:
        """A member of one tenant has no role in another one."""
        with self._rehearsal() as play:
            here, there = play.two_tenants()
            role = play.ask("role_of", play.member("new", here, highest(play.ctx.config)), there)
            if role is not None:
                fail(
                    f"role_of gives a member of one tenant the role {role!r} in another one",
                    "Return None unless the user is a member of the tenant_id that it is asked about",
                )

    def test_tenant_of_agrees_with_role_of(self) -> None:
        """The tenant in which somebody acts is one of which they are a member."""
        with self._rehearsal() as play:
            here, _there = play.two_tenants()
            user = play.member("new", here)
            tenant_id = play.ask("tenant_of", user)
            if tenant_id is not None and play.ask("role_of", user, tenant_id) is None:
                fail(
                    "tenant_of names a tenant in which role_of knows no role of this user",
                    "Have both look at the same membership",
                )

    def test_can_invite_is_about_one_tenant(self) -> None:
        """A manager of one tenant manages nothing in another one."""
        with self._rehearsal() as play:
            here, there = play.two_tenants()
            user = play.member("new", here, highest(play.ctx.config))
            for role in (None, play.ctx.config.default_role):
                if play.ask("can_invite", user, there, role):
                    fail(
                        "can_invite lets a manager of one tenant invite into another one",
                        "Ask for the role of the user in the tenant_id that it is asked about",
                    )

    def test_can_invite_agrees_with_itself(self) -> None:
        """Whoever may invite with some role may manage invitations at all."""
        with self._rehearsal() as play:
            tenant_id = play.tenant()
            for own in play.ctx.config.roles:
                user = play.member(own, tenant_id, own)
                may = [role for role in play.ctx.config.roles if play.ask("can_invite", user, tenant_id, role)]
                if may and not play.ask("can_invite", user, tenant_id, None):
                    fail(
                        f"can_invite lets a user with the role {own!r} invite as {may[0]!r}, but not manage anything",
                        "With role=None it is asked whether they may manage invitations at all: return True",
                    )

    # Accounts by address

    def test_find_user_takes_an_address_as_it_is(self) -> None:
        """An address that looks like another one is another person's."""
        with self._rehearsal() as play:
            play.member("zebra", play.tenant())
            play.is_nobody("nobody", "that no one has")
            for name in ("z_bra", "z%bra"):
                play.is_nobody(name, "with a wildcard of LIKE in place of a letter")
            play.is_nobody("z\u00e9bra", "that differs by an accent")

    def test_find_users_agrees_with_find_user(self) -> None:
        """Looked up together or one by one, the accounts are the same."""
        with self._rehearsal() as play:
            if not play.has("find_users"):
                raise SkipTest("no find_users hook")
            tenant_id = play.tenant()
            emails = [key_of(play.member(name, tenant_id).email) for name in ("ann", "bob")]
            found = play.ask("find_users", [*emails, key_of(play.email("nobody"))])
            if {key_of(each.email) for each in found} != set(emails) or play.ask("find_users", []):
                fail(
                    "find_users does not give exactly the users whose addresses it is asked about",
                    "Return each user that find_user would return, and nobody else",
                )

    # Tenants

    def test_tenant_is_active_while_it_exists(self) -> None:
        """A tenant that was just made is active, and one that does not exist is not."""
        with self._rehearsal() as play:
            tenant_id = play.tenant()
            if not play.ask("tenant_is_active", tenant_id):
                fail("tenant_is_active denies a new tenant", "Return True, or have make_tenant make an active one")
        if tenant_id is None:
            return
        with self._rehearsal() as play:
            fix = "Return False for a tenant that was deleted"
            if play.ask("tenant_is_active", tenant_id, fix=fix):
                fail("tenant_is_active says that a tenant is active that does not exist", fix)

    def test_tenant_name_says_the_same_twice(self) -> None:
        """A link opens only while its tenant has the name that it was made for."""
        with self._rehearsal() as play:
            tenant_id = play.tenant()
            first, second = (play.ask("tenant_name", tenant_id) for _ in range(2))
            if not first.strip() or first != second:
                fail(
                    f"tenant_name gives {first!r}, then {second!r}",
                    "Return the same name, which is not empty, until somebody renames the tenant",
                )

    def test_seats_counts_members(self) -> None:
        """A new member takes a seat; an invitation does not, since the package subtracts the open ones."""
        with self._rehearsal() as play:
            if not play.has("seats"):
                raise SkipTest("no seats hook")
            tenant_id = play.tenant()
            free = play.ask("seats", tenant_id)
            info = play.invite("new", tenant_id)
            invited = play.ask("seats", tenant_id)
            play.create(info)
            joined = play.ask("seats", tenant_id)
            if invited != free:
                fail("seats counts open invitations", "Count the members only. Open invitations are subtracted for you")
            if free is not None and joined != max(free - 1, 0):
                fail(f"seats gives {joined} after a new member, and {free} before", "Count the members of the tenant")

    # Questions

    def test_questions_write_nothing(self) -> None:
        """A hook that is asked something changes nothing: it is asked often, and also where nothing is committed."""
        with self._rehearsal() as play:
            for hook, arguments in play.questions():
                with asking(hook):
                    written = play.written(hook, *arguments)
                if written:
                    fail(f"{hook} is only asked, and writes: {written[0]}", "Write that elsewhere")

    def test_questions_need_no_request(self) -> None:
        """A worker that sends emails, and the command line, ask outside of any request."""
        with self._rehearsal(in_request=False) as play:
            try:
                questions = list(play.questions())
            except AssertionError as error:
                raise SkipTest(f"without a request no account can be made here: {error}") from error
            for hook, arguments in questions:
                if hook in _WITHOUT_REQUEST:
                    with asking(hook, _SPEAKS_OUTSIDE):
                        play.written(hook, *arguments)

    def test_rate_limit_takes_every_scope(self) -> None:
        """Your own limiter answers for each kind of call, and for many at once."""
        with self._rehearsal() as play:
            if not play.has("rate_limit"):
                raise SkipTest("no rate_limit hook")
            for scope in _SCOPES:
                play.ask(
                    "rate_limit", scope, f"contract-{play.mark}", 2, fix=f"It is asked for the scope {scope!r} too"
                )

    # Emails

    def test_mailer_takes_a_message(self) -> None:
        """It sends one email, outside of any request: your test settings say where to."""
        with self._rehearsal() as play:
            message = play.message()
        if isinstance(play.ctx.hooks.said["mailer"], LogMailer) and not self._app().debug:
            what = "mailer is LogMailer, which sends no email outside of debug"
            fail(what, "Give the app of your tests RecordingMailer(), or the mailer of your production")
        with self._app().app_context():
            play.ask("mailer", message, fix="Send one email without a request, or raise only if that is not possible")

    def test_mailer_raises_if_nothing_was_sent(self) -> None:
        """An email that was not sent must not count as sent."""
        broken = self.broken_mail()
        if broken is None:
            raise SkipTest("broken_mail is not overridden")
        with self._rehearsal() as play:
            message = play.message()
        with broken, self._app().app_context():
            try:
                play.ctx.hooks.mailer(message)
            except Exception:
                return
        fail("mailer returns although nothing can be sent", "Raise an exception: then the email is tried again")

    # What the checks share

    def _app(self) -> Flask:
        app = getattr(self, "app", None)
        if not isinstance(app, Flask):
            fail("There is no app to check", "Set `app` in your test class, or in its setUp or a fixture")
        return app

    def _rehearsal(self, *, in_request: bool = True) -> AbstractContextManager[Rehearsal]:
        return rehearsal(self._app(), self, in_request=in_request)
