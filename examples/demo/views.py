"""The demo's own pages: who is signed in, whom they invited, and the emails. The invitee's pages come with
Flask-Invitations."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from flask_login import current_user, login_required, login_user, logout_user
from werkzeug.wrappers import Response

from flask_invitations import Forbidden, InvalidRequest, InvitationError

from .extensions import invitations, login_manager
from .mailbox import Mailbox
from .models import PASSWORD, SEEDED, User

views = Blueprint("views", __name__)
login_manager.login_view = "views.sign_in"
login_manager.login_message = None

#: The default of the setting INVITATIONS_ROLES.
ROLES = ("viewer", "user", "manager", "admin", "owner")


@views.get("/")
def home() -> str:
    if not current_user.is_authenticated:
        return sign_in_page()
    try:
        sent = invitations.list(by=current_user, limit=100)
    except Forbidden:
        sent = None
    return render_template("home.html", invitations=sent, roles=ROLES, password=PASSWORD)


@views.post("/invite")
@login_required
def invite() -> Response:
    form = request.form
    invitation = invitations.invite(
        form["email"], inviter=current_user, role=form["role"], message=form["message"] or None
    )
    flash(f"{invitation.email} was invited as {invitation.role}. Email: {invitation.delivery.state}.")
    return redirect(url_for("views.home"))


@views.post("/manage/<uuid:invitation_id>/<any(resend, revoke):act>")
@login_required
def manage(invitation_id: UUID, act: str) -> Response:
    if act == "resend":
        invitation = invitations.resend(invitation_id, by=current_user)
        flash(f"A new link was sent to {invitation.email}.")
    else:
        invitation = invitations.revoke(invitation_id, by=current_user)
        flash(f"The invitation for {invitation.email} was revoked.")
    return redirect(url_for("views.home"))


@views.app_errorhandler(InvitationError)
def refused(error: InvitationError) -> Response:
    """Whatever Flask-Invitations refuses: its own sentence, on the page where the form was."""
    said = error.detail
    if isinstance(error, InvalidRequest):
        said = " ".join(f"{field}: {' '.join(sentences)}" for field, sentences in error.errors.items())
    flash(said, "error")
    return redirect(url_for("views.home"))


@views.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> Response | str:
    if request.method == "GET":
        return sign_in_page()
    user = User.query.filter_by(email=request.form["email"].strip().lower()).first()
    if user is None or not user.check_password(request.form["password"]):
        flash("There is no account with this address and password.", "error")
        return redirect(url_for("views.sign_in"))
    login_user(user)
    return redirect(url_for("views.home"))


def sign_in_page() -> str:
    users = User.query.order_by(User.tenant_id, User.id).all()
    return render_template("sign_in.html", users=users, seeded=SEEDED, password=PASSWORD)


@views.post("/sign-out")
def sign_out() -> Response:
    logout_user()
    return redirect(url_for("views.mails" if "stay" in request.form else "views.home"))


@views.get("/mails")
def mails() -> str:
    return render_template("mails.html", mails=list(reversed(mailbox().mails)))


@views.get("/mails/latest")
def latest_mail() -> Response:
    """The latest email as plain text, for curl."""
    if not mailbox().mails:
        abort(404, "No email was sent yet.")
    return Response(mailbox().mails[-1].text, mimetype="text/plain")


def mailbox() -> Mailbox:
    found: Mailbox = current_app.extensions["mailbox"]
    return found
