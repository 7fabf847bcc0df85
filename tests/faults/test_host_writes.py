"""T1: what a host has written before an act is committed with it, or the host hears of it."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from flask_invitations import AlreadyInvited, InvitationError, TryAgain
from flask_invitations.current import override
from flask_invitations.store.unit import TransactionMisuse
from flask_invitations.store.watch import _is_read
from tests.faults.rivals import UNHELD, WRITES, elsewhere, is_there, rival
from tests.hosts import Host, build
from tests.http.tools import Case, make

SERVERS = pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)


@pytest.fixture
def case(host: Host) -> Case:
    """A pending invitation, and a tenant that will be renamed."""
    case = make(host, "pending")
    host.tenant("Old Written")
    return case


def resend(case: Case) -> None:
    case.host.invitations.resend(uuid.UUID(case.id))


@SERVERS
@pytest.mark.parametrize("write", WRITES)
def test_a_lost_race_loses_nothing_of_the_hosts(case: Case, write: str) -> None:
    """T1: where somebody is faster than an act, what the host wrote before is committed with the act, or the act
    raises; however the host wrote."""
    host = case.host
    with host.app.app_context():
        WRITES[write](host, "Written")
        with rival(host, lambda: resend(case)):
            try:
                info = host.invitations.revoke(case.id)
            except TryAgain:
                host.db.session.rollback()
                assert host.engine.dialect.name == "mysql", "whose snapshot does not show what happened"
                return
    assert info.status == "revoked"
    assert is_there(host, "Written")
    assert not is_there(host, "Written (undone)")


@SERVERS
def test_a_broken_key_loses_nothing_of_the_hosts(database_url: str) -> None:
    """T1: a unique key of ours that refuses is looked at a second time inside the host's transaction, and the refusal
    raises."""
    with build(database_url, config=UNHELD) as host:
        tenant = host.tenant("Acme")

        def invite(email: str = "new@example.com") -> None:
            host.invitations.invite(email, tenant_id=tenant)

        with host.app.app_context():
            WRITES["flush"](host, "Written")
            with rival(host, invite, at=2), pytest.raises((AlreadyInvited, TryAgain)):
                invite()
            assert not is_there(host, "Written")
            WRITES["flush"](host, "Written again")
            invite("another@example.com")
        assert is_there(host, "Written again")


@SERVERS
@pytest.mark.parametrize("write", ["flush", "core", "add"])
def test_a_lost_connection_raises(case: Case, write: str) -> None:
    """T1: where the connection dies under an act, and the host has written before, the act raises TryAgain and does
    not begin anew without that."""
    host = case.host
    with host.app.app_context():
        WRITES[write](host, "Written")
        connection = host.db.session.connection()
        with rival(host, lambda: hang_up(host, number_of(connection))), pytest.raises(TryAgain):
            host.invitations.revoke(case.id)
        assert host.db.session.get(host.Tenant, case.tenant) is not None
    assert not is_there(host, "Written")


def number_of(connection: sa.Connection) -> int:
    """What the server calls a connection."""
    raw: Any = connection.connection.dbapi_connection
    return int(raw.info.backend_pid if isinstance(raw, psycopg.Connection) else raw.thread_id())


def hang_up(host: Host, number: int) -> None:
    """End a connection on the server, from another one."""
    is_postgresql = host.engine.dialect.name == "postgresql"
    statement = f"SELECT pg_terminate_backend({number})" if is_postgresql else f"KILL {number}"
    host.db.session.execute(sa.text(statement))


@SERVERS
def test_a_broken_unit_stays_broken(case: Case) -> None:
    """T1: a unit() whose connection was lost commits nothing, whatever the host catches; each act says so at once."""
    host = case.host
    with host.app.app_context():
        with pytest.raises(TryAgain):
            broken_unit(case)
        assert host.invitations.get(case.id).status == "pending"
    assert not is_there(host, "Written")


def broken_unit(case: Case) -> None:
    """A block that goes on after its transaction is lost."""
    host = case.host
    with host.invitations.unit():
        WRITES["flush"](host, "Written")
        number = number_of(host.db.session.connection())
        with rival(host, lambda: hang_up(host, number)), pytest.raises(TryAgain):
            host.invitations.revoke(case.id)
        for again in (lambda: host.invitations.revoke(case.id), lambda: host.invitations.list(tenant_id=case.tenant)):
            with pytest.raises(TryAgain):
                again()


@SERVERS
def test_a_deadlock_raises(case: Case) -> None:
    """T1: where the database breaks a deadlock by giving up the host's transaction, the act raises TryAgain."""
    host, model = case.host, case.host.invitations.models.Invitation
    with host.app.app_context():
        session = host.db.session
        session.execute(sa.update(host.User).where(host.User.id == case.plain).values(name="Written"))

        def cross() -> None:
            """Take our row first, then wait for the host's: whoever closes the circle is given up."""
            other = host.db.session
            other.execute(sa.update(model).where(model.id == uuid.UUID(case.id)).values(message="mine"))
            taken.set()
            try:
                other.execute(sa.update(host.User).where(host.User.id == case.plain).values(name="Other"))
            except sa.exc.OperationalError:
                other.rollback()
            else:
                other.commit()

        taken = threading.Event()
        thread = threading.Thread(target=elsewhere, args=(host, cross))

        def start() -> None:
            thread.start()
            taken.wait(10)

        outcome = None
        with rival(host, start):
            try:
                host.invitations.revoke(case.id)
            except (TryAgain, InvitationError) as error:
                outcome = error
        session.rollback()
        thread.join()
    (row,) = host.rows(host.User, id=case.plain)
    assert (row.name == "Written") is (outcome is None)


def test_what_the_driver_said_is_what_counts(host: Host) -> None:
    """T1: reads before an act do not make it careful, so its budget of statements stays; a read that locks, or that
    calls what may write, does."""
    reads = (
        "SELECT 1",
        "SELECT a FROM b WHERE c IN (1, 2) AND lower(d) = 'x'",
        "BEGIN",
        "WITH x AS (SELECT 1) SELECT 1",
        "/* a * b */ -- c\n/**/ SELECT 1",
        "# a\nSELECT count /* b */ (c.d) FROM e.f WHERE c.d IN (1)",
    )
    writes = (
        "SELECT a FROM b FOR UPDATE",
        "SELECT set_config('a', 'b', true)",
        'SELECT "nextval"(1)',
        "WITH x AS (DELETE FROM y RETURNING 1) SELECT 1",
        "SELECT 1; DELETE FROM b",
        "/*! DELETE FROM b */",
        "/*M! SET b = 1 */ SELECT 1",
        "SELECT f/* count */(1)",
        "SELECT f -- count\n (1)",
        "SELECT a.count(1)",
        'SELECT "a" . /* b */ count(1)',
        "SELECT a$count(1)",
        "SELECT count$(1)",
        "/* a */ /*! SET b = 1 */ SELECT 1",
        "/* a */" * 50 + "DELETE FROM b",
        "SELECT a INTO b FROM c",
        "SAVEPOINT a",
        "SET LOCAL a = b",
        "CALL f()",
        "",
    )
    assert [each for each in reads if not _is_read(each)] == []
    assert [each for each in writes if _is_read(each)] == []
    case = make(host, "pending")
    with host.app.app_context():
        host.db.session.get(host.User, case.admin)
        with host.statements() as seen:
            host.invitations.revoke(case.id)
    assert [each for each in seen if "SAVEPOINT" in each] == []


@SERVERS
def test_the_hosts_second_database_counts_too(database_url: str, tmp_path: Any) -> None:
    """T1: what the host wrote by the same session on another engine is not lost either."""
    other = sa.create_engine(f"sqlite:///{tmp_path / 'other.sqlite3'}", poolclass=sa.NullPool)
    with build(database_url) as host:
        case = make(host, "pending")
        with host.app.app_context():
            with other.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE notes (id INTEGER)")
            host.db.session.execute(sa.text("INSERT INTO notes VALUES (1)"), bind_arguments={"bind": other})
            try:
                with rival(host, lambda: resend(case)):
                    host.invitations.revoke(case.id)
            except TryAgain:
                return
            with other.connect() as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 1


def test_nobody_is_told_of_a_link_but_the_host_of_its_loss(database_url: str) -> None:
    """T1: a request for a fresh link that is refused, of which nobody is told, takes nothing of the host's with it."""
    with build(database_url, config={"INVITATIONS_FRESH_LINK": "send"}) as host:
        case = make(host, "overdue")
        with host.app.app_context():
            row = host.db.session.get(host.Tenant, case.tenant)
            assert row is not None
            row.active = False
            host.db.session.commit()
            WRITES["flush"](host, "Written")
            host.invitations.request_link(case.token)
        assert is_there(host, "Written")


def test_a_delivery_run_loses_nothing(host: Host) -> None:
    """T1: sending what is due begins with a commit of what the host has left open; a hook that fails for one email
    takes nothing with it."""
    case = make(host, "pending")
    with host.app.app_context():
        with override(host.app, mailer=_fail):
            host.invitations.resend(case.id)
        host.clock.tick(timedelta(hours=1))
        WRITES["flush"](host, "Written")
        with override(host.app, tenant_name=_fail):
            host.invitations.deliver()
        with host.invitations.unit(), pytest.raises(TransactionMisuse, match="more than once"):
            host.invitations.deliver()
    assert is_there(host, "Written")


def _fail(_given: Any) -> Any:
    raise ConnectionError
