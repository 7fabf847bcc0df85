"""Host apps to test in: users with int, UUID or str keys; no tenants, the tenant on the user, or memberships.

::

    host = build(database_url, key="uuid", tenancy="membership")
    admin = host.user("admin@example.com", role="admin")
    host.client(admin).post("/api/v1/users/invite", json={"email": "new@example.com"})
    token = host.outbox.token_to("new@example.com")
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from flask import Flask, g, has_app_context, has_request_context, request
from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy
from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket
from sqlalchemy import orm
from werkzeug.routing import Rule
from werkzeug.security import check_password_hash, generate_password_hash

from flask_invitations import Invitations
from flask_invitations.config import RATELIMITS
from flask_invitations.current import get_state
from flask_invitations.model.binding import bind
from flask_invitations.testing import RecordingMailer, SettableClock
from tests.servers import furnish

Key = Literal["int", "uuid", "str"]
Tenancy = Literal["none", "tenant", "membership"]
KEYS: tuple[Key, ...] = ("int", "uuid", "str")
TENANCIES: tuple[Tenancy, ...] = ("none", "tenant", "membership")

#: A password that the default check takes, for tests that are about something else.
PASSWORD = "correct horse battery staple"
ACCEPT_URL = "https://app.example.com/invitations/accept#{token}"

#: No rate limit: tests that are about something else call as often as they like.
UNLIMITED: dict[str, Any] = {f"INVITATIONS_{key}": None for key in RATELIMITS}

_HOME: Any = object()
_READ_KEY = {"int": int, "uuid": uuid.UUID, "str": str}


class Passwords:
    """One round of hashing: races need many accounts, and nothing here guards anything."""

    password_hash: str | None

    def set_password(self, password: str) -> None:
        self.password_hash = generate_password_hash(password, method="pbkdf2:sha256:1")

    def check_password(self, password: str) -> bool:
        return self.password_hash is not None and check_password_hash(self.password_hash, password)


@dataclass(frozen=True)
class Shape:
    """The mapped classes of one kind of host; several apps share them, as they do in real life."""

    db: SQLAlchemy
    User: Any
    Tenant: Any
    Membership: Any


def _key_column(key: Key) -> Any:
    if key == "int":
        return orm.mapped_column(sa.Integer, primary_key=True)
    if key == "uuid":
        return orm.mapped_column(sa.Uuid, primary_key=True, default=uuid.uuid4)
    return orm.mapped_column(sa.String(36), primary_key=True, default=lambda: f"k-{uuid.uuid4().hex}")


def shape(key: Key = "int", tenancy: Tenancy = "tenant") -> Shape:
    """The mapped classes of such a host, ours bound to them."""
    return _shape(key, tenancy)


@cache
def _shape(key: Key, tenancy: Tenancy) -> Shape:
    db = SQLAlchemy()

    def mapped(name: str, table: str, /, *mixins: type[Any], **columns: Any) -> Any:
        space = {"__tablename__": table, "__module__": __name__, **columns}
        return type(name, (*mixins, db.Model), space)

    def refer(target: str, **options: Any) -> Any:
        return orm.mapped_column(sa.ForeignKey(f"{target}.id", ondelete="CASCADE"), **options)

    tenant = membership = None
    if tenancy != "none":
        tenant = mapped(
            "Tenant",
            "tenants",
            id=_key_column(key),
            name=orm.mapped_column(sa.String(200), unique=True, nullable=False),
            active=orm.mapped_column(sa.Boolean, nullable=False, default=True),
        )
    columns: dict[str, Any] = {
        "id": _key_column(key),
        "email": orm.mapped_column(sa.String(254), unique=True, nullable=False),
        "email_verified": orm.mapped_column(sa.Boolean, nullable=False, default=False),
        "password_hash": orm.mapped_column(sa.String(255), nullable=True),
        "name": orm.mapped_column(sa.String(200), nullable=True),
    }
    if tenancy != "membership":
        columns["role"] = orm.mapped_column(sa.String(64), nullable=False)
    if tenancy == "tenant":
        columns["tenant_id"] = refer("tenants", nullable=True)
    user = mapped("User", "users", Passwords, **columns)
    if tenancy == "membership":
        membership = mapped(
            "Membership",
            "memberships",
            id=orm.mapped_column(sa.Integer, primary_key=True),
            user_id=refer("users", nullable=False),
            tenant_id=refer("tenants", nullable=False),
            role=orm.mapped_column(sa.String(64), nullable=False),
            __table_args__=(sa.UniqueConstraint("user_id", "tenant_id", name="uq_memberships"),),
        )
    bind(user, tenant)
    return Shape(db, user, tenant, membership)


@dataclass
class Host(AbstractContextManager["Host"]):
    """A host app on one database, with its mail and its clock in the test's hands.

    Calls are made as the user whose id stands in the ``X-Test-User`` header, in the tenant of ``X-Test-Tenant``
    (memberships only; default: the first that the user joined): no cookies, so that threads cannot mix them up.
    """

    app: Flask
    db: SQLAlchemy
    invitations: Invitations
    User: Any
    Tenant: Any
    Membership: Any
    outbox: RecordingMailer
    clock: SettableClock
    key: Key
    tenancy: Tenancy

    def tenant(self, name: str = "Acme") -> Any:
        """The id of the tenant of that name, made where there is none yet; ``None`` where hosts have no tenants."""
        if self.Tenant is None:
            return None
        with self.at_once():
            session = self.db.session
            row = session.scalar(sa.select(self.Tenant).where(self.Tenant.name == name))
            if row is None:
                row = self.Tenant(name=name)
                session.add(row)
                session.flush()
            return row.id

    def user(
        self,
        email: str,
        role: str = "user",
        tenant: Any = _HOME,
        password: str | None = None,
        *,
        verified: bool = True,
        **columns: Any,
    ) -> Any:
        """Make an account and give its id.

        :param tenant: a tenant's id; default: the tenant "Acme"; ``None``: in no tenant.
        """
        user = self.User(email=email, email_verified=verified, **columns)
        if password is not None:
            user.set_password(password)
        if self.tenancy != "membership":
            user.role = role
        with self.at_once():
            home = self.tenant() if tenant is _HOME else tenant
            if self.tenancy == "tenant":
                user.tenant_id = home
            self.db.session.add(user)
            self.db.session.flush()
            if self.tenancy == "membership" and home is not None:
                self.db.session.add(self.Membership(user_id=user.id, tenant_id=home, role=role))
            return user.id

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Tenants and users that are made in the block are made in one transaction, which is committed at its end."""
        if has_app_context() and g.get("at_once"):
            yield
            return
        with self.app.app_context():
            g.at_once = True
            yield
            self.db.session.commit()

    def headers(self, user_id: Any = None, tenant: Any = None) -> dict[str, str]:
        """The headers that make a call that user's."""
        given = {"X-Test-User": user_id, "X-Test-Tenant": tenant}
        return {name: str(value) for name, value in given.items() if value is not None}

    def client(self, user_id: Any = None, tenant: Any = None) -> FlaskClient:
        """A test client whose calls are that user's; without one, nobody's."""
        client = self.app.test_client()
        for name, value in self.headers(user_id, tenant).items():
            client.environ_base["HTTP_" + name.upper().replace("-", "_")] = value
        return client

    def sign_in(self, user_id: Any, tenant: Any = None) -> AbstractContextManager[Any]:
        """A request context of that user's, for calling the Python API as them."""
        return self.app.test_request_context(headers=self.headers(user_id, tenant))

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Collects every SQL statement that the app's engine runs in the block."""
        seen: list[str] = []

        def listen(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            seen.append(statement)

        engine = self.engine
        sa.event.listen(engine, "before_cursor_execute", listen)
        try:
            yield seen
        finally:
            sa.event.remove(engine, "before_cursor_execute", listen)

    @property
    def engine(self) -> sa.Engine:
        """The app's default engine."""
        with self.app.app_context():
            return self.db.engine

    def rows(self, model: Any, **where: Any) -> list[Any]:
        """Every row of a mapped class, in the order of its key, detached and freshly read."""
        order = sa.inspect(model).primary_key
        with orm.Session(self.engine) as session:
            found = list(session.scalars(sa.select(model).filter_by(**where).order_by(*order)))
            session.expunge_all()
            return found

    def close(self) -> None:
        """Close every connection."""
        with self.app.app_context():
            self.db.session.remove()
            for engine in self.db.engines.values():
                engine.dispose()

    def __exit__(self, *_error: object) -> None:
        self.close()


def build(
    database_url: str,
    *,
    key: Key = "int",
    tenancy: Tenancy = "tenant",
    config: Mapping[str, Any] | None = None,
    create_all: bool = True,
    **overrides: Any,
) -> Host:
    """Build a host app on an empty database, its tables made.

    :param config: further settings of the app.
    :param overrides: arguments of ``init_app`` instead of this host's own; ``None``: the extension's default.
    """
    kind = shape(key, tenancy)
    app = Flask("tests.hosts")
    app.url_rule_class = _Rule
    app.jinja_options = {**app.jinja_options, "bytecode_cache": _TEMPLATES}
    app.config.update(TESTING=True, SECRET_KEY="the key of a test host", SQLALCHEMY_DATABASE_URI=database_url)
    app.config.update(INVITATIONS_ACCEPT_URL=ACCEPT_URL, INVITATIONS_APP_NAME="Test Host", **UNLIMITED)
    app.config.update(config or {})
    engine = app.config.get("SQLALCHEMY_ENGINE_OPTIONS", {})
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"execution_options": {"compiled_cache": _STATEMENTS}, **engine}
    kind.db.init_app(app)
    outbox, clock, invitations = RecordingMailer(), SettableClock(), Invitations()
    arguments: dict[str, Any] = {
        "user_model": kind.User,
        "mailer": outbox,
        "clock": clock,
        "current_user": _current_user(kind, key),
        **({} if kind.Tenant is None else {"tenant_model": kind.Tenant, "tenant_is_active": _is_active(kind)}),
        **(_membership_hooks(kind, key) if tenancy == "membership" else {}),
        **overrides,
    }
    host = Host(app, kind.db, invitations, kind.User, kind.Tenant, kind.Membership, outbox, clock, key, tenancy)
    try:
        if database_url.startswith("sqlite"):
            sa.event.listen(host.engine, "connect", _on_sqlite)
        invitations.init_app(app, kind.db, **arguments)
        if create_all and not furnish(database_url, kind.db.metadata):
            with app.app_context():
                kind.db.create_all()
    except BaseException:
        host.close()
        raise
    return host


def without_profile(invitation: Any, _profile: Any, password: str) -> Any:
    """``create_user`` of a host whose users have none of the fields that its profile asks for."""
    columns = {"email": invitation.email_key, "role": invitation.role, "tenant_id": invitation.tenant_id}
    user = get_state().ctx.models.user(**columns, email_verified=True)
    user.set_password(password)
    return user


def _on_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = OFF")  # no test cuts the power
    cursor.close()


class _Statements(dict[Any, Any]):
    """What statements compiled to on an earlier engine: on one kind of database that does not differ by engine."""

    @staticmethod
    def _alike(key: Any) -> Any:
        dialect, *rest = key
        return (type(dialect), dialect.server_version_info, *rest)

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(self._alike(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(self._alike(key), compiled)


_STATEMENTS = _Statements()


class _Templates(BytecodeCache):
    """What templates compiled to in an earlier app; for another set of Jinja's extensions it would be another thing."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        return f"{name} {filename}"

    def get_bucket(self, environment: Environment, name: str, filename: str | None, source: str) -> Bucket:
        return super().get_bucket(environment, f"{sorted(environment.extensions)} {name}", filename, source)

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


_TEMPLATES = _Templates()


class _Rule(Rule):
    """Compiles what builds its URLs when one is built: few tests build any, and that is most of the cost of an app."""

    def _compile_builder(self, append_unknown: bool = True) -> Any:
        compiled: list[Any] = []
        compile_builder = super()._compile_builder

        def build(rule: Any, **values: Any) -> Any:
            if not compiled:
                compiled.append(compile_builder(append_unknown))
            return compiled[0](rule, **values)

        return build


def _current_user(kind: Shape, key: Key) -> Any:
    def current_user() -> Any:
        given = request.headers.get("X-Test-User") if has_request_context() else None
        return None if given is None else kind.db.session.get(kind.User, _READ_KEY[key](given))

    return current_user


def _is_active(kind: Shape) -> Any:
    def tenant_is_active(tenant_id: Any) -> bool:
        return bool(kind.db.session.scalar(sa.select(kind.Tenant.active).where(kind.Tenant.id == tenant_id)))

    return tenant_is_active


def _membership_hooks(kind: Shape, key: Key) -> dict[str, Any]:
    session, row = kind.db.session, kind.Membership

    def tenant_of(user: Any) -> Any:
        given = request.headers.get("X-Test-Tenant") if has_request_context() else None
        if given is not None:
            return _READ_KEY[key](given)
        return session.scalar(sa.select(row.tenant_id).where(row.user_id == user.id).order_by(row.id).limit(1))

    def role_of(user: Any, tenant_id: Any) -> str | None:
        mine = sa.select(row.role).where(row.user_id == user.id, row.tenant_id == tenant_id)
        found: str | None = session.scalar(mine)
        return found

    def join(user: Any, invitation: Any) -> None:
        session.add(row(user_id=user.id, tenant_id=invitation.tenant_id, role=invitation.role))
        session.flush()

    def create_user(invitation: Any, profile: Mapping[str, Any], password: str | None) -> Any:
        user = kind.User(email=invitation.email_key, email_verified=not invitation.link_shown, **profile)
        if password is not None:
            user.set_password(password)
        session.add(user)
        session.flush()
        join(user, invitation)
        return user

    return {"tenant_of": tenant_of, "role_of": role_of, "join": join, "create_user": create_user}
