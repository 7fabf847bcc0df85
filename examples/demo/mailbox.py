"""A mail server for the demo: it accepts every email, delivers none, and keeps them all for you to read."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import Future
from dataclasses import dataclass
from email import message_from_bytes, policy
from threading import Thread
from typing import Any

from aiosmtpd.smtp import SMTP


@dataclass(frozen=True)
class Mail:
    to: str
    subject: str
    text: str
    html: str

    @property
    def link(self) -> str | None:
        """The first link in the email."""
        found = re.search(r"https?://\S+", self.text)
        return found and found.group()


class Mailbox:
    """Listens on loopback, on a port that the operating system chooses, until the process ends."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        started: Future[int] = Future()
        Thread(target=asyncio.run, args=(self._serve(started),), daemon=True).start()
        self.port = started.result(timeout=10)

    async def _serve(self, started: Future[int]) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(self, loop=loop), "127.0.0.1", 0)
        started.set_result(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        mail = message_from_bytes(envelope.content, policy=policy.default)
        text, html = (mail.get_body((kind,)).get_content().replace("\r\n", "\n") for kind in ("plain", "html"))
        self.mails.append(Mail(mail["To"], mail["Subject"], text, html))
        return "250 OK"
