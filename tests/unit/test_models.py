"""The three tables on each database, bound to every kind of key; ids; and what an invitation is at a moment."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import orm
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import make_transient_to_detached

from flask_invitations.errors import ConfigurationError
from flask_invitations.model.binding import Models, bind, check_mapped, primary_key
from flask_invitations.model.states import DeliveryState, Status
from flask_invitations.model.tables import new_id, pending_key
from tests.servers import furnish

NOW = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)
#: What the host's keys are, in the database and in Python.
KEYS: dict[str, tuple[Any, Any]] = {
    "int": (sa.Integer(), 7),
    "bigint": (sa.BigInteger(), 2**40),
    "uuid": (sa.Uuid(), uuid.UUID(int=7)),
    "str": (sa.String(36), "k-7"),
}
CONVENTION = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s_host",
    "ck": "ck_%(table_name)s_%(constraint_name)s_host",
    "fk": "fk_%(table_name)s_%(column_0_name)s_host",
    "pk": "pk_%(table_name)s_host",
}


def _host(key: str = "int", tenants: bool = True, **metadata: Any) -> Models:
    base: Any = orm.registry(metadata=sa.MetaData(**metadata)).generate_base()
    kind = KEYS[key][0]
    user = type("User", (base,), {"__tablename__": "users", "id": sa.Column("user_pk", kind, primary_key=True)})
    tenant = type("Tenant", (base,), {"__tablename__": "tenants", "id": sa.Column(kind, primary_key=True)})
    return bind(user, tenant if tenants else None)


#: A host to share: tables that stand already need not be made again.
MODELS = _host()


@contextmanager
def _tables(url: str, models: Models) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    if url.startswith("sqlite"):
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = ON").close())
    metadata = primary_key(models.user).table.metadata
    if not furnish(url, metadata):
        metadata.create_all(engine)
    try:
        yield engine
    finally:
        engine.dispose()


def _invitation(models: Models, value: Any, **changes: Any) -> dict[str, Any]:
    mark = uuid.uuid4().hex * 2
    return {
        "id": new_id(NOW),
        "tenant_id": value,
        "email": "Ann@example.com",
        "email_key": "ann@example.com",
        "role": "user",
        "token_hash": mark,
        "token_nonce": mark,
        "link_shown": False,
        "status": Status.PENDING,
        "pending_key": mark,
        "lifetime": 172_800,
        "invited_by_id": value,
        "inviter_ref": str(value),
        "expires_at": NOW + timedelta(days=2),
        "created_at": NOW,
        "updated_at": NOW,
        **changes,
    }


def _seed(engine: sa.Engine, models: Models, value: Any, **changes: Any) -> uuid.UUID:
    row = _invitation(models, value, **changes)
    with orm.Session(engine) as session:
        session.add(models.user(id=value))
        if models.tenant is not None:
            session.add(models.tenant(id=value))
        session.flush()
        session.execute(sa.insert(models.Invitation), [row])
        session.execute(
            sa.insert(models.InvitationEvent),
            [
                {"id": new_id(NOW), "invitation_id": row["id"], "tenant_id": row["tenant_id"], "actor_id": value}
                | {"type": "created", "at": NOW}
            ],
        )
        session.execute(
            sa.insert(models.Delivery),
            [
                {"id": new_id(NOW), "invitation_id": row["id"], "kind": "invitation", "state": DeliveryState.QUEUED}
                | {"attempts": 0, "next_attempt_at": NOW, "created_at": NOW}
            ],
        )
        session.commit()
    found: uuid.UUID = row["id"]
    return found


def _get(session: orm.Session, model: Any, key: Any) -> Any:
    return session.get(model, key)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("tenants", [True, False], ids=["tenants", "no-tenants"])
def test_keys(database_url: str, key: str, tenants: bool) -> None:
    """The tables take the host's keys, of any type, and give every value back as it was, to the microsecond."""
    models, value = _host(key, tenants), KEYS[key][1]
    tenant = value if tenants else None
    with _tables(database_url, models) as engine:
        made = _seed(engine, models, value, tenant_id=tenant)
        with orm.Session(engine) as session:
            info = _get(session, models.Invitation, made).info(NOW)
            event = session.scalars(sa.select(models.InvitationEvent)).one().info()
            delivery = session.scalars(sa.select(models.Delivery)).one().info()
    assert (info.id, info.tenant_id, info.status) == (made, tenant, Status.PENDING)
    assert (info.created_at, info.expires_at) == (NOW, NOW + timedelta(days=2))
    assert info.invited_by is not None
    assert (info.invited_by.id, event.actor_id) == (value, value)
    assert (event.at, delivery.state, delivery.attempts) == (NOW, DeliveryState.QUEUED, 0)


def test_hosts_rows_go(database_url: str) -> None:
    """C10: deleting a user keeps its invitations, without the key; deleting a tenant deletes its own, to the audit."""
    models = MODELS
    with _tables(database_url, models) as engine:
        made = _seed(engine, models, 7)
        with orm.Session(engine) as session:
            session.delete(_get(session, models.user, 7))
            session.commit()
            row = _get(session, models.Invitation, made)
            assert (row.invited_by_id, row.inviter_ref) == (None, "7")
            assert session.scalars(sa.select(models.InvitationEvent.actor_id)).one() == 7
            session.delete(_get(session, models.tenant, 7))
            session.commit()
            for own in (models.Invitation, models.InvitationEvent, models.Delivery):
                assert session.scalars(sa.select(own)).all() == []


BROKEN: dict[str, dict[str, Any]] = {
    "unknown status": {"status": "open"},
    "pending without its key": {"pending_key": None},
    "closed with a pending key": {"status": Status.ACCEPTED},
    "no tenant": {"tenant_id": None},
    "foreign tenant": {"tenant_id": 8},
    "foreign inviter": {"invited_by_id": 8},
    "no token": {"token_hash": None},
    "no expiry": {"expires_at": None},
}


@pytest.mark.parametrize("broken", BROKEN)
def test_constraints(database_url: str, broken: str) -> None:
    """B9, A9, A11, B10: the database itself refuses a row that no code of ours would write."""
    models = MODELS
    with _tables(database_url, models) as engine, pytest.raises(DBAPIError):
        _seed(engine, models, 7, **BROKEN[broken])


@pytest.mark.parametrize("column", ["pending_key", "token_hash"])
def test_unique(database_url: str, column: str) -> None:
    """R2, A11: one pending invitation for an address, one invitation for a token; the database sees to it."""
    models = MODELS
    with _tables(database_url, models) as engine:
        _seed(engine, models, 7, **{column: "same"})
        again = _invitation(models, 7, **{column: "same"})
        with orm.Session(engine) as session, pytest.raises(IntegrityError):
            session.execute(sa.insert(models.Invitation), [again])


@pytest.mark.parametrize(
    "state",
    [
        {"state": "lost"},
        {"state": DeliveryState.QUEUED, "next_attempt_at": None},
        {"state": DeliveryState.SENDING, "next_attempt_at": None},
        {"state": DeliveryState.SENT},
    ],
    ids=["unknown", "waits-for-nothing", "no-lease", "sent-but-due"],
)
def test_outbox_constraints(database_url: str, state: dict[str, Any]) -> None:
    """J4, R12: no outbox row can be in a state that nobody would ever pick up."""
    models = MODELS
    with _tables(database_url, models) as engine:
        _seed(engine, models, 7)
        with orm.Session(engine) as session, pytest.raises(DBAPIError):
            session.execute(sa.update(models.Delivery).values(**state))


@pytest.mark.parametrize("convention", [None, CONVENTION], ids=["plain", "convention"])
def test_names(convention: Any) -> None:
    """Every constraint, key and index of ours has one final name, whatever the host's naming convention says."""
    for table in _host(naming_convention=convention).tables:
        named: list[Any] = [
            item for item in (*table.constraints, *table.indexes) if not isinstance(item, sa.PrimaryKeyConstraint)
        ]
        assert all(item.name is not None and not str(item.name).endswith("_host") for item in named)
        assert len({item.name for item in named}) == len(named)
        assert all(len(str(item.name)) <= 63 for item in named)


def test_bind_once() -> None:
    """Binding again gives the same classes, so that several apps can share one metadata."""
    models = _host()
    assert bind(models.user, models.tenant) is models


def test_bind_disagrees() -> None:
    """Other host classes on the same metadata are refused, by name."""
    models = _host()
    with pytest.raises(ConfigurationError, match="tenant_model"):
        bind(models.user, None)


def test_bind_two_metadatas() -> None:
    """A tenant on another metadata could not be referred to."""
    with pytest.raises(ConfigurationError, match="tenant_model"):
        bind(_host().user, _host().tenant)


def test_composite_key() -> None:
    """A host class with a composite key is refused, by name."""
    base: Any = orm.declarative_base()
    columns = {name: sa.Column(sa.Integer, primary_key=True) for name in ("one", "two")}
    user = type("Pair", (base,), {"__tablename__": "pairs", **columns})
    with pytest.raises(ConfigurationError, match="Pair"):
        bind(user, None)


def test_own_names() -> None:
    """A host may have a class of its own called Invitation: its relationships keep meaning that one."""
    base: Any = orm.declarative_base()
    link: Any = sa.Column(sa.ForeignKey("offers.id"))
    user = type(
        "User",
        (base,),
        {"__tablename__": "users", "id": sa.Column(sa.Integer, primary_key=True), "offer_id": link}
        | {"offer": orm.relationship("Invitation")},
    )
    own = {"__tablename__": "offers", "id": sa.Column(sa.Integer, primary_key=True)}
    offer = type("Invitation", (base,), own)
    bind(user, None)
    base.registry.configure()
    assert sa.inspect(user).relationships["offer"].mapper.class_ is offer


@given(st.timedeltas(min_value=timedelta(days=-40), max_value=timedelta(days=40)), st.sampled_from(Status))
def test_status_at(left: timedelta, status: str) -> None:
    """R18, B1: only a pending invitation expires, exactly when its time has come, and the boundary is expired."""
    row = MODELS.Invitation(status=status, expires_at=NOW + left)
    overdue = status == Status.PENDING and left <= timedelta(0)
    assert row.status_at(NOW) == (Status.EXPIRED if overdue else status)


def test_status_of_naive_time() -> None:
    """R18: an expiry that SQLite handed back naive is compared as UTC."""
    row = MODELS.Invitation(status=Status.PENDING, expires_at=NOW.replace(tzinfo=None))
    assert row.status_at(NOW - timedelta(microseconds=1)) == Status.PENDING
    assert row.status_at(NOW) == Status.EXPIRED


def test_repr_keeps_secrets() -> None:
    """D2: no repr of a row, or of what is shown of it, holds nonce, hash, address or link."""
    secret = _invitation(MODELS, 7)
    row = MODELS.Invitation(**secret)
    assert not any(str(secret[name]) in repr(row) for name in ("token_hash", "token_nonce", "pending_key", "email"))
    shown = {item for item in vars(row.info(NOW)) if "token" in item or "nonce" in item or "hash" in item}
    assert shown == set()


def test_user_id() -> None:
    """A user's key is found whatever its attribute is called."""
    user = MODELS.user(id=7)
    make_transient_to_detached(user)
    assert MODELS.user_id(user) == 7


@pytest.mark.parametrize("key", ["int", "uuid", "str"])
def test_tenant_key(key: str) -> None:
    """The text of a tenant's id is read as what it is; without tenants an id is text."""
    one = KEYS[key][1]
    assert _host(key).tenant_key(str(one)) == one
    assert _host(key, tenants=False).tenant_key(str(one)) == str(one)


@given(st.tuples(st.integers(), st.text()), st.tuples(st.integers(), st.text()))
def test_pending_key(one: tuple[int, str], other: tuple[int, str]) -> None:
    """R2: two pairs of tenant and address share a pending key only if they are the same pair."""
    assert (pending_key(*one) == pending_key(*other)) == (one == other)


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))
def test_new_id(moment: datetime) -> None:
    """An id is a version 7 UUID whose first 48 bits are the clock's milliseconds."""
    now = moment.replace(tzinfo=timezone.utc)
    made = new_id(now)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert abs((made.int >> 80) - now.timestamp() * 1000) <= 1


def test_new_ids_sort() -> None:
    """K1: ids made one after the other sort so, on a clock that stands still or moves on."""
    made = [new_id(NOW + timedelta(milliseconds=n // 100)) for n in range(1000)]
    assert made == sorted(made)
    assert len(set(made)) == 1000


class Guid(sa.types.TypeDecorator[uuid.UUID]):
    """The GUID recipe of SQLAlchemy's documentation, which tells nothing of its Python type."""

    impl = sa.CHAR(32)
    cache_ok = True


def test_key_type_that_does_not_say_what_it_is_in_python_is_taken() -> None:
    """A host's own key type (the GUID recipe) is accepted, and its text from the command line is read as a UUID."""
    base: Any = orm.registry().generate_base()
    columns = {"id": orm.mapped_column(Guid, primary_key=True)}
    firm = type("Firm", (base,), {"__tablename__": "firms", **columns})
    person = type("Person", (base,), {"__tablename__": "people", "id": orm.mapped_column(Guid, primary_key=True)})
    check_mapped("user_model", person)
    one = uuid.uuid4()
    assert bind(person, firm).tenant_key(str(one)) == one
    assert bind(person, firm).tenant_key("acme") == "acme"
