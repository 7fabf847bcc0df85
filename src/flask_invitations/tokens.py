"""The link token: nonce -> token -> hash; what stands for an address; and the seal of forms. The only importer of
itsdangerous.

A row keeps a random nonce and the token's hash. The token itself is the HMAC of the nonce under a key
derived from ``SECRET_KEY``: the database alone opens nothing, the key alone opens nothing, and a mail that is
tried again carries the same link although no token was ever stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import secrets
import traceback
import uuid
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

from itsdangerous import BadData, Signer, TimestampSigner

_SALT = b"flask-invitations.link.v1"
_FORM_SALT = "flask-invitations.form.v1"
_MAKER_SALT = "flask-invitations.maker.v1"
_REQUEST_SALT = "flask-invitations.request.v1"
_ADDRESS_SALT = "flask-invitations.address.v1"
_STOP_SALT = "flask-invitations.stop.v1"
_COUNTED_SALT = "flask-invitations.counted.v1"
_SHAPE = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
#: A letter of a token in the code of a link (also coded twice) or of quoted-printable, which also breaks lines.
_CODED = "(?:2[dD]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF])"
_BROKEN = r"(?:=[ \t]*(?:\r?\n|(?:\\r)?\\n))?"
_RUN = re.compile(rf"(?:(?:(?:%(?:25)*|=){_CODED}|[A-Za-z0-9_-]){_BROKEN}){{43,}}")
_MASK = "***"


class Secret:
    """Text that nothing shows by accident: whatever prints, formats, copies or stores a secret has a mask.

    Secrets are equal where their texts are, which is found out in a time that tells nothing of them. What is unpickled
    of one is the mask itself, and opens nothing.
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The text itself: for what needs it at this moment. Give it on at once, and keep it in no variable."""
        return self.__text

    def __repr__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return _MASK

    def __bytes__(self) -> bytes:
        return _MASK.encode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and secrets.compare_digest(self._bytes, other._bytes)

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return type(self), (_MASK,)

    @property
    def _bytes(self) -> bytes:
        return self.__text.encode("utf-8", "surrogatepass")


def sealed(given: Any) -> Any:
    """``given``, as a :class:`Secret` where it is text; what is none is somebody else's to refuse."""
    return Secret(given) if isinstance(given, str) else given


def revealed(given: Any) -> Any:
    """``given``, as the text that it is where it is a :class:`Secret`."""
    return given.reveal() if isinstance(given, Secret) else given


class Token(Secret):
    """A bearer secret of 256 bits, 43 URL-safe characters."""

    __slots__ = ()

    @property
    def hash(self) -> str:
        """SHA-256, hexadecimal: what the row keeps. Enough for a random secret (ASVS 6.5.2)."""
        return hashlib.sha256(self._bytes).hexdigest()


def parse(text: object) -> Token | None:
    """The token that ``text`` is, or ``None`` where it cannot be one: no query is made for that (A11).

    :param text: a :class:`Secret`, or what somebody gave in its place.
    """
    text = revealed(text)
    return Token(text) if isinstance(text, str) and _SHAPE.fullmatch(text) else None


def redact(text: str) -> str:
    """``text`` with a mask in place of everything that may hold a link token, for logs and error reports.

    Tokens are found in the code of links (``%2D``, ``%252D``) and of quoted-printable (``=2D``, broken lines) too.
    Longer runs go as well: in a percent-encoded link the token comes right behind ``%2F`` or ``%23``.
    """
    return _RUN.sub(_MASK, text)


class RedactFilter(logging.Filter):
    """A logging filter that masks link tokens in every record that passes: in its message and arguments, in what was
    added to it by ``extra``, in its exception and in its stack. It never raises.

    For handlers that see URLs or bodies, e.g. an access log where ``ACCEPT_URL`` has the token in its path::

        handler.addFilter(RedactFilter())
    """

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            _redact_record(record)
        except Exception:  # what cannot be looked at is not shown
            record.msg, record.args, record.exc_info, record.exc_text = _MASK, (), None, None
            vars(record).update(dict.fromkeys(vars(record).keys() - _OWN, _MASK))
        return True


#: What every record has. All else is ``extra``.
_OWN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) - {"stack_info", "exc_text"}
#: How deep an argument is looked into; what lies deeper is looked at as text.
_DEPTH = 8


def _redact_record(record: logging.LogRecord) -> None:
    said = _message(record)
    record.msg, record.args = _redacted(record.msg), _redacted(record.args)
    if _holds([said]) and _message(record) != redact(said):
        record.msg, record.args = redact(said), ()
    for name in vars(record).keys() - _OWN:
        setattr(record, name, _redacted(getattr(record, name)))
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and _holds(traceback.format_exception(error)):
        double = _double(error, _DEPTH)
        record.exc_info = type(double), double, double.__traceback__
        record.exc_text = redact(logging.Formatter().formatException(record.exc_info))


def _message(record: logging.LogRecord) -> str:
    """What a record says; where its arguments do not fit, it is made to say that, for whoever prints it."""
    try:
        return record.getMessage()
    except Exception:
        record.msg, record.args = f"{record.msg} (with other arguments: {record.args})", ()
        return str(record.msg)


def _holds(texts: Iterable[str]) -> bool:
    """Whether one of them may hold a token."""
    return any(redact(text) != text for text in texts)


def _redacted(value: Any, depth: int = _DEPTH) -> Any:
    """``value`` itself where it shows no token; else one like it that does not, of the same kind where that can be."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if not _holds([str(value), repr(value)]) and not (depth and _keeps(value, depth)):
        return value
    if depth and isinstance(value, Mapping):
        again: Any = copy(value) if isinstance(value, dict) else {}
        again.clear()
        again.update((_redacted(key, depth - 1), _redacted(each, depth - 1)) for key, each in value.items())
        return again
    if depth and type(value) in (list, tuple, set, frozenset):
        return type(value)(_redacted(each, depth - 1) for each in value)
    return redact(str(value))


def _keeps(value: Any, depth: int) -> bool:
    """Whether a token is in what somebody finds who takes a dataclass apart, as some formatters do."""
    if not is_dataclass(value) or isinstance(value, type):
        return False
    kept = (getattr(value, each.name, None) for each in fields(value))
    return any(_redacted(each, depth - 1) is not each for each in kept)


def _double(error: BaseException, depth: int) -> BaseException:
    """An exception that prints like ``error``, and holds nothing of what it held."""
    kind = type(error)
    name = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    double: BaseException = type(kind.__name__, (Exception,), name)(redact(str(error)))
    double.__traceback__ = error.__traceback__
    if depth:
        double.__cause__ = error.__cause__ and _double(error.__cause__, depth - 1)
        double.__context__ = error.__context__ and _double(error.__context__, depth - 1)
    double.__suppress_context__ = error.__suppress_context__
    return double


def _signer(key: str | bytes) -> Signer:
    """Signs nonces. Its own key is derived once: by default that is done again for each signature."""
    how: dict[str, Any] = {"digest_method": hashlib.sha256}
    derived = Signer(key, salt=_SALT, key_derivation="hmac", **how).derive_key()
    return Signer(derived, key_derivation="none", **how)


class Mint:
    """Makes tokens from nonces.

    :param keys: ``SECRET_KEY`` first, then its fallbacks.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        self._signers = [_signer(key) for key in keys]

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


class Pseudonyms:
    """What stands for an address in a tenant where the address itself must not: in the table of those who want no more
    invitations, and in the link of an email by which somebody says so. Without the keys nobody gets from it to the
    address.

    :param keys: ``SECRET_KEY`` first, then its fallbacks.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        how: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._keys = [Signer(key, salt=_ADDRESS_SALT, **how).derive_key() for key in keys]
        newest_last: list[Any] = list(reversed(keys))
        self._signer = Signer(newest_last, salt=_STOP_SALT, **how)

    def of(self, tenant_id: Any, email_key: str) -> Sequence[str]:
        """The pseudonyms of an address there, hexadecimal: the present one, then those from before a key was
        changed."""
        address = f"{tenant_id}\0{email_key}".encode()
        return [hmac.digest(key, address, "sha256").hex() for key in self._keys]

    def stop_token(self, invitation_id: uuid.UUID, pseudonym: str) -> str:
        """What stops all invitations to an address in the tenant of one of them, and opens nothing. It holds what is
        needed once the invitation has lost its address."""
        whose = base64.urlsafe_b64encode(invitation_id.bytes + bytes.fromhex(pseudonym))
        return self._signer.sign(whose).decode()

    def read_stop_token(self, text: str) -> tuple[uuid.UUID, str] | None:
        """The invitation's id and the pseudonym that :meth:`stop_token` was given; ``None``: we have not made this."""
        try:
            whose = base64.urlsafe_b64decode(self._signer.unsign(text.encode()))
        except (BadData, ValueError):
            return None
        return uuid.UUID(bytes=whose[:16]), whose[16:].hex()


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


def imprints(keys: Sequence[str | bytes], *parts: str) -> Sequence[str]:
    """What a request is known by, hexadecimal: nobody without the key can tell, or try out, what stood in it.

    :param keys: ``SECRET_KEY`` first, then its fallbacks; there is an imprint for each, in this order.
    """
    whole = json.dumps(parts).encode()  # two lists of texts never give one text
    signers = (Signer(key, salt=_REQUEST_SALT, key_derivation="hmac", digest_method=hashlib.sha256) for key in keys)
    return [hmac.new(signer.derive_key(), whole, hashlib.sha256).hexdigest() for signer in signers]


def _short(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:16]


class Blinder:
    """Makes keys under which something can be counted, without anybody who sees one learning what.

    :param key: the present ``SECRET_KEY``; after a change the keys are others.
    :param accept_url: of the app, which shares no key with another one.
    """

    def __init__(self, key: str | bytes, accept_url: str) -> None:
        signer = Signer(key, salt=_COUNTED_SALT, key_derivation="hmac", digest_method=hashlib.sha256)
        self._key, self._app = signer.derive_key(), accept_url

    def __call__(self, *what: object) -> str:
        text = "\0".join((self._app, *map(str, what)))
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


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
