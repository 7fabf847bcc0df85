"""From a ``Message`` to a standard email, and what a header may hold."""

from __future__ import annotations

from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from functools import lru_cache
from typing import Any

from ..clock import utcnow
from ..hooks import Message
from ..languages.plain import WORD_JOINER

_remembered = lru_cache(maxsize=64)


class _Headers(HeaderRegistry):
    """The standard library's, which makes a class for each header and parses each value: most of the time in which a
    mail is built, and most of it for what the last mail had too."""

    @_remembered
    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name)

    def __call__(self, name: str, value: Any) -> Any:
        return self._parsed(name, value) if type(value) is str else super().__call__(name, value)

    @_remembered
    def _parsed(self, name: str, value: str) -> Any:
        return super().__call__(name, value)


#: Long lines stay whole: the default policy breaks a long link in a header into encoded words.
_POLICY = SMTP.clone(max_line_length=998, header_factory=_Headers())


def header_text(text: str) -> str:
    """A rendered subject as a safe header value, even where a host's template took a part that was not made plain."""
    kept = "".join(c if c.isprintable() or c == WORD_JOINER else " " for c in text)
    return " ".join(kept.split()).replace("=?", "= ?")


def to_email(message: Message, sender: str) -> EmailMessage:
    """``message`` as a standard email, for mailers of any kind.

    :param sender: the From address, e.g. ``"Acme <no-reply@acme.example>"``.
    """
    email = EmailMessage(policy=_POLICY)
    email["From"], email["To"], email["Subject"] = sender, message.to, message.subject
    email["Date"] = format_datetime(utcnow())
    email.set_content(message.text)
    email.add_alternative(message.html, subtype="html")
    for name, value in message.headers.items():  # after the content: setting that drops Content-Language
        email[name] = value
    if "Message-ID" not in email:
        email["Message-ID"] = make_msgid()
    return email
