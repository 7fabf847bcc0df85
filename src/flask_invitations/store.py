"""All SQL, and the one transaction. It never decides: it finds, changes what is still as it was found, and counts.

Every change is a single guarded UPDATE: the state that the decision was made on stands in its WHERE, and
where no row matches any more, :class:`Stale` has the whole unit run again on what is there now.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from .models import Delivery, DeliveryState, Invitation, InvitationEvent, Models, Status, new_id

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

    def by_token(self, token_hash: str) -> tuple[Invitation, str | None] | None:
        """The invitation that this link opens or, before the latest resend, opened; and its inviter's e-mail."""
        row = self.models.Invitation
        return self._one(
            self._select().where(sa.or_(row.token_hash == token_hash, row.previous_token_hash == token_hash))
        )

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
        where = [*self._within(tenant_id)]
        if status is not None:
            where.append(self._effective(status, now))
        if role is not None:
            where.append(row.role == role)
        if email_key is not None:
            where.append(_is_exactly(row.email_key, email_key))
        if q is not None:
            where.append(row.email_key.contains(q.lower(), autoescape=True))
        if after is not None:
            at, last = after
            where.append(sa.or_(row.created_at < at, sa.and_(row.created_at == at, row.id < last)))
        newest_first = row.created_at.desc(), row.id.desc()
        rows = self.session.execute(self._select().where(*where).order_by(*newest_first).limit(limit))
        return [(found[0], found[1]) for found in rows]

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

    def event(self, row: Invitation, kind: str, now: datetime, **values: Any) -> None:
        """One line of the audit trail, in the transaction of what it tells."""
        self._insert(
            self.models.InvitationEvent,
            {
                "id": new_id(now),
                "invitation_id": row.id,
                "tenant_id": row.tenant_id,
                "type": kind,
                "at": now,
                "actor_id": None,
                "remote_addr": None,
                "user_agent": None,
                "details": None,
                **values,
            },
        )

    def events(self, invitation_id: uuid.UUID, limit: int) -> Sequence[InvitationEvent]:
        """Oldest first; of very many, the latest ``limit``."""
        event = self.models.InvitationEvent
        latest_first = event.at.desc(), event.id.desc()
        rows: Sequence[InvitationEvent] = self.session.scalars(
            sa.select(event).where(event.invitation_id == invitation_id).order_by(*latest_first).limit(limit)
        ).all()
        return rows[::-1]

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
        """For each invitation its latest mail."""
        if not invitation_ids:
            return {}
        mail = self.models.Delivery
        rows = self.session.scalars(
            sa.select(mail).where(mail.invitation_id.in_(invitation_ids)).order_by(mail.created_at, mail.id),
            execution_options={"populate_existing": True},
        )
        return {row.invitation_id: row for row in rows}

    def due_deliveries(self, now: datetime, limit: int) -> Sequence[uuid.UUID]:
        """Mails whose time has come, and those whose worker outlived its lease."""
        mail = self.models.Delivery
        soonest = sa.func.coalesce(mail.next_attempt_at, mail.leased_until)
        ids: Sequence[uuid.UUID] = self.session.scalars(
            sa.select(mail.id).where(self._due(now)).order_by(soonest, mail.id).limit(limit)
        ).all()
        return ids

    def _due(self, now: datetime) -> Any:
        mail = self.models.Delivery
        waiting = sa.and_(mail.state == DeliveryState.QUEUED, mail.next_attempt_at <= now)
        abandoned = sa.and_(mail.state == DeliveryState.SENDING, mail.leased_until <= now)
        return sa.or_(waiting, abandoned)

    def claim_delivery(self, delivery_id: uuid.UUID, now: datetime, leased_until: datetime) -> bool:
        """Lease one due mail; ``False`` where somebody else has it or nothing is to be done."""
        mail = self.models.Delivery
        lease = {
            "state": DeliveryState.SENDING,
            "attempts": mail.attempts + 1,
            "next_attempt_at": None,
            "last_attempt_at": now,
            "leased_until": leased_until,
        }
        return self._execute(sa.update(mail).where(mail.id == delivery_id, self._due(now)).values(**lease)) == 1

    def delivery(self, delivery_id: uuid.UUID) -> tuple[Delivery, Invitation, str | None] | None:
        """One mail, its invitation and the inviter's e-mail."""
        mail, row = self.models.Delivery, self.models.Invitation
        statement = self._select().add_columns(mail).join(mail, mail.invitation_id == row.id)
        found = self.session.execute(statement.where(mail.id == delivery_id)).first()
        return None if found is None else (found[2], found[0], found[1])

    def settle_delivery(self, delivery_id: uuid.UUID, attempt: int, state: str, **values: Any) -> bool:
        """End an attempt; ``False`` where the lease ran out and somebody else made another since."""
        mail = self.models.Delivery
        mine = (mail.id == delivery_id, mail.state == DeliveryState.SENDING, mail.attempts == attempt)
        done = {"state": state, "leased_until": None, "next_attempt_at": None, **values}
        return self._execute(sa.update(mail).where(*mine).values(**done)) == 1

    def cancel_deliveries(self, row: Invitation) -> None:
        """Nobody needs the waiting mails of this invitation any more."""
        mail = self.models.Delivery
        waiting = (mail.invitation_id == row.id, mail.state == DeliveryState.QUEUED)
        self._execute(sa.update(mail).where(*waiting).values(state=DeliveryState.CANCELLED, next_attempt_at=None))
