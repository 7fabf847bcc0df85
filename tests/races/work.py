"""What the forks of :mod:`tests.races.crew` do: race, or call an act and die on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import sqlalchemy as sa

from flask_invitations import Message, imports
from tests.hosts import PASSWORD, Host, build
from tests.races.harness import ACCEPT, Racers, accept, crowded, invited

#: Where an act is killed: around each of these steps.
STATEMENT, COMMIT, MAIL = "statement", "commit", "mail"


def warm_up() -> None:
    """Do everything once, so that the forks need not: import the drivers, map the classes, compile the templates."""
    assert psycopg.__version__
    assert pymysql.VERSION
    for tenancy in ("tenant", "membership"):
        with build("sqlite://", tenancy=tenancy) as host:
            token = invited(host, "warm@example.com")[1]
            assert accept(host, token)[0] == 201


def accept_all(database_url: str, tokens: list[str], threads: int, ready: Callable[[], Any]) -> list[Any]:
    """Round by round, race for one token with ``threads`` threads; what each was answered."""
    with crowded(database_url, threads, create_all=False) as host, Racers(threads) as racers:
        answers = []
        for token in tokens:
            ready()
            answers.append(racers.race(partial(accept, host, token)))
        return answers


def invite_all(database_url: str, emails: list[str], threads: int, ready: Callable[[], Any]) -> list[Any]:
    """Round by round, race to invite one address with ``threads`` threads; what each was answered."""
    with crowded(database_url, threads, create_all=False) as host, Racers(threads) as racers:
        admin = host.rows(host.User, email="admin@example.com")[0].id

        def invite(email: str) -> tuple[int, str]:
            answer = host.client(admin).post("/api/v1/users/invite", json={"email": email})
            return answer.status_code, answer.get_json().get("code", "")

        answers = []
        for email in emails:
            ready()
            answers.append(racers.race(partial(invite, email)))
        return answers


class Deadline:
    """Counts the moments before and after each step of an act; at number ``die_at`` it kills the process."""

    def __init__(self, die_at: int | None) -> None:
        self.passed: list[str] = []
        self._die_at = die_at

    def moment(self, name: str) -> None:
        if len(self.passed) == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed.append(name)

    def watch(self, engine: sa.Engine) -> None:
        """Count the statements and commits of ``engine`` from now on."""
        sa.event.listen(engine, "before_cursor_execute", lambda *_: self.moment(f"before {STATEMENT}"))
        sa.event.listen(engine, "after_cursor_execute", lambda *_: self.moment(f"after {STATEMENT}"))
        commit = engine.dialect.do_commit

        def watched(connection: Any) -> None:
            self.moment(f"before {COMMIT}")
            commit(connection)
            self.moment(f"after {COMMIT}")

        engine.dialect.do_commit = watched  # type: ignore[method-assign,assignment]


def _doomed(stack: ExitStack, database_url: str, deadline: Deadline, **options: Any) -> Host:
    host = stack.enter_context(build(database_url, create_all=False, **options))
    with host.engine.connect():
        pass  # what a driver asks on its first connection is not part of the act
    deadline.watch(host.engine)
    return host


def accept_and_die(
    database_url: str, token: str, die_at: int | None, tenancy: Any, user_id: Any, ready: Callable[[], Any]
) -> list[str]:
    """Accept; the moments that were passed, unless one of them was the last."""
    deadline = Deadline(die_at)
    with ExitStack() as stack:
        host = _doomed(stack, database_url, deadline, tenancy=tenancy)
        body = {"token": token, "password": PASSWORD}
        answer = host.client(user_id).post(ACCEPT, json=body)
        assert answer.status_code == 201, answer.text
    return deadline.passed


def invite_and_die(database_url: str, email: str, die_at: int | None, sent: str, ready: Callable[[], Any]) -> list[str]:
    """Invite with a mailer that appends the link to the file ``sent``; the moments that were passed."""
    deadline = Deadline(die_at)

    def mailer(message: Message) -> None:
        deadline.moment(f"before {MAIL}")
        with Path(sent).open("a") as file:
            file.write(f"{message.to} {message.accept_url}\n")
        deadline.moment(f"after {MAIL}")

    with ExitStack() as stack:
        host = _doomed(stack, database_url, deadline, mailer=mailer)
        tenant_id = host.rows(host.Tenant)[0].id
        deadline.passed.clear()
        with host.app.app_context():
            host.invitations.invite(email, tenant_id=tenant_id)
    return deadline.passed


def import_and_die(database_url: str, path: str, die_at: int | None, ready: Callable[[], Any]) -> list[str]:
    """Import a list in chunks of 10; the moments that were passed."""
    deadline, imports.CHUNK = Deadline(die_at), 10
    with ExitStack() as stack:
        host = _doomed(stack, database_url, deadline, config={"INVITATIONS_DELIVERY": "queue"})
        tenant_id = host.rows(host.Tenant)[0].id
        deadline.passed.clear()
        arguments = ["invitations", "import", path, "--tenant", str(tenant_id)]
        told = host.app.test_cli_runner().invoke(args=arguments)
        assert told.exit_code == 0, told.output
    return deadline.passed
