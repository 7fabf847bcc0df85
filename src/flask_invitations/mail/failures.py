"""Which failures of a mailer are final, and what may be said of one."""

from __future__ import annotations

import errno
import re
import smtplib
import ssl
from collections.abc import Iterator
from typing import Any

from ..errors import MailRefused

#: RFC 3463 and IANA: about the recipient's address or mailbox, and nothing else: no such mailbox, no such domain, bad
#: syntax, moved, a domain that takes no mail; disabled.
_MAILBOX_STATUS = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?!\.?\d)")
#: What servers say of a mailbox that they do not have, where they give no status.
_MAILBOX_TEXT = re.compile(
    r"\b(?:no such|unknown|invalid|non-?existent) (?:local )?(?:user|recipient|mailbox)\b"
    r"|\b(?:user|recipient|mailbox|recipient address)[ :.]+(?:is |was )?(?:unknown|not found|does(?: not|n't) exist)\b"
    r"|\bno mailbox here by that name\b|\bnot a (?:known|valid) (?:user|recipient|mailbox)\b"
    r"|\buser doesn't have an? \S+ account\b|\bmailbox (?:is |has been )?(?:disabled|discontinued)\b"
    r"|\bunrouteable address\b"
)
#: What speaks of us, or of the moment, whatever status stands beside it.
_NOT_THE_MAILBOX = re.compile(
    r"sender|from address|mail from|return.path|\bhelo\b|\behlo\b|relay(?! recipient table)|\byour\b|\bclient\b"
    r"|authenti|authori|permission|denied|policy|block|black|listed|\brbl\b|dnsbl|spam|abuse|reputation|\bspf\b|dkim"
    r"|dmarc|\brate\b|\blimit|quota|\bfull\b|too (?:many|much|fast|quickly)|exceed|throttl|temporar|later|unverified"
)
#: Addresses and links, which may have any of these words in them; a refused address is named before what is said of it.
_ADDRESS, _QUOTED = re.compile(r"[^\s<>]+@[^\s<>:;,]+"), re.compile(r"<[^<>]*>|https?://\S+")
#: In characters: longer answers are not read to their end.
_ANSWER = 2000


def is_final(error: BaseException) -> bool:
    """Whether a mailer's exception says that trying again cannot help.

    :param error: what any mailer raised: ours, a library's over ``smtplib``, a host's own.
    :returns: true for :class:`MailRefused`, and where the server, asked for the recipients or given the email, refuses
        for good (5xx) what is known to be a mailbox. False for all else, above all for what may be about us (login,
        sender, relaying, lists, limits, content): that is tried until the attempts are used up.
    """
    if isinstance(error, (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError)):
        answers = list(_answers(error))
        return bool(answers) and all(_is_about_the_mailbox(*answer) for answer in answers)
    return isinstance(error, MailRefused)


def described(failure: BaseException) -> str:
    """What may be kept and logged of a failure: its class, and the code that came with it, e.g.
    ``"SMTPAuthenticationError 535 5.7.8"``. Never its text, which may hold the address or the email itself."""
    return " ".join([type(failure).__name__, *map(str, _codes(failure))])[:200]


def _answers(error: BaseException) -> Iterator[tuple[int, str]]:
    """What the server answered: code and text, for each recipient or once."""
    told = getattr(error, "recipients", None)
    pairs = told.values() if isinstance(told, dict) else [_pair(error)]
    for pair in pairs:
        code, text = pair if isinstance(pair, tuple) and len(pair) == 2 else (None, "")
        said = text.decode("latin-1") if isinstance(text, bytes) else str(text)
        yield (code if isinstance(code, int) else 0), said[:_ANSWER]


def _pair(error: BaseException) -> tuple[Any, Any]:
    return getattr(error, "smtp_code", None), getattr(error, "smtp_error", "")


def _is_about_the_mailbox(code: int, text: str) -> bool:
    said = _plain(text)
    if not 500 <= code < 600 or _NOT_THE_MAILBOX.search(said):
        return False
    statuses = _STATUS.findall(said)
    return _MAILBOX_STATUS.issuperset(statuses) if statuses else _MAILBOX_TEXT.search(said) is not None


def _plain(text: str) -> str:
    """What is said, in one line, without names that are not words."""
    named = _ADDRESS.sub(" recipient ", text).replace("< recipient >", " recipient ")
    return " ".join(_QUOTED.sub(" ", named).lower().split())


def _codes(failure: BaseException) -> Iterator[str | int]:
    code, text = next(_answers(failure), (0, ""))
    if code:
        yield code
        yield from _STATUS.findall(_plain(text))[:1]
        return
    response = getattr(failure, "response", failure)  # of the HTTP clients, with few exceptions
    status = getattr(response, "status_code", getattr(response, "code", None))
    if type(status) is int:
        yield status
    if isinstance(failure, ssl.SSLError):
        yield from filter(None, [getattr(failure, "reason", None)])  # OpenSSL's own name for it
    elif isinstance(failure, OSError) and failure.errno is not None:
        yield from filter(None, [errno.errorcode.get(failure.errno)])
