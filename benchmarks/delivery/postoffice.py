"""An SMTP server in a process of its own, which keeps what it acknowledged; and how we make processes.

It is aiosmtpd: one event loop, no TLS. Before it answers 250 to a mail's content it has appended the mail to a file
and called fsync, one mail at a time.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email import message_from_bytes, policy
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import IO, Any

from aiosmtpd.smtp import SMTP

from flask_invitations import SMTPMailer

SENDER = "Acme <no-reply@acme.example>"
#: New processes come from a server that has no threads and no connections to inherit, and has imported everything.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["benchmarks.delivery.workers"])


def start(work: Callable[..., None], *arguments: Any) -> Any:
    """A process that does ``work``, and ends when we end, however that comes."""
    process = _PROCESSES.Process(target=_work, args=(work, *arguments), daemon=True)
    process.start()
    return process


def _work(work: Callable[..., None], *arguments: Any) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_after, args=(parent,), daemon=True).start()
    work(*arguments)


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@dataclass(frozen=True)
class Mail:
    """A mail that was acknowledged."""

    message_id: str
    to: str
    link: str


@dataclass(frozen=True)
class Manners:
    """How the server treats mails.

    :param delay: seconds for each mail: half of them before it is written down, half before that is acknowledged.
    :param refuse: recipients that are answered 550.
    :param hang: recipients whose mails are never answered.
    """

    delay: float = 0
    refuse: tuple[str, ...] = ()
    hang: tuple[str, ...] = ()


class PostOffice(AbstractContextManager["PostOffice"]):
    """The server, for the length of the block.

    :param folder: where it keeps its file.
    """

    def __init__(self, folder: Path, manners: Manners | None = None) -> None:
        self._file = folder / "mails"
        self._file.touch()
        self._arguments = self._file, manners or Manners()

    def __enter__(self) -> PostOffice:  # noqa: PYI034 - Self is of Python 3.11
        here, there = _PROCESSES.Pipe(duplex=False)
        self._process = start(_run, *self._arguments, there)
        if not here.poll(30):
            raise TimeoutError("the SMTP server did not start")
        self.port: int = here.recv()
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.join(10)

    def mailer(self, timeout: float = 10) -> SMTPMailer:
        """One that sends here; ``timeout`` in seconds."""
        return SMTPMailer("127.0.0.1", self.port, sender=SENDER, security="none", timeout=timeout)

    def mails(self) -> list[Mail]:
        """What was acknowledged, in that order; copies are there as often as they came."""
        return list(self._read())

    def _read(self) -> Iterator[Mail]:
        for line in self._file.read_bytes().splitlines():
            kept = json.loads(line)
            mail = message_from_bytes(kept["content"].encode("latin-1"), policy=policy.default)
            body = mail.get_body(("plain",))
            (link,) = [word for word in (body.get_content() if body else "").split() if word.startswith("https://")]
            yield Mail(mail["Message-ID"], kept["to"], link)


class _Handler:
    def __init__(self, file: IO[str], manners: Manners) -> None:
        self._file, self._manners = file, manners

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802 - aiosmtpd's names
        if address in self._manners.refuse:
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        (to,) = envelope.rcpt_tos
        if to in self._manners.hang:
            await asyncio.sleep(3600)
        await asyncio.sleep(self._manners.delay / 2)
        self._file.write(json.dumps({"to": to, "content": envelope.content.decode("latin-1")}) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        await asyncio.sleep(self._manners.delay / 2)
        return "250 OK"


def _run(path: Path, manners: Manners, port: Connection) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        with path.open("a") as file:
            handler = _Handler(file, manners)
            server = await loop.create_server(lambda: SMTP(handler, hostname="localhost", loop=loop), "127.0.0.1", 0)
            port.send(server.sockets[0].getsockname()[1])
            await server.serve_forever()

    asyncio.run(serve())
