"""S3: the tests in ``trackers.py``, in a process that ends with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SERVERS

ROOT = Path(__file__).parents[2]
VARIABLES = {"postgresql": "INVITATIONS_TEST_POSTGRESQL", "mariadb": "INVITATIONS_TEST_MARIADB"}


@pytest.mark.soak
@pytest.mark.parametrize("part", ["database", "not database"])
def test_in_a_process_of_its_own(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str
) -> None:
    """S3, S4: whatever fails, an error tracker with its defaults is told no secret and no address."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # what is asked of the whole run is not asked of a part
    for name, url in pytestconfig.stash[SERVERS].items():
        if url is not None:
            monkeypatch.setenv(VARIABLES[name], url)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", part, f"--basetemp={tmp_path / 'inner'}"]
    done = subprocess.run([*command, "tests/faults/trackers.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
