"""The shapes of what goes out as JSON."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from marshmallow import Schema, fields, validate

from ..acts import Acceptance, Explanation
from ..model.states import DeliveryState, Status
from ..model.values import InvitationInfo


class Moment(fields.DateTime):
    """A time as RFC 3339, in UTC, ending in ``Z``."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


class HostKey(fields.Field):  # type: ignore[type-arg,unused-ignore]  # generic in marshmallow 4 only
    """A primary key of the host's: an integer stays one, everything else is text."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return value if value is None or isinstance(value, int) else str(value)


class InviterOut(Schema):
    id = HostKey()
    email = fields.String(allow_none=True)


class DeliveryOut(Schema):
    state = fields.String(validate=validate.OneOf(list(DeliveryState)))
    attempts = fields.Integer()
    last_attempt_at = Moment(allow_none=True)
    sent_at = Moment(allow_none=True)
    error = fields.String(allow_none=True)


class InvitationOut(Schema):
    """An invitation. No token, hash or nonce; ``accept_url`` only where the setting RETURN_LINK asks for it."""

    id = fields.UUID()
    email = fields.String(allow_none=True)
    role = fields.String()
    status = fields.String(validate=validate.OneOf(list(Status)))
    tenant_id = HostKey(allow_none=True)
    message = fields.String(allow_none=True)
    details = fields.Dict(allow_none=True)
    locale = fields.String(allow_none=True)
    invited_by = fields.Nested(InviterOut, allow_none=True)
    expires_at = Moment()
    created_at = Moment()
    updated_at = Moment()
    accepted_at = Moment(allow_none=True)
    accepted_by_id = HostKey(allow_none=True)
    delivery = fields.Nested(DeliveryOut, allow_none=True)


class ObstacleOut(Schema):
    code = fields.String()
    detail = fields.String()


class InvitationDetailsOut(InvitationOut):
    """One invitation, with why it could not be accepted now."""

    obstacle = fields.Nested(ObstacleOut, allow_none=True)


class InvitationWithLinkOut(InvitationOut):
    accept_url = fields.String()


class PageOut(Schema):
    items = fields.List(fields.Nested(InvitationOut))
    next_cursor = fields.String(allow_none=True)


class EventOut(Schema):
    id = fields.UUID()
    type = fields.String()
    at = Moment()
    actor_id = HostKey(allow_none=True)
    remote_addr = fields.String(allow_none=True)
    user_agent = fields.String(allow_none=True)
    details = fields.Dict(allow_none=True)


class EventsOut(Schema):
    items = fields.List(fields.Nested(EventOut))


class TenantOut(Schema):
    id = HostKey(allow_none=True)
    name = fields.String()


class OfferInviterOut(Schema):
    email = fields.String(allow_none=True)


class OfferOut(Schema):
    """What the invitee may see: no ids but the tenant's."""

    email = fields.String(attribute="invitation.email")
    role = fields.String(attribute="invitation.role")
    status = fields.String(attribute="invitation.status")
    tenant = fields.Nested(TenantOut)
    invited_by = fields.Nested(OfferInviterOut, attribute="invitation.invited_by", allow_none=True)
    message = fields.String(attribute="invitation.message", allow_none=True)
    expires_at = Moment(attribute="invitation.expires_at")
    account_exists = fields.Boolean()
    #: What accept would answer to whoever is signed in, or nobody.
    obstacle = fields.Nested(ObstacleOut, allow_none=True)


class AcceptedUserOut(Schema):
    id = HostKey()
    email = fields.String()
    role = fields.String()
    tenant_id = HostKey(allow_none=True)


class AcceptedInvitationOut(Schema):
    """What the invitee may see of the invitation that they accepted: nothing that was meant for managers."""

    id = fields.UUID()
    email = fields.String(allow_none=True)
    role = fields.String()
    status = fields.String(validate=validate.OneOf(list(Status)))
    tenant_id = HostKey(allow_none=True)
    accepted_at = Moment(allow_none=True)


class AcceptanceOut(Schema):
    user = fields.Nested(AcceptedUserOut)
    invitation = fields.Nested(AcceptedInvitationOut)


class AcceptanceWithSessionOut(AcceptanceOut):
    #: Whatever the host's ``on_accepted`` returned.
    session = fields.Dict()


class ProblemOut(Schema):
    """RFC 9457."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    code = fields.String(required=True)
    errors = fields.Dict()
    invitation_id = fields.UUID()


def dump_invitation(invitation: InvitationInfo) -> dict[str, Any]:
    """An invitation as JSON; with its link only where somebody asked to see it."""
    shape = InvitationOut() if invitation.accept_url is None else InvitationWithLinkOut()
    dumped: dict[str, Any] = shape.dump(invitation)
    return dumped


class ExplanationOut(Schema):
    allowed = fields.Boolean()
    approval = fields.Boolean()
    reasons = fields.List(fields.Nested(ProblemOut))


def dump_explanation(explanation: Explanation) -> dict[str, Any]:
    """An explanation as JSON."""
    problems = [refusal.problem() for refusal in explanation.reasons]
    return {"allowed": explanation.allowed, "approval": explanation.approval, "reasons": problems}


def dump_details(invitation: InvitationInfo) -> dict[str, Any]:
    """One invitation as JSON, with its obstacle."""
    dumped: dict[str, Any] = InvitationDetailsOut().dump(invitation)
    return dumped


def dump_acceptance(acceptance: Acceptance) -> dict[str, Any]:
    """An acceptance as JSON; with ``session`` only where ``on_accepted`` returned one."""
    shape = AcceptanceOut() if acceptance.session is None else AcceptanceWithSessionOut()
    dumped: dict[str, Any] = shape.dump(acceptance)
    return dumped
