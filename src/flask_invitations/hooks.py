"""Every word that the host can say: the hooks, the signals, and the ``Message`` that its mailer gets."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict, TypeVar

from blinker import Namespace

from .clock import Clock
from .errors import ConfigurationError
from .model.values import InvitationDraft, InvitationInfo

F = TypeVar("F", bound=Callable[..., Any])

_signals = Namespace()
#: Sent after the commit, with ``invitation=InvitationInfo``; the sender is the Flask app.
invitation_created = _signals.signal("invitation-created")
invitation_sent = _signals.signal("invitation-sent")
invitation_resent = _signals.signal("invitation-resent")
invitation_revoked = _signals.signal("invitation-revoked")
invitation_declined = _signals.signal("invitation-declined")
#: Also gets ``user``, the host's user.
invitation_accepted = _signals.signal("invitation-accepted")
invitation_expired = _signals.signal("invitation-expired")


@dataclass(frozen=True)
class Message:
    """One mail, ready to send. Its ``repr`` shows neither link nor text.

    :param id: the delivery's; the same on every try: an idempotency key for providers.
    :param kind: ``"invitation"``, ``"reminder"`` or ``"revoked"``, to the invitee; ``"accepted"``, ``"declined"`` or
        ``"link_request"``, to the inviter.
    :param to: the address to send to: as it was typed, an international domain in its ASCII form.
    :param headers: further headers, ``Message-ID`` among them.
    :param locale: the language of its text, a BCP 47 tag.
    :param accept_url: the link; ``None`` where the kind has none.
    """

    id: uuid.UUID
    kind: str
    to: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    headers: Mapping[str, str]
    locale: str
    accept_url: str | None = field(repr=False)
    invitation: InvitationInfo


class Mailer(Protocol):
    """Sends one mail or raises: then it counts as not sent and is tried again."""

    def __call__(self, message: Message, /) -> None: ...


class CreateUser(Protocol):
    """Makes the account of a new user; may flush, must not commit."""

    def __call__(self, invitation: InvitationInfo, profile: Mapping[str, Any], password: str | None, /) -> Any: ...


@dataclass(frozen=True)
class Hooks:
    """The host's words, complete: what it did not say is filled with a default before this is built."""

    mailer: Mailer
    current_user: Callable[[], Any]
    tenant_of: Callable[[Any], Any]
    role_of: Callable[[Any, Any], str | None]
    can_invite: Callable[[Any, Any, str | None], bool]
    find_user: Callable[[str], Any]
    email_is_verified: Callable[[Any], bool]
    create_user: CreateUser
    join: Callable[[Any, InvitationInfo], None] | None
    #: What the invitee typed, by field name, to what ``create_user`` gets; raises ``InvalidRequest``.
    load_profile: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    #: The names of the fields that ``load_profile`` takes.
    profile_fields: tuple[str, ...]
    validate_password: Callable[[str, InvitationInfo], None]
    check_invitee: Callable[[InvitationDraft], None] | None
    check_acceptance: Callable[[InvitationInfo, Any], None] | None
    find_users: Callable[[Sequence[str]], Iterable[Any]]
    tenant_is_active: Callable[[Any], bool]
    tenant_name: Callable[[Any], str]
    display_name: Callable[[Any], str | None]
    login_url: Callable[[], str] | None
    logout_url: Callable[[], str] | None
    enqueue: Callable[[uuid.UUID], None] | None
    on_accepted: Callable[[Any, InvitationInfo], Mapping[str, Any] | None] | None


class Given(TypedDict, total=False):
    """The keyword arguments of ``init_app``; ``docs/hooks.md`` tells of each."""

    user_model: type[Any]
    mailer: Mailer
    tenant_model: type[Any] | None
    current_user: Callable[[], Any] | None
    tenant_of: Callable[[Any], Any] | None
    role_of: Callable[[Any, Any], str | None] | None
    can_invite: Callable[[Any, Any, str | None], bool] | None
    find_user: Callable[[str], Any] | None
    email_is_verified: Callable[[Any], bool] | None
    create_user: CreateUser | None
    join: Callable[[Any, InvitationInfo], None] | None
    profile_schema: Any
    validate_password: Callable[[str, InvitationInfo], None] | None
    check_invitee: Callable[[InvitationDraft], None] | None
    check_acceptance: Callable[[InvitationInfo, Any], None] | None
    find_users: Callable[[Sequence[str]], Iterable[Any]] | None
    tenant_is_active: Callable[[Any], bool] | None
    tenant_name: Callable[[Any], str] | None
    display_name: Callable[[Any], str | None] | None
    login_url: Callable[[], str] | None
    logout_url: Callable[[], str] | None
    enqueue: Callable[[uuid.UUID], None] | None
    on_accepted: Callable[[Any, InvitationInfo], Mapping[str, Any] | None] | None
    #: ``() -> aware datetime``: for tests.
    clock: Clock


#: How many positional arguments each callable hook is called with.
ARITY: Mapping[str, int] = {
    "mailer": 1,
    "current_user": 0,
    "tenant_of": 1,
    "role_of": 2,
    "can_invite": 3,
    "find_user": 1,
    "email_is_verified": 1,
    "create_user": 3,
    "join": 2,
    "validate_password": 2,
    "check_invitee": 1,
    "check_acceptance": 2,
    "find_users": 1,
    "tenant_is_active": 1,
    "tenant_name": 1,
    "display_name": 1,
    "login_url": 0,
    "logout_url": 0,
    "enqueue": 1,
    "on_accepted": 2,
    "clock": 0,
}


def check(name: str, hook: Any) -> None:
    """Refuse a hook that could not be called as it will be.

    :raises ConfigurationError: not callable, or not with that many arguments.
    """
    wanted = ARITY[name]
    if isinstance(hook, str) or not callable(hook):
        raise ConfigurationError(f"{name} must be a callable, not {type(hook).__name__}: pass the function itself.")
    try:
        inspect.signature(hook).bind(*range(wanted))
    except TypeError as error:
        raise ConfigurationError(f"{name} must take {wanted} positional argument(s): {error}.") from None
    except ValueError:  # a callable written in C without a signature: trust it
        return
