"""A small host on the installed wheel: do the files that are no Python files come along?

``pages``: with the package's own dependencies only. ``migrations``: with the extra of that name.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, scoped_session, sessionmaker

import flask_invitations
from flask_invitations import Invitations, Message

HOST = """
import os

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_invitations import Invitations, LogMailer

db = SQLAlchemy()

class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(254), unique=True, nullable=False)
    role = db.Column(db.String(20))
    password_hash = db.Column(db.String(255))

def create_app():
    app = Flask(__name__)
    app.config.update(SECRET_KEY="k", SQLALCHEMY_DATABASE_URI="sqlite:///host.sqlite3")
    app.config["INVITATIONS_ACCEPT_URL"] = "https://app.example.com/invitations/accept#{token}"
    db.init_app(app)
    Migrate(app, db)
    if "PLAIN" not in os.environ:
        Invitations(app, db, user_model=User, mailer=LogMailer(), current_user=lambda: None)
    return app
"""


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(254), unique=True)
    role: Mapped[str] = mapped_column(sa.String(20))
    password_hash: Mapped[str] = mapped_column(sa.String(255))


def pages() -> None:
    """Send a mail, show the page, accept: with Flask, SQLAlchemy and no more."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    sent: list[Message] = []
    invitations, app = Invitations(), Flask(__name__)
    app.config["SECRET_KEY"] = "a key for this check"
    app.config["INVITATIONS_ACCEPT_URL"] = "https://app.example.com/invitations/accept#{token}"
    db = SimpleNamespace(session=scoped_session(sessionmaker(engine)))
    invitations.init_app(app, db, user_model=User, mailer=sent.append, current_user=lambda: None)
    Base.metadata.create_all(engine)
    with app.app_context():
        invitations.invite("ann@example.com")
    token = str(sent[0].accept_url).partition("#")[2]
    assert token in sent[0].html
    assert token in sent[0].text
    client = app.test_client()
    for path in ("/invitations/accept", f"/invitations/accept/{token}"):
        page = client.get(path)
        assert page.status_code == 200, page.status
        assert "<form" in page.text
        for asset in re.findall(r'(?:href|src)="(/[^"]+\.(?:css|js))"', page.text):
            with client.get(asset) as answer:
                assert answer.status_code == 200, asset
    body = {"token": token, "password": "correct horse battery staple"}
    assert client.post("/api/v1/users/accept-invite", json=body).status_code == 201
    db.session.remove()
    engine.dispose()


def migrations() -> None:
    """Write the steps into a fresh host's tree and walk them up, down and up again."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "host.py").write_text(HOST)

        def flask(steps: str, **environment: str) -> None:
            for step in steps.split(", "):
                command = [sys.executable, "-m", "flask", "--app", "host:create_app", *step.split()]
                options: Any = {"cwd": folder, "env": {**os.environ, **environment}, "timeout": 120, "check": False}
                done = subprocess.run(command, capture_output=True, text=True, **options)
                assert done.returncode == 0, f"flask {step}\n{done.stdout}{done.stderr}"

        flask("db init, db migrate -m host, db upgrade", PLAIN="1")
        flask("invitations migrations, db upgrade, db check, db downgrade, db upgrade, db check")


if __name__ == "__main__":
    assert "site-packages" in str(flask_invitations.__file__), "not the installed wheel"
    {"pages": pages, "migrations": migrations}[sys.argv[1]]()
    print(f"flask-invitations {version('flask-invitations')}: {sys.argv[1]} ok")
