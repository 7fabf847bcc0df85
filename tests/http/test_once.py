"""``Idempotency-Key``: a call that is repeated with its key gets its answer again, and nothing happens twice."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_invitations.current import override
from flask_invitations.web.api import CALLS
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import (
    ACCEPT,
    DOCUMENT,
    INVITE,
    LIST,
    NO_TOKEN,
    PREVIEW,
    Case,
    delete_row,
    make,
    refused,
    set_columns,
    set_role,
    unchanged,
)

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
DAY = timedelta(hours=24)
OTHER = "other@example.com"


@dataclass(frozen=True)
class Repeatable:
    """A call that takes a key: as whom, where, with what, and the status of its success."""

    client: FlaskClient
    url: str
    body: dict[str, Any]
    status: int

    def __call__(self, key: str | None = KEY, **changes: Any) -> TestResponse:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.client.post(self.url, json={**self.body, **changes}, headers=headers)


#: How each call that takes a key is made, on a pending invitation.
MADE: dict[str, Callable[[Case], Repeatable]] = {
    "invite": lambda case: Repeatable(
        case.host.client(case.admin), INVITE, {"email": OTHER, "details": {"b": 1, "a": [2]}, "message": "Hello"}, 201
    ),
    "resend_invitation": lambda case: Repeatable(case.host.client(case.admin), f"{case.url}/resend", {}, 200),
    "invite_many": lambda case: Repeatable(
        case.host.client(case.admin),
        f"{INVITE}/bulk",
        {"invitations": [{"email": OTHER}, {"email": case.email}, {"email": "no address"}, {"email": OTHER}]},
        200,
    ),
    "change_many": lambda case: Repeatable(
        case.host.client(case.admin), f"{LIST}/bulk", {"action": "resend", "ids": [case.id, "unknown"]}, 200
    ),
    "accept_invite": lambda case: Repeatable(
        case.host.client(), ACCEPT, {"token": case.token, "password": PASSWORD}, 201
    ),
}
EACH = pytest.mark.parametrize("name", MADE)


def replayed(answer: TestResponse) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def kept(host: Host) -> list[Any]:
    """The rows of calls with a key."""
    return host.rows(host.invitations.models.Request)


@contextmanager
def nothing_more(host: Host) -> Iterator[None]:
    """Assert that the block changes no row and sends no email."""
    mails = len(host.outbox.messages)
    with unchanged(host):
        yield
    assert len(host.outbox.messages) == mails


def test_every_such_call_is_tested() -> None:
    """The tests of this file are about every call that says that it takes a key."""
    assert MADE.keys() == {each.name for each in CALLS if each.idempotent}


@pytest.mark.in_turn
@EACH
def test_the_answer_again(host: Host, name: str) -> None:
    """R14: the same key and body get the same status and the same body again, and nothing happens twice."""
    call = MADE[name](make(host, "pending"))
    first = call()
    assert (first.status_code, replayed(first)) == (call.status, False), first.text
    for _ in range(2):
        with nothing_more(host):
            again = call()
        assert (again.status_code, again.json, replayed(again)) == (first.status_code, first.json, True)
        assert again.headers.get("Location") == first.headers.get("Location")


@pytest.mark.in_turn
@EACH
def test_the_same_json_in_another_order(host: Host, name: str) -> None:
    """A client that tries again may write the same body in another order and with other spaces."""
    call = MADE[name](make(host, "pending"))
    assert call().status_code == call.status
    text = json.dumps(dict(reversed(call.body.items())), indent=3)
    answer = call.client.post(call.url, data=text, headers={"Idempotency-Key": KEY, "Content-Type": "application/json"})
    assert replayed(answer)


@pytest.mark.in_turn
@EACH
def test_another_body(host: Host, name: str) -> None:
    """The same key with another body is refused, and nothing happens."""
    call = MADE[name](make(host, "pending"))
    assert call().status_code == call.status
    changes: dict[str, dict[str, Any]] = {
        "invite": {"role": "viewer"},
        "resend_invitation": {"rotate": True},
        "invite_many": {"dry_run": False},
        "change_many": {"action": "revoke"},
        "accept_invite": {"password": f"{PASSWORD}!"},
    }
    with nothing_more(host):
        refused(call(**changes[name]), 422, "idempotency-mismatch")
    assert replayed(call())


def test_no_body_is_an_empty_one(host: Host) -> None:
    """A call whose body may be left out is the same call without one."""
    call = MADE["resend_invitation"](make(host, "pending"))
    assert call.client.post(call.url, headers={"Idempotency-Key": KEY}).status_code == 200
    assert replayed(call())


def test_somebody_else(host: Host) -> None:
    """A key is one caller's own: another manager, and a manager of another tenant, get an answer of their own."""
    case = make(host, "pending")
    call = MADE["invite"](case)
    assert call().status_code == 201
    second = host.client(host.user("second@example.com", "admin"))
    refused(second.post(INVITE, json=call.body, headers={"Idempotency-Key": KEY}), 409, "already-invited", **held(host))
    stranger = host.client(case.stranger).post(INVITE, json=call.body, headers={"Idempotency-Key": KEY})
    assert (stranger.status_code, replayed(stranger)) == (201, False)


def held(host: Host) -> dict[str, str]:
    (row,) = host.rows(host.invitations.models.Invitation, email_key=OTHER)
    return {"invitation_id": str(row.id)}


def test_another_tenant(database_url: str) -> None:
    """The same manager, in another of their tenants, makes another call."""
    with build(database_url, tenancy="membership") as host:
        admin, elsewhere = host.user("admin@example.com", "admin"), host.tenant("Elsewhere")
        with host.engine.begin() as connection:
            row = {"user_id": admin, "tenant_id": elsewhere, "role": "admin"}
            connection.execute(sa.insert(host.Membership.__table__), row)
        calls = [
            Repeatable(host.client(admin, tenant), INVITE, {"email": OTHER}, 201)
            for tenant in (host.tenant(), elsewhere)
        ]
        answers = [call() for call in calls]
        assert [(each.status_code, replayed(each)) for each in answers] == [(201, False)] * 2
        assert len({each.get_json()["id"] for each in answers}) == 2
        assert [call().json for call in calls] == [each.json for each in answers]


def test_another_path(host: Host) -> None:
    """The same key on another path is another call."""
    case = make(host, "pending")
    assert MADE["invite"](case)().status_code == 201
    answer = MADE["resend_invitation"](case)()
    assert (answer.status_code, replayed(answer)) == (200, False)
    assert len(kept(host)) == 2


def test_another_link(host: Host) -> None:
    """At accept the holder of another link is another caller."""
    host.user("admin@example.com", "admin")
    for name in ("Acme", "Globex"):
        answer = MADE["accept_invite"](make(host, "pending", name))()
        assert (answer.status_code, replayed(answer)) == (201, False)


def test_without_a_key(host: Host) -> None:
    """Without the header nothing is kept."""
    case = make(host, "pending")
    for made in MADE.values():
        call = made(case)
        if call.url != ACCEPT:  # whose link the resend has replaced
            assert call(key=None).status_code == call.status
    assert kept(host) == []


def test_calls_that_take_no_key(host: Host) -> None:
    """Other calls, and an explanation, go on as if there was no key."""
    case, headers = make(host, "pending"), {"Idempotency-Key": "\x7f" * 300}
    manager = host.client(case.admin)
    assert manager.get(LIST, headers=headers).status_code == 200
    assert host.client().post(PREVIEW, json={"token": case.token}, headers=headers).status_code == 200
    assert manager.post(f"{INVITE}?explain=true", json={"email": OTHER}, headers=headers).status_code == 200
    assert manager.delete(case.url, headers=headers).status_code == 204
    assert kept(host) == []


@pytest.mark.parametrize("key", ["used", "\x7f" * 300])
def test_a_dry_run_takes_no_key(local: Host, key: str) -> None:
    """A dry run goes on as if there was no key: it uses none up, and one that was used does not matter."""
    case = make(local, "pending")
    manager, url, rows = local.client(case.admin), f"{INVITE}/bulk", [{"email": OTHER}]
    for created, body in ((1, {"dry_run": True}), (1, {}), (0, {"dry_run": True})):
        headers = {} if key != "used" and not body else {"Idempotency-Key": key}
        answer = manager.post(url, json={"invitations": rows, **body}, headers=headers)
        assert (answer.status_code, answer.get_json()["created"], replayed(answer)) == (200, created, False)


# Refusals


@pytest.mark.in_turn
@EACH
def test_a_refusal_is_not_kept(host: Host, name: str) -> None:
    """Refused first, then fixed: the same key works, also with another body."""
    case = make(host, "pending")
    call = MADE[name](case)
    if name == "change_many":  # which refuses its rows, never the call
        return
    set_columns(host, host.Tenant, case.tenant, active=False)
    assert call(**({"password": "another password for that"} if name == "accept_invite" else {})).status_code >= 400
    assert kept(host) == []
    set_columns(host, host.Tenant, case.tenant, active=True)
    answer = call()
    assert (answer.status_code, replayed(answer)) == (call.status, False)
    assert replayed(call())


@pytest.mark.parametrize("key", [None, KEY])
def test_the_trail_of_a_refused_accept(host: Host, key: str | None) -> None:
    """A refused accept is in the audit trail, with a key as without one."""
    case = make(host, "inviter demoted")
    refused(MADE["accept_invite"](case)(key), 403, "role-not-allowed")
    told = host.rows(host.invitations.models.InvitationEvent, type="accept_refused")
    assert [event.details for event in told] == [{"code": "role-not-allowed"}]
    assert kept(host) == []


@pytest.mark.in_turn
@EACH
def test_a_crash_is_not_kept(host: Host, name: str) -> None:
    """What ends in a 5xx leaves nothing: the same key works."""
    call = MADE[name](make(host, "pending"))
    host.app.config["PROPAGATE_EXCEPTIONS"] = False

    def broken(*_: Any) -> Any:
        raise RuntimeError

    with override(host.app, tenant_is_active=broken):
        assert call().status_code == 500
    assert kept(host) == []
    answer = call()
    assert (answer.status_code, replayed(answer)) == (call.status, False)


@pytest.mark.parametrize("key", ["", "x" * 256, "ä", "a\tb", "\x7f"])
def test_no_key(local: Host, key: str) -> None:
    """A key has 1 to 255 printable ASCII characters."""
    call = MADE["invite"](make(local, "pending"))
    with nothing_more(local):
        answer = refused(call(key), 422, "invalid-request", errors={"Idempotency-Key": [SAID]})
    assert "Idempotency-Key" in answer["detail"]


SAID = "Send 1 to 255 printable ASCII characters."


@pytest.mark.parametrize("key", ["x", "x" * 255, '"quoted, as the draft has it"', "~ !"])
def test_keys(local: Host, key: str) -> None:
    """Any other key is one, as it is."""
    call = MADE["invite"](make(local, "pending"))
    assert call(key).status_code == 201
    assert replayed(call(key))
    assert not replayed(call(f"{key[1:]}X"))


def test_who_may_not_any_more(host: Host) -> None:
    """An answer is given again only to whoever may make the call now."""
    case = make(host, "pending")
    call = MADE["invite"](case)
    assert call().status_code == 201
    set_role(host, case.admin, "user")
    refused(call(), 403, "forbidden")


def test_a_token_that_opens_nothing(host: Host) -> None:
    """A11: strangers with keys and made-up tokens fill no table."""
    for token in (NO_TOKEN, "short", ""):
        answer = host.client().post(
            ACCEPT, json={"token": token, "password": PASSWORD}, headers={"Idempotency-Key": KEY}
        )
        refused(answer, 404, "invitation-not-found")
    assert kept(host) == []


# What is there now


def test_the_present_state(host: Host) -> None:
    """The answer is made of what is there now: with the status of then, and the invitation as it is."""
    case = make(host, "pending")
    call = MADE["invite"](case)
    made = call().get_json()
    assert host.client(case.admin).delete(f"{LIST}/{made['id']}").status_code == 204
    again = call()
    assert (again.status_code, again.get_json()["status"]) == (201, "revoked")


def test_the_invitation_is_gone(host: Host) -> None:
    """What is not there any more cannot be shown again."""
    case = make(host, "pending")
    call = MADE["invite"](case)
    made = call().get_json()
    delete_row(host, host.invitations.models.Invitation, uuid.UUID(made["id"]))
    refused(call(), 404, "invitation-not-found")


def test_the_account_is_gone(host: Host) -> None:
    """After the account was deleted its accept is not told as a success any more."""
    case = make(host, "pending")
    call = MADE["accept_invite"](case)
    assert call().status_code == 201
    delete_row(host, host.User, case.invitee)
    refused(call(), 409, "invitation-accepted")


def test_accepting_signed_in(database_url: str) -> None:
    """An account that joins gets its 201 again with the key, and its 200 without."""
    with build(database_url, tenancy="membership") as host:
        case = make(host, "account elsewhere")
        call = Repeatable(host.client(case.invitee), ACCEPT, {"token": case.token}, 201)
        first, again = call(), call()
        assert (first.status_code, again.status_code, again.json) == (201, 201, first.json)
        assert (replayed(again), call(key=None).status_code) == (True, 200)


def test_no_session_again(database_url: str) -> None:
    """What ``on_accepted`` returned, a session maybe, is not kept, and the hook is not called again."""
    called = []

    def on_accepted(user: Any, invitation: Any) -> dict[str, str]:
        called.append(user)
        return {"secret": "of the session"}

    with build(database_url, on_accepted=on_accepted) as host:
        call = MADE["accept_invite"](make(host, "pending"))
        first, again = call().get_json(), call().get_json()
        assert first.pop("session") == {"secret": "of the session"}
        assert again == first
        assert len(called) == 1


@pytest.mark.parametrize("name", ["invite", "resend_invitation"])
def test_the_link_again(database_url: str, name: str) -> None:
    """With ``RETURN_LINK`` the link is in the answer again as long as it is the same, and no other ever is."""
    with build(database_url, config={"INVITATIONS_RETURN_LINK": True}) as host:
        case = make(host, "pending")
        call = MADE[name](case)
        first = call().get_json()
        assert first["accept_url"]
        assert call().json == first
        resend = f"{LIST}/{first['id']}/resend"
        assert call.client.post(resend, json={"rotate": False}).json["accept_url"] == first["accept_url"]  # type: ignore[index]
        assert call().get_json()["accept_url"] == first["accept_url"]
        assert call.client.post(resend).status_code == 200
        assert "accept_url" not in call().get_json()


def test_no_link_where_the_setting_is_off_by_now(database_url: str) -> None:
    """``RETURN_LINK`` counts as it is now: the link is not in the answer where it is off, neither then nor now."""
    with build(database_url, config={"INVITATIONS_RETURN_LINK": True}) as host:
        case = make(host, "pending")
        assert "accept_url" in MADE["invite"](case)().get_json()
        hidden = MADE["resend_invitation"](case)
    with build(database_url, create_all=False) as host:
        call = Repeatable(host.client(case.admin), INVITE, MADE["invite"](case).body, 201)
        again = call()
        assert (replayed(again), "accept_url" in again.get_json()) == (True, False)
        call = Repeatable(host.client(case.admin), hidden.url, {}, 200)
        assert call().status_code == 200
    with build(database_url, config={"INVITATIONS_RETURN_LINK": True}, create_all=False) as host:
        again = Repeatable(host.client(case.admin), hidden.url, {}, 200)()
        assert (replayed(again), "accept_url" in again.get_json()) == (True, False)


# What is kept, and for how long


def test_nothing_personal_or_secret(database_url: str) -> None:
    """D2, D6: the table holds no token, link, password, session, address, role, key or path: ids and hashes only."""
    config = {"INVITATIONS_RETURN_LINK": True}
    with build(database_url, config=config, on_accepted=lambda user, invitation: {"sid": "s3ss10n"}) as host:
        case = make(host, "pending")
        link = MADE["invite"](case)().get_json()["accept_url"]
        assert MADE["accept_invite"](case)().status_code == 201
        with host.engine.connect() as connection:
            cells = connection.execute(sa.select(host.invitations.models.Request.__table__)).all()
        text = " ".join(str(cell) for row in cells for cell in row)
        assert len(cells) == 2
        token = link.partition("#")[2]
        told = (token, case.token, "app.example.com", PASSWORD, "s3ss10n", "example", "admin", "Hello", KEY, "/api")
        assert [each for each in told if each in text] == []


def test_a_day(host: Host) -> None:
    """An answer is given again for 24 hours; then the same key makes another call, swept or not."""
    case = make(host, "pending")
    call = MADE["resend_invitation"](case)
    assert call().status_code == 200
    host.clock.tick(DAY - timedelta(microseconds=1))
    assert replayed(call())
    host.clock.tick(timedelta(microseconds=1))
    later = call()
    assert (later.status_code, replayed(later)) == (200, False)
    assert replayed(call())
    assert len(kept(host)) == 1


def test_sweep(host: Host) -> None:
    """R21: sweeping deletes what is not given again any more, and nothing else, in steps."""
    call = MADE["resend_invitation"](make(host, "pending"))
    assert call("old").status_code == 200
    (row,) = kept(host)
    table = host.invitations.models.Request.__table__
    old = [
        {"key_hash": f"{number:064x}", "body_hash": row.body_hash, "status": 200, "expires_at": row.expires_at}
        for number in range(450)
    ]
    with host.engine.begin() as connection:
        connection.execute(sa.insert(table), old)
    host.clock.tick(timedelta(hours=1))
    assert call("new").status_code == 200
    host.clock.tick(DAY - timedelta(hours=1))
    with host.app.app_context():
        host.invitations.sweep()
    assert len(kept(host)) == 1
    assert replayed(call("new"))


@pytest.mark.in_turn
@EACH
def test_a_new_key_of_the_app(database_url: str, name: str) -> None:
    """I5: after ``SECRET_KEY`` was changed, an answer is given again where the old one is a fallback; else it is
    another call, which does what it does."""
    with build(database_url, config={"SECRET_KEY": "old"}) as host:
        case = make(host, "pending")
        call = MADE[name](case)
        first = call()
        assert first.status_code == call.status
    client = partial(Repeatable, url=call.url, body=call.body, status=call.status)
    who = None if name == "accept_invite" else case.admin
    with build(database_url, config={"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": ["old"]}, create_all=False) as host:
        again = client(host.client(who))()
        assert (again.json, replayed(again)) == (first.json, True)
        if name == "invite":
            refused(client(host.client(who))(locale="fr"), 422, "idempotency-mismatch")
    with build(database_url, config={"SECRET_KEY": "new"}, create_all=False) as host:
        assert not replayed(client(host.client(who))())


def test_a_deleted_tenant(host: Host) -> None:
    """The host can delete a tenant, whatever was kept of calls in it; nothing of it is told afterwards."""
    case = make(host, "pending")
    invite, accept = MADE["invite"](case), MADE["accept_invite"](case)
    assert (invite().status_code, accept().status_code) == (201, 201)
    delete_row(host, host.Tenant, case.tenant)
    assert invite().status_code in (401, 403)
    refused(accept(), 404, "invitation-not-found")


# OpenAPI


def test_documented(local: Host) -> None:
    """The document says which calls take a key, and what they answer to it."""
    document = local.client().get(DOCUMENT).get_json()
    found = {
        operation["operationId"]: (operation, parameter)
        for path in document["paths"].values()
        for operation in path.values()
        for parameter in operation["parameters"]
        if parameter["in"] == "header"
    }
    assert found.keys() == MADE.keys()
    for operation, parameter in found.values():
        assert (parameter["name"], parameter.get("required", False)) == ("Idempotency-Key", False)
        success = operation["responses"]["201" if "201" in operation["responses"] else "200"]
        assert "Idempotency-Replayed" in success["headers"]
        assert "idempotency-in-progress" in operation["responses"]["409"]["description"]
        assert "idempotency-mismatch" in operation["responses"]["422"]["description"]
