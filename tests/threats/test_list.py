"""The list of threats against these tests: no row without a test, no test without a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ID = re.compile(r"\b[A-KR][0-9]{1,2}\b")
TESTS = {
    f"{path.name}::{node.name}": ast.get_docstring(node) or ""
    for path in sorted(Path(__file__).parent.glob("test_?_*.py"))
    for node in ast.walk(ast.parse(path.read_text("utf-8")))
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test")
}


def listed() -> list[str]:
    """The ids in the first column of the page's tables, in its order."""
    lines = (ROOT / "docs/threats.md").read_text("utf-8").splitlines()
    cells = (line.split("|")[1].strip() for line in lines if line.startswith("|"))
    return [cell for cell in cells if ID.fullmatch(cell)]


def ids(docstring: str) -> list[str]:
    """The ids that a docstring begins with."""
    head = re.match(r"(?:[A-KR][0-9]{1,2}(?:, )?)+(?=:)", docstring)
    return ID.findall(head[0]) if head else []


def test_every_threat_has_its_test_and_every_test_its_threat() -> None:
    """The ids of ``docs/threats.md`` and those that these tests begin with are the same."""
    tried = {each for docstring in TESTS.values() for each in ids(docstring)}
    assert sorted(tried) == sorted(listed())


def test_every_test_names_its_threat() -> None:
    """Each test here begins with the id of at least one row, of the group that its file is for."""
    strays = [
        name for name, docstring in TESTS.items() if not any(each[0].lower() == name[5] for each in ids(docstring))
    ]
    assert strays == []


def test_the_page_names_the_file_of_each_test() -> None:
    """The page lists each id once, and each row names a file in which that id is tried."""
    rows = [line for line in (ROOT / "docs/threats.md").read_text("utf-8").splitlines() if line.startswith("|")]
    named = {
        cells[1].strip(): cells[-2] for cells in (line.split("|") for line in rows) if ID.fullmatch(cells[1].strip())
    }
    assert len(named) == len(listed())
    for each, where in named.items():
        files = re.findall(r"test_\w+\.py", where)
        homes = {name.partition("::")[0] for name, docstring in TESTS.items() if each in ids(docstring)}
        assert homes & set(files), each
