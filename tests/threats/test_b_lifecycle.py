"""How long a link lives, and how often: incidents in which one opened too late, twice, or after it was taken back."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flask_invitations import Status, TryAgain
from flask_invitations.acts import fresh
from flask_invitations.current import get_state, override
from flask_invitations.tokens import Mint
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import (
    DECLINE,
    GUEST,
    INVITE,
    LIST,
    PREVIEW,
    STATES,
    Case,
    accept,
    delete_row,
    invite,
    make,
    people,
    refused,
    set_columns,
)
from tests.queued import deliver
from tests.races.harness import Racers, crowded, event_types, invited, unexpected
from tests.races.harness import accept as accept_fast

HOUR = timedelta(hours=1)
TTL = 48 * HOUR


def row(host: Host, invitation_id: Any = None) -> Any:
    rows = host.rows(host.invitations.models.Invitation)
    return next(each for each in rows if invitation_id is None or str(each.id) == str(invitation_id))


def test_expiry_is_asked_where_the_row_changes(host: Host) -> None:
    """B1: a page that was opened in time does not accept or decline too late: the time is looked at in the statement
    that closes the invitation, also where it passes while the password is hashed."""
    case = make(host, "pending")
    client = host.client()
    assert client.post("/invitations/open", data={"token": case.token}).status_code == 200
    host.clock.tick(TTL)
    for call in ("accept", "decline"):
        page = client.post(f"/invitations/{call}", data={"token": case.token, "password": PASSWORD})
        assert page.status_code == 410
    refused(accept(client, case.token), 410, "invitation-expired")
    refused(client.post(DECLINE, json={"token": case.token}), 410, "invitation-expired")
    assert row(host).status == Status.PENDING

    host.clock.tick(-HOUR)
    create = host.app.extensions["invitations"].ctx.hooks.create_user

    def slow(*given: Any) -> Any:
        host.clock.tick(HOUR)
        return create(*given)

    with override(host.app, create_user=slow):
        refused(accept(client, case.token), 410, "invitation-expired")
    assert not host.rows(host.User, email=case.email)


def test_one_link_makes_one_account(host: Host) -> None:
    """B2: no cookie, header or second browser has a used link make another account, and the row names the one that it
    made."""
    case = make(host, "pending")
    client = host.client()
    assert accept(client, case.token).status_code == 201
    for cookie in ("invite=fresh", f"invite={case.token}", "session=eyJpbnZpdGUiOjF9.x.y"):
        again = host.client()
        again.set_cookie(*cookie.split("=", 1))
        refused(accept(again, case.token, password="another long password"), 409, "invitation-accepted")
    (user,) = host.rows(host.User, email=case.email)
    assert row(host).accepted_by_id == user.id
    assert user.check_password(PASSWORD)


def test_nothing_else_closes_an_invitation(host: Host) -> None:
    """B3: a password that is reset, a sign-in, an account that is made or verified in another way: none of it accepts
    an invitation, pending or expired, or makes anybody a member."""
    case = make(host, "pending")
    account = host.user(case.email, "user", None, verified=False)
    set_columns(host, host.User, account, password_hash="reset", email_verified=True)
    with host.app.app_context():
        user: Any = host.db.session.get(host.User, account)
        user.set_password("the password after a reset")
        host.db.session.commit()
    host.client(account).get(LIST)
    assert (row(host).status, row(host).accepted_by_id) == (Status.PENDING, None)
    assert [each.tenant_id for each in host.rows(host.User, email=case.email)] == [None]
    host.clock.tick(TTL)
    host.client(account).get(LIST)
    assert event_types(host, row(host).id) == {"created": 1, "sent": 1}


def test_link_dies_with_its_first_use(host: Host) -> None:
    """B4: accepted, declined or revoked, a link is dead at once, long before its time is over, and stays so when the
    account that came of it is deleted."""
    for number, state in enumerate(("accepted", "declined", "revoked")):
        case = make(host, state, f"Tenant{number}")
        code = 409 if state == "accepted" else 410
        for url in (PREVIEW, DECLINE):
            refused(host.client().post(url, json={"token": case.token}), code, f"invitation-{state}")
        refused(accept(host.client(), case.token), code, f"invitation-{state}")
        if state == "accepted":
            delete_row(host, host.User, case.invitee)
            refused(accept(host.client(), case.token), 409, "invitation-accepted")
        assert not host.rows(host.User, email=case.email)


@pytest.mark.parametrize("how", ["resend", "again", "fresh link"])
def test_every_new_email_has_a_new_secret(database_url: str, how: str) -> None:
    """B5: sent again, invited again after expiry, or asked for by the holder of an expired link: the secret is another
    one, and the old one opens nothing from that transaction on."""
    with build(database_url, config={"INVITATIONS_FRESH_LINK": "send"}) as host:
        case = make(host, "pending")
        before = row(host)
        if how == "resend":
            assert host.client(case.admin).post(f"{case.url}/resend").status_code == 200
        else:
            host.clock.tick(TTL)
            if how == "again":
                invite(host.client(case.admin), case.email)
            else:
                assert host.client().post("/invitations/fresh", data={"token": case.token}).status_code == 303
        token = host.outbox.token_to(case.email)
        assert token != case.token
        after = host.rows(host.invitations.models.Invitation)[-1]
        assert {after.token_hash, after.token_nonce}.isdisjoint({before.token_hash, before.token_nonce})
        answer = accept(host.client(), case.token)
        assert (answer.status_code, answer.get_json()["code"]) in {
            (410, "invitation-replaced"),
            (410, "invitation-expired"),
        }
        assert accept(host.client(), token).status_code == 201


def test_a_rotation_that_changes_nothing_is_impossible(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """B6: were the same secret made twice, the rotation would fail and the row stay as it is, rather than call the old
    link new; and a link that was confirmed is no link any more."""
    case = make(host, "pending")
    (before,) = host.rows(host.invitations.models.Invitation)
    other = invite(host.client(case.admin), "other@example.com")
    taken = next(each for each in host.rows(host.invitations.models.Invitation) if str(each.id) == other["id"])
    with host.app.app_context():
        token = get_state().ctx.mint.recover(taken.token_nonce, taken.token_hash)
    assert token is not None

    class Stuck(Mint):
        def new(self) -> Any:
            return taken.token_nonce, token

    with override(host.app, mint=Stuck(["a key"])):
        answer = host.client(case.admin).post(f"{case.url}/resend")
    refused(answer, 503, "try-again")
    assert row(host, case.id).token_hash == before.token_hash
    assert accept(host.client(), case.token).status_code == 201
    for _ in range(2):
        refused(accept(host.client(), case.token), 409, "invitation-accepted")


def test_of_two_at_once_one_is_taken(database_url: str) -> None:
    """B7: eight people press the button at one moment: one account, one event, seven refusals, and never a 500."""
    with crowded(database_url, 8) as host, Racers(8) as racers:
        invitation_id, token = invited(host, GUEST)
        answers = racers.race(partial(accept_fast, host, token))
        assert Counter(answers)[(201, "")] == 1
        assert unexpected(answers, (201, ""), (409, "invitation-accepted"), (409, "account-exists")) == {}
        assert len(host.rows(host.User, email=GUEST)) == 1
        assert event_types(host, invitation_id)["accepted"] == 1


def test_what_was_answered_in_between_counts(host: Host) -> None:
    """B7: what was decided on is looked at again in the statement that claims: declined in another window while the
    password is hashed, an invitation is not accepted, and makes no account."""
    case = make(host, "pending")
    create = host.app.extensions["invitations"].ctx.hooks.create_user
    answers = list[Any]()

    def decline() -> None:
        answers.append(host.client().post(DECLINE, json={"token": case.token}))

    def slow(*given: Any) -> Any:
        thread = Thread(target=decline)
        thread.start()
        thread.join()
        return create(*given)

    with override(host.app, create_user=slow):
        refused(accept(host.client(), case.token), 410, "invitation-declined")
    assert answers[0].status_code == 200
    assert row(host).status == Status.DECLINED
    assert not host.rows(host.User, email=case.email)


@pytest.mark.parametrize("when", ["join", "commit"])
def test_a_failure_half_way_leaves_nothing(host: Host, when: str) -> None:
    """B8: what fails after the account was made, or at the commit, undoes everything: the invitation is pending, there
    is no account, and the same link works afterwards. Nothing of ours takes back by hand what was done."""
    case = make(host, "pending")
    if when == "join":
        create = host.app.extensions["invitations"].ctx.hooks.create_user

        def fail(*given: Any) -> Any:
            host.db.session.add(create(*given))
            host.db.session.flush()
            raise LookupError("after the account")

        host.app.config["PROPAGATE_EXCEPTIONS"] = False
        with override(host.app, create_user=fail):
            assert accept(host.client(), case.token).status_code == 500
    else:
        dialect = host.engine.dialect
        commit = dialect.do_commit

        def broken(connection: Any) -> None:
            raise DBAPIError("COMMIT", None, OSError("gone"))

        host.app.config["PROPAGATE_EXCEPTIONS"] = False
        dialect.do_commit = broken  # type: ignore[method-assign,assignment]
        try:
            assert accept(host.client(), case.token).status_code >= 500
        finally:
            dialect.do_commit = commit  # type: ignore[method-assign]
    assert (row(host).status, row(host).accepted_by_id) == (Status.PENDING, None)
    assert not host.rows(host.User, email=case.email)
    assert "accepted" not in event_types(host, row(host).id)
    assert accept(host.client(), case.token).status_code == 201


def test_what_is_closed_stays_closed(host: Host) -> None:
    """B9: an accepted invitation cannot be revoked, resent or declined, a closed one cannot be brought back, and the
    database itself refuses a second open one for an address, or one that is half closed."""
    case = make(host, "accepted")
    admin = host.client(case.admin)
    refused(admin.delete(case.url), 409, "invitation-accepted")
    refused(admin.post(f"{case.url}/resend"), 409, "invitation-accepted")
    refused(host.client().post(DECLINE, json={"token": case.token}), 409, "invitation-accepted")
    other = make(host, "revoked", "Other")
    refused(host.client(other.admin).post(f"{other.url}/resend"), 410, "invitation-revoked")
    assert {each.status for each in host.rows(host.invitations.models.Invitation)} == {"accepted", "revoked"}

    third = make(host, "pending", "Third")
    table = host.invitations.models.Invitation.__table__
    (open_one,) = (each for each in host.rows(host.invitations.models.Invitation) if str(each.id) == third.id)
    for values in (
        {"status": "accepted"},  # with its pending_key still taken
        {"status": "other"},
        {"pending_key": None},
    ):
        with pytest.raises(DBAPIError), host.engine.begin() as connection:
            connection.execute(sa.update(table).where(table.c.id == open_one.id).values(**values))
    with pytest.raises(DBAPIError), host.engine.begin() as connection:
        connection.execute(sa.update(table).where(table.c.id != open_one.id).values(pending_key=open_one.pending_key))


def test_an_expired_one_is_not_revived_beside_another(host: Host) -> None:
    """B9: an expired invitation that a newer one followed is not opened again beside it."""
    case = make(host, "overdue")
    newer = invite(host.client(case.admin), case.email)
    refused(host.client(case.admin).post(f"{case.url}/resend"), 409, "already-invited", invitation_id=newer["id"])


@pytest.mark.parametrize("span", [0, 1, 3599, 30 * 86400 + 1, 10**9, -3600, "forever", None, True])
def test_every_link_ends(local: Host, span: Any) -> None:
    """B10: nobody gets a link without an end, by leaving the span out or by asking for a long one: it ends after 48
    hours, or at most after 30 days."""
    admin = people(local)[1]
    answer = local.client(admin).post(INVITE, json={"email": GUEST, "expires_in": span})
    if span is None:
        assert answer.status_code == 201
        (made,) = local.rows(local.invitations.models.Invitation)
        local.clock.tick(TTL)
        refused(accept(local.client(), local.outbox.token_to(GUEST)), 410, "invitation-expired")
        assert made.lifetime == TTL.total_seconds()
    else:
        refused(answer, 422, "invalid-request")


def test_no_link_leaves_for_what_is_over(database_url: str) -> None:
    """B11: neither the reminder nor an email that waits is sent once its invitation was revoked: the sender looks again
    at the moment it sends."""
    config = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_REMIND_BEFORE": 6 * HOUR}
    with build(database_url, config=config) as host:
        case_admin = people(host)[1]
        made = invite(host.client(case_admin))
        deliver(host)
        host.clock.tick(TTL - 5 * HOUR)
        with host.app.app_context():
            assert host.invitations.sweep().reminded == 1
        waiting = invite(host.client(case_admin), "waiting@example.com")
        host.outbox.clear()
        table = host.invitations.models.Invitation.__table__
        for each in (made, waiting):
            assert host.client(case_admin).delete(f"{LIST}/{each['id']}").status_code == 204
        mail = host.invitations.models.Delivery.__table__
        with host.engine.begin() as connection:  # as if the revocation had not reached the outbox
            connection.execute(
                sa.update(mail)
                .where(mail.c.state == "cancelled")
                .values(state="queued", next_attempt_at=host.clock(), last_error=None)
            )
            assert connection.scalar(sa.select(sa.func.count()).where(table.c.status == "revoked")) == 2
        assert deliver(host) == {"cancelled": 2}
        assert host.outbox.messages == []


@pytest.mark.parametrize("attempt", ["weak", "other account", "profile", "unknown field"])
def test_a_failed_attempt_costs_nothing(local: Host, attempt: str) -> None:
    """B12: a weak password, a wrong session, a wrong field, however often: the link is not used up and not locked."""
    case = make(local, "pending")
    for _ in range(30):
        client = local.client(case.plain if attempt == "other account" else None)
        more = {"nickname": "x"} if attempt in ("profile", "unknown field") else {}
        password = "weak" if attempt == "weak" else PASSWORD
        assert accept(client, case.token, password, **more).status_code in (403, 422)
    assert row(local).status == Status.PENDING
    assert accept(local.client(), case.token).status_code == 201


def test_a_password_is_judged_before_anything_is_claimed(local: Host) -> None:
    """B12: what refuses an attempt is asked before the first change: not one statement writes to the invitation."""
    case = make(local, "pending")
    with local.statements() as seen:
        assert accept(local.client(), case.token, "weak").status_code == 422
    assert [each for each in seen if each.startswith("UPDATE user_invitations")] == []


def test_two_requests_for_a_fresh_link_count_as_one(database_url: str) -> None:
    """B13: what is limited is counted where it changes: of eight requests at one moment for a fresh link, of which
    there is one an hour, one sends an email."""
    with crowded(database_url, 8, config={"INVITATIONS_FRESH_LINK": "send"}) as host, Racers(8) as racers:
        case: Case = make(host, "pending")
        STATES["overdue"](case)
        host.outbox.clear()

        def ask() -> int:
            return host.client().post("/invitations/fresh", data={"token": case.token}).status_code

        assert set(racers.race(ask)) <= {303, 503}
        assert len(host.outbox.messages) == 1
        assert fresh.PAUSE == HOUR
        assert issubclass(TryAgain, Exception)


def test_the_last_seat_is_taken_once(database_url: str) -> None:
    """B13: four people accept at one moment, with one seat left in the organization: one becomes a member, the others
    are told, and their links still work when there is room."""
    free = [99]
    with crowded(database_url, 6, seats=lambda _tenant: free[0]) as host, Racers(4) as racers:
        tokens = [invited(host, f"p{number}@example.com")[1] for number in range(4)]
        members = sa.select(sa.func.count()).select_from(host.User)

        def seats(_tenant: Any) -> int:
            return 1 - int(host.db.session.scalar(members) or 0)

        with override(host.app, seats=seats):
            answers = Counter(racers.race(*[partial(accept_fast, host, token) for token in tokens]))
        assert answers == {(201, ""): 1, (409, "no-seats"): 3}
        assert len(host.rows(host.User)) == 1
        assert Counter(each.status for each in host.rows(host.invitations.models.Invitation))["pending"] == 3
