"""The mailer for development; the one that sends is in ``smtp.py``."""

from __future__ import annotations

import logging
import sys

from flask import current_app

from ..hooks import Message

log: logging.Logger = logging.getLogger("flask_invitations")


class LogMailer:
    """For development: prints the whole email, link included, to stderr in debug.

    Outside of debug it only logs that an email was due, link masked: it sends nothing.
    """

    def __call__(self, message: Message) -> None:
        if current_app.debug:
            sys.stderr.write(f"To: {message.to}\nSubject: {message.subject}\n\n{message.text}\n")
        else:
            log.warning(
                "LogMailer sends nothing. An email is due for invitation %s (link masked).", message.invitation.id
            )
