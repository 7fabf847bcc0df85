"""The three tables, mapped once per host against its user and tenant classes, and what an invitation *is*.

The mapped classes stay inside this package. Hooks, signals, callers and templates get
:class:`InvitationInfo`: frozen, detached, and without anything that opens the invitation.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, registry
from sqlalchemy.schema import conv

from .addresses import MAX_ADDRESS
from .clock import as_utc
from .errors import ConfigurationError

#: MariaDB and MySQL cut a plain DATETIME to whole seconds; expiry is compared, so it must not be cut.
Timestamp = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

_INFO_KEY = "flask_invitations"


class Status:
    """The states of an invitation. Only ``pending`` opens anything.

    ``pending`` -> ``accepted`` | ``declined`` | ``revoked`` | ``expired``; ``expired`` -> ``pending``
    (resend) | ``revoked``. The other three are final.
    """

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    REVOKED = "revoked"
    EXPIRED = "expired"
    ALL = (PENDING, ACCEPTED, DECLINED, REVOKED, EXPIRED)
    #: What can be resent and revoked.
    OPEN = (PENDING, EXPIRED)


class DeliveryState:
    """The states of one mail.

    ``queued`` <-> ``sending`` -> ``sent`` | ``failed``; either of the first two may be ``cancelled``. Where the host
    passes on what its provider reports, ``sent`` -> ``deferred`` -> ``delivered`` -> ``bounced`` -> ``complained``,
    of which any may be left out, and none goes back.
    """

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ALL = (QUEUED, SENDING, SENT, DEFERRED, DELIVERED, BOUNCED, COMPLAINED, FAILED, CANCELLED)
    #: The mailer took it.
    OUT = (SENT, DEFERRED, DELIVERED)
    #: The address does not take our mails.
    UNWANTED = (BOUNCED, COMPLAINED)


class Kind:
    """What a mail is about; the name of its templates."""

    INVITATION = "invitation"
    REMINDER = "reminder"
    REVOKED = "revoked"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    LINK_REQUEST = "link_request"
    #: Those that carry the link. What an invitation shows of its delivery is the latest of these.
    WITH_LINK = (INVITATION, REMINDER)
    #: Those to the inviter; the others go to the invitee.
    TO_INVITER = (ACCEPTED, DECLINED, LINK_REQUEST)
    #: The status that an invitation must still have for the mail to be true.
    WHILE: Mapping[str, str] = {
        INVITATION: Status.PENDING,
        REMINDER: Status.PENDING,
        REVOKED: Status.REVOKED,
        ACCEPTED: Status.ACCEPTED,
        DECLINED: Status.DECLINED,
        LINK_REQUEST: Status.EXPIRED,
    }


@dataclass(frozen=True)
class Inviter:
    """Who invited: the host's user id and, while the account exists, its e-mail.

    :param name: filled only where the invitee is told, in mails and on pages.
    """

    id: Any
    email: str | None
    name: str | None = None


@dataclass(frozen=True)
class DeliveryInfo:
    """How the latest mail of an invitation fares. ``error`` is the class of the last failure."""

    id: uuid.UUID
    state: str
    attempts: int
    last_attempt_at: datetime | None
    sent_at: datetime | None
    error: str | None


@dataclass(frozen=True)
class InvitationInfo:
    """An invitation as everybody outside the tables sees it; never holds the token, its hash or its nonce.

    ``status`` is effective at the moment of reading: past ``expires_at`` a pending one reads ``expired``.
    Times are aware UTC. ``email`` is what was typed, ``email_key`` its canonical form; both are ``None``
    once the retention time has passed. ``accept_url`` is set only where somebody asked to see the link. Its ``repr``
    holds nothing personal: it ends up in logs.
    """

    id: uuid.UUID
    tenant_id: Any
    email: str | None = field(repr=False)
    email_key: str | None = field(repr=False)
    role: str
    status: str
    message: str | None = field(repr=False)
    details: Mapping[str, Any] | None = field(repr=False)
    locale: str | None
    invited_by: Inviter | None = field(repr=False)
    link_shown: bool
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    accepted_at: datetime | None
    accepted_by_id: Any
    delivery: DeliveryInfo | None = None
    accept_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class EventInfo:
    """One line of the audit trail."""

    id: uuid.UUID
    type: str
    at: datetime
    actor_id: Any
    remote_addr: str | None
    user_agent: str | None
    details: Mapping[str, Any] | None


def _check_in(column: str, values: tuple[str, ...], name: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=conv(name))


class Invitation:
    """A row of ``user_invitations``; bound to the host's keys by :func:`bind`."""

    __tablename__ = "user_invitations"

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            sa.UniqueConstraint("token_hash", name=conv("uq_user_invitations_token_hash")),
            sa.UniqueConstraint("pending_key", name=conv("uq_user_invitations_pending_key")),
            _check_in("status", Status.ALL, "ck_user_invitations_status"),
            sa.CheckConstraint(
                "(status = 'pending') = (pending_key IS NOT NULL)", name=conv("ck_user_invitations_pending_key")
            ),
            sa.Index(conv("ix_user_invitations_previous_token_hash"), "previous_token_hash"),
            sa.Index(conv("ix_user_invitations_tenant_id_created_at"), "tenant_id", "created_at", "id"),
            sa.Index(conv("ix_user_invitations_tenant_id_email_key"), "tenant_id", "email_key"),
            sa.Index(conv("ix_user_invitations_status_expires_at"), "status", "expires_at"),
            sa.Index(conv("ix_user_invitations_closed_at"), "closed_at"),
            sa.Index(conv("ix_user_invitations_invited_by_id"), "invited_by_id"),
            sa.Index(conv("ix_user_invitations_accepted_by_id"), "accepted_by_id"),
        )

    if TYPE_CHECKING:
        __table__: sa.Table
        tenant_id: Mapped[Any]
        invited_by_id: Mapped[Any]
        accepted_by_id: Mapped[Any]

        def __init__(self, **columns: Any) -> None: ...

    id: Mapped[uuid.UUID] = mapped_column(sa.Uuid, primary_key=True, sort_order=-1)
    email: Mapped[str | None] = mapped_column(sa.String(MAX_ADDRESS))
    email_key: Mapped[str | None] = mapped_column(sa.String(MAX_ADDRESS))
    role: Mapped[str] = mapped_column(sa.String(64))
    token_hash: Mapped[str] = mapped_column(sa.String(64))
    token_nonce: Mapped[str] = mapped_column(sa.String(64))
    previous_token_hash: Mapped[str | None] = mapped_column(sa.String(64))
    #: Whether somebody other than the mailbox was shown the link: then it proves no mailbox.
    link_shown: Mapped[bool] = mapped_column(sa.Boolean)
    status: Mapped[str] = mapped_column(sa.String(16))
    pending_key: Mapped[str | None] = mapped_column(sa.String(64))
    #: The inviter's id as text: tells "inviter gone" (key NULL) from "made by the system" (both NULL).
    inviter_ref: Mapped[str | None] = mapped_column(sa.String(255))
    message: Mapped[str | None] = mapped_column(sa.Text)
    details: Mapped[Any] = mapped_column(sa.JSON(none_as_null=True), nullable=True)
    locale: Mapped[str | None] = mapped_column(sa.String(35))
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    accepted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: When the one reminder of this link was decided on; a resend clears it.
    reminded_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: When the holder of the expired link last asked for a fresh one.
    link_requested_at: Mapped[datetime | None] = mapped_column(Timestamp)
    closed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    updated_at: Mapped[datetime] = mapped_column(Timestamp)

    def __repr__(self) -> str:
        return f"<Invitation {self.id} {self.status}>"

    def status_at(self, now: datetime) -> str:
        """The effective status at ``now``; the boundary ``expires_at == now`` is expired."""
        if self.status == Status.PENDING and as_utc(self.expires_at) <= now:
            return Status.EXPIRED
        return self.status

    def info(
        self, now: datetime, inviter_email: str | None = None, delivery: DeliveryInfo | None = None
    ) -> InvitationInfo:
        """This row as it is shown at ``now``."""
        by = None if self.invited_by_id is None else Inviter(self.invited_by_id, inviter_email)
        return InvitationInfo(
            id=self.id,
            tenant_id=self.tenant_id,
            email=self.email,
            email_key=self.email_key,
            role=self.role,
            status=self.status_at(now),
            message=self.message,
            details=self.details,
            locale=self.locale,
            invited_by=by,
            link_shown=self.link_shown,
            expires_at=as_utc(self.expires_at),
            created_at=as_utc(self.created_at),
            updated_at=as_utc(self.updated_at),
            accepted_at=self.accepted_at and as_utc(self.accepted_at),
            accepted_by_id=self.accepted_by_id,
            delivery=delivery,
        )


class InvitationEvent:
    """A row of ``user_invitation_events``: append-only. The actor's id is kept without a foreign key, so that
    deleting the account does not rewrite history."""

    __tablename__ = "user_invitation_events"

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        return (sa.Index(conv("ix_user_invitation_events_invitation_id_at"), "invitation_id", "at", "id"),)

    if TYPE_CHECKING:
        __table__: sa.Table
        tenant_id: Mapped[Any]
        actor_id: Mapped[Any]

        def __init__(self, **columns: Any) -> None: ...

    id: Mapped[uuid.UUID] = mapped_column(sa.Uuid, primary_key=True, sort_order=-1)
    invitation_id: Mapped[uuid.UUID] = mapped_column(
        sa.Uuid,
        sa.ForeignKey("user_invitations.id", name=conv("fk_user_invitation_events_invitation_id"), ondelete="CASCADE"),
    )
    type: Mapped[str] = mapped_column(sa.String(32))
    at: Mapped[datetime] = mapped_column(Timestamp)
    remote_addr: Mapped[str | None] = mapped_column(sa.String(45))
    user_agent: Mapped[str | None] = mapped_column(sa.String(512))
    details: Mapped[Any] = mapped_column(sa.JSON(none_as_null=True), nullable=True)

    def info(self) -> EventInfo:
        return EventInfo(
            self.id, self.type, as_utc(self.at), self.actor_id, self.remote_addr, self.user_agent, self.details
        )


class Delivery:
    """A row of ``user_invitation_deliveries``, the outbox: one mail to send. Holds no address and no link.

    Two CHECKs tie the times to the state, so that no row can be waiting for nothing.
    """

    __tablename__ = "user_invitation_deliveries"

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            _check_in("state", DeliveryState.ALL, "ck_user_invitation_deliveries_state"),
            sa.CheckConstraint(
                "(state = 'queued') = (next_attempt_at IS NOT NULL)",
                name=conv("ck_user_invitation_deliveries_next_attempt_at"),
            ),
            sa.CheckConstraint(
                "(state = 'sending') = (leased_until IS NOT NULL)",
                name=conv("ck_user_invitation_deliveries_leased_until"),
            ),
            sa.Index(conv("ix_user_invitation_deliveries_invitation_id"), "invitation_id", "created_at"),
            sa.Index(conv("ix_user_invitation_deliveries_next_attempt_at"), "state", "next_attempt_at"),
            sa.Index(conv("ix_user_invitation_deliveries_leased_until"), "state", "leased_until"),
        )

    if TYPE_CHECKING:
        __table__: sa.Table

        def __init__(self, **columns: Any) -> None: ...

    id: Mapped[uuid.UUID] = mapped_column(sa.Uuid, primary_key=True, sort_order=-1)
    invitation_id: Mapped[uuid.UUID] = mapped_column(
        sa.Uuid,
        sa.ForeignKey(
            "user_invitations.id", name=conv("fk_user_invitation_deliveries_invitation_id"), ondelete="CASCADE"
        ),
    )
    kind: Mapped[str] = mapped_column(sa.String(32))
    state: Mapped[str] = mapped_column(sa.String(16))
    #: Tries begun; also the fencing number: a worker completes only the attempt that it claimed.
    attempts: Mapped[int] = mapped_column(sa.Integer)
    next_attempt_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_attempt_at: Mapped[datetime | None] = mapped_column(Timestamp)
    leased_until: Mapped[datetime | None] = mapped_column(Timestamp)
    last_error: Mapped[str | None] = mapped_column(sa.String(200))
    sent_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp)

    def info(self) -> DeliveryInfo:
        return DeliveryInfo(
            self.id,
            self.state,
            self.attempts,
            self.last_attempt_at and as_utc(self.last_attempt_at),
            self.sent_at and as_utc(self.sent_at),
            self.last_error,
        )


@dataclass(frozen=True)
class Models:
    """The mapped classes of one host, and its own two."""

    user: type[Any]
    tenant: type[Any] | None
    Invitation: type[Invitation]
    InvitationEvent: type[InvitationEvent]
    Delivery: type[Delivery]

    @property
    def tables(self) -> tuple[sa.Table, ...]:
        """In the order in which they can be created."""
        return self.Invitation.__table__, self.InvitationEvent.__table__, self.Delivery.__table__

    def user_id(self, user: Any) -> Any:
        """The primary key of one of the host's users."""
        return sa.inspect(self.user).primary_key_from_instance(user)[0]

    def tenant_key(self, text: str) -> Any:
        """A tenant's id from its text.

        :raises ValueError: it cannot be one.
        """
        kind = str if self.tenant is None else _key_type(self.tenant)
        return (kind or _uuid_or_text)(text)


def check_mapped(name: str, model: Any) -> None:
    """Refuse what is not a mapped class with a key we can point at; ``None`` is passed over.

    :raises ConfigurationError: naming the argument and the mend.
    """
    if model is None:
        return
    if not isinstance(model, type) or sa.inspect(model, raiseerr=False) is None:
        raise ConfigurationError(f"{name} must be a mapped class: pass the class itself, e.g. {name}=User.")
    if _key_type(model) not in (int, uuid.UUID, str, None):
        raise ConfigurationError(f"{model.__name__} has a primary key that is not int, UUID or str: {name} needs one.")


def _key_type(model: type[Any]) -> type[Any] | None:
    """What a key is in Python; ``None`` where a type of the host's (the well-known GUID recipe) does not say."""
    try:
        kind: type[Any] = primary_key(model).type.python_type
    except NotImplementedError:
        return None
    return None if kind is object else kind


def _uuid_or_text(text: str) -> uuid.UUID | str:
    try:
        return uuid.UUID(text)
    except ValueError:
        return text


def primary_key(model: type[Any]) -> sa.Column[Any]:
    """The single primary-key column of a mapped class."""
    columns = sa.inspect(model).primary_key
    if len(columns) != 1:
        raise ConfigurationError(f"{model.__name__} has a composite primary key: give it a single-column one.")
    column: sa.Column[Any] = columns[0]
    return column


def bind(user: type[Any], tenant: type[Any] | None) -> Models:
    """Map our three classes onto the metadata of ``user``, once; later calls give the same classes.

    They live in a registry of our own, so that a host's ``relationship("Invitation")`` keeps meaning the
    host's class, and on the host's metadata, so that ``create_all`` and Alembic see them.

    :raises ConfigurationError: the classes disagree with an earlier call or with each other.
    """
    metadata = primary_key(user).table.metadata
    bound = metadata.info.get(_INFO_KEY)
    if bound is None:
        bound = metadata.info[_INFO_KEY] = _map(metadata, user, tenant)
    if (bound.user, bound.tenant) != (user, tenant):
        raise ConfigurationError(
            "user_model or tenant_model differs from the one these tables were first bound to: "
            "use the same classes on every app that shares this metadata."
        )
    return bound


def _map(metadata: sa.MetaData, user: type[Any], tenant: type[Any] | None) -> Models:
    user_key = primary_key(user)
    tenant_key = None if tenant is None else primary_key(tenant)
    if tenant_key is not None and tenant_key.table.metadata is not metadata:
        raise ConfigurationError("tenant_model and user_model live on different metadata: put both on one bind.")
    base: Any = registry(metadata=metadata).generate_base()

    def key(table: str, name: str, target: sa.Column[Any], on_delete: str, nullable: bool) -> Any:
        link = sa.ForeignKey(target, name=conv(f"fk_{table}_{name}"), ondelete=on_delete)
        return mapped_column(target.type, link, nullable=nullable)

    def tenant_id(table: str) -> Any:
        if tenant_key is None:
            return mapped_column(sa.String(64), nullable=True)
        return key(table, "tenant_id", tenant_key, "CASCADE", False)

    def mapped(mixin: type[Any], **columns: Any) -> Any:
        return type(mixin.__name__, (mixin, base), {"__module__": __name__, **columns})

    table = Invitation.__tablename__
    return Models(
        user,
        tenant,
        mapped(
            Invitation,
            tenant_id=tenant_id(table),
            invited_by_id=key(table, "invited_by_id", user_key, "SET NULL", True),
            accepted_by_id=key(table, "accepted_by_id", user_key, "SET NULL", True),
        ),
        mapped(
            InvitationEvent,
            tenant_id=tenant_id(InvitationEvent.__tablename__),
            actor_id=mapped_column(user_key.type, nullable=True),
        ),
        mapped(Delivery),
    )


def pending_key(tenant_id: Any, email_key: str) -> str:
    """What is unique among pending invitations: hashed, since MariaDB's collations take é for e."""
    return hashlib.sha256(f"{tenant_id}\0{email_key}".encode()).hexdigest()


_sequence = itertools.count(secrets.randbits(29))


def new_id(now: datetime) -> uuid.UUID:
    """A UUID version 7 (RFC 9562, section 5.7) whose time is *our* clock's.

    Behind the milliseconds stands a counter of 30 bits (section 6.2, method 1): ids made in one process
    at one moment sort in the order in which they were made, whatever a stopped test clock says.
    """
    milliseconds = int(now.timestamp() * 1000)
    count = next(_sequence) & (1 << 30) - 1
    high = milliseconds << 16 | 7 << 12 | count >> 18
    low = 2 << 62 | (count & (1 << 18) - 1) << 44 | secrets.randbits(44)
    return uuid.UUID(int=high << 64 | low)
