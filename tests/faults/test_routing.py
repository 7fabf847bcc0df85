"""Hosts whose session sends reads to a replica: a database of its own here, which never hears of any change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm

from flask_invitations import InvitationNotFound, Invitations, Status
from flask_invitations.testing import RecordingMailer
from tests.hosts import ACCEPT_URL, PASSWORD

TENANT = 1


class Base(orm.DeclarativeBase):
    pass


class Tenant(Base):
    __tablename__ = "tenants"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50))


class User(Base):
    __tablename__ = "users"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    email: orm.Mapped[str] = orm.mapped_column(sa.String(254), unique=True)
    role: orm.Mapped[str] = orm.mapped_column(sa.String(20))
    tenant_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("tenants.id"))
    password_hash: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))


class _Routing(orm.Session):
    leader: sa.Engine
    replica: sa.Engine
    #: The clauses that were asked about while nothing was flushed.
    asked: list[Any]

    def _route(self, clause: Any, writes: Any) -> sa.Engine:
        self.asked += [] if self._flushing else [clause]
        return self.leader if self._flushing or isinstance(clause, writes) else self.replica


class HeedsBind(_Routing):
    """As Flask-SQLAlchemy writes it: a bind that is given is taken."""

    def get_bind(self, mapper: Any = None, *, clause: Any = None, bind: Any = None, **_more: Any) -> Any:
        return bind or self._route(clause, sa.UpdateBase)


class Ignores(_Routing):
    """Takes whatever it is given, and looks at the clause only."""

    def get_bind(self, mapper: Any = None, clause: Any = None, **_more: Any) -> Any:
        return self._route(clause, sa.UpdateBase)


class AsDocumented(_Routing):
    """The example of SQLAlchemy's documentation: it knows no other arguments, and forgets about INSERT."""

    def get_bind(self, mapper: Any = None, clause: Any = None) -> Any:  # type: ignore[override]
        return self._route(clause, (sa.Update, sa.Delete))


KINDS = (HeedsBind, Ignores, AsDocumented)


class Site:
    """A host with such a session, on two databases."""

    def __init__(self, kind: type[_Routing], leader: sa.Engine, replica: sa.Engine, **config: Any) -> None:
        self.mailer, self.invitations, self.app = RecordingMailer(), Invitations(), Flask("tests.routing")
        self.leader, self.replica = leader, replica
        self.kind: Any = type(kind.__name__, (kind,), {"leader": leader, "replica": replica, "asked": []})
        self.session: Any = orm.scoped_session(orm.sessionmaker(class_=self.kind))
        self.app.config.update(
            SECRET_KEY="the key of a test host", INVITATIONS_ACCEPT_URL=ACCEPT_URL, TESTING=True, **config
        )
        self.app.teardown_appcontext(lambda _error: self.session.remove())
        self.invitations.init_app(
            self.app,
            SimpleNamespace(session=self.session),
            user_model=User,
            tenant_model=Tenant,
            mailer=self.mailer,
            current_user=lambda: None,
        )

    def furnish(self, *engines: sa.Engine) -> None:
        """Make the tables, with a tenant and its admin."""
        for engine in engines:
            Base.metadata.create_all(engine)
            with orm.Session(engine) as session:
                session.add(Tenant(id=TENANT, name="Acme"))
                session.flush()
                session.add(User(email="admin@example.com", role="admin", tenant_id=TENANT))
                session.commit()

    def invite(self, email: str) -> Any:
        return self.invitations.invite(email, by=self.session.get(User, 1), tenant_id=TENANT, role="user")

    def count(self, engine: sa.Engine, model: Any) -> int:
        with orm.Session(engine) as session:
            return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[_Routing]:
    chosen: type[_Routing] = request.param
    return chosen


@pytest.fixture
def make(kind: type[_Routing], tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes a host on SQLite, with a replica that stays as it is now."""
    engines = [sa.create_engine(f"sqlite:///{tmp_path}/{name}.sqlite3") for name in ("leader", "replica")]

    def made(**config: Any) -> Site:
        site = Site(kind, *engines, **config)
        site.furnish(*engines)
        return site

    yield made
    for engine in engines:
        engine.dispose()


def test_what_decides_is_read_where_it_is_changed(make: Callable[..., Site]) -> None:
    """D5: every act that changes something writes to the leader, and decides on what the leader has: a replica that
    never hears of anything changes nothing about it."""
    site = make()
    models, invitations = site.invitations.models, site.invitations
    with site.app.app_context():
        ids = {name: site.invite(f"{name}@example.com").id for name in ("ann", "bob", "cat")}
        token = site.mailer.token_to
        assert invitations.resend(ids["ann"], by=site.session.get(User, 1)).status == Status.PENDING
        user = invitations.accept(token("ann@example.com"), profile={}, password=PASSWORD).user
        assert user.email == "ann@example.com"
        invitations.decline(token("bob@example.com"))
        invitations.revoke(ids["cat"], by=site.session.get(User, 1))
        invitations.sweep()
        with invitations.unit() as unit:
            made = site.invite("dan@example.com")
            assert [each.email for each in invitations.list(tenant_id=TENANT, status="pending")] == ["dan@example.com"]
        assert unit.result(made).delivery.state == "sent"
    assert site.count(site.leader, models.Invitation) == 4
    assert site.count(site.leader, models.InvitationEvent) == 13
    assert [site.count(site.replica, each) for each in (models.Invitation, models.Delivery, User)] == [0, 0, 1]
    assert not [clause for clause in site.kind.asked if clause is None]


def test_the_worker_is_where_the_rows_are(make: Callable[..., Site]) -> None:
    """D5: the outbox is leased, settled and swept on the leader."""
    site = make(INVITATIONS_DELIVERY="queue")
    with site.app.app_context():
        site.invite("ann@example.com")
        assert dict(site.invitations.deliver()) == {"sent": 1}
    with orm.Session(site.leader) as session:
        assert list(session.scalars(sa.select(site.invitations.models.Delivery.state))) == ["sent"]


def test_what_only_reads_is_read_where_the_session_says(make: Callable[..., Site]) -> None:
    """D5: an act that changes nothing reads the replica, as the host's session has it."""
    site = make()
    with site.app.app_context():
        made = site.invite("ann@example.com")
        assert site.invitations.list(tenant_id=TENANT) == []
        with pytest.raises(InvitationNotFound):
            site.invitations.get(made.id)


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
def test_a_replica_that_refuses_writes(kind: type[_Routing], empty_url: str) -> None:
    """D5: nothing of ours is ever written over the connection for reads, and what only reads finds what was written."""
    read_only = {"options": "-c default_transaction_read_only=on"}
    engines = sa.create_engine(empty_url), sa.create_engine(empty_url, connect_args=read_only)
    site = Site(kind, *engines)
    site.furnish(site.leader)
    with site.app.app_context():
        made = site.invite("ann@example.com")
        token = site.mailer.token_to("ann@example.com")
        assert site.invitations.list(tenant_id=TENANT)[0].id == made.id
        assert site.invitations.preview(token).invitation.id == made.id
        site.session.commit()
        assert site.invitations.accept(token, profile={}, password=PASSWORD).user.id != 1
    for engine in engines:
        engine.dispose()
