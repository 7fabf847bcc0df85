"""Many callers at one moment: threads here, and processes through :mod:`tests.races.crew`."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from tests.hosts import PASSWORD, Host, build

T = TypeVar("T")

#: Everything at full length: minutes rather than seconds.
SOAK = os.environ.get("INVITATIONS_SOAK") == "1"

#: How many callers race for one thing.
CROWD = 32

ACCEPT = "/api/v1/users/accept-invite"


def rounds(few: int, many: int = 200) -> int:
    """How often a race is run: ``few`` times by default, ``many`` in a soak."""
    return many if SOAK else few


def crowded(database_url: str, crowd: int = CROWD, *, config: Mapping[str, Any] | None = None, **options: Any) -> Host:
    """A host that has a connection of its own for each of ``crowd`` callers."""
    engine = {"SQLALCHEMY_ENGINE_OPTIONS": {"pool_size": crowd, "max_overflow": 4}}
    return build(database_url, config={**engine, **(config or {})}, **options)


class Racers(AbstractContextManager["Racers"]):
    """Threads that are let go together, once for each call of :meth:`race`."""

    def __init__(self, count: int = CROWD) -> None:
        self._pool = ThreadPoolExecutor(count)
        self._barrier = threading.Barrier(count, timeout=60)
        self._count = count

    def race(self, *acts: Callable[[], T]) -> list[T]:
        """What the acts returned, all called at the same moment; a single one is what everybody does."""

        def run(act: Callable[[], T]) -> T:
            self._barrier.wait()
            return act()

        return list(self._pool.map(run, acts if len(acts) == self._count else acts * self._count))

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown()


def invited(host: Host, email: str, **how: Any) -> tuple[Any, str]:
    """A fresh invitation by the system into the default tenant: its id and token."""
    tenant_id = host.tenant()
    with host.app.app_context():
        info = host.invitations.invite(email, tenant_id=tenant_id, **how)
    return info.id, host.outbox.token_to(email)


def accept(host: Host, token: str, password: str = PASSWORD) -> tuple[int, str]:
    """Status and ``code`` of one accept over HTTP."""
    answer = host.client().post(ACCEPT, json={"token": token, "password": password})
    return answer.status_code, answer.get_json().get("code", "")


def event_types(host: Host, invitation_id: Any) -> Counter[str]:
    """How often the audit trail of an invitation tells of what."""
    return Counter(row.type for row in host.rows(host.invitations.models.InvitationEvent, invitation_id=invitation_id))


def unexpected(answers: Iterable[tuple[int, str]], *expected: tuple[int, str]) -> Counter[tuple[int, str]]:
    """The answers that are none of ``expected``, counted: an empty one is what a test wants to see."""
    return Counter(answer for answer in answers if answer not in expected)
