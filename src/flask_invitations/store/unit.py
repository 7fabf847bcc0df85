"""The one transaction. Whatever is decided in it is decided on what stands in the WHERE of the UPDATE that follows.

Where no row matches any more, :class:`Stale` has the whole unit run again on what is there now.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import scoped_session
from sqlalchemy.orm.exc import ObjectDeletedError

from ..errors import InvitationError, TryAgain
from ..model.binding import Models
from .drivers import is_transient, is_unique

log: logging.Logger = logging.getLogger("flask_invitations")

T = TypeVar("T")

ATTEMPTS = 5
_FRAME = "flask_invitations_after_commit"


class Stale(Exception):
    """The row is no longer what it was when we decided; decide again."""


@dataclass(frozen=True)
class _Part:
    """What belongs to one part of a unit: work that waits for the commit, or what an act has returned.

    :param within: the transactions that it was done in, savepoints of ours and of the host's; with any of them it is
        undone.
    """

    what: Any
    within: Sequence[Any]


@dataclass
class _Frame:
    """What an open unit keeps on the session: the work that waits for its commit, what the acts have returned, whether
    it can still commit, and the host's rows that were read (the session itself holds them weakly, and would read them
    again)."""

    by_host: bool
    after: list[_Part] = field(default_factory=list)
    returned: list[_Part] = field(default_factory=list)
    broken: bool = False
    done: bool = False
    read: list[Any] = field(default_factory=list)


class Block:
    """An open unit of the host's, as ``with invitations.unit() as unit:`` gives it."""

    def __init__(self, frame: _Frame) -> None:
        self._frame = frame

    def result(self, value: T) -> T:
        """What an act has returned inside of the block, complete: ``delivery`` and ``session`` are known by now.

        :raises RuntimeError: the transaction is not committed yet, or never will be; or no act of this unit that was
            committed has returned this.
        """
        if not self._frame.done:
            raise RuntimeError("unit.result: the unit is not committed yet. Ask after the end of the outermost block.")
        pairs = (each for each in self.results() if isinstance(each, tuple))  # of which a caller sees one half
        if not any(value is each for each in (*self.results(), *chain.from_iterable(pairs))):
            raise RuntimeError("unit.result: no act of this unit returned this value, or that part was rolled back.")
        return value

    def results(self) -> Sequence[Any]:
        """Everything that acts have returned inside of the block and that was not undone; nothing before its end."""
        return [part.what for part in self._frame.returned] if self._frame.done else ()


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
            result = _attempt(lambda: self._join(session, frame, work), ATTEMPTS, conflict)
            frame.returned.append(_Part(result, _within(session, frame)))
            return result
        attempts = 1 if session.new or session.dirty or session.deleted else ATTEMPTS
        return _attempt(lambda: self._commit(work), attempts, conflict)

    def look(self, work: Callable[[], T]) -> T:
        """Run ``work``, which only reads: nothing is committed, and no row of the host's is read twice.

        It is run again only where no transaction was open before: what the host has flushed in one would be gone
        without a word.

        :raises TryAgain: the database refused to the last.
        """
        session = self._session()
        frame: _Frame | None = session.info.get(_FRAME)
        if frame is not None:
            result = work()
            frame.returned.append(_Part(result, _within(session, frame)))
            return result
        is_ours = not _in_transaction(session)
        return _attempt(lambda: self._read(session, work, is_ours), ATTEMPTS if is_ours else 1, None)

    def ahead(self, work: Callable[[], T]) -> T:
        """Run ``work``, which only reads, before a unit is begun. No transaction stays open that was not open before:
        what follows may take its time. Inside of a unit it is a part of that.

        :raises TryAgain: the database refused to the last.
        """
        session = self._session()
        if session.info.get(_FRAME) is not None:
            return work()
        if _in_transaction(session):
            return self.look(work)
        return _attempt(lambda: self._read_and_let_go(session, work), ATTEMPTS, None)

    def _read_and_let_go(self, session: Any, work: Callable[[], T]) -> T:
        try:
            return self._read(session, work, is_ours=True)
        finally:
            session.rollback()

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
        session = self._session()
        frame: _Frame = session.info[_FRAME]
        frame.after.append(_Part(act, _within(session, frame)))

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
            with _forgetting_what_is_undone(session, frame) if by_host else nullcontext():
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
            frame.read.clear()
        _run_all([part.what for part in frame.after])
        frame.done = True

    @contextmanager
    def _savepoint(self, session: Any, frame: _Frame) -> Iterator[None]:
        """A part of somebody else's unit: an exception undoes this part and only this part."""
        self._begin(session)
        try:
            with session.begin_nested():
                yield
        except BaseException as error:
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
    return bool(_own(session).in_transaction())  # a registry does not pass this on


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
        except (PoolTimeout, ObjectDeletedError) as error:  # whoever calls may have been deleted meanwhile
            raise TryAgain from error
        except (Stale, DBAPIError) as error:
            if not _is_worth_another(error):
                raise
            if attempt == attempts:
                raise _final(error, conflict) from error
            log.info("unit of work is run again: %s", type(error).__name__)
        time.sleep(random.uniform(0.005, 0.02) * 2**attempt)  # noqa: S311 - jitter, no secret
    raise AssertionError("unreachable")


def _final(error: Stale | DBAPIError, conflict: Callable[[], InvitationError] | None) -> Exception:
    if isinstance(error, IntegrityError) and not is_unique(error):
        return error  # a foreign key, a NOT NULL of the host's: no race, and no second try would mend it
    if isinstance(error, IntegrityError) and conflict is not None:
        return conflict()
    log.warning("the database refused to the last: %s", type(getattr(error, "orig", error)).__name__)
    return TryAgain()


def _own(session: Any) -> Any:
    """The session itself, of which a host may have given us a registry."""
    return session.registry() if isinstance(session, scoped_session) else session


def _within(session: Any, frame: _Frame) -> Sequence[Any]:
    """The transactions that are open on a session, innermost first; of a unit of ours, no part can be undone alone."""
    if not frame.by_host:
        return ()
    own, found = _own(session), list[Any]()
    transaction = own.get_nested_transaction() or own.get_transaction()
    while transaction is not None:
        found.append(transaction)
        transaction = transaction.parent
    return found


@contextmanager
def _forgetting_what_is_undone(session: Any, frame: _Frame) -> Iterator[None]:
    """Whatever rolls a part of the unit back, a savepoint of the host's too: nothing of it follows the commit."""

    def forget(_session: Any, undone: Any) -> None:
        for parts in (frame.after, frame.returned):
            parts[:] = [part for part in parts if all(each is not undone for each in part.within)]

    own = _own(session)
    sa.event.listen(own, "after_soft_rollback", forget)
    try:
        yield
    finally:
        sa.event.remove(own, "after_soft_rollback", forget)


def _run_all(waiting: Sequence[Callable[[], Any]]) -> None:
    for act in waiting:
        try:
            act()
        except Exception:
            log.exception("work after the commit failed")


def _is_worth_another(error: Stale | DBAPIError) -> bool:
    return isinstance(error, (Stale, IntegrityError)) or is_transient(error)
