"""Races run on SQLite in its write-ahead mode too, and in processes of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.conftest import DATABASES
from tests.races.crew import Crew
from tests.servers import File, Scratch


@pytest.fixture(params=(*DATABASES, "sqlite-wal"))
def _database(request: pytest.FixtureRequest, tmp_path: Path) -> Scratch | File:
    if not request.param.startswith("sqlite"):
        server: Scratch = request.getfixturevalue(f"_{request.param}")
        return server
    file = File(tmp_path)
    if request.param == "sqlite-wal":
        with closing(sqlite3.connect(make_url(file.empty()).database or "")) as connection:
            assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    return file


@pytest.fixture(scope="session")
def crew() -> Iterator[Crew]:
    """Processes to race and to kill."""
    with Crew() as gathered:
        yield gathered
