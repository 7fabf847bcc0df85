"""A developer at work: a folder with the host's migration tree, a database, and real ``flask`` commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

ROOT = Path(__file__).parents[2]
OURS = (
    "user_invitations",
    "user_invitation_events",
    "user_invitation_deliveries",
    "user_invitation_suppressions",
    "user_invitation_requests",
)
HOST: dict[str, Any] = {
    "key": "int",
    "convention": True,
    "bind": None,
    "binds": {},
    "batch": True,
    "installed": True,
    "migrate": True,
    "pragma": False,
}

HEADER = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{revision}", "{down}", None, None


"""

#: The host's first revision, as it would write it by hand.
FIRST = """
import sqlalchemy as sa
from alembic import op
from tests.migrations.host_app import BINDS, HOST, KEYS

revision, down_revision, branch_labels, depends_on = "0host", None, None, None


def upgrade(engine_name=""):
    if engine_name == (HOST["bind"] or ""):
        key = KEYS[HOST["key"]]
        op.create_table(
            "tenants", sa.Column("id", key, primary_key=True), sa.Column("name", sa.String(200), nullable=True)
        )
        op.create_table(
            "users",
            sa.Column("id", key, primary_key=True),
            sa.Column("email", sa.String(254), nullable=True),
            sa.Column("role", sa.String(64), nullable=True),
            sa.Column("tenant_id", key, sa.ForeignKey("tenants.id", name="fk_users_tenant_id"), nullable=False),
        )
    if not BINDS or engine_name == ("" if HOST["bind"] else "other"):
        op.create_table("notes", sa.Column("id", sa.Integer, primary_key=True))


def downgrade(engine_name=""):
    raise NotImplementedError
"""


class Shell:
    """Runs commands in processes of their own; see ``shell.py``."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def run(self, folder: Path, environment: dict[str, str], arguments: list[str]) -> tuple[int, str]:
        """Give the exit status and what was printed."""
        output = folder / "output.txt"
        task = {"folder": str(folder), "environment": environment, "arguments": arguments, "output": str(output)}
        assert self._server.stdin
        assert self._server.stdout
        print(json.dumps(task), file=self._server.stdin, flush=True)
        return int(self._server.stdout.readline()), output.read_text()


class Developer:
    """Works in ``folder``, on the app of ``host_app.py``; ``host`` says which kind of host that is."""

    def __init__(self, shell: Shell, folder: Path, host: dict[str, Any]) -> None:
        self.shell = shell
        self.folder = folder
        self.host = host

    def flask(self, command: str, *, fails: bool = False) -> str:
        """Run a ``flask`` command and give what it printed."""
        environment = {"FLASK_APP": "tests.migrations.host_app", "HOST": json.dumps(self.host)}
        status, output = self.shell.run(self.folder, environment, command.split())
        assert status == (1 if fails else 0), output
        return output

    def refused(self, command: str) -> str:
        """Run a command that must answer with exit status 1 and one sentence, and leave the tree as it was."""
        before = self.tree()
        output = self.flask(command, fails=True)
        assert "Traceback" not in output
        assert self.tree() == before
        (sentence,) = [line for line in output.splitlines() if line.startswith("Error: ")]
        return sentence

    def begin(self) -> None:
        """Put the host's first revision into the tree."""
        self.revise("0host", FIRST)

    def revise(self, name: str, text: str) -> None:
        """Put a revision into the tree."""
        (self.folder / "migrations" / "versions" / f"{name}.py").write_text(text)

    @property
    def head(self) -> str:
        """The revision at the head of the tree."""
        return self.flask("db heads").split(" (head)")[0].split()[-1]

    def tree(self) -> dict[str, str]:
        """Every file of the migration tree."""
        files = (path for path in (self.folder / "migrations").rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder / "migrations")): path.read_text() for path in files}

    @contextmanager
    def database(self) -> Iterator[sa.Connection]:
        """A connection to the database that holds users, for the length of the block."""
        bind = self.host["bind"]
        engine = sa.create_engine(self.host["binds"][bind] if bind else self.host["url"], poolclass=sa.NullPool)
        with engine.begin() as connection:
            yield connection

    def schema(self, *tables: str) -> dict[str, Any]:
        """All that the database tells about these tables; default: about every one but Alembic's own."""
        with self.database() as connection:
            inspector = sa.inspect(connection)
            names = tables or sorted(set(inspector.get_table_names()) - {"alembic_version"})
            return {name: _describe(inspector, name) for name in names}


def snippet(mark: str) -> str:
    """The piece of Python in docs/migrations.md that stands behind this mark."""
    found = re.search(rf"<!-- {mark} -->\n```python\n(.*?)```", (ROOT / "docs/migrations.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def _describe(inspector: sa.Inspector, table: str) -> dict[str, Any]:
    def by_name(rows: Any) -> Any:
        return sorted(({key: str(value) for key, value in row.items()} for row in rows), key=lambda row: row["name"])

    return {
        "columns": [{key: str(value) for key, value in column.items()} for column in inspector.get_columns(table)],
        "primary key": inspector.get_pk_constraint(table),
        "foreign keys": by_name(inspector.get_foreign_keys(table)),
        "unique": by_name(inspector.get_unique_constraints(table)),
        "indexes": by_name(inspector.get_indexes(table)),
        "checks": by_name(inspector.get_check_constraints(table)),
    }


@pytest.fixture(scope="session")
def shell() -> Iterator[Shell]:
    """Where commands are run."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.migrations.shell"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        yield Shell(server)
        server.stdin and server.stdin.close()


@pytest.fixture(scope="session")
def new_tree(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """What ``flask db init`` makes, with these options; made once, to be copied."""
    made: dict[str, Path] = {}

    def make(options: str) -> Path:
        if options not in made:
            folder = tmp_path_factory.mktemp("tree")
            Developer(shell, folder, {**HOST, "url": "sqlite://"}).flask(f"db init {options}")
            made[options] = folder / "migrations"
        return made[options]

    return make


@pytest.fixture
def at_work(shell: Shell, new_tree: Callable[[str], Path], tmp_path: Path) -> Callable[..., Developer]:
    """Makes a developer: ``at_work(url, init="--multidb", key="uuid", ...)``; ``init=None``: has no tree yet."""

    def make(url: str, *, init: str | None = "", **host: Any) -> Developer:
        if init is not None:
            shutil.copytree(new_tree(init), tmp_path / "migrations")
        return Developer(shell, tmp_path, {**HOST, "url": url, **host})

    return make
