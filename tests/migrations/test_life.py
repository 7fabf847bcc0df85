"""A host's life with our steps in its tree: real ``flask`` commands, on each database."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import sqlalchemy as sa

from .conftest import HEADER, OURS, Developer, snippet

ADD = "invitations migrations"
NOTHING_NEW = "No changes in schema detected"

#: What a bare column cannot tell from the value: Python 3.12 and later want SQLAlchemy to write times.
TYPES: dict[type[Any], Any] = {uuid.UUID: sa.Uuid(), datetime: sa.DateTime()}
ID, HASH, NOW = uuid.UUID(int=7), "h" * 64, datetime(2026, 1, 2, 3, 4, 5)
INVITATION: dict[str, Any] = {
    "id": ID,
    "tenant_id": 1,
    "invited_by_id": 1,
    "accepted_by_id": 1,
    "email": "new@example.com",
    "role": "user",
    "token_hash": HASH,
    "token_nonce": "n" * 43,
    "link_shown": False,
    "status": "accepted",
    "lifetime": 3600,
    **dict.fromkeys(("expires_at", "accepted_at", "closed_at", "created_at", "updated_at"), NOW),
}
EVENT = {"id": ID, "tenant_id": 1, "invitation_id": ID, "type": "accepted", "at": NOW}
DELIVERY = {"id": ID, "invitation_id": ID, "kind": "invitation", "state": "sent", "attempts": 1, "created_at": NOW}


def insert(developer: Developer, **rows: dict[str, Any]) -> None:
    with developer.database() as connection:
        for name, row in rows.items():
            columns = [sa.column(key, TYPES.get(type(value))) for key, value in row.items()]
            connection.execute(sa.insert(sa.table(name, *columns)).values(row))


def everything(developer: Developer, name: str) -> list[Any]:
    with developer.database() as connection:
        return list(connection.execute(sa.text(f"SELECT * FROM {name}")).all())


def test_a_host_takes_our_steps_and_gives_them_back(empty_url: str, at_work: Callable[..., Developer]) -> None:
    """R20: the steps join the host's tree, its own commands see nothing left to do, and taking the steps back takes
    exactly what they brought; no way down and up makes a used token usable or touches a row of the host's. All of it
    goes on working when the package is gone."""
    developer = at_work(empty_url, installed=False)
    developer.flask("db migrate -m users")
    developer.flask("db upgrade")
    insert(developer, tenants={"id": 1, "name": "Acme"}, users={"id": 1, "email": "ada@example.com", "tenant_id": 1})
    hosts_own, hosts_tree = developer.schema(), developer.tree()
    (hosts_head,) = [name.split("_")[0] for name in (path.split("/")[-1] for path in hosts_tree) if "_users.py" in name]

    developer.host["installed"] = True
    said = developer.flask(ADD)
    tree = developer.tree()
    assert all(name in said for name in tree.keys() - hosts_tree.keys())
    assert hosts_tree.items() < tree.items()
    assert len(tree) == len(hosts_tree) + len(OURS)
    assert developer.schema() == hosts_own

    developer.flask("db upgrade")
    assert hosts_own.items() < developer.schema().items()
    assert developer.schema().keys() - hosts_own.keys() == set(OURS)
    developer.flask("db check")
    assert NOTHING_NEW in developer.flask("db migrate")
    assert "Nothing is missing." in developer.flask(ADD)
    assert developer.tree() == tree

    insert(developer, user_invitations=INVITATION, user_invitation_events=EVENT, user_invitation_deliveries=DELIVERY)
    used, told = everything(developer, "user_invitations"), everything(developer, "user_invitation_events")
    developer.flask("db downgrade")
    assert OURS[-1] not in developer.schema()
    developer.flask("db upgrade")
    assert everything(developer, "user_invitations") == used
    assert everything(developer, "user_invitation_events") == told

    developer.flask(f"db downgrade {hosts_head}")
    assert developer.schema() == hosts_own
    developer.flask("db upgrade")
    assert [everything(developer, name) for name in OURS] == [[] for _ in OURS]
    assert [len(everything(developer, name)) for name in ("tenants", "users")] == [1, 1]

    developer.host["installed"] = False
    developer.revise("9farewell", HEADER.format(revision="9farewell", down=developer.head) + snippet("farewell"))
    developer.flask("db upgrade")
    developer.flask("db check")
    assert developer.schema() == hosts_own


@pytest.mark.in_turn
@pytest.mark.parametrize(
    ("key", "convention", "batch"),
    [("uuid", False, True), ("str", True, False), ("own", True, True)],
)
def test_the_steps_make_what_create_all_makes(
    empty_url: str, at_work: Callable[..., Developer], key: str, convention: bool, batch: bool
) -> None:
    """Whatever the host's keys and naming convention, the steps and ``create_all`` give the same schema, which
    ``flask db check`` finds complete."""
    developer = at_work(empty_url, key=key, convention=convention, batch=batch)
    developer.begin()
    developer.flask(ADD)
    developer.flask("db upgrade")
    developer.flask("db check")
    migrated = developer.schema(*OURS)
    developer.flask("create-all")
    assert migrated == developer.schema(*OURS)


@pytest.mark.in_turn
@pytest.mark.parametrize("bind", [None, "other"], ids=["users on the default bind", "users on another bind"])
def test_several_databases(empty_url: str, at_work: Callable[..., Developer], tmp_path: Path, bind: str | None) -> None:
    """On the multidb template our tables go where the users are, and nowhere else."""
    beside = f"sqlite:///{tmp_path / 'beside.sqlite3'}"
    urls = (beside, empty_url) if bind else (empty_url, beside)
    developer = at_work(urls[0], init="--multidb", binds={"other": urls[1]}, bind=bind, key="bigint")
    developer.begin()
    developer.flask(ADD)
    developer.flask("db upgrade")
    assert NOTHING_NEW in developer.flask("db migrate")
    assert set(OURS) < developer.schema().keys()
    with sa.create_engine(beside, poolclass=sa.NullPool).connect() as connection:
        assert set(sa.inspect(connection).get_table_names()) == {"alembic_version", "notes"}


def test_a_rebuild_on_sqlite_keeps_our_rows(at_work: Callable[..., Developer], tmp_path: Path) -> None:
    """A host on SQLite with foreign keys on, whose env.py has the documented line, rebuilds its own tables without
    losing the invitations that point at them."""
    developer = at_work(f"sqlite:///{tmp_path / 'test.sqlite3'}", pragma=True)
    env = developer.folder / "migrations" / "env.py"
    before = "    with connectable.connect() as connection:\n"
    assert before in env.read_text()
    env.write_text(env.read_text().replace(before, before + indent(snippet("env.py"), " " * 8)))
    developer.begin()
    developer.flask(ADD)
    developer.flask("db upgrade")
    insert(developer, tenants={"id": 1, "name": "Acme"}, users={"id": 1, "email": "ada@example.com", "tenant_id": 1})
    insert(developer, user_invitations=INVITATION, user_invitation_events=EVENT)
    rows = [everything(developer, name) for name in OURS]

    rebuild = HEADER.format(revision="9rebuild", down=developer.head) + "def upgrade():\n"
    for table in ("tenants", "users"):
        rebuild += f"    with op.batch_alter_table({table!r}, recreate='always') as batch:\n"
        rebuild += "        batch.add_column(sa.Column('more', sa.Text))\n"
    developer.revise("9rebuild", rebuild)
    developer.flask("db upgrade")
    assert [everything(developer, name) for name in OURS] == rows
