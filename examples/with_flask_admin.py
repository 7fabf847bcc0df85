"""Flask-Admin: the tables of invitations, to look at and not to change."""

from uuid import UUID

from flask import Flask, request
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_babel import Babel
from flask_sqlalchemy import SQLAlchemy
from werkzeug.security import check_password_hash

from flask_invitations import Invitations, LogMailer

app = Flask(__name__)
app.config.update(SECRET_KEY="change me", SQLALCHEMY_DATABASE_URI="sqlite:///with_flask_admin.sqlite3")
app.config["INVITATIONS_ACCEPT_URL"] = "http://127.0.0.1:5000/invitations/accept#{token}"
db, babel = SQLAlchemy(app), Babel(app)  # where Flask-Babel is installed, Flask-Admin counts on it


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(254), unique=True, nullable=False)
    role = db.Column(db.String(20), nullable=False)
    password_hash = db.Column(db.String(200), nullable=False)


def signed_in():
    given = request.authorization
    user = given and User.query.filter_by(email=given.username).first()
    return user if user and check_password_hash(user.password_hash, given.password) else None


# Invitations
invitations = Invitations(app, db, user_model=User, mailer=LogMailer(), current_user=signed_in)


class ReadOnly(ModelView):
    can_create = can_edit = can_delete = False
    can_view_details = True
    column_default_sort = ("created_at", True)

    def is_accessible(self):
        user = signed_in()
        return user is not None and user.role == "owner"

    def get_one(self, key):
        try:  # Flask-Admin hands over text
            return db.session.get(self.model, UUID(key))
        except ValueError:
            return None

    def inaccessible_callback(self, name, **kwargs):
        return "Only owners see this.", 401, {"WWW-Authenticate": "Basic"}


class InvitationView(ReadOnly):
    column_list = ("email", "role", "status", "created_at", "expires_at", "accepted_at")
    column_details_list = ("id", *column_list, "email_key", "message", "details", "locale", "closed_at")
    column_filters = ("status", "role")
    column_searchable_list = ("email_key",)


class DeliveryView(ReadOnly):
    column_list = column_details_list = ("invitation_id", "kind", "state", "attempts", "sent_at", "last_error")


class EventView(ReadOnly):
    column_default_sort = ("at", True)
    column_list = column_details_list = ("invitation_id", "type", "at", "actor_id", "details")


admin = Admin(app, name="Back office", url="/admin")
admin.add_view(InvitationView(invitations.models.Invitation, db, name="Invitations", endpoint="admin_invitations"))
admin.add_view(DeliveryView(invitations.models.Delivery, db, name="Emails", endpoint="admin_emails"))
admin.add_view(EventView(invitations.models.InvitationEvent, db, name="Events", endpoint="admin_events"))
# End of invitations
with app.app_context():
    db.create_all()
