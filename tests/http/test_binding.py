"""Who may use a token: the mailbox that it was sent to, and nobody's existing account but the invited one's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flask_invitations.current import override
from flask_invitations.tokens import Mint
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import (
    ACCEPT,
    GUEST,
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
    snapshot,
)


@pytest.fixture
def joining(local_url: str) -> Iterator[Host]:
    """A host whose accounts can be members of many tenants."""
    with build(local_url, tenancy="membership") as built:
        yield built


def users(host: Host) -> Any:
    return snapshot(host)["users"]


def status_of(case: Case) -> str:
    (row,) = case.host.rows(case.host.invitations.models.Invitation, id=_uuid(case))
    return str(row.status)


def _uuid(case: Case) -> Any:
    import uuid

    return uuid.UUID(case.id)


def test_unverified_account_with_the_same_address(joining: Host) -> None:
    """A1, A14: an account that somebody registered with the victim's address and never verified can neither join nor
    is it touched, and the invitation stands for whoever proves the mailbox."""
    case = make(joining, "account unverified")
    before = users(joining)
    refused(accept(case.client("invitee"), case.token), 409, "account-unverified")
    refused(accept(case.client("nobody"), case.token), 409, "account-exists")
    assert users(joining) == before
    assert status_of(case) == "pending"
    set_columns(joining, joining.User, case.invitee, email_verified=True)
    assert accept(case.client("invitee"), case.token).status_code == 201


def test_address_alone_shows_nothing(joining: Host) -> None:
    """A1, A2: being signed in with the invited address, without the token, opens and shows nothing."""
    case = make(joining, "account elsewhere")
    me = case.client("invitee")
    refused(me.get(case.url), 403, "forbidden")
    refused(me.post(ACCEPT, json={"token": case.id}), 404, "invitation-not-found")


@pytest.mark.parametrize("verified", [True, False])
def test_only_what_the_hook_returns_is_compared(joining: Host, verified: bool) -> None:
    """A2: an alias counts where the host's ``find_user`` says whose it is, and only as a verified address."""
    case = make(joining, "pending")
    alias = joining.user("main@example.com", tenant=joining.tenant("Elsewhere"))

    def find_user(_email: str) -> Any:
        return joining.db.session.get(joining.User, alias)

    refused(accept(joining.client(alias), case.token), 403, "wrong-account")
    with override(joining.app, find_user=find_user, email_is_verified=lambda _user: verified):
        answer = accept(joining.client(alias), case.token)
    if verified:
        assert answer.status_code == 201
    else:
        refused(answer, 409, "account-unverified")


@pytest.mark.parametrize("who", ["admin", "plain", "stranger"])
def test_forwarded_link(joining: Host, who: str) -> None:
    """A4, A12: somebody who opens a forwarded link while signed in neither joins nor is changed, and is told to change
    the account; the invitee still can accept."""
    case = make(joining, "pending")
    before = users(joining), snapshot(joining)["memberships"]
    answer = refused(accept(case.client(who), case.token), 403, "wrong-account")
    assert "another account" in answer["detail"]
    assert (users(joining), snapshot(joining)["memberships"]) == before
    assert accept(case.client("nobody"), case.token).status_code == 201


def test_existing_account_is_never_touched(joining: Host) -> None:
    """A5: a link and a password neither sign in as, nor change, an account that is there already."""
    case = make(joining, "pending")
    joining.user(case.email, "user", None, password="the owner's own password")
    before = users(joining)
    answer = accept(case.client("nobody"), case.token, password="an attacker's password")
    refused(answer, 409, "account-exists")
    assert users(joining) == before


def test_signature_alone_opens_nothing(local: Host) -> None:
    """A7: a token signed with the right key, but of no invitation, is unknown: all that counts stands in the row."""
    make(local, "pending")
    _, forged = Mint([local.app.config["SECRET_KEY"]]).new()
    refused(accept(local.client(), forged.reveal()), 404, "invitation-not-found")


def test_what_is_shown_is_what_is_accepted(joining: Host) -> None:
    """A8, A9: tenant and role come from the token alone: what the preview showed is where one lands, in whatever tenant
    the caller says that they are."""
    first = make(joining, "pending", "First", role="viewer")
    tenant, admin, *_ = people(joining, "Second")
    invite(joining.client(admin), first.email, role="admin")
    offer: Any = joining.client().post(PREVIEW, json={"token": first.token}).json
    client = joining.client(None, tenant)
    taken: Any = accept(client, first.token).json
    assert (offer["tenant"]["name"], offer["role"]) == ("First", "viewer")
    assert (taken["user"]["tenant_id"], taken["user"]["role"]) == (first.tenant, "viewer")
    places = [(row.tenant_id, row.role) for row in joining.rows(joining.Membership, user_id=first.invitee)]
    assert places == [(first.tenant, "viewer")]


@pytest.mark.parametrize("column", ["token_hash", "tenant_id", "role", "token_nonce", "expires_at", "status"])
def test_no_null_where_it_would_match(host: Host, column: str) -> None:
    """A9, A11, B10: the database itself refuses a row without tenant, role, hash or expiry."""
    make(host, "pending")
    table = host.invitations.models.Invitation.__table__
    with pytest.raises(IntegrityError), host.engine.begin() as connection:
        connection.execute(sa.update(table).values({column: None}))


def test_address_cannot_be_changed(local: Host) -> None:
    """A15: no call changes the address of an invitation; another address is another invitation with its own link."""
    case = make(local, "pending")
    rules = [rule for rule in local.app.url_map.iter_rules() if rule.endpoint.startswith("invitations")]
    assert not {"PUT", "PATCH"} & set().union(*(rule.methods or set() for rule in rules))
    answer = local.client(case.admin).post(f"{case.url}/resend", json={"email": "other@example.com"})
    refused(answer, 422, "invalid-request", errors={"email": ["Unknown field."]})
    assert local.client(case.admin).post(f"{case.url}/resend").status_code == 200
    assert {message.to for message in local.outbox.messages} == {case.email}


def test_gates_of_the_host(joining: Host) -> None:
    """A16: an account that the host does not let in (suspended, second factor due) is nobody to us either; and a new
    account is signed in by nobody but the host."""
    case = make(joining, "account elsewhere")
    with override(joining.app, current_user=lambda: None):
        refused(accept(case.client("invitee"), case.token), 409, "account-exists")
    fresh = make(joining, "pending", "Fresh")
    answer = accept(joining.client(), fresh.token)
    assert "session" not in (answer.json or {})
    assert "Set-Cookie" not in answer.headers


def test_on_accepted_signs_in(local: Host) -> None:
    """H1: where the host opts in, what its ``on_accepted`` returns comes under ``session``, for that one accept; with
    the user as committed."""
    case = make(local, "pending")
    seen = []

    def on_accepted(user: Any, invitation: Any) -> Any:
        seen.append((local.rows(local.User, email=case.email)[0].id, user.id, invitation.status))
        return {"access_token": "abc", "user": user.id}

    with override(local.app, on_accepted=on_accepted):
        answer: Any = accept(local.client(), case.token).json
        again: Any = accept(case.client("invitee"), case.token).json
    assert answer["session"] == {"access_token": "abc", "user": case.invitee}
    assert seen == [(case.invitee, case.invitee, "accepted")]
    assert "session" not in again


@pytest.mark.parametrize("returned", [None, "token", ["a"], 1])
def test_on_accepted_returns_nothing_useful(local: Host, returned: Any) -> None:
    """H1: what is no mapping is left out."""
    case = make(local, "pending")
    with override(local.app, on_accepted=lambda _user, _invitation: returned):
        answer = accept(local.client(), case.token)
    assert answer.status_code == 201
    assert "session" not in (answer.json or {})


def test_again_is_for_the_account_that_accepted(local: Host) -> None:
    """B2, B4: a spent link opens nothing: the account that used it gets its answer again, everybody else a refusal."""
    case = make(local, "accepted")
    before = snapshot(local)
    mine = accept(case.client("invitee"), case.token)
    assert mine.status_code == 200
    assert mine.json is not None
    assert mine.json["user"]["email"] == case.email
    assert snapshot(local) == before
    for who in ("nobody", "admin", "stranger"):
        refused(accept(case.client(who), case.token), 409, "invitation-accepted")
    assert len(local.rows(local.User, email=case.email)) == 1


def test_nobody_is_not_a_deleted_account(host: Host) -> None:
    """B4: once the account that accepted is deleted, its link opens nothing for nobody signed in, nor for others."""
    case = make(host, "accepted")
    delete_row(host, host.User, case.invitee)
    for who in ("nobody", "admin", "stranger"):
        refused(accept(case.client(who), case.token), 409, "invitation-accepted")


# Addresses as identities


def test_accented_account_is_another_one(host: Host) -> None:
    """F1: an account jose@ is neither found for, nor touched by, an invitation of josé@, whatever the database's
    collation says; nor does an invitation of the one block one of the other."""
    tenant, admin, *_ = people(host)
    host.user("jose@example.com", "user", tenant, password=PASSWORD)
    client = host.client(admin)
    invite(client, "josé@example.com")
    assert host.outbox.messages[-1].to == "josé@example.com"
    offer: Any = host.client().post(PREVIEW, json={"token": host.outbox.token_to("josé@example.com")}).json
    assert offer["account_exists"] is False
    made = invite(client, "rené@example.com")
    other = invite(client, "rene@example.com")
    assert made["id"] != other["id"]
    page: Any = client.get(LIST, query_string={"email": "rene@example.com"}).json
    assert [item["id"] for item in page["items"]] == [other["id"]]


def test_leaving_user_takes_no_namesake_along(host: Host) -> None:
    """F1, C9: when rene@ leaves, the invitation of rené@ stays."""
    tenant, admin, *_ = people(host)
    leaving = host.user("rene@example.com", "user", host.tenant("Elsewhere"))
    with override(host.app, join=lambda *_: None):
        for email in ("rené@example.com", "rene@example.com"):
            invite(host.client(admin), email)
    with host.app.app_context():
        user = host.db.session.get(host.User, leaving)
        assert host.invitations.revoke_for(user, tenant_id=tenant) == 1
    page: Any = host.client(admin).get(LIST, query_string={"status": "pending"}).json
    assert [item["email"] for item in page["items"]] == ["rené@example.com"]


BAD_ADDRESSES = [
    "a@b@example.com",
    "a＠example.com",
    "a@exam℀ple.com",
    "Ann <ann@example.com>",
    "ann@example.com, b@example.com",
]
BAD_ADDRESSES += [
    "ann(comment)@example.com",
    "ann@example.com\nBcc: x@example.com",
    "ann@example.com\r\nb",
    '"a b"@example.com',
]
BAD_ADDRESSES += ["ann@[127.0.0.1]", "ann@localhost", "ann@example", "@example.com", "ann@", "ann", "an n@example.com"]
BAD_ADDRESSES += ["ann@exam_ple.com", "ann@-example.com", "ann@example..com", ".ann@example.com", "ann.@example.com"]
BAD_ADDRESSES += [
    "a" * 65 + "@example.com",
    "a@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 63 + "." + "e" * 60 + ".com",
]
BAD_ADDRESSES += ["mailto:ann@example.com", "ann@example.com;", "ann\u202e@example.com", "ann\u200b@example.com", " "]
BAD_ADDRESSES += ["!#" * 8000, "a@" + "a." * 4000, "@" * 16000, "a" * 16000 + "@example.com", "é" * 2000]


@pytest.mark.parametrize("email", BAD_ADDRESSES, ids=lambda text: ascii(text)[:40])
def test_no_address(untouched: Case, email: str) -> None:
    """F2, F3, I2: what is not exactly one bare address is refused, quickly, before and after normalisation."""
    answer = untouched.host.client(untouched.admin).post("/api/v1/users/invite", json={"email": email})
    problem = refused(answer, 422, "invalid-request", errors=(answer.json or {}).get("errors"))
    assert problem["errors"].keys() == {"email"}
    assert len(answer.data) < 400


def test_one_address_in_every_spelling(host: Host) -> None:
    """F4: case, composition and the spelling of the domain make no other address: one pending invitation, one account,
    found from every spelling."""
    _, admin, *_ = people(host)
    client = host.client(admin)
    made = invite(client, "  Zoe\u0308.X@B\u00dccher.Example ")
    assert (made["email"], host.outbox.messages[-1].to) == ("Zoë.X@BÜcher.Example", "Zoë.X@xn--bcher-kva.example")
    for spelling in ("zoë.x@bücher.example", "ZOË.X@BÜCHER.EXAMPLE", "zoë.x@xn--bcher-kva.example"):
        answer = client.post("/api/v1/users/invite", json={"email": spelling})
        refused(answer, 409, "already-invited", invitation_id=made["id"])
        assert host.outbox.token_to(spelling)
    assert accept(host.client(), host.outbox.token_to("zoë.x@bücher.example")).status_code == 201
    (user,) = host.rows(host.User, email="zoë.x@xn--bcher-kva.example")
    refused(client.post("/api/v1/users/invite", json={"email": "ZOË.X@BÜCHER.EXAMPLE"}), 409, "already-member")
    assert user.role == "user"


def test_dots_and_tags_are_kept(local: Host) -> None:
    """F5: neither dots nor plus tags are folded: they may be other people at other providers."""
    _, admin, *_ = people(local)
    for email in ("annlee@example.com", "ann.lee@example.com", "annlee+x@example.com", GUEST):
        invite(local.client(admin), email)
    page: Any = local.client(admin).get(LIST).json
    assert len(page["items"]) == 4
