"""Hosts to attack: on SQLite where a policy is tried, on each database where a statement is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import Host, build
from tests.pages import browser as browsers


@pytest.fixture
def local_url(tmp_path: Path) -> str:
    """The URL of an empty SQLite database."""
    return f"sqlite:///{tmp_path / 'local.sqlite3'}"


@pytest.fixture
def local(local_url: str) -> Iterator[Host]:
    """The default host: int keys, the tenant on the user; on SQLite."""
    with build(local_url) as built:
        yield built


@pytest.fixture
def joining(local_url: str) -> Iterator[Host]:
    """A host whose accounts can be members of many tenants; on SQLite."""
    with build(local_url, tenancy="membership") as built:
        yield built


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """The running browser."""
    with browsers.chromium() as running:
        yield running
    browsers.stop()
