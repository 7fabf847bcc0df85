"""The blueprints of ours: what is told of a request to us that fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any

from flask import Blueprint, current_app, has_request_context, request
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import HTTPException

from .. import traces
from ..errors import InvitationError
from ..gate import unwrap


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
    """A form with a mask in place of everything that was typed."""

    def __init__(self, form: Any) -> None:
        super().__init__(dict.fromkeys(form, "***"))


def _hide_body() -> None:
    """Trackers read the body again, as a form or as JSON: it is over, and the form has masks in it."""
    call, nothing = unwrap(request), BytesIO()
    typed = vars(call).get("form", {})  # what nobody has read yet is not read now
    for file in vars(call).get("files", {}).values():
        file.close()
    vars(call).update(
        form=_Hidden(typed),
        files=ImmutableMultiDict(),
        stream=nothing,
        _cached_data=b"",
        _cached_json=(Ellipsis, Ellipsis),
    )
    call.environ["wsgi.input"] = nothing
