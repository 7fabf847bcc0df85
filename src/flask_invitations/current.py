"""Where an app keeps its invitations: the only reader of ``app.extensions``, and the first room that knows Flask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from flask import Flask, current_app, has_request_context, request
from marshmallow import Schema

from . import acts
from .acts import Caller, Origin
from .context import Context
from .errors import ConfigurationError
from .hooks import TABLE

KEY = "invitations"

T = TypeVar("T")


@dataclass
class Late:
    """What was given by decorator after an app's ``init_app``, and before the app was first used.

    A factory that decorates is called again: then the next ``init_app`` takes it. If none follows, it is a mistake.
    """

    names: list[str] = field(default_factory=list)
    over: bool = False

    def end(self) -> None:
        """The app is used now.

        :raises ConfigurationError: something would be lost.
        """
        if self.names:
            raise ConfigurationError(too_late(self.names[0]))
        self.over = True


def too_late(name: str) -> str:
    """What to do about a hook that was given after ``init_app``."""
    return f"{name} was given after init_app. Decorate before init_app, or pass it to init_app."


@dataclass(frozen=True)
class State:
    """One app's context, and the shapes that depend on its settings."""

    ctx: Context
    invite_body: Schema
    list_query: Schema
    profile_schema: Schema
    late: Late = field(default_factory=Late)
    _made: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, make: Callable[[State], T]) -> T:
        """What ``make`` makes of this app: made when it is first asked for, and kept with the app."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made


def bind(app: Flask, state: State) -> None:
    """:raises ConfigurationError: the app has its invitations already."""
    refuse_second(app)
    app.extensions[KEY] = state


def refuse_second(app: Flask) -> None:
    """:raises ConfigurationError: it is no app, or has its invitations already, or something else by that name."""
    if not isinstance(app, Flask):  # Invitations(db, app) is easily typed
        what = type(app).__name__
        raise ConfigurationError(
            f"app must be your Flask app, not {what}. It comes first, as in init_app(app, db, ...)."
        )
    there = app.extensions.get(KEY)
    if there is not None and not isinstance(there, State):
        what = type(there).__name__
        raise ConfigurationError(f"app.extensions[{KEY!r}] is an object of type {what}. Keep that under another name.")
    if there is not None:
        raise ConfigurationError("init_app was already called on this app. Call it once for each app.")


def get_state() -> State:
    """The current app's state.

    :raises RuntimeError: no app context, or no ``init_app`` on this app.
    :raises ConfigurationError: a hook was given too late, at the first use.
    """
    state = state_of(current_app)
    if not state.late.over:
        state.late.end()
    return state


def state_of(app: Flask) -> State:
    """An app's state, also outside of its context.

    :raises RuntimeError: no ``init_app`` on this app.
    """
    state: State | None = app.extensions.get(KEY)
    if state is None:
        raise RuntimeError("Invitations.init_app was not called on the current app.")
    return state


@contextmanager
def override(app: Flask, **changes: Any) -> Iterator[State]:
    """For tests: other hooks, or another clock, for the length of the ``with`` block."""
    before = state_of(app)
    hooks = before.ctx.hooks.but(**{name: changes.pop(name) for name in TABLE.keys() & changes})
    limits = replace(before.ctx.limits, instead=hooks.rate_limit, said_of=hooks.limits_for)
    app.extensions[KEY] = replace(before, ctx=replace(before.ctx, hooks=hooks, limits=limits, **changes))
    try:
        yield app.extensions[KEY]
    finally:
        app.extensions[KEY] = before


def actor() -> Any:
    """The signed-in user, by the host's hook."""
    return get_state().ctx.hooks.current_user()


def caller(ctx: Context) -> Caller:
    """The signed-in user or nobody, by the host's hook, and where the current request comes from."""
    return acts.caller(ctx, ctx.hooks.current_user(), origin())


def origin() -> Origin:
    """Where the current request comes from. The address is the peer's as Flask reports it: trusting proxies is
    the host's decision (``ProxyFix``)."""
    if not has_request_context():
        return Origin()
    return Origin.of(request.remote_addr, request.headers.get("User-Agent"))
