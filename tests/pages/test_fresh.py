"""A fresh link in place of an expired one: who gets it, how often, and that nobody learns anything."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_invitations import Invitations
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import set_columns
from tests.pages.test_pages import NEW, PAGES, die, everything, invite, post, title

LATE, HOUR = timedelta(hours=48), timedelta(hours=1)


def with_setting(database_url: str, setting: str | None, **overrides: Any) -> Host:
    return build(database_url, config={"INVITATIONS_FRESH_LINK": setting}, **overrides)


@pytest.fixture
def sending(database_url: str) -> Iterator[Host]:
    """A host that mails a fresh link to whoever asks, on each database."""
    with with_setting(database_url, "send") as host:
        yield host


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Host]:
    """The same on SQLite alone: where the rule is ours, not the database's."""
    with with_setting(f"sqlite:///{tmp_path / 'f.sqlite3'}", "send") as host:
        yield host


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Host]:
    """A host that has the inviter asked."""
    with with_setting(f"sqlite:///{tmp_path / 'f.sqlite3'}", "ask") as host:
        yield host


def ask(host: Host, token: str) -> str:
    """Send the form, and read the page that it leads to."""
    sent = post(host.client(), "fresh", token)
    assert (sent.status_code, sent.headers["Location"]) == (303, f"{PAGES}/requested")
    return host.client().get(f"{PAGES}/requested").text


def events(host: Host) -> list[str]:
    return [event.type for event in host.rows(host.invitations.models.InvitationEvent)]


@pytest.mark.parametrize("swept", [False, True])
def test_sending(sending: Host, swept: bool) -> None:
    """A new link goes to the invited address, overdue or swept; the old one is replaced; the audit trail says who asked
    from where, and the new link opens."""
    token = invite(sending)
    sending.clock.tick(LATE)
    if swept:
        with sending.app.app_context():
            sending.invitations.sweep()
    page = post(sending.client(), "open", token)
    assert (page.status_code, "Send me a new link" in page.text) == (410, True)
    ask(sending, token)
    fresh = sending.outbox.token_to(NEW)
    assert fresh != token
    assert [message.to for message in sending.outbox.messages] == [NEW, NEW]
    asked = sending.rows(sending.invitations.models.InvitationEvent, type="link_requested")
    assert [(event.actor_id, event.remote_addr) for event in asked] == [(None, "127.0.0.1")]
    assert events(sending)[-3:] == ["link_requested", "resent", "sent"]
    assert title(post(sending.client(), "open", token)) == "There is a newer link"
    assert post(sending.client(), "accept", fresh, password=PASSWORD).status_code == 303


def test_once_an_hour(sending: Host) -> None:
    """One request an hour for one invitation, whichever link it comes with, and by the row's own memory."""
    token = invite(sending)
    for number in range(3):
        sending.clock.tick(LATE)
        set_columns(sending, sending.invitations.models.Invitation, only_id(sending), expires_at=sending.clock())
        latest = sending.outbox.token_to(NEW)
        ask(sending, latest)
        assert len(sending.outbox.messages) == number + 2
        ask(sending, latest)
        ask(sending, token)
        set_columns(sending, sending.invitations.models.Invitation, only_id(sending), expires_at=sending.clock())
        sending.clock.tick(HOUR - timedelta(seconds=1))
        ask(sending, sending.outbox.token_to(NEW))
        assert len(sending.outbox.messages) == number + 2
        sending.clock.tick(timedelta(seconds=1))


def only_id(host: Host) -> uuid.UUID:
    (row,) = host.rows(host.invitations.models.Invitation)
    found: uuid.UUID = row.id
    return found


def test_many_at_once(sending: Host) -> None:
    """The same form sent four times at one moment sends one mail."""
    token = invite(sending)
    sending.clock.tick(LATE)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ask(sending, token), range(4)))
    assert len(sending.outbox.messages) == 2
    assert events(sending).count("link_requested") == 1


def test_asking(asking: Host) -> None:
    """The inviter is asked by mail, once an hour; the invitation stays as expired as it was."""
    token = invite(asking)
    asking.clock.tick(LATE)
    assert "Ask for a new link" in post(asking.client(), "open", token).text
    page = ask(asking, token)
    assert "the person who invited you" in page
    ask(asking, token)
    deliveries = asking.rows(asking.invitations.models.Delivery)
    assert [(mail.kind, mail.state) for mail in deliveries] == [("invitation", "sent"), ("link_request", "sent")]
    assert [message.to for message in asking.outbox.messages] == [NEW, "admin@example.com"]
    assert token not in str([vars(message) for message in asking.outbox.messages[1:]])
    assert title(post(asking.client(), "open", token)) == "This invitation has expired"
    asking.clock.tick(HOUR)
    ask(asking, token)
    assert events(asking).count("link_requested") == 2


def test_asking_nobody(asking: Host) -> None:
    """Where the system invited there is nobody to ask: nothing is written, and the answer is the same."""
    with asking.app.app_context():
        asking.invitations.invite(NEW, tenant_id=asking.tenant())
    token = asking.outbox.token_to(NEW)
    asking.clock.tick(LATE)
    before = everything(asking)
    ask(asking, token)
    assert everything(asking) == before


@pytest.mark.parametrize("setting", ["send", "ask"])
def test_nothing_is_told(tmp_path: Path, setting: str) -> None:
    """Whatever the link is, or its invitation was, the answer is the same bytes, and nothing but an expired invitation
    that still stands is touched."""
    with with_setting(f"sqlite:///{tmp_path / 'f.sqlite3'}", setting) as host:
        answers = {ask(host, "A" * 43), ask(host, ""), ask(host, "junk\u2028")}
        for how in ("accepted", "declined", "revoked", "replaced", "pending", "unknown"):
            token = die(host, how)
            before = everything(host)
            answers.add(ask(host, token))
            assert everything(host) == before, how
            with host.app.app_context():
                host.invitations.revoke_for(host.rows(host.User)[0])
            for user in host.rows(host.User, email=NEW):
                set_columns(host, host.User, user.id, email=f"gone-{user.id}@example.com")
        token = invite(host)
        host.clock.tick(LATE)
        answers.add(ask(host, token))
        assert "link_requested" in events(host)
        assert len(answers) == 1


def _tenant_closed(host: Host) -> None:
    set_columns(host, host.Tenant, host.tenant(), active=False)


def _inviter_left(host: Host) -> None:
    set_columns(host, host.User, host.rows(host.User)[0].id, tenant_id=host.tenant("Elsewhere"))


def _inviter_demoted(host: Host) -> None:
    set_columns(host, host.User, host.rows(host.User)[0].id, role="viewer")


def _bounced(host: Host) -> None:
    with host.app.app_context():
        assert host.invitations.record_delivery(host.outbox.messages[-1].id, "bounced")


def _invited_anew(host: Host) -> None:
    with host.app.app_context():
        host.invitations.invite(NEW, tenant_id=host.tenant())


def _forgotten(host: Host) -> None:
    with host.app.app_context():
        host.invitations.sweep()
        host.clock.tick(timedelta(days=91))
        host.invitations.sweep()


@pytest.mark.parametrize(
    "happen", [_tenant_closed, _inviter_left, _inviter_demoted, _bounced, _invited_anew, _forgotten]
)
def test_what_no_longer_stands(small: Host, happen: Any) -> None:
    """No fresh link where the tenant is closed, the inviter left or may not grant the role any more, the address takes
    no mails of ours, another invitation stands, or the retention time is over."""
    token = invite(small)
    small.clock.tick(LATE)
    happen(small)
    before, mails = everything(small), len(small.outbox.messages)
    ask(small, token)
    assert everything(small) == before
    assert len(small.outbox.messages) == mails


def test_off(tmp_path: Path) -> None:
    """Without the setting no page offers it, the form leads to the landing page, and nothing happens."""
    with with_setting(f"sqlite:///{tmp_path / 'f.sqlite3'}", None) as host:
        token = invite(host)
        host.clock.tick(LATE)
        assert "new link" not in post(host.client(), "open", token).text
        before = everything(host)
        sent = post(host.client(), "fresh", token)
        assert (sent.status_code, sent.headers["Location"]) == (303, f"{PAGES}/accept")
        with host.app.app_context():
            host.invitations.request_link(token)
        assert everything(host) == before


def test_from_python(small: Host) -> None:
    """``request_link`` does the same, and says nothing."""
    token = invite(small)
    small.clock.tick(LATE)
    ours: Invitations = small.invitations
    with small.app.app_context():
        assert ours.request_link(token) is None  # type: ignore[func-returns-value]
        assert ours.request_link("junk") is None  # type: ignore[func-returns-value]
    assert small.outbox.token_to(NEW) != token


def test_a_link_that_nobody_is_shown(tmp_path: Path) -> None:
    """RETURN_LINK shows links to managers, and nobody is one here: the fresh link proves the mailbox again."""
    config = {"INVITATIONS_FRESH_LINK": "send", "INVITATIONS_RETURN_LINK": True}
    with build(f"sqlite:///{tmp_path / 'f.sqlite3'}", config=config) as host:
        token = invite(host)
        host.clock.tick(LATE)
        assert [row.link_shown for row in host.rows(host.invitations.models.Invitation)] == [True]
        ask(host, token)
        assert [row.link_shown for row in host.rows(host.invitations.models.Invitation)] == [False]
