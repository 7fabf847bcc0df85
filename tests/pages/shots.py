"""Screenshots of every page and state, light and dark, narrow and wide.

.venv/bin/python -m tests.pages.shots FOLDER [STATE ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.pages.browser import chromium, stop
from tests.pages.site import STATES, Profile, Site, serving

WIDTHS = {"phone": (375, 720), "desktop": (1200, 760)}


def shoot(site: Site, browser: Any, names: list[str], prefix: str) -> None:
    for name in names:
        for width, (across, down) in WIDTHS.items():
            with browser.new_context(viewport={"width": across, "height": down}) as context:
                page = context.new_page()
                STATES[name](site, page)
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme)
                    page.screenshot(path=f"{prefix}{name}-{width}-{scheme}.png", full_page=True)


def main(folder: Path, wanted: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser, serving(Path(scratch)) as site:
        shoot(site, browser, wanted or list(STATES), f"{folder}/page-")
    if not wanted:
        more = tempfile.TemporaryDirectory()
        with more as scratch, chromium() as browser, serving(Path(scratch), profile_schema=Profile) as site:
            shoot(site, browser, ["offer"], f"{folder}/page-profile-")
    stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
