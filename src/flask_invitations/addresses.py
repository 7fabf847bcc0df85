"""Email addresses: normalised, then validated, once; compared by their canonical form only."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from email_validator import EmailNotValidError, validate_email

#: RFC 5321, sections 4.5.3.1.1 and 4.5.3.1.3, counted in octets.
MAX_LOCAL, MAX_ADDRESS = 64, 254


class InvalidAddress(ValueError):
    """Not an address we can send to; the message is one sentence for the person who typed it."""


@dataclass(frozen=True)
class Address:
    """:param typed: what was typed, less surrounding white space; :param key: its canonical form."""

    typed: str = field(repr=False)
    key: str = field(repr=False)


def parse(text: str) -> Address:
    """Read one email address.

    The canonical form is NFC with a lower-case local part and a lower-case IDNA (ASCII) domain.
    Dots and plus tags are kept: who folds them decides for providers that do not (OWASP).
    Length is checked before any pattern runs (CVE-2023-36053).

    :raises InvalidAddress: not one bare, deliverable-looking address.
    """
    typed = unicodedata.normalize("NFC", text.strip())
    if len(typed.encode("utf-8", "surrogatepass")) > MAX_ADDRESS:
        raise InvalidAddress(f"The address is longer than {MAX_ADDRESS} octets.")
    try:
        # test_environment admits the reserved .test domain, which hosts use in their own tests.
        parts = validate_email(typed, check_deliverability=False, test_environment=True)
    except (EmailNotValidError, UnicodeError) as error:
        raise InvalidAddress("This is not a valid email address.") from error
    local = unicodedata.normalize("NFC", parts.local_part.lower())
    key = f"{local}@{parts.ascii_domain}"
    if len(local.encode()) > MAX_LOCAL or len(key.encode()) > MAX_ADDRESS:
        raise InvalidAddress("The address is too long.")
    return Address(typed, key)


def key_of(text: object) -> str | None:
    """The canonical form of ``text``, or ``None`` where it is no address at all."""
    if not isinstance(text, str):
        return None
    try:
        return parse(text).key
    except InvalidAddress:
        return None
