"""A mail server that refuses one person after another for good speaks of us: nothing is given up, the worker waits."""

from __future__ import annotations

import threading
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from flask_invitations import LogMailer, MailRefused, outbox
from flask_invitations.current import get_state, override
from flask_invitations.outbox.breaker import LONGEST_PAUSE, TRIP, Breaker
from tests.hosts import Host, build
from tests.http.tools import invite, people
from tests.queued import deliver, states, waiting

pytestmark = pytest.mark.in_turn

MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 11, 26, tzinfo=timezone.utc)


def refuse(_message: Any) -> None:
    raise MailRefused("relay not permitted")


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_many_refusals_in_a_row_are_about_us(queued: Host, batch: int, caplog: pytest.LogCaptureFixture) -> None:
    """E4: after five people in a row who were refused for good nobody is given up, those before included; the log says
    so once. The worker waits, tries one, and when that is sent all the others follow."""
    waiting(queued, 12)
    with override(queued.app, mailer=refuse):
        deliver(queued, batch=batch)
        assert set(states(queued)) == {"queued"}
        tried = sum(row.attempts for row in queued.rows(queued.invitations.models.Delivery))
        assert deliver(queued, batch=batch) == {}
        queued.clock.tick(MINUTE)
        assert deliver(queued, batch=batch) == {"queued": 1}
        assert deliver(queued, batch=batch) == {}
        assert states(queued) == {"queued": 12}
    assert tried == TRIP
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    queued.clock.tick(timedelta(hours=1))
    assert deliver(queued, batch=batch) == {"sent": 12}
    assert len({message.to for message in queued.outbox.messages}) == 12


def test_a_mailer_that_sends_nothing(queued: Host) -> None:
    """M4: however many emails LogMailer is given outside of debug, each is given up: there is nothing to wait for."""
    waiting(queued, 12)
    with override(queued.app, mailer=LogMailer()):
        deliver(queued, batch=5)
    assert set(states(queued)) == {"failed"}


def test_bad_addresses_among_good_ones(queued: Host) -> None:
    """E4: wherever one email in between is sent, those that were refused are given up at once, however many."""
    waiting(queued, 20)

    def mailer(message: Any) -> None:
        if int(message.to.partition("@")[0][1:]) % 5:
            raise MailRefused
        queued.outbox(message)

    with override(queued.app, mailer=mailer):
        assert deliver(queued) == {"sent": 4, "failed": 16}


def test_what_was_given_up_before_stays_so(queued: Host) -> None:
    """E4: an email that was refused before another one left is none of the row, and is not queued again with it."""
    waiting(queued, 12)
    seen: list[Any] = []

    def mailer(message: Any) -> None:
        seen.append(message)
        if len(seen) != 2:
            raise MailRefused

    with override(queued.app, mailer=mailer):
        deliver(queued, batch=1)
    assert states(queued) == {"failed": 1, "sent": 1, "queued": 10}


def test_one_person_often_is_no_row(queued: Host) -> None:
    """E4: one address that is refused again and again says nothing of us."""
    waiting(queued, 1)
    with override(queued.app, mailer=refuse):
        for _ in range(2 * TRIP):
            assert deliver(queued) == {"failed": 1}
            with queued.app.app_context():
                assert outbox.retry_failed(get_state().ctx) == 1


def test_bad_addresses_are_given_up_in_the_end(database_url: str) -> None:
    """E4: where it was about them after all, they fail after their last try, and keep no other email for ever."""
    config = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_DELIVERY_ATTEMPTS": 3}
    with build(database_url, config=config) as host:
        waiting(host, TRIP + 1)
        with override(host.app, mailer=refuse):
            for _ in range(3 * (TRIP + 1)):
                deliver(host, batch=50)
                host.clock.tick(LONGEST_PAUSE)
        assert states(host) == {"failed": TRIP + 1}


@pytest.mark.parametrize("how", ["inline", "by id"])
def test_without_a_worker(database_url: str, how: str) -> None:
    """E4: the same where requests send, or jobs of one email each: while it is open an email waits."""
    mode = "inline" if how == "inline" else "queue"
    with build(database_url, config={"INVITATIONS_DELIVERY": mode}) as host:
        _, admin, *_ = people(host)
        with override(host.app, mailer=refuse):
            for number in range(TRIP + 2):
                made = invite(host.client(admin), f"p{number}@example.com")
                if how == "by id":
                    deliver(host, delivery_id=uuid.UUID(made["delivery"]["id"]) if "id" in made["delivery"] else None)
        assert states(host) == {"queued": TRIP + 2}
        host.clock.tick(2 * MINUTE)
        assert deliver(host) == {"sent": TRIP + 2}


def test_apps_have_one_each(database_url: str) -> None:
    """E4: one app's trouble is not the other's."""
    with build(database_url, config={"INVITATIONS_DELIVERY": "queue"}) as one:
        waiting(one, TRIP)
        with override(one.app, mailer=refuse):
            deliver(one)
        with build(database_url, config={"INVITATIONS_DELIVERY": "queue"}, create_all=False) as two:
            tenant = two.tenant()
            with two.app.app_context():
                two.invitations.invite("other@example.com", tenant_id=tenant)
            assert deliver(two) == {"sent": 1}


# The breaker itself


def tripped() -> Breaker:
    breaker = Breaker()
    for number in range(TRIP):
        breaker.refused(number, uuid.uuid4(), NOW)
    return breaker


def test_pauses_grow() -> None:
    """E4: each further refusal after a pause doubles it, up to half an hour; one success ends it."""
    breaker, now, pauses = tripped(), NOW, list[timedelta]()
    for _ in range(40):
        began = now
        while not breaker.room(50, now):
            now += MINUTE
        pauses.append(now - began)
        assert breaker.refused("x", uuid.uuid4(), now)
    assert pauses[:5] == [MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE, 16 * MINUTE]
    assert max(pauses) == pauses[-1] == LONGEST_PAUSE
    breaker.succeeded()
    assert breaker.room(50, now) == 50
    assert not breaker.refused("x", uuid.uuid4(), now)


def test_one_is_tried() -> None:
    """E4: after the pause one email is let through, to one of all threads; where nothing is heard of that, another a
    minute later."""
    breaker, rooms = tripped(), list[int]()
    assert breaker.room(50, NOW) == 0
    threads = [threading.Thread(target=lambda: rooms.append(breaker.room(50, NOW + MINUTE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(rooms) == [0] * 7 + [1]
    assert breaker.room(50, NOW + 2 * MINUTE) == 1


def test_a_clock_that_is_set_back() -> None:
    """E4: a clock that is set back by more than the longest pause makes no pause longer."""
    assert tripped().room(50, NOW - timedelta(days=1)) == 1


def test_stragglers_lengthen_nothing() -> None:
    """E4: what was on its way when the breaker opened, and is refused during the pause, is spared, and the pause is no
    longer for it."""
    breaker = tripped()
    for number in range(20):
        assert breaker.refused(f"late {number}", uuid.uuid4(), NOW)
    assert breaker.room(1, NOW + MINUTE) == 1
