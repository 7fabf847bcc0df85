"""The examples of docs/hosts, each as its reader runs it: invite, email, accept, sign in, list, over real HTTP."""

from __future__ import annotations

import re
import sqlite3
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.examples import provider
from tests.examples.serve import Answer, Browser, call, copy, environment, files_of, proxied, running, tokens
from tests.pages import browser as browsers
from tests.queues.servers import Mailbox, redis_server
from tests.queues.servers import redis as run_redis

API = "/api/v1/users"
WORDS = "a few words will do"
OWNER, ANN = "owner@example.com", "ann@example.com"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real one, for front ends of a host's own."""
    with browsers.chromium() as running:
        yield running
    browsers.stop()


def first_owner(app: Path, role: str = "owner", **env: str) -> str:
    """The token of the first owner's link, who is invited from the command line."""
    return tokens(call(app, "--debug", "invitations", "invite", OWNER, "--role", role, env=env)[1])[-1]


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    return {name: unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)}


def accept_by_page(browser: Browser, token: str, prefix: str = "", **typed: str) -> Answer:
    """What an invitee does with the link."""
    offer = browser.form(f"{prefix}/invitations/open", token=token)
    assert offer.status == 200, offer.text
    return browser.form(f"{prefix}/invitations/accept", token=hidden(offer.text)["token"], **typed)


def invite_by_desk(browser: Browser, email: str, role: str, prefix: str = "") -> Answer:
    """What a manager does at the desk."""
    desk = browser.get(f"{prefix}/invitations/")
    assert desk.status == 200, desk.text
    seal = hidden(desk.text.partition(f'action="{prefix}/invitations/invite"')[2].partition("</form>")[0])["seal"]
    return browser.form(f"{prefix}/invitations/invite", seal=seal, email=email, role=role)


def test_flask_login(tmp_path: Path) -> None:
    """The first owner accepts and is signed in, invites at the desk, and signs in again later; so does the invitee."""
    app = copy("with_flask_login.py", tmp_path)
    token = first_owner(app)
    with running(app, "--debug") as (base, log):
        owner, ann = Browser(base), Browser(base)
        assert "Sign in" in owner.get("/invitations/").text
        assert "You accepted the invitation and are signed in." in accept_by_page(owner, token, password=WORDS).text
        assert OWNER in owner.get("/").text
        assert ANN in invite_by_desk(owner, ANN, "admin").text
        assert accept_by_page(ann, tokens(log.read_text())[-1], password=WORDS).status == 200
        ann.form("/sign-out")
        assert ann.get(f"{API}/invitations").status == 401
        assert ann.form("/sign-in", email=ANN, password="wrong").status == 401
        assert ANN in ann.form("/sign-in", email=ANN.upper(), password=WORDS).text
        assert [each["status"] for each in ann.get(f"{API}/invitations").json["items"]] == ["accepted", "accepted"]


def test_flask_security(tmp_path: Path) -> None:
    """Accounts are made by the datastore, with its hash and several roles; people are known however their address is
    written, and sign in by the form of Flask-Security."""
    app = copy("with_flask_security.py", tmp_path)
    token = first_owner(app, "admin")
    with running(app, "--debug") as (base, log):
        owner, ann = Browser(base), Browser(base)
        assert "signed in" in accept_by_page(owner, token, password=WORDS).text
        assert owner.get("/").text == "owner@example.com: admin"
        assert owner.json(f"{API}/invite", {"email": "Ann@Example.com", "role": "editor"}).status == 201
        assert accept_by_page(ann, tokens(log.read_text())[-1], password=WORDS).status == 200
        ann.get("/logout")
        form = {**hidden(ann.get("/login").text), "email": "ANN@example.com"}
        assert ann.form("/login", **form, password=WORDS).text == "ann@example.com: editor"
        assert ann.get(f"{API}/invitations").status == 403
        assert [each["status"] for each in owner.get(f"{API}/invitations").json["items"]] == ["accepted", "accepted"]

        with closing(sqlite3.connect(next(tmp_path.glob("instance/*.sqlite3")))) as database, database:
            database.execute("UPDATE user SET email = 'Ann@Example.com' WHERE email = ?", [ANN])
        assert owner.json(f"{API}/invite", {"email": ANN}).json["code"] == "already-member"
        with closing(sqlite3.connect(next(tmp_path.glob("instance/*.sqlite3")))) as database, database:
            database.execute("DELETE FROM roles_users WHERE user_id = (SELECT id FROM user WHERE email LIKE ?)", [ANN])
        assert owner.json(f"{API}/invite", {"email": ANN, "role": "admin"}).status == 201
        assert accept_by_page(ann, tokens(log.read_text())[-1]).status == 200
        assert ann.get("/").text == "Ann@Example.com: admin"


def basic(email: str) -> dict[str, str]:
    """The header of somebody who chose the usual password."""
    return {"Authorization": "Basic " + b64encode(f"{email}:{WORDS}".encode()).decode()}


def all_by_api(base: str, log: Path, token: str) -> None:
    """The owner accepts, invites Ann, who accepts; and lists both, by HTTP Basic."""
    anybody = Browser(base)
    assert anybody.json(f"{API}/accept-invite", {"token": token, "password": WORDS}).status == 201
    assert anybody.json(f"{API}/invite", {"email": ANN}).status == 401
    assert anybody.json(f"{API}/invite", {"email": ANN}, **basic(OWNER)).status == 201
    accepted = {"token": tokens(log.read_text())[-1], "password": WORDS}
    assert anybody.json(f"{API}/accept-invite", accepted).json["user"]["email"] == ANN
    listed = anybody.get(f"{API}/invitations", **basic(OWNER)).json["items"]
    assert [each["status"] for each in listed] == ["accepted", "accepted"]
    assert anybody.get(f"{API}/invitations", **basic(ANN)).status == 403


def test_flask_admin(tmp_path: Path) -> None:
    """Owners look at invitations, emails and events, and find no secret there; nobody changes any."""
    app = copy("with_flask_admin.py", tmp_path)
    token = first_owner(app)
    with running(app, "--debug") as (base, log):
        all_by_api(base, log, token)
        browser = Browser(base)
        with closing(sqlite3.connect(next(tmp_path.glob("instance/*.sqlite3")))) as database:
            rows = database.execute("SELECT id, token_hash, token_nonce FROM user_invitations").fetchall()
        row = str(UUID(rows[-1][0]))
        views = ("invitations/", f"invitations/details/?id={row}", "emails/", "events/")
        for view in views:
            assert browser.get(f"/admin/admin_{view}").status == 401
            assert browser.get(f"/admin/admin_{view}", **basic(ANN)).status == 401
            page = browser.get(f"/admin/admin_{view}", **basic(OWNER))
            assert page.status == 200
            assert not any(secret in page.text for _, *secrets in rows for secret in secrets)
        assert ANN in browser.get("/admin/admin_invitations/?search=ann", **basic(OWNER)).text
        unknown = browser.get("/admin/admin_invitations/details/?id=nonsense", **basic(OWNER))
        assert unknown.status in (200, 302, 404)
        for act in ("new/", f"edit/?id={row}", f"delete/?id={row}"):
            browser.form(f"/admin/admin_invitations/{act}", id=row, email="x")
        assert len(browser.get(f"{API}/invitations", **basic(OWNER)).json["items"]) == 2


def test_sqlalchemy_lite(tmp_path: Path) -> None:
    """The whole way on Flask-SQLAlchemy-Lite, whose models have a base of their own."""
    app = copy("with_sqlalchemy_lite.py", tmp_path)
    token = first_owner(app)
    with running(app, "--debug") as (base, log):
        all_by_api(base, log, token)


def test_jwt(tmp_path: Path, browser: Any) -> None:
    """A7: a front end on another site, in a real browser: its own accept page shows the offer, makes the account and
    goes on with the access token that came along. A forged token is nobody's."""
    folder = copy("with_jwt", tmp_path)
    api, script = folder / "api.py", folder / "spa/app.js"
    with files_of(folder / "spa") as spa:
        api.write_text(api.read_text().replace("http://localhost:8080", spa))
        token = first_owner(api)
        with running(api, "--debug") as (base, log):
            script.write_text(script.read_text().replace("http://127.0.0.1:5000", base))
            page = browser.new_page()
            page.goto(f"{spa}/#{token}")
            page.get_by_text(f"Join api as owner ({OWNER})").wait_for()
            assert page.url == f"{spa}/"
            page.fill("input", "short")
            page.click("button")
            page.get_by_text("fields are missing or wrong").wait_for()
            page.fill("input", WORDS)
            page.click("button")
            page.get_by_text(f"{OWNER}: accepted").wait_for()
            page.close()

            key = Browser(base).json("/api/v1/sign-in", {"email": OWNER, "password": WORDS}).json["access_token"]
            invite = {"email": ANN, "role": "admin"}
            for bearer, status in ((key, 201), (key[:-9] + "forgedkey", 401), ("nonsense", 401)):
                made = Browser(base).json(f"{API}/invite", invite, Authorization=f"Bearer {bearer}")
                assert made.status == status, made.text
            page = browser.new_page()
            page.goto(f"{spa}/#{tokens(log.read_text())[-1]}")
            page.get_by_text(f"Join api as admin ({ANN})").wait_for()
            page.fill("input", WORDS)
            page.click("button")
            page.get_by_text(f"{ANN}: accepted").wait_for()
            page.goto(f"{spa}/#{token}")
            page.reload()
            page.get_by_text("already").wait_for()
            page.close()


def test_oidc(tmp_path: Path) -> None:
    """Accept by single sign-on: the offer asks to sign in, whoever signs in as somebody else is refused, an address
    that the provider has not verified counts for nothing, and the account is the provider's, without a password."""
    app = copy("with_oidc", tmp_path) / "app.py"
    with provider.serving() as sso:
        env = {"OIDC_CLIENT_ID": provider.CLIENT, "OIDC_CLIENT_SECRET": provider.SECRET, "OIDC_ISSUER": sso.issuer}
        token = first_owner(app, **env)
        with running(app, "--debug", env=env) as (base, log):
            browser = Browser(base)
            offer = browser.form("/invitations/open", token=token).text
            assert "Sign in with your company account first." in offer
            assert 'href="/sign-in"' in offer
            assert "Accept the invitation" not in offer
            preview = browser.json(f"{API}/accept-invite/preview", {"token": token}).json
            assert preview["obstacle"]["code"] == "unauthenticated"
            assert browser.json(f"{API}/accept-invite", {"token": token}).status == 401
            people: list[tuple[str, bool, int]] = [
                (ANN, True, 403),
                (OWNER, False, 403),
                ("Owner@EXAMPLE.com", True, 200),
            ]
            for email, verified, status in people:
                sso.person = {"sub": f"of {email}", "email": email, "email_verified": verified}
                assert email in browser.get("/sign-in").text
                done = browser.form("/invitations/accept", token=token)
                assert done.status == status, done.text
            assert "are signed in" in done.text
            assert 'type="password"' not in offer
            assert ANN in invite_by_desk(browser, ANN, "user").text
            other = Browser(base)
            sso.person = {"sub": "ann", "email": ANN, "email_verified": True}
            other.get("/sign-in")
            offer = other.form("/invitations/open", token=tokens(log.read_text())[-1]).text
            assert 'type="password"' not in offer
            assert other.form("/invitations/accept", token=tokens(log.read_text())[-1]).status == 200
            listed = browser.get(f"{API}/invitations").json["items"]
            assert [each["status"] for each in listed] == ["accepted", "accepted"]
            assert other.get(f"{API}/invitations").status == 403


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
def test_gunicorn(tmp_path: Path, empty_url: str) -> None:
    """An app factory under gunicorn with several workers, below a path of a site that a proxy serves over TLS: links,
    forms, origins and addresses are those outside, and a worker sends the emails."""
    folder, redis = copy("with_gunicorn", tmp_path), str(redis_server())
    site, path = "app.example.com", "/crm"
    with ExitStack() as stack:
        mailbox, storage = stack.enter_context(Mailbox()), stack.enter_context(run_redis(redis, tmp_path))
        smtp = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mailbox.port), "SMTP_SECURITY": "none"}
        env = {"SECRET_KEY": "k" * 32, "DATABASE_URL": empty_url, "REDIS_URL": storage, **smtp}
        env["PUBLIC_URL"] = f"https://{site}{path}"
        app = folder / "crm"
        call(app, "create-tables", env=env)
        call(app, "invitations", "invite", OWNER, "--role", "owner", "--tenant", "1", env=env)
        call(app, "invitations", "deliver", env=env)
        assert f"https://{site}{path}/invitations/accept#" in mailbox.texts[0]
        command = [sys.executable, "-m", "gunicorn", "-w", "2", "--log-level", "error", "crm:create_app()", "-b"]
        how = {"cwd": folder, "env": {**environment(), **env}}
        base = stack.enter_context(proxied(site, path, *command, **how))
        owner, outside = Browser(base), {"Origin": f"https://{site}", "X-Forwarded-For": "203.0.113.9"}
        owner.headers = outside
        landing = owner.get(f"{path}/invitations/accept").text
        assert f'action="{path}/invitations/open"' in landing
        assert "no longer" not in accept_by_page(owner, tokens(mailbox.texts[0])[0], path, password=WORDS).text
        assert owner.form(f"{path}/sign-in", email=OWNER, password=WORDS).text == f"Welcome, {OWNER}"
        assert ANN in invite_by_desk(owner, ANN, "user", path).text
        call(app, "invitations", "deliver", env=env)
        token = tokens(mailbox.texts[1])[0]
        ann = Browser(base)
        ann.headers = {**outside, "Origin": f"http://{site}"}
        assert ann.form(f"{path}/invitations/open", token=token).status == 403
        ann.headers = outside
        assert accept_by_page(ann, token, path, password=WORDS).status == 200
        listed = owner.get(f"{path}{API}/invitations").json["items"]
        assert [each["status"] for each in listed] == ["accepted", "accepted"]
        events = owner.get(f"{path}{API}/invitations/{listed[0]['id']}/events").json["items"]
        assert {each["remote_addr"] for each in events} == {"127.0.0.1", None}
