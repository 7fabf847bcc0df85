"""An invitation together with its people: our row, and the host's rows of the inviter and the tenant, in one statement.

Ours is read as columns, into an object that no session knows: so it is as the database has it now, and what the host
has changed of its own rows stays as the host has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import sqlalchemy as sa

from ..model.binding import Models
from ..model.states import Kind
from ..model.tables import Invitation
from ..model.values import DeliveryInfo
from .statements import Tables
from .unit import Unit

T = TypeVar("T")

#: What is read of a mail: what ``Delivery.info`` wants.
_MAIL = ("id", "state", "attempts", "last_attempt_at", "sent_at", "last_error")


@dataclass(frozen=True)
class Found:
    """An invitation with the host's row of whoever invited."""

    row: Invitation
    inviter: Any

    @property
    def inviter_email(self) -> str | None:
        return getattr(self.inviter, "email", None)


@dataclass(frozen=True)
class FoundMail(Found):
    """One of its mails besides.

    :param replaced: a resend has made another mail since.
    :param abandoned: leased to us, after the worker that had it before outlived its lease.
    """

    mail: DeliveryInfo
    kind: str
    replaced: bool
    abandoned: bool = False


def _made(model: type[T], names: Sequence[str], values: Sequence[Any]) -> T:
    """A row of ``model`` that no session knows."""
    return model(**dict(zip(names, values, strict=True)))


class People(Tables):
    """Reads invitations with the people of one host."""

    def __init__(self, session: Callable[[], Any], models: Models, unit: Unit) -> None:
        super().__init__(session, models)
        self._unit = unit

    # Statements: built once by whoever runs them, each with a WHERE of their own

    def invitations(self) -> Any:
        """The statement that :meth:`find` runs."""
        ours = self._ours
        return self._join(sa.select(ours.c.id, *self._hosts, *ours.c).select_from(ours))

    def mails(self, these: Any) -> Any:
        """The statement that :meth:`find_mails` runs.

        :param these: the table of mails, or a subquery of it with all its columns.
        """
        ours, read = self._ours, (these.c[name] for name in _MAIL)
        statement = sa.select(*read, these.c.kind, self._is_replaced(these), *self._hosts, *ours.c)
        return self._join(statement.select_from(these).join(ours, ours.c.id == these.c.invitation_id))

    def _join(self, statement: Any) -> Any:
        user, tenant = self.models.user, self.models.tenant
        statement = statement.outerjoin(user, self._key_of(user) == self._ours.c.invited_by_id)
        if tenant is None:
            return statement
        return statement.outerjoin(tenant, self._key_of(tenant) == self._ours.c.tenant_id)

    def _is_replaced(self, mail: Any) -> Any:
        newer = self.models.Delivery.__table__.alias()
        after = (newer.c.invitation_id == mail.c.invitation_id, newer.c.created_at > mail.c.created_at)
        return sa.exists().where(*after, newer.c.kind == Kind.INVITATION).correlate(mail)

    # What they find

    def find(self, statement: Any, given: Mapping[str, Any]) -> Sequence[Found]:
        """Invitations; the host's rows of their people are at hand until the unit is over."""
        return [Found(row, inviter) for _, inviter, row in self._read(statement, given)]

    def find_mails(self, statement: Any, given: Mapping[str, Any]) -> Sequence[FoundMail]:
        """Mails with their invitations, the same way."""
        return [
            FoundMail(row, inviter, _made(self.models.Delivery, _MAIL, mail).info(), kind, bool(replaced))
            for (*mail, kind, replaced), inviter, row in self._read(statement, given)
        ]

    def _read(self, statement: Any, given: Mapping[str, Any]) -> Sequence[tuple[Sequence[Any], Any, Invitation]]:
        """What a line begins with, its inviter and its invitation."""
        # A host that loads collections eagerly gets a line for each of their rows: one for each id is enough.
        lines = self.session.execute(statement, given).unique(lambda line: line[0]).all()
        return [self._taken_apart(tuple(line)) for line in lines]

    def _taken_apart(self, line: tuple[Any, ...]) -> tuple[Sequence[Any], Any, Invitation]:
        names = self._ours.c.keys()
        ours = len(line) - len(names)
        hosts = ours - len(self._hosts)
        self._unit.keep(line[hosts:ours])
        return line[:hosts], line[hosts], _made(self.models.Invitation, names, line[ours:])

    @property
    def _ours(self) -> sa.Table:
        return self.models.Invitation.__table__

    @cached_property
    def _hosts(self) -> tuple[type[Any], ...]:
        return (self.models.user,) if self.models.tenant is None else (self.models.user, self.models.tenant)
