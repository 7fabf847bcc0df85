"""An invitation together with its people: our row, and the host's rows of the inviter and the tenant, in one statement.

Ours is read as columns, into an object that no session knows: so it is as the database has it now, and what the host
has changed of its own rows stays as the host has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, TypeVar
from uuid import UUID

import sqlalchemy as sa

from ..model.binding import Models
from ..model.states import WITH_LINK, Kind
from ..model.tables import Delivery, Invitation
from ..model.values import DeliveryInfo, InvitationInfo
from .statements import Tables
from .unit import Unit

T = TypeVar("T")

#: What is read of an email: what ``Delivery.info`` wants.
_MAIL = ("id", "state", "attempts", "last_attempt_at", "sent_at", "last_error")


#: In place of a host's row that was not read.
UNREAD: Final = object()


@dataclass(frozen=True)
class Found:
    """An invitation as it was read.

    :param inviter_email: while the account exists.
    :param inviter: the host's row of the inviter, ``None`` where there is none (any more); read where the host is
        asked about them, else ``UNREAD``.
    :param mail: its latest email with the link, where that was read.
    """

    row: Invitation
    inviter_email: str | None = None
    inviter: Any = UNREAD
    mail: DeliveryInfo | None = None

    def info(self, now: datetime) -> InvitationInfo:
        """The invitation as it is shown at ``now``."""
        return self.row.info(now, self.inviter_email, self.mail)


@dataclass(frozen=True, kw_only=True)
class FoundMail(Found):
    """An invitation together with one of its emails, whichever it is.

    :param replaced: a resend has made another email since.
    :param fence: what whoever writes the email's row next has to name.
    :param abandoned: leased to us, after the worker that had it before outlived its lease.
    """

    mail: DeliveryInfo
    kind: Kind
    replaced: bool
    fence: UUID | None = None
    abandoned: bool = False


def made(kind: type[T], names: Iterable[str], values: Iterable[Any]) -> T:
    """A row of one of our tables as a plain object: no session knows it, and reading it costs nothing."""
    row = object.__new__(kind)
    vars(row).update(zip(names, values, strict=True))
    return row


def _sent(columns: Sequence[Any]) -> DeliveryInfo | None:
    """An email, where one was read."""
    return made(Delivery, _MAIL, columns).info() if columns and columns[0] is not None else None


def _mail_of(
    columns: Sequence[Any], row: Invitation, inviter_email: str | None = None, inviter: Any = UNREAD
) -> FoundMail:
    *mail, fence, kind, replaced = columns
    info = made(Delivery, _MAIL, mail).info()
    return FoundMail(row, inviter_email, inviter, mail=info, kind=Kind(kind), replaced=bool(replaced), fence=fence)


class People(Tables):
    """Reads invitations with the people of one host."""

    def __init__(self, session: Callable[[], Any], models: Models, unit: Unit) -> None:
        super().__init__(session, models)
        self._unit = unit

    # Statements: built once by whoever runs them, each with a WHERE of their own

    def shown(self) -> Any:
        """The statement that :meth:`find_shown` runs: columns only, with the inviter's email and the latest mail."""
        ours, user, mail = self._ours, self.models.user, self._mail
        email = self.models.user_email
        statement = sa.select(email.label("inviter_email"), *(mail.c[name] for name in _MAIL), *ours.c)
        statement = statement.select_from(ours).outerjoin(user, self._key_of(user) == ours.c.invited_by_id)
        return statement.outerjoin(mail, self._is_latest)

    def invitations(self) -> Any:
        """The statement that :meth:`find` runs."""
        ours = self._ours
        return self._join(sa.select(ours.c.id, *self._hosts, *ours.c).select_from(ours))

    def invitations_with_mail(self) -> Any:
        """The same, with the latest email."""
        ours, read = self._ours, (self._mail.c[name] for name in _MAIL)
        statement = sa.select(ours.c.id, *read, *self._hosts, *ours.c).select_from(ours)
        return self._join(statement).outerjoin(self._mail, self._is_latest)

    @property
    def _mail(self) -> sa.Table:
        return self.models.Delivery.__table__

    @property
    def _is_latest(self) -> Any:
        """That an email is the latest of its invitation with the link."""
        ours, other = self._ours, self._mail.alias()
        with_link = (other.c.invitation_id == ours.c.id, other.c.kind.in_(WITH_LINK))
        newest_first = other.c.version.desc(), other.c.id.desc()
        latest = sa.select(other.c.id).where(*with_link).order_by(*newest_first).limit(1).correlate(ours)
        mail = self._mail.c
        return sa.and_(mail.invitation_id == ours.c.id, mail.id == latest.scalar_subquery())

    def mails(self, these: Any) -> Any:
        """The statement that :meth:`find_mails` runs.

        :param these: the table of emails, or a subquery of it with all its columns.
        """
        ours, read = self._ours, (these.c[name] for name in (*_MAIL, "fence", "kind"))
        replaced = these.c.link_number < ours.c.link_number
        statement = sa.select(*read, replaced, *self._hosts, *ours.c)
        return self._join(statement.select_from(these).join(ours, ours.c.id == these.c.invitation_id))

    def _join(self, statement: Any) -> Any:
        user, tenant = self.models.user, self.models.tenant
        statement = statement.outerjoin(user, self._key_of(user) == self._ours.c.invited_by_id)
        if tenant is None:
            return statement
        return statement.outerjoin(tenant, self._key_of(tenant) == self._ours.c.tenant_id)

    # What they find

    def find_shown(self, statement: Any, given: Mapping[str, Any]) -> Sequence[Found]:
        """Invitations to show; nothing of the host's is loaded but the inviter's email."""
        return [self._shown(tuple(line)) for line in self._rows(statement, given)]

    def _shown(self, line: Sequence[Any]) -> Found:
        mail, ours = line[1 : 1 + len(_MAIL)], line[1 + len(_MAIL) :]
        return Found(made(Invitation, self._names, ours), line[0], mail=_sent(mail))

    def find(self, statement: Any, given: Mapping[str, Any]) -> Sequence[Found]:
        """Invitations; the host's rows of their people are at hand until the unit is over."""
        return [
            Found(row, getattr(inviter, "email", None), inviter, _sent(mail))
            for (_, *mail), inviter, row in self._read(statement, given)
        ]

    def find_mails(self, statement: Any, given: Mapping[str, Any]) -> Sequence[FoundMail]:
        """Emails with their invitations, the same way."""
        return [
            _mail_of(head, row, getattr(inviter, "email", None), inviter)
            for head, inviter, row in self._read(statement, given)
        ]

    def _read(self, statement: Any, given: Mapping[str, Any]) -> Sequence[tuple[Sequence[Any], Any, Invitation]]:
        """What a line begins with, its inviter and its invitation."""
        # A host that loads collections eagerly gets a line for each of their rows: one for each id is enough.
        lines = self._binds.read(lambda session: session.execute(statement, given).unique(lambda line: line[0]).all())
        return [self._taken_apart(tuple(line)) for line in lines]

    def _taken_apart(self, line: tuple[Any, ...]) -> tuple[Sequence[Any], Any, Invitation]:
        ours = len(line) - len(self._names)
        hosts = ours - len(self._hosts)
        self._unit.keep(line[hosts:ours])
        return line[:hosts], line[hosts], made(Invitation, self._names, line[ours:])

    @property
    def _ours(self) -> sa.Table:
        return self.models.Invitation.__table__

    @cached_property
    def _names(self) -> Sequence[str]:
        return self._ours.c.keys()

    @cached_property
    def _hosts(self) -> tuple[type[Any], ...]:
        return (self.models.user,) if self.models.tenant is None else (self.models.user, self.models.tenant)
