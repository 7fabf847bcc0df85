"""Origins: scheme, host and port of a site, read once and compared in one form only, which is that of browsers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote

import idna

_DEFAULT_PORTS = {"http": 80, "https": 443}
#: RFC 1035, section 2.3.4, in octets.
_MAX_HOST = 253
_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(?::([0-9]{0,5}))?", re.IGNORECASE | re.ASCII)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
#: What browsers and libraries read each in its own way: controls, white space, and a backslash, which some take for /.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ud800-\udfff]")
#: What may stand in a link as it is; all else is percent-encoded.
_IN_LINKS = "".join(map(chr, range(0x21, 0x7F)))


class InvalidOrigin(ValueError):
    """Not an origin; the message says what it must be, for a sentence that begins with the name of a setting."""


@dataclass(frozen=True)
class Origin:
    """
    :param scheme: ``"http"`` or ``"https"``.
    :param host: in lower case and ASCII (IDNA), without a final dot; an IPv6 address without its brackets.
    :param port: ``None`` where it is the scheme's own.
    """

    scheme: str
    host: str
    port: int | None = None

    def __str__(self) -> str:
        """As browsers write it, e.g. ``https://app.example.com:8443``."""
        return f"{self.scheme}://{self.netloc}"

    @property
    def netloc(self) -> str:
        """Host and port, as in a link."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def mail_domain(self) -> str:
        """The host as what follows the ``@`` of a ``Message-ID`` (RFC 5322, section 3.6.4)."""
        return f"[IPv6:{self.host}]" if ":" in self.host else self.host


def split(url: str) -> tuple[Origin, str]:
    """The origin of an absolute link, and the rest of the link, which is made ASCII.

    :raises InvalidOrigin: it has none, or none that every program reads as the same.
    """
    found = None if _AMBIGUOUS.search(url) else _URL.fullmatch(url)
    if found is None:
        raise InvalidOrigin("must start with https:// and a host, without spaces and backslashes")
    scheme, authority, rest = found[1].lower(), found[2], found[3]
    if "@" in authority:
        raise InvalidOrigin("must not contain a user name or password. Remove everything before the @")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise InvalidOrigin("has no valid host. Write it as https://host or https://host:port")
    host, port = _host(parts[1]), _port(parts[2])
    return Origin(scheme, host, None if port == _DEFAULT_PORTS[scheme] else port), quote(rest, safe=_IN_LINKS)


def origin_of(url: object) -> Origin | None:
    """The origin of a link, of a ``Referer``, or of the header ``Origin``; ``None`` where it has none (``"null"``)."""
    if not isinstance(url, str):
        return None
    try:
        return split(url)[0]
    except InvalidOrigin:
        return None


def _port(digits: str | None) -> int | None:
    if not digits:
        return None
    if not 0 < int(digits) < 65536:
        raise InvalidOrigin("has no valid port. Use a number from 1 to 65535")
    return int(digits)


def _host(typed: str) -> str:
    """The host in its one form: an IP address, or a name in ASCII.

    :raises InvalidOrigin: it is neither.
    """
    try:
        if typed.startswith("["):
            return IPv6Address(typed[1:-1]).compressed
        host = _ascii(typed)
        # Browsers read a host that ends in a number as an IPv4 address, also 127.1 and 0x7f.1.
        return str(IPv4Address(host)) if re.match(r"(0x|[0-9]+$)", host.rpartition(".")[2]) else host
    except (AddressValueError, UnicodeError) as error:
        raise InvalidOrigin("has no valid host. Write it as https://host or https://host:port") from error


def _ascii(name: str) -> str:
    """A domain name as browsers look it up (UTS 46, as in WHATWG's URL), without the final dot of a full one.

    :raises UnicodeError: it is none.
    """
    name = name.removesuffix(".").lower()
    if len(name) > _MAX_HOST:  # before idna looks at it (CVE-2024-3651)
        raise UnicodeError("too long")
    if not name.isascii() or "xn--" in name:
        name = idna.encode(name, uts46=True).decode("ascii").removesuffix(".")
    if len(name) > _MAX_HOST or not all(map(_LABEL.fullmatch, name.split("."))):
        raise UnicodeError("no domain name")
    return name
