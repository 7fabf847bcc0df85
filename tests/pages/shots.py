"""Screenshots of every page and state, light and dark, narrow and wide; and of some of them in other people's layouts.

.venv/bin/python -m tests.pages.shots FOLDER [STATE ...]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.pages import layouts
from tests.pages.browser import chromium, stop
from tests.pages.site import STATES, Profile, Site, serving
from tests.pages.test_desk_browser import STATES as DESK
from tests.pages.test_desk_browser import fill, manager

WIDTHS = {"phone": (375, 720), "desktop": (1200, 760)}
State = Callable[[Site, Any], None]
OURS: Mapping[str, State] = STATES
MANAGERS: Mapping[str, State] = {f"desk{act.__name__}".replace("_", "-"): act for act in DESK}
#: Those that are shown in each layout.
IN_LAYOUTS = ("offer-errors", "dead-expired", "desk-list", "desk-bounced", "desk-many")


def shoot(site: Site, browser: Any, acts: Mapping[str, State], prefix: str) -> None:
    for name, act in acts.items():
        for width, (across, down) in WIDTHS.items():
            with browser.new_context(viewport={"width": across, "height": down}) as context:
                page = context.new_page()
                if act in MANAGERS.values():
                    site.sign_in(page, manager(site))
                act(site, page)
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme)
                    page.screenshot(path=f"{prefix}{name}-{width}-{scheme}.png", full_page=True)


def main(folder: Path, wanted: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    every = {**OURS, **MANAGERS}
    acts = {name: every[name] for name in wanted or every}
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser, serving(Path(scratch)) as site:
        fill(site)
        shoot(site, browser, acts, f"{folder}/")
    if not wanted:
        more = tempfile.TemporaryDirectory()
        with more as scratch, chromium() as browser, serving(Path(scratch), profile_schema=Profile) as site:
            shoot(site, browser, {"offer": STATES["offer"]}, f"{folder}/profile-")
    for layout in layouts.NAMES:
        more = tempfile.TemporaryDirectory()
        with more as scratch, chromium() as browser, serving(Path(scratch)) as site:
            layouts.give(site.host.app, layout)()
            fill(site)
            shoot(site, browser, {name: acts[name] for name in IN_LAYOUTS if name in acts}, f"{folder}/{layout}-")
    stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
