"""The manager's desk in a real browser: by keyboard, with and without JavaScript, on a phone and on a desk; what axe
has to say about it, and whether it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask_babel import Babel

from tests.hosts import PASSWORD
from tests.pages.site import PAGES, Site, Tongue, focus_comes_to, serving, translation
from tests.pages.test_access import LANGUAGES, complaints_in, overflows, tag_of, violations
from tests.races.harness import SOAK, rounds

DESK = f"{PAGES}/"
PHONE, DESKTOP = {"width": 375, "height": 720}, {"width": 1200, "height": 800}
#: With and without JavaScript, on a phone and on a desk: all four in a soak, else each once.
BROWSERS = [
    pytest.param(javascript, size, id=f"{'javascript' if javascript else 'without'}-{name}")
    for name, size in {"phone": PHONE, "desk": DESKTOP}.items()
    for javascript in (True, False)
    if SOAK or javascript == (name == "phone")
]
#: As long as an address and a role can be, without a place to break.
LONG = f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 52}.example"
LONG_ROLE = "administrator-of-all-the-things-that-there-are-to-administrate"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A host with invitations of every kind."""
    config = {"INVITATIONS_ROLES": ("user", LONG_ROLE, "admin", "owner")}
    with serving(tmp_path_factory.mktemp("desk"), config=config) as running:
        host = running.host
        Babel(host.app, locale_selector=lambda: host.app.config.get("SPOKEN", "en"))
        fill(running, LONG_ROLE)
        yield running


def fill(site: Site, long_role: str = "admin") -> None:
    """Invitations of every kind, more than fit on one page, and among them one with an address as long as can be."""
    host, invitations = site.host, site.host.invitations
    for number in range(22):
        site.invite(f"guest{number}@example.com")
    site.invite("over@example.com")
    site.expire("over@example.com")
    with host.app.app_context():
        invitations.accept(site.invite("joined@example.com")[1][-43:], password=PASSWORD, profile={"name": "Jo"})
        invitations.decline(site.invite("not-me@example.com")[1][-43:], reason="I am on another team now.")
    site.invite(LONG, role=long_role, message="x" * 1000)
    with host.app.app_context():
        invitations.record_delivery(host.outbox.messages[-1].id, "bounced", "550 " + "y" * 300)
        invitations.revoke(site.row("guest20@example.com").id)


def manager(site: Site, tenant: str = "Acme") -> Any:
    """The id of an owner of that tenant."""
    email = f"owner@{tenant.lower()}.example"
    found = site.host.rows(site.host.User, email=email)
    return found[0].id if found else site.host.user(email, "owner", site.host.tenant(tenant))


def to(page: Any, name: str) -> None:
    """Press Tab until something of that name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.locator(":focus").evaluate("here => (here.labels?.[0] ?? here).textContent.trim()") == name:
            return
    raise AssertionError(f"Tab does not lead to {name}")


@pytest.mark.soak
@pytest.mark.parametrize(("javascript", "size"), BROWSERS)
def test_the_managers_way(site: Site, browser: Any, javascript: bool, size: Any) -> None:
    """Inviting, finding, resending and revoking go by keyboard alone, with JavaScript and without, on a phone and on a
    desk; after a mistake the summary has the focus, and its link leads to the field."""
    email = f"new-{size['width']}-{javascript}@example.com".lower()
    with browser.new_context(java_script_enabled=javascript, viewport=size) as context:
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        site.sign_in(page, manager(site))
        page.goto(site.base + DESK)
        to(page, "Email")
        page.keyboard.type("guest1@example.com")
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        focus_comes_to(page.get_by_role("heading", name="The invitation was not created"))
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        field = page.get_by_label("Email", exact=True)
        focus_comes_to(field)
        assert field.get_attribute("aria-invalid") == "true"
        page.keyboard.press("Control+A")
        page.keyboard.type(email)
        to(page, "Send the invitation")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=email).wait_for()
        focus_comes_to(page.get_by_role("status"))
        page.wait_for_url(lambda address: ("done=" in address) is not javascript)
        to(page, "Resend the email")
        page.keyboard.press("Enter")
        page.get_by_text("Resent with a new link").wait_for()
        page.goto(site.base + DESK)
        to(page, "Search by email")
        page.keyboard.type(email)
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Pending 1").wait_for()
        to(page, email)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="History").wait_for()
        to(page, "Revoke the invitation")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Revoke this invitation?").wait_for()
        to(page, "Revoke the invitation")
        page.keyboard.press("Enter")
        page.get_by_text("The invitation was revoked.").wait_for()
        assert site.row(email).status == "revoked"
        assert len([mail for mail in site.host.outbox.messages if mail.to == email]) == 2
        assert [line for line in said if "409 (CONFLICT)" not in line] == []


@pytest.mark.soak
@pytest.mark.parametrize(("javascript", "size"), BROWSERS)
def test_the_way_of_many(site: Site, browser: Any, javascript: bool, size: Any) -> None:
    """Inviting many, coming back to correct the list, and resending and revoking several go by keyboard alone, with
    JavaScript and without, on a phone and on a desk; what was done has the focus."""
    mark = f"{size['width']}-{javascript}".lower()
    with browser.new_context(java_script_enabled=javascript, viewport=size) as context:
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        site.sign_in(page, manager(site))
        page.goto(site.base + DESK)
        to(page, "Invite many")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Invite many people").wait_for()
        to(page, "Names and addresses")
        page.keyboard.insert_text(f"Ann <many-a-{mark}@example.com>\nmany-b-{mark}@example.com, nobody@\nDora")
        to(page, "Preview")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Will be invited").wait_for()
        assert page.get_by_role("table", name="Will not be invited").get_by_role("cell").count() == 6
        to(page, "Change the list")
        page.keyboard.press("Enter")
        field = page.get_by_label("Names and addresses")
        field.fill(field.input_value().replace(", nobody@\nDora", f"\nmany-c-{mark}@example.com"))
        to(page, "Preview")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Will be invited").wait_for()
        to(page, "Send 3 invitations")
        page.keyboard.press("Enter")
        page.get_by_text("3 people were invited.").wait_for()
        focus_comes_to(page.get_by_role("status").first)
        page.wait_for_url(lambda address: ("done=" in address) is not javascript)
        page.goto(f"{site.base}{DESK}?q={mark}&status=pending")
        for letter in "ac":
            page.get_by_label(f"Select many-{letter}-{mark}@example.com").focus()
            page.keyboard.press("Space")
        assert page.get_by_text("2 selected").count() == javascript
        page.get_by_role("button", name="Resend selected").focus()
        page.keyboard.press("Enter")
        page.get_by_text("2 invitations were resent.").wait_for()
        assert page.get_by_label("Search by email").input_value() == mark
        if javascript:
            page.get_by_label("Select all on this page").focus()
            page.keyboard.press("Space")
            page.get_by_text("selected", exact=False).first.wait_for()
            page.get_by_label(f"Select many-b-{mark}@example.com").uncheck()
        else:
            assert not page.get_by_text("Select all on this page").is_visible()
            page.get_by_label(f"Select many-a-{mark}@example.com").check()
            page.get_by_label(f"Select many-c-{mark}@example.com").check()
        page.get_by_role("button", name="Revoke selected").focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Revoke 2 invitations?").wait_for()
        to(page, "Revoke 2 invitations")
        page.keyboard.press("Enter")
        page.get_by_text("2 invitations were revoked.").wait_for()
        status = {letter: site.row(f"many-{letter}-{mark}@example.com").status for letter in "abc"}
        assert status == {"a": "revoked", "b": "pending", "c": "revoked"}
        assert said == []


@pytest.mark.soak
@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "without"])
def test_a_thousand(site: Site, browser: Any, javascript: bool, tmp_path: Path) -> None:
    """A thousand people are pasted into a browser, uploaded, looked at and invited; a double click sends once. Without
    JavaScript, by default, a hundred are."""
    folder = "js" if javascript else "plain"
    many = 1000 if javascript else rounds(100, 1000)
    people = [f"Zoë {number}; zoe{number}@{folder}.example" for number in range(many)]
    file = tmp_path / "people.csv"
    file.write_bytes("\r\n".join(["Name;E-Mail", *people]).encode("utf-16"))
    with browser.new_context(java_script_enabled=javascript, viewport=DESKTOP) as context:
        page = context.new_page()
        site.sign_in(page, manager(site, f"Crowd {folder}"))
        page.goto(f"{site.base}{DESK}many")
        page.get_by_label("Names and addresses").fill("\n".join(people))
        page.get_by_role("button", name="Preview").click()
        page.get_by_role("button", name=f"Send {many} invitations").wait_for()
        page.goto(f"{site.base}{DESK}many")
        page.get_by_label("Or a file").set_input_files(file)
        page.get_by_role("button", name="Preview").click()
        send = page.get_by_role("button", name=f"Send {many} invitations")
        send.dblclick() if javascript else send.click()
        page.get_by_text(f"{many} people were invited.").wait_for()
        page.get_by_role("link", name="Pending").wait_for()
    model = site.host.invitations.models.Invitation
    made = [row.email for row in site.host.rows(model) if row.email.endswith(f"@{folder}.example")]
    assert sorted(made) == sorted(each.partition("; ")[2] for each in people)


Act = Callable[[Site, Any], None]


def _list(site: Site, page: Any) -> None:
    page.goto(site.base + DESK)
    page.get_by_text("Message and more options", exact=True).click()


def _empty(site: Site, page: Any) -> None:
    site.sign_in(page, manager(site, "Fresh"))
    page.goto(site.base + DESK)


def _nothing_found(site: Site, page: Any) -> None:
    page.goto(f"{site.base}{DESK}?q=nobody")


def _errors(site: Site, page: Any) -> None:
    _list(site, page)
    page.get_by_label("Email", exact=True).fill("guest1@example.com")
    page.get_by_role("button", name="Send the invitation").click()
    page.get_by_role("alert").wait_for()


def _details(site: Site, page: Any) -> None:
    page.goto(f"{site.base}{DESK}{site.row('guest1@example.com').id}?done=invited")


def _bounced(site: Site, page: Any) -> None:
    page.goto(f"{site.base}{DESK}{site.row(LONG).id}")
    page.get_by_role("button", name="Resend the email").click()
    page.get_by_role("alert").wait_for()


def _confirmation(site: Site, page: Any) -> None:
    page.goto(f"{site.base}{DESK}{site.row(LONG).id}/revoke")


def _many(site: Site, page: Any) -> None:
    page.goto(f"{site.base}{DESK}many")


def _many_errors(site: Site, page: Any) -> None:
    _many(site, page)
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("alert").wait_for()


def _preview(site: Site, page: Any) -> None:
    _many(site, page)
    page.get_by_label("Names and addresses").fill(f"Ann Lee <fine@example.com>\n{LONG}\nDora Maar\n{'x' * 300}@\n")
    page.get_by_label("Message").fill("x" * 1000)
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("heading", name="Will be invited", exact=True).wait_for()


def _selected(site: Site, page: Any) -> None:
    page.goto(f"{site.base}{DESK}?q=guest")
    page.locator("[name=id]").first.check()
    page.get_by_role("button", name="Revoke selected").click()
    page.get_by_role("link", name="Keep them").wait_for()


def _outcome(site: Site, page: Any) -> None:
    page.goto(f"{site.base}{DESK}?q={LONG[:60]}")
    page.locator("[name=id]").first.check()
    page.get_by_role("button", name="Resend selected").click()
    page.locator(".invitations-notice li").wait_for()


def _signed_out(site: Site, page: Any) -> None:
    page.set_extra_http_headers({})
    page.goto(site.base + DESK)


STATES: tuple[Act, ...] = (
    _list, _empty, _nothing_found, _errors, _details, _bounced, _confirmation,
    _many, _many_errors, _preview, _selected, _outcome, _signed_out,
)  # fmt: skip


def test_every_page_and_state(site: Site, browser: Any) -> None:
    """WCAG 2.2 AA: axe finds nothing on any page in any state, in light and dark, as cards and as a table; at 320 px
    and with text of twice the size nothing has to be scrolled sideways, however long the address and the role."""
    found = {}
    with browser.new_context(viewport=PHONE, reduced_motion="reduce") as context:
        page = context.new_page()
        for act in STATES:
            site.sign_in(page, manager(site))
            page.emulate_media(color_scheme="light")
            act(site, page)
            complaints = [*violations(page), *overflows(page)]
            page.emulate_media(color_scheme="dark")
            complaints += violations(page, "color-contrast")
            page.set_viewport_size(DESKTOP)
            found[act.__name__] = complaints + (violations(page) if act is _list else [])
    assert {name: complaints for name, complaints in found.items() if complaints} == {}


@pytest.mark.soak
@pytest.mark.parametrize("language", LANGUAGES if SOAK else LANGUAGES[-1:])
def test_every_state_in_every_language(site: Site, browser: Any, language: str) -> None:
    """WCAG 2.2 AA: axe finds nothing on any page in any state, in any language of ours, in light and dark.

    By default some states are looked at, since another test looks at all of them in English.
    """
    site.host.app.config["SPOKEN"] = language
    found = {}
    with browser.new_context(viewport=PHONE, reduced_motion="reduce") as context:
        page = context.new_page()
        tongue = Tongue(page, translation(site, language))
        for act in STATES[:: 1 if SOAK else 4]:
            site.sign_in(page, manager(site))
            page.emulate_media(color_scheme="light")
            act(site, tongue)
            found[act.__name__] = complaints_in(page, language)
    del site.host.app.config["SPOKEN"]
    assert {name: complaints for name, complaints in found.items() if complaints} == {}


def test_every_language(site: Site, browser: Any) -> None:
    """In every language of ours the desk says which one it is, and fits a narrow screen."""
    with browser.new_context(viewport=PHONE) as context:
        page = context.new_page()
        site.sign_in(page, manager(site))
        for language in LANGUAGES:
            site.host.app.config["SPOKEN"] = language
            for address in (f"{DESK}?q=guest1@", f"{DESK}{site.row(LONG).id}"):
                page.goto(site.base + address)
                assert page.locator("html").get_attribute("lang") == tag_of(language)
                assert overflows(page) == []
        del site.host.app.config["SPOKEN"]


def test_right_to_left(site: Site, browser: Any) -> None:
    """In Arabic the list begins at the right, what is under a heading begins where the heading does, and an address
    keeps its own direction."""
    site.host.app.config["SPOKEN"] = "ar"
    begins = "where => where.getBoundingClientRect().right"
    with browser.new_context(viewport=DESKTOP) as context:
        page = context.new_page()
        site.sign_in(page, manager(site))
        page.goto(f"{site.base}{DESK}?q=guest1@")
        heads = [head.evaluate(begins) for head in page.locator("th").all()]
        assert heads == sorted(heads, reverse=True)
        link, cell = page.locator("td bdi").first, page.locator("td:has(bdi)").first
        assert page.locator("th").nth(1).evaluate(begins) == pytest.approx(cell.evaluate(begins), abs=1)
        assert link.evaluate("here => getComputedStyle(here).unicodeBidi") == "isolate"
        page.goto(f"{site.base}{DESK}{site.row('guest1@example.com').id}")
        heading = page.locator("#invitations-trail").evaluate(begins)
        assert heading == pytest.approx(page.locator(".invitations-trail li").first.evaluate(begins), abs=1)
    del site.host.app.config["SPOKEN"]


def test_times_are_the_readers(site: Site, browser: Any) -> None:
    """J5: with the script, times are in the zone of whoever reads them, on hover too; without it, in UTC."""
    for javascript, zone in ((True, "GMT+9"), (False, "UTC")):
        with browser.new_context(java_script_enabled=javascript, timezone_id="Asia/Tokyo") as context:
            page = context.new_page()
            site.sign_in(page, manager(site))
            page.goto(f"{site.base}{DESK}{site.row('guest1@example.com').id}")
            assert all(zone in each for each in page.locator("time:not([title])").all_inner_texts())
            page.goto(f"{site.base}{DESK}?q=guest1@")
            assert zone in (page.locator("td time").first.get_attribute("title") or "")


def test_a_table_stays_a_table(site: Site, browser: Any) -> None:
    """As cards, too, each invitation is a row with its cells, to whoever hears the page."""
    with browser.new_context(viewport=PHONE) as context:
        page = context.new_page()
        site.sign_in(page, manager(site))
        page.goto(f"{site.base}{DESK}?q=guest1@")
        row = page.get_by_role("table", name="Invitations, newest first").get_by_role("row").last
        assert row.get_by_role("cell").count() == 6
        assert "Role" in row.aria_snapshot()
