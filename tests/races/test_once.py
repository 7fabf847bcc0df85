"""One call, sent by many at one moment, or sent again since nobody heard the answer: with its key it is done once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations import Status
from flask_invitations.config import Config
from flask_invitations.current import override
from tests.hosts import PASSWORD, Host, build
from tests.races.harness import ACCEPT, Racers, crowded, event_types, invited, rounds
from tests.races.proxy import AFTER, BEFORE, Proxy
from tests.races.test_faults import INVITE, SERVERS, TRY_AGAIN, troubles

pytestmark = pytest.mark.soak

CALLERS, LEASE = 20, Config.delivery_lease
#: In seconds: how long MariaDB waits for a lock here.
PATIENCE = 1000
IN_PROGRESS = "idempotency-in-progress"
LIST = "/api/v1/users/invitations"


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]
    replayed: bool

    @property
    def outcome(self) -> tuple[int, str]:
        return self.status, self.body.get("code", "")


@dataclass(frozen=True)
class Sent:
    """A call with a key, to be sent as often as one likes."""

    host: Host
    url: str
    body: dict[str, Any]
    user: Any = None

    def __call__(self) -> Answer:
        headers = {"Idempotency-Key": f"key of {self.url}"}
        answer = self.host.client(self.user).post(self.url, json=self.body, headers=headers)
        return Answer(answer.status_code, answer.get_json(), answer.headers.get("Idempotency-Replayed") == "true")


def prepared(host: Host, name: str, admin: Any, email: str) -> Sent:
    """A call of this name that has something to do with this address."""
    if name == "invite":
        return Sent(host, INVITE, {"email": email}, admin)
    invitation_id, token = invited(host, email)
    if name == "resend":
        return Sent(host, f"{LIST}/{invitation_id}/resend", {}, admin)
    return Sent(host, ACCEPT, {"token": token, "password": PASSWORD})


#: What the audit trail tells once each call was done once.
STORY = {
    "invite": {"created": 1, "sent": 1},
    "resend": {"created": 1, "sent": 2, "resent": 1},
    "accept": {"created": 1, "sent": 1, "accepted": 1},
}
EACH = pytest.mark.parametrize("name", STORY)


def check_once(host: Host, name: str, email: str) -> None:
    """The call was done, once: one invitation, one user, one email of each kind, and nothing else in the trail."""
    models = host.invitations.models
    (row,) = host.rows(models.Invitation, email_key=email)
    told = event_types(host, row.id)
    told.pop("accept_refused", None)  # a rival that looked between two moments; its caller heard of the success
    assert told == STORY[name]
    assert [message.to for message in host.outbox.messages].count(email) == STORY[name]["sent"]
    assert row.status == (Status.ACCEPTED if name == "accept" else Status.PENDING)
    assert len(host.rows(host.User, email=email)) == (name == "accept")
    assert len(host.rows(models.Request)) == 1
    with host.engine.begin() as connection:
        connection.execute(sa.delete(models.Request.__table__))


@EACH
def test_many_at_one_moment(database_url: str, name: str) -> None:
    """R14, B7: of 20 calls with one key one is done; every answer is that of this one, or says that it still runs."""
    with crowded(database_url, CALLERS) as host, Racers(CALLERS) as racers:
        admin = host.user("admin@example.com", "admin")
        for number in range(rounds(1, 50)):
            email = f"round{number}@example.com"
            call = prepared(host, name, admin, email)
            answers = racers.race(call)
            done = 200 if name == "resend" else 201
            counted = Counter(answer.outcome for answer in answers)
            assert counted.keys() <= {(done, ""), (409, IN_PROGRESS)}, counted
            assert [answer.replayed for answer in answers if answer.status == done].count(False) == 1
            assert len({said(answer.body) for answer in answers if answer.status == done}) == 1
            last = call()
            assert (last.status, last.replayed) == (done, True)
            check_once(host, name, email)


def said(body: dict[str, Any]) -> str:
    """What an answer says, but for how the email fares."""
    return repr({**body, "delivery": None})


class Stuck:
    """A hook in which the first caller waits to be let go."""

    def __init__(self) -> None:
        self.arrived, self.go, self._first = threading.Event(), threading.Event(), True

    def __call__(self) -> bool:
        if self._first:
            self._first = False
            self.arrived.set()
            assert self.go.wait(60)
        return True


@contextmanager
def while_the_first_is_stuck(host: Host, call: Sent, hook: str = "tenant_is_active") -> Iterator[list[Answer]]:
    """The block runs while a first call is in its transaction; its answer is in the list afterwards."""
    stuck, answers = Stuck(), list[Answer]()
    before = host.app.extensions["invitations"].ctx.hooks
    hooked = {hook: lambda *given: stuck() and getattr(before, hook)(*given)}
    with override(host.app, **hooked), ThreadPoolExecutor(1) as pool:
        first = pool.submit(call)
        try:
            assert stuck.arrived.wait(60)
            yield answers
        finally:
            stuck.go.set()
        answers.append(first.result())


def ended(call: Sent) -> Answer:
    """The answer to a call that waits for nobody; for one that does we do not wait."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(call).result(30)
    finally:
        pool.shutdown(wait=False)


@SERVERS
@EACH
def test_while_it_runs(database_url: str, name: str) -> None:
    """R14: while the first call still runs, or hashes a password, the second one does not wait for it, and is told to
    come again."""
    with patient(crowded(database_url, 4)) as host:
        call = prepared(host, name, host.user("admin@example.com", "admin"), "guest@example.com")
        hook = "create_user" if name == "accept" else "tenant_is_active"
        with while_the_first_is_stuck(host, call, hook) as first:
            second = ended(call)
            assert second.outcome == (409, IN_PROGRESS)
        assert first[0].outcome == (200 if name == "resend" else 201, "")
        third = call()
        assert (third.body, third.replayed) == (first[0].body, True)
        check_once(host, name, "guest@example.com")


def patient(host: Host) -> Host:
    """A host whose sessions wait for a lock as long as it takes."""

    def connect(connection: Any, _record: Any) -> None:
        if host.engine.dialect.name == "mysql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET innodb_lock_wait_timeout = {PATIENCE}")

    sa.event.listen(host.engine, "connect", connect)
    host.close()  # the connections from before
    return host


@pytest.mark.parametrize("_database", ["sqlite", "sqlite-wal"], indirect=True)
def test_on_sqlite_nobody_waits(database_url: str) -> None:
    """On SQLite a call that still decides keeps nobody from writing, not even its rival: the first to be done counts,
    and the other gives that answer. (PENDING_MAX would: it holds the tenant.)"""
    with crowded(database_url, 4, config={"INVITATIONS_PENDING_MAX": None}) as host:
        admin = host.user("admin@example.com", "admin")
        call = prepared(host, "invite", admin, "guest@example.com")
        with while_the_first_is_stuck(host, call) as slow:
            somebody = host.user("somebody@example.com", "admin")
            assert Sent(host, INVITE, {"email": "other@example.com"}, somebody)().status == 201
            fast = call()
        assert (fast.status, fast.replayed) == (201, False)
        assert (slow[0].status, slow[0].body, slow[0].replayed) == (201, fast.body, True)


@SERVERS
def test_different_keys_do_not_wait(database_url: str) -> None:
    """While a call with a key runs, calls with other keys go on, as far as keys go."""
    with crowded(database_url, 4, config={"INVITATIONS_PENDING_MAX": None}) as host:
        admin, other = host.user("admin@example.com", "admin"), host.user("other@example.com", "admin")
        call = prepared(host, "invite", admin, "guest@example.com")
        with while_the_first_is_stuck(host, call) as first:
            for number in range(20):
                key = {"Idempotency-Key": f"number {number}"}
                answer = host.client(other).post(INVITE, json={"email": f"g{number}@example.com"}, headers=key)
                assert answer.status_code == 201, answer.text
        assert first[0].status == 201


@pytest.mark.parametrize("_database", ["mariadb"], indirect=True)
def test_the_patience_of_the_hosts_session(database_url: str) -> None:
    """MariaDB: how long the host's session waits for a lock is what it was, within the act and after it."""
    seen = []

    def look(_tenant_id: Any) -> bool:
        seen.append(host.db.session.execute(sa.text("SELECT @@innodb_lock_wait_timeout")).scalar())
        return True

    with patient(crowded(database_url, 4)) as host:
        admin = host.user("admin@example.com", "admin")
        call = prepared(host, "invite", admin, "guest@example.com")
        with override(host.app, tenant_is_active=look):
            assert call().status == 201
            assert call().status == 201
            with host.app.app_context():
                look(None)
        assert set(seen) == {PATIENCE}


@SERVERS
@pytest.mark.parametrize("when", [BEFORE, AFTER])
@EACH
def test_connection_lost_at_commit(database_url: str, name: str, when: str) -> None:
    """R15, R14: where the connection is lost around the COMMIT, whoever calls is told to try again, and the same call
    with the same key succeeds: it is done once, whether or not it was done before."""
    with Proxy(database_url) as proxy, build(proxy.url) as host:
        admin = host.user("admin@example.com", "admin")
        for number in range(rounds(2, 30)):
            email = f"round{number}@example.com"
            call = prepared(host, name, admin, email)
            proxy.cut_at_commit(when)
            assert call().outcome == TRY_AGAIN
            assert proxy.calm_down()
            again = call()
            while again.outcome == (409, IN_PROGRESS):  # until the server has noticed that nobody is there any more
                again = call()
            assert (again.outcome, again.replayed) == ((200 if name == "resend" else 201, ""), when == AFTER)
            host.clock.tick(LEASE)
            with host.app.app_context():
                host.invitations.deliver()
            check_once(host, name, email)


@pytest.mark.in_turn
@EACH
def test_each_error_at_each_statement(host: Host, name: str) -> None:
    """R16: whichever statement of a call with a key the database gives up, with whichever of its transient errors, the
    call succeeds, at once or when it is sent again, and is done once."""
    admin = host.user("admin@example.com", "admin")
    for number, trouble in enumerate(troubles(host)):
        email = f"round{number}@example.com"
        call = prepared(host, name, admin, email)
        with trouble.under_way():
            answer = call()
        if answer.status in (409, 503):
            assert answer.outcome in ((409, IN_PROGRESS), TRY_AGAIN)
            answer = call()
        assert answer.outcome == (200 if name == "resend" else 201, "")
        with host.app.app_context():
            host.clock.tick(LEASE)
            host.invitations.deliver()
        check_once(host, name, email)
    assert trouble.at > 5
