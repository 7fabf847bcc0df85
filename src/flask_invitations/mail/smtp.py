"""The mailer that sends over SMTP."""

from __future__ import annotations

import os
import re
import selectors
import smtplib
import ssl
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from time import monotonic
from typing import Any

from ..config import LOOPBACK
from ..errors import ConfigurationError, MailRefused
from ..hooks import Message
from .headers import read_sender, to_email
from .session import Deadline, Session

#: At most so many mails over one connection: servers count, and 100 is a usual limit.
MAILS_PER_CONNECTION = 100
#: At most so many connections wait for their next mail.
IDLE_CONNECTIONS = 4
#: Seconds: idle for longer, a connection is replaced; for less than ``UNASKED``, used without asking the server.
IDLE, UNASKED = 30.0, 1.0
#: Seconds to wait for the answer to that question, at most a quarter of what there is; a server that takes longer gets
#: a new connection.
ASKING = 1.0


@dataclass
class _Connection:
    """A connection that is ready for a mail; one thread has it at a time.

    :param pid: the process that opened it. Another one, forked later, shares the socket: it must not say a word.
    """

    server: Session
    mails: int = 0
    used: float = field(default_factory=monotonic)
    pid: int = field(default_factory=os.getpid)

    def is_usable(self, deadline: Deadline) -> bool:
        """Whether the next mail may go over it, which takes it over then.

        :param deadline: of that mail.
        """
        idle = monotonic() - self.used
        if self.pid != os.getpid() or idle > IDLE or self._has_news():
            return False
        usable = idle < UNASKED or self._answers(Deadline(min(ASKING, deadline.left() / 4)))
        self.server.deadline = deadline
        return usable

    def _has_news(self) -> bool:
        """Whether the server hung up, or is about to: nobody asked it anything, so it has nothing else to say."""
        if self.server.sock is None or self.server.unread:  # smtplib itself closed it, at a 421
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self.server.sock, selectors.EVENT_READ)
            return bool(selector.select(0))

    def _answers(self, deadline: Deadline) -> bool:
        self.server.deadline = deadline
        with suppress(OSError):  # every smtplib.SMTPException is one
            return self.server.noop()[0] == 250
        return False

    def hang_up(self) -> None:
        """Say goodbye, without waiting for an answer, and close."""
        with suppress(OSError):
            if self.pid == os.getpid():
                self.server.deadline = Deadline(ASKING)
                self.server.putcmd("quit")
        self.server.close()


def _take_out(idle: list[_Connection]) -> Iterator[_Connection]:
    """Empty ``idle`` one by one, longest idle first; ``pop`` is atomic: no two threads get the same."""
    with suppress(IndexError):
        while True:
            yield idle.pop(0)


def _hang_up(idle: list[_Connection]) -> None:
    for connection in _take_out(idle):
        connection.hang_up()


def _check_server(host: Any, port: Any, timeout: Any) -> None:
    """:raises ConfigurationError: each email would fail, with an error of the network's that does not tell why."""
    is_ipv6 = isinstance(host, str) and host.count(":") > 1 and "/" not in host
    if not is_ipv6 and not (isinstance(host, str) and re.fullmatch(r"[^\s:/@]+", host)):
        raise ConfigurationError(
            "The host of SMTPMailer must be a name without a port, as in "
            'SMTPMailer("smtp.example.com", 587, sender="no-reply@example.com").'
        )
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise ConfigurationError(f"The port of SMTPMailer must be a number from 1 to 65535, not {port!r}.")
    if not isinstance(timeout, (int, float)) or not timeout > 0:
        raise ConfigurationError("The timeout of SMTPMailer must be a number of seconds above 0.")


class SMTPMailer:
    """Sends over SMTP with verified TLS (E7), over connections that it keeps for a while.

    One mailer serves any number of threads, and processes forked after it was made.

    :param host: server name, as its certificate has it.
    :param port: 587 for STARTTLS, 465 for implicit TLS.
    :param sender: the From address of every email.
    :param username: authenticate as; ``None`` or empty: do not.
    :param password: goes with ``username``; ASCII, both.
    :param security: ``"starttls"``, ``"tls"`` or ``"none"``; the last for a loopback host only.
    :param timeout: seconds for one email as a whole: connecting, TLS, the login and all that is said. It must be
        shorter than ``INVITATIONS_DELIVERY_LEASE``.
    :raises ConfigurationError: when made with values that cannot work.
    """

    def __init__(
        self,
        host: str,
        port: int = 587,
        *,
        sender: str,
        username: str | None = None,
        password: str | None = None,
        security: str = "starttls",
        timeout: float = 10,
    ) -> None:
        if security not in ("starttls", "tls", "none"):
            raise ConfigurationError('The security of SMTPMailer must be "starttls", "tls" or "none".')
        if security == "none" and host not in LOOPBACK:
            raise ConfigurationError('SMTPMailer takes security="none" for a loopback host only. Use "starttls".')
        if not isinstance(sender, str) or not sender.isprintable():
            raise ConfigurationError("The sender of SMTPMailer must be an email address on one line.")
        _check_server(host, port, timeout)
        self._address = host, port
        self.timeout: float = timeout
        self._name: str | None = None
        self._sender, self._security = sender, security
        self._from = read_sender(sender)[1]
        self._credentials = _credentials(username, password)
        self._tls = None if security == "none" else ssl.create_default_context()
        self._idle: list[_Connection] = []
        weakref.finalize(self, _hang_up, self._idle)  # also at exit, while there is an interpreter to do it

    def __repr__(self) -> str:
        return f"SMTPMailer({self._address[0]!r}, {self._address[1]})"

    def __call__(self, message: Message) -> None:
        """Send one email; once it was handed over (DATA) it is never tried a second time here.

        :raises MailRefused: the recipient is no address, or one that needs SMTPUTF8, which the server does not speak.
        :raises OSError: not sent; ``smtplib.SMTPException`` is one. :func:`is_final` tells which are for good.
        """
        email = to_email(message, self._sender)
        to = str(email["To"].addresses[0].addr_spec)  # what the header says, the envelope says
        deadline = Deadline(self.timeout)
        connection = self._kept(deadline)
        if connection is not None:
            try:
                return self._send(connection, email, to)
            except smtplib.SMTPSenderRefused as refused:
                if refused.smtp_code != 421:  # "enough for one connection", before anything was handed over
                    raise
        return self._send(self._connect(deadline), email, to)

    def close(self) -> None:
        """Close the idle connections. The mailer can still be used: it opens new ones."""
        _hang_up(self._idle)

    def _kept(self, deadline: Deadline) -> _Connection | None:
        for connection in _take_out(self._idle):
            if connection.is_usable(deadline):
                return connection
            connection.hang_up()
        return None

    def _connect(self, deadline: Deadline) -> _Connection:
        implicit = self._tls if self._security == "tls" else None
        server = Session(*self._address, deadline, implicit, self._name)
        self._name = server.local_hostname  # a look-up that can take long, and gives the same again
        try:
            if self._security == "starttls":
                server.starttls(context=self._tls)
            server.ehlo_or_helo_if_needed()
            if self._credentials is not None:
                server.login(*self._credentials)
        except BaseException:
            server.close()
            raise
        return _Connection(server)

    def _send(self, connection: _Connection, email: EmailMessage, to: str) -> None:
        """Send and keep the connection, if what happened leaves it fit for a next mail."""
        try:
            self._hand_over(connection.server, email, to)
        except smtplib.SMTPRecipientsRefused:
            self._keep(connection, used=monotonic() - UNASKED)  # some servers hang up on whoever guesses: ask first
            raise
        except smtplib.SMTPNotSupportedError as error:
            self._keep(connection, used=connection.used)
            if to.isascii():  # then it is the sender's address, which the operator can change
                raise
            raise MailRefused("The mail server does not accept addresses beyond ASCII (SMTPUTF8).") from error
        except BaseException:
            connection.server.close()
            raise
        self._keep(connection, used=monotonic())

    def _hand_over(self, server: smtplib.SMTP, email: EmailMessage, to: str) -> None:
        """As ``send_message`` does, but for a text line that begins with "From ", which that changes."""
        server.ehlo_or_helo_if_needed()
        international = not (self._from + to).isascii()
        if international and not server.has_extn("smtputf8"):
            raise smtplib.SMTPNotSupportedError("The mail server does not accept addresses beyond ASCII (SMTPUTF8).")
        options = ["SMTPUTF8", "BODY=8BITMIME"] if international else []
        server.sendmail(self._from, [to], email.as_bytes(), options)

    def _keep(self, connection: _Connection, *, used: float) -> None:
        connection.mails, connection.used = connection.mails + 1, used
        if connection.server.sock is not None:
            connection.server.sock.settimeout(self.timeout)
        if connection.mails >= MAILS_PER_CONNECTION or len(self._idle) >= IDLE_CONNECTIONS:
            connection.hang_up()
        else:
            self._idle.append(connection)


def _credentials(username: str | None, password: str | None) -> tuple[str, str] | None:
    if not username and not password:
        return None
    if not username or not password:
        raise ConfigurationError("SMTPMailer needs both username and password, or neither.")
    if not (username.isascii() and password.isascii()):
        raise ConfigurationError("The username and password of SMTPMailer must be ASCII.")  # smtplib sends no other
    return username, password
