"""All SQL, and the one transaction. It never decides: it finds, changes what is still as it was found, and counts.

Every change is a single guarded UPDATE: the state that the decision was made on stands in its WHERE, and
where no row matches any more, :class:`Stale` has the whole unit run again on what is there now.
"""

from __future__ import annotations

import logging
import random
import time
import unicodedata
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.attributes import set_committed_value

from .errors import InvitationError, TryAgain
from .models import Delivery, DeliveryState, Invitation, InvitationEvent, InvitationInfo, Kind, Models, Status, new_id

log = logging.getLogger("flask_invitations")

T = TypeVar("T")
Rows = Sequence[tuple[Invitation, "str | None"]]

#: In place of a tenant's id: all tenants. For the system only.
EVERYWHERE: Final = object()

ATTEMPTS = 5
_FRAME = "flask_invitations_after_commit"

#: PostgreSQL: serialization failure, deadlock, lock not available, too many connections, cannot connect now.
#: MariaDB and MySQL: lock wait time-out, deadlock, record changed since last read, too many connections,
#: cannot connect (2002, 2003).
_TRANSIENT = frozenset({"40001", "40P01", "55P03", "53300", "57P03", 1205, 1213, 1020, 1040, 2002, 2003})
_UNIQUE = frozenset({"23505", 1062})


class Stale(Exception):
    """The row is no longer what it was when we decided; decide again."""


@dataclass(frozen=True)
class Found:
    """An invitation with the host's row of whoever invited, read in one statement.

    :param mail: the one that was asked for; :param replaced: a resend has made another since.
    """

    row: Invitation
    inviter: Any
    mail: Delivery | None = None
    replaced: bool = False

    @property
    def inviter_email(self) -> str | None:
        return getattr(self.inviter, "email", None)


@dataclass
class _Frame:
    """What an open unit keeps on the session: the work that waits for its commit, whether it can still commit, and
    the host's rows that were read (the session itself holds them weakly, and would read them again)."""

    after: list[Callable[[], Any]] = field(default_factory=list)
    broken: bool = False
    read: list[Any] = field(default_factory=list)


class Unit:
    """The one transaction: runs a piece of work, commits once, then does what waited for the commit.

    The whole work is run again, at most ``ATTEMPTS`` times in all, when the database breaks it off
    (deadlock, serialization, lock time-out, lost connection) or when somebody was faster
    (:class:`Stale`, a unique key): the second look sees their change and decides on it. So hooks must bear
    being called again. It is *not* run again when the session held unsaved changes of the host at the start:
    a rollback would lose them without a word.
    """

    def __init__(self, session: Callable[[], Any], models: Models) -> None:
        self._session = session
        self._models = models

    def run(
        self,
        work: Callable[[], T],
        *,
        then: Callable[[T], T] | None = None,
        conflict: Callable[[], InvitationError] | None = None,
    ) -> T:
        """Run ``work`` in one transaction.

        :param then: is given the result after the commit, and what it returns is returned; inside
            :meth:`joined` it waits for the outer commit, and the result is returned as it is.
        :param conflict: what to raise where a unique key still refuses the last attempt.
        :raises TryAgain: the database refused to the last; nothing happened.
        """
        session = self._session()
        frame: _Frame | None = session.info.get(_FRAME)
        if frame is not None:
            result = _attempt(lambda: self._join(session, frame, work), ATTEMPTS, conflict)
            if then is not None:
                after = then
                frame.after.append(lambda: after(result))
            return result
        attempts = 1 if session.new or session.dirty or session.deleted else ATTEMPTS
        result = _attempt(lambda: self._commit(work), attempts, conflict)
        return result if then is None else then(result)

    def look(self, work: Callable[[], T]) -> T:
        """Run ``work``, which only reads: nothing is committed, and no row of the host's is read twice."""
        session = self._session()
        outer = session.info.get(_FRAME)
        session.info[_FRAME] = outer or _Frame()
        try:
            return work()
        finally:
            if outer is None:
                del session.info[_FRAME]

    def after_commit(self, act: Callable[[], Any]) -> None:
        """Called inside a unit: do ``act`` once its transaction is committed, never if it is not."""
        frame: _Frame = self._session().info[_FRAME]
        frame.after.append(act)

    def _commit(self, work: Callable[[], T]) -> T:
        with self.joined():
            return work()

    def _join(self, session: Any, frame: _Frame, work: Callable[[], T]) -> T:
        with self._savepoint(session, frame):
            return work()

    @contextmanager
    def joined(self) -> Iterator[None]:
        """A transaction that the acts inside of the ``with`` block join: one commit, at the end of the block."""
        session = self._session()
        outer: _Frame | None = session.info.get(_FRAME)
        if outer is not None:
            with self._savepoint(session, outer):
                yield
            return
        frame = session.info[_FRAME] = _Frame()
        try:
            yield
            if frame.broken:
                raise TryAgain
            session.flush()
            _commit(session)
        except BaseException:
            session.rollback()
            raise
        finally:
            del session.info[_FRAME]
        _run_all(frame.after)

    @contextmanager
    def _savepoint(self, session: Any, frame: _Frame) -> Iterator[None]:
        """A part of somebody else's unit: an exception undoes this part and only this part."""
        waiting = len(frame.after)
        self._begin(session)
        try:
            with session.begin_nested():
                yield
        except BaseException as error:
            del frame.after[waiting:]
            if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
                frame.broken = True  # the database gave up the whole transaction, not only our part
                raise TryAgain from error
            raise

    def _begin(self, session: Any) -> None:
        """Python's sqlite3 begins no transaction for a savepoint, and releasing it would then commit."""
        connection = session.connection(bind_arguments={"mapper": sa.inspect(self._models.Invitation)})
        if connection.dialect.name == "sqlite" and not connection.connection.dbapi_connection.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _commit(session: Any) -> None:
    try:
        session.commit()
    except DBAPIError as error:
        if error.connection_invalidated:
            # Whether the commit arrived is unknown: running again could answer for our own success.
            raise TryAgain from error
        raise


def _attempt(run: Callable[[], T], attempts: int, conflict: Callable[[], InvitationError] | None) -> T:
    for attempt in range(1, attempts + 1):
        try:
            return run()
        except PoolTimeout as error:
            raise TryAgain from error
        except (Stale, DBAPIError) as error:
            if not _worth_another(error):
                raise
            if attempt == attempts:
                raise _final(error, conflict) from error
            log.info("unit of work is run again: %s", type(error).__name__)
        time.sleep(random.uniform(0.005, 0.02) * 2**attempt)  # noqa: S311 - jitter, no secret
    raise AssertionError("unreachable")


def _final(error: Stale | DBAPIError, conflict: Callable[[], InvitationError] | None) -> Exception:
    if isinstance(error, IntegrityError) and not _is_unique(error):
        return error  # a foreign key, a NOT NULL of the host's: no race, and no second try would mend it
    if isinstance(error, IntegrityError) and conflict is not None:
        return conflict()
    return TryAgain()


def _run_all(waiting: Sequence[Callable[[], Any]]) -> None:
    for act in waiting:
        try:
            act()
        except Exception:
            log.exception("work after the commit failed")


def _worth_another(error: Stale | DBAPIError) -> bool:
    if isinstance(error, (Stale, IntegrityError)):
        return True
    if error.connection_invalidated or _code(error) in _TRANSIENT:
        return True
    return isinstance(error, OperationalError) and "locked" in str(error.orig)


def _code(error: DBAPIError) -> Any:
    """SQLSTATE (PostgreSQL drivers) or error number (MariaDB and MySQL drivers)."""
    raw: Any = error.orig
    state = getattr(raw, "sqlstate", None) or getattr(raw, "pgcode", None)
    return state if state is not None else next(iter(raw.args or ()), None)


def _is_unique(error: DBAPIError) -> bool:
    return _code(error) in _UNIQUE or str(error.orig).startswith("UNIQUE constraint failed")


#: Compared byte by byte; only MariaDB and MySQL have to be told.
_BYTES = sa.String().with_variant(mysql.BINARY(), "mysql", "mariadb")


def _is_exactly(column: Any, text: str) -> Any:
    """``column == text``, also where the database's collation takes é for e (F1); the index serves the first half."""
    return sa.and_(column == text, sa.cast(column, _BYTES) == sa.literal(text, sa.String()))


def _by_key(update: Any) -> Any:
    """An UPDATE that finds its rows by their primary key: else MariaDB and MySQL read a small table whole, and lock (or
    wait for) every row that they read."""
    for dialect in ("mysql", "mariadb"):
        update = update.with_hint("FORCE INDEX (PRIMARY)", dialect_name=dialect)
    return update


def _made(model: type[T], values: Sequence[Any]) -> T:
    """A row of ``model`` that no session knows."""
    table: sa.Table = model.__table__  # type: ignore[attr-defined]
    return model(**dict(zip(table.c.keys(), values, strict=True)))


class Store:
    """The rows of one host.

    :param session: gives the host's session.
    """

    def __init__(self, session: Callable[[], Any], models: Models) -> None:
        self._session = session
        self.models = models
        self.unit = Unit(session, models)
        email = sa.inspect(models.user).all_orm_descriptors.get("email")
        self._inviter_email: Any = sa.null() if email is None else models.user.email

    @property
    def session(self) -> Any:
        return self._session()

    # The host's rows

    def user(self, user_id: Any) -> Any:
        return self._get(self.models.user, user_id)

    def tenant(self, tenant_id: Any) -> Any:
        return self._get(self.models.tenant, tenant_id)

    def _get(self, model: type[Any] | None, key: Any) -> Any:
        if model is None or key is None:
            return None
        row, frame = self.session.get(model, key), self.session.info.get(_FRAME)
        if frame is not None:
            frame.read.append(row)
        return row

    def users_by_email(self, key: str) -> Sequence[Any]:
        """Whom the database holds equal to ``key``; its collation may hold more equal than we do."""
        user = self.models.user
        found: Sequence[Any] = self.session.scalars(sa.select(user).where(user.email == key).limit(20)).unique().all()
        return found

    def save(self, user: Any) -> Any:
        """Write a new user (or what a hook changed) now, so that it has its key; returns the key."""
        if sa.inspect(user).transient:
            self.session.add(user)
        self.session.flush()
        return self.models.user_id(user)

    # Invitations

    def _select(self) -> Any:
        row, user = self.models.Invitation, self.models.user
        statement = sa.select(row, self._inviter_email)
        return statement.outerjoin(user, self._user_key() == row.invited_by_id).execution_options(
            populate_existing=True
        )

    def _user_key(self) -> Any:
        return sa.inspect(self.models.user).primary_key[0]

    def _one(self, statement: Any) -> tuple[Invitation, str | None] | None:
        found = self.session.execute(statement).first()
        return None if found is None else (found[0], found[1])

    def by_token(self, token_hash: str) -> Found | None:
        """The invitation that this link opens or, before the latest resend, opened."""
        row = self.models.Invitation
        found = self._with_people(sa.or_(row.token_hash == token_hash, row.previous_token_hash == token_hash))
        return found[0] if found else None

    def _with_people(self, where: Any, *, mail: bool = False) -> Sequence[Found]:
        """Invitations with their inviters, and their tenants for whoever asks next, in one statement.

        Ours are read as columns, into objects that no session knows: so they are as the database has them now, and
        what the host has changed of its own rows stays as the host has it.
        """
        ours, mails = self.models.Invitation.__table__, self.models.Delivery.__table__
        user, tenant = self.models.user, self.models.tenant
        hosts = (user,) if tenant is None else (user, tenant)
        statement = sa.select(*hosts, *ours.c, *((*mails.c, self._is_replaced()) if mail else ()))
        statement = statement.select_from(ours).outerjoin(user, self._user_key() == ours.c.invited_by_id)
        if tenant is not None:
            statement = statement.outerjoin(tenant, sa.inspect(tenant).primary_key[0] == ours.c.tenant_id)
        if mail:
            statement = statement.join(mails, mails.c.invitation_id == ours.c.id)
        # A host that loads collections eagerly gets a line for each of their rows: one of them is enough.
        key = len(hosts) + (len(ours.c) if mail else 0)
        rows = self.session.execute(statement.where(where)).unique(lambda row: row[key]).all()
        return [self._found(tuple(row), len(hosts)) for row in rows]

    def _found(self, values: tuple[Any, ...], hosts: int) -> Found:
        frame: _Frame | None = self.session.info.get(_FRAME)
        if frame is not None:
            frame.read.extend(values[:hosts])
        width = hosts + len(self.models.Invitation.__table__.c)
        row = _made(self.models.Invitation, values[hosts:width])
        if len(values) == width:
            return Found(row, values[0])
        return Found(row, values[0], _made(self.models.Delivery, values[width:-1]), bool(values[-1]))

    def _is_replaced(self) -> Any:
        mail, newer = self.models.Delivery.__table__, self.models.Delivery.__table__.alias()
        after = (newer.c.invitation_id == mail.c.invitation_id, newer.c.created_at > mail.c.created_at)
        return sa.exists().where(*after, newer.c.kind == Kind.INVITATION).correlate(mail)

    def by_id(self, tenant_id: Any, invitation_id: uuid.UUID) -> tuple[Invitation, str | None] | None:
        row = self.models.Invitation
        return self._one(self._select().where(row.id == invitation_id, *self._within(tenant_id)))

    def by_pending_key(self, key: str) -> tuple[Invitation, str | None] | None:
        return self._one(self._select().where(self.models.Invitation.pending_key == key))

    def _within(self, tenant_id: Any) -> tuple[Any, ...]:
        return () if tenant_id is EVERYWHERE else (self.models.Invitation.tenant_id == tenant_id,)

    def page(
        self,
        tenant_id: Any,
        now: datetime,
        *,
        limit: int,
        after: tuple[datetime, uuid.UUID] | None = None,
        status: str | None = None,
        role: str | None = None,
        email_key: str | None = None,
        q: str | None = None,
    ) -> Rows:
        """Newest first, after the (created_at, id) of the last one seen; ``q`` is a part of the address."""
        row = self.models.Invitation
        where = self._filters(tenant_id, role=role, email_key=email_key, q=q)
        if status is not None:
            where.append(self._effective(status, now))
        if after is not None:
            at, last = after
            where.append(sa.or_(row.created_at < at, sa.and_(row.created_at == at, row.id < last)))
        newest_first = row.created_at.desc(), row.id.desc()
        rows = self.session.execute(self._select().where(*where).order_by(*newest_first).limit(limit))
        return [(found[0], found[1]) for found in rows]

    def _filters(
        self, tenant_id: Any, *, role: str | None = None, email_key: str | None = None, q: str | None = None
    ) -> list[Any]:
        row = self.models.Invitation
        where = [*self._within(tenant_id)]
        if role is not None:
            where.append(row.role == role)
        if email_key is not None:
            where.append(_is_exactly(row.email_key, email_key))
        if q is not None:  # an international domain is found as it was typed, and as ASCII
            part = unicodedata.normalize("NFC", q.lower())
            where.append(sa.or_(*(each.contains(part, autoescape=True) for each in (row.email_key, row.email))))
        return where

    def counts(self, tenant_id: Any, now: datetime, **filters: str | None) -> Mapping[str, int]:
        """How many there are of each effective status, zeros included; ``filters``: those of :meth:`page`."""
        row = self.models.Invitation
        overdue = sa.func.sum(sa.case((row.expires_at <= now, 1), else_=0))
        statement = sa.select(row.status, sa.func.count(), overdue).where(*self._filters(tenant_id, **filters))
        found = dict.fromkeys(Status.ALL, 0)
        for status, count, late in self.session.execute(statement.group_by(row.status)):
            found[status] += count
            if status == Status.PENDING:
                found[Status.PENDING] -= int(late)
                found[Status.EXPIRED] += int(late)
        return found

    def _effective(self, status: str, now: datetime) -> Any:
        row = self.models.Invitation
        if status == Status.PENDING:
            return sa.and_(row.status == Status.PENDING, row.expires_at > now)
        if status == Status.EXPIRED:
            overdue = sa.and_(row.status == Status.PENDING, row.expires_at <= now)
            return sa.or_(row.status == Status.EXPIRED, overdue)
        return row.status == status

    def pending_ids_of(self, tenant_id: Any, inviter_id: Any, email_key: str | None) -> Sequence[uuid.UUID]:
        """Open invitations *by* this user and *to* this address."""
        row = self.models.Invitation
        to = sa.false() if email_key is None else _is_exactly(row.email_key, email_key)
        who = sa.or_(row.invited_by_id == inviter_id, to)
        ids: Sequence[uuid.UUID] = self.session.scalars(
            sa.select(row.id).where(row.status == Status.PENDING, who, *self._within(tenant_id))
        ).all()
        return ids

    def insert(self, **values: Any) -> Invitation:
        """Write a new invitation; a live one for the same address breaks its unique ``pending_key``."""
        self._insert(self.models.Invitation, values)
        return self.models.Invitation(**values)

    def change(self, row: Invitation, now: datetime, *guards: Any, **values: Any) -> None:
        """The one guarded UPDATE of an invitation: its present hash and ``guards`` stand in the WHERE.

        :raises Stale: no longer so.
        """
        model = self.models.Invitation
        values["updated_at"] = now
        statement = sa.update(model).where(model.id == row.id, model.token_hash == row.token_hash, *guards)
        self._exactly_one(statement.values(**values))
        for name, value in values.items():
            set_committed_value(row, name, value)

    def close(self, row: Invitation, status: str, now: datetime, **values: Any) -> None:
        """Make a live pending invitation ``accepted``, ``declined`` or ``revoked``: no link opens it again."""
        model = self.models.Invitation
        live = (model.status == Status.PENDING, model.expires_at > now)
        self.change(row, now, *live, status=status, pending_key=None, closed_at=now, **values)

    def expire(self, row: Invitation, now: datetime) -> None:
        """Make an overdue pending invitation ``expired``."""
        model = self.models.Invitation
        overdue = (model.status == Status.PENDING, model.expires_at <= now)
        self.change(row, now, *overdue, status=Status.EXPIRED, pending_key=None, closed_at=now)

    def take_link_request(self, row: Invitation, now: datetime, before: datetime) -> bool:
        """Note that a fresh link is asked for; ``False`` where one was after ``before``, or the link is another now."""
        model = self.models.Invitation
        waited = sa.or_(model.link_requested_at.is_(None), model.link_requested_at <= before)
        update = sa.update(model).where(model.id == row.id, model.token_hash == row.token_hash, waited)
        return self._execute(update.values(link_requested_at=now)) == 1

    def _exactly_one(self, statement: Any) -> None:
        if self._execute(statement) != 1:
            raise Stale

    def _execute(self, statement: Any) -> int:
        result = self.session.execute(statement, execution_options={"synchronize_session": False})
        count: int = result.rowcount
        return count

    def _insert(self, model: type[Any], values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        self.session.execute(sa.insert(model.__table__), values, bind_arguments={"mapper": sa.inspect(model)})

    # Sweeping

    def overdue(self, now: datetime, limit: int) -> Sequence[Invitation]:
        """Pending invitations past their time that nobody else is working on, locked."""
        model = self.models.Invitation
        return self._locked(sa.and_(model.status == Status.PENDING, model.expires_at <= now), limit)

    def to_remind(self, now: datetime, until: datetime, limit: int) -> Sequence[Invitation]:
        """Pending invitations that expire by ``until`` and of which no reminder was decided on, locked."""
        model = self.models.Invitation
        soon = sa.and_(model.expires_at > now, model.expires_at <= until)
        return self._locked(sa.and_(model.status == Status.PENDING, soon, model.reminded_at.is_(None)), limit)

    def purgeable(self, closed_before: datetime, limit: int) -> Sequence[Invitation]:
        """Closed invitations that still hold personal data, locked."""
        model = self.models.Invitation
        old = sa.and_(model.status != Status.PENDING, model.closed_at <= closed_before)
        return self._locked(sa.and_(old, model.email_key.is_not(None)), limit)

    def _locked(self, where: Any, limit: int) -> Sequence[Invitation]:
        model = self.models.Invitation
        statement = sa.select(model).where(where).order_by(model.id).limit(limit).with_for_update(skip_locked=True)
        rows: Sequence[Invitation] = self.session.scalars(
            statement, execution_options={"populate_existing": True}
        ).all()
        return rows

    def purge(self, row: Invitation, now: datetime) -> None:
        """Forget who was invited, and from where the events came; what happened when is kept."""
        model, event = self.models.Invitation, self.models.InvitationEvent
        personal = dict.fromkeys(("email", "email_key", "message", "details", "locale"))
        self.change(row, now, model.status == row.status, **personal)
        forget = sa.update(event).where(event.invitation_id == row.id)
        self._execute(forget.values(remote_addr=None, user_agent=None, details=None))

    # Events

    def event(self, row: Invitation | InvitationInfo, kind: str, now: datetime, **values: Any) -> None:
        """One line of the audit trail, in the transaction of what it tells."""
        self.add_events([{"row": row, "type": kind, "at": now, **values}])

    def add_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Lines of the audit trail; each names its invitation as ``row``."""
        empty = dict.fromkeys(("actor_id", "remote_addr", "user_agent", "details"))
        lines = [
            {
                **empty,
                **{name: value for name, value in event.items() if name != "row"},
                "id": new_id(event["at"]),
                "invitation_id": event["row"].id,
                "tenant_id": event["row"].tenant_id,
            }
            for event in events
        ]
        if lines:
            self._insert(self.models.InvitationEvent, lines if len(lines) > 1 else lines[0])

    def events(self, invitation_id: uuid.UUID, limit: int) -> Sequence[tuple[InvitationEvent, str | None]]:
        """Oldest first, each with the e-mail of its actor; of very many, the latest ``limit``."""
        event, user = self.models.InvitationEvent, self.models.user
        latest_first = event.at.desc(), event.id.desc()
        statement = sa.select(event, self._inviter_email).outerjoin(user, self._user_key() == event.actor_id)
        rows = self.session.execute(
            statement.where(event.invitation_id == invitation_id).order_by(*latest_first).limit(limit)
        ).all()
        return [(found[0], found[1]) for found in reversed(rows)]

    # The outbox

    def add_delivery(self, row: Invitation, kind: str, now: datetime, **values: Any) -> Delivery:
        columns = {
            "id": new_id(now),
            "invitation_id": row.id,
            "kind": kind,
            "state": DeliveryState.QUEUED,
            "attempts": 0,
            "next_attempt_at": now,
            "last_attempt_at": None,
            "leased_until": None,
            "last_error": None,
            "sent_at": None,
            "created_at": now,
            **values,
        }
        self._insert(self.models.Delivery, columns)
        return self.models.Delivery(**columns)

    def latest_deliveries(self, invitation_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, Delivery]:
        """For each invitation its latest mail with the link."""
        if not invitation_ids:
            return {}
        mail = self.models.Delivery
        wanted = (mail.invitation_id.in_(invitation_ids), mail.kind.in_(Kind.WITH_LINK))
        rows = self.session.scalars(
            sa.select(mail).where(*wanted).order_by(mail.created_at, mail.id),
            execution_options={"populate_existing": True},
        )
        return {row.invitation_id: row for row in rows}

    def count_due(self, now: datetime) -> int:
        """How many mails a worker would find."""
        mail = self.models.Delivery
        count: int = self.session.scalar(sa.select(sa.func.count(mail.id)).where(sa.or_(*self.due(now))))
        return count

    def due(self, now: datetime) -> tuple[Any, Any]:
        """The two rules by which a worker takes up a mail: its time has come; its last worker outlived its lease."""
        mail = self.models.Delivery
        waiting = sa.and_(mail.state == DeliveryState.QUEUED, mail.next_attempt_at <= now)
        abandoned = sa.and_(mail.state == DeliveryState.SENDING, mail.leased_until <= now)
        return waiting, abandoned

    def claim_deliveries(
        self, now: datetime, leased_until: datetime, limit: int, only: uuid.UUID | None = None
    ) -> Mapping[uuid.UUID, bool]:
        """Lease at most ``limit`` due mails, the longest waiting first.

        Rows that another worker is claiming are passed over where the database can (SKIP LOCKED); SQLite cannot, so
        there each is taken by an UPDATE of its own that must find it due.

        :param only: this one, if it is due.
        :returns: their ids, and whether a worker had died over it.
        """
        mail, claimed = self.models.Delivery, dict[uuid.UUID, bool]()
        for rule, since in zip(self.due(now), (mail.next_attempt_at, mail.leased_until), strict=True):
            where = rule if only is None else sa.and_(rule, mail.id == only)
            oldest = sa.select(mail.id).where(where).order_by(since).limit(limit - len(claimed))
            ids = self.session.scalars(oldest.with_for_update(skip_locked=True)).all()
            abandoned = since is mail.leased_until
            claimed.update(dict.fromkeys(self._lease(ids, now, leased_until), abandoned))
            if len(claimed) == limit:
                break
        return claimed

    def _lease(self, ids: Sequence[uuid.UUID], now: datetime, leased_until: datetime) -> Sequence[uuid.UUID]:
        """Of these mails, those that are still due, leased."""
        mail = self.models.Delivery
        still_due = sa.func.coalesce(mail.next_attempt_at, mail.leased_until) <= now  # either rule, by the CHECKs
        lease = {
            "state": DeliveryState.SENDING,
            "attempts": mail.attempts + 1,
            "next_attempt_at": None,
            "last_attempt_at": now,
            "leased_until": leased_until,
        }
        update = _by_key(sa.update(mail)).where(still_due).values(**lease)
        if self.session.get_bind(sa.inspect(mail)).dialect.name == "sqlite":
            return [each for each in ids if self._execute(update.where(mail.id == each)) == 1]
        if ids and self._execute(update.where(mail.id.in_(ids))) != len(ids):
            raise Stale  # cannot be, with their rows locked
        return ids

    def letters(self, delivery_ids: Collection[uuid.UUID]) -> Sequence[Found]:
        """Mails, each with its invitation and inviter."""
        mail = self.models.Delivery
        return self._with_people(mail.id.in_(delivery_ids), mail=True) if delivery_ids else ()

    def settle_delivery(self, delivery_id: uuid.UUID, attempt: int, state: str, **values: Any) -> bool:
        """End an attempt; ``False`` where the lease ran out and somebody else made another since."""
        return bool(self.settle_deliveries({delivery_id: attempt}, state, **values))

    def settle_deliveries(
        self, attempts: Mapping[uuid.UUID, int], state: str, /, **values: Any
    ) -> Collection[uuid.UUID]:
        """End attempts, all in the same way.

        :param attempts: delivery ids, and which attempt at it this was: the number fences.
        :returns: those that were still ours.
        """
        if not attempts:
            return ()
        mail = self.models.Delivery
        exactly = sa.tuple_(mail.id, mail.attempts).in_(list(attempts.items()))
        these = sa.and_(mail.id.in_(attempts), exactly)  # the first half is what an index serves
        done = {"state": state, "leased_until": None, "next_attempt_at": None, **values}
        update = _by_key(sa.update(mail)).where(mail.state == DeliveryState.SENDING, these).values(**done)
        if self._execute(update) == len(attempts):
            return attempts.keys()
        ours: Sequence[uuid.UUID] = self.session.scalars(sa.select(mail.id).where(mail.state == state, these)).all()
        return ours

    def put_back(self, attempts: Mapping[uuid.UUID, int], now: datetime) -> None:
        """Give up leases on mails that were not tried: due again at once, and no attempt is counted."""
        mail = self.models.Delivery
        self.settle_deliveries(attempts, DeliveryState.QUEUED, next_attempt_at=now, attempts=mail.attempts - 1)

    def cancel_deliveries(self, row: Invitation) -> None:
        """Nobody needs the waiting mails of this invitation any more."""
        mail = self.models.Delivery
        waiting = (mail.invitation_id == row.id, mail.state == DeliveryState.QUEUED)
        self._execute(sa.update(mail).where(*waiting).values(state=DeliveryState.CANCELLED, next_attempt_at=None))

    def revive_deliveries(self, now: datetime) -> int:
        """Queue again what was given up; returns how many."""
        mail = self.models.Delivery
        failed = sa.update(mail).where(mail.state == DeliveryState.FAILED)
        return self._execute(failed.values(state=DeliveryState.QUEUED, next_attempt_at=now))

    def report_delivery(self, delivery_id: uuid.UUID, state: str, before: Sequence[str], sent_at: datetime) -> bool:
        """Write down what the provider says of a mail; ``False`` where its state is none of ``before``."""
        mail = self.models.Delivery
        sent = sa.func.coalesce(mail.sent_at, sa.literal(sent_at, mail.sent_at.type))
        update = sa.update(mail).where(mail.id == delivery_id, mail.state.in_(before))
        return self._execute(update.values(state=state, next_attempt_at=None, leased_until=None, sent_at=sent)) == 1
