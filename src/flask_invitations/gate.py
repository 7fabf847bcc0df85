"""The gate between a host's functions and us: what is taken for a hook, how it is called, and which answers pass.

No hook is believed. Above all not one that would have to be awaited: called like any function it does nothing, and what
it gives back is true.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial, update_wrapper
from typing import Any, Generic, NoReturn, Protocol, TypeVar, cast, overload

from .errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")

#: Functions that a plain call does not run.
_NEVER_RUN: Sequence[tuple[Callable[[Any], bool], str]] = (
    (inspect.iscoroutinefunction, "an async function"),
    (inspect.isasyncgenfunction, "an async generator function"),
    (inspect.isgeneratorfunction, "a generator function"),
)


def _is_only_async(answer: Any) -> bool:
    """A ``MagicMock`` has every method there is; what can be entered like anything else is done when it is there."""
    return hasattr(type(answer), "__aenter__") and not hasattr(type(answer), "__enter__")


#: What such a call gives back in place of an answer.
_NOT_RUN: Sequence[tuple[Callable[[Any], bool], str]] = (
    (inspect.iscoroutine, "a coroutine"),
    (inspect.isasyncgen, "an async generator"),
    (inspect.isgenerator, "a generator"),
    (inspect.isawaitable, "an awaitable"),
    (_is_only_async, "an async context manager"),
)
#: Answers of these types are what they are: nothing to unwrap, nothing to await.
_SIMPLE = frozenset({bool, str, int, uuid.UUID, datetime, type(None)})
_PLAIN = "Make it a plain function (asgiref.sync.async_to_sync makes one of an async function)"


class WrongAnswer(TypeError):
    """A hook gave back what it may not. The text names the hook and the fix, and holds nothing personal."""


def refuse_unrun(who: str, answer: Any) -> None:
    """Refuse, and close, an answer that would have to be awaited or iterated before anything is done.

    :raises WrongAnswer: naming ``who`` gave it.
    """
    kind = next((name for is_kind, name in _NOT_RUN if is_kind(answer)), None)
    if kind is None:
        return
    close = getattr(answer, "close", None) or getattr(answer, "cancel", None)
    if close is not None:
        with suppress(Exception):  # what it says at its end is nobody's answer
            close()
    raise WrongAnswer(f"{who} returned {kind}, and so did nothing. {_PLAIN}.")


def unwrap(answer: Any) -> Any:
    """What a proxy stands for: Flask-Login's ``current_user`` has every attribute there is, ``__await__`` too."""
    while hasattr(type(answer), "_get_current_object"):
        answer = answer._get_current_object()  # noqa: SLF001 - Werkzeug documents it
    return answer


def never_run(hook: Any) -> str | None:
    """What kind of function a plain call of ``hook`` does not run; ``None``: it runs."""
    return next((name for each in _layers(hook) for is_kind, name in _NEVER_RUN if is_kind(each)), None)


def _layers(hook: Any) -> Iterator[Any]:
    """A callable, and what is called when it is called: the function of a ``partial``, the method ``__call__``."""
    yield hook
    if isinstance(hook, partial):
        yield from _layers(hook.func)
    elif not inspect.isroutine(hook):
        call = getattr(hook, "__call__", None)  # noqa: B004 - not whether it is callable, but by what
        if inspect.isroutine(call) or isinstance(call, partial):
            yield from _layers(call)


# Answers


class Unfit(Exception):
    """What was given back is not what may be.

    :param what: what it is, where the name of its class does not tell.
    """

    def __init__(self, what: str | None = None) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True)
class Answer:
    """What a hook may give back. Each hook declares one; those that there are stand in :mod:`.replies`.

    :param read: told the answer and the host's :class:`.replies.House`, gives what is handed on; raises ``Unfit``.
    :param fix: what to do where it does not fit.
    :param lazy: a generator is run, by ``read``.
    :param misfit: how an object that does not fit is called, by its class.
    :param is_of_a_deed: the hook does something, and nobody looks at what it gives back.
    """

    read: Callable[[Any, Any], Any]
    fix: str
    lazy: bool = False
    misfit: str = "%s"
    is_of_a_deed: bool = False

    def taken(self, who: str, verb: str, given: Any, house: Any) -> Any:
        """What ``given`` comes to, a proxy seen through.

        :param who, verb: the beginning of the refusal: ``"can_invite", "returned"``.
        :raises WrongAnswer: it is not what it may be.
        """
        if type(given) not in _SIMPLE and not issubclass(type(given), house.models.user):  # a proxy is neither
            given = unwrap(given)
            if not (self.lazy and inspect.isgenerator(given)):
                refuse_unrun(who, given)
        try:
            return self.read(given, house)
        except Unfit as unfit:
            what = unfit.what or self.misfit % type(given).__name__
            raise WrongAnswer(f"{who} {verb} {what}. {self.fix}.") from unfit.__cause__


# Declarations


def _makes_callables(kind: type[Any]) -> bool:
    return any("__call__" in vars(each) for each in kind.__mro__)


class Giving:
    """An object on which hooks are given: there each is a decorator."""

    def _read(self, word: Word) -> Any:
        raise NotImplementedError


class Calling:
    """An object on which hooks are called: there each is what the host gave, behind the gate."""

    def _read(self, word: Word) -> Any:
        raise NotImplementedError


class Word:
    """One word that a host can say: a keyword of ``init_app``, and a decorator."""

    name: str = ""

    def __init__(self, doc: str) -> None:
        self.__doc__ = inspect.cleandoc(doc)

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name: str = name
        self.__name__: str = name

    def __set__(self, instance: Any, value: NoReturn) -> None:
        raise AttributeError(f"{self.name} is a decorator. Write @invitations.{self.name}, or pass it to init_app.")

    def _read(self, instance: Giving | Calling | None) -> Any:
        return self if instance is None else instance._read(self)  # noqa: SLF001 - our own two bases

    def check(self, given: Any) -> None:
        """Refuse what could not be used as it will be.

        :raises ConfigurationError: naming the hook and the fix.
        """

    def behind_gate(self, given: Any, house: Any) -> Any:
        """What was given, as it may be used in this :class:`.replies.House`."""
        return given


class _Decorator(Protocol):
    def __call__(self, given: C, /) -> C: ...


class Class(Word):
    """A class of the host's. What it must be like is looked at by ``init_app``: classes are complete by then."""

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Class: ...
    @overload
    def __get__(self, instance: Giving, owner: type[Any]) -> _Decorator: ...
    @overload
    def __get__(self, instance: Calling, owner: type[Any]) -> Any: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        return self._read(instance)


class Function(Word):
    """
    :param takes: the arguments that it is called with, by position.
    :param answer: what it may give back.
    """

    def __init__(self, takes: str, doc: str, answer: Answer) -> None:
        super().__init__(doc)
        self.takes: tuple[str, ...] = tuple(takes.replace(",", " ").split())
        self.answer: Answer = answer

    @property
    def _called(self) -> str:
        return f"{self.name}({', '.join(self.takes)})"

    def check(self, given: Any) -> None:
        if not callable(given):
            what = type(given).__name__
            raise ConfigurationError(
                f"{self.name} must be a callable, not {what}. Pass a function that is called as {self._called}."
            )
        kind = never_run(given)
        if kind is not None:
            raise ConfigurationError(f"{self.name} is {kind}, which does nothing when it is called. {_PLAIN}.")
        if isinstance(given, type) and (self.answer.is_of_a_deed or _makes_callables(given)):
            raise ConfigurationError(
                f"{self.name} is the class {given.__name__}. Pass an object of it, as in "
                f"{self.name}={given.__name__}(...)."
            )
        try:
            inspect.signature(given).bind(*self.takes)
        except TypeError as error:
            raise ConfigurationError(
                f"{self.name} is called as {self._called}, which yours cannot be: {error}. Change its arguments."
            ) from None
        except ValueError:  # a callable written in C without a signature: trust it
            return

    def behind_gate(self, function: F, house: Any) -> F:
        """``function`` as we call it: the one place through which a hook is called."""

        def call(*given: Any) -> Any:
            handed_over = [given]
            del given  # a crash report shows the variables of every call, and no password is to stand in ours
            return self.answer.taken(self.name, "returned", function(*handed_over.pop()), house)

        gated: Any = update_wrapper(call, function, updated=())
        return cast(F, gated)


def running() -> str | None:
    """The hook of the host's that is being run, innermost first. Python knows: to note it would cost every call."""
    frame = inspect.currentframe()
    while frame is not None:
        called = frame.f_locals.get("self") if frame.f_globals is globals() else None
        if isinstance(called, Function):
            return called.name
        frame = frame.f_back
    return None


class Hook(Function, Generic[F]):
    """A function of the host's that is always there: required, or with a default."""

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Hook[F]: ...
    @overload
    def __get__(self, instance: Giving, owner: type[Any]) -> Callable[[F], F]: ...
    @overload
    def __get__(self, instance: Calling, owner: type[Any]) -> F: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        return self._read(instance)


class OptionalHook(Function, Generic[F]):
    """A function of the host's without a default."""

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> OptionalHook[F]: ...
    @overload
    def __get__(self, instance: Giving, owner: type[Any]) -> Callable[[F], F]: ...
    @overload
    def __get__(self, instance: Calling, owner: type[Any]) -> F | None: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        return self._read(instance)
