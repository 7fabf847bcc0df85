"""L: the page's script finds a link where the server finds one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from flask_invitations.pasted import candidates
from tests.faults.test_links import NOTHING, OTHER, PASTED, TOKENS
from tests.pages.site import PAGES, open_offer, serving
from tests.races.harness import SOAK


@pytest.mark.soak
def test_one_rule(browser: Any, tmp_path: Path) -> None:
    """L: the script takes what stands behind the "#" of an address into the form where it may hold a token, else it
    says that the link is cut; the server's rule says the same of it."""
    pasted = [[write(token) for token in TOKENS[:2]] for write in PASTED.values()]
    texts = [text for number, both in enumerate(pasted) for text in (both if SOAK else both[number % 2 :][:1])]
    with serving(tmp_path) as site, browser.new_context() as context:
        page = context.new_page()
        for number, text in enumerate([*texts, *NOTHING]):
            address = quote(text.encode("utf-8", "replace"), safe="/:#?&=%;,!$*()[]<>")
            page.goto(f"{site.base}{PAGES}/accept?{number}#{address}")  # another page each time: it is loaded anew
            taken, shown = page.input_value("[name=token]"), "[data-invitations-{}]:visible"
            assert bool(taken) == bool(candidates(address)), text
            assert page.locator(shown.format("with-link")).count() == bool(taken)
            assert page.locator(shown.format("cut-link")).count() == (not taken and bool(address))
            assert "#" not in page.url or not address


def test_a_link_in_disguise(browser: Any, tmp_path: Path) -> None:
    """L: links that were rewritten on their way lead to the offer, another parameter of that shape beside or not."""
    with serving(tmp_path) as site, browser.new_context() as context:
        page = context.new_page()
        disguises: list[Callable[[str], str]] = [
            lambda link: link.replace("#", f"?sig={OTHER}#"),
            lambda link: link.replace("#", "%23"),
            lambda link: link.replace("#", "#%20%E2%80%8B"),
            lambda link: link.replace("#", f"#{OTHER}%26token%253D"),
            lambda link: link.replace("accept#", "accept/?utm_source=mail#"),
        ]
        for write in disguises:
            open_offer(page, write(site.invite()[1]))
            assert page.get_by_role("heading", name="Join Acme").is_visible()
