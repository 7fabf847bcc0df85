"""What is done around the work of the next unit: in its transaction, before and after, at each attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
#: Does a piece of work that it is given, and returns what that returned.
Wrap = Callable[[Callable[[], Any]], Any]

#: What waits for the next unit, and whose units these are.
_waiting: ContextVar[tuple[Any, Wrap] | None] = ContextVar("flask_invitations_around", default=None)


@contextmanager
def around(unit: object, wrap: Wrap | None) -> Iterator[None]:
    """In the ``with`` block, have ``wrap`` do the work of the unit that is begun first. What an act does outside of its
    transaction stays outside.

    :param unit: whose.
    :param wrap: ``None``: what is begun there is not the act that something waits for.
    """
    before = _waiting.get()
    _waiting.set(None if wrap is None else (unit, wrap))
    try:
        yield
    finally:
        _waiting.set(before)


def wrapped(unit: object, work: Callable[[], T]) -> Callable[[], T]:
    """``work``, with what waits for it, if anything does."""
    waiting = _waiting.get()
    if waiting is None or waiting[0] is not unit:
        return work
    _waiting.set(None)
    return partial(waiting[1], work)
