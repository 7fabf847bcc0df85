"""What was decided on is what is changed; and which of two is later is told by numbers in rows, not by clocks."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations.current import override
from flask_invitations.store.deliveries import KEY_GONE
from flask_invitations.testing import token_in
from flask_invitations.tokens import Token
from tests.faults.rivals import UNHELD
from tests.hosts import Host, build
from tests.http.tools import DECLINE, LIST, PREVIEW, Case, accept, invite, make, refused
from tests.races.harness import Racers, rounds

DAY = timedelta(days=1)
#: A server that is behind.
BEHIND = timedelta(seconds=-3)


def row_of(case: Case, invitation_id: str = "") -> Any:
    (row,) = case.host.rows(case.host.invitations.models.Invitation, id=uuid.UUID(invitation_id or case.id))
    return row


def states(host: Host) -> Counter[tuple[str, str | None]]:
    return Counter((mail.state, mail.last_error) for mail in host.rows(host.invitations.models.Delivery))


def is_live(host: Host, token: str) -> bool:
    return host.client().post(PREVIEW, json={"token": token}).status_code == 200


# T5


def test_purged_while_it_is_sent_again(database_url: str) -> None:
    """T5: a purge between a resend's read and its write wins: the answer is a refusal, and no invitation is pending
    without an address."""
    with build(database_url, config=UNHELD) as host:
        case, done = make(host, "swept"), list[int]()
        host.clock.tick(100 * DAY)

        def meanwhile(_draft: Any) -> None:
            if not done:
                with host.app.app_context():
                    done.append(host.invitations.sweep().purged)

        with override(host.app, check_invitee=meanwhile):
            refused(host.client(case.admin).post(f"{case.url}/resend"), 410, "invitation-expired")
        row = row_of(case)
        assert (done, row.status, row.email_key) == ([1], "expired", None)


def _resend(case: Case) -> None:
    assert case.host.client(case.admin).post(f"{case.url}/resend").status_code == 200


def _decline(case: Case) -> None:
    assert case.host.client().post(DECLINE, json={"token": case.token}).status_code == 200


def _accept(case: Case) -> None:
    assert accept(case.host.client(), case.token).status_code == 201


def _fresh(case: Case) -> None:
    case.host.clock.tick(9 * DAY)
    with case.host.app.app_context():
        case.host.invitations.request_link(case.token)
    assert len(case.host.outbox.messages) == 2


@pytest.mark.parametrize("act", [_resend, _decline, _accept, _fresh])
def test_whatever_has_changed_is_decided_on_again(database_url: str, act: Callable[[Case], None]) -> None:
    """T5: an act that finds the row at another version than it had read begins anew, whatever it was that changed, and
    succeeds once."""
    with build(database_url, config={"INVITATIONS_FRESH_LINK": "send", **UNHELD}) as host:
        case, asked = make(host, "pending"), list[Any]()
        table = host.invitations.models.Invitation.__table__

        def tenant_is_active(_key: Any) -> bool:
            if not asked:
                with host.engine.begin() as connection:
                    connection.execute(sa.update(table).values(version=table.c.version + 1, message="edited"))
            asked.append(1)
            return True

        with override(host.app, tenant_is_active=tenant_is_active):
            act(case)
        assert len(asked) > 1
        assert row_of(case).version == (4 if act is _fresh else 3)  # to ask for a link is a change too


Transactions = list[list[str]]


@contextmanager
def transactions(host: Host) -> Iterator[Transactions]:
    """The statements of each transaction of the app's engine."""
    seen: Transactions = [[]]

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen[-1].append(re.sub(r"[`\s]+", " ", statement))

    def end(_connection: Any) -> None:
        seen.append([])

    listeners: tuple[tuple[str, Any], ...] = (("before_cursor_execute", note), ("commit", end), ("rollback", end))
    for name, listener in listeners:
        sa.event.listen(host.engine, name, listener)
    try:
        yield seen
    finally:
        for name, listener in listeners:
            sa.event.remove(host.engine, name, listener)


def live_through(database_url: str) -> Transactions:
    """Everything that is ever done with invitations; by an app, and by one whose key is another."""
    config = {"INVITATIONS_FRESH_LINK": "send", "INVITATIONS_REMIND_BEFORE": 3600, "INVITATIONS_DELIVERY": "queue"}
    config |= {"INVITATIONS_NOTIFY_REVOKED": True, "INVITATIONS_NOTIFY_INVITER": True}
    with (
        build(database_url, config=config) as host,
        build(database_url, config={**config, "SECRET_KEY": "another key"}, create_all=False) as later,
        transactions(host) as one,
        transactions(later) as other,
    ):
        admin, calls = host.user("admin@acme.example", "admin"), host.invitations
        manager = host.client(admin)
        first = invite(manager, "one@acme.example")
        assert manager.post(f"{LIST}/{first['id']}/resend").status_code == 200
        later.clock.tick(2 * KEY_GONE)
        with later.app.app_context():
            assert later.invitations.deliver()["sent"] == 1
        with host.app.app_context():
            host.clock.tick(timedelta(hours=47, minutes=30))
            assert calls.sweep().reminded == 1
            host.clock.tick(DAY)
            assert calls.sweep().expired == 1
            calls.request_link(later.outbox.token_to("one@acme.example"))
            assert calls.deliver()["sent"] == 1
            calls.record_delivery(host.outbox.messages[-1].id, "delivered")
            calls.record_delivery(host.outbox.messages[-1].id, "bounced")
        never = {"token": host.outbox.token_to("one@acme.example"), "never_again": True}
        assert host.client().post(DECLINE, json=never).status_code == 200
        for email in ("two@acme.example", "three@acme.example"):
            invite(manager, email)
            host.clock.tick(3 * DAY)
        second = invite(manager, "two@acme.example")
        with host.app.app_context():
            calls.deliver()
        assert accept(host.client(), "A" * 43).status_code == 404
        assert accept(host.client(), host.outbox.token_to("two@acme.example"), "short").status_code == 422
        assert manager.delete(f"{LIST}/{second['id']}").status_code == 204
        invite(manager, "three@acme.example")
        with host.app.app_context():
            calls.deliver()
        assert accept(host.client(), host.outbox.token_to("three@acme.example")).status_code == 201
        with host.app.app_context():
            calls.deliver()
            host.clock.tick(200 * DAY)
            assert calls.sweep().purged == 5
        return [each for each in (*one, *other) if each]


def test_each_change_names_its_version(database_url: str) -> None:
    """T5: no statement of ours changes an invitation but at the version at which it was read, and each raises that."""
    updates = [
        each for one in live_through(database_url) for each in one if each.startswith("UPDATE user_invitations ")
    ]
    assert len(updates) >= 10
    for update in updates:
        changes, _, guards = update.partition(" WHERE ")
        assert "version=(user_invitations.version + " in changes
        assert "user_invitations.version" in guards


@pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)
def test_tenants_are_held_first(database_url: str) -> None:
    """T7: whatever is done, the first statement that locks a row of ours holds its tenant before, by its guard or as an
    INSERT that points there. Leasing emails waits for nobody, and nothing that would wait comes after it."""
    mails = "user_invitation_deliveries"
    locking = re.compile(r"(UPDATE|INSERT INTO) user_invitation|FROM user_invitation.* FOR UPDATE")
    leasing = re.compile(rf"FROM {mails} .*FOR UPDATE SKIP LOCKED|attempts=\(?{mails}.attempts \+")
    guard, insert = (
        "FROM tenants .*(FOR KEY|LOCK IN) SHARE",
        r"INSERT INTO (users|user_invitations|\w+_events|\w+_suppressions) ",
    )
    holding = re.compile(f"{guard}|{insert}")
    for one in live_through(database_url):
        leases = [at for at, each in enumerate(one) if leasing.search(each)]
        holds = [at for at, each in enumerate(one) if holding.search(each)]
        for at in (at for at, each in enumerate(one) if locking.search(each) and at not in leases):
            assert any(held <= at for held in holds), one
            assert "NOWAIT" in one[at] or not any(lease < at for lease in leases), one


# E2


def test_sent_again_by_a_server_that_is_behind(host: Host) -> None:
    """E2: a resend on a server whose clock is behind is the later one all the same: its link works, its email has left,
    and that is what the desk shows."""
    case = make(host, "pending")
    for _ in range(2):
        host.clock.tick(BEHIND)
        told: Any = host.client(case.admin).post(f"{case.url}/resend").json
        assert told["delivery"]["state"] == "sent"
        assert is_live(host, host.outbox.token_to(case.email))
        shown: Any = host.client(case.admin).get(case.url).json
        assert shown["delivery"] == told["delivery"]
    assert states(host) == {("sent", None): 3}


def test_queued_by_a_server_that_is_behind(database_url: str) -> None:
    """E2: of two emails that wait, the one that was written later leaves, whatever the clocks said."""
    with build(database_url, config={"INVITATIONS_DELIVERY": "queue"}) as host:
        admin = host.user("admin@acme.example", "admin")
        made = invite(host.client(admin), "guest@acme.example")
        with host.app.app_context():
            assert host.invitations.deliver()["sent"] == 1
        host.clock.tick(BEHIND)
        assert host.client(admin).post(f"{LIST}/{made['id']}/resend", json={"rotate": False}).status_code == 200
        host.clock.tick(BEHIND)
        assert host.client(admin).post(f"{LIST}/{made['id']}/resend").status_code == 200
        host.clock.tick(timedelta(minutes=1))
        with host.app.app_context():
            assert host.invitations.deliver() == {"sent": 1}
        assert is_live(host, host.outbox.token_to("guest@acme.example"))
        assert states(host) == {("sent", None): 2, ("cancelled", "invitation-replaced"): 1}


def test_the_last_email_is_the_last(host: Host) -> None:
    """E2: which email to an address was the last, and so whether it bounced, is no question of clocks either."""
    case = make(host, "pending")
    host.clock.tick(BEHIND)
    _resend(case)
    with host.app.app_context():
        host.invitations.record_delivery(host.outbox.messages[-1].id, "bounced")
        host.invitations.record_delivery(host.outbox.messages[0].id, "delivered")
    refused(host.client(case.admin).post(f"{case.url}/resend"), 409, "mail-bounced")
    assert host.client(case.admin).get(case.url).json["delivery"]["state"] == "bounced"  # type: ignore[index]


def test_invited_by_a_server_that_is_behind(database_url: str) -> None:
    """T6, E2: the later invitation of an address is the one that was made later, although its server's clock is days
    behind: deciding on it closes the older one, and only its holder gets a fresh link."""
    with build(database_url, config={"INVITATIONS_FRESH_LINK": "send"}) as host:
        case = make(host, "swept", role="admin")
        host.clock.tick(-20 * DAY)
        newer = invite(host.client(case.admin), case.email)
        token = host.outbox.token_to(case.email)
        host.clock.tick(30 * DAY)
        before = len(host.outbox.messages)
        with host.app.app_context():
            host.invitations.request_link(case.token)
            assert len(host.outbox.messages) == before
            host.invitations.request_link(token)
            assert len(host.outbox.messages) == before + 1
        assert host.client(case.admin).delete(f"{LIST}/{newer['id']}").status_code == 204
        assert row_of(case).status == "revoked"


@pytest.mark.soak
def test_many_send_again_at_once(database_url: str) -> None:
    """E2: of four resends at once each succeeds and sends a live link, or is cancelled as replaced; in the end exactly
    one link works, and that one was mailed."""
    with build(database_url) as host, Racers(4) as racers:
        case = make(host, "pending")
        for _ in range(rounds(5, 60)):
            host.outbox.clear()
            clients = [host.client(case.admin) for _ in range(4)]
            answers = racers.race(*(partial(client.post, f"{case.url}/resend") for client in clients))
            assert {answer.status_code for answer in answers} <= {200, 503}
            won = [each for answer in answers if (each := answer.get_json()).get("delivery")]
            assert {(one["delivery"]["state"], one["delivery"]["error"]) for one in won} <= {
                ("sent", None),
                ("cancelled", "invitation-replaced"),
            }
            links = [Token(token_in(message.accept_url)) for message in host.outbox.messages]
            assert [link.hash for link in links if link is not None].count(row_of(case).token_hash) == 1
