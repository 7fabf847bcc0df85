"""What an inviter may give, see and touch: incidents in which that was more than their own."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from marshmallow import Schema, fields

from flask_invitations import ConfigurationError, Forbidden, Invitations
from flask_invitations.current import override
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import (
    ACCEPT,
    INVITE,
    LIST,
    NO_ID,
    PREVIEW,
    accept,
    delete_row,
    invite,
    make,
    people,
    refused,
    set_columns,
    set_role,
    shapes,
    unchanged,
)

RANKS = ("viewer", "user", "manager", "admin", "owner")


@pytest.mark.parametrize("role", [*RANKS, "superuser", "ADMIN", "", "owner\u200b"])
def test_nobody_grants_more_than_they_have(local: Host, role: str) -> None:
    """C1: an admin grants at most their own role, and a role that nobody knows is refused, not guessed."""
    admin = people(local)[1]
    answer = local.client(admin).post(INVITE, json={"email": "new@example.com", "role": role})
    if role == "owner":
        refused(answer, 403, "role-not-allowed")
    elif role in RANKS:
        assert answer.status_code == 201
    else:
        refused(answer, 422, "invalid-request")
    assert len(local.outbox.messages) == (role in RANKS[:-1])


def test_the_ceiling_holds_on_every_path(local: Host) -> None:
    """C2: what an admin may not invite as, they may not send again either, from the API, the desk or Python."""
    tenant, admin, *_ = people(local)
    owner = local.user("owner@acme.example", "owner", tenant)
    made = invite(local.client(owner), "boss@example.com", role="owner")
    local.outbox.clear()
    client = local.client(admin)
    with unchanged(local):
        for rotate in (True, False):
            refused(client.post(f"{LIST}/{made['id']}/resend", json={"rotate": rotate}), 403, "role-not-allowed")
        explained: Any = client.post(f"{INVITE}?explain=true", json={"email": "x@example.com", "role": "owner"}).json
        assert [each["code"] for each in explained["reasons"]] == ["role-not-allowed"]
        page = client.get(f"/invitations/{made['id']}").text
        seal = page.partition('name="seal" value="')[2].partition('"')[0]
        client.post(f"/invitations/{made['id']}/resend", data={"seal": seal})
        with local.app.app_context(), pytest.raises(Exception, match="role"):
            local.invitations.resend(uuid.UUID(made["id"]), by=local.db.session.get(local.User, admin))
    assert local.outbox.messages == []


def test_the_ceiling_is_asked_again_at_accept(host: Host) -> None:
    """C3: raised to owner behind our back, or made by somebody who was demoted since, an invitation lets nobody in with
    a role that its inviter may not grant now."""
    case = make(host, "pending", role="user")
    table = host.invitations.models.Invitation.__table__
    with host.engine.begin() as connection:
        connection.execute(sa.update(table).values(role="owner"))
    refused(accept(host.client(), case.token), 403, "role-not-allowed")
    with host.engine.begin() as connection:
        connection.execute(sa.update(table).values(role="admin"))
    set_role(host, case.admin, "manager")
    refused(accept(host.client(), case.token), 403, "role-not-allowed")
    set_role(host, case.admin, "admin")
    assert accept(host.client(), case.token).get_json()["user"]["role"] == "admin"


def test_a_demotion_during_the_hash_counts(host: Host) -> None:
    """C3: the inviter is looked at once more right before the claim: demoted while the password was hashed, they let
    nobody in."""
    case = make(host, "pending", role="admin")
    create = host.app.extensions["invitations"].ctx.hooks.create_user

    def slow(*given: Any) -> Any:
        if host.engine.dialect.name != "sqlite":  # which has one writer at a time
            set_role(host, case.admin, "user")
        else:
            host.db.session.execute(sa.update(host.User).where(host.User.id == case.admin).values(role="user"))
        return create(*given)

    with override(host.app, create_user=slow):
        refused(accept(host.client(), case.token), 403, "role-not-allowed")
    assert not host.rows(host.User, email=case.email)


@pytest.mark.parametrize("ranks", [("captain", "admin"), ("admin", "chief", "crew")])
def test_no_name_of_a_role_means_anything(local_url: str, ranks: tuple[str, ...]) -> None:
    """C4: with roles of the host's own, in which ``admin`` is the lowest or no highest one, the order that the host
    gives decides, and nothing is read out of a name."""
    ladder = ("admin", "crew", "captain") if ranks[0] == "captain" else ("crew", "admin", "chief")
    config = {
        "INVITATIONS_ROLES": ladder,
        "INVITATIONS_ADMIN_ROLES": ladder[1:],
        "INVITATIONS_DEFAULT_ROLE": ladder[0],
    }
    with build(local_url, config=config) as host:
        client = host.client(host.user("me@example.com", ladder[1]))
        for number, role in enumerate(ladder):
            answer = client.post(INVITE, json={"email": f"p{number}@example.com", "role": role})
            assert answer.status_code == (403 if number > 1 else 201), role
        low = host.client(host.user("low@example.com", ladder[0]))
        refused(low.post(INVITE, json={"email": "q@example.com"}), 403, "forbidden")


def test_nobody_may_invite_by_default(local: Host) -> None:
    """C5: not signed in: 401. A member whom the host gave no such right: 403, by the API, the desk and Python; and a
    host without a user hook is refused at the start."""
    _, _, plain, _ = people(local)
    body = {"email": "evil@example.com", "role": "admin"}
    refused(local.client().post(INVITE, json=body), 401, "unauthenticated")
    refused(local.client(plain).post(INVITE, json=body), 403, "forbidden")
    assert local.client(plain).get("/invitations/").status_code == 403
    with local.app.app_context(), pytest.raises(Forbidden):
        local.invitations.invite("evil@example.com", role="admin", by=local.db.session.get(local.User, plain))
    assert local.outbox.messages == []
    from flask import Flask

    app = Flask("bare")
    app.config.update(SECRET_KEY="k" * 32, INVITATIONS_ACCEPT_URL="https://app.example.com/#{token}")
    with pytest.raises(ConfigurationError, match="current_user"):
        Invitations().init_app(app, local.db, user_model=local.User, tenant_model=local.Tenant, mailer=local.outbox)


def test_what_is_attached_grants_nothing(host: Host) -> None:
    """C6: whatever an inviter writes into ``details``, a role, a tenant, a stream of another organization, is handed to
    the host as it is, and the account has what the invitation says."""
    case = make(host, "pending", details={"role": "owner", "tenant_id": 999, "is_admin": True, "streams": [1, 2]})
    taken: Any = accept(host.client(), case.token).json
    assert (taken["user"]["role"], taken["user"]["tenant_id"]) == ("user", case.tenant)
    (user,) = host.rows(host.User, email=case.email)
    assert (user.role, user.tenant_id) == ("user", case.tenant)
    assert "details" not in taken["invitation"]
    assert host.client(case.admin).post(INVITE, json={"email": "x@example.com", "grants": {"team": 1}}).status_code in (
        201,
        403,
        422,
    )


@pytest.mark.in_turn
@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("GET", "/events"), ("POST", "/resend"), ("DELETE", "")])
def test_another_tenants_id_is_an_unknown_id(host: Host, method: str, tail: str) -> None:
    """C7: the owner of another organization gets for a foreign id, byte for byte, what an unknown one gets, and has
    changed nothing; so at the desk."""
    case = make(host, "pending")
    owner, before = host.client(case.stranger), len(host.outbox.messages)
    with unchanged(host):
        mine, unknown = (owner.open(f"{LIST}/{key}{tail}", method=method) for key in (case.id, NO_ID))
        assert mine.status_code == 404
        assert (mine.data, mine.headers) == (unknown.data, unknown.headers)
        assert owner.get(f"/invitations/{case.id}").status_code == 404
        assert case.email not in owner.get(LIST).text + owner.get("/invitations/").text
    assert len(host.outbox.messages) == before


def test_nobody_reads_a_live_link_back(local: Host) -> None:
    """C8: no manager, and no member, gets a link out of the API or the desk, of whatever invitation; a plain member
    does not see the list at all."""
    case = make(local, "pending")
    (row,) = local.rows(local.invitations.models.Invitation)
    secrets = (case.token, row.token_hash, row.token_nonce)
    admin = local.client(case.admin)
    urls = (LIST, case.url, f"{case.url}/events", "/invitations/", f"/invitations/{case.id}")
    for url in urls:
        text = admin.get(url).text
        assert not [secret for secret in secrets if secret in text], url
    for url in urls:
        assert local.client(case.plain).get(url).status_code == 403, url
    names = shapes(local)["invitation"].keys()
    assert not [name for name in names if "token" in name or "hash" in name or "nonce" in name or "url" in name]


@pytest.mark.parametrize("gone", ["deleted", "left", "demoted"])
def test_invitation_ends_with_its_inviters_right(host: Host, gone: str) -> None:
    """C9: the open invitations of somebody who was removed let nobody in, themselves least of all, and every call of
    preview, page and accept says so."""
    case = make(host, "pending", role="admin")
    if gone == "deleted":
        delete_row(host, host.User, case.admin)
    elif gone == "left":
        set_columns(host, host.User, case.admin, tenant_id=None)
    else:
        set_role(host, case.admin, "viewer")
    answer = accept(host.client(), case.token)
    assert answer.get_json()["code"] == ("role-not-allowed" if gone == "demoted" else "invitation-withdrawn")
    offer = host.client().post(PREVIEW, json={"token": case.token})
    assert offer.status_code == (200 if gone == "demoted" else 410)
    assert not host.rows(host.User, email=case.email)


def test_who_leaves_takes_their_invitations_along(host: Host) -> None:
    """C9: one call where somebody leaves revokes what they invited and what invites them, in that tenant only."""
    case = make(host, "pending")
    elsewhere = make(host, "pending", "Other")
    with host.app.app_context():
        user = host.db.session.get(host.User, case.admin)
        assert host.invitations.revoke_for(user, tenant_id=case.tenant) == 1
    refused(accept(host.client(), case.token), 410, "invitation-revoked")
    assert accept(host.client(), elsewhere.token).status_code == 201


@pytest.mark.parametrize("end", ["inactive", "deleted"])
def test_a_tenant_that_is_gone_takes_nobody_in(host: Host, end: str) -> None:
    """C10: an organization that was switched off or deleted takes nobody in through links that were sent before, and no
    email goes out for it any more."""
    case = make(host, "pending")
    if end == "inactive":
        set_columns(host, host.Tenant, case.tenant, active=False)
        refused(accept(host.client(), case.token), 410, "invitation-withdrawn")
        refused(host.client(case.admin).post(f"{case.url}/resend"), 403, "tenant-inactive")
    else:
        delete_row(host, host.Tenant, case.tenant)
        refused(accept(host.client(), case.token), 404, "invitation-not-found")
    assert not host.rows(host.User, email=case.email)
    assert len(host.outbox.messages) == 1


def test_a_list_is_filtered_and_sorted_by_what_is_allowed(host: Host) -> None:
    """C11: no hash, nonce or key can be filtered or sorted by, nothing of a parameter reaches the SQL as such, and a
    search takes ``%``, ``_`` and the backslash for themselves."""
    _, admin, *_ = people(host)
    client = host.client(admin)
    for email in ("a_b@example.com", "axb@example.com"):
        invite(client, email)
    for name in ("token_hash", "token_nonce", "pending_key", "sort", "order_by", "group_by", "id", "tenant_id"):
        refused(client.get(LIST, query_string={name: "a"}), 422, "invalid-request")
    for q, found in (("a_b", 1), ("a%b", 0), ("_", 1), ("%", 0), ("\\", 0), ("' OR '1'='1", 0), ("b@", 2)):
        page: Any = client.get(LIST, query_string={"q": q}).json
        assert len(page["items"]) == found, q
    for value in ("pending' OR 1=1 --", "nonsense"):
        refused(client.get(LIST, query_string={"status": value}), 422, "invalid-request")


def test_every_answer_has_its_own_fields(local: Host) -> None:
    """C12: each call answers with the fields of its own list, whatever the row holds, and refuses fields that it does
    not know."""
    case = make(local, "pending")
    client, told = local.client(case.admin), shapes(local)
    found: Any = client.get(case.url).json
    assert found.keys() == told["details"].keys()
    page: Any = client.get(LIST).json
    assert page["items"][0].keys() == told["invitation"].keys()
    offer: Any = local.client().post(PREVIEW, json={"token": case.token}).json
    assert offer.keys() == told["offer"].keys()
    taken: Any = accept(local.client(), case.token).json
    assert taken["invitation"].keys() == told["acceptance"]["invitation"].keys()
    refused(client.post(INVITE, json={"email": "x@example.com", "only": []}), 422, "invalid-request")


class Name(Schema):
    """What the host asks a new user for."""

    name = fields.String()


def test_the_stranger_sees_little_and_sets_nothing(local_url: str) -> None:
    """C13: the holder of a live link sees the organization, the role and who invites, of a dead one nothing at all; and
    fills in the fields that the host declared, no other column."""
    with build(local_url, profile_schema=Name) as host:
        case = make(host, "pending")
        offer: Any = host.client().post(PREVIEW, json={"token": case.token}).json
        assert case.id not in str(offer)
        assert str(case.admin) not in str(offer["invited_by"])
        for column in ("email_verified", "password_hash", "is_admin"):
            body = {"token": case.token, "password": PASSWORD, column: True}
            answer = host.client().post(ACCEPT, json=body)
            refused(answer, 422, "invalid-request", errors={column: ["Unknown field."]})
        assert accept(host.client(), case.token, name="Ann").status_code == 201
        (user,) = host.rows(host.User, email=case.email)
        assert user.name == "Ann"
        dead = make(host, "revoked", "Secret")
        answer = host.client().post(PREVIEW, json={"token": dead.token})
        refused(answer, 410, "invitation-revoked")
        page = host.client().post("/invitations/open", data={"token": dead.token})
        for text in (answer.text, page.text):
            assert "Secret" not in text
            assert dead.email not in text


def test_the_ceiling_holds_in_a_list(local: Host) -> None:
    """C2: of a list the rows with a role above one's own are refused, each by itself, and so they are in a list of
    invitations to send again."""
    tenant, admin, *_ = people(local)
    owner = local.client(local.user("owner@acme.example", "owner", tenant))
    boss = invite(owner, "boss@example.com", role="owner")
    rows = [{"email": f"p{number}@example.com", "role": role} for number, role in enumerate(("user", "owner", "admin"))]
    answer: Any = local.client(admin).post(f"{INVITE}/bulk", json={"invitations": rows}).json
    assert [each["outcome"] for each in answer["results"]] == ["created", "refused", "created"]
    assert answer["results"][1]["error"]["code"] == "role-not-allowed"
    sent = len(local.outbox.messages)
    again: Any = local.client(admin).post(f"{LIST}/bulk", json={"action": "resend", "ids": [boss["id"]]}).json
    assert again["results"][0]["error"]["code"] == "role-not-allowed"
    assert len(local.outbox.messages) == sent


def test_another_tenants_ids_in_a_list(local: Host) -> None:
    """C7: in a list of ids one of another organization is unknown, and nothing happens to it."""
    case = make(local, "pending")
    with unchanged(local):
        for action in ("revoke", "resend"):
            body = {"action": action, "ids": [case.id, str(NO_ID)]}
            answer: Any = local.client(case.stranger).post(f"{LIST}/bulk", json=body).json
            first, second = (each["error"] for each in answer["results"])
            assert first == second
            assert first["code"] == "invitation-not-found"
