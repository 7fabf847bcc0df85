"""One worker beside its floor: a bare loop of the standard library's that sends the same mails over one connection."""

from __future__ import annotations

import cProfile
import itertools
import pstats
import smtplib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa

from flask_invitations import Message, outbox
from flask_invitations.current import get_state, override
from tests.hosts import Host, build

from .postoffice import SENDER, Manners, PostOffice
from .report import Report
from .rows import queue, unfinished

#: Seconds for each mail: a millisecond of network for each of the server's five answers. Without it, on loopback, a
#: mail costs the loop one wait for the disk and processor time; the worker waits for the disk of its database as well,
#: and shares the processor with it.
NEAR, NONE = 0.005, 0.0
BATCHES = (1, 50)
#: What is promised of the floor, by claim size.
PROMISED = {1: 0.5, 50: 0.8}
#: The same on MariaDB on loopback: PyMySQL reads each answer in Python, and the server plans each statement again.
LESS = {**PROMISED, 1: 0.4}


def throughput(url: str, folder: Path, *, mails: int, rounds: int, profile: bool = False) -> Report:
    """Rounds of ``mails`` each: the floor, then a worker with each claim size; medians.

    :param profile: print as well where a worker spends its time.
    """
    report = Report()
    for delay in (NEAR, NONE):
        with _measured(url, folder, delay) as (host, floor):
            _compare(report, host, floor, mails, rounds, delay)
            if delay == NEAR:
                for batch in BATCHES:
                    report.tell(_database_work(host, mails, batch))
            elif profile:
                _profile(host, mails)
    return report


@contextmanager
def _measured(url: str, folder: Path, delay: float) -> Iterator[tuple[Host, Callable[[int], None]]]:
    place = folder / f"{delay}"
    place.mkdir()
    with PostOffice(place, Manners(delay=delay)) as office, _host(url, office) as host, _floor(host, office) as floor:
        yield host, floor


def _compare(report: Report, host: Host, floor: Callable[[int], None], mails: int, rounds: int, delay: float) -> None:
    rates: dict[int, list[tuple[float, float]]] = {batch: [] for batch in BATCHES}
    for round_ in range(rounds + 1):
        for batch, found in rates.items():
            pair = _pair(host, floor, mails, batch, worker_first=round_ % 2 == 1)
            if round_:  # the first one warms up
                found.append(pair)
    promised = LESS if delay == NONE and host.engine.dialect.name in ("mysql", "mariadb") else PROMISED
    for batch, found in rates.items():
        _tell(report, batch, found, delay, promised[batch])


def _host(url: str, office: PostOffice) -> Host:
    settings = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_PENDING_MAX": None}  # thousands, round after round
    return build(url, config=settings, mailer=office.mailer(), clock=None, tenant_is_active=None)


def _tell(report: Report, batch: int, pairs: Sequence[tuple[float, float]], delay: float, promised: float) -> None:
    floor, worker = (median(each) for each in zip(*pairs, strict=True))
    ratio = median(worker / floor for floor, worker in pairs)
    where = f"server {delay * 1000:g} ms away" if delay else "on loopback"
    report.tell(f"{where}, batch {batch}: {worker:.0f} of {floor:.0f} mails/s (ratio {ratio:.2f})")
    report.promise(ratio >= promised, f"{where}, batch {batch} makes {ratio:.2f}, not {promised}")


def _rate(mails: int, send: Callable[[], Any]) -> float:
    """Mails a second."""
    began = time.perf_counter()
    send()
    return mails / (time.perf_counter() - began)


@contextmanager
def _floor(host: Host, office: PostOffice) -> Iterator[Callable[[int], None]]:
    """What sends so many mails that were rendered before, each to somebody else and with a Message-ID of its own."""
    sample = _sample(host)
    with smtplib.SMTP("127.0.0.1", office.port, timeout=10) as server:

        def send(count: int) -> None:
            for number in range(count):
                to = f"guest{number}@example.com"
                server.send_message(_bare(sample, to), SENDER, [to])

        yield send


def _bare(sample: Message, to: str) -> EmailMessage:
    """The mail as anybody would build it by hand."""
    email = EmailMessage()
    email["From"], email["To"], email["Subject"] = SENDER, to, sample.subject
    email["Date"] = formatdate()
    email.set_content(sample.text)
    email.add_alternative(sample.html, subtype="html")
    for name, value in {**sample.headers, "Message-ID": f"<{uuid.uuid4()}@app.example.com>"}.items():
        email[name] = value
    return email


def _sample(host: Host) -> Message:
    """A mail as a worker renders it."""
    with override(host.app, mailer=host.outbox):
        queue(host, [f"sample{next(_numbers)}@example.com"])
        _work(host, 1)
    return host.outbox.messages[0]


_numbers = itertools.count()


def _fill(host: Host, mails: int) -> None:
    queue(host, [f"guest{next(_numbers)}@example.com" for _ in range(mails)])


def _work(host: Host, batch: int) -> None:
    with host.app.app_context():
        outbox.deliver(get_state().ctx, batch=batch)


def _pair(
    host: Host, floor: Callable[[int], None], mails: int, batch: int, *, worker_first: bool
) -> tuple[float, float]:
    """Mails a second, of the floor and of the worker. The queue is filled before either of them begins: what the
    database still has to do after that is no part of sending."""
    _fill(host, mails)
    ways: dict[str, Callable[[], None]] = {"floor": lambda: floor(mails), "worker": lambda: _work(host, batch)}
    rates = {name: _rate(mails, ways[name]) for name in sorted(ways, reverse=worker_first)}
    if unfinished(host):
        raise AssertionError("the worker left mails")
    return rates["floor"], rates["worker"]


def _database_work(host: Host, mails: int, batch: int) -> str:
    """Statements and commits of a mail."""
    commits: list[Any] = []
    count = commits.append
    _fill(host, mails)
    sa.event.listen(host.engine, "commit", count)
    with host.statements() as statements:
        _work(host, batch)
    sa.event.remove(host.engine, "commit", count)
    return f"{len(statements) / mails:.2f} statements and {len(commits) / mails:.2f} commits per mail"


def _profile(host: Host, mails: int) -> None:
    for batch in BATCHES:
        _fill(host, mails)
        profiler = cProfile.Profile(time.process_time)  # what it computes, not what it waits for
        profiler.runcall(_work, host, batch)
        print(f"\nbatch {batch}, {mails} mails")  # noqa: T201
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(80)
