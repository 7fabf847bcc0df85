"""The two mailers that ship; the one that sends, against real SMTP servers on loopback."""

from __future__ import annotations

import asyncio
import logging
import smtplib
import socket
import ssl
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult
from flask import Flask

from flask_invitations import ConfigurationError, InvitationInfo, LogMailer, Message, SMTPMailer

SENDER = "Acme <no-reply@acme.example>"
SECRET = "a-secret-that-no-log-may-show"  # in place of a link's token


@pytest.fixture
def message() -> Message:
    now = datetime(2026, 3, 1, tzinfo=timezone.utc)
    info = InvitationInfo(
        id=uuid.uuid4(),
        tenant_id=1,
        email="Ann@example.com",
        email_key="ann@example.com",
        role="user",
        status="pending",
        message=None,
        details=None,
        locale=None,
        invited_by=None,
        link_shown=False,
        expires_at=now + timedelta(days=2),
        created_at=now,
        updated_at=now,
        accepted_at=None,
        accepted_by_id=None,
    )
    return Message(
        id=uuid.uuid4(),
        kind="invitation",
        to="Ann@example.com",
        subject="Grüße",
        text=f"Open https://app.example.com/#{SECRET}\n",
        html=f'<a href="https://app.example.com/#{SECRET}">Open</a>',
        headers={"Auto-Submitted": "auto-generated"},
        locale=None,
        accept_url=f"https://app.example.com/#{SECRET}",
        invitation=info,
    )


@dataclass
class Server:
    """An SMTP server in a thread of its own, for the length of a ``with`` block; keeps what it is sent."""

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    users: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    envelopes: list[Any] = field(default_factory=list)
    secured: list[bool] = field(default_factory=list)
    sessions: list[Any] = field(default_factory=list)
    port: int = 0

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.envelopes.append(envelope)
        self.secured.append(session.ssl is not None or self.implicit)
        return "250 OK"

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
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)  # a refused handshake is what the test is about
        wrapped = self.tls if self.implicit else None
        server = await loop.create_server(lambda: self._session(loop), "127.0.0.1", 0, ssl=wrapped)
        started.set_result(server.sockets[0].getsockname()[1])
        await asyncio.wrap_future(stop)
        server.close()
        for session in self.sessions:
            if session.transport is not None:
                session.transport.abort()
        await asyncio.sleep(0.01)

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


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine trusts our throwaway authority, as it does an operator's own: by OpenSSL's environment variable."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def certified(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for ``name``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_plain_on_loopback(message: Message) -> None:
    """Without TLS on loopback: the mail arrives whole, to the address as it was typed, from the sender's."""
    with Server() as server:
        SMTPMailer("127.0.0.1", server.port, sender=SENDER, security="none")(message)
    (envelope,) = server.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("no-reply@acme.example", ["Ann@example.com"])
    mail = server.received()
    assert (mail["Subject"], mail["To"], mail["From"]) == ("Grüße", "Ann@example.com", SENDER)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert message.accept_url in mail.get_body(("plain",)).get_content()
    assert message.accept_url in mail.get_body(("html",)).get_content()


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.usefixtures("trusted")
def test_tls(message: Message, authority: trustme.CA, security: str) -> None:
    """E7: over STARTTLS and over implicit TLS the mail arrives where the certificate is trusted and names the host."""
    with Server(certified(authority, "localhost"), implicit=security == "tls") as server:
        SMTPMailer("localhost", server.port, sender=SENDER, security=security)(message)
    assert server.received()["Subject"] == "Grüße"
    assert server.secured == [True]


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("flaw", ["unknown authority", "another name"])
def test_a_certificate_that_proves_nothing(
    message: Message, authority: trustme.CA, security: str, flaw: str, request: pytest.FixtureRequest
) -> None:
    """E7: an authority that nobody trusts, or a certificate for another host: refused, and nothing is sent."""
    if flaw == "another name":
        request.getfixturevalue("trusted")
    context = certified(authority, "localhost" if flaw == "unknown authority" else "mail.example.com")
    with Server(context, implicit=security == "tls") as server:
        mailer = SMTPMailer("localhost", server.port, sender=SENDER, security=security)
        with pytest.raises(ssl.SSLCertVerificationError):
            mailer(message)
    assert server.envelopes == []


def test_no_downgrade(message: Message) -> None:
    """E7: a server that offers no STARTTLS, as somebody in between can pretend, gets no mail."""
    with Server() as server:
        mailer = SMTPMailer("127.0.0.1", server.port, sender=SENDER)
        with pytest.raises(smtplib.SMTPNotSupportedError):
            mailer(message)
    assert server.envelopes == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")  # aiosmtpd does not see implicit TLS
@pytest.mark.usefixtures("trusted")
def test_authentication(message: Message, authority: trustme.CA, security: str) -> None:
    """Username and password are given, after TLS; the wrong ones, or none, send nothing."""
    context = certified(authority, "localhost")
    with Server(context, implicit=security == "tls", users={"acme": "right"}) as server:

        def mailer(**credentials: str) -> SMTPMailer:
            return SMTPMailer("localhost", server.port, sender=SENDER, security=security, **credentials)  # type: ignore[arg-type]

        with pytest.raises(smtplib.SMTPAuthenticationError):
            mailer(username="acme", password="wrong")(message)
        with pytest.raises(smtplib.SMTPException):
            mailer()(message)
        assert server.envelopes == []
        mailer(username="acme", password="right")(message)
    assert server.received()["Subject"] == "Grüße"


def test_a_server_that_never_answers(message: Message) -> None:
    """R11: no longer than the time-out."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mailer = SMTPMailer("127.0.0.1", silent.getsockname()[1], sender=SENDER, security="none", timeout=0.2)
        with pytest.raises((TimeoutError, smtplib.SMTPServerDisconnected), match="timed out"):
            mailer(message)


def test_nobody_listens(message: Message) -> None:
    """A server that is down raises: the outbox keeps the mail."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        SMTPMailer("127.0.0.1", port, sender=SENDER, security="none")(message)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"security": "none"}, "loopback"),
        ({"security": "ssl"}, "security must be"),
        ({"security": None}, "security must be"),
        ({"sender": "Acme"}, "sender"),
        ({"sender": ""}, "sender"),
        ({"sender": "Acme <no-reply@acme.example>\r\nBcc: evil@example.com"}, "sender"),
        ({"port": "587"}, "port"),
        ({"port": 0}, "port"),
        ({"timeout": 0}, "timeout"),
        ({"host": ""}, "host"),
    ],
)
def test_settings_that_cannot_work(given: dict[str, Any], said: str) -> None:
    """E7: refused when the mailer is made, in a sentence that names the argument; no TLS is for loopback only."""
    arguments: dict[str, Any] = {"host": "mail.example.com", "sender": SENDER, **given}
    with pytest.raises(ConfigurationError, match=said):
        SMTPMailer(**arguments)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_loopback_needs_no_tls(host: str) -> None:
    """A mail server on the same machine may be without TLS."""
    assert "mailer" in repr(SMTPMailer(host, 25, sender=SENDER, security="none")).lower()


def test_no_password_is_shown() -> None:
    """D2: what a log or a traceback prints of a mailer has no password."""
    assert "hidden" not in repr(SMTPMailer("mail.example.com", sender=SENDER, username="acme", password="hidden"))


@pytest.fixture(params=[True, False], ids=["debug", "no debug"])
def debug(request: pytest.FixtureRequest) -> Iterator[bool]:
    app = Flask(__name__)
    app.debug = request.param
    with app.app_context():
        yield request.param


def test_the_log_mailer(
    message: Message, debug: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """D2: in debug the whole mail is printed, link included; else only that one was due, without link or address."""
    with caplog.at_level(logging.DEBUG):
        LogMailer()(message)
    printed, logged = capsys.readouterr(), caplog.text
    assert (message.accept_url in printed.err) is debug
    assert (message.to in printed.err) is debug
    assert printed.out == ""
    assert SECRET not in logged
    assert message.to not in logged
    assert (str(message.invitation.id) in logged) is not debug
