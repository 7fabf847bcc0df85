"""The types that hosts see: what they may write passes, what they may not is refused, and nothing public is untyped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIGHT, WRONG = HERE / "right.py", HERE / "wrong.py"
#: A whole host with its tests, as one writes it.
PLAIN = ROOT / "tests/kit/plain.py"


def run(*arguments: str) -> str:
    """What a module of this environment prints, run in the root of the repository."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # Pyright asks `python` for the path
    environment = {**os.environ, "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def marks() -> dict[int, set[str]]:
    """The lines of ``wrong.py`` that are errors, with the kinds that mypy calls them."""
    return marked("[EM]")


def marked(letter: str) -> dict[int, set[str]]:
    lines = enumerate(WRONG.read_text("utf-8").splitlines(), start=1)
    found = ((number, re.search(rf"# {letter}: ([a-z, -]+)$", line)) for number, line in lines)
    return {number: set(mark[1].split(", ")) for number, mark in found if mark}


def test_mypy(marks: dict[int, set[str]]) -> None:
    """A6: to mypy --strict no line of ``right.py`` is an error, and of ``wrong.py`` exactly those that are marked,
    each of the marked kind."""
    told = run("mypy", "--no-error-summary", "--no-pretty", *map(str, (RIGHT, PLAIN, WRONG)))
    found: dict[int, set[str]] = {}
    for line in told.splitlines():
        error = re.fullmatch(r"(.+?):(\d+): error: .*\[([\w-]+)\]", line)
        assert error is not None or ": note: " in line, line
        if error:
            assert error[1].endswith(WRONG.name), line
            found.setdefault(int(error[2]), set()).add(error[3])
    assert found == marks


def test_pyright() -> None:
    """A6: to Pyright no line of ``right.py`` or of a host is an error, and of ``wrong.py`` those that are marked."""
    told: Any = json.loads(run("pyright", "--outputjson", *map(str, (RIGHT, PLAIN, WRONG))))
    errors = [each for each in told["generalDiagnostics"] if each["severity"] == "error"]
    assert [each for each in errors if not each["file"].endswith(WRONG.name)] == []
    lines = {each["range"]["start"]["line"] + 1: each["message"] for each in errors}
    assert lines.keys() == marked("E").keys()


def test_everything_public_is_typed() -> None:
    """Pyright finds a full type for every name that counts as public: what begins with no underscore, in any room."""
    told: Any = json.loads(run("pyright", "--verifytypes", "flask_invitations", "--ignoreexternal", "--outputjson"))
    complete = told["typeCompleteness"]
    assert complete["exportedSymbolCounts"]["withKnownType"] > 1000
    untyped = [each["name"] for each in complete["symbols"] if not each["isTypeKnown"] or each["isTypeAmbiguous"]]
    assert untyped == []
    assert complete["completenessScore"] == 1
