"""The table of refusals: the state of the invitation, the call, and who calls, to the answer; and what it left."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.hosts import PASSWORD, Host, build
from tests.http.table import JOINING, MANAGER, cells
from tests.http.tools import (
    ACCEPT,
    DECLINE,
    INVITE,
    LIST,
    NO_ID,
    NO_TOKEN,
    PREVIEW,
    STATES,
    Case,
    changed,
    delete_row,
    invite,
    make,
    refused,
    set_columns,
    snapshot,
    unchanged,
)
from tests.races.harness import SOAK

EVENTS, INVITATIONS = "user_invitation_events", "user_invitations"


def do(case: Case, call: str, who: str) -> TestResponse:
    token = {"token": case.token}
    requests: dict[str, tuple[str, str, Any]] = {
        "get": ("GET", case.url, None),
        "events": ("GET", f"{case.url}/events", None),
        "resend": ("POST", f"{case.url}/resend", None),
        "revoke": ("DELETE", case.url, None),
        "list": ("GET", LIST, None),
        "invite": ("POST", INVITE, {"email": case.email.upper()}),
        "preview": ("POST", PREVIEW, token),
        "decline": ("POST", DECLINE, token),
        "accept": ("POST", ACCEPT, {**token, "password": PASSWORD}),
    }
    method, url, body = requests[call]
    return case.client(who).open(url, method=method, json=body)


def refuse(case: Case, call: str, who: str, status: int, code: str) -> None:
    """Make a call that is to be refused: the whole body is right, and nothing changed but the audit trail."""
    before = snapshot(case.host)
    evidence = {"invitation_id": case.id} if code == "already-invited" else {}
    answer = do(case, call, who)
    refused(answer, status, code, **evidence)
    assert case.token not in answer.text
    after = snapshot(case.host)
    recorded = call == "accept" and code != "invitation-not-found"
    assert changed(before, after) == ({EVENTS} if recorded else set())
    if recorded:
        trail = case.host.rows(case.host.invitations.models.InvitationEvent, invitation_id=uuid.UUID(case.id))
        told = [each.details for each in trail if each.type == "accept_refused"]
        assert told.count({"code": code}) == 1  # the same again is counted in its line


#: What an answer comes of does not differ by database, the statements do: a third of the cells on each.
THIRDS = {"sqlite": 0, "postgresql": 1, "mysql": 2}


def run_table(host: Host, state: str, *, alone: bool = False) -> None:
    """The refusals one after another on one invitation, since they change nothing; each success on a fresh one.

    :param alone: there is no other database to share the cells with.
    """
    shared = make(host, state, "Shared")
    mine = slice(THIRDS[host.engine.dialect.name], None, 3)
    for number, (call, who, expected) in enumerate(cells(state)[slice(None) if SOAK or alone else mine]):
        if host.Membership is not None:
            expected = JOINING.get((state, call, who), expected)
        status, _, code = expected.partition(" ")
        told = f"{state}: {call} by {who} should be {expected}"
        try:
            if code:
                refuse(shared, call, who, int(status), code)
            else:
                answer = do(make(host, state, f"Own{number}"), call, who)
                assert answer.status_code == int(status), answer.text
        except AssertionError as error:
            raise AssertionError(f"{told}: {error}") from error


def test_every_state_is_in_the_table() -> None:
    """No state can be made that the table says nothing about."""
    assert MANAGER.keys() == STATES.keys()


@pytest.mark.soak
@pytest.mark.parametrize("state", MANAGER)
def test_table(host: Host, state: str) -> None:
    """Every call on an invitation in this state, by everybody, is answered as the table says; a refusal leaves nothing
    but a line in the audit trail of the invitation whose real token was used."""
    run_table(host, state)


@pytest.mark.parametrize("state", ["account elsewhere", "account unverified", "account member", "accepted", "pending"])
def test_table_where_accounts_join(local_url: str, state: str) -> None:
    """Where one account may belong to many tenants, the same table holds, but for the account that now can join."""
    with build(local_url, tenancy="membership") as host:
        run_table(host, state, alone=True)


@pytest.fixture
def two(host: Host) -> tuple[Host, Case]:
    """A host with an invitation."""
    return host, make(host, "pending")


@pytest.mark.in_turn
@pytest.mark.parametrize(
    ("method", "tail", "body"),
    [
        ("GET", "", None),
        ("GET", "/events", None),
        ("POST", "/resend", None),
        ("POST", "/resend", {"rotate": False}),
        ("DELETE", "", None),
    ],
)
def test_ids_tell_nothing(two: tuple[Host, Case], method: str, tail: str, body: Any) -> None:
    """C7: an id of another tenant, an unknown one and one that is no id get the very same answer, byte for byte."""
    host, case = two
    owner = host.client(case.stranger)
    answers = set()
    with unchanged(host):
        for wanted in (case.id, case.id.upper(), str(NO_ID), "1", "x" * 300, "%00", "' OR 1=1", NO_TOKEN):
            answer = owner.open(f"{LIST}/{wanted}{tail}", method=method, json=body)
            refused(answer, 404, "invitation-not-found")
            answers.add((answer.data, tuple(answer.headers)))
    assert len(answers) == 1


@pytest.mark.parametrize("url", [PREVIEW, ACCEPT, DECLINE])
def test_tokens_tell_nothing(two: tuple[Host, Case], url: str) -> None:
    """A11: an unknown token, an empty, a short, a long and a strange one get the very same answer; nothing is
    written."""
    host, case = two
    (row,) = host.rows(host.invitations.models.Invitation)
    wrong = [NO_TOKEN, "", "null", "A" * 42, "A" * 44, case.token[:-1], case.token + "\n", f" {case.token}"]
    wrong += ["é" * 43, case.token.swapcase(), row.token_hash, row.token_nonce, row.pending_key, case.id, "' OR 1=1 --"]
    answers = set()
    with unchanged(host):
        for token in wrong:
            answer = host.client().post(url, json={"token": token})
            refused(answer, 404, "invitation-not-found")
            answers.add((answer.data, tuple(answer.headers)))
    assert len(answers) == 1


def test_already_invited_is_told_of_the_own_tenant_only(two: tuple[Host, Case]) -> None:
    """G1: another tenant's invitation of the same address neither refuses nor shows; the own one is named."""
    host, case = two
    theirs = invite(host.client(case.stranger), case.email)
    assert theirs["id"] != case.id
    answer = host.client(case.admin).post(INVITE, json={"email": case.email})
    refused(answer, 409, "already-invited", invitation_id=case.id)
    answer = host.client(case.stranger).post(INVITE, json={"email": case.email})
    refused(answer, 409, "already-invited", invitation_id=theirs["id"])


def test_expired_one_gives_way_once(two: tuple[Host, Case]) -> None:
    """B9: an expired invitation that a newer one followed cannot be brought back beside it."""
    host, case = two
    STATES["overdue"](case)
    newer = invite(host.client(case.admin), case.email)
    with unchanged(host):
        answer = host.client(case.admin).post(f"{case.url}/resend")
        refused(answer, 409, "already-invited", invitation_id=newer["id"])


# The order of accept's checks


@pytest.fixture
def crowded(local: Host) -> Case:
    """An invitation about which nearly everything is wrong; each step of the test puts one thing right."""
    case = make(local, "pending")
    local.user(case.email, "user", case.tenant, verified=False)
    set_columns(local, local.Tenant, case.tenant, active=False)
    return case


def test_order_of_checks(crowded: Case) -> None:
    """Accept answers the first that fails of: shape, token, state, tenant, inviter, session, account, profile."""
    case, host = crowded, crowded.host
    account, nobody = host.client(case.invitee), host.client()

    def body(**changes: Any) -> dict[str, Any]:
        return {"token": case.token, "password": "short", **changes}

    refused(account.post(ACCEPT, json=body(token=NO_TOKEN, nickname="x")), 422, "invalid-request")
    refused(account.post(ACCEPT, json=body(token=NO_TOKEN)), 404, "invitation-not-found")
    now = host.clock.now
    STATES["overdue"](case)
    refused(account.post(ACCEPT, json=body()), 410, "invitation-expired")
    host.clock.set(now)
    refused(account.post(ACCEPT, json=body()), 410, "invitation-withdrawn")
    set_columns(host, host.Tenant, case.tenant, active=True)
    set_columns(host, host.User, case.admin, role="user")
    refused(account.post(ACCEPT, json=body()), 403, "role-not-allowed")
    set_columns(host, host.User, case.admin, role="admin")
    refused(host.client(case.plain).post(ACCEPT, json=body()), 403, "wrong-account")
    refused(nobody.post(ACCEPT, json=body()), 409, "account-exists")
    refused(account.post(ACCEPT, json=body()), 409, "account-unverified")
    set_columns(host, host.User, case.invitee, email_verified=True)
    refused(account.post(ACCEPT, json=body()), 409, "already-member")
    delete_row(host, host.User, case.invitee)
    refused(nobody.post(ACCEPT, json=body()), 422, "invalid-request")
    assert nobody.post(ACCEPT, json=body(password=PASSWORD)).status_code == 201


# Roles


def test_role_ceiling(host: Host) -> None:
    """C1, C2: a role above one's own is granted on no path: neither invited, nor resent."""
    case = make(host, "pending")
    owner = host.user("owner@acme.example", "owner", case.tenant)
    above = invite(host.client(owner), "boss@example.com", role="owner")
    admin = host.client(case.admin)
    with unchanged(host):
        refused(admin.post(INVITE, json={"email": "more@example.com", "role": "owner"}), 403, "role-not-allowed")
        refused(admin.post(f"{LIST}/{above['id']}/resend"), 403, "role-not-allowed")
    assert admin.delete(f"{LIST}/{above['id']}").status_code == 204


# The database is busy


def test_busy_database(local_url: str, tmp_path: Path) -> None:
    """Where the database refuses to the last, the answer is 503 with Retry-After, and nothing happened."""
    import sqlite3

    options = {"connect_args": {"timeout": 0}}
    with build(local_url, config={"SQLALCHEMY_ENGINE_OPTIONS": options}) as host:
        case = make(host, "pending")
        other = sqlite3.connect(tmp_path / "local.sqlite3", isolation_level=None)
        before = snapshot(host)
        other.execute("BEGIN IMMEDIATE")
        answers = [do(case, call, "admin") for call in ("resend", "revoke")]
        answers += [do(case, call, "nobody") for call in ("accept", "decline")]
        answers.append(host.client(case.admin).post(INVITE, json={"email": "new@example.com"}))
        other.execute("ROLLBACK")
        other.close()
        for answer in answers:
            refused(answer, 503, "try-again")
            assert answer.headers["Retry-After"] == "1"
        assert snapshot(host) == before
        assert len(host.outbox.messages) == 1
        assert do(case, "accept", "nobody").status_code == 201
