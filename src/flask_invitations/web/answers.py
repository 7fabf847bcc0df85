"""The shapes of what goes out as JSON.

A list has hundreds of fields. marshmallow looks for the value of each as a key, as an attribute and as a default, and
that is most of what an answer costs; ours are read straight from frozen values, where they always are.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Any

from marshmallow import Schema, fields, validate

from ..acts import Acceptance, Explanation
from ..model.states import DeliveryState, Status
from ..model.values import BulkChange, BulkInvite, BulkInviteResult, InvitationInfo, plain_key


class _AsItIs:
    """For a field whose value JSON has already."""


class String(_AsItIs, fields.String):
    """Text."""


class Integer(_AsItIs, fields.Integer):
    """A number."""


class Boolean(_AsItIs, fields.Boolean):
    """Yes or no."""


class UUID(fields.UUID):
    """One of our own ids."""

    def as_json(self, value: uuid.UUID) -> str:
        return str(value)


class Dict(fields.Dict):
    """JSON of the host's."""

    def as_json(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return dict(value)


class Nested(fields.Nested):
    """A value in a value."""

    def as_json(self, value: Any) -> Any:
        return self.schema.dump(value)


class Moment(fields.DateTime):
    """A time as RFC 3339, in UTC, ending in ``Z``."""

    def as_json(self, value: datetime) -> str:
        return _rfc3339(value)


@lru_cache(maxsize=64)  # what one act has made has the same times
def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


class HostKey(fields.Raw):
    """A primary key of the host's: an integer stays one, everything else is text."""

    def as_json(self, value: Any) -> Any:
        return plain_key(value)


class Straight(Schema):
    """A shape of fields as above, each of which is an attribute of what is dumped (``a.b``: the attribute of one). All
    are read at once, and ``None`` is the same in JSON. What is dumped from a dict has marshmallow's own shapes."""

    @cached_property
    def _read(self) -> Callable[[Any], Any]:
        paths = [field.attribute or name for name, field in self.dump_fields.items()]
        read = attrgetter(*paths)
        return read if len(paths) > 1 else lambda obj: (read(obj),)

    @cached_property
    def _turned(self) -> list[tuple[str, Callable[[Any], Any]]]:
        all_fields: Any = self.dump_fields
        return [(name, field.as_json) for name, field in all_fields.items() if not isinstance(field, _AsItIs)]

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        if many:
            return [self.dump(each) for each in obj]
        dumped = dict(zip(self.dump_fields, self._read(obj), strict=True))
        for name, as_json in self._turned:
            if dumped[name] is not None:
                dumped[name] = as_json(dumped[name])
        return dumped


class InviterOut(Straight):
    id: HostKey = HostKey()
    email: String = String(allow_none=True)


class DeliveryOut(Straight):
    state: String = String(validate=validate.OneOf(list(DeliveryState)))
    attempts: Integer = Integer()
    last_attempt_at: Moment = Moment(allow_none=True)
    sent_at: Moment = Moment(allow_none=True)
    error: String = String(allow_none=True)


class InvitationOut(Straight):
    """An invitation. No token, hash or nonce; ``accept_url`` only where the setting RETURN_LINK asks for it."""

    id: UUID = UUID()
    email: String = String(allow_none=True)
    role: String = String()
    status: String = String(validate=validate.OneOf(list(Status)))
    tenant_id: HostKey = HostKey(allow_none=True)
    message: String = String(allow_none=True)
    details: Dict = Dict(allow_none=True)
    locale: String = String(allow_none=True)
    invited_by: Nested = Nested(InviterOut, allow_none=True)
    expires_at: Moment = Moment()
    created_at: Moment = Moment()
    updated_at: Moment = Moment()
    accepted_at: Moment = Moment(allow_none=True)
    accepted_by_id: HostKey = HostKey(allow_none=True)
    delivery: Nested = Nested(DeliveryOut, allow_none=True)


class ObstacleOut(Straight):
    code: String = String()
    detail: String = String()


class InvitationDetailsOut(InvitationOut):
    """One invitation, with why it could not be accepted now."""

    obstacle: Nested = Nested(ObstacleOut, allow_none=True)


class InvitationWithLinkOut(InvitationOut):
    accept_url: String = String()


class PageOut(Schema):
    items: fields.List[Any] = fields.List(fields.Nested(InvitationOut))
    next_cursor: fields.String = fields.String(allow_none=True)


class EventOut(Straight):
    id: UUID = UUID()
    type: String = String()
    at: Moment = Moment()
    actor_id: HostKey = HostKey(allow_none=True)
    remote_addr: String = String(allow_none=True)
    user_agent: String = String(allow_none=True)
    details: Dict = Dict(allow_none=True)


class EventsOut(Schema):
    items: fields.List[Any] = fields.List(fields.Nested(EventOut))
    next_cursor: fields.String = fields.String(allow_none=True)


class TenantOut(Straight):
    id: HostKey = HostKey(allow_none=True)
    name: String = String()


class OfferInviterOut(Straight):
    email: String = String(allow_none=True)


class OfferOut(Straight):
    """What the invitee may see: no ids but the tenant's."""

    email: String = String(attribute="invitation.email")
    role: String = String(attribute="invitation.role")
    status: String = String(attribute="invitation.status")
    tenant: Nested = Nested(TenantOut)
    invited_by: Nested = Nested(OfferInviterOut, attribute="invitation.invited_by", allow_none=True)
    message: String = String(attribute="invitation.message", allow_none=True)
    expires_at: Moment = Moment(attribute="invitation.expires_at")
    account_exists: Boolean = Boolean()
    #: What accept would answer to whoever is signed in, or nobody.
    obstacle: Nested = Nested(ObstacleOut, allow_none=True)


class AcceptedUserOut(Straight):
    id: HostKey = HostKey()
    email: String = String()
    role: String = String()
    tenant_id: HostKey = HostKey(allow_none=True)


class AcceptedInvitationOut(Straight):
    """What the invitee may see of the invitation that they accepted: nothing that was meant for managers."""

    id: UUID = UUID()
    email: String = String(allow_none=True)
    role: String = String()
    status: String = String(validate=validate.OneOf(list(Status)))
    tenant_id: HostKey = HostKey(allow_none=True)
    accepted_at: Moment = Moment(allow_none=True)


class AcceptanceOut(Straight):
    user: Nested = Nested(AcceptedUserOut)
    invitation: Nested = Nested(AcceptedInvitationOut)


class AcceptanceWithMoreOut(AcceptanceOut):
    #: Whatever the host's ``on_accepted`` returned.
    session: Dict = Dict()
    #: Where the host's ``accepted_url`` leads.
    next: String = String()


class ProblemOut(Schema):
    """RFC 9457."""

    type: fields.String = fields.String(required=True)
    title: fields.String = fields.String(required=True)
    status: fields.Integer = fields.Integer(required=True)
    detail: fields.String = fields.String(required=True)
    code: fields.String = fields.String(required=True)
    errors: fields.Dict = fields.Dict()
    invitation_id: fields.UUID = fields.UUID(allow_none=True)


class ExplanationOut(Schema):
    allowed: fields.Boolean = fields.Boolean()
    approval: fields.Boolean = fields.Boolean()
    reasons: fields.List[Any] = fields.List(fields.Nested(ProblemOut))


class BulkInviteResultOut(Schema):
    index: fields.Integer = fields.Integer()
    email: fields.String = fields.String(allow_none=True)
    outcome: fields.String = fields.String(validate=validate.OneOf(["created", "requested", "refused"]))
    #: Left out in a dry run, and where it was refused.
    invitation: fields.Nested = fields.Nested(InvitationWithLinkOut)
    error: fields.Nested = fields.Nested(ProblemOut)


class BulkInviteOut(Schema):
    results: fields.List[Any] = fields.List(fields.Nested(BulkInviteResultOut))
    created: fields.Integer = fields.Integer()
    requested: fields.Integer = fields.Integer()
    refused: fields.Integer = fields.Integer()
    plan: fields.String = fields.String()


class BulkChangeResultOut(Schema):
    index: fields.Integer = fields.Integer()
    id: fields.String = fields.String()
    outcome: fields.String = fields.String(validate=validate.OneOf(["done", "refused"]))
    error: fields.Nested = fields.Nested(ProblemOut)


class BulkChangeOut(Schema):
    results: fields.List[Any] = fields.List(fields.Nested(BulkChangeResultOut))
    done: fields.Integer = fields.Integer()
    refused: fields.Integer = fields.Integer()


# Each made once: to make one costs more than to dump with it.
INVITATION, INVITATION_WITH_LINK, PAGE, EVENTS = InvitationOut(), InvitationWithLinkOut(), PageOut(), EventsOut()
DETAILS = InvitationDetailsOut()
OFFER, ACCEPTANCE = OfferOut(), AcceptanceWithMoreOut()


def dump_invitation(invitation: InvitationInfo) -> dict[str, Any]:
    """An invitation as JSON; with its link only where somebody asked to see it."""
    shape = INVITATION if invitation.accept_url is None else INVITATION_WITH_LINK
    dumped: dict[str, Any] = shape.dump(invitation)
    return dumped


def dump_explanation(explanation: Explanation) -> dict[str, Any]:
    """An explanation as JSON."""
    problems = [refusal.problem() for refusal in explanation.reasons]
    return {"allowed": explanation.allowed, "approval": explanation.approval, "reasons": problems}


def dump_bulk_invite(bulk: BulkInvite) -> dict[str, Any]:
    """Many verdicts as JSON."""
    counts = {name: getattr(bulk, name) for name in ("created", "requested", "refused", "plan")}
    return {"results": [_bulk_invite_result(each) for each in bulk.results], **counts}


def _bulk_invite_result(result: BulkInviteResult) -> dict[str, Any]:
    dumped: dict[str, Any] = {"index": result.index, "email": result.email, "outcome": result.outcome}
    if result.invitation is not None:
        dumped["invitation"] = dump_invitation(result.invitation)
    return dumped if result.error is None else {**dumped, "error": result.error.problem()}


def dump_bulk_change(bulk: BulkChange) -> dict[str, Any]:
    """The same of many that were to be changed."""
    results = [
        {"index": each.index, "id": each.id, "outcome": each.outcome}
        | ({} if each.error is None else {"error": each.error.problem()})
        for each in bulk.results
    ]
    return {"results": results, "done": bulk.done, "refused": bulk.refused}


def dump_details(invitation: InvitationInfo) -> dict[str, Any]:
    """One invitation as JSON, with its obstacle."""
    dumped: dict[str, Any] = DETAILS.dump(invitation)
    return dumped


def dump_acceptance(acceptance: Acceptance) -> dict[str, Any]:
    """An acceptance as JSON; with ``session`` and ``next`` only where ``on_accepted`` and ``accepted_url`` gave one."""
    dumped: dict[str, Any] = ACCEPTANCE.dump(acceptance)
    return {name: value for name, value in dumped.items() if value is not None}
