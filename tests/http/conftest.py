"""The default host on SQLite alone: what HTTP is made of does not differ by database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import Host, build
from tests.http.tools import Case, make, unchanged


@pytest.fixture
def local_url(tmp_path: Path) -> str:
    """The URL of an empty SQLite database."""
    return f"sqlite:///{tmp_path / 'local.sqlite3'}"


@pytest.fixture
def local(local_url: str) -> Iterator[Host]:
    """The default host: int keys, the tenant on the user; on SQLite."""
    with build(local_url) as built:
        yield built


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with build(f"sqlite:///{tmp_path_factory.mktemp('shared') / 'shared.sqlite3'}") as built:
        yield make(built, "pending")


@pytest.fixture
def untouched(_shared: Case) -> Iterator[Case]:
    """A pending invitation for tests that change nothing: asserts at the end that no row of any table did, and that no
    mail was sent. Hence many tests can share it."""
    mails = len(_shared.host.outbox.messages)
    with unchanged(_shared.host):
        yield _shared
    assert len(_shared.host.outbox.messages) == mails
