"""What the host can say: hooks are checked before they are needed, and messages show no secret."""

from __future__ import annotations

import dataclasses
import functools
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from flask_invitations import hooks
from flask_invitations.errors import ConfigurationError
from flask_invitations.hooks import ARITY, Hooks, Message, check


def _taking(count: int) -> Callable[..., None]:
    lambdas: dict[int, Callable[..., None]] = {
        0: lambda: None,
        1: lambda a: None,
        2: lambda a, b: None,
        3: lambda a, b, c: None,
        4: lambda a, b, c, d: None,
    }
    return lambdas[count]


def test_every_hook_is_checked() -> None:
    """There is no hook whose arguments are not known; the profile's two come from the host's schema."""
    fields = {field.name for field in dataclasses.fields(Hooks)}
    assert set(ARITY) == fields - {"load_profile", "profile_fields"} | {"clock"}


@pytest.mark.parametrize("name", sorted(ARITY))
def test_right_hook(name: str) -> None:
    """A hook that can be called as it will be passes, whatever kind of callable it is."""
    right = _taking(ARITY[name])

    class Host:
        def __call__(self, *given: Any) -> None: ...

        def method(self, *given: Any) -> None: ...

    for hook in (right, functools.partial(right), Host(), Host().method, lambda *given: None):
        check(name, hook)


@pytest.mark.parametrize("name", sorted(ARITY))
def test_wrong_arguments(name: str) -> None:
    """C5: one argument more or less is refused, naming the hook and the number it is called with."""
    for count in {ARITY[name] - 1, ARITY[name] + 1} & set(range(5)):
        with pytest.raises(ConfigurationError, match=rf"^{name} must take {ARITY[name]} positional"):
            check(name, _taking(count))


@pytest.mark.parametrize("name", sorted(ARITY))
@pytest.mark.parametrize(
    "hook", [None, "myapp.hooks.hook", 7, {}, object()], ids=["none", "dotted", "int", "dict", "object"]
)
def test_not_callable(name: str, hook: Any) -> None:
    """What cannot be called, a dotted string above all, is refused by name."""
    with pytest.raises(ConfigurationError, match=rf"^{name} must be a callable"):
        check(name, hook)


def test_keyword_only() -> None:
    """A hook that insists on names for its arguments could not be called and is refused."""
    with pytest.raises(ConfigurationError, match="tenant_of"):
        check("tenant_of", lambda *, user: None)


def test_unknown_signature() -> None:
    """A callable whose signature Python cannot tell is trusted."""
    check("role_of", _NoSignature())


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
