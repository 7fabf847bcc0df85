"""How fast are the calls, and how much of that is the library's own doing?

    .venv/bin/python -m benchmarks.run [ROUNDS]

For each database that answers: a call of the JSON API beside its *floor*, a bare Flask view that runs as many plain
SELECT, INSERT and UPDATE statements and commits as the call does on the same server, reads and answers as many rows,
and hashes the password where the call does. Both run in turn, in one process, by one client; medians are shown. What
the ratio leaves is the library: checks, guards, schemas, the rendering of the mail.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa
from flask import Flask, jsonify
from werkzeug.security import generate_password_hash

from flask_invitations.models import new_id
from tests.hosts import PASSWORD, Host, build
from tests.servers import find_mariadb, find_postgresql, scratch

ROWS = 10_000
API = "/api/v1/users"
plain = sa.Table(
    "plain",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(200), index=True),
    sa.Column("words", sa.String(500)),
)


def scrypt(self: Any, password: str) -> None:
    """The hash that a real host uses; the tests' own is made cheap."""
    self.password_hash = generate_password_hash(password)


def fill(host: Host, tenant_id: Any) -> None:
    """``ROWS`` accepted invitations, each with its sent mail."""
    now, models = host.clock(), host.invitations.models
    rows, mails = [], []
    for number in range(ROWS):
        at = now - timedelta(seconds=ROWS - number)
        row = dict.fromkeys(models.Invitation.__table__.columns.keys())
        row |= {"id": new_id(at), "tenant_id": tenant_id, "email": f"r{number}@example.com", "role": "user"}
        row |= {"email_key": row["email"], "token_hash": uuid.uuid4().hex, "token_nonce": "", "status": "accepted"}
        row |= {"link_shown": False, "expires_at": at, "created_at": at, "updated_at": at, "closed_at": at}
        mail = dict.fromkeys(models.Delivery.__table__.columns.keys())
        mail |= {"id": new_id(at), "invitation_id": row["id"], "kind": "invitation", "state": "sent", "attempts": 1}
        rows.append(row)
        mails.append(mail | {"created_at": at, "sent_at": at})
    with host.engine.begin() as connection:
        connection.execute(sa.insert(models.Invitation.__table__), rows)
        connection.execute(sa.insert(models.Delivery.__table__), mails)
        plain.metadata.create_all(connection)
        connection.execute(sa.insert(plain), [{"name": f"r{n}@example.com", "words": "w" * 300} for n in range(ROWS)])


def floor(host: Host, statements: list[str], commits: int, size: int, hashes: bool) -> Callable[[], Any]:
    """A call of a bare view that does the same number of plain things."""
    app, session = Flask("floor"), host.db.session
    app.config["SQLALCHEMY_DATABASE_URI"] = host.app.config["SQLALCHEMY_DATABASE_URI"]
    host.db.init_app(app)
    kinds = [statement.split(None, 1)[0].upper() for statement in statements]

    @app.post("/")
    def view() -> Any:
        found: list[Any] = []
        for kind in kinds:
            if kind == "INSERT":
                session.execute(sa.insert(plain).values(name=uuid.uuid4().hex, words="w" * 300))
            elif kind == "UPDATE":
                session.execute(sa.update(plain).where(plain.c.id == 7).values(words=uuid.uuid4().hex))
            else:
                some = sa.select(plain).order_by(plain.c.id.desc()).limit(size)
                found = list(session.execute(some if size > 1 else sa.select(plain).where(plain.c.id == 7)).mappings())
        if hashes:
            generate_password_hash(PASSWORD)
        for _ in range(commits):
            session.commit()
        return jsonify([dict(row) for row in found])

    client = app.test_client()
    return lambda: client.post("/", json={"token": "t", "password": PASSWORD})


def calls(host: Host, admin: Any) -> Iterator[tuple[str, Callable[[], Any], int, bool]]:
    """Name, call, rows that it reads, and whether it hashes a password."""
    manager, guest, numbers = host.client(admin), host.client(), iter(range(10**9))

    def invite() -> Any:
        return manager.post(f"{API}/invite", json={"email": f"n{next(numbers)}@example.com"})

    for _ in range(2000):
        invite()
    waiting = iter([message.accept_url.partition("#")[2] for message in host.outbox.messages])
    one = {"token": next(waiting)}
    body = {"password": PASSWORD}
    yield "invite", invite, 1, False
    yield "preview", lambda: guest.post(f"{API}/accept-invite/preview", json=one), 1, False
    yield "accept", lambda: guest.post(f"{API}/accept-invite", json={"token": next(waiting), **body}), 1, True
    for limit in (20, 100):
        yield (
            f"list {limit} of {ROWS:,}",
            lambda limit=limit: manager.get(f"{API}/invitations?limit={limit}"),
            limit,
            False,
        )  # type: ignore[misc]


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    answer = call()
    assert answer.status_code < 300, answer.text
    return time.perf_counter() - start


def measure(name: str, url: str, rounds: int) -> None:
    with build(url) as host:
        host.User.set_password = scrypt
        admin = host.user("admin@example.com", role="admin")
        fill(host, host.tenant())
        for call, run, size, hashes in calls(host, admin):
            commits: list[Any] = []
            sa.event.listen(host.engine, "commit", commits.append)
            with host.statements() as statements:
                run()
            sa.event.remove(host.engine, "commit", commits.append)
            bare = floor(host, statements, len(commits), size, hashes)
            for each in (run, bare) * 10:
                each()
            ours, least = zip(*[(timed(run), timed(bare)) for _ in range(rounds)], strict=True)
            mine, theirs = median(ours) * 1000, median(least) * 1000
            cells = (
                name,
                call,
                len(statements),
                f"{mine:.1f}",
                f"{1000 / mine:.0f}",
                f"{theirs:.1f}",
                f"{mine / theirs:.2f}",
            )
            sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    sys.stdout.write(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, {rounds} rounds\n\n")
    sys.stdout.write("| database | call | SQL | ms | per second | floor ms | ratio |\n|---|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        measure("SQLite", f"sqlite:///{Path(folder) / 'bench.sqlite3'}", rounds)
    server, stop = find_postgresql()
    for name, answering in (("PostgreSQL", server), ("MariaDB", find_mariadb())):
        if answering is not None:
            with scratch(answering) as database:
                measure(name, database.empty(), rounds)
    stop()
