"""HTTP as such, for every face: what a request may look like before it means anything, and what stands on every
answer."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NoReturn

from flask import Blueprint, Flask, Request, Response, current_app, request, request_finished
from flask.sansio.blueprints import BlueprintSetupState
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.datastructures import ImmutableMultiDict, MultiDict
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from ..current import get_state
from ..errors import (
    BodyTooLarge,
    ConfigurationError,
    CrossSite,
    InvalidRequest,
    InvitationError,
    MalformedRequest,
    Sentence,
    TryAgain,
    UnsupportedMediaType,
)
from ..gate import unwrap
from ..origins import Origin
from ..shapes import check_text, whole
from ..store.drivers import is_busy
from .sites import is_from_elsewhere

#: Where templates and static files lie.
PACKAGE = "flask_invitations"
#: In octets; the second of a body with many rows, which stand a list and an object deeper.
MAX_BODY, MAX_ROWS = 16 * 1024, 1024 * 1024
MAX_DEPTH, MAX_ROWS_DEPTH = 32, 34
_REFUSAL = "flask_invitations.refusal"
_ROWS_TOO_LARGE = Sentence("The body is too large. Send at most 1 MiB.")
#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: What tells one kind of cache what ``Cache-Control`` would tell all of them (RFC 9213, and older ones).
_CACHES = frozenset(
    {
        "cdn-cache-control",
        "cloudflare-cdn-cache-control",
        "vercel-cdn-cache-control",
        "surrogate-control",
        "x-accel-expires",
        "expires",
        "pragma",
    }
)

Protect = Callable[[Any], None]


def bound_body(endpoint: str | None, values: Mapping[str, Any] | None) -> None:
    """Read the body before anybody else does, and never more of it than the call takes: whatever the method, the
    content type and the way in which its length is declared, or not. Put back is a body of known length, empty where it
    is to be refused: what reads it later, the host, a page of refusals or a crash report, reads no more than that.

    Registered as a URL value preprocessor, the first moment of a request of ours; refused by :func:`check_body`, once
    the host's own ``before_request`` functions have run, which its layout may need.
    """
    call, raw = unwrap(request), b""
    try:
        raw = _read(call)
    except InvitationError as refusal:
        call.environ[_REFUSAL] = type(refusal), refusal.detail  # without what it has seen
    stream = io.BytesIO(raw)
    call.environ.update({"wsgi.input": stream, "CONTENT_LENGTH": str(len(raw))})
    vars(call).update(content_length=len(raw), stream=stream)  # what the host has read before us stays what it is


def check_body(call: Request) -> None:
    """:raises BodyTooLarge, MalformedRequest: the body is too long; it cannot be read to its end."""
    refusal: tuple[type[InvitationError], str] | None = call.environ.get(_REFUSAL)
    if refusal is not None:
        kind, detail = refusal
        raise kind(detail)


#: By their endpoints: the calls with many rows.
_WITH_ROWS: set[str] = set()


def _most(call: Request) -> int:
    """How many octets this call takes."""
    return MAX_ROWS if call.endpoint in _WITH_ROWS else MAX_BODY


def _check_size(call: Request, size: int | None) -> None:
    """:raises BodyTooLarge: for this call."""
    most = _most(call)
    if size is not None and size > most:
        raise BodyTooLarge(_ROWS_TOO_LARGE if most == MAX_ROWS else None)


def _read(call: Request) -> bytes:
    length = call.content_length
    _check_size(call, length)
    raw, most = b"", _most(call) + 1 if length is None else length
    try:
        while len(raw) < most and (chunk := call.stream.read(most - len(raw))):  # which may give less than asked for
            raw += chunk
    except RequestEntityTooLarge as error:  # a limit of the host's own that is smaller
        raise BodyTooLarge from error
    except (BadRequest, OSError, ValueError) as error:  # cut off, or not the chunks that it should be made of
        raise MalformedRequest from error
    _check_size(call, len(raw))
    return raw


def read_form() -> MultiDict[str, str]:
    """The form in the body of the request; where it cannot be read, an empty one is left for the page that says so.

    :raises BodyTooLarge: a limit of the host's own says so.
    :raises MalformedRequest: it holds what no database takes.
    """
    try:
        form = request.form
    except RequestEntityTooLarge as error:
        given: Any = request
        form = given.form = ImmutableMultiDict()
        raise BodyTooLarge from error
    if any("\0" in value for value in form.values()):
        raise MalformedRequest
    return form


def read_json(*, optional: bool = False) -> Any:
    """The JSON body of the request.

    :raises BodyTooLarge, UnsupportedMediaType, MalformedRequest: it cannot be read as one.
    """
    call = unwrap(request)
    raw = call.get_data()
    _check_size(call, len(raw))  # the host may have read it before us
    if optional and not raw:
        return {}
    if call.mimetype != "application/json":
        raise UnsupportedMediaType
    return parse_json(raw, MAX_ROWS_DEPTH if _most(call) == MAX_ROWS else MAX_DEPTH)


def read_query() -> dict[str, str]:
    """The query parameters of the request.

    :raises InvalidRequest: one is given more than once: two readers would take two of them.
    """
    given = request.args.to_dict(flat=False)
    repeated = [name for name, values in given.items() if len(values) > 1]
    if repeated:
        raise InvalidRequest({name: ["Give this parameter once."] for name in repeated})
    return {name: value for name, (value,) in given.items()}


def parse_json(raw: bytes, depth: int = MAX_DEPTH) -> Any:
    """JSON as RFC 8259 has it: no NaN, no name twice in an object, no NUL (databases refuse it), no half surrogate, no
    bottomless nesting.

    :raises MalformedRequest: anything else.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite, parse_int=whole
        )
        check_text(value, depth)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values under one name every reader takes another."""
    made = dict(pairs)
    if len(made) < len(pairs):
        _refuse("a name that comes twice")
    return made


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse("a number beyond range")
    return number


def check_site(call: Request, *, page: bool) -> None:
    """Refuse what changes something and comes from a page of another site, whatever credential it carries, or none.

    :raises CrossSite: it does.
    """
    if call.method not in SAFE and is_from_elsewhere(call.environ, _own, _trusted, page=page):
        raise CrossSite


def _own() -> str:
    return f"{request.scheme}://{request.host}"


def _trusted() -> Collection[Origin]:
    return get_state().ctx.config.origins


def exempt_from_csrf_protect(endpoint: str | None, values: Mapping[str, Any] | None) -> None:
    """The form token of Flask-WTF or SeaSurf is not for a JSON API, and over TLS both refuse every form that comes
    without a ``Referer``, which our pages never send: our own look at where a call comes from stands in its place.

    Registered as a URL value preprocessor, the first moment of a request of ours: the host may set them up after us.
    """
    protect = current_app.extensions.get("csrf")
    if protect is not None and request.blueprint is not None:
        protect.exempt(current_app.blueprints[request.blueprint])
    if endpoint is not None and request.method not in SAFE:
        for surf in _seasurfs(current_app):  # its cookie is still set: the host's layout may have forms
            surf.set_cookie(surf.exempt(current_app.view_functions[endpoint]))


def _seasurfs(app: Flask) -> Iterator[Any]:
    """SeaSurf is found nowhere but among what Flask calls before a request."""
    for asked in app.before_request_funcs.get(None, ()):
        owner = getattr(asked, "__self__", None)
        if type(owner).__module__ == "flask_seasurf":
            yield owner


def seal(answer: Any) -> None:
    """Nothing of ours is ever cached, or taken for another type than it says (D1, D8). Some caches are told apart from
    the others by headers of their own."""
    for name in [name for name, _ in answer.headers if name.lower() in _CACHES]:
        del answer.headers[name]
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    varies = ", ".join(answer.headers.getlist("Vary"))
    if "cookie" not in varies.lower():
        answer.headers["Vary"] = f"{varies}, Cookie".lstrip(", ")


#: By the name of a blueprint of ours: what is put on its answers.
_LAST_WORDS: dict[str, Protect] = {}


def guard(
    blueprint: Blueprint,
    check: Callable[[Request], None],
    protect: Protect = seal,
    *,
    page: bool,
    with_rows: Collection[str] = (),
    from_anywhere: Collection[str] = (),
) -> None:
    """What all faces have in common: how much of a body is read, where a call may come from, and that the last word on
    an answer is ours, whatever headers the host sets on all of its own.

    :param check: what the face has to say against a request.
    :param protect: puts our headers on an answer.
    :param page: see :func:`.sites.is_from_elsewhere`.
    :param with_rows: the endpoints whose bodies have many rows.
    :param from_anywhere: endpoints that any site may call: they act by what stands in their address, by no cookie.
    """

    def check_all() -> None:
        call = unwrap(request)
        if call.endpoint not in from_anywhere:
            check_site(call, page=page)
        check_body(call)
        check(call)

    blueprint.url_value_preprocessor(exempt_from_csrf_protect)
    blueprint.url_value_preprocessor(bound_body)
    blueprint.before_request(check_all)
    blueprint.record_once(_listen)
    _LAST_WORDS[blueprint.name] = protect
    _WITH_ROWS.update(with_rows)


def answer_refusals(blueprint: Blueprint, answer: Callable[[InvitationError], Response]) -> None:
    """Have a blueprint answer refusals; a database that gives up in a hook of the host's, outside of a transaction of
    ours, is one too."""

    def busy(error: DBAPIError | PoolTimeout) -> Response:
        if isinstance(error, DBAPIError) and not is_busy(error):
            raise error
        return answer(TryAgain())

    def misconfigured(error: ConfigurationError) -> Response:
        raise error from None  # its sentence says it all; what a driver said before would hide it

    blueprint.register_error_handler(InvitationError, answer)
    blueprint.register_error_handler(ConfigurationError, misconfigured)
    blueprint.register_error_handler(DBAPIError, busy)
    blueprint.register_error_handler(PoolTimeout, busy)


def _listen(setup: BlueprintSetupState) -> None:
    request_finished.connect(last_word, setup.app)


def last_word(_app: Flask, response: Any, **_more: Any) -> None:
    """After everything that Flask asks about an answer: the host's ``after_request`` functions in whatever order, and
    its sessions."""
    protect = _LAST_WORDS.get(request.blueprint or "")
    if protect is not None:
        protect(response)
