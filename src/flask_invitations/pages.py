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
from .errors import (
    BodyTooLarge,
    CrossSite,
    InvalidRequest,
    InvitationError,
    InvitationNotFound,
    MalformedRequest,
)
from .mail import inviter_email, one_line, plain
from .openapi import accept_body
from .schemas import DeclineBody, load
from .state import actor, get_state, origin
from .tokens import Token, find
from .wire import MAX_BODY, SAFE, exempt_from_csrf_protect, is_cross_site, seal

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
    return _page("landing.html", token=find(token) or find(request.query_string.decode("ascii", "replace")))


@pages.get("/open")
@pages.get("/decline")
def start_over() -> AnyResponse:
    """A restored tab, or the address bar: the form that led here is gone."""
    return redirect(url_for("invitations.landing"), 303)


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
    ctx, user = get_state().ctx, actor()
    offer = acts.preview(ctx, token=token.reveal(), user=user)
    words = {
        "offer": offer,
        "tenant_name": one_line(offer.tenant.name),
        "inviter_email": inviter_email(offer.invitation.invited_by),
        "message": plain(offer.invitation.message or ""),
        "signed_in": user is not None,
        "errors": errors or {},
        "profile": profile or {},
        "fields": _fields(),
    }
    return _page("offer.html", status, token=token, settings=ctx.config, **words)


def _fields() -> list[dict[str, Any]]:
    """The host's profile fields, for the form."""
    names, shape = get_state().ctx.hooks.profile_fields, accept_body(get_state()).load_fields
    return [{"name": name, "required": shape[name].required} for name in names if name in shape]


def _page(template: str, status: int = 200, **words: Any) -> Response:
    text = render_template(f"invitations/{template}", app_name=get_state().ctx.config.app_name, **words)
    return make_response(text, status)


def refused(error: InvitationError) -> Response:
    """A page that says why, with the status that the API would answer, and what to do."""
    answer = _page("refused.html", error.status, error=error)
    answer.headers.extend(error.headers)
    return answer


def check_form() -> None:
    """A form must come from a page of ours, whether or not a cookie comes along: nobody is to be made to accept
    for somebody else, and then be signed in as them.

    Browsers that do not know ``Sec-Fetch-Site`` send our own forms as from "null", since our pages tell no address.

    :raises CrossSite: another site sends it.
    :raises BodyTooLarge, MalformedRequest: no form of ours would be like that.
    """
    if request.method in SAFE:
        return
    if is_cross_site() and ("Sec-Fetch-Site" in request.headers or request.headers["Origin"] != "null"):
        raise CrossSite
    if (request.content_length or 0) > MAX_BODY:
        raise BodyTooLarge
    if any("\0" in value for value in request.form.values()):
        raise MalformedRequest


def protect(answer: Response) -> Response:
    """On every answer, whatever the host would have sent. Stylesheet and script are the same for everybody."""
    answer.headers.update(HEADERS)
    return answer if request.endpoint == "invitations.static" else seal(answer)


pages.url_value_preprocessor(exempt_from_csrf_protect)
pages.before_request(check_form)
pages.after_request(protect)
pages.register_error_handler(InvitationError, refused)
