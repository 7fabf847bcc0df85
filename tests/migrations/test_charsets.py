"""Migrations on MariaDB where the host's tables are not what the database would make today."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.migrations.conftest import Developer


@pytest.mark.parametrize("_database", ["mariadb"], indirect=True)
def test_keys_with_a_collation_of_their_own(at_work: Callable[..., Developer], empty_url: str) -> None:
    """D3: our revisions take over the collation that the host's keys have in the database: the upgrade succeeds, and
    Alembic finds nothing to change."""
    developer = at_work(empty_url, key="str")
    developer.begin()
    _made_for(developer, "latin1")
    developer.flask("db upgrade")
    _made_for(developer, "utf8mb4")
    developer.flask("invitations migrations")
    developer.flask("db upgrade")
    developer.flask("db check")
    made = developer.schema("user_invitations", "user_invitation_events")
    keys = [column for table in made.values() for column in table["columns"] if column["name"].endswith("_id")]
    found = {column["name"]: column["type"] for column in keys}
    assert {name for name, kind in found.items() if "latin1_bin" in kind} == found.keys() - {"invitation_id"}


def _made_for(developer: Developer, charset: str) -> None:
    with developer.database() as connection:
        connection.exec_driver_sql(
            f"ALTER DATABASE {connection.engine.url.database} CHARACTER SET {charset} COLLATE {charset}_bin"
        )
