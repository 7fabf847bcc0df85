"""An app factory with blueprints and PostgreSQL, for gunicorn behind a proxy."""

import os

import click
from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_invitations import SMTPMailer

from .models import Tenant, User, db, invitations, login
from .views import views


def create_app():
    app, env = Flask(__name__), os.environ
    app.config.update(SECRET_KEY=env["SECRET_KEY"], SQLALCHEMY_DATABASE_URI=env["DATABASE_URL"])
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)
    db.init_app(app)
    login.init_app(app)
    app.register_blueprint(views)
    app.cli.add_command(create_tables)
    # Invitations
    app.config["INVITATIONS_ACCEPT_URL"] = env["PUBLIC_URL"] + "/invitations/accept#{token}"
    app.config["INVITATIONS_DELIVERY"] = "queue"
    app.config["INVITATIONS_RATELIMIT_STORAGE"] = env["REDIS_URL"]
    host, port, security = env["SMTP_HOST"], int(env.get("SMTP_PORT", 587)), env.get("SMTP_SECURITY", "starttls")
    mailer = SMTPMailer(host, port, sender="crm@example.com", security=security)
    invitations.init_app(app, db, user_model=User, tenant_model=Tenant, mailer=mailer)
    # End of invitations
    return app


@click.command("create-tables")
def create_tables():
    db.create_all()
    db.session.add(Tenant(name="Acme"))
    db.session.commit()
