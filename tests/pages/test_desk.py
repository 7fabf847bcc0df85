"""The manager's desk, each page and each state, through the app's own test client."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from html import escape, unescape
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from flask_babel import Babel
from flask_wtf import CSRFProtect
from jinja2 import DictLoader, StrictUndefined
from werkzeug.test import TestResponse

import flask_invitations
from flask_invitations import InvitationError, Invitations, MailRefused, TryAgain
from flask_invitations.clock import utcnow
from flask_invitations.testing import RecordingMailer, SettableClock
from flask_invitations.tokens import FormSeal
from tests.hosts import ACCEPT_URL, Host, build, shape
from tests.http.tools import NO_ID, Case, copy, invite, make, set_columns, set_role, unchanged

DESK = "/invitations/"
GUEST = "guest@example.com"
TEMPLATES = Path(flask_invitations.__file__).parent / "templates/invitations/desk"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Host]:
    """The default host on SQLite: what is tested with it is the page, not the database below it."""
    with build(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as host:
        yield host


def admin(host: Host, role: str = "admin", **more: Any) -> FlaskClient:
    return host.client(host.user("admin@example.com", role, **more))


def sealed(client: FlaskClient, page: str, action: str) -> str:
    """The seal in the form of ``page`` that goes to ``action``."""
    form = re.search(rf'<form [^>]*action="{re.escape(action)}".*?</form>', client.get(page).text, re.DOTALL)
    assert form, f"{page} has no form to {action}"
    found = re.search(r'name="seal" value="([^"]+)"', form[0])
    assert found
    return found[1]


def send(client: FlaskClient, page: str, action: str, **fields: str) -> TestResponse:
    """Fill in the form of ``page`` that goes to ``action``, and send it."""
    return client.post(action, data={"seal": sealed(client, page, action), **fields})


def send_invite(client: FlaskClient, email: str = GUEST, **fields: str) -> TestResponse:
    return send(client, DESK, "/invitations/invite", email=email, **fields)


def shown(answer: TestResponse) -> list[str]:
    """The addresses in the list, in order."""
    assert answer.status_code == 200, answer.text
    return re.findall(r'class="invitations-who"><a href="[^"]+" title="[^"]+"><bdi>(.*?)</bdi>', answer.text)


def words(answer: TestResponse) -> str:
    """A page as one reads it."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def heading(answer: TestResponse) -> str:
    found = re.search(r"<h1>(.*?)</h1>", answer.text, re.DOTALL)
    assert found, answer.text
    return unescape(re.sub(r"<.*?>", "", found[1])).strip()


def counts(answer: TestResponse) -> dict[str, int]:
    return {name: int(many) for name, many in re.findall(r">(\w+) <b>(\d+)</b>", answer.text)}


def only(host: Host) -> Any:
    (row,) = host.rows(host.invitations.models.Invitation)
    return row


# The list


def test_every_state_is_told(host: Host) -> None:
    """The list shows address, status, role, inviter, expiry and delivery of each invitation in every status, and counts
    them, on each database; a pending one whose time is over counts as expired."""
    case = make(host, "pending")
    client = case.client("admin")
    names = ("accepted", "declined", "revoked", "overdue")
    made = {name: invite(client, f"{name}@example.com", role="manager") for name in names}
    with host.app.app_context():
        inv = host.invitations
        inv.accept(host.outbox.token_to("accepted@example.com"), password="correct horse battery staple")
        inv.decline(host.outbox.token_to("declined@example.com"))
        inv.revoke(uuid.UUID(made["revoked"]["id"]))
    set_columns(host, host.invitations.models.Invitation, uuid.UUID(made["overdue"]["id"]), expires_at=host.clock())
    page = client.get(DESK)
    assert counts(page) == {"All": 5, "Pending": 1, "Accepted": 1, "Declined": 1, "Revoked": 1, "Expired": 1}
    assert shown(page) == [f"{name}@example.com" for name in reversed(names)] + [case.email]
    for told in ("in 2 days", "admin@acme.example", "manager", "Sent"):
        assert told in words(page)
    for status in ("pending", "accepted", "declined", "revoked", "expired"):
        found = client.get(DESK, query_string={"status": status})
        assert len(shown(found)) == 1
        assert f'<span class="invitations-badge invitations-{status}">' in found.text


def test_filter_and_search(host: Host) -> None:
    """A filter finds what it says, a search takes every character for itself, small or capital, composed or not, and an
    international domain as it was typed; the counts are those of what was searched for; on each database."""
    client = admin(host)
    for email in ("ann@example.com", "b%b@example.com", "bob_x@example.com", "dé@example.com", "kim@bücher.example"):
        invite(client, email, role="viewer" if email.startswith("b") else "user")
    found = {
        "b": ["kim@bücher.example", "bob_x", "b%b"],
        "B%": ["b%b"],
        "_": ["bob_x"],
        "b_b": [],
        "\\": [],
        "' OR '1'='1": [],
        " dé@ ": ["dé"],
        "DE\u0301": ["dé"],
        "bücher": ["kim@bücher.example"],
        "xn--": ["kim@bücher.example"],
    }
    for text, expected in found.items():
        page = client.get(DESK, query_string={"q": text, "status": "", "role": ""})
        assert [each.removesuffix("@example.com") for each in shown(page)] == expected, text
        assert counts(page)["All"] == len(expected)
        if not expected:
            assert "No invitations found" in words(page)
            assert f'<a class="invitations-button invitations-quiet" href="{DESK}">' in page.text
    both = client.get(DESK, query_string={"q": "example", "role": "viewer", "status": "pending"})
    assert len(shown(both)) == 2
    assert counts(both) == {"All": 2, "Pending": 2, "Accepted": 0, "Declined": 0, "Revoked": 0, "Expired": 0}
    assert f'href="{DESK}?status=revoked&amp;role=viewer&amp;q=example"' in both.text


def test_paging_keeps_the_filter(host: Host) -> None:
    """Over 45 invitations the pages follow each other without a gap or a repetition, and back again, also while new
    ones are made, and a filter stays, on each database."""
    client = admin(host)
    made = invite(client, "p0@example.com")
    copy(host, made["id"], 44)
    invite(client, "other@example.com", role="viewer")
    pages = [client.get(DESK, query_string={"q": "p", "role": "user", "status": "pending"})]
    assert beside(pages[0], "prev") is None
    while (older := beside(pages[-1], "next")) is not None:
        host.clock.tick(timedelta(minutes=1))
        invite(client, f"late{len(pages)}@example.com")
        pages.append(client.get(older))
    seen = [shown(page) for page in pages]
    assert [each for page in seen for each in page] == [f"p{number}@example.com" for number in range(44, -1, -1)]
    back = client.get(beside(pages[2], "prev") or "")
    assert shown(back) == seen[1]
    assert beside(back, "next") is not None
    first = client.get(beside(back, "prev") or "")
    assert shown(first) == seen[0]
    invite(client, "p45@example.com")
    assert shown(client.get(beside(first, "prev") or "", follow_redirects=True))[:1] == ["p45@example.com"]


def beside(page: TestResponse, rel: str) -> str | None:
    """The address of the page before or after."""
    found = re.search(rf'rel="{rel}" href="([^"]+)"', page.text)
    return found and unescape(found[1])


def test_nothing_at_all(site: Host) -> None:
    """With no invitation there is an explanation and the form, and nothing to filter."""
    page = admin(site).get(DESK)
    assert heading(page) == "No one has been invited to Acme yet"
    assert 'name="email"' in page.text
    assert "<table" not in page.text
    assert 'type="search"' not in page.text


def test_no_such_list(site: Host) -> None:
    """An address that asks for what we do not know gets a page that leads back."""
    client = admin(site)
    for query in ("status=odd", "role=odd", "cursor=x", "q=%00", f"q={'x' * 255}"):
        answer = client.get(f"{DESK}?{query}")
        assert (answer.status_code, heading(answer)) == (422, "There is no such list"), query
        assert f'href="{DESK}"' in answer.text


def test_what_became_of_the_mail(site: Host) -> None:
    """Each state of the email is told in plain words, on the list, and what it means on the page of the invitation; the
    class of a failure is told nowhere."""
    client = admin(site)
    made = invite(client)
    told = {
        "sent": "Sent",
        "deferred": "Delayed",
        "delivered": "Delivered",
        "bounced": "Bounced",
        "complained": "Reported as spam",
        "cancelled": "Not sent",
        "failed": "Failed",
        "sending": "Sending",
        "queued": "Not sent yet",
    }
    model, now = site.invitations.models.Delivery, site.clock()
    (mail,) = site.rows(model)
    pages = set()
    for state, said in told.items():
        times = {
            "next_attempt_at": now if state == "queued" else None,
            "leased_until": now if state == "sending" else None,
        }
        set_columns(site, model, mail.id, state=state, last_error="TimeoutError", **times)
        assert said in words(client.get(DESK))
        page = words(client.get(f"{DESK}{made['id']}"))
        pages.add(page)
        assert said in page
        assert "TimeoutError" not in page
        assert ("The mail server could not be reached." in page) == (state in ("failed", "queued"))
    assert len(pages) == len(told)
    set_columns(site, model, mail.id, state="queued", next_attempt_at=now, last_error=None)
    assert "Queued" in words(client.get(DESK))
    with site.engine.begin() as connection:
        connection.execute(sa.delete(model.__table__))
    assert "No email" in words(client.get(DESK))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("invitation-revoked", "The invitation was revoked."),
        ("invitation-withdrawn", "The inviter had left, or the organization was not active."),
        ("role-not-allowed", "The inviter could no longer grant this role."),
        ("already-member", "The invitee was already a member."),
        ("a-code-of-the-hosts", "The email was no longer needed."),
        (None, "The email was no longer needed."),
    ],
)
def test_why_a_mail_was_cancelled(site: Host, code: str | None, said: str) -> None:
    """A cancelled email says in a sentence why it was not sent; its code is for machines."""
    client = admin(site)
    page, model = f"{DESK}{invite(client)['id']}", site.invitations.models.Delivery
    set_columns(site, model, site.rows(model)[0].id, state="cancelled", next_attempt_at=None, last_error=code)
    text = words(client.get(page))
    assert f"Delivery Not sent {said}" in text
    assert code is None or code not in text


def test_why_an_attempt_was_refused(site: Host) -> None:
    """The trail says why an attempt to accept was refused, in a sentence; it shows no code."""
    client = admin(site)
    page = f"{DESK}{invite(client)['id']}"
    other = site.client(site.user("other@example.com"))
    token = site.outbox.token_to(GUEST)
    assert other.post("/invitations/accept", data={"token": token}).status_code == 403
    text = words(client.get(page))
    assert "An attempt to accept was refused Another account was signed in." in text
    assert "wrong-account" not in text


AHEAD = (
    (timedelta(days=2), "in 2 days"),
    (timedelta(hours=36), "in 2 days"),
    (timedelta(hours=24), "in 24 hours"),
    (timedelta(minutes=60), "in 60 minutes"),
    (timedelta(seconds=1), "in 1 minute"),
    (timedelta(0), "1 minute ago"),
    (timedelta(hours=-30), "30 hours ago"),
    (timedelta(days=-9), "9 days ago"),
)


def test_expiry_in_words(site: Host) -> None:
    """When an invitation expires is told from now, with the exact time beside it."""
    client = admin(site)
    made = uuid.UUID(invite(client)["id"])
    for ahead, said in AHEAD:
        moment = site.clock() + ahead
        set_columns(site, site.invitations.models.Invitation, made, expires_at=moment)
        exact = f"{moment:%B} {moment.day}, {moment:%Y, %H:%M} UTC"
        assert f'datetime="{moment:%Y-%m-%dT%H:%M:%SZ}" title="{exact}">{said}</time>' in client.get(DESK).text


# Inviting


def test_invite(host: Host) -> None:
    """The form invites: the invitation has what was chosen, the mail goes out, and its page says so; on each
    database."""
    client = admin(host)
    done = send_invite(client, " Guest@Example.com ", role="manager", expires_in="604800", message=" Hi!\r\nSee you ")
    row = only(host)
    assert (done.status_code, done.headers["Location"]) == (303, f"{DESK}{row.id}?done=invited")
    assert (row.email, row.role, row.message) == ("Guest@Example.com", "manager", "Hi!\nSee you")
    assert host.outbox.token_to(GUEST)
    page = client.get(done.headers["Location"])
    assert heading(page) == "Guest@Example.com"
    assert "The email to Guest@Example.com was sent." in words(page)
    assert "in 7 days" in words(page)


def test_what_was_left_empty(site: Host) -> None:
    """Only the address is needed: role, time, language and message are then as usual."""
    assert send_invite(admin(site), role="", expires_in="", locale="", message="  ").status_code == 303
    row = only(site)
    assert (row.role, row.locale, row.message) == ("user", None, None)
    assert row.expires_at - row.created_at == timedelta(hours=48)


def test_a_mail_that_did_not_go(site: Host) -> None:
    """The page after inviting does not claim that a mail was sent which was not."""
    site.outbox.fail_with = MailRefused("no such mailbox")
    client = admin(site)
    page = client.get(send_invite(client).headers["Location"])
    assert "The email to" not in words(page)
    assert "Failed The email could not be sent. We will not try again." in words(page)
    assert "MailRefused" not in page.text


@pytest.fixture(scope="module")
def manned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, FlaskClient, str]]:
    """A host with an admin and one pending invitation, for tests that change nothing."""
    with build(f"sqlite:///{tmp_path_factory.mktemp('manned') / 'desk.sqlite3'}") as host:
        client = make(host, "pending").client("admin")
        yield host, client, invite(client, "pending@example.com")["id"]


@pytest.mark.parametrize(
    ("fields", "status", "said", "target"),
    [
        ({"email": ""}, 422, "Enter the email address of the person you invite.", "email"),
        ({"email": "nobody@"}, 422, "This is not a valid email address.", "email"),
        ({"email": "pending@example.com"}, 409, "This address already has an open invitation.", "email"),
        ({"email": "plain@acme.example"}, 409, "This address already belongs to a member", "email"),
        ({"role": "owner"}, 403, "You may not grant this role", "role"),
        ({"role": "pope"}, 422, "Choose one of the options.", "role"),
        ({"message": "x" * 1001}, 422, "Use at most 1000 characters", "message"),
        ({"expires_in": "60"}, 422, "Choose one of the options.", "expires_in"),
        ({"expires_in": "soon"}, 422, "Choose one of the options.", "expires_in"),
    ],
)
def test_refused(
    manned: tuple[Host, FlaskClient, str], fields: dict[str, str], status: int, said: str, target: str
) -> None:
    """What cannot be is said beside its field and on top, with the API's status; what was typed is still there, and
    nothing was done."""
    host, client, pending = manned
    typed = {"email": "new@example.com", "role": "manager", "expires_in": "86400", "message": "A <b>ll", **fields}
    with unchanged(host):
        page = send_invite(client, **typed)
    assert page.status_code == status
    assert f'<p class="invitations-error" id="invitations-error-{target}">' in page.text
    assert f'<a href="#invitations-field-{target}">' in page.text
    assert words(page).count(said) == 2
    assert '<h2 id="invitations-summary" tabindex="-1" autofocus>The invitation was not created' in page.text
    assert f'value="{typed["email"]}"' in page.text
    assert f">\n{escape(typed['message'])}</textarea>" in page.text
    assert ('value="86400" selected' in page.text) == (typed["expires_in"] == "86400")
    assert ('value="manager" selected' in page.text) == (typed["role"] == "manager")
    assert (f'href="{DESK}{pending}">Open that invitation' in page.text) == (
        status == 409 and "plain" not in typed["email"]
    )
    assert "<title>Error: Invitations" in page.text


def test_an_inactive_tenant(site: Host) -> None:
    """Where the tenant is not active, the desk says so and keeps what was typed."""
    case = make(site, "tenant inactive")
    page = send_invite(case.client("admin"), "new@example.com")
    assert page.status_code == 403
    assert "This organization is not active. No one can be invited now." in words(page)
    assert 'value="new@example.com"' in page.text


@pytest.mark.parametrize("refusal", [TryAgain(7), InvitationError("Your plan has no <seat> left.")])
def test_what_a_hook_refuses(tmp_path: Path, refusal: InvitationError) -> None:
    """A refusal of the host's own is told in its words, with its status and headers; what was typed is kept."""

    def refuse(tenant_id: Any) -> bool:
        raise refusal

    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", tenant_is_active=refuse) as host:
        page = send_invite(admin(host), message="Hello")
        assert page.status_code == refusal.status
        assert page.headers.get("Retry-After") == ("7" if refusal.status == 503 else None)
        assert (
            "Wait a moment, then try again." if refusal.status == 503 else "Your plan has no <seat> left."
        ) in words(page)
        assert ">\nHello</textarea>" in page.text


def test_role_ceiling(site: Host) -> None:
    """C1: the form offers the roles that this manager may grant, and no other."""
    offered = r'<option value="(\w+)"'
    for role, expected in (("admin", 4), ("owner", 5)):
        page = site.client(site.user(f"{role}@example.com", role)).get(DESK).text
        form = page.partition('name="role"')[2].partition("</select>")[0]
        assert re.findall(offered, form) == ["viewer", "user", "manager", "admin", "owner"][:expected]
        assert '<option value="user" selected>' in form


def test_nothing_to_grant(tmp_path: Path) -> None:
    """Whoever may look but grant no role gets the list without the form."""
    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", can_invite=lambda user, tenant, role: role is None) as host:
        page = admin(host).get(DESK)
        assert page.status_code == 200
        assert 'name="email"' not in page.text
        assert "not grant any role" in words(page)


# One invitation


def test_details(site: Host) -> None:
    """The page of an invitation tells everything: the message, and who did what when from where; but no raw user agent,
    which says nothing to a manager."""
    client = admin(site)
    client.environ_base["HTTP_USER_AGENT"] = "Browser/1"
    made = invite(client, message="Welcome!", locale="en", role="viewer")
    site.clock.tick(timedelta(hours=1))
    with site.app.app_context():
        site.invitations.decline(site.outbox.token_to(GUEST), reason="No <i>time")
    page = client.get(f"{DESK}{made['id']}")
    text = words(page)
    for told in (
        "Welcome!",
        "viewer",
        "Acme",
        "admin@example.com",
        "Invited as viewer",
        "Email sent",
        "127.0.0.1",
        "Declined",
    ):
        assert told in text
    assert "No <i>time" in text
    assert "Browser" not in text
    assert text.index("Invited as viewer") < text.index("Someone with the link")
    assert "Resend" not in text
    assert "/revoke" not in page.text


@pytest.mark.parametrize(("fields", "rotated"), [({}, True), ({"same_link": "1"}, False)])
def test_resend(host: Host, fields: dict[str, str], rotated: bool) -> None:
    """Resending sends the mail once more, with a new link or, where that is ticked, with the same; on each database."""
    client = admin(host)
    page = f"{DESK}{invite(client)['id']}"
    before = host.outbox.token_to(GUEST)
    done = send(client, page, f"{page}/resend", **fields)
    assert (done.status_code, done.headers["Location"]) == (303, f"{page}?done=resent")
    assert len(host.outbox.messages) == 2
    assert (host.outbox.token_to(GUEST) != before) is rotated
    told = words(client.get(done.headers["Location"]))
    assert "was sent" in told
    assert ("Resent with a new link" if rotated else "Resent with the same link") in told


def test_resend_to_a_mailbox_that_bounced(site: Host) -> None:
    """An address whose mail came back is written to only where somebody confirms it."""
    client = admin(site)
    made = invite(client)
    page = f"{DESK}{made['id']}"
    assert 'name="confirm"' not in client.get(page).text
    with site.app.app_context():
        site.invitations.record_delivery(site.outbox.messages[-1].id, "bounced", "550 <b>gone")
    refused = send(client, page, f"{page}/resend")
    assert (refused.status_code, len(site.outbox.messages)) == (409, 1)
    assert '<a href="#invitations-field-confirm">' in refused.text
    assert "550 <b>gone" in words(refused)
    assert send(client, page, f"{page}/resend", confirm="1").status_code == 303
    assert len(site.outbox.messages) == 2


def test_invite_an_address_that_bounced(site: Host) -> None:
    """P4: an address that bounced before is invited again only when the manager confirms it, which the form then asks
    for; so it is for a resend of an invitation whose own email did not bounce."""
    case = make(site, "bounced")
    client = case.client("admin")
    assert client.delete(case.url).status_code == 204
    assert 'name="confirm"' not in client.get(DESK).text
    refused = send_invite(client, case.email)
    assert (refused.status_code, "Check the address" in words(refused)) == (409, True)
    assert 'name="confirm"' in refused.text
    assert f'value="{case.email}"' in refused.text
    assert send_invite(client, case.email, confirm="1").status_code == 303
    assert site.outbox.messages[-1].to == case.email


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("inviter left", "The inviter is no longer in the organization. Resend the invitation"),
        ("inviter demoted", "The inviter may no longer grant this role. Resend the invitation"),
        ("tenant inactive", "The organization is not active."),
        ("account member", "The invitee is already a member."),
        ("account elsewhere", "accounts cannot join"),
    ],
)
def test_what_is_in_the_way(site: Host, state: str, said: str) -> None:
    """P1: a pending invitation that could not be accepted now says why, and what helps; one that could, or that has
    ended, says nothing of the kind."""
    case, notice = make(site, state), "This invitation cannot be accepted now."
    page = words(case.client("admin").get(f"{DESK}{case.id}"))
    assert notice in page
    assert said in page
    for fine in ("pending", "revoked", "overdue", "accepted"):
        other = make(site, fine, fine.capitalize())
        assert notice not in words(other.client("admin").get(f"{DESK}{other.id}"))


def test_a_resend_tells_its_time(site: Host) -> None:
    """P6: the form to resend says for how long the invitation will be valid: as long as it was made for."""
    case = make(site, "pending", expires_in=20 * 86_400)
    assert "valid for another 20 days" in words(case.client("admin").get(f"{DESK}{case.id}"))


def test_resend_too_late(site: Host) -> None:
    """What closed in the meantime is said, with the API's status; nothing is done."""
    case = make(site, "pending")
    client, page = case.client("admin"), f"{DESK}{case.id}"
    seal = sealed(client, page, f"{page}/resend")
    set_role(site, case.admin, "owner")
    with site.app.app_context():
        site.invitations.decline(case.token)
    with unchanged(site):
        late = client.post(f"{page}/resend", data={"seal": seal})
    assert late.status_code == 410
    assert "was declined in the meantime" in words(late)


def test_resend_above_the_ceiling(site: Host) -> None:
    """C2: an invitation to a role above one's own is not resent."""
    owner = site.client(site.user("owner@example.com", "owner"))
    page = f"{DESK}{invite(owner, role='owner')['id']}"
    refused = send(admin(site), page, f"{page}/resend")
    assert refused.status_code == 403
    assert "You may not grant this role" in words(refused)


def test_revoke(host: Host) -> None:
    """Revoking asks first; then the link is dead, and the page says so; on each database."""
    client = admin(host)
    page = f"{DESK}{invite(client)['id']}"
    assert f'href="{page}/revoke"' in client.get(page).text
    with unchanged(host):
        asked = client.get(f"{page}/revoke")
    assert (asked.status_code, heading(asked)) == (200, "Revoke this invitation?")
    assert GUEST in asked.text
    done = send(client, f"{page}/revoke", f"{page}/revoke")
    assert (done.status_code, done.headers["Location"]) == (303, f"{page}?done=revoked")
    assert only(host).status == "revoked"
    assert "The invitation was revoked." in words(client.get(done.headers["Location"]))
    again = client.get(f"{page}/revoke")
    assert (again.status_code, again.headers["Location"]) == (303, page)


def test_revoke_too_late(site: Host) -> None:
    """Who accepted in the meantime is in: that is said, and nothing is done."""
    case = make(site, "pending")
    client, page = case.client("admin"), f"{DESK}{case.id}"
    seal = sealed(client, f"{page}/revoke", f"{page}/revoke")
    with site.app.app_context():
        site.invitations.accept(case.token, password="correct horse battery staple")
    late = client.post(f"{page}/revoke", data={"seal": seal})
    assert (late.status_code, only(site).status) == (409, "accepted")
    assert "was accepted in the meantime" in words(late)


def test_the_notice_says_nothing_of_the_address(site: Host) -> None:
    """``done`` chooses among sentences that are true of the invitation, and is itself shown nowhere."""
    case = make(site, "revoked")
    for done in ("invited", "resent", "revoked", "<script>", "x" * 500):
        page = case.client("admin").get(f"{DESK}{case.id}", query_string={"done": done})
        assert ("The invitation was revoked." in words(page)) == (done == "revoked")
        assert "<script>" not in page.text
        assert "x" * 500 not in page.text


def test_after_the_retention_time(site: Host) -> None:
    """Of a purged invitation the desk shows what is left."""
    case = make(site, "revoked")
    site.clock.tick(timedelta(days=91))
    with site.app.app_context():
        site.invitations.sweep()
    client = case.client("admin")
    assert "Address deleted" in words(client.get(DESK))
    page = client.get(f"{DESK}{case.id}?done=resent")
    assert heading(page) == "Address deleted"
    assert "Personal data deleted" in words(page)


def test_a_deleted_colleague(site: Host) -> None:
    """The audit trail keeps who it was where the account is gone."""
    case = make(site, "pending")
    gone = case.admin
    second = site.client(site.user("second@acme.example", "admin", case.tenant))
    with site.engine.begin() as connection:
        connection.execute(sa.delete(site.User.__table__).where(site.User.__table__.c.id == gone))
    assert f"Account {gone}" in words(second.get(f"{DESK}{case.id}"))


# Who may


def pages_of(case: Case) -> list[str]:
    return [DESK, f"{DESK}{case.id}", f"{DESK}{case.id}/revoke"]


def forms_of(case: Case) -> list[str]:
    return [f"{DESK}invite", f"{DESK}{case.id}/resend", f"{DESK}{case.id}/revoke"]


def test_nobody_signed_in(tmp_path: Path) -> None:
    """Without a user every page and form answers 401 and shows nothing; with a hook it leads to the sign-in page."""
    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", login_url=lambda: "/sign-in?a=1&b=2") as host:
        case = make(host, "pending")
        client = case.client("nobody")
        answers = [client.get(page) for page in pages_of(case)] + [client.post(form) for form in forms_of(case)]
        for answer in answers:
            assert (answer.status_code, heading(answer)) == (401, "Please sign in first")
            assert case.email not in answer.text
            (found,) = re.findall(r'href="(/sign-in[^"]+)"', answer.text)
            asked = parse_qs(urlsplit(unescape(found)).query)
            back = answer.request.path if answer.request.method == "GET" else DESK
            assert asked == {"a": ["1"], "b": ["2"], "next": [back]}


def test_a_member_without_the_right(site: Host) -> None:
    """C1: a member who may not manage invitations gets 403 and sees nothing, whichever page or form."""
    case = make(site, "pending")
    client = case.client("plain")
    for answer in [client.get(page) for page in pages_of(case)] + [client.post(form) for form in forms_of(case)]:
        assert (answer.status_code, heading(answer)) == (403, "This page is for administrators")
        assert case.email not in answer.text


def test_another_tenant(host: Host) -> None:
    """C7: another tenant's invitation is in no list and no count, and its pages and forms answer byte for byte as for
    an id that nobody has; on each database."""
    case = make(host, "pending")
    client = case.client("stranger")
    invite(client, "mine@example.com")
    assert shown(client.get(DESK)) == ["mine@example.com"]
    assert counts(client.get(DESK))["All"] == 1
    mine = f"{DESK}{invite(client, 'second@example.com')['id']}"
    seals = {
        act: sealed(client, page, f"{mine}/{act}") for act, page in (("resend", mine), ("revoke", f"{mine}/revoke"))
    }
    with unchanged(host):
        for act in ("", "/revoke"):
            answers = [client.get(f"{DESK}{each}{act}") for each in (case.id, NO_ID)]
            assert answers[0].data == answers[1].data
            assert [each.status_code for each in answers] == [404, 404]
        for act, seal in seals.items():
            answers = [client.post(f"{DESK}{each}/{act}", data={"seal": seal}) for each in (case.id, NO_ID)]
            assert answers[0].data == answers[1].data
            assert [each.status_code for each in answers] == [404, 404]


# Forms from elsewhere


def test_a_form_without_our_seal(site: Host) -> None:
    """H2: whatever the browser says of where a form comes from, without our seal nothing happens."""
    case = make(site, "pending")
    client = case.client("admin")
    origins: tuple[dict[str, str], ...] = (
        {},
        {"Origin": "null"},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "same-origin"},
    )
    with unchanged(site):
        for form, origin in product(forms_of(case), origins):
            for seal in ({}, {"seal": ""}, {"seal": "x.y.z"}, {"seal": "é"}):
                answer = client.post(form, data={"email": "new@example.com", **seal}, headers=origin)
                assert (answer.status_code, heading(answer)) == (403, "This form is too old")
                assert "reload" in words(answer)


def test_the_seal_of_another(tmp_path: Path) -> None:
    """H2: a seal is for one user, one tenant, one purpose and twelve hours; and with one, a form from another site is
    refused all the same."""
    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", tenancy="membership") as host:
        home, other = host.tenant(), host.tenant("Elsewhere")
        user = host.user("admin@example.com", "admin")
        with host.engine.begin() as connection:
            table = host.Membership.__table__
            connection.execute(sa.insert(table).values(user_id=user, tenant_id=other, role="admin"))
        client, form = host.client(user, home), f"{DESK}invite"
        data = {"email": GUEST, "seal": sealed(client, DESK, form)}
        second = host.client(host.user("second@example.com", "admin"))
        assert second.post(form, data=data).status_code == 403
        assert host.client(user, other).post(form, data=data).status_code == 403
        assert client.post(form, data=data, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        page = f"{DESK}{invite(client, 'one@example.com')['id']}"
        assert client.post(f"{page}/resend", data=data).status_code == 403
        host.clock.tick(timedelta(hours=12, seconds=1))
        assert client.post(form, data=data).status_code == 403
        host.clock.tick(timedelta(seconds=-1))
        assert client.post(form, data=data).status_code == 303


def test_the_seal_itself() -> None:
    """A seal outlives a change of the key as long as the old one is a fallback, is worth nothing before its time, and
    is spoilt by any change."""
    now = utcnow()
    seal = FormSeal(["old"], "7", now).make("invite")
    assert FormSeal(["new", "old"], "7", now).is_from("invite", seal)
    assert not FormSeal(["new"], "7", now).is_from("invite", seal)
    assert FormSeal(["new"], "7", now).is_from("invite", FormSeal(["new", "old"], "7", now).make("invite"))
    assert not FormSeal(["old"], "7", now - timedelta(minutes=6)).is_from("invite", seal)
    assert not FormSeal(["old"], "8", now).is_from("invite", seal)
    assert not FormSeal(["old"], "7", now).is_from("revoke", seal)
    for place in range(len(seal) - 1):  # the last character holds spare bits
        spoilt = seal[:place] + ("A" if seal[place] != "A" else "B") + seal[place + 1 :]
        assert not FormSeal(["old"], "7", now).is_from("invite", spoilt)


def test_with_csrf_protect(tmp_path: Path) -> None:
    """H2: beside Flask-WTF's CSRFProtect the desk works as a browser sends its forms, which carry the host's token
    too."""
    kind, invitations = shape("int", "none"), Invitations()
    app = Flask("tests.hosts")
    app.config.update(SECRET_KEY="key", SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'd.sqlite3'}", TESTING=True)
    app.config["INVITATIONS_ACCEPT_URL"] = ACCEPT_URL
    kind.db.init_app(app)
    CSRFProtect(app)
    words: dict[str, Any] = {"mailer": RecordingMailer(), "clock": SettableClock()}
    words["current_user"] = lambda: kind.db.session.get(kind.User, 1)
    invitations.init_app(app, kind.db, user_model=kind.User, **words)
    with app.app_context():
        kind.db.create_all()
        kind.db.session.add(kind.User(id=1, email="boss@example.com", email_verified=True, role="owner"))
        kind.db.session.commit()
    client = app.test_client()
    page = client.get(DESK, base_url="https://app.example.com").text
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    assert fields.keys() == {"seal", "csrf_token"}
    data = {**fields, "email": GUEST}
    assert client.post(f"{DESK}invite", data=data, base_url="https://app.example.com").status_code == 303
    with app.app_context():
        kind.db.engine.dispose()


# What no page does


def test_get_is_pure(site: Host) -> None:
    """E4: no GET or HEAD, whatever it carries, changes a row; a restored tab of a form leads back."""
    case = make(site, "pending")
    client = case.client("admin")
    data = {"seal": sealed(client, DESK, f"{DESK}invite"), "email": "new@example.com"}
    with unchanged(site):
        for page in (*pages_of(case), *forms_of(case)):
            for method in ("GET", "HEAD"):
                assert client.open(
                    page, method=method, query_string={"done": "revoked", **data}, data=data
                ).status_code in (200, 303)


def test_headers(site: Host) -> None:
    """D1, D8, H3: every answer of the desk forbids caching, framing, foreign code and telling its address, and sets no
    cookie; no page has inline code or a foreign address."""
    case = make(site, "pending")
    client = case.client("admin")
    answers = [client.get(page) for page in pages_of(case)] + [client.post(form) for form in forms_of(case)]
    answers += [send_invite(client), send_invite(client), client.get(f"{DESK}{NO_ID}"), site.client().get(DESK)]
    assert {answer.status_code for answer in answers} == {200, 303, 401, 403, 404, 409}
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Set-Cookie" not in answer.headers
        assert (
            re.search(r"<style|style=|\son\w+=|javascript:|<script(?! src=\"/invitations/static/)", answer.text) is None
        )
        assert re.search(r"(?:src|href|action)=\"(?:https?:)?//", answer.text) is None


EVIL = "\u202e<script>alert(1)</script>{{ 7*7 }}http://evil.example\u200b"


def test_hostile_words(tmp_path: Path) -> None:
    """E2, K4: whatever stands in names, roles, messages, reasons, user agents, errors and searches is shown as plain
    text: no markup, no link, no invisible or turning characters."""
    config = {"INVITATIONS_ROLES": ("<b>r</b>" + EVIL, "admin"), "INVITATIONS_DEFAULT_ROLE": "<b>r</b>" + EVIL}
    config["INVITATIONS_ADMIN_ROLES"] = ("admin",)
    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", config=config, tenant_name=lambda tenant: EVIL) as host:
        host.outbox.fail_with = type(EVIL, (Exception,), {})()
        client = admin(host)
        client.environ_base["HTTP_USER_AGENT"] = "<script>alert(1)</script> http://evil.example"
        refused = send_invite(client, "o'<i>x@example.com", message=EVIL)
        done = send_invite(client, "o'neil&co@example.com", message=EVIL)
        with host.app.app_context():
            host.invitations.record_delivery(host.rows(host.invitations.models.Delivery)[0].id, "bounced", EVIL)
        page = f"{DESK}{only(host).id}"
        host.clock.tick(timedelta(minutes=5))
        answers = [refused, client.get(done.headers["Location"]), client.get(DESK), client.get(f"{page}/revoke")]
        answers += [client.get(DESK, query_string={"q": EVIL}), client.get(f"{DESK}?status={EVIL}")]
        for answer in answers:
            # Less what was typed, and what was searched for.
            text = re.sub(r'value="[^"]*"|href="/[^"]*"|<textarea.*?</textarea>', "", answer.text, flags=re.DOTALL)
            assert "<script>alert" not in answer.text
            assert "<b>r" not in answer.text
            assert "<i>" not in answer.text
            assert re.search(r"<a [^>]*href=\"(?!/invitations/|/\"|#)", answer.text) is None
            assert "evil.example" not in text  # a word joiner keeps it from being a link anywhere
            assert re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f]", text) is None
        assert "{{ 7*7 }}" in answers[1].text
        assert "o&#39;neil&amp;co@example.com" in answers[2].text


def test_nul_is_refused(host: Host) -> None:
    """A NUL in any field is refused with 400 before a database sees it, on each of them."""
    client = admin(host)
    seal = sealed(client, DESK, f"{DESK}invite")
    for field in ("email", "role", "message", "expires_in", "locale", "seal"):
        answer = client.post(f"{DESK}invite", data={"seal": seal, "email": GUEST, field: "a\0"})
        assert (answer.status_code, heading(answer)) == (400, "This form could not be read")


def test_a_form_too_large(site: Host) -> None:
    """I4: a form of more than 16 KiB is refused."""
    answer = send_invite(admin(site), message="x" * 20_000)
    assert (answer.status_code, heading(answer)) == (413, "This is too long")


# The host's own


def test_the_hosts_templates_win(site: Host) -> None:
    """Each page and block of the desk can be the host's own; the place for many stands below the form."""
    own = {
        "invitations/desk/revoke.html": "Our own words to {{ tenant_name }}",
        "invitations/desk/list.html": "{% extends 'ours/list.html' %}{% block invitations_many %}MANY{% endblock %}",
        "invitations/base.html": "<title>{% block title %}{% endblock %}</title>OURS{% block content %}{% endblock %}",
    }
    case = make(site, "pending")
    own["ours/list.html"] = (TEMPLATES / "list.html").read_text()
    site.app.jinja_loader = DictLoader(own)
    client = case.client("admin")
    assert client.get(f"{DESK}{case.id}/revoke").text == "Our own words to Acme"
    page = client.get(DESK).text
    assert page.startswith("<title>Invitations</title>OURS")
    assert re.search(r"</form>\s*MANY\s", page)


def test_strict_templates(site: Host) -> None:
    """The desk renders where the host lets no undefined name pass, in every state."""
    site.app.jinja_env.undefined = StrictUndefined
    client = admin(site)
    answers = [client.get(DESK), send_invite(client, "x"), send_invite(client), send_invite(client)]
    page = f"{DESK}{only(site).id}"
    answers += [client.get(f"{DESK}?q=x&status=revoked&role=user"), client.get(f"{page}?done=invited")]
    answers += [client.get(f"{page}/revoke"), client.post(f"{page}/revoke"), client.get(f"{DESK}{NO_ID}")]
    answers += [site.client().get(DESK), client.get(f"{DESK}?status=x")]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200, 422, 303, 409, 200, 200, 200, 403, 404, 401, 422]


def test_no_pages(tmp_path: Path) -> None:
    """A host with pages of its own has no desk of ours."""
    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", config={"INVITATIONS_PAGES_PREFIX": None}) as host:
        assert admin(host).get(DESK).status_code == 404


def test_under_a_prefix(tmp_path: Path) -> None:
    """Mounted elsewhere, and the whole app below a path: every address follows."""
    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}", config={"INVITATIONS_PAGES_PREFIX": "/team/join"}) as host:
        page = admin(host).get("/team/join/", base_url="http://localhost/app").text
        assert 'action="/app/team/join/invite"' in page


def test_languages(tmp_path: Path) -> None:
    """With Flask-Babel the form offers the languages of the mails, and without it none; what is chosen is the
    invitation's."""
    with build(f"sqlite:///{tmp_path / 'd.sqlite3'}") as host:
        client = admin(host)
        assert 'name="locale"' not in client.get(DESK).text
        Babel(host.app, locale_selector=lambda: "en")
        page = client.get(DESK).text
        offered = page.partition('name="locale"')[2].partition("</select>")[0]
        assert re.findall(r'value="([a-zA-Z-]+)"', offered) == [
            "en",
            "ar",
            "de",
            "es",
            "fr",
            "it",
            "ja",
            "nl",
            "pt-BR",
            "vi",
        ]
        assert send_invite(client, locale="de").status_code == 303
        assert only(host).locale == "de"
