"""The pages as a reader of Markdown has them: tables, code blocks, headings and links."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGES.md", "SECURITY.md")),
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in page.parts),
    *sorted((ROOT / "examples").rglob("*.md")),
]


class Block(NamedTuple):
    """A block of code.

    :param mark: the HTML comment right before it, which is not shown.
    """

    mark: str
    language: str
    text: str


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text("utf-8")


def rows(page: str) -> list[list[str]]:
    """The cells of every table row of a page, marks of code taken off."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in read(page).splitlines()
        if line.startswith("|")
    ]
    return [row for row in cells if not set(row[0]) <= set("-: ")]


def blocks(text: str) -> Iterator[Block]:
    """The blocks of code of a page, in order."""
    for found in re.finditer(r"^(?:<!-- (.*?) -->\n)?```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield Block(found[1] or "", found[2], found[3])


def without_blocks(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What can be linked to on a page, named as GitHub names it."""
    seen, found = Counter[str](), set()
    for title in re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(text: str) -> Iterator[tuple[str, str]]:
    """The relative links and images of a page: path (empty: the page itself) and anchor."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(text)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor
