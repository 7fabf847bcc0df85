"""A mail, and real SMTP servers on loopback to send it to."""

from __future__ import annotations

import asyncio
import socket
import ssl
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from threading import Event, Thread
from typing import Any

import trustme
from aiosmtpd.smtp import SMTP, AuthResult

from flask_invitations import InvitationInfo, Message

SENDER = "Acme <no-reply@acme.example>"
SECRET = "a-secret-that-no-log-may-show"  # in place of a link's token


def a_message(to: str = "Ann@example.com") -> Message:
    """A mail as the outbox hands it to a mailer."""
    now = datetime(2026, 3, 1, tzinfo=timezone.utc)
    info = InvitationInfo(
        id=uuid.uuid4(),
        tenant_id=1,
        email=to,
        email_key=to.lower(),
        role="user",
        status="pending",
        message=None,
        details=None,
        locale=None,
        invited_by=None,
        link_shown=False,
        lifetime=timedelta(days=2),
        expires_at=now + timedelta(days=2),
        created_at=now,
        updated_at=now,
        accepted_at=None,
        accepted_by_id=None,
    )
    mail_id = uuid.uuid4()
    return Message(
        id=mail_id,
        kind="invitation",
        to=to,
        subject="Grüße",
        text=f"Open https://app.example.com/#{SECRET}\n",
        html=f'<a href="https://app.example.com/#{SECRET}">Open</a>',
        headers={"Message-ID": f"<{mail_id}@app.example.com>", "Auto-Submitted": "auto-generated"},
        locale="en",
        accept_url=f"https://app.example.com/#{SECRET}",
        invitation=info,
    )


def certified(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for ``name``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@dataclass
class Server:
    """An SMTP server in a thread of its own, for the length of a ``with`` block; keeps what it is sent.

    :param answers: what to answer to a verb (``"MAIL"``), on one connection (``"MAIL 0"``), or to a recipient by
        address; ``"hang"``: nothing; ``"die"``: hang up.
    """

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    users: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    envelopes: list[Any] = field(default_factory=list)
    secured: list[bool] = field(default_factory=list)
    #: One for each connection.
    sessions: list[Any] = field(default_factory=list)
    #: Which connection said what, of the verbs that are of interest here, and brought which mail.
    heard: list[tuple[int, str]] = field(default_factory=list)
    port: int = 0

    async def _answer(self, server: SMTP, verb: str, usual: str, argument: str = "") -> str:
        number = self.sessions.index(server)
        self.heard.append((number, verb))
        keys = (argument, f"{verb} {number}", verb)
        answer = next((self.answers[key] for key in keys if key in self.answers), usual)
        if answer == "hang":
            await asyncio.sleep(60)
        if answer == "die" and isinstance(server.transport, asyncio.WriteTransport):
            server.transport.abort()
        return answer

    async def handle_MAIL(self, server: SMTP, _session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802 - aiosmtpd's names
        answer = await self._answer(server, "MAIL", "250 OK")
        if answer.startswith("250"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return answer

    async def handle_RCPT(self, server: SMTP, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        answer = await self._answer(server, "RCPT", "250 OK", address)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        answer = await self._answer(server, "DATA", "250 OK")
        if answer.startswith("250"):
            self.envelopes.append(envelope)
            self.secured.append(session.ssl is not None or self.implicit)
        return answer

    async def handle_NOOP(self, server: SMTP, _session: Any, _envelope: Any, _argument: str) -> str:  # noqa: N802
        return await self._answer(server, "NOOP", "250 OK")

    async def handle_QUIT(self, server: SMTP, _session: Any, _envelope: Any) -> str:  # noqa: N802
        return await self._answer(server, "QUIT", "221 Bye")

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=self.users.get(data.login.decode()) == data.password.decode(), handled=False)

    def _session(self, loop: asyncio.AbstractEventLoop) -> SMTP:
        options: dict[str, Any] = dict(self.options)
        if self.tls is not None and not self.implicit:
            options.update(tls_context=self.tls, require_starttls=True)
        if self.users:
            options.update(authenticator=self._authenticate, auth_required=True)
            options.update(auth_require_tls=not self.implicit)
        session = SMTP(self, loop=loop, **options)
        self.sessions.append(session)
        return session

    async def _serve(self, started: Future[int], stop: Future[None]) -> None:
        self._loop = loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)  # a refused handshake is what the test is about
        wrapped = self.tls if self.implicit else None
        server = await loop.create_server(lambda: self._session(loop), "127.0.0.1", 0, ssl=wrapped)
        started.set_result(server.sockets[0].getsockname()[1])
        await asyncio.wrap_future(stop)
        server.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        for session in self.sessions:
            if session.transport is not None:
                session.transport.abort()
        await asyncio.sleep(0.01)

    def hang_up(self) -> None:
        """Close every connection, as servers do to idle ones, and go on serving."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(10)

    def settle(self) -> None:
        """Wait until what was already sent here has been heard."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), self._loop).result(10)

    def __enter__(self) -> Server:  # noqa: PYI034 - Self is of Python 3.11
        started: Future[int] = Future()
        self._stop: Future[None] = Future()
        self._thread = Thread(target=asyncio.run, args=(self._serve(started, self._stop),), daemon=True)
        self._thread.start()
        self.port = started.result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set_result(None)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def received(self) -> Any:
        """The one mail that came."""
        (envelope,) = self.envelopes
        return message_from_bytes(envelope.content, policy=policy.default)

    def connections(self, verb: str) -> list[int]:
        """Over which connection, by number from 0, each ``verb`` came."""
        return [number for number, heard in self.heard if heard == verb]


@dataclass
class Slow:
    """A bare SMTP server that can take its time, for the length of a ``with`` block.

    :param manners: what to send at a moment (``"banner"``, a verb, ``"."`` for the end of the text) in place of the
        usual answer: pieces, until the other side hangs up.
    :param pause: seconds between two pieces.
    """

    manners: Mapping[str, Callable[[], Iterable[bytes]]]
    pause: float = 0.05
    port: int = 0
    #: What was said to it, and how often somebody connected.
    heard: list[str] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Slow:  # noqa: PYI034 - Self is of Python 3.11
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._stopped = Event()
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                self.connections += 1
                with sock, suppress(OSError):
                    self._talk(sock, sock.makefile("rb"))

    def _talk(self, sock: socket.socket, lines: Any) -> None:
        self._answer(sock, "banner", b"220 slow ESMTP\r\n")
        in_text = False
        for line in lines:
            if in_text and line != b".\r\n":
                continue
            verb = line.split()[0].decode("latin-1").upper() if line.split() else ""
            self.heard.append(verb)
            in_text = verb == "DATA" and verb not in self.manners
            self._answer(sock, verb, b"354 go on\r\n" if in_text else b"250 OK\r\n")

    def _answer(self, sock: socket.socket, moment: str, usual: bytes) -> None:
        if moment not in self.manners:
            sock.sendall(usual)
            return
        for piece in self.manners[moment]():
            sock.sendall(piece)
            if self._stopped.wait(self.pause):
                return


def drip(answer: bytes = b"250-" + b"x" * 100) -> Iterable[bytes]:
    """An answer that comes byte by byte."""
    return (answer[place : place + 1] for place in range(len(answer)))
