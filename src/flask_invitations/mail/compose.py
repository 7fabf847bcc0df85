"""From an invitation to a ``Message``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..addresses import address_of
from ..context import Context
from ..errors import MailRefused
from ..gate import WrongAnswer
from ..hooks import Message
from ..languages.plain import NAME, one_line, plain, shortened
from ..model.states import TO_INVITER, WITH_LINK, Kind
from ..model.values import DeliveryInfo, InvitationInfo, Inviter
from ..tokens import Token
from .headers import header_text

#: In characters: a name in a subject, of which inboxes show about 70.
IN_SUBJECT = 50
_NAMES = ("app_name", "tenant_name", "inviter_name", "inviter_email", "invitee_email")


@dataclass(frozen=True)
class Letter:
    """What a mail is made of; gathered inside the transaction, used after it.

    :param delivery: the outbox row as it was claimed; its number of attempts fences the outcome.
    """

    delivery: DeliveryInfo
    kind: Kind
    invitation: InvitationInfo
    tenant_name: str
    inviter: Inviter | None
    token: Token | None = field(default=None, repr=False)


def introduce(ctx: Context, user: Any) -> Inviter | None:
    """How whoever invites is named to the invitee: by their name, and by their email only where the host knows it to
    be theirs (K4)."""
    if user is None:
        return None
    email = address_of(getattr(user, "email", None))
    proved = email is not None and ctx.hooks.email_is_verified(user)
    name = ctx.hooks.display_name(user)
    return Inviter(
        ctx.models.user_id(user), email.typed if email and proved else None, name and shortened(str(name), NAME)
    )


def compose(ctx: Context, letter: Letter) -> Message:
    """Render ``letter`` from the ``invitations/mail/<kind>`` templates (subject, text, HTML)."""
    info, config, inviter = letter.invitation, ctx.config, letter.inviter
    language = ctx.language(None if letter.kind in TO_INVITER else info.locale)  # the invitee's is the invitee's
    accept_url = config.link(letter.token.reveal()) if letter.token is not None else None
    words: dict[str, Any] = {
        "invitation": info,
        "accept_url": accept_url,
        "app_name": one_line(config.app_name),
        "tenant_name": one_line(letter.tenant_name),
        "role": ctx.role_label(info.role),
        "inviter_email": inviter and inviter.email,
        "inviter_name": inviter and inviter.name and one_line(inviter.name),
        "invitee_email": info.email,
        "message": info.message and plain(info.message),
        "expires_at": language.moment(info.expires_at),
    }

    def render(part: str, **other: Any) -> str:
        return ctx.template(f"mail/{letter.kind}{part}").render(**language.words(), **{**words, **other})

    return Message(
        id=letter.delivery.id,
        kind=letter.kind,
        to=_recipient(letter),
        subject=header_text(render(".subject.txt", **_short(words))),
        text=_with_link(letter, ".txt", render(".txt")),
        html=_with_link(letter, ".html", render(".html")),
        headers={
            "Message-ID": f"<{letter.delivery.id}@{config.accept_origin.mail_domain}>",
            "Content-Language": language.tag,
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "All",
            **_unsubscribe(ctx, letter),
        },
        locale=language.tag,
        accept_url=accept_url,
        invitation=info,
    )


def _unsubscribe(ctx: Context, letter: Letter) -> Mapping[str, str]:
    """What lets a mail program stop all further emails to the invitee with one click (RFC 8058)."""
    info = letter.invitation
    if not ctx.config.list_unsubscribe or letter.kind in TO_INVITER:
        return {}
    token = ctx.pseudonyms.stop_token(info.id, ctx.pseudonyms.of(info.tenant_id, info.email_key or "")[0])
    return {
        "List-Unsubscribe": f"<{ctx.config.stop_link(token)}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def _with_link(letter: Letter, part: str, text: str) -> str:
    """:raises WrongAnswer: the host's own template shows no link, where the email is worth nothing without one."""
    if letter.kind in WITH_LINK and letter.token is not None and letter.token.reveal() not in text:
        raise WrongAnswer(f"invitations/mail/{letter.kind}{part} shows no link. Put {{{{ accept_url }}}} into it.")
    return text


def _short(words: Mapping[str, Any]) -> Mapping[str, Any]:
    """The names in a subject, so short that an inbox shows the words around them too: nobody's name is a subject."""
    names = {name: words[name] for name in _NAMES if words[name] is not None}
    return {name: shortened(value, IN_SUBJECT) for name, value in names.items()}


def _recipient(letter: Letter) -> str:
    """Whom it is sent to.

    :raises MailRefused: what is stored is no address, or not the one that was checked.
    """
    inviter, info = letter.inviter, letter.invitation
    to_inviter = letter.kind in TO_INVITER
    found = address_of(inviter and inviter.email if to_inviter else info.email)
    if found is None or not (to_inviter or found.key == info.email_key):
        raise MailRefused("The stored address is not one that can be sent to.")
    return found.mailbox
