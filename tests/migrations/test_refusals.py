"""What the command says where a tree cannot take our steps: one sentence, exit status 1, and the tree as it was.

None of it depends on the kind of database, so SQLite is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import HEADER, Developer
from .test_life import ADD

NOTHING = "def upgrade(): ...\ndef downgrade(): ...\n"


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


@pytest.mark.parametrize("created", [False, True], ids=["empty database", "create_all"])
def test_the_hosts_own_tables_come_first(url: str, at_work: Callable[..., Developer], created: bool) -> None:
    """A2: where no revision makes the host's own tables, ours would point at nothing. The order of commands that the
    answer gives works."""
    developer = at_work(url)
    if created:
        developer.flask("create-all")
    sentence = developer.refused(ADD)
    assert "No revision of this tree creates tenants and users." in sentence
    assert "Run `flask db migrate` and `flask db upgrade`, then `flask invitations migrations`" in sentence
    if created:
        empty = {**developer.host, "url": f"{url}.empty"}
        Developer(developer.shell, developer.folder, empty).flask("db migrate")
        developer.flask("db stamp head")
    else:
        developer.flask("db migrate")
        developer.flask("db upgrade")
    for command in (ADD, "db upgrade", "db check"):
        developer.flask(command)


def test_a_host_that_is_older_than_its_tree(url: str, at_work: Callable[..., Developer]) -> None:
    """A2: an empty first revision that stands for tables made by other means is enough, where they are there."""
    developer = at_work(url, installed=False)
    developer.flask("create-all")
    developer.revise("0base", HEADER.format(revision="0base", down="").replace('""', "None") + NOTHING)
    developer.host["installed"] = True
    developer.flask(ADD)
    for command in ("db upgrade", "db check"):
        developer.flask(command)


def test_a_squashed_history(url: str, at_work: Callable[..., Developer]) -> None:
    """Squashing loses the markers. A tuple of them in the squashed revision gives them back, ``--mark`` does, and
    so does the ``create_table`` in the squashed revision: none of them makes a table twice."""
    developer = at_work(url)
    developer.begin()
    developer.flask(ADD)
    developer.flask("db upgrade")
    developer.flask("db stamp 0host")
    versions = developer.folder / "migrations" / "versions"
    for path in versions.glob("*flask_invitations*"):
        path.unlink()

    with (versions / "0host.py").open("a") as squashed:
        squashed.write('flask_invitations_step = ("0001", "0002", "0003")\n')
        squashed.write("def upgrade_more():\n    op.create_table('user_invitation_requests')\n")
    developer.flask(f"{ADD} --mark 0004")
    (marked,) = [text for name, text in developer.tree().items() if "flask_invitations_0004" in name]
    assert "\nflask_invitations_step = ('0004', '0005')\n" in marked
    assert "create_table" not in marked
    developer.flask("db upgrade")
    developer.flask("db check")
