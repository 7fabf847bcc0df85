"""The shapes of what comes in: marshmallow, without queries and without policy."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from marshmallow import EXCLUDE, INCLUDE, RAISE, Schema, ValidationError, fields, missing, validate

from .addresses import InvalidAddress, parse
from .clock import as_utc
from .config import MAX_TTL, MIN_TTL, Config
from .errors import ConfigurationError, InvalidRequest, InvitationNotFound
from .gate import WrongAnswer
from .model.states import Status
from .tokens import revealed, sealed

MAX_MESSAGE, MAX_REASON, MAX_DETAILS, MAX_LEVELS = 1000, 500, 4096, 30
_MAX_DIGITS = 308
#: Never taken from the invitee: they come from the invitation's row alone (A3), or are filled by us.
RESERVED = frozenset({"token", "password", "password_hash", "email", "email_key", "role", "tenant_id", "id"})
#: What else our forms send.
SENT = frozenset({"username", "reason", "never_again", "report", "seal", "csrf_token"})


def check_text(value: Any, depth: int) -> None:
    """Refuse what no database, email or page can hold, in text and in whatever JSON is made of.

    :param depth: how many objects and lists may stand in one another.
    :raises ValueError: NUL, half of a surrogate pair, or deeper nesting.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("NUL")
        value.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, a ValueError
    elif isinstance(value, (dict, list, tuple)):
        if depth == 0:
            raise ValueError("such nesting")
        for each in (*value, *value.values()) if isinstance(value, dict) else value:
            check_text(each, depth - 1)


def whole(digits: str) -> int:
    """A whole number of JSON's.

    :raises ValueError: to whoever reads numbers as floats it would be infinite, and so it is to some databases.
    """
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number beyond range")
    return int(digits)


class Body(Schema):
    """A JSON body: unknown fields are refused."""

    class Meta:
        unknown = RAISE


class Text(fields.String):
    """Text, and nothing that could be read as such."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        try:
            check_text(value, 0)
        except ValueError as error:
            raise ValidationError("Leave out NUL characters and halves of surrogate pairs.") from error
        return value


class EmailAddress(Text):
    """One email address; loads an :class:`~flask_invitations.addresses.Address`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return parse(super()._deserialize(value, attr, data, **kwargs))
        except InvalidAddress as error:
            raise ValidationError(str(error)) from error


class SecretText(Text):
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


class Limit(fields.Integer):
    """How many, 1 to 100: a whole number, or the text of one."""

    def __init__(self, default: int) -> None:
        super().__init__(load_default=default, validate=validate.Range(1, 100))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            raise self.make_error("invalid")
        return super()._deserialize(value, attr, data, **kwargs)


class Flag(fields.Boolean):
    """``true`` or ``false``: 1 is not taken for one of them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Cursor(Text):
    """An opaque place in a list. It carries no authority: the tenant filter stands beside it (K1)."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            at, last = json.loads(base64.urlsafe_b64decode(str(text)))
            return as_utc(datetime.fromisoformat(at)), uuid.UUID(last)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValidationError("This cursor is not valid. Start again without it.") from error


def cursor_at(moment: datetime, last: uuid.UUID) -> str:
    """The cursor of the page that follows whatever has this moment and this id."""
    place = json.dumps([moment.isoformat(), last.hex])
    return base64.urlsafe_b64encode(place.encode()).decode()


def our_id(given: uuid.UUID | str) -> uuid.UUID:
    """An id of ours; what cannot be one is answered like one that is nobody's.

    :raises InvitationNotFound: no id.
    """
    try:
        return given if isinstance(given, uuid.UUID) else uuid.UUID(hex=given)
    except (ValueError, AttributeError, TypeError):
        raise InvitationNotFound from None


class Details(fields.Dict):
    """An object of JSON, small and not deep, as it will be read again; from Python it may be made of anything."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        try:
            check_text(value, MAX_LEVELS)
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
            read = json.loads(text, parse_int=whole)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValidationError("Must be an object of plain JSON values, at most 30 levels deep.") from error
        if len(text.encode()) > MAX_DETAILS:
            raise ValidationError("Must be at most 4 KiB of JSON.")
        return read


def _message(value: str) -> None:
    if not value.strip():
        raise ValidationError("Leave it out rather than sending it empty.")


def _known_role(config: Config) -> validate.OneOf:
    return validate.OneOf(config.roles, error="Must be one of: {choices}.")


_LANGUAGE_TAG = validate.Regexp(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}\Z", error="Must be a BCP 47 language tag.")


def invite_body(config: Config) -> Schema:
    """What ``POST /invite`` takes."""
    message: list[Any] = [validate.Length(max=MAX_MESSAGE), _message]
    shape: Any = Body.from_dict(
        {
            "email": EmailAddress(required=True),
            "role": Text(allow_none=True, load_default=None, validate=_known_role(config)),
            "message": Text(allow_none=True, load_default=None, validate=message),
            "details": Details(keys=fields.String(), allow_none=True, load_default=None),
            "expires_in": Seconds(strict=True, allow_none=True, load_default=None),
            "locale": Text(allow_none=True, load_default=None, validate=[validate.Length(max=35), _LANGUAGE_TAG]),
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
            "status": Text(validate=validate.OneOf(list(Status), error="Must be one of: {choices}.")),
            "role": Text(validate=_known_role(config)),
            "email": EmailAddress(),
            "q": Text(validate=validate.Length(1, 254)),
            "limit": Limit(20),
            "cursor": Cursor(),
        },
        name="ListQuery",
    )
    instance: Schema = shape()
    return instance


class EventsQuery(Body):
    """What ``GET /invitations/<id>/events`` takes."""

    error_messages: dict[str, str] = {"unknown": "Unknown parameter."}  # noqa: RUF012 - marshmallow declares it so

    limit: Limit = Limit(100)
    cursor: Cursor = Cursor()


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
    reason: Text = Text(allow_none=True, load_default=None, validate=validate.Length(max=MAX_REASON))
    never_again: Flag = Flag(load_default=False)
    report: Flag = Flag(load_default=False)


class AcceptBody(TokenBody):
    """``token`` and ``password``; what else came is the profile, loaded later against the host's schema."""

    class Meta:
        unknown = EXCLUDE

    password: SecretText = SecretText(allow_none=True, load_default=None)


# Each made once: to make one costs more than to load a body with it.
NOTHING, RESEND, TOKEN, DECLINE, ACCEPT = Body(), ResendBody(), TokenBody(), DeclineBody(), AcceptBody()
EXPLAIN, EVENTS = ExplainQuery(), EventsQuery()


def load(schema: Schema, given: Any, **how: Any) -> dict[str, Any]:
    """``given`` as ``schema`` reads it.

    :param how: arguments of the schema's own ``load``.
    :raises InvalidRequest: with what is wrong, field by field.
    """
    try:
        loaded: dict[str, Any] = schema.load(given, **how)
    except ValidationError as error:
        complaints: Any = error.messages
        raise InvalidRequest(complaints) from error
    return loaded


def check_typed(password: object, profile: object) -> None:
    """Refuse from Python what nobody could have typed: over HTTP it does not get this far.

    :raises InvalidRequest: a password that is no text, a profile that is no mapping, or text that is none in either.
    """
    kinds: dict[str, tuple[object, type[Any]]] = {"password": (password, str), "profile": (profile, Mapping)}
    wrong = [name for name, (given, kind) in kinds.items() if given is not None and not _could_be_typed(given, kind)]
    if wrong:
        raise InvalidRequest({name: ["Not a valid value."] for name in wrong})


def _could_be_typed(given: object, kind: type[Any]) -> bool:
    try:
        check_text(dict(given) if isinstance(given, Mapping) else given, MAX_LEVELS)
    except ValueError:
        return False
    return isinstance(given, kind)


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


def profile_of(given: Any, *, in_forms: bool) -> Schema:
    """The host's ``profile_schema`` (class, instance or ``None``) as the one instance that the app uses.

    :param in_forms: our pages ask for its fields.
    :raises ConfigurationError: no marshmallow schema, one with a field that is ours, or one that gives no mapping.
    """
    if given is None:
        return Schema()  # of no fields: whatever is given is refused (A3)
    schema = given() if isinstance(given, type) and issubclass(given, Schema) else given
    if not isinstance(schema, Schema):
        raise ConfigurationError("profile_schema must be a marshmallow Schema class or instance.")
    _check_names(schema, SENT if in_forms else frozenset())
    if schema.many:
        raise ConfigurationError("profile_schema reads a list (many=True). Pass a schema of one profile.")
    if schema.unknown == INCLUDE:
        raise ConfigurationError("profile_schema takes every field (unknown=INCLUDE). Leave it at RAISE.")
    sample = _sample(schema)
    if sample is not missing and not isinstance(sample, Mapping):
        raise ConfigurationError(
            "profile_schema loads an object. Have it load a mapping (no load_instance, no post_load that makes one), "
            "because create_user gets the fields."
        )
    return schema


def _check_names(schema: Schema, in_forms: frozenset[str]) -> None:
    """:param in_forms: what our forms send.
    :raises ConfigurationError: a field is sent, or loaded, under a name of ours.
    """
    for name, field in schema.load_fields.items():
        sent, loaded = field.data_key or name, field.attribute or name
        if {name, sent, loaded} & RESERVED:
            raise ConfigurationError(
                f"profile_schema may not have a field {name!r}, because the invitation decides it. Leave it out."
            )
        if sent in in_forms:
            raise ConfigurationError(
                f"profile_schema may not have a field {sent!r}, because our forms send one. Give it another data_key."
            )


def _sample(schema: Schema) -> Any:
    """What ``post_load`` makes of a text for each field: tried, since nothing else tells. ``missing``: it cannot do
    with that, and is looked at when there is more, in :func:`load_profile`."""
    loaded: Any = {field.attribute or name: "" for name, field in schema.load_fields.items()}
    for hook, *_ in getattr(schema, "_hooks", {}).get("post_load", ()):
        try:
            loaded = getattr(schema, hook)(loaded, many=False, partial=None, unknown=None)
        except Exception:
            return missing
    return loaded


def profile_keys(schema: Schema) -> Mapping[str, bool] | None:
    """What a loaded profile has, and whether that is always there; ``None``: nobody can tell."""
    loaded = _sample(schema)
    if loaded is missing:
        return None
    known = {field.attribute or name: field for name, field in schema.load_fields.items()}
    always = {
        name: not schema.partial
        and (name not in known or known[name].required or known[name].load_default is not missing)
        for name in loaded
    }
    return {name.partition(".")[0]: there for name, there in always.items()}


def load_profile(schema: Schema, typed: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the invitee typed as ``create_user`` gets it.

    :raises InvalidRequest: with what is wrong, field by field.
    :raises WrongAnswer: the schema loads no mapping, or fills what the invitation decides.
    """
    loaded: Any = load(schema, dict(typed))
    if not isinstance(loaded, Mapping):
        raise WrongAnswer(f"profile_schema loaded {type(loaded).__name__}. Have it load a mapping.")
    taken = sorted(RESERVED & loaded.keys())
    if taken:
        raise WrongAnswer(f"profile_schema loaded {taken[0]!r}, which the invitation decides. Leave it out.")
    return loaded


def profile_names(schema: Schema) -> tuple[str, ...]:
    """The names of a profile's fields, as they are sent."""
    return tuple(field.data_key or name for name, field in schema.load_fields.items())
