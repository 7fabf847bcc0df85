"""Accepting: what was committed while a password was hashed counts, and judging a password has its price."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations import InvalidRequest, InvitationError, PasswordRejected
from flask_invitations.current import get_state, override
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import Case, accept, invite, make, people, refused, set_columns
from tests.test_calls import Counter

Meanwhile = Callable[[Case], None]


def elsewhere(host: Host, statement: Any) -> None:
    """What another connection commits."""
    with host.engine.begin() as connection:
        connection.execute(statement)


def inviter_demoted(case: Case) -> None:
    set_columns(case.host, case.host.User, case.admin, role="viewer")


def inviter_left(case: Case) -> None:
    set_columns(case.host, case.host.User, case.admin, tenant_id=None)


def inviter_deleted(case: Case) -> None:
    elsewhere(case.host, sa.delete(case.host.User).where(case.host.User.id == case.admin))


def tenant_deactivated(case: Case) -> None:
    set_columns(case.host, case.host.Tenant, case.tenant, active=False)


def account_made(case: Case) -> None:
    columns = {"email": case.email, "email_verified": True, "role": "user", "tenant_id": case.tenant}
    elsewhere(case.host, sa.insert(case.host.User).values(columns))


def revoked(case: Case) -> None:
    with case.host.app.app_context():
        case.host.invitations.revoke(uuid.UUID(case.id))


def resent(case: Case) -> None:
    with case.host.app.app_context():
        case.host.invitations.resend(uuid.UUID(case.id))


MEANWHILE: dict[Meanwhile, tuple[int, str]] = {
    inviter_demoted: (403, "role-not-allowed"),
    inviter_left: (410, "invitation-withdrawn"),
    inviter_deleted: (410, "invitation-withdrawn"),
    tenant_deactivated: (410, "invitation-withdrawn"),
    account_made: (409, "account-exists"),
    revoked: (410, "invitation-revoked"),
    resent: (410, "invitation-replaced"),
}


@pytest.fixture
def strict(host: Host) -> Iterator[Host]:
    """A host that looks at its tenant's row."""

    def tenant_is_active(key: Any) -> bool:
        tenant: Any = host.db.session.get(host.Tenant, key)
        return tenant is not None and tenant.active

    with override(host.app, tenant_is_active=tenant_is_active):
        yield host


def hashing(host: Host, case: Case, meanwhile: Meanwhile, *, reads: bool = False) -> tuple[Any, list[int]]:
    """A ``create_user`` that takes its time, in which something else happens once; and how often it was called.

    :param reads: it asks the database something before, by which the snapshot of its transaction begins.
    """
    calls: list[int] = []

    def create_user(invitation: Any, profile: Any, password: Any) -> Any:
        if reads:
            host.db.session.scalar(sa.select(sa.func.count(host.User.id)))
        user = host.User(email=invitation.email_key, role=invitation.role, tenant_id=invitation.tenant_id)
        user.set_password(password)
        if not calls:
            meanwhile(case)
        calls.append(1)
        return user

    return create_user, calls


# T4


@pytest.mark.parametrize("reads", [False, True], ids=["", "snapshot"])
@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_what_was_committed_while_hashing_counts(strict: Host, meanwhile: Meanwhile, reads: bool) -> None:
    """T4: an inviter demoted, gone or deleted, a tenant deactivated, an account made, an invitation revoked or sent
    again while the password is hashed: the answer is that of the rules as of now, and nobody is in."""
    case = make(strict, "pending", role="admin")
    create_user, calls = hashing(strict, case, meanwhile, reads=reads)
    with override(strict.app, create_user=create_user):
        refused(accept(strict.client(), case.token), *MEANWHILE[meanwhile])
    assert len(calls) == 1
    assert [user.password_hash for user in strict.rows(strict.User, email=case.email)] in ([], [None])


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("meanwhile", [inviter_demoted, tenant_deactivated])
def test_at_each_isolation_level(database_url: str, level: str, meanwhile: Meanwhile) -> None:
    """T4: the same where the host's transactions keep the snapshot that they began with."""
    with build(database_url, config={"SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": level}}) as host:
        case = make(host, "pending", role="admin")
        create_user, _ = hashing(host, case, meanwhile, reads=True)
        with override(host.app, create_user=create_user):
            refused(accept(host.client(), case.token), *MEANWHILE[meanwhile])
        assert host.rows(host.User, email=case.email) == []


@pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)
def test_in_the_hosts_own_transaction(strict: Host) -> None:
    """T4: the same inside of a transaction of the host's, whose snapshot is older; what the host has changed and not
    flushed is written, not read over."""
    case = make(strict, "pending", role="admin")
    create_user, _ = hashing(strict, case, inviter_demoted)
    colleague = strict.user("colleague@acme.example", tenant=case.tenant)
    with strict.app.app_context(), override(strict.app, create_user=create_user), strict.invitations.unit():
        session: Any = strict.db.session
        assert session.get(strict.User, case.admin).role == "admin"
        session.get(strict.User, colleague).name = "Renamed"
        with session.no_autoflush, pytest.raises(InvitationError) as refusal:
            strict.invitations.accept(case.token, password=PASSWORD)
        assert refusal.value.code == "role-not-allowed"
    assert [user.name for user in strict.rows(strict.User, id=colleague)] == ["Renamed"]


def membership_ended(case: Case) -> None:
    mine = case.host.Membership.user_id == case.admin
    elsewhere(case.host, sa.delete(case.host.Membership).where(mine))


WHILE_JOINING: dict[Meanwhile, tuple[int, str]] = {
    membership_ended: (410, "invitation-withdrawn"),
    inviter_deleted: (410, "invitation-withdrawn"),
    tenant_deactivated: (410, "invitation-withdrawn"),
    revoked: (410, "invitation-revoked"),
}


@pytest.mark.parametrize("_database", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("meanwhile", WHILE_JOINING)
def test_while_an_account_joins(database_url: str, meanwhile: Meanwhile) -> None:
    """T4: the same while ``join`` takes its time: the account is in no tenant more than before."""
    with build(database_url, tenancy="membership") as host:
        case, changed = make(host, "pending", role="admin"), [False]
        guest = host.user(case.email, tenant=host.tenant("Elsewhere"))
        with host.app.app_context():
            join = get_state().ctx.hooks.join

        def slow(user: Any, invitation: Any) -> None:
            if not changed[0]:
                meanwhile(case)
            changed[0] = True
            assert join is not None
            join(user, invitation)

        with override(host.app, join=slow):
            refused(accept(host.client(guest), case.token, None), *WHILE_JOINING[meanwhile])
        assert len(host.rows(host.Membership, user_id=guest)) == 1


def test_what_changed_nothing_lets_in(strict: Host) -> None:
    """T4: an invitation that something else of ours has written to meanwhile is looked at again, and accepted."""
    case = make(strict, "pending")
    create_user, calls = hashing(strict, case, lambda _: _touch(case))
    with override(strict.app, create_user=create_user):
        assert accept(strict.client(), case.token).status_code == 201
    assert len(calls) == 2


def _touch(case: Case) -> None:
    table = case.host.invitations.models.Invitation.__table__
    elsewhere(case.host, sa.update(table).values(version=table.c.version + 1))


# W4


def test_passwords_are_judged_ahead_of_the_transaction(strict: Host) -> None:
    """W4: profile and password are looked at while no transaction is open, once; of a password that is refused nothing
    is made."""
    case, seen = make(strict, "pending"), list[bool]()

    def judge(password: str, invitation: Any) -> None:
        assert invitation.tenant_name == "Acme"
        seen.append(strict.db.session.registry().in_transaction())
        if password != PASSWORD:
            raise PasswordRejected("Another one.")

    create_user, calls = hashing(strict, case, lambda _: None)
    with override(strict.app, validate_password=judge, create_user=create_user):
        refused(accept(strict.client(), case.token, password="x" * 20), 422, "invalid-request")
        assert calls == []
        assert accept(strict.client(), case.token).status_code == 201
    assert (seen, len(calls)) == ([False, False], 1)


LOCAL = pytest.mark.parametrize("_database", ["sqlite"], indirect=True)
#: What is slow to judge: many readings of each character, many words, repeats of repeats, dates, keyboard rows.
SLOW = (
    "4@8({[<3691!|70$5+7%2",
    "p4$$w0rd1|7!(<{[69@5+%2",
    "missiszx1991sippiqwertyt0",
    "1/1/11qwerty4@ta4@11.xyz199131.12.1999i2000$5aab",
    "2000l33tbaab4@aaaa19$5P4$$PaSsWoRdaa",
    "aaaa",
    "aab",
    "1234567890",
    "1991",
    "11.11.1991",
    "PaSsWoRdpassword",
    "|7",
    "\N{LATIN SMALL LETTER DOTLESS I}\N{LATIN CAPITAL LETTER SHARP S}",
)


@LOCAL
@pytest.mark.parametrize("chosen", SLOW)
def test_judging_a_password_has_its_price(strict: Host, chosen: str) -> None:
    """W4: whatever is chosen, up to the longest that is taken, judging it takes no more than so many calls of Python's
    functions; unbounded, the first of these takes fifty times as many."""
    case, counter = make(strict, "pending"), Counter()
    password = (chosen * 128)[:128]
    with strict.app.app_context(), counter.counting(), suppress(InvalidRequest):
        strict.invitations.accept(case.token, password=password)
    assert counter.count < 60_000


@LOCAL
@pytest.mark.parametrize("common", ["annabell@acme.example", "annabellannabell", "Acme" * 5, "Test HostTest Host"])
def test_names_make_no_password(strict: Host, common: str) -> None:
    """W4: the invitee's address and its parts, and the names of tenant and app, are easy to guess."""
    _, admin, *_ = people(strict)
    invite(strict.client(admin), "annabell@acme.example")
    answer = accept(strict.client(), strict.outbox.token_to("annabell@acme.example"), password=common)
    assert "easy to guess" in refused(answer, 422, "invalid-request")["errors"]["password"][0]
