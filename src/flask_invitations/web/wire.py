"""HTTP as such, for both faces: what a request may look like before it means anything, and what stands on every
answer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from io import BytesIO
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, has_request_context, request
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import HTTPException

from .. import traces
from ..current import get_state
from ..errors import BodyTooLarge, InvitationError, MalformedRequest, UnsupportedMediaType

#: Where templates and static files lie.
PACKAGE = "flask_invitations"
#: In octets.
MAX_BODY = 16 * 1024
MAX_DEPTH = 32
#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


# What is told of a request that fails


class Face(Blueprint):
    """A blueprint of ours. Whatever is raised in a view or an error handler, error trackers see nothing of what the
    request brought: neither as a variable of a call, nor as the request's body."""

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, *given: Any, **more: Any
    ) -> None:
        super().add_url_rule(rule, endpoint, None if view_func is None else _hidden(view_func), *given, **more)

    def register_error_handler(self, error: Any, handler: Any) -> None:
        super().register_error_handler(error, _hidden(handler))


@cache  # one view may have several addresses
def _hidden(view: Callable[..., Any]) -> Callable[..., Any]:
    return traces.hidden(view, hide)


def hide(error: BaseException) -> None:
    """Take out of an exception, and out of the current request where it is to us, what must not be reported."""
    traces.hide(error)
    is_answer = isinstance(error, (InvitationError, HTTPException))
    if not is_answer and has_request_context() and _is_ours():
        _hide_body()


def _is_ours() -> bool:
    return isinstance(current_app.blueprints.get(request.blueprint or ""), Face)


class _Hidden(ImmutableMultiDict[str, str]):
    """A form with a mask in place of everything that was typed.

    :param form: what was typed; our own pages still need it.
    """

    def __init__(self, form: Any) -> None:
        super().__init__(dict.fromkeys(form, "***"))
        self.typed: Any = form


def form() -> ImmutableMultiDict[str, str]:
    """The form of the current request, for us."""
    return cast("ImmutableMultiDict[str, str]", getattr(request.form, "typed", request.form))


def _hide_body() -> None:
    """Trackers read the body again, as a form or as JSON: it is over, and the form has masks in it."""
    typed = vars(request).get("form", {})  # what nobody has read yet is not read now
    if not isinstance(typed, _Hidden):
        request.form = _Hidden(typed)
    request.stream = BytesIO()
    vars(request).update(_cached_data=b"", _cached_json=(Ellipsis, Ellipsis))


# What comes in


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
    ours = (request.host_url, get_state().ctx.config.accept_origin)
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
