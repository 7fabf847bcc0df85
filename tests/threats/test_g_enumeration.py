"""What a stranger, or a manager of another organization, can find out by asking."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flask_invitations.current import override
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import (
    ACCEPT,
    DECLINE,
    INVITE,
    LIST,
    NO_TOKEN,
    PREVIEW,
    STATES,
    accept,
    invite,
    make,
    people,
    refused,
)

KNOWN, UNKNOWN = "known@example.com", "nobody@example.com"


def answered(answer: Any, email: str) -> tuple[int, str, Any]:
    """What is told by an answer, its times, ids and the address aside."""
    body = answer.get_json()
    for name in ("id", "created_at", "updated_at", "expires_at"):
        body.pop(name, None)
    body["delivery"] = {name: value for name, value in body["delivery"].items() if not name.endswith("_at")}
    return answer.status_code, repr(body).replace(email, "<email>"), sorted(answer.headers.keys())


@pytest.mark.parametrize("kind", ["joins", "hidden"])
def test_inviting_tells_nothing_of_accounts(local_url: str, kind: str) -> None:
    """G1: inviting an address that has an account in another organization is answered as one that has none, where such
    accounts can join or the operator hides them."""
    how: dict[str, Any] = (
        {"tenancy": "membership"} if kind == "joins" else {"config": {"INVITATIONS_REVEAL_ACCOUNTS": False}}
    )
    with build(local_url, **how) as host:
        _, admin, *_ = people(host)
        host.user(KNOWN, "owner", host.tenant("Elsewhere"))
        client = host.client(admin)
        told = [answered(client.post(INVITE, json={"email": email}), email) for email in (KNOWN, UNKNOWN)]
        assert told[0] == told[1]
        assert told[0][0] == 201
        explained = [
            client.post(f"{INVITE}?explain=true", json={"email": f"x{email}"}).data for email in (KNOWN, UNKNOWN)
        ]
        assert explained[0] == explained[1]


def test_another_tenants_invitations_are_not_told_of(local: Host) -> None:
    """G1: an address that another organization has invited, or that declined there, is invited here as any other, and
    the other one's list, counts and search show nothing of it."""
    case = make(local, "declined")
    stranger = local.client(case.stranger)
    made = stranger.post(INVITE, json={"email": case.email})
    fresh = stranger.post(INVITE, json={"email": UNKNOWN})
    assert answered(made, case.email) == answered(fresh, UNKNOWN)
    page: Any = stranger.get(LIST, query_string={"q": "guest"}).json
    assert [item["status"] for item in page["items"]] == ["pending"]


@pytest.mark.parametrize("url", [PREVIEW, ACCEPT, DECLINE])
def test_a_guess_is_answered_alike_whatever_there_is(local: Host, url: str) -> None:
    """G1: an unknown token gets one answer, with the same bytes, whatever the password, whoever is signed in and
    whatever invitations and accounts there are."""
    empty = local.client().post(url, json={"token": NO_TOKEN})
    case = make(local, "pending")
    local.user(KNOWN, "user", case.tenant)
    answers = {
        (answer.status_code, answer.data)
        for who in ("nobody", "admin", "stranger")
        for token in (NO_TOKEN, case.token[:-1], case.token[::-1], "x")
        for answer in [case.client(who).post(url, json={"token": token})]
    }
    assert answers == {(empty.status_code, empty.data)}
    assert empty.status_code == 404


def test_a_request_for_a_link_is_answered_alike(local_url: str) -> None:
    """G1: who asks for a fresh link is told the same for a link that is unknown, live, revoked or expired."""
    with build(local_url, config={"INVITATIONS_FRESH_LINK": "send"}) as host:
        tokens = [NO_TOKEN, "x"]
        for number, state in enumerate(("pending", "revoked", "accepted", "overdue")):
            tokens.append(make(host, state, f"Tenant{number}").token)
        answers = [host.client().post("/invitations/fresh", data={"token": token}) for token in tokens]
        assert {(answer.status_code, answer.headers["Location"]) for answer in answers} == {
            (303, "/invitations/requested")
        }
        assert len({host.client().get("/invitations/requested").data for _ in range(2)}) == 1


@pytest.mark.parametrize("kind", ["joins", "hidden"])
def test_the_same_work_for_every_address(database_url: str, kind: str) -> None:
    """G2: inviting, and asking what would come of it, costs the same statements for an address with an account in
    another organization as for one without. (How long both take is measured by ``benchmarks.refusals``.)"""
    how: dict[str, Any] = (
        {"tenancy": "membership"} if kind == "joins" else {"config": {"INVITATIONS_REVEAL_ACCOUNTS": False}}
    )
    with build(database_url, **how) as host:
        _, admin, *_ = people(host)
        host.user(KNOWN, "owner", host.tenant("Elsewhere"), password=PASSWORD)
        client = host.client(admin)
        invite(client, "warm@example.com")
        for url, status in ((f"{INVITE}?explain=true", 200), (INVITE, 201)):
            seen = []
            for email in (KNOWN, UNKNOWN):
                with host.statements() as statements:
                    assert client.post(url, json={"email": email}).status_code == status
                seen.append(list(statements))
            assert seen[0] == seen[1]


@pytest.mark.parametrize("state", ["pending", "revoked", "overdue"])
def test_a_refused_token_hashes_no_password(local: Host, state: str) -> None:
    """G2: nobody's password is hashed or compared for a link that is refused, unknown or dead, whether its address has
    an account or not: there is no slow answer to learn from."""
    hashed = []
    create = local.app.extensions["invitations"].ctx.hooks.create_user

    def slow(*given: Any) -> Any:
        hashed.append(given)
        return create(*given)

    case = make(local, "pending")
    local.user(case.email, "user", None, password=PASSWORD)
    STATES[state](case)
    with override(local.app, create_user=slow):
        for token in (NO_TOKEN, case.token):
            assert accept(local.client(), token).status_code in (404, 409, 410)
    assert hashed == []


def test_guessing_is_slow_and_locks_nobody_out(local_url: str) -> None:
    """G3: from one address there are so many tries and no more, whatever it claims in its headers; another address is
    not slowed by it; and however often somebody tries a link, it works when the time has passed."""
    rates = {"INVITATIONS_RATELIMIT_ACCEPT": "5/hour", "INVITATIONS_RATELIMIT_TOKEN": "2/second"}
    with build(local_url, config=rates) as host:
        case = make(host, "pending")
        client = host.client()
        for number in range(8):
            claims = {"X-Forwarded-For": f"10.0.0.{number}", "X-Real-IP": f"10.0.0.{number}"}
            answer = client.post(PREVIEW, json={"token": NO_TOKEN}, headers=claims)
            assert answer.status_code == (404 if number < 5 else 429)
        refused(accept(client, case.token), 429, "rate-limited")

        def elsewhere(number: int, password: str) -> Any:
            body = {"token": case.token, "password": password}
            return host.client().post(ACCEPT, json=body, environ_base={"REMOTE_ADDR": f"192.0.2.{number}"})

        answers = [elsewhere(number, "weak") for number in range(4)]
        assert [answer.status_code for answer in answers] == [422, 422, 429, 429]
        time.sleep(int(answers[-1].headers["Retry-After"]))
        assert elsewhere(9, PASSWORD).status_code == 201


def test_a_limit_is_asked_before_anything_is_looked_up(local_url: str) -> None:
    """G3: over the limit a call costs no statement, so that nobody wears the database out by guessing."""
    with build(local_url, config={"INVITATIONS_RATELIMIT_ACCEPT": "1/hour"}) as host:
        case = make(host, "pending")
        assert host.client().post(PREVIEW, json={"token": case.token}).status_code == 200
        with host.statements() as seen:
            refused(host.client().post(PREVIEW, json={"token": case.token}), 429, "rate-limited")
            refused(accept(host.client(), case.token), 429, "rate-limited")
        assert seen == []
