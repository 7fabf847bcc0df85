"""The tables. The mapped classes stay inside this package; see :mod:`.values` for what goes out."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from sqlalchemy.schema import conv

from ..addresses import MAX_ADDRESS
from ..clock import as_utc
from .states import DeliveryState, EventType, Reason, Status
from .values import DeliveryInfo, EventInfo, InvitationInfo, Inviter

#: MariaDB and MySQL cut a plain DATETIME to whole seconds; expiry is compared, so it must not be cut.
Timestamp: Any = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

#: What the host's tables and its database are made for does not matter: an invitation may be in any script. Compared
#: by code points, as the other databases do it.
_UTF8: Any = {"charset": "utf8mb4", "collation": "utf8mb4_bin"}


def text(length: int | None = None) -> Any:
    """The type of a column for text of ours.

    :param length: in characters, at most; ``None``: of any length.
    """
    if length is None:
        return sa.Text().with_variant(mysql.TEXT(**_UTF8), "mysql", "mariadb")
    return sa.String(length).with_variant(mysql.VARCHAR(length, **_UTF8), "mysql", "mariadb")


#: What a count starts with. Clocks order nothing: no two servers have the same.
_FIRST = sa.text("1")


def _check_in(column: str, values: Iterable[str], name: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=conv(name))


class Invitation:
    """A row of ``user_invitations``; bound to the host's keys by :func:`.binding.bind`."""

    __tablename__ = "user_invitations"

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            sa.UniqueConstraint("token_hash", name=conv("uq_user_invitations_token_hash")),
            sa.UniqueConstraint("pending_key", name=conv("uq_user_invitations_pending_key")),
            _check_in("status", Status, "ck_user_invitations_status"),
            sa.CheckConstraint(
                f"(status = '{Status.PENDING}') = (pending_key IS NOT NULL)",
                name=conv("ck_user_invitations_pending_key"),
            ),
            sa.Index(conv("ix_user_invitations_previous_token_hash"), "previous_token_hash"),
            sa.Index(conv("ix_user_invitations_tenant_id_created_at"), "tenant_id", "created_at", "id"),
            sa.Index(conv("ix_user_invitations_tenant_id_email_key"), "tenant_id", "email_key"),
            sa.Index(conv("ix_user_invitations_tenant_id_status"), "tenant_id", "status", "expires_at"),
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
    #: Raised by every change: the change that was decided on another version finds no row.
    version: Mapped[int] = mapped_column(sa.Integer, server_default=_FIRST)
    #: Which invitation of its address in its tenant it is, counted from 1: the later one has the higher number.
    number: Mapped[int] = mapped_column(sa.Integer, server_default=_FIRST)
    #: How often a link had been made or sent again for this address there, this time included.
    link_number: Mapped[int] = mapped_column(sa.Integer, server_default=_FIRST)
    email: Mapped[str | None] = mapped_column(text(MAX_ADDRESS))
    email_key: Mapped[str | None] = mapped_column(text(MAX_ADDRESS))
    role: Mapped[str] = mapped_column(text(64))
    token_hash: Mapped[str] = mapped_column(text(64))
    token_nonce: Mapped[str] = mapped_column(text(64))
    previous_token_hash: Mapped[str | None] = mapped_column(text(64))
    #: Whether somebody other than the mailbox was shown the link: then it proves no mailbox.
    link_shown: Mapped[bool] = mapped_column(sa.Boolean)
    status: Mapped[str] = mapped_column(text(16))
    pending_key: Mapped[str | None] = mapped_column(text(64))
    #: The inviter's id as text: tells "inviter gone" (key NULL) from "made by the system" (both NULL).
    inviter_ref: Mapped[str | None] = mapped_column(text(255))
    #: A mark of the tenant and the inviter, where the database may give their ids to others (:class:`.store.hosts`).
    made_for: Mapped[str | None] = mapped_column(text(64))
    message: Mapped[str | None] = mapped_column(text())
    details: Mapped[Any] = mapped_column(sa.JSON(none_as_null=True), nullable=True)
    locale: Mapped[str | None] = mapped_column(text(35))
    #: For how many seconds it was made to be open: a resend gives that time again.
    lifetime: Mapped[int] = mapped_column(sa.Integer)
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

    def status_at(self, now: datetime) -> Status:
        """The effective status at ``now``; the boundary ``expires_at == now`` is expired."""
        if self.status == Status.PENDING and as_utc(self.expires_at) <= now:
            return Status.EXPIRED
        return Status(self.status)

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
            lifetime=timedelta(seconds=self.lifetime),
            expires_at=as_utc(self.expires_at),
            created_at=as_utc(self.created_at),
            updated_at=as_utc(self.updated_at),
            accepted_at=self.accepted_at and as_utc(self.accepted_at),
            accepted_by_id=self.accepted_by_id,
            delivery=delivery,
            closed_at=self.closed_at and as_utc(self.closed_at),
        )


class InvitationEvent:
    """A row of ``user_invitation_events``: append-only, but that a line is counted which would be told once more. The
    actor's id is kept without a foreign key, so that deleting the account does not rewrite history."""

    __tablename__ = "user_invitation_events"

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            sa.UniqueConstraint("repeat_key", name=conv("uq_user_invitation_events_repeat_key")),
            sa.Index(conv("ix_user_invitation_events_invitation_id_at"), "invitation_id", "at", "id"),
            sa.Index(conv("ix_user_invitation_events_personal_at"), "personal_at"),
        )

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
    type: Mapped[str] = mapped_column(text(32))
    at: Mapped[datetime] = mapped_column(Timestamp)
    remote_addr: Mapped[str | None] = mapped_column(text(45))
    user_agent: Mapped[str | None] = mapped_column(text(512))
    details: Mapped[Any] = mapped_column(sa.JSON(none_as_null=True), nullable=True)
    #: ``at``, while the three columns before hold anything; NULL once they were forgotten.
    personal_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: What the line tells, hashed, where the same told once more is counted; everything else is that of the first time.
    repeat_key: Mapped[str | None] = mapped_column(text(64))
    times: Mapped[int] = mapped_column(sa.Integer, server_default=_FIRST)
    last_at: Mapped[datetime | None] = mapped_column(Timestamp)

    def info(self) -> EventInfo:
        return EventInfo(
            self.id,
            EventType(self.type),
            as_utc(self.at),
            self.actor_id,
            self.remote_addr,
            self.user_agent,
            self._told(),
        )

    def _told(self) -> Any:
        if self.last_at is None:
            return self.details
        last_at = as_utc(self.last_at).isoformat().replace("+00:00", "Z")
        return {**(self.details or {}), "count": self.times, "last_at": last_at}


class Delivery:
    """A row of ``user_invitation_deliveries``, the outbox: one mail to send. Holds no address and no link.

    Two CHECKs tie the times to the state, so that no row can be waiting for nothing.
    """

    __tablename__ = "user_invitation_deliveries"

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            _check_in("state", DeliveryState, "ck_user_invitation_deliveries_state"),
            sa.CheckConstraint(
                f"(state = '{DeliveryState.QUEUED}') = (next_attempt_at IS NOT NULL)",
                name=conv("ck_user_invitation_deliveries_next_attempt_at"),
            ),
            sa.CheckConstraint(
                f"(state = '{DeliveryState.SENDING}') = (leased_until IS NOT NULL)",
                name=conv("ck_user_invitation_deliveries_leased_until"),
            ),
            sa.Index(conv("ix_user_invitation_deliveries_invitation_id"), "invitation_id", "version"),
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
    #: The version of the invitation that it was written for: of two emails, the later one has the higher version.
    version: Mapped[int] = mapped_column(sa.Integer, server_default=_FIRST)
    #: The link number of the invitation at that time: once that is higher, another email has replaced this one.
    link_number: Mapped[int] = mapped_column(sa.Integer, server_default=_FIRST)
    kind: Mapped[str] = mapped_column(text(32))
    state: Mapped[str] = mapped_column(text(16))
    #: The app whose row this is, see :class:`..tokens.Maker`; ``None``: anybody's.
    maker: Mapped[str | None] = mapped_column(text(33))
    #: Changes whenever a worker leases the row, and whenever it writes down how that went: a worker completes only
    #: what it leased, and only once.
    fence: Mapped[uuid.UUID | None] = mapped_column(sa.Uuid)
    #: Tries begun.
    attempts: Mapped[int] = mapped_column(sa.Integer)
    next_attempt_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_attempt_at: Mapped[datetime | None] = mapped_column(Timestamp)
    leased_until: Mapped[datetime | None] = mapped_column(Timestamp)
    last_error: Mapped[str | None] = mapped_column(text(200))
    sent_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp)

    def info(self) -> DeliveryInfo:
        return DeliveryInfo(
            self.id,
            DeliveryState(self.state),
            self.attempts,
            self.last_attempt_at and as_utc(self.last_attempt_at),
            self.sent_at and as_utc(self.sent_at),
            self.last_error,
        )


class Suppression:
    """A row of ``user_invitation_suppressions``: what is remembered of an address in a tenant, whatever becomes of the
    invitations there. Holds no address.
    """

    __tablename__ = "user_invitation_suppressions"

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            sa.UniqueConstraint("pseudonym", "reason", name=conv("uq_user_invitation_suppressions_pseudonym")),
            _check_in("reason", Reason, "ck_user_invitation_suppressions_reason"),
            sa.Index(conv("ix_user_invitation_suppressions_tenant_id"), "tenant_id", "created_at"),
        )

    if TYPE_CHECKING:
        __table__: sa.Table
        tenant_id: Mapped[Any]

        def __init__(self, **columns: Any) -> None: ...

    id: Mapped[uuid.UUID] = mapped_column(sa.Uuid, primary_key=True, sort_order=-1)
    #: See :class:`..tokens.Pseudonyms`. The tenant is hashed with the address: NULLs are unique to no database.
    pseudonym: Mapped[str] = mapped_column(text(64))
    reason: Mapped[str] = mapped_column(text(16))
    #: The email that is sent there all the same, since somebody has confirmed the address: once that has left, and is
    #: not back, what is remembered of an earlier one no longer counts.
    confirmed_by: Mapped[uuid.UUID | None] = mapped_column(sa.Uuid)
    created_at: Mapped[datetime] = mapped_column(Timestamp)


class Request:
    """A row of ``user_invitation_requests``: a call that was made with an ``Idempotency-Key``, and what came of it.

    Both hashes are keyed (:func:`..tokens.imprints`), and ``answer`` has ids of ours and codes only: so nothing in it
    is anybody's, and it points at no row of the host's.
    """

    __tablename__ = "user_invitation_requests"

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        return (sa.Index(conv("ix_user_invitation_requests_expires_at"), "expires_at"),)

    if TYPE_CHECKING:
        __table__: sa.Table

        def __init__(self, **columns: Any) -> None: ...

    #: Of the caller, the path and the key.
    key_hash: Mapped[str] = mapped_column(text(64), primary_key=True)
    body_hash: Mapped[str] = mapped_column(text(64))
    #: The status of the answer; 0 as long as the call runs, which nobody else ever sees.
    status: Mapped[int] = mapped_column(sa.Integer)
    answer: Mapped[Any] = mapped_column(sa.JSON(none_as_null=True), nullable=True)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class Turn:
    """The one row of ``user_invitation_turns``, where the host has no tenants: to lock it is to have the only one."""

    __tablename__ = "user_invitation_turns"

    if TYPE_CHECKING:
        __table__: sa.Table

    id: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True, autoincrement=False)


def repeat_key(*what: Any) -> str:
    """What is unique among the lines of the audit trail that are counted."""
    return hashlib.sha256("\0".join(map(str, what)).encode()).hexdigest()


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
