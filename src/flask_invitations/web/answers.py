"""The shapes of what goes out as JSON."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from marshmallow import Schema, fields, validate

from ..acts import Acceptance
from ..model.states import DeliveryState, Status
from ..model.values import InvitationInfo


class Moment(fields.DateTime):
    """A time as RFC 3339, in UTC, ending in ``Z``."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


class HostKey(fields.Raw):
    """A primary key of the host's: an integer stays one, everything else is text."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return value if value is None or isinstance(value, int) else str(value)


class InviterOut(Schema):
    id: HostKey = HostKey()
    email: fields.String = fields.String(allow_none=True)


class DeliveryOut(Schema):
    state: fields.String = fields.String(validate=validate.OneOf(DeliveryState.ALL))
    attempts: fields.Integer = fields.Integer()
    last_attempt_at: Moment = Moment(allow_none=True)
    sent_at: Moment = Moment(allow_none=True)
    error: fields.String = fields.String(allow_none=True)


class InvitationOut(Schema):
    """An invitation. No token, hash or nonce; ``accept_url`` only where the setting RETURN_LINK asks for it."""

    id: fields.UUID = fields.UUID()
    email: fields.String = fields.String(allow_none=True)
    role: fields.String = fields.String()
    status: fields.String = fields.String(validate=validate.OneOf(Status.ALL))
    tenant_id: HostKey = HostKey(allow_none=True)
    message: fields.String = fields.String(allow_none=True)
    details: fields.Dict = fields.Dict(allow_none=True)
    locale: fields.String = fields.String(allow_none=True)
    invited_by: fields.Nested = fields.Nested(InviterOut, allow_none=True)
    expires_at: Moment = Moment()
    created_at: Moment = Moment()
    updated_at: Moment = Moment()
    accepted_at: Moment = Moment(allow_none=True)
    accepted_by_id: HostKey = HostKey(allow_none=True)
    delivery: fields.Nested = fields.Nested(DeliveryOut, allow_none=True)


class InvitationWithLinkOut(InvitationOut):
    accept_url: fields.String = fields.String()


class PageOut(Schema):
    items: fields.List[Any] = fields.List(fields.Nested(InvitationOut))
    next_cursor: fields.String = fields.String(allow_none=True)


class EventOut(Schema):
    id: fields.UUID = fields.UUID()
    type: fields.String = fields.String()
    at: Moment = Moment()
    actor_id: HostKey = HostKey(allow_none=True)
    remote_addr: fields.String = fields.String(allow_none=True)
    user_agent: fields.String = fields.String(allow_none=True)
    details: fields.Dict = fields.Dict(allow_none=True)


class EventsOut(Schema):
    items: fields.List[Any] = fields.List(fields.Nested(EventOut))


class TenantOut(Schema):
    id: HostKey = HostKey(allow_none=True)
    name: fields.String = fields.String()


class OfferInviterOut(Schema):
    email: fields.String = fields.String(allow_none=True)


class OfferOut(Schema):
    """What the invitee may see: no ids but the tenant's."""

    email: fields.String = fields.String(attribute="invitation.email")
    role: fields.String = fields.String(attribute="invitation.role")
    status: fields.String = fields.String(attribute="invitation.status")
    tenant: fields.Nested = fields.Nested(TenantOut)
    invited_by: fields.Nested = fields.Nested(OfferInviterOut, attribute="invitation.invited_by", allow_none=True)
    message: fields.String = fields.String(attribute="invitation.message", allow_none=True)
    expires_at: Moment = Moment(attribute="invitation.expires_at")
    account_exists: fields.Boolean = fields.Boolean()


class AcceptedUserOut(Schema):
    id: HostKey = HostKey()
    email: fields.String = fields.String()
    role: fields.String = fields.String()
    tenant_id: HostKey = HostKey(allow_none=True)


class AcceptanceOut(Schema):
    user: fields.Nested = fields.Nested(AcceptedUserOut)
    invitation: fields.Nested = fields.Nested(InvitationOut)


class AcceptanceWithSessionOut(AcceptanceOut):
    #: Whatever the host's ``on_accepted`` returned.
    session: fields.Dict = fields.Dict()


class ProblemOut(Schema):
    """RFC 9457."""

    type: fields.String = fields.String(required=True)
    title: fields.String = fields.String(required=True)
    status: fields.Integer = fields.Integer(required=True)
    detail: fields.String = fields.String(required=True)
    code: fields.String = fields.String(required=True)
    errors: fields.Dict = fields.Dict()
    invitation_id: fields.UUID = fields.UUID()


def dump_invitation(invitation: InvitationInfo) -> dict[str, Any]:
    """An invitation as JSON; with its link only where somebody asked to see it."""
    shape = InvitationOut() if invitation.accept_url is None else InvitationWithLinkOut()
    dumped: dict[str, Any] = shape.dump(invitation)
    return dumped


def dump_acceptance(acceptance: Acceptance) -> dict[str, Any]:
    """An acceptance as JSON; with ``session`` only where ``on_accepted`` returned one."""
    shape = AcceptanceOut() if acceptance.session is None else AcceptanceWithSessionOut()
    dumped: dict[str, Any] = shape.dump(acceptance)
    return dumped
