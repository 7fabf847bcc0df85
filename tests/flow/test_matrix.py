"""The whole flow over HTTP on every kind of host and every database, each answer's shape asserted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import PAIRS
from tests.hosts import KEYS, PASSWORD, TENANCIES, Host, Key, Tenancy, build
from tests.http.tools import ACCEPT, DECLINE, GUEST, INVITE, LIST, PREVIEW, check, invite, refused, shapes


@pytest.fixture
def some_host(database_url: str, key: Key, tenancy: Tenancy) -> Iterator[Host]:
    """A host of one of the kinds of ``PAIRS``."""
    with build(database_url, key=key, tenancy=tenancy) as built:
        yield built


@pytest.fixture
def any_host(request: pytest.FixtureRequest, database_url: str) -> Iterator[Host]:
    """A host of the kind that the test is parametrised with."""
    key, tenancy = request.param
    with build(database_url, key=key, tenancy=tenancy) as built:
        yield built


def kinds(tenancies: tuple[Tenancy, ...] = TENANCIES) -> pytest.MarkDecorator:
    pairs: list[tuple[Key, Tenancy]] = [(key, tenancy) for key in KEYS for tenancy in tenancies]
    return pytest.mark.parametrize("any_host", pairs, indirect=True, ids=["-".join(pair) for pair in pairs])


def types(events: Any) -> list[str]:
    return [event["type"] for event in events["items"]]


def plain(key: Any) -> Any:
    """A host's key as JSON has it."""
    return key if key is None or isinstance(key, int) else str(key)


@kinds()
def test_invited_and_accepted(any_host: Host) -> None:
    """A person invited by HTTP gets a mail, looks, accepts, and is a user in that tenant and role, once."""
    host, shape = any_host, shapes(any_host)
    tenant, admin = host.tenant(), host.user("admin@example.com", role="admin")
    fields = {"role": "manager", "message": "Come in!", "details": {"desk": 7}, "locale": "de-CH", "expires_in": 7200}
    answer = host.client(admin).post(INVITE, json={"email": "New.Person@Example.com", **fields})
    assert answer.status_code == 201
    made: Any = answer.json
    check(made, shape["invitation"])
    assert answer.headers["Location"] == f"{LIST}/{made['id']}"
    assert (made["email"], made["role"], made["status"]) == ("New.Person@Example.com", "manager", "pending")
    assert (made["message"], made["details"], made["locale"]) == ("Come in!", {"desk": 7}, "de-CH")
    assert (made["tenant_id"], made["invited_by"]) == (
        plain(tenant),
        {"id": plain(admin), "email": "admin@example.com"},
    )
    assert (made["delivery"]["state"], made["delivery"]["attempts"], made["delivery"]["error"]) == ("sent", 1, None)
    assert (made["accepted_at"], made["accepted_by_id"]) == (None, None)

    (message,) = host.outbox.messages
    local, _, domain = message.to.partition("@")
    assert (local, domain.lower()) == ("New.Person", "example.com")
    token = host.outbox.token_to("new.person@example.com")
    offer: Any = host.client().post(PREVIEW, json={"token": token}).json
    check(offer, shape["offer"])
    name = "Test Host" if host.tenancy == "none" else "Acme"
    assert offer == {
        "email": "New.Person@Example.com",
        "role": "manager",
        "status": "pending",
        "tenant": {"id": plain(tenant), "name": name},
        "invited_by": {"email": "admin@example.com"},
        "message": "Come in!",
        "expires_at": made["expires_at"],
        "account_exists": False,
        "obstacle": None,
    }

    host.clock.tick(timedelta(minutes=5))
    body = {"token": token, "password": PASSWORD}
    answer = host.client().post(ACCEPT, json=body, headers={"User-Agent": "Phone\x7f 1.0"})
    assert answer.status_code == 201
    taken: Any = answer.json
    check(taken, shape["acceptance"])
    (user,) = host.rows(host.User, email="new.person@example.com")
    grant = {"email": "new.person@example.com", "role": "manager", "tenant_id": plain(tenant)}
    assert taken["user"] == {"id": plain(user.id), **grant}
    assert user.check_password(PASSWORD)
    assert user.email_verified
    assert (taken["invitation"]["status"], taken["invitation"]["id"]) == ("accepted", made["id"])
    seen: Any = host.client(admin).get(f"{LIST}/{made['id']}").json
    check(seen, shape["details"])
    assert seen["accepted_by_id"] == plain(user.id)
    check_membership(host, user, tenant, "manager")
    refused(host.client().post(ACCEPT, json=body), 409, "invitation-accepted")

    again = host.client(user.id).post(ACCEPT, json={"token": token})
    assert (again.status_code, again.json) == (200, taken)
    trail: Any = host.client(admin).get(f"{LIST}/{made['id']}/events").json
    check(trail, shape["events"])
    assert types(trail) == ["created", "sent", "accepted", "accept_refused"]
    created, _, accepted, late = trail["items"]
    assert (created["actor_id"], created["remote_addr"]) == (plain(admin), "127.0.0.1")
    assert (accepted["actor_id"], accepted["user_agent"]) == (plain(user.id), "Phone\\x7f 1.0")
    assert (late["actor_id"], late["details"]) == (None, {"code": "invitation-accepted"})


def check_membership(host: Host, user: Any, tenant: Any, role: str) -> None:
    if host.tenancy == "membership":
        (member,) = host.rows(host.Membership, user_id=user.id, tenant_id=tenant)
        assert member.role == role
    else:
        assert user.role == role
        assert getattr(user, "tenant_id", None) == tenant


@pytest.mark.parametrize(("_database", "key", "tenancy"), PAIRS, indirect=["_database"])
def test_managed(some_host: Host) -> None:
    """What a manager and an invitee may do besides: list, get, resend, decline, revoke; and time does the rest."""
    host, shape = some_host, shapes(some_host)
    boss = host.client(host.user("admin@example.com", role="owner"))
    ids = {}
    for name in ("resent", "same", "declined", "revoked", "late"):
        ids[name] = invite(boss, f"{name}@example.com")["id"]
        host.clock.tick(timedelta(seconds=1))
    old = {name: host.outbox.token_to(f"{name}@example.com") for name in ids}

    answer = boss.post(f"{LIST}/{ids['resent']}/resend", json={"rotate": True})
    check(answer.json, shape["invitation"])
    assert host.outbox.token_to("resent@example.com") != old["resent"]
    refused(host.client().post(PREVIEW, json={"token": old["resent"]}), 410, "invitation-replaced")
    assert boss.post(f"{LIST}/{ids['same']}/resend", json={"rotate": False}).status_code == 200
    assert host.outbox.token_to("same@example.com") == old["same"]
    assert len(host.outbox.messages) == 7

    offer: Any = host.client().post(DECLINE, json={"token": old["declined"], "reason": "No time"}).json
    check(offer, shape["offer"])
    assert offer["status"] == "declined"
    assert boss.delete(f"{LIST}/{ids['revoked']}").data == b""
    host.clock.tick(timedelta(days=3))
    for name in ("resent", "same"):
        boss.post(f"{LIST}/{ids[name]}/resend")
    with host.app.app_context():
        assert host.invitations.sweep().expired == 1

    page: Any = boss.get(LIST).json
    check(page, shape["page"])
    assert [item["id"] for item in page["items"]] == [*ids.values()][::-1]
    expected = {"late": "expired", "revoked": "revoked", "declined": "declined", "same": "pending", "resent": "pending"}
    assert {item["email"].partition("@")[0]: item["status"] for item in page["items"]} == expected
    for item in page["items"]:
        one: Any = boss.get(f"{LIST}/{item['id']}").json
        ended = {"late": "expired", "revoked": "revoked", "declined": "declined"}.get(item["email"].partition("@")[0])
        obstacle = one.pop("obstacle")
        assert (obstacle and obstacle["code"]) == (ended and f"invitation-{ended}")
        assert one == item

    trails = {name: boss.get(f"{LIST}/{ids[name]}/events").json for name in ids}
    for trail in trails.values():
        check(trail, shape["events"])
    assert types(trails["resent"]) == ["created", "sent", "resent", "sent", "resent", "sent"]
    assert types(trails["declined"]) == ["created", "sent", "declined"]
    assert trails["declined"]["items"][-1]["details"] == {"reason": "No time"}  # type: ignore[index]
    assert types(trails["revoked"]) == ["created", "sent", "revoked"]
    assert types(trails["late"]) == ["created", "sent", "expired"]


@kinds(("membership",))
def test_existing_account_joins(any_host: Host) -> None:
    """Somebody who has an account joins a second tenant when signed in, keeping account, password and first tenant."""
    host, shape = any_host, shapes(any_host)
    first, second = host.tenant("First"), host.tenant("Second")
    guest = host.user(GUEST, "viewer", first, password=PASSWORD)
    admin = host.user("admin@example.com", "admin", second)
    invite(host.client(admin), "Guest@EXAMPLE.com", role="manager")
    token = host.outbox.token_to(GUEST)
    offer: Any = host.client().post(PREVIEW, json={"token": token}).json
    assert offer["account_exists"] is True
    refused(host.client().post(ACCEPT, json={"token": token, "password": PASSWORD}), 409, "account-exists")

    answer = host.client(guest).post(ACCEPT, json={"token": token})
    assert answer.status_code == 201
    check(answer.json, shape["acceptance"])
    (user,) = host.rows(host.User, email=GUEST)
    assert (user.id, user.check_password(PASSWORD)) == (guest, True)
    places = {row.tenant_id: row.role for row in host.rows(host.Membership, user_id=guest)}
    assert places == {first: "viewer", second: "manager"}
    refused(host.client(guest).post(ACCEPT, json={"token": token, "password": 1}), 422, "invalid-request")
    assert host.client(guest).post(ACCEPT, json={"token": token}).status_code == 200
