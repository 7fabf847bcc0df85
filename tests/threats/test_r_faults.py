"""What breaks in operation: processes that die, databases that give up, hooks that fail, clocks, and crowds."""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from flask_invitations import Status
from flask_invitations.acts.sweep import CHUNK
from flask_invitations.clock import as_utc
from flask_invitations.current import override
from flask_invitations.migrations.steps import STEPS
from flask_invitations.testing import token_in
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import (
    ACCEPT,
    DECLINE,
    GUEST,
    INVITE,
    LIST,
    PREVIEW,
    STATES,
    accept,
    copy,
    delete_row,
    invite,
    make,
    people,
    refused,
    snapshot,
    unchanged,
)
from tests.queued import deliver, mails, states, waiting
from tests.races.crew import Crew
from tests.races.harness import Racers, crowded, event_types, invited, unexpected
from tests.races.harness import accept as accept_fast
from tests.races.proxy import AFTER, Proxy
from tests.races.test_faults import Trouble, errors_of

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LEASE, TTL = 3 * MINUTE, 48 * HOUR
LOST = ((409, "invitation-accepted"), (409, "account-exists"))


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """Processes to race and to kill."""
    with Crew() as gathered:
        yield gathered


def test_of_a_crowd_one_accepts(database_url: str) -> None:
    """R1: of 16 threads that accept one link at one moment exactly one makes an account; the others are refused, and
    nobody gets a 5xx."""
    with crowded(database_url, 16) as host, Racers(16) as racers:
        for number in range(2):
            email = f"round{number}@example.com"
            invitation_id, token = invited(host, email)
            answers = racers.race(partial(accept_fast, host, token))
            assert Counter(answers)[(201, "")] == 1, Counter(answers)
            assert unexpected(answers, (201, ""), *LOST) == {}
            assert len(host.rows(host.User, email=email)) == 1
            assert event_types(host, invitation_id)["accepted"] == 1


def test_of_a_crowd_one_joins(database_url: str) -> None:
    """R1: where an account that exists joins, and nothing of the host's forbids that it does so twice, it joins once;
    to the same account every call says that it did."""
    with crowded(database_url, 8, tenancy="membership") as host, Racers(8) as racers:
        account = host.user(GUEST, "user", host.tenant("Elsewhere"))
        invitation_id, token = invited(host, GUEST)

        def join(_user: Any, _invitation: Any) -> None:
            host.db.session.add(host.Tenant(name=f"joined {uuid.uuid4()}"))

        with override(host.app, join=join):
            answers = Counter(racers.race(lambda: accept(host.client(account), token, None).status_code))
        assert answers == {201: 1, 200: 7}
        assert sum(row.name.startswith("joined") for row in host.rows(host.Tenant)) == 1
        assert event_types(host, invitation_id)["accepted"] == 1


def test_of_a_crowd_one_invites(database_url: str) -> None:
    """R2: of 16 managers who invite one address at one moment one does; the others hear which invitation it is, and one
    email leaves."""
    with crowded(database_url, 16) as host, Racers(16) as racers:
        admin = host.user("admin@example.com", "admin")

        def ask() -> tuple[int, str]:
            answer = host.client(admin).post(INVITE, json={"email": GUEST})
            body = answer.get_json()
            return answer.status_code, body.get("invitation_id", body.get("id"))

        answers = Counter(racers.race(ask))
        (row,) = host.rows(host.invitations.models.Invitation)
        assert answers == {(201, str(row.id)): 1, (409, str(row.id)): 15}
        assert len(host.outbox.messages) == 1


def test_no_member_after_a_revocation_that_was_answered(database_url: str) -> None:
    """R3: accept and revoke at one moment: either there is a member and the manager reads that it was too late, or it
    is revoked and there is none; a resend in between leaves one link at most that opens."""
    with crowded(database_url, 6, config={"INVITATIONS_RETURN_LINK": True}) as host, Racers(6) as racers:
        admin = host.client(host.user("admin@example.com", "admin"))
        for number in range(6):
            email = f"round{number}@example.com"
            invitation_id, token = invited(host, email)
            path = f"{LIST}/{invitation_id}"
            revoke, resend = partial(admin.delete, path), partial(admin.post, f"{path}/resend")
            acts = [partial(accept, host.client(), token), revoke, resend]
            answers = racers.race(*acts * 2)
            assert [each.status_code for each in answers if each.status_code >= 500] == []
            (row,) = host.rows(host.invitations.models.Invitation, id=invitation_id)
            taken = sum(each.status_code == 201 for each in answers[::3])
            assert taken == len(host.rows(host.User, email=email)) == (row.status == Status.ACCEPTED)
            if any(each.status_code == 204 for each in answers[1::3]):
                assert row.status != Status.ACCEPTED
            links = {
                token,
                *(token_in(each.get_json()["accept_url"]) for each in answers[2::3] if each.status_code == 200),
            }
            live = [link for link in links if host.client().post(PREVIEW, json={"token": link}).status_code == 200]
            assert len(live) <= 1


@pytest.mark.soak
@pytest.mark.parametrize("moment", ["before commit", "after commit"])
def test_killed_at_the_commit(database_url: str, crew: Crew, moment: str) -> None:
    """R5: an accept whose process is killed right before its commit has left nothing, right behind it everything; the
    same link leads on from both."""
    with build(database_url) as host:
        host.tenant()
        share = {"database_url": database_url, "tenancy": "tenant", "user_id": None}
        (whole,) = crew.run(
            "tests.races.work:accept_and_die", [{**share, "token": invited(host, "w@e.test")[1], "die_at": None}]
        )
        at = whole.result.index(moment)
        invitation_id, token = invited(host, GUEST)
        (ended,) = crew.run("tests.races.work:accept_and_die", [{**share, "token": token, "die_at": at}])
        assert ended.signal == SIGKILL
        done = moment == "after commit"
        (row,) = host.rows(host.invitations.models.Invitation, id=invitation_id)
        assert row.status == (Status.ACCEPTED if done else Status.PENDING)
        assert len(host.rows(host.User, email=GUEST)) == event_types(host, invitation_id)["accepted"] == done
        assert accept(host.client(), token).status_code == (409 if done else 201)
        assert len(host.rows(host.User, email=GUEST)) == 1


@pytest.mark.soak
def test_killed_between_commit_and_email(database_url: str, crew: Crew, tmp_path: Path) -> None:
    """R6: an invite whose process is killed right behind its commit, before its email: a worker sends it when the lease
    of the dead is over, and its link opens."""
    with build(database_url) as host:
        host.tenant()
        share = {"database_url": database_url, "sent": str(tmp_path / "sent")}
        (whole,) = crew.run("tests.races.work:invite_and_die", [{**share, "email": "w@e.test", "die_at": None}])
        at = whole.result.index("after commit")
        (ended,) = crew.run("tests.races.work:invite_and_die", [{**share, "email": GUEST, "die_at": at}])
        assert ended.signal == SIGKILL
        assert GUEST not in (tmp_path / "sent").read_text()
        host.clock.tick(LEASE + MINUTE)
        assert deliver(host) == {"sent": 1}
        assert accept(host.client(), host.outbox.token_to(GUEST)).status_code == 201


@pytest.mark.soak
def test_worker_killed_in_a_batch(database_url: str, crew: Crew, tmp_path: Path) -> None:
    """R7: a worker that is killed right behind its third email of ten: when its lease is over another one sends what is
    left; every email arrives, one at most twice and then with the same link, and no row is stuck."""
    sent = tmp_path / "sent"
    with build(database_url, config={"INVITATIONS_DELIVERY": "queue"}) as host:
        admin = people(host)[1]
        for number in range(10):
            invite(host.client(admin), f"p{number}@example.com")
        share = {"database_url": database_url, "sent": str(sent), "die_after": 3}
        (ended,) = crew.run("tests.threats.work:deliver_and_die", [share])
        assert ended.signal == SIGKILL
        before = dict(line.split() for line in sent.read_text().splitlines())
        assert len(before) == 3
        host.clock.tick(LEASE + MINUTE)
        deliver(host)
        after = {message.to: message.accept_url for message in host.outbox.messages}
        assert {*before, *after} == {f"p{number}@example.com" for number in range(10)}
        twice = before.keys() & after.keys()
        assert len(twice) <= 3
        assert all(before[email] == after[email] for email in twice)
        assert states(host) == {"sent": 10}


def test_a_crowd_of_workers_sends_each_once(database_url: str) -> None:
    """R8: four workers at once, none of which is killed, send no email twice."""
    config = {"INVITATIONS_DELIVERY": "queue"}
    with crowded(database_url, 6, config=config) as host, Racers(4) as racers:
        waiting(host, 40)
        racers.race(partial(deliver, host, batch=3))
        assert Counter(message.to for message in host.outbox.messages) == {f"p{n}@example.com": 1 for n in range(40)}
        assert states(host) == {"sent": 40}


@pytest.mark.in_turn
@pytest.mark.parametrize("end", ["revoked", "declined", "accepted", "overdue", "tenant inactive", "inviter demoted"])
def test_nothing_leaves_for_what_has_ended(queued: Host, end: str) -> None:
    """R9: an email that waits while its invitation ends is cancelled, and says why; nobody gets it."""
    case = _waiting_case(queued)
    STATES[end](case)
    queued.clock.tick(timedelta(seconds=1))
    deliver(queued)
    assert queued.outbox.messages == []
    last = mails(queued)[-1]
    assert (last.state, bool(last.last_error)) == ("cancelled", True)


def test_nothing_leaves_for_a_tenant_that_is_gone(queued: Host) -> None:
    """R9: with its tenant a waiting email is gone, and the worker goes on."""
    case = _waiting_case(queued)
    delete_row(queued, queued.Tenant, case.tenant)
    assert deliver(queued) == {}
    assert mails(queued) == []


def _waiting_case(host: Host) -> Any:
    from tests.http.tools import Case

    tenant, admin, plain, stranger = people(host)
    made = invite(host.client(admin))
    host.clock.tick(timedelta(seconds=1))
    deliver(host)
    token = host.outbox.token_to(GUEST)
    host.client(admin).post(f"{LIST}/{made['id']}/resend", json={"rotate": False})
    host.outbox.clear()
    return Case(host, admin, plain, stranger, tenant, GUEST, made["id"], token)


@pytest.mark.in_turn
def test_four_hours_without_a_mail_server(host: Host) -> None:
    """R10: while no email can be sent, inviting succeeds as ever; tries come ever rarer; when the server is back all
    arrive, and what has expired in the meantime is cancelled where managers can see it."""
    admin = people(host)[1]
    host.outbox.fail_with = ConnectionError("down")
    for number in range(5):
        assert invite(host.client(admin), f"p{number}@example.com")["delivery"]["state"] == "queued"
    brief = invite(host.client(admin), "brief@example.com", expires_in=3600)
    tries = []
    for _ in range(4 * 12):
        host.clock.tick(5 * MINUTE)
        tries.append(sum(deliver(host).values()))
    assert sum(tries) <= 6 * 9
    host.outbox.fail_with = None
    host.clock.tick(6 * HOUR)
    deliver(host)
    assert {message.to for message in host.outbox.messages} == {f"p{number}@example.com" for number in range(5)}
    shown: Any = host.client(admin).get(f"{LIST}/{brief['id']}").json
    assert (shown["status"], shown["delivery"]["state"]) == ("expired", "cancelled")
    assert shown["delivery"]["error"] == "invitation-expired"


@pytest.mark.parametrize("delivery", ["inline", "queue"])
def test_no_transaction_waits_for_a_mail_server(database_url: str, delivery: str) -> None:
    """R11: while the mailer is at work, for however long, no connection to the database is held: a revocation and
    another worker go on meanwhile."""
    with build(database_url, config={"INVITATIONS_DELIVERY": delivery}) as host:
        admin = people(host)[1]
        held: list[int] = []

        def slow(message: Any) -> None:
            held.append(host.engine.pool.checkedout())  # type: ignore[attr-defined]
            host.outbox(message)

        with override(host.app, mailer=slow):
            invite(host.client(admin))
            host.clock.tick(timedelta(seconds=1))
            deliver(host)
        assert held == [0]


def test_a_poison_row_fails_alone(database_url: str) -> None:
    """R12: what can never be sent is given up, as failed and with the class of its error alone: no address, no text of
    the server's."""
    config = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_DELIVERY_ATTEMPTS": 3}
    with build(database_url, config=config) as host:
        waiting(host, 5)

        def mailer(message: Any) -> None:
            if message.to == "p2@example.com":
                raise RuntimeError("poison for p2@example.com")
            host.outbox(message)

        with override(host.app, mailer=mailer):
            for _ in range(4):
                deliver(host)
                host.clock.tick(HOUR)
        assert states(host) == {"sent": 4, "failed": 1}
        (row,) = mails(host, state="failed")
        assert (row.attempts, row.last_error) == (3, "RuntimeError")


def test_the_last_email_opens(queued: Host) -> None:
    """R13: sent again twice while a worker is slow: whichever email arrives last has the link that opens, and every
    link that arrived before is dead."""
    case = _waiting_case(queued)
    for _ in range(2):
        queued.clock.tick(timedelta(seconds=1))
        assert queued.client(case.admin).post(f"{case.url}/resend").status_code == 200
    deliver(queued)
    links = [token_in(message.accept_url) for message in queued.outbox.messages]
    assert len(links) == 1
    assert accept(queued.client(), case.token).status_code in (404, 410)
    assert accept(queued.client(), links[-1]).status_code == 201


def test_a_client_that_asks_again_does_nothing_twice(host: Host) -> None:
    """R14: an invite that is repeated names the invitation that there is, and sends no second email; an accept that is
    repeated makes no second account, and the account that it made gets its answer again."""
    admin = people(host)[1]
    made = invite(host.client(admin))
    for _ in range(3):
        answer = host.client(admin).post(INVITE, json={"email": GUEST})
        refused(answer, 409, "already-invited", invitation_id=made["id"])
    assert len(host.outbox.messages) == 1
    token = host.outbox.token_to(GUEST)
    first = accept(host.client(), token)
    assert first.status_code == 201
    refused(accept(host.client(), token), 409, "invitation-accepted")
    (user,) = host.rows(host.User, email=GUEST)
    again = accept(host.client(user.id), token, None)
    assert (again.status_code, again.get_json()["user"]) == (200, first.get_json()["user"])


@pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)
def test_connection_lost_behind_the_commit(database_url: str) -> None:
    """R15: the network breaks right behind the COMMIT of an accept: the client is told to try again, does, and there is
    one account."""
    with Proxy(database_url) as proxy, build(proxy.url) as host:
        invitation_id, token = invited(host, GUEST)
        proxy.cut_at_commit(AFTER)
        refused(host.client().post(ACCEPT, json={"token": token, "password": PASSWORD}), 503, "try-again")
        assert proxy.calm_down()
        refused(accept(host.client(), token), 409, "invitation-accepted")
        assert len(host.rows(host.User, email=GUEST)) == event_types(host, invitation_id)["accepted"] == 1


def test_a_deadlock_is_run_again(host: Host) -> None:
    """R16: a database that breaks off a transaction, at its first statement or at its last, is asked again, and every
    effect is there once; one that does so to the last gets 503 with Retry-After, and nothing has happened."""
    for error in errors_of(host)[:1]:
        for at in (0, 2, 4):
            email = f"at{at}@example.com"
            invitation_id, token = invited(host, email)
            with Trouble(host.engine, error, at, 1).under_way() as trouble:
                assert accept_fast(host, token) == (201, "")
            assert trouble.refused == 1
            assert event_types(host, invitation_id) == {"created": 1, "sent": 1, "accepted": 1}
        _, token = invited(host, GUEST)
        with unchanged(host), Trouble(host.engine, error, 0, 1000).under_way():
            answer = host.client().post(ACCEPT, json={"token": token, "password": PASSWORD})
        assert answer.headers["Retry-After"] == "1"
        refused(answer, 503, "try-again")


@pytest.mark.soak
@pytest.mark.parametrize("_database", ["sqlite"], indirect=True)
def test_sqlite_in_two_processes(database_url: str, crew: Crew) -> None:
    """R17: on SQLite in its write-ahead mode two processes of four threads race for links: each is accepted once."""
    with build(database_url) as host:
        with closing(sqlite3.connect(str(host.engine.url.database))) as connection:
            assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        made = [invited(host, f"round{number}@example.com") for number in range(3)]
        share = {"database_url": database_url, "tokens": [token for _, token in made], "threads": 4}
        ended = crew.run("tests.races.work:accept_all", [share, share])
        for number, (invitation_id, _) in enumerate(made):
            answers = [tuple(each) for one in ended for each in one.result[number]]
            assert Counter(answers)[(201, "")] == 1, answers
            assert event_types(host, invitation_id)["accepted"] == 1


@pytest.mark.parametrize("ahead", [timedelta(minutes=-10), timedelta(0), timedelta(minutes=10)], ids=str)
def test_one_clock_decides(host: Host, ahead: timedelta) -> None:
    """R18: the injected clock alone decides, whatever the machine's or the database's shows: a link is open for exactly
    its time, and at the end itself it is over."""
    host.clock.tick(ahead)
    case = make(host, "pending")
    shown: Any = host.client(case.admin).get(case.url).json
    assert shown["expires_at"].endswith("Z")
    host.clock.tick(TTL - timedelta(microseconds=1))
    assert host.client().post(PREVIEW, json={"token": case.token}).status_code == 200
    host.clock.tick(timedelta(microseconds=1))
    refused(accept(host.client(), case.token), 410, "invitation-expired")
    (row,) = host.rows(host.invitations.models.Invitation)
    assert as_utc(row.expires_at) == host.clock()


class Interrupt(BaseException):
    """What no handler of errors catches."""


@pytest.mark.parametrize("error", [LookupError, Interrupt])
def test_a_hook_that_fails_before_the_commit_undoes_all(host: Host, error: type[BaseException]) -> None:
    """R19: ``create_user`` that raises, whatever it raises, leaves no account and a link that still works;
    ``on_accepted`` that raises comes too late to undo anything, and the answer is 201."""
    case = make(host, "pending")
    create = host.app.extensions["invitations"].ctx.hooks.create_user

    def fail(*given: Any) -> Any:
        host.db.session.add(create(*given))
        host.db.session.flush()
        raise error

    def complain(*_given: Any) -> Any:
        raise error

    with override(host.app, create_user=fail), pytest.raises(error):
        accept(host.client(), case.token)
    assert not host.rows(host.User, email=case.email)
    if error is LookupError:
        with override(host.app, on_accepted=complain):
            assert accept(host.client(), case.token).status_code == 201
        assert host.rows(host.User, email=case.email)


def test_down_and_up_again_revives_no_link(empty_url: str) -> None:
    """R20: taking the migration steps back and applying them again brings back no link that was used, and touches no
    row of the host's."""
    with build(empty_url, create_all=False) as host:
        ours = host.invitations.models.tables
        with host.engine.begin() as connection:
            theirs = [table for table in host.db.metadata.sorted_tables if table not in ours]
            host.db.metadata.create_all(connection, tables=theirs)
        _migrate(host, "upgrade")
        case = make(host, "accepted")
        users = snapshot(host)["users"]
        _migrate(host, "downgrade")
        with host.engine.connect() as connection:
            names = set(sa.inspect(connection).get_table_names())
        assert names.isdisjoint({table.name for table in ours})
        _migrate(host, "upgrade")
        refused(accept(host.client(), case.token), 404, "invitation-not-found")
        assert snapshot(host)["users"] == users


def _migrate(host: Host, way: str) -> None:
    models = host.invitations.models
    needed = [step for step in STEPS if step.needed(models)]
    steps = needed if way == "upgrade" else needed[::-1]
    with host.engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        for step in steps:
            for operation in getattr(step, way)(models):
                operations.invoke(operation)


def test_a_sweep_that_is_killed_goes_on(database_url: str) -> None:
    """R21: a sweep goes in steps: killed behind the first, that one stands, and the next sweep does the rest; run twice
    it changes nothing; what is pending is never purged, however short the retention."""
    from flask_invitations import invitation_expired

    def die(*_: Any, **__: Any) -> None:
        raise Interrupt

    with build(database_url, config={"INVITATIONS_RETENTION": 0}) as host:
        case = make(host, "pending")
        copy(host, case.id, CHUNK + 4)
        fresh = invite(host.client(case.admin), "fresh@example.com", expires_in=30 * 86400)
        host.clock.tick(TTL)
        with host.app.app_context():
            with invitation_expired.connected_to(die, sender=host.app), pytest.raises(Interrupt):
                host.invitations.sweep()
            assert len(host.rows(host.invitations.models.Invitation, status="expired")) == CHUNK
            swept = host.invitations.sweep()
            assert (swept.expired, swept.purged) == (5, CHUNK + 5)
            with unchanged(host):
                assert host.invitations.sweep().expired == 0
        (row,) = host.rows(host.invitations.models.Invitation, status="pending")
        assert (str(row.id), row.email) == (fresh["id"], "fresh@example.com")


def test_no_change_without_its_line(host: Host) -> None:
    """R22: every change has exactly one line in the audit trail, in its own transaction: where the line cannot be
    written, nothing has changed; and lines are added, not rewritten or deleted."""
    case = make(host, "pending")
    admin = host.client(case.admin)
    with host.statements() as seen:
        assert admin.post(f"{case.url}/resend").status_code == 200
        assert accept(host.client(), host.outbox.token_to(case.email)).status_code == 201
    events = [text for text in seen if "user_invitation_events" in text]
    assert events
    assert [text for text in events if text.startswith("DELETE")] == []
    told = event_types(host, host.rows(host.invitations.models.Invitation)[0].id)
    assert told == {"created": 1, "sent": 2, "resent": 1, "accepted": 1}

    other = make(host, "pending", "Other")
    host.app.config["PROPAGATE_EXCEPTIONS"] = False

    def refuse(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("INSERT INTO user_invitation_events"):
            raise RuntimeError("no line can be written")

    engine = host.engine
    sa.event.listen(engine, "before_cursor_execute", refuse)
    try:
        with unchanged(host):
            answers = [
                host.client(other.admin).delete(other.url),
                host.client(other.admin).post(f"{other.url}/resend"),
                host.client().post(DECLINE, json={"token": other.token}),
                accept(host.client(), other.token),
                host.client(other.admin).post(INVITE, json={"email": "more@example.com"}),
            ]
    finally:
        sa.event.remove(engine, "before_cursor_execute", refuse)
    assert {answer.status_code for answer in answers} == {500}
    assert len(host.outbox.messages) == 3


def test_work_does_not_grow_with_what_there_is(host: Host) -> None:
    """R23: an invite, an accept and a page of the list run the same few statements, whether the organization has one
    invitation or two hundred."""
    case = make(host, "pending")
    few = _costs(host, case.admin, "first@example.com")
    copy(host, case.id, 200)
    many = _costs(host, case.admin, "second@example.com")
    assert few == many
    assert max(many) <= 16


def _costs(host: Host, admin: Any, email: str) -> list[int]:
    """How many statements an invite, an accept and a page of the list run, the host's own included."""
    client, costs = host.client(admin), list[int]()
    calls: list[Callable[[], Any]] = [
        lambda: client.post(INVITE, json={"email": email}),
        lambda: accept(host.client(), host.outbox.token_to(email)),
        lambda: client.get(LIST, query_string={"limit": 100}),
    ]
    for call in calls:
        with host.statements() as seen:
            assert call().status_code < 300
        costs.append(len(seen))
    return costs


def test_a_limit_is_hard(database_url: str) -> None:
    """R4: 24 managers invite at one moment, with room for 10 open invitations: exactly 10 are made, and the others are
    told that there are too many."""
    with crowded(database_url, 12, config={"INVITATIONS_PENDING_MAX": 10}) as host, Racers(24) as racers:
        admin, numbers = host.user("admin@example.com", "admin"), count()

        def ask() -> tuple[int, str]:
            answer = host.client(admin).post(INVITE, json={"email": f"p{next(numbers)}@example.com"})
            return answer.status_code, answer.get_json().get("code", "")

        assert Counter(racers.race(ask)) == {(201, ""): 10, (409, "too-many-pending"): 14}
        assert len(host.rows(host.invitations.models.Invitation, status="pending")) == 10
        assert len(host.outbox.messages) == 10


@pytest.mark.parametrize("call", ["invite", "resend", "accept"])
def test_a_key_makes_a_repetition_harmless(host: Host, call: str) -> None:
    """R14: repeated with its ``Idempotency-Key``, a call gets its first answer again, and nothing happens twice: no
    row, no email; with another body the key is refused."""
    case = make(host, "pending")
    client = host.client() if call == "accept" else host.client(case.admin)
    url, body = {
        "invite": (INVITE, {"email": "other@example.com"}),
        "resend": (f"{case.url}/resend", {"rotate": True}),
        "accept": (ACCEPT, {"token": case.token, "password": PASSWORD}),
    }[call]
    key = {"Idempotency-Key": "a-key-of-the-client"}
    first = client.post(url, json=body, headers=key)
    assert first.status_code in (200, 201)
    with unchanged(host):
        again = client.post(url, json=body, headers=key)
    assert (again.status_code, again.get_json()) == (first.status_code, first.get_json())
    assert again.headers["Idempotency-Replayed"] == "true"
    if call == "invite":
        refused(client.post(url, json={"email": "x@example.com"}, headers=key), 422, "idempotency-mismatch")
    assert len(host.outbox.messages) == (1 if call == "accept" else 2)
