"""The demo's own tables. Nothing in them knows of invitations."""

from __future__ import annotations

from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from werkzeug.security import check_password_hash, generate_password_hash


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)

#: Everybody's password. Do not do this at home.
PASSWORD = "open sesame, open sesame"


class Tenant(db.Model):  # type: ignore[name-defined,misc]
    __tablename__ = "tenants"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)


class User(UserMixin, db.Model):  # type: ignore[name-defined,misc]
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    email_verified: Mapped[bool] = mapped_column(default=False)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(20))
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))
    password_hash: Mapped[str] = mapped_column(String(255))

    tenant: Mapped[Tenant] = relationship(lazy="joined")

    def set_password(self, password: str) -> None:
        self.password_hash = generate_password_hash(password)

    def check_password(self, password: str) -> bool:
        return check_password_hash(self.password_hash, password)


PEOPLE = {
    "Acme": {"owner": "Olga", "admin": "Adam", "user": "Ute"},
    "Globex": {"owner": "Otto", "admin": "Anna", "user": "Uwe"},
}


def seed() -> None:
    """Make two tenants with an owner, an admin and a plain user each, where there are none yet."""
    if db.session.scalar(select(Tenant.id).limit(1)) is not None:
        return
    for company, people in PEOPLE.items():
        tenant = Tenant(name=company)
        for role, name in people.items():
            email = f"{name}@{company}.example".lower()
            user = User(email=email, email_verified=True, name=name, role=role, tenant=tenant)
            user.set_password(PASSWORD)
            db.session.add(user)
    db.session.commit()
