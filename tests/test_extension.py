"""``Invitations``: what ``init_app`` takes and refuses, decorators, several apps, and other kinds of ``db``."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_login import LoginManager, UserMixin, current_user, login_user
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy_lite import SQLAlchemy as LiteSQLAlchemy
from marshmallow import Schema, fields
from sqlalchemy import orm

from flask_invitations import ConfigurationError, Invitations, LogMailer
from flask_invitations.clock import utcnow
from flask_invitations.hooks import TABLE
from flask_invitations.testing import RecordingMailer, SettableClock
from tests.hosts import ACCEPT_URL, PASSWORD, build, shape
from tests.http.tools import ACCEPT, INVITE, LIST


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """A bare app with a database and the one required setting."""
    made = Flask("bare")
    made.config.update(TESTING=True, SECRET_KEY="k", INVITATIONS_ACCEPT_URL=ACCEPT_URL)
    made.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'bare.sqlite3'}"
    KIND.db.init_app(made)
    return made


KIND = shape("int", "tenant")


def good(**changes: Any) -> dict[str, Any]:
    """Arguments that would do."""
    arguments = {"user_model": KIND.User, "mailer": RecordingMailer(), "current_user": lambda: None}
    arguments |= {"tenant_model": KIND.Tenant, **changes}
    return {name: value for name, value in arguments.items() if value is not ...}


def model(name: str, metadata: sa.MetaData | None = None, /, **columns: Any) -> Any:
    """A mapped class."""
    base: Any = orm.registry(metadata=metadata or sa.MetaData()).generate_base()
    return type(name, (base,), {"__tablename__": name.lower(), **columns})


def key(**options: Any) -> Any:
    return orm.mapped_column(sa.Integer, primary_key=True, **options)


def text() -> Any:
    return orm.mapped_column(sa.String(254))


def full_user(**changes: Any) -> Any:
    columns = {"id": key(), "email": text(), "role": text(), "tenant_id": orm.mapped_column(sa.Integer)}
    columns |= {"password_hash": text(), **changes}
    return model("Person", **{name: column for name, column in columns.items() if column is not ...})


class Plain:
    """No mapped class."""


class TakesEmail(Schema):
    """A profile that would choose the address."""

    email = fields.String()


class TakesRole(Schema):
    """A profile that would choose the role by another name."""

    level = fields.String(attribute="role")


#: What is passed -> what the error says: the argument, and the mend.
WRONG: dict[str, tuple[Callable[[], dict[str, Any]], tuple[str, ...]]] = {
    "no user_model": (lambda: good(user_model=...), ("user_model", "init_app")),
    "user_model=None": (lambda: good(user_model=None), ("user_model",)),
    "no mailer": (lambda: good(mailer=...), ("mailer", "init_app")),
    "no current_user": (lambda: good(current_user=...), ("current_user", "LoginManager")),
    "typo": (lambda: good(on_acepted=lambda *_: None), ("on_acepted", "not a hook", "Did you mean on_accepted?")),
    "class of mailers": (lambda: good(mailer=LogMailer), ("class LogMailer", "mailer=LogMailer(...)")),
    "unknown": (lambda: good(secret="x"), ("secret", "not a hook")),
    "dotted string": (lambda: good(mailer="app.mail.send"), ("mailer", "callable", "str")),
    "dotted model": (lambda: good(user_model="app.models.User"), ("user_model", "mapped class")),
    "instance": (lambda: good(user_model=KIND.User(email="a")), ("user_model", "mapped class")),
    "unmapped class": (lambda: good(user_model=Plain), ("user_model", "mapped class")),
    "unmapped tenant": (lambda: good(tenant_model=Plain), ("tenant_model", "mapped class")),
    "mailer not callable": (lambda: good(mailer=object()), ("mailer", "callable")),
    "mailer without argument": (lambda: good(mailer=lambda: None), ("mailer", "mailer(message)")),
    "can_invite with two": (lambda: good(can_invite=lambda _user, _tenant: True), ("(user, tenant_id, role)",)),
    "create_user with one": (lambda: good(create_user=lambda _invitation: None), ("(invitation, profile, password)",)),
    "join with one": (lambda: good(join=lambda _user: None), ("join(user, invitation)",)),
    "current_user with one": (lambda: good(current_user=lambda _request: None), ("current_user()",)),
    "clock with one": (lambda: good(clock=lambda _zone: None), ("clock()",)),
    "profile no schema": (lambda: good(profile_schema=dict), ("profile_schema", "marshmallow")),
    "profile dict": (lambda: good(profile_schema={"name": fields.String()}), ("profile_schema", "marshmallow")),
    "profile takes e-mail": (lambda: good(profile_schema=TakesEmail), ("profile_schema", "email")),
    "composite key": (
        lambda: good(user_model=model("Pair", a=key(), b=key(), email=text()), tenant_model=...),
        ("Pair", "composite"),
    ),
    "date as key": (
        lambda: good(user_model=model("Day", id=orm.mapped_column(sa.Date, primary_key=True)), tenant_model=...),
        ("Day", "int, UUID or str"),
    ),
    "no email": (lambda: good(user_model=full_user(email=...), tenant_model=...), ("'email'", "find_user")),
    "no role": (lambda: good(user_model=full_user(role=...), tenant_model=...), ("'role'", "role_of")),
    "no password": (
        lambda: good(user_model=full_user(password_hash=...), tenant_model=...),
        ("set_password", "create_user"),
    ),
    "tenant on another base": (
        lambda: good(user_model=full_user(), tenant_model=model("Firm", id=key(), name=text())),
        ("tenant_model", "metadata"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_argument(app: Flask, name: str) -> None:
    """A missing or wrong hook is refused at ``init_app``, in a sentence that names it and the mend; the app is left as
    it was, so that the mended call works."""
    make, words = WRONG[name]
    with pytest.raises(ConfigurationError) as caught:
        Invitations().init_app(app, KIND.db, **make())
    for word in words:
        assert word in str(caught.value)
    assert not [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("invitations")]
    Invitations().init_app(app, KIND.db, **good())


def test_no_tenant_id(app: Flask) -> None:
    """With a tenant model, a user without ``tenant_id`` needs hooks that say where they act."""
    metadata = sa.MetaData()
    columns = {"id": key(), "email": text(), "role": text(), "password_hash": text()}
    user, firm = model("Member", metadata, **columns), model("Firm", metadata, id=key(), name=text())
    with pytest.raises(ConfigurationError, match=r"tenant_id.*tenant_of"):
        Invitations().init_app(app, KIND.db, **good(user_model=user, tenant_model=firm))


@pytest.mark.parametrize("db", [None, object(), "sqlite://"], ids=["none", "object", "text"])
def test_wrong_db(app: Flask, db: Any) -> None:
    """Without a ``db`` that has a session there is nothing to work on."""
    with pytest.raises(ConfigurationError, match=r"db is missing.*SQLAlchemy\(\)"):
        Invitations().init_app(app, db, **good())


SETTINGS: list[tuple[str, Any]] = [
    ("INVITATIONS_TTL", 60),
    ("INVITATIONS_TTL", timedelta(days=31)),
    ("INVITATIONS_ACCEPT_URL", "/accept#{token}"),
    ("INVITATIONS_ACCEPT_URL", "http://app.example.com/#{token}"),
    ("INVITATIONS_ACCEPT_URL", "https://app.example.com/"),
    ("INVITATIONS_TYPO", 1),
    ("INVITATIONS_DELIVERY", "later"),
    ("INVITATIONS_PASSWORD_MIN_LENGTH", 6),
    ("INVITATIONS_DEFAULT_ROLE", "god"),
    ("SECRET_KEY", None),
]


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_wrong_setting(app: Flask, name: str, value: Any) -> None:
    """A wrong setting is refused at ``init_app``, by its name."""
    app.config[name] = value
    with pytest.raises(ConfigurationError, match=name):
        Invitations().init_app(app, KIND.db, **good())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("INVITATIONS_ACCEPT_URI", "Did you mean INVITATIONS_ACCEPT_URL?"),
        ("INVITATIONS_DEFAULT_ROLES", "Did you mean INVITATIONS_DEFAULT_ROLE?"),
        ("INVITATIONS_TTl", "Did you mean INVITATIONS_TTL?"),
        ("INVITATIONS_XYZZY", " See docs/settings.md for the names."),
    ],
)
def test_misspelled_setting(app: Flask, typed: str, meant: str) -> None:
    """What was meant is said, where something is near."""
    app.config[typed] = app.config.pop("INVITATIONS_ACCEPT_URL")
    with pytest.raises(ConfigurationError, match=rf"^{typed} is not a setting.*{re.escape(meant)}"):
        Invitations().init_app(app, KIND.db, **good())


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        (("user", "owner"), "INVITATIONS_ADMIN_ROLES names 'admin', which is not in INVITATIONS_ROLES."),
        (("member", "admin", "owner"), "INVITATIONS_DEFAULT_ROLE is 'user', which is not in INVITATIONS_ROLES."),
    ],
)
def test_roles_without_a_default_one(app: Flask, roles: tuple[str, ...], said: str) -> None:
    """Who sets only the roles is told which one the other settings name: nobody knows those by heart."""
    app.config["INVITATIONS_ROLES"] = roles
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        Invitations().init_app(app, KIND.db, **good())


@pytest.mark.parametrize("wrong", [None, "app", KIND.db], ids=["none", "name", "db"])
def test_wrong_app(wrong: Any) -> None:
    """``Invitations(db, app)`` is easily typed."""
    with pytest.raises(ConfigurationError, match=r"^app must be your Flask app, not \w+\. .* init_app\(app, db, "):
        Invitations().init_app(wrong, KIND.db, **good())


def test_decorator_with_parentheses() -> None:
    """Flask's own decorators have them."""
    with pytest.raises(ConfigurationError, match=r"^on_accepted is a decorator\. Write @invitations\.on_acc.* without"):
        Invitations().on_accepted()  # type: ignore[call-arg,misc]


def test_missing_accept_url(app: Flask) -> None:
    """E1: without an absolute link template nothing starts: the request's host is never asked."""
    del app.config["INVITATIONS_ACCEPT_URL"]
    with pytest.raises(ConfigurationError, match=r"INVITATIONS_ACCEPT_URL is missing. Set it"):
        Invitations().init_app(app, KIND.db, **good())


def test_second_init_app(app: Flask) -> None:
    """A second ``init_app`` on the same app is refused, by the same object and by another."""
    first = Invitations(app, KIND.db, **good())
    for extension in (first, Invitations()):
        with pytest.raises(ConfigurationError, match="already"):
            extension.init_app(app, KIND.db, **good())


def test_constructor(app: Flask) -> None:
    """``Invitations(app, db, ...)`` is ``init_app`` at once; half of it is a mistake."""
    assert Invitations(app, KIND.db, **good()).models.user is KIND.User
    with pytest.raises(ConfigurationError, match="needs the app"):
        Invitations(None, KIND.db)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="needs the app"):
        Invitations(mailer=RecordingMailer())  # type: ignore[call-overload]


def test_no_app_yet() -> None:
    """Used on an app without ``init_app``, the extension says so."""
    with Flask("empty").app_context(), pytest.raises(RuntimeError, match="init_app"):
        Invitations().invite("a@example.com")
    with pytest.raises(RuntimeError):
        _ = Invitations().models


HOOKS: dict[str, Any] = {
    "user_model": KIND.User,
    "tenant_model": KIND.Tenant,
    "profile_schema": type("Nickname", (Schema,), {"name": fields.String()}),
    "mailer": lambda message: None,
    "current_user": lambda: None,
    "tenant_of": lambda user: None,
    "role_of": lambda user, tenant_id: None,
    "can_invite": lambda user, tenant_id, role: True,
    "find_user": lambda email: None,
    "find_users": lambda emails: [],
    "email_is_verified": lambda user: True,
    "create_user": lambda invitation, profile, password: None,
    "join": lambda user, invitation: None,
    "validate_password": lambda password, invitation: None,
    "check_invitee": lambda draft: None,
    "check_acceptance": lambda invitation, user: None,
    "seats": lambda tenant_id: None,
    "limits_for": lambda tenant_id: {},
    "rate_limit": lambda scope, key, cost: None,
    "tenant_is_active": lambda tenant_id: True,
    "tenant_name": lambda tenant_id: "x",
    "display_name": lambda user: None,
    "login_url": lambda: "/login",
    "logout_url": lambda: "/logout",
    "home_url": lambda: "/",
    "accepted_url": lambda user, invitation: None,
    "role_label": lambda role: role,
    "enqueue": lambda delivery_id: None,
    "on_accepted": lambda user, invitation: None,
    "clock": utcnow,
}
CLASSES = {"user_model", "tenant_model", "profile_schema"}


def test_no_hook_is_forgotten() -> None:
    """What this file says of all hooks it says of every hook."""
    assert HOOKS.keys() == TABLE.keys()


def test_decorators(app: Flask) -> None:
    """Every hook is a decorator that gives the function back unchanged, and is used as if it had been passed."""
    from flask_invitations.current import get_state

    invitations = Invitations()
    for name, hook in HOOKS.items():
        if name != "user_model":
            assert getattr(invitations, name)(hook) is hook
    assert invitations.user_model(KIND.User) is KIND.User
    invitations.init_app(app, KIND.db)  # type: ignore[call-arg]  # for the type checker both are required keywords
    with app.app_context():
        hooks = get_state().ctx.hooks
        for name in HOOKS.keys() - CLASSES:
            assert getattr(hooks, name).__wrapped__ is HOOKS[name], name
        assert hooks.profile_fields == ("name",)


def test_argument_beats_decorator(app: Flask) -> None:
    """What is passed to ``init_app`` goes before what was decorated."""
    from flask_invitations.current import get_state

    invitations, other = Invitations(), RecordingMailer()
    invitations.mailer(RecordingMailer())
    invitations.init_app(app, KIND.db, **good(mailer=other))
    with app.app_context():
        assert get_state().ctx.hooks.said["mailer"] is other


@pytest.mark.parametrize("name", sorted(HOOKS.keys() - CLASSES))
def test_decorated_too_late(app: Flask, name: str) -> None:
    """A decorator after ``init_app`` would do nothing, so it is refused; a wrong function is refused at once."""
    with pytest.raises(ConfigurationError, match=name):
        getattr(Invitations(), name)("app.hooks.it")
    invitations = Invitations(app, KIND.db, **good())
    with pytest.raises(ConfigurationError, match=f"{name}.*after init_app"):
        getattr(invitations, name)(HOOKS[name])


# Several apps


def test_two_apps(tmp_path: Path) -> None:
    """One extension object serves two apps, each with its own settings, hooks, database and outbox."""
    urls = [f"sqlite:///{tmp_path / name}.sqlite3" for name in ("one", "two")]
    settings = {"INVITATIONS_API_PREFIX": "/two", "INVITATIONS_TTL": 7200, "INVITATIONS_PAGES_PREFIX": None}
    with build(urls[0]) as one, build(urls[1], config=settings, create_all=False) as second:
        apps = [one, second]
        with second.app.app_context():
            second.db.create_all()
        shared = Invitations()
        third = _bare(urls[0], "three", {})
        fourth = _bare(urls[1], "four", {**settings, "SECRET_KEY": "another"})
        outboxes = [RecordingMailer(), RecordingMailer()]
        for app, outbox in zip((third, fourth), outboxes, strict=True):
            shared.init_app(app, KIND.db, **good(mailer=outbox))
        tenants = [host.tenant() for host in apps]
        for app, outbox, tenant in zip((third, fourth), outboxes, tenants, strict=True):
            with app.app_context():
                made = shared.invite("guest@example.com", tenant_id=tenant)
                assert len(outbox.messages) == 1
                hours = (made.expires_at - made.created_at) / timedelta(hours=1)
                assert hours == (2 if app is fourth else 48)
        assert [len(outbox.messages) for outbox in outboxes] == [1, 1]
        token = outboxes[0].token_to("guest@example.com")
        body = {"token": token, "password": PASSWORD}
        assert fourth.test_client().post("/two/accept-invite", json=body).status_code == 404
        assert third.test_client().post("/two/accept-invite", json=body).status_code == 404
        assert third.test_client().post(ACCEPT, json=body).status_code == 201
        assert fourth.test_client().get("/invitations/accept").status_code == 404
        assert third.test_client().get("/invitations/accept").status_code == 200
        assert [len(host.rows(host.User)) for host in apps] == [1, 0]
        for app in (third, fourth):
            with app.app_context():
                KIND.db.session.remove()
                KIND.db.engine.dispose()


def _bare(url: str, name: str, settings: dict[str, Any]) -> Flask:
    app = Flask(name)
    app.config.update(SECRET_KEY="k", INVITATIONS_ACCEPT_URL=ACCEPT_URL, SQLALCHEMY_DATABASE_URI=url)
    app.config.update(settings)
    KIND.db.init_app(app)
    return app


def test_two_dbs(tmp_path: Path) -> None:
    """One extension object serves apps with different models on different ``db`` objects; outside of an app it cannot
    know which tables are meant."""
    shared = Invitations()
    for name, tenancy in (("a", "tenant"), ("b", "none")):
        kind = shape("int", tenancy)  # type: ignore[arg-type]
        app = Flask(name)
        app.config.update(SECRET_KEY="k", INVITATIONS_ACCEPT_URL=ACCEPT_URL)
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / name}.sqlite3"
        kind.db.init_app(app)
        shared.init_app(app, kind.db, **good(user_model=kind.User, tenant_model=kind.Tenant))
        with app.app_context():
            assert shared.models.user is kind.User
            assert shared.models.tenant is kind.Tenant
    with pytest.raises(RuntimeError):
        _ = shared.models


def test_same_tables_other_classes(app: Flask) -> None:
    """The tables are bound to one user class: another app that shares the metadata cannot bind them to another."""
    Invitations(app, KIND.db, **good())
    other = Flask("other")
    other.config.update(SECRET_KEY="k", INVITATIONS_ACCEPT_URL=ACCEPT_URL)
    with pytest.raises(ConfigurationError, match="tenant_model differs"):
        Invitations(other, KIND.db, **good(tenant_model=...))


# Other kinds of hosts


class Base(orm.DeclarativeBase):
    """What Flask-SQLAlchemy-Lite leaves to its users."""


class Account(Base):
    """A user."""

    __tablename__ = "accounts"
    id: orm.Mapped[uuid.UUID] = orm.mapped_column(primary_key=True, default=uuid.uuid4)
    email: orm.Mapped[str] = orm.mapped_column(sa.String(254), unique=True)
    role: orm.Mapped[str] = orm.mapped_column(sa.String(20))
    password_hash: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))


def test_flask_sqlalchemy_lite(empty_url: str) -> None:
    """The whole way with Flask-SQLAlchemy-Lite as ``db``, on each database."""
    db, outbox, invitations = LiteSQLAlchemy(), RecordingMailer(), Invitations()
    app = Flask("lite")
    app.config.update(SECRET_KEY="k", INVITATIONS_ACCEPT_URL=ACCEPT_URL, INVITATIONS_APP_NAME="Lite")
    app.config["SQLALCHEMY_ENGINES"] = {"default": empty_url}
    db.init_app(app)

    def current_user() -> Any:
        return db.session.scalar(sa.select(Account).where(Account.email == "admin@example.com"))

    invitations.init_app(app, db, user_model=Account, mailer=outbox, current_user=current_user)
    with app.app_context():
        Base.metadata.create_all(db.engine)
        db.session.add(Account(email="admin@example.com", role="admin"))
        db.session.commit()
    client = app.test_client()
    made = client.post(INVITE, json={"email": "Guest@example.com", "role": "manager"})
    assert made.status_code == 201
    with app.app_context():
        assert invitations.preview(outbox.token_to("guest@example.com")).tenant.name == "Lite"
        done = invitations.accept(outbox.token_to("guest@example.com"), password=PASSWORD)
        account = db.session.get(Account, done.user.id)
        assert account is not None
        assert (account.email, account.role) == ("guest@example.com", "manager")
        assert account.password_hash is not None
        with invitations.unit():
            db.session.add(Account(email="third@example.com", role="user"))
            invitations.invite("fourth@example.com")
    page: Any = client.get(LIST).json
    assert [item["status"] for item in page["items"]] == ["pending", "accepted"]
    with app.app_context():
        db.session.close()
        db.engine.dispose()


@pytest.fixture(params=[{}, {"current_user": lambda: current_user}], ids=["default", "given"])
def login(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Flask, RecordingMailer]]:
    """A conventional host: Flask-Login, a user class of its own, nothing but defaults; or Flask-Login's proxy given as
    it is."""
    db, outbox = SQLAlchemy(), RecordingMailer()

    class LoginUser(UserMixin, db.Model):  # type: ignore[misc, name-defined]
        __tablename__ = "login_users"
        id = orm.mapped_column(sa.Integer, primary_key=True)
        email = orm.mapped_column(sa.String(254), unique=True)
        role = orm.mapped_column(sa.String(20))
        password_hash = orm.mapped_column(sa.String(255))

    app = Flask("login")
    app.config.update(SECRET_KEY="k", INVITATIONS_ACCEPT_URL=ACCEPT_URL)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'login.sqlite3'}"
    db.init_app(app)
    manager = LoginManager(app)
    manager.user_loader(lambda user_id: db.session.get(LoginUser, int(user_id)))
    Invitations().init_app(app, db, user_model=LoginUser, mailer=outbox, clock=SettableClock(), **request.param)

    @app.post("/sign-in/<int:user_id>")
    def sign_in(user_id: int) -> str:
        login_user(db.session.get(LoginUser, user_id))
        return "in"

    with app.app_context():
        db.create_all()
        db.session.add(LoginUser(email="admin@example.com", role="admin"))
        db.session.commit()
    yield app, outbox
    with app.app_context():
        db.engine.dispose()


def test_flask_login(login: tuple[Flask, RecordingMailer]) -> None:
    """H2: where Flask-Login is set up, its user is ours, its anonymous one is nobody, and its cookie does not work from
    elsewhere."""
    app, outbox = login
    client = app.test_client()
    assert client.post(INVITE, json={"email": "guest@example.com"}).status_code == 401
    client.post("/sign-in/1")
    cross = client.post(INVITE, json={"email": "guest@example.com"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert cross.status_code == 403
    made: Any = client.post(INVITE, json={"email": "guest@example.com"}).json
    assert made["invited_by"] == {"id": 1, "email": "admin@example.com"}
    body = {"token": outbox.token_to("guest@example.com"), "password": PASSWORD}
    assert client.post(ACCEPT, json=body).status_code == 403
    guest = app.test_client()
    answer = guest.post(ACCEPT, json=body)
    assert answer.status_code == 201
    assert guest.get(LIST).status_code == 401
