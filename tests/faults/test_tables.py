"""A database without our tables, or with older ones (D4): a sentence that says what to run, with each driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import Result

from flask_invitations import ConfigurationError
from tests.faults.databases import EACH_DRIVER, by_driver
from tests.hosts import Host, build

FIX = "Run `flask invitations migrations`, then `flask db upgrade`."
OWN = "Run `flask db migrate`, then `flask db upgrade`."
TOKEN = "t" * 43


def bare(url: str, *, ours: bool = False) -> Host:
    """A host with its own tables, and none of ours unless wanted."""
    host = build(url, create_all=False, config={"PROPAGATE_EXCEPTIONS": False})
    tables = host.db.metadata.sorted_tables
    wanted = [table for table in tables if ours or not table.name.startswith("user_invitation")]
    host.db.metadata.create_all(host.engine, tables=wanted)
    return host


def said_by_each_act(host: Host, caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """What the command line, the API and Python say."""
    for arguments in (["list"], ["deliver"], ["sweep"], ["invite", "new@example.com", "--tenant", str(host.tenant())]):
        result = host.app.test_cli_runner().invoke(args=["invitations", *arguments])
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
        yield result.stderr
    manager = host.client(host.user("admin@example.com", role="admin"))
    for method, path, body in (
        ("GET", "invitations", None),
        ("POST", "invite", {"email": "new@example.com"}),
        ("POST", "accept-invite/preview", {"token": TOKEN}),
    ):
        caplog.clear()
        assert manager.open(f"/api/v1/users/{path}", method=method, json=body).status_code == 500
        assert caplog.text.count("Traceback") == 1  # and so none of the driver's
        yield caplog.text
    with host.app.app_context():
        calls: list[Callable[[], object]] = [
            lambda: host.invitations.preview(TOKEN),
            lambda: list(host.invitations.list()),
        ]
        for call in calls:
            with pytest.raises(ConfigurationError) as caught, host.invitations.unit():
                call()
            yield str(caught.value)


@EACH_DRIVER
def test_no_tables(empty_url: str, driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """D4: each act says which commands make the tables; nobody reads a driver's traceback."""
    with bare(by_driver(empty_url, driver)) as host:
        for said in said_by_each_act(host, caplog):
            assert FIX in said


def test_no_tables_on_sqlite(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D4: the same on SQLite, whose errors have no code of their own."""
    with bare(f"sqlite:///{tmp_path / 'bare.sqlite3'}") as host:
        for said in said_by_each_act(host, caplog):
            assert FIX in said


def test_an_older_table(empty_url: str) -> None:
    """D4: a column that is missing, in a statement that reads and in one that writes."""
    with bare(empty_url, ours=True) as host:
        inviter = host.user("admin@example.com", role="admin")
        with host.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE user_invitations DROP COLUMN lifetime"))
        with host.sign_in(inviter):
            for call in (
                lambda: host.invitations.preview(TOKEN),
                lambda: host.invitations.invite("new@example.com", tenant_id=host.tenant()),
            ):
                with pytest.raises(ConfigurationError, match="missing or out of date"):
                    call()


def test_a_table_of_the_hosts(empty_url: str) -> None:
    """D4: what the host's own tables miss is told as it was, and no matter of ours."""
    with bare(empty_url, ours=True) as host:
        admin = host.user("admin@example.com", role="admin")
        with host.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE tenants DROP COLUMN active"))
        with host.sign_in(admin), pytest.raises(sa.exc.DBAPIError):
            host.invitations.invite("new@example.com", tenant_id=1)


def told(host: Host, *arguments: str) -> Result:
    """What the command line says."""
    return host.app.test_cli_runner().invoke(args=["invitations", *arguments])


@EACH_DRIVER
def test_no_tables_of_the_hosts(empty_url: str, driver: str) -> None:
    """D4: in an empty database the command line says in one line what makes the host's tables."""
    with build(by_driver(empty_url, driver), create_all=False) as host:
        result = told(host, "invite", "new@example.com", "--tenant", "1")
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert OWN in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("gone", "what"),
    [
        ("DROP TABLE users", "users is missing"),
        ("ALTER TABLE users DROP COLUMN email_verified", "users lacks email_verified"),
    ],
)
def test_what_the_hosts_tables_lack(tmp_path: Path, gone: str, what: str) -> None:
    """D4: no command answers a traceback, whatever the host has not migrated yet; doctor names it."""
    with bare(f"sqlite:///{tmp_path / 'bare.sqlite3'}", ours=True) as host:
        tenant = str(host.tenant())
        with host.engine.begin() as connection:
            connection.execute(sa.text("PRAGMA foreign_keys = OFF"))
            connection.execute(sa.text(gone))
        result = told(host, "invite", "new@example.com", "--tenant", tenant)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
        assert OWN in result.stderr
        said = told(host, "doctor")
        assert said.exit_code == 1
        assert f"\ntables: {what}. {OWN}" in said.stdout


def test_an_outbox_without_tables(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D4: ``deliver`` says it once, on stderr, and logs no traceback of an email that is none."""
    with bare(f"sqlite:///{tmp_path / 'bare.sqlite3'}") as host:
        for arguments in (["deliver"], ["deliver", "--watch"]):
            result = told(host, *arguments)
            assert result.exit_code == 1
            assert FIX in result.stderr
            assert caplog.records == []


def test_no_database() -> None:
    """D4: somebody at a terminal cannot wait until a service is less busy; the address may be wrong."""
    with build("postgresql+psycopg://me:hidden@127.0.0.1:1/none", create_all=False) as host:
        result = told(host, "list")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == (
            "Error: The database did not answer, or was busy. Check that it runs and that its address is right, then "
            "repeat the command. It is safe to do so.\n"
        )
