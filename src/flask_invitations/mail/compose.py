"""From an invitation to a ``Message``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..addresses import key_of
from ..context import Context
from ..hooks import Message
from ..languages.plain import one_line, plain
from ..model.states import TO_INVITER, Kind
from ..model.values import DeliveryInfo, InvitationInfo, Inviter
from ..tokens import Token
from .headers import header_text


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
    email = getattr(user, "email", None)
    proved = key_of(email) is not None and ctx.hooks.email_is_verified(user)
    return Inviter(ctx.models.user_id(user), email if proved else None, ctx.hooks.display_name(user))


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
        "role": one_line(info.role),
        "inviter_email": inviter and inviter.email,
        "inviter_name": inviter and inviter.name and one_line(inviter.name),
        "invitee_email": info.email,
        "message": info.message and plain(info.message),
        "expires_at": language.moment(info.expires_at),
    }

    def render(part: str) -> str:
        return ctx.render(f"invitations/mail/{letter.kind}{part}", language, **words)

    return Message(
        id=letter.delivery.id,
        kind=letter.kind,
        to=_recipient(letter),
        subject=header_text(render(".subject.txt")),
        text=render(".txt"),
        html=render(".html"),
        headers={
            "Message-ID": f"<{letter.delivery.id}@{config.accept_origin.mail_domain}>",
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
    to_inviter = letter.kind in TO_INVITER
    typed = letter.inviter and letter.inviter.email if to_inviter else letter.invitation.email
    local, _, domain = (typed or "").rpartition("@")
    return f"{local}@{domain if domain.isascii() else (key_of(typed) or '').rpartition('@')[2]}"
