"""Flask-JWT-Extended: an API, and a single-page front end on another origin (spa/) with an accept page of its own."""

from contextlib import suppress

from flask import Flask, request
from flask_cors import CORS
from flask_jwt_extended import JWTManager, create_access_token, get_current_user, verify_jwt_in_request
from flask_jwt_extended.exceptions import JWTExtendedException
from flask_sqlalchemy import SQLAlchemy
from jwt import InvalidTokenError
from werkzeug.security import check_password_hash

from flask_invitations import Invitations, LogMailer

SPA = "http://localhost:8080"
app = Flask(__name__)
app.config.update(SECRET_KEY="change me to 32 or more random bytes", SQLALCHEMY_DATABASE_URI="sqlite:///api.sqlite3")
app.config.update(INVITATIONS_ACCEPT_URL=SPA + "/#{token}", INVITATIONS_PAGES_PREFIX=None)
CORS(app, origins=[SPA])
db, jwt = SQLAlchemy(app), JWTManager(app)


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(254), unique=True, nullable=False)
    role = db.Column(db.String(20), nullable=False)
    password_hash = db.Column(db.String(200), nullable=False)


jwt.user_identity_loader(lambda user: str(user.id))
jwt.user_lookup_loader(lambda header, claims: db.session.get(User, int(claims["sub"])))


@app.post("/api/v1/sign-in")
def sign_in():
    user = User.query.filter_by(email=request.json["email"]).first()
    if user and check_password_hash(user.password_hash, request.json["password"]):
        return {"access_token": create_access_token(user)}
    return {"title": "Wrong address or password"}, 401


# Invitations
def signed_in():
    with suppress(JWTExtendedException, InvalidTokenError):  # an expired or forged token is nobody's
        verify_jwt_in_request(optional=True)
        return get_current_user()


Invitations(
    app,
    db,
    user_model=User,
    mailer=LogMailer(),
    current_user=signed_in,
    on_accepted=lambda user, invitation: {"access_token": create_access_token(user)},
)
# End of invitations
with app.app_context():
    db.create_all()
