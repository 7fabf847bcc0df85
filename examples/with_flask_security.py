"""Flask-Security: its datastore makes the accounts, with its password hash, its roles and its sign-in form."""

from flask import Flask, render_template_string, session, url_for
from flask_security import Security, SQLAlchemyUserDatastore, hash_password, login_user, naive_utcnow
from flask_security.models import fsqla_v3 as fsqla
from flask_sqlalchemy import SQLAlchemy

from flask_invitations import Invitations, LogMailer

app = Flask(__name__)
app.config.update(SECRET_KEY="change me", SECURITY_PASSWORD_SALT="change me too", SESSION_COOKIE_SAMESITE="Lax")
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///with_flask_security.sqlite3"
app.config["INVITATIONS_ACCEPT_URL"] = "http://127.0.0.1:5000/invitations/accept#{token}"
ROLES = app.config["INVITATIONS_ROLES"] = ("reader", "editor", "admin")
app.config.update(INVITATIONS_ADMIN_ROLES=("admin",), INVITATIONS_DEFAULT_ROLE="reader")
db = SQLAlchemy(app)

fsqla.FsModels.set_db_info(db)


class Role(db.Model, fsqla.FsRoleMixin):
    pass


class User(db.Model, fsqla.FsUserMixin):
    pass


users = SQLAlchemyUserDatastore(db, User, Role)
Security(app, users)


@app.get("/")
def home():
    return render_template_string("{{ current_user.email }}: {{ current_user.roles|join(' ', 'name') }}")


# Invitations
invitations = Invitations()


@invitations.role_of
def highest_role(user, tenant_id):
    held = [role for role in ROLES if user.has_role(role)]
    return held[-1] if held and user.active else None


@invitations.create_user
def create_user(invitation, profile, password):
    return users.create_user(
        email=invitation.email_key,
        password=hash_password(password),
        roles=[invitation.role],
        confirmed_at=None if invitation.link_shown else naive_utcnow(),
    )


@invitations.on_accepted
def start_session(user, invitation):
    session.clear()
    login_user(user, authn_via=["invitation"])


invitations.init_app(
    app,
    db,
    user_model=User,
    mailer=LogMailer(),
    find_user=lambda email: users.find_user(case_insensitive=True, email=email),
    email_is_verified=lambda user: user.confirmed_at is not None,
    join=lambda user, invitation: users.add_role_to_user(user, invitation.role),
    login_url=lambda: url_for("security.login"),
)
# End of invitations

with app.app_context():
    db.create_all()
    for name in ROLES:
        users.find_or_create_role(name)
    db.session.commit()
