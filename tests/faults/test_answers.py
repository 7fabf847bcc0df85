"""What mail servers answer: final is only what is known to be the mailbox."""

from __future__ import annotations

import smtplib
import ssl
import urllib.error
from email.message import Message as Headers
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from flask_invitations import MailRefused, SMTPMailer
from flask_invitations.current import override
from flask_invitations.mail.failures import described, is_final
from tests.hosts import build
from tests.unit.mailserver import SENDER, Server, Slow, a_message


class Line(NamedTuple):
    """An answer as a server gives it; ``|`` stands where its next line begins."""

    stage: str
    answer: str
    final: bool
    source: str


GMAIL = "support.google.com/a/answer/3726730"
EXCHANGE = "learn.microsoft.com, NDRs in Exchange Online"
POSTFIX = "postfix smtpd_check.c, logs in public issues"
EXIM = "exim test suite and default configuration"
SES = "docs.aws.amazon.com/ses, SMTP response codes"
SENDGRID = "sendgrid.com, SMTP errors and troubleshooting"
MAILGUN = "help.mailgun.com"
YAHOO = "senders.yahooinc.com/smtp-error-codes"
SENDMAIL = "sendmail cf/README, logs in public pages"
QMAIL = "netqmail, qmail-smtpd patches"

LINES = [
    # The mailbox
    Line("RCPT", "550 5.1.1 <{to}>: Recipient address rejected: User unknown in local recipient table", True, POSTFIX),
    Line("RCPT", "550 5.1.1 <{to}>: Recipient address rejected: User unknown in virtual mailbox table", True, POSTFIX),
    Line("RCPT", "550 5.1.1 <{to}>: Recipient address rejected: User unknown in relay recipient table", True, POSTFIX),
    Line("RCPT", "501 5.1.3 Bad recipient address syntax", True, POSTFIX),
    Line("RCPT", "556 5.1.10 <{to}>: Recipient address rejected: Domain example.com does not accept mail (nullMX)", True, POSTFIX),  # noqa: E501
    Line("RCPT", "550 5.1.6 <{to}>: Recipient address rejected: User has moved to new.example", True, POSTFIX),
    Line("RCPT", "550 Unrouteable address", True, EXIM),
    Line("RCPT", "550 Unknown user", True, EXIM),
    Line("RCPT", "550 No such user here", True, EXIM),
    Line("RCPT", "550-5.1.1 The email account that you tried to reach does not exist. Please try|550-5.1.1 double-checking the recipient's email address for typos or|550-5.1.1 unnecessary spaces. Learn more at|550 5.1.1 https://support.google.com/mail/?p=NoSuchUser - gsmtp", True, GMAIL),  # noqa: E501
    Line("RCPT", "550-5.2.1 The email account that you tried to reach is disabled. Learn more at|550 5.2.1 https://support.google.com/mail/?p=DisabledUser - gsmtp", True, GMAIL),  # noqa: E501
    Line("RCPT", "550 5.2.1 The email account that you tried to reach is inactive. - gsmtp", True, GMAIL),
    Line("RCPT", "553 5.1.3 The recipient address <{to}> is not a valid RFC 5321 address. - gsmtp", True, GMAIL),
    Line("RCPT", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient {to} not found by SMTP address lookup", True, EXCHANGE),  # noqa: E501
    Line("RCPT", "550 5.1.1 RESOLVER.ADR.RecipNotFound; not found", True, EXCHANGE),
    Line("RCPT", "550 5.1.1 User unknown", True, EXCHANGE),
    Line("RCPT", "550 5.1.1 <{to}>... User unknown", True, SENDMAIL),
    Line("RCPT", "550 <{to}>... User unknown", True, SENDMAIL),
    Line("RCPT", "550 5.1.2 <{to}>... Host unknown (Name server: example.com: host not found)", True, SENDMAIL),
    Line("RCPT", "550 sorry, no mailbox here by that name. (#5.1.1)", True, QMAIL),
    Line("RCPT", "550 5.1.1 <{to}>: user does not exist", True, "iCloud, Zoho: public bounces"),
    Line("RCPT", "550 {to} is not a known user", True, "EarthLink: public bounces"),
    Line("RCPT", "552 1 Requested mail action aborted, mailbox not found", True, "AOL: public bounces"),
    Line("RCPT", "550 Invalid recipient <{to}> (#5.1.1)", True, "Barracuda: public bounces"),
    Line("RCPT", "550 Message was not accepted -- invalid mailbox. Local mailbox {to} is unavailable: user not found", True, "Mail.ru: public bounces"),  # noqa: E501
    Line("RCPT", "550 5.1.1 <spam-blocked@example.com>: Recipient address rejected: User unknown", True, POSTFIX),
    Line("DATA", "554 delivery error: dd This user doesn't have a yahoo.com account ({to}) [0]", True, YAHOO),
    Line("DATA", "554 delivery error: dd Sorry your message to {to} cannot be delivered. This mailbox is disabled (554.30)", False, YAHOO),  # noqa: E501
    Line("DATA", "550 5.1.1 <{to}> User unknown", True, "LMTP back ends: RFC 2033"),
    # We, and how we come
    Line("RCPT", "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname", False, POSTFIX),
    Line("RCPT", "550 5.7.1 <mail>: Helo command rejected: Host not found", False, POSTFIX),
    Line("RCPT", "501 5.5.2 <mail>: Helo command rejected: Invalid name", False, POSTFIX),
    Line("RCPT", "550 5.1.8 <no-reply@acme.example>: Sender address rejected: Domain not found", False, POSTFIX),
    Line("RCPT", "550 5.1.0 <no-reply@acme.example>: Sender address rejected: User unknown in virtual mailbox table", False, POSTFIX),  # noqa: E501
    Line("RCPT", "550 5.1.1 <no-reply@acme.example>: Sender address rejected: undeliverable address", False, POSTFIX),
    Line("RCPT", "553 5.7.1 <no-reply@acme.example>: Sender address rejected: not owned by user acme", False, POSTFIX),
    Line("RCPT", "504 5.5.2 <no-reply@acme>: Sender address rejected: need fully-qualified address", False, POSTFIX),
    Line("RCPT", "554 5.7.1 <{to}>: Relay access denied", False, POSTFIX),
    Line("RCPT", "554 5.7.1 <{to}>: Recipient address rejected: Access denied", False, POSTFIX),
    Line("RCPT", "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", False, POSTFIX),  # noqa: E501
    Line("RCPT", "550 5.7.23 <{to}>: Recipient address rejected: SPF validation failed", False, POSTFIX),
    Line("RCPT", "550 5.1.1 <{to}>: Recipient address rejected: unverified address: Address lookup failed", False, POSTFIX),  # noqa: E501
    Line("RCPT", "450 4.1.1 <{to}>: Recipient address rejected: User unknown in local recipient table", False, POSTFIX),
    Line("RCPT", "450 5.1.1 <{to}>: Recipient address rejected: User unknown (soft_bounce)", False, POSTFIX),
    Line("RCPT", "550 relay not permitted", False, EXIM),
    Line("RCPT", "550-Verification failed for <no-reply@acme.example>|550-Unrouteable address|550 Sender verify failed", False, EXIM),  # noqa: E501
    Line("RCPT", "550-Verification failed for <no-reply@acme.example>|550-The mail server could not deliver mail to no-reply@acme.example.|550-The account or domain may not exist, they may be blacklisted, or missing the proper dns entries.|550 Sender verify failed", False, EXIM),  # noqa: E501
    Line("RCPT", "550 rejected because 192.0.2.1 is in a black list at zen.spamhaus.org", False, EXIM),
    Line("RCPT", "550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1)", False, EXIM),
    Line("RCPT", "550 Please turn on SMTP Authentication in your mail client.", False, "cPanel's Exim"),
    Line("RCPT", "550 Domain acme.example has exceeded the max emails per hour (100/100) allowed. Message discarded.", False, "cPanel's Exim"),  # noqa: E501
    Line("RCPT", "550 5.7.1 Unable to relay", False, EXCHANGE),
    Line("RCPT", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", False, EXCHANGE),
    Line("RCPT", "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", False, EXCHANGE),
    Line("RCPT", "550 5.5.0 Requested action not taken: mailbox unavailable", False, "Outlook.com: mailbox or policy"),
    Line("RCPT", "550 5.7.606 Access denied, banned sending IP [192.0.2.1]", False, EXCHANGE),
    Line("RCPT", "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP", False, EXCHANGE),
    Line("RCPT", "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required", False, EXCHANGE),
    Line("DATA", "550 5.1.8 Access denied, bad outbound sender AS(42003)", False, EXCHANGE),
    Line("DATA", "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied", False, EXCHANGE),  # noqa: E501
    Line("DATA", "550 5.7.60 SMTP; Client does not have permissions to send as this sender", False, EXCHANGE),
    Line("MAIL", "530 5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM", False, EXCHANGE),  # noqa: E501
    Line("RCPT", "550-5.2.1 The user you are trying to contact is receiving mail at a rate that|550 5.2.1 prevents additional messages from being delivered. - gsmtp", False, GMAIL),  # noqa: E501
    Line("RCPT", "452-4.2.2 The recipient's inbox is out of storage space.|452 4.2.2 Please direct the recipient to Google's help - gsmtp", False, GMAIL),  # noqa: E501
    Line("RCPT", "552 5.2.2 The email account that you tried to reach is over quota. - gsmtp", False, GMAIL),
    Line("RCPT", "550 5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address has not been registered. - gsmtp", False, GMAIL),  # noqa: E501
    Line("DATA", "550-5.7.26 This mail has been blocked because the sender is unauthenticated.|550 5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM. - gsmtp", False, GMAIL),  # noqa: E501
    Line("DATA", "550 5.4.5 Daily user sending limit exceeded. - gsmtp", False, GMAIL),
    Line("DATA", "550 5.4.6 Unrecognized Authentication Type - gsmtp", False, GMAIL),
    Line("DATA", "552 5.2.3 Your message exceeded Google's message size limits. - gsmtp", False, GMAIL),
    Line("DATA", "550-5.7.1 [192.0.2.1] Our system has detected that this message is likely|550 5.7.1 unsolicited mail. - gsmtp", False, GMAIL),  # noqa: E501
    Line("MAIL", "555 5.5.2 Syntax error. - gsmtp", False, GMAIL),
    Line("MAIL", "530 5.7.0 Must issue a STARTTLS command first. - gsmtp", False, GMAIL),
    Line("DATA", "554 Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: {to}", False, SES),  # noqa: E501
    Line("DATA", "454 Throttling failure: Maximum sending rate exceeded.", False, SES),
    Line("DATA", "454 Throttling failure: Daily message quota exceeded.", False, SES),
    Line("DATA", "554 Message rejected: Sending paused for this account.", False, SES),
    Line("DATA", "554 Transaction failed: Address contains illegal characters in user name", False, SES),
    Line("MAIL", "501 Invalid MAIL FROM address provided", False, SES),
    Line("MAIL", "530 Authentication required", False, SES),
    Line("RCPT", "550 Unauthenticated senders not allowed", False, SENDGRID),
    Line("MAIL", "403 You are not authorized to send from that email address", False, SENDGRID),
    Line("DATA", "550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.", False, SENDGRID),  # noqa: E501
    Line("RCPT", "451 Authentication failed: Maximum credits exceeded", False, SENDGRID),
    Line("RCPT", "452 Too many recipients received this hour", False, SENDGRID),
    Line("RCPT", "550 Requested mail action not taken: mailbox unavailable", False, SENDGRID),
    Line("DATA", "554 Free accounts are for test purposes only. Please upgrade or add {to} to your authorized recipients", False, MAILGUN),  # noqa: E501
    Line("DATA", "550 Domain acme.example is not allowed to send: Account Terminated", False, MAILGUN),
    Line("RCPT", "550 5.7.1 Relaying denied", False, MAILGUN),
    Line("DATA", "554 5.7.9 Message not accepted for policy reasons", False, YAHOO),
    Line("MAIL", "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list", False, YAHOO),  # noqa: E501
    Line("RCPT", "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", False, QMAIL),
    Line("RCPT", "552 5.2.2 Mailbox full", False, "RFC 3463"),
    Line("RCPT", "552 Requested mail action aborted: exceeded storage allocation", False, "RFC 5321"),
    Line("RCPT", "550 Requested action not taken: mailbox unavailable", False, "RFC 5321: also for policy reasons"),
    Line("RCPT", "550 {to}: over quota, mailbox not found for new mail", False, "made up: two reasons at once"),
    Line("RCPT", "550 Blocked by our security team|550 5.1.1 see the list", False, "made up: status on line two"),
    Line("RCPT", "550-Message refused|550 5.7.1 user unknown to the list of trusted senders", False, "made up"),
    Line("RCPT", "550-5.1.1 User unknown|550 5.7.1 Sent from 192.0.2.1", False, "made up: two statuses"),
    Line("RCPT", "550 Your account does not exist", False, "made up: ours"),
    Line("RCPT", "550", False, "nothing said"),
    Line("RCPT", "550 4.1.1 contradicts itself: no such user", False, "made up"),
    Line("RCPT", "550 Server 5.1.1.7 says no", False, "made up: an IP address is no status"),
    Line("MAIL", "550 5.1.1 User unknown", False, "a sender, whatever is said"),
    Line("MAIL", "550 No such user", False, "a sender, whatever is said"),
    Line("DATA", "554 5.6.0 Content refused", False, "RFC 3463"),
    Line("DATA", "550 5.7.20 No passing DKIM signature found", False, "RFC 7372"),
]  # fmt: skip


def test_the_table_is_wide_enough() -> None:
    """E4: the table has answers of every stage and of every big server, both kinds."""
    assert len(LINES) >= 100
    assert {line.stage for line in LINES} == {"MAIL", "RCPT", "DATA"}
    for source in (POSTFIX, EXIM, EXCHANGE, GMAIL, SES, SENDGRID, MAILGUN):
        assert [line for line in LINES if line.source == source], source


def test_what_is_final() -> None:
    """E4: an email is given up only for an answer that is known to be about the mailbox; whatever may be about us, or
    about this moment, or is not known, is tried again. Each answer comes from a real server, at its stage."""
    found = {}
    with Server() as server:
        mailer = SMTPMailer("127.0.0.1", server.port, sender=SENDER, security="none")
        for number, line in enumerate(LINES):
            to = f"u{number}@example.com"
            server.answers = {line.stage: line.answer.format(to=to).replace("|", "\r\n")}
            with pytest.raises(smtplib.SMTPException) as refused:
                mailer(a_message(to))
            found[line] = is_final(refused.value)
    assert [line for line, final in found.items() if final is not line.final] == []


@pytest.mark.parametrize(
    ("answer", "source"),
    [
        ("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", POSTFIX),
        ("521 5.7.1 Blocked by postscreen", POSTFIX),
        ("554 No SMTP service here", "RFC 5321, section 3.1"),
        ("421-4.7.0 [192.0.2.1] Our system has detected an unusual rate of|421 4.7.0 unsolicited mail", GMAIL),
        ("550 5.7.511 Access denied, banned sender [192.0.2.1]", EXCHANGE),
        ("550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1)", EXIM),
        ("501 5.0.0 Invalid domain name", SENDMAIL),
        ("504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname", POSTFIX),
        ("550 5.1.1 No such user", "made up"),
    ],
)
@pytest.mark.parametrize("moment", ["banner", "HELO"])
def test_nothing_is_final_before_a_recipient(moment: str, answer: str, source: str) -> None:
    """E4: what is said at the connection or to our greeting is about us, whatever it says."""
    assert source
    told = [answer.replace("|", "\r\n").encode() + b"\r\n"]
    manners = {"banner": lambda: told} if moment == "banner" else {"EHLO": lambda: told, "HELO": lambda: told}
    with Slow(manners, pause=0) as server:
        mailer = SMTPMailer("127.0.0.1", server.port, sender=SENDER, security="none")
        with pytest.raises(smtplib.SMTPException) as refused:
            mailer(a_message())
    assert not is_final(refused.value)
    assert described(refused.value).split()[1] == answer[:3]


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPConnectError(554, b"5.1.1 No such user"),
        smtplib.SMTPHeloError(550, b"5.1.1 No such user"),
        smtplib.SMTPSenderRefused(550, b"5.1.1 No such user", "a@b.example"),
        smtplib.SMTPResponseException(550, "5.1.1 No such user"),
        smtplib.SMTPAuthenticationError(535, b"5.1.1 No such user"),
        smtplib.SMTPRecipientsRefused({}),
        smtplib.SMTPRecipientsRefused({"a@b.example": "550 5.1.1"}),  # type: ignore[dict-item]
        smtplib.SMTPRecipientsRefused({"a@b.example": ("550", b"5.1.1")}),  # type: ignore[dict-item]
        smtplib.SMTPRecipientsRefused({"a@b.example": (550, None)}),  # type: ignore[dict-item]
        smtplib.SMTPRecipientsRefused({"a@b.example": (550, b"5.1.1 x"), "c@d.example": None}),  # type: ignore[dict-item]
        smtplib.SMTPDataError("550", b"5.1.1"),  # type: ignore[arg-type]
        smtplib.SMTPDataError(550, "5.1.1 " + "x" * 10**6 + " your"),
        requests.HTTPError("404 no such user"),
        RuntimeError("550 5.1.1 No such user"),
    ],
    ids=lambda error: f"{type(error).__name__} {error.args}"[:60],
)
def test_what_is_never_final(error: Exception) -> None:
    """E4: before a recipient was named, or from a library that says no more, nothing is known about the mailbox; an
    error of an odd shape raises nothing."""
    final = isinstance(error, smtplib.SMTPDataError) and error.smtp_code == 550
    assert is_final(error) is final
    assert described(error).startswith(type(error).__name__)


def response(status: int) -> requests.HTTPError:
    answer = requests.Response()
    answer.status_code = status
    return requests.HTTPError("for ann@example.com", response=answer)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (smtplib.SMTPAuthenticationError(535, b"5.7.8 ann@x: hunter2"), "SMTPAuthenticationError 535 5.7.8"),
        (smtplib.SMTPAuthenticationError(535, b"hunter2"), "SMTPAuthenticationError 535"),
        (
            smtplib.SMTPRecipientsRefused({"ann@x.example": (550, b"5.1.1 <ann@x.example> unknown")}),
            "SMTPRecipientsRefused 550 5.1.1",
        ),
        (smtplib.SMTPSenderRefused(553, b"5.7.1 no", "a@b"), "SMTPSenderRefused 553 5.7.1"),
        (smtplib.SMTPDataError(554, b"ann 1.2.3.4"), "SMTPDataError 554"),
        (smtplib.SMTPServerDisconnected("ann"), "SMTPServerDisconnected"),
        (ConnectionRefusedError(111, "ann"), "ConnectionRefusedError ECONNREFUSED"),
        (OSError(101, "ann"), "OSError ENETUNREACH"),
        (OSError("ann"), "OSError"),
        (TimeoutError("ann"), "TimeoutError"),
        (ssl.SSLError(1, "ann"), "SSLError"),
        (response(401), "HTTPError 401"),
        (urllib.error.HTTPError("http://ann", 503, "ann", Headers(), None), "HTTPError 503"),
        (type("A" * 300, (Exception,), {})(), "A" * 200),
    ],
    ids=str,
)
def test_what_is_said_of_a_failure(error: Exception, told: str) -> None:
    """M5: the class of a failure and the code that came with it are kept, and nothing that names a person."""
    assert described(error) == told


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")
def test_a_wrong_password(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """M5: a wrong SMTP password is told, in the log, in the delivery and in the audit trail, by class and code."""
    monkeypatch.setattr(smtplib.SMTP, "starttls", lambda self, **_: (220, b""))
    with (
        build(f"sqlite:///{tmp_path / 'host.sqlite3'}") as host,
        Server(users={"acme": "right"}, implicit=True) as server,
    ):
        mailer = SMTPMailer("127.0.0.1", server.port, sender=SENDER, username="acme", password="hunter2")
        with override(host.app, mailer=mailer), host.app.app_context():
            made: Any = host.invitations.invite("ann@example.com", tenant_id=host.tenant())
            assert (made.delivery.state, made.delivery.error) == ("queued", "SMTPAuthenticationError 535 5.7.8")
    assert "was not sent: SMTPAuthenticationError 535 5.7.8" in caplog.text
    assert "hunter2" not in caplog.text
    assert "ann@example.com" not in caplog.text


def test_the_cause_of_a_refusal_is_said(tmp_path: Path) -> None:
    """M5: of a ``MailRefused`` its cause is kept, with the code."""

    def refuse(message: Any) -> None:
        raise MailRefused("ann") from response(422)

    with build(f"sqlite:///{tmp_path / 'host.sqlite3'}") as host, override(host.app, mailer=refuse):
        with host.app.app_context():
            made: Any = host.invitations.invite("ann@example.com", tenant_id=host.tenant())
        assert (made.delivery.state, made.delivery.error) == ("failed", "HTTPError 422")
