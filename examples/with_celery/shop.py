"""A shop whose invitations are mailed by a Celery worker, over RabbitMQ or Redis; ``README.md`` says how to run it."""

from __future__ import annotations

import os

from celery import Celery
from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash, generate_password_hash

from flask_invitations import Invitations, LogMailer, SMTPMailer
from flask_invitations.contrib.celery import SCHEDULE, enqueue_with

db = SQLAlchemy()
invitations = Invitations()


class User(db.Model):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    password_hash: Mapped[str] = mapped_column(String(255))

    def set_password(self, password: str) -> None:
        self.password_hash = generate_password_hash(password)


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="a secret that everybody knows",  # in a real app: os.environ["SECRET_KEY"]
        SQLALCHEMY_DATABASE_URI="sqlite:///shop.sqlite3",  # in the folder instance; delete it to start afresh
        INVITATIONS_ACCEPT_URL="http://127.0.0.1:5000/invitations/accept#{token}",
        INVITATIONS_DELIVERY="queue",
    )
    db.init_app(app)
    celery = app.extensions["celery"] = make_celery(app)
    invitations.init_app(app, db, user_model=User, mailer=make_mailer(), enqueue=enqueue_with(celery, app))

    @app.cli.command("create-tables")
    def create_tables() -> None:
        """Once, before the processes start."""
        db.create_all()  # a real app: flask invitations migrations && flask db upgrade

    return app


def make_celery(app: Flask) -> Celery:
    """One Celery app for each Flask app; the worker and beat get at it by ``worker.py``."""
    celery = Celery(app.name, broker=os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//"))
    celery.conf.beat_schedule = {**SCHEDULE}
    celery.conf.broker_connection_retry_on_startup = True
    return celery


def make_mailer() -> LogMailer | SMTPMailer:
    """With ``SMTP_HOST``: over SMTP. Without it, the worker prints emails if it runs with ``FLASK_DEBUG=1``."""
    if "SMTP_HOST" not in os.environ:
        return LogMailer()
    return SMTPMailer(
        os.environ["SMTP_HOST"],
        int(os.environ.get("SMTP_PORT", "587")),
        sender=os.environ.get("SMTP_SENDER", "Shop <no-reply@shop.example>"),
        username=os.environ.get("SMTP_USERNAME"),
        password=os.environ.get("SMTP_PASSWORD"),
        security=os.environ.get("SMTP_SECURITY", "starttls"),
    )


@invitations.current_user
def signed_in() -> User | None:
    """By HTTP basic authentication, which curl speaks too."""
    given = request.authorization
    user = given and User.query.filter_by(email=given.username).first()
    return user if user and check_password_hash(user.password_hash, given.password) else None
