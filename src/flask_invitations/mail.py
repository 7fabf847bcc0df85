"""From an invitation to a mail."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from functools import lru_cache
from typing import Any

from .addresses import key_of
from .clock import utcnow
from .context import Context
from .hooks import Message
from .model.states import Kind
from .model.values import DeliveryInfo, InvitationInfo, Inviter
from .tokens import Token

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


#: Long lines stay whole: the default policy breaks a long link in a header into encoded words.
_POLICY = SMTP.clone(max_line_length=998, header_factory=_Headers())
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
    inviter: Inviter | None
    token: Token | None = field(default=None, repr=False)


def introduce(ctx: Context, user: Any) -> Inviter | None:
    """How whoever invites is named to the invitee: by their name, and by their e-mail only where the host knows it to
    be theirs (K4)."""
    if user is None:
        return None
    email = getattr(user, "email", None)
    proved = key_of(email) is not None and ctx.hooks.email_is_verified(user)
    return Inviter(ctx.models.user_id(user), email if proved else None, ctx.hooks.display_name(user))


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
    info, config, inviter = letter.invitation, ctx.config, letter.inviter
    language = ctx.language(None if letter.kind in Kind.TO_INVITER else info.locale)  # the invitee's is the invitee's
    accept_url = config.link(letter.token.reveal()) if letter.token is not None else None
    words: dict[str, Any] = {
        "invitation": info,
        "accept_url": accept_url,
        "app_name": one_line(config.app_name),
        "tenant_name": one_line(letter.tenant_name),
        "role": one_line(info.role),
        "inviter_email": inviter and inviter.email,
        "inviter_name": inviter and inviter.name and one_line(inviter.name),
        "invitee_email": info.email,
        "message": info.message and plain(info.message),
        "expires_at": language.moment(info.expires_at),
    }

    def render(part: str) -> str:
        return ctx.render(f"invitations/mail/{letter.kind}{part}", language, **words)

    host = config.accept_origin.partition("://")[2].partition(":")[0]
    return Message(
        id=letter.delivery.id,
        kind=letter.kind,
        to=_recipient(letter),
        subject=_header(render(".subject.txt")),
        text=render(".txt"),
        html=render(".html"),
        headers={
            "Message-ID": f"<{letter.delivery.id}@{host}>",
            "Content-Language": language.tag,
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "All",
        },
        locale=language.tag,
        accept_url=accept_url,
        invitation=info,
    )


def _recipient(letter: Letter) -> str:
    """The address as it was typed; an international domain in its ASCII form, which every server takes."""
    to_inviter = letter.kind in Kind.TO_INVITER
    typed = letter.inviter and letter.inviter.email if to_inviter else letter.invitation.email
    local, _, domain = (typed or "").rpartition("@")
    return f"{local}@{domain if domain.isascii() else (key_of(typed) or '').rpartition('@')[2]}"


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
    email.set_content(message.text)
    email.add_alternative(message.html, subtype="html")
    for name, value in message.headers.items():  # after the content: setting that drops Content-Language
        email[name] = value
    if "Message-ID" not in email:
        email["Message-ID"] = make_msgid()
    return email
