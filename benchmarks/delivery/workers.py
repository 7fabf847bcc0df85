"""Worker processes that can be killed: each runs ``flask invitations deliver --watch``."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any

import psycopg
import pymysql
import sqlalchemy as sa
from flask.cli import ScriptInfo

from flask_invitations import Message, SMTPMailer, invitation_sent
from flask_invitations.clock import utcnow
from tests.hosts import Host, build

from .postoffice import SENDER, start

#: Imported here so that the processes need not: the drivers of the databases.
DRIVERS = psycopg, pymysql


@dataclass(frozen=True)
class Job:
    """What a process is told.

    :param port: the SMTP server's, on loopback.
    :param lease: INVITATIONS_DELIVERY_LEASE, in seconds.
    :param timeout: of the mailer, in seconds.
    :param ahead: by how many seconds its clock is.
    :param diary: a file for a line about each email that it begins to send; then the receiver of ``invitation_sent``
        takes its time, too.
    """

    database_url: str
    port: int
    batch: int = 1
    lease: float = 120
    timeout: float = 10
    delivery: str = "queue"
    ahead: float = 0
    diary: str | None = None


def host_for(job: Job) -> Host:
    """The host app on ``job``'s database, whose tables are there; by the real clock."""
    mailer: Any = SMTPMailer("127.0.0.1", job.port, sender=SENDER, security="none", timeout=job.timeout)
    clock = (lambda: utcnow() + timedelta(seconds=job.ahead)) if job.ahead else None
    diary = job.diary and Diary(job.diary, mailer)
    host = build(job.database_url, config=settings(job), mailer=diary or mailer, clock=clock, create_all=False)
    if diary:
        sa.event.listen(host.engine, "before_cursor_execute", diary.look)
        invitation_sent.connect(_take_a_nap, host.app)
    return host


@dataclass
class Diary:
    """A mailer that notes each email that it begins to send, and when the database was asked last before.

    :param looked: when a statement was sent last, by a clock that nobody sets; ``None``: not since the last email.
    """

    path: str
    mailer: SMTPMailer
    looked: float | None = None

    def look(self, *_statement: object) -> None:
        self.looked = time.monotonic()

    def __call__(self, message: Message) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps([self.looked, str(message.id), message.accept_url]) + "\n")
        self.looked = None
        self.mailer(message)


def _take_a_nap(_app: Any, *, invitation: Any) -> None:
    """Mostly a short one."""
    time.sleep(3 if invitation.id.int % 100 == 0 else 0.02)


def settings(job: Job) -> dict[str, Any]:
    return {"INVITATIONS_DELIVERY": job.delivery, "INVITATIONS_DELIVERY_LEASE": timedelta(seconds=job.lease)}


def deliver(job: Job) -> None:
    """``flask invitations deliver --watch``, until SIGTERM; what it logs goes to stderr."""
    command = ["invitations", "deliver", "--watch", "--batch", str(job.batch)]
    with host_for(job) as host, redirect_stdout(StringIO()):
        host.app.cli.main(command, obj=ScriptInfo(create_app=lambda: host.app), standalone_mode=False)


class Workers(AbstractContextManager["Workers"]):
    """So many workers, until the end of the block; then they are told to stop."""

    def __init__(self, count: int, job: Job) -> None:
        self._job = job
        self._running = [start(deliver, job) for _ in range(count)]
        self.kills = 0

    def kill_one(self) -> None:
        """SIGKILL the one that has run longest, and start another in its place."""
        process = self._running.pop(0)
        process.kill()
        process.join(10)
        self.kills += process.exitcode == -signal.SIGKILL
        self._running.append(start(deliver, self._job))

    def __exit__(self, *_error: object) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.join(20)
            process.kill()  # of one that has ended: nothing


def invite_and_die(job: Job, admin: Any, email: str) -> None:
    """Invite over HTTP; SIGKILL as soon as the database has committed."""
    with host_for(job) as host:
        with host.engine.connect():
            pass  # the dialect is its own from here on
        commit = host.engine.dialect.do_commit

        def last(connection: Any) -> None:
            commit(connection)
            os.kill(os.getpid(), signal.SIGKILL)

        host.engine.dialect.do_commit = last  # type: ignore[method-assign,assignment]
        host.client(admin).post("/api/v1/users/invite", json={"email": email})
