from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from werkzeug.security import check_password_hash

from flask_invitations import Invitations, LogMailer

app = Flask(__name__)
app.config.update(SECRET_KEY="change me", SQLALCHEMY_DATABASE_URI="sqlite:///smallest.sqlite3")
app.config["INVITATIONS_ACCEPT_URL"] = "http://127.0.0.1:5000/invitations/accept#{token}"
db = SQLAlchemy(app)


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(254), unique=True, nullable=False)
    role = db.Column(db.String(20), nullable=False)
    password_hash = db.Column(db.String(200), nullable=False)


def signed_in():
    given = request.authorization
    user = given and User.query.filter_by(email=given.username).first()
    return user if user and check_password_hash(user.password_hash, given.password) else None


Invitations(app, db, user_model=User, mailer=LogMailer(), current_user=signed_in)
with app.app_context():
    db.create_all()
