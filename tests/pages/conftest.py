"""One browser for all tests of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pages import browser as browsers


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The running browser."""
    with browsers.chromium() as running:
        yield running


def pytest_sessionfinish() -> None:
    """Stop it; nothing where none was started."""
    browsers.stop()
