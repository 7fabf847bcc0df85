"""HTTP as such, for both faces: what a request may look like before it means anything, and what stands on every
answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from flask import Response, current_app, request

from ..current import get_state
from ..errors import BodyTooLarge, MalformedRequest, UnsupportedMediaType

#: Where templates and static files lie.
PACKAGE = "flask_invitations"
#: In octets.
MAX_BODY = 16 * 1024
MAX_DEPTH = 32
#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def read_json(*, optional: bool = False) -> Any:
    """The JSON body of the request.

    :raises BodyTooLarge, UnsupportedMediaType, MalformedRequest: it cannot be read as one.
    """
    raw = _body()
    if optional and not raw:
        return {}
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    return parse_json(raw)


def _body() -> bytes:
    length = request.content_length
    if length is not None and length > MAX_BODY:
        raise BodyTooLarge
    if length is not None:
        return request.get_data()
    raw = bytearray()
    while chunk := request.stream.read(MAX_BODY + 1 - len(raw)):  # a stream may give less than it was asked for
        raw += chunk
    if len(raw) > MAX_BODY:
        raise BodyTooLarge
    return bytes(raw)


def parse_json(raw: bytes) -> Any:
    """JSON as RFC 8259 has it: no NaN, no NUL (databases refuse it), no half surrogate, no bottomless nesting.

    :raises MalformedRequest: anything else.
    """
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
        _check_text(value, MAX_DEPTH)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest from error
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse("a number beyond range")
    return number


def _check_text(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            _refuse("NUL")
        value.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, a ValueError
    elif isinstance(value, (dict, list)):
        if depth == 0:
            _refuse("such nesting")
        for each in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_text(each, depth - 1)


def is_cross_site() -> bool:
    """Whether the browser says that another site makes this request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "cross-site"
    sender = request.headers.get("Origin")
    ours = (request.host_url, str(get_state().ctx.config.accept_origin))
    return sender is not None and urlsplit(sender).netloc not in [urlsplit(url).netloc for url in ours]


def exempt_from_csrf_protect(endpoint: str | None, values: Mapping[str, Any] | None) -> None:
    """Flask-WTF's form token is not for a JSON API, and over TLS it refuses every form that comes without a
    ``Referer``, which our pages never send: our own look at where a call comes from stands in its place.

    Registered as a URL value preprocessor, the first moment of a request of ours: the host may set Flask-WTF up
    after us.
    """
    protect = current_app.extensions.get("csrf")
    if protect is not None and request.blueprint is not None:
        protect.exempt(current_app.blueprints[request.blueprint])


def seal(answer: Response) -> Response:
    """Nothing of ours is ever cached (D1, D8)."""
    answer.headers["Cache-Control"] = "no-store"
    answer.vary.add("Cookie")
    return answer
