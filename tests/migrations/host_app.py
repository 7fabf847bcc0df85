"""The host app whose migration tree the tests drive with real ``flask`` commands; ``HOST`` says which kind of host."""

from __future__ import annotations

import json
import os
import uuid
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm

from flask_invitations import Invitations, LogMailer

HOST: dict[str, Any] = json.loads(os.environ["HOST"])
CONVENTION = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Code(sa.types.TypeDecorator[uuid.UUID]):
    """A key type of the host's own, which Alembic can name but not import."""

    impl = sa.String(36)
    cache_ok = True
    python_type = uuid.UUID

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else uuid.UUID(value)


KEYS: dict[str, Any] = {
    "int": sa.Integer,
    "bigint": sa.BigInteger().with_variant(sa.Integer, "sqlite"),
    "uuid": sa.Uuid,
    "str": sa.String(36),
    "own": Code,
}

#: The databases that it has beside the default one.
BINDS = HOST["binds"]

db = SQLAlchemy(metadata=sa.MetaData(naming_convention=CONVENTION if HOST["convention"] else None))


def key() -> Any:
    return orm.mapped_column(KEYS[HOST["key"]], primary_key=True)


class Tenant(db.Model):  # type: ignore[name-defined,misc]
    __bind_key__ = HOST["bind"]
    __tablename__ = "tenants"
    id = key()
    name = orm.mapped_column(sa.String(200))


class User(db.Model):  # type: ignore[name-defined,misc]
    __bind_key__ = HOST["bind"]
    __tablename__ = "users"
    id = key()
    email = orm.mapped_column(sa.String(254))
    role = orm.mapped_column(sa.String(64))
    tenant_id = orm.mapped_column(sa.ForeignKey(Tenant.id, name="fk_users_tenant_id"), nullable=False)


class Note(db.Model):  # type: ignore[name-defined,misc]
    """Something on the host's other database, where there is one."""

    __bind_key__ = "other" if BINDS and not HOST["bind"] else None
    __tablename__ = "notes"
    id = orm.mapped_column(sa.Integer, primary_key=True)


def create_all() -> None:
    db.drop_all()
    db.create_all()


def enforce_foreign_keys(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys = ON")


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="the key of a test host", SQLALCHEMY_DATABASE_URI=HOST["url"], SQLALCHEMY_BINDS=BINDS)
    app.config["INVITATIONS_ACCEPT_URL"] = "https://app.example.com/invitations/accept#{token}"
    db.init_app(app)
    if HOST["pragma"]:
        with app.app_context():
            sa.event.listen(db.engine, "connect", enforce_foreign_keys)
    app.cli.command("create-all")(create_all)
    if HOST["migrate"]:
        Migrate(app, db, render_as_batch=HOST["batch"])
    if not HOST["installed"]:
        return app
    invitations = Invitations()
    invitations.init_app(
        app,
        db,
        user_model=User,
        tenant_model=Tenant,
        mailer=LogMailer(),
        current_user=lambda: None,
        create_user=lambda invitation, profile, password: None,
    )
    return app
