"""Who may use a link: incidents in which somebody else did."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import sqlalchemy as sa
from itsdangerous import URLSafeSerializer
from sqlalchemy.exc import IntegrityError

from flask_invitations import MailRefused
from flask_invitations.current import override
from tests.hosts import PASSWORD, Host
from tests.http.tools import (
    ACCEPT,
    DECLINE,
    GUEST,
    INVITE,
    LIST,
    NO_TOKEN,
    PREVIEW,
    Case,
    accept,
    invite,
    make,
    people,
    refused,
    set_columns,
    snapshot,
    unchanged,
)
from tests.pages.site import fill_in, open_offer, serving


def members(host: Host) -> list[tuple[Any, Any, str]]:
    """Who belongs to which tenant, with which role."""
    return [(row.user_id, row.tenant_id, row.role) for row in host.rows(host.Membership)]


def test_address_on_an_unverified_account_proves_nothing(joining: Host) -> None:
    """A1: somebody registers the victim's address elsewhere and never verifies it: with the link of the invitation or
    without, that account gets in nowhere, and the invitation stays open for whoever can read the mailbox."""
    case = make(joining, "account unverified")
    attacker, before = case.client("invitee"), members(joining)
    refused(accept(attacker, case.token), 409, "account-unverified")
    for wanted in (case.url, LIST):
        refused(attacker.get(wanted), 403, "forbidden")
    assert members(joining) == before
    set_columns(joining, joining.User, case.invitee, email_verified=True)
    assert accept(attacker, case.token).status_code == 201


def test_unverified_second_address_is_not_compared(joining: Host) -> None:
    """A2: an account that lists the invited address as a second one counts only once the host says that it is
    verified; until then it is somebody else."""
    case = make(joining, "pending")
    other = joining.user("attacker@example.com", "user", joining.tenant("Elsewhere"))
    unproved, proved = [False], case.email

    def find_user(email: str) -> Any:
        return joining.db.session.get(joining.User, other) if email == proved else None

    hooks: dict[str, Any] = {"find_user": find_user, "email_is_verified": lambda _user: not unproved[0]}
    before = members(joining)
    refused(accept(joining.client(other), case.token), 403, "wrong-account")
    unproved[0] = True
    with override(joining.app, **hooks):
        refused(accept(joining.client(other), case.token), 409, "account-unverified")
    assert members(joining) == before


@pytest.mark.parametrize("field", ["email", "email_key", "role", "tenant_id", "id", "username", "status"])
def test_invitee_chooses_no_identity(local: Host, field: str) -> None:
    """A3: a field for the address, the role or the tenant in the body of an accept is refused by name, and in the form
    it is passed over; the account is the one that was invited."""
    case = make(local, "pending", role="viewer")
    answer = accept(local.client(), case.token, **{field: "owner"})
    refused(answer, 422, "invalid-request", errors={field: ["Unknown field."]})
    form = {"token": case.token, "password": PASSWORD, field: "owner"}
    assert local.client().post("/invitations/accept", data=form).status_code == 303
    (user,) = local.rows(local.User, email=case.email)
    assert (user.role, user.tenant_id) == ("viewer", case.tenant)
    assert not local.rows(local.User, email="owner")


@pytest.mark.parametrize("who", ["admin", "plain", "stranger"])
def test_forwarded_link_adds_no_other_account(joining: Host, who: str) -> None:
    """A4: whoever opens a forwarded link while signed in under another address does not join with it, by the API or
    the page."""
    case, before = make(joining, "pending"), members(joining)
    refused(accept(case.client(who), case.token), 403, "wrong-account")
    page = case.client(who).post("/invitations/accept", data={"token": case.token, "password": PASSWORD})
    assert page.status_code == 403
    assert members(joining) == before
    assert accept(joining.client(), case.token).status_code == 201


def test_link_signs_nobody_in_as_an_account_that_exists(joining: Host) -> None:
    """A5: to hold a link and to choose a password is not to be the account of that address: it is neither signed in
    nor changed, and the refusal sends its owner to sign in."""
    case = make(joining, "pending")
    joining.user(case.email, "user", None, password="the owner's own password")
    before = snapshot(joining)["users"]
    answer = accept(joining.client(), case.token, password="the attacker's own password")
    refused(answer, 409, "account-exists")
    assert "Set-Cookie" not in answer.headers
    assert snapshot(joining)["users"] == before


def test_next_user_of_the_browser_inherits_nothing(browser: Any, tmp_path: Any) -> None:
    """A6: one person opens a link and walks away; the next one signs in, in the same browser. Nothing of the first is
    kept: no cookie, no storage, no session, and the pages have no invitation to offer."""
    with serving(tmp_path) as site, browser.new_context() as context:
        page = context.new_page()
        email, link = site.invite()
        open_offer(page, link)
        page.get_by_role("heading", name="Join Acme").wait_for()
        assert context.storage_state() == {"cookies": [], "origins": []}
        site.sign_in(page, site.host.user("next@example.com", "user", site.host.tenant("Elsewhere")))
        for path in ("open", "accept", "accepted"):
            page.goto(f"{site.base}/invitations/{path}")
            assert email not in page.content()
            assert "Accept the invitation" not in page.content()
        assert site.row(email).status == "pending"


def test_forged_payload_is_not_read(local: Host) -> None:
    """A7: a token that carries an organization and an address, signed with the app's own key or not at all, means
    nothing: what counts is the row that its hash finds."""
    case = make(local, "pending")
    payload = {"org": str(case.tenant), "email": "evil@example.com", "role": "owner"}
    signed = str(URLSafeSerializer(local.app.config["SECRET_KEY"]).dumps(payload))
    unsigned = "eyJhbGciOiJub25lIn0." + re.sub("=", "", json.dumps(payload).encode().hex()) + "."
    for token in (signed, unsigned, signed[:43], case.id, NO_TOKEN):
        for url in (PREVIEW, ACCEPT, DECLINE):
            refused(local.client().post(url, json={"token": token}), 404, "invitation-not-found")
    assert not local.rows(local.User, email="evil@example.com")


def test_one_secret_decides_what_is_shown_and_what_is_taken(local: Host) -> None:
    """A8: a second identifier in the address or the form, of another invitation, changes neither the offer nor what is
    accepted."""
    mine = make(local, "pending", "First", role="viewer")
    trap = make(local, "pending", "Second", role="admin")
    extra = {"inviteId": trap.id, "invitation_id": trap.id, "tenant_id": str(trap.tenant), "t": trap.token}
    client = local.client()
    shown = client.post("/invitations/open", data={"token": mine.token, **extra}, query_string=extra)
    assert "First" in shown.text
    assert "Second" not in shown.text
    done = client.post("/invitations/accept", data={"token": mine.token, "password": PASSWORD, **extra})
    assert done.status_code == 303
    (user,) = local.rows(local.User, email=mine.email)
    assert (user.tenant_id, user.role) == (mine.tenant, "viewer")
    assert not local.rows(local.User, email=trap.email)
    refused(client.post(ACCEPT, json={"token": mine.token, **extra}), 422, "invalid-request")


def test_link_joins_its_own_tenant_only(host: Host) -> None:
    """A9: a link of one organization joins that one, whoever sends it from whatever host name or with whatever headers;
    and no row can be without a tenant."""
    case, other = make(host, "pending", "First", role="user"), host.tenant("Second")
    client = host.client(None, other)
    answer = client.post(
        ACCEPT, json={"token": case.token, "password": PASSWORD}, headers={"Host": "second.example.com"}
    )
    assert answer.get_json()["user"]["tenant_id"] == case.tenant
    assert [user.tenant_id for user in host.rows(host.User, email=case.email)] == [case.tenant]
    table = host.invitations.models.Invitation.__table__
    with pytest.raises(IntegrityError), host.engine.begin() as connection:
        connection.execute(sa.update(table).values(tenant_id=None))


@pytest.mark.parametrize(
    "email", [[GUEST, "evil@example.com"], {"0": GUEST}, f"{GUEST},evil@example.com", f"{GUEST} evil@example.com", True]
)
def test_one_address_is_checked_and_sent_to(local: Host, email: Any) -> None:
    """A10: a list of addresses, or whatever else could be read as two, is no address."""
    admin = people(local)[1]
    refused(local.client(admin).post(INVITE, json={"email": email}), 422, "invalid-request")
    assert local.outbox.messages == []


def test_mail_goes_to_the_stored_address_or_nowhere(host: Host) -> None:
    """A10: the address that was checked is the one that is sent to: where a row's two columns disagree, nothing is
    sent."""
    host.outbox.fail_with = OSError("away")
    case_admin = people(host)[1]
    made = invite(host.client(case_admin))
    host.outbox.fail_with = None
    table = host.invitations.models.Invitation.__table__
    with host.engine.begin() as connection:
        connection.execute(sa.update(table).values(email="evil@example.com"))
    assert host.client(case_admin).post(f"{LIST}/{made['id']}/resend").status_code == 200
    assert host.outbox.messages == []
    errors = [row.last_error for row in host.rows(host.invitations.models.Delivery)]
    assert MailRefused.__name__ in errors


@pytest.mark.parametrize("token", [None, "", "null", 0, False, [], {}, "A" * 42])
def test_missing_token_matches_no_row(host: Host, token: Any) -> None:
    """A11: no token, an empty or a short one finds nothing and nobody, even beside rows that have lost theirs: it is
    not looked up at all."""
    make(host, "accepted", "First")
    make(host, "pending", "Second")
    host.client().get(LIST)
    with unchanged(host), host.statements() as seen:
        for url in (PREVIEW, ACCEPT, DECLINE):
            assert host.client().post(url, json={"token": token}).status_code in (404, 422)
        assert host.client().post("/invitations/open", data={"token": "" if token is None else str(token)}).status_code
    assert [each for each in seen if "user_invitation" in each] == []
    for column in ("token_hash", "token_nonce"):
        table = host.invitations.models.Invitation.__table__
        with pytest.raises(IntegrityError), host.engine.begin() as connection:
            connection.execute(sa.update(table).values({column: None}))


def test_somebody_elses_session_is_neither_joined_nor_ended(joining: Host) -> None:
    """A12: opened by somebody who is signed in as another, the page says so and offers to change the account; nothing
    is overwritten, and looking at it signs nobody out."""
    case = make(joining, "pending")
    before = snapshot(joining)
    client = case.client("plain")
    page = client.post("/invitations/open", data={"token": case.token})
    assert page.status_code == 200
    assert "Accept the invitation" not in page.text
    assert "plain@acme.example" in page.text
    assert "Set-Cookie" not in page.headers
    assert snapshot(joining) == before
    refused(accept(client, case.token), 403, "wrong-account")
    assert snapshot(joining)["users"] == before["users"]


def test_no_answer_to_the_invitee_holds_a_second_secret(local: Host) -> None:
    """A13: preview, a refused accept and an accept answer with nothing that could be used instead of the link: the
    password is set by the one call that uses the link up."""
    case = make(local, "pending")
    client = local.client()
    answers = [client.post(PREVIEW, json={"token": case.token}), accept(client, case.token, password="weak")]
    (row,) = local.rows(local.invitations.models.Invitation)
    answers.append(accept(client, case.token))
    for answer in answers:
        text = answer.text + str(answer.headers)
        for secret in (row.token_hash, row.token_nonce, row.pending_key, case.token):
            assert secret not in text
        assert re.findall(r"[A-Za-z0-9_-]{43}", text) == []
    assert accept(client, case.token).status_code == 409


def test_pre_registered_account_is_not_taken_over_by_its_maker(joining: Host) -> None:
    """A14: an attacker registers the victim's address with a password of their own and waits. Accepting does not verify
    that account, does not make it a member, and leaves its password worth nothing here."""
    case = make(joining, "pending")
    planted = joining.user(case.email, "user", None, password="the attacker knows this", verified=False)
    refused(accept(joining.client(), case.token), 409, "account-exists")
    refused(accept(joining.client(planted, case.tenant), case.token), 409, "account-unverified")
    (user,) = joining.rows(joining.User, email=case.email)
    assert user.email_verified is False
    assert planted not in {member for member, *_ in members(joining)}


def test_address_and_link_cannot_drift_apart(host: Host) -> None:
    """A15: no call changes the address of an invitation. Two managers who send it again at once leave one live link,
    and every email of it went to the one address."""
    case = make(host, "pending")
    admin = host.client(case.admin)
    for body in ({"email": "evil@example.com"}, {"email_key": "evil@example.com"}):
        assert admin.post(f"{case.url}/resend", json=body).status_code == 422
    for method in ("PUT", "PATCH"):
        answer = admin.open(case.url, method=method, json={"email": "evil@example.com"})
        assert answer.status_code in (405, 422)
    for _ in range(2):
        assert admin.post(f"{case.url}/resend").status_code == 200
    assert {message.to for message in host.outbox.messages} == {case.email}
    links = [message.accept_url for message in host.outbox.messages]
    opened = [host.client().post(PREVIEW, json={"token": str(link)[-43:]}).status_code for link in dict.fromkeys(links)]
    assert opened == [404, 410, 200]


def test_gate_of_the_host_stays_shut(joining: Host) -> None:
    """A16: what the host lets nobody pass (a suspended account, a missing second factor, an approval) an invitation
    does not pass either, and preview says so before."""
    from flask_invitations import InvitationError

    class NotApproved(InvitationError):
        code, status, sentence = "not-approved", 403, "An administrator must approve this account first."

    def check(_invitation: Any, _user: Any) -> None:
        raise NotApproved

    case = make(joining, "pending")
    with override(joining.app, check_acceptance=check):
        offer: Any = joining.client().post(PREVIEW, json={"token": case.token}).json
        assert offer["obstacle"]["code"] == "not-approved"
        refused(accept(joining.client(), case.token), 403, "not-approved")
    assert not joining.rows(joining.User, email=case.email)
    member = make(joining, "account elsewhere", "Other")
    with override(joining.app, current_user=lambda: None):  # the host's own: suspended, so nobody
        refused(accept(member.client("invitee"), member.token), 409, "account-exists")


def test_case_is_whole(local: Host) -> None:
    """A3: the default way leads to exactly the account that was invited."""
    case: Case = make(local, "pending", role="manager")
    taken: Any = accept(local.client(), case.token).json
    assert (taken["user"]["email"], taken["user"]["role"]) == (case.email, "manager")


def test_a_page_is_filled_in_by_the_invitee_only(browser: Any, tmp_path: Any) -> None:
    """A12: in one browser somebody signs in as another while the offer is open: the button does not join them."""
    with serving(tmp_path) as site, browser.new_context() as context:
        page = context.new_page()
        email, link = site.invite()
        open_offer(page, link)
        site.sign_in(page, site.host.user("other@example.com", "user", site.host.tenant("Elsewhere")))
        fill_in(page)
        page.get_by_text("another account").first.wait_for()
        assert site.row(email).status == "pending"
        assert not site.host.rows(site.host.User, email=email)
