"""How fast are the calls, and how much of that is the library's own doing?

    .venv/bin/python -m benchmarks.run [ROUNDS]

For each database that answers: a call of the JSON API beside its *floor*, a bare Flask view that runs as many plain
SELECT, INSERT and UPDATE statements and commits as the call does, reads and answers as many rows, and hashes the
password where the call does. The two take turns; medians are shown. What the ratio leaves is the library: checks,
guards, schemas, the audit trail, the rendering of the mail.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from statistics import median
from typing import Any

import sqlalchemy as sa
from flask import Flask, jsonify
from werkzeug.security import generate_password_hash

from flask_invitations.model.tables import new_id
from tests.hosts import PASSWORD, Host, build
from tests.servers import find_mariadb, find_postgresql, scratch

ROWS = 10_000
API = "/api/v1/users"
Call = Callable[[], Any]
WORDS = {"name": "n" * 50, "words": "w" * 300}
KEY, TEXTS = sa.Column("id", sa.Integer, primary_key=True), [sa.Column(name, sa.String(500)) for name in WORDS]
plain = sa.Table("plain", sa.MetaData(), KEY, *TEXTS)


def fill(host: Host, tenant_id: Any) -> None:
    """``ROWS`` accepted invitations, each with its sent mail; and as many plain rows."""
    now, models = host.clock(), host.invitations.models
    rows, mails = [], []
    for number in range(ROWS):
        at, email = now - timedelta(seconds=ROWS - number), f"r{number}@example.com"
        row = dict.fromkeys(models.Invitation.__table__.columns.keys())
        row |= {"id": new_id(at), "tenant_id": tenant_id, "email": email, "email_key": email, "role": "user"}
        row |= {"token_hash": uuid.uuid4().hex, "token_nonce": "", "status": "accepted", "link_shown": False}
        row |= {"version": 1, "number": 1, "link_number": 1, "lifetime": 3600}
        row |= {"expires_at": at, "created_at": at, "updated_at": at, "closed_at": at, "accepted_at": at}
        mail = dict.fromkeys(models.Delivery.__table__.columns.keys())
        mail |= {"id": new_id(at), "invitation_id": row["id"], "kind": "invitation", "state": "sent", "attempts": 1}
        mail |= {"version": 1, "link_number": 1}
        rows.append(row)
        mails.append(mail | {"created_at": at, "sent_at": at})
    with host.engine.begin() as connection:
        plain.metadata.create_all(connection)
        connection.execute(sa.insert(models.Invitation.__table__), rows)
        connection.execute(sa.insert(models.Delivery.__table__), mails)
        connection.execute(sa.insert(plain), [WORDS] * ROWS)
        for table in models.tables:  # as the server would by itself, a little later
            connection.exec_driver_sql(f"ANALYZE {'TABLE' if connection.dialect.name == 'mysql' else ''} {table.name}")


def floor(host: Host, call: Call, size: int, hashes: bool) -> tuple[int, Call]:
    """How many statements ``call`` runs, and a call of a bare view that does as many plain things."""
    commits: list[Any] = []
    sa.event.listen(host.engine, "commit", commits.append)
    with host.statements() as statements:
        call()
    kinds, times = [statement.split(None, 1)[0].upper() for statement in statements], range(len(commits))
    app, session = Flask("floor"), host.db.session
    app.config["SQLALCHEMY_DATABASE_URI"] = host.app.config["SQLALCHEMY_DATABASE_URI"]
    host.db.init_app(app)

    @app.post("/")
    def view() -> Any:
        found: list[Any] = []
        for kind in kinds:
            if kind == "INSERT":
                session.execute(sa.insert(plain).values(WORDS))
            elif kind == "UPDATE":
                session.execute(sa.update(plain).where(plain.c.id == 7).values(words=uuid.uuid4().hex))
            else:
                found = list(session.execute(sa.select(plain).where(plain.c.id <= size)).mappings())
        if hashes:
            generate_password_hash(PASSWORD)
        for _ in times:
            session.commit()
        return jsonify([dict(row) for row in found])

    return len(kinds), partial(app.test_client().post, "/", json={"password": PASSWORD})


def calls(host: Host, admin: Any) -> Iterator[tuple[str, Call, int, bool]]:
    """Name, call, how many rows it reads at once, and whether it hashes a password."""
    manager, guest, numbers = host.client(admin), host.client(), iter(range(10**9))
    links = (message.accept_url.partition("#")[2] for message in host.outbox.messages)

    def invite() -> Any:
        return manager.post(f"{API}/invite", json={"email": f"n{next(numbers)}@example.com"})

    def accept() -> Any:
        return guest.post(f"{API}/accept-invite", json={"token": next(links), "password": PASSWORD})

    yield "invite, mail rendered", invite, 1, False
    invite()
    yield "preview", partial(guest.post, f"{API}/accept-invite/preview", json={"token": next(links)}), 1, False
    yield "accept, scrypt", accept, 1, True
    for limit in (20, 100):
        yield f"list {limit} of {ROWS:,}", partial(manager.get, f"{API}/invitations?limit={limit}"), limit, False


def timed(call: Call) -> float:
    start = time.perf_counter()
    answer = call()
    if answer.status_code >= 300:
        raise SystemExit(f"{answer.request.path}: {answer.status} {answer.text}")
    return (time.perf_counter() - start) * 1000


def measure(name: str, url: str, rounds: int) -> None:
    """One line of the table for each call."""
    with build(url) as host:
        admin = host.user("admin@example.com", role="admin")
        fill(host, host.tenant())
        # The hash of a real host: the one of the tests is made cheap.
        host.User.set_password = lambda user, password: setattr(user, "password_hash", generate_password_hash(password))
        for what, call, size, hashes in calls(host, admin):
            count, bare = floor(host, call, size, hashes)
            pairs = [(timed(call), timed(bare)) for _ in range(rounds + 10)][10:]
            ours, least = (median(each) for each in zip(*pairs, strict=True))
            cells = f"{count} | {ours:.1f} | {1000 / ours:.0f} | {least:.1f} | {ours / least:.1f}"
            print(f"| {name} | {what} | {cells} |", flush=True)  # noqa: T201


def table(head: str, rounds: int, measure: Callable[[str, str, int], None]) -> None:
    """Have each database that answers measured: ``measure(name, url, rounds)`` prints its lines.

    :param rounds: unless the command line says how many.
    """
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else rounds
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, medians of {rounds} rounds\n\n{head}")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        measure("SQLite", f"sqlite:///{folder}/bench.sqlite3", rounds)
    postgresql, stop = find_postgresql()
    for name, server in (("PostgreSQL", postgresql), ("MariaDB", find_mariadb())):
        if server is not None:
            with scratch(server) as database:
                measure(name, database.empty(), rounds)
    stop()


if __name__ == "__main__":
    table("| database | call | SQL | ms | per second | floor ms | ratio |\n|---|---|--:|--:|--:|--:|--:|", 200, measure)
