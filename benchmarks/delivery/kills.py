"""Workers that are killed, crowds of workers, and web processes that die right after their commit."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import sqlalchemy as sa

from flask_invitations import DeliveryState
from flask_invitations.clock import as_utc
from tests.hosts import Host, build

from .postoffice import Manners, PostOffice, start
from .report import Report
from .rows import addresses, judge, queue, unfinished, wait
from .workers import Job, Workers, invite_and_die, settings

#: Seconds after the end of its lease by which another worker has taken up a mail: it polls once a second, and the
#: machine may be busy.
LATE = 5.0
#: Seconds that no run takes.
PATIENCE = 600.0


def kills(
    url: str,
    folder: Path,
    *,
    mails: int,
    workers: int,
    seconds: float,
    every: float = 2,
    lease: float = 5,
    batch: int = 1,
    most: int = 1000,
    late: float = LATE,
) -> Report:
    """Workers are killed, one ``every`` so many seconds, and started again, until all mails are sent.

    :param seconds: how long the run shall take: the mail server is slowed down for it.
    :param most: so many kills are enough.
    :param late: within so many seconds after the end of its lease another worker has taken up a mail.
    """
    report, emails = Report(), addresses(mails)
    delay = seconds * workers / mails
    with PostOffice(folder, Manners(delay=delay)) as office, _filled(url, office, emails, lease) as host:
        began = time.monotonic()
        with Workers(workers, Job(url, office.port, batch, lease)) as running:
            latest = _kill_until(lambda: not unfinished(host), host, running, every, most)
        took = time.monotonic() - began
        report.tell(f"{mails:,} mails in {took:.0f} s ({delay * 1000:.0f} ms each at the server)")
        report.tell(
            f"{workers} workers", f"{running.kills} kills", f"taken up {latest:.1f} s after its lease at the latest"
        )
        report.promise(latest <= late, f"a mail was left {latest:.1f} s after its lease was over")
        judge(report, host, office.mails(), emails, copies=running.kills * batch)
    return report


def _filled(url: str, office: PostOffice, emails: list[str], lease: float) -> Host:
    host = build(url, config=settings(Job(url, office.port, lease=lease)), clock=None)
    queue(host, emails)
    return host


def _kill_until(done: Callable[[], bool], host: Host, running: Workers, every: float, most: int) -> float:
    """Returns by how many seconds a mail outstayed its lease at most."""
    latest, started = 0.0, time.monotonic()
    due = started + every
    while not done() and time.monotonic() < started + PATIENCE:
        if time.monotonic() > due and running.kills < most:
            running.kill_one()
            due += every
        latest = max(latest, _overdue(host))
        time.sleep(0.05)
    return latest


def _overdue(host: Host) -> float:
    """For how many seconds the lease of some mail has been over, and nobody has taken it up."""
    mail = host.invitations.models.Delivery
    with host.engine.connect() as connection:
        oldest = connection.scalar(sa.select(sa.func.min(mail.leased_until)).where(mail.state == DeliveryState.SENDING))
    return 0.0 if oldest is None else (datetime.now(timezone.utc) - as_utc(oldest)).total_seconds()


def crowd(url: str, folder: Path, *, mails: int, workers: int, batch: int = 1) -> Report:
    """Many workers and no kill: no duplicate."""
    report, emails = Report(), addresses(mails)
    with PostOffice(folder) as office, _filled(url, office, emails, 120) as host:
        began = time.monotonic()
        with Workers(workers, Job(url, office.port, batch)):
            wait(lambda: not unfinished(host), PATIENCE, 0.1)
            took = time.monotonic() - began
        report.tell(f"{mails:,} mails in {took:.1f} s", f"{workers} workers", f"batch {batch}")
        judge(report, host, office.mails(), emails, copies=0)
    return report


def web_kill(url: str, folder: Path, *, kills: int, delivery: str) -> Report:
    """Web processes that die right after the commit of an invitation; then a worker comes."""
    report, emails = Report(), addresses(kills)
    with PostOffice(folder) as office, build(url, clock=None) as host:
        admin = host.user("admin@example.com", role="admin")
        job = Job(url, office.port, lease=1, delivery=delivery)
        killed = sum(_dies(job, admin, email) for email in emails)
        report.tell(f"{killed} web processes killed after COMMIT, mode {delivery}")
        report.promise(killed == kills, f"only {killed} of {kills} died as they should")
        report.promise(len(office.mails()) == 0, "a mail left before its process could have sent it")
        with Workers(1, job):
            wait(lambda: not unfinished(host), 60)
        judge(report, host, office.mails(), emails, copies=0)
    return report


def _dies(job: Job, admin: int, email: str) -> bool:
    process = start(invite_and_die, job, admin, email)
    process.join(60)
    return bool(process.exitcode == -signal.SIGKILL)
