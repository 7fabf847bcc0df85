"""The invitee's way through a real browser: narrow and wide, with JavaScript and without, by keyboard alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from flask_invitations.testing import token_in
from tests.examples.serve import Browser
from tests.hosts import PASSWORD
from tests.pages.site import PAGES, STATES, Site, fill_in, focus_comes_to, open_offer, proceed, serving

PHONE, DESK = {"width": 375, "height": 720}, {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One host for all of these tests; each invites somebody of its own."""
    with serving(tmp_path_factory.mktemp("browser")) as served:
        yield served


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page in a browser that knows nothing yet."""
    with browser.new_context(viewport=PHONE) as context:
        context.set_default_timeout(10_000)
        yield context.new_page()


@contextmanager
def without_javascript(browser: Any, viewport: Any = PHONE) -> Iterator[Any]:
    with browser.new_context(viewport=viewport, java_script_enabled=False) as context:
        yield context.new_page()


def welcome(page: Any) -> None:
    page.get_by_role("heading", name="Welcome, you are now a member").wait_for()


def users(site: Site, email: str) -> int:
    return len(site.host.rows(site.host.User, email=email))


def kept(page: Any) -> str:
    """Whatever the browser keeps of a site but the page itself."""
    stores = "[document.cookie, {...localStorage}, {...sessionStorage}, history.state, location.href, window.name]"
    return json.dumps([page.context.storage_state(), page.evaluate(f"JSON.stringify({stores})")])


on_both = pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])


@on_both
def test_with_javascript(site: Site, browser: Any, viewport: Any) -> None:
    """D1: the link's secret leaves address bar and history at once, and reaches the server in forms only: it is in no
    request's address, no Referer, cookie, storage or log; nothing is sent before the button is pressed; and the policy
    of our own headers breaks nothing."""
    email, link = site.invite()
    token = token_in(link)
    with browser.new_context(viewport=viewport) as context:
        page = context.new_page()
        asked: list[Any] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(link)
        page.get_by_role("button", name="Continue").wait_for()
        assert page.url == f"{site.base}{PAGES}/accept"
        assert page.evaluate("history.length") == 2  # the empty page before, and the cleaned one
        assert not page.get_by_label("Your invitation link").is_visible()
        assert {request.method for request in asked} == {"GET"}
        assert token not in kept(page)
        proceed(page)
        page.get_by_role("heading", name="Join Acme").wait_for()
        assert token not in kept(page)
        fill_in(page)
        welcome(page)
        assert page.url == f"{site.base}{PAGES}/accepted"
        assert token not in kept(page)
        # the browser itself never sends a fragment; Playwright shows it in the first request's address
        sent = [(request.url.partition("#")[0], request.headers) for request in asked]
        assert token not in str(sent)
        assert [headers["referer"] for _, headers in sent if headers.get("referer")] == []
        assert said == []
    assert users(site, email) == 1
    assert len(site.log) > 4
    assert token not in " ".join(site.log)


@on_both
def test_without_javascript(site: Site, browser: Any, viewport: Any) -> None:
    """Without JavaScript the link is pasted into the page that it led to, and no button is there that does nothing."""
    email, link = site.invite()
    with without_javascript(browser, viewport) as page:
        page.goto(link)
        page.get_by_label("Your invitation link").fill(link)
        proceed(page)
        assert not page.get_by_role("button", name="Show password").is_visible()
        fill_in(page, password="short but seen")
        assert page.get_by_role("heading", name="Join Acme").is_visible()  # minlength holds the form back
        fill_in(page, password="passwordpassword")
        page.get_by_role("heading", name="Please check what you entered").wait_for()
        fill_in(page)
        welcome(page)
    assert users(site, email) == 1


def test_declining_without_javascript(site: Site, browser: Any) -> None:
    """Declining is folded away and needs no script either."""
    email, link = site.invite()
    with without_javascript(browser) as page:
        page.goto(f"{site.base}{PAGES}/accept/{token_in(link)}")
        proceed(page)
        assert not page.get_by_role("button", name="Decline the invitation").is_visible()
        page.get_by_text("I do not want to join").click()
        page.get_by_label("Reason").fill("No time")
        page.get_by_role("button", name="Decline the invitation").click()
        page.get_by_role("heading", name="You declined the invitation").wait_for()
    assert site.row(email).status == "declined"


def is_refused(site: Site, email: str) -> bool:
    """Whether Acme can invite this address no more."""
    with site.host.app.app_context():
        told = site.host.invitations.explain(email, tenant_id=site.host.tenant("Acme"))
    return [each.code for each in told.reasons] == ["address-suppressed"]


@pytest.mark.parametrize("wish", ["Never invite me to this organization again", "Report this invitation"])
def test_never_again_without_javascript(site: Site, browser: Any, wish: str) -> None:
    """E5: beside declining stand two boxes, neither of which is ticked; each keeps the organization from inviting."""
    email, link = site.invite()
    with without_javascript(browser) as page:
        page.goto(f"{site.base}{PAGES}/accept/{token_in(link)}")
        proceed(page)
        page.get_by_text("I do not want to join").click()
        boxes = page.get_by_role("checkbox")
        assert [boxes.nth(each).is_checked() for each in range(boxes.count())] == [False, False]
        page.get_by_label(wish).check()
        page.get_by_role("button", name="Decline the invitation").click()
        page.get_by_role("heading", name="You declined the invitation").wait_for()
    assert is_refused(site, email)


def test_the_stop_page_without_javascript(site: Site, browser: Any) -> None:
    """RFC 8058: who opens the stop link in a browser sees a button, and nothing has happened until it is pressed."""
    email, _ = site.invite()
    with without_javascript(browser) as page:
        page.goto(site.stop_link)
        page.get_by_role("heading", name="Stop invitations from this organization?").wait_for()
        assert site.row(email).status == "pending"
        page.get_by_role("button", name="Stop these invitations").click()
        page.get_by_role("heading", name="You will get no more of these invitations").wait_for()
        assert page.context.cookies() == []
    assert (site.row(email).status, is_refused(site, email)) == ("declined", True)


def focused(page: Any) -> str:
    """What has the focus, as a screen reader names it."""
    name = "e => (e.labels?.[0] ?? e).textContent.trim().split('\\n')[0].trim()"
    return str(page.evaluate(f"({name})(document.activeElement)"))


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_by_keyboard(site: Site, page: Any) -> None:
    """The whole way goes by keyboard, in the order in which one reads; after a mistake the summary has the focus, is
    announced, and its link leads to the field, which names its error."""
    _, link = site.invite()
    page.goto(link)
    press(page, "Tab")
    assert focused(page) == "Continue"
    with page.expect_navigation():
        press(page, "Enter")
    assert page.get_by_role("heading", name="Join Acme").is_visible()
    order = []
    for _ in range(5):
        press(page, "Tab")
        order.append(focused(page))
    assert order == [
        "Your name",
        "Choose a password",
        "Show password",
        "Accept the invitation",
        "I do not want to join",
    ]
    press(page, *["Shift+Tab"] * 4)
    page.keyboard.type("Kim")
    press(page, "Tab")
    page.keyboard.type("passwordpassword")
    press(page, "Enter")
    summary = page.get_by_role("alert").get_by_role("heading", name="Please check what you entered")
    summary.wait_for()
    page.wait_for_load_state()  # its script has run too
    assert page.title().startswith("Error: ")
    focus_comes_to(summary)
    press(page, "Tab", "Enter")
    field = page.get_by_label("Choose a password")
    focus_comes_to(field)
    assert page.get_by_label("Your name").input_value() == "Kim"
    assert field.get_attribute("aria-invalid") == "true"
    about = (field.get_attribute("aria-describedby") or "").split()
    assert [page.locator(f"#{each}").is_visible() for each in about] == [True, True]
    assert "easy to guess" in page.locator(f"#{about[0]}").inner_text()
    page.keyboard.type(PASSWORD)
    press(page, "Tab", "Space")
    assert (field.get_attribute("type"), focused(page)) == ("text", "Hide password")
    press(page, "Space")
    assert (field.get_attribute("type"), focused(page)) == ("password", "Show password")
    press(page, "Tab", "Enter")
    welcome(page)


@on_both
def test_by_keyboard_without_javascript(site: Site, browser: Any, viewport: Any) -> None:
    """The whole way goes by keyboard without JavaScript too, a mistake and its mending included."""
    email, link = site.invite()
    with without_javascript(browser, viewport) as page:
        page.goto(link)
        press(page, "Tab")
        assert focused(page) == "Your invitation link"
        page.keyboard.type(link)
        press(page, "Enter")
        page.get_by_role("heading", name="Join Acme").wait_for()
        press(page, "Tab")
        page.keyboard.type("Kim")
        press(page, "Tab")
        page.keyboard.type("passwordpassword")
        press(page, "Tab")
        assert focused(page) == "Accept the invitation"
        press(page, "Enter")
        focus_comes_to(page.get_by_role("alert").get_by_role("heading", name="Please check what you entered"))
        press(page, "Tab", "Enter")
        focus_comes_to(page.get_by_label("Choose a password"))
        page.keyboard.type(PASSWORD)
        press(page, "Enter")
        welcome(page)
    assert users(site, email) == 1


def test_help_with_the_password(site: Site, page: Any) -> None:
    """While a password is typed, pasted or filled in, a polite line tells how far it is; nothing is cut or refused."""
    open_offer(page, site.invite()[1])
    field, said = page.get_by_label("Choose a password"), page.get_by_role("status")
    for text, words in [
        ("a few 🐘", "7 of 15 characters"),
        ("aaaaaaaaaaaaaaaa", "Easy to guess. Use more different characters."),
        (PASSWORD, "Long enough"),
        (PASSWORD * 5, "Too long. Use at most 128 characters."),
    ]:
        field.fill(text)
        said.filter(has_text=words).wait_for()
        assert field.input_value() == text
    field.fill("")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("text => navigator.clipboard.writeText(text)", PASSWORD)
    field.press("Control+v")
    assert field.input_value() == PASSWORD
    hints = [field.get_attribute(name) for name in ("autocomplete", "minlength", "maxlength")]
    assert hints == ["new-password", "15", None]


def test_a_link_pasted_into_the_address_bar_of_the_landing_page(site: Site, page: Any) -> None:
    """Only the fragment changes then, and no page is loaded: the script takes it all the same; a link cut short is told
    to be so, leaves the address bar too, and can be pasted whole."""
    _, link = site.invite()
    STATES["landing-paste"](site, page)
    assert page.get_by_label("Your invitation link").is_visible()
    page.evaluate("link => { location.href = link }", link[:-5])
    page.get_by_text("Part of this link is missing").wait_for()
    assert page.url == f"{site.base}{PAGES}/accept"
    assert page.get_by_label("Your invitation link").input_value() == ""
    page.evaluate("link => { location.href = link }", link)
    page.get_by_label("Your invitation link").wait_for(state="hidden")
    assert page.url == f"{site.base}{PAGES}/accept"
    proceed(page)
    fill_in(page, password="passwordpassword")
    page.get_by_role("alert").wait_for()
    page.wait_for_load_state()  # until the script listens, nobody hears of the new address
    page.evaluate("link => { location.href = link }", link)  # the address of this page is that of the landing page
    proceed(page)
    fill_in(page)
    welcome(page)


def test_back_and_reload_after_accept(site: Site, page: Any) -> None:
    """Reloading what follows an accept, going back and sending the form again: one account, and no error of ours."""
    email, link = site.invite()
    open_offer(page, link)
    fill_in(page)
    welcome(page)
    page.reload()
    welcome(page)
    page.go_back()
    page.get_by_role("heading", name="You have an invitation").wait_for()
    page.go_forward()
    welcome(page)
    page.goto(link)
    proceed(page)
    page.get_by_role("heading", name="This invitation was already accepted").wait_for()
    assert users(site, email) == 1


@pytest.mark.parametrize("javascript", [True, False])
def test_a_double_click(site: Site, browser: Any, javascript: bool) -> None:
    """An impatient second click, while the first is on its way, makes no second account; with JavaScript it sends
    nothing, and one is welcomed."""
    email, link = site.invite()
    with browser.new_context(java_script_enabled=javascript) as context:
        context.set_default_timeout(5_000)
        page = context.new_page()
        page.goto(f"{site.base}{PAGES}/accept/{token_in(link)}")
        proceed(page)
        page.get_by_label("Your name").fill("Slow")
        page.get_by_label("Choose a password").fill(PASSWORD)
        sent: list[Any] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        button = page.get_by_role("button", name="Accept the invitation")
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        for _ in range(2):  # by the mouse itself: a locator would wait for the first click's answer
            page.mouse.click(box["x"] + 9, box["y"] + 9)
            page.wait_for_timeout(500)  # so that the first one is the faster one
        page.get_by_role(
            "heading", name="Welcome, you are now a member" if javascript else "already accepted"
        ).wait_for()
        assert len(sent) == (1 if javascript else 2)
    assert users(site, email) == 1


def test_many_clicks_at_once(site: Site) -> None:
    """The same form sent five times at one moment makes one account: one is welcomed, the others hear that it is
    spent."""
    email, link = site.invite()
    form = {"token": token_in(link), "name": "Nora", "password": PASSWORD}
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: Browser(site.base).form(f"{PAGES}/accept", **form), range(5)))
    assert sorted({answer.status for answer in answers}) == [200, 409]
    assert users(site, email) == 1


def test_sign_in_and_come_back(site: Site, page: Any) -> None:
    """An account signs in by the host's own page in a new tab, which learns nothing of the link, and goes on where it
    was."""
    STATES["account-exists"](site, page)
    link = page.get_by_role("link", name="Sign in")
    assert link.evaluate("a => [a.getAttribute('href'), a.target, a.rel]") == ["/sign-in", "_blank", "noopener"]
    email = page.locator("dd bdi").inner_text()
    site.sign_in(page, site.host.rows(site.host.User, email=email)[0].id)
    page.get_by_role("button", name="Continue after signing in").click()
    page.get_by_role("button", name="Accept the invitation").click()
    welcome(page)
    page.get_by_text("are signed in").wait_for()


def test_sign_out_and_come_back(site: Site, page: Any) -> None:
    """Whoever is signed in as somebody else is told as whom, signs out in a new tab, and goes on where they were."""
    STATES["wrong-account"](site, page)
    assert page.get_by_text("You are signed in as other").is_visible()
    assert page.get_by_role("link", name="Sign out").get_attribute("target") == "_blank"
    page.set_extra_http_headers({})
    page.get_by_role("button", name="Continue after signing out").click()
    fill_in(page)
    welcome(page)


def test_a_fresh_link(site: Site, page: Any) -> None:
    """From the expired link to a fresh one in the mailbox, which opens."""
    email, link = site.invite()
    site.expire(email)
    open_offer(page, link)
    page.get_by_role("button", name="Send me a new link").click()
    page.get_by_role("heading", name="Check your inbox").wait_for()
    fresh = site.host.outbox.link_to(email)
    assert fresh != link
    open_offer(page, fresh)
    page.get_by_role("heading", name="Join Acme").wait_for()
