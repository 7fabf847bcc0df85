"""From a ``Message`` to a standard email, and what a header may hold."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from email import headerregistry
from email.header import Header
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import EmailPolicy, default
from email.utils import format_datetime, make_msgid
from functools import lru_cache
from typing import Any

from ..addresses import address_of, is_sender
from ..clock import utcnow
from ..errors import ConfigurationError, MailRefused
from ..hooks import Message
from ..languages.plain import WORD_JOINER, shortened

#: In characters; RFC 2047, section 2: a line that has encoded words.
LINE = 76
#: In octets; RFC 5322, section 2.1.1: any line.
LONGEST_LINE = 998
#: In characters: a subject, and the name of a sender.
SUBJECT = 250
_MAILBOX = re.compile(r"\s*(?:(.*)<([^<>]+)>|([^<>]+))\s*", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)

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


class _Policy(EmailPolicy):
    """Writes headers so that each word that can stays whole, a link for one; the standard library breaks long words
    into encoded words, and its encoded words differ from one Python to the next."""

    def fold(self, name: str, value: Any) -> str:
        text = _encodable(str(value))
        if (self.utf8 or text.isascii()) and len(name) + max(map(len, text.encode().split(b" "))) < LONGEST_LINE:
            return _wrapped(name, text, self.linesep)
        if isinstance(value, headerregistry.AddressHeader):
            mailboxes = [_encoded_mailbox(name, each) for each in value.addresses]
            return _wrapped(name, ", ".join(mailboxes), self.linesep)
        if isinstance(value, headerregistry.UnstructuredHeader):
            return _wrapped(name, _encoded(name, text), self.linesep)
        return str(super().fold(name, value))

    def fold_binary(self, name: str, value: Any) -> bytes:
        return self.fold(name, value).encode("utf-8" if self.utf8 else "ascii", "surrogateescape")


def _wrapped(name: str, text: str, linesep: str) -> str:
    """A header in lines that are as short as its words allow."""
    first, *words = text.split(" ")
    lines = [f"{name}: {first}"]
    for word in words:
        if word and lines[-1].strip() and len(lines[-1]) + len(word) >= LINE:
            lines.append("")
        lines[-1] += f" {word}"
    return linesep.join([*lines, ""])


def _encoded(header: str, text: str) -> str:
    """``text`` as encoded words of at most 75 characters each (RFC 2047), with a space between them."""
    return Header(text, "utf-8", maxlinelen=LINE, header_name=header).encode(linesep="")


def _encoded_mailbox(header: str, mailbox: headerregistry.Address) -> str:
    if mailbox.display_name.isascii():
        return str(mailbox)
    return f"{_encoded(header, mailbox.display_name)} <{mailbox.addr_spec}>"


#: What is beyond ASCII is encoded, in headers and bodies: not every server takes eight bits.
_POLICY = _Policy(max_line_length=LINE, linesep="\r\n", cte_type="7bit", header_factory=_Headers())
#: For an address beyond ASCII, which only a server with SMTPUTF8 takes (RFC 6532).
_INTERNATIONAL = _POLICY.clone(utf8=True)


def header_text(text: str) -> str:
    """A rendered subject as a safe header value, even where a host's template took a part that was not made plain."""
    kept = "".join(c if c.isprintable() or c == WORD_JOINER else " " for c in text)
    return shortened(" ".join(kept.split()).replace("=?", "= ?"), SUBJECT)


def to_email(message: Message, sender: str) -> EmailMessage:
    """``message`` as a standard email, for mailers of any kind: lines of 7 bits, addresses that name whom it is for.

    :param sender: the From address, e.g. ``"Acme <no-reply@acme.example>"``.
    :raises MailRefused: it is to no address, or the email that was built does not name exactly that.
    :raises ConfigurationError: the sender is none.
    """
    (whose, source), (name, target) = read_sender(sender), _read_recipient(message.to)
    email = EmailMessage(policy=_POLICY if (source + target).isascii() else _INTERNATIONAL)
    email["From"], email["To"] = _mailbox("From", whose, source), _mailbox("To", name, target)
    email["Subject"] = header_text(message.subject)
    email["Date"] = format_datetime(utcnow())
    _add_bodies(email, message)
    for header, value in message.headers.items():  # after the content: setting that drops Content-Language
        email[header] = _encodable(value)
    if "Message-ID" not in email:
        email["Message-ID"] = make_msgid()
    _check(email, {"From": source, "To": target})
    return email


def _add_bodies(email: EmailMessage, message: Message) -> None:
    text, html = _encodable(message.text), _encodable(message.html)
    email.set_content(text, cte=_transfer_encoding(text))
    # Nobody can put this into a text. The generator's own costs a search of all parts, a third of writing the email.
    email.make_alternative(boundary=f"=_{secrets.token_hex(16)}")
    email.add_alternative(html, subtype="html", cte=_transfer_encoding(html))


def _transfer_encoding(text: str) -> str | None:
    """``None``: whichever of the two encodings is shorter."""
    whole = text.isascii() and max(map(len, text.splitlines()), default=0) <= LONGEST_LINE
    return "7bit" if whole else None


def _encodable(text: str) -> str:
    """``text`` without what no email can carry: NUL, and halves of characters."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


# Addresses


@_remembered
def read_sender(sender: str) -> tuple[str, str]:
    """The name (maybe empty) and the address of a From.

    :raises ConfigurationError: it has no address, or more than one.
    """
    name, address = split_mailbox(sender)
    if not is_sender(address):
        raise ConfigurationError('The sender must be one email address, as in "Acme <no-reply@acme.example>".')
    found = address_of(address)
    return name, address if found is None else found.mailbox


def split_mailbox(text: str) -> tuple[str, str]:
    """The name and the address of ``Name <address>``; the name is whatever stands before the last bracket, so that no
    name, whatever it is made of, can bring an address."""
    parts = _MAILBOX.fullmatch(text)
    if parts is None:
        return "", ""
    name, address = (parts[1] or "").strip(), (parts[2] or parts[3]).strip()
    quoted = _QUOTED.fullmatch(name)
    return header_text(re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else name), address


def _read_recipient(to: str) -> tuple[str, str]:
    name, address = split_mailbox(to)
    found = address_of(address)
    if found is None:
        raise MailRefused("The recipient is no email address.")
    return name, found.mailbox


@_remembered
def _mailbox(header: str, name: str, address: str) -> Any:
    """A header made of its parts."""
    local, _, domain = address.rpartition("@")
    return _POLICY.header_factory(header, headerregistry.Address(name, local, domain))


def _check(email: EmailMessage, meant: dict[str, str]) -> None:
    """Whether the headers, as they are written, name whom we mean, and nobody else.

    :raises MailRefused: they do not.
    """
    for header, address in meant.items():
        written = email.policy.fold(header, email[header])
        if not _is_plainly(header, written, address) and _named(header, written) != (address,):
            raise MailRefused(f"The {header} of the email would name another mailbox.")


def _is_plainly(header: str, written: str, address: str) -> bool:
    """Whether nothing but an address is written that can be read in one way only: then nobody needs to parse it."""
    return written == f"{header}: {address}\r\n" and _PLAIN.fullmatch(address) is not None


@_remembered
def _named(header: str, written: str) -> Sequence[str]:
    value = written.partition(":")[2].replace("\r\n", "").strip()
    return tuple(each.addr_spec for each in default.header_factory(header, value).addresses)
