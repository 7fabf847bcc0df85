"""One browser for all tests of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pages import browser as browsers


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """The running browser. It ends with these tests: its event loop is in nobody else's way."""
    with browsers.chromium() as running:
        yield running
    browsers.stop()
