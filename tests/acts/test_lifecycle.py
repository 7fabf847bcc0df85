"""From pending to the end: expiry, rotation, closing; and that nothing but the acts moves an invitation."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flask_invitations import (
    AccountExists,
    InvalidRequest,
    InvitationExpired,
    InvitationReplaced,
    InvitationRevoked,
    PasswordRejected,
)
from flask_invitations.current import override
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import DECLINE, LIST, PREVIEW, Case, accept, invite, make, people, refused, snapshot, unchanged

HOURS_48 = timedelta(hours=48)


def row_of(case: Case) -> Any:
    (row,) = case.host.rows(case.host.invitations.models.Invitation, id=uuid.UUID(case.id))
    return row


def trail(case: Case) -> list[str]:
    model = case.host.invitations.models.InvitationEvent
    return [row.type for row in case.host.rows(model, invitation_id=uuid.UUID(case.id))]


def test_expiry_is_a_moment(host: Host) -> None:
    """B1, B10, R18: by default a link lives for 48 hours to the microsecond; at ``expires_at`` itself it is dead, for
    preview, accept, decline and the list alike, whether or not a sweep has run."""
    case = make(host, "pending")
    host.clock.tick(HOURS_48 - timedelta(microseconds=1))
    assert host.client().post(PREVIEW, json={"token": case.token}).status_code == 200
    host.clock.tick(timedelta(microseconds=1))
    for url in (PREVIEW, DECLINE):
        refused(host.client().post(url, json={"token": case.token}), 410, "invitation-expired")
    refused(accept(host.client(), case.token), 410, "invitation-expired")
    seen: Any = host.client(case.admin).get(case.url).json
    assert (seen["status"], row_of(case).status) == ("expired", "pending")
    listed = [
        host.client(case.admin).get(LIST, query_string={"status": status}).json for status in ("pending", "expired")
    ]
    assert [len(page["items"]) for page in listed] == [0, 1]  # type: ignore[index]


@pytest.mark.parametrize(("hook", "time"), [("validate_password", 1), ("check_acceptance", 2)])
def test_expiry_while_accepting(host: Host, hook: str, time: int) -> None:
    """B1: what counts is the moment of the claim: a link that runs out while the password is looked at, or while the
    host is asked for the last time, right before the claim, lets nobody in."""
    case, asked = make(host, "pending"), list[str]()

    def slow(*_: Any) -> None:
        asked.append(hook)
        if len(asked) == time:
            host.clock.tick(HOURS_48)

    hooks: Any = {hook: slow}
    with override(host.app, **hooks):
        refused(accept(host.client(), case.token), 410, "invitation-expired")
    assert host.rows(host.User, email=case.email) == []


def test_revoked_while_accepting(host: Host) -> None:
    """B1, R3: a revocation that commits while the password is hashed wins: no user, and the answer says so."""
    case = make(host, "pending")
    done: list[int] = []

    def meanwhile(*_: Any) -> None:
        if not done:
            done.append(_elsewhere(host, case))

    with override(host.app, validate_password=meanwhile):
        refused(accept(host.client(), case.token), 410, "invitation-revoked")
    assert host.rows(host.User, email=case.email) == []
    assert done == [1]


def test_revoked_while_accept_is_refused(host: Host) -> None:
    """B1: whoever is refused for another reason while a revocation commits is told that the link is dead, and so says
    the audit trail."""
    case = make(host, "pending")

    def meanwhile(*_: Any) -> None:
        assert _elsewhere(host, case) == 1
        raise PasswordRejected("Another one.")

    with override(host.app, validate_password=meanwhile):
        refused(accept(host.client(), case.token), 410, "invitation-revoked")
    events = host.rows(host.invitations.models.InvitationEvent, type="accept_refused")
    assert [event.details for event in events] == [{"code": "invitation-revoked"}]


def _elsewhere(host: Host, case: Case) -> int:
    """Revoke as another connection would."""
    table = host.invitations.models.Invitation.__table__
    values = {"status": "revoked", "pending_key": None, "closed_at": host.clock()}
    with host.engine.begin() as connection:
        return connection.execute(sa.update(table).where(table.c.id == uuid.UUID(case.id)).values(values)).rowcount


def test_account_appears_while_accepting(host: Host) -> None:
    """B7: an account of that address that appears meanwhile is neither doubled nor taken over, and nothing breaks."""
    case = make(host, "pending")

    def meanwhile(*_: Any) -> None:
        if not host.rows(host.User, email=case.email):
            with host.engine.begin() as connection:
                row = {"email": case.email, "email_verified": False, "role": "viewer", "password_hash": "theirs"}
                connection.execute(host.User.__table__.insert().values(row))

    with override(host.app, validate_password=meanwhile):
        refused(accept(host.client(), case.token), 409, "account-exists")
    (user,) = host.rows(host.User, email=case.email)
    assert (user.role, user.password_hash) == ("viewer", "theirs")
    assert row_of(case).status == "pending"


def test_one_link_one_account(host: Host) -> None:
    """B2, B4: a link makes one account, at once and for ever."""
    case = make(host, "accepted")
    host.clock.tick(timedelta(days=400))
    for _ in range(3):
        refused(accept(host.client(), case.token), 409, "invitation-accepted")
    assert len(host.rows(host.User, email=case.email)) == 1
    assert trail(case).count("accepted") == 1


def test_nothing_else_moves_it(host: Host) -> None:
    """B3: signing up by other means, a changed password, a verified address: none of them touches the invitation or
    grants its role."""
    case = make(host, "account elsewhere", role="admin")
    with host.engine.begin() as connection:
        connection.execute(sa.update(host.User.__table__).values(password_hash="new", email_verified=True))
    assert row_of(case).status == "pending"
    (user,) = host.rows(host.User, email=case.email)
    assert user.role == "user"


def test_every_resend_is_a_new_link(local: Host) -> None:
    """B5, B6: each rotation gives a token that never was before; each older one is dead from then on."""
    case = make(local, "pending")
    tokens, client = [case.token], local.client(case.admin)
    for _ in range(20):
        assert client.post(f"{case.url}/resend").status_code == 200
        tokens.append(local.outbox.token_to(case.email))
    assert len(set(tokens)) == 21
    for old in tokens[:-2]:
        refused(accept(local.client(), old), 404, "invitation-not-found")
    refused(accept(local.client(), tokens[-2]), 410, "invitation-replaced")
    assert accept(local.client(), tokens[-1]).status_code == 201
    refused(accept(local.client(), tokens[-2]), 409, "invitation-accepted")


def test_reinvite_is_a_new_link(local: Host) -> None:
    """B5: inviting anew after the end of an invitation mints another link; the old one stays as dead as it was."""
    case = make(local, "revoked")
    newer = invite(local.client(case.admin), case.email)
    token = local.outbox.token_to(case.email)
    assert (newer["id"] != case.id, token != case.token) == (True, True)
    refused(accept(local.client(), case.token), 410, "invitation-revoked")
    assert accept(local.client(), token).status_code == 201
    refused(accept(local.client(), case.token), 410, "invitation-revoked")


@pytest.mark.parametrize("state", ["overdue", "swept"])
def test_resend_starts_time_anew(host: Host, state: str) -> None:
    """An expired invitation that is resent is pending again for the whole TTL, with a new link, or the same one where
    that was asked for."""
    for rotate in (True, False):
        case = make(host, state, f"T{int(rotate)}")
        answer: Any = host.client(case.admin).post(f"{case.url}/resend", json={"rotate": rotate}).json
        assert answer["status"] == "pending"
        assert (host.outbox.token_to(case.email) != case.token) is rotate
        row = row_of(case)
        assert row.pending_key is not None
        assert row.closed_at is None
        host.clock.tick(HOURS_48 - timedelta(seconds=1))
        assert accept(host.client(), host.outbox.token_to(case.email)).status_code == 201


def test_resend_keeps_the_link_where_asked(host: Host) -> None:
    """With ``rotate: false`` both mails carry the same link, and nothing about it changes in the table."""
    case = make(host, "pending")
    before = row_of(case)
    host.clock.tick(timedelta(hours=1))
    assert host.client(case.admin).post(f"{case.url}/resend", json={"rotate": False}).status_code == 200
    after = row_of(case)
    assert host.outbox.token_to(case.email) == case.token
    assert (after.token_hash, after.token_nonce, after.previous_token_hash) == (
        before.token_hash,
        before.token_nonce,
        None,
    )
    assert after.expires_at - before.expires_at == timedelta(hours=1)


@pytest.mark.parametrize("state", ["revoked", "declined"])
def test_revoking_a_closed_one_changes_nothing(host: Host, state: str) -> None:
    """B9: revoking once more is 204 and leaves it as it is, the audit trail included."""
    case = make(host, state)
    with unchanged(host):
        assert host.client(case.admin).delete(case.url).status_code == 204


@pytest.mark.parametrize("state", ["overdue", "swept"])
def test_revoking_an_expired_one(host: Host, state: str) -> None:
    """An expired invitation can be revoked, and then cannot be resent."""
    case = make(host, state)
    assert host.client(case.admin).delete(case.url).status_code == 204
    refused(accept(host.client(), case.token), 410, "invitation-revoked")
    refused(host.client(case.admin).post(f"{case.url}/resend"), 410, "invitation-revoked")


WRONG_ROWS: list[dict[str, Any]] = [
    {"status": "open"},
    {"status": "accepted"},
    {"status": "revoked"},
    {"pending_key": None},
]


@pytest.mark.parametrize("values", WRONG_ROWS, ids=str)
def test_the_database_keeps_the_states(host: Host, values: dict[str, Any]) -> None:
    """B9: a status that is none, and one that does not go with ``pending_key``, are refused by the database itself."""
    case = make(host, "pending")
    table = host.invitations.models.Invitation.__table__
    with pytest.raises((IntegrityError, sa.exc.OperationalError)), host.engine.begin() as connection:
        connection.execute(sa.update(table).values(values))
    assert row_of(case).status == "pending"


def test_two_live_ones_cannot_be(host: Host) -> None:
    """R2: one address has one pending invitation in a tenant, and another in another tenant."""
    case = make(host, "pending")
    table = host.invitations.models.Invitation.__table__
    other = invite(host.client(case.admin), "other@example.com")
    twice = sa.update(table).where(table.c.id == uuid.UUID(other["id"])).values(pending_key=row_of(case).pending_key)
    with pytest.raises(IntegrityError), host.engine.begin() as connection:
        connection.execute(twice)
    assert invite(host.client(case.stranger), case.email)["id"] != case.id


def test_failed_tries_spend_nothing(local: Host) -> None:
    """B12: fifty refused tries of two kinds, each counted in the audit trail, and the link still opens."""
    case = make(local, "pending")
    for number in range(50):
        who = local.client(case.plain) if number % 2 else local.client()
        assert accept(who, case.token, password="weak").status_code in (403, 422)
    assert accept(local.client(), case.token).status_code == 201
    assert trail(case) == ["created", "sent", *["accept_refused"] * 2, "accepted"]
    lines = local.rows(local.invitations.models.InvitationEvent, type="accept_refused")
    assert [line.times for line in lines] == [25, 25]


def test_refused_accept_names_who_and_why(local: Host) -> None:
    """A refused accept is in the audit trail with its code, the account that tried, and from where; no password is."""
    case = make(local, "pending")
    accept(local.client(case.plain), case.token)
    shown: Any = local.client(case.admin).get(f"{case.url}/events").json
    last = shown["items"][-1]
    assert (last["type"], last["details"], last["actor_id"]) == (
        "accept_refused",
        {"code": "wrong-account"},
        case.plain,
    )
    assert last["remote_addr"] == "127.0.0.1"
    assert PASSWORD not in str(snapshot(local))


# The same from Python


def test_python_api(host: Host) -> None:
    """The acts from Python, as the system, each one transaction: the same rules, the refusals as exceptions."""
    tenant, _, _, _ = people(host)
    api = host.invitations
    with host.app.app_context():
        made = api.invite("guest@example.com", tenant_id=tenant, role="owner", details={"a": 1}, expires_in=7200)
        assert (made.status, made.invited_by, made.details) == ("pending", None, {"a": 1})
        assert made.expires_at - made.created_at == timedelta(hours=2)
        assert made.delivery is not None
        assert made.delivery.state == "sent"
        first = host.outbox.token_to("guest@example.com")
        assert api.preview(first).tenant.name == "Acme"
        assert api.resend(made.id, rotate=False).id == made.id
        api.resend(made.id)
        with pytest.raises(InvitationReplaced):
            api.preview(first)
        second = host.outbox.token_to("guest@example.com")
        done = api.accept(second, password=PASSWORD)
        assert (done.user.role, done.user.tenant_id, done.again, done.session) == ("owner", tenant, False, None)
        api.invite("third@example.com", tenant_id=tenant)
        host_account(host, "third@example.com")
        with pytest.raises(AccountExists):
            api.accept(host.outbox.token_to("third@example.com"), password=PASSWORD)
        other = api.invite("other@example.com", tenant_id=tenant, expires_in=timedelta(hours=1))
        assert api.revoke(other.id).status == "revoked"
        with pytest.raises(InvitationRevoked):
            api.decline(host.outbox.token_to("other@example.com"))
        late = api.invite("late@example.com", tenant_id=tenant, expires_in=timedelta(hours=1))
        host.clock.tick(timedelta(hours=1))
        with pytest.raises(InvitationExpired):
            api.accept(host.outbox.token_to("late@example.com"), password=PASSWORD)
        assert api.get(late.id).status == "expired"
        assert [event.type for event in api.events(late.id)] == ["created", "sent", "accept_refused"]
        assert [one.id for one in api.list(status="expired")] == [late.id]
        assert [one.email for one in api.list(limit=2)] == ["late@example.com", "other@example.com"]


def host_account(host: Host, email: str) -> None:
    with host.engine.begin() as connection:
        row = {"email": email, "email_verified": True, "role": "user"}
        connection.execute(host.User.__table__.insert().values(row))


def test_python_api_as_a_user(local: Host) -> None:
    """From Python too, a given user's permission is checked; the audit trail names them."""
    from flask_invitations import Forbidden, InvitationNotFound, RoleNotAllowed

    case = make(local, "pending")
    api, wanted = local.invitations, uuid.UUID(case.id)

    def get(key: Any) -> Any:
        return local.db.session.get(local.User, key)

    with local.app.app_context():
        with pytest.raises(Forbidden):
            api.invite("x@example.com", inviter=get(case.plain))
        with pytest.raises(RoleNotAllowed):
            api.invite("x@example.com", inviter=get(case.admin), role="owner")
        for act in (api.resend, api.revoke, api.get, api.events):
            with pytest.raises(InvitationNotFound):
                act(wanted, by=get(case.stranger))
        assert api.invite("x@example.com", inviter=get(case.admin)).tenant_id == case.tenant
        assert len(api.list(by=get(case.admin))) == 2
        assert len(api.list(by=get(case.stranger))) == 0
        api.revoke(wanted, by=get(case.admin))
        assert api.events(wanted)[-1].actor_id == case.admin


def test_system_must_name_the_tenant(local: Host) -> None:
    """Where there are tenants, the system has to say into which one it invites."""
    from flask_invitations import InvalidRequest

    with local.app.app_context(), pytest.raises(InvalidRequest) as caught:
        local.invitations.invite("guest@example.com")
    assert caught.value.errors.keys() == {"tenant_id"}


def test_no_tenants(database_url: str) -> None:
    """Without a tenant model the app is one tenant, and no tenant is named anywhere."""
    with build(database_url, tenancy="none") as host, host.app.app_context():
        made = host.invitations.invite("guest@example.com", role="owner")
        assert made.tenant_id is None
        assert host.invitations.preview(host.outbox.token_to("guest@example.com")).tenant.name == "Test Host"
        done = host.invitations.accept(host.outbox.token_to("guest@example.com"), password=PASSWORD)
        assert done.user.tenant_id is None
        admin = host.user("admin@example.com", "admin")
        page: Any = host.client(admin).get(LIST).json
        assert len(page["items"]) == 1


@pytest.mark.parametrize("value", [object(), float("nan"), "\ud800", b"x"], ids=["object", "nan", "surrogate", "bytes"])
def test_details_from_python_are_json(host: Host, value: object) -> None:
    """What is no JSON is refused with the field's name, from Python as over HTTP, and nothing is written."""
    acme = host.tenant()
    with host.app.app_context(), pytest.raises(InvalidRequest) as said:
        host.invitations.invite("ann@example.com", tenant_id=acme, details={"value": value})
    assert set(said.value.errors) == {"details"}
    assert host.rows(host.invitations.models.Invitation) == []


def test_profile_without_a_schema_is_refused(host: Host) -> None:
    """A3, C13: from Python too, a host without ``profile_schema`` takes no further fields: none reaches the account."""
    acme = host.tenant()
    with host.app.app_context():
        host.invitations.invite("ann@example.com", tenant_id=acme)
        token = host.outbox.token_to("ann@example.com")
        with pytest.raises(InvalidRequest) as said:
            host.invitations.accept(token, password=PASSWORD, profile={"role": "owner"})
    assert set(said.value.errors) == {"role"}
    assert host.rows(host.User) == []
