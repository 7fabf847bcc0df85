"""The invitee's pages: the landing of the mailed link, the offer, and what became of it.

Nothing of the link is kept on our side between two requests: the form that its holder opened carries the token
(A6), and nothing is changed by anything but a POST (E4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from . import acts
from .api import check_same_site, seal
from .errors import InvalidRequest, InvitationError, InvitationNotFound
from .openapi import accept_body
from .schemas import DeclineBody, load
from .state import actor, get_state, origin
from .tokens import Token, find

pages = Blueprint(
    "invitations", __name__, template_folder="templates", static_folder="static", static_url_path="/static"
)

#: Only our own files, framed by nobody, no address told to anybody (D1, H3).
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}


@pages.get("/accept")
@pages.get("/accept/<path:token>")
def landing(token: str = "") -> Response:
    """Where the mailed link leads. Looks nothing up: a link scanner that comes here sees and changes nothing."""
    return _page("landing.html", token=find(token))


@pages.post("/open")
def open_offer() -> Response:
    """What the link offers, and the form to answer."""
    return _offer(_token())


@pages.post("/accept")
def accept() -> AnyResponse:
    """Accept, then go where it says so."""
    token, fields = _token(), get_state().ctx.hooks.profile_fields
    profile = {name: request.form[name] for name in fields if name in request.form}
    password = request.form.get("password") or None
    try:
        acts.accept(
            get_state().ctx, token=token.reveal(), password=password, profile=profile, user=actor(), origin=origin()
        )
    except InvalidRequest as refusal:
        return _offer(token, refusal.status, refusal.errors, profile)
    return redirect(url_for("invitations.accepted"), 303)


@pages.post("/decline")
def decline() -> AnyResponse:
    """Decline, then go where it says so."""
    token = _token()
    try:
        given = load(DeclineBody(), {"token": token.reveal(), "reason": request.form.get("reason") or None})
    except InvalidRequest as refusal:
        return _offer(token, refusal.status, refusal.errors)
    acts.decline(get_state().ctx, user=actor(), origin=origin(), **given)
    return redirect(url_for("invitations.declined"), 303)


@pages.get("/accepted")
def accepted() -> Response:
    """The invitation was accepted."""
    return _page("accepted.html", user=actor())


@pages.get("/declined")
def declined() -> Response:
    """The invitation was declined."""
    return _page("declined.html")


def _token() -> Token:
    """The token in the form: bare, or in whatever link was pasted."""
    token = find(request.form.get("token", "")[:4096])
    if token is None:
        raise InvitationNotFound
    return token


def _offer(
    token: Token, status: int = 200, errors: Mapping[str, Any] | None = None, profile: Mapping[str, str] | None = None
) -> Response:
    offer = acts.preview(get_state().ctx, token=token.reveal(), user=actor())
    words = {"offer": offer, "errors": errors or {}, "profile": profile or {}, "fields": _fields()}
    return _page("offer.html", status, token=token, settings=get_state().ctx.config, **words)


def _fields() -> list[dict[str, Any]]:
    """The host's profile fields, for the form."""
    names, shape = get_state().ctx.hooks.profile_fields, accept_body(get_state()).load_fields
    return [{"name": name, "required": shape[name].required} for name in names if name in shape]


def _page(template: str, status: int = 200, **words: Any) -> Response:
    text = render_template(f"invitations/{template}", app_name=get_state().ctx.config.app_name, **words)
    return make_response(text, status)


def refused(error: InvitationError) -> Response:
    """A page that says why, with the status that the API would answer, and what to do."""
    return _page("refused.html", error.status, error=error)


def protect(answer: Response) -> Response:
    answer.headers.extend(HEADERS)
    return seal(answer)


pages.before_request(check_same_site)
pages.after_request(protect)
pages.register_error_handler(InvitationError, refused)
