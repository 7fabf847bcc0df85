"""Every word that the host can say: the hooks, the signals, and the ``Message`` that its mailer gets."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypedDict

from blinker import NamedSignal, Namespace
from marshmallow import Schema

from .addresses import key_of
from .clock import Clock
from .gate import Calling, Class, Hook, OptionalHook, Word
from .model.values import InvitationDraft, InvitationInfo
from .replies import (
    CHECKED,
    DONE,
    LIMITS,
    MOMENT,
    NEW_USER,
    ROLE,
    SEATS,
    SESSION,
    SIGNED_IN,
    TENANT,
    TEXT,
    TEXT_OR_NONE,
    URL,
    URL_OR_NONE,
    USER_OR_NONE,
    USERS,
    WAIT,
    YES_OR_NO,
    House,
)

_signals = Namespace()
#: Sent after the commit, with ``invitation=InvitationInfo``; the sender is the Flask app.
invitation_created: NamedSignal = _signals.signal("invitation-created")
invitation_sent: NamedSignal = _signals.signal("invitation-sent")
invitation_resent: NamedSignal = _signals.signal("invitation-resent")
invitation_revoked: NamedSignal = _signals.signal("invitation-revoked")
invitation_declined: NamedSignal = _signals.signal("invitation-declined")
#: Also gets ``user``, the host's user.
invitation_accepted: NamedSignal = _signals.signal("invitation-accepted")
invitation_expired: NamedSignal = _signals.signal("invitation-expired")
#: An invitee calls the invitation unwanted or abusive: for the operator of the app.
invitation_reported: NamedSignal = _signals.signal("invitation-reported")


@dataclass(frozen=True)
class Message:
    """One email, ready to send. Its ``repr`` shows neither link, text nor address.

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
    to: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    headers: Mapping[str, str]
    locale: str
    accept_url: str | None = field(repr=False)
    invitation: InvitationInfo


# What each hook is to the type checker: shared by the table of hooks and the keywords of ``init_app``.
Mailer = Callable[[Message], None]
CurrentUser = Callable[[], Any]
TenantOf = Callable[[Any], Any]
RoleOf = Callable[[Any, Any], str | Enum | None]
CanInvite = Callable[[Any, Any, str | None], bool]
FindUser = Callable[[str], Any]
FindUsers = Callable[[Sequence[str]], Iterable[Any]]
EmailIsVerified = Callable[[Any], bool]
CreateUser = Callable[[InvitationInfo, Mapping[str, Any], str | None], Any]
Join = Callable[[Any, InvitationInfo], None]
ValidatePassword = Callable[[str, InvitationInfo], None]
CheckInvitee = Callable[[InvitationDraft], None]
CheckAcceptance = Callable[[InvitationInfo, Any], None]
Seats = Callable[[Any], int | None]
LimitsFor = Callable[[Any], Mapping[str, Any]]
RateLimit = Callable[[str, str, int], float | None]
TenantIsActive = Callable[[Any], bool]
TenantName = Callable[[Any], str]
DisplayName = Callable[[Any], str | None]
Url = Callable[[], str]
RoleLabel = Callable[[str], str]
AcceptedUrl = Callable[[Any, InvitationInfo], str | None]
Enqueue = Callable[[uuid.UUID], None]
OnAccepted = Callable[[Any, InvitationInfo], Mapping[str, Any] | None]


class HookTable:
    """Every hook, once. On ``Invitations`` each is a decorator that returns what it is given unchanged; on the hooks of
    an app, what the host gave or its default, behind the gate."""

    user_model: Class = Class("Your mapped class of users. Its primary key is int, UUID or str.")
    mailer: Hook[Mailer] = Hook(
        "message",
        """Send one email, or raise. Then it counts as not sent and is tried again. ``MailRefused`` gives it up.

        Called after the commit.""",
        DONE,
    )
    tenant_model: Class = Class("Your mapped class of tenants. Without one, the app is one tenant.")
    current_user: Hook[CurrentUser] = Hook(
        "",
        """The signed-in user, or ``None``. A user whose ``is_authenticated`` is false counts as ``None``.

        Default: Flask-Login's ``current_user``, if Flask-Login is set up on the app.""",
        SIGNED_IN,
    )
    tenant_of: Hook[TenantOf] = Hook(
        "user",
        """The id of the tenant in which this user acts now, or ``None``.

        It needs ``role_of`` beside it. Default: ``user.tenant_id``, if there is a tenant model.""",
        TENANT,
    )
    role_of: Hook[RoleOf] = Hook(
        "user, tenant_id",
        """The role of a user in a tenant, or ``None`` if they are no member of it. A member of an ``Enum`` is fine.

        Default: ``user.role``, in the tenant that ``tenant_of`` gives.""",
        ROLE,
    )
    can_invite: Hook[CanInvite] = Hook(
        "user, tenant_id, role",
        """May this user invite a person with this role? With ``role=None``, may they manage invitations at all?

        Default: their role is one of ``INVITATIONS_ADMIN_ROLES``, and the invited role is not above it.""",
        YES_OR_NO,
    )
    find_user: Hook[FindUser] = Hook(
        "email",
        """The user to whom a canonical address belongs, or ``None``.

        Default: the row whose ``email`` equals it, through your index.""",
        USER_OR_NONE,
    )
    find_users: OptionalHook[FindUsers] = OptionalHook(
        "emails",
        """The users to whom these canonical addresses belong, for inviting many at once. See :meth:`Hooks.accounts`.

        Default: one query if ``find_user`` is the default one, else ``find_user`` for each.""",
        USERS,
    )
    email_is_verified: Hook[EmailIsVerified] = Hook(
        "user",
        """Is the address of this user known to be theirs?

        Default: ``user.email_verified``, or ``True`` if there is no such attribute.""",
        YES_OR_NO,
    )
    create_user: Hook[CreateUser] = Hook(
        "invitation, profile, password",
        """Create the account of a new user and return it. It may flush and must not commit.

        Default: ``user_model(email=..., role=..., tenant_id=..., **profile)`` with the password hashed.""",
        NEW_USER,
    )
    join: OptionalHook[Join] = OptionalHook(
        "user, invitation",
        "An existing account joins the tenant. Without this hook, existing accounts answer ``account-exists``.",
        DONE,
    )
    profile_schema: Class = Class(
        "Your marshmallow ``Schema``, class or instance, of the extra fields that accept takes."
    )
    validate_password: Hook[ValidatePassword] = Hook(
        "password, invitation",
        """Raise ``PasswordRejected`` if the password is not good enough.

        Default: length and, if zxcvbn is installed, how common it is.""",
        CHECKED,
    )
    check_invitee: OptionalHook[CheckInvitee] = OptionalHook(
        "draft",
        """Raise any ``InvitationError``, such as ``AddressNotAllowed``, if this address must not be invited.

        Asked whenever an invitation is made, approved or sent again. The answer is exactly that error.""",
        CHECKED,
    )
    check_acceptance: OptionalHook[CheckAcceptance] = OptionalHook(
        "invitation, user",
        """Raise any ``InvitationError`` if this must not be accepted, or not yet.

        ``user`` is the account that would join, or ``None`` for a new one. The preview shows the same
        refusal as its obstacle.""",
        CHECKED,
    )
    seats: OptionalHook[Seats] = OptionalHook(
        "tenant_id",
        """How many more members fit into this tenant now? ``None`` means any number.

        Asked when an invitation is made or, once it has expired, sent again, and when it is accepted. The tenant
        is locked then. Open invitations are subtracted by us when more are made.""",
        SEATS,
    )
    limits_for: OptionalHook[LimitsFor] = OptionalHook(
        "tenant_id",
        """Any of ``RATELIMIT_INVITE``, ``RATELIMIT_TENANT`` and ``PENDING_MAX`` for this tenant, in a mapping.

        Each takes the place of the setting of that name.""",
        LIMITS,
    )
    rate_limit: OptionalHook[RateLimit] = OptionalHook(
        "scope, key, cost",
        """Count ``cost`` calls, and return the seconds to wait if there is no room for them, or ``None``.

        Takes the place of the limiter. ``key`` is a hash, which tells no one whose calls they are. ``scope`` is
        ``accept``, ``token``, ``invite``, ``tenant`` or ``recipient``.""",
        WAIT,
    )
    tenant_is_active: Hook[TenantIsActive] = Hook(
        "tenant_id",
        """Does this tenant still exist and work? Asked at create, send and accept.

        Default: its row exists.""",
        YES_OR_NO,
    )
    tenant_name: Hook[TenantName] = Hook(
        "tenant_id", "What the tenant is called. Default: ``tenant.name``, else ``INVITATIONS_APP_NAME``.", TEXT
    )
    display_name: Hook[DisplayName] = Hook(
        "user", "The inviter's name as the invitee sees it, or ``None``. Default: ``user.name``.", TEXT_OR_NONE
    )
    login_url: OptionalHook[Url] = OptionalHook(
        "", "Where your users sign in. Without this hook, the pages explain it in words.", URL
    )
    logout_url: OptionalHook[Url] = OptionalHook(
        "", "Where your users sign out. Without this hook, the pages explain it in words.", URL
    )
    home_url: OptionalHook[Url] = OptionalHook(
        "", "Where your app begins. The pages link to it. Without this hook, they link to the root of your app.", URL
    )
    accepted_url: OptionalHook[AcceptedUrl] = OptionalHook(
        "user, invitation",
        """Where the pages lead after accepting, or ``None``. The API's answer has it as ``next``.

        Called after the commit, after ``on_accepted``. Without this hook, a page of ours welcomes the new member.""",
        URL_OR_NONE,
    )
    role_label: OptionalHook[RoleLabel] = OptionalHook(
        "role",
        """What people read for a role, on the pages and in emails. A lazy translation is fine.

        It may be asked for a role that you no longer have. Without this hook, people read the role itself.""",
        TEXT,
    )
    enqueue: OptionalHook[Enqueue] = OptionalHook(
        "delivery_id",
        """Wake a worker, after the commit, with ``INVITATIONS_DELIVERY = "queue"``.

        Without this hook, ``flask invitations deliver --watch`` polls.""",
        DONE,
    )
    on_accepted: OptionalHook[OnAccepted] = OptionalHook(
        "user, invitation",
        """Called after the commit of an acceptance. The mapping that it returns appears in the answer as ``session``.

        Without this hook, accepting signs no one in.""",
        SESSION,
    )
    clock: Hook[Clock] = Hook("", "The present moment, aware, for tests. Default: the machine's clock.", MOMENT)


#: The table by name, in its order.
TABLE: Mapping[str, Word] = {name: word for name, word in vars(HookTable).items() if isinstance(word, Word)}


class Needed(TypedDict):
    """The keyword arguments of ``init_app`` without which nothing works."""

    user_model: type[Any]
    mailer: Mailer


class Given(Needed, total=False):
    """The keyword arguments of ``init_app``; ``docs/hooks.md`` tells of each."""

    tenant_model: type[Any] | None
    current_user: CurrentUser | None
    tenant_of: TenantOf | None
    role_of: RoleOf | None
    can_invite: CanInvite | None
    find_user: FindUser | None
    find_users: FindUsers | None
    email_is_verified: EmailIsVerified | None
    create_user: CreateUser | None
    join: Join | None
    profile_schema: Schema | type[Schema] | None
    validate_password: ValidatePassword | None
    check_invitee: CheckInvitee | None
    check_acceptance: CheckAcceptance | None
    seats: Seats | None
    limits_for: LimitsFor | None
    rate_limit: RateLimit | None
    tenant_is_active: TenantIsActive | None
    tenant_name: TenantName | None
    display_name: DisplayName | None
    login_url: Url | None
    logout_url: Url | None
    home_url: Url | None
    accepted_url: AcceptedUrl | None
    role_label: RoleLabel | None
    enqueue: Enqueue | None
    on_accepted: OnAccepted | None
    clock: Clock | None


@dataclass(frozen=True)
class Hooks(HookTable, Calling):
    """The host's words, complete: what it did not say is filled with a default before this is built.

    :param house: what their answers are held against.
    :param said: hooks by name.
    """

    house: House
    said: Mapping[str, Any]
    #: What the invitee typed, by field name, to what ``create_user`` gets; raises ``InvalidRequest``.
    load_profile: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    #: The names of the fields that ``load_profile`` takes.
    profile_fields: tuple[str, ...]
    _gated: Mapping[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        said = self.said.items()
        gated = {name: TABLE[name].behind_gate(given, self.house) for name, given in said if given is not None}
        object.__setattr__(self, "_gated", gated)

    def _read(self, word: Word) -> Any:
        return self._gated.get(word.name)

    def accounts(self, emails: Sequence[str]) -> Mapping[str, Any]:
        """To whom these canonical addresses belong, by address; those that belong to nobody are left out."""
        users = None if self.find_users is None else self.find_users(emails)
        # Compared by us, whatever the host's database takes for the same (CVE-2019-19844).
        found = {key_of(getattr(user, "email", None)): user for user in users or ()}
        if users is None or None in found:  # only asking for each tells whose a user without an email attribute is
            each = ((email, self.find_user(email)) for email in emails)
            return {email: user for email, user in each if user is not None}
        return {email: found[email] for email in emails if email in found}

    def but(self, **said: Any) -> Hooks:
        """The same with other hooks, by name; ``find_users`` goes with ``find_user``, since the two must agree."""
        if "find_user" in said:
            said.setdefault("find_users", None)
        return replace(self, said={**self.said, **said})
