"""The demo's own tables. Nothing in them knows of invitations."""

from __future__ import annotations

from flask_login import UserMixin
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.security import check_password_hash, generate_password_hash

from .extensions import db

#: Everybody's password, shown on the sign-in page. This is a demo.
PASSWORD = "open sesame, open sesame"

#: Address: name, role, company.
SEEDED = {
    "olga@acme.example": ("Olga", "owner", "Acme"),
    "adam@acme.example": ("Adam", "admin", "Acme"),
    "ute@acme.example": ("Ute", "user", "Acme"),
    "otto@globex.example": ("Otto", "owner", "Globex"),
    "anna@globex.example": ("Anna", "admin", "Globex"),
    "uwe@globex.example": ("Uwe", "user", "Globex"),
}


class Tenant(db.Model):
    __tablename__ = "tenants"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)


class User(UserMixin, db.Model):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    email_verified: Mapped[bool] = mapped_column(default=False)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(20))
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))
    password_hash: Mapped[str] = mapped_column(String(255))

    tenant: Mapped[Tenant] = relationship()

    def set_password(self, password: str) -> None:
        self.password_hash = generate_password_hash(password)

    def check_password(self, password: str) -> bool:
        return check_password_hash(self.password_hash, password)


def seed() -> None:
    """Two tenants with an owner, an admin and a plain user each, where there are none yet."""
    if Tenant.query.first():
        return
    tenants = {name: Tenant(name=name) for name in ("Acme", "Globex")}
    for email, (name, role, company) in SEEDED.items():
        user = User(email=email, email_verified=True, name=name, role=role, tenant=tenants[company])
        user.set_password(PASSWORD)
        db.session.add(user)
    db.session.commit()
