"""What takes the place of the app's own mailer and clock in a test."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from ..addresses import key_of
from ..clock import as_utc, utcnow
from ..hooks import Message
from ..tokens import parse


class RecordingMailer:
    """A mailer that keeps every message instead of sending it.

    ``fail_with``: an exception to raise instead, for testing what happens when no email can be sent.
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
        """The link in the latest email to ``email``.

        :raises LookupError: no mail went there.
        """
        for message in reversed(self.messages):
            if message.accept_url is not None and key_of(message.to) == key_of(email):
                return message.accept_url
        raise LookupError(f"No email was sent to {email}.")

    def token_to(self, email: str) -> str:
        """The bare token in the latest mail to ``email``, for calls to the JSON API."""
        return token_in(self.link_to(email))


def token_in(link: str | None) -> str:
    """The bare token at the end of ``link``.

    :raises LookupError: there is none.
    """
    found = [part for part in re.split(r"[^\w-]", link or "") if parse(part) is not None]
    if not found:
        raise LookupError("There is no token in this link.")
    return found[-1]


class SettableClock:
    """A clock that moves only when told.

    :param start: an aware datetime; default: now.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self.now: datetime = as_utc(start or utcnow())

    def __call__(self) -> datetime:
        return self.now

    def tick(self, span: timedelta) -> None:
        """Move on by ``span``."""
        self.now += span

    def set(self, moment: datetime) -> None:
        """Jump to ``moment``."""
        self.now = as_utc(moment)
