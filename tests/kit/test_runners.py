"""The kit under other runners: unittest where pytest is not installed, and pytest in a host's own repository."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.kit.hosts import CHECKS

ROOT = Path(__file__).parents[2]
WITHOUT_PYTEST = "import sys, unittest; sys.modules['pytest'] = None; unittest.main('tests.kit.plain', verbosity=2)"

CONFTEST = """
import pytest
from flask_invitations.testing import RecordingMailer
from tests.kit.plain import create_app

pytest_plugins = ["flask_invitations.testing"]

@pytest.fixture
def app():
    return create_app()
"""
HOST = """
from flask_invitations.testing import signed_in_manager
from tests.kit.plain import TestHooks

class TestOurHooks(TestHooks):
    password = "short"
    test_mailer_takes_a_message = None

def test_fixtures(app, invitation_mail, invitation_clock):
    with signed_in_manager(app) as manager:
        manager.post("/api/v1/users/invite", json={"email": "ann@example.com"})
    assert [message.to for message in invitation_mail.messages] == ["ann@example.com"]
"""


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """How it ends, and all that it prints."""
    environment = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_without_pytest() -> None:
    """Where pytest cannot be imported, unittest runs a host's tests, the contract among them."""
    status, told = run(ROOT, "-c", WITHOUT_PYTEST)
    assert status == 0, told
    assert f"Ran {len(CHECKS) + 3} tests" in told
    assert re.search(r"^OK \(skipped=\d\)$", told, re.MULTILINE), told


def test_under_pytest(tmp_path: Path) -> None:
    """Warnings being errors, and the kit imported before it is a plugin: fixtures are there, a plain subclass is
    collected, a skip is a skip, a failure says it in one line, and ``None`` does without a check."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_host.py").write_text(HOST)
    only = ("-k", "TestOurHooks or fixtures", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-rs", "-W", "error")
    status, told = run(tmp_path, "-m", "pytest", *only)
    assert status == 1, told
    assert re.search("^E +AssertionError: validate_password raised PasswordRejected", told, re.MULTILINE), told
    assert "no join hook" in told
    assert re.search(r"= 1 failed, \d+ passed, \d+ skipped, \d+ deselected", told), told
    assert "test_mailer_takes_a_message" not in told
