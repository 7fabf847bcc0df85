"""Pages for everybody: axe, light and dark, narrow and large, every language, both directions; and hostile words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import current_app
from flask_babel import Babel

import flask_invitations
from tests.pages.site import STATES, Profile, Site, Tongue, open_offer, serving, translation
from tests.races.harness import SOAK

TRANSLATIONS = Path(flask_invitations.__file__).parent / "translations"
ALL = sorted(path.parts[-3] for path in TRANSLATIONS.glob("*/LC_MESSAGES/*.mo"))
#: One of each direction in every run, since a browser takes its time; all of them in a soak.
LANGUAGES = ALL if SOAK else ["ar", "de"]
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
#: Each means something to a reader of markup, of a template, of an address, or of lines that run the other way.
HOSTILE = "\u202eEvil<b>\u200b{{7*7}}&amp;\"'><script>alert(1)</script> https://evil.example"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A host with every kind of field, in every language of ours."""
    with serving(tmp_path_factory.mktemp("access"), profile_schema=Profile) as served:
        Babel(served.host.app, locale_selector=lambda: current_app.config.get("BABEL_DEFAULT_LOCALE", "en"))
        yield served


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    with browser.new_context(viewport={"width": 375, "height": 720}, reduced_motion="reduce") as context:
        context.set_default_timeout(10_000)
        yield context.new_page()


def violations(page: Any, *rules: str, within: str | None = None) -> list[str]:
    """What axe finds against WCAG 2.2 AA and its own advice, or by these rules only, on the page or in a part of it."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_load_state()  # a page that was submitted to is there before its stylesheets are
    if page.evaluate("typeof axe === 'undefined'"):  # to read it takes longer than most of its rules
        page.evaluate(Axe().axe_script)
    only = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": WCAG}
    options = {"runOnly": only, "resultTypes": ["violations"]}
    run = "([within, options]) => axe.run(within ?? document, options).then(found => found.violations)"
    found: list[Any] = page.evaluate(run, [within, options])
    return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]


def overflows(page: Any) -> list[str]:
    """How far a page must be scrolled sideways: at 320 px, and with text of twice the size."""
    width, found = "document.documentElement.scrollWidth - document.documentElement.clientWidth", []
    for across, size in ((320, "100%"), (640, "200%")):
        page.set_viewport_size({"width": across, "height": 720})
        over = page.evaluate(f"size => {{ document.documentElement.style.fontSize = size; return {width} }}", size)
        if over > 0:
            found.append(f"{over} px sideways at {across} px and {size}")
    page.evaluate("document.documentElement.style.fontSize = ''")
    page.set_viewport_size({"width": 375, "height": 720})
    return found


def tag_of(language: str) -> str:
    """The BCP 47 tag of a catalog."""
    return language.replace("_", "-")


def complaints_in(page: Any, language: str) -> list[str]:
    """What axe finds on a page in this language, in light and dark; and whether it is in this language."""
    spoken = page.locator("html").get_attribute("lang")
    found = [*violations(page), *([] if spoken == tag_of(language) else [f"it speaks {spoken}"])]
    page.emulate_media(color_scheme="dark")
    return [*found, *violations(page, "color-contrast")]


def test_every_page_and_state(site: Site, page: Any) -> None:
    """WCAG 2.2 AA: axe finds nothing on any page in any state, in light and dark; at 320 px and with text of twice the
    size nothing has to be scrolled sideways."""
    found = {}
    for name, act in STATES.items():
        page.set_extra_http_headers({})
        page.emulate_media(color_scheme="light")
        act(site, page)
        complaints = [*violations(page), *overflows(page)]
        page.emulate_media(color_scheme="dark")
        found[name] = [*complaints, *violations(page, "color-contrast")]
    assert {name: complaints for name, complaints in found.items() if complaints} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language(site: Site, page: Any, language: str) -> None:
    """In every language of ours the page says which one it is, fits a narrow screen, and axe finds nothing."""
    tag = tag_of(language)
    page.goto(site.invite(locale=tag)[1])
    page.locator("[type=submit]").click()
    page.locator("dl").wait_for()
    assert page.locator("html").get_attribute("lang") == tag
    assert "Invited address" not in page.content()
    assert [*violations(page), *overflows(page)] == []


@pytest.mark.soak
@pytest.mark.parametrize("language", LANGUAGES if SOAK else LANGUAGES[:1])
def test_every_state_in_every_language(site: Site, page: Any, language: str) -> None:
    """WCAG 2.2 AA: axe finds nothing on any page in any state, in any language of ours, in light and dark.

    By default some states are looked at, since another test looks at all of them in English.
    """
    site.host.app.config["BABEL_DEFAULT_LOCALE"] = language
    tongue = Tongue(page, translation(site, language))
    found = {}
    for name, act in list(STATES.items())[:: 1 if SOAK else 4]:
        page.set_extra_http_headers({})
        page.emulate_media(color_scheme="light")
        act(site, tongue)
        found[name] = complaints_in(page, language)
    del site.host.app.config["BABEL_DEFAULT_LOCALE"]
    assert {name: complaints for name, complaints in found.items() if complaints} == {}


def test_right_to_left(site: Site, page: Any) -> None:
    """In a language that runs from right to left the whole page does, and text of another direction keeps its own."""
    site.host.app.config["BABEL_DEFAULT_LOCALE"] = "ar"
    STATES["offer-errors"](site, Tongue(page, translation(site, "ar")))
    del site.host.app.config["BABEL_DEFAULT_LOCALE"]
    label, hint = page.locator("dt").first.bounding_box(), page.locator("dd").first.bounding_box()
    assert label["x"] > hint["x"]
    assert page.evaluate("getComputedStyle(document.querySelector('label')).direction") == "rtl"
    typed = "getComputedStyle(document.getElementById('invitations-field-name'))"
    assert page.evaluate(f"[{typed}.unicodeBidi, {typed}.textAlign]") == ["plaintext", "right"]
    assert page.evaluate("getComputedStyle(document.querySelector('h1 bdi')).unicodeBidi") == "isolate"
    assert [*violations(page), *overflows(page)] == []


def test_hostile_words(browser: Any, tmp_path: Path) -> None:
    """E2, K4: a tenant, an inviter, a role and a message made to deceive are words on the page and nothing else: no
    element, no link, no attribute, no turned text, and the page still fits."""
    words: dict[str, Any] = {"tenant_name": lambda tenant_id: HOSTILE, "display_name": lambda user: HOSTILE * 3}
    with serving(tmp_path, **words) as site, browser.new_context() as context:
        page, boxes = context.new_page(), list[Any]()
        page.on("dialog", lambda dialog: boxes.append(dialog))
        open_offer(page, site.invite(message=f"{HOSTILE}\n" * 5)[1])
        page.get_by_label("Your name").fill(HOSTILE[-20:])
        page.get_by_label("Choose a password").fill("passwordpassword")
        page.get_by_role("button", name="Accept the invitation").click()
        page.get_by_role("alert").wait_for()
        text = page.locator("main").inner_text()
        assert text.count("<script>alert(1)<") == 2 + 3 + 5  # the tenant, the inviter, the message
        assert page.locator("main :is(script, b, a:not([href^='#invitations-field-']))").count() == 0
        assert page.get_by_label("Your name").input_value() == HOSTILE[-20:]
        assert not {"\u202e", "\u200b"} & set(page.content())
        assert "https://evil.example" not in text
        assert [*violations(page), *overflows(page), *boxes] == []
