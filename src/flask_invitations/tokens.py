"""The link token: nonce -> token -> hash; and the seal of forms. The only importer of itsdangerous.

A row keeps a random nonce and the token's hash. The token itself is the HMAC of the nonce under a key
derived from ``SECRET_KEY``: the database alone opens nothing, the key alone opens nothing, and a mail that is
tried again carries the same link although no token was ever stored.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from itsdangerous import BadData, Signer, TimestampSigner

_SALT = b"flask-invitations.link.v1"
_FORM_SALT = "flask-invitations.form.v1"
_SHAPE = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
_RUN = re.compile(r"[A-Za-z0-9_-]{43,}")


@dataclass(frozen=True)
class Token:
    """A bearer secret of 256 bits, 43 URL-safe characters. Printing it shows a mask; :meth:`reveal` does not."""

    _text: str = field(repr=False)

    def __str__(self) -> str:
        return "***"

    def reveal(self) -> str:
        """The token in plain text: for the mail, and for the form that its holder opened."""
        return self._text

    @property
    def hash(self) -> str:
        """SHA-256, hexadecimal: what the row keeps. Enough for a random secret (ASVS 6.5.2)."""
        return hashlib.sha256(self._text.encode()).hexdigest()


def parse(text: object) -> Token | None:
    """The token that ``text`` is, or ``None`` where it cannot be one: no query is made for that (A11)."""
    return Token(text) if isinstance(text, str) and _SHAPE.fullmatch(text) else None


def redact(text: str) -> str:
    """``text`` with a mask in place of everything that may hold a link token, for logs and error reports.

    Longer runs go too: in a percent-encoded link the token stands right behind ``%2F`` or ``%23``.
    """
    return _RUN.sub("***", text)


class RedactFilter(logging.Filter):
    """A logging filter that masks link tokens in every record that passes.

    For handlers that see URLs or bodies, e.g. an access log where ``ACCEPT_URL`` has the token in its path::

        handler.addFilter(RedactFilter())
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return True


class Mint:
    """Makes tokens from nonces.

    :param keys: ``SECRET_KEY`` first, then its fallbacks.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        self._signers = [Signer(key, salt=_SALT, key_derivation="hmac", digest_method=hashlib.sha256) for key in keys]

    def new(self) -> tuple[str, Token]:
        """A fresh nonce (hexadecimal, 32 random bytes) and its token under the present key."""
        nonce = secrets.token_bytes(32)
        return nonce.hex(), self._sign(self._signers[0], nonce)

    def recover(self, nonce: str, token_hash: str) -> Token | None:
        """The token of a stored nonce, or ``None`` where no key we have gives the stored hash."""
        for signer in self._signers:
            token = self._sign(signer, bytes.fromhex(nonce))
            if secrets.compare_digest(token.hash, token_hash):
                return token
        return None

    @staticmethod
    def _sign(signer: Signer, nonce: bytes) -> Token:
        return Token(signer.get_signature(nonce).decode())


class FormSeal(TimestampSigner):
    """Tells a form that we made for one user from one that somebody else has this user send. Nothing is kept for it.

    :param keys: ``SECRET_KEY`` first, then its fallbacks.
    :param whose: the id of the user, as text.
    :param now: the present moment: the library's own clock is never asked.
    """

    MAX_AGE = timedelta(hours=12)
    #: How far the clock of the server that made a form may be ahead of ours.
    AHEAD = timedelta(minutes=5)

    def __init__(self, keys: Sequence[str | bytes], whose: str, now: datetime) -> None:
        newest_last: list[Any] = list(reversed(keys))
        salt = f"{_FORM_SALT}:{whose}"
        super().__init__(newest_last, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
        self._now = int(now.timestamp())

    def get_timestamp(self) -> int:
        return self._now

    def make(self, purpose: str) -> str:
        """What a form for ``purpose`` carries."""
        return self.sign(self._fold(purpose)).decode()

    def is_from(self, purpose: str, text: str) -> bool:
        """Whether ``text`` was made by :meth:`make` for the same user and purpose, at most ``MAX_AGE`` ago."""
        try:
            made_for, made = self.unsign(text, return_timestamp=True)
        except BadData:
            return False
        age = timedelta(seconds=self._now - int(made.timestamp()))
        return -self.AHEAD <= age <= self.MAX_AGE and secrets.compare_digest(made_for, self._fold(purpose).encode())

    @staticmethod
    def _fold(purpose: str) -> str:
        """Of fixed length and without the signer's separator, whatever ids stand in it."""
        return hashlib.sha256(purpose.encode()).hexdigest()[:32]
