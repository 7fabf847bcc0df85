"""What the command says where a tree cannot take our steps: one sentence, exit status 1, and the tree as it was.

None of it depends on the kind of database, so SQLite is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import OURS, Developer
from .test_life import ADD


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An empty SQLite database."""
    return f"sqlite:///{tmp_path / 'test.sqlite3'}"


def test_flask_migrate_is_not_set_up(url: str, at_work: Callable[..., Developer]) -> None:
    """An app without Flask-Migrate is told to set it up."""
    sentence = at_work(url, init=None, migrate=False).refused(ADD)
    assert "Flask-Migrate is not set up on this app. Call Migrate(app, db) and run `flask db init`." in sentence


def test_there_is_no_tree(url: str, at_work: Callable[..., Developer]) -> None:
    """An app without a migration tree is told to make one."""
    assert "Run `flask db init` first" in at_work(url, init=None).refused(ADD)


def test_two_heads(url: str, at_work: Callable[..., Developer]) -> None:
    """A tree with two heads is told to merge them, with what Alembic says of it; then the steps go on top."""
    developer = at_work(url)
    developer.begin()
    versions = developer.folder / "migrations" / "versions"
    for name in ("1left", "1right"):
        head = f'revision, down_revision, branch_labels, depends_on = "{name}", "0host", None, None\n'
        (versions / f"{name}.py").write_text(head + "def upgrade(): ...\ndef downgrade(): ...\n")
    sentence = developer.refused(ADD)
    assert "Run `flask db merge heads` first" in sentence
    assert "Multiple heads are present" in sentence
    developer.flask("db merge heads")
    developer.flask(ADD)
    developer.flask("db upgrade")
    developer.flask("db check")


def test_a_broken_tree(url: str, at_work: Callable[..., Developer]) -> None:
    """A tree that Alembic cannot read is refused with what Alembic says of it."""
    developer = at_work(url)
    (developer.folder / "migrations" / "versions" / "stray.py").write_text("")
    sentence = developer.refused(ADD)
    assert "Fix the tree first" in sentence
    assert "stray.py" in sentence


def test_no_such_step(url: str, at_work: Callable[..., Developer]) -> None:
    """A step that does not exist cannot be marked; the answer lists those that do."""
    assert "There is no step 0009. The steps are 0001, 0002, 0003, 0004, 0005." in at_work(url).refused(
        f"{ADD} --mark 0009"
    )


def test_the_database_is_down(at_work: Callable[..., Developer]) -> None:
    """A database that does not answer is a sentence without its password, not a traceback."""
    sentence = at_work("postgresql+psycopg://me:hidden@127.0.0.1:1/none").refused(ADD)
    assert "The database does not answer (OperationalError). Start it, then try again." in sentence
    assert "hidden" not in sentence


def test_the_tree_is_of_another_database(url: str, at_work: Callable[..., Developer], tmp_path: Path) -> None:
    """A tree for one database cannot take tables that live in another."""
    other = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    developer = at_work(url, bind="other", binds={"other": other})
    assert "Create it with `flask db init --multidb`" in developer.refused(ADD)


def test_tables_without_a_step(url: str, at_work: Callable[..., Developer]) -> None:
    """Tables that stand in the database, but in no revision, are not made twice: the answer tells the two ways out."""
    developer = at_work(url)
    developer.flask("create-all")
    sentence = developer.refused(ADD)
    assert f"{' and '.join(OURS)} already exist" in sentence
    assert "If db.create_all() created them, drop them first." in sentence


def test_a_squashed_history(url: str, at_work: Callable[..., Developer]) -> None:
    """Squashing loses the markers; a tuple of them in the squashed revision gives them back, or ``--mark`` does."""
    developer = at_work(url)
    developer.begin()
    developer.flask(ADD)
    developer.flask("db upgrade")
    developer.flask("db stamp 0host")
    versions = developer.folder / "migrations" / "versions"
    for path in versions.glob("*flask_invitations*"):
        path.unlink()

    assert "--mark 0001 --mark 0002 --mark 0003 --mark 0004 --mark 0005" in developer.refused(ADD)
    with (versions / "0host.py").open("a") as squashed:
        squashed.write('flask_invitations_step = ("0001", "0002", "0003", "0005")\n')
    assert "run `flask invitations migrations --mark 0004`" in developer.refused(ADD)
    developer.flask(f"{ADD} --mark 0004")
    (marked,) = [text for name, text in developer.tree().items() if "flask_invitations_0004" in name]
    assert "\nflask_invitations_step = '0004'\n" in marked
    assert "create_table" not in marked
    developer.flask("db upgrade")
    developer.flask("db check")
