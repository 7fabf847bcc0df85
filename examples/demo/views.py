"""The demo's own pages. Those of the invitee come with Flask-Invitations."""

from __future__ import annotations

import uuid

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required, login_user, logout_user
from sqlalchemy import select

from flask_invitations import InvalidRequest, InvitationError, Invitations

from .mailbox import Mail
from .models import PASSWORD, User, db

views = Blueprint("views", __name__)

ROLES = ("viewer", "user", "manager", "admin", "owner")


def invitations() -> Invitations:
    from . import invitations

    return invitations
