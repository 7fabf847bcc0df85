"""All at once: the database goes away again and again, clocks differ, receivers sleep, people change their minds."""

from __future__ import annotations

import hashlib
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from flask_invitations import DeliveryState, TryAgain
from flask_invitations.testing import token_in
from tests.faults.outage import Database, reached_by
from tests.hosts import Host, build

from .postoffice import Mail, Manners, PostOffice, start
from .report import Report
from .rows import addresses, queue, states, unfinished, wait
from .workers import Job, deliver, settings

#: Seconds by which each worker's clock is ahead of the web server's.
CLOCKS = (-5.0, 0.0, 5.0, 10.0)
#: Seconds of a lease: longer than an outage, than clocks differ, and than an email takes, together.
LEASE = 30.0
_CHANCE = random.Random()  # noqa: S311 - what happens when; no secret
#: Seconds that no run takes.
PATIENCE = 900.0


@dataclass
class Answers:
    """What people were told, and when: revoked invitations, and links that a resend has replaced, by their hash."""

    revoked: dict[uuid.UUID, float] = field(default_factory=dict)
    replaced: dict[str, float] = field(default_factory=dict)


def storm(url: str, folder: Path, *, mails: int, workers: int, outages: int, away: float, seconds: float) -> Report:
    """Workers send, while the database goes away ``outages`` times, and invitations are revoked and resent.

    :param away: for how many seconds at a time.
    :param seconds: how long it shall take, at least: the mail server is slowed down for it.
    """
    report, diary, answers = Report(), folder / "diary", Answers()
    diary.touch()
    manners = Manners(delay=seconds * workers / mails)
    with PostOffice(folder, manners) as office, reached_by(url) as database:
        jobs = [
            Job(database.url, office.port, 1 if number % 2 else 10, LEASE, ahead=CLOCKS[number % 4], diary=str(diary))
            for number in range(workers)
        ]
        with build(url, config=settings(jobs[0]), clock=None) as host:
            queue(host, addresses(mails))
            took, alive = _weather(host, database, jobs, answers, outages, away)
            report.tell(f"{mails:,} mails in {took:.0f} s", f"{workers} workers", f"away {outages} times {away:.0f} s")
            report.promise(alive == workers, f"{workers - alive} workers died")
            _judge(report, host, office.mails(), diary, answers)
    return report


def _weather(
    host: Host, database: Database, jobs: Sequence[Job], answers: Answers, outages: int, away: float
) -> tuple[float, int]:
    """How many seconds it took, and how many workers were there at its end."""
    running, over, began = [start(deliver, job) for job in jobs], Event(), time.monotonic()
    people = Thread(target=_change_minds, args=(host, answers, over))
    people.start()
    try:
        for _ in range(outages):
            time.sleep(_CHANCE.uniform(0.5, 1.5) * away)
            database.leave_for(away)
            time.sleep(away)
        over.set()
        people.join()
        wait(lambda: not unfinished(host), PATIENCE, 0.2)
        return time.monotonic() - began, sum(process.is_alive() for process in running)
    finally:
        over.set()
        people.join()
        for process in running:
            process.terminate()
        for process in running:
            process.join(LEASE + 10)
            process.kill()


def _change_minds(host: Host, answers: Answers, over: Event) -> None:
    """Revoke and resend what has not been sent yet, until it is over, about half of that just before its turn."""
    models = host.invitations.models
    with host.app.app_context():
        while not over.wait(0.02):
            open_mails = [row for row in host.rows(models.Delivery) if row.state in ("queued", "sending")]
            if not open_mails:
                return
            due = sorted(open_mails, key=lambda row: (row.state != "sending", row.next_attempt_at or row.created_at))
            mail = _CHANCE.choice(due[:12] if _CHANCE.random() < 0.7 else due)
            (before,) = host.rows(models.Invitation, id=mail.invitation_id)
            try:
                if _CHANCE.random() < 0.5:
                    host.invitations.revoke(before.id)
                    answers.revoked.setdefault(before.id, time.monotonic())
                elif before.status == "pending":
                    host.invitations.resend(before.id)
                    answers.replaced[before.token_hash] = time.monotonic()
            except TryAgain:
                continue


def _judge(report: Report, host: Host, mails: Sequence[Mail], diary: Path, answers: Answers) -> None:
    models = host.invitations.models
    invited = {row.id: row for row in host.rows(models.Invitation)}
    deliveries = {row.id: row for row in host.rows(models.Delivery)}
    copies = Counter(mail.message_id for mail in mails)
    tokens = Counter(hashlib.sha256(token_in(mail.link).encode()).hexdigest() for mail in mails)
    lost = [row.id for row in invited.values() if row.status == "pending" and not tokens[row.token_hash]]
    doubled = sum(count - 1 for count in copies.values())
    late = _too_late(diary, deliveries, answers)
    sent = {f"<{row.id}@app.example.com>" for row in deliveries.values() if row.state == DeliveryState.SENT}
    report.tell(f"{len(answers.revoked)} revoked and {len(answers.replaced)} resent meanwhile")
    report.tell(f"{len(mails)} arrived", f"{len(lost)} lost", f"{doubled} doubled", f"{len(late)} after a decision")
    report.promise(not lost, f"{len(lost)} mails are lost")
    report.promise(doubled == 0, f"{doubled} mails were sent twice")
    report.promise(not late, f"sent after it was decided, in ms: {late}")
    report.promise(sent == set(copies), "what is called sent is not what arrived")
    left = set(states(host)) - {DeliveryState.SENT, DeliveryState.CANCELLED}
    report.promise(not left, f"rows are {dict(states(host))}")
    told = Counter(row.details["delivery_id"] for row in host.rows(models.InvitationEvent, type="sent"))
    report.promise(
        told == Counter(str(row.id) for row in deliveries.values() if row.sent_at), "the audit trail differs"
    )


def _too_late(diary: Path, deliveries: dict[uuid.UUID, Any], answers: Answers) -> list[float | None]:
    """For each email whose invitation was revoked, or its link replaced, before the worker looked at it last, by how
    many milliseconds; ``None`` for one at which it did not look by itself."""
    late: list[float | None] = []
    for line in diary.read_text().splitlines():
        looked, delivery_id, link = json.loads(line)
        if looked is None:
            late.append(None)
            continue
        digest = hashlib.sha256(token_in(link).encode()).hexdigest()
        revoked = answers.revoked.get(deliveries[uuid.UUID(delivery_id)].invitation_id, looked)
        decided = min(revoked, answers.replaced.get(digest, looked))
        if decided < looked:
            late.append(round((looked - decided) * 1000, 1))
    return late
