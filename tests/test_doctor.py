"""``flask invitations doctor``: a healthy app is one line; everything that will hurt is a line with its fix."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm

from flask_invitations import Invitations, LogMailer
from flask_invitations.config import RATELIMITS
from flask_invitations.testing import RecordingMailer
from tests.hosts import ACCEPT_URL, PASSWORD, UNLIMITED, Host, build
from tests.http.tools import make

HEALTH = (
    "right: secret key, accept link, tenants, mailer, rate limits, reminders, migration steps, tables, foreign keys, "
    "unique emails, canonical emails, outbox, sweep\n"
)
KEY = {"SECRET_KEY": "k" * 32}
MINUTE = timedelta(minutes=1)


def well(url: str, config: dict[str, Any] | None = None, **more: Any) -> Host:
    """A host with which all is well but for this."""
    return build(url, config={**KEY, **(config or {})}, **more)


def found(host: Host | Flask) -> dict[str, str]:
    """What will hurt, by what was looked at; nothing where exit status, line and stderr say that all is well."""
    app = host if isinstance(host, Flask) else host.app
    result = app.test_cli_runner().invoke(args=["invitations", "doctor"])
    assert result.exit_code in (0, 1), result.output
    first, *rest = result.stdout.splitlines(keepends=True)
    assert first.startswith("right: ")
    if result.exit_code == 0:
        assert (result.stdout, result.stderr) == (HEALTH, "")
        return {}
    assert result.stderr.startswith(f"Error: {len(rest)} thing(s) will hurt. ")
    told = {line.split(": ", 1)[0]: line.split(": ", 1)[1].strip() for line in rest}
    assert not told.keys() & set(first.removeprefix("right: ").strip().split(", "))
    return told


@pytest.fixture
def local(tmp_path: Path) -> str:
    """For what the database has no part in."""
    return f"sqlite:///{tmp_path / 'doctor.sqlite3'}"


def test_all_is_well(database_url: str) -> None:
    """Before anything has happened, and while invitations are on their way."""
    with well(database_url) as host:
        assert found(host) == {}
        make(host, "pending")
        host.user("ann@example.com", password=PASSWORD)
        assert found(host) == {}


@pytest.mark.parametrize("key", ["k" * 31, b"k" * 31])
def test_a_short_key(local: str, key: Any) -> None:
    """A SECRET_KEY that could be guessed."""
    with well(local, {"SECRET_KEY": key}) as host:
        told = found(host)
    assert told.keys() == {"secret key"}
    assert told["secret key"].startswith("SECRET_KEY has 31 bytes. Set it to")


def test_a_long_key_of_few_characters(local: str) -> None:
    """Bytes count, not characters."""
    with well(local, {"SECRET_KEY": "ключ" * 4}) as host:
        assert found(host) == {}


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("https://app.example.com/join#{token}", {}),
        ("https://app.example.com/#{token}", {}),
        ("https://app.example.com/invitations/accept#{token}", {"INVITATIONS_PAGES_PREFIX": "/welcome"}),
    ],
)
def test_a_link_to_nowhere(local: str, url: str, config: dict[str, Any]) -> None:
    """The pages are on, and the link in the emails does not lead to any page of this app."""
    with well(local, {"INVITATIONS_ACCEPT_URL": url, **config}) as host:
        told = found(host)
    assert told.keys() == {"accept link"}
    assert "which is no page of this app. End its path with" in told["accept link"]


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("https://app.example.com/join#{token}", {"INVITATIONS_PAGES_PREFIX": None}),
        ("https://app.example.com/own?token={token}", {}),
        ("https://app.example.com/invitations/accept/{token}", {}),
        ("https://app.example.com/below/a/proxy/invitations/accept#{token}", {}),
        ("https://app.example.com/welcome/accept?token={token}", {"INVITATIONS_PAGES_PREFIX": "/welcome"}),
    ],
)
def test_a_link_to_a_page(local: str, url: str, config: dict[str, Any]) -> None:
    """A page of ours, a view of the host's, or another app's where ours are off."""
    with well(local, {"INVITATIONS_ACCEPT_URL": url, **config}) as host:
        host.app.add_url_rule("/own", "own", lambda: "")
        assert found(host) == {}


@pytest.mark.parametrize("debug", [False, True])
def test_what_is_for_development(local: str, monkeypatch: pytest.MonkeyPatch, debug: bool) -> None:
    """LogMailer, and limits that each worker counts for itself."""
    config = {f"INVITATIONS_{key}": "5/minute" for key in RATELIMITS}
    monkeypatch.setenv("FLASK_DEBUG", str(int(debug)))
    with well(local, config, mailer=LogMailer()) as host:
        told = found(host)
    assert told.keys() == (set() if debug else {"mailer", "rate limits"})
    if not debug:
        assert told["mailer"] == "LogMailer sends no email outside of debug. Pass another mailer to init_app."
        assert "Set INVITATIONS_RATELIMIT_STORAGE" in told["rate limits"]


def test_limits_of_the_hosts_own(local: str) -> None:
    """Who brings rate_limit counts elsewhere."""
    config = {f"INVITATIONS_{key}": "5/minute" for key in RATELIMITS}
    with well(local, config, rate_limit=lambda scope, key, cost: None) as host:
        assert found(host) == {}


@pytest.mark.parametrize(("hours", "well_set"), [(47, True), (48, False), (72, False)])
def test_a_reminder_that_never_comes(local: str, hours: int, well_set: bool) -> None:
    """One that would be due before the email itself: an invitation of the usual length gets none."""
    with well(local, {"INVITATIONS_REMIND_BEFORE": timedelta(hours=hours)}) as host:
        told = found(host)
    assert told.keys() == (set() if well_set else {"reminders"})
    if not well_set:
        assert told["reminders"].startswith("INVITATIONS_REMIND_BEFORE is not below INVITATIONS_TTL, ")


def test_missing_tables(empty_url: str) -> None:
    """Each table that is missing, and nothing of what could be in it."""
    with well(empty_url, create_all=False) as host:
        host.db.metadata.create_all(host.engine, tables=[host.Tenant.__table__, host.User.__table__])
        result = host.app.test_cli_runner().invoke(args=["invitations", "doctor"])
        assert result.exit_code == 1
        assert result.stdout.count(" is missing. Run `flask invitations migrations`, then `flask db upgrade`.") == 5
        assert "sweep" not in result.stdout
        assert result.stderr.startswith("Error: 5 thing(s) will hurt.")


def test_the_database_is_down() -> None:
    """What the settings say is told all the same."""
    with build("postgresql+psycopg://me:hidden@127.0.0.1:1/none", create_all=False) as host:
        told = found(host)
    assert told.keys() == {"secret key", "tables"}
    assert told["tables"] == "The database does not answer. Start it, then try again."


def test_a_table_of_another_shape(empty_url: str) -> None:
    """A column of an older version."""
    with well(empty_url, create_all=False) as host:
        host.db.metadata.create_all(host.engine)
        with host.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE user_invitations DROP COLUMN lifetime"))
        assert found(host) == {
            "tables": "user_invitations is not as it should be: lifetime is missing. "
            "Correct it in a revision of your own."
        }


def test_a_missing_step(local: str, tmp_path: Path) -> None:
    """A migration tree without our steps; a project without a tree has no need of them."""
    folder = tmp_path / "migrations"
    with well(local) as host:
        Migrate(host.app, host.db, directory=str(folder))
        assert found(host) == {}
        host.app.test_cli_runner().invoke(args=["db", "init", "-d", str(folder)])
        assert found(host)["migration steps"].startswith("Missing: 0001, 0002, 0003, 0004, 0005. Run `flask ")
        markers = 'revision, down_revision = "1", None\nflask_invitations_step = ("0001", "0002", "0003", "0004")\n'
        (folder / "versions" / "1.py").write_text(markers)
        assert found(host)["migration steps"].startswith("Missing: 0005. ")
        (folder / "versions" / "stray.py").write_text("")
        assert "Fix the tree first" in found(host)["migration steps"]


def test_foreign_keys(local: str) -> None:
    """SQLite without the PRAGMA."""
    with well(local) as host:

        def forget(connection: sqlite3.Connection, _record: Any) -> None:
            connection.execute("PRAGMA foreign_keys = OFF")

        sa.event.listen(host.engine, "connect", forget)
        host.close()
        told = found(host)
        assert told.keys() == {"foreign keys"}
        assert "Run PRAGMA foreign_keys = ON on every connection." in told["foreign keys"]


def test_emails_of_users_that_are_not_found(database_url: str) -> None:
    """Stored in another form than the one that is looked for; what is no address at all is nobody's."""
    with well(database_url) as host:
        for email in ("Bob@Example.com", "eve@EXAMPLE.com", "ann@example.com", "nobody"):
            host.user(email)
        told = found(host)
    assert told.keys() == {"canonical emails"}
    assert told["canonical emails"].startswith("2 email(s) of User are not in canonical form")


def test_a_host_that_finds_them(database_url: str) -> None:
    """How the host's own ``find_user`` looks for them is its own matter."""
    with well(database_url, find_user=lambda email: None) as host:
        host.user("Bob@Example.com")
        assert found(host) == {}


@pytest.mark.parametrize("state", ["queued", "sending"])
def test_emails_that_nobody_takes(queued: Host, state: str) -> None:
    """Due, or left by a worker that died, for more than 10 minutes."""
    with queued.app.app_context():
        queued.invitations.invite("new@example.com", tenant_id=queued.tenant())
    if state == "sending":
        made = queued.invitations.models.Delivery
        with queued.engine.begin() as connection:
            values = {"state": state, "next_attempt_at": None, "leased_until": queued.clock() + MINUTE}
            connection.execute(sa.update(made).values(values))
    queued.clock.tick(10 * MINUTE - timedelta(seconds=1))
    assert "outbox" not in found(queued)
    queued.clock.tick(2 * MINUTE)
    assert found(queued)["outbox"].startswith("1 email(s) have been due for more than 10 minutes. Run `flask ")
    queued.app.test_cli_runner().invoke(args=["invitations", "deliver"])
    assert "outbox" not in found(queued)


@pytest.mark.parametrize("before", ["expire", "purge"])
def test_no_sweep(database_url: str, before: str) -> None:
    """For more than a day nobody has expired, or purged, what was due."""
    with well(database_url) as host:
        make(host, "pending" if before == "expire" else "revoked")
        (row,) = host.rows(host.invitations.models.Invitation)
        span = timedelta(seconds=row.lifetime) if before == "expire" else timedelta(days=90)
        host.clock.tick(span + timedelta(hours=23))
        assert found(host) == {}
        host.clock.tick(timedelta(hours=2))
        told = found(host)
        assert told.keys() == {"sweep"}
        assert "Run `flask invitations sweep` every few minutes." in told["sweep"]
        host.app.test_cli_runner().invoke(args=["invitations", "sweep"])
        assert found(host) == {}


def people(url: str, index: Callable[[Any], Any] | None, *bases: type[Any]) -> Flask:
    """An app whose users have this index on their email, or none; and what these bases give them."""
    db = SQLAlchemy()

    class Person(*bases, db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "people"
        id = orm.mapped_column(sa.Integer, primary_key=True)
        email = orm.mapped_column(sa.String(254))
        role = orm.mapped_column(sa.String(64))
        password_hash = orm.mapped_column(sa.String(255))

    if index is not None:
        index(Person.__table__.c.email)
    app = Flask("people")
    app.config.update(KEY, SQLALCHEMY_DATABASE_URI=url, INVITATIONS_ACCEPT_URL=ACCEPT_URL, **UNLIMITED)
    db.init_app(app)
    Invitations(app, db, user_model=Person, mailer=RecordingMailer(), current_user=lambda: None)
    with app.app_context():
        db.create_all()
        db.session.add(Person(email="Bob@example.com", role="user"))
        db.session.commit()
    return app


def close(app: Flask) -> None:
    """Close every connection."""
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


class InTenants:
    """Users of an app with tenants, or so it looks."""

    tenant_id = orm.mapped_column(sa.Integer)


@pytest.mark.parametrize("bases", [[], [InTenants]])
def test_forgotten_tenants(local: str, bases: list[type[Any]]) -> None:
    """An app whose users have a tenant has not said what its tenants are: all would be one."""
    app = people(local, lambda column: sa.Index("ix_people", column, unique=True), *bases)
    told = found(app)
    close(app)
    if not bases:
        assert "tenants" not in told
    else:
        assert told["tenants"].startswith("Person.tenant_id is not used, because init_app was given no tenant_model")
        assert "Pass tenant_model" in told["tenants"]


UNIQUE: dict[str, tuple[Callable[[Any], Any] | None, bool]] = {
    "none": (None, False),
    "not unique": (lambda column: sa.Index("ix_people", column), False),
    "of two columns": (lambda column: sa.Index("ix_people", column, column.table.c.role, unique=True), False),
    "an index": (lambda column: sa.Index("ix_people", column, unique=True), True),
    "a constraint": (lambda column: sa.UniqueConstraint(column, name="uq_people"), True),
}


@pytest.mark.in_turn
@pytest.mark.parametrize("name", UNIQUE)
def test_unique_emails(empty_url: str, name: str) -> None:
    """One address, one account: only the database can see to that."""
    index, is_unique = UNIQUE[name]
    app = people(empty_url, index)
    told = found(app)
    close(app)
    assert ("unique emails" in told) is not is_unique
    if not is_unique:
        assert told["unique emails"].startswith("Person.email has no unique index")


@pytest.mark.parametrize("_database", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_an_index_of_lower_case(empty_url: str, unique: bool) -> None:
    """It finds addresses however they are written, and only a unique one keeps them apart."""
    app = people(empty_url, lambda column: sa.Index("ix_people", sa.func.lower(column), unique=unique))
    told = found(app)
    close(app)
    assert told.keys() - {"foreign keys"} == (set() if unique else {"unique emails"})
