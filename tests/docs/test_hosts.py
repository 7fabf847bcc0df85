"""The pages of docs/hosts: what they say of their examples is so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in (ROOT / "docs/hosts").glob("*.md") if path.stem != "any")
#: An example may be longer than it was when its page was written, never longer than this.
LONGEST = 80


def example(page: Path) -> Path:
    """What the page is about: a file, or a folder."""
    found = re.search(r"\[examples/[\w./]+\]\((\.\./\.\./examples/[\w./]+)\)", page.read_text("utf-8"))
    assert found is not None, page.name
    return (page.parent / found[1]).resolve()


def files(of: Path) -> list[Path]:
    """All that the reader of an example has to read, but for its own README."""
    if of.is_file():
        return [of]
    return [path for path in sorted(of.rglob("*")) if path.suffix in {".py", ".html", ".js"}]


def sections(path: Path) -> Iterator[list[str]]:
    """The parts of a file that are about invitations."""
    text = path.read_text("utf-8")
    for part in re.findall(r"^ *# Invitations\n(.*?)(?=^ *# End of invitations$|\Z)", text, re.DOTALL | re.MULTILINE):
        yield dedent(part).strip().splitlines()


def code(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def glue(of: Path) -> int:
    """The lines of code that are there because of us: those sections, our imports and our settings."""
    count = 0
    for path in files(of):
        inside = [line for part in sections(path) for line in code(part)]
        every = [line for line in code(path.read_text("utf-8").splitlines()) if line not in inside]
        count += len(inside) + sum("flask_invitations" in line or "INVITATIONS_" in line for line in every)
    return count


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_glue_is_counted(page: Path) -> None:
    """The page tells how many lines of glue the example has, and it shows exactly those that are in one place."""
    text, of = page.read_text("utf-8"), example(page)
    told = re.search(r"\*\*(\d+) lines of glue\*\*", text)
    assert told is not None
    assert int(told[1]) == glue(of)
    shown = ["\n".join(part) for path in files(of) for part in sections(path)]
    assert "\n\n".join(shown) in [snippet.strip() for snippet in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_example_is_short(page: Path) -> None:
    """An example is at most 80 lines long, and its page says what to install."""
    of = example(page)
    assert sum(len(path.read_text("utf-8").splitlines()) for path in files(of)) <= LONGEST
    assert re.search(r"^pip install .*flask-invitations", page.read_text("utf-8"), re.MULTILINE)


def test_every_example_of_a_host_has_its_page() -> None:
    """What is in examples/ under ``with_`` is told of by a page, here or in the guide of queues."""
    there = {path.name for path in (ROOT / "examples").glob("with_*")}
    assert there - {"with_celery"} == {example(page).name for page in PAGES}
