"""The manager's desk: every invitation of a tenant, one of them with its audit trail, and the forms to invite, resend
and revoke.

Plain pages and forms. The forms ride on the host's session, so each carries a seal of ours besides (H2): it is bound
to the user, the tenant and the form's purpose, and nothing is kept for it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from .. import acts
from ..acts import Manager, Wanted
from ..current import caller, get_state
from ..errors import CrossSite, InvalidRequest, InvitationError, InvitationNotFound, MailBounced
from ..languages.babel import current_tag, spoken
from ..languages.plain import one_line, plain
from ..model.states import OPEN, UNWANTED, DeliveryState, Status
from ..model.values import InvitationInfo
from ..rows import load_changes
from ..shapes import EVENTS, MAX_MESSAGE, cursor_at, load
from ..tokens import FormSeal
from ..words import MANAGER, OBSTACLES, Words, many_refused, refused_because, told, unsent_because
from .agents import client
from .faces import Face
from .forms import sentences
from .outcome import Outcome
from .pages import check_form, login_url, page, protect, url_of
from .wire import PACKAGE, SAFE, answer_refusals, guard

#: Mounted where the invitee's pages are.
desk: Blueprint = Face("invitations_desk", PACKAGE)

#: Invitations on one page of the list, and events on one of an invitation's.
PAGE, TRAIL = 20, 50
FILTERS = ("status", "role", "q")
#: Of the list's address: what of it is shown, and where.
PLACE = (*FILTERS, "cursor", "newer")
#: The calls with many rows, which may be as long as those of the API.
WITH_ROWS = ("invitations_desk.preview", "invitations_desk.send_many")
FIELDS = ("email", "role", "message", "expires_in", "locale")
#: How long an invitation may be made to stand, beside the setting ``TTL``.
SPANS = tuple(timedelta(days=days) for days in (1, 3, 7, 14, 30))
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


@desk.get("/")
def listing() -> AnyResponse:
    """The list, filtered as the address says, and the form to invite."""
    return _listing(manager())


@desk.get("/invite")
@desk.get("/selected")
@desk.get("/selected/revoke")
def start_over() -> AnyResponse:
    """A restored tab: the form that led here is on the list."""
    return redirect(url_for("invitations_desk.listing"), 303)


@desk.post("/invite")
def invite() -> AnyResponse:
    """Invite, then go to the new invitation; what is refused comes back as it was typed."""
    by, state = manager(), get_state()
    typed = {name: request.form.get(name, "").replace("\r\n", "\n").strip() for name in FIELDS}
    try:
        given = {**{name: read_field(name, text) for name, text in typed.items()}, "confirm": "confirm" in request.form}
        made = acts.invite(state.ctx, by=by, wanted=Wanted.loaded(load(state.invite_body, given)))
    except InvitationError as refusal:
        return _listing(by, refusal, typed)
    return _done(made.id, "invited")


@desk.get("/<uuid:invitation_id>")
def details(invitation_id: uuid.UUID) -> Response:
    """Everything about one invitation, and what can be done with it."""
    return _details(manager(), invitation_id)


@desk.get("/<uuid:invitation_id>/resend")
def look_again(invitation_id: uuid.UUID) -> AnyResponse:
    """A restored tab: the form that led here is on the invitation's page."""
    return redirect(_link_to(invitation_id), 303)


@desk.post("/<uuid:invitation_id>/resend")
def resend(invitation_id: uuid.UUID) -> AnyResponse:
    """Send the mail once more."""
    by, asked = manager(), request.form
    rotate, confirm = "same_link" not in asked, "confirm" in asked
    try:
        acts.resend(get_state().ctx, by=by, invitation_id=invitation_id, rotate=rotate, confirm=confirm)
    except InvitationNotFound:
        raise
    except InvitationError as refusal:
        return _details(by, invitation_id, refusal)
    return _done(invitation_id, "resent")


@desk.get("/<uuid:invitation_id>/revoke")
def confirm_revoke(invitation_id: uuid.UUID) -> AnyResponse:
    """Ask whether that is meant; of a closed invitation there is nothing to ask."""
    by = manager()
    invitation = acts.get(get_state().ctx, by=by, invitation_id=invitation_id)
    if invitation.status not in OPEN:
        return redirect(_link_to(invitation_id), 303)
    return answer("revoke.html", by, invitation=invitation)


@desk.post("/<uuid:invitation_id>/revoke")
def revoke(invitation_id: uuid.UUID) -> AnyResponse:
    """Revoke, for good."""
    by = manager()
    try:
        acts.revoke(get_state().ctx, by=by, invitation_id=invitation_id)
    except InvitationNotFound:
        raise
    except InvitationError as refusal:
        return _details(by, invitation_id, refusal)
    return _done(invitation_id, "revoked")


# Several


@desk.post("/selected")
def selected() -> AnyResponse:
    """Resend the emails of those that were selected, or of the one in whose row the button is; or ask whether they are
    to be revoked."""
    by, state, alone = manager(), get_state(), request.form.getlist("resend")
    ids = alone or request.form.getlist("id")
    if not ids:
        return to_list(by, Outcome("none", 0, {}))
    wanted = load_changes(state, {"action": "resend" if alone else request.form.get("action", ""), "ids": ids})
    if wanted["action"] == "revoke":
        return answer("revoke_many.html", by, items=acts.known(state.ctx, by=by, ids=ids), ids=ids, place=_place())
    try:
        done = acts.resend_many(state.ctx, by=by, ids=ids)
    except InvitationError as refusal:
        return _listing(by, refusal)
    return to_list(by, Outcome.of("resent", done.results))


@desk.post("/selected/revoke")
def revoke_selected() -> AnyResponse:
    """Revoke them, for good."""
    by, state = manager(), get_state()
    wanted = load_changes(state, {"action": "revoke", "ids": request.form.getlist("id")})
    try:
        done = acts.revoke_many(state.ctx, by=by, ids=wanted["ids"])
    except InvitationError as refusal:
        return _listing(by, refusal)
    return to_list(by, Outcome.of("revoked", done.results))


def to_list(by: Manager, outcome: Outcome) -> AnyResponse:
    """To the list, which says so. Its address holds numbers and codes, and a seal: it cannot be made to say else."""
    seal = _seal(by).make(_purpose(by, str(outcome)))
    return redirect(url_for("invitations_desk.listing", **_place(), done=str(outcome), seal=seal), 303)


def _outcome(by: Manager) -> Outcome | None:
    text = request.args.get("done", "")
    return Outcome.read(text) if _seal(by).is_from(_purpose(by, text), request.args.get("seal", "")) else None


def _place() -> dict[str, Any]:
    return {name: text.strip() for name, text in request.args.items() if name in PLACE and text.strip()}


# Who, and by which form


def manager() -> Manager:
    """Whoever is signed in; what they send must come from a form that we made for them.

    :raises Unauthenticated, Forbidden: nobody, or somebody who may not.
    :raises CrossSite: no form of ours, one for somebody else, for another tenant or purpose, or an old one.
    """
    ctx = get_state().ctx
    by = acts.manager(ctx, caller(ctx))
    if request.method not in SAFE and not _seal(by).is_from(_purpose(by), request.form.get("seal", "")):
        raise CrossSite
    return by


def _seal(by: Manager) -> FormSeal:
    ctx = get_state().ctx
    return FormSeal(ctx.config.secret_keys, str(by.id), ctx.now())


def _purpose(by: Manager, endpoint: str | None = None) -> str:
    return f"{endpoint or request.endpoint} in {by.tenant_id}"


# What is shown


@dataclass(frozen=True)
class _Page:
    """A page of the list.

    :param newer, older: the places of those beside it, as they stand in an address; ``None``: there is none.
    """

    items: Sequence[InvitationInfo]
    newer: str | None
    older: str | None

    @classmethod
    def of(cls, by: Manager, asked: Mapping[str, str], wanted: Mapping[str, Any]) -> _Page:
        """:raises InvalidRequest: there is no such place."""
        after, before = (_cursor(asked.get(name)) for name in ("cursor", "newer"))
        items, more = acts.list_page(get_state().ctx, by=by, limit=PAGE, after=after, before=before, **wanted)
        is_newer, is_older = (more, True) if before else (after is not None, more)
        return cls(items, _place_of(items[:1]) if is_newer else None, _place_of(items[-1:]) if is_older else None)


def _cursor(text: str | None) -> Any:
    return None if text is None else load(EVENTS, {"cursor": text})["cursor"]


def _place_of(items: Sequence[InvitationInfo]) -> str | None:
    return cursor_at(items[0].created_at, items[0].id) if items else None


def _listing(
    by: Manager, refusal: InvitationError | None = None, typed: Mapping[str, str] | None = None
) -> AnyResponse:
    state = get_state()
    asked = _place()
    filters = {name: asked[name] for name in FILTERS if name in asked}
    wanted = load(state.list_query, filters)
    wanted = {name: wanted[name] for name in filters}
    shown = _Page.of(by, asked, wanted)
    if "newer" in asked and shown.newer is None and refusal is None:  # the first page, which may have grown
        return redirect(url_for("invitations_desk.listing", **filters), 303)
    wanted.pop("status", None)
    counts = acts.counts(state.ctx, by=by, **wanted)
    return answer(
        "list.html",
        by,
        refusal,
        items=shown.items,
        newer=shown.newer,
        older=shown.older,
        counts=counts,
        none_at_all=not asked and not any(counts.values()),
        asked=filters,
        place=asked,
        outcome=None if refusal else _outcome(by),
        many_refused=lambda code: many_refused(code, state.ctx.language(current_tag()).gettext),
        tried=typed is not None,
        typed=typed or dict.fromkeys(FIELDS, ""),
        **choices(by),
    )


def choices(by: Manager) -> dict[str, Any]:
    """What the form to invite offers."""
    ctx = get_state().ctx
    return {
        "roles": ctx.config.roles,
        "grantable": acts.grantable(ctx, by),
        "default_role": ctx.config.default_role,
        "spans": SPANS,
        "max_message": MAX_MESSAGE,
        "languages": spoken(),
    }


def read_field(name: str, text: str) -> Any:
    """A field of the form as the schema takes it: what was left empty is not there, and seconds are a number."""
    if name == "expires_in" and text.isdecimal() and len(text) < 10:
        return int(text)
    return text if text or name == "email" else None


def _details(by: Manager, invitation_id: uuid.UUID, refusal: InvitationError | None = None) -> Response:
    ctx = get_state().ctx
    asked = {name: text for name, text in request.args.items() if name == "cursor" and text}
    before = load(EVENTS, asked).get("cursor")
    story = acts.story(ctx, by=by, invitation_id=invitation_id, limit=TRAIL, before=before)
    invitation = story.invitation
    oldest = story.events[0][0] if story.more else None
    return answer(
        "details.html",
        by,
        refusal,
        invitation=invitation,
        events=story.events,
        earlier=before is not None,
        older=oldest and cursor_at(oldest.at, oldest.id),
        is_open=invitation.status in OPEN and invitation.email is not None,
        came_back=_came_back(invitation) or isinstance(refusal, MailBounced),
        obstacle=_obstacle(invitation),
        languages=spoken(),
        done=None if refusal else request.args.get("done"),
    )


def _obstacle(invitation: InvitationInfo) -> Words | None:
    """Why a pending invitation could not be accepted now; of any other its status says enough."""
    if invitation.obstacle is None or invitation.status != Status.PENDING:
        return None
    return told(OBSTACLES, invitation.obstacle, get_state().ctx.language(current_tag()).gettext)


def _came_back(invitation: InvitationInfo) -> bool:
    return invitation.delivery is not None and invitation.delivery.state in UNWANTED


def answer(template: str, by: Manager, refusal: InvitationError | None = None, **words: Any) -> Response:
    ctx, seal = get_state().ctx, _seal(by)
    now, language = ctx.now(), ctx.language(current_tag())
    answer = page(
        f"desk/{template}",
        200 if refusal is None else refusal.status,
        language,
        told=None if refusal is None else _words(refusal, language.gettext),
        why_refused=lambda code: refused_because(code, language.gettext),
        why_unsent=lambda state, error: unsent_because(
            error, language.gettext, cancelled=state == DeliveryState.CANCELLED
        ),
        tenant_name=one_line(acts.tenant_name(ctx, by=by)),
        account=getattr(by.user, "email", None),
        logout_url=url_of("logout_url"),
        role=ctx.role_label,
        client=client,
        ttl=ctx.config.ttl,
        refusal=refusal,
        seal=lambda form: seal.make(_purpose(by, f"invitations_desk.{form}")),
        distance=lambda moment: _distance(moment, now),
        length=_length,
        line=one_line,
        plain=plain,
        **words,
    )
    answer.headers.extend(refusal.headers if refusal is not None else {})
    return answer


def _words(refusal: InvitationError, gettext: Callable[[str], str]) -> Words:
    """What is wrong with many people as a whole is about no field of the page: it says so itself."""
    words, wrong = told(MANAGER, refusal, gettext), refusal.errors if isinstance(refusal, InvalidRequest) else {}
    of_all = sentences([wrong.get("invitations", ()), wrong.get("ids", ())], gettext)
    return replace(words, sentence=" ".join(of_all), next_step="") if of_all else words


def _distance(moment: datetime, now: datetime) -> tuple[str, int, bool]:
    """How far off ``moment`` is: the unit, how many of them, and whether it is past."""
    return (*_length(abs(moment - now)), moment <= now)


def _length(span: timedelta) -> tuple[str, int]:
    """A span in the unit of which it holds at least one and a half; at least one minute."""
    seconds = span.total_seconds()
    unit, size = next((each for each in _UNITS if seconds >= 1.5 * each[1]), _UNITS[-1])
    return unit, max(1, round(seconds / size))


def _link_to(invitation_id: uuid.UUID, done: str | None = None) -> str:
    return url_for("invitations_desk.details", invitation_id=invitation_id, done=done)


def _done(invitation_id: uuid.UUID, what: str) -> AnyResponse:
    """To the invitation's page, which says so; ``done`` chooses the sentence and holds nothing else."""
    return redirect(_link_to(invitation_id, done=what), 303)


def _here() -> str:
    """This page's address, or the list's where that is no page to come back to."""
    if request.method not in SAFE or request.endpoint is None:
        return url_for("invitations_desk.listing")
    return url_for(request.endpoint, **(request.view_args or {}), **_place())


def refused(error: InvitationError) -> Response:
    """A page that says why, with the status that the API would answer, and what to do."""
    language = get_state().ctx.language(current_tag())
    words = {"told": told(MANAGER, error, language.gettext), "login_url": login_url(_here())}
    answer = page("desk/refused.html", error.status, language, **words)
    answer.headers.extend(error.headers)
    return answer


guard(desk, check_form, protect, page=True, with_rows=WITH_ROWS)
answer_refusals(desk, refused)
