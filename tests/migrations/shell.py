"""Runs ``flask`` commands, each in a process of its own, forked from one that has imported what they all import.

Started as a program. Reads one JSON object a line: ``folder``, ``environment``, ``arguments``, and ``output``, the
file that takes what the command prints; answers with its exit status.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys

from flask.cli import main

SHARED = (
    "dotenv.main",
    "flask_invitations",
    "flask_migrate.cli",
    "flask_sqlalchemy.cli",
    "logging.config",
    "mako.template",
    "psycopg",
    "pymysql",
    "sqlalchemy.dialects.mysql.pymysql",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
)
SECONDS = 60


def serve() -> None:
    """Until the end of the input."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(**json.loads(line))
            main()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201


def _become(folder: str, environment: dict[str, str], arguments: list[str], output: str) -> None:
    signal.alarm(SECONDS)
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["flask", *arguments]
    target = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


if __name__ == "__main__":
    for module in SHARED:
        importlib.import_module(module)
    gc.freeze()
    serve()
