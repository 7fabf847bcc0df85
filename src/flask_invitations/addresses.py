"""Email addresses: normalised, then validated, once; compared by their canonical form only."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email

#: RFC 5321, sections 4.5.3.1.1 and 4.5.3.1.3, counted in octets.
MAX_LOCAL, MAX_ADDRESS = 64, 254
#: Local parts that a mail system may read as another mailbox: an encoded word (RFC 2047), a route by way of a domain,
#: ``user%other.com`` and ``other.com!user`` (Postfix follows them by default, Exim refuses them), a file or a command.
_ROUTE = re.compile(r"=\?|.%[^%]*\.|\.[^!]*!.|^[/|]")
#: Most local parts: nothing in them has to be looked up, mapped or quoted, so that what remains is their domain.
_PLAIN = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*")
#: Characters that nobody sees, and that Unicode does not count as format characters.
#: What separates the parts of an address, or of a route.
_SPECIALS = frozenset('@%!<>()[]\\,;:" ')
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")


class InvalidAddress(ValueError):
    """Not an address we can send to; the message is one sentence for the person who typed it."""


@dataclass(frozen=True)
class Address:
    """:param typed: what was typed, less surrounding white space; :param key: its canonical form."""

    typed: str = field(repr=False)
    key: str = field(repr=False)

    @property
    def mailbox(self) -> str:
        """What is sent to: as it was typed, an international domain in its ASCII form, which every server takes."""
        local, _, domain = self.typed.rpartition("@")
        return f"{local}@{domain if domain.isascii() else self.key.rpartition('@')[2]}"


def parse(text: str) -> Address:
    """Read one email address.

    The canonical form is NFC with a lower-case local part and a lower-case IDNA (ASCII) domain.
    Dots and plus tags are kept: who folds them decides for providers that do not (OWASP).
    Length is checked before any pattern runs (CVE-2023-36053).

    :raises InvalidAddress: not one bare, deliverable-looking address, or one that could be read as another.
    """
    typed = unicodedata.normalize("NFC", text.strip())
    if len(typed.encode("utf-8", "surrogatepass")) > MAX_ADDRESS:
        raise InvalidAddress(f"The address is longer than {MAX_ADDRESS} octets.")
    return _read(typed)


@lru_cache(maxsize=256)
def _read(typed: str) -> Address:
    local, _, domain = typed.rpartition("@")
    if len(local) <= MAX_LOCAL and _PLAIN.fullmatch(local) and domain.isascii() and "xn--" not in domain.lower():
        return Address(typed, f"{local.lower()}@{_domain(domain)}")
    return _validated(typed)


@lru_cache(maxsize=1024)
def _domain(domain: str) -> str:
    """The canonical form of a domain: a long list of people has few of them."""
    return _validated(f"x@{domain}").key.rpartition("@")[2]


def _validated(typed: str) -> Address:
    try:
        # test_environment admits the reserved .test domain, which hosts use in their own tests.
        parts = validate_email(typed, check_deliverability=False, test_environment=True)
    except (EmailNotValidError, UnicodeError) as error:
        raise InvalidAddress("This is not a valid email address.") from error
    local = unicodedata.normalize("NFC", parts.local_part.lower())
    key = f"{local}@{parts.ascii_domain}"
    if len(local.encode()) > MAX_LOCAL or len(key.encode()) > MAX_ADDRESS:
        raise InvalidAddress("The address is too long.")
    # A domain is taken as it is spelled: letter case is all that may be mapped away (not ⓔ to e, or ． to .).
    domain = "".join(map(str.lower, typed.rpartition("@")[2]))
    if "." not in domain or domain not in (parts.domain, parts.ascii_domain):
        raise InvalidAddress("This is not a valid email address.")
    if _ROUTE.search(local) or _UNSEEN.search(local) or _imitates(local):
        raise InvalidAddress("This is not a valid email address.")
    return Address(typed, key)


def _imitates(local: str) -> bool:
    """Whether a server that folds full-width forms would find a character in it that addresses are made of."""
    return not _SPECIALS.isdisjoint(set(unicodedata.normalize("NFKC", local)) - set(local))


def canonical_email(text: str) -> str:
    """The form in which addresses are compared and looked up: store users' addresses in it.

    NFC, the local part in lower case, the domain as IDNA (ASCII) in lower case. Dots and plus tags stay.

    :raises ValueError: not one bare email address.
    """
    return parse(text).key


def address_of(text: object) -> Address | None:
    """The address that ``text`` is, or ``None`` where it is none at all."""
    if not isinstance(text, str):
        return None
    try:
        return parse(text)
    except InvalidAddress:
        return None


def key_of(text: object) -> str | None:
    """The canonical form of ``text``, or ``None`` where it is no address at all."""
    found = address_of(text)
    return None if found is None else found.key


def is_sender(text: str) -> bool:
    """Whether an operator may send from it: any mailbox, also on a host or in a domain of their own (``root@mail``)."""
    return address_of(text) is not None or address_of(f"{text}.test") is not None
