"""OpenID Connect by Authlib: people sign in at a provider, and so do invitees before they can accept. No passwords."""

import os

from authlib.integrations.flask_client import OAuth
from flask import Flask, session, url_for
from flask_sqlalchemy import SQLAlchemy

from flask_invitations import Invitations, LogMailer, Unauthenticated, WrongAccount, canonical_email

app = Flask(__name__)
app.config.update(SECRET_KEY="change me", SESSION_COOKIE_SAMESITE="Lax")
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///with_oidc.sqlite3"
app.config["INVITATIONS_ACCEPT_URL"] = "http://127.0.0.1:5000/invitations/accept#{token}"
app.config["INVITATIONS_PASSWORD_REQUIRED"] = False
db, oauth = SQLAlchemy(app), OAuth(app)
oauth.register(
    "company",
    client_id=os.environ["OIDC_CLIENT_ID"],
    client_secret=os.environ["OIDC_CLIENT_SECRET"],
    server_metadata_url=os.environ["OIDC_ISSUER"] + "/.well-known/openid-configuration",
    client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256"},
)


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    sub = db.Column(db.String(255), unique=True, nullable=False)
    email = db.Column(db.String(254), unique=True, nullable=False)
    role = db.Column(db.String(20), nullable=False)


@app.get("/sign-in")
def sign_in():
    return oauth.company.authorize_redirect(url_for("signed_in", _external=True))


@app.get("/signed-in")
def signed_in():
    claims = oauth.company.authorize_access_token()["userinfo"]
    session.clear()
    session["claims"] = {name: claims.get(name) for name in ("sub", "email", "email_verified")}
    return f"Signed in as {claims['email']}. You can close this tab."


def current_user():
    return User.query.filter_by(sub=session["claims"]["sub"]).first() if "claims" in session else None


# Invitations
def by_single_sign_on(invitation, user):
    claims = session.get("claims")
    if claims is None:
        raise Unauthenticated("Sign in with your company account first.")
    if not claims["email_verified"] or canonical_email(claims["email"]) != invitation.email_key:
        raise WrongAccount


def create_user(invitation, profile, password):
    user = User(sub=session["claims"]["sub"], email=invitation.email_key, role=invitation.role)
    db.session.add(user)
    return user


Invitations(
    app,
    db,
    user_model=User,
    mailer=LogMailer(),
    current_user=current_user,
    check_acceptance=by_single_sign_on,
    create_user=create_user,
    login_url=lambda: url_for("sign_in"),
)
# End of invitations
with app.app_context():
    db.create_all()
