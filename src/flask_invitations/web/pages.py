"""The invitee's pages: the landing of the mailed link, the offer, and what became of it.

Nothing of the link is kept on our side between two requests: the form that its holder opened carries the token
(A6), and nothing is changed by anything but a POST (E4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, current_app, make_response, redirect, render_template, request, url_for
from flask.sansio.blueprints import BlueprintSetupState
from werkzeug.wrappers import Response as AnyResponse

from .. import acts
from ..acts import Caller
from ..current import actor, caller, get_state
from ..errors import (
    AccountExists,
    BodyTooLarge,
    CrossSite,
    InvalidRequest,
    InvitationAccepted,
    InvitationError,
    InvitationExpired,
    InvitationNotFound,
    MalformedRequest,
)
from ..languages.babel import current_tag
from ..languages.language import Language
from ..languages.plain import one_line, plain
from ..shapes import DECLINE, load
from ..tokens import Token, find, sealed
from ..words import INVITEE, Words, told
from .forms import profile_inputs, read_profile, sentences
from .wire import MAX_BODY, PACKAGE, SAFE, Face, exempt_from_csrf_protect, form, is_cross_site, seal

pages: Blueprint = Face(
    "invitations", PACKAGE, template_folder="templates", static_folder="static", static_url_path="/static"
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
    return page("landing.html", token=find(token) or find(request.query_string.decode("ascii", "replace")))


@pages.get("/open")
@pages.get("/decline")
@pages.get("/fresh")
def start_over() -> AnyResponse:
    """A restored tab, or the address bar: the form that led here is gone."""
    return redirect(url_for("invitations.landing"), 303)


@pages.post("/open")
def open_offer() -> Response:
    """What the link offers, and the form to answer."""
    return _offer(_token(), caller(get_state().ctx))


@pages.post("/fresh")
def fresh() -> AnyResponse:
    """Ask for a fresh link in place of an expired one. The answer is the same whatever comes of it."""
    ctx = get_state().ctx
    if ctx.config.fresh_link is None:
        return start_over()
    acts.request_link(ctx, token=sealed(request.form.get("token", "")), by=caller(ctx))
    return redirect(url_for("invitations.requested"), 303)


@pages.get("/requested")
def requested() -> Response:
    """A fresh link was asked for."""
    return page("requested.html")


@pages.post("/accept")
def accept() -> AnyResponse:
    """Accept, then go where it says so."""
    token, state = _token(), get_state()
    by = caller(state.ctx)
    profile = read_profile(state.once(profile_inputs), state.ctx.hooks.profile_fields, request.form)
    password = sealed(request.form.get("password") or None)
    try:
        acts.accept(state.ctx, token=token, password=password, profile=profile, by=by)
    except InvalidRequest as refusal:
        return _offer(token, by, refusal.status, refusal.errors, profile)
    return redirect(url_for("invitations.accepted"), 303)


@pages.post("/decline")
def decline() -> AnyResponse:
    """Decline, then go where it says so."""
    token, ctx = _token(), get_state().ctx
    by = caller(ctx)
    try:
        given = load(DECLINE, {"token": token, "reason": request.form.get("reason") or None})
    except InvalidRequest as refusal:
        return _offer(token, by, refusal.status, refusal.errors)
    acts.decline(ctx, by=by, **given)
    return redirect(url_for("invitations.declined"), 303)


@pages.get("/accepted")
def accepted() -> Response:
    """The invitation was accepted."""
    return page("accepted.html", user=actor(), login_url=url_of("login_url"))


@pages.get("/declined")
def declined() -> Response:
    """The invitation was declined."""
    return page("declined.html")


def _token() -> Token:
    """The token in the form: bare, or in whatever link was pasted.

    :raises InvitationNotFound: there is none.
    """
    token = _carried()
    if token is None:
        raise InvitationNotFound
    return token


def _carried() -> Token | None:
    return find(form().get("token", "")[:4096])


def url_of(hook: str) -> str | None:
    """Where the host signs its users in or out, if it says so."""
    where = getattr(get_state().ctx.hooks, hook)
    return None if where is None else str(where())


def _offer(
    token: Token,
    by: Caller,
    status: int = 200,
    errors: Mapping[str, Any] | None = None,
    profile: Mapping[str, Any] | None = None,
) -> Response:
    state, user = get_state(), by.user
    offer = acts.preview(state.ctx, token=token, by=by)
    inviter = offer.invitation.invited_by
    language = state.ctx.language(offer.invitation.locale or current_tag())
    words = {
        "offer": offer,
        "tenant_name": one_line(offer.tenant.name),
        "inviter_email": inviter and inviter.email,
        "inviter_name": inviter and inviter.name and one_line(inviter.name),
        "message": plain(offer.invitation.message or ""),
        "signed_in_as": getattr(user, "email", None),
        "obstacle": offer.obstacle and _told(offer.obstacle, language, token),
        "errors": {name: sentences(said, language.gettext) for name, said in (errors or {}).items()},
        "inputs": state.once(profile_inputs),
        "profile": profile or {},
        "login_url": url_of("login_url"),
        "logout_url": url_of("logout_url"),
    }
    return page("offer.html", status, language, token=token, **words)


def _told(refusal: InvitationError, language: Language, token: Token | None) -> Words:
    """What the invitee is told about a refusal, and offered."""
    return told(INVITEE, refusal, language.gettext, _case(refusal, token))


def _case(refusal: InvitationError, token: Token | None) -> str:
    """Which of the cases that the table tells apart it is."""
    if isinstance(refusal, InvitationAccepted) and refusal.mine:
        return "mine"
    if isinstance(refusal, InvitationExpired) and token is not None:
        return get_state().ctx.config.fresh_link or ""
    if isinstance(refusal, AccountExists) and not refusal.joins:
        return "cannot-join"
    return ""


def page(template: str, status: int = 200, language: Language | None = None, **words: Any) -> Response:
    """A page in the language that was asked for, else in the request's."""
    ctx = get_state().ctx
    language = language or ctx.language(current_tag())
    words = {"app_name": ctx.config.app_name, "settings": ctx.config, **language.words(), **words}
    return make_response(render_template(f"invitations/{template}", **words), status)


def refused(error: InvitationError) -> Response:
    """A page that says why, with the status that the API would answer, and what to do."""
    language = get_state().ctx.language(current_tag())
    token = _carried()
    words = {"told": _told(error, language, token), "token": token, "login_url": url_of("login_url")}
    answer = page("refused.html", error.status, language, **words)
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


def keep_the_last_word(setup: BlueprintSetupState) -> None:
    """Flask asks the app's own ``after_request`` functions after a blueprint's, the first registered last: so a
    host that sets headers on every answer does not take ours away."""
    setup.app.after_request_funcs.setdefault(None, []).insert(0, _protect_again)


def _protect_again(answer: Response) -> Response:
    ours = protect in current_app.after_request_funcs.get(request.blueprint, ())
    return protect(answer) if ours else answer


pages.record_once(keep_the_last_word)
pages.url_value_preprocessor(exempt_from_csrf_protect)
pages.before_request(check_form)
pages.after_request(protect)
pages.register_error_handler(InvitationError, refused)
