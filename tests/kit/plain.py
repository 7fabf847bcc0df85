"""A host's own tests, without pytest. The last class is what a user of pytest writes."""

from __future__ import annotations

import unittest
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.security import generate_password_hash

from flask_invitations import Invitations
from flask_invitations.testing import (
    HostContract,
    RecordingMailer,
    check_pages,
    new_member,
    override,
    signed_in,
    signed_in_manager,
)


class Base(DeclarativeBase):
    """The base of the mapped classes."""


class User(Base):
    """A user."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    role: Mapped[str]
    password_hash: Mapped[str]

    def set_password(self, password: str) -> None:
        self.password_hash = generate_password_hash(password, method="pbkdf2:sha256:1")


db = SQLAlchemy(model_class=Base)
invitations = Invitations()


def create_app() -> Flask:
    app = Flask("plain")
    app.config.update(TESTING=True, SECRET_KEY="for the tests of a host", SQLALCHEMY_DATABASE_URI="sqlite://")
    app.config["INVITATIONS_ACCEPT_URL"] = "https://app.example.com/invitations/accept#{token}"
    db.init_app(app)
    invitations.init_app(app, db, user_model=User, mailer=RecordingMailer(), current_user=lambda: None)
    with app.app_context():
        db.create_all()
    return app


class InvitingTest(unittest.TestCase):
    """The flow, from the manager's call to the new account."""

    def setUp(self) -> None:
        self.app = create_app()

    def test_a_manager_invites_and_the_invitee_accepts(self) -> None:
        """The manager's client is signed in, every other one is not."""
        mailer = RecordingMailer()
        with override(self.app, mailer=mailer), signed_in_manager(self.app) as manager:
            invited = manager.post("/api/v1/users/invite", json={"email": "ann@example.com"})
            self.assertEqual(invited.status_code, 201)
            body = {"token": mailer.token_to("ann@example.com"), "password": "correct horse battery staple"}
            accepted = self.app.test_client().post("/api/v1/users/accept-invite", json=body)
            self.assertEqual(accepted.status_code, 201)

    def test_a_member_may_not_invite(self) -> None:
        """A member without an admin role is told so."""
        user_id: Any = new_member(self.app, "ute@example.com")
        with signed_in(self.app, user_id) as client:
            answer = client.post("/api/v1/users/invite", json={"email": "ann@example.com"})
        self.assertEqual(answer.status_code, 403)

    def test_the_templates(self) -> None:
        """Every page has what it needs."""
        check_pages(self.app)


class HooksTest(HostContract, unittest.TestCase):
    """The contract, for unittest."""

    def setUp(self) -> None:
        self.app = create_app()


class TestHooks(HostContract):
    """The contract, for pytest."""

    app = create_app()
