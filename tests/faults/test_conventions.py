"""U, S5, S6: the host's class of users, its hooks together and its profile are looked at while the app is set up."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from marshmallow import EXCLUDE, INCLUDE, Schema, fields, post_load
from sqlalchemy import event, orm
from sqlalchemy.ext.hybrid import hybrid_property

from flask_invitations import ConfigurationError, Invitations, canonical_email
from flask_invitations.current import get_state
from flask_invitations.testing import RecordingMailer
from tests.hosts import _TEMPLATES, ACCEPT_URL, PASSWORD, _Rule

# Hosts, as small as they come


def text(length: int | None = 254, **options: Any) -> Any:
    return orm.mapped_column(sa.String(length), **options)


def whole(**options: Any) -> Any:
    return orm.mapped_column(sa.Integer, **options)


def columns() -> dict[str, Any]:
    """What a conventional class of users has."""
    return {
        "id": whole(primary_key=True),
        "email": text(nullable=False, unique=True),
        "role": text(20, nullable=False),
        "password_hash": text(255, nullable=False),
    }


def base(*mixins: type[Any]) -> Any:
    return type("Base", (*mixins, orm.DeclarativeBase), {})


def users(*mixins: type[Any], of: Any = None, **changes: Any) -> Any:
    """A class of users; ``...``: without that attribute."""
    given = {**columns(), **changes}
    space = {name: each for name, each in given.items() if each is not ...}
    return type("User", (*mixins, of or base()), {"__tablename__": "users", "__module__": __name__, **space})


def refer(target: str, **options: Any) -> Any:
    return orm.mapped_column(sa.ForeignKey(target), **options)


def tenants(of: Any, key: Any = None) -> Any:
    return type(
        "Tenant", (of,), {"__tablename__": "tenants", "__module__": __name__, "id": key or whole(primary_key=True)}
    )


@dataclass
class Small:
    """A host of one class of users, its emails and its session."""

    app: Flask
    invitations: Invitations
    session: Any
    mailer: RecordingMailer = field(default_factory=RecordingMailer)

    def invited(self, email: str = "guest@example.com", **how: Any) -> str:
        """The token of an invitation that was emailed."""
        self.invitations.invite(email, **how)
        return self.mailer.token_to(email)


def set_up(user: Any, session: Any = None, config: Mapping[str, Any] | None = None, **given: Any) -> Small:
    """``init_app`` with nothing but what it takes."""
    app = Flask("small")
    app.jinja_options = {**app.jinja_options, "bytecode_cache": _TEMPLATES}
    app.url_rule_class = _Rule
    app.config.update(SECRET_KEY="k", INVITATIONS_ACCEPT_URL=ACCEPT_URL, **(config or {}))
    session = session or orm.scoped_session(orm.sessionmaker())
    small = Small(app, Invitations(), session)
    given = {"current_user": lambda: None, "mailer": small.mailer, "validate_password": lambda *_: None, **given}
    small.invitations.init_app(app, SimpleNamespace(session=session), user_model=user, **given)
    return small


@contextmanager
def running(user: Any, url: str = "sqlite://", **how: Any) -> Iterator[Small]:
    """The same on a database of its own, in the app's context."""
    pool = {"poolclass": sa.StaticPool} if url == "sqlite://" else {}
    engine = sa.create_engine(url, **pool)
    session = orm.scoped_session(orm.sessionmaker(engine))
    try:
        small = set_up(user, session, **how)
        user.metadata.create_all(engine)
        with small.app.app_context():
            yield small
    finally:
        session.remove()
        engine.dispose()


def create_user(*_: Any) -> Any:
    """A host's own."""


# What is refused


class Role(Enum):
    """Roles in a host's words."""

    VIEWER = "viewer"
    USER = "user"
    MANAGER = "manager"
    ADMIN = "admin"
    OWNER = "owner"


Numbered = IntEnum("Numbered", ["viewer", "user", "manager", "admin", "owner"])


class WithEmail:
    """An address that only Python knows."""

    @property
    def email(self) -> str:
        return "x@example.com"

    @email.setter
    def email(self, email: str) -> None: ...


class WithHybrid:
    """An address that SQL does not know either."""

    login = text()

    @hybrid_property
    def email(self) -> str:
        return str(self.login.lower())


class WithFixedRole:
    """A role that nobody can set."""

    @property
    def role(self) -> str:
        return "user"


class Verified:
    """Flags of the wrong kind."""

    def email_verified(self) -> bool:
        return False


class VerifiedAt:
    """A flag that is worked out."""

    verified_at = orm.mapped_column(sa.DateTime)

    @hybrid_property
    def email_verified(self) -> bool:
        return self.verified_at is not None


class OwnInit:
    """A constructor that wants something else."""

    def __init__(self, email: str, name: str) -> None: ...


class AsyncPassword:
    """A setter that never runs."""

    async def set_password(self, password: str) -> None: ...


class OldPassword:
    """A setter that wants more than the password."""

    def set_password(self, old: str, new: str) -> None: ...


class VerifiedHybrid:
    """A moment by another name."""

    verified_at = orm.mapped_column(sa.DateTime)

    @hybrid_property
    def email_verified(self) -> Any:
        return self.verified_at

    @email_verified.inplace.setter
    def _set(self, _value: Any) -> None: ...


class Trimmed(sa.types.TypeDecorator[str]):
    """A type that takes some words only."""

    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return {"admin": "A"}[value]


def related() -> Any:
    """A class whose role is a row."""
    of = base()
    rank = type("Rank", (of,), {"__tablename__": "ranks", "__module__": __name__, "id": whole(primary_key=True)})
    return users(of=of, rank_id=refer("ranks.id"), role=orm.relationship(rank))


def dataclass_user(**options: Any) -> Any:
    space = {"__annotations__": dict.fromkeys(columns(), orm.Mapped[Any]), "__tablename__": "users", **columns()}
    space |= {"id": whole(primary_key=True, init=False), "__module__": __name__, **options}
    space["__annotations__"] |= dict.fromkeys(options, orm.Mapped[Any])
    return type("User", (orm.MappedAsDataclass, base()), space)


#: class of users -> what the error says, hook(s) last: those make it no matter.
REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "username": (lambda: users(username=text(nullable=False)), "'username'", "create_user"),
    "text as key": (lambda: users(id=text(36, primary_key=True)), "'id'", "create_user"),
    "UUID as key": (lambda: users(id=orm.mapped_column(sa.Uuid, primary_key=True)), "'id'", "create_user"),
    "other foreign key": (lambda: users(boss_id=refer("users.id", nullable=False)), "'boss_id'", "create_user"),
    "discriminator": (
        lambda: users(kind=text(20, nullable=False), __mapper_args__={"polymorphic_on": "kind"}),
        "'kind'",
        "create_user",
    ),
    "own init": (lambda: users(OwnInit), "role", "create_user"),
    "dataclass": (dataclass_user, "password_hash", "create_user"),
    "dataclass without a default": (
        lambda: dataclass_user(password_hash=text(255, init=False), name=text()),
        "name",
        "create_user",
    ),
    "role is a row": (related, ".role", "role_of and create_user"),
    "role is a number": (lambda: users(role=whole()), ".role", "role_of and create_user"),
    "role is bytes": (lambda: users(role=orm.mapped_column(sa.LargeBinary)), ".role", "role_of and create_user"),
    "role is short": (lambda: users(role=text(6)), "'manager'", "role_of and create_user"),
    "role of other words": (
        lambda: users(role=orm.mapped_column(sa.Enum("user", "admin", name="r"))),
        "'viewer'",
        "role_of and create_user",
    ),
    "role of a type of theirs": (
        lambda: users(role=orm.mapped_column(Trimmed)),
        "'viewer'",
        "role_of and create_user",
    ),
    "role cannot be set": (lambda: users(WithFixedRole, role=...), ".role cannot be set", "create_user"),
    "role is an expression": (
        lambda: users(role=orm.column_property(sa.literal("user"))),
        ".role cannot be set",
        "create_user",
    ),
    "email is short": (lambda: users(email=text(120)), ".email holds 120", "create_user"),
    "email is a property": (lambda: users(WithEmail, email=...), ".email cannot be searched", "find_user"),
    "email is a hybrid": (lambda: users(WithHybrid, email=...), ".email cannot be searched", "find_user"),
    "verified is a method": (
        lambda: users(Verified),
        ".email_verified is a method",
        "email_is_verified and create_user",
    ),
    "verified is a moment": (
        lambda: users(email_verified=orm.mapped_column(sa.DateTime)),
        "is a datetime, not yes or no",
        "email_is_verified and create_user",
    ),
    "verified is a day": (
        lambda: users(email_verified=orm.mapped_column(sa.Date)),
        "is a date, not yes or no",
        "email_is_verified and create_user",
    ),
    "verified is a hybrid of a moment": (
        lambda: users(VerifiedHybrid),
        "is a datetime, not yes or no",
        "email_is_verified and create_user",
    ),
    "verified is text": (
        lambda: users(email_verified=text(3)),
        "is a str, not yes or no",
        "email_is_verified and create_user",
    ),
    "verified cannot be set": (lambda: users(VerifiedAt), ".email_verified cannot be set", "create_user"),
    "hash is cut": (lambda: users(password_hash=text(128)), ".password_hash holds 128", "create_user"),
    "async set_password": (lambda: users(AsyncPassword), ".set_password is an async function", "create_user"),
    "set_password wants the old one": (lambda: users(OldPassword), ".set_password takes other", "create_user"),
    "set_password is a column": (lambda: users(set_password=text()), ".set_password is no method", "create_user"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """U: what would fail at the first accept, after the email went out, is refused while the app is set up, naming the
    attribute and the hooks that would do instead; with those it is taken."""
    make, said, hooks = REFUSED[name]
    with pytest.raises(ConfigurationError) as caught:
        set_up(make())
    assert said in str(caught.value)
    assert str(caught.value).endswith(f", or pass {hooks}.")
    given: dict[str, Any] = {
        "create_user": create_user,
        "find_user": lambda email: None,
        "role_of": lambda user, tenant_id: None,
        "email_is_verified": lambda user: True,
    }
    set_up(make(), **given)


def test_tenant_id_of_another_type() -> None:
    """U: a ``tenant_id`` that cannot hold the key of a tenant is refused, whether as a column or as a relationship."""
    for made in (lambda: text(36), lambda: orm.relationship("Tenant")):
        of = base()
        tenant = tenants(of)
        user = users(of=of, home_id=refer("tenants.id"), tenant_id=made())
        with pytest.raises(ConfigurationError, match=r"^User\.tenant_id .*, or pass tenant_of"):
            set_up(user, tenant_model=tenant)


# What is taken


class Filled(Schema):
    """A profile that fills a column."""

    name = fields.String(required=True, data_key="your_name", attribute="username")


class MayBeFilled(Schema):
    """One that may be left out."""

    username = fields.String(data_key="login")


class ByDefault(Schema):
    """One that is always there."""

    username = fields.String(load_default="x", data_key="login")


class Passwords:
    """Hashes, by a detour, into columns of its own."""

    def set_password(self, password: str) -> None:
        self._keep(password)

    def _keep(self, password: str) -> None:
        self.salt, self.digest = "salt", password[::-1]


class Counted:
    """Fills a column by itself."""

    def __init__(self, **columns: Any) -> None:
        self.username = columns["email"]
        super().__init__(**columns)


class Hashing:
    """A password that is only written."""

    @property
    def password_hash(self) -> str:
        raise AttributeError

    @password_hash.setter
    def password_hash(self, value: str) -> None:
        self.secret = value


class Stamped:
    """Columns of a mixin that fill themselves."""

    made_at = orm.mapped_column(sa.DateTime, server_default=sa.func.now(), nullable=False)
    code = text(36, default=lambda: uuid.uuid4().hex, nullable=False)
    count = whole(insert_default=0, nullable=False)
    twice = orm.mapped_column(sa.Integer, sa.Computed("2 * 2"), nullable=False)


class Validated:
    """Fills a column when another is set."""

    @orm.validates("email")
    def fill(self, _key: str, email: str) -> str:
        self.username = email
        return email


class OwnWay:
    """A constructor that puts what it gets elsewhere."""

    login = text(nullable=False)

    def __init__(self, email: str, role: str) -> None:
        self.login, self.role = email, role

    @hybrid_property
    def email(self) -> Any:
        return self.login


def versioned() -> Any:
    version = whole(nullable=False)
    return users(version=version, __mapper_args__={"version_id_col": version})


def listening() -> Any:
    user = users(username=text(nullable=False))

    @event.listens_for(user, "before_insert")
    def fill(_mapper: Any, _connection: Any, target: Any) -> None:
        target.username = target.email

    return user


def inheriting() -> Any:
    of = base()
    space: dict[str, Any] = {"kind": text(20, nullable=False), "__mapper_args__": {"polymorphic_on": "kind"}}
    parent = users(of=of, **space)
    args = {"polymorphic_identity": "member"}
    return type(
        "Member",
        (parent,),
        {
            "__tablename__": "members",
            "__module__": __name__,
            "__mapper_args__": args,
            "id": refer("users.id", primary_key=True),
            "points": whole(default=0, nullable=False),
        },
    )


def single_table() -> Any:
    of = base()
    parent = users(of=of, kind=text(20, nullable=False), __mapper_args__={"polymorphic_on": "kind"})
    return type("Member", (parent,), {"__module__": __name__, "__mapper_args__": {"polymorphic_identity": "member"}})


def by_synonym() -> Any:
    return users(email=orm.synonym("login"), login=text(nullable=False), role=orm.synonym("rank"), rank=text(20))


def renamed() -> Any:
    return users(email=orm.mapped_column("mail", sa.String(254), nullable=False))


class Searched:
    """A hybrid that SQL knows, too, and that can be set."""

    login = text()

    @hybrid_property
    def email(self) -> Any:
        return self.login

    @email.inplace.setter
    def _set_email(self, email: str) -> None:
        self.login = email


#: class of users -> the rest of what ``init_app`` is told.
TAKEN: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "plain": (users, {}),
    "text without a length": (lambda: users(email=text(None), role=text(None), password_hash=text(None)), {}),
    "profile fills": (lambda: users(username=text(nullable=False)), {"profile_schema": Filled}),
    "profile fills by default": (lambda: users(username=text(nullable=False)), {"profile_schema": ByDefault}),
    "set_password fills": (
        lambda: users(Passwords, password_hash=..., salt=text(nullable=False), digest=text(nullable=False)),
        {},
    ),
    "init fills": (lambda: users(Counted, username=text(nullable=False)), {}),
    "setter fills": (lambda: users(Hashing, password_hash=..., secret=text(255, nullable=False)), {}),
    "columns fill themselves": (lambda: users(Stamped), {}),
    "counted version": (versioned, {}),
    "a listener fills": (listening, {}),
    "a validator fills": (lambda: users(Validated, username=text(nullable=False)), {}),
    "init stores it elsewhere": (lambda: users(OwnWay, email=...), {}),
    "dataclass": (
        lambda: dataclass_user(password_hash=text(255, default="", nullable=False), points=whole(default=0)),
        {},
    ),
    "dataclass, not in init": (lambda: dataclass_user(password_hash=text(255, init=False, nullable=False)), {}),
    "joined tables": (inheriting, {}),
    "one table": (single_table, {}),
    "synonyms": (by_synonym, {}),
    "renamed": (renamed, {}),
    "hybrid": (lambda: users(Searched, email=...), {}),
    "role of an Enum": (lambda: users(role=orm.mapped_column(sa.Enum(Role), nullable=False)), {}),
    "role of an Enum by values": (
        lambda: users(
            role=orm.mapped_column(sa.Enum(Role, values_callable=lambda kind: [each.value for each in kind]))
        ),
        {},
    ),
    "role of numbers with names": (lambda: users(role=orm.mapped_column(sa.Enum(Numbered))), {}),
    "role of words": (lambda: users(role=orm.mapped_column(sa.Enum(*(each.value for each in Role), name="words"))), {}),
    "verified": (lambda: users(email_verified=orm.mapped_column(sa.Boolean, nullable=False)), {}),
    "verified as a number": (lambda: users(email_verified=whole(nullable=False)), {}),
    "UUID with a default": (lambda: users(id=orm.mapped_column(sa.Uuid, primary_key=True, default=uuid.uuid4)), {}),
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str) -> None:
    """U: what would work is taken, and works: an invitee gets an account with address and role, and is found again by
    the address, signed in or not."""
    make, given = TAKEN[name]
    user = make()
    with running(user, **given) as small:
        profile = {"your_name": "Nora"} if name == "profile fills" else {}
        token = small.invited(role="manager")
        done = small.invitations.accept(token, password=PASSWORD, profile=profile)
        small.session.expire_all()
        account = small.session.get(user, done.user.id)
        assert account.email == "guest@example.com"
        assert getattr(account.role, "name", account.role) in ("manager", "MANAGER")
        assert small.invitations.explain("Guest@example.com").reasons[0].code == "already-member"


@pytest.mark.parametrize("name", ["role of an Enum", "role of an Enum by values", "role of numbers with names"])
def test_owner_by_enum_may_invite(name: str) -> None:
    """U: an owner whose role is a member of an ``Enum`` may invite owners, and a user nobody."""
    user = TAKEN[name][0]()
    with running(user) as small:
        kind = user.__table__.c.role.type.enum_class
        rows = {
            role: user(
                email=f"{role}@example.com", role=getattr(kind, role, None) or kind[role.upper()], password_hash="x"
            )
            for role in ("owner", "user")
        }
        small.session.add_all(rows.values())
        small.session.commit()
        assert small.invitations.invite("a@example.com", by=rows["owner"], role="owner").role == "owner"
        with pytest.raises(Exception, match="may not"):
            small.invitations.invite("b@example.com", by=rows["user"], role="viewer")


def test_column_that_a_flush_fills() -> None:
    """U: what a session's own listener may fill is not refused."""
    session = orm.scoped_session(orm.sessionmaker())
    event.listen(session, "before_flush", lambda *_: None)
    set_up(users(username=text(nullable=False)), session)


def test_profile_that_may_be_left_out() -> None:
    """U: a NOT NULL column whose field the invitee may leave out is filled by nobody."""
    with pytest.raises(ConfigurationError, match=r"'username' that is NOT NULL.*profile_schema require it"):
        set_up(users(username=text(nullable=False)), profile_schema=MayBeFilled)
    with pytest.raises(ConfigurationError, match=r"'username' that is NOT NULL"):
        set_up(users(username=text(nullable=False)), profile_schema=Filled(partial=True))


def test_password_that_nobody_sets() -> None:
    """U: where a password is not required, the column of its hash has to do without."""
    with pytest.raises(ConfigurationError, match=r"'password_hash' that is NOT NULL"):
        set_up(users(), config={"INVITATIONS_PASSWORD_REQUIRED": False})
    set_up(users(password_hash=text(255)), config={"INVITATIONS_PASSWORD_REQUIRED": False})


def test_profile_that_the_model_lacks() -> None:
    """U: a field that the class of users has no attribute for would be an error at the first accept."""
    with pytest.raises(ConfigurationError, match=r"^User has no 'nickname', a field of profile_schema.*create_user"):
        set_up(users(), profile_schema=profile(nickname=fields.String()))


def test_profile_that_only_a_constructor_knows() -> None:
    """U: a field that the class of users takes and does not keep is not refused, and one that it does not take is."""

    class Takes:
        def __init__(self, email: str, role: str, username: str = "") -> None:
            self.email, self.role = email, role

    set_up(users(Takes), profile_schema=MayBeFilled)
    with pytest.raises(ConfigurationError, match=r"^User\(.*cannot be called .*'nickname'"):
        set_up(users(Takes), profile_schema=profile(nickname=fields.String()))


def test_a_property_says_when_it_was_verified() -> None:
    """U: a Python property as ``email_verified`` counts; one that answers with a moment is an error that names the
    hook."""

    class Moment:
        said: Any = True

        @property
        def email_verified(self) -> Any:
            return self.said

        @email_verified.setter
        def email_verified(self, _value: Any) -> None: ...

    user = users(Moment)
    with running(user, join=lambda *_: None, role_of=lambda *_: None) as small:
        account = user(email="guest@example.com", role="user", password_hash="x")
        small.session.add(account)
        small.session.commit()
        token = small.invited()
        account.said = "on Monday"
        with pytest.raises(TypeError, match=r"^email_is_verified returned str\. Return True or False\.$"):
            small.invitations.accept(token, by=account)
        account.said = 1
        assert small.invitations.accept(token, by=account).user.id == account.id


def test_email_that_sql_does_not_know() -> None:
    """U: with hooks of the host's own, an address that only Python knows is no obstacle to any call."""
    makes: list[Callable[[], Any]] = [lambda: users(WithHybrid, email=...), lambda: users(WithEmail, email=...)]
    for make in makes:
        with running(make(), find_user=lambda email: None, create_user=create_user) as small:
            made = small.invitations.invite("guest@example.com")
            assert [each.id for each in small.invitations.list()] == [made.id]
            assert small.invitations.get(made.id).invited_by is None
            assert len(small.invitations.events(made.id)) == 2


# Addresses as hosts have stored them


def indexed(**options: Any) -> Any:
    user = users()
    sa.Index("ix_users_lower", sa.func.lower(user.email), **options)
    return user


BOB = "Bob@Example.com"
STORED: dict[str, Callable[[], Any]] = {
    "lower": indexed,
    "lower as text": lambda: users(__table_args__=(sa.Index("ix_users_lower", sa.text("lower(email)")),)),
    "lower, unique": lambda: indexed(unique=True),
    "lower, backwards": lambda: users(__table_args__=(sa.Index("ix_users_lower", sa.text("lower((email)) DESC")),)),
    "collation": lambda: users(email=orm.mapped_column(sa.String(254, collation="NOCASE"), unique=True)),
}


@pytest.mark.parametrize("kind", STORED)
def test_stored_in_another_case(kind: str) -> None:
    """U: an account whose address is stored as it was typed is found where an index or a collation serves that: no
    second account is made for it."""
    user = STORED[kind]()
    with running(user) as small:
        small.session.add(user(email=BOB, role="user", password_hash="x"))
        small.session.commit()
        for email in (BOB, "bob@example.com", "BOB@EXAMPLE.COM"):
            assert [each.code for each in small.invitations.explain(email).reasons] == ["already-member"]
        assert small.invitations.explain("bobby@example.com").allowed


def test_index_is_asked() -> None:
    """U: where there is such an index, it is what the statement asks for, for one address and for many."""
    user = indexed()
    with running(user) as small, small.app.app_context():
        statements: list[str] = []
        event.listen(small.session.get_bind(), "before_cursor_execute", lambda *given: statements.append(given[2]))
        hooks = get_state().ctx.hooks
        assert (hooks.find_user("bob@example.com"), hooks.accounts(["a@example.com", "b@example.com"])) == (None, {})
        assert [("lower(users.email) = " in each, "lower(users.email) IN " in each) for each in statements] == [
            (True, False),
            (False, True),
        ]


def test_canonical_email() -> None:
    """U: hosts can store the form in which addresses are looked up."""
    assert canonical_email(" Bob@Exämple.com ") == "bob@xn--exmple-cua.com"
    with pytest.raises(ValueError, match="not a valid email address"):
        canonical_email("Bob")


# S5


def test_tenant_of_without_role_of() -> None:
    """S5: ``tenant_of`` alone would make an owner of one tenant the owner of whatever tenant it names."""
    of = base()
    tenant = tenants(of)
    user = users(of=of, tenant_id=refer("tenants.id"))
    with pytest.raises(ConfigurationError, match=r"^tenant_of is given without role_of\. Pass role_of="):
        set_up(user, tenant_model=tenant, tenant_of=lambda user: 1)
    set_up(user, tenant_model=tenant, tenant_of=lambda user: 1, role_of=lambda user, tenant_id: None)


def test_join_without_verified() -> None:
    """S5: accounts join only where something says whether their address is verified."""
    with pytest.raises(ConfigurationError, match=r"^join is given.*Pass email_is_verified=.*column email_verified"):
        set_up(users(), join=lambda *_: None)
    set_up(users(), join=lambda *_: None, email_is_verified=lambda user: True)
    set_up(users(email_verified=orm.mapped_column(sa.Boolean)), join=lambda *_: None)


# S6


def test_profile_where_there_are_no_forms() -> None:
    """S6: without our pages, nothing but the profile is sent under the names that only our forms use."""
    schema, config = profile(username=fields.String()), {"INVITATIONS_PAGES_PREFIX": None}
    set_up(users(username=text()), profile_schema=schema, config=config)


def profile(**given: Any) -> Any:
    return Schema.from_dict(given, name="Profile")


OURS = ["token", "password", "password_hash", "email", "email_key", "role", "tenant_id", "id"]
SENT = ["username", "reason", "seal", "csrf_token"]


@pytest.mark.parametrize("name", [*OURS, *SENT])
def test_profile_takes_a_name_of_ours(name: str) -> None:
    """S6: a field whose name we send or fill is refused, as a name and as a ``data_key``; those that we fill also as an
    ``attribute``."""
    wrong = [profile(**{name: fields.String()}), profile(other=fields.String(data_key=name))]
    wrong += [profile(other=fields.String(attribute=name))] if name in OURS else []
    for schema in (*wrong, *(each() for each in wrong)):
        with pytest.raises(
            ConfigurationError, match=rf"^profile_schema may not have a field '({name}|other)', because"
        ):
            set_up(users(nickname=text()), profile_schema=schema)


@dataclass
class Person:
    """What a schema may load."""

    nickname: str


def loading(make: Callable[[Any], Any], **options: Any) -> Any:
    class Loads(Schema):
        nickname = fields.String(required=True, **options)

        @post_load
        def made(self, data: Any, **_: Any) -> Any:
            return make(data)

    return Loads


@pytest.mark.parametrize(
    "make",
    [
        lambda data: Person(**data),
        lambda data: SimpleNamespace(**data),
        lambda data: data["nickname"],
        lambda data: [data],
        lambda data: None,
    ],
)
def test_profile_loads_an_object(make: Callable[[Any], Any]) -> None:
    """U: a profile that loads anything but a mapping is refused: ``create_user`` gets its fields."""
    with pytest.raises(ConfigurationError, match=r"^profile_schema loads an object"):
        set_up(users(nickname=text()), profile_schema=loading(make))


def test_profile_of_many_or_of_anything() -> None:
    """U: nor can it be a list, or take fields that it does not name; leaving those out is fine."""
    schema = profile(nickname=fields.String())
    with pytest.raises(ConfigurationError, match=r"many=True"):
        set_up(users(nickname=text()), profile_schema=schema(many=True))
    with pytest.raises(ConfigurationError, match=r"unknown=INCLUDE"):
        set_up(users(nickname=text()), profile_schema=schema(unknown=INCLUDE))
    set_up(users(nickname=text()), profile_schema=schema(unknown=EXCLUDE))


def test_profile_that_is_cleaned() -> None:
    """U: a ``post_load`` that gives a mapping is fine; what it gives is what counts, when it is tried and later."""
    clean = loading(lambda data: {"nickname": data["nickname"].strip(), "points": 1})
    user = users(nickname=text(nullable=False), points=whole(nullable=False))
    with running(user, profile_schema=clean) as small:
        done = small.invitations.accept(small.invited(), password=PASSWORD, profile={"nickname": " Bob "})
        assert (small.session.get(user, done.user.id).nickname, done.user.role) == ("Bob", "user")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda data: Person(str(int(data["nickname"]))), "loaded Person"),
        (lambda data: {"role": "owner", "n": int(data["nickname"])}, "loaded 'role'"),
    ],
)
def test_profile_that_shows_only_later(make: Callable[[Any], Any], said: str) -> None:
    """U, S6: what only real values show is an error that names the schema, and the invitation stands."""
    with running(users(nickname=text()), profile_schema=loading(make)) as small:
        token = small.invited()
        with pytest.raises(TypeError, match=f"^profile_schema {said}"):
            small.invitations.accept(token, password=PASSWORD, profile={"nickname": "7"})
        assert small.invitations.preview(token).obstacle is None


def test_models_that_are_still_to_come() -> None:
    """U: a class of users that names another, which is imported later, is looked at without being configured."""
    of = base()
    user = users(of=of, posts=orm.relationship("Post", back_populates="author"))
    set_up(user)
    columns = {"id": whole(primary_key=True), "author_id": refer("users.id")}
    columns["author"] = orm.relationship("User", back_populates="posts")
    post = type("Post", (of,), {"__tablename__": "posts", "__module__": __name__, **columns})
    orm.configure_mappers()
    assert user(email="a@example.com", role="user").posts == []
    assert post.__name__ == "Post"


def _hash_into(user: Any, password: str) -> None:
    user.password_hash = password


class ByProperty:
    """A password that a setter stores."""

    @property
    def password(self) -> str:
        raise AttributeError

    @password.setter
    def password(self, text: str) -> None:
        self.password_hash = text

    def set_password(self, text: str) -> None:
        self.password = text


class ByFunction:
    """A password that a function stores."""

    def set_password(self, text: str) -> None:
        _hash_into(self, text)


class ByKeyword:
    """A password that is stored by its name."""

    def update(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    def set_password(self, text: str) -> None:
        self.update(password_hash=text)


@pytest.mark.parametrize("mixin", [ByProperty, ByFunction, ByKeyword])
def test_password_that_is_stored_by_a_detour(mixin: type[Any]) -> None:
    """U: a column that set_password fills by a setter, a function or a keyword is not refused."""
    set_up(users(mixin, password_hash=text(255, nullable=False)))


def test_users_of_several_kinds(empty_url: str) -> None:
    """U: a class of users that is read together with its subclasses can be locked while somebody accepts."""
    of = base()
    kinds = {"polymorphic_on": "kind", "polymorphic_identity": "user", "with_polymorphic": "*"}
    user = users(of=of, kind=text(20), __mapper_args__=kinds)
    space = {"__tablename__": "admins", "__module__": __name__, "__mapper_args__": {"polymorphic_identity": "admin"}}
    admin = type("Admin", (user,), {**space, "id": refer("users.id", primary_key=True)})
    with running(user, empty_url) as small:
        small.session.add(admin(email="boss@example.com", role="owner", password_hash="-"))
        small.session.commit()
        boss = small.session.scalar(sa.select(user))
        accepted = small.invitations.accept(small.invited(inviter=boss), password="correct horse battery staple")
        assert accepted.user.email == "guest@example.com"
        small.session.remove()
        of.metadata.drop_all(small.session.get_bind())
