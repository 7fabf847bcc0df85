"""Two companies, Acme and Globex, whose owners and admins invite people.

    flask --app examples/demo run

Then open http://127.0.0.1:5000. This file has all that Flask-Invitations needs to know; ``models.py`` has the
app's own tables, ``views.py`` its pages, ``mailbox.py`` the mail server that it sends to.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
from flask import Flask, url_for
from marshmallow import Schema, fields, validate

from flask_invitations import SMTPMailer

from .extensions import db, invitations, login_manager
from .mailbox import Mailbox
from .models import Tenant, User, seed
from .views import views


class Profile(Schema):
    """What a new user tells of themselves, beside the password."""

    name = fields.String(required=True, validate=validate.Length(1, 100, error="Use 1 to 100 characters."))


def create_app() -> Flask:
    app = Flask(__name__, instance_path=str(Path(__file__).resolve().parent / "instance"))
    app.config.update(
        SECRET_KEY="a secret that everybody knows",  # in a real app: os.environ["SECRET_KEY"]
        SESSION_COOKIE_SAMESITE="Lax",
        SQLALCHEMY_DATABASE_URI="sqlite:///demo.sqlite3",  # in the instance folder; delete it to start over
        INVITATIONS_ACCEPT_URL=f"{address()}/invitations/accept#{{token}}",
        INVITATIONS_APP_NAME="Invitations demo",
    )
    db.init_app(app)
    login_manager.init_app(app)
    mailbox = app.extensions["mailbox"] = Mailbox()

    invitations.init_app(
        app,
        db,
        user_model=User,
        tenant_model=Tenant,
        profile_schema=Profile,
        mailer=SMTPMailer("127.0.0.1", mailbox.port, sender="Demo <no-reply@demo.example>", security="none"),
        login_url=lambda: url_for("views.sign_in"),
    )

    app.register_blueprint(views)
    with app.app_context():
        db.create_all()  # a real app: flask invitations migrations && flask db upgrade
        seed()
    return app


def address() -> str:
    """Where the links in emails lead: to the port that ``flask run`` was given, unless ``DEMO_URL`` says otherwise."""
    command = click.get_current_context(silent=True)
    port = command.params.get("port") if command else None
    return os.environ.get("DEMO_URL", f"http://127.0.0.1:{port or 5000}")


@login_manager.user_loader
def load_user(user_id: str) -> User | None:
    return db.session.get(User, int(user_id))
