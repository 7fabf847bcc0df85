"""Two apps on one database: each sends its own emails, and none sends the other's with a link of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flask_invitations import MailRefused, outbox
from flask_invitations.current import get_state
from flask_invitations.testing import SettableClock
from flask_invitations.tokens import maker
from tests.hosts import Host, build
from tests.http.tools import accept
from tests.queued import deliver

HERE, THERE = "https://app.example.com/invitations/accept#{token}", "https://www.example.org/join#{token}"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def app(database_url: str, clock: SettableClock, *, key: Any = "one", url: str = HERE, **more: Any) -> Host:
    config = {"INVITATIONS_DELIVERY": "queue", "SECRET_KEY": key, "INVITATIONS_ACCEPT_URL": url}
    tables = more.pop("create_all", False)
    return build(database_url, clock=clock, create_all=tables, config={**config, **more})


def made(host: Host) -> str:
    tenant = host.tenant()
    with host.app.app_context():
        host.invitations.invite("guest@example.com", tenant_id=tenant)
    return str(host.rows(host.invitations.models.Invitation)[-1].token_hash)


@pytest.mark.in_turn
@pytest.mark.parametrize("other", [{"key": "two"}, {"url": THERE}, {"key": "two", "url": THERE}], ids=repr)
@pytest.mark.parametrize("state", ["queued", "abandoned", "failed"])
def test_each_sends_its_own(database_url: str, other: dict[str, Any], state: str) -> None:
    """E6: an email is sent by the app that made it, with that app's link, also where its first worker died, or it had
    been given up."""
    clock = SettableClock()
    with app(database_url, clock, create_all=True) as one, app(database_url, clock, **other) as two:
        digest = made(one)
        if state == "abandoned":
            with one.app.app_context():
                ctx = get_state().ctx
                ctx.unit.run(lambda: ctx.store.mails.lease(ctx.now(), ctx.now() + MINUTE, 1))
            clock.tick(MINUTE)
        if state == "failed":
            one.outbox.fail_with = MailRefused()
            assert deliver(one) == {"failed": 1}
            one.outbox.fail_with = None
            with one.app.app_context():
                assert outbox.retry_failed(get_state().ctx) == 1
        with two.app.app_context():
            assert outbox.count_due(get_state().ctx) == 0
        assert deliver(two) == {}
        assert two.outbox.messages == []
        assert deliver(one) == {"sent": 1}
        assert one.outbox.link_to("guest@example.com").startswith("https://app.example.com/")
        assert one.rows(one.invitations.models.Invitation)[0].token_hash == digest
        assert accept(one.client(), one.outbox.token_to("guest@example.com")).status_code == 201


def test_strangers_stay_strangers(database_url: str) -> None:
    """E6: an email whose own app never comes again is neither sent nor queued again by one that has neither its address
    nor a key of its."""
    clock = SettableClock()
    with app(database_url, clock, create_all=True) as one, app(database_url, clock, key="two", url=THERE) as two:
        made(one)
        clock.tick(40 * HOUR)
        assert deliver(two) == {}
        one.outbox.fail_with = MailRefused()
        assert deliver(one) == {"failed": 1}
        for host, count in ((two, 0), (one, 1)):
            with host.app.app_context():
                assert outbox.retry_failed(get_state().ctx) == count
        one.outbox.fail_with = None
        assert deliver(one) == {"sent": 1}


def test_a_key_is_changed(database_url: str) -> None:
    """E6: after a change of the key, with the old one as a fallback, the app still knows what is its own, at once and
    with the same link; before the change is complete everywhere, the older processes leave the newer ones' emails to
    them."""
    clock = SettableClock()
    with app(database_url, clock, key="old", create_all=True) as before:
        digest = made(before)
        with app(database_url, clock, key="new", SECRET_KEY_FALLBACKS=["old"]) as after:
            assert deliver(after) == {"sent": 1}
            assert before.rows(before.invitations.models.Invitation)[0].token_hash == digest
            with after.app.app_context():
                after.invitations.invite("other@example.com", tenant_id=after.tenant())
            assert deliver(before) == {}
            assert deliver(after) == {"sent": 1}


def test_a_key_is_gone(database_url: str) -> None:
    """E6: what an app has left lying for minutes, at the same address, was made under a key that is gone: it gets a
    link by the new one."""
    clock = SettableClock()
    with app(database_url, clock, key="old", create_all=True) as before:
        made(before)
        with app(database_url, clock, key="new") as after:
            assert deliver(after) == {}
            clock.tick(3 * MINUTE)
            assert deliver(after) == {"sent": 1}
            assert accept(after.client(), after.outbox.token_to("guest@example.com")).status_code == 201


def test_an_app_moves(database_url: str) -> None:
    """E6: emails that wait while an app moves to another address leave within two hours, with the same token at the new
    address."""
    clock = SettableClock()
    with app(database_url, clock, create_all=True) as before:
        digest = made(before)
    with app(database_url, clock, url=THERE) as after:
        assert deliver(after) == {}
        clock.tick(HOUR)
        assert deliver(after) == {"sent": 1}
        assert after.outbox.link_to("guest@example.com").startswith("https://www.example.org/join#")
        assert after.rows(after.invitations.models.Invitation)[0].token_hash == digest


def test_what_nobody_made_is_anybodys(database_url: str) -> None:
    """A row from before there was a mark is taken up as ever."""
    clock = SettableClock()
    with app(database_url, clock, create_all=True) as one:
        made(one)
        with one.engine.begin() as connection:
            connection.execute(one.invitations.models.Delivery.__table__.update().values(maker=None))
        assert deliver(one) == {"sent": 1}


def test_marks() -> None:
    """A mark holds neither the key nor the address, and differs by either, bytes or text."""
    marks = maker(["key", b"older"], HERE).marks
    assert len(set(marks)) == 2
    assert {len(mark) for mark in marks} == {33}
    assert maker([b"key"], HERE).marks[0] == marks[0]
    assert maker(["key"], THERE).marks[0] not in marks
