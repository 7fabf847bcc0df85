"""Caps and address rules, as each path answers them: what is open, what is full, and what is not asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations import AddressNotAllowed, TooManyPending
from flask_invitations.acts import Manager, Wanted, invite_many, system
from flask_invitations.addresses import parse
from flask_invitations.current import get_state, override
from tests.hosts import TENANCIES, Host, build
from tests.http.tools import INVITE, LIST, PREVIEW, Case, accept, invite, make, refused, unchanged

FULL = (409, "too-many-pending")
NO_SEAT = (409, "no-seats")
ALONE = re.compile(r"FROM tenants .*(FOR NO KEY UPDATE|FOR UPDATE)")


@pytest.fixture(params=TENANCIES)
def small(request: pytest.FixtureRequest, database_url: str) -> Iterator[Host]:
    """A host where two invitations may be open at once."""
    with build(database_url, tenancy=request.param, config={"INVITATIONS_PENDING_MAX": 2}) as host:
        yield host


def ask(host: Host, admin: Any, email: str, query: str = "") -> Any:
    return host.client(admin).post(INVITE + query, json={"email": email})


def many(host: Host, *emails: str) -> Sequence[str]:
    """What inviting these together comes to: ``made``, or a code."""
    by: Manager = system(host.tenant())
    with host.app.app_context():
        told = invite_many(get_state().ctx, by=by, rows=[Wanted(parse(email)) for email in emails])
    return ["made" if each.error is None else each.error.code for each in told.results]


# PENDING_MAX


@pytest.mark.in_turn
def test_what_is_open_counts(small: Host) -> None:
    """E5: what is pending takes a place; what is revoked, accepted or expired does not, and what is pending is sent
    again at any time."""
    admin = small.user("admin@example.com", "admin")
    made = [invite(small.client(admin), f"{name}@example.com") for name in ("one", "two")]
    refused(ask(small, admin, "three@example.com"), *FULL)
    assert small.client(admin).post(f"{LIST}/{made[0]['id']}/resend").status_code == 200
    assert small.client(admin).delete(f"{LIST}/{made[0]['id']}").status_code == 204
    invite(small.client(admin), "three@example.com")
    refused(ask(small, admin, "four@example.com"), *FULL)
    assert accept(small.client(), small.outbox.token_to("three@example.com")).status_code == 201
    invite(small.client(admin), "four@example.com")
    small.clock.tick(timedelta(days=9))
    invite(small.client(admin), "five@example.com")
    resend = f"{LIST}/{made[1]['id']}/resend"
    assert small.client(admin).post(resend).status_code == 200
    refused(ask(small, admin, "six@example.com"), *FULL)
    small.clock.tick(timedelta(days=9))
    for name in ("seven", "eight"):
        invite(small.client(admin), f"{name}@example.com")
    with unchanged(small):
        refused(small.client(admin).post(resend), *FULL)
        with small.app.app_context(), pytest.raises(TooManyPending):
            small.invitations.resend(made[1]["id"])


@pytest.mark.in_turn
def test_one_tenant_is_not_anothers(small: Host) -> None:
    """The places are a tenant's own."""
    if small.tenancy == "none":
        return
    for name in ("Acme", "Globex"):
        tenant = small.tenant(name)
        admin = small.user(f"admin@{name.lower()}.example", "admin", tenant)
        for number in range(2):
            invite(small.client(admin), f"guest{number}@example.com")
        refused(ask(small, admin, "more@example.com"), *FULL)


@pytest.mark.in_turn
def test_as_many_as_fit(small: Host) -> None:
    """Of many together as many as fit are made, in order: what another rule refuses takes no place."""
    small.user("member@example.com", "user")
    told = many(small, "member@example.com", "a@example.com", "A@example.com", "b@example.com", "c@example.com")
    assert told == ["already-member", "made", "already-invited", "made", "too-many-pending"]
    assert many(small, "d@example.com", "a@example.com") == ["too-many-pending", "already-invited"]


@pytest.mark.in_turn
def test_of_many_only_those_that_open_take_a_place(small: Host) -> None:
    """Of many that are sent again together those that are pending have their places, however full it is."""
    admin = small.user("admin@example.com", "admin")
    expired = invite(small.client(admin), "one@example.com", expires_in=3600)["id"]
    small.clock.tick(timedelta(hours=2))
    pending = [invite(small.client(admin), f"{name}@example.com")["id"] for name in ("two", "three")]
    body = {"action": "resend", "ids": [expired, *pending]}
    told: Any = small.client(admin).post(f"{LIST}/bulk", json=body).json
    assert [each["outcome"] for each in told["results"]] == ["refused", "done", "done"]


def test_it_is_told_without_a_lock(small: Host) -> None:
    """Explaining says what the act would say, and locks nothing."""
    admin = small.user("admin@example.com", "admin")
    for name in ("one", "two"):
        invite(small.client(admin), f"{name}@example.com")
    with unchanged(small), small.statements() as seen:
        told: Any = ask(small, admin, "three@example.com", "?explain=true").json
    assert [reason["code"] for reason in told["reasons"]] == ["too-many-pending"]
    assert [each for each in seen if re.search(r"\bFOR\b|\bLOCK\b|BEGIN|INSERT", each)] == []


def test_in_a_transaction_of_the_hosts(small: Host) -> None:
    """In a block of the host's, what it has made itself counts, and what was committed since the block began to read:
    a snapshot hides no rival."""
    tenant = small.tenant()
    with small.app.app_context(), small.invitations.unit():
        small.invitations.list(tenant_id=tenant)
        if small.engine.dialect.name == "sqlite":  # where nobody else can write meanwhile
            small.invitations.invite("rival@example.com", tenant_id=tenant)
        else:
            rival = Thread(target=many, args=(small, "rival@example.com"))
            rival.start()
            rival.join(30)
        small.invitations.invite("one@example.com", tenant_id=tenant)
        with pytest.raises(TooManyPending):
            small.invitations.invite("two@example.com", tenant_id=tenant)
    assert {row.email for row in small.rows(small.invitations.models.Invitation)} == {
        "rival@example.com",
        "one@example.com",
    }


def test_what_the_host_has_read_stays(small: Host) -> None:
    """The act begins anew where it must, but what the host has loaded before stays loaded, and the act commits."""
    admin_id, tenant = small.user("admin@example.com", "admin"), small.tenant()
    with small.app.app_context():
        admin = small.db.session.get(small.User, admin_id)
        small.invitations.invite("one@example.com", by=admin, tenant_id=tenant)
        assert small.db.session.get(small.User, admin_id) is admin
        small.invitations.invite("two@example.com", by=admin, tenant_id=tenant)
        with pytest.raises(TooManyPending):
            small.invitations.invite("three@example.com", by=admin, tenant_id=tenant)


# Seats


@pytest.fixture
def case(host: Host) -> Case:
    """A pending invitation."""
    return make(host, "pending")


def test_a_full_house(case: Case) -> None:
    """B13: without a seat nobody gets in: preview, page, the manager and accept say so, nothing is hashed, and the
    invitation waits until there is one."""
    host, asked = case.host, list[str]()

    def create_user(*_: Any) -> Any:
        asked.append("create_user")

    full = {"seats": lambda _tenant: 0, "create_user": create_user}
    with override(host.app, **full, validate_password=lambda *_: asked.append("password")):
        shown: Any = host.client().post(PREVIEW, json={"token": case.token}).json
        assert shown["obstacle"]["code"] == "no-seats"
        page = host.client().post("/invitations/open", data={"token": case.token})
        assert "All seats are taken" in page.text
        seen: Any = host.client(case.admin).get(case.url).json
        assert seen["obstacle"]["code"] == "no-seats"
        with host.statements() as statements:
            refused(accept(host.client(), case.token), *NO_SEAT)
        assert not any(ALONE.search(" ".join(each.split())) for each in statements)
        assert asked == []
    assert accept(host.client(), case.token).status_code == 201


def test_open_ones_take_seats(case: Case) -> None:
    """R4: an invitation is made for a seat that no open one waits for; the open one is accepted and sent again."""
    host, free = case.host, [1]
    told: list[Any] = []

    def seats(tenant_id: Any) -> int | None:
        told.append(tenant_id)
        return free[0]

    with override(host.app, seats=seats):
        refused(ask(host, case.admin, "late@example.com"), *NO_SEAT)
        assert many(host, "late@example.com", "later@example.com") == ["no-seats", "no-seats"]
        free[0] = 2
        assert many(host, "late@example.com", "later@example.com") == ["made", "no-seats"]
        assert host.client(case.admin).post(f"{case.url}/resend").status_code == 200
        assert accept(host.client(), host.outbox.token_to(case.email)).status_code == 201
        host.clock.tick(timedelta(days=9))
        free[0] = 0
        (late,) = host.rows(host.invitations.models.Invitation, email="late@example.com")
        refused(host.client(case.admin).post(f"{LIST}/{late.id}/resend"), *NO_SEAT)
    assert set(told) == {case.tenant}


@pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("hooked", [True, False])
def test_the_tenant_is_held_before_anything_is_read(case: Case, hooked: bool) -> None:
    """B13: where seats are counted, accepting begins with the tenant's lock; where they are not, it has none."""
    host, seen = case.host, list[list[str]]()
    hooks = {"seats": lambda _tenant: 5} if hooked else {}

    def begin(_connection: Any) -> None:
        seen.append([])

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen[-1].append(" ".join(statement.split()))

    engine = host.engine
    sa.event.listen(engine, "begin", begin)
    sa.event.listen(engine, "before_cursor_execute", note)
    with override(host.app, **hooks):
        assert accept(host.client(), case.token).status_code == 201
    (claim,) = (each for each in seen if any("SET status" in line or "status=" in line for line in each))
    assert bool(ALONE.search(claim[0])) == hooked
    assert sum(bool(ALONE.search(line)) for line in claim) == hooked


@pytest.mark.parametrize("given", [-3, 0])
def test_fewer_than_none_is_none(case: Case, given: int) -> None:
    """A tenant may have more members than seats: then it has none left."""
    with override(case.host.app, seats=lambda _tenant: given):
        refused(accept(case.host.client(), case.token), *NO_SEAT)


def test_an_answer_that_is_none(case: Case) -> None:
    """H3: ``None`` is any number of seats; a ``bool`` is none, and is refused by name."""
    with override(case.host.app, seats=lambda _tenant: None):
        assert ask(case.host, case.admin, "more@example.com").status_code == 201
    yes: Any = {"seats": lambda _tenant: True}
    with (
        override(case.host.app, **yes),
        case.host.app.app_context(),
        pytest.raises(TypeError, match="seats returned bool"),
    ):
        case.host.invitations.invite("most@example.com", tenant_id=case.tenant)


# Addresses


def test_our_lists_come_first(case: Case) -> None:
    """F4: an address that the settings rule out is refused where it is invited and where it is sent again, and the
    host's own rule is not asked."""
    host, asked = case.host, list[str]()

    def check_invitee(draft: Any) -> None:
        asked.append(draft.domain)
        raise AddressNotAllowed("Not by the host.")

    with host.app.app_context():
        config = get_state().ctx.config
    denied = replace(config, denied_domains=(case.email.rpartition("@")[2], "xn--bcher-kva.example"))
    with override(host.app, config=denied, check_invitee=check_invitee), unchanged(host):
        for email in ("else@BÜCHER.example", case.email):
            answer = ask(host, case.admin, email)
            assert "domain" in answer.get_json()["detail"]
            refused(answer, 403, "address-not-allowed")
        refused(host.client(case.admin).post(f"{case.url}/resend"), 403, "address-not-allowed")
        assert asked == []
        assert refused(ask(host, case.admin, "else@example.org"), 403, "address-not-allowed")
        assert asked == ["example.org"]
    with override(host.app, config=denied):
        assert accept(host.client(), case.token).status_code == 201
