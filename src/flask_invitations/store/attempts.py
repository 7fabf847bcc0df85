"""Attempts: what is worth another one, and what is said when there were enough."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..errors import TryAgain
from .drivers import is_transient, is_unique

log: logging.Logger = logging.getLogger("flask_invitations")

T = TypeVar("T")

ATTEMPTS = 5
#: What the names of our tables begin with.
_OURS = "user_invitation"


class Stale(Exception):
    """The row is no longer what it was when we decided; decide again."""


#: Told of a rule of the database that was broken, before the one second look at it.
Conflict = Callable[[IntegrityError], None]


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
        except PoolTimeout as error:
            raise TryAgain from error
        except (Stale, DBAPIError) as error:
            if not _is_worth_another(error, conflict):
                raise
            if conflict is not None and isinstance(error, IntegrityError):
                conflict(error)
                conflict = None
            log.info("unit of work is run again: %s", type(error).__name__)
        time.sleep(random.uniform(0.005, 0.02) * 2**number)  # noqa: S311 - jitter, no secret
    return _last(run)


def _is_worth_another(error: Stale | DBAPIError, conflict: Conflict | None) -> bool:
    if isinstance(error, IntegrityError):
        return conflict is not None or _OURS in (error.statement or "")
    return isinstance(error, Stale) or is_transient(error)


def _last(run: Callable[[], T]) -> T:
    try:
        return run()
    except (Stale, DBAPIError, PoolTimeout) as error:
        if isinstance(error, DBAPIError) and not is_transient(error) and not is_unique(error):
            raise  # no race, and no other look would change it
        log.warning("the database refused to the last: %s", type(getattr(error, "orig", error)).__name__)
        raise TryAgain from error
