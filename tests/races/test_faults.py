"""The database breaks off: a lost connection, a deadlock, a lock that does not come free."""

from __future__ import annotations

import socket
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from typing import Any

import psycopg
import pymysql
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from flask_invitations import Status, TryAgain, outbox
from tests.hosts import PASSWORD, Host, build
from tests.races.harness import ACCEPT, SOAK, Racers, accept, crowded, event_types, invited, rounds, unexpected
from tests.races.proxy import AFTER, BEFORE, Proxy

pytestmark = pytest.mark.soak

SERVERS = pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)
INVITE = "/api/v1/users/invite"
TRY_AGAIN = (503, "try-again")

#: What each database says when it gives up a transaction that may be tried again.
TRANSIENT: dict[str, tuple[Callable[[], Exception], ...]] = {
    "postgresql": (
        psycopg.errors.SerializationFailure,
        psycopg.errors.DeadlockDetected,
        psycopg.errors.LockNotAvailable,
    ),
    "mysql": (
        lambda: pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock"),
        lambda: pymysql.err.OperationalError(1205, "Lock wait timeout exceeded"),
        lambda: pymysql.err.OperationalError(1020, "Record has changed since last read"),
    ),
    "sqlite": (lambda: sqlite3.OperationalError("database is locked"),),
}


def one_member(host: Host, email: str, invitation_id: Any) -> None:
    """Accepted once, by one user."""
    assert len(host.rows(host.User, email=email)) == 1
    assert host.rows(host.invitations.models.Invitation, id=invitation_id)[0].status == Status.ACCEPTED
    assert event_types(host, invitation_id)["accepted"] == 1


def untouched(host: Host, email: str, invitation_id: Any) -> None:
    """As if nobody had ever tried."""
    assert host.rows(host.User, email=email) == []
    assert host.rows(host.invitations.models.Invitation, id=invitation_id)[0].status == Status.PENDING
    assert event_types(host, invitation_id) == {"created": 1, "sent": 1}


def decline(host: Host, token: str) -> tuple[int, str]:
    """Status and ``code`` of one decline over HTTP."""
    answer = host.client().post("/api/v1/users/decline-invite", json={"token": token})
    return answer.status_code, answer.get_json().get("code", "")


# R15: the network


@SERVERS
@pytest.mark.parametrize("when", [BEFORE, AFTER])
def test_connection_lost_at_commit(database_url: str, when: str) -> None:
    """R15, R14: where the connection is lost around the COMMIT of an accept, nobody can know whether it arrived: the
    client is told to try again, and finds itself accepted, or accepts; there is one user."""
    with Proxy(database_url) as proxy, build(proxy.url) as host:
        for number in range(rounds(3, 50)):
            email = f"round{number}@example.com"
            invitation_id, token = invited(host, email)
            proxy.cut_at_commit(when)
            answer = host.client().post(ACCEPT, json={"token": token, "password": PASSWORD})
            assert proxy.calm_down()
            assert (answer.status_code, answer.get_json()["code"]) == TRY_AGAIN
            assert answer.headers["Retry-After"] == "1"
            if when == BEFORE:
                untouched(host, email, invitation_id)
            again = accept(host, token)
            assert again == ((201, "") if when == BEFORE else (409, "invitation-accepted"))
            one_member(host, email, invitation_id)


@SERVERS
def test_connection_lost_on_the_way(database_url: str) -> None:
    """R15: a connection lost anywhere before the COMMIT costs nothing: the accept is begun again on a new one."""
    with Proxy(database_url) as proxy, build(proxy.url) as host:
        number, was_cut = 0, True
        while was_cut:
            email = f"round{number}@example.com"
            invitation_id, token = invited(host, email)
            proxy.cut_at_message(number)
            answer = accept(host, token)
            was_cut = proxy.calm_down()
            if answer == TRY_AGAIN:  # that message was the COMMIT
                answer = accept(host, token)
            assert answer == (201, "")
            one_member(host, email, invitation_id)
            number += 1
        assert number > 7, "an accept sends more messages than that"


# R16: the database gives up


class Trouble:
    """Makes the database refuse statement number ``at`` of ours (the commit counts as one), ``times`` times."""

    def __init__(self, engine: sa.Engine, error: Callable[[], Exception], at: int, times: int) -> None:
        self.error, self.at, self._times, self._engine = error, at, times, engine
        self.seen = self.refused = 0
        self._ours = False

    def _step(self) -> None:
        self.seen += 1
        if self.seen > self.at and self.refused < self._times:
            self.refused += 1
            raise self.error()

    def _execute(self, cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        self._ours = self._ours or "user_invitation" in statement  # before: the host loads its own user
        if self._ours:
            self._step()

    @contextmanager
    def under_way(self) -> Iterator[Trouble]:
        commit = self._engine.dialect.do_commit

        def refuse_or_commit(connection: Any) -> None:
            self._step()
            commit(connection)

        sa.event.listen(self._engine, "do_execute", self._execute)
        self._engine.dialect.do_commit = refuse_or_commit  # type: ignore[method-assign,assignment]
        try:
            yield self
        finally:
            self._engine.dialect.do_commit = commit  # type: ignore[method-assign]
            sa.event.remove(self._engine, "do_execute", self._execute)


def errors_of(host: Host) -> tuple[Callable[[], Exception], ...]:
    return TRANSIENT[make_url(host.app.config["SQLALCHEMY_DATABASE_URI"]).get_backend_name()]


def troubles(host: Host) -> Iterator[Trouble]:
    """One refusal at each statement in turn, until there is none left to refuse: in a soak with each error that the
    database has for that, else with one of them in turn."""
    errors = errors_of(host)
    for some in [[error] for error in errors] if SOAK else [errors]:
        for at in count():
            trouble = Trouble(host.engine, some[at % len(some)], at, 1)
            yield trouble
            if not trouble.refused:
                break


def test_accept_outlives_each_error_at_each_statement(host: Host) -> None:
    """R16: whichever statement of an accept the database gives up, with whichever of its transient errors, the accept
    succeeds at the second try, and its effects are there once."""
    for number, trouble in enumerate(troubles(host)):
        email = f"round{number}@example.com"
        invitation_id, token = invited(host, email)
        with trouble.under_way():
            assert accept(host, token) == (201, ""), (trouble.error, trouble.at)
        one_member(host, email, invitation_id)
        assert event_types(host, invitation_id) == {"created": 1, "sent": 1, "accepted": 1}
    assert trouble.at >= 6, "an accept has more steps than that"


def test_invite_outlives_each_error_at_each_statement(host: Host) -> None:
    """R16: the same for an invite, recording its mail included: one invitation, one mail, one line for each in the
    audit trail."""
    admin, models = host.user("admin@example.com", role="admin"), host.invitations.models
    for number, trouble in enumerate(troubles(host)):
        email = f"round{number}@example.com"
        with trouble.under_way():
            answer = host.client(admin).post(INVITE, json={"email": email})
        assert answer.status_code == 201, (trouble.error, trouble.at, answer.text)
        assert answer.get_json()["delivery"]["state"] == "sent"
        (row,) = host.rows(models.Invitation, email_key=email)
        assert event_types(host, row.id) == {"created": 1, "sent": 1}
        assert [mail.state for mail in host.rows(models.Delivery, invitation_id=row.id)] == ["sent"]
        assert [message.to for message in host.outbox.messages].count(email) == 1
    assert trouble.at >= 8, "an invite has more steps than that"


def test_looking_outlives_each_error_at_each_statement(host: Host) -> None:
    """R16: the same for an invitee who only looks, over the API and on the page; and where the database refuses to the
    last, they are told to try again."""
    _, token = invited(host, "ann@example.com")
    calls: tuple[Callable[[], Any], ...] = (
        lambda: host.client().post(f"{ACCEPT}/preview", json={"token": token}),
        lambda: host.client().post("/invitations/open", data={"token": token}),
    )
    for call in calls:
        for trouble in troubles(host):
            with trouble.under_way():
                assert call().status_code == 200, (trouble.error, trouble.at)
        assert trouble.at >= 1, "each of them was refused at least once"
        with Trouble(host.engine, errors_of(host)[0], 1, 1000).under_way() as trouble:
            answer = call()
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert 3 <= trouble.refused < 10, "bounded"
    assert accept(host, token) == (201, "")


def test_a_manager_who_looks_is_told_to_try_again(host: Host) -> None:
    """R16: a manager's look is in the transaction that the host began when it loaded them, and is not run again: what
    the host did in it would be lost. They are told to, at whichever statement the database gives up."""
    admin = host.client(host.user("admin@example.com", role="admin"))
    invitation_id, _ = invited(host, "ann@example.com")
    calls: tuple[Callable[[], Any], ...] = (
        lambda: admin.get("/api/v1/users/invitations"),
        lambda: admin.get(f"/api/v1/users/invitations/{invitation_id}"),
        lambda: admin.get(f"/api/v1/users/invitations/{invitation_id}/events"),
        lambda: admin.get("/invitations/"),
        lambda: admin.get(f"/invitations/{invitation_id}"),
    )
    for call in calls:
        at, refused = 0, 1
        while refused:
            with Trouble(host.engine, errors_of(host)[0], at, 1).under_way() as trouble:
                answer = call()
            at, refused = at + 1, trouble.refused
            assert answer.status_code == (503 if refused else 200), at
            assert call().status_code == 200
        assert at > 1, "each of them was refused at least once"


def test_what_the_host_did_is_not_lost(host: Host) -> None:
    """R16: where the database gives up while an act only looks, in a transaction in which the host has flushed changes
    of its own, the host hears of it: nothing of its own is gone without a word."""
    with host.app.app_context():
        session, tenant = host.db.session, host.tenant("Acme")
        user: Any = session.get(host.User, host.user("ann@example.com", "user", tenant))
        user.name = "Ann"
        session.flush()
        with Trouble(host.engine, errors_of(host)[0], 0, 1).under_way(), pytest.raises(TryAgain):
            host.invitations.list(tenant_id=tenant)
        session.rollback()
        assert host.invitations.list(tenant_id=tenant) == []


def test_endless_errors_end_in_try_again(host: Host) -> None:
    """R16: where the database refuses to the last, accept and invite answer 503 with Retry-After, and nothing was
    done: no user, no invitation, no mail, no event."""
    admin = host.user("admin@example.com", role="admin")
    invitation_id, token = invited(host, "ann@example.com")
    host.outbox.clear()
    for at in (0, 5):
        with Trouble(host.engine, errors_of(host)[0], at, 1000).under_way() as trouble:
            answer = host.client().post(ACCEPT, json={"token": token, "password": PASSWORD})
        assert 3 <= trouble.refused < 10, "bounded"
        assert (answer.status_code, answer.get_json()["code"]) == TRY_AGAIN
        assert int(answer.headers["Retry-After"]) > 0
        untouched(host, "ann@example.com", invitation_id)
        with Trouble(host.engine, errors_of(host)[0], at, 1000).under_way():
            answer = host.client(admin).post(INVITE, json={"email": "bob@example.com"})
        assert (answer.status_code, answer.get_json()["code"]) == TRY_AGAIN
        assert int(answer.headers["Retry-After"]) > 0
        assert host.rows(host.invitations.models.Invitation, email_key="bob@example.com") == []
        assert host.outbox.messages == []
    assert accept(host, token) == (201, "")


@SERVERS
def test_real_serialization_failures(database_url: str) -> None:
    """R16, R1: on an engine that is set to SERIALIZABLE the database does break accepts and declines off; they are run
    again, one wins and the others are refused."""
    broken: Counter[Any] = Counter()

    def count(context: Any) -> None:
        original = context.original_exception
        broken[getattr(original, "sqlstate", None) or original.args[0]] += 1

    options = {"SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": "SERIALIZABLE"}}
    with crowded(database_url, config=options) as host, Racers(4) as racers:
        sa.event.listen(host.engine, "handle_error", count)
        for number in range(rounds(40)):
            email = f"round{number}@example.com"
            _, token = invited(host, email)
            answers = Counter(racers.race(*[partial(accept, host, token), partial(decline, host, token)] * 2))
            assert answers[(201, "")] + answers[(200, "")] == 1, answers
            refused = (409, "invitation-accepted"), (409, "account-exists"), (410, "invitation-declined")
            assert unexpected(answers, (201, ""), (200, ""), *refused) == {}
            assert len(host.rows(host.User, email=email)) == answers[(201, "")]
            if number > 2 and broken.keys() & {"40001", 1213} and rounds(0, 1) == 0:
                break
    assert broken.keys() & {"40001", 1213}, f"no such thing happened: {broken}"


@pytest.mark.parametrize("_database", ["sqlite", "sqlite-wal"], indirect=True)
def test_a_locked_sqlite_file(database_url: str) -> None:
    """R16, R17: while another process holds the file's write lock an accept answers 503; then it succeeds."""
    options = {"SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": {"timeout": 0.02}}}
    with build(database_url, config=options) as host:
        invitation_id, token = invited(host, "ann@example.com")
        with closing(sqlite3.connect(make_url(database_url).database or "", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert accept(host, token) == TRY_AGAIN
            other.execute("ROLLBACK")
        untouched(host, "ann@example.com", invitation_id)
        assert accept(host, token) == (201, "")
        one_member(host, "ann@example.com", invitation_id)


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
def test_no_server_at_all(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """R16: where nothing listens a call answers 503 and the log says why; a worker that watches goes on."""
    from flask_invitations.current import get_state

    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with build(f"{driver}://nobody@127.0.0.1:{port}/nothing", create_all=False) as host:
        answer = host.client().post(ACCEPT, json={"token": "A" * 43, "password": PASSWORD})
        assert (answer.status_code, answer.get_json()["code"]) == TRY_AGAIN
        answer = host.client().post("/invitations/open", data={"token": "A" * 43})
        assert (answer.status_code, "<h1>" in answer.text) == (503, True)
        with host.app.app_context(), pytest.raises(TryAgain):
            outbox.deliver(get_state().ctx)
    assert "refused to the last: OperationalError" in caplog.text
