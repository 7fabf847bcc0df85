"""Domains that may be invited, and those that may not: lists of names, and of ``*.example.com`` for all below.

Names are compared in the form in which addresses are: IDNA (ASCII), in lower case, whatever way they were written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache

from .addresses import InvalidAddress, parse
from .errors import AddressNotAllowed, Sentence

_NOT_ALLOWED = Sentence("Addresses of this domain may not be invited. Use an address of another domain.")
_DISPOSABLE = Sentence("This is a disposable address. Use a permanent address of this person.")


def pattern(text: str) -> str:
    """One entry of a list, as domains are compared with it.

    :raises ValueError: no domain, and no ``*.`` before one.
    """
    if not text.startswith("*."):
        return _domain(text)
    return "*." + _domain(f"a.{text[2:]}")[2:]  # of a top-level domain alone no address could be


def _domain(text: str) -> str:
    if "@" in text:
        raise InvalidAddress("This is an address.")
    return parse(f"a@{text}").key.rpartition("@")[2]


@dataclass(frozen=True)
class Domains:
    """:param allowed: the only ones, ``None``: all; :param denied: even so; :param disposable: with all below."""

    allowed: frozenset[str] | None
    denied: frozenset[str]
    disposable: Collection[str] = frozenset()

    def refusal(self, domain: str) -> AddressNotAllowed | None:
        """Why no address of this domain may be invited, if so.

        :param domain: of a canonical address.
        """
        if _lists(self.denied, domain) or (self.allowed is not None and not _lists(self.allowed, domain)):
            return AddressNotAllowed(_NOT_ALLOWED)
        if self.disposable and (domain in self.disposable or any(each in self.disposable for each in _above(domain))):
            return AddressNotAllowed(_DISPOSABLE)
        return None


def _lists(patterns: Collection[str], domain: str) -> bool:
    return bool(patterns) and (domain in patterns or any(f"*.{each}" in patterns for each in _above(domain)))


def _above(domain: str) -> Iterator[str]:
    while "." in domain:
        domain = domain.partition(".")[2]
        yield domain


@cache
def disposable() -> Collection[str]:
    """The domains of addresses that are thrown away.

    :raises ImportError: the extra is not installed.
    """
    from disposable_email_domains import blocklist

    return frozenset(blocklist)
