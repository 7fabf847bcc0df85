"""What a manager may do: within their tenant, up to their role, and only as long as they may."""

from __future__ import annotations

from typing import Any

import pytest

from flask_invitations.current import override
from tests.hosts import Host, build
from tests.http.tools import (
    INVITE,
    LIST,
    PREVIEW,
    Case,
    accept,
    delete_row,
    invite,
    make,
    people,
    refused,
    set_columns,
    set_role,
    snapshot,
    unchanged,
)

RANKS = ("viewer", "user", "manager", "admin", "owner")


@pytest.mark.parametrize("own", RANKS)
def test_ceiling(local: Host, own: str) -> None:
    """C1, C5: only admin roles invite at all, and they grant nothing above their own role; nobody may by default."""
    me = local.client(local.user("me@example.com", own))
    for role in (*RANKS, None):
        body = {"email": f"{role}@example.com", **({"role": role} if role else {})}
        answer = me.post(INVITE, json=body)
        if own not in ("admin", "owner"):
            refused(answer, 403, "forbidden")
        elif role is not None and RANKS.index(role) > RANKS.index(own):
            refused(answer, 403, "role-not-allowed")
        else:
            assert answer.status_code == 201


def test_roles_have_no_meaning_to_us(local_url: str) -> None:
    """C4: the ceiling follows the host's own ranks: no role's name means anything to us, and one that the settings do
    not know grants nothing."""
    config = {"INVITATIONS_ROLES": ["owner", "guest", "chief"], "INVITATIONS_ADMIN_ROLES": ["guest", "chief"]}
    with build(local_url, config={**config, "INVITATIONS_DEFAULT_ROLE": "owner"}) as host:
        guest, admin = (host.client(host.user(f"{role}@example.com", role)) for role in ("guest", "admin"))
        assert invite(guest, "a@example.com")["role"] == "owner"
        refused(guest.post(INVITE, json={"email": "b@example.com", "role": "chief"}), 403, "role-not-allowed")
        refused(admin.post(INVITE, json={"email": "b@example.com"}), 403, "forbidden")


@pytest.mark.parametrize("where", ["create", "resend", "accept"])
def test_the_hook_decides_everywhere(local: Host, where: str) -> None:
    """C2, C3: the host's ``can_invite`` is asked on create, on resend and at accept, with tenant and role."""
    case = make(local, "pending", role="manager")
    asked = []

    def can_invite(user: Any, tenant_id: Any, role: str | None) -> bool:
        asked.append((user.id, tenant_id, role))
        return role is None

    with override(local.app, can_invite=can_invite), unchanged_but_events(local):
        if where == "create":
            answer = case.client("admin").post(INVITE, json={"email": "new@example.com", "role": "manager"})
        elif where == "resend":
            answer = case.client("admin").post(f"{case.url}/resend")
        else:
            answer = accept(case.client("nobody"), case.token)
    refused(answer, 403, "role-not-allowed")
    assert asked[-1] == (case.admin, case.tenant, "manager")


def unchanged_but_events(host: Host) -> Any:
    """All tables but the audit trail are as they were."""
    from contextlib import contextmanager

    @contextmanager
    def watch() -> Any:
        before = snapshot(host)
        yield
        after = snapshot(host)
        del before["user_invitation_events"], after["user_invitation_events"]
        assert before == after

    return watch()


def test_details_grant_nothing(local: Host) -> None:
    """C6: whatever an inviter writes into ``details`` reaches the host's hooks as it is, and has no effect of ours."""
    case = make(local, "pending", details={"role": "owner", "tenant_id": 999, "email": "x@example.com"})
    taken: Any = accept(local.client(), case.token).json
    assert (taken["user"]["role"], taken["user"]["tenant_id"], taken["user"]["email"]) == (
        "user",
        case.tenant,
        case.email,
    )


def test_foreign_calls_change_nothing(host: Host) -> None:
    """C7: the owner of another tenant can neither see nor touch an invitation."""
    case = make(host, "pending")
    owner = host.client(case.stranger)
    with unchanged(host):
        for method, tail in (("GET", ""), ("GET", "/events"), ("POST", "/resend"), ("DELETE", "")):
            refused(owner.open(case.url + tail, method=method), 404, "invitation-not-found")
        page: Any = owner.get(LIST).json
        assert page == {"items": [], "next_cursor": None}


def test_members_see_no_invitations(untouched: Case) -> None:
    """C8: a plain member sees neither list, nor invitation, nor audit trail."""
    plain = untouched.client("plain")
    for url in (LIST, untouched.url, f"{untouched.url}/events"):
        refused(plain.get(url), 403, "forbidden")


# The inviter afterwards


@pytest.mark.parametrize("tenancy", ["tenant", "membership"])
def test_inviter_demoted(local_url: str, tenancy: Any) -> None:
    """C3, C9: an inviter who lost the right to grant the role lets nobody in any more; who has it again, does."""
    with build(local_url, tenancy=tenancy) as host:
        case = make(host, "pending", role="admin")
        for role in ("user", "viewer"):
            set_role(host, case.admin, role)
            refused(accept(host.client(), case.token), 403, "role-not-allowed")
        assert host.client().post(PREVIEW, json={"token": case.token}).status_code == 200
        set_role(host, case.admin, "owner")
        assert accept(host.client(), case.token).status_code == 201


@pytest.mark.parametrize("state", ["inviter deleted", "inviter left"])
@pytest.mark.parametrize("tenancy", ["tenant", "membership"])
def test_inviter_gone(local_url: str, tenancy: Any, state: str) -> None:
    """C9: the invitation of somebody who was removed lets nobody in, not even the removed one; a manager who is still
    there sees it and may revoke it."""
    with build(local_url, tenancy=tenancy) as host:
        case = make(host, state)
        refused(accept(host.client(), case.token), 410, "invitation-withdrawn")
        refused(host.client().post(PREVIEW, json={"token": case.token}), 410, "invitation-withdrawn")
        seen: Any = host.client(case.admin).get(case.url).json
        assert seen["status"] == "pending"
        assert (seen["invited_by"] is None) == (state == "inviter deleted")
        assert host.client(case.admin).delete(case.url).status_code == 204


@pytest.mark.parametrize("state", ["inviter deleted", "inviter left", "inviter demoted"])
def test_without_recheck(local_url: str, state: str) -> None:
    """C9: with RECHECK_INVITER off the invitation outlives its inviter."""
    with build(local_url, config={"INVITATIONS_RECHECK_INVITER": False}) as host:
        case = make(host, state)
        assert accept(host.client(), case.token).status_code == 201


def test_system_invites_without_inviter(local: Host) -> None:
    """C9: what the system itself made has no inviter to lose."""
    tenant = local.tenant()
    with local.app.app_context():
        made = local.invitations.invite("guest@example.com", tenant_id=tenant, role="owner")
    assert made.invited_by is None
    assert accept(local.client(), local.outbox.token_to("guest@example.com")).status_code == 201
    with local.app.app_context():
        assert local.invitations.get(made.id).invited_by is None


def test_revoke_for(host: Host) -> None:
    """C9: when somebody leaves, what they invited and what invites them is revoked, there and nowhere else; once."""
    tenant, admin, plain, stranger = people(host)
    by_them = invite(host.client(admin), "one@example.com")["id"]
    with override(host.app, join=lambda *_: None):
        invite(host.client(stranger), "admin@acme.example")
    other = host.user("second@acme.example", "admin", tenant)
    invite(host.client(other), "two@example.com")
    with host.app.app_context():
        user = host.db.session.get(host.User, admin)
        assert host.invitations.revoke_for(user, tenant_id=tenant) == 1
        assert host.invitations.revoke_for(user, tenant_id=tenant) == 0
        assert host.invitations.get(_uuid(by_them)).status == "revoked"
        assert host.invitations.revoke_for(user) == 1
    statuses = {row.email: row.status for row in host.rows(host.invitations.models.Invitation)}
    expected = {"one@example.com": "revoked", "admin@acme.example": "revoked", "two@example.com": "pending"}
    assert statuses == expected
    assert plain


def _uuid(text: str) -> Any:
    import uuid

    return uuid.UUID(text)


# The tenant afterwards


def test_tenant_inactive(host: Host) -> None:
    """C10: a tenant that was deactivated lets nobody in; its managers can still clear up; active again, it does."""
    case = make(host, "tenant inactive")
    with unchanged_but_events(host):
        refused(accept(host.client(), case.token), 410, "invitation-withdrawn")
        refused(case.client("admin").post(f"{case.url}/resend"), 403, "tenant-inactive")
        refused(case.client("admin").post(INVITE, json={"email": "new@example.com"}), 403, "tenant-inactive")
    set_columns(host, host.Tenant, case.tenant, active=True)
    assert accept(host.client(), case.token).status_code == 201


def test_tenant_deleted(host: Host) -> None:
    """C10: with its tenant an invitation is gone, with its events and mails, and its link is unknown."""
    case = make(host, "pending")
    delete_row(host, host.Tenant, case.tenant)
    refused(accept(host.client(), case.token), 404, "invitation-not-found")
    rows = snapshot(host)
    assert all(not rows[name] for name in rows if name.startswith("user_invitation"))


def test_user_deleted_keeps_the_row(host: Host) -> None:
    """Deleting a user keeps their invitations and the audit trail, with the actor's id."""
    case = make(host, "accepted")
    guest = case.invitee
    delete_row(host, host.User, guest)
    seen: Any = host.client(case.admin).get(case.url).json
    assert (seen["status"], seen["accepted_by_id"]) == ("accepted", None)
    trail: Any = host.client(case.admin).get(f"{case.url}/events").json
    assert trail["items"][-1]["actor_id"] == guest


def test_own_tenant_in_memberships(local_url: str) -> None:
    """C7: somebody who manages two tenants acts in the one that ``tenant_of`` says, and sees that one only; who is in
    none manages nothing, whatever ``can_invite`` says."""
    with build(local_url, tenancy="membership") as host:
        first, second = host.tenant("First"), host.tenant("Second")
        boss = host.user("boss@example.com", "owner", first)
        with host.engine.begin() as connection:
            row = {"user_id": boss, "tenant_id": second, "role": "user"}
            connection.execute(host.Membership.__table__.insert().values(row))
        made = invite(host.client(boss, first), "guest@example.com")
        assert made["tenant_id"] == first
        refused(host.client(boss, second).get(LIST), 403, "forbidden")
        set_role(host, boss, "owner")
        assert host.client(boss, second).get(f"{LIST}/{made['id']}").status_code == 404
        nowhere = host.user("nowhere@example.com", tenant=None)
        with override(host.app, can_invite=lambda *_: True):
            for url in (LIST, f"{LIST}/{made['id']}"):
                refused(host.client(nowhere).get(url), 403, "forbidden")
