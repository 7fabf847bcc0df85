"""Flask-SQLAlchemy-Lite: plain SQLAlchemy models, and HTTP Basic for the API."""

import uuid

import sqlalchemy as sa
from flask import Flask, request
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.security import check_password_hash

from flask_invitations import Invitations, LogMailer


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    email: Mapped[str] = mapped_column(sa.String(254), unique=True)
    role: Mapped[str] = mapped_column(sa.String(20))
    password_hash: Mapped[str] = mapped_column(sa.String(200))


db, invitations = SQLAlchemy(), Invitations()


def create_app():
    app = Flask(__name__)
    app.config.update(SECRET_KEY="change me", SQLALCHEMY_ENGINES={"default": "sqlite:///with_lite.sqlite3"})
    app.config["INVITATIONS_ACCEPT_URL"] = "http://127.0.0.1:5000/invitations/accept#{token}"
    db.init_app(app)
    # Invitations
    invitations.init_app(app, db, user_model=User, mailer=LogMailer(), current_user=signed_in)
    # End of invitations
    with app.app_context():
        Base.metadata.create_all(db.engine)
    return app


def signed_in():
    given = request.authorization
    user = given and db.session.scalar(sa.select(User).filter_by(email=given.username))
    return user if user and check_password_hash(user.password_hash, given.password) else None
