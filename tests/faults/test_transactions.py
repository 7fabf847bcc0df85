"""T2, T3, T8, T9, H5: hooks and observers in a transaction that is not theirs, and units used in unexpected places."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import abort, redirect
from sqlalchemy.exc import IntegrityError

from flask_invitations import (
    AccountExists,
    AlreadyInvited,
    ConfigurationError,
    TryAgain,
    invitation_accepted,
    invitation_created,
)
from flask_invitations.current import get_state, override
from flask_invitations.store.unit import TransactionMisuse
from tests.faults.rivals import WRITES, elsewhere, is_there
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, INVITE, Case, accept, make, unchanged
from tests.queued import deliver, waiting

SERVERS = pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)


@pytest.fixture
def case(host: Host) -> Case:
    """A pending invitation."""
    return make(host, "pending")


def account(host: Host, invitation: Any) -> Any:
    """A new account, written."""
    user = host.User(email=invitation.email_key, role="user", tenant_id=invitation.tenant_id)
    host.db.session.add(user)
    host.db.session.flush()
    return user


# T2: hooks that end the transaction


def _commit(host: Host) -> None:
    host.db.session.commit()


def _rollback(host: Host) -> None:
    host.db.session.rollback()


def _close(host: Host) -> None:
    host.db.session.close()


def _remove(host: Host) -> None:
    host.db.session.remove()


def _outermost(host: Host) -> None:
    root: Any = host.db.session().get_transaction()
    root.commit()


def _within_savepoint(host: Host) -> None:
    host.db.session.begin_nested()
    host.db.session.commit()


def _connection(host: Host) -> None:
    host.db.session.connection().commit()


def _sql(host: Host) -> None:
    host.db.session.execute(sa.text("COMMIT"))


def _sql_with_a_comment(host: Host) -> None:
    host.db.session.execute(sa.text("/* by create_user */ COMMIT"))


def _sql_that_runs_in_a_comment(host: Host) -> None:
    """As MariaDB and MySQL do; elsewhere it is one."""
    run = "/*! COMMIT */" if host.engine.dialect.name == "mysql" else "COMMIT"
    host.db.session.execute(sa.text(run))


def _swallowed(host: Host) -> None:
    with suppress(RuntimeError):
        host.db.session.commit()


#: Those that nobody can take back are noticed; the others come to nothing.
RAW = (_connection, _sql, _sql_with_a_comment, _sql_that_runs_in_a_comment)
ENDS = (_commit, _rollback, _close, _remove, _outermost, _within_savepoint, _swallowed, *RAW)


@pytest.mark.in_turn
@pytest.mark.filterwarnings("ignore:.*already deassociated from connection")
@pytest.mark.parametrize("end", ENDS)
def test_a_hook_that_ends_the_transaction_is_named(case: Case, end: Callable[[Host], None]) -> None:
    """T2: a participant that commits, rolls back or closes, however it does that, and also inside of unit(), is named
    in the error, and nothing of the act is completed; where it commits by the session, nothing is committed."""
    host = case.host

    def create_user(invitation: Any, _profile: Any, _password: Any) -> Any:
        user = account(host, invitation)
        end(host)
        return user

    with host.app.app_context(), override(host.app, create_user=create_user):
        for act in (accepting, accepting_inside):
            with pytest.raises(TransactionMisuse, match="create_user"):
                act(case)
            assert host.invitations.get(case.id).status == "pending"
            if end in RAW:
                return  # nobody can take that back
            assert host.rows(host.User, email=case.email) == []
    with override(host.app, create_user=lambda invitation, *_: account(host, invitation)):
        assert accept(host.client(), case.token).status_code == 201


def accepting(case: Case) -> None:
    case.host.invitations.accept(case.token, password=PASSWORD)


def accepting_inside(case: Case) -> None:
    """The same inside of a block of the host's."""
    with case.host.invitations.unit():
        accepting(case)


@pytest.mark.in_turn
@pytest.mark.parametrize("hook", ["tenant_is_active", "can_invite", "check_invitee", "find_user", "tenant_name"])
def test_any_participant_is_named(case: Case, hook: str) -> None:
    """T2: whichever participant ends the transaction of an invite: it is named, nothing is written, no email leaves."""
    host = case.host
    with host.app.app_context():
        theirs = getattr(get_state().ctx.hooks, hook) or (lambda *_: None)
        for end in (_commit, _rollback, _remove):

            def ends(*given: Any, end: Callable[[Host], None] = end) -> Any:
                end(host)
                return theirs(*given)

            admin, sent = host.db.session.get(host.User, case.admin), len(host.outbox.messages)
            with override(host.app, **{hook: ends}), unchanged(host), pytest.raises(TransactionMisuse, match=hook):
                host.invitations.invite("new@example.com", by=admin, tenant_id=case.tenant)
            assert len(host.outbox.messages) == sent
            host.db.session.commit()


def test_savepoints_of_a_hook_are_its_own(case: Case) -> None:
    """T2: a participant may use savepoints, and leave one open."""
    host = case.host

    def create_user(invitation: Any, _profile: Any, _password: Any) -> Any:
        lost = host.db.session.begin_nested()
        host.db.session.add(host.Tenant(name="Undone"))
        lost.rollback()
        with host.db.session.begin_nested():
            user = account(host, invitation)
        host.db.session.begin_nested()
        return user

    with override(host.app, create_user=create_user):
        assert accept(host.client(), case.token).status_code == 201
    assert not is_there(host, "Undone")


def test_the_block_commits_and_nobody_else(case: Case) -> None:
    """T2: code of the host's inside of unit() cannot commit in between; it may roll back and go on."""
    host = case.host
    with host.app.app_context():
        for end in (_commit, _close, _remove):
            with unchanged(host), pytest.raises(TransactionMisuse, match="block"):
                inviting(case, end)
        heard: list[Any] = []
        hearing: Any = invitation_created.connected_to(lambda *_, **__: heard.append(1), sender=host.app)
        with hearing, host.invitations.unit():
            host.invitations.invite("lost@example.com", tenant_id=case.tenant)
            host.db.session.rollback()
            host.invitations.invite("kept@example.com", tenant_id=case.tenant)
    assert len(heard) == 1
    assert [message.to for message in host.outbox.messages[1:]] == ["kept@example.com"]


def inviting(case: Case, end: Callable[[Host], None]) -> None:
    """A block that does something with its transaction."""
    with case.host.invitations.unit():
        case.host.invitations.invite("new@example.com", tenant_id=case.tenant)
        end(case.host)


@pytest.mark.parametrize("_database", ["mariadb"], indirect=True)
def test_what_the_host_ended_before_is_its_own(case: Case) -> None:
    """T2: what committed in the transaction before the act is no matter of the act."""
    host = case.host
    with host.app.app_context():
        host.db.session.execute(sa.text("DROP TABLE IF EXISTS no_such_table"))
        WRITES["flush"](host, "Written")
        assert host.invitations.revoke(case.id).status == "revoked"
    assert is_there(host, "Written")


AUTOCOMMIT = {"isolation_level": "AUTOCOMMIT"}


@pytest.mark.parametrize("where", ["engine", "options", "connection", "driver", "later"])
def test_autocommit_is_refused(database_url: str, where: str) -> None:
    """T2: where each statement would be committed alone, the first act is refused with a sentence and nothing is
    written, whoever has set that up."""
    options: dict[str, Any] = {
        "engine": AUTOCOMMIT,
        "options": {"execution_options": AUTOCOMMIT},
        "driver": {"connect_args": {"isolation_level": None} if "sqlite" in database_url else {"autocommit": True}},
    }
    config = {"SQLALCHEMY_ENGINE_OPTIONS": options.get(where, {})}
    with build(database_url, config=config) as host, host.app.app_context():
        tenant = host.tenant()
        if where == "connection":
            host.db.session.connection(execution_options=AUTOCOMMIT)
        if where == "later":
            host.invitations.invite("first@example.com", tenant_id=tenant)
            host.db.engine.update_execution_options(**AUTOCOMMIT)
        with unchanged(host), pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            host.invitations.invite("new@example.com", tenant_id=tenant)


def test_the_recipe_for_sqlite_is_no_autocommit(tmp_path: Path) -> None:
    """T2: SQLAlchemy's recipe for SQLite, which switches the driver's transactions off and begins its own, works."""
    with build(f"sqlite:///{tmp_path / 'test.sqlite3'}") as host:
        sa.event.listen(host.engine, "connect", lambda raw, _record: setattr(raw, "isolation_level", None))
        sa.event.listen(host.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        host.engine.dispose()
        case = make(host, "pending")
        with host.app.app_context(), host.statements() as seen:
            host.invitations.revoke(case.id)
        assert [each for each in seen if "SAVEPOINT" in each] == []


# T3: observers


def _fails(host: Host) -> None:
    host.db.session.execute(sa.text("SELECT * FROM nowhere"))


def _swallows(host: Host) -> None:
    with suppress(sa.exc.DBAPIError):
        host.db.session.execute(sa.text("INSERT INTO nowhere VALUES (1)"))


def _breaks_a_flush(host: Host) -> None:
    host.db.session.add_all([host.Tenant(name="Acme"), host.Tenant(name="Acme")])
    host.db.session.flush()


def _changes(host: Host) -> None:
    row: Any = host.db.session.scalar(sa.select(host.Tenant))
    row.name = "Left"


def _deletes(host: Host) -> None:
    host.db.session.delete(host.db.session.scalar(sa.select(host.Tenant)))


def _leaves_savepoint(host: Host) -> None:
    host.db.session.begin_nested()
    _adds(host)


def _adds(host: Host) -> None:
    host.db.session.add(host.Tenant(name="Left"))


def _flushes(host: Host) -> None:
    _adds(host)
    host.db.session.flush()


def _reads(host: Host) -> None:
    host.db.session.scalar(sa.select(host.User))


def _expunges(host: Host) -> None:
    host.db.session.expunge_all()


def _leaves_unit(host: Host) -> None:
    unit = host.invitations.unit()
    unit.__enter__()
    _left.append(unit)
    _adds(host)


def _raises(host: Host) -> None:
    _flushes(host)
    raise LookupError


_left: list[Any] = []
OBSERVERS = (
    _fails,
    _swallows,
    _breaks_a_flush,
    _changes,
    _deletes,
    _leaves_savepoint,
    _adds,
    _flushes,
    _reads,
    _expunges,
    _leaves_unit,
    _raises,
    _rollback,
    _close,
    _remove,
)


@pytest.mark.in_turn
@pytest.mark.parametrize("observe", OBSERVERS)
def test_an_observer_leaves_no_trace(host: Host, observe: Callable[[Host], None]) -> None:
    """T3: whatever a receiver, a mailer or ``on_accepted`` does in the session, the others are called, the email is
    sent and recorded, and nothing that it left open is committed or stays; also after a unit()."""
    tenant, raises, heard = host.tenant(), observe in (_fails, _breaks_a_flush, _raises), list[str]()

    def receiver(*_: Any, **__: Any) -> None:
        observe(host)

    def mailer(message: Any) -> None:
        host.outbox(message)
        if not raises:
            observe(host)

    def on_accepted(user: Any, _invitation: Any) -> dict[str, Any]:
        heard.append(user.email)
        observe(host)
        return {"token": 1}

    hooks = override(host.app, mailer=mailer, on_accepted=on_accepted)
    signals = invitation_created.connected_to(receiver, host.app), invitation_accepted.connected_to(receiver, host.app)
    with host.app.app_context(), hooks, signals[0], signals[1]:
        alone = host.invitations.invite("alone@example.com", tenant_id=tenant)
        with host.invitations.unit():
            joined = host.invitations.invite("joined@example.com", tenant_id=tenant)
        assert [each.delivery.state for each in (alone, joined) if each.delivery is not None] == ["sent", "sent"]
        assert not host.db.session().in_transaction()
        done = host.invitations.accept(host.outbox.token_to("alone@example.com"), password=PASSWORD)
        assert not host.db.session().in_transaction()
        assert (done.session is None) is raises
    assert heard == ["alone@example.com"]
    assert (is_there(host, "Left"), is_there(host, "Acme")) == (False, True)
    assert [row.state for row in host.rows(host.invitations.models.Delivery)] == ["sent", "sent"]
    assert len(host.rows(host.User, email="alone@example.com")) == 1
    while _left:
        _left.pop().gen.close()


def test_what_an_observer_commits_stays(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """T3: an observer may commit, and call acts; one that forgot to commit is told so in the log."""
    host = case.host

    def on_accepted(_user: Any, _invitation: Any) -> None:
        WRITES["flush"](host, "Kept")
        host.db.session.commit()
        host.invitations.invite("next@example.com", tenant_id=case.tenant)
        with host.invitations.unit():
            WRITES["flush"](host, "Kept too")
        WRITES["flush"](host, "Left")

    with override(host.app, on_accepted=on_accepted), caplog.at_level(logging.WARNING):
        assert accept(host.client(), case.token).status_code == 201
    assert (is_there(host, "Kept"), is_there(host, "Kept too"), is_there(host, "Left")) == (True, True, False)
    assert "on_accepted left changes in the session without a commit" in caplog.text
    assert host.outbox.messages[-1].to == "next@example.com"


@pytest.mark.parametrize(
    ("_database", "how"),
    [
        ("postgresql", "SET LOCAL app.tenant = 1"),
        ("postgresql", "SELECT set_config('app.tenant', '1', true)"),
        ("postgresql", "/* of the middleware's */ SET LOCAL app.tenant = 'a;b'"),
        ("postgresql", "RESET app.tenant; "),
        ("postgresql", "SELECT set_config('a.b', '1', true), set_config /* ; */ ('c.d', 'it''s', true) -- the host's"),
        ("mariadb", "SET @tenant = 1"),
        ("mariadb", "SET SESSION lock_wait_timeout = 60"),
    ],
    indirect=["_database"],
)
def test_what_is_only_set_is_no_change(queued: Host, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """T3: a host says, whenever a transaction begins, what its rows are filtered by (row level security). The log tells
    nobody that something was lost."""
    begun: list[str] = []

    def after_begin(_session: Any, _transaction: Any, connection: sa.Connection) -> None:
        connection.exec_driver_sql(how)
        begun.append(how)

    waiting(queued, 2)
    sa.event.listen(queued.db.session, "after_begin", after_begin)
    assert deliver(queued) == {"sent": 2}
    sa.event.remove(queued.db.session, "after_begin", after_begin)
    assert len(begun) == 5  # three turns, two looks
    assert caplog.messages == []


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("words", ["", "WORK ", "TRANSACTION ", "/* a */ ", "-- a\nWORK "])
def test_a_rollback_to_a_savepoint_ends_nothing(case: Case, words: str) -> None:
    """T2: a host that takes a part of its own work back, in SQL, is blamed for nothing."""
    host = case.host
    with host.app.app_context(), host.invitations.unit():
        host.db.session.execute(sa.text("SAVEPOINT a"))
        WRITES["flush"](host, "Left")
        host.db.session.execute(sa.text(f"ROLLBACK {words}TO SAVEPOINT a"))
        host.invitations.revoke(case.id)
    assert not is_there(host, "Left")
    with host.app.app_context():
        assert host.invitations.get(case.id).status == "revoked"


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "how",
    [
        "SELECT audit.count(1)",
        "SELECT audit . /* a */ count -- b\n (1)",
        "SELECT audit$count/* c */(1)",
        "SELECT set_config('app.tenant', audit.count(1)::text, true)",
        "SELECT set_config('app.tenant', '1', true), audit.count(1)",
        "SET LOCAL app.tenant = 1 -- the host's\n; SELECT audit.count(1) -- the host's",
    ],
)
def test_what_is_called_is_a_change(queued: Host, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """T3: however a function is called that a host's listener calls, what it writes before a look is not committed by
    the look, and the log says so."""
    body = "INSERT INTO tenants (name, active) VALUES ('Left ' || gen_random_uuid(), true); SELECT 1"
    with queued.engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA audit")
        for name in ("audit.count", "audit$count"):
            connection.exec_driver_sql(f"CREATE FUNCTION {name}(int) RETURNS int LANGUAGE sql AS $${body}$$")

    def after_begin(_session: Any, _transaction: Any, connection: sa.Connection) -> None:
        connection.exec_driver_sql(how)

    waiting(queued, 3)
    sa.event.listen(queued.db.session, "after_begin", after_begin)
    assert deliver(queued) == {"sent": 3}
    sa.event.remove(queued.db.session, "after_begin", after_begin)
    assert sum(tenant.name.startswith("Left") for tenant in queued.rows(queued.Tenant)) == 4  # one for each turn
    assert caplog.text.count("left changes") == 3
    with queued.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA audit CASCADE")
        connection.exec_driver_sql("DROP FUNCTION audit$count(int)")


def test_each_receiver_gets_a_user_that_it_can_use(case: Case) -> None:
    """T3: where one receiver closes the session, the next one's user is in a session all the same."""
    host, heard = case.host, list[str]()

    def closes(*_: Any, user: Any, **__: Any) -> None:
        heard.append(user.email)
        host.db.session.remove()

    def closes_too(*_: Any, user: Any, **__: Any) -> None:
        closes(user=user)

    first = invitation_accepted.connected_to(closes, sender=host.app)
    second = invitation_accepted.connected_to(closes_too, sender=host.app)
    with first, second:
        assert accept(host.client(), case.token).status_code == 201
    assert heard == [case.email, case.email]


def test_observers_expire_nothing_of_the_hosts(case: Case) -> None:
    """T3: where the host's session keeps what it has loaded, an observer that only reads changes nothing in that."""
    host = case.host
    with host.app.app_context():
        host.db.session().expire_on_commit = False
        user: Any = host.db.session.get(host.User, case.admin)
        with invitation_created.connected_to(lambda *_, **__: _reads(host), sender=host.app):
            host.invitations.invite("new@example.com", tenant_id=case.tenant)
        with host.statements() as seen:
            assert user.email == "admin@acme.example"
        assert seen == []


# T8: units in unexpected places


@pytest.mark.parametrize("hook", ["tenant_name", "tenant_is_active", "find_user"])
def test_an_act_inside_a_read(case: Case, hook: str) -> None:
    """T8: a hook that is asked by an act that only reads may read; one that calls an act that writes, or opens a unit,
    is refused at once, by name."""
    host = case.host
    with host.app.app_context():
        theirs = getattr(get_state().ctx.hooks, hook)

        def listing(*given: Any) -> Any:
            assert len(host.invitations.list(tenant_id=case.tenant)) == 1
            return theirs(*given)

        def inviting(*given: Any) -> Any:
            host.invitations.invite("new@example.com", tenant_id=case.tenant)
            return theirs(*given)

        def opening(*given: Any) -> Any:
            with host.invitations.unit():
                return theirs(*given)

        with override(host.app, **{hook: listing}):
            assert host.invitations.preview(case.token).obstacle is None
        for writes in (inviting, opening):
            with override(host.app, **{hook: writes}), unchanged(host), pytest.raises(TransactionMisuse, match=hook):
                host.invitations.preview(case.token)


def test_an_act_inside_an_act(case: Case) -> None:
    """T8: a participant of an act that writes may call others, which join; what it undoes of them is not announced."""
    host, heard = case.host, list[str]()

    def create_user(invitation: Any, _profile: Any, _password: Any) -> Any:
        host.invitations.invite("kept@example.com", tenant_id=case.tenant)
        undone = host.db.session.begin_nested()
        host.invitations.invite("undone@example.com", tenant_id=case.tenant)
        undone.rollback()
        return account(host, invitation)

    def receiver(*_: Any, invitation: Any) -> None:
        heard.append(invitation.email)

    with override(host.app, create_user=create_user), invitation_created.connected_to(receiver, sender=host.app):
        assert accept(host.client(), case.token).status_code == 201
    assert heard == [host.outbox.messages[-1].to] == ["kept@example.com"]


@pytest.mark.in_turn
def test_a_suspended_generator(case: Case) -> None:
    """T8: while a generator is suspended in unit(), an act on the same session is refused at once: that block would
    decide over it. Where the generator goes on, its own acts work, and closing it undoes its block."""
    host = case.host

    def stream() -> Iterator[int]:
        with host.invitations.unit():
            host.invitations.invite("one@example.com", tenant_id=case.tenant)
            yield 1
            host.invitations.invite("two@example.com", tenant_id=case.tenant)

    with host.app.app_context():
        streaming = stream()
        next(streaming)
        for act in (lambda: host.invitations.revoke(case.id), lambda: host.invitations.list(tenant_id=case.tenant)):
            with pytest.raises(TransactionMisuse, match="stream"):
                act()
        with pytest.raises(TransactionMisuse, match="stream"), host.invitations.unit():
            pass
        assert list(streaming) == []
        assert {"one@example.com", "two@example.com"} <= {message.to for message in host.outbox.messages}
        again = stream()
        with pytest.raises(AlreadyInvited):
            next(again)
        left = (each for each in _block(host))
        next(left)
        del left
        gc.collect()
        assert host.invitations.revoke(case.id).status == "revoked"
    assert not is_there(host, "Undone")


def _block(host: Host) -> Generator[None, None, None]:
    with host.invitations.unit():
        WRITES["flush"](host, "Undone")
        yield


def test_a_block_in_a_helper(case: Case) -> None:
    """T8: a context manager of the host's that opens unit() is no suspended generator."""
    host = case.host

    @contextmanager
    def helper() -> Iterator[None]:
        with host.invitations.unit():
            yield

    with host.app.app_context():
        with helper(), ExitStack() as stack:
            stack.enter_context(host.invitations.unit())
            host.invitations.invite("new@example.com", tenant_id=case.tenant)
        assert host.outbox.messages[-1].to == "new@example.com"


def test_blocks_end_in_order(case: Case) -> None:
    """T8: an outer block that ends before an inner one undoes both, and both say so."""
    host = case.host
    with host.app.app_context(), unchanged(host):
        outer, inner = host.invitations.unit(), host.invitations.unit()
        outer.__enter__()
        inner.__enter__()
        host.invitations.invite("new@example.com", tenant_id=case.tenant)
        with pytest.raises(TransactionMisuse, match="order"):
            outer.__exit__(None, None, None)
        with pytest.raises(TransactionMisuse, match="order"):
            inner.__exit__(None, None, None)


def test_a_block_that_another_thread_ends(database_url: str) -> None:
    """T8: a block that is closed in another thread, with another session, undoes its own transaction and nothing of
    the other's."""
    with build(database_url) as host:
        with host.app.app_context():
            block = _block(host)
            if not database_url.startswith("sqlite"):
                next(block)

        def other() -> None:
            WRITES["flush"](host, "Written")
            block.close()
            host.db.session.commit()

        elsewhere(host, other)
        assert (is_there(host, "Undone"), is_there(host, "Written")) == (False, True)


@SERVERS
@pytest.mark.parametrize("level", ["SERIALIZABLE", "REPEATABLE READ"])
def test_unit_at_other_levels(database_url: str, level: str) -> None:
    """T8: what the database breaks off at the commit of a unit(), or at an act in it, is TryAgain."""
    config = {"SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": level}}
    with build(database_url, config=config) as host:
        case = make(host, "pending")
        is_postgresql = host.engine.dialect.name == "postgresql"
        with host.app.app_context():
            if is_postgresql:
                with pytest.raises(TryAgain):
                    _overtaken(case)
            if is_postgresql and level == "SERIALIZABLE":
                with pytest.raises(TryAgain):
                    _write_skew(host)
            assert host.invitations.revoke(case.id).status == "revoked"


def _overtaken(case: Case) -> None:
    """A block in whose snapshot an invitation is what it was."""
    host = case.host
    with host.invitations.unit():
        host.invitations.list(tenant_id=case.tenant)
        elsewhere(host, lambda: host.invitations.resend(case.id))
        host.invitations.revoke(case.id)


def _write_skew(host: Host) -> None:
    """Two that each read all and add one: the database refuses the second commit."""

    def work(name: str) -> None:
        host.db.session.scalars(sa.select(host.Tenant)).all()
        WRITES["flush"](host, name)

    def other() -> None:
        work("Other")
        host.db.session.commit()

    with host.invitations.unit():
        work("Mine")
        elsewhere(host, other)


@pytest.mark.parametrize("how", ["begin", "begin_nested", "savepoint"])
def test_a_transaction_of_the_hosts_own(case: Case, how: str) -> None:
    """T8: inside of the host's own `with session.begin()` or savepoint, an act that commits is refused at once; one
    that reads works, and the host's own goes on."""
    host = case.host
    with host.app.app_context():
        session: Any = host.db.session
        opened = session.begin() if how == "begin" else session.begin_nested()

        def inside() -> None:
            WRITES["flush"](host, "Written")
            with pytest.raises(TransactionMisuse, match=r"unit\(\)"):
                host.invitations.revoke(case.id)
            with pytest.raises(TransactionMisuse, match=r"unit\(\)"), host.invitations.unit():
                pass
            assert len(host.invitations.list(tenant_id=case.tenant)) == 1

        if how == "savepoint":
            inside()
            opened.commit()
        else:
            with opened:
                inside()
        session.commit()
    assert is_there(host, "Written")


def test_a_session_without_autobegin(database_url: str) -> None:
    """T8: a session that begins nothing by itself is begun by an act, and left without a transaction."""
    with build(database_url) as host:
        case = make(host, "pending")
        with host.app.app_context():
            host.db.session().autobegin = False
            assert len(host.invitations.list(tenant_id=case.tenant)) == 1
            assert not host.db.session().in_transaction()
            made = host.invitations.invite("new@example.com", tenant_id=case.tenant)
            assert made.delivery is not None
            assert made.delivery.state == "sent"
            assert not host.db.session().in_transaction()
            host.db.session.begin()
            WRITES["flush"](host, "Written")
            host.invitations.revoke(case.id)
            with host.invitations.unit():
                host.invitations.revoke(made.id)
            assert not host.db.session().in_transaction()
        assert is_there(host, "Written")


@pytest.mark.parametrize("_database", ["mariadb"], indirect=True)
def test_two_phases(case: Case) -> None:
    """T8: a session that commits in two phases works."""
    host = case.host
    with host.app.app_context():
        host.db.session().twophase = True
        WRITES["flush"](host, "Written")
        assert host.invitations.revoke(case.id).status == "revoked"
    assert is_there(host, "Written")


# T9: errors that no second look can fix


def _unique(host: Host) -> None:
    host.db.session.execute(sa.insert(host.Tenant.__table__).values(name="Acme", active=True))


def _not_null(host: Host) -> None:
    host.db.session.execute(sa.insert(host.Tenant.__table__).values(name=None, active=True))


def _foreign_key(host: Host) -> None:
    host.db.session.add(host.User(email="x@example.com", role="user", tenant_id=999_999))
    host.db.session.flush()


@pytest.mark.in_turn
@pytest.mark.parametrize("breaks", [_unique, _not_null, _foreign_key])
def test_a_rule_of_the_hosts_is_broken_once(case: Case, breaks: Callable[[Host], None]) -> None:
    """T9: an account that breaks a rule of the host's database is made once, and the error is the host's own."""
    host = case.host
    for act in (accepting, accepting_inside):
        made = list[int]()

        def create_user(invitation: Any, _profile: Any, _password: Any, made: list[int] = made) -> Any:
            made.append(1)
            breaks(host)
            return account(host, invitation)

        hooks = override(host.app, create_user=create_user)
        with host.app.app_context(), hooks, unchanged(host), pytest.raises(IntegrityError):
            act(case)
        assert made == [1]


def committed(host: Host, invitation: Any) -> None:
    account(host, invitation)
    host.db.session.commit()


def test_an_account_that_somebody_else_made(case: Case) -> None:
    """T9: where the address got an account meanwhile, the second look says so, and no other account is made."""
    host, made = case.host, list[int]()

    def create_user(invitation: Any, _profile: Any, _password: Any) -> Any:
        made.append(1)
        elsewhere(host, lambda: committed(host, invitation))
        return account(host, invitation)

    with host.app.app_context(), override(host.app, create_user=create_user), pytest.raises(AccountExists):
        host.invitations.accept(case.token, password=PASSWORD)
    assert made == [1]


def test_a_rule_that_is_looked_at_at_the_commit(database_url: str) -> None:
    """T9: the same where the database looks at the rule only at the commit."""
    if not database_url.startswith("postgresql"):
        return
    with build(database_url) as host:
        case = make(host, "pending")
        with host.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS names (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
            connection.exec_driver_sql("TRUNCATE names")
        made = list[int]()

        def create_user(invitation: Any, _profile: Any, _password: Any) -> Any:
            made.append(1)
            host.db.session.execute(sa.text("INSERT INTO names VALUES (1), (1)"))
            return account(host, invitation)

        with host.app.app_context(), override(host.app, create_user=create_user), pytest.raises(IntegrityError):
            host.invitations.accept(case.token, password=PASSWORD)
        assert made == [1]


# H5: hooks that leave by any way


class Timeout(BaseException):
    """As gevent's: no ``Exception``."""


@pytest.mark.parametrize("hook", ["create_user", "tenant_is_active", "find_user"])
def test_whatever_leaves_a_hook(case: Case, hook: str) -> None:
    """H5: whatever leaves a participant undoes the act and reaches the host as it is, and the session works."""
    host = case.host
    with host.app.app_context():
        for leaving in (Timeout, KeyboardInterrupt, SystemExit, GeneratorExit):

            def leave(*_: Any, leaving: type[BaseException] = leaving) -> Any:
                WRITES["flush"](host, "Undone")
                raise leaving

            for act in (accepting, accepting_inside):
                with override(host.app, **{hook: leave}), pytest.raises(leaving):
                    act(case)
        assert host.invitations.accept(case.token, password=PASSWORD).user.email == case.email
    assert not is_there(host, "Undone")


@pytest.mark.parametrize("status", [400, 404, 413])
def test_the_hosts_own_abort(tmp_path: Path, status: int) -> None:
    """H5: what a hook aborts with is answered by the host's own error handler, and never as a body of ours."""
    with build(f"sqlite:///{tmp_path / 'test.sqlite3'}", check_invitee=lambda _draft: abort(status)) as host:
        admin = host.user("admin@example.com", "admin")
        host.app.register_error_handler(status, lambda error: (f"the host says {error.code}", status))
        with unchanged(host):
            answer = host.client(admin).post(INVITE, json={"email": "new@example.com"})
        assert (answer.status_code, answer.text) == (status, f"the host says {status}")
        assert host.client(admin).post(INVITE, data=b"{", content_type="application/json").status_code == 400


def test_a_hook_that_redirects(case: Case) -> None:
    """H5: a hook may abort with an answer."""
    host = case.host

    def leave(*_: Any) -> Any:
        abort(redirect("/elsewhere"))

    with override(host.app, create_user=leave), unchanged(host):
        answer = host.client().post(ACCEPT, json={"token": case.token, "password": PASSWORD})
    assert (answer.status_code, answer.location) == (302, "/elsewhere")


@pytest.mark.parametrize("who", ["mailer", "receiver"])
def test_an_observer_that_is_told_to_stop(host: Host, who: str) -> None:
    """H5: what is no error leaves an observer at once, the session is clean, and what was committed stays."""
    tenant, instead = host.tenant(), list[str]()

    def stop(*_: Any, **__: Any) -> None:
        WRITES["flush"](host, "Left")
        raise Timeout

    hooks = {"mailer": stop} if who == "mailer" else {}
    stopping: Any = invitation_created.connected_to(stop, host.app if who == "receiver" else "nobody")
    with host.app.app_context():
        with override(host.app, **hooks), stopping, pytest.raises(Timeout):
            interrupted(host, tenant, instead)
        assert not host.db.session().in_transaction()
        assert len(host.invitations.list(tenant_id=tenant)) == 1
    assert instead == ["instead"]
    assert not is_there(host, "Left")


def interrupted(host: Host, tenant: Any, instead: list[str]) -> None:
    """A block with an email, and with other work after the commit."""
    with host.invitations.unit():
        host.invitations.invite("new@example.com", tenant_id=tenant)
        get_state().ctx.unit.after_commit(lambda: instead.append("act"), lambda: instead.append("instead"))


def _catches(host: Host) -> None:
    """Code of the host's that runs a statement which fails, and catches that."""
    with suppress(sa.exc.DBAPIError):
        host.db.session.execute(sa.text("SELECT * FROM there_is_no_such_table"))


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("hook", ["display_name", "tenant_name", "check_invitee"])
def test_an_error_that_a_hook_catches(host: Host, hook: str) -> None:
    """T1, H5: PostgreSQL rolls back what is committed after an error that a hook has caught: never a success."""

    def caught(*_: Any) -> Any:
        _catches(host)
        return None if hook != "tenant_name" else "Acme"

    admin = host.user("admin@example.com", "admin")
    with override(host.app, **{hook: caught}), host.sign_in(admin):
        user = host.db.session.get(host.User, admin)
        with pytest.raises((TransactionMisuse, sa.exc.DBAPIError)):
            host.invitations.invite("new@example.com", inviter=user)
    assert host.rows(host.invitations.models.Invitation) == host.outbox.messages == []


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
def test_an_error_that_a_block_catches(host: Host) -> None:
    """T1: the same in a block of the host's, whose own rows would be gone, and an acceptance announced that never was.
    With a savepoint around it, nothing is lost."""
    case = make(host, "pending")

    def lose() -> None:
        with host.invitations.unit():
            host.db.session.add(host.Tenant(name="Lost"))
            host.invitations.accept(case.token, password=PASSWORD)
            _catches(host)

    with host.app.app_context():
        with pytest.raises(TransactionMisuse, match="begin_nested"):
            lose()
        with host.invitations.unit():
            host.db.session.add(host.Tenant(name="Kept"))
            host.invitations.accept(case.token, password=PASSWORD)
            with suppress(sa.exc.DBAPIError), host.db.session.begin_nested():
                host.db.session.execute(sa.text("SELECT * FROM there_is_no_such_table"))
    assert [row.name for row in host.rows(host.Tenant) if row.name in ("Lost", "Kept")] == ["Kept"]
    assert [row.status for row in host.rows(host.invitations.models.Invitation)] == ["accepted"]
