"""What a host needs to test its own use of invitations: a recording mailer, a settable clock, pytest fixtures.

In a host's ``conftest.py``, beside an ``app`` fixture::

    pytest_plugins = ["flask_invitations.testing"]

Then a test may ask for ``invitation_mail`` and ``invitation_clock``; both take the place of the app's own
mailer and clock for the length of the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from flask import Flask

from .addresses import key_of
from .clock import as_utc, utcnow
from .hooks import Message
from .state import override
from .tokens import find


class RecordingMailer:
    """A mailer that keeps every message instead of sending it.

    ``fail_with``: an exception to raise instead, for testing what happens when mail is down.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.fail_with: Exception | None = None

    def __call__(self, message: Message) -> None:
        if self.fail_with is not None:
            raise self.fail_with
        self.messages.append(message)

    def clear(self) -> None:
        """Forget what was recorded."""
        self.messages.clear()

    def link_to(self, email: str) -> str:
        """The link in the latest mail to ``email``.

        :raises LookupError: no mail went there.
        """
        for message in reversed(self.messages):
            if message.accept_url is not None and key_of(message.to) == key_of(email):
                return message.accept_url
        raise LookupError(f"No mail was sent to {email}.")

    def token_to(self, email: str) -> str:
        """The bare token in the latest mail to ``email``, for calls to the JSON API."""
        return token_in(self.link_to(email))


def token_in(link: str) -> str:
    """The bare token at the end of ``link``.

    :raises LookupError: there is none.
    """
    token = find(link)
    if token is None:
        raise LookupError("There is no token in this link.")
    return token.reveal()


class SettableClock:
    """A clock that moves only when told.

    :param start: an aware datetime; default: now.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self.now = as_utc(start or utcnow())

    def __call__(self) -> datetime:
        return self.now

    def tick(self, span: timedelta) -> None:
        """Move on by ``span``."""
        self.now += span

    def set(self, moment: datetime) -> None:
        """Jump to ``moment``."""
        self.now = as_utc(moment)


@pytest.fixture
def invitation_mail(app: Flask) -> Iterator[RecordingMailer]:
    """Records the app's invitation mails for the length of the test."""
    mailer = RecordingMailer()
    with override(app, mailer=mailer):
        yield mailer


@pytest.fixture
def invitation_clock(app: Flask) -> Iterator[SettableClock]:
    """Stops the app's invitation clock at the present moment for the length of the test."""
    clock = SettableClock()
    with override(app, clock=clock):
        yield clock
