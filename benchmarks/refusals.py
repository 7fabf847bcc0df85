"""Does the time of an answer tell whether an address has an account?

    .venv/bin/python -m benchmarks.refusals [ROUNDS]

Two calls that must not be told apart take turns, ``ROUNDS`` of each (default 500), through the whole app: an address
with an account in another organization, and one without. They are invited (emails wait for a worker, as they do in
production), and their revoked links are refused. The promise is that the medians differ by less than 5 %. On a busy
machine the CPU time of our process says more than the clock; on a quiet one the clock has the database in it too.

An unknown token is shown beside them. It may take another time, since its answer is another one (404) too, but there
as well it must make no difference how much of a real token it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count, repeat
from statistics import median
from typing import Any

from benchmarks.run import table
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, LIST, PREVIEW, delete_row, invite
from tests.queued import deliver

Timed = Callable[[], tuple[float, float]]
#: The most by which two medians may differ.
LIMIT = 0.05
WARM = 50
QUEUE = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_PENDING_MAX": 1_000_000}
_numbers = count()


def revoked(host: Host, admin: Any, *, account: bool) -> str:
    """The token of a revoked invitation, whose address has an account elsewhere, or has none."""
    email = f"dead{next(_numbers)}@example.com"
    if account:
        host.user(email, "user", host.tenant("Elsewhere"), password=PASSWORD)
    made = invite(host.client(admin), email)
    deliver(host)
    token = host.outbox.token_to(email)
    host.client(admin).delete(f"{LIST}/{made['id']}")
    return token


def posting(host: Host, url: str, status: int, bodies: Iterator[dict[str, Any]], user: Any = None) -> Timed:
    """Posts the next body, and gives the milliseconds that the answer took, of the clock and of CPU."""
    client = host.client(user)

    def call() -> tuple[float, float]:
        body = next(bodies)
        start = time.perf_counter(), time.process_time()
        answer = client.post(url, json=body)
        end = time.perf_counter(), time.process_time()
        if answer.status_code != status:
            raise SystemExit(f"{url}: {answer.status} {answer.text}")
        return (end[0] - start[0]) * 1000, (end[1] - start[1]) * 1000

    return call


def inviting(host: Host, admin: Any, rounds: int, *, account: bool) -> Timed:
    """Invites another address each time; those with an account have it before."""
    emails = [f"new{next(_numbers)}@example.com" for _ in range(rounds + WARM)]
    for email in emails:
        one = host.user(email, "user", host.tenant("Elsewhere"))
        if not account:  # so that both tables have had as many rows
            delete_row(host, host.User, one)
    return posting(host, INVITE, 201, ({"email": email} for email in emails), admin)


def pairs(host: Host, admin: Any, rounds: int) -> dict[str, Sequence[Timed]]:
    """Two calls each that must take the same time."""
    dead = [revoked(host, admin, account=account) for account in (True, False)]
    near = [dead[1][:-1] + ("A" if dead[1][-1] != "A" else "B"), "A" * 43]

    def both(url: str, status: int, tokens: Sequence[str]) -> Sequence[Timed]:
        more = {"password": PASSWORD} if url == ACCEPT else {}
        return [posting(host, url, status, repeat({"token": token, **more})) for token in tokens]

    calls = {"preview": PREVIEW, "accept": ACCEPT, "decline": DECLINE}
    return {
        "invite": [inviting(host, admin, rounds, account=account) for account in (True, False)],
        **{f"{name}, revoked": both(url, 410, dead) for name, url in calls.items()},
        **{f"{name}, unknown": both(url, 404, near) for name, url in calls.items()},
    }


def measure(name: str, url: str, rounds: int) -> None:
    """One line for each pair."""
    with build(url, tenancy="membership", config=QUEUE) as host:
        admin = host.user("admin@example.com", "admin")
        for what, (one, other) in pairs(host, admin, rounds).items():
            times = [(one(), other()) if at % 2 else (other(), one())[::-1] for at in range(WARM + rounds)]
            cells = [name, what]
            for kind in (0, 1):
                first, second = (median(took[kind] for took in each) for each in zip(*times[WARM:], strict=True))
                apart = abs(first - second) / min(first, second)
                cells += [f"{first:.2f}", f"{second:.2f}", f"{apart:.1%}" + ("" if apart < LIMIT else " !")]
            print(f"| {' | '.join(cells)} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    kinds = " | ".join(f"{kind}, with an account | without | apart" for kind in ("ms", "ms of CPU"))
    table(f"| database | call | {kinds} |\n|---|---|--:|--:|--:|--:|--:|--:|", 500, measure)
