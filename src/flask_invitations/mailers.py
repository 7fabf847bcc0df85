"""The two mailers that ship: one that prints, one that sends."""

from __future__ import annotations

import logging
import smtplib
import ssl
import sys
from email.utils import parseaddr

from flask import current_app

from .config import LOOPBACK
from .errors import ConfigurationError
from .hooks import Message
from .mail import to_email

log = logging.getLogger("flask_invitations")


class LogMailer:
    """For development: prints the whole mail, link included, to stderr in debug.

    Outside of debug it only logs that a mail was due, link masked: it sends nothing.

    """

    def __call__(self, message: Message) -> None:
        if current_app.debug:
            sys.stderr.write(f"To: {message.to}\nSubject: {message.subject}\n\n{message.text}\n")
        else:
            log.warning("LogMailer sends nothing: a mail is due for invitation %s (link masked)", message.invitation.id)


class SMTPMailer:
    """Sends over SMTP with verified TLS (E7).

    :param host: server name, as its certificate has it.
    :param port: 587 for STARTTLS, 465 for implicit TLS.
    :param sender: the From address of every mail.
    :param username: authenticate as; ``None``: do not.
    :param security: ``"starttls"``, ``"tls"`` or ``"none"``; the last for a loopback host only.
    :param timeout: seconds for each network operation.
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
            raise ConfigurationError('SMTPMailer: security must be "starttls", "tls" or "none".')
        if security == "none" and host not in LOOPBACK:
            raise ConfigurationError('SMTPMailer: security="none" is for a loopback host only; use "starttls".')
        if "@" not in parseaddr(sender)[1] or not sender.isprintable():
            raise ConfigurationError("SMTPMailer: sender must be an e-mail address, on one line.")
        if not host or not isinstance(port, int) or not 0 < port < 65536 or not timeout > 0:
            raise ConfigurationError("SMTPMailer: host must be a name, port from 1 to 65535, timeout above 0 seconds.")
        self._address = (host, port)
        self._sender, self._security, self._timeout = sender, security, timeout
        self._credentials = None if username is None else (username, password or "")

    def __repr__(self) -> str:
        return f"SMTPMailer({self._address[0]!r}, {self._address[1]})"

    def __call__(self, message: Message) -> None:
        """:raises OSError, smtplib.SMTPException: not sent."""
        email = to_email(message, self._sender)
        with self._connect() as server:
            if self._security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if self._credentials is not None:
                server.login(*self._credentials)
            server.send_message(email)

    def _connect(self) -> smtplib.SMTP:
        if self._security == "tls":
            return smtplib.SMTP_SSL(*self._address, timeout=self._timeout, context=ssl.create_default_context())
        return smtplib.SMTP(*self._address, timeout=self._timeout)
