"""The JSON API: parse, call one act, dump. ``CALLS`` lists every endpoint once; OpenAPI is made from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Blueprint, Request, Response, jsonify, request, url_for

from .. import acts, errors, rows, shapes
from ..acts import Manager, Wanted
from ..current import State, caller, get_state
from ..errors import BodyTooLarge, CrossSite, InvitationError, MalformedRequest
from ..tokens import redact
from . import answers
from .faces import Face
from .once import Keyed, keyed
from .openapi import Call, accept_body, document
from .wire import PACKAGE, answer_refusals, guard, read_json, read_query

api: Blueprint = Face("invitations_api", PACKAGE, template_folder="templates")

View = Callable[..., Response]

CALLS: list[Call] = []

_DEAD = (
    errors.InvitationNotFound,
    errors.InvitationAccepted,
    errors.InvitationExpired,
    errors.InvitationRevoked,
    errors.InvitationDeclined,
    errors.InvitationReplaced,
    errors.InvitationWithdrawn,
)
_BODY = (MalformedRequest, BodyTooLarge, errors.UnsupportedMediaType, errors.InvalidRequest)
_MANAGER = (errors.Unauthenticated, errors.Forbidden, errors.TryAgain)
_ONE = (*_MANAGER, errors.InvitationNotFound)
#: What the rules of *Make* say, and so those of *Resend*.
_MAKE = (
    errors.TenantInactive,
    errors.RoleNotAllowed,
    errors.AddressNotAllowed,
    errors.AddressSuppressed,
    errors.MailBounced,
    errors.AlreadyMember,
    errors.AccountExists,
    errors.AlreadyInvited,
    errors.TooManyPending,
    errors.NoSeats,
)
_LINK = (CrossSite, *_DEAD, errors.RateLimited, errors.TryAgain)


def call(
    method: str, rule: str, summary: str, refusals: tuple[type[InvitationError], ...], **what: Any
) -> Callable[[View], View]:
    """Register an endpoint on the blueprint and in ``CALLS``.

    :param refusals: besides those of a body, which every call may be sent.
    :param what: see :class:`.openapi.Call`. With ``idempotent`` the view takes a :class:`.once.Keyed` first, and has it
        do its act.
    """

    def register(view: View) -> View:
        described = Call(view.__name__, method, rule, summary, refusals=(*_BODY, *refusals), **what)
        CALLS.append(described)
        served = keyed(view, described.status) if described.idempotent else view
        api.add_url_rule(rule, view.__name__, served, methods=[method])
        return view

    return register


@call(
    "POST",
    "/invite",
    "Invite someone by email (200: with explain, what would come of it)",
    public=False,
    status=201,
    also=200,
    also_answer=answers.ExplanationOut,
    answer=answers.InvitationWithLinkOut,
    query=lambda state: shapes.EXPLAIN,
    body=lambda state: state.invite_body,
    idempotent=True,
    makes=True,
    refusals=(
        *_MANAGER,
        CrossSite,
        *_MAKE,
        errors.RateLimited,
    ),
)
def invite(once: Keyed) -> Response:
    by, state = _manager(), get_state()
    wanted = Wanted.loaded(shapes.load(state.invite_body, read_json()))
    if request.query_string and shapes.load(shapes.EXPLAIN, read_query())["explain"]:
        return _answer(answers.dump_explanation(acts.explain(state.ctx, by=by, wanted=wanted)))
    act = partial(acts.invite, state.ctx, by=by, wanted=wanted)
    invitation = once(acts.recall_invitation(state.ctx, by), act)
    answer = _answer(answers.dump_invitation(invitation), once.status)
    answer.headers["Location"] = url_for("invitations_api.get_invitation", invitation_id=invitation.id)
    return answer


@call(
    "POST",
    "/invite/bulk",
    "Invite many people, with a verdict for each",
    public=False,
    status=200,
    answer=answers.BulkInviteOut,
    body=rows.invite_body,
    refusals=(*_MANAGER, CrossSite, errors.TenantInactive, errors.PlanChanged, errors.RateLimited),
    has_rows=True,
    idempotent=True,
)
def invite_many(once: Keyed) -> Response:
    by, state = _manager(), get_state()
    given = rows.load_invites(state, read_json())
    act = partial(acts.invite_many, state.ctx, by=by, **given)
    if given["dry_run"]:
        return _answer(answers.dump_bulk_invite(act()))
    bulk = once(acts.recall_rows(state.ctx, by, [row.email for row in given["rows"]]), act)
    return _answer(answers.dump_bulk_invite(bulk), once.status)


@call(
    "POST",
    "/invitations/bulk",
    "Resend or revoke many invitations, with a verdict for each",
    public=False,
    status=200,
    answer=answers.BulkChangeOut,
    body=rows.change_body,
    refusals=(*_MANAGER, CrossSite, errors.RateLimited),
    has_rows=True,
    idempotent=True,
)
def change_many(once: Keyed) -> Response:
    by, state = _manager(), get_state()
    given = rows.load_changes(state, read_json())
    act = acts.resend_many if given["action"] == "resend" else acts.revoke_many
    ids = given["ids"]
    bulk = once(acts.recall_changes(by, ids), partial(act, state.ctx, by=by, ids=ids))
    return _answer(answers.dump_bulk_change(bulk), once.status)


@call(
    "GET",
    "/invitations",
    "List invitations, newest first",
    public=False,
    status=200,
    answer=answers.PageOut,
    query=lambda state: state.list_query,
    refusals=_MANAGER,
)
def list_invitations() -> Response:
    by, state = _manager(), get_state()
    given = shapes.load(state.list_query, read_query())
    email, after = given.pop("email", None), given.pop("cursor", None)
    items, more = acts.list_page(state.ctx, by=by, after=after, email_key=email and email.key, **given)
    cursor = shapes.cursor_at(items[-1].created_at, items[-1].id) if more else None
    return _answer(answers.PAGE.dump({"items": items, "next_cursor": cursor}))


@call("GET", "/invitations/openapi.json", "This document", public=True, status=200, refusals=())
def openapi() -> Response:
    return _answer(get_state().once(_document))


@call(
    "GET",
    "/invitations/<invitation_id>",
    "One invitation",
    public=False,
    status=200,
    answer=answers.InvitationDetailsOut,
    refusals=_ONE,
)
def get_invitation(invitation_id: str) -> Response:
    invitation = acts.get(get_state().ctx, by=_manager(), invitation_id=shapes.our_id(invitation_id))
    return _answer(answers.dump_details(invitation))


@call(
    "GET",
    "/invitations/<invitation_id>/events",
    "The audit trail of an invitation, oldest first",
    public=False,
    status=200,
    answer=answers.EventsOut,
    query=lambda state: shapes.EVENTS,
    refusals=_ONE,
)
def list_events(invitation_id: str) -> Response:
    by, given = _manager(), shapes.load(shapes.EVENTS, read_query())
    items, more = acts.events(
        get_state().ctx,
        by=by,
        invitation_id=shapes.our_id(invitation_id),
        limit=given["limit"],
        after=given.get("cursor"),
    )
    cursor = shapes.cursor_at(items[-1].at, items[-1].id) if more else None
    return _answer(answers.EVENTS.dump({"items": items, "next_cursor": cursor}))


@call(
    "POST",
    "/invitations/<invitation_id>/resend",
    "Send the email of an invitation again",
    public=False,
    status=200,
    answer=answers.InvitationWithLinkOut,
    body=lambda state: shapes.RESEND,
    body_is_optional=True,
    idempotent=True,
    refusals=(
        *_ONE,
        CrossSite,
        *_MAKE,
        errors.InvitationAccepted,
        errors.InvitationRevoked,
        errors.InvitationDeclined,
        errors.RateLimited,
    ),
)
def resend_invitation(once: Keyed, invitation_id: str) -> Response:
    by, ctx = _manager(), get_state().ctx
    given = shapes.load(shapes.RESEND, read_json(optional=True))
    act = partial(acts.resend, ctx, by=by, invitation_id=shapes.our_id(invitation_id), **given)
    invitation = once(acts.recall_invitation(ctx, by), act)
    return _answer(answers.dump_invitation(invitation), once.status)


@call(
    "DELETE",
    "/invitations/<invitation_id>",
    "Revoke an invitation",
    public=False,
    status=204,
    refusals=(*_ONE, CrossSite, errors.InvitationAccepted),
)
def revoke_invitation(invitation_id: str) -> Response:
    acts.revoke(get_state().ctx, by=_manager(), invitation_id=shapes.our_id(invitation_id))
    return Response(status=204)


@call(
    "POST",
    "/accept-invite/preview",
    "What a link offers",
    public=True,
    status=200,
    answer=answers.OfferOut,
    body=lambda state: shapes.TOKEN,
    refusals=_LINK,
)
def preview_invite() -> Response:
    given = shapes.load(shapes.TOKEN, read_json())
    ctx = get_state().ctx
    return _answer(answers.OFFER.dump(acts.preview(ctx, by=caller(ctx), **given)))


@call(
    "POST",
    "/accept-invite",
    "Accept an invitation (200 if this account accepted it before)",
    public=True,
    status=201,
    also=200,
    answer=answers.AcceptanceWithMoreOut,
    body=accept_body,
    idempotent=True,
    refusals=(
        *_LINK,
        errors.RoleNotAllowed,
        errors.WrongAccount,
        errors.AccountExists,
        errors.AccountUnverified,
        errors.AlreadyMember,
        errors.NoSeats,
    ),
)
def accept_invite(once: Keyed) -> Response:
    ctx = get_state().ctx
    given = shapes.load_accept(read_json(), ctx.hooks.profile_fields)
    recall = acts.recall_acceptance(ctx, given["token"])
    act = partial(acts.accept, ctx, by=caller(ctx), **given)
    acceptance = once(recall, act, lambda accepted: 200 if accepted.again else 201)
    return _answer(answers.dump_acceptance(acceptance), once.status)


@call(
    "POST",
    "/decline-invite",
    "Decline an invitation",
    public=True,
    status=200,
    answer=answers.OfferOut,
    body=lambda state: shapes.DECLINE,
    refusals=_LINK,
)
def decline_invite() -> Response:
    given = shapes.load(shapes.DECLINE, read_json())
    ctx = get_state().ctx
    offer = acts.decline(ctx, by=caller(ctx), **given)
    return _answer(answers.OFFER.dump(offer))


# What every call has in common


def _document(state: State) -> dict[str, Any]:
    return document(state, CALLS)


def _answer(body: Any, status: int = 200) -> Response:
    answer = jsonify(body)
    answer.status_code = status
    return answer


def _manager() -> Manager:
    ctx = get_state().ctx
    return acts.manager(ctx, caller(ctx))


def check_call(call: Request) -> None:
    """Refuse query parameters of a call that takes none, and a body likewise.

    :raises InvalidRequest: naming them.
    :raises UnsupportedMediaType, MalformedRequest: no body that any call takes.
    """
    if call.method == "OPTIONS":
        return
    if call.query_string and call.endpoint in _WITHOUT_QUERY:
        raise errors.InvalidRequest({name: ["Unknown parameter."] for name in call.args})
    if call.content_length and call.endpoint in _WITHOUT_BODY:
        shapes.load(shapes.NOTHING, read_json())


def problem(error: InvitationError) -> Response:
    """A refusal as RFC 9457 has it."""
    answer = Response(redact(json.dumps(error.problem())), error.status, mimetype="application/problem+json")
    answer.headers.extend(error.headers)
    return answer


#: Calls that take no query parameters, and those that take no body.
_WITHOUT_QUERY = {f"{api.name}.{each.name}" for each in CALLS if each.query is None}
_WITHOUT_BODY = {f"{api.name}.{each.name}" for each in CALLS if each.body is None}
#: Calls whose bodies have many rows.
_WITH_ROWS = {f"{api.name}.{each.name}" for each in CALLS if each.has_rows}

guard(api, check_call, page=False, with_rows=_WITH_ROWS)
answer_refusals(api, problem)
