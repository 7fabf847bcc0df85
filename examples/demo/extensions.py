"""The extensions that the app is made of; ``create_app`` sets them up."""

from __future__ import annotations

from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy

from flask_invitations import Invitations

db = SQLAlchemy()
login_manager = LoginManager()
invitations = Invitations()
