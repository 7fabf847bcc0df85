"""One deadline for the whole exchange with a mail server, and bounds for what it says."""

from __future__ import annotations

import itertools
import logging
import smtplib
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import trustme

from flask_invitations import SMTPMailer
from flask_invitations.mail import session
from flask_invitations.mail.failures import is_final
from flask_invitations.mail.session import Deadline
from tests.hosts import build
from tests.unit.mailserver import SENDER, Server, Slow, a_message, certified, drip

TIMEOUT = 0.4
#: How much longer than the time-out a machine under load may take.
GRACE = 1.5
#: TLS: the head of a handshake record, and then zeros.
HANDSHAKE = b"\x16\x03\x03\x3f\xff" + bytes(200)


def on(port: int, **how: Any) -> SMTPMailer:
    return SMTPMailer("127.0.0.1", port, **{"sender": SENDER, "security": "none", "timeout": TIMEOUT, **how})


def fails_in_time(mailer: SMTPMailer, message: Any = None) -> Exception:
    started = time.monotonic()
    with pytest.raises(OSError) as failed:  # noqa: PT011 - every smtplib.SMTPException is one
        mailer(message or a_message())
    assert time.monotonic() - started < TIMEOUT + GRACE
    assert not is_final(failed.value)
    assert mailer._idle == []
    return failed.value


@pytest.mark.parametrize("moment", ["banner", "EHLO", "MAIL", "RCPT", "DATA", "."])
def test_a_server_that_drips(moment: str) -> None:
    """E5: a server that sends one byte now and then, at whatever moment, has no more time than the whole email has."""
    with Slow({moment: drip}) as server:
        fails_in_time(on(server.port))
        assert server.connections == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_handshake_that_drips(security: str) -> None:
    """E5: the same for the handshake of TLS."""
    offer = b"250-slow\r\n250 STARTTLS\r\n"
    manners: dict[str, Callable[[], Iterable[bytes]]] = {
        "EHLO": lambda: [offer],
        "STARTTLS": lambda: itertools.chain([b"220 go on\r\n"], drip(HANDSHAKE)),
    }
    with Slow({"banner": lambda: drip(HANDSHAKE)} if security == "tls" else manners, pause=0.03) as server:
        fails_in_time(on(server.port, security=security))


@pytest.mark.parametrize("verbs", [("EHLO", "MAIL", "RCPT", "DATA", "."), ("RCPT",)])
def test_the_steps_share_one_time(verbs: tuple[str, ...]) -> None:
    """E5: each answer alone comes in time, all of them together do not: the email is given back all the same."""
    answers = {"DATA": b"354 go on\r\n"}
    share = 0.12 if len(verbs) > 1 else 0.01

    def late(verb: str) -> Iterable[bytes]:
        time.sleep(share)
        yield answers.get(verb, b"250 OK\r\n")

    with Slow({verb: lambda verb=verb: late(verb) for verb in verbs}, pause=0) as server:  # type: ignore[misc]
        mailer = on(server.port)
        if len(verbs) == 1:
            mailer(a_message())
            mailer.close()
        else:
            fails_in_time(mailer)


def test_a_server_that_hardly_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """E5: a server that takes the text in small bites has no more time either."""
    stopped, usual = Event(), socket.create_connection

    def connect(*where: Any) -> socket.socket:
        sock = usual(*where)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)  # what is sent is not put aside by this machine
        return sock

    def serve() -> None:
        sock, _ = listening.accept()
        with sock, suppress(OSError):
            sock.sendall(b"220 x\r\n")
            for answer in (b"250 OK\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 go on\r\n"):
                sock.recv(4096)
                sock.sendall(answer)
            while not stopped.wait(0.05) and sock.recv(4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        thread = Thread(target=serve)
        thread.start()
        monkeypatch.setattr(socket, "create_connection", connect)
        mailer, message = on(listening.getsockname()[1], timeout=1), replace(a_message(), text="x" * 70 + "\n")
        started = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011
            mailer(replace(message, text=message.text * 30_000))
        assert time.monotonic() - started < 10  # 2 MB at this pace take longer
        stopped.set()
        thread.join(10)


@pytest.mark.parametrize("moment", ["banner", "EHLO", "RCPT", "."])
@pytest.mark.parametrize("piece", [b"250-more\r\n" * 800, b"220-" + b"x" * 8000, b"\xff" * 8000], ids=ascii)
def test_answers_without_end(moment: str, piece: bytes) -> None:
    """E5: an answer without end, of lines or of one line, is cut off long before the time is over, and costs no memory
    to speak of."""
    with Slow({moment: lambda: itertools.repeat(piece)}, pause=0) as server:
        mailer = on(server.port, timeout=5)
        tracemalloc.start()
        started = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011
            mailer(a_message())
        assert time.monotonic() - started < 3
        assert tracemalloc.get_traced_memory()[1] < 40 * session.LONGEST_ANSWER
        tracemalloc.stop()


@pytest.mark.parametrize("moment", ["MAIL", "RCPT"])
def test_answers_that_nobody_asked_for(moment: str) -> None:
    """E5: a second answer in one piece with the first is not taken for that of the next command: else "250" of RCPT
    would be that of DATA, and a refused email would count as sent."""
    with Slow({moment: lambda: [b"250 OK\r\n250 OK\r\n354 go on\r\n250 sent\r\n"]}, pause=0) as server:
        with pytest.raises(smtplib.SMTPServerDisconnected, match="not asked"):
            on(server.port)(a_message())
        assert "DATA" not in server.heard


def test_a_kept_connection_has_all_of_its_time_again() -> None:
    """E5: the time of an email begins with that email, also over a connection that is older."""
    with Server() as server:
        mailer = on(server.port)
        mailer(a_message())
        time.sleep(TIMEOUT + 0.1)
        mailer(a_message())
        assert server.connections("DATA") == [0, 0]


def test_each_address_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """E5: of a host with several addresses, the dead ones take only their share of the time, and all of them together
    no more than there is."""
    usual, asked = socket.create_connection, []

    def connect(address: Any, timeout: float) -> Any:
        asked.append((address[0], timeout))
        if address[0].startswith("192.0.2."):
            time.sleep(timeout)
            raise TimeoutError("timed out")
        return usual(address, timeout)

    with Server() as server:
        addresses = ["192.0.2.1", "192.0.2.2", "127.0.0.1"]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, server.port)) for each in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        monkeypatch.setattr(socket, "create_connection", connect)
        on(server.port, timeout=0.9)(a_message())
        assert len(server.envelopes) == 1
        del found[2:]
        fails_in_time(on(server.port))
    assert [address for address, _ in asked] == [*addresses, *addresses[:2]]


def test_a_deadline() -> None:
    """E5: there is time, or it has passed."""
    assert 0 < Deadline(1).left() <= 1
    with pytest.raises(TimeoutError):
        Deadline(0).left()


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_the_certificate_is_still_checked(security: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E5, E7: the connections of our own making check name and authority like those of the standard library."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    for name, right in (("localhost", True), ("mail.example.com", False)):
        with Server(certified(authority, name), implicit=security == "tls") as server:
            mailer = SMTPMailer("localhost", server.port, sender=SENDER, security=security, timeout=5)
            if right:
                mailer(a_message())
            else:
                with pytest.raises(OSError, match="Hostname mismatch"):
                    mailer(a_message())
            assert len(server.envelopes) == right


def test_a_timeout_beyond_the_lease_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """E5: a mailer that may take longer than the lease is told at the start."""
    for timeout, warned in ((9.9, False), (10, True)):
        caplog.clear()
        config = {"INVITATIONS_DELIVERY_LEASE": 10}
        mailer = SMTPMailer("mail.example.com", sender=SENDER, timeout=timeout)
        with caplog.at_level(logging.WARNING), build("sqlite://", create_all=False, config=config, mailer=mailer):
            assert ("INVITATIONS_DELIVERY_LEASE" in caplog.text) is warned


def test_our_own_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """E5: the look-up of our own name, which no time-out bounds, is made for the first connection only."""
    looked_up = itertools.count()
    monkeypatch.setattr(socket, "getfqdn", lambda: f"app{next(looked_up)}.example.com")
    with Server() as server:
        mailer = on(server.port, timeout=5)
        for _ in range(3):
            mailer(a_message())
            mailer.close()
        assert len(server.sessions) == 3
        assert len({each.session.host_name for each in server.sessions}) == 1
