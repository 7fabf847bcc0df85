"""Screenshots of every page and state, light and dark, on a phone and on a desk: ``python -m tests.pages.shots FOLDER``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.pages.browser import chromium, stop
from tests.pages.site import STATES, Profile, Site, serving

WIDTHS = {"phone": (375, 720), "desktop": (1200, 760)}


def shoot(site: Site, browser: Any, names: list[str], prefix: Path) -> None:
    for name in names:
        for width, (across, down) in WIDTHS.items():
            with browser.new_context(viewport={"width": across, "height": down}) as context:
                page = context.new_page()
                STATES[name](site, page)
                page.mouse.move(0, 0)
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme)
                    page.screenshot(path=f"{prefix}{name}-{width}-{scheme}.png", full_page=True)


def main(folder: Path, wanted: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser, serving(Path(scratch)) as site:
        shoot(site, browser, wanted or list(STATES), folder / "page-")
    if not wanted:
        with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
            with serving(Path(scratch), profile_schema=Profile) as site:
                shoot(site, browser, ["offer"], folder / "page-profile-")
    stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
