from flask import Blueprint, request
from flask_login import login_user
from werkzeug.security import check_password_hash

from .models import User, db, login

views = Blueprint("views", __name__)


@login.user_loader
def load_user(user_id):
    return db.session.get(User, int(user_id))


@views.post("/sign-in")
def sign_in():
    user = User.query.filter_by(email=request.form["email"]).first()
    if user and check_password_hash(user.password_hash, request.form["password"]):
        login_user(user)
        return f"Welcome, {user.email}"
    return "Wrong address or password", 401
