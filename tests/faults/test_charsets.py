"""MariaDB tables with options of their own, and texts that a table or a connection cannot hold."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from flask import Flask
from marshmallow import Schema, fields
from sqlalchemy import orm
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from flask_invitations import InvalidRequest, Invitations
from flask_invitations.errors import ConfigurationError
from flask_invitations.store.drivers import unwritable
from flask_invitations.testing import RecordingMailer
from tests.hosts import ACCEPT_URL, PASSWORD

MARIADB = pytest.mark.parametrize("_database", ["mariadb"], indirect=True)
EMOJI = "Welcome \N{PARTY POPPER}"
#: An address in a script of which a character takes four bytes.
RARE = "\N{CJK UNIFIED IDEOGRAPH-20BB7}@example.com"
KEY = sa.String(36)


def new_key(kind: Any) -> Any:
    if isinstance(kind, sa.Integer):
        return 1
    return uuid.uuid4() if isinstance(kind, sa.Uuid) else uuid.uuid4().hex


class Profile(Schema):
    name = fields.String()


class Site:
    """A host whose tables have options, or whose keys a type, of their own."""

    def __init__(
        self,
        url: str,
        users: dict[str, Any],
        tenants: dict[str, Any],
        key: Any = KEY,
        tenant_key: Any = None,
    ) -> None:
        tenant_key = tenant_key or key

        class Base(orm.DeclarativeBase):
            pass

        class Tenant(Base):
            __tablename__ = "tenants"
            __table_args__ = tenants
            id: orm.Mapped[Any] = orm.mapped_column(tenant_key, primary_key=True)
            name: orm.Mapped[str] = orm.mapped_column(sa.String(50))

        class User(Base):
            __tablename__ = "users"
            __table_args__ = users
            id: orm.Mapped[Any] = orm.mapped_column(key, primary_key=True, default=partial(new_key, key))
            email: orm.Mapped[str] = orm.mapped_column(sa.String(254), unique=True)
            name: orm.Mapped[str | None] = orm.mapped_column(sa.String(50))
            role: orm.Mapped[str] = orm.mapped_column(sa.String(20))
            tenant_id: orm.Mapped[Any] = orm.mapped_column(tenant_key, nullable=True)
            password_hash: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))

        self.Base, self.Tenant, self.tenant_key = Base, Tenant, new_key(tenant_key)
        self.engine = sa.create_engine(url)
        self.session: Any = orm.scoped_session(orm.sessionmaker(self.engine))
        self.mailer, self.invitations, self.app = RecordingMailer(), Invitations(), Flask("tests.charsets")
        self.app.config.update(SECRET_KEY="the key of a test host", INVITATIONS_ACCEPT_URL=ACCEPT_URL)
        self.app.teardown_appcontext(lambda _error: self.session.remove())
        self.invitations.init_app(
            self.app,
            SimpleNamespace(session=self.session),
            user_model=User,
            tenant_model=Tenant,
            mailer=self.mailer,
            current_user=lambda: None,
            profile_schema=Profile,
        )

    def furnish(self) -> Any:
        """Make the tables and a tenant; returns its key."""
        self.Base.metadata.create_all(self.engine)
        with orm.Session(self.engine) as session:
            session.add(self.Tenant(id=self.tenant_key, name="Acme"))
            session.commit()
        return self.tenant_key


@pytest.fixture
def make(empty_url: str) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def site(users: Any = None, tenants: Any = None, *, scheme: str = "mysql+pymysql", **how: Any) -> Site:
        url = make_url(empty_url).set(drivername=scheme)
        url = url.update_query_dict(how.pop("query", {}))
        users = users or {}
        made.append(Site(url.render_as_string(False), users, users if tenants is None else tenants, **how))
        return made[-1]

    yield site
    for each in made:
        each.engine.dispose()


OPTIONS: dict[str, dict[str, Any]] = {
    "latin1": {"users": {"mysql_charset": "latin1"}},
    "collate": {"users": {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_unicode_ci"}},
    "collate only": {"users": {"mysql_collate": "utf8mb4_bin"}},
    "spelled otherwise": {"users": {"mysql_default_charset": "utf8mb3", "mysql_DEFAULT COLLATE": "utf8mb3_bin"}},
    "two tables": {"users": {"mysql_charset": "latin1"}, "tenants": {"mysql_collate": "utf8mb3_bin"}},
    "one table": {"users": {"mysql_charset": "latin1"}, "tenants": {}},
    "the other table": {"tenants": {"mysql_charset": "utf8mb3"}},
    "engine": {"users": {"mysql_engine": "InnoDB"}, "default": "Aria"},
    "mariadb": {"users": {"mariadb_charset": "latin1", "mariadb_engine": "InnoDB"}, "scheme": "mariadb+pymysql"},
    "column": {"key": sa.String(36, collation="utf8mb3_bin")},
    "column of MariaDB": {"key": mysql.VARCHAR(36, charset="ascii", collation="ascii_bin")},
    "column in a table": {"users": {"mysql_charset": "latin1"}, "key": sa.String(36, collation="utf8mb4_bin")},
    "variant": {
        "users": {"mysql_charset": "latin1"},
        "key": sa.String(36).with_variant(mysql.VARCHAR(36, charset="ascii"), "mysql"),
    },
    "char": {"users": {"mysql_charset": "latin1"}, "key": sa.CHAR(32)},
    "uuid": {"users": {"mysql_charset": "latin1"}, "key": sa.Uuid()},
    "two kinds of keys": {"users": {"mysql_charset": "latin1"}, "tenants": {}, "tenant_key": sa.Integer()},
}


@MARIADB
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_tables_with_options_of_their_own(make: Callable[..., Site], options: dict[str, Any]) -> None:
    """D3: our tables and keys take over what the host says of the tables that they point at: they can be created, are
    what Alembic finds in the database, and take any text, in whatever the host's tables are made for."""
    options = dict(options)
    default = options.pop("default", None)
    site = make(**options)
    if default:
        setting = f"SET default_storage_engine = {default}"
        sa.event.listen(site.engine, "connect", lambda raw, _record: _run(raw, setting))
    tenant = site.furnish()
    with site.app.app_context():
        site.invitations.invite("ann@example.com", tenant_id=tenant, role="user", message=EMOJI, details={"a": EMOJI})
        token = site.mailer.token_to("ann@example.com")
        assert site.invitations.accept(token, password=PASSWORD, profile={"name": "Ann"}).user.id
        (found,) = site.invitations.list(tenant_id=tenant)
        assert (found.message, found.details) == (EMOJI, {"a": EMOJI})
        assert len(site.invitations.events(found.id)) == 3
    with site.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [each for each in compare_metadata(context, site.Base.metadata) if "user_invitation" in repr(each)] == []
        engines = "SELECT DISTINCT engine FROM information_schema.tables WHERE table_schema = database()"
        assert connection.exec_driver_sql(engines).scalars().all() == ["InnoDB"]


def test_keys_in_a_revision_that_is_written_first() -> None:
    """D3: where there are no tables yet to look at, our columns are what the models say of the tables they point at."""
    site = Site("sqlite://", {"mysql_charset": "latin1"}, {"mysql_charset": "utf8mb3", "mysql_collate": "utf8mb3_bin"})
    made = str(CreateTable(site.invitations.models.Invitation.__table__).compile(dialect=mysql.dialect()))
    assert "tenant_id VARCHAR(36) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL" in made
    assert "invited_by_id VARCHAR(36) CHARACTER SET latin1" in made


RAW = {
    "collation": "CREATE TABLE {0} ({1}) CHARACTER SET utf8mb4 COLLATE utf8mb4_spanish_ci",
    "charset": "CREATE TABLE {0} ({1}) CHARACTER SET latin1",
}


@MARIADB
@pytest.mark.parametrize("made", RAW.values(), ids=RAW)
@pytest.mark.parametrize("key", [KEY, sa.CHAR(32)], ids=["varchar", "char"])
def test_what_stands_in_the_database_only(make: Callable[..., Site], made: str, key: Any) -> None:
    """D3: the same where only the database knows what the host's tables are made for."""
    site = make(key=key)
    with site.engine.begin() as connection:
        connection.exec_driver_sql(made.format("tenants", f"id {key} PRIMARY KEY, name VARCHAR(50)"))
        columns = "email VARCHAR(254), name VARCHAR(50), role VARCHAR(20), password_hash VARCHAR(255)"
        connection.exec_driver_sql(made.format("users", f"id {key} PRIMARY KEY, tenant_id {key}, {columns}"))
    tenant = site.furnish()
    with site.app.app_context():
        made_id = site.invitations.invite("ann@example.com", tenant_id=tenant, role="user", message=EMOJI).id
        site.invitations.accept(site.mailer.token_to("ann@example.com"), password=PASSWORD)
        assert [each.actor_id for each in site.invitations.events(made_id)][-1] is not None


def _run(raw: Any, statement: str) -> None:
    with raw.cursor() as cursor:
        cursor.execute(statement)


def test_an_engine_without_transactions() -> None:
    """D3: where the host keeps its users in tables that take nothing back, nothing of ours could be relied on."""
    with pytest.raises(ConfigurationError, match=r"The table users uses MyISAM, which has no transactions\. Use"):
        Site("sqlite://", {"mysql_engine": "MyISAM"}, {})


@pytest.fixture
def utf8mb3(empty_url: str) -> str:
    """A database that was made when three bytes were enough for a character."""
    engine = sa.create_engine(empty_url)
    with engine.begin() as connection:
        name = connection.engine.url.database
        connection.exec_driver_sql(f"ALTER DATABASE {name} CHARACTER SET utf8mb3")
    engine.dispose()
    return empty_url


@MARIADB
@pytest.mark.usefixtures("utf8mb3")
def test_an_emoji_on_an_old_database(make: Callable[..., Site]) -> None:
    """D3: texts of ours are in any script, on a database for three bytes a character too; a field of the host's that
    cannot hold one is named, and nothing has happened."""
    site = make()
    tenant = site.furnish()
    with site.app.app_context():
        site.invitations.invite("ann@example.com", tenant_id=tenant, role="user", message=EMOJI)
        assert site.invitations.list(tenant_id=tenant)[0].message == EMOJI
        token = site.mailer.token_to("ann@example.com")
        body = {"token": token, "password": PASSWORD, "name": EMOJI}
        answer = site.app.test_client().post("/api/v1/users/accept-invite", json=body)
        assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["name"]), answer.text
        answer = site.app.test_client().post("/api/v1/users/accept-invite", json={**body, "name": "Ann"})
        assert answer.status_code == 201
        with pytest.raises(InvalidRequest) as info:  # no account of the host's can have this address
            site.invitations.invite(RARE, tenant_id=tenant, role="user")
        assert list(info.value.errors) == ["email"]
        site.invitations.invite("bob@example.com", tenant_id=tenant, role="user")
        assert site.invitations.list(tenant_id=tenant, q=RARE) == []
        site.invitations.decline(site.mailer.token_to("bob@example.com"), reason=EMOJI)


@MARIADB
@pytest.mark.parametrize("charset", ["utf8mb3", "latin1"])
def test_an_emoji_on_an_old_connection(make: Callable[..., Site], charset: str) -> None:
    """D3: where the host's connection cannot carry a character, the field is named, and nothing has happened."""
    site = make(query={"charset": charset})
    tenant = site.furnish()
    with site.app.app_context():
        for field, text in (("message", EMOJI), ("email", RARE)):
            how: dict[str, Any] = {"email": "ann@example.com", "role": "user", field: text}
            with pytest.raises(InvalidRequest) as info:
                site.invitations.invite(tenant_id=tenant, **how)
            assert list(info.value.errors) == [field]
        with pytest.raises(InvalidRequest) as info:
            site.invitations.list(tenant_id=tenant, q=EMOJI)
        assert list(info.value.errors) == ["q"]
        assert site.invitations.list(tenant_id=tenant) == []
        site.invitations.invite("ann@example.com", tenant_id=tenant, role="user", details={"a": "é"})
        assert site.invitations.list(tenant_id=tenant, q="ann")[0].details == {"a": "é"}


@pytest.fixture
def latin_url(empty_url: str) -> Iterator[str]:
    """A PostgreSQL database that is not in UTF-8."""
    url = make_url(empty_url)
    name = f"{url.database}_latin"
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        yield url.set(database=name).render_as_string(False)
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_an_emoji_on_a_latin_database(latin_url: str, driver: str) -> None:
    """D3: the same on a PostgreSQL database that is not in UTF-8, for one row and for several."""
    site = Site(make_url(latin_url).set(drivername=f"postgresql+{driver}").render_as_string(False), {}, {})
    tenant = site.furnish()
    with site.app.app_context(), pytest.raises(InvalidRequest) as info:
        site.invitations.invite("ann@example.com", tenant_id=tenant, role="user", message=EMOJI)
    assert list(info.value.errors) == ["message"]
    in_utf8 = sa.create_engine(site.engine.url.update_query_dict({"client_encoding": "utf8"}))
    rows = [{"id": new_key(KEY), "name": name} for name in ("Acme", EMOJI)]
    with in_utf8.connect() as connection, pytest.raises(DBAPIError) as failed:
        connection.execute(sa.insert(site.Tenant), rows)
    assert unwritable(failed.value) == "name"
    for engine in (in_utf8, site.engine):
        engine.dispose()
