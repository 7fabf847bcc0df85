"""Once: a call that is repeated with its ``Idempotency-Key`` gets its answer again, and nothing happens twice.

Kept are ids and codes, in the transaction of the act; the answer is made again of what is there by then. A refusal
keeps nothing, so that the same key may be used for another try.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Generic, TypeVar

from ..clock import as_utc
from ..context import Context
from ..errors import IdempotencyInProgress, IdempotencyMismatch, InvitationError, TryAgain
from ..model.tables import Request
from ..store.around import around
from ..tokens import imprints

#: For how long an answer is given again.
KEPT = timedelta(hours=24)

T = TypeVar("T")


@dataclass(frozen=True)
class Recall(Generic[T]):
    """How the answer to one caller is kept and made again.

    :param whose: who calls: the same key of anybody else is another one.
    :param keep: what is kept of a result: ids of ours and codes, as JSON; nothing personal and nothing secret.
    :param again: the result, made of that and of what is there now; may refuse.
    """

    whose: Sequence[str] = field(repr=False)
    keep: Callable[[T], Any]
    again: Callable[[Any], T]


@dataclass(frozen=True)
class Once(Generic[T]):
    """One call with a key.

    :param known_by: see :func:`known_by`.
    :param status: the status of the answer, by the act's result.
    """

    ctx: Context
    recall: Recall[T]
    known_by: Mapping[str, str]
    status: Callable[[T], int]

    def run(self, act: Callable[[], T]) -> tuple[T, int, bool]:
        """Do ``act``, whose first unit is its transaction; or give what it gave before.

        :returns: the result, the status, and whether they are those of an earlier call.
        :raises IdempotencyInProgress: that one still runs.
        :raises IdempotencyMismatch: it had another body.
        :raises InvitationError: the act's refusal; nothing is kept.
        """
        earlier = self._earlier()
        if earlier is not None:
            return earlier
        try:
            with around(self.ctx.unit, self._record):
                result = act()
            return result, self.status(result), False
        except TryAgain:
            raise
        except InvitationError:  # it may be the trace of the same call, which was faster
            earlier = self._earlier()
            if earlier is None:
                raise
            return earlier

    def _earlier(self) -> tuple[T, int, bool] | None:
        found = self.ctx.unit.ahead(lambda: self.ctx.store.requests.find(list(self.known_by)))
        if found is None or self._is_over(found):
            return None
        if found.body_hash != self.known_by[found.key_hash]:
            raise IdempotencyMismatch
        return self.ctx.unit.ahead(partial(self.recall.again, found.answer)), found.status, True

    def _is_over(self, found: Request) -> bool:
        """Whether its time is over; then it makes room for another."""
        now = self.ctx.now()
        if now < as_utc(found.expires_at):
            return False
        self.ctx.unit.run(lambda: self.ctx.store.requests.drop([found.key_hash], now))
        return True

    def _record(self, work: Callable[[], T]) -> T:
        """The act's transaction, with what is written down of it."""
        requests, (key_hash, body_hash) = self.ctx.store.requests, next(iter(self.known_by.items()))
        begun = {"key_hash": key_hash, "body_hash": body_hash, "status": 0, "expires_at": self.ctx.now() + KEPT}
        if not requests.claim(begun):
            raise IdempotencyInProgress
        result = work()
        if not requests.write({**begun, "status": self.status(result), "answer": self.recall.keep(result)}):
            raise IdempotencyInProgress
        return result


def known_by(ctx: Context, call: Sequence[str], body: str) -> Mapping[str, str]:
    """What a call is known by under each of the app's keys, the present one first, and its body under the same one.

    In the body there may be a password. Whoever cannot guess the key of the call, which is hashed with it, cannot try
    passwords out, not even with ``SECRET_KEY`` and the table in their hands.

    :param call: the caller, the path and the key.
    """
    keys = ctx.config.secret_keys
    return dict(zip(imprints(keys, *call), imprints(keys, *call, body), strict=True))
