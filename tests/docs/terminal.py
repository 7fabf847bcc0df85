"""A terminal that commands are typed into, as a reader of the documentation does."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from tests.examples.serve import environment

_DONE = "--- done ---"


class Terminal(AbstractContextManager["Terminal"]):
    """One shell: a folder, a variable or an activated environment stays for the next commands.

    :param folder: where it is opened.
    """

    def __init__(self, folder: Path) -> None:
        self.log = folder / f"terminal-{id(self)}.txt"
        self._block = self.log.with_suffix(".sh")
        with self.log.open("wb") as output:
            self._shell = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-eu", "-o", "pipefail"],
                cwd=folder,
                env={**environment(), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def start(self, commands: str) -> None:
        """Type commands, and wait for nothing."""
        self._block.write_text(commands)
        assert self._shell.stdin is not None
        # Read from a file, so that no command reads what is typed after it.
        self._shell.stdin.write(f". {self._block} </dev/null; echo '{_DONE}'\n")
        self._shell.stdin.flush()

    def type(self, commands: str, timeout: float = 60) -> str:
        """Type commands, and wait for the last one: what they printed. Each must succeed."""
        before = self.log.stat().st_size
        self.start(commands)
        while True:
            said = self.log.read_bytes()[before:].decode()
            if _DONE in said:
                return said.replace(_DONE + "\n", "")
            try:
                self._shell.wait(0.05)
            except subprocess.TimeoutExpired:
                timeout -= 0.05
                assert timeout > 0, f"{commands}\n{said}"
            else:
                raise AssertionError(f"{commands}\n{self.log.read_text()}")

    def until(self, ready: Callable[[], bool], timeout: float = 120) -> None:
        """Wait for what was started."""
        deadline = time.monotonic() + timeout
        while not ready():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def __exit__(self, *_error: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGTERM)
        self._shell.communicate(timeout=10)
