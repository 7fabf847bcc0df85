"""The mailer for development; the one that sends is in ``smtp.py``."""

from __future__ import annotations

import logging
import sys

from flask import current_app

from ..errors import MailRefused
from ..hooks import Message

log: logging.Logger = logging.getLogger("flask_invitations")


class LogMailerSendsNothing(MailRefused):
    """Outside of debug no email is sent, and none is recorded as sent."""

    in_doubt = False


class LogMailer:
    """For development: prints the whole email, link included, to stderr in debug.

    Outside of debug it sends nothing, and the delivery is recorded as ``failed``.
    """

    _said: bool = False

    def __call__(self, message: Message) -> None:
        """:raises MailRefused: the app is not in debug."""
        if current_app.debug:
            sys.stderr.write(f"To: {message.to}\nSubject: {message.subject}\n\n{message.text}\n")
            return
        if not self._said:
            self._said = True
            log.error(
                "LogMailer sends no email outside of debug: every delivery fails. Pass another mailer to init_app."
            )
        raise LogMailerSendsNothing
