"""Tables that are there already are adopted: a host made them by ``flask db migrate`` or ``db.create_all()`` (A1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from .conftest import OURS, Developer
from .test_life import ADD, EVENT, INVITATION, everything, insert

HOSTS = {"tenants": {"id": 1, "name": "Acme"}, "users": {"id": 1, "email": "ada@example.com", "tenant_id": 1}}


def elsewhere(developer: Developer, tmp_path: Path) -> Developer:
    """The same tree, on a fresh database: a colleague's, or the one in production."""
    host = {**developer.host, "url": f"sqlite:///{tmp_path / 'fresh.sqlite3'}"}
    return Developer(developer.shell, developer.folder, host)


@pytest.mark.in_turn
@pytest.mark.parametrize("applied", [False, True], ids=["not applied", "applied"])
def test_a_host_that_autogenerates_our_tables(
    empty_url: str, at_work: Callable[..., Developer], tmp_path: Path, applied: bool
) -> None:
    """After a plain ``flask db migrate`` the steps are recorded, and nothing is made twice; down and up again works."""
    developer = at_work(empty_url, key="str")
    developer.flask("db migrate -m all")
    if applied:
        developer.flask("db upgrade")
    tree = developer.tree()
    developer.flask(ADD)
    (written,) = [text for name, text in developer.tree().items() if name not in tree]
    assert "\nflask_invitations_step = ('0001', '0002', '0003', '0004', '0005')\n" in written
    for each in (developer, elsewhere(developer, tmp_path)):
        each.flask("db upgrade")
        each.flask("db check")
        made = each.schema()
        each.flask("db downgrade")
        assert each.schema() == made
        each.flask("db upgrade")
    assert "Nothing is missing." in developer.flask(ADD)


@pytest.mark.in_turn
def test_a_host_that_creates_all(empty_url: str, at_work: Callable[..., Developer], tmp_path: Path) -> None:
    """Tables that only ``db.create_all()`` has made stay as they are, with their rows. What is missing there is
    created, and so is everything on a fresh database; the way down is that of a fresh database."""
    developer = at_work(empty_url)
    developer.begin()
    developer.flask("create-all")
    developer.flask("db stamp head")
    with developer.database() as connection:
        connection.execute(sa.text(f"DROP TABLE {OURS[-1]}"))
    insert(developer, **HOSTS)
    insert(developer, user_invitations=INVITATION, user_invitation_events=EVENT)
    rows, made = [everything(developer, name) for name in OURS[:-1]], developer.schema(*OURS[:-1])
    developer.flask(ADD)
    developer.flask("db upgrade")
    developer.flask("db check")
    assert [everything(developer, name) for name in OURS] == [*rows, []]
    assert developer.schema(*OURS[:-1]) == made
    assert "Nothing is missing." in developer.flask(ADD)

    fresh = elsewhere(developer, tmp_path)
    for each in (fresh, developer):
        each.flask("db upgrade")
        each.flask("db check")
        each.flask("db downgrade 0host")
        assert not set(OURS) & each.schema().keys()
        each.flask("db upgrade")
        assert set(OURS) < each.schema().keys()
        each.flask("db check")


def test_an_adopting_tree_as_a_script(at_work: Callable[..., Developer], tmp_path: Path) -> None:
    """``flask db upgrade --sql`` writes what a fresh database needs."""
    developer = at_work(f"sqlite:///{tmp_path / 'test.sqlite3'}")
    developer.begin()
    developer.flask("create-all")
    developer.flask(ADD)
    script = developer.flask("db upgrade 0host:head --sql")
    assert script.count("CREATE TABLE user_invitation") == len(OURS)


@pytest.mark.in_turn
def test_several_databases(empty_url: str, at_work: Callable[..., Developer], tmp_path: Path) -> None:
    """On the multidb template only the function of the users' database looks."""
    beside = f"sqlite:///{tmp_path / 'beside.sqlite3'}"
    developer = at_work(beside, init="--multidb", binds={"other": empty_url}, bind="other")
    developer.begin()
    developer.flask("create-all")
    developer.flask("db stamp head")
    developer.flask(ADD)
    developer.flask("db upgrade")
    developer.flask("db check")


def test_another_shape(empty_url: str, at_work: Callable[..., Developer]) -> None:
    """A table of another shape is refused, naming the difference; what bothers nobody is none."""
    developer = at_work(empty_url)
    developer.begin()
    developer.flask("create-all")
    with developer.database() as connection:
        connection.execute(sa.text("ALTER TABLE user_invitations ADD COLUMN plan VARCHAR(9)"))
        connection.execute(sa.text("ALTER TABLE user_invitation_events DROP COLUMN user_agent"))
    sentence = developer.refused(ADD)
    assert "The table user_invitation_events exists, but not as it should: user_agent is missing. " in sentence
    with developer.database() as connection:
        connection.execute(sa.text("ALTER TABLE user_invitation_events ADD COLUMN user_agent VARCHAR(512)"))
    developer.flask(ADD)
    developer.flask("db stamp 0host")
    developer.flask("db upgrade")
