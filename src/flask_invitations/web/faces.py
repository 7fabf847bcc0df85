"""The blueprints of ours: what is told of a request to us that fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any

from flask import Blueprint, current_app, has_request_context, request
from flask.sansio.blueprints import BlueprintSetupState
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import HTTPException

from .. import traces
from ..current import get_state
from ..errors import InvitationError
from ..gate import unwrap

#: Where an app tells its addresses apart by host: the part of ours that takes any.
_HOST = "invitations_host"


class Face(Blueprint):
    """A blueprint of ours. Whatever is raised in a view or an error handler, error trackers see nothing of what the
    request brought: neither as a variable of a call, nor as the request's body.

    In an app that tells addresses apart by host it is there on each host, as it would be in any other app.
    """

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.url_value_preprocessor(_forget_host)
        self.url_defaults(_same_host)

    def make_setup_state(self, app: Any, options: dict[str, Any], first_registration: bool = False) -> _Setup:
        return _Setup(self, app, options, first_registration)

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, *given: Any, **more: Any
    ) -> None:
        super().add_url_rule(rule, endpoint, None if view_func is None else _hidden(view_func), *given, **more)

    def register_error_handler(self, error: Any, handler: Any) -> None:
        super().register_error_handler(error, _hidden(handler))


class _Setup(BlueprintSetupState):
    def add_url_rule(self, rule: str, endpoint: str | None = None, view_func: Any = None, **options: Any) -> None:
        if self.app.url_map.host_matching:
            options["host"] = f"<{_HOST}>"
        super().add_url_rule(rule, endpoint, view_func, **options)


def _forget_host(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    """No view of ours takes it."""
    (values or {}).pop(_HOST, None)


def _same_host(endpoint: str, values: dict[str, Any]) -> None:
    if current_app.url_map.is_endpoint_expecting(endpoint, _HOST):
        host = request.host if has_request_context() else get_state().ctx.config.accept_origin.netloc
        values.setdefault(_HOST, host)


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
