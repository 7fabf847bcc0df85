"""Rate limits: how many, in how much time. The only importer of the library ``limits``, whose exceptions stop here.

They are asked before anything is looked up, outside of the transaction, once a call. A call that is over one of its
limits is counted in none of them, and does nothing.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil
from threading import Lock
from time import monotonic
from typing import Any

from limits import RateLimitItem, parse_many
from limits.errors import StorageError
from limits.storage import MemoryStorage, MovingWindowSupport, Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter

from .clock import utcnow
from .errors import ConfigurationError, InvalidRequest, RateLimited, Sentence, TryAgain

log: logging.Logger = logging.getLogger("flask_invitations")

#: Seconds that a storage has for an answer; and for how many it is not asked again where it gave none, so that not
#: everybody waits for it.
PATIENCE, PAUSE = 1.0, 1.0
#: Seconds between two complaints about it in the log.
QUIET = 60.0
#: No window is longer than 30 days: for memcached a longer time is a date.
LONGEST = 30 * 86_400
#: No limit is higher: with numbers beyond its own, a server does not answer at all.
HIGHEST = 1_000_000_000
_SOCKET = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
#: By the beginning of a storage's scheme, how its driver is told not to wait for longer.
_IMPATIENT: Mapping[str, Mapping[str, Any]] = {
    "redis": _SOCKET,
    "valkey": _SOCKET,
    "memcached": {"timeout": PATIENCE, "connect_timeout": PATIENCE},
    "mongodb": dict.fromkeys(("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS"), int(PATIENCE * 1000)),
}

Rates = Sequence[RateLimitItem]


def parse(said: Any) -> Rates:
    """What a setting says: ``"10/minute;50/hour"``, or ``None``: no limit.

    :raises ValueError: it says nothing like that.
    """
    rates = () if said is None else tuple(parse_many(said))
    if not all(1 <= rate.amount <= HIGHEST and rate.get_expiry() <= LONGEST for rate in rates):
        raise ValueError(said)
    return rates


#: An address as some proxies pass it on: with the port of the connection, which is another one each time.
_WITH_PORT = re.compile(r"\[([^][]+)\](?::\d+)?|([\d.]+):\d+")


def network(remote_addr: str) -> str:
    """Whom an address is counted for. IPv6: its /64, of which one customer has all addresses; an IPv4 address that is
    written as one of IPv6 is itself."""
    with_port = _WITH_PORT.fullmatch(remote_addr)
    try:
        address = ip_address(with_port[1] or with_port[2] if with_port else remote_addr)
    except ValueError:
        return remote_addr
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))


class StorageDown(Exception):
    """The storage does not answer, so nobody knows whether there is room."""


@dataclass(frozen=True)
class Budget:
    """What a call is counted in.

    :param key: whose it is; nothing can be read out of it.
    """

    scope: str
    key: str
    rates: Rates


class Limiter:
    """Counts for one app.

    :param uri: of the storage. Where it can, it keeps the moment of each call (a moving window): then there are never
        more than allowed in any span of that length. Where it cannot (memcached), a window begins with its first call.
    :param rates: what the settings say, by their names.
    :param name: makes a key of what must not be read by whoever looks into the storage.
    :raises ConfigurationError: no such storage.
    """

    def __init__(self, uri: str, rates: Mapping[str, Rates], name: Callable[..., str]) -> None:
        self.rates = rates
        self.name = name
        self._scheme = uri.partition(":")[0]
        self._storage = _opened(uri, self._scheme)
        self._moves = isinstance(self._storage, MovingWindowSupport)
        self._window: RateLimiter = (MovingWindowRateLimiter if self._moves else FixedWindowRateLimiter)(self._storage)
        #: The library's own locks in memory come and go with the windows; and in memory several limits can be one look.
        self._alone: AbstractContextManager[Any] = Lock() if self.forgets else nullcontext()
        self._silent_until = self._quiet_until = 0.0

    @property
    def forgets(self) -> bool:
        """Whether every process counts for itself, and from the start."""
        return isinstance(self._storage, MemoryStorage)

    def take(self, budgets: Sequence[Budget], cost: int = 1) -> int | None:
        """Count ``cost`` in all of these budgets, or in none.

        :returns: in how many seconds there is room for it; ``None``: it was counted.
        :raises StorageDown: nobody knows.
        """
        items = [(rate, f"flask-invitations/{each.scope}/{each.key}") for each in budgets for rate in each.rates]
        if not items:
            return None
        with self._heard(), self._alone:
            return self._take(items, cost)

    def _take(self, items: Sequence[tuple[RateLimitItem, str]], cost: int) -> int | None:
        """Look at all, then count. If somebody is faster in between, that shows at the tightest, which is the first."""
        seen = [(self._look(*item, cost), item) for item in items]
        wait = max(look[1] for look, _ in seen)
        if wait:
            return wait
        for _, (rate, key) in sorted(seen, key=lambda each: each[0]):
            if not self._window.hit(rate, key, cost=cost):
                return self._look(rate, key, cost)[1] or 1
        return None

    def _look(self, rate: RateLimitItem, key: str, cost: int) -> tuple[int, int]:
        """For how many there is room, and in how many seconds for ``cost``."""
        reset, room = self._window.get_window_stats(rate, key)
        return room, 0 if room >= cost else self._wait(rate, key, cost, reset)

    def _wait(self, rate: RateLimitItem, key: str, cost: int, reset: float) -> int:
        """How long until there is room: until the oldest call is forgotten, or as many as it takes."""
        span = rate.get_expiry()
        if self._moves and cost > 1:
            storage: Any = self._storage

            def fits(wait: int) -> bool:
                kept: int = storage.get_moving_window(rate.key_for(key), rate.amount, span - wait)[1]
                return kept + cost <= rate.amount

            return 1 + bisect_left(range(1, span), True, key=fits)
        late = 0 if self._moves else 1  # memcached counts time in whole seconds
        return max(1, ceil(reset - utcnow().timestamp()) + late)

    @contextmanager
    def _heard(self) -> Iterator[None]:
        if monotonic() < self._silent_until:
            raise StorageDown
        try:
            yield
        except (StorageError, OSError) as error:  # not every driver's errors are wrapped
            self._silent_until = monotonic() + PAUSE
            self._complain(getattr(error, "storage_error", error))
            raise StorageDown from None  # what it says may hold the address of the storage, and more

    def _complain(self, error: BaseException) -> None:
        with _complaining:
            if monotonic() < self._quiet_until:
                return
            self._quiet_until = monotonic() + QUIET
        log.error(
            "The storage of the rate limits (%s) does not answer: %s. Until it does, invitations are not made or "
            "resent, and everything else is not limited. Check INVITATIONS_RATELIMIT_STORAGE and its server.",
            self._scheme,
            type(error).__name__,
        )


_complaining = Lock()


def _opened(uri: str, scheme: str) -> Storage:
    """:raises ConfigurationError: no such storage; without the URI, in which a password may stand."""
    options = next((given for start, given in _IMPATIENT.items() if scheme.startswith(start)), {})
    try:
        storage = storage_from_string(uri, wrap_exceptions=True, **options)
    except Exception as error:
        fix = (
            f"names a storage ({scheme}) that cannot be used: {type(error).__name__}. Check the address, and that the "
            'driver is installed, as with flask-invitations[redis] for "redis://host:6379/0"'
        )
    else:
        if isinstance(storage, Storage):
            return storage
        fix = f'names a storage ({scheme}) that must be awaited. Use one like "redis://host:6379/0"'
    raise ConfigurationError(f"INVITATIONS_RATELIMIT_STORAGE {fix}.")


@dataclass(frozen=True)
class Limits:
    """What the acts and the outbox ask.

    :param instead: the host's ``rate_limit``, in place of the limiter.
    :param said_of: the host's ``limits_for``.
    """

    limiter: Limiter
    instead: Callable[[str, str, int], float | None] | None
    said_of: Callable[[Any], Mapping[str, Any]] | None

    def inviting(self, inviter_id: Any, tenant_id: Any, cost: int = 1, field: str = "invitations") -> None:
        """Ask before anybody is invited, or sent the invitation again.

        :param inviter_id: the key of the user who does it; ``None``: the system, which no rate limits.
        :param cost: how many people it is about. All of them are counted, or none.
        :param field: what of the call names them.
        :raises RateLimited: too many for now.
        :raises InvalidRequest: so many would never fit.
        :raises TryAgain: the storage does not answer.
        """
        if inviter_id is None or not cost:
            return
        rates = self.limiter.rates if self.said_of is None else {**self.limiter.rates, **self.of(tenant_id)}
        by_inviter, in_tenant = rates["RATELIMIT_INVITE"], rates["RATELIMIT_TENANT"]
        if not by_inviter and not in_tenant:
            return
        budgets = [
            *self._budget("invite", by_inviter, inviter_id, tenant_id),
            *self._budget("tenant", in_tenant, tenant_id),
        ]
        if self.instead is None:
            _refuse_too_many(budgets, cost, field)
        try:
            wait = self._ask(budgets, cost)
        except StorageDown:
            raise TryAgain from None
        if wait is not None:
            raise RateLimited(wait)

    def answering(self, remote_addr: str | None, token_hash: str | None = None) -> None:
        """Ask before the holder of a link gets an answer. Where the storage does not answer, the call goes on.

        :param remote_addr: where the call comes from; nothing: from nowhere, or counted already.
        :param token_hash: of an accept, the hash of what was given for a token.
        :raises RateLimited: too often for now.
        """
        budgets, rates = list[Budget](), self.limiter.rates
        if remote_addr:
            budgets += self._budget("accept", rates["RATELIMIT_ACCEPT"], network(remote_addr))
        if token_hash is not None:
            budgets += self._budget("token", rates["RATELIMIT_TOKEN"], token_hash)
        wait = self._ask_or_go_on(budgets)
        if wait is not None:
            raise RateLimited(wait)

    def mailing(self, email_key: str) -> int | None:
        """Ask before an email with a link leaves. Where the storage does not answer, it leaves.

        :returns: how many seconds it has to wait; ``None``: it may leave.
        """
        return self._ask_or_go_on(self._budget("recipient", self.limiter.rates["RATELIMIT_RECIPIENT"], email_key))

    def of(self, tenant_id: Any) -> Mapping[str, Any]:
        """What the host says of this tenant in place of the settings, by their names: ``RATELIMIT_INVITE`` and
        ``RATELIMIT_TENANT`` as :data:`Rates`, ``PENDING_MAX`` as a number; what it does not say is not there."""
        return {} if self.said_of is None else self.said_of(tenant_id)

    def _budget(self, scope: str, rates: Rates, *whose: Any) -> Sequence[Budget]:
        """None, where there is no limit."""
        return [Budget(scope, self.limiter.name(scope, *whose), rates)] if rates else []

    def _ask_or_go_on(self, budgets: Sequence[Budget]) -> int | None:
        try:
            return self._ask(budgets, 1)
        except StorageDown:
            return None

    def _ask(self, budgets: Sequence[Budget], cost: int) -> int | None:
        if self.instead is None:
            return self.limiter.take(budgets, cost)
        waits = (self.instead(each.scope, each.key, cost) for each in budgets)
        wait = next((wait for wait in waits if wait is not None), None)
        return None if wait is None else max(1, ceil(wait))


def _refuse_too_many(budgets: Sequence[Budget], cost: int, field: str) -> None:
    """:raises InvalidRequest: it does not fit, however long one waits."""
    most = min((rate.amount for each in budgets for rate in each.rates), default=cost)
    if cost > most:
        raise InvalidRequest({field: [Sentence("Invite at most %(most)s people at a time.", most=most)]})
