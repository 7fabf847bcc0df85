"""``with invitations.unit():`` one transaction for the host's rows and ours; and plain acts in a session in use."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations import AlreadyInvited, InvitationNotFound, invitation_created
from flask_invitations.current import get_state
from tests.hosts import PASSWORD, Host
from tests.http.tools import GUEST, NO_TOKEN, Case, accept, make, snapshot, unchanged


@contextmanager
def commits(host: Host) -> Iterator[list[str]]:
    """Collects what the app's engine commits and rolls back."""
    seen: list[str] = []

    def commit(_connection: Any) -> None:
        seen.append("commit")

    def rollback(_connection: Any) -> None:
        seen.append("rollback")

    engine = host.engine
    sa.event.listen(engine, "commit", commit)
    sa.event.listen(engine, "rollback", rollback)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "commit", commit)
        sa.event.remove(engine, "rollback", rollback)


@pytest.fixture
def case(host: Host) -> Case:
    """A pending invitation."""
    return make(host, "pending")


def new_user(host: Host, email: str) -> Any:
    user = host.User(email=email, role="user")
    host.db.session.add(user)
    return user


def emails(host: Host) -> set[str]:
    return {user.email for user in host.rows(host.User)} | {
        row.email for row in host.rows(host.invitations.models.Invitation)
    }


def test_one_commit(case: Case) -> None:
    """The host's row and the invitation are committed together, once; mail and signal wait for it."""
    host, order = case.host, list[str]()

    def created(*_: Any, **__: Any) -> None:
        order.append("signal" if "new@example.com" in emails(host) else "too early")

    with host.app.app_context(), invitation_created.connected_to(created, sender=host.app), commits(host) as seen:
        with host.invitations.unit():
            new_user(host, "host@example.com")
            made = host.invitations.invite("new@example.com", tenant_id=case.tenant)
            assert made.delivery is not None
            assert made.delivery.state == "sending"
            assert len(host.outbox.messages) == 1
            assert seen == order == []
        assert seen[:1] == ["commit"]
        assert order == ["signal"]
        assert host.outbox.messages[-1].to == "new@example.com"
    assert {"host@example.com", "new@example.com"} <= emails(host)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_undoes_both(case: Case, error: type[BaseException]) -> None:
    """Whatever leaves the block undoes the host's rows and ours; no mail, no signal; the session works afterwards."""
    host, heard = case.host, list[Any]()
    with host.app.app_context(), unchanged(host):
        with invitation_created.connected_to(lambda *_, **__: heard.append(1), sender=host.app), pytest.raises(error):
            undone(case, error())
        assert host.invitations.get(_id(case)).status == "pending"
    assert (heard, len(host.outbox.messages)) == ([], 1)


def undone(case: Case, error: BaseException) -> None:
    """A block that does much, and then is left by an exception."""
    host = case.host
    with host.invitations.unit():
        new_user(host, "undone.too@example.com")
        host.invitations.invite("undone@example.com", tenant_id=case.tenant)
        if not host.invitations.get(_id(case)).accepted_at:
            host.invitations.revoke(_id(case))
        raise error


def _id(case: Case) -> uuid.UUID:
    return uuid.UUID(case.id)


def test_a_refusal_can_be_caught(case: Case) -> None:
    """A refusal inside of the block undoes that act alone: the host's rows around it, and the other acts, stay."""
    host = case.host
    with host.app.app_context():
        with host.invitations.unit():
            new_user(host, "before@example.com")
            for again in (case.email, case.email.upper()):
                with pytest.raises(AlreadyInvited):
                    host.invitations.invite(again, tenant_id=case.tenant)
            with pytest.raises(InvitationNotFound):
                host.invitations.accept(NO_TOKEN, password=PASSWORD)
            host.invitations.invite("new@example.com", tenant_id=case.tenant)
            new_user(host, "after@example.com")
        assert {"before@example.com", "after@example.com", "new@example.com"} <= emails(host)
    assert [message.to for message in host.outbox.messages] == [case.email, "new@example.com"]


def test_a_refusal_that_leaves_undoes_all(case: Case) -> None:
    """A refusal that is not caught inside of the block undoes the host's rows too."""
    host = case.host

    def work() -> None:
        with host.invitations.unit():
            new_user(host, "before@example.com")
            host.invitations.invite("new@example.com", tenant_id=case.tenant)
            host.invitations.invite(case.email, tenant_id=case.tenant)

    with host.app.app_context(), unchanged(host), pytest.raises(AlreadyInvited):
        work()


def test_nested(case: Case) -> None:
    """Inside of another block, a block commits nothing; left by an exception that the outer one catches, it undoes its
    own part alone."""
    host = case.host
    with host.app.app_context(), commits(host) as seen:
        with host.invitations.unit():
            new_user(host, "outer@example.com")
            with host.invitations.unit():
                host.invitations.invite("inner@example.com", tenant_id=case.tenant)
            with pytest.raises(ValueError, match="undo"):
                undone(case, ValueError("undo"))
            assert "commit" not in seen
            assert len(host.outbox.messages) == 1
        assert seen[:1] == ["commit"]
    assert {"outer@example.com", "inner@example.com"} <= emails(host)
    assert "undone@example.com" not in emails(host)
    assert [message.to for message in host.outbox.messages] == [case.email, "inner@example.com"]


def test_accept_inside(case: Case) -> None:
    """An accept joins the host's transaction: its user is there with the host's row, or neither is."""
    host = case.host
    with host.app.app_context():
        with unchanged(host), pytest.raises(ValueError, match="no"):
            accepted(case, ValueError("no"))
        accepted(case)
    (user,) = host.rows(host.User, email=case.email)
    assert user.name == "Guest"


def accepted(case: Case, error: Exception | None = None) -> None:
    """A block that accepts and changes the new account."""
    host = case.host
    with host.invitations.unit():
        done = host.invitations.accept(case.token, password=PASSWORD)
        user: Any = host.db.session.get(host.User, done.user.id)
        user.name = "Guest"
        if error is not None:
            raise error


def test_unit_after_a_read(case: Case) -> None:
    """A query before the block, as a user loader makes, does not get in its way."""
    host = case.host
    with host.app.app_context():
        user: Any = host.db.session.get(host.User, case.admin)
        assert user.email == "admin@acme.example"
        with host.invitations.unit():
            host.invitations.invite(GUEST, tenant_id=case.tenant)
    assert GUEST in emails(host)


def test_outbox_inside(case: Case) -> None:
    """Resend, revoke and decline inside of one block: one commit, and only the mail that is still wanted."""
    host = case.host
    with host.app.app_context(), host.invitations.unit():
        host.invitations.resend(_id(case))
        made = host.invitations.invite("new@example.com", tenant_id=case.tenant)
        host.invitations.revoke(made.id)
    assert host.outbox.token_to(case.email) != case.token
    statuses = {row.email: row.status for row in host.rows(host.invitations.models.Invitation)}
    assert statuses == {case.email: "pending", "new@example.com": "revoked"}


def test_mail_of_a_revoked_one_is_not_sent(case: Case) -> None:
    """B11: an invitation that was revoked in the same block as it was made is mailed to nobody."""
    host = case.host
    with host.app.app_context(), host.invitations.unit():
        made = host.invitations.invite("new@example.com", tenant_id=case.tenant)
        host.invitations.revoke(made.id)
    assert [message.to for message in host.outbox.messages] == [case.email]


def test_one_email_of_what_is_sent_again_in_the_same_block(case: Case) -> None:
    """R13: where an invitation is made and resent in one block, with the same link, only the later email leaves."""
    host = case.host
    with host.app.app_context(), host.invitations.unit():
        made = host.invitations.invite("new@example.com", tenant_id=case.tenant)
        host.clock.tick(timedelta(seconds=1))
        host.invitations.resend(made.id, rotate=False)
    assert [message.to for message in host.outbox.messages] == [case.email, "new@example.com"]
    states = [row.state for row in host.rows(host.invitations.models.Delivery, invitation_id=made.id)]
    assert sorted(states) == ["cancelled", "sent"]


def test_plain_act_commits_the_session(case: Case) -> None:
    """A plain act is a commit of the host's session: what the host left unsaved there is saved with it."""
    host = case.host
    with host.app.app_context():
        new_user(host, "unsaved@example.com")
        user: Any = host.db.session.get(host.User, case.plain)
        user.name = "Renamed"
        host.invitations.invite("new@example.com", tenant_id=case.tenant)
        host.db.session.rollback()
    assert {"unsaved@example.com", "new@example.com"} <= emails(host)
    assert host.rows(host.User, id=case.plain)[0].name == "Renamed"


def test_session_is_usable_after_every_act(case: Case) -> None:
    """After a success and after a refusal the host's session begins anew: nothing is left open in it."""
    host = case.host
    with host.app.app_context():
        host.invitations.get(_id(case))
        with pytest.raises(AlreadyInvited):
            host.invitations.invite(case.email, tenant_id=case.tenant)
        new_user(host, "later@example.com")
        host.db.session.commit()
        host.invitations.revoke(_id(case))
        new_user(host, "last@example.com")
        host.db.session.commit()
    assert {"later@example.com", "last@example.com"} <= emails(host)


def test_broken_host_row_undoes_ours(case: Case) -> None:
    """Where the host's own row breaks a rule of the database at the end of the block, ours is undone with it."""
    host = case.host

    def work() -> None:
        with host.invitations.unit():
            host.invitations.invite("new@example.com", tenant_id=case.tenant)
            new_user(host, "plain@acme.example")

    with host.app.app_context(), unchanged(host), pytest.raises(sa.exc.IntegrityError):
        work()
    assert len(host.outbox.messages) == 1


def test_snapshot_sees_everything(case: Case) -> None:
    """The helper that the tests trust notices a change in any table."""
    host = case.host
    before = snapshot(host)
    assert accept(host.client(), case.token).status_code == 201
    after = snapshot(host)
    assert {name for name in before if before[name] != after[name]} == {
        "users",
        "user_invitations",
        "user_invitation_events",
    }


def _a_row(host: Host) -> None:
    host.db.session.execute(sa.insert(host.Tenant).values(name="Left", active=True))


def _a_setting(host: Host) -> None:
    host.db.session.execute(sa.text("SET lock_timeout = 4711"))


def _a_setting_and_a_row(host: Host) -> None:
    host.db.session.execute(
        sa.text("SET lock_timeout = 4711; INSERT INTO tenants (name, active) VALUES ('Left', true)")
    )


def _a_savepoint(host: Host) -> None:
    host.db.session.begin_nested()
    host.db.session.execute(sa.select(host.Tenant))


def _a_lost_connection(host: Host) -> None:
    host.db.session.execute(sa.select(host.Tenant))
    driver: Any = host.db.session.connection().connection.dbapi_connection
    with host.engine.connect() as another:
        another.exec_driver_sql(f"SELECT pg_terminate_backend({driver.info.backend_pid}, 5000)")


def _an_error(host: Host) -> None:
    _a_lost_connection(host)
    with pytest.raises(sa.exc.OperationalError):
        host.db.session.execute(sa.select(host.Tenant))


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("leave", "is_told"),
    [
        (_a_row, True),
        (_a_setting, False),
        (_a_setting_and_a_row, True),
        (_a_savepoint, True),
        (_a_lost_connection, False),
        (_an_error, False),
    ],
)
def test_what_is_left_in_the_last_look(
    case: Case, leave: Callable[[Host], None], is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """T3: the last look of a worker commits, but only where nothing but reads was done in it. What a listener of the
    host has left there is in nobody's way, and the host is told of changes that were lost."""
    host, looks = case.host, list[Callable[[Host], None]]()

    def look() -> None:
        looks.append(leave)
        if len(looks) == 1:
            leave(host)

    with host.app.app_context():
        get_state().ctx.unit.ahead(look, by_commit=True)
        session: Any = host.db.session()
        assert not session.in_transaction()
        assert host.db.session.scalar(sa.text("SHOW lock_timeout")) != "4711ms"
        host.invitations.revoke(_id(case))
    assert ("left changes" in caplog.text) is is_told
    assert host.rows(host.Tenant, name="Left") == []


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
def test_the_last_look_ends_no_transaction_of_the_hosts(case: Case) -> None:
    """A session on a connection that the host has begun a transaction on, as in tests that undo all they did."""
    host = case.host
    with host.app.app_context(), host.engine.connect() as connection:
        session: Any = host.db.session()
        session.get_bind = lambda *_arguments, **_named: connection
        outer = connection.begin()
        connection.connection.cursor().execute("INSERT INTO tenants (name, active) VALUES ('Outer', true)")
        get_state().ctx.unit.ahead(lambda: session.execute(sa.select(host.Tenant)), by_commit=True)
        outer.rollback()
    assert host.rows(host.Tenant, name="Outer") == []
