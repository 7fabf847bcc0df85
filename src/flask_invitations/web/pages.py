"""The invitee's pages: the landing of the mailed link, the offer, and what became of it.

Nothing of the link is kept on our side between two requests: the form that its holder opened carries the token
(A6), and nothing is changed by anything but a POST (E4).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from flask import Blueprint, Request, Response, make_response, redirect, render_template, request, url_for
from jinja2.utils import Namespace
from werkzeug.wrappers import Response as AnyResponse

from .. import acts
from ..acts import Caller
from ..current import actor, caller, get_state, origin
from ..errors import (
    AccountExists,
    InvalidRequest,
    InvitationAccepted,
    InvitationError,
    InvitationExpired,
    InvitationNotFound,
)
from ..languages.babel import current_tag
from ..languages.language import Language
from ..languages.plain import one_line, plain
from ..pasted import candidates
from ..shapes import DECLINE, load
from ..tokens import Token, sealed
from ..words import INVITEE, Words, told
from .faces import Face
from .forms import profile_inputs, read_profile, sentences
from .wire import PACKAGE, SAFE, answer_refusals, guard, read_form, seal

pages: Blueprint = Face(
    "invitations", PACKAGE, template_folder="templates", static_folder="static", static_url_path="/static"
)

#: Only files of the host's origin, and pictures that stand in a page or stylesheet; framed by nobody, no address told
#: to anybody (D1, H3).
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}

#: Under which a request keeps the token that was found in its form.
_TOKEN = f"{PACKAGE}.token"


@pages.get("/accept/<path:link>")
@pages.get("/accept//<path:link>", merge_slashes=False)  # else a redirect would carry the token
@pages.get("/accept<path:link>")  # its "#" came as "%23"
@pages.get("/accept/")
@pages.get("/accept")
def landing(link: str = "") -> Response:
    """Where the mailed link leads. Looks nothing up: a link scanner that comes here sees and changes nothing."""
    text = f"{link}?{request.query_string.decode('ascii', 'replace')}"
    found = candidates(text)
    return page("landing.html", token=found[0] if len(found) == 1 else Token(text) if found else None)


@pages.get("/open")
@pages.get("/decline")
@pages.get("/fresh")
def start_over() -> AnyResponse:
    """A restored tab, or the address bar: the form that led here is gone."""
    return redirect(url_for("invitations.landing"), 303)


@pages.post("/open")
def open_offer() -> Response:
    """What the link offers, and the form to answer."""
    by = _caller()
    return _offer(_token(), by)


@pages.post("/fresh")
def fresh() -> AnyResponse:
    """Ask for a fresh link in place of an expired one. The answer is the same whatever comes of it."""
    ctx = get_state().ctx
    if ctx.config.fresh_link is None:
        return start_over()
    by = _caller()
    with suppress(InvitationNotFound):
        acts.request_link(ctx, token=_token(), by=by)
    return redirect(url_for("invitations.requested"), 303)


@pages.get("/requested")
def requested() -> Response:
    """A fresh link was asked for."""
    return page("requested.html")


@pages.post("/accept")
def accept() -> AnyResponse:
    """Accept, then go where it says so."""
    by, token, state = _caller(), _token(), get_state()
    profile = read_profile(state.once(profile_inputs), state.ctx.hooks.profile_fields, request.form)
    password = sealed(request.form.get("password") or None)
    try:
        done = acts.accept(state.ctx, token=token, password=password, profile=profile, by=by)
    except InvalidRequest as refusal:
        return _offer(token, by, refusal.status, refusal.errors, profile)
    if done.next is None or is_own(done.next):
        return redirect(done.next or url_for("invitations.accepted"), 303)
    answer = accepted(done.next)  # a browser follows no redirect from a form of ours to another site
    answer.headers["Refresh"] = f"0; url={done.next}"
    return answer


@pages.post("/decline")
def decline() -> AnyResponse:
    """Decline, then go where it says so."""
    by, token, ctx = _caller(), _token(), get_state().ctx
    try:
        wishes = {name: name in request.form for name in ("never_again", "report")}
        given = load(DECLINE, {"token": token, "reason": request.form.get("reason") or None, **wishes})
    except InvalidRequest as refusal:
        return _offer(token, by, refusal.status, refusal.errors)
    acts.decline(ctx, by=by, **given)
    return redirect(url_for("invitations.declined", never=1 if any(map(wishes.get, wishes)) else None), 303)


@pages.get("/accepted")
def accepted(next_url: str | None = None) -> Response:
    """The invitation was accepted.

    :param next_url: where the host leads its new member.
    """
    return page("accepted.html", user=actor(), login_url=url_of("login_url"), next_url=next_url)


@pages.get("/declined")
def declined() -> Response:
    """The invitation was declined."""
    return page("declined.html", never_again="never" in request.args)


@pages.get("/stop/<stop_token>")
def stop(stop_token: str) -> Response:
    """A button that stops all invitations from one organization. Looks nothing up."""
    return page("stop.html", stop_token=stop_token)


@pages.post("/stop/<stop_token>")
def stopped(stop_token: str) -> Response:
    """Stop them: by that button, or by a mail program's own (RFC 8058), which follows no redirect and is signed in
    nowhere. The answer is the same whatever comes of it."""
    acts.stop(get_state().ctx, token=stop_token, by=Caller(None, None, origin()))
    return page("stopped.html")


def _caller() -> Caller:
    """Whoever opened the form, counted before it is looked at.

    :raises RateLimited: too often for now.
    """
    ctx = get_state().ctx
    return acts.counted(ctx, caller(ctx))


def _token() -> Token:
    """The token in the form: bare, or in whatever link was pasted.

    :raises InvitationNotFound: there is none.
    """
    token = acts.recognize(get_state().ctx, candidates(request.form.get("token", "")))
    if token is None:
        raise InvitationNotFound
    request.environ[_TOKEN] = token
    return token


def url_of(hook: str) -> str | None:
    """Where the host signs its users in or out, if it says so."""
    where = getattr(get_state().ctx.hooks, hook)
    return None if where is None else str(where())


def is_own(url: str) -> bool:
    """Whether it leads to the host that was called."""
    return urljoin(request.url, url).startswith(request.host_url)


def login_url(back: str) -> str | None:
    """Where to sign in, and to be led back from, if that is a page of the host's and says nothing else.

    :param back: a path of this app without anything secret.
    """
    url = url_of("login_url")
    if url is None or not is_own(url) or "next" in parse_qs(urlsplit(url).query):
        return url
    parts = urlsplit(url)
    return parts._replace(query="&".join(filter(None, (parts.query, urlencode({"next": back}))))).geturl()


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
        "role": state.ctx.role_label(offer.invitation.role),
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
    home = url_of("home_url") or f"{request.script_root}/"
    ours = {"app_name": ctx.config.app_name, "settings": ctx.config, "namespace": Namespace, "home_url": home}
    words = {**ours, **language.words(), **words}
    return make_response(render_template(ctx.template(template), **words), status)


def refused(error: InvitationError) -> Response:
    """A page that says why, with the status that the API would answer, and what to do."""
    language = get_state().ctx.language(current_tag())
    token: Token | None = request.environ.get(_TOKEN)
    words = {"told": _told(error, language, token), "token": token, "login_url": url_of("login_url")}
    answer = page("refused.html", error.status, language, **words)
    answer.headers.extend(error.headers)
    return answer


def check_form(call: Request) -> None:
    """:raises BodyTooLarge, MalformedRequest: no form of ours would be like that."""
    if call.method not in SAFE:
        read_form()


def protect(answer: Any) -> None:
    """On every answer, whatever the host would have sent. Stylesheet and script are the same for everybody."""
    answer.headers.update(HEADERS)
    if request.endpoint != "invitations.static":
        seal(answer)


guard(pages, check_form, protect, page=True, from_anywhere=(f"{pages.name}.{stopped.__name__}",))
answer_refusals(pages, refused)
