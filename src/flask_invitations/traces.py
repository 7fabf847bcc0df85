"""What an exception tells of the calls that it went through, to whoever reports it: error trackers keep the variables
of every call, and databases quote what they were given.

On its way out of us an exception loses that: the variables of our calls and of the libraries' under them, and what it
quotes. Where it was raised, its class and what it says besides stay, and so does everything about the host's own calls.
"""

from __future__ import annotations

import inspect
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache, wraps
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar, cast

from sqlalchemy.exc import StatementError

from .tokens import redact

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: Where code lies that is not the host's: ours, Python's, and what is installed.
_ELSEWHERE = tuple({str(Path(__file__).parent), *map(sysconfig.get_path, ("stdlib", "platstdlib"))})
_INSTALLED = frozenset({"site-packages", "dist-packages"})
#: Calls that may only be waiting; to clear one would end it.
_MAY_WAIT = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_ADDRESS = re.compile(r"[^\s\"'<>(),;:=]+@[^\s\"'<>(),;:=]+")
#: What PostgreSQL says in a second line, the whole row among it; the value that MariaDB and MySQL quote.
_DETAIL, _VALUE = re.compile(r"\s*DETAIL:.*", re.DOTALL), re.compile(r"\b(entry|value:?) '.*' for ", re.DOTALL)


#: What the host was handling already when it called us: that is its own.
_handled: ContextVar[tuple[BaseException, ...]] = ContextVar("flask_invitations_handled", default=())


def unaddressed(text: str) -> str:
    """``text`` with a mask in place of every email address."""
    return _ADDRESS.sub("***", text)


def hide(error: BaseException) -> None:
    """Take out of an exception, and of those that led to it, what must not be reported; see the module."""
    for each in _family(error):
        if isinstance(each, StatementError):
            _hide_values(each)
        for frame in _frames(each.__traceback__):
            _hide_variables(frame)


def hidden(call: F, hide: Callable[[BaseException], None] = hide) -> F:
    """``call``, of whose exceptions nothing can be reported but what ``hide`` leaves."""

    @wraps(call)
    def guarded(*given: Any, **named: Any) -> Any:
        handed_over: list[Any] = [given, named]
        del given, named  # this call's own variables are there while the exception passes
        handled = sys.exc_info()[1]
        before = None if handled is None else _handled.set((*_handled.get(), handled))
        try:
            return call(*handed_over.pop(0), **handed_over.pop())
        except BaseException as error:
            hide(error)
            raise
        finally:
            if before is not None:
                _handled.reset(before)

    return cast(F, guarded)


def all_hidden(face: type[T]) -> type[T]:
    """A class, each public method of it :func:`hidden`."""
    for name, method in list(vars(face).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(face, name, hidden(method))
    return face


def _family(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that led to it, each once; but not what the host was handling before."""
    seen, waiting = set(map(id, _handled.get())), [error]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [other for other in (each.__cause__, each.__context__) if other is not None]


def _frames(trace: TracebackType | None) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _hide_variables(frame: FrameType) -> None:
    if "__jinja_exception__" in frame.f_globals:  # Jinja's picture of a template: what it was rendered with
        frame.f_locals.clear()
    elif is_elsewhere(frame.f_code.co_filename) and not frame.f_code.co_flags & _MAY_WAIT:
        with suppress(RuntimeError):  # it still runs, and so is not behind us
            frame.clear()


@lru_cache(maxsize=1024)
def is_elsewhere(file: str) -> bool:
    """Whether code lies where the host's does not: ours, Python's, and what is installed."""
    return file.startswith(("<", *_ELSEWHERE)) or not _INSTALLED.isdisjoint(Path(file).parts)


def _hide_values(error: StatementError) -> None:
    """What a statement was run with, and what the driver quotes of it."""
    error.hide_parameters, error.params = True, None
    error.args = tuple(map(_unquoted, error.args))
    if error.orig is not None:
        error.orig.args = tuple(map(_unquoted, error.orig.args))


def _unquoted(said: Any) -> Any:
    if isinstance(said, dict):  # pg8000 gives the fields of the server's answer, each by a letter
        return {name: _unquoted(part) for name, part in said.items() if name != "D"}
    if not isinstance(said, str):
        return said
    return unaddressed(redact(_VALUE.sub(r"\1 '***' for ", _DETAIL.sub("", said))))
