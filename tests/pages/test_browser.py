"""The invitee's way through a real browser, over the demo, with JavaScript and without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flask_invitations.testing import token_in
from tests.examples.serve import Browser, copy, running
from tests.pages.browser import chromium

WORDS = "a few words will do"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    with chromium() as browser, running(copy("demo", tmp_path_factory.mktemp("browser"))) as (base, log):
        yield base, (browser, log)


def invite(base: str, email: str) -> str:
    """Have Acme's admin invite; gives the mailed link."""
    admin = Browser(base)
    admin.form("/sign-in", email="adam@acme.example", password="open sesame, open sesame")
    admin.form("/invite", email=email, role="user", message="Hello!\nSee http://evil.example")
    return next(line for line in admin.get("/mails/latest").text.splitlines() if "accept#" in line)


def accept(page: Any) -> None:
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="Join Acme").wait_for()
    page.get_by_label("Name").fill("Nora")
    page.get_by_label("Choose a password").fill(WORDS)
    page.get_by_role("button", name="Accept the invitation").click()
    page.get_by_role("heading", name="Welcome, you are in").wait_for()


def test_with_javascript(demo: tuple[str, Any]) -> None:
    """D1: the link's secret leaves the address bar and the history at once and reaches the server only in the form;
    nothing is sent before the button is pressed, and the policy of our own headers breaks nothing."""
    base, (browser, log) = demo
    link = invite(base, "nora@example.com")
    token = token_in(link)
    with browser.new_context() as context:
        page = context.new_page()
        seen: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: seen.append(f"{request.method} {request.url} {request.headers}"))
        page.on("console", lambda message: said.append(f"{message.text} {message.location}"))
        page.goto(link)
        page.get_by_role("button", name="Continue").wait_for()
        assert page.url == f"{base}/invitations/accept"
        assert page.evaluate("history.length") == 2  # the empty page before, and the cleaned one
        assert not page.get_by_label("Your invitation link").is_visible()
        assert not any(line.startswith("POST") for line in seen)
        accept(page)
        assert page.url == f"{base}/invitations/accepted"
        assert token not in " ".join(line for line in seen if link not in line)
        assert [line for line in seen if "'referer': 'http" in line] == []
        assert [line for line in said if "favicon.ico" not in line] == []
        page.goto(link)
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("heading", name="This invitation was accepted already").wait_for()
    assert token not in log.read_text()


def test_without_javascript(demo: tuple[str, Any]) -> None:
    """Without JavaScript the link is pasted into the page that it led to."""
    base, (browser, log) = demo
    link = invite(base, "niko@example.com")
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(link)
        page.get_by_label("Your invitation link").fill(link)
        accept(page)
        assert page.url == f"{base}/invitations/accepted"
    assert token_in(link) not in log.read_text()


def test_by_keyboard(demo: tuple[str, Any]) -> None:
    """The whole way goes by keyboard; after a mistake the summary has the focus, and its link leads to the field."""
    base, (browser, _) = demo
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(invite(base, "kim@example.com"))
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_label("Name").focus()
        page.keyboard.type("Kim")
        page.keyboard.press("Tab")
        page.keyboard.type("passwordpassword")
        page.keyboard.press("Enter")
        summary = page.get_by_role("heading", name="Please check what you entered")
        summary.wait_for()
        assert summary.evaluate("element => element === document.activeElement")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        field = page.get_by_label("Choose a password")
        assert field.evaluate("element => element === document.activeElement")
        assert page.get_by_label("Name").input_value() == "Kim"
        assert field.get_attribute("aria-invalid") == "true"
        page.keyboard.type(WORDS)
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        assert field.get_attribute("type") == "text"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Welcome, you are in").wait_for()


def test_a_link_pasted_into_the_address_bar_of_the_landing_page(demo: tuple[str, Any]) -> None:
    """Only the fragment changes then, and no page is loaded: the script takes it all the same."""
    base, (browser, _) = demo
    link = invite(base, "lena@example.com")
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{base}/invitations/accept")
        assert page.get_by_label("Your invitation link").is_visible()
        page.evaluate("link => { location.href = link }", link)
        page.get_by_label("Your invitation link").wait_for(state="hidden")
        assert page.url == f"{base}/invitations/accept"
        accept(page)
