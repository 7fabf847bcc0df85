"""Races run on SQLite in its write-ahead mode too."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import DATABASES
from tests.races.crew import Crew


@pytest.fixture(params=(*DATABASES, "sqlite-wal"))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The SQLAlchemy URL of an empty database, on each server in turn."""
    if not request.param.startswith("sqlite"):
        url: str = request.getfixturevalue(f"_{request.param}").empty()
        return url
    file = tmp_path / "race.sqlite3"
    if request.param == "sqlite-wal":
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    return f"sqlite:///{file}"


@pytest.fixture(scope="session")
def crew() -> Iterator[Crew]:
    """Processes to race and to kill."""
    with Crew() as gathered:
        yield gathered
