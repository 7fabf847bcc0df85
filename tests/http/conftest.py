"""The default host on SQLite alone: what HTTP is made of does not differ by database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import Host, build


@pytest.fixture
def local_url(tmp_path: Path) -> str:
    """The URL of an empty SQLite database."""
    return f"sqlite:///{tmp_path / 'local.sqlite3'}"


@pytest.fixture
def local(local_url: str) -> Iterator[Host]:
    """The default host: int keys, the tenant on the user; on SQLite."""
    with build(local_url) as built:
        yield built
