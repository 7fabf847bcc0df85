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
_MAKER_SALT = "flask-invitations.maker.v1"
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


def find(text: str) -> Token | None:
    """The token at the end of a pasted link, whatever the mail program put around it."""
    found = _SHAPE.findall(text)
    return Token(found[-1]) if found else None


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


@dataclass(frozen=True)
class Maker:
    """Which app a row of the outbox belongs to: known by where its links lead and by the keys that make them, so that
    nothing has to be configured for it. Neither can be read back.

    :param site: of ``ACCEPT_URL``; ``keys``: of ``SECRET_KEY``, then of its fallbacks.
    """

    site: str
    keys: Sequence[str]

    @property
    def marks(self) -> Sequence[str]:
        """What stands in the rows of this app: the present one, then those from before a key was changed."""
        return [f"{self.site}.{key}" for key in self.keys]


def maker(keys: Sequence[str | bytes], accept_url: str) -> Maker:
    """The app with these keys, newest first, whose links lead there."""
    return Maker(_short(accept_url.encode()), [_short(_derived(key)) for key in keys])


def _derived(key: str | bytes) -> bytes:
    return Signer(key, salt=_MAKER_SALT, key_derivation="hmac", digest_method=hashlib.sha256).get_signature(b"")


def _short(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:16]


class FormSeal(TimestampSigner):
    """Tells a form that we made for one user from one that somebody else has this user send. Nothing is kept for it.

    :param keys: ``SECRET_KEY`` first, then its fallbacks.
    :param whose: the id of the user, as text.
    :param now: the present moment: the library's own clock is never asked.
    """

    MAX_AGE = timedelta(hours=12)

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
            made_for = self.unsign(text, max_age=int(self.MAX_AGE.total_seconds()))
        except BadData:
            return False
        return secrets.compare_digest(made_for, self._fold(purpose).encode())

    @staticmethod
    def _fold(purpose: str) -> str:
        """Of fixed length and without the signer's separator, whatever ids stand in it."""
        return hashlib.sha256(purpose.encode()).hexdigest()[:32]
