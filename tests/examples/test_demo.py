"""The demo does what it promises, as a reader runs it: a process of its own, real HTTP, real SMTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from flask_invitations.testing import token_in
from tests.examples.serve import Browser, copy, running

API = "/api/v1/users"
DEMO_PASSWORD = "open sesame, open sesame"
WORDS = "a few words will do"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(copy("demo", tmp_path_factory.mktemp("demo"))) as (base, _):
        yield base


def signed_in(base: str, email: str, password: str = DEMO_PASSWORD) -> Browser:
    browser = Browser(base)
    answer = browser.form("/sign-in", email=email, password=password)
    assert answer.status == 200
    assert "Sign out" in answer.text
    return browser


def row(page: str, email: str) -> str:
    """The line of the list that is about ``email``."""
    lines: list[str] = re.findall(r"<tr>.*?</tr>", page, re.DOTALL)
    return next(line for line in lines if email in line)


def test_the_main_page_answers_and_shows_the_accounts(demo: str) -> None:
    """The main page answers at once, with every seeded account and the password."""
    answer = Browser(demo).get("/")
    assert answer.status == 200
    assert DEMO_PASSWORD in answer.text
    for who in ("olga", "adam", "ute"):
        assert f"{who}@acme.example" in answer.text
    for who in ("otto", "anna", "uwe"):
        assert f"{who}@globex.example" in answer.text


def test_the_whole_flow_by_clicking(demo: str) -> None:
    """Sign in, invite, read the mail that went over SMTP, open its link, accept, sign in as the new user."""
    admin = signed_in(demo, "adam@acme.example")
    page = admin.form("/invite", email="nora@example.com", role="user", message="Come <b>in</b>!").text
    assert "nora@example.com was invited as user. Email: sent." in page
    assert ">pending<" in row(page, "nora@example.com")

    mails = Browser(demo).get("/mails").text
    link = unescape(re.findall(r'<a href="(\S+)">Open the link in this email', mails)[0])
    assert link.startswith(f"{demo}/invitations/accept#")
    assert "Come &amp;lt;b&amp;gt;in" in mails
    assert Browser(demo).get("/invitations/accept").status == 200

    nora = Browser(demo)
    offer = nora.form("/invitations/open", token=link).text
    assert "Join <bdi>Acme</bdi>" in offer
    assert "adam@acme.example" in offer
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', offer))
    refused = nora.form("/invitations/accept", **form, name="Nora", password="short")
    assert (refused.status, 'value="Nora"' in refused.text) == (422, True)
    welcome = nora.form("/invitations/accept", **form, name="Nora", password=WORDS)
    assert welcome.status == 200
    assert "Welcome, you are now a member" in welcome.text
    assert nora.form("/invitations/open", token=link).status == 409

    home = signed_in(demo, "nora@example.com", WORDS).get("/").text
    assert "Welcome, Nora" in home
    assert ">accepted<" in row(admin.get("/").text, "nora@example.com")


def test_the_whole_flow_by_curl(demo: str) -> None:
    """The calls that the page shows do what they say."""
    anna = signed_in(demo, "anna@globex.example")
    made = anna.json(f"{API}/invite", {"email": "nils@example.com", "role": "manager"})
    assert (made.status, made.json["delivery"]["state"]) == (201, "sent")
    token = token_in(Browser(demo).get("/mails/latest").text.split("accept#")[1].splitlines()[0])
    offer = Browser(demo).json(f"{API}/accept-invite/preview", {"token": token})
    assert offer.json["tenant"]["name"] == "Globex"
    body = {"token": token, "password": WORDS, "name": "Nils"}
    accepted = Browser(demo).json(f"{API}/accept-invite", body)
    assert (accepted.status, accepted.json["user"]["role"]) == (201, "manager")
    assert Browser(demo).json(f"{API}/accept-invite", body).status == 409
    listed = anna.get(f"{API}/invitations").json["items"]
    assert [each["email"] for each in listed] == ["nils@example.com"]
    assert Browser(demo).get(f"{API}/invitations/openapi.json").json["openapi"] == "3.1.0"


def test_resend_and_revoke(demo: str) -> None:
    """A resent invitation has a new link, a revoked one none."""
    olga = signed_in(demo, "olga@acme.example")
    page = olga.form("/invite", email="vera@example.com", role="admin", message="").text
    first = Browser(demo).get("/mails/latest").text
    resend, revoke = re.findall(r'action="(/manage/\S+)"', row(page, "vera@example.com"))
    assert "A new link was sent to vera@example.com." in olga.form(resend).text
    second = Browser(demo).get("/mails/latest").text
    assert Browser(demo).form("/invitations/open", token=first).status == 410
    assert Browser(demo).form("/invitations/open", token=second).status == 200
    assert "The invitation for vera@example.com was revoked." in olga.form(revoke).text
    assert Browser(demo).form("/invitations/open", token=second).status == 410


def test_refusals_are_sentences(demo: str) -> None:
    """What the demo may not do is said on its page: too high a role, a wrong address, a plain user."""
    adam = signed_in(demo, "adam@acme.example")
    too_high = adam.form("/invite", email="x@example.com", role="owner", message="")
    assert "The inviter may not grant this role." in too_high.text
    assert "This is not a valid email address." in adam.form("/invite", email="x", role="user", message="").text
    ute = signed_in(demo, "ute@acme.example")
    assert "Only owners and admins can invite people" in ute.get("/").text
    assert "may not manage invitations" in ute.form("/invite", email="x@example.com", role="user", message="").text
    wrong = Browser(demo).form("/sign-in", email="adam@acme.example", password="wrong")
    assert "no account with this address and password" in wrong.text


def test_it_starts_again_on_its_own_database(tmp_path: Path) -> None:
    """A second start finds what the first one left, and seeds nothing twice."""
    app = copy("demo", tmp_path)
    for _ in range(2):
        with running(app) as (base, _log):
            assert Browser(base).get("/").text.count("Sign in as ") == 6
