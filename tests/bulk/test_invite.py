"""Inviting many: a verdict for each, one transaction, and a number of statements that does not grow."""

from __future__ import annotations

import io
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_invitations import (
    AddressNotAllowed,
    InvalidRequest,
    InvitationError,
    InvitationInfo,
    PlanChanged,
    TenantInactive,
    invitation_created,
)
from flask_invitations.current import get_state, override
from tests.hosts import TENANCIES, Host, Tenancy, build
from tests.http.tools import API, INVITE, LIST, accept, invite, make, people, refused, set_columns, set_role, unchanged

BULK = f"{API}/invite/bulk"
QUEUE = {"INVITATIONS_DELIVERY": "queue"}
#: Room for thousands.
ROOMY = {**QUEUE, "INVITATIONS_PENDING_MAX": 10_000}


def numbered(count: int, slug: str = "n", **fields: Any) -> list[dict[str, Any]]:
    return [{"email": f"{slug}{number}@example.com", **fields} for number in range(count)]


def bulk(client: FlaskClient, rows: Any, **more: Any) -> dict[str, Any]:
    """Invite many by HTTP, and give the answer."""
    answer = client.post(BULK, json={"invitations": rows, **more})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.get_json()
    return told


def codes(told: dict[str, Any]) -> list[str]:
    """``created``, or the code of the refusal, of each row."""
    return [each.get("error", {}).get("code", each["outcome"]) for each in told["results"]]


# Verdicts

MIXED: list[dict[str, Any]] = [
    {"email": "a@example.com", "role": "viewer", "message": "Hello", "locale": "de", "expires_in": 3600},
    {"email": "A@EXAMPLE.com"},
    {"email": "guest@acme.example"},
    {"email": "plain@acme.example"},
    {"email": "late@example.com", "details": {"a": 1}},
    {"email": "nobody"},
    {"email": 7},
    {},
    {"email": "b@example.com", "role": "owner"},
    {"email": "c@example.com", "role": "god", "shade": "red"},
    {"email": "d@example.com", "mail": False},
]
VERDICTS = [
    "created",
    "already-invited",
    "already-invited",
    "already-member",
    "created",
    "invalid-request",
    "invalid-request",
    "invalid-request",
    "role-not-allowed",
    "invalid-request",
    "created",
]


def test_each_gets_its_verdict(host: Host) -> None:
    """Of many, each is made or refused for itself, in order: doubles, members, those who were invited before, wrong
    fields and roles; an expired one gives way. What is made is what one invite makes."""
    case = make(host, "pending")
    late = invite(host.client(case.admin), "late@example.com", expires_in=3600)
    host.clock.tick(timedelta(hours=2))
    host.outbox.clear()
    told = bulk(host.client(case.admin), MIXED)
    assert codes(told) == VERDICTS
    assert [each["index"] for each in told["results"]] == list(range(len(MIXED)))
    emails = [row.get("email") if isinstance(row.get("email"), str) else None for row in MIXED]
    assert [each["email"] for each in told["results"]] == emails
    assert (told["created"], told["requested"], told["refused"]) == (3, 0, 8)
    first, double, again, *_ = told["results"]
    assert double["error"]["invitation_id"] == first["invitation"]["id"]
    assert again["error"]["invitation_id"] == case.id
    assert told["results"][9]["error"]["errors"].keys() == {"role", "shade"}
    shown: Any = host.client(case.admin).get(f"{LIST}/{first['invitation']['id']}").json
    assert shown | {"delivery": None} == first["invitation"] | {"delivery": None, "obstacle": None}
    assert (shown["role"], shown["message"], shown["locale"]) == ("viewer", "Hello", "de")
    assert first["invitation"]["delivery"]["state"] == "sent"
    assert told["results"][10]["invitation"]["delivery"] is None
    assert sorted(message.to for message in host.outbox.messages) == ["a@example.com", "late@example.com"]
    (row,) = host.rows(host.invitations.models.Invitation, id=uuid.UUID(late["id"]))
    assert row.status == "expired"
    assert accept(host.client(), host.outbox.token_to("a@example.com")).status_code == 201


def test_what_only_one_of_them_has(host: Host) -> None:
    """Each row is stored with what it has, and with nothing that another one has."""
    fields: list[dict[str, Any]] = [{"message": "Hello"}, {"locale": "de"}, {"details": {"a": 1}}, {}]
    rows = [{**each, **field} for each, field in zip(numbered(len(fields)), fields, strict=True)]
    _, admin, *_ = people(host)
    assert bulk(host.client(admin), rows)["created"] == len(rows)
    stored = {row.email: row for row in host.rows(host.invitations.models.Invitation)}
    for number, field in enumerate(fields):
        row = stored[f"n{number}@example.com"]
        told = {name: getattr(row, name) for name in ("message", "locale", "details")}
        assert told == {"message": None, "locale": None, "details": None, **field}


def test_from_python(host: Host) -> None:
    """``invite_many`` takes the arguments of ``invite`` by name, and its result is what the API tells."""
    tenant, *_ = people(host)
    with host.app.app_context():
        rows: list[Any] = [{"email": "a@example.com", "expires_in": timedelta(hours=5)}, {"email": "x"}]
        told = host.invitations.invite_many(iter(rows), tenant_id=tenant)
        assert (told.created, told.requested, told.refused) == (1, 0, 1)
        made = told.results[0].invitation
        assert isinstance(made, InvitationInfo)
        assert (made.lifetime, made.invited_by) == (timedelta(hours=5), None)
        assert isinstance(told.results[1].error, InvalidRequest)
        assert host.invitations.invite_many([], tenant_id=tenant).results == []
        no_rows: list[Any] = [[1], [None], ["a@example.com"]]
        for wrong in no_rows:
            with pytest.raises(InvalidRequest):
                host.invitations.invite_many(wrong, tenant_id=tenant)
        with pytest.raises(InvalidRequest, match="tenant_id"):
            host.invitations.invite_many(rows)


def test_in_a_unit(host: Host) -> None:
    """Inside of ``unit()`` the invitations are complete once the block has ended, and gone if it fails."""
    tenant, *_ = people(host)
    with host.app.app_context():
        with host.invitations.unit():
            told = host.invitations.invite_many(numbered(2), tenant_id=tenant)
        assert [each.invitation and each.invitation.delivery.state for each in told.results] == ["sent", "sent"]  # type: ignore[union-attr]
        with pytest.raises(ZeroDivisionError), host.invitations.unit():
            _ = host.invitations.invite_many(numbered(2, "gone"), tenant_id=tenant).created / 0
    assert len(host.rows(host.invitations.models.Invitation)) == 2


def test_every_rule_of_make(host: Host) -> None:
    """C2: the host's own rule is asked about each, with where it comes from; the ceiling holds for each row."""
    _, admin, *_ = people(host)
    asked = list[Any]()

    def check_invitee(draft: Any) -> None:
        asked.append((draft.email_key, draft.source, draft.role))
        if draft.domain == "rival.example":
            raise AddressNotAllowed("Not them.")

    rows = [{"email": "a@example.com"}, {"email": "b@rival.example"}, {"email": "c@example.com", "role": "owner"}]
    with override(host.app, check_invitee=check_invitee):
        told = bulk(host.client(admin), rows)
    assert codes(told) == ["created", "address-not-allowed", "role-not-allowed"]
    assert told["results"][1]["error"]["detail"] == "Not them."
    assert asked[:2] == [("a@example.com", "bulk", "user"), ("b@rival.example", "bulk", "user")]


def test_many_are_written_in_pieces(database_url: str) -> None:
    """Drivers that send all rows as one packet must not send more than a server takes."""
    pieces = list[int]()

    def look(_connection: Any, _cursor: Any, _sql: str, given: Any, _context: Any, executemany: bool) -> None:
        pieces.append(len(given) if executemany else 1)

    with build(database_url, config={**ROOMY, "INVITATIONS_BULK_MAX": 2000}) as host, host.app.app_context():
        tenant_id = people(host)[0]
        sa.event.listen(host.engine, "before_cursor_execute", look)
        made = host.invitations.invite_many(numbered(1200), by=None, tenant_id=tenant_id)
        sa.event.remove(host.engine, "before_cursor_execute", look)
    assert made.created == 1200
    assert max(pieces) == 1000


def test_a_refusal_of_the_hosts_own_kind(host: Host) -> None:
    """A host's refusal may be equal to another one of its own, and have no hash: each keeps what it says."""

    class Closed(InvitationError):
        code = "closed"
        status = 409

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Closed)

    def check_invitee(draft: Any) -> None:
        raise Closed(f"Closed until {draft.email}.")

    _, admin, *_ = people(host)
    with override(host.app, check_invitee=check_invitee):
        told = bulk(host.client(admin), numbered(2))
    said = [each["error"]["detail"] for each in told["results"]]
    assert said == [f"Closed until {row['email']}." for row in numbered(2)]


def test_bounced(host: Host) -> None:
    """``confirm`` is said of one row, and holds for that."""
    case = make(host, "bounced")
    assert host.client(case.admin).delete(case.url).status_code == 204
    client = host.client(case.admin)
    assert codes(bulk(client, [{"email": case.email}, {"email": case.email, "confirm": True}])) == [
        "mail-bounced",
        "created",
    ]


def test_who_may(host: Host) -> None:
    """Only managers invite many, in an active tenant; else the call is refused, and nothing is written."""
    tenant, admin, plain, _ = people(host)
    body = {"invitations": numbered(2)}
    with unchanged(host):
        refused(host.client().post(BULK, json=body), 401, "unauthenticated")
        refused(host.client(plain).post(BULK, json=body), 403, "forbidden")
    set_columns(host, host.Tenant, tenant, active=False)
    with unchanged(host):
        refused(host.client(admin).post(BULK, json=body), 403, "tenant-inactive")
        with host.app.app_context(), pytest.raises(TenantInactive):
            host.invitations.invite_many(numbered(2), tenant_id=tenant, dry_run=True)


def test_shown_links(database_url: str) -> None:
    """D5: with RETURN_LINK the answer has each link, and such a link proves no mailbox; signals never have it."""
    with build(database_url, config={"INVITATIONS_RETURN_LINK": True}) as host:
        _, admin, *_ = people(host)
        heard = list[Any]()
        with invitation_created.connected_to(lambda _app, invitation: heard.append(invitation), host.app):
            told = bulk(host.client(admin), numbered(2))
        links = [each["invitation"]["accept_url"] for each in told["results"]]
        assert links == [host.outbox.link_to(f"n{number}@example.com") for number in (0, 1)]
        assert [each.accept_url for each in heard] == [None, None]
        assert all(row.link_shown for row in host.rows(host.invitations.models.Invitation))


# Trail, signals, emails


def test_each_has_its_event_and_its_signal(host: Host) -> None:
    """Of many, each has the event and the signal of one, after the commit."""
    _, admin, *_ = people(host)
    heard = list[str]()
    with invitation_created.connected_to(lambda _app, invitation: heard.append(invitation.email), host.app):
        bulk(host.client(admin), numbered(3))
    assert heard == [row["email"] for row in numbered(3)]
    models = host.invitations.models
    for row in host.rows(models.Invitation):
        trail = host.rows(models.InvitationEvent, invitation_id=row.id)
        assert [event.type for event in trail] == ["created", "sent"]
        assert (trail[0].actor_id, trail[0].details, trail[0].remote_addr) == (admin, {"role": "user"}, "127.0.0.1")


def test_many_emails_are_left_to_the_worker(host: Host) -> None:
    """E5: the emails of at most 10 are sent in the request; those of more wait, so that it answers in bounded time."""
    _, admin, *_ = people(host)
    told = bulk(host.client(admin), numbered(10))
    assert {each["invitation"]["delivery"]["state"] for each in told["results"]} == {"sent"}
    told = bulk(host.client(admin), numbered(11, "more"))
    assert {each["invitation"]["delivery"]["state"] for each in told["results"]} == {"queued"}
    assert len(host.outbox.messages) == 10
    with host.app.app_context():
        assert host.invitations.deliver() == {"sent": 11}


@pytest.mark.parametrize("delivery", ["inline", "queue"])
def test_workers_are_woken(database_url: str, delivery: str) -> None:
    """For each email that waits the host's queue is told, after the commit."""
    woken = list[uuid.UUID]()
    with build(database_url, config={"INVITATIONS_DELIVERY": delivery}, enqueue=woken.append) as host:
        _, admin, *_ = people(host)
        bulk(host.client(admin), numbered(11))
        assert set(woken) == {mail.id for mail in host.rows(host.invitations.models.Delivery)}
        assert len(woken) == 11


# Dry run and plan


def test_a_dry_run_writes_nothing(host: Host) -> None:
    """A dry run says what the call would say, has no id of what is not made, and writes and sends nothing."""
    case = make(host, "pending")
    client = host.client(case.admin)
    host.outbox.clear()
    with unchanged(host):
        dry = bulk(client, MIXED, dry_run=True)
        assert "invitation" not in dry["results"][0]
        assert dry["results"][1]["error"]["invitation_id"] is None
        assert dry["results"][2]["error"]["invitation_id"] == case.id
    assert host.outbox.messages == []
    told = bulk(client, MIXED, plan=dry["plan"])
    assert codes(told) == codes(dry) == VERDICTS
    assert told["plan"] == dry["plan"]


def test_plan_changed(host: Host) -> None:
    """B13: where an address, a role or a verdict is another by now, the call is refused and nothing is written."""
    tenant, admin, *_ = people(host)
    client, rows = host.client(admin), numbered(3)
    plan = bulk(client, rows, dry_run=True)["plan"]
    for other in (rows[:2], rows[::-1], [*rows[:2], {**rows[2], "role": "viewer"}], [*rows, {"email": "x"}]):
        with unchanged(host):
            refused(client.post(BULK, json={"invitations": other, "plan": plan}), 409, "plan-changed")
    assert codes(bulk(client, [*rows[:2], {**rows[2], "message": "Hi"}], dry_run=True, plan=plan)) == ["created"] * 3
    invite(client, "n1@example.com")
    with unchanged(host):
        refused(client.post(BULK, json={"invitations": rows, "plan": plan}), 409, "plan-changed")
        with host.app.app_context(), pytest.raises(PlanChanged):
            host.invitations.invite_many(rows, tenant_id=tenant, plan="no plan")
    set_role(host, admin, "owner")
    assert codes(bulk(client, rows, plan=bulk(client, rows, dry_run=True)["plan"])) == [
        "created",
        "already-invited",
        "created",
    ]


def test_a_plan_is_for_one_tenant(host: Host) -> None:
    """What was looked at in one tenant is not what is sent in another."""
    here, there = host.tenant(), host.tenant("Elsewhere")
    with host.app.app_context():
        plans = [
            host.invitations.invite_many(numbered(1), tenant_id=tenant, dry_run=True).plan for tenant in (here, there)
        ]
    assert plans[0] != plans[1]


# How many


def test_at_most_so_many_rows(database_url: str) -> None:
    """I1: how many rows there are is looked at before one of them is read; the number is named."""
    with build(database_url, config={"INVITATIONS_BULK_MAX": 3, **QUEUE}) as host:
        _, admin, *_ = people(host)
        client, kind, loads = host.client(admin), type(get_body(host)), list[Any]()
        theirs = kind.load
        kind.load = lambda body, given: loads.append(given) or theirs(body, given)  # type: ignore[func-returns-value]
        with unchanged(host), host.statements() as seen:
            told = refused(
                client.post(BULK, json={"invitations": numbered(4)}),
                422,
                "invalid-request",
                errors={"invitations": ["Send at most 3 at a time."]},
            )
        assert told
        assert loads == []
        assert len(seen) <= 2  # who calls
        assert codes(bulk(client, numbered(3))) == ["created"] * 3
        assert len(loads) == 3


def get_body(host: Host) -> Any:
    with host.app.app_context():
        return get_state().invite_body


@pytest.mark.in_turn
def test_default_of_bulk_max(queued: Host) -> None:
    """1,000 rows are taken, in one transaction, and 1,001 are not."""
    _, admin, *_ = people(queued)
    client = queued.client(admin)
    refused(client.post(BULK, json={"invitations": numbered(1001)}), 422, "invalid-request", errors={
        "invitations": ["Send at most 1000 at a time."]
    })  # fmt: skip
    assert bulk(client, numbered(1000))["created"] == 1000


@pytest.mark.in_turn
@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"invitations": None},
        {"invitations": {}},
        {"invitations": "a@example.com"},
        {"invitations": ["a@example.com"]},
        {"invitations": [[]]},
        {"invitations": [None]},
        {"invitations": [{"email": "a@example.com"}, 1]},
        {"invitations": [], "dry_run": 1},
        {"invitations": [], "dry_run": None},
        {"invitations": [], "plan": 1},
        {"invitations": [], "plan": "x" * 65},
        {"invitations": [], "mail": True},
        {"invitations": [], "tenant_id": 1},
    ],
)
def test_no_list_of_objects(host: Host, body: Any) -> None:
    """A body that is no list of objects is refused as a whole."""
    _, admin, *_ = people(host)
    with unchanged(host):
        answer = host.client(admin).post(BULK, json=body)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid-request")


# How long

LIMIT = 1024 * 1024


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("_database", ["sqlite"], indirect=True)
def test_size(host: Host, declared: bool) -> None:
    """I4: 1 MiB is taken by the bulk calls and by no other, one byte more is 413, however the length is declared."""
    _, admin, *_ = people(host)
    client = host.client(admin)
    for url, good in (
        (BULK, {"invitations": numbered(20)}),
        (f"{LIST}/bulk", {"action": "revoke", "ids": ["x"]}),
    ):
        raw = json.dumps(good).encode()
        with unchanged(host):
            for size in (LIMIT + 1, LIMIT + 100_000):
                told = refused(send(client, url, raw.ljust(size), declared), 413, "body-too-large")
                assert told["detail"] == "The body is too large. Send at most 1 MiB."
            refused(send(client, INVITE, raw.ljust(16 * 1024 + 1), declared), 413, "body-too-large")
        assert send(client, url, raw.ljust(LIMIT), declared).status_code == 200


def send(client: FlaskClient, url: str, raw: bytes, declared: bool) -> TestResponse:
    if declared:
        return client.post(url, data=raw, content_type="application/json")
    return client.post(
        url,
        input_stream=io.BytesIO(raw),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
        headers={"Transfer-Encoding": "chunked"},
    )


def test_details_as_deep_as_of_one(host: Host) -> None:
    """30 levels of details are allowed in a row as in a single invite; deeper ones are that row's mistake."""
    _, admin, *_ = people(host)
    rows = [
        b'{"email": "d%d@example.com", "details": ' % depth + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        for depth in (30, 31)
    ]
    raw = b'{"invitations": [' + b", ".join(rows) + b"]}"
    answer: Any = host.client(admin).post(BULK, data=raw, content_type="application/json").json
    assert codes(answer) == ["created", "invalid-request"]


# Statements


@pytest.mark.in_turn
@pytest.mark.parametrize("tenancy", TENANCIES)
def test_many_cost_no_more_statements(database_url: str, tenancy: Tenancy) -> None:
    """R23: inviting 10, 100 or 500 people takes the same number of statements, and 1,000 one more for each chunk of a
    statement; a dry run takes less."""
    with build(database_url, tenancy=tenancy, config=ROOMY, tenant_is_active=None) as host:
        tenant = host.tenant()

        def count(number: int, slug: str, **how: Any) -> int:
            with host.app.app_context(), host.statements() as seen:
                told = host.invitations.invite_many(numbered(number, slug), tenant_id=tenant, **how)
            assert told.created == number
            return len(seen)

        count(2, "warm")
        ten, hundred, chunk = (count(number, f"n{number}x") for number in (10, 100, 500))
        assert ten == hundred == chunk
        assert ten <= 13, ten
        assert count(1000, "k") <= ten + 5
        assert count(1000, "dry", dry_run=True) < ten
        assert len(host.rows(host.invitations.models.Invitation)) == 2 + 10 + 100 + 500 + 1000


def test_find_users(host: Host) -> None:
    """Whose accounts these addresses are is asked once, of the hook for many where the host gives one."""
    tenant, admin, *_ = people(host)
    member = host.user("m@example.com", "user", tenant)
    asked = list[Any]()

    def find_users(emails: Any) -> Any:
        asked.append(list(emails))
        return [host.db.session.get(host.User, member)]

    with override(host.app, find_users=find_users):
        told = bulk(host.client(admin), [*numbered(2), {"email": "M@example.com"}])
    assert codes(told) == ["created", "created", "already-member"]
    assert asked == [["n0@example.com", "n1@example.com", "m@example.com"]]
