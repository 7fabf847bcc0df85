"""Runs scenarios and prints a line of the table for each; exit status 1 where a promise was broken.

.venv/bin/python -m benchmarks.delivery [SCENARIO ...] [--databases postgresql mariadb sqlite] [--mails 1000]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers import File, find_mariadb, find_postgresql, scratch

from .failures import hang, outage, poison
from .kills import crowd, kills, web_kill
from .report import Report
from .storm import storm
from .throughput import throughput

#: A new, empty database of the kind that is measured: its URL.
New = Callable[[], str]
Options = argparse.Namespace
NAMES = {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "sqlite": "SQLite"}


def _processes(database: str, many: int) -> int:
    return 2 if database == "sqlite" else many


SCENARIOS: Mapping[str, Callable[[Options, str, New, Path], Report]] = {
    "kills": lambda o, name, new, folder: kills(
        new(), folder, mails=o.mails, workers=_processes(name, 4), seconds=o.seconds, batch=o.batch
    ),
    "crowd": lambda o, name, new, folder: crowd(
        new(), folder, mails=o.mails, workers=_processes(name, 8), batch=o.batch
    ),
    "web-kill-queue": lambda o, _, new, folder: web_kill(new(), folder, kills=o.mails // 10, delivery="queue"),
    "web-kill-inline": lambda o, _, new, folder: web_kill(new(), folder, kills=o.mails // 10, delivery="inline"),
    "storm": lambda o, name, new, folder: storm(
        new(), folder, mails=o.mails, workers=_processes(name, 4), outages=10, away=3, seconds=2 * o.seconds
    ),
    "outage": lambda o, _, new, folder: outage(new(), new(), folder, calls=o.mails),
    "hang": lambda o, _, new, folder: hang(new(), folder, mails=o.mails // 10, timeout=5),
    "poison": lambda o, _, new, folder: poison(new(), folder, mails=o.mails // 10, batch=o.batch),
    "throughput": lambda o, _, new, folder: throughput(
        new(), folder, mails=o.mails // 5, rounds=o.rounds, profile=o.profile
    ),
}


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delivery", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"default: all of {', '.join(SCENARIOS)}")
    parser.add_argument("--databases", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--mails", type=int, default=1000, help="the smaller scenarios take a fifth or a tenth of it")
    parser.add_argument("--seconds", type=float, default=30, help="how long the workers are killed")
    parser.add_argument("--batch", type=int, default=1, help="claim size of kills, crowd and poison")
    parser.add_argument("--rounds", type=int, default=7, help="of throughput")
    parser.add_argument("--profile", action="store_true", help="throughput: print where a worker spends its time")
    options = parser.parse_args()
    unknown = set(options.scenarios) - SCENARIOS.keys()
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    return options


@contextmanager
def _servers(wanted: list[str]) -> Iterator[dict[str, str | None]]:
    """Where the databases are that answer; SQLite needs no server."""
    found, stop = find_postgresql() if "postgresql" in wanted else ("", lambda: None)
    servers = {"postgresql": found, "mariadb": find_mariadb() if "mariadb" in wanted else None, "sqlite": None}
    try:
        yield {name: servers[name] for name in wanted if servers[name] or name == "sqlite"}
    finally:
        stop()


def _run(options: Options, scenario: str, name: str, server: str | None) -> Report:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def new() -> str:
            if server is None:
                return File(Path(stack.enter_context(tempfile.TemporaryDirectory()))).empty()
            return stack.enter_context(scratch(server)).empty()

        return SCENARIOS[scenario](options, name, new, folder)


def main() -> int:
    options, broken = _options(), 0
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs\n")  # noqa: T201
    print("| scenario | database | what happened | promises |\n|---|---|---|---|", flush=True)  # noqa: T201
    with _servers(options.databases) as servers:
        for scenario in options.scenarios or SCENARIOS:
            for name, server in servers.items():
                report = _run(options, scenario, name, server)
                print(report.line(scenario, NAMES[name]), flush=True)  # noqa: T201
                broken += len(report.broken)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
