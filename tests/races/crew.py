"""Processes for the tests to race and to kill: one warmed-up mother, a fork of it for each piece of work.

The tests talk to her over her standard input and output, a line of JSON each way. A fork is a real process with
connections of its own, and there within milliseconds since everything is imported already::

    with Crew() as crew:
        crew.run("tests.races.work:accept_once", [{"database_url": ..., "token": ...}] * 4)
"""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
#: No piece of work takes so long; whoever does is killed, and the test fails.
PATIENCE = 300.0


class Outcome(NamedTuple):
    """How a fork ended: what its work returned, unless ``signal`` killed it first."""

    signal: int
    result: Any


class Crew(AbstractContextManager["Crew"]):
    """The tests' end."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "error", "-m", "tests.races.crew"]
        pipe = subprocess.PIPE
        self._mother = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    def run(self, work: str, shares: Sequence[dict[str, Any]]) -> list[Outcome]:
        """Call ``module:function`` with each share in a process of its own, all at once.

        Each is called with ``ready=`` as well, a barrier: it returns when all of them have called it.
        """
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        self._mother.stdin.write(json.dumps([work, shares]) + "\n")
        self._mother.stdin.flush()
        ended = [Outcome(*each) for each in json.loads(self._mother.stdout.readline())]
        broken = [each.result for each in ended if isinstance(each.result, dict) and "traceback" in each.result]
        assert broken == [], broken[0]["traceback"]
        return ended

    def __exit__(self, *_error: object) -> None:
        self._mother.communicate(timeout=30)


def _fork(work: Callable[..., Any], share: dict[str, Any], ready: Callable[[], Any]) -> tuple[int, int]:
    """A child that does ``work``: its process id, and where it writes what came of it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    try:
        result = work(**share, ready=ready)
    except BaseException:
        result = {"traceback": traceback.format_exc()}
    with os.fdopen(writing, "w") as back:
        json.dump(result, back)
    os._exit(0)


def _reap(child: int, reading: int) -> Outcome:
    text, deadline = b"", time.monotonic() + PATIENCE
    while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(reading, 65536)
        if not piece:
            break
        text += piece
    else:
        os.kill(child, signal.SIGKILL)
        text = json.dumps({"traceback": f"hung for {PATIENCE} seconds"}).encode()
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    return Outcome(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, json.loads(text) if text else None)


def _serve() -> None:
    for line in sys.stdin:
        name, shares = json.loads(line)
        module, function = name.split(":")
        work = getattr(import_module(module), function)
        ready = multiprocessing.get_context("fork").Barrier(len(shares), timeout=PATIENCE).wait
        children = [_fork(work, share, ready) for share in shares]
        sys.stdout.write(json.dumps([_reap(*each) for each in children]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    import_module("tests.races.work").warm_up()
    _serve()
