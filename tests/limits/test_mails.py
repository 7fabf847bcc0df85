"""E5: emails with a link to one address, over all tenants: what is over the limit waits, and nothing else does."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from flask_invitations.clock import as_utc
from flask_invitations.current import get_state
from tests.hosts import Host
from tests.http.tools import GUEST, LIST, accept, invite, people
from tests.limits.test_acts import limited
from tests.queued import deliver, mails

pytestmark = pytest.mark.in_turn

MODES = ["inline", "queue"]
SECOND = timedelta(seconds=1)


def _from_tenants(host: Host, count: int) -> list[dict[str, Any]]:
    """The same person, invited into so many tenants."""
    return [invite(host.client(people(host, f"Tenant {number}")[1])) for number in range(count)]


def _sent(host: Host) -> list[str]:
    return [message.to for message in host.outbox.messages]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_over_the_limit_waits(database_url: str, mode: str) -> None:
    """E5: the call succeeds, the email stays queued without an attempt and says why, no worker looks at it before there
    is room; then it leaves by itself."""
    with limited(database_url, recipient="2/2 seconds", config={"INVITATIONS_DELIVERY": mode}) as host:
        made = _from_tenants(host, 3)
        if mode == "queue":
            assert deliver(host, batch=10) == {"sent": 2, "queued": 1}
        else:
            shown = made[2]["delivery"]
            assert (shown["state"], shown["attempts"], shown["error"]) == ("queued", 0, "rate-limited")
        assert _sent(host) == [GUEST] * 2
        (row,) = mails(host, state="queued")
        assert (row.attempts, row.last_error, row.leased_until, row.sent_at) == (0, "rate-limited", None, None)
        wait = as_utc(row.next_attempt_at) - host.clock()
        assert SECOND <= wait <= 2 * SECOND
        assert deliver(host) == {}
        time.sleep(wait.total_seconds())
        assert deliver(host) == {}
        host.clock.tick(wait)
        assert deliver(host) == {"sent": 1}
        (row,) = mails(host, id=row.id)
        assert (row.state, row.attempts, row.last_error) == ("sent", 1, None)
        assert _sent(host) == [GUEST] * 3


def test_it_keeps_nobody_waiting(database_url: str) -> None:
    """However many wait for one person, the emails to others leave, and the worker comes to its end."""
    with limited(database_url, recipient="1/hour", config={"INVITATIONS_DELIVERY": "queue"}) as host:
        for number in range(6):
            _, admin, *_ = people(host, f"Tenant {number}")
            invite(host.client(admin))
            invite(host.client(admin), f"p{number}@example.com")
        assert deliver(host) == {"sent": 7, "queued": 5}
        assert deliver(host, batch=50) == {}
        assert sorted(_sent(host)) == sorted([GUEST, *(f"p{number}@example.com" for number in range(6))])
        host.clock.tick(timedelta(hours=1))
        assert deliver(host, batch=3) == {"queued": 5}
        assert deliver(host) == {}


@pytest.mark.parametrize("mode", MODES)
def test_another_try_is_not_counted(database_url: str, mode: str) -> None:
    """An email that was tried has its place: another try never waits for the limit."""
    failing = [True]

    def mailer(message: Any) -> None:
        if failing:
            failing.pop()
            raise TimeoutError

    config = {"INVITATIONS_DELIVERY": mode}
    with limited(database_url, recipient="1/hour", config=config, hooks={"mailer": mailer}) as host:
        _from_tenants(host, 2)
        if mode == "queue":
            assert deliver(host) == {"queued": 2}
        assert {row.last_error: row.attempts for row in mails(host)} == {"TimeoutError": 1, "rate-limited": 0}
        host.clock.tick(timedelta(minutes=2))
        assert deliver(host) == {"sent": 1}


def test_what_has_no_link_is_not_counted(database_url: str) -> None:
    """Notices to the inviter and of a revocation leave whatever was sent before."""
    config = {"INVITATIONS_NOTIFY_INVITER": True, "INVITATIONS_NOTIFY_REVOKED": True}
    with limited(database_url, recipient="1/hour", config=config) as host:
        _, admin, *_ = people(host)
        first, second = invite(host.client(admin), "p1@example.com"), invite(host.client(admin), "p2@example.com")
        assert accept(host.client(), host.outbox.token_to("p1@example.com")).status_code == 201
        assert host.client(admin).delete(f"{LIST}/{second['id']}").status_code == 204
        assert [message.kind for message in host.outbox.messages[2:]] == ["accepted", "revoked"]
        assert first["delivery"]["state"] == "sent"


def test_revoked_while_it_waits(database_url: str) -> None:
    """What waits is like any queued email: with its invitation it is canceled."""
    with limited(database_url, recipient="1/hour") as host:
        _, second = _from_tenants(host, 2)
        with host.app.app_context():
            host.invitations.revoke(second["id"])
        host.clock.tick(timedelta(hours=2))
        assert deliver(host) == {}
        assert sorted(row.state for row in mails(host)) == ["cancelled", "sent"]


@pytest.mark.parametrize("mode", MODES)
def test_no_transaction_is_open(database_url: str, mode: str) -> None:
    """R11: while the limiter is asked about an email nothing is held in the database."""
    seen: list[bool] = []

    def rate_limit(scope: str, key: str, cost: int) -> None:
        if scope == "recipient":
            session = get_state().ctx.store.unit._session()
            seen.append(session.in_transaction())

    config = {"INVITATIONS_DELIVERY": mode}
    with limited(database_url, recipient="1/hour", config=config, hooks={"rate_limit": rate_limit}) as host:
        _from_tenants(host, 2)
        if mode == "queue":
            assert deliver(host, batch=5) == {"sent": 2}
        assert seen == [False, False]


def test_a_limiter_that_fails(database_url: str) -> None:
    """Where the host's own limiter fails, the email counts as not sent, and is tried again."""

    def rate_limit(scope: str, key: str, cost: int) -> None:
        raise ConnectionError

    with limited(database_url, recipient="1/hour", hooks={"rate_limit": rate_limit}) as host:
        _from_tenants(host, 1)
        assert [(row.state, row.attempts, row.last_error) for row in mails(host)] == [("queued", 1, "ConnectionError")]


def test_a_limiter_that_never_ends(database_url: str) -> None:
    """However long the host's own limiter says to wait, the email is asked about again in 30 days, and the worker goes
    on with the others."""
    waits = [1e300, None]
    hooks = {"rate_limit": lambda scope, key, cost: waits.pop(0) if scope == "recipient" else None}
    with limited(database_url, recipient="1/hour", hooks=hooks, config={"INVITATIONS_DELIVERY": "queue"}) as host:
        _from_tenants(host, 2)
        assert deliver(host, batch=10) == {"sent": 1, "queued": 1}
        (row,) = mails(host, state="queued")
        assert as_utc(row.next_attempt_at) - host.clock() == timedelta(days=30)
        assert (row.attempts, row.last_error) == (0, "rate-limited")


def test_the_desk_says_why(database_url: str) -> None:
    """A manager reads why an email has not left yet."""
    with limited(database_url, recipient="1/hour") as host:
        _from_tenants(host, 2)
        _, admin, *_ = people(host, "Third")
        made = invite(host.client(admin))
        page = host.client(admin).get(f"/invitations/{made['id']}").text
        assert "This address got several emails already. This one is sent later." in page
