"""Which failures of a mailer are final."""

from __future__ import annotations

import re
import smtplib

from ..errors import MailRefused

#: Answers that speak of us, not of the invitee. By code: a wrong order, authentication wanted. By the enhanced status
#: before the text (RFC 3463): policy (relaying denied, a block list, DKIM), the sender. Postfix says these at RCPT too.
_OUR_CODES = frozenset({503, 530, 534, 535, 538})
_OUR_STATUS = re.compile(r"5\.(?:7\.\d|1\.[78]\b)")


def is_final(error: BaseException) -> bool:
    """Whether a mailer's exception says that trying again cannot help.

    :param error: what any mailer raised: ours, a library's over ``smtplib``, a host's own.
    :returns: true for :class:`MailRefused`, and where the server refuses for good (5xx) each recipient or the email's
        content. False for all else: time-outs, lost connections, TLS, and what the operator can fix without touching
        the email (authentication, the sender, relaying, policy).
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        answers = list(error.recipients.values())
        return bool(answers) and all(_is_permanent(*answer) for answer in answers)
    if isinstance(error, smtplib.SMTPDataError):
        return _is_permanent(error.smtp_code, error.smtp_error)
    return isinstance(error, MailRefused)


def _is_permanent(code: int, text: bytes | str) -> bool:
    said = text.decode("latin-1") if isinstance(text, bytes) else str(text)
    return 500 <= code < 600 and code not in _OUR_CODES and not _OUR_STATUS.match(said)
