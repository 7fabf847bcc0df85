"""What the host can say: hooks are checked before they are needed, and messages show no secret."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pydoc
import re
import uuid
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest

from flask_invitations import ConfigurationError, Invitations, Message, hooks
from flask_invitations.gate import Function
from flask_invitations.hooks import TABLE, Given, HookTable
from flask_invitations.replies import YES_OR_NO


def _taking(count: int) -> Callable[..., None]:
    lambdas: dict[int, Callable[..., None]] = {
        0: lambda: None,
        1: lambda a: None,
        2: lambda a, b: None,
        3: lambda a, b, c: None,
        4: lambda a, b, c, d: None,
    }
    return lambdas[count]


FUNCTIONS: dict[str, Function] = {name: word for name, word in TABLE.items() if isinstance(word, Function)}


def test_table_is_the_keywords() -> None:
    """Each hook is declared once: the table, and the keywords that the type checker knows, name the same ones; required
    are ``user_model`` and ``mailer``."""
    assert list(TABLE) == list(Given.__annotations__)
    assert Given.__required_keys__ == {"user_model", "mailer"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_type_says_the_same(name: str) -> None:
    """What the type checker demands is what the gate demands, in the table and as a keyword: so many arguments, and a
    bool where the hook says yes or no."""
    hook, (kind,) = FUNCTIONS[name], get_args(get_type_hints(HookTable)[name])
    assert get_type_hints(Given)[name] in (kind, kind | None)
    arguments, answer = get_args(kind)
    assert len(arguments) == len(hook.takes)
    assert (answer is bool) == (hook.answer is YES_OR_NO)


@pytest.mark.parametrize("name", TABLE)
def test_decorator_is_documented(name: str) -> None:
    """``help`` tells what a hook is for, on the class and on the decorator."""
    told = inspect.getdoc(getattr(Invitations, name))
    assert told
    decorator = getattr(Invitations(), name)
    assert (decorator.__name__, inspect.getdoc(decorator)) == (name, told)
    assert told.splitlines()[0] in pydoc.plain(pydoc.render_doc(Invitations))


@pytest.mark.parametrize("name", TABLE)
def test_hook_is_no_attribute(name: str) -> None:
    """Assigned like an attribute a hook would be lost without a word, so that is refused."""
    with pytest.raises(AttributeError, match=f"@invitations.{name}"):
        setattr(Invitations(), name, lambda: None)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_right_hook(name: str) -> None:
    """A hook that can be called as it will be passes, whatever kind of callable it is."""
    right = _taking(len(FUNCTIONS[name].takes))

    class Host:
        def __call__(self, *given: Any) -> None: ...

        def method(self, *given: Any) -> None: ...

    for hook in (right, functools.partial(right), Host(), Host().method, lambda *given: None):
        FUNCTIONS[name].check(hook)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_arguments(name: str) -> None:
    """C5: one argument more or less is refused, naming the hook and how it is called."""
    takes = FUNCTIONS[name].takes
    called = re.escape(f"{name} is called as {name}({', '.join(takes)}), which yours cannot be: ")
    for count in {len(takes) - 1, len(takes) + 1} & set(range(5)):
        with pytest.raises(ConfigurationError, match=rf"^{called}.+\. Change its arguments\.$"):
            FUNCTIONS[name].check(_taking(count))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "hook", [None, "myapp.hooks.hook", 7, {}, object()], ids=["none", "dotted", "int", "dict", "object"]
)
def test_not_callable(name: str, hook: Any) -> None:
    """What cannot be called, a dotted string above all, is refused by name."""
    with pytest.raises(ConfigurationError, match=rf"^{name} must be a callable"):
        FUNCTIONS[name].check(hook)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_class_in_place_of_its_object(name: str) -> None:
    """A class of callable objects is called without a complaint where its constructor happens to take as much: such a
    mailer would send nothing, and each email would count as sent."""
    takes = len(FUNCTIONS[name].takes)
    made = {"__init__": lambda self, *given: None, "__call__": _taking(takes)}
    for hook in (type("Mine", (), made), type("Heir", (type("Mine", (), made),), {})):
        with pytest.raises(ConfigurationError, match=rf"^{name} is the class {hook.__name__}. Pass an object of it"):
            FUNCTIONS[name].check(hook)


@pytest.mark.parametrize("name", ["mailer", "enqueue", "join"])
def test_a_class_does_nothing(name: str) -> None:
    """Whatever its objects are: to make one of a message sends none, and would count as sent."""
    made = type("Mine", (), {"__init__": lambda self, *given: None})
    with pytest.raises(ConfigurationError, match=rf"^{name} is the class Mine. Pass an object of it"):
        FUNCTIONS[name].check(made)


def test_a_class_as_a_function() -> None:
    """A class whose objects cannot be called may be the hook itself."""
    FUNCTIONS["create_user"].check(type("User", (), {"__init__": lambda self, invitation, profile, password: None}))


def test_keyword_only() -> None:
    """A hook that insists on names for its arguments could not be called and is refused."""
    with pytest.raises(ConfigurationError, match="tenant_of"):
        FUNCTIONS["tenant_of"].check(lambda *, user: None)


def test_unknown_signature() -> None:
    """A callable whose signature Python cannot tell is trusted."""
    FUNCTIONS["role_of"].check(_NoSignature())


class _NoSignature:
    @property
    def __signature__(self) -> Any:
        raise ValueError("no signature")

    def __call__(self, *given: Any) -> None: ...


def test_message_shows_no_secret() -> None:
    """D2: the repr of a message holds neither the link nor the texts that carry it."""
    invitation: Any = "the invitation"
    message = Message(
        id=uuid.UUID(int=7),
        kind="invitation",
        to="ann@example.com",
        subject="Hello",
        text="text with SECRET",
        html="html with SECRET",
        headers={},
        locale="en",
        accept_url="https://app.example.com/#SECRET",
        invitation=invitation,
    )
    assert "SECRET" not in repr(message)
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.to = "bob@example.com"  # type: ignore[misc]


def test_signals() -> None:
    """The seven signals exist, each under a name of its own."""
    names = ("created", "sent", "resent", "revoked", "declined", "accepted", "expired")
    assert [getattr(hooks, f"invitation_{name}").name for name in names] == [f"invitation-{name}" for name in names]
