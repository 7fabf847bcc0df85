"""The one transaction. Whatever is decided in it is decided on what stands in the WHERE of the UPDATE that follows.

Where no row matches any more, :class:`Stale` has the whole unit run again on what is there now.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import scoped_session

from ..errors import InvitationError, TryAgain
from ..model.binding import Models

log: logging.Logger = logging.getLogger("flask_invitations")

T = TypeVar("T")

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

    by_host: bool
    after: list[Callable[[], Any]] = field(default_factory=list)
    broken: bool = False
    done: bool = False
    read: list[Any] = field(default_factory=list)


class Block:
    """An open unit of the host's, as ``with invitations.unit() as unit:`` gives it."""

    def __init__(self, frame: _Frame) -> None:
        self._frame = frame

    def result(self, value: T) -> T:
        """What an act has returned inside of the block, complete: ``delivery`` and ``session`` are known by now.

        :raises RuntimeError: the transaction is not committed yet, or never will be.
        """
        if not self._frame.done:
            raise RuntimeError("unit.result: the unit is not committed yet. Ask after the end of the outermost block.")
        return value


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
        conflict: Callable[[], InvitationError] | None = None,
    ) -> T:
        """Run ``work`` in one transaction.

        :param conflict: what to raise where a unique key still refuses the last attempt.
        :raises TryAgain: the database refused to the last; nothing happened.
        """
        session = self._session()
        frame: _Frame | None = session.info.get(_FRAME)
        if frame is not None:
            return _attempt(lambda: self._join(session, frame, work), ATTEMPTS, conflict)
        attempts = 1 if session.new or session.dirty or session.deleted else ATTEMPTS
        return _attempt(lambda: self._commit(work), attempts, conflict)

    def look(self, work: Callable[[], T]) -> T:
        """Run ``work``, which only reads: nothing is committed, and no row of the host's is read twice.

        It is run again only where no transaction was open before: what the host has flushed in one would be gone
        without a word.

        :raises TryAgain: the database refused to the last.
        """
        session = self._session()
        if _FRAME in session.info:
            return work()
        is_ours = not _in_transaction(session)
        return _attempt(lambda: self._read(session, work, is_ours), ATTEMPTS if is_ours else 1, None)

    def _read(self, session: Any, work: Callable[[], T], is_ours: bool) -> T:
        session.info[_FRAME] = _Frame(by_host=False)
        try:
            return work()
        except DBAPIError:
            if is_ours:
                session.rollback()
            raise
        finally:
            del session.info[_FRAME]

    def after_commit(self, act: Callable[[], Any]) -> None:
        """Called inside a unit: do ``act`` once its transaction is committed, never if it is not."""
        frame: _Frame = self._session().info[_FRAME]
        frame.after.append(act)

    def keep(self, rows: Iterable[Any]) -> None:
        """Hold rows of the host's until the unit, or the look, is over: the session alone would forget them."""
        frame: _Frame | None = self._session().info.get(_FRAME)
        if frame is not None:
            frame.read.extend(rows)

    def _commit(self, work: Callable[[], T]) -> T:
        with self._open(by_host=False):
            return work()

    def _join(self, session: Any, frame: _Frame, work: Callable[[], T]) -> T:
        with self._savepoint(session, frame):
            return work()

    def joined(self) -> AbstractContextManager[Block]:
        """A transaction of the host's that the acts inside of the ``with`` block join: one commit, at its end."""
        return self._open(by_host=True)

    def goes_on(self) -> bool:
        """Called inside a unit: whether it is the host's, so that other things may follow before its commit."""
        frame: _Frame = self._session().info[_FRAME]
        return frame.by_host

    @contextmanager
    def _open(self, *, by_host: bool) -> Iterator[Block]:
        session = self._session()
        outer: _Frame | None = session.info.get(_FRAME)
        if outer is not None:
            with self._savepoint(session, outer):
                yield Block(outer)
            return
        frame = session.info[_FRAME] = _Frame(by_host)
        try:
            yield Block(frame)
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
        frame.done = True

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


def _in_transaction(session: Any) -> bool:
    own = session.registry() if isinstance(session, scoped_session) else session  # that one does not pass this on
    return bool(own.in_transaction())


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
    log.warning("the database refused to the last: %s", type(getattr(error, "orig", error)).__name__)
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
    # Without a statement it could not even connect; drivers give that no common code.
    return isinstance(error, OperationalError) and (error.statement is None or "locked" in str(error.orig))


def _code(error: DBAPIError) -> Any:
    """SQLSTATE (PostgreSQL drivers) or error number (MariaDB and MySQL drivers)."""
    raw: Any = error.orig
    state = getattr(raw, "sqlstate", None) or getattr(raw, "pgcode", None)
    return state if state is not None else next(iter(raw.args or ()), None)


def _is_unique(error: DBAPIError) -> bool:
    return _code(error) in _UNIQUE or str(error.orig).startswith("UNIQUE constraint failed")
