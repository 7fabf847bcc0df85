"""The pages with sample data: what the test kit renders through a host's own templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import url_for
from marshmallow import Schema

from .acts import Offer, TenantInfo
from .clock import utcnow
from .current import get_state
from .errors import (
    Forbidden,
    InvalidRequest,
    InvitationError,
    InvitationExpired,
    InvitationNotFound,
    InvitationRevoked,
    WrongAccount,
)
from .languages.plain import one_line, plain
from .model.states import Status
from .model.values import InvitationInfo, Inviter
from .shapes import MAX_MESSAGE
from .tokens import Token
from .web.desk import FIELDS, SPANS
from .web.desk_many import TERMS, Verdict
from .web.forms import profile_inputs
from .words import INVITEE, MANAGER, told


@dataclass(frozen=True)
class Sample:
    """One page with sample data, and what must be there.

    :param forms: endpoint of the invitee's, or address, to the names of the fields that its form must send.
    :param texts: what a reader must be told.
    :param marks: attributes by which the script finds its way.
    """

    template: str
    words: Mapping[str, Any]
    forms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    texts: Sequence[str] = ()
    marks: Sequence[str] = ()


def samples() -> Iterator[Sample]:
    """Every page, in every state in which it needs something else."""
    token, open_it = Token("A" * 43), {"open_offer": ["token"]}
    marks = (
        "data-invitations-landing",
        "data-invitations-paste-field",
        "data-invitations-with-link",
        "data-invitations-without-link",
        "data-invitations-cut-link",
    )
    yield Sample("landing.html", {"token": None}, open_it, marks=marks)
    yield Sample("landing.html", {"token": token}, open_it, marks=("data-invitations-clean-address",))
    yield from _offers(token)
    yield Sample("accepted.html", {"user": None, "login_url": None, "next_url": None})
    yield Sample("declined.html", {"never_again": False})
    yield Sample("requested.html", {})
    stop: dict[str, Any] = {"stop_token": "-"}
    yield Sample("stop.html", stop, {url_for("invitations.stopped", **stop): []})
    yield Sample("stopped.html", {})
    yield _refused(InvitationRevoked(), None, {})
    yield _refused(InvitationNotFound(), None, open_it)
    if get_state().ctx.config.fresh_link is not None:
        yield _refused(InvitationExpired(), token, {"fresh": ["token"]})


def _offers(token: Token) -> Iterator[Sample]:
    state = get_state()
    shown = ("Sample Tenant", "inviter@example.com", "invitee@example.com", "a-role")
    required = [name for name, each in _profile_fields(state.profile_schema) if each.required]
    decline = {"decline": ["token", "reason", "never_again", "report"]}
    words: dict[str, Any] = {
        "token": token,
        "tenant_name": shown[0],
        "role": shown[3],
        "inviter_email": shown[1],
        "inviter_name": None,
        "message": "a message",
        "signed_in_as": None,
        "obstacle": None,
        "errors": {},
        "inputs": state.once(profile_inputs),
        "profile": {},
        "login_url": None,
        "logout_url": None,
    }
    password = ["password"] if state.ctx.config.password_required else []
    accept = {"accept": ["token", *password, "username", *required], **decline}
    yield Sample("offer.html", {**words, "offer": _offer()}, accept, (*shown, "a message"))
    wrong = {**{name: ["a complaint"] for name in password}, "reason": ["another one"]}
    said = [each for complaints in wrong.values() for each in complaints]
    yield Sample("offer.html", {**words, "offer": _offer(), "errors": wrong}, accept, said)
    yield Sample("offer.html", {**words, "offer": _offer(known=True)}, {"accept": ["token"], **decline}, shown)
    obstacle = told(INVITEE, WrongAccount(), str)
    yield Sample("offer.html", {**words, "offer": _offer(), "obstacle": obstacle}, decline, shown)


def _profile_fields(schema: Schema) -> Sequence[tuple[str, Any]]:
    return [(each.data_key or name, each) for name, each in schema.load_fields.items()]


def _offer(*, known: bool = False) -> Offer:
    now, email = utcnow(), "invitee@example.com"
    invitation = InvitationInfo(
        id=UUID(int=0),
        tenant_id=None,
        email=email,
        email_key=email,
        role="a-role",
        status=Status.PENDING,
        message="a message",
        details=None,
        locale=None,
        invited_by=Inviter(None, "inviter@example.com"),
        link_shown=False,
        lifetime=timedelta(days=2),
        expires_at=now,
        created_at=now,
        updated_at=now,
        accepted_at=None,
        accepted_by_id=None,
    )
    return Offer(invitation, TenantInfo(None, "Sample Tenant"), known)


def _refused(error: InvitationError, token: Token | None, forms: Mapping[str, Sequence[str]]) -> Sample:
    case = (get_state().ctx.config.fresh_link or "") if token is not None else ""
    words = {"told": told(INVITEE, error, str, case), "token": token, "login_url": None}
    return Sample("refused.html", words, forms)


def desk_samples() -> Iterator[Sample]:
    """The manager's pages."""
    one, words = _offer().invitation, _desk_words()
    invite = {url_for("invitations_desk.invite"): ["seal", *FIELDS[:4]]}
    address = {name: url_for(f"invitations_desk.{name}", invitation_id=one.id) for name in ("resend", "revoke")}
    list_ = {
        **words,
        "counts": dict.fromkeys(Status, 1),
        "asked": {},
        "newer": None,
        "older": None,
        "place": {},
        "outcome": None,
        "many_refused": str,
        "tried": False,
        "typed": dict.fromkeys(FIELDS, ""),
    }
    yield Sample("desk/list.html", {**list_, "items": [], "none_at_all": True}, invite)
    both = {**invite, url_for("invitations_desk.selected"): ["seal", "id", "action"]}
    marks = ("data-invitations-bulk", "data-invitations-all", "data-invitations-count")
    yield Sample("desk/list.html", {**list_, "items": [one], "none_at_all": False}, both, (str(one.email),), marks)
    outcome = {"what": "invited", "done": 4711, "refused": {"a reason": 1}}
    told_ = {**list_, "items": [one], "none_at_all": False, "outcome": outcome}
    yield Sample("desk/list.html", told_, both, ("4711", "a reason"))
    yield from _many_samples(one, words)
    details = {
        **words,
        "invitation": one,
        "events": [],
        "is_open": True,
        "came_back": True,
        "obstacle": None,
        "done": None,
    }
    yield Sample("desk/details.html", details, {address["resend"]: ["seal", "confirm", "same_link"]}, (str(one.email),))
    yield Sample("desk/revoke.html", {**words, "invitation": one}, {address["revoke"]: ["seal"]}, (str(one.email),))
    yield Sample("desk/refused.html", {"told": told(MANAGER, Forbidden(), str), "login_url": None})


def _many_samples(one: InvitationInfo, words: Mapping[str, Any]) -> Iterator[Sample]:
    """The manager's pages about many."""
    typed = dict.fromkeys(("people", *TERMS), "typed")
    form = {
        url_for("invitations_desk.preview"): ["seal", "people", "file", *(name for name in TERMS if name != "locale")]
    }
    many = {**words, "typed": typed, "bulk_max": 1000, "max_list": 400}
    yield Sample("desk/many.html", {**many, "said": {}}, form)
    wrong = {"people": ["a complaint"], "file": ["another one"]}
    refused = {**words, "told": told(MANAGER, InvalidRequest(wrong), str), "refusal": InvalidRequest(wrong)}
    yield Sample("desk/many.html", {**many, **refused, "said": wrong}, form, ("a complaint", "another one"))
    able = Verdict(1, "invitee@example.com", "a name", "a-role", [], "", None)
    unable = Verdict(2, "other@example.com", "", "a-role", [], "a reason", None)
    preview = {**words, "able": [able], "unable": [unable], "plan": "a-plan", "typed": typed}
    send = {url_for("invitations_desk.send_many"): ["seal", "people", *TERMS, "plan", "change"]}
    yield Sample("desk/preview.html", preview, send, (able.email, unable.email, unable.why, "a-role"))
    revoke = {url_for("invitations_desk.revoke_selected"): ["seal", "id"]}
    chosen = {**words, "items": [one], "ids": [str(one.id)], "place": {}}
    yield Sample("desk/revoke_many.html", chosen, revoke, (str(one.email),))


def _desk_words() -> dict[str, Any]:
    config = get_state().ctx.config
    return {
        "told": None,
        "refusal": None,
        "why_refused": str,
        "why_unsent": lambda state, error: "a reason",
        "tenant_name": "Sample Tenant",
        "ttl": config.ttl,
        "roles": config.roles,
        "grantable": config.roles,
        "default_role": config.default_role,
        "spans": SPANS,
        "max_message": MAX_MESSAGE,
        "languages": {"en": "English"},
        "seal": lambda form: "a-seal",
        "distance": lambda moment: ("day", 2, False),
        "length": lambda span: ("day", 2),
        "line": one_line,
        "role": one_line,
        "client": lambda user_agent: ("Chrome", "Linux"),
        "account": None,
        "logout_url": None,
        "plain": plain,
    }
