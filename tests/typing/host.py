"""The typed host of these tests: mapped classes, and a function of the right type for each hook."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, fields
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_invitations import InvitationDraft, InvitationInfo, Message


class Base(DeclarativeBase):
    """The base of the mapped classes."""


class Tenant(Base):
    """A tenant."""

    __tablename__ = "tenants"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class User(Base):
    """A user."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    role: Mapped[str]
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))
    password_hash: Mapped[str | None]


class Profile(Schema):
    """The extra fields of accept."""

    name = fields.String(required=True)


app = Flask("typed")
db = SQLAlchemy(model_class=Base)


def mailer(message: Message) -> None:
    print(message.to, message.subject)


def current_user() -> User | None:
    return db.session.get(User, 1)


def tenant_of(user: User) -> int:
    return user.tenant_id


def role_of(user: User, tenant_id: int) -> str | None:
    return user.role if user.tenant_id == tenant_id else None


def can_invite(user: User, tenant_id: int, role: str | None) -> bool:
    return user.role == "admin" and role != "owner"


def find_user(email: str) -> User | None:
    return db.session.query(User).filter_by(email=email).one_or_none()


def find_users(emails: Sequence[str]) -> list[User]:
    return db.session.query(User).filter(User.email.in_(emails)).all()


def find_users_lazily(emails: Sequence[str]) -> Iterable[User]:
    return db.session.query(User).filter(User.email.in_(emails))


def email_is_verified(user: User) -> bool:
    return user.email.endswith("@example.com")


def create_user(invitation: InvitationInfo, profile: Mapping[str, Any], password: str | None) -> User:
    return User(email=invitation.email_key, role=invitation.role, **profile)


def join(user: User, invitation: InvitationInfo) -> None:
    user.role = invitation.role


def validate_password(password: str, invitation: InvitationInfo) -> None:
    print(len(password), invitation.email_key)


def check_invitee(draft: InvitationDraft) -> None:
    print(draft.domain, draft.source)


def check_acceptance(invitation: InvitationInfo, user: User | None) -> None:
    print(invitation.id, user)


def seats(tenant_id: int) -> int | None:
    return None if tenant_id else 3


def limits_for(tenant_id: int) -> Mapping[str, str | int | None]:
    return {"PENDING_MAX": tenant_id, "RATELIMIT_INVITE": None}


def rate_limit(scope: str, key: str, cost: int) -> float | None:
    return len(scope + key) / cost if cost > 1 else None


def tenant_is_active(tenant_id: int) -> bool:
    return tenant_id > 0


def tenant_name(tenant_id: int) -> str:
    return f"Tenant {tenant_id}"


def display_name(user: User) -> str | None:
    return user.email.partition("@")[0]


def url() -> str:
    return "/sign-in"


def accepted_url(user: User, invitation: InvitationInfo) -> str | None:
    return f"/welcome/{user.email}" if invitation.role == "user" else None


def role_label(role: str) -> str:
    return role.capitalize()


def enqueue(delivery_id: uuid.UUID) -> None:
    print(delivery_id.hex)


def on_accepted(user: User, invitation: InvitationInfo) -> dict[str, str] | None:
    return {"user": user.email, "role": invitation.role}


def clock() -> datetime:
    return datetime.now(timezone.utc)


class Service:
    """Hooks as methods."""

    def send(self, message: Message) -> None:
        print(message.to)

    def may(self, user: User, tenant_id: int, role: str | None) -> bool:
        return role is None

    def __call__(self, message: Message) -> None:
        print(message.to)
