"""A circuit breaker: a mail server that refuses one person after another for good speaks of us, not of them.

It is kept in memory, one for each process and app. Nothing depends on it for safety.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Collection, Hashable
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

log: logging.Logger = logging.getLogger("flask_invitations")

#: So many people in a row, none of whom a server would take a mail for.
TRIP = 5
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(minutes=30)


def doubled(first: timedelta, number: int, longest: timedelta) -> timedelta:
    """``first``, twice that, four times that: for ``number`` 1, 2, 3; at most ``longest``, whatever the number."""
    return min(first * (1 << min(max(number - 1, 0), 20)), longest)


class Breaker:
    """Closed, until :data:`TRIP` different people in a row were refused for good. Then it is open: for a pause no email
    is taken up. After it one is tried: where that is sent all is well, else there is another pause, twice as long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused: dict[Hashable, uuid.UUID] = {}
        self._wronged: set[uuid.UUID] = set()
        self._trips = 0
        self._until: datetime | None = None
        self._tried: datetime | None = None

    @property
    def is_closed(self) -> bool:
        return self._until is None

    def room(self, wanted: int, now: datetime) -> int:
        """How many of the ``wanted`` emails may be taken up."""
        with self._lock:
            if self._until is None:
                return wanted
            if (
                not wanted
                or _lies_ahead(self._until, now)
                or _lies_ahead(self._tried and self._tried + FIRST_PAUSE, now)
            ):
                return 0
            self._tried = now
            return 1

    def succeeded(self) -> None:
        """An email was sent: whatever was refused before it was about somebody else."""
        if not self._refused and self._until is None:
            return
        with self._lock:
            if self._until is not None:
                log.warning("An email was sent. The others follow.")
            self._refused.clear()
            self._until = self._tried = None
            self._trips = 0

    def refused(self, whom: Hashable, delivery_id: uuid.UUID, now: datetime) -> bool:
        """An email was refused for good; whether that is about us, so that it has to be tried again.

        :param whom: to whom it was to go.
        """
        with self._lock:
            if self._until is None:
                self._refused[whom] = delivery_id
                if len(self._refused) < TRIP:
                    return False
                self._wronged.update(self._refused.values())
                self._wronged.discard(delivery_id)
                self._refused.clear()
            if not _lies_ahead(self._until, now):
                self._pause(now)
            return True

    def _pause(self, now: datetime) -> None:
        self._trips += 1
        pause = doubled(FIRST_PAUSE, self._trips, LONGEST_PAUSE)
        self._until, self._tried = now + pause, None
        say = log.error if self._trips == 1 else log.info
        say(
            "%d people in a row were refused for good, so that is probably about us: the sender, the mail server's "
            "settings, a block list or a limit. None of their emails is given up. The next email is tried in %d s.",
            TRIP,
            pause.total_seconds(),
        )

    def wronged(self) -> Collection[uuid.UUID]:
        """The emails that were given up before it was known to be about us, and have to be queued again."""
        with self._lock:
            return frozenset(self._wronged)

    def righted(self, these: Collection[uuid.UUID]) -> None:
        """They are queued again."""
        with self._lock:
            self._wronged.difference_update(these)


def _lies_ahead(moment: datetime | None, now: datetime) -> bool:
    """Whether a pause that ends then still lasts; it does not where the clock was set back by more than any pause."""
    return moment is not None and timedelta(0) < moment - now <= LONGEST_PAUSE


_breakers: WeakKeyDictionary[Any, Breaker] = WeakKeyDictionary()
_making = threading.Lock()


def breaker_of(app: Any) -> Breaker:
    """The one of this app, in this process."""
    found = _breakers.get(app)
    if found is None:
        with _making:
            found = _breakers.setdefault(app, Breaker())
    return found
