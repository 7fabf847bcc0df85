from flask_login import LoginManager, UserMixin
from flask_sqlalchemy import SQLAlchemy

from flask_invitations import Invitations

db, login, invitations = SQLAlchemy(), LoginManager(), Invitations()


class Tenant(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(200), unique=True, nullable=False)


class User(UserMixin, db.Model):
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(254), unique=True, nullable=False)
    role = db.Column(db.String(20), nullable=False)
    tenant_id = db.Column(db.ForeignKey(Tenant.id, ondelete="CASCADE"), nullable=False)
    password_hash = db.Column(db.String(200), nullable=False)
