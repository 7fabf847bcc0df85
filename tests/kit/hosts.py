"""Runs the checks of ``HostContract`` on a host of these tests."""

from __future__ import annotations

import unittest
from typing import Any

from flask_invitations.testing import HostContract
from tests.hosts import Host

CHECKS = [name.removeprefix("test_") for name in vars(HostContract) if name.startswith("test_")]


def verdicts(host: Host, *checks: str, **attributes: Any) -> dict[str, str]:
    """What each check (default: all) that has failed, or was skipped, has to say, by its name."""
    kind = type("Contract", (HostContract, unittest.TestCase), {"app": host.app, **attributes})
    result = unittest.TestResult()
    unittest.TestSuite(kind(f"test_{check}") for check in checks or CHECKS).run(result)
    told = [*result.failures, *((case, f"no failure, but an error: {text}") for case, text in result.errors)]
    return {_name(case): text for case, text in told} | {_name(case): f"skipped: {why}" for case, why in result.skipped}


def _name(case: unittest.TestCase) -> str:
    return case.id().rpartition(".")[2].removeprefix("test_")
