"""Attempts: what is worth another one, and what is said when there were enough."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import ObjectDeletedError

from ..errors import InvalidRequest, InvitationError, TryAgain
from .drivers import OURS, TEXT, codes, is_busy, is_integrity, is_transient, is_unique, unwritable

log: logging.Logger = logging.getLogger("flask_invitations")

T = TypeVar("T")

ATTEMPTS = 5


class Stale(Exception):
    """The row is no longer what it was when we decided; decide again."""


#: Told of a rule of the database that was broken, before the one second look at it.
Conflict = Callable[[DBAPIError], None]


def attempt(run: Callable[[], T], conflict: Conflict | None = None) -> T:
    """Run a piece of work, again where the database broke it off or somebody was faster: at most ``ATTEMPTS`` times.

    A broken rule of the database (``IntegrityError``) is worth another look where somebody may have been faster: in a
    statement on our tables. In any other it is only with ``conflict``, and once.

    :raises TryAgain: the database refused to the last.
    :raises IntegrityError: a rule of the host's, and no race.
    """
    for number in range(1, ATTEMPTS):
        try:
            return run()
        except (PoolTimeout, ObjectDeletedError) as error:  # whoever calls may have been deleted meanwhile
            raise TryAgain from error
        except (Stale, DBAPIError) as error:
            if not _is_worth_another(error, conflict):
                _give_up(error, last=False)
            if conflict is not None and isinstance(error, DBAPIError) and is_integrity(error):
                conflict(error)
                conflict = None
            log.info("unit of work is run again: %s", type(error).__name__)
        time.sleep(random.uniform(0.005, 0.02) * 2**number)  # noqa: S311 - jitter, no secret
    return _last(run)


def _is_worth_another(error: Stale | DBAPIError, conflict: Conflict | None) -> bool:
    if isinstance(error, Stale):
        return True
    if is_integrity(error):
        return conflict is not None or OURS in (error.statement or "")
    return is_transient(error)


def _last(run: Callable[[], T]) -> T:
    try:
        return run()
    except (PoolTimeout, ObjectDeletedError) as error:
        raise TryAgain from error
    except (Stale, DBAPIError) as error:
        _give_up(error, last=True)


def _give_up(error: Stale | DBAPIError, *, last: bool) -> NoReturn:
    refusal = _refusal(error, last=last)
    if refusal is None:
        raise error
    raise refusal from error


def _refusal(error: Stale | DBAPIError, *, last: bool) -> InvitationError | None:
    """What is answered where no further attempt is made; ``None``: the error itself, for the host to hear of."""
    if isinstance(error, Stale):
        return _busy(error)
    if is_unique(error):
        return _busy(error.orig, *codes(error)) if last else None
    column = unwritable(error)
    if column is not None:
        return InvalidRequest({column: [TEXT]})
    return _busy(error.orig, *codes(error)) if is_busy(error) else None


def _busy(error: BaseException | None, *codes: object) -> TryAgain:
    log.warning("the database refused to the last: %s %s", type(error).__name__, ", ".join(map(str, codes)))
    return TryAgain()
