"""The invitee's pages, each page and each state, through the app's own test client."""

from __future__ import annotations

import gzip
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_wtf import CSRFProtect
from jinja2 import DictLoader, StrictUndefined
from marshmallow import Schema, fields, validate
from werkzeug.test import TestResponse

from flask_invitations import InvitationError, Invitations, NoSeats, RoleNotAllowed, TenantInactive, errors
from flask_invitations.testing import RecordingMailer
from flask_invitations.web import desk, pages
from flask_invitations.words import INVITEE, MANAGER, told
from tests.hosts import ACCEPT_URL, PASSWORD, Host, build, shape
from tests.http.tools import PREVIEW

NEW = "new@example.com"
PAGES = "/invitations"
CLASSES = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, InvitationError)]


class Profile(Schema):
    """What a new user tells of themselves."""

    name = fields.String(required=True, validate=validate.Length(1, 20, error="Use 1 to 20 characters."))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Host]:
    """The default host on SQLite: what is tested here is the page, not the database below it."""
    with build(f"sqlite:///{tmp_path / 'pages.sqlite3'}") as host:
        yield host


def invite(host: Host, email: str = NEW, *, into: Any = None, **more: Any) -> str:
    """Have somebody invite; gives the mailed token."""
    admin = host.rows(host.User, email="admin@example.com")
    admin_id = admin[0].id if admin else host.user("admin@example.com", role="admin")
    answer = host.client(admin_id, into).post("/api/v1/users/invite", json={"email": email, **more})
    assert answer.status_code == 201, answer.text
    return host.outbox.token_to(email)


def invite_by_system(host: Host, email: str = NEW) -> str:
    """Have the system invite; gives the mailed token."""
    with host.app.app_context():
        host.invitations.invite(email, tenant_id=host.tenant())
    return host.outbox.token_to(email)


def post(client: FlaskClient, page: str, token: str = "", **more: Any) -> TestResponse:
    return client.post(f"{PAGES}/{page}", data={"token": token, **more})


def status_of(host: Host, email: str = NEW) -> str:
    status: str = host.rows(host.invitations.models.Invitation, email_key=email)[-1].status
    return status


def title(answer: TestResponse) -> str:
    found = re.search(r"<h1>(.*?)</h1>", answer.text, re.DOTALL)
    assert found, answer.text
    return unescape(re.sub(r"<.*?>", "", found[1]))


def everything(host: Host) -> list[list[dict[str, Any]]]:
    """Every row of every table that matters."""
    models = host.invitations.models
    kinds = (models.Invitation, models.InvitationEvent, models.Delivery, host.User)
    return [[{c.key: getattr(row, c.key) for c in kind.__table__.columns} for row in host.rows(kind)] for kind in kinds]


# The way in


def test_the_whole_way(host: Host) -> None:
    """From the mailed link to the account, on each database; the account has the invitation's address, role and
    tenant (A3), and nobody is signed in by it (H1)."""
    token = invite(host, role="manager", message="Welcome!")
    client = host.client()
    assert title(client.get(f"{PAGES}/accept")) == "You have an invitation"
    offer = post(client, "open", token)
    assert (offer.status_code, title(offer)) == (200, "Join Acme")
    for words in ("admin@example.com", "manager", "Welcome!", NEW, "UTC"):
        assert words in offer.text
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', offer.text))
    assert fields == {"token": token}
    extra = {"email": "evil@example.com", "role": "owner", "tenant_id": "99"}
    done = client.post(f"{PAGES}/accept", data={**fields, "password": PASSWORD, **extra})
    assert (done.status_code, done.headers["Location"]) == (303, f"{PAGES}/accepted")
    assert title(client.get(done.headers["Location"])) == "Welcome, you are now a member"
    (user,) = host.rows(host.User, email=NEW)
    assert (user.role, user.tenant_id, user.check_password(PASSWORD)) == ("manager", host.tenant(), True)
    assert status_of(host) == "accepted"


@pytest.mark.parametrize(
    "pasted",
    [
        "https://app.example.com/invitations/accept#{}",
        "  https://app.example.com/invitations/accept#{}  ",
        "<https://app.example.com/invitations/accept#{}>.",
        "https://app.example.com/invitations/accept/{}?utm_source=mail",
        "{}",
    ],
)
def test_a_pasted_link(site: Host, pasted: str) -> None:
    """The whole link may be pasted, with what a mail program puts around it, or the bare token."""
    assert title(post(site.client(), "open", pasted.format(invite(site)))) == "Join Acme"


def test_links_without_a_fragment(site: Host) -> None:
    """A host whose link has the token in its path or query gets a form that carries it, and no paste field."""
    token = invite(site)
    for link in (f"{PAGES}/accept/{token}", f"{PAGES}/accept?t={token}"):
        page = site.client().get(link)
        # A token that begins like quoted-printable may be two: then what surrounds it goes along.
        assert re.search(f'<input type="hidden" name="token" value="[^"]*{token}"', page.text)
        assert "data-invitations-clean-address" in page.text
        assert 'type="text"' not in page.text
    broken = site.client().get(f"{PAGES}/accept/{token[:-1]}")
    assert (broken.status_code, token[:-1] in broken.text) == (200, False)


def test_the_landing_page_asks_nobody(site: Host) -> None:
    """E4: a link scanner that comes by causes no statement at all, and sees no form that sends itself."""
    token = invite(site)
    with site.statements() as seen:
        for link in (f"{PAGES}/accept", f"{PAGES}/accept/{token}"):
            page = site.client().get(link)
            assert page.text.count("<button") == 1
    assert seen == []


def test_get_is_pure(site: Host) -> None:
    """E4: no GET, HEAD or OPTIONS, whatever it carries, changes a row."""
    token = invite(site)
    before = everything(site)
    for page in ("accept", f"accept/{token}", "open", "decline", "accepted", "declined", "static/invitations.js"):
        for method in ("GET", "HEAD", "OPTIONS"):
            link = f"{PAGES}/{page}?token={token}&password={PASSWORD.replace(' ', '+')}"
            data = {"token": token, "password": PASSWORD}
            answer = site.client().open(link, method=method, data=data, buffered=True)
            assert answer.status_code in (200, 303), page
    assert everything(site) == before


def test_opening_changes_nothing(site: Host) -> None:
    """Looking at the offer is a pure read, however often."""
    token = invite(site)
    before = everything(site)
    for _ in range(3):
        assert post(site.client(), "open", token).status_code == 200
    assert everything(site) == before


def test_a_restored_tab_starts_over(site: Host) -> None:
    """A GET where only a form leads goes to the landing page."""
    for page in ("open", "decline"):
        answer = site.client().get(f"{PAGES}/{page}")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"{PAGES}/accept")


# What no page does


def test_headers(site: Host) -> None:
    """D1, D8, H3: every answer forbids caching, framing, foreign code and telling its address."""
    token, client = invite(site), site.client()
    answers = [client.get(f"{PAGES}/{page}") for page in ("accept", f"accept/{token}", "accepted", "declined", "open")]
    answers += [post(client, "open", token), post(client, "open"), post(client, "accept", token, password="short")]
    answers += [
        client.get(f"{PAGES}/static/invitations.css", buffered=True),
        post(client, "decline", token),
        post(client, "open", token),
    ]
    assert {answer.status_code for answer in answers} == {200, 303, 404, 410, 422}
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        is_asset = answer.mimetype == "text/css"  # the same for everybody
        assert is_asset or answer.headers["Cache-Control"] == "no-store"
        assert is_asset or "Cookie" in answer.headers["Vary"]
        assert "Set-Cookie" not in answer.headers


def test_no_inline_code_and_no_foreign_asset(site: Host) -> None:
    """D1: pages work under their own policy, and ask nobody else for anything."""
    token, client = invite(site), site.client()
    for page in (client.get(f"{PAGES}/accept"), post(client, "open", token), post(client, "open")):
        inline = r"<style|style=|\son\w+=|javascript:|<script(?! src=\"/invitations/static/)"
        assert re.search(inline, page.text) is None
        assert re.search(r"(?:src|href|action)=\"(?:https?:)?//", page.text) is None
    static = Path(__file__).parents[2] / "src/flask_invitations/static"
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in static.iterdir()}
    assert sizes.keys() == {"invitations.css", "invitations.js"}
    assert max(sizes.values()) < 4096  # as it travels


def test_the_token_stays_in_the_form(site: Host) -> None:
    """A6, D3: no redirect, cookie, session or header carries the token; a page has it in hidden fields only."""
    token, client = invite(site), site.client()
    answers = [
        post(client, "open", token),
        post(client, "accept", token, password="short"),
        post(client, "decline", token, reason="x" * 501),
        post(client, "accept", token, password=PASSWORD),
        client.get(f"{PAGES}/accepted"),
        post(client, "open", token),
        post(client, "accept", token, password=PASSWORD),
        post(client, "decline", token),
    ]
    assert [answer.status_code for answer in answers] == [200, 422, 422, 303, 200, 409, 409, 409]
    with client.session_transaction() as session:
        assert dict(session) == {}
    for answer in answers:
        assert token not in str(answer.headers)
        assert token not in re.sub(r'<input type="hidden" name="token" value="\S+"', "", answer.text)


def test_nothing_typed_comes_back(site: Host) -> None:
    """D4: a refusal shows nothing of what was sent, a form never the password."""
    junk = "<script>alert(1)</script>-not-a-token"
    for page in ("open", "accept", "decline"):
        refused = post(site.client(), page, junk, password=junk, reason=junk)
        assert (refused.status_code, "not-a-token" in refused.text) == (404, False)
    again = post(site.client(), "accept", invite(site), password="too short")
    assert (again.status_code, "too short" in again.text) == (422, False)


# What the invitee is told


def die(host: Host, how: str) -> str:
    """An invitation that came to its end in that way; gives its link's token."""
    token = invite(host)
    row = host.rows(host.invitations.models.Invitation)[-1]
    with host.app.app_context():
        if how == "accepted":
            host.invitations.accept(token, password=PASSWORD)
        elif how == "declined":
            host.invitations.decline(token)
        elif how == "revoked":
            host.invitations.revoke(row.id)
        elif how == "replaced":
            host.invitations.resend(row.id, by=host.db.session.get(host.User, row.invited_by_id))
        elif how == "withdrawn":
            host.db.session.delete(host.db.session.get(host.User, row.invited_by_id))
            host.db.session.commit()
    if how == "expired":
        host.clock.tick(timedelta(hours=48))
    return "A" * 43 if how == "unknown" else token


@pytest.mark.parametrize(
    ("how", "status", "heading", "fix"),
    [
        ("expired", 410, "This invitation has expired", "send a new one"),
        ("accepted", 409, "This invitation was already accepted", "sign in"),
        ("revoked", 410, "This invitation was revoked", "ask the person"),
        ("declined", 410, "This invitation was declined", "new invitation"),
        ("replaced", 410, "There is a newer link", "latest email"),
        ("withdrawn", 410, "This link no longer works", "new invitation"),
        ("unknown", 404, "This link does not open an invitation", "Paste the whole link here"),
    ],
)
def test_dead_links(site: Host, how: str, status: int, heading: str, fix: str) -> None:
    """A dead link gets a page that says why and what to do, with the API's status, whichever form was sent; and
    the form to paste a link exactly where the link is unknown."""
    token = die(site, how)
    for page in ("open", "accept", "decline"):
        answer = post(site.client(), page, token, password=PASSWORD)
        assert (answer.status_code, title(answer)) == (status, heading)
        assert fix in answer.text
        assert ('name="token"' in answer.text) == (how == "unknown")


def test_a_weak_password_is_asked_for_again(tmp_path: Path) -> None:
    """B12: 422, every complaint with its field, the profile kept as typed; nothing is spent."""
    with build(f"sqlite:///{tmp_path / 'p.sqlite3'}", profile_schema=Profile) as host:
        token, client = invite(host), host.client()
        first = post(client, "open", token).text
        assert re.search(r'<label for="invitations-field-name">Name</label>', first)
        assert (
            '<input id="invitations-field-name" name="name" type="text" required autocomplete="name" maxlength="20">'
            in first
        )
        wrong = post(client, "accept", token, password="short", name='Nora "N" <b>')
        assert wrong.status_code == 422
        assert 'value="Nora &#34;N&#34; &lt;b&gt;"' in wrong.text
        assert (
            'aria-invalid="true" aria-describedby="invitations-error-password invitations-hint-password"' in wrong.text
        )
        assert '<a href="#invitations-field-password">' in wrong.text
        assert "<title>Error:" in wrong.text
        both = post(client, "accept", token, password="short", name="N" * 21)
        assert "Use 1 to 20 characters." in both.text
        assert "Use at least 15 characters" in both.text
        missing = post(client, "accept", token)
        assert (missing.status_code, "Choose a password." in missing.text) == (422, True)
        assert status_of(host) == "pending"
        assert post(client, "accept", token, password=PASSWORD, name="Nora").status_code == 303
        assert host.rows(host.User, email=NEW)[0].name == "Nora"


def test_the_form_helps_password_managers(site: Host) -> None:
    """The browser learns which account the new password is for, and never cuts a pasted one."""
    offer = post(site.client(), "open", invite(site)).text
    assert re.search(rf'name="username" value="{NEW}" autocomplete="username"', offer)
    assert re.search(
        r'<input id="invitations-field-password" name="password" type="password" required [^>]*minlength="15"', offer
    )
    assert 'autocomplete="new-password"' in offer
    password = re.search(r'<input id="invitations-field-password".*?>', offer)
    assert password
    assert "maxlength" not in password[0]


def test_no_password_needed(tmp_path: Path) -> None:
    """Where the host wants no password, the page says that it is optional."""
    settings = {"INVITATIONS_PASSWORD_REQUIRED": False}
    with build(f"sqlite:///{tmp_path / 'p.sqlite3'}", config=settings) as host:
        token = invite(host)
        assert "(optional)" in post(host.client(), "open", token).text.split("Show the password")[0]
        assert post(host.client(), "accept", token).status_code == 303


def test_declining(site: Host) -> None:
    """Declining takes a reason or none, at most 500 characters; no account is made."""
    token = invite(site)
    long = post(site.client(), "decline", token, reason="x" * 501)
    assert (long.status_code, status_of(site)) == (422, "pending")
    assert "<details open>" in long.text
    done = post(site.client(), "decline", token, reason="No time")
    assert (done.status_code, done.headers["Location"]) == (303, f"{PAGES}/declined")
    assert title(site.client().get(f"{PAGES}/declined")) == "You declined the invitation"
    assert status_of(site) == "declined"
    events = site.rows(site.invitations.models.InvitationEvent, type="declined")
    assert [event.details for event in events] == [{"reason": "No time"}]
    assert site.rows(site.User, email=NEW) == []


# Who is there already


def case(host: Host, who: str) -> tuple[FlaskClient, str]:
    """An invitation, and a client in the state that is named."""
    token = invite(host)
    elsewhere = host.tenant("Elsewhere")
    if who == "wrong-account":
        return host.client(host.user("other@example.com")), token
    mine = host.user(NEW, tenant=host.tenant() if who == "already-member" else elsewhere, verified=who != "unverified")
    return host.client(None if who == "nobody" else mine), token


@pytest.mark.parametrize(
    ("who", "status", "heading"),
    [
        ("wrong-account", 403, "You are signed in with another account"),
        ("nobody", 409, "You already have an account"),
        ("unverified", 409, "Your email address is not verified"),
        ("already-member", 409, "You are already a member"),
    ],
)
def test_obstacles(tmp_path: Path, who: str, status: int, heading: str) -> None:
    """A4, A5, A12, A14: whoever cannot accept as they are now is told why and what to do, and gets no accept form;
    the attempt all the same is refused with the API's status and changes no account."""
    with build(f"sqlite:///{tmp_path / 'p.sqlite3'}", tenancy="membership") as host:
        client, token = case(host, who)
        offer = post(client, "open", token)
        assert (offer.status_code, heading in offer.text) == (200, True)
        assert NEW in offer.text
        assert 'action="/invitations/accept"' not in offer.text
        assert ('action="/invitations/decline"' in offer.text) == (who != "already-member")
        people = host.rows(host.Membership)
        refused = post(client, "accept", token, password=PASSWORD)
        assert (refused.status_code, title(refused)) == (status, heading)
        assert len(host.rows(host.Membership)) == len(people)
        assert [user.password_hash for user in host.rows(host.User)] == [None] * len(host.rows(host.User))
        assert status_of(host) == "pending"


class Unfinished(InvitationError):
    """A refusal of a host's own."""

    code = "second-factor"
    status = 403
    sentence = "Set up a <second> factor first."


@pytest.mark.parametrize(
    ("refusal", "heading", "said"),
    [
        (RoleNotAllowed(), "This link no longer works", "may no longer grant this role. Ask the organization"),
        (NoSeats(), "All seats are taken", "cannot take more members at the moment. Ask the person"),
        (TenantInactive("We are closed."), "This does not work right now", "We are closed."),
        (Unfinished(), "This does not work right now", "Set up a <second> factor first."),
    ],
)
def test_any_obstacle(tmp_path: Path, refusal: InvitationError, heading: str, said: str) -> None:
    """Whatever stands in the way, a refusal of the host's own too, is told on the offer as on the page of the attempt:
    in the words of the table, without an accept form."""

    def refuse(_invitation: Any, _user: Any) -> None:
        raise refusal

    with build(f"sqlite:///{tmp_path / 'p.sqlite3'}", tenancy="membership", check_acceptance=refuse) as host:
        token = invite_by_system(host)
        client = host.client(host.user(NEW, tenant=host.tenant("Elsewhere")))
        offer, refused = post(client, "open", token), post(client, "accept", token)
        assert (offer.status_code, refused.status_code) == (200, refusal.status)
        assert 'action="/invitations/accept"' not in offer.text
        assert f'<h2 id="invitations-obstacle">{heading}</h2>' in offer.text
        assert title(refused) == heading
        for page in (offer, refused):
            assert said in " ".join(unescape(page.text).split())


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_refusal_has_its_page(site: Host, kind: type[InvitationError]) -> None:
    """Each refusal renders on the invitee's side and on the manager's, with its status and the words of the table."""
    given = {"AlreadyInvited": (uuid.uuid4(),), "InvalidRequest": ({},), "PasswordRejected": ("Weak.",)}
    error = kind(*given.get(kind.__name__, ()))
    with site.app.test_request_context():
        for face, table in ((pages, INVITEE), (desk, MANAGER)):
            answer: Any = face.refused(error)
            words = told(table, error, str)
            assert answer.status_code == error.status
            text = unescape(answer.get_data(as_text=True))
            assert text.count(words.heading) == 2  # its title, and the heading
            assert words.sentence in text


def test_an_account_joins(tmp_path: Path) -> None:
    """Whoever is signed in with the invited address joins by one button, without a password."""
    with build(f"sqlite:///{tmp_path / 'p.sqlite3'}", tenancy="membership") as host:
        client, token = case(host, "member elsewhere")
        offer = post(client, "open", token)
        assert f"You will join with your account <strong><bdi>{NEW}</bdi></strong>" in offer.text
        assert "password" not in offer.text
        done = client.post(f"{PAGES}/accept", data={"token": token}, follow_redirects=True)
        assert "are signed in" in done.text
        assert status_of(host) == "accepted"


def test_whoever_accepted_it_goes_on_in(tmp_path: Path) -> None:
    """The account that accepted, signed in, is told so and let in by its own link; sending the form again welcomes it
    again; anybody else hears that the link is used."""
    with build(f"sqlite:///{tmp_path / 'p.sqlite3'}", tenancy="membership", login_url=lambda: "/sign-in") as host:
        client, token = case(host, "member elsewhere")
        for _ in range(2):
            assert client.post(f"{PAGES}/accept", data={"token": token}).headers["Location"] == f"{PAGES}/accepted"
        mine = post(client, "open", token)
        assert (mine.status_code, title(mine)) == (409, "You have already joined")
        assert '<a class="invitations-button" href="/"><span>Go to <bdi>' in mine.text
        for other in (host.client(), host.client(host.user("other@example.com"))):
            used = post(other, "open", token)
            assert (used.status_code, title(used)) == (409, "This invitation was already accepted")
            assert '<a class="invitations-button" href="/sign-in">' in used.text
        answers = {each.post(PREVIEW, json={"token": token}).text for each in (client, host.client())}
        assert len(answers) == 1


def test_the_spaces_in_a_button() -> None:
    """A button lays out its children in a row, where a space between text and an element takes no room: what has a name
    in it is one child."""
    templates = Path(pages.__file__).parent.parent / "templates"
    buttons = re.compile(r'<(a class="invitations-button|button)[^>]*>(?P<label>.*?)</(a|button)>', re.DOTALL)
    labels = [found["label"] for path in templates.rglob("*.html") for found in buttons.finditer(path.read_text())]
    named = [label for label in labels if "bdi(" in label or "strong(" in label]
    assert len(named) >= 5
    assert [label for label in named if not (label.startswith("<span>") and label.endswith("</span>"))] == []


def test_an_account_that_cannot_join(site: Host) -> None:
    """Where accounts are bound to one tenant, the page says that signing in does not help."""
    client, token = case(site, "member elsewhere")
    offer = post(client, "open", token)
    assert "cannot join another organization" in offer.text
    assert "open the link" not in offer.text


# Hostile input


def test_hostile_words(tmp_path: Path) -> None:
    """E2, K4: names and messages are shown as plain text, without invisible or turning characters, in isolation."""
    tenant = "\u202eEvil <script>alert(1)</script> {{ 7*7 }} \u200bCorp"
    with build(f"sqlite:///{tmp_path / 'p.sqlite3'}", tenant_name=lambda tenant_id: tenant) as host:
        message = "<a href='http://evil.example'>click</a>\n\u202ehttps://evil.example {{ config }} {% raw %}"
        page = post(host.client(), "open", invite(host, message=message)).text
        assert "<script>alert" not in page
        assert "<a href='http" not in page
        assert "&lt;script&gt;" in page
        assert "{{ 7*7 }}" in page
        assert "{{ config }}" in page
        assert re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f]", page) is None
        assert "evil.example" not in page  # a word joiner keeps it from being a link anywhere
        assert "<h1>Join <bdi>" in page


@pytest.mark.parametrize("field", ["password", "reason", "name", "token"])
def test_nul_is_refused(host: Host, field: str) -> None:
    """A NUL in any field is refused with 400 before a database sees it, on each of them."""
    token = invite(host)
    sent = {"token": token, "password": PASSWORD, "reason": "", "name": "Nora", field: f"{token}\0"}
    for page in ("accept", "decline"):
        assert host.client().post(f"{PAGES}/{page}", data=sent).status_code == 400
    assert status_of(host) == "pending"


def test_a_form_too_large(site: Host) -> None:
    """I4: a form of more than 16 KiB is refused."""
    answer = post(site.client(), "accept", invite(site), password="x" * 20_000)
    assert (answer.status_code, title(answer)) == (413, "This is too long")


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "null"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "https://app.example.com"}, True),
        ({"Origin": "http://localhost"}, True),
        ({}, True),
    ],
)
def test_forms_from_elsewhere(site: Host, headers: dict[str, str], allowed: bool) -> None:
    """H1, H2: another site cannot make a browser accept, cookies or not. Our own forms come from "null" in browsers
    that do not say more, since our pages tell no address."""
    token = invite(site)
    data = {"token": token, "password": PASSWORD}
    answer = site.client().post(f"{PAGES}/accept", data=data, headers=headers)
    assert answer.status_code == (303 if allowed else 403)
    assert status_of(site) == ("accepted" if allowed else "pending")


@pytest.mark.parametrize("first", ["csrf", "invitations"])
@pytest.mark.parametrize("base", ["http://localhost", "https://app.example.com"])
def test_with_csrf_protect(tmp_path: Path, first: str, base: str) -> None:
    """H2: with Flask-WTF's CSRFProtect on, set up before or after us, with TLS and without, the pages work as a
    browser sends them (no Referer); their forms carry the host's token; the host's own forms stay protected."""
    kind, outbox, invitations = shape("int", "none"), RecordingMailer(), Invitations()
    app = Flask("tests.hosts")
    app.config.update(SECRET_KEY="key", SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'p.sqlite3'}", TESTING=True)
    app.config["INVITATIONS_ACCEPT_URL"] = ACCEPT_URL
    app.add_url_rule("/own", "own", lambda: "done", methods=["POST"])
    kind.db.init_app(app)
    if first == "csrf":
        CSRFProtect(app)
    invitations.init_app(app, kind.db, user_model=kind.User, mailer=outbox, current_user=lambda: None)
    if first == "invitations":
        CSRFProtect(app)
    client = app.test_client()

    def send(page: str, **data: str) -> TestResponse:
        return client.post(page, data={"token": outbox.token_to(NEW), **data}, base_url=base)

    with app.app_context():
        kind.db.create_all()
        invitations.invite(NEW)
    offer = send("/invitations/open")
    assert (offer.status_code, offer.text.count('name="csrf_token"')) == (200, 2)
    assert send("/invitations/accept", password=PASSWORD).status_code == 303
    assert send("/own").status_code == 400
    with app.app_context():
        kind.db.engine.dispose()


# The host's own


def test_the_hosts_templates_win(site: Host) -> None:
    """Each page, and the frame of them all, can be the host's own."""
    own = {
        "invitations/declined.html": "Our own words about {{ app_name }}",
        "invitations/base.html": "<title>{% block title %}{% endblock %}</title>OURS{% block content %}{% endblock %}",
    }
    site.app.jinja_loader = DictLoader(own)
    assert site.client().get(f"{PAGES}/declined").text == "Our own words about Test Host"
    landing = site.client().get(f"{PAGES}/accept").text
    assert landing.startswith("<title>Open your invitation</title>OURS")
    assert "Your invitation link" in landing


def test_strict_templates(site: Host) -> None:
    """Pages and mails render where the host lets no undefined name pass."""
    site.app.jinja_env.undefined = StrictUndefined
    token, client = invite(site), site.client()
    answers = [client.get(f"{PAGES}/accept"), client.get(f"{PAGES}/accept/{token}"), post(client, "open", token)]
    answers += [post(client, "accept", token), post(client, "decline", token), post(client, "open", token)]
    answers += [post(client, "open"), client.get(f"{PAGES}/accepted"), client.get(f"{PAGES}/declined")]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 422, 303, 410, 404, 200, 200]


def test_no_pages(tmp_path: Path) -> None:
    """A host with pages of its own has none of ours."""
    with build(f"sqlite:///{tmp_path / 'p.sqlite3'}", config={"INVITATIONS_PAGES_PREFIX": None}) as host:
        assert host.client().get(f"{PAGES}/accept").status_code == 404
        assert host.client().get("/api/v1/users/invitations/openapi.json").status_code == 200


def test_under_a_prefix(tmp_path: Path) -> None:
    """Mounted elsewhere, and the whole app below a path: every address on the pages follows."""
    with build(f"sqlite:///{tmp_path / 'p.sqlite3'}", config={"INVITATIONS_PAGES_PREFIX": "/join"}) as host:
        token = invite(host)
        client = host.client()
        page = client.post("/join/open", data={"token": token}, base_url="http://localhost/app")
        assert re.findall(r'action="(\S+?)"', page.text) == ["/app/join/accept", "/app/join/decline"]
        done = client.get("/join/accepted", base_url="http://localhost/app")
        assert 'href="/app/"' in done.text


def test_no_page_leads_where_a_link_says(site: Host) -> None:
    """E6: there is no ``next``: whatever a link or form adds, one leaves for our own pages only."""
    evil = "https://evil.example/"
    token, client = invite(site), site.client()
    assert evil not in client.get(f"{PAGES}/accept?next={evil}").text
    answer = post(client, "open", token, next=evil)
    assert "evil.example" not in answer.text
    answer = post(client, "accept", token, password=PASSWORD, next=evil, redirect=evil)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{PAGES}/accepted")
