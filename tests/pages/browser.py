"""A real browser, where there is one: started once for all tests of a process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from tests.servers import in_ci

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: No sandbox: tests may run as root. The rest keeps it from calling home.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_stack, _running = ExitStack(), list[Any]()


def find_chromium() -> str | None:
    """``INVITATIONS_TEST_CHROMIUM``, else the first of the usual names on the path."""
    found = (shutil.which(name) for name in (os.environ.get("INVITATIONS_TEST_CHROMIUM", ""), *NAMES) if name)
    return next(filter(None, found), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """The running browser; where there is none the test is skipped, in CI it fails."""
    path = find_chromium()
    if path is None or find_spec("playwright") is None:
        reason = "no browser: install playwright and Debian's chromium, or set INVITATIONS_TEST_CHROMIUM to a browser"
        pytest.fail(reason) if in_ci() else pytest.skip(reason)
    if not _running:
        _running.append(_start(path))
    yield _running[0]


def _start(path: str | None) -> Any:
    from playwright.sync_api import sync_playwright

    playwright = _stack.enter_context(sync_playwright())
    browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
    _stack.callback(browser.close)
    return browser


def stop() -> None:
    """At the end of the process's tests."""
    _running.clear()
    _stack.close()
