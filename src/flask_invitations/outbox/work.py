"""What the engine is told to do, and what it has in hand."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from ..context import Context
from ..model.states import Kind
from ..model.values import DeliveryInfo, InvitationInfo
from ..store.found import FoundMail

#: What was prepared longer ago, or a quarter of a lease ago, is not performed, but put back and prepared again.
FRESH = timedelta(seconds=1)


class Leased(Protocol):
    """One row that is leased to us, made ready to perform.

    ``delivery`` is as it was leased.
    """

    @property
    def delivery(self) -> DeliveryInfo: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def invitation(self) -> InvitationInfo: ...


@dataclass(frozen=True)
class Outcome:
    """How one attempt went.

    :param delivery: as it is afterwards.
    :param tried: it counts as an attempt.
    """

    delivery: DeliveryInfo
    kind: Kind
    invitation: InvitationInfo
    next_attempt_at: datetime | None = None
    tried: bool = True


class Lost(Exception):
    """A row is no longer ours: its lease was over and another worker has it, or somebody has ended it."""


L = TypeVar("L", bound=Leased)


@dataclass
class Hold(Generic[L]):
    """What a worker has in hand: the rows of one lease, and how those went that it has done.

    :param since: when they were leased; ``began``: the same by a clock that nobody sets, as is ``renewed``: when one of
        them was last leased for longer.
    :param lease: for how long, at least, nobody else takes them.
    :param fence: names the lease.
    :param ready: the rows; ``done``: how many of them are.
    :param follows: another lease came before it in the same run, so that it pays to have statements stay prepared.
    :param is_asked: the rules were asked then, and nothing else has happened in the same transaction.
    """

    since: datetime
    lease: timedelta
    fence: uuid.UUID = field(default_factory=uuid.uuid4)
    began: float = field(default_factory=time.monotonic)
    renewed: float = 0
    ready: Sequence[L | Outcome] = ()
    done: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    follows: bool = False
    is_asked: bool = True

    def is_fresh(self, now: datetime) -> bool:
        """Whether so little time has passed, by any clock, that what was asked when they were leased is still so."""
        passed = timedelta(seconds=time.monotonic() - self.began)
        return self.is_asked and max(abs(now - self.since), passed) <= min(FRESH, self.lease / 4)

    @property
    def until(self) -> float:
        """When the last lease is over, by the same clock."""
        return max(self.began, self.renewed) + self.lease.total_seconds()

    @property
    def untried(self) -> Sequence[uuid.UUID]:
        return [each.delivery.id for each in self.ready[self.done :]]


@dataclass(frozen=True)
class Work(Generic[L]):
    """What leaves by the outbox.

    :param prepare: inside the transaction that leased them; what need not be performed has its outcome already.
    :param bare: one of them without anything that the host must be asked for: to write down that preparing it failed.
    :param perform: outside of any transaction, after a last look at whether it still is to be; raises :class:`Lost`, or
        :class:`TryAgain` where that look could not be had, and nothing else that is an ``Exception``.
    :param settled: inside the transaction that writes an outcome down, where the row was still ours.
    :param is_watched: whether the host is told of outcomes: that may take long, so nothing is held meanwhile.
    """

    prepare: Callable[[Context, Sequence[FoundMail]], Sequence[L | Outcome]]
    bare: Callable[[Context, FoundMail], L]
    perform: Callable[[Context, L, Hold[L]], Outcome]
    settled: Callable[[Context, Outcome], None]
    is_watched: Callable[[Context], bool]
