"""The OpenAPI 3.1 document, made from the table of calls; apispec is imported when it is asked for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from marshmallow import Schema, fields

from ..config import Config
from ..current import State
from ..errors import (
    IdempotencyInProgress,
    IdempotencyMismatch,
    InvitationError,
    OpenAPIUnavailable,
    RateLimited,
    TryAgain,
)
from ..shapes import ACCEPT, Body
from .answers import HostKey, ProblemOut
from .once import KEY, PATTERN, REPLAYED

_KEY = {
    "in": "header",
    "name": KEY,
    "description": "For a call that may have to be repeated: within 24 hours the same key gets the same answer again.",
    "schema": {"type": "string", "pattern": PATTERN},
}
_KEY_REFUSALS = (IdempotencyInProgress, IdempotencyMismatch)
_REPLAYED = {"description": "This is the answer to an earlier call.", "schema": {"type": "string", "const": "true"}}

#: The one security scheme: an invitee may do without.
_SIGN_IN = "signIn"
_LOCATION = {"description": "The address of the invitation.", "schema": {"type": "string", "format": "uri-reference"}}
_SECONDS = {"description": "Seconds to wait before the same call.", "schema": {"type": "integer", "minimum": 1}}


@dataclass(frozen=True)
class Call:
    """One endpoint of the API.

    :param rule: as Flask writes it, below the API's prefix.
    :param public: anybody may call it; else a manager.
    :param has_rows: its body has many rows, and may be long.
    :param also: another status of success, with ``also_answer`` or else the same answer.
    :param refusals: everything it may answer instead.
    :param idempotent: takes an ``Idempotency-Key``.
    :param makes: what it makes has an address, which comes along.
    """

    name: str
    method: str
    rule: str
    summary: str
    public: bool
    status: int
    refusals: tuple[type[InvitationError], ...]
    answer: type[Schema] | None = None
    body: Callable[[State], Schema] | None = None
    query: Callable[[State], Schema] | None = None
    body_is_optional: bool = False
    has_rows: bool = False
    also: int | None = None
    also_answer: type[Schema] | None = None
    idempotent: bool = False
    makes: bool = False


def document(state: State, calls: Iterable[Call]) -> dict[str, Any]:
    """Describe ``calls`` as OpenAPI 3.1.

    :raises OpenAPIUnavailable: apispec is not installed (extra ``openapi``).
    """
    try:
        from apispec import APISpec
        from apispec.ext.marshmallow import MarshmallowPlugin
    except ImportError as error:
        raise OpenAPIUnavailable from error
    config, plugin = state.ctx.config, MarshmallowPlugin(schema_name_resolver=_name)
    spec = APISpec(
        title=f"{config.app_name}: invitations",
        version="1",
        openapi_version="3.1.0",
        plugins=[plugin],
        servers=[{"url": config.api_prefix}],
        info={"description": "Invite people by email. They accept through the link in the email."},
    )
    spec.components.security_scheme(_SIGN_IN, _sign_in(config))
    converter: Any = plugin.converter
    converter.add_attribute_function(_host_key)
    for call in calls:
        spec.path(
            path=re.sub(r"<(\w+)>", r"{\1}", call.rule), operations={call.method.lower(): _operation(state, call)}
        )
    described: dict[str, Any] = spec.to_dict()
    return described


def _sign_in(config: Config) -> dict[str, Any]:
    """How people are signed in is the app's own: most have a session, and nothing tells us of another way."""
    return {
        "type": "apiKey",
        "in": "cookie",
        "name": config.session_cookie,
        "description": "The sign-in of the app. If that is no session cookie, send what the app asks for instead.",
    }


def accept_body(state: State) -> Schema:
    """The accept body with the host's profile fields in it, and what our pages know of the password."""
    config = state.ctx.config
    lengths = {"minLength": config.password_min_length, "maxLength": config.password_max_length}
    password = fields.String(load_default=None, allow_none=True, metadata={**lengths, "writeOnly": True})
    own = {**ACCEPT.fields, "password": password, **state.profile_schema.load_fields}
    shape: Any = Body.from_dict(own, name="AcceptBody")
    instance: Schema = shape()
    return instance


def _operation(state: State, call: Call) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"in": "path", "name": name, "required": True, "schema": {"type": "string", "format": "uuid"}}
        for name in re.findall(r"<(\w+)>", call.rule)
    ]
    if call.query is not None:
        parameters.append({"in": "query", "schema": call.query(state)})
    if call.idempotent:
        parameters.append(_KEY)
    refusals = (*call.refusals, *(_KEY_REFUSALS if call.idempotent else ()))
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "tags": ["invitee" if call.public else "manager"],
        "security": [*([{}] if call.public else []), {_SIGN_IN: []}],
        "parameters": parameters,
        "responses": {**_successes(call), **_refusals(refusals)},
    }
    if call.body is not None:
        content = {"application/json": {"schema": call.body(state)}}
        operation["requestBody"] = {"required": not call.body_is_optional, "content": content}
    return operation


def _successes(call: Call) -> dict[str, Any]:
    return {str(status): _success(call, status) for status in (call.status, call.also) if status is not None}


def _success(call: Call, status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if status != HTTPStatus.NO_CONTENT:
        shape = call.also_answer if status == call.also and call.also_answer is not None else call.answer
        answer["content"] = {"application/json": {"schema": shape or {"type": "object"}}}
    headers = {REPLAYED: _REPLAYED} if call.idempotent else {}
    if call.makes and status == HTTPStatus.CREATED:
        headers["Location"] = _LOCATION
    return {**answer, "headers": headers} if headers else answer


def _refusals(refusals: Sequence[type[InvitationError]]) -> dict[str, Any]:
    codes: dict[int, set[str]] = defaultdict(set)
    for refusal in refusals:
        codes[refusal.status].add(refusal.code)
    content = {"application/problem+json": {"schema": ProblemOut}}
    described = {
        str(status): {"description": "code: " + ", ".join(sorted(names)), "content": content}
        for status, names in sorted(codes.items())
    }
    for later in {RateLimited, TryAgain, IdempotencyInProgress}.intersection(refusals):
        described[str(later.status)]["headers"] = {"Retry-After": _SECONDS}
    return described


def _name(schema: Any) -> str:
    """The component's name: that of its class."""
    return schema.__name__ if isinstance(schema, type) else type(schema).__name__


def _host_key(self: Any, field: Any, **kwargs: Any) -> dict[str, Any]:
    """A key of the host's is a number or text."""
    if not isinstance(field, HostKey):
        return {}
    return {"type": ["integer", "string", "null"] if field.allow_none else ["integer", "string"]}
