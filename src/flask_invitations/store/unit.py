"""The one transaction. Whatever is decided in it is decided on what stands in the WHERE of the UPDATE that follows.

Where no row matches any more, :class:`Stale` has the whole unit run again on what is there now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..errors import ConfigurationError, TryAgain
from ..gate import running
from ..model.binding import Models
from .after import clean, run_all
from .around import around, wrapped
from .attempts import Conflict, Stale, attempt
from .binds import Binds, writing
from .drivers import heeded, is_busy
from .frames import Block, Frame, Part, TransactionMisuse, frame_of, opener, put
from .watch import begin_anew, commits_alone, has_written, watch

T = TypeVar("T")

__all__ = ["Block", "Stale", "TransactionMisuse", "Unit"]


class Unit:
    """The one transaction: runs a piece of work, commits once, then does what waited for the commit.

    The whole work is run again, a few times at most, when the database breaks it off (deadlock, serialization, lock
    time-out, lost connection) or when somebody was faster (:class:`Stale`, a unique key): the second look sees their
    change and decides on it. So hooks must bear being called again.

    A second attempt takes back what the first has done, and nothing else. Where somebody else has written in the
    transaction before, that is a savepoint of ours; what the database breaks off as a whole is not tried again then:
    whoever wrote must hear of it.
    """

    def __init__(self, session: Callable[[], Any], models: Models) -> None:
        self._session = session
        self._binds = Binds(session, models)
        #: The bind of a session whose engine was looked at, the engine, and its options then.
        self._sound: tuple[Any, Any, Any] = (None, None, None)
        watch()

    # Acts

    def run(self, work: Callable[[], T], *, conflict: Conflict | None = None, anew: bool = False) -> T:
        """Run ``work`` in one transaction.

        :param conflict: told of a rule of the database that was broken, before a second look; see :func:`attempt`.
        :param anew: ``work`` begins with a lock, and then has to see what was committed before it got that. The
            transaction begins anew, unless somebody has written in it.
        :raises TryAgain: the database refused to the last; nothing happened.
        :raises TransactionMisuse: a hook ended the transaction, or this is no place for an act.
        """
        work = wrapped(self, work)
        session = self._session()
        frame = frame_of(session)
        if frame is not None:
            return self._join(frame, work, conflict)
        if has_written(session) or session.new or session.dirty or session.deleted:
            with self._open(session, shared=True):
                return self.run(work, conflict=conflict)
        return attempt(lambda: self._alone(session, work, anew), conflict)

    def _alone(self, session: Any, work: Callable[[], T], anew: bool) -> T:
        has_read = session.in_transaction()
        with self._open(session, anew=anew):
            if anew and has_read and not self._binds.forget_snapshot():
                raise Stale
            return work()

    def _join(self, frame: Frame, work: Callable[[], T], conflict: Conflict | None) -> T:
        """A part of a transaction in which there is more: what is run again is this part."""
        _refuse_misplaced(frame)
        frame.watch()
        _flush(frame)
        frame.acting += 1
        try:
            result = attempt(lambda: self._part(frame, work), conflict)
        finally:
            frame.acting -= 1
        frame.returned.append(Part(result, frame.within()))
        return result

    def _part(self, frame: Frame, work: Callable[[], T]) -> T:
        with self._savepoint(frame):
            return work()

    def look(self, work: Callable[[], T]) -> T:
        """Run ``work``, which only reads: nothing is committed, and no row of the host's is read twice.

        It is run again only where no transaction was open before: what the host has flushed in one would be gone.

        :raises TryAgain: the database refused to the last.
        """
        session = self._session()
        frame = frame_of(session)
        if frame is not None:
            return self._look_inside(frame, work)
        if session.in_transaction():
            return self._read(session, work)
        return attempt(lambda: self._read_alone(session, work))

    def _look_inside(self, frame: Frame, work: Callable[[], T]) -> T:
        frame.refuse_from_elsewhere()
        if frame.broken:
            raise TryAgain
        try:
            result = work()
        except DBAPIError as error:
            if frame.reads:
                raise  # whoever began to read may read again
            frame.broken = True
            _try_again_or_raise(error)
        frame.returned.append(Part(result, frame.within()))
        return result

    def ahead(self, work: Callable[[], T], *, anew: bool = False, by_commit: bool = False) -> T:
        """Run ``work``, which only reads, where a unit that is begun afterwards writes. No transaction stays open that
        was not open before: what follows may take its time. Inside of a unit it is a part of that.

        :param anew: what a hook has left open is ended first: a read in there would see only what that has seen.
        :param by_commit: see :func:`clean`.
        :raises TryAgain: the database refused to the last.
        """
        session = self._session()
        if frame_of(session) is not None:
            return work()
        if anew:
            clean(session, "a hook")
        if session.in_transaction():
            with writing(session):
                return self.look(work)
        return attempt(lambda: self._read_and_let_go(session, work, by_commit))

    def _read_and_let_go(self, session: Any, work: Callable[[], T], by_commit: bool) -> T:
        try:
            with writing(session):
                return self._read_alone(session, work)
        finally:
            clean(session, "a look ahead", by_commit=by_commit)

    def _read(self, session: Any, work: Callable[[], T]) -> T:
        frame = Frame(session, reads=True)
        put(frame)
        try:
            with heeded():
                return work()
        except PoolTimeout as error:
            raise TryAgain from error
        except DBAPIError as error:
            _try_again_or_raise(error)
        finally:
            frame.close()

    def _read_alone(self, session: Any, work: Callable[[], T]) -> T:
        begun = None if session.autobegin else session.begin()
        frame = Frame(session, reads=True)
        put(frame)
        try:
            with heeded():
                return work()
        except (DBAPIError, ConfigurationError):  # of a database without our tables
            session.rollback()
            raise
        finally:
            frame.close()
            if begun is not None:
                begun.close()

    # Called inside

    def after_commit(self, act: Callable[[], Any], instead: Callable[[], Any] | None = None) -> None:
        """Do ``act`` once the transaction is committed, never if it is not.

        :param instead: done where ``act``, or what comes before it, is interrupted by what is no ``Exception``.
        """
        frame = self._open_frame()
        frame.after.append(Part(act, frame.within(), instead))

    def keep(self, rows: Iterable[Any]) -> None:
        """Hold rows of the host's until the unit, or the look, is over: the session alone would forget them."""
        frame = frame_of(self._session())
        if frame is not None:
            frame.read.extend(rows)

    def goes_on(self) -> bool:
        """Whether the unit is the host's, so that other things may follow before its commit."""
        return self._open_frame().by_host

    def has_begun_anew(self) -> bool:
        """Whether the act that is under way has begun with a lock, and nobody had read before."""
        frame = frame_of(self._session())
        return frame is not None and frame.anew and not frame.acting

    def check(self, suspect: str) -> None:
        """:raises TransactionMisuse: the transaction was ended by somebody else, and ``suspect`` has run last."""
        self._open_frame().check(suspect)

    def _open_frame(self) -> Frame:
        frame = frame_of(self._session())
        if frame is None:
            raise TransactionMisuse("The session of the act was closed, or is another one by now. Leave it to the act.")
        return frame

    # Around

    def joined(self) -> AbstractContextManager[Block]:
        """A transaction of the host's that the acts inside of the ``with`` block join: one commit, at its end."""
        return self._block()

    @contextmanager
    def _block(self) -> Iterator[Block]:
        session = self._session()
        outer = frame_of(session)
        if outer is None:
            with self._open(session, by_host=True, shared=True, opener=opener()) as block:
                yield block
            return
        _refuse_misplaced(outer)
        outer.watch()
        outer.blocks += 1
        try:
            with self._savepoint(outer):
                yield Block(outer)
        finally:
            outer.blocks -= 1
        if outer.ending:
            raise TransactionMisuse("The outer unit() block ended before this one. End blocks in order.")

    def apart(self, what: str, call: Callable[[], T]) -> T:
        """Call what is not ours, and leave no trace of it in the session: what it has committed is committed, what it
        left open is rolled back. Inside a unit there is only work of the unit's own, and nothing is taken back.

        :param what: its name, for the log.
        """
        with around(self, None):
            if self._session().in_transaction():
                return call()
            try:
                return call()
            finally:
                clean(self._session(), what)

    def begin_alone(self) -> None:
        """Before work of many transactions: commit what the host has left open, as any act does.

        :raises TransactionMisuse: inside a unit.
        """
        if frame_of(self._session()) is not None:
            raise TransactionMisuse("This act commits more than once. Call it outside of unit() and of hooks.")
        self.run(lambda: None)

    @contextmanager
    def _open(self, session: Any, **how: Any) -> Iterator[Block]:
        frame = _begun(session, **how)
        try:
            with heeded(), writing(session):
                self._refuse_autocommit(session)
                yield Block(frame)
                _end(frame)
        except BaseException as error:
            frame.ending = True
            if frame.is_open:
                session.rollback()
            if frame.blame is None:
                raise
            self._session().rollback()  # where it is another one by now, that is where our statements went
            if str(error) == frame.blame or not isinstance(error, Exception):
                raise
            raise TransactionMisuse(frame.blame) from error
        finally:
            frame.close()
        run_all(frame.after)

    @contextmanager
    def _savepoint(self, frame: Frame) -> Iterator[None]:
        """A part of a transaction in which there is more: an exception undoes this part and only this part."""
        session, before, broken = frame.session, frame.savepoint, list[DBAPIError]()
        self.begin_on_sqlite()
        try:
            with session.begin_nested() as frame.savepoint:
                try:
                    yield
                except DBAPIError as error:
                    broken.append(error)
                    raise
                finally:
                    frame.savepoint = before
        except BaseException as error:
            cause = broken[0] if broken else error
            if isinstance(cause, DBAPIError) and is_busy(cause):
                frame.broken = True  # the database may have given up the whole transaction, not only our part
                raise TryAgain from cause
            raise

    def begin_on_sqlite(self) -> bool:
        """Python's sqlite3 begins no transaction for a read, nor for a savepoint, and releasing that would then commit.

        :returns: whether it is SQLite; then nobody else writes until the transaction is over.
        """
        connection = self._binds.connection()
        if connection.dialect.name != "sqlite":
            return False
        if not connection.connection.dbapi_connection.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        return True

    def _refuse_autocommit(self, session: Any) -> None:
        """:raises ConfigurationError: each statement would be a transaction of its own."""
        known, engine, options = self._sound
        if engine is None or session.bind is not known or engine.get_execution_options() is not options:
            engine = self._binds.connection().engine
        if commits_alone(session):
            raise ConfigurationError(
                "The connection of your session is in AUTOCOMMIT, where nothing can be undone. "
                "Give the session an engine without isolation_level='AUTOCOMMIT' or autocommit."
            )
        self._sound = session.bind, engine, engine.get_execution_options()


def _refuse_misplaced(frame: Frame) -> None:
    """
    :raises TransactionMisuse: an act that writes cannot join this.
    :raises TryAgain: nor can any, since the database gave it up.
    """
    if frame.reads:
        who = running() or "A hook"
        raise TransactionMisuse(f"{who} called an act that writes inside one that only reads. Call it before or after.")
    frame.refuse_from_elsewhere()
    if frame.broken:
        raise TryAgain
    frame.check()


def _begun(session: Any, *, shared: bool = False, **how: Any) -> Frame:
    """A new frame, in the session's transaction.

    :raises TransactionMisuse: that is somebody else's to end.
    """
    if session._trans_context_manager is not None or session.in_nested_transaction():  # noqa: SLF001 - not public
        raise TransactionMisuse(
            "An act commits, and your own `with session.begin()` or begin_nested() is open. "
            "Use `with invitations.unit():` in its place, or end it first."
        )
    root = session.get_transaction() or session.begin()
    frame = Frame(session, shared=shared, root=root, **how)
    put(frame)
    if frame.by_host:
        frame.watch()
    if shared:
        begin_anew(session)
    return frame


def _end(frame: Frame) -> None:
    """Commit.

    :raises TryAgain: the database refused, or did before, and nothing happened; or whether it has is unknown.
    """
    if frame.broken:
        raise TryAgain
    if frame.blocks:
        raise TransactionMisuse("A unit() block inside of this one is still open. End blocks in order.")
    _flush(frame)
    frame.check()
    frame.ending = True
    try:
        frame.session.commit()
    except DBAPIError as error:
        if error.connection_invalidated:
            # Whether the commit arrived is unknown: running again could answer for our own success.
            raise TryAgain from error
        if frame.shared:
            _try_again_or_raise(error)
        raise
    frame.done = True


def _flush(frame: Frame) -> None:
    """Write what the host has changed. What the database says to that is about the host's own, and no race of ours."""
    try:
        frame.session.flush()
    except DBAPIError as error:
        if frame.shared:
            _try_again_or_raise(error)
        raise


def _try_again_or_raise(error: DBAPIError) -> NoReturn:
    """:raises TryAgain: the same may succeed in another transaction, which is the caller's to begin."""
    if is_busy(error):
        raise TryAgain from error
    raise error
