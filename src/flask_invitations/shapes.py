"""The shapes of what comes in: marshmallow, without queries and without policy."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import datetime, timedelta
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate

from .addresses import InvalidAddress, parse
from .clock import as_utc
from .config import MAX_TTL, MIN_TTL, Config
from .errors import ConfigurationError, InvalidRequest, InvitationNotFound
from .model.states import Status
from .model.values import InvitationInfo
from .tokens import revealed, sealed

MAX_MESSAGE, MAX_REASON, MAX_DETAILS = 1000, 500, 4096
#: Never taken from the invitee: they come from the invitation's row alone (A3).
RESERVED = frozenset({"token", "password", "email", "email_key", "role", "tenant_id", "id"})


class Body(Schema):
    """A JSON body: unknown fields are refused."""

    class Meta:
        unknown = RAISE


class EmailAddress(fields.String):
    """One email address; loads an :class:`~flask_invitations.addresses.Address`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return parse(super()._deserialize(value, attr, data, **kwargs))
        except InvalidAddress as error:
            raise ValidationError(str(error)) from error


class SecretText(fields.String):
    """Text that is nobody else's to see; loads a :class:`~flask_invitations.tokens.Secret`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return sealed(super()._deserialize(revealed(value), attr, data, **kwargs))


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
            raise ValidationError("This cursor is not valid. Start again without it.") from error


def cursor_after(invitation: InvitationInfo) -> str:
    """The cursor of the page that follows ``invitation``."""
    place = json.dumps([invitation.created_at.isoformat(), invitation.id.hex])
    return base64.urlsafe_b64encode(place.encode()).decode()


def our_id(given: uuid.UUID | str) -> uuid.UUID:
    """An id of ours; what cannot be one is answered like one that is nobody's.

    :raises InvitationNotFound: no id.
    """
    try:
        return given if isinstance(given, uuid.UUID) else uuid.UUID(hex=given)
    except (ValueError, AttributeError, TypeError):
        raise InvitationNotFound from None


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
            "mail": Flag(load_default=True),
            "confirm": Flag(load_default=False),
        },
        name="InviteBody",
    )
    instance: Schema = shape()
    return instance


def list_query(config: Config) -> Schema:
    """What ``GET /invitations`` takes; other parameters are refused."""
    shape: Any = Body.from_dict(
        {
            "status": fields.String(validate=validate.OneOf(list(Status), error="Must be one of: {choices}.")),
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


class ExplainQuery(Body):
    """What ``POST /invite`` takes in its query string."""

    explain: fields.Boolean = fields.Boolean(load_default=False)


class ResendBody(Body):
    rotate: Flag = Flag(load_default=True)
    confirm: Flag = Flag(load_default=False)
    expires_in: Seconds = Seconds(strict=True, allow_none=True, load_default=None)


class TokenBody(Body):
    token: SecretText = SecretText(required=True)


class DeclineBody(TokenBody):
    reason: fields.String = fields.String(
        allow_none=True, load_default=None, validate=[validate.Length(max=MAX_REASON), _no_nul]
    )


class AcceptBody(TokenBody):
    """``token`` and ``password``; what else came is the profile, loaded later against the host's schema."""

    class Meta:
        unknown = EXCLUDE

    password: SecretText = SecretText(allow_none=True, load_default=None)


# Each made once: to make one costs more than to load a body with it.
RESEND, TOKEN, DECLINE, ACCEPT = ResendBody(), TokenBody(), DeclineBody(), AcceptBody()
EXPLAIN = ExplainQuery()


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
    loaded = load(ACCEPT, given)
    profile = {name: value for name, value in given.items() if name not in ("token", "password")}
    unknown = sorted(profile.keys() - set(profile_fields))
    if unknown:
        raise InvalidRequest({name: ["Unknown field."] for name in unknown})
    return {**loaded, "profile": profile}


def profile_of(given: Any) -> Schema:
    """The host's ``profile_schema`` (class, instance or ``None``) as the one instance that the app uses.

    :raises ConfigurationError: no marshmallow schema, or one with a field that the invitation itself decides.
    """
    if given is None:
        return Schema()  # of no fields: whatever is given is refused (A3)
    schema = given() if isinstance(given, type) and issubclass(given, Schema) else given
    if not isinstance(schema, Schema):
        raise ConfigurationError("profile_schema must be a marshmallow Schema class or instance.")
    taken = sorted({*profile_names(schema), *schema.load_fields} & RESERVED)
    if taken:
        raise ConfigurationError(
            f"profile_schema may not have a field {taken[0]!r}, because the invitation decides it."
        )
    return schema


def profile_names(schema: Schema) -> tuple[str, ...]:
    """The names of a profile's fields, as they are sent."""
    return tuple(field.data_key or name for name, field in schema.load_fields.items())
