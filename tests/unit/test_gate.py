"""H1: no hook is believed. What would have to be awaited is refused when it is given, and when it comes back."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial, wraps
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm
from werkzeug.local import LocalProxy

from flask_invitations import ConfigurationError, Invitations
from flask_invitations.gate import Function, WrongAnswer
from flask_invitations.hooks import TABLE, HookTable
from flask_invitations.model.binding import bind
from flask_invitations.replies import House
from tests.hosts import ACCEPT_URL, shape

FUNCTIONS: dict[str, Function] = {name: word for name, word in TABLE.items() if isinstance(word, Function)}
YES_OR_NO = ("can_invite", "email_is_verified", "tenant_is_active")
#: A check passes by returning nothing: whatever it returns else, it may have meant no.
CHECKS = ("validate_password", "check_invitee", "check_acceptance")


class Base(orm.DeclarativeBase):
    """The base of the host's classes."""


class User(Base):
    """The host's class of users, as far as the gate knows it."""

    __tablename__ = "users"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    is_authenticated: orm.Mapped[bool]


ENGINE = sa.create_engine("sqlite://")
SESSION = orm.Session(ENGINE, expire_on_commit=False)
HOUSE = House(bind(User, None), lambda: SESSION, ("user", "admin"), json.dumps)


@pytest.fixture(scope="module", autouse=True)
def _tables() -> Iterator[None]:
    Base.metadata.create_all(ENGINE)
    yield
    SESSION.close()
    ENGINE.dispose()


def saved(*, is_authenticated: bool = True) -> User:
    """A user of the host's session."""
    user = User(is_authenticated=is_authenticated)
    SESSION.add(user)
    SESSION.commit()
    return user


async def coroutine(*_: Any) -> bool:
    """The fault itself: what this returns when it is called is true."""
    return False


def generator(*_: Any) -> Iterator[bool]:
    """Never runs either."""
    yield False


async def async_generator(*_: Any) -> AsyncIterator[bool]:
    """Nor does this."""
    yield False


class Async:
    """An object that must be awaited."""

    def __init__(self, *_: Any) -> None: ...

    async def __call__(self, *_: Any) -> bool:
        return False

    async def method(self, *_: Any) -> bool:
        return False


class Meeting:
    """An object that calls a partial."""

    __call__ = staticmethod(partial(coroutine))


class Committee:
    """An object that calls a partial of another object."""

    __call__ = staticmethod(partial(Async()))


def marked(*_: Any) -> Any:
    """A plain function that says it is none."""
    return coroutine()


#: kind -> a callable of that kind, and what the refusal calls it.
UNFIT: dict[str, tuple[Any, str]] = {
    "async def": (coroutine, "an async function"),
    "generator": (generator, "a generator function"),
    "async generator": (async_generator, "an async generator function"),
    "partial": (partial(coroutine), "an async function"),
    "nested partial": (partial(partial(coroutine, 1), 2), "an async function"),
    "partial of a method": (partial(Async().method), "an async function"),
    "partial of a generator": (partial(generator), "a generator function"),
    "object": (Async(), "an async function"),
    "partial of an object": (partial(Async()), "an async function"),
    "object over a partial": (Meeting(), "an async function"),
    "object over a partial of an object": (Committee(), "an async function"),
    "bound method": (Async().method, "an async function"),
    "class": (Async, "an async function"),
}
if hasattr(inspect, "markcoroutinefunction"):  # Python 3.12
    UNFIT["marked"] = (inspect.markcoroutinefunction(marked), "an async function")
    UNFIT["partial of a marked one"] = (partial(marked), "an async function")


@pytest.fixture(scope="module")
def app() -> Flask:
    """An app on which ``init_app`` comes as far as the hooks."""
    made = Flask("gate")
    made.config.update(SECRET_KEY="k", INVITATIONS_ACCEPT_URL=ACCEPT_URL)
    return made


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_refused_when_given(app: Flask, name: str, kind: str) -> None:
    """H1: a hook that a plain call does not run is refused by the decorator and by ``init_app``, naming it and the fix,
    in whatever it is wrapped."""
    hook, called = UNFIT[kind]
    with pytest.raises(ConfigurationError, match=rf"^{name} is {called}.*Make it a plain function"):
        getattr(Invitations(), name)(hook)
    host = shape("int", "tenant")
    given = {"user_model": host.User, "mailer": print, "current_user": lambda: None, name: hook}
    with pytest.raises(ConfigurationError, match=rf"^{name} is {called}.*Make it a plain function"):
        Invitations().init_app(app, host.db, **given)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_fix_is_taken(name: str) -> None:
    """The fix that the refusal names works: a plain function that runs the async one itself."""

    @wraps(coroutine)
    def plain(*given: Any) -> bool:
        return asyncio.run(coroutine(*given))

    assert getattr(Invitations(), name)(plain) is plain


class Later:
    """An awaitable that is no coroutine."""

    cancelled = False

    def __await__(self) -> Iterator[None]:
        yield

    def cancel(self) -> None:
        self.cancelled = True


def called(name: str, hook: Callable[..., Any]) -> Any:
    """What comes back through the gate."""
    return FUNCTIONS[name].behind_gate(hook, HOUSE)(*FUNCTIONS[name].takes)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_coroutine_comes_back(name: str) -> None:
    """H1: a lambda hides an async function until it is called: then the coroutine is an error that names the hook, and
    it is closed, so that Python complains of nothing."""
    made: Any = coroutine()
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        with pytest.raises(TypeError, match=rf"^{name} returned a coroutine.*Make it a plain function"):
            called(name, lambda *_: made)
        assert inspect.getcoroutinestate(made) == inspect.CORO_CLOSED
        gc.collect()
    assert complaints == []


NEVER_RUN = [generator, async_generator, Later]


@pytest.mark.parametrize(
    ("name", "made"),
    [(name, made) for name in FUNCTIONS for made in NEVER_RUN if (name, made) != ("find_users", generator)],
)
def test_never_run_comes_back(name: str, made: Callable[[], Any]) -> None:
    """Whatever else was not run is an error too, and is told to stop where it can be."""
    answer = made()
    with pytest.raises(WrongAnswer, match=f"^{name} returned an? [a-z ]+, and so did nothing"):
        called(name, lambda *_: answer)
    assert not isinstance(answer, Later) or answer.cancelled


def test_closing_fails() -> None:
    """A coroutine that had begun and fails while it is closed changes nothing about the refusal."""

    async def stubborn() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            raise KeyError("of no interest")

    begun = stubborn()
    begun.send(None)
    with pytest.raises(WrongAnswer, match=r"^tenant_of returned a coroutine"):
        called("tenant_of", lambda _: begun)


@pytest.mark.parametrize("name", YES_OR_NO)
def test_yes_or_no(name: str) -> None:
    """A yes/no hook says ``True`` or ``False``: anything else is an error that names the hook."""
    assert [called(name, lambda *_, answer=answer: answer) for answer in (True, False)] == [True, False]
    for answer in (None, 1, 0, "no", "", [], object()):
        with pytest.raises(TypeError, match=rf"^{name} returned {type(answer).__name__}\. Return True or False\.$"):
            called(name, lambda *_, answer=answer: answer)


@pytest.mark.parametrize("name", CHECKS)
def test_check_answers(name: str) -> None:
    """A check that returns ``False`` meant to refuse, and must not pass: it has to raise."""
    assert called(name, lambda *_: None) is None
    for answer in (False, True, "too weak"):
        with pytest.raises(TypeError, match=rf"^{name} returned {type(answer).__name__}\. .*raise to refuse"):
            called(name, lambda *_, answer=answer: answer)


@pytest.mark.parametrize("name", ["current_user", "find_user", "create_user"])
def test_user_is_a_user(name: str) -> None:
    """A hook that answers with a user answers with one of the host's class, whether or not behind a proxy."""
    user = saved()
    assert called(name, lambda *_: user) is user
    assert called(name, lambda *_: LocalProxy(lambda: user)) is user
    for answer in (7, "ann@example.com", object(), User):
        with pytest.raises(TypeError, match=rf"^{name} returned {type(answer).__name__}\. Return "):
            called(name, lambda *_, answer=answer: answer)


@pytest.mark.parametrize("name", ["current_user", "find_user"])
def test_nobody(name: str) -> None:
    """Nobody is ``None``, also behind a proxy."""
    assert called(name, lambda *_: None) is None
    assert called(name, lambda *_: LocalProxy(lambda: None)) is None


def test_anonymous_is_nobody() -> None:
    """Flask-Login's anonymous user is nobody, of whatever class; an account that may not sign in is found all the same,
    or a second one would be made for its address."""
    assert called("current_user", lambda: LocalProxy(lambda: saved(is_authenticated=False))) is None
    assert called("current_user", lambda: type("Anonymous", (), {"is_authenticated": False})()) is None
    suspended = saved(is_authenticated=False)
    assert called("find_user", lambda _: suspended) is suspended


def test_users_are_users() -> None:
    """``find_users`` answers with users, in any collection or lazily, and with nothing else among them."""
    users = [saved(), saved()]
    for answer in (users, tuple(users), (user for user in users), dict.fromkeys(users)):
        assert called("find_users", lambda _, answer=answer: answer) == users
    wrong: list[Any] = [None, 7, "ann@example.com", [users[0], None], [7], users[0]]
    for answer in wrong:
        with pytest.raises(TypeError, match=r"^find_users returned \w+\. Return a list of user_model"):
            called("find_users", lambda _, answer=answer: answer)


def test_create_user_returns_nobody() -> None:
    """``create_user`` has to return whom it made."""
    with pytest.raises(TypeError, match=r"^create_user returned NoneType\. Return the new user"):
        called("create_user", lambda *_: None)


def test_proxy_is_no_awaitable() -> None:
    """A proxy has ``__await__`` as it has everything: what counts is what it stands for, a coroutine too."""
    assert called("tenant_of", lambda _: LocalProxy(lambda: 7)) == 7
    with pytest.raises(WrongAnswer, match=r"^tenant_of returned a coroutine"):
        called("tenant_of", lambda _: LocalProxy(coroutine))


def test_gate_keeps_no_password() -> None:
    """D2: where a hook breaks, a crash report shows the variables of every call: in ours there is no password."""

    def broken(password: str, _invitation: Any) -> None:
        raise KeyError

    gate = HookTable.validate_password.behind_gate(broken, HOUSE)
    with pytest.raises(KeyError) as caught:
        gate("a password", None)
    ours = [each.frame.f_locals for each in inspect.getinnerframes(caught.tb) if each.filename.endswith("/gate.py")]
    assert len(ours) == 1
    assert "a password" not in repr(ours)
