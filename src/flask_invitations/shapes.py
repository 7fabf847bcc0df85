"""The shapes of what comes in and goes out: marshmallow, without queries and without policy."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate

from .acts import Acceptance
from .addresses import InvalidAddress, parse
from .clock import as_utc
from .config import MAX_TTL, MIN_TTL, Config
from .errors import ConfigurationError, InvalidRequest
from .model.states import DeliveryState, Status
from .model.values import InvitationInfo

MAX_MESSAGE, MAX_REASON, MAX_DETAILS = 1000, 500, 4096
#: Never taken from the invitee: they come from the invitation's row alone (A3).
RESERVED = frozenset({"token", "password", "email", "email_key", "role", "tenant_id", "id"})


class Body(Schema):
    """A JSON body: unknown fields are refused."""

    class Meta:
        unknown = RAISE


class EmailAddress(fields.String):
    """One e-mail address; loads an :class:`~flask_invitations.addresses.Address`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return parse(super()._deserialize(value, attr, data, **kwargs))
        except InvalidAddress as error:
            raise ValidationError(str(error)) from error


class Seconds(fields.Integer):
    """Whole seconds; loads a ``timedelta``."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool):
            raise self.make_error("invalid")
        seconds: Any = super()._deserialize(value, attr, data, **kwargs)
        if not MIN_TTL.total_seconds() <= seconds <= MAX_TTL.total_seconds():
            raise ValidationError("Must be between 3600 (1 hour) and 2592000 (30 days) seconds.")
        return timedelta(seconds=seconds)


class Flag(fields.Boolean):
    """``true`` or ``false``: 1 is not taken for one of them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Cursor(fields.String):
    """An opaque place in a list. It carries no authority: the tenant filter stands beside it (K1)."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            at, last = json.loads(base64.urlsafe_b64decode(str(text)))
            return as_utc(datetime.fromisoformat(at)), uuid.UUID(last)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValidationError("This cursor is not one of ours: start again without it.") from error


def cursor_after(invitation: InvitationInfo) -> str:
    """The cursor of the page that follows ``invitation``."""
    place = json.dumps([invitation.created_at.isoformat(), invitation.id.hex])
    return base64.urlsafe_b64encode(place.encode()).decode()


class Moment(fields.DateTime):
    """A time as RFC 3339, in UTC, ending in ``Z``."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


class HostKey(fields.Field):  # type: ignore[type-arg,unused-ignore]  # generic in marshmallow 4 only
    """A primary key of the host's: an integer stays one, everything else is text."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return value if value is None or isinstance(value, int) else str(value)


def _small_object(value: Any) -> None:
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as error:  # only from Python: over HTTP it was JSON
        raise ValidationError("Must be an object of plain JSON values.") from error
    if size > MAX_DETAILS:
        raise ValidationError("Must be at most 4 KiB of JSON.")


def _message(value: str) -> None:
    if not value.strip():
        raise ValidationError("Leave it out rather than sending it empty.")


def _no_nul(value: str) -> None:
    """Databases refuse it; in a JSON body it does not get this far."""
    if "\0" in value:
        raise ValidationError("Leave out the NUL character.")


def _known_role(config: Config) -> validate.OneOf:
    return validate.OneOf(config.roles, error="Must be one of: {choices}.")


_LANGUAGE_TAG = validate.Regexp(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}\Z", error="Must be a BCP 47 language tag.")


def invite_body(config: Config) -> Schema:
    """What ``POST /invite`` takes."""
    message: list[Any] = [validate.Length(max=MAX_MESSAGE), _no_nul, _message]
    shape: Any = Body.from_dict(
        {
            "email": EmailAddress(required=True),
            "role": fields.String(allow_none=True, load_default=None, validate=_known_role(config)),
            "message": fields.String(allow_none=True, load_default=None, validate=message),
            "details": fields.Dict(keys=fields.String(), allow_none=True, load_default=None, validate=_small_object),
            "expires_in": Seconds(strict=True, allow_none=True, load_default=None),
            "locale": fields.String(
                allow_none=True, load_default=None, validate=[validate.Length(max=35), _LANGUAGE_TAG]
            ),
        },
        name="InviteBody",
    )
    instance: Schema = shape()
    return instance


def list_query(config: Config) -> Schema:
    """What ``GET /invitations`` takes; other parameters are passed over."""

    class Query(Schema):
        class Meta:
            unknown = EXCLUDE

    shape: Any = Query.from_dict(
        {
            "status": fields.String(validate=validate.OneOf(Status.ALL, error="Must be one of: {choices}.")),
            "role": fields.String(validate=_known_role(config)),
            "email": EmailAddress(),
            "q": fields.String(validate=[validate.Length(1, 254), _no_nul]),
            "limit": fields.Integer(load_default=20, validate=validate.Range(1, 100)),
            "cursor": Cursor(),
        },
        name="ListQuery",
    )
    instance: Schema = shape()
    return instance


class ResendBody(Body):
    rotate = Flag(load_default=True)
    confirm = Flag(load_default=False)


class TokenBody(Body):
    token = fields.String(required=True)


class DeclineBody(TokenBody):
    reason = fields.String(allow_none=True, load_default=None, validate=[validate.Length(max=MAX_REASON), _no_nul])


class AcceptBody(TokenBody):
    """``token`` and ``password``; what else came is the profile, loaded later against the host's schema."""

    class Meta:
        unknown = EXCLUDE

    password = fields.String(allow_none=True, load_default=None)


def load(schema: Schema, given: Any) -> dict[str, Any]:
    """``given`` as ``schema`` reads it.

    :raises InvalidRequest: with what is wrong, field by field.
    """
    try:
        loaded: dict[str, Any] = schema.load(given)
    except ValidationError as error:
        complaints: Any = error.messages
        raise InvalidRequest(complaints) from error
    return loaded


def load_accept(given: Any, profile_fields: tuple[str, ...]) -> dict[str, Any]:
    """Token, password, and under ``profile`` the host's own fields, not yet read.

    :raises InvalidRequest: wrong shape, or a field that neither we nor the host know.
    """
    loaded = load(AcceptBody(), given)
    profile = {name: value for name, value in given.items() if name not in ("token", "password")}
    unknown = sorted(profile.keys() - set(profile_fields))
    if unknown:
        raise InvalidRequest({name: ["Unknown field."] for name in unknown})
    return {**loaded, "profile": profile}


def profile_loader(
    schema: Any,
) -> tuple[Callable[[Mapping[str, Any]], Mapping[str, Any]], tuple[str, ...]]:
    """How the host's ``profile_schema`` (class, instance or ``None``) is read, and the names of its fields.

    :raises ConfigurationError: no marshmallow schema, or one with a field that the invitation itself decides.
    """
    if schema is None:
        schema = Schema  # of no fields: whatever is given is refused (A3)
    instance = schema() if isinstance(schema, type) and issubclass(schema, Schema) else schema
    if not isinstance(instance, Schema):
        raise ConfigurationError("profile_schema must be a marshmallow Schema class or instance.")
    names = tuple(field.data_key or name for name, field in instance.load_fields.items())
    taken = sorted((set(names) | set(instance.load_fields)) & RESERVED)
    if taken:
        raise ConfigurationError(f"profile_schema may not have a field {taken[0]!r}: the invitation decides it.")

    def read(given: Mapping[str, Any]) -> Mapping[str, Any]:
        return load(instance, dict(given))

    return read, names


class InviterOut(Schema):
    id = HostKey()
    email = fields.String(allow_none=True)


class DeliveryOut(Schema):
    state = fields.String(validate=validate.OneOf(DeliveryState.ALL))
    attempts = fields.Integer()
    last_attempt_at = Moment(allow_none=True)
    sent_at = Moment(allow_none=True)
    error = fields.String(allow_none=True)


class InvitationOut(Schema):
    """An invitation. No token, hash or nonce; ``accept_url`` only where the setting RETURN_LINK asks for it."""

    id = fields.UUID()
    email = fields.String(allow_none=True)
    role = fields.String()
    status = fields.String(validate=validate.OneOf(Status.ALL))
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


class AcceptedUserOut(Schema):
    id = HostKey()
    email = fields.String()
    role = fields.String()
    tenant_id = HostKey(allow_none=True)


class AcceptanceOut(Schema):
    user = fields.Nested(AcceptedUserOut)
    invitation = fields.Nested(InvitationOut)


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


def dump_acceptance(acceptance: Acceptance) -> dict[str, Any]:
    """An acceptance as JSON; with ``session`` only where ``on_accepted`` returned one."""
    shape = AcceptanceOut() if acceptance.session is None else AcceptanceWithSessionOut()
    dumped: dict[str, Any] = shape.dump(acceptance)
    return dumped
