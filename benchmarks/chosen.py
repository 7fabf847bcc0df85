"""How much CPU can somebody's chosen input cost, beside the one password hash that each new account costs anyway?

    .venv/bin/python -m benchmarks.chosen

Each accept, page and email is given the inputs that are slowest to look at, up to the 16 KiB that a request may have.
The unit is Werkzeug's default hash (scrypt) in the same process; the promise is at most 1.5 of it, a hash included.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

from werkzeug.security import generate_password_hash

from flask_invitations import InvitationError
from tests.faults.test_accept import SLOW
from tests.hosts import Host, build

LIMIT, BODY, ROUNDS = 1.5, 15_000, 5
PIECES = (
    "a",
    ".",
    "a.",
    "@",
    "<",
    "&amp;",
    "http://a.example ",
    "=?utf-8?q?",
    "%2523",
    "\u202e",
    "e\u0301",
    "\U0001f600",
    "\ud55c",
)


def cpu(call: Callable[[], Any]) -> float:
    """The least that some rounds of it took, in seconds of CPU."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def accepts(host: Host) -> Iterator[tuple[str, Callable[[], Any]]]:
    """A new account with each password, the hash included where it is taken."""
    numbers = count()
    host.User.set_password = lambda user, password: setattr(user, "password_hash", generate_password_hash(password))
    for chosen in SLOW:
        tokens = []
        for _ in range(ROUNDS):
            email = f"guest{next(numbers)}@example.com"
            with host.app.app_context():
                host.invitations.invite(email, tenant_id=host.tenant())
            tokens.append(host.outbox.token_to(email))

        def accept(chosen: str = chosen, tokens: list[str] = tokens) -> None:
            body = {"token": tokens.pop(), "password": (chosen * BODY)[:128]}
            host.client().post("/api/v1/users/accept-invite", json=body)

        yield f"accept with {chosen!r}", accept


def pages(host: Host) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What is pasted into the landing page, and posted to the API."""
    for piece in PIECES:
        text = (piece * BODY)[: BODY // len(piece.encode())]
        yield (
            f"open a link of {piece!r}",
            lambda text=text: host.client().post("/invitations/open", data={"token": text}),
        )
        body = {"token": "A" * 43, "password": text}
        yield f"accept with {piece!r}", lambda body=body: host.client().post("/api/v1/users/accept-invite", json=body)


def emails(host: Host) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Invitations with the longest messages; made, written and handed to the mailer."""
    numbers = count()
    for piece in PIECES:

        def invite(message: str = (piece * 1000)[:1000]) -> None:
            with host.app.app_context(), suppress(InvitationError):
                email = f"reader{next(numbers)}@example.com"
                host.invitations.invite(email, tenant_id=host.tenant(), message=message)

        yield f"email of {piece!r}", invite


def main() -> None:
    """The slowest of each kind; exit status 1 where one is over the limit."""
    unit, worst = cpu(lambda: generate_password_hash("correct horse battery staple")), 0.0
    print(f"one hash: {unit * 1000:.0f} ms of CPU\n")  # noqa: T201
    for kind in (accepts, pages, emails):
        with tempfile.TemporaryDirectory() as folder, build(f"sqlite:///{folder}/chosen.sqlite3") as host:
            found = sorted(((cpu(call) / unit, name) for name, call in kind(host)), reverse=True)
        for ratio, name in found[:3]:
            print(f"{ratio:.2f} hashes: {name}", flush=True)  # noqa: T201
        worst = max(worst, found[0][0])
    raise SystemExit(worst > LIMIT)


if __name__ == "__main__":
    main()
