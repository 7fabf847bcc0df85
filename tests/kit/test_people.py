"""Other hooks for a while, and people who are signed in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flask_invitations import ConfigurationError, LogMailer
from flask_invitations.testing import RecordingMailer, new_member, override, signed_in, signed_in_manager
from tests.hosts import Host, build

MANAGED = "/api/v1/users/invitations"


@pytest.fixture
def host(tmp_path: object) -> Iterator[Host]:
    """A host with tenants."""
    with build(f"sqlite:///{tmp_path}/people.sqlite3") as built:
        yield built


def test_override_ends_with_its_block(host: Host) -> None:
    """Inside of the block the other hook is asked, and afterwards the app's own."""
    mailer = RecordingMailer()
    with override(host.app, mailer=mailer), host.app.app_context():
        host.invitations.invite("ann@example.com", tenant_id=host.tenant())
    with host.app.app_context():
        host.invitations.invite("bob@example.com", tenant_id=host.tenant())
    assert ([each.to for each in mailer.messages], [each.to for each in host.outbox.messages]) == (
        ["ann@example.com"],
        ["bob@example.com"],
    )


async def never_awaited(_message: Any) -> None:
    """No hook."""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mail": LogMailer()}, r"mail is not a hook that can be overridden\. Did you mean mailer\?"),
        ({"user_model": Host}, "user_model is not a hook that can be overridden"),
        ({"mailer": never_awaited}, "mailer is an async function"),
        ({"mailer": None}, "mailer must be a callable"),
        ({"can_invite": lambda user: True}, r"can_invite is called as can_invite\(user, tenant_id, role\)"),
    ],
)
def test_override_takes_hooks_only(host: Host, wrong: dict[str, Any], said: str) -> None:
    """What could not be given to ``init_app`` cannot take its place either."""
    with pytest.raises(ConfigurationError, match=said), override(host.app, **wrong):
        pass


def test_override_takes_an_optional_hook_away(tmp_path: object) -> None:
    """``None`` does without an optional hook."""
    with build(f"sqlite:///{tmp_path}/seats.sqlite3", seats=lambda tenant_id: 0) as host:
        with override(host.app, seats=None), host.app.app_context():
            host.invitations.invite("ann@example.com", tenant_id=host.tenant())
        assert len(host.rows(host.invitations.models.Invitation)) == 1


def test_override_needs_an_app_with_invitations() -> None:
    """An app without invitations is told so, and not by a missing key."""
    from flask import Flask

    with pytest.raises(RuntimeError, match="init_app was not called"), override(Flask("bare")):
        pass


def test_everybody_is_signed_in_by_their_own_client(host: Host) -> None:
    """Two people at once, by user or by key; every other client keeps the app's own way."""
    acme = host.tenant()
    ute, olga = (new_member(host.app, f"{name}@example.com", tenant_id=acme, role=role) for name, role in
                 (("ute", "user"), ("olga", "owner")))  # fmt: skip
    (row,) = host.rows(host.User, id=ute)
    with signed_in(host.app, row) as user, signed_in(host.app, olga) as owner:
        clients = (user, owner, host.client(), host.client(olga))
        assert [client.get(MANAGED).status_code for client in clients] == [403, 200, 401, 200]
    assert owner.get(MANAGED).status_code == 401


def test_new_members_accept_for_real(host: Host) -> None:
    """A new member went through the whole flow, and no email was sent."""
    user_id = new_member(
        host.app, "Ann@Example.com", tenant_id=host.tenant(), role="manager", password="staple battery horse"
    )
    (user,) = host.rows(host.User)
    assert (user.id, user.email, user.role, user.email_verified) == (user_id, "ann@example.com", "manager", True)
    assert user.check_password("staple battery horse")
    assert [each.status for each in host.rows(host.invitations.models.Invitation)] == ["accepted"]
    assert host.outbox.messages == []


def test_the_manager_is_made_once(host: Host) -> None:
    """Asked for again, the manager is the same one, with the highest admin role."""
    for _ in range(2):
        with signed_in_manager(host.app, tenant_id=host.tenant()) as manager:
            assert manager.get(MANAGED).status_code == 200
    assert [(each.email, each.role) for each in host.rows(host.User)] == [("manager@example.com", "owner")]
