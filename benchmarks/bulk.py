"""How fast are many invitations, and how much memory does a long list take?

    .venv/bin/python -m benchmarks.bulk [BY_API [BY_COMMAND]]

For each database that answers: so many people invited by calls of ``POST /invite/bulk`` of 1,000 each, and by ``flask
invitations import`` in a process of its own. Beside each its *floor*: the very rows that came of it (invitations,
events, deliveries), written once more by plain ``executemany`` in as many transactions, and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from flask_invitations.model.tables import new_id
from tests.hosts import Host, build
from tests.servers import find_mariadb, find_postgresql, scratch

BY_API, BY_COMMAND, CHUNK = 10_000, 100_000, 1_000
CONFIG = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_PENDING_MAX": 1_000_000}


def addresses(count: int, slug: str) -> Iterator[str]:
    """As they come: many domains, some of them often."""
    return (f"{slug}.person{number}@team{number % 97}.example.com" for number in range(count))


def written_again(host: Host, ids: Sequence[uuid.UUID] | None = None) -> float:
    """Seconds that it takes to write all rows of ours once more, under new ids.

    :param ids: of the invitations whose rows these are; ``None``: of all.
    """
    models, now = host.invitations.models, host.clock()
    tables = [model.__table__ for model in (models.Invitation, models.InvitationEvent, models.Delivery)]
    keys = [tables[0].c.id, *(table.c.invitation_id for table in tables[1:])]
    with host.engine.connect() as connection:
        selects = [sa.select(table).order_by(key) for table, key in zip(tables, keys, strict=True)]
        if ids is not None:
            selects = [select.where(key.in_(ids)) for select, key in zip(selects, keys, strict=True)]
        rows = [[dict(row) for row in connection.execute(select).mappings()] for select in selects]
    fresh = {row["id"]: new_id(now) for row in rows[0]}
    for table, lines in zip(tables, rows, strict=True):
        for row in lines:
            if table is tables[0]:
                row |= {"id": fresh[row["id"]], "token_hash": _unique(), "pending_key": _unique()}
            else:
                row |= {"id": new_id(now), "invitation_id": fresh[row["invitation_id"]]}
    lines = [iter(each) for each in rows]
    begun = time.perf_counter()
    for _ in range(-(-len(rows[0]) // CHUNK)):
        with host.engine.begin() as connection:
            for table, some in zip(tables, lines, strict=True):
                connection.execute(sa.insert(table), list(islice(some, CHUNK)))
    return time.perf_counter() - begun


def _unique() -> str:
    """As long as what it stands for."""
    return secrets.token_hex(32)


def by_api(host: Host, count: int) -> tuple[float, float]:
    """Seconds that it takes to invite so many by the API, and the floor. They take turns, so that what else the machine
    does slows both."""
    client = host.client(host.user("admin@example.com", "admin"))
    people, spent = addresses(count, "api"), [0.0, 0.0]
    while rows := [{"email": email, "role": "user"} for email in islice(people, CHUNK)]:
        body = json.dumps({"invitations": rows})
        begun = time.perf_counter()
        answer = client.post("/api/v1/users/invite/bulk", data=body, content_type="application/json")
        spent[0] += time.perf_counter() - begun
        told = answer.get_json()
        if told.get("created") != len(rows):
            raise SystemExit(answer.text)
        spent[1] += written_again(host, [uuid.UUID(each["invitation"]["id"]) for each in told["results"]])
    return spent[0], spent[1]


def by_command(url: str, tenant: Any, count: int) -> tuple[float, float]:
    """Seconds and MiB that it takes to invite so many by the command line, less what a list of one takes."""
    spent = [_import(url, tenant, count=each, slug=f"cli{each}") for each in (1, count)]
    return spent[1][0] - spent[0][0], spent[1][1]


def _import(url: str, tenant: Any, count: int, slug: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.csv"
        path.write_text("email,role\n" + "".join(f"{email},user\n" for email in addresses(count, slug)))
        begun = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.bulk", "--import", url, str(tenant), str(path)]
        child = subprocess.Popen(command)  # noqa: S603
        if child.wait():
            raise SystemExit(child.returncode)
        return time.perf_counter() - begun, int(path.read_text()) / 1024


def run_import(url: str, tenant: str, path: str) -> None:
    """The process that does it."""
    with build(url, config=CONFIG, create_all=False, clock=None) as host:
        told = host.app.test_cli_runner().invoke(args=["invitations", "import", path, "--tenant", tenant])
    if told.exit_code:
        raise SystemExit(told.output)
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("ascii"))  # rusage counts the parent in
    Path(path).write_text(peak[1] if peak else "0")


def measure(name: str, empty: Callable[[], str], counts: tuple[int, int]) -> None:
    """Two lines of the table."""
    with build(empty(), config=CONFIG) as host:
        tell(name, "API", counts[0], *by_api(host, counts[0]))
    url = empty()
    with build(url, config=CONFIG) as host:
        spent, memory = by_command(url, host.tenant(), counts[1])
        tell(name, "import", counts[1], spent, written_again(host), f"{memory:.0f}")


def tell(name: str, what: str, count: int, ours: float, least: float, memory: str = "") -> None:
    cells = f"{count:,} | {ours:.1f} | {count / ours:,.0f} | {least:.1f} | {ours / least:.1f} | {memory}"
    print(f"| {name} | {what} | {cells} |", flush=True)  # noqa: T201


def main() -> None:
    """The table."""
    given = [int(each) for each in sys.argv[1:]]
    counts = (given or [BY_API])[0], (given[1:] or [BY_COMMAND])[0]
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs\n")  # noqa: T201
    print("| database | by | people | s | per second | floor s | ratio | MiB |\n|---|---|--:|--:|--:|--:|--:|--:|")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(9))
        measure("SQLite", lambda: f"sqlite:///{folder}/{next(numbers)}.sqlite3", counts)
    postgresql, stop = find_postgresql()
    for name, server in (("PostgreSQL", postgresql), ("MariaDB", find_mariadb())):
        if server is not None:
            with scratch(server) as database:
                measure(name, database.empty, counts)
    stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--import"]:
        run_import(*sys.argv[2:])
    else:
        main()
