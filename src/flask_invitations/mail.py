"""From an invitation to a mail."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import Any

from .addresses import key_of
from .clock import utcnow
from .context import Context
from .hooks import Message
from .models import DeliveryInfo, InvitationInfo, Inviter
from .tokens import Token

#: Long lines stay whole: the default policy breaks a long link in a header into encoded words.
_POLICY = SMTP.clone(max_line_length=998)
_WORD_JOINER = "\u2060"


@dataclass(frozen=True)
class Letter:
    """What a mail is made of; gathered inside the transaction, used after it.

    :param delivery: the outbox row as it was claimed; its number of attempts fences the outcome.
    """

    delivery: DeliveryInfo
    kind: str
    invitation: InvitationInfo
    tenant_name: str
    token: Token = field(repr=False)


def plain(text: str) -> str:
    """``text`` of somebody's making as one harmless run of words: no control or invisible characters, nothing
    that a mail program turns into a link, no start of an encoded word (E2, E8, K4)."""
    kept = "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else " "
        for c in text.replace("\r\n", "\n")
    )
    return re.sub(r"(?<=\S)([.:/@])(?=\S)", rf"\1{_WORD_JOINER}", kept).replace("=?", "= ?")


def one_line(text: str) -> str:
    """:func:`plain` for a header: without line breaks."""
    return " ".join(plain(text).split())


def compose(ctx: Context, letter: Letter) -> Message:
    """Render ``letter`` from the ``invitations/mail/<kind>`` templates (subject, text, HTML)."""
    info, config = letter.invitation, ctx.config
    accept_url = config.link(letter.token.reveal())
    words: dict[str, Any] = {
        "invitation": info,
        "accept_url": accept_url,
        "app_name": one_line(config.app_name),
        "tenant_name": one_line(letter.tenant_name),
        "inviter_email": inviter_email(info.invited_by),
        "message": info.message and plain(info.message),
        "expires_at": info.expires_at,
    }

    def render(part: str) -> str:
        return ctx.render(f"invitations/mail/{letter.kind}{part}", **words)

    host = config.accept_origin.partition("://")[2].partition(":")[0]
    return Message(
        id=letter.delivery.id,
        kind=letter.kind,
        to=_recipient(info),
        subject=_header(render(".subject.txt")),
        text=render(".txt"),
        html=render(".html"),
        headers={
            "Message-ID": f"<{letter.delivery.id}@{host}>",
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "All",
        },
        locale=info.locale,
        accept_url=accept_url,
        invitation=info,
    )


def _recipient(info: InvitationInfo) -> str:
    """The address as it was typed; an international domain in its ASCII form, which every server takes."""
    (local, _, domain), (_, _, ascii_domain) = (
        (info.email or "").rpartition("@"),
        (info.email_key or "").rpartition("@"),
    )
    return f"{local}@{domain if domain.isascii() else ascii_domain}"


def inviter_email(inviter: Inviter | None) -> str | None:
    """The inviter's e-mail, where it is one: a host's column may hold anything."""
    return inviter.email if inviter is not None and key_of(inviter.email) else None


def _header(text: str) -> str:
    """A rendered subject as a safe header value, even where a host's template took a part that was not made plain."""
    kept = "".join(c if c.isprintable() or c == _WORD_JOINER else " " for c in text)
    return " ".join(kept.split()).replace("=?", "= ?")


def to_email(message: Message, sender: str) -> EmailMessage:
    """``message`` as a standard e-mail, for mailers of any kind.

    :param sender: the From address, e.g. ``"Acme <no-reply@acme.example>"``.
    """
    email = EmailMessage(policy=_POLICY)
    email["From"], email["To"], email["Subject"] = sender, message.to, message.subject
    email["Date"] = format_datetime(utcnow())
    for name, value in message.headers.items():
        email[name] = value
    if "Message-ID" not in email:
        email["Message-ID"] = make_msgid()
    email.set_content(message.text)
    email.add_alternative(message.html, subtype="html")
    return email
