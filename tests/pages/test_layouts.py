"""J2: the pages inside of a host's own layout, in a real browser, with the stylesheets that most hosts use."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.pages import layouts
from tests.pages.site import STATES, Site, serving
from tests.pages.test_access import overflows, violations
from tests.pages.test_desk_browser import DESKTOP, fill, manager
from tests.pages.test_desk_browser import STATES as DESK
from tests.races.harness import SOAK

#: What a stylesheet that reaches too far would change.
LOOK = """where => Array.from(document.querySelectorAll(where), one => {
    const style = getComputedStyle(one), names = LOOKS;
    return [one.tagName, ...names.map(name => style[name])].join("|");
})"""
OF_THE_BAR = (
    *(
        "color",
        "backgroundColor",
        "borderTopWidth",
        "borderTopColor",
        "borderRadius",
        "boxShadow",
        "fontSize",
        "fontWeight",
    ),
    *("lineHeight", "marginTop", "paddingTop", "paddingLeft", "minHeight", "display", "textDecorationLine"),
)
#: The same wherever our pages are shown; what depends on the font and on the room that there is stands aside.
OF_OURS = (
    *("color", "backgroundColor", "backgroundImage", "borderTopWidth", "borderLeftWidth", "borderRadius", "boxShadow"),
    *(
        "fontSize",
        "fontWeight",
        "marginTop",
        "marginBottom",
        "paddingTop",
        "paddingLeft",
        "minHeight",
        "display",
        "position",
    ),
    *("textDecorationLine", "textTransform", "letterSpacing", "appearance", "listStyleType", "opacity", "textAlign"),
)
OURS = ".invitations"
WALK = ("_list", "_bounced")


def looks(page: Any, where: str, names: tuple[str, ...]) -> list[str]:
    page.wait_for_load_state()  # a page that was submitted to is there before its stylesheets are
    found: list[str] = page.evaluate(LOOK.replace("LOOKS", str(list(names))), where)
    return found


def ours(page: Any) -> list[str]:
    page.evaluate("document.documentElement.style.fontSize = '16px'")
    return looks(page, f"{OURS} *:not(option, [hidden], [type=hidden])", OF_OURS)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> dict[str, list[str]]:
    """How our pages look in our own frame."""
    with serving(tmp_path_factory.mktemp("alone")) as site, browser.new_context(viewport=DESKTOP) as context:
        page = context.new_page()
        return {name: ours(page) for name in walk(site, page)}


def walk(site: Site, page: Any) -> Iterator[str]:
    """Some of the invitee's and the manager's pages, with everything that a framework has styles for; their names."""
    fill(site)
    STATES["offer-errors"](site, page)
    yield "offer-errors"
    site.sign_in(page, manager(site))
    for act in DESK:
        if act.__name__ in WALK:
            act(site, page)
            page.locator("h1").wait_for()
            yield act.__name__


@pytest.mark.soak
@pytest.mark.parametrize("layout", layouts.NAMES)
def test_in_a_layout(browser: Any, tmp_path: Path, alone: dict[str, list[str]], layout: str) -> None:
    """J2: within Bootstrap, Bulma and Pico our pages look as in our own frame, and the host's bar as on the host's own
    pages; all text can be read in light and dark, a phone need not be scrolled sideways, and the policy blocks nothing.
    With the colors that docs/pages.md has for that framework, all text can be read as well.

    Outside of a soak, pages are read in light and in dark by turns.
    """
    schemes = cycle([("dark", "light")] if SOAK else [("dark",), ("light",)])
    if layouts.NAMES.index(layout) % 2:
        next(schemes)
    complaints: dict[str, Any] = {}
    with serving(tmp_path) as site, browser.new_context(viewport=DESKTOP, reduced_motion="reduce") as context:
        paint = layouts.give(site.host.app, layout)
        page, said = context.new_page(), list[str]()
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{site.base}/plain")
        bar = looks(page, layouts.BAR, OF_THE_BAR)
        assert len(bar) > 6
        for name in walk(site, page):
            assert looks(page, layouts.BAR, OF_THE_BAR) == bar
            here = ours(page)
            assert here == alone[name], [pair for pair in zip(here, alone[name], strict=False) if pair[0] != pair[1]][
                :3
            ]
            complaints[name] = [*unreadable(page, next(schemes)), *overflows(page)]
            page.set_viewport_size(DESKTOP)
        paint()
        page.goto(f"{site.base}/invitations/")
        complaints["list painted"] = unreadable(page, next(schemes))
        page.set_extra_http_headers({})
        STATES["offer-errors"](site, page)
        complaints["offer painted"] = unreadable(page, next(schemes))
    assert {name: found for name, found in complaints.items() if found} == {}
    assert [line for line in said if "status of 4" not in line] == []


def unreadable(page: Any, schemes: tuple[str, ...]) -> list[str]:
    found = []
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        found += violations(page, within=OURS)
    page.emulate_media(color_scheme="light")
    return found
