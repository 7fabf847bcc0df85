"""The mailer that sends, against real SMTP servers on loopback."""

from __future__ import annotations

import gc
import os
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import trustme

from flask_invitations import ConfigurationError, MailRefused, Message, SMTPMailer
from flask_invitations.mail import smtp
from flask_invitations.mail.failures import is_final
from tests.unit.mailserver import SECRET, SENDER, Server, a_message, certified

ROOT = Path(__file__).parents[2]


@pytest.fixture
def message() -> Message:
    return a_message()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine trusts our throwaway authority, as it does an operator's own: by OpenSSL's environment variable."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def test_plain_on_loopback(message: Message) -> None:
    """Without TLS on loopback: the mail arrives whole, to the address as it was typed, from the sender's."""
    with Server() as server:
        SMTPMailer("127.0.0.1", server.port, sender=SENDER, security="none")(message)
    (envelope,) = server.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("no-reply@acme.example", ["Ann@example.com"])
    mail = server.received()
    assert (mail["Subject"], mail["To"], mail["From"]) == ("Grüße", "Ann@example.com", SENDER)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert SECRET in mail.get_body(("plain",)).get_content()
    assert SECRET in mail.get_body(("html",)).get_content()


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
        ({"security": "ssl"}, "security of SMTPMailer must be"),
        ({"security": None}, "security of SMTPMailer must be"),
        ({"sender": "Acme"}, "sender"),
        ({"sender": ""}, "sender"),
        ({"sender": "Acme <no-reply@acme.example>\r\nBcc: evil@example.com"}, "sender"),
        ({"host": "mail.example.com:587"}, r"without a port, as in SMTPMailer\("),
        ({"host": "smtp://mail.example.com"}, r"without a port, as in SMTPMailer\("),
        ({"host": " mail.example.com"}, r"without a port, as in SMTPMailer\("),
        ({"port": "587"}, r"port of SMTPMailer must be a number .* not '587'"),
        ({"port": True}, "port"),
        ({"port": 0}, "port"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "10"}, "timeout"),
        ({"host": ""}, "host"),
        ({"host": None}, "host"),
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


@pytest.mark.parametrize(
    "given",
    [{"username": "acme"}, {"password": "hidden"}, {"username": "acme", "password": ""}],
)
def test_half_a_login(given: dict[str, str]) -> None:
    """A username without a password, or the reverse, is a forgotten setting: refused, not sent without a login."""
    with pytest.raises(ConfigurationError, match="username and password"):
        SMTPMailer("mail.example.com", sender=SENDER, **given)  # type: ignore[arg-type]


def test_a_login_beyond_ascii() -> None:
    """What cannot be sent is refused when the mailer is made, and not shown."""
    with pytest.raises(ConfigurationError, match="ASCII") as refused:
        SMTPMailer("mail.example.com", sender=SENDER, username="acme", password="geheimnisträger")
    assert "geheim" not in str(refused.value)


def on(server: Server, **arguments: Any) -> SMTPMailer:
    """A mailer for ``server``, without TLS."""
    return SMTPMailer("127.0.0.1", server.port, sender=SENDER, security="none", **arguments)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")  # aiosmtpd does not see implicit TLS
@pytest.mark.usefixtures("trusted")
def test_mails_share_a_connection(authority: trustme.CA, security: str) -> None:
    """Mails one after the other go over one connection, with one handshake and one login; close() says goodbye."""
    context = certified(authority, "localhost")
    with Server(context, implicit=security == "tls", users={"acme": "right"}) as server:
        mailer = SMTPMailer(
            "localhost", server.port, sender=SENDER, security=security, username="acme", password="right"
        )
        for _ in range(3):
            mailer(a_message())
        assert server.connections("DATA") == [0, 0, 0]
        assert server.connections("NOOP") == server.connections("QUIT") == []
        mailer.close()
        server.settle()
        assert server.connections("QUIT") == [0]
        mailer(a_message())
        assert server.connections("DATA") == [0, 0, 0, 1]


def test_threads_share_a_mailer(server: Server) -> None:
    """Mails sent at once go over a connection each, whole; between them few connections are kept."""
    threads, each = 6, 5
    mailer, start = on(server), Barrier(threads)

    def work(number: int) -> None:
        start.wait(10)
        for mail in range(each):
            mailer(a_message(f"u{number}-{mail}@example.com"))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    arrived = sorted(envelope.rcpt_tos[0] for envelope in server.envelopes)
    assert arrived == sorted(f"u{number}-{mail}@example.com" for number in range(threads) for mail in range(each))
    assert all(SECRET.encode() in envelope.content for envelope in server.envelopes)
    assert len(server.sessions) < threads * each
    assert len(mailer._idle) <= smtp.IDLE_CONNECTIONS


def test_a_connection_closed_by_the_server(server: Server) -> None:
    """A server that hung up meanwhile costs a new connection, not the mail."""
    mailer = on(server)
    mailer(a_message())
    server.hang_up()
    mailer(a_message())
    assert server.connections("DATA") == [0, 1]


@pytest.mark.parametrize(
    ("idle", "answer", "used", "asked"),
    [
        (0.0, "250 OK", [0, 0], []),
        (5.0, "250 OK", [0, 0], [0]),
        (5.0, "421 Closing", [0, 1], [0]),
        (5.0, "die", [0, 1], [0]),
        (5.0, "hang", [0, 1], [0]),
        (31.0, "250 OK", [0, 1], []),
    ],
)
def test_an_idle_connection(idle: float, answer: str, used: list[int], asked: list[int]) -> None:
    """Just used: used again. Idle for a while: only if the server answers. Idle for long: replaced unasked."""
    with Server(answers={"NOOP": answer}) as server:
        mailer = on(server, timeout=0.3)
        mailer(a_message())
        mailer._idle[0].used -= idle
        mailer(a_message())
        assert server.connections("DATA") == used
        assert server.connections("NOOP") == asked


def test_asking_does_not_shorten_the_timeout(server: Server) -> None:
    """After the server was asked, its connection has the mailer's own time-out again."""
    mailer = on(server, timeout=7)
    mailer(a_message())
    mailer._idle[0].used -= 5
    mailer(a_message())
    sock = mailer._idle[0].server.sock
    assert sock is not None
    assert sock.gettimeout() == 7


def test_a_hundred_mails_a_connection(server: Server) -> None:
    """After a hundred mails the connection is closed and the next mail opens another."""
    mailer = on(server)
    mailer(a_message())
    mailer._idle[0].mails = 99
    mailer(a_message())
    mailer(a_message())
    server.settle()
    assert server.connections("DATA") == [0, 0, 1]
    assert server.connections("QUIT") == [0]


def test_no_mailer_left_behind(server: Server) -> None:
    """A mailer that is collected closes its connections: no ResourceWarning, which this suite takes as an error."""
    on(server)(a_message())
    gc.collect()
    server.settle()
    assert server.connections("QUIT") == [0]


def test_enough_for_one_connection(server: Server) -> None:
    """A 421 to MAIL on a kept connection, before anything was handed over: sent over a new one, asked once."""
    mailer = on(server)
    mailer(a_message())
    server.answers["MAIL 0"] = "421 Too many messages in this connection"
    mailer(a_message())
    assert server.connections("MAIL") == [0, 0, 1]
    assert server.connections("DATA") == [0, 1]
    server.answers["MAIL"] = "421 Closing"
    with pytest.raises(smtplib.SMTPSenderRefused):
        mailer(a_message())
    assert server.connections("MAIL") == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_a_server_going_down(verb: str) -> None:
    """421: not sent, not final, tried once, and the connection is not used again."""
    with Server(answers={verb: "421 Shutting down"}) as server:
        mailer = on(server)
        with pytest.raises(smtplib.SMTPException) as refused:
            mailer(a_message())
        assert not is_final(refused.value)
        assert server.connections(verb) == [0]
        server.answers.clear()
        mailer(a_message())
        assert server.connections("DATA")[-1] == 1


@pytest.mark.parametrize("verb", ["MAIL", "DATA"])
def test_after_any_other_refusal(verb: str) -> None:
    """A connection on which something else than a recipient was refused is not used again."""
    with Server(answers={verb: "554 No"}) as server:
        mailer = on(server)
        with pytest.raises(smtplib.SMTPResponseException):
            mailer(a_message())
        server.answers.clear()
        mailer(a_message())
        assert server.connections("DATA")[-1] == 1


@pytest.mark.parametrize("answer", ["die", "hang"])
def test_no_second_try_after_data(answer: str) -> None:
    """R11: a server lost after it was given the mail may have it: raised, within the time-out, and not sent again."""
    with Server() as server:
        mailer = on(server, timeout=0.2)
        mailer(a_message())
        server.answers["DATA"] = answer
        started = time.monotonic()
        with pytest.raises(smtplib.SMTPServerDisconnected) as lost:
            mailer(a_message())
        assert time.monotonic() - started < 2
        assert not is_final(lost.value)
        assert server.connections("DATA") == [0, 0]
        assert len(server.sessions) == 1


def test_one_refused_recipient(server: Server) -> None:
    """A recipient that does not exist is final, and the next mail goes over the same connection, after a question."""
    server.answers["gone@example.com"] = "550 5.1.1 No such user"
    mailer = on(server)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        mailer(a_message("gone@example.com"))
    assert is_final(refused.value)
    mailer(a_message())
    assert server.connections("NOOP") == server.connections("DATA") == [0]
    assert len(server.sessions) == 1


@pytest.mark.parametrize(
    ("verb", "answer", "final"),
    [
        ("RCPT", "550 No such user", True),
        ("RCPT", "553 5.1.3 Bad address", True),
        ("RCPT", "450 4.2.0 Greylisted, come back", False),
        ("RCPT", "554 5.7.1 Relay access denied", False),
        ("RCPT", "550 5.1.8 Sender address rejected: Domain not found", False),
        ("RCPT", "530 Authentication required", False),
        ("DATA", "554 5.6.0 Content refused", False),
        ("DATA", "550 5.7.26 Unauthenticated mail: SPF and DKIM failed", False),
        ("DATA", "451 Out of disk", False),
        ("MAIL", "550 Sender refused", False),
        ("MAIL", "530 Authentication required", False),
    ],
)
def test_what_is_final(verb: str, answer: str, final: bool) -> None:
    """Final is what a server says for good of this mailbox; not what passes, nor what the operator can fix."""
    with Server(answers={verb: answer}) as server:
        with pytest.raises(smtplib.SMTPException) as refused:
            on(server)(a_message())
        assert is_final(refused.value) is final
        assert server.envelopes == []


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (MailRefused("blocked"), True),
        (smtplib.SMTPRecipientsRefused({"a@x": (550, b"gone"), "b@x": (450, b"later")}), False),
        (smtplib.SMTPRecipientsRefused({}), False),
        (smtplib.SMTPDataError(554, "refused"), False),
        (smtplib.SMTPDataError(550, "5.1.1 no such user"), True),
        (smtplib.SMTPAuthenticationError(535, b"5.7.8 wrong"), False),
        (smtplib.SMTPConnectError(554, b"no"), False),
        (smtplib.SMTPHeloError(550, b"no"), False),
        (smtplib.SMTPNotSupportedError("STARTTLS"), False),
        (smtplib.SMTPServerDisconnected("gone"), False),
        (TimeoutError(), False),
        (ssl.SSLError(), False),
        (ValueError("a bug in a template"), False),
    ],
)
def test_what_is_final_of_any_mailer(error: BaseException, final: bool) -> None:
    """A host's own word, or several recipients of which all are refused; never a configuration or a passing trouble."""
    assert is_final(error) is final


def test_addresses_beyond_ascii() -> None:
    """An address that needs SMTPUTF8: sent where the server speaks it; else refused for good, the address unsaid."""
    with Server(options={"enable_SMTPUTF8": True}) as server:
        on(server)(a_message("jörg@example.com"))
        assert server.envelopes[0].rcpt_tos == ["jörg@example.com"]
    with Server() as server:
        mailer = on(server)
        with pytest.raises(MailRefused) as refused:
            mailer(a_message("jörg@example.com"))
        assert isinstance(refused.value.__cause__, smtplib.SMTPNotSupportedError)
        assert is_final(refused.value)
        assert "jörg" not in repr(refused.value)
        mailer(a_message())
        assert server.connections("DATA") == [0]


def test_a_sender_beyond_ascii(server: Server) -> None:
    """The same of the sender's address is the operator's to mend: no mail fails for it at once."""
    mailer = SMTPMailer("127.0.0.1", server.port, sender="Büro <büro@acme.example>", security="none")
    with pytest.raises(smtplib.SMTPNotSupportedError) as refused:
        mailer(a_message())
    assert not is_final(refused.value)


FORKING = """
import os, sys
from flask_invitations import SMTPMailer
from tests.unit.mailserver import SENDER, a_message

mailer = SMTPMailer("127.0.0.1", int(sys.argv[1]), sender=SENDER, security="none")
mailer(a_message("parent@example.com"))
child = os.fork()
if child == 0:
    mailer(a_message("child@example.com"))
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
mailer(a_message("parent@example.com"))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_opens_its_own(server: Server) -> None:
    """A connection inherited over a fork is neither used nor said goodbye to; at exit each process closes its own."""
    run = [sys.executable, "-W", "error", "-c", FORKING, str(server.port)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    server.settle()
    assert [envelope.rcpt_tos[0].split("@")[0] for envelope in server.envelopes] == ["parent", "child", "parent"]
    assert server.connections("DATA") == [0, 1, 0]
    assert server.connections("QUIT") == [1, 0]
