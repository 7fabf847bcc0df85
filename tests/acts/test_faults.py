"""Faults that were found in use, each by its row; the rules' own are in the matrix of test_rules.py."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations import (
    AddressNotAllowed,
    AlreadyMember,
    InvalidRequest,
    InvitationInfo,
    InvitationNotFound,
    invitation_created,
    invitation_revoked,
)
from flask_invitations.acts import Wanted, system
from flask_invitations.acts import invite as invite_one
from flask_invitations.addresses import parse
from flask_invitations.current import get_state, override
from flask_invitations.outbox import deliver
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import (
    ACCEPT,
    DECLINE,
    INVITE,
    LIST,
    PREVIEW,
    STATES,
    Case,
    accept,
    copy,
    delete_row,
    invite,
    make,
    people,
    refused,
    snapshot,
    unchanged,
)

pytestmark = pytest.mark.in_turn

DAY = timedelta(days=1)


def row_of(case: Case) -> Any:
    (row,) = case.host.rows(case.host.invitations.models.Invitation, id=uuid.UUID(case.id))
    return row


def trail(host: Host, invitation_id: str) -> list[Any]:
    return host.rows(host.invitations.models.InvitationEvent, invitation_id=uuid.UUID(invitation_id))


# P1: vouching


@pytest.mark.parametrize("state", ["pending", "inviter deleted", "inviter left", "inviter demoted"])
def test_resending_vouches(host: Host, state: str) -> None:
    """P1: the caller of a resend becomes the inviter, whatever became of the one before; the link then works, and the
    audit trail tells both."""
    case = make(host, state)
    first = row_of(case).invited_by_id
    colleague = host.user("colleague@acme.example", "admin", case.tenant)
    answer: Any = host.client(colleague).post(f"{case.url}/resend").json
    assert answer["invited_by"] == {"id": colleague, "email": "colleague@acme.example"}
    (event,) = [each for each in trail(host, case.id) if each.type == "resent"]
    assert (event.actor_id, event.details) == (colleague, {"rotated": True, "was_invited_by": first})
    delete_row(host, host.User, case.admin)
    assert accept(host.client(), host.outbox.token_to(case.email)).status_code == 201


def test_the_system_vouches_without_a_name(host: Host) -> None:
    """P1: resent by the system, an invitation has no inviter to lose."""
    case = make(host, "pending")
    with host.app.app_context():
        assert host.invitations.resend(case.id).invited_by is None
    assert row_of(case).inviter_ref is None
    delete_row(host, host.User, case.admin)
    assert accept(host.client(), host.outbox.token_to(case.email)).status_code == 201


# P4: bounces


def test_a_bounce_is_remembered_by_address(host: Host) -> None:
    """P4: after a complaint, neither revoking nor another spelling brings an email there, until somebody confirms;
    in another tenant the address is as good as new."""
    case = make(host, "bounced")
    assert host.client(case.admin).delete(case.url).status_code == 204
    before = len(host.outbox.messages)
    with unchanged(host):
        for email in (case.email, case.email.upper()):
            refused(host.client(case.admin).post(INVITE, json={"email": email}), 409, "mail-bounced")
    assert len(host.outbox.messages) == before
    assert invite(host.client(case.stranger), case.email)["status"] == "pending"
    made = invite(host.client(case.admin), case.email, confirm=True)
    assert made["delivery"]["state"] == "sent"
    assert host.client(case.admin).post(f"{LIST}/{made['id']}/resend").status_code == 200


def test_a_complaint_about_any_email_counts(database_url: str) -> None:
    """P4: a complaint about the notice of a revocation is one about the address too."""
    with build(database_url, config={"INVITATIONS_NOTIFY_REVOKED": True}) as host:
        case = make(host, "revoked")
        notice = host.rows(host.invitations.models.Delivery)[-1]
        with host.app.app_context():
            assert host.invitations.record_delivery(notice.id, "complained")
        refused(host.client(case.admin).post(INVITE, json={"email": case.email}), 409, "mail-bounced")


def test_an_email_that_never_left_says_nothing_of_the_address(host: Host) -> None:
    """P4: after a bounce an email that was confirmed, but cancelled before it left, makes the address no better; one
    that left does, whenever the bounced one was made."""
    case = make(host, "bounced")
    client = host.client(case.admin)
    with override(host.app, mailer=_down):
        waits = client.post(f"{case.url}/resend", json={"confirm": True}).json
    assert waits is not None
    assert waits["delivery"]["state"] == "queued"
    assert client.delete(case.url).status_code == 204
    refused(client.post(INVITE, json={"email": case.email}), 409, "mail-bounced")
    left = invite(client, case.email, confirm=True)
    assert client.delete(f"{LIST}/{left['id']}").status_code == 204
    assert invite(client, case.email)["status"] == "pending"


def test_the_last_email_counts_whichever_invitation_it_was_of(host: Host) -> None:
    """P4: an older invitation that was sent again after a newer one, and bounced then, is what is known of the
    address."""
    case = make(host, "pending")
    client = host.client(case.admin)
    host.clock.tick(2 * DAY)
    invite(client, case.email)
    host.clock.tick(2 * DAY)
    assert client.post(f"{case.url}/resend").status_code == 200
    bounced = host.outbox.messages[-1]
    with host.app.app_context():
        assert host.invitations.record_delivery(bounced.id, "bounced")
    assert client.delete(case.url).status_code == 204
    refused(client.post(INVITE, json={"email": case.email}), 409, "mail-bounced")


def _down(_message: Any) -> None:
    raise ConnectionError


# A link that was shown


@pytest.mark.parametrize("rotate", [False, True])
def test_a_link_that_was_shown_stays_so(host: Host, rotate: bool) -> None:
    """A14: a link that somebody else saw proves no mailbox, also after the same link was sent again; a new one does."""
    tenant, *_ = people(host)
    with host.app.app_context():
        ctx = get_state().ctx
        wanted = Wanted(parse("guest@acme.example"))
        shown = invite_one(ctx, by=system(tenant), wanted=wanted, show_link=True)
        assert host.invitations.resend(shown.id, rotate=rotate).link_shown is not rotate


# P5: accounts that cannot join


def test_accounts_may_be_kept_secret(database_url: str) -> None:
    """P5: with REVEAL_ACCOUNTS off no manager learns of an account: the invitation is made and mailed, and only its
    invitee is told that the account cannot join."""
    with build(database_url, config={"INVITATIONS_REVEAL_ACCOUNTS": False}) as host:
        case = make(host, "account elsewhere")
        made = invite(host.client(case.stranger), "plain@acme.example")
        assert made["delivery"]["state"] == "sent"
        assert host.client(case.admin).post(f"{case.url}/resend").status_code == 200
        seen: Any = host.client(case.admin).get(case.url).json
        assert seen["obstacle"] is None
        token = host.outbox.token_to(case.email)
        offer: Any = host.client(case.invitee).post(PREVIEW, json={"token": token}).json
        assert offer["obstacle"]["code"] == "account-exists"

    with build(database_url, config={"INVITATIONS_REVEAL_ACCOUNTS": False}) as host:
        case = make(host, "account elsewhere", "Secret")
        refused(accept(host.client(), case.token), 409, "account-exists")
        refused(host.client(case.invitee).post(ACCEPT, json={"token": case.token}), 409, "account-exists")
        told = [each for each in trail(host, case.id) if each.type == "accept_refused"]
        assert [(each.details, each.actor_id, each.times) for each in told] == [(None, None, 2)]


# P6: the time that was given


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("state", ["pending", "overdue"])
def test_a_resend_gives_the_time_again(host: Host, state: str, rotate: bool) -> None:
    """P6: a resend opens an invitation for as long as it was made for, also after one that was given another time."""
    case = make(host, "pending", expires_in=20 * 86_400)
    host.clock.tick(DAY if state == "pending" else 21 * DAY)
    client = host.client(case.admin)
    for body, span in (({}, 20 * DAY), ({"expires_in": 3600}, timedelta(hours=1)), ({}, 20 * DAY)):
        assert client.post(f"{case.url}/resend", json={"rotate": rotate, **body}).status_code == 200
        assert as_aware(row_of(case).expires_at) == host.clock.now + span


def as_aware(moment: Any) -> Any:
    from flask_invitations.clock import as_utc

    return as_utc(moment)


def test_a_resend_never_shortens(host: Host) -> None:
    """P6: after a resend that gave much time, a plain one takes none of it away; one that names a time may."""
    case = make(host, "pending")
    client = host.client(case.admin)
    assert client.post(f"{case.url}/resend", json={"expires_in": 30 * 86_400}).status_code == 200
    end = host.clock.now + 30 * DAY
    host.clock.tick(DAY)
    assert client.post(f"{case.url}/resend", json={"rotate": False}).status_code == 200
    assert as_aware(row_of(case).expires_at) == end
    assert client.post(f"{case.url}/resend", json={"expires_in": 3600}).status_code == 200
    assert as_aware(row_of(case).expires_at) == host.clock.now + timedelta(hours=1)


@pytest.mark.parametrize("span", [0, 3599, 30 * 86_400 + 1, "1", True, 3600.5])
def test_a_resend_takes_a_possible_time(host: Host, span: Any) -> None:
    """P6: the bounds of ``expires_in`` are the same as where an invitation is made; nothing changes."""
    case = make(host, "pending")
    with unchanged(host):
        answer = host.client(case.admin).post(f"{case.url}/resend", json={"expires_in": span})
        refused(answer, 422, "invalid-request")


def test_a_fresh_link_lives_as_long(database_url: str) -> None:
    """P6: a fresh link too is open for as long as the invitation was made for."""
    with build(database_url, config={"INVITATIONS_FRESH_LINK": "send"}) as host:
        case = make(host, "pending", expires_in=20 * 86_400)
        host.clock.tick(21 * DAY)
        with host.app.app_context():
            host.invitations.request_link(case.token)
        assert as_aware(row_of(case).expires_at) == host.clock.now + 20 * DAY
        assert row_of(case).invited_by_id == case.admin


# P7: one account, twice at once


@pytest.mark.parametrize("rounds", [6])
def test_an_account_that_races_itself(database_url: str, rounds: int) -> None:
    """P7: one account that accepts several times at once gets 201 once and else 200, and its answer each time."""
    with build(database_url, tenancy="membership") as host:
        case = make(host, "account elsewhere")
        guest = case.invitee
        for number in range(rounds):
            tenant = host.tenant(f"Race{number}")
            admin = host.user(f"race{number}@acme.example", "admin", tenant)
            invite(host.client(admin, tenant), case.email)
            token, answers = host.outbox.token_to(case.email), list[Any]()
            gate = threading.Barrier(4)

            def once(token: str = token, answers: list[Any] = answers, gate: threading.Barrier = gate) -> None:
                gate.wait()
                answers.append(host.client(guest).post(ACCEPT, json={"token": token}))

            threads = [threading.Thread(target=once) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
            assert len({answer.text for answer in answers}) == 1


def test_an_older_link_is_answered_to_nobody(host: Host) -> None:
    """P7: whoever accepted gets the answer again by the link that they accepted with, and not by one that was replaced
    before."""
    case = make(host, "pending")
    assert host.client(case.admin).post(f"{case.url}/resend").status_code == 200
    token = host.outbox.token_to(case.email)
    assert accept(host.client(), token).status_code == 201
    owner = host.client(host.rows(host.User, email=case.email)[0].id)
    assert accept(owner, token).status_code == 200
    refused(accept(owner, case.token), 409, "invitation-accepted")


def test_the_second_look_of_a_loser(host: Host) -> None:
    """P7: an account whose own acceptance was committed between two looks is not told that it is a member already; a
    stranger to it is told that the invitation was accepted."""
    with override(host.app, join=lambda *_: None):
        case = make(host, "account elsewhere")
        guest, done = case.invitee, list[int]()

        def role_of(user: Any, tenant_id: Any) -> str | None:
            """As the database has it now: while it is first asked, the same account accepts in another request."""
            if user.id == guest and not done:
                done.append(1)
                join(host, case, guest)
            role: str | None = user.role if user.id != guest or done else None
            return role

        with override(host.app, role_of=role_of):
            answer = host.client(guest).post(ACCEPT, json={"token": case.token})
        assert answer.status_code == 200, answer.text
        assert [each.type for each in trail(host, case.id)].count("accept_refused") == 0


def join(host: Host, case: Case, guest: Any) -> None:
    """What a faster request has committed."""
    table, now = host.invitations.models.Invitation.__table__, host.clock()
    values = {"status": "accepted", "pending_key": None, "closed_at": now, "accepted_at": now, "accepted_by_id": guest}
    with host.engine.begin() as connection:
        connection.execute(sa.update(table).where(table.c.id == uuid.UUID(case.id)).values(values))


# P8: the truth


@pytest.mark.parametrize(("reason", "details"), [("", None), (None, None), ("No time", {"reason": "No time"})])
def test_no_reason_is_none(host: Host, reason: str | None, details: Any) -> None:
    """P8: an empty reason is kept as none."""
    case = make(host, "pending")
    assert host.client().post(DECLINE, json={"token": case.token, "reason": reason}).status_code == 200
    assert trail(host, case.id)[-1].details == details


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("shown", [True, False])
def test_rotated_is_the_truth(database_url: str, rotate: bool, shown: bool) -> None:
    """P8: the audit trail says whether the link is another one, whether or not it was shown."""
    with build(database_url, config={"INVITATIONS_RETURN_LINK": shown}) as host:
        case = make(host, "pending")
        assert host.client(case.admin).post(f"{case.url}/resend", json={"rotate": rotate}).status_code == 200
        (event,) = [each for each in trail(host, case.id) if each.type == "resent"]
        assert event.details["rotated"] is rotate
        assert (host.outbox.token_to(case.email) != case.token) is rotate


# P9: retention


def test_retention_counts_from_the_expiry(host: Host) -> None:
    """P9: an invitation that expired 91 days ago loses its personal data at the first sweep; after 89 days it does
    not."""
    old, young = make(host, "pending", "Old"), make(host, "pending", "Young", expires_in=4 * 86_400)
    host.clock.tick(92 * DAY + timedelta(hours=1))
    with host.app.app_context():
        swept = host.invitations.sweep()
    assert (swept.expired, swept.purged) == (2, 1)
    assert (row_of(old).email, row_of(young).email) == (None, young.email)
    assert as_aware(row_of(young).closed_at) == as_aware(row_of(young).expires_at)


# P10: what the invitee is told


def test_accepting_tells_nothing_of_managers(host: Host) -> None:
    """P10: neither the answer to accept nor a second one holds details, inviter or delivery."""
    case = make(host, "pending", details={"salary": 7})
    first = accept(host.client(), case.token)
    again = host.client(case.invitee).post(ACCEPT, json={"token": case.token})
    assert (first.status_code, again.status_code) == (201, 200)
    for answer in (first, again):
        body: Any = answer.json
        assert body["invitation"].keys() == {"id", "email", "role", "status", "tenant_id", "accepted_at"}
        assert "salary" not in answer.text
        assert "admin@acme.example" not in answer.text


# P11: results that are true after unit()


@pytest.mark.parametrize("delivery", ["inline", "queue"])
def test_results_are_true_after_the_block(database_url: str, delivery: str) -> None:
    """P11: what acts returned inside of ``unit()`` is complete once the block has ended: how the email fared, and
    the session."""
    config = {"INVITATIONS_DELIVERY": delivery}
    with build(database_url, config=config, on_accepted=lambda user, _: {"id": user.id}) as host:
        tenant, sent = host.tenant(), "sent" if delivery == "inline" else "queued"
        with host.app.app_context():
            host.invitations.invite("guest@example.com", tenant_id=tenant)
            host.invitations.deliver()
            token = host.outbox.token_to("guest@example.com")
            with host.invitations.unit() as unit:
                made = host.invitations.invite("new@example.com", tenant_id=tenant)
                gone = host.invitations.invite("gone@example.com", tenant_id=tenant)
                host.invitations.revoke(gone.id)
                done = host.invitations.accept(token, password=PASSWORD)
                with pytest.raises(RuntimeError, match="not committed"):
                    unit.result(made)
                assert done.session is None
            for value, state in ((made, sent), (gone, "cancelled")):
                assert state_of(host, value) == state
                assert unit.result(value) is value
                if delivery == "inline":
                    assert value.delivery is not None
                    assert value.delivery.state == state
            assert unit.result(done).session == {"id": done.user.id}


@pytest.mark.parametrize("what", ["member", "demoted", "inactive"])
def test_what_a_block_does_after_inviting_counts(host: Host, what: str) -> None:
    """P1: where a host's own block goes on after it invited somebody, and makes them a member, demotes the inviter or
    closes the tenant, no email leaves, and the delivery says why."""
    tenant, admin, *_ = people(host)
    with host.app.app_context():
        session: Any = host.db.session
        with host.invitations.unit() as unit:
            made = host.invitations.invite("new@example.com", by=session.get(host.User, admin))
            if what == "member":
                session.add(host.User(email="new@example.com", role="user", tenant_id=tenant))
            elif what == "demoted":
                session.get(host.User, admin).role = "user"
            else:
                session.get(host.Tenant, tenant).active = False
        codes = {"member": "already-member", "demoted": "role-not-allowed", "inactive": "tenant-inactive"}
        delivery = unit.result(made).delivery
        assert delivery is not None
        assert (delivery.state, delivery.error) == ("cancelled", codes[what])
    assert host.outbox.messages == []


def state_of(host: Host, value: InvitationInfo) -> str:
    shown = host.invitations.get(value.id).delivery
    assert shown is not None
    return str(shown.state)


def undone(host: Host, tenant: Any) -> tuple[InvitationInfo, Any]:
    """What a block that failed returned, and the block."""
    try:
        with host.invitations.unit() as unit:
            made = host.invitations.invite("new@example.com", tenant_id=tenant)
            raise ValueError
    except ValueError:
        return made, unit


def test_no_results_of_a_block_that_failed(host: Host) -> None:
    """P11: what a rolled back block returned is no result."""
    tenant = host.tenant()
    with host.app.app_context():
        made, unit = undone(host, tenant)
        with pytest.raises(RuntimeError, match="not committed"):
            unit.result(made)


def test_nested_results_wait_for_the_outer_block(host: Host) -> None:
    """P11: inside of another block, the end of a block commits nothing, and its results wait."""
    tenant = host.tenant()
    with host.app.app_context():
        with host.invitations.unit():
            with host.invitations.unit() as inner:
                made = host.invitations.invite("new@example.com", tenant_id=tenant)
            with pytest.raises(RuntimeError, match="not committed"):
                inner.result(made)
        assert inner.result(made).delivery.state == "sent"  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["savepoint", "rollback", "unit"])
def test_what_was_undone_is_followed_by_nothing(host: Host, how: str) -> None:
    """P11, T1: where the host rolls a part of its block back, by a savepoint of its own, by a rollback or by an inner
    unit, nothing of that part is announced, sent or observed, and its values are no results; the rest is."""
    case, heard = make(host, "pending"), list[str]()
    with override(host.app, on_accepted=lambda user, _: heard.append(user.email)), host.app.app_context():
        session: Any = host.db.session
        before, lost = len(host.outbox.messages), list[Any]()

        def part() -> None:
            lost.append(host.invitations.invite("lost@example.com", tenant_id=case.tenant))
            lost.append(host.invitations.accept(case.token, password=PASSWORD))
            raise KeyError

        with (
            invitation_created.connected_to(lambda *_, invitation: heard.append(invitation.email), sender=host.app),
            host.invitations.unit() as unit,
        ):
            undo(host, session, how, part)
            kept = host.invitations.invite("kept@example.com", tenant_id=case.tenant)
        assert heard == ["kept@example.com"]
        assert [message.to for message in host.outbox.messages[before:]] == ["kept@example.com"]
        assert unit.result(kept) is kept
        for value in (*lost, object()):
            with pytest.raises(RuntimeError, match="no act of this unit"):
                unit.result(value)
        assert lost[1].session is None
    assert host.rows(host.User, email=case.email) == []


def undo(host: Host, session: Any, how: str, part: Callable[[], None]) -> None:
    """Do a part of a block, and take it back."""
    try:
        if how == "savepoint":
            with session.begin_nested():
                part()
        elif how == "unit":
            with host.invitations.unit():
                part()
        else:
            part()
    except KeyError:
        if how == "rollback":
            session.rollback()


def test_every_result_of_a_block_is_true(host: Host) -> None:
    """P11: whatever acts return inside of a block, a list and a revocation too, tells how the emails fare by then."""
    tenant = host.tenant()
    with host.app.app_context():
        with host.invitations.unit() as unit:
            made = host.invitations.invite("one@example.com", tenant_id=tenant)
            gone = host.invitations.revoke(host.invitations.invite("two@example.com", tenant_id=tenant).id)
            seen = host.invitations.get(made.id)
            listed = host.invitations.list(tenant_id=tenant)
        assert unit.result(listed) is listed
        told = {str(one.email): one.delivery.state for one in (made, gone, seen, *listed) if one.delivery is not None}
        assert told == {"one@example.com": "sent", "two@example.com": "cancelled"}
        assert {one.delivery.state for one in (made, seen) if one.delivery is not None} == {"sent"}


# T6: a decision is about a person


def decline(host: Host, case: Case, token: str) -> None:
    assert host.client().post(DECLINE, json={"token": token}).status_code == 200


def revoke(host: Host, case: Case, token: str) -> None:
    (newest, *_) = host.client(case.admin).get(LIST).json["items"]  # type: ignore[index]
    assert host.client(case.admin).delete(f"{LIST}/{newest['id']}").status_code == 204


def take(host: Host, case: Case, token: str) -> None:
    assert accept(host.client(), token).status_code == 201
    (user,) = host.rows(host.User, email=case.email)
    delete_row(host, host.User, user.id)


@pytest.mark.parametrize("decide", [decline, revoke, take])
@pytest.mark.parametrize("state", ["overdue", "swept"])
def test_a_decision_closes_what_is_older(
    database_url: str, state: str, decide: Callable[[Host, Case, str], None]
) -> None:
    """T6: when the later of two invitations is declined, revoked or accepted, the older, expired one of that address is
    closed with it: no fresh link, no resend, and the audit trail says by what."""
    with build(database_url, config={"INVITATIONS_FRESH_LINK": "send"}) as host:
        case, heard = make(host, "pending", role="admin"), list[Any]()
        STATES[state](case)
        other = make(host, "pending", "Other")
        newer = invite(host.client(case.admin), case.email, role="viewer")
        with invitation_revoked.connected_to(lambda *_, invitation: heard.append(invitation.id), sender=host.app):
            decide(host, case, host.outbox.token_to(case.email))
        assert row_of(case).status == "revoked"
        last = trail(host, case.id)[-1]
        assert (last.type, last.details) == ("revoked", {"decided_by": newer["id"]})
        assert uuid.UUID(case.id) in heard
        mails = len(host.outbox.messages)
        with unchanged(host), host.app.app_context():
            host.invitations.request_link(case.token)
        refused(host.client(case.admin).post(f"{case.url}/resend"), 410, "invitation-revoked")
        assert len(host.outbox.messages) == mails
        assert row_of(other).status == "pending"


def test_each_older_one_names_its_own_decision(host: Host) -> None:
    """T6: where one call decides on several addresses, the audit trail of each older invitation names the newer one of
    its own address."""
    tenant, admin, *_ = people(host)
    second = host.user("second@acme.example", "admin", tenant)
    emails = ("one@acme.example", "two@acme.example")
    older = {email: invite(host.client(second), email)["id"] for email in emails}
    host.clock.tick(2 * DAY)
    newer = {email: invite(host.client(admin), email)["id"] for email in emails}
    with host.app.app_context():
        user = host.db.session.get(host.User, admin)
        assert host.invitations.revoke_for(user, tenant_id=tenant) == len(older) + len(newer)
    told = {email: trail(host, older[email])[-1].details for email in emails}
    assert told == {email: {"decided_by": newer[email]} for email in emails}


@pytest.mark.parametrize("decide", [decline, revoke])
def test_a_decision_never_closes_what_is_newer(host: Host, decide: Callable[[Host, Case, str], None]) -> None:
    """T6: revoking the older of two leaves the newer one, and so does a namesake's or another tenant's decision."""
    case = make(host, "overdue")
    newer = invite(host.client(case.admin), case.email)
    theirs = invite(host.client(case.stranger), case.email)
    namesake = invite(host.client(case.admin), "gúest@acme.example")
    assert host.client(case.admin).delete(case.url).status_code == 204
    statuses = {str(row.id): row.status for row in host.rows(host.invitations.models.Invitation)}
    assert statuses == {
        case.id: "revoked",
        newer["id"]: "pending",
        theirs["id"]: "pending",
        namesake["id"]: "pending",
    }


def test_a_fresh_link_is_for_the_newest(database_url: str) -> None:
    """T6: where there is a newer invitation of the address, whatever became of it, an older link gets nothing."""
    with build(database_url, config={"INVITATIONS_FRESH_LINK": "send"}) as host:
        case = make(host, "overdue")
        invite(host.client(case.admin), case.email)
        host.clock.tick(9 * DAY)
        newest = host.outbox.token_to(case.email)
        with unchanged(host), host.app.app_context():
            host.invitations.request_link(case.token)
        with host.app.app_context():
            host.invitations.request_link(newest)
        assert host.outbox.token_to(case.email) != newest


def test_a_replaced_link_gets_no_fresh_one(database_url: str) -> None:
    """T6: of an expired invitation only the last link that was sent gets a fresh one."""
    with build(database_url, config={"INVITATIONS_FRESH_LINK": "send"}) as host:
        case = make(host, "pending")
        assert host.client(case.admin).post(f"{case.url}/resend").status_code == 200
        last = host.outbox.token_to(case.email)
        host.clock.tick(3 * DAY)
        with host.app.app_context():
            with unchanged(host):
                host.invitations.request_link(case.token)
            host.invitations.request_link(last)
        assert host.outbox.token_to(case.email) != last


@pytest.mark.parametrize("setting", ["send", "ask"])
def test_no_fresh_link_beside_a_live_one(database_url: str, setting: str) -> None:
    """T6: where an older invitation of the address is live again, the link of the newer, expired one gets nothing, and
    nothing is told."""
    with build(database_url, config={"INVITATIONS_FRESH_LINK": setting}) as host:
        case = make(host, "overdue")
        invite(host.client(case.admin), case.email)
        newer = host.outbox.token_to(case.email)
        host.clock.tick(9 * DAY)
        assert host.client(case.admin).post(f"{case.url}/resend").status_code == 200
        before = len(host.outbox.messages)
        with unchanged(host):
            assert host.client().post("/invitations/fresh", data={"token": newer}).status_code == 303
        assert len(host.outbox.messages) == before


def test_revoke_for_closes_what_has_expired(host: Host) -> None:
    """T6: with a leaving user everything of theirs is closed, what has expired too."""
    case = make(host, "swept")
    with host.app.app_context():
        user = host.db.session.get(host.User, case.admin)
        assert host.invitations.revoke_for(user, tenant_id=case.tenant) == 1
    assert row_of(case).status == "revoked"


def test_revoke_for_counts_what_it_revoked(host: Host) -> None:
    """T6: what was revoked along, since it is older and of the same address, is counted too."""
    case = make(host, "overdue")
    colleague = host.user("colleague@acme.example", "admin", case.tenant)
    invite(host.client(colleague), case.email)
    with host.app.app_context():
        user = host.db.session.get(host.User, colleague)
        assert host.invitations.revoke_for(user, tenant_id=case.tenant) == 2
    assert {row.status for row in host.rows(host.invitations.models.Invitation)} == {"revoked"}


def test_the_invitee_is_told_of_a_revocation_that_they_know_of(database_url: str) -> None:
    """An invitee who got a first email is told of the revocation, although a second one still waits."""
    config = {"INVITATIONS_NOTIFY_REVOKED": True, "INVITATIONS_DELIVERY": "queue"}
    with build(database_url, config=config) as host:
        tenant, *_ = people(host)
        with host.app.app_context():
            api = host.invitations
            known = api.invite("known@example.com", tenant_id=tenant)
            unknown = api.invite("unknown@example.com", tenant_id=tenant)
            api.deliver(known.delivery.id)  # type: ignore[union-attr]
            api.resend(known.id)
            for one in (known, unknown):
                api.revoke(one.id)
            api.deliver()
        assert [(message.kind, message.to) for message in host.outbox.messages[1:]] == [
            ("revoked", "known@example.com")
        ]


def test_revoke_for_leaves_what_was_purged(host: Host) -> None:
    """T6: an expired invitation that has lost its address is over: nobody's leaving changes it."""
    case = make(host, "overdue")
    host.clock.tick(90 * DAY)
    with host.app.app_context():
        assert host.invitations.sweep().purged == 1
        user = host.db.session.get(host.User, case.admin)
        assert host.invitations.revoke_for(user, tenant_id=case.tenant) == 0
    assert row_of(case).status == "expired"


# A4: the Python API


def test_unknown_filters_are_refused(host: Host) -> None:
    """A4: a filter that is none, or has a value that is none, is refused by name; nothing is listed."""
    make(host, "pending")
    for wrong in ({"stat": "pending"}, {"status": "pendnig"}, {"Status": "pending"}, {"token": "x"}, {"limit": 0}):
        with host.app.app_context(), pytest.raises(InvalidRequest) as caught:
            host.invitations.list(**wrong)
        assert caught.value.errors.keys() == wrong.keys()
        assert next(iter(wrong)) in str(caught.value)


def test_ids_may_be_text(host: Host) -> None:
    """A4: an id may be text wherever one is taken; what cannot be one is not found."""
    case = make(host, "pending")
    with host.app.app_context():
        api = host.invitations
        for spelled in (case.id, case.id.upper(), case.id.replace("-", ""), uuid.UUID(case.id)):
            assert api.get(spelled).email == case.email
            assert len(api.events(spelled)) == 2
        for wrong in ("", "1", "x" * 300, 7, None, b"1", NotImplemented):
            for act in (api.get, api.events, api.resend, api.revoke):
                with pytest.raises(InvitationNotFound):
                    act(wrong)  # type: ignore[arg-type]
        assert api.resend(case.id).status == "pending"
        assert api.revoke(case.id).status == "revoked"


@pytest.mark.parametrize("key", ["int", "uuid", "str"])
def test_tenant_ids_may_be_text(database_url: str, key: Any) -> None:
    """A4: a tenant's id may be its text, and is then the same tenant for every rule; what cannot be one is refused by
    name, and so is any where there are no tenants."""
    with build(database_url, key=key) as host:
        tenant, *_ = people(host)
        with host.app.app_context():
            api = host.invitations
            with pytest.raises(AlreadyMember):
                api.invite("plain@acme.example", tenant_id=str(tenant))
            made = api.invite("new@example.com", tenant_id=str(tenant))
            assert made.tenant_id == tenant
            assert [one.id for one in api.list(tenant_id=str(tenant))] == [made.id]
            for wrong in (True, 1.5, b"1", [], *(() if key == "str" else ("abc", ""))):
                for act in (api.list, partial(api.invite, "x@example.com")):
                    with pytest.raises(InvalidRequest) as caught:
                        act(tenant_id=wrong)
                    assert caught.value.errors.keys() == {"tenant_id"}


def test_no_tenant_where_there_are_none(database_url: str) -> None:
    """A4: a tenant's id in an app without tenants is refused, and makes no second place for the same address."""
    with build(database_url, tenancy="none") as host, host.app.app_context():
        with pytest.raises(InvalidRequest):
            host.invitations.invite("new@example.com", tenant_id=5)
        assert host.invitations.list() == []


def test_odd_arguments_are_refused(host: Host) -> None:
    """A4: whatever is given in place of a user, an id, a place in the list or a report, the answer is clear."""
    case = make(host, "pending")
    with host.app.app_context():
        api: Any = host.invitations
        for act in (api.list, api.get, api.resend, api.revoke, api.events):
            with pytest.raises(TypeError, match="is no user"):
                act(*(() if act == api.list else (case.id,)), by="me")
        for nobody in ("me", None):
            with pytest.raises(TypeError):
                api.revoke_for(nobody)
        with pytest.raises(InvalidRequest):
            api.list(after=("2026-01-01", case.id))
        mail = host.rows(host.invitations.models.Delivery)[0]
        assert (api.deliver(str(mail.id)), api.deliver("no id"), api.deliver(7)) == ({}, {}, {})
        odd: list[Any] = [None, 5, "", b"x", []]
        assert [api.record_delivery(each, "bounced") for each in odd] == [False] * 5
        with pytest.raises(InvalidRequest):
            api.record_delivery(mail.id, ["bounced"])
        assert api.record_delivery(str(mail.id), "bounced", 550) is True


@pytest.mark.parametrize(
    ("method", "tail"),
    [
        ("GET", ""),
        ("GET", "/events"),
        ("DELETE", ""),
        ("POST", "/resend"),
    ],
)
def test_unknown_parameters_are_refused(host: Host, method: str, tail: str) -> None:
    """A4: a query parameter that a call does not take is refused by name, before anything is done."""
    case = make(host, "pending")
    with unchanged(host):
        answer = host.client(case.admin).open(f"{case.url}{tail}?bogus=1", method=method)
        refused(answer, 422, "invalid-request", errors={"bogus": ["Unknown parameter."]})


def test_a_word_is_no_flag(host: Host) -> None:
    """A4: "no" is not taken for yes, and a place in the list that is cut off not for a place."""
    case = make(host, "pending")
    with unchanged(host), host.app.app_context():
        api: Any = host.invitations
        for name in ("mail", "confirm"):
            with pytest.raises(InvalidRequest, match=name):
                api.invite("other@acme.example", tenant_id=case.tenant, **{name: "no"})
        for name in ("rotate", "confirm"):
            with pytest.raises(InvalidRequest, match=name):
                api.resend(case.id, **{name: "no"})
        for after in ((), (api.get(case.id).created_at,), 5):
            with pytest.raises(InvalidRequest, match="after"):
                api.list(after=after)


def test_a_refusal_names_the_fields(host: Host) -> None:
    """A4: the text of a refusal names the fields that are wrong, a few of many."""
    tenant = host.tenant()
    with host.app.app_context(), pytest.raises(InvalidRequest) as caught:
        host.invitations.invite("nobody", tenant_id=tenant, role="king", message="")
    assert str(caught.value) == "Some fields are missing or wrong: email, role, message." or all(
        name in str(caught.value) for name in ("email", "role", "message")
    )
    many = InvalidRequest({f"field{number}": ["Wrong."] for number in range(1000)})
    assert len(str(many)) < 200


# explain


def test_explain_tells_every_reason(host: Host) -> None:
    """Explaining an invitation tells every reason that stands in its way, in the order of the rules, and writes
    nothing; the first is what the act says."""
    case = make(host, "bounced")
    host.user(case.email, "user", case.tenant)

    def check_invitee(_draft: Any) -> None:
        raise AddressNotAllowed("Not this one.")

    admin = host.client(case.admin)
    with override(host.app, check_invitee=check_invitee), unchanged(host):
        body = {"email": case.email, "role": "owner"}
        answer: Any = admin.post(f"{INVITE}?explain=true", json=body)
        told = answer.json
        assert (answer.status_code, told["allowed"], told["approval"]) == (200, False, False)
        codes = [reason["code"] for reason in told["reasons"]]
        assert codes == ["role-not-allowed", "address-not-allowed", "mail-bounced", "already-member", "already-invited"]
        assert told["reasons"][1]["detail"] == "Not this one."
        assert told["reasons"][-1]["invitation_id"] == case.id
        refused(admin.post(INVITE, json=body), 403, "role-not-allowed")
        refused(admin.post(f"{INVITE}?explain=true", json={"email": "no"}), 422, "invalid-request")
        refused(admin.post(f"{INVITE}?explain=maybe", json=body), 422, "invalid-request")
        refused(admin.post(f"{INVITE}?explian=true", json=body), 422, "invalid-request")
        refused(host.client(case.plain).post(f"{INVITE}?explain=true", json=body), 403, "forbidden")
    with unchanged(host):
        fine: Any = admin.post(f"{INVITE}?explain=true", json={"email": "fine@example.com"}).json
        assert fine == {"allowed": True, "approval": False, "reasons": []}


def test_explain_from_python(host: Host) -> None:
    """The same from Python: an object with ``allowed``, ``approval`` and ``reasons``."""
    case = make(host, "pending")
    with unchanged(host), host.app.app_context():
        told = host.invitations.explain(case.email, by=host.db.session.get(host.User, case.admin))
        assert (told.allowed, told.approval, [each.code for each in told.reasons]) == (
            False,
            False,
            ["already-invited"],
        )
        assert host.invitations.explain("fine@example.com", tenant_id=case.tenant).allowed


# Many at once


def test_helpers_see_it_all(host: Host) -> None:
    """The copies that this file's neighbours make are whole rows."""
    _, admin, *_ = people(host)
    made = invite(host.client(admin), "one@example.com")
    copy(host, made["id"], 2)
    assert len(snapshot(host)["user_invitations"]) == 3


def test_emails_of_very_many_invitations(host: Host) -> None:
    """R23: no statement has more parameters than a database takes, for any number of invitations."""
    case = make(host, "pending")
    unknown = [uuid.uuid4() for _ in range(70_000)]
    with host.app.app_context():
        mails = get_state().ctx.store.mails
        wanted = [*unknown, uuid.UUID(case.id)]
        assert mails.latest(wanted).keys() == set(mails.reached(wanted)) == {uuid.UUID(case.id)}


def test_a_batch_asks_for_each_tenant_once(database_url: str) -> None:
    """Links and notices that leave together ask the host for their tenant once."""
    asked = list[Any]()

    def tenant_is_active(tenant_id: Any) -> bool:
        asked.append(tenant_id)
        return True

    config = {"INVITATIONS_NOTIFY_REVOKED": True, "INVITATIONS_DELIVERY": "queue"}
    with build(database_url, config=config, tenant_is_active=tenant_is_active) as host:
        tenant, *_ = people(host)
        with host.app.app_context():
            api = host.invitations
            known = api.invite("known@example.com", tenant_id=tenant)
            api.deliver()
            api.revoke(known.id)
            api.invite("other@example.com", tenant_id=tenant)
            asked.clear()
            deliver(get_state().ctx, batch=2)
        assert asked == [tenant]
        assert sorted(message.kind for message in host.outbox.messages) == ["invitation", "invitation", "revoked"]
