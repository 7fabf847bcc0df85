"""What an open unit keeps on the session, and who may end its transaction: the unit, and nobody else."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from types import FrameType
from typing import Any, TypeVar

import sqlalchemy as sa

from ..gate import running
from .watch import is_whole

T = TypeVar("T")

_KEY = "flask_invitations_unit"
_CAUGHT = "An error of the database that is caught ends it too. Put a savepoint (begin_nested) around what may fail."


class TransactionMisuse(RuntimeError):
    """A transaction was used as it cannot work. The text names who did that, and the fix."""


@dataclass(frozen=True)
class Part:
    """What belongs to one part of a unit: work that waits for the commit, or what an act has returned.

    :param within: the transactions that it was done in, savepoints of ours and of the host's; with any of them it is
        undone.
    :param instead: what to do where work that waits for the commit is not done, since some of it was interrupted.
    """

    what: Any
    within: Sequence[Any]
    instead: Callable[[], Any] | None = None


@dataclass(repr=False, eq=False)
class Frame:
    """What an open unit, or a look, keeps on the session.

    :param by_host: opened by the host's ``with`` block; else by an act.
    :param shared: there are writes of the host's in the transaction, or may be: it is not run again as a whole.
    :param reads: a look: nothing is committed at its end.
    :param anew: nothing was read in the transaction before the act; it begins with a lock.
    :param root: the session's transaction that the unit will commit; ``None`` once the host has rolled it back.
    :param after: waits for the commit; ``returned``: what the acts have returned.
    :param read: the host's rows that were read: the session itself holds them weakly, and would read them again.
    :param broken: it cannot commit any more; ``done``: it has.
    :param savepoint: the innermost savepoint of ours; ``blocks``: how many blocks of the host's are open in it.
    :param acting: how many acts are under way in it.
    :param blame: who has ended the transaction, or tried to.
    :param opener: the host's generator that opened it.
    """

    session: Any
    by_host: bool = False
    shared: bool = False
    reads: bool = False
    anew: bool = False
    root: Any = None
    after: list[Part] = field(default_factory=list)
    returned: list[Part] = field(default_factory=list)
    read: list[Any] = field(default_factory=list)
    broken: bool = False
    done: bool = False
    ending: bool = False
    watched: bool = False
    savepoint: Any = None
    blocks: int = 0
    acting: int = 0
    blame: str | None = None
    opener: FrameType | None = None

    def within(self) -> Sequence[Any]:
        """The transactions that are open, innermost first; of an act alone no part can be undone."""
        found = list[Any]()
        transaction = self.watched and (self.session.get_nested_transaction() or self.session.get_transaction())
        while transaction:
            found.append(transaction)
            transaction = transaction.parent
        return found

    @property
    def is_open(self) -> bool:
        """Whether it is what is open on its session."""
        return self.session.info.get(_KEY) is self

    def check(self, suspect: str | None = None) -> None:
        """:raises TransactionMisuse: the transaction is not the one that the unit began.

        :param suspect: who has run last, where that is known.
        """
        session = self.session
        if self.root is None:
            self.root = session.get_transaction()
        elif session.get_transaction() is not self.root or not is_whole(session):
            self.accuse("ended", suspect)
        if self.blame is not None:
            raise TransactionMisuse(self.blame)

    def accuse(self, did: str, suspect: str | None = None) -> None:
        """Note who has ``did`` what with the transaction, the first time."""
        if self.blame is not None:
            return
        who = running() or suspect
        if who is None and self.by_host and not self.acting:
            self.blame = f"Code in a unit() block {did} its transaction. Leave commit and close to the block. {_CAUGHT}"
        else:
            who = who or "A hook, or a listener,"
            may = "It may flush, but must not commit, roll back or close."
            self.blame = f"{who} {did} the transaction of the act. {may} {_CAUGHT}"

    def watch(self) -> None:
        """Whatever rolls a part of the unit back, a savepoint of the host's too: nothing of it follows the commit."""
        if not self.watched:
            self.watched = True
            sa.event.listen(self.session, "after_soft_rollback", self._forget)

    def close(self) -> None:
        """Nothing is open on the session any more."""
        if self.is_open:
            del self.session.info[_KEY]
        self.read.clear()
        if self.watched:
            self.watched = False
            sa.event.remove(self.session, "after_soft_rollback", self._forget)

    def _forget(self, _session: Any, undone: Any) -> None:
        for parts in (self.after, self.returned):
            parts[:] = [part for part in parts if all(each is not undone for each in part.within)]
        if undone is self.root and self.by_host and not self.acting:
            self.root = None  # the block is the host's, and may begin anew

    def refuse_from_elsewhere(self) -> None:
        """:raises TransactionMisuse: the block is in a generator that is suspended, and so not around the caller."""
        opener = self.opener
        if opener is not None and all(each is not opener for each in _stack()):
            raise TransactionMisuse(
                f"A generator ({opener.f_code.co_name}) that is suspended now has unit() open on this session, and its "
                "block would decide over this act. End the block before the generator yields."
            )


class Block:
    """An open unit of the host's, as ``with invitations.unit() as unit:`` gives it."""

    def __init__(self, frame: Frame) -> None:
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


def frame_of(session: Any) -> Frame | None:
    """What is open on a session."""
    frame: Frame | None = session.info.get(_KEY)
    return frame


def put(frame: Frame) -> None:
    """Open ``frame`` on its session."""
    kind: Any = type(frame.session)
    _guard(kind)
    frame.session.info[_KEY] = frame


def opener() -> FrameType | None:
    """The host's generator in which a block is being opened. One that ``contextlib`` drives is no more than a part of
    the function that uses it; any other may be suspended, and leave the block open."""
    for frame in _stack():
        if frame.f_code.co_filename == contextlib.__file__:
            continue
        if not frame.f_code.co_flags & inspect.CO_GENERATOR:
            return None
        if frame.f_back is None or frame.f_back.f_code.co_filename != contextlib.__file__:
            return frame
    return None


def _stack() -> Iterator[FrameType]:
    """The frames of Python's that are being run, of whoever asks first and its callers."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - as inspect.currentframe does
    while frame is not None:
        yield frame
        frame = frame.f_back


# Who ends it


@lru_cache(maxsize=32)  # to listen once more changes nothing
def _guard(kind: Any) -> None:
    """From now on nobody but the unit ends a transaction of such a session that a unit is open in."""
    sa.event.listen(kind, "before_commit", _refuse_commit)
    sa.event.listen(kind, "after_transaction_end", _note_end)


def _refuse_commit(session: Any) -> None:
    """:raises TransactionMisuse: it is not the unit that commits. Savepoints of others are theirs."""
    frame = session.info.get(_KEY)
    if frame is None or frame.ending or frame.reads or session.get_nested_transaction() is not frame.savepoint:
        return
    frame.accuse("tried to commit")
    raise TransactionMisuse(frame.blame)


def _note_end(session: Any, transaction: Any) -> None:
    frame = session.info.get(_KEY)
    if frame is None or transaction is not frame.root or frame.ending or frame.reads:
        return
    if frame.acting or not frame.by_host:
        frame.accuse("ended")
