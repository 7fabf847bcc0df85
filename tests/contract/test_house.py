"""The contributor's house: what the workflows may do and run, and that CONTRIBUTING names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
SESSIONS = set(re.findall(r"@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text()))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_pinned_and_may_little(path: Path) -> None:
    """Each action is pinned to a full commit, its version beside it; nothing is allowed but what a job needs."""
    text = path.read_text()
    used = re.findall(r"uses: (.+)", text)
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []
    assert "\npermissions: {}\n" in text
    assert text.count("runs-on:") == len(re.findall(r"^    permissions:$", text, re.MULTILINE))
    assert "secrets." not in text
    assert re.findall(r"run:.*\$\{\{", text) == []


def test_workflows_and_contributing_name_sessions_that_there_are() -> None:
    """Every session of nox that a workflow or CONTRIBUTING names is there, and CONTRIBUTING names each."""
    texts = [CONTRIBUTING, *(path.read_text() for path in WORKFLOWS)]
    lines = [line for text in texts for line in re.findall(r"nox -s ([^`\n]+)", text)]
    named = {re.split(r"-(?=[\d$])", word.strip('"'))[0] for line in lines for word in line.split(" -- ")[0].split()}
    assert named - {"$SESSION"} == SESSIONS


def test_every_python_that_is_promised_is_tested() -> None:
    """pyproject.toml, nox and the workflow name the same versions of Python."""
    promised = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    nox = re.search(r"PYTHONS = \[(.*)\]", (ROOT / "noxfile.py").read_text())
    workflow = re.search(r"python: \[(.*)\]", (ROOT / ".github/workflows/tests.yml").read_text())
    assert nox is not None
    assert workflow is not None
    assert [re.findall(r"3\.\d+", found[1]) for found in (nox, workflow)] == [promised, promised]


def test_minimum_tests_are_there() -> None:
    """What runs with the oldest dependencies exists."""
    assert [line for line in (ROOT / ".ci/minimum.txt").read_text().split() if not (ROOT / line).exists()] == []
