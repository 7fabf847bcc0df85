"""SQLite without ``PRAGMA foreign_keys`` gives a deleted row's id to the next new one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations.store.hosts import UNENFORCED
from tests.hosts import Host, build
from tests.http.tools import PREVIEW, accept, delete_row, make, refused, set_columns

OWNER = "owner@globex.example"


@pytest.fixture
def careless(tmp_path: Path) -> Iterator[Host]:
    """A host on SQLite that forgot the pragma."""
    with build(f"sqlite:///{tmp_path / 'local.sqlite3'}") as host:
        sa.event.listen(host.engine, "connect", _forget)
        host.engine.dispose()
        yield host


def _forget(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys = OFF")


def reborn(host: Host, model: Any, row_id: Any, **columns: Any) -> None:
    """A row is deleted, and a new one gets its id."""
    delete_row(host, model, row_id)
    with host.engine.begin() as connection:
        connection.execute(sa.insert(model.__table__).values(id=row_id, **columns))


def test_an_old_link_opens_no_new_tenant(careless: Host) -> None:
    """S7: where a new tenant, and a new owner in it, have the ids of deleted ones, an old link is withdrawn."""
    case = make(careless, "pending")
    reborn(careless, careless.Tenant, case.tenant, name="Globex", active=True)
    reborn(careless, careless.User, case.admin, email=OWNER, email_verified=True, role="owner", tenant_id=case.tenant)
    refused(careless.client().post(PREVIEW, json={"token": case.token}), 410, "invitation-withdrawn")
    refused(accept(careless.client(), case.token), 410, "invitation-withdrawn")


def test_another_inviter_with_the_same_id(careless: Host) -> None:
    """S7: a new user who got the inviter's id does not stand behind their invitations."""
    case = make(careless, "pending")
    reborn(careless, careless.User, case.admin, email=OWNER, email_verified=True, role="owner", tenant_id=case.tenant)
    refused(accept(careless.client(), case.token), 410, "invitation-withdrawn")
    assert careless.client(case.admin).post(f"{case.url}/resend").status_code == 200  # now they do
    assert accept(careless.client(), careless.outbox.token_to(case.email)).status_code == 201


def test_the_same_people_are_the_same(careless: Host) -> None:
    """S7: for whom it was made it opens, also after a resend by another manager."""
    case = make(careless, "pending")
    second = careless.user("second@acme.example", "admin", case.tenant)
    careless.clock.tick(timedelta(hours=1))
    assert careless.client(second).post(f"{case.url}/resend").status_code == 200
    assert accept(careless.client(), careless.outbox.token_to(case.email)).status_code == 201


def test_warned_of_once(careless: Host, caplog: pytest.LogCaptureFixture) -> None:
    """S7: the first use on such an engine says so, naming the pragma, and no other does."""
    with caplog.at_level(logging.WARNING, "flask_invitations"):
        case = make(careless, "pending")
        careless.client(case.admin).post(f"{case.url}/resend")
    assert [record.message for record in caplog.records if record.message == UNENFORCED] == [UNENFORCED]
    assert "PRAGMA foreign_keys = ON" in UNENFORCED


def test_no_mark_where_keys_are_enforced(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """S7: where the database enforces foreign keys nothing is warned of, and a renamed tenant stays the same."""
    case = make(host, "pending")
    set_columns(host, host.Tenant, case.tenant, name="Renamed")
    set_columns(host, host.User, case.admin, email="renamed@acme.example")
    assert UNENFORCED not in caplog.text
    assert accept(host.client(), case.token).status_code == 201


def test_an_invitation_of_the_system(careless: Host) -> None:
    """S7: one that nobody in particular made is compared by its tenant alone; an email that waits does not leave."""
    tenant = careless.tenant()
    with careless.app.app_context():
        made = careless.invitations.invite("guest@example.com", tenant_id=tenant)
        careless.outbox.fail_with = OSError("mail is down")
        careless.invitations.invite("late@example.com", tenant_id=tenant)
    reborn(careless, careless.Tenant, tenant, name="Globex", active=True)
    careless.outbox.fail_with = None
    careless.clock.tick(timedelta(minutes=5))
    with careless.app.app_context():
        assert careless.invitations.deliver() == {"cancelled": 1}
        obstacle = careless.invitations.get(made.id).obstacle
    assert obstacle is not None
    assert obstacle.code == "tenant-inactive"
    refused(accept(careless.client(), careless.outbox.token_to("guest@example.com")), 410, "invitation-withdrawn")
