"""The kit that hosts test with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask

from flask_invitations import LogMailer
from flask_invitations.clock import utcnow
from flask_invitations.testing import RecordingMailer, SettableClock, token_in
from flask_invitations.testing.fixtures import invitation_clock, invitation_mail
from tests.hosts import PASSWORD, Host, build

__all__ = ["invitation_clock", "invitation_mail"]


@pytest.fixture
def own(tmp_path: object) -> Iterator[Host]:
    """A host with a mailer and a clock of its own, as in production."""
    with build(f"sqlite:///{tmp_path}/own.sqlite", mailer=LogMailer(), clock=utcnow) as host:
        yield host


@pytest.fixture
def app(own: Host) -> Flask:
    """What the kit's fixtures ask the host for."""
    return own.app


def invite(own: Host, email: str) -> None:
    acme = own.tenant()
    with own.app.app_context():
        own.invitations.invite(email, tenant_id=acme)


def test_fixtures_take_the_place_of_mailer_and_clock(
    own: Host, invitation_mail: RecordingMailer, invitation_clock: SettableClock
) -> None:
    """With the two fixtures a host's test reads the mail and moves time, and the flow works."""
    invite(own, "Ann@Example.com")
    body = {"token": invitation_mail.token_to("ann@example.com"), "password": PASSWORD}
    assert token_in(invitation_mail.link_to("ann@example.com")) == body["token"]
    invitation_clock.tick(timedelta(hours=48))
    late = own.client().post("/api/v1/users/accept-invite", json=body)
    assert late.json is not None
    assert (late.status_code, late.json["code"]) == (410, "invitation-expired")
    invitation_clock.set(invitation_clock.now - timedelta(seconds=1))
    assert own.client().post("/api/v1/users/accept-invite", json=body).status_code == 201


def test_failing_mail_can_be_played(own: Host, invitation_mail: RecordingMailer) -> None:
    """``fail_with`` makes the mailer raise; nothing is recorded then, and asking for the mail says so."""
    invitation_mail.fail_with = ConnectionError()
    invite(own, "ann@example.com")
    with pytest.raises(LookupError):
        invitation_mail.link_to("ann@example.com")


def test_app_gets_its_own_back(own: Host) -> None:
    """After the fixtures are gone, the app's own mailer and clock are in place again."""
    from flask_invitations.current import override

    with own.app.app_context(), override(own.app, mailer=RecordingMailer()):
        pass
    with own.app.app_context():
        from flask_invitations.current import get_state

        assert isinstance(get_state().ctx.hooks.said["mailer"], LogMailer)


def test_clear_forgets() -> None:
    """``clear`` empties the record."""
    mailer = RecordingMailer()
    mailer.messages.append(None)  # type: ignore[arg-type]
    mailer.clear()
    assert mailer.messages == []


def test_no_token_in_a_link_is_said() -> None:
    """A link without a token is an error, not an empty string."""
    with pytest.raises(LookupError):
        token_in("https://app.example.com/invitations/accept")
