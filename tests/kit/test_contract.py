"""``HostContract``: silent about a sound host, and about each broken one it says what is wrong and how to fix it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import request
from marshmallow import Schema, fields
from sqlalchemy import orm

from flask_invitations import AddressNotAllowed, LogMailer
from tests.conftest import PAIRS
from tests.hosts import Key, Tenancy, build, shape
from tests.kit.hosts import CHECKS, verdicts

MEMBERS = shape("int", "membership")
User, Tenant, Membership, session = MEMBERS.User, MEMBERS.Tenant, MEMBERS.Membership, MEMBERS.db.session


@pytest.mark.in_turn
@pytest.mark.parametrize(("_database", "key", "tenancy"), PAIRS, indirect=["_database"])
def test_a_sound_host(database_url: str, key: Key, tenancy: Tenancy) -> None:
    """A host that does as the documentation says fails no check, on any database, and keeps nothing of them."""
    with build(database_url, key=key, tenancy=tenancy, seats=lambda tenant_id: None) as host:
        told = verdicts(host)
        assert [text for text in told.values() if not text.startswith("skipped")] == []
        assert [host.rows(model) for model in (host.User, host.invitations.models.Invitation)] == [[], []]
    assert not sa.Engine._has_events  # whoever had listened to connections would have slowed all engines, for good


# Hosts that break one thing


def made(info: Any, profile: Mapping[str, Any], password: str | None, **other: Any) -> Any:
    """A new account as it should be, but for ``other`` columns."""
    user = User(**{"email": info.email_key, "email_verified": True, **profile, **other})
    user.set_password(password or "")
    session.add(user)
    session.flush()
    joined(user, info)
    return user


def joined(user: Any, info: Any, role: str | None = None) -> None:
    session.add(Membership(user_id=user.id, tenant_id=info.tenant_id, role=role or info.role))
    session.flush()


def role_of(user: Any, tenant_id: Any) -> Any:
    return session.scalar(sa.select(Membership.role).filter_by(user_id=user.id, tenant_id=tenant_id))


def one(statement: Any) -> Any:
    return session.scalars(statement.limit(1)).first()


def others_role(user: Any, _tenant_id: Any) -> Any:
    return one(sa.select(Membership.role).filter_by(user_id=user.id))


def highest_tenant(_user: Any) -> Any:
    return session.scalar(sa.select(sa.func.max(Tenant.id)))


def crashing_user() -> Any:
    return request.environ["remote.user"]


def a_user() -> Any:
    return one(sa.select(User))


def other_address(info: Any, profile: Any, password: Any) -> Any:
    return made(info, profile, password, email=info.email_key.upper())


def lower_role(info: Any, profile: Any, password: Any) -> Any:
    user = made(info, profile, password)
    session.execute(sa.update(Membership).values(role="viewer"))
    return user


def plain_password(info: Any, profile: Any, password: Any) -> Any:
    return made(info, profile, password, name=password)


def password_needed(info: Any, profile: Any, password: Any) -> Any:
    return made(info, profile, password.strip())


def committing(info: Any, profile: Any, password: Any) -> Any:
    user = made(info, profile, password)
    session.commit()
    return user


def joining_with_commit(user: Any, info: Any) -> None:
    joined(user, info)
    session.commit()


def once(act: Callable[..., Any], email: Callable[..., str]) -> Callable[..., Any]:
    """What a host does that remembers in memory what it has done."""
    seen = set[str]()

    def hook(*arguments: Any) -> Any:
        if email(*arguments) in seen:
            raise ValueError("This was done already.")
        seen.add(email(*arguments))
        return act(*arguments)

    return hook


def role_at_will(user: Any, info: Any) -> None:
    joined(user, info, "viewer")


def everybody_may(_user: Any, _tenant_id: Any, _role: Any) -> bool:
    return True


def nobody_manages(user: Any, tenant_id: Any, role: Any) -> bool:
    return role is not None and role_of(user, tenant_id) == "owner"


def by_pattern(email: str) -> Any:
    return one(sa.select(User).where(User.email.ilike(email)))


def without_accents(email: str) -> Any:
    bare = unicodedata.normalize("NFD", email).encode("ascii", "ignore").decode()
    return one(sa.select(User).filter_by(email=bare))


def everybody(_emails: Any) -> Any:
    return session.scalars(sa.select(User)).all()


def active_or_not(_tenant_id: Any) -> bool:
    return True


def denied(tenant_id: Any) -> bool:
    return session.get(Tenant, tenant_id) is None


def counted_with_invitations(tenant_id: Any) -> int:
    invitations = "SELECT id FROM user_invitations WHERE status = 'pending'"
    return 10 - members(tenant_id) - len(session.execute(sa.text(invitations)).all())


def members(tenant_id: Any) -> int:
    return len(session.scalars(sa.select(Membership).filter_by(tenant_id=tenant_id)).all())


def noting_role_of(user: Any, tenant_id: Any) -> Any:
    session.execute(sa.update(User).filter_by(id=user.id).values(name="seen"))
    return role_of(user, tenant_id)


def changing_name(user: Any) -> str:
    user.name = "Ann"
    return "Ann"


def name_in_request(user: Any) -> str:
    return f"{user.email} on {request.host}"


def some_scopes(scope: str, _key: str, _cost: int) -> None:
    {"accept": 1, "token": 1, "invite": 1, "tenant": 1}[scope]


def silent_mailer(_message: Any) -> None:
    """Sends nothing, and says nothing."""


def crashing_mailer(message: Any) -> None:
    raise KeyError(message.headers["X-Campaign"])


def refusing(_draft: Any) -> None:
    raise AddressNotAllowed("Customers only.")


def asking_a_service(_draft: Any) -> None:
    raise ConnectionError("the directory does not answer")


class Profile(Schema):
    """A field that must be there."""

    name = fields.String(required=True)


NAMES = iter(range(1_000_000))

BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("current_user_gives_nobody_where_nobody_signed_in", {"current_user": crashing_user}, "current_user raised KeyError: 'remote.user'. Return None if nobody is signed in."),
    ("current_user_gives_nobody_where_nobody_signed_in", {"current_user": a_user}, "current_user gives a user to a request that nobody signed in to. Return None there."),
    ("profile_and_password_are_taken", {"profile_schema": Profile}, "profile_schema refuses the `profile` of your test class: {'name': ["),
    ("profile_and_password_are_taken", {"password": "short"}, "A few words make a good password.']}. Set `password` in your test class to one that it takes"),
    ("create_user_makes_an_account_that_find_user_finds", {"create_user": other_address}, "find_user does not find the user that create_user made. Store the address as invitation.email_key"),
    ("create_user_gives_the_role", {"create_user": lower_role}, "After create_user, role_of gives 'viewer' for a user who was invited as 'user'. Have create_user keep invitation.role"),
    ("create_user_keeps_no_password_as_typed", {"create_user": plain_password}, "create_user stores the password as it was typed, in name. Store a hash of it."),
    ("create_user_takes_no_password", {"create_user": password_needed, "config": {"INVITATIONS_PASSWORD_REQUIRED": False}}, "create_user raised AttributeError: 'NoneType' object has no attribute 'strip'"),
    ("create_user_keeps_to_the_transaction", {"create_user": committing}, "create_user tried to commit the transaction of the act. It may flush, but must not commit"),
    ("create_user_can_run_again", {"create_user": once(made, lambda info, *_: info.email_key)}, "create_user raised ValueError: This was done already."),
    ("join_gives_the_role", {"join": role_at_will}, "After join, role_of gives 'viewer' for a user who was invited as 'user'. Have join keep"),
    ("join_gives_the_role", {"join": joining_with_commit}, "join tried to commit the transaction of the act."),
    ("join_can_run_again", {"join": once(joined, lambda user, _info: user.email)}, "join raised ValueError: This was done already."),
    ("role_of_is_about_one_tenant", {"role_of": others_role}, "role_of gives a member of one tenant the role 'owner' in another one. Return None unless"),
    ("tenant_of_agrees_with_role_of", {"tenant_of": highest_tenant}, "tenant_of names a tenant in which role_of knows no role of this user. Have both look"),
    ("can_invite_is_about_one_tenant", {"can_invite": everybody_may}, "can_invite lets a manager of one tenant invite into another one. Ask for the role"),
    ("can_invite_agrees_with_itself", {"can_invite": nobody_manages}, "can_invite lets a user with the role 'owner' invite as 'viewer', but not manage anything."),
    ("find_user_takes_an_address_as_it_is", {"find_user": lambda email: a_user()}, "find_user gives a user for an address that no one has. Return a user only if"),
    ("find_user_takes_an_address_as_it_is", {"find_user": by_pattern}, "find_user gives a user for an address with a wildcard of LIKE in place of a letter."),
    ("find_user_takes_an_address_as_it_is", {"find_user": without_accents}, "find_user gives a user for an address that differs by an accent."),
    ("find_users_agrees_with_find_user", {"find_users": everybody}, "find_users does not give exactly the users whose addresses it is asked about."),
    ("tenant_is_active_while_it_exists", {"tenant_is_active": active_or_not}, "tenant_is_active says that a tenant is active that does not exist. Return False for a tenant that was deleted."),
    ("tenant_is_active_while_it_exists", {"tenant_is_active": denied}, "tenant_is_active denies a new tenant."),
    ("tenant_name_says_the_same_twice", {"tenant_name": lambda tenant_id: f"Tenant {next(NAMES)}"}, "Return the same name, which is not empty, until somebody renames the tenant."),
    ("seats_counts_members", {"seats": counted_with_invitations}, "seats counts open invitations. Count the members only."),
    ("seats_counts_members", {"seats": lambda tenant_id: 7}, "seats gives 7 after a new member, and 7 before. Count the members of the tenant."),
    ("questions_write_nothing", {"role_of": noting_role_of}, "role_of is only asked, and writes: UPDATE users SET name=? WHERE users.id = ?. Write that elsewhere."),
    ("questions_write_nothing", {"display_name": changing_name}, "display_name is only asked, and writes: an unsaved User. Write that elsewhere."),
    ("questions_need_no_request", {"display_name": name_in_request}, "display_name raised RuntimeError: Working outside of request context."),
    ("rate_limit_takes_every_scope", {"rate_limit": some_scopes}, "rate_limit raised KeyError: 'recipient'. It is asked for the scope 'recipient' too."),
    ("mailer_takes_a_message", {"mailer": LogMailer()}, "mailer is LogMailer, which sends no email outside of debug. Give the app of your tests RecordingMailer(), or the mailer of your production."),
    ("mailer_takes_a_message", {"mailer": crashing_mailer}, "mailer raised KeyError: 'X-Campaign'. Send one email without a request"),
    ("mailer_raises_if_nothing_was_sent", {"mailer": silent_mailer, "broken_mail": lambda self: nullcontext()}, "mailer returns although nothing can be sent. Raise an exception: then the email is tried again."),
]  # fmt: skip

#: What is said by the test class, and not by the app.
ATTRIBUTES = {"password", "broken_mail", "make_tenant"}


@pytest.mark.parametrize(("check", "broken", "said"), BROKEN)
def test_a_broken_host(tmp_path: Path, check: str, broken: dict[str, Any], said: str) -> None:
    """A host that breaks exactly that fails the check, which names the hook and tells the fix."""
    given = {name: thing for name, thing in broken.items() if name not in ATTRIBUTES}
    with build(f"sqlite:///{tmp_path / 'broken.sqlite3'}", tenancy="membership", **given) as host:
        host.user("someone@example.com")
        attributes = {name: thing for name, thing in broken.items() if name in ATTRIBUTES}
        assert said in verdicts(host, check, **attributes)[check]


def test_every_check_was_seen_to_fail() -> None:
    """No check is without a host that fails it."""
    assert {check for check, _, _ in BROKEN} == set(CHECKS)


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
def test_a_commit_on_another_connection(database_url: str) -> None:
    """An account that was committed elsewhere outlives the rollback, and is found then."""

    def create_user(info: Any, _profile: Any, _password: Any) -> Any:
        with orm.Session(host.engine) as other:
            other.add(host.User(email=info.email_key, role=info.role))
            other.commit()
        return host.db.session.scalar(sa.select(host.User).filter_by(email=info.email_key))

    with build(database_url, tenancy="none", create_user=create_user) as host:
        told = verdicts(host, "create_user_keeps_to_the_transaction")
        kept = "create_user kept the account although the transaction was rolled back. Add it to the session of your db"
        assert kept in told["create_user_keeps_to_the_transaction"]


def test_what_the_test_class_lacks(tmp_path: Path) -> None:
    """Where the class itself is incomplete, the failure says what to set in it."""
    url, check = f"sqlite:///{tmp_path / 'lacks.sqlite3'}", "create_user_gives_the_role"
    with build(url, tenancy="membership", check_invitee=refusing) as host:
        needs_tenant = verdicts(host, check, make_tenant=lambda self, name: host.Tenant(nom=name))[check]
        assert "make_tenant raised TypeError" in needs_tenant
        assert "Override make_tenant(name) in your test class" in needs_tenant
        refused = verdicts(host, check)[check]
        assert "into a new tenant: address-not-allowed. Set `domain` in your test class" in refused
        assert "There is no app to check. Set `app` in your test class" in verdicts(host, check, app=None)[check]


def test_hooks_of_its_own_that_may_refuse(tmp_path: Path) -> None:
    """``check_invitee`` that crashes in place of refusing is named with the error."""
    url = f"sqlite:///{tmp_path / 'crash.sqlite3'}"
    with build(url, tenancy="membership", check_invitee=asking_a_service) as host:
        told = verdicts(host, "create_user_gives_the_role")["create_user_gives_the_role"]
        assert "check_invitee raised ConnectionError: the directory does not answer" in told
