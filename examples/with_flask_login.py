"""Flask-Login: people sign in with a password and invite others from the desk at /invitations/."""

from flask import Flask, redirect, render_template_string, request, session, url_for
from flask_login import LoginManager, UserMixin, login_required, login_user, logout_user
from flask_sqlalchemy import SQLAlchemy
from werkzeug.security import check_password_hash

from flask_invitations import Invitations, LogMailer, canonical_email

app = Flask(__name__)
app.config.update(SECRET_KEY="change me", SESSION_COOKIE_SAMESITE="Lax")
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///with_flask_login.sqlite3"
app.config["INVITATIONS_ACCEPT_URL"] = "http://127.0.0.1:5000/invitations/accept#{token}"
db, login = SQLAlchemy(app), LoginManager(app)
login.login_view = "sign_in"


class User(UserMixin, db.Model):
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(254), unique=True, nullable=False)
    role = db.Column(db.String(20), nullable=False)
    password_hash = db.Column(db.String(200), nullable=False)


@login.user_loader
def load_user(user_id):
    return db.session.get(User, int(user_id))


@app.get("/")
@login_required
def home():
    return render_template_string(
        '{{ current_user.email }}: <a href="{{ url_for("invitations_desk.listing") }}">Invitations</a>'
        '<form method="post" action="{{ url_for("sign_out") }}"><button>Sign out</button></form>'
    )


SIGN_IN = """<form method="post"><input name="email" type="email" autocomplete="username" required>
<input name="password" type="password" autocomplete="current-password" required><button>Sign in</button></form>"""


@app.route("/sign-in", methods=["GET", "POST"])
def sign_in():
    if request.method == "POST":
        user = find(request.form["email"])
        if user is not None and check_password_hash(user.password_hash, request.form["password"]):
            login_user(user)
            return redirect(url_for("home"))
    return SIGN_IN, 200 if request.method == "GET" else 401


def find(email):
    try:
        return User.query.filter_by(email=canonical_email(email)).first()
    except ValueError:
        return None


@app.post("/sign-out")
def sign_out():
    logout_user()
    return redirect(url_for("sign_in"))


# Invitations
invitations = Invitations()


@invitations.on_accepted
def start_session(user, invitation):
    session.clear()  # a session that somebody planted before is worth nothing
    login_user(user)


invitations.init_app(app, db, user_model=User, mailer=LogMailer(), login_url=lambda: url_for("sign_in"))

# End of invitations
with app.app_context():
    db.create_all()
