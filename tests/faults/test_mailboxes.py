"""The mailbox that was checked is the one that every header, envelope and library names."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, message_from_string, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_invitations import ConfigurationError, MailRefused, SMTPMailer, to_email
from flask_invitations.addresses import address_of, key_of
from flask_invitations.current import override
from flask_invitations.mail import headers
from tests.hosts import Host, build
from tests.unit.mailserver import SENDER, Server, a_message
from tests.unit.test_recipes import mailer

#: Texts that some program reads as the address of somebody else, or of nobody we know.
NOT_ONE_MAILBOX = [
    "=?utf-8?b?dmljdGltQGV2aWwuZXhhbXBsZSwg?=@example.com",
    "=?utf-8?q?victim=40evil.example?=@example.com",
    "=?UTF-8?Q?a?=@example.com",
    "a=?b@example.com",
    "victim%evil.example@example.com",
    "evil.example!victim@example.com",
    "@relay.example:victim@evil.example",
    "@a.example,@b.example:ann@example.com",
    "/etc/passwd@example.com",
    "|/bin/sh@example.com",
    '"ann"@example.com',
    '"victim@evil.example"@example.com',
    "ann\\@example.com@evil.example",
    "ann(victim@evil.example)@example.com",
    "ann@example.com(evil.example)",
    "team:ann@example.com,bob@example.com;",
    "<ann@example.com>",
    "Ann <ann@example.com>",
    "ann@example.com>, <bob@example.com",
    "ann@example.com\nBcc: bob@example.com",
    "ann@example.com\x85Bcc: bob@example.com",
    "ann@example.com\u2028Bcc: bob@example.com",
    "ann＠example.com",
    "ann@ⓔxample.com",
    "ann@ｅxample.com",
    "ann@example。com",
    "ann@example．com",
    "ann@exa\u00admple.com",
    "ann@exa\u200dmple.com",
    "ann@exa\u200bmple.com",
    "ann@exa\ufe0fmple.com",
    "ann@exa\u034fmple.com",
    "ann@exa\u3164mple.com",
    "a\ufe0fnn@example.com",
    "a\u034fnn@example.com",
    "a\u3164nn@example.com",
    "a\U000e0100nn@example.com",
    "ann@example.com.",
    "ann@[127.0.0.1]",
    "ann@[IPv6:::1]",
    "ann@127.0.0.1",
    "ann@2130706433",
    "ann@test",
    "ann@example",
    "ann@localhost",
    "ann@mail.localhost",
    "ann@printer.local",
    "ann@x.onion",
    "ann@1.168.192.in-addr.arpa",
    "ann@xn--a.com",
    "ann@exa_mple.com",
]
#: Unusual, and one mailbox all the same.
ONE_MAILBOX = [
    "Ann.Lee+x=y@Example.COM",
    "o'neil@example.com",
    "b%b@example.com",
    "100%@example.com",
    "hi!@example.com",
    "a!b@example.com",
    "#$&'*+/=?^_`{|}~-@example.com".replace("=?", "=-"),
    "a" * 64 + "@" + ".".join(["b" * 60] * 3) + ".com",
    "ann@bücher.example",
    "ann@xn--bcher-kva.example",
    "ann@straße.example",
    "jörg@example.com",
    "用户@例え.jp",
    "ann@app.test",
]


@pytest.mark.parametrize("text", NOT_ONE_MAILBOX, ids=ascii)
def test_refused_when_read(text: str) -> None:
    """M1: what any program could read as another mailbox is no address."""
    assert address_of(text) is None


def written(email: EmailMessage) -> Any:
    """The email as it arrives; the standard library reads raw UTF-8 in headers from text only."""
    return message_from_string(email.as_bytes().decode(), policy=policy.default)


@pytest.mark.parametrize("text", ONE_MAILBOX, ids=ascii)
def test_one_mailbox_everywhere(text: str) -> None:
    """M1: the header as it is written, read by two parsers, names exactly the address that was checked."""
    found = address_of(text)
    assert found is not None
    email = to_email(a_message(found.mailbox), SENDER)
    assert key_of(found.mailbox) == found.key
    assert [each.addr_spec for each in written(email)["To"].addresses] == [found.mailbox]
    (line,) = [line for line in email.as_bytes().decode().split("\r\n") if line.startswith("To:")]
    assert getaddresses([line[4:]]) == [("", found.mailbox)]


@given(st.emails() | st.from_regex(r"[!-~]{1,20}@[a-z]{1,8}\.(com|example)", fullmatch=True))
def test_any_address(text: str) -> None:
    """M1: any text is refused, or both parsers read it back from the header as itself."""
    found = address_of(text)
    if found is not None:
        email = to_email(a_message(found.mailbox), SENDER)
        assert [each.addr_spec for each in written(email)["To"].addresses] == [found.mailbox]


def test_headers_are_looked_at_after_building(monkeypatch: pytest.MonkeyPatch) -> None:
    """M1: an email whose header came to name another mailbox, by whatever fault, is refused, never handed over."""
    elsewhere = headers._mailbox("To", "", "victim@evil.example")
    monkeypatch.setattr(
        headers, "_mailbox", lambda header, *_: elsewhere if header == "To" else "no-reply@acme.example"
    )
    with pytest.raises(MailRefused, match="another mailbox") as refused:
        to_email(a_message(), SENDER)
    assert "evil" not in str(refused.value)


@pytest.mark.parametrize("to", ["", "nobody", NOT_ONE_MAILBOX[0], "Ann <" + NOT_ONE_MAILBOX[0] + ">", "a@b.c, d@e.fg"])
def test_a_message_to_nobody(to: str) -> None:
    """M1: a host's own ``Message`` that is to no address is refused, the text unsaid."""
    with pytest.raises(MailRefused) as refused:
        to_email(a_message(to), SENDER)
    assert not to or to not in str(refused.value)


@pytest.mark.parametrize(
    ("sender", "name", "address"),
    [
        ("no-reply@acme.example", "", "no-reply@acme.example"),
        ("<no-reply@acme.example>", "", "no-reply@acme.example"),
        ("Acme <no-reply@acme.example>", "Acme", "no-reply@acme.example"),
        ('"Acme, Inc. \\"A\\"" <no-reply@acme.example>', 'Acme, Inc. "A"', "no-reply@acme.example"),
        ("Acme, Inc. <no-reply@acme.example>", "Acme, Inc.", "no-reply@acme.example"),
        ("Grüße, Inc. (x); <no-reply@acme.example>", "Grüße, Inc. (x);", "no-reply@acme.example"),
        ("evil@evil.example, x <no-reply@acme.example>", "evil@evil.example, x", "no-reply@acme.example"),
        ("<evil@evil.example> x <no-reply@acme.example>", "<evil@evil.example> x", "no-reply@acme.example"),
        ("x\r\nBcc: evil@evil.example <no-reply@acme.example>", "x Bcc: evil@evil.example", "no-reply@acme.example"),
        ("x\u2028Bcc: y\x85z <no-reply@acme.example>", "x Bcc: y z", "no-reply@acme.example"),
        ("=?utf-8?q?evil=40evil.example=2C?= <no-reply@acme.example>", "= ?utf-8?q?evil=40evil.example=2C?=", None),
        ("Büro <no-reply@bücher.example>", "Büro", "no-reply@xn--bcher-kva.example"),
        ("root@localhost", "", "root@localhost"),
        ("Acme <mail@intranet.local>", "Acme", "mail@intranet.local"),
    ],
    ids=ascii,
)
def test_senders(sender: str, name: str, address: str | None) -> None:
    """M1: whatever the name of a sender is made of, the From has that name and one address: that in the brackets."""
    mail = written(to_email(a_message(), sender))
    (found,) = mail["From"].addresses
    assert (found.display_name, found.addr_spec) == (name, address or "no-reply@acme.example")
    assert [key for key in mail.keys() if key in ("Bcc", "Cc")] == []  # noqa: SIM118 - no mapping
    assert mail["From"].defects == ()


@pytest.mark.parametrize(
    "sender",
    ["", "Acme", "a@b.example, c@d.example", "a@b.example <x>", "Acme <=?utf-8?q?a?=@b.example>", "<a@b@c.de>"],
)
def test_senders_that_are_none(sender: str) -> None:
    """M1: a sender that is not one mailbox is a fault of the configuration, told when the mailer is made."""
    with pytest.raises(ConfigurationError, match="sender"):
        SMTPMailer("mail.example.com", sender=sender)
    with pytest.raises(ConfigurationError, match="sender"):
        to_email(a_message(), sender)


def test_an_international_sender() -> None:
    """M1: envelope and From of an international sender's domain are the same, in ASCII."""
    with Server() as server:
        SMTPMailer("127.0.0.1", server.port, sender="Büro <mail@bücher.example>", security="none")(a_message())
    assert server.envelopes[0].mail_from == "mail@xn--bcher-kva.example"
    assert server.received()["From"].addresses[0].addr_spec == "mail@xn--bcher-kva.example"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("mailboxes")
    with build(f"sqlite:///{folder / 'host.sqlite3'}", config={"INVITATIONS_NOTIFY_INVITER": True}) as built:
        yield built


@pytest.mark.parametrize("text", NOT_ONE_MAILBOX[:6], ids=ascii)
def test_never_stored(host: Host, text: str) -> None:
    """M1: such an address is refused when somebody is invited: nothing is stored, nothing is sent."""
    admin = host.user(f"{uuid.uuid4().hex}@example.com", role="admin")
    before = len(host.outbox.messages)
    answer = host.client(admin).post("/api/v1/users/invite", json={"email": text})
    assert (answer.status_code, answer.json and answer.json["code"]) == (422, "invalid-request")
    assert len(host.outbox.messages) == before


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (" Boss@example.com\r\n", "Boss@example.com"),
        ("=?utf-8?q?victim=40evil.example?=@example.com", None),
        ("victim%evil.example@example.com", None),
        ("boss@example.com\r\nBcc: evil@example.com", None),
        ("Boss <boss@example.com>", None),
    ],
    ids=ascii,
)
def test_inviters_are_looked_at_too(host: Host, stored: str, told: str | None) -> None:
    """M1: the address of an inviter, which stands in the host's table unread, gets a notice only if it is one mailbox,
    and then as that mailbox."""
    admin = host.user(stored, role="admin")
    email = f"{uuid.uuid4().hex}@example.com"
    with host.app.app_context():
        inviter = host.db.session.get(host.User, admin)
        host.invitations.invite(email, inviter=inviter)
        token = host.outbox.token_to(email)
        del host.outbox.messages[:]
        host.invitations.decline(token)
    assert [message.to for message in host.outbox.messages] == ([] if told is None else [told])
    with host.app.app_context():
        host.db.session.delete(host.db.session.get(host.User, admin))
        host.db.session.commit()


@pytest.mark.parametrize("stored", ["=?utf-8?q?a?=@example.com", "other@example.com", "Ann <ann@example.com>"])
def test_rows_that_were_changed(host: Host, stored: str) -> None:
    """M1: a row whose address is not the one that was checked sends nothing: the email fails, named by its class."""
    model = host.invitations.models.Invitation

    def down(message: Any) -> None:
        raise OSError("down")

    email = f"{uuid.uuid4().hex}@example.com"
    with host.app.app_context(), override(host.app, mailer=down):
        info = host.invitations.invite(email, tenant_id=host.tenant())
    with host.app.app_context():
        row = host.db.session.get(model, info.id)
        assert row is not None
        row.email = stored
        host.db.session.commit()
        host.clock.tick(timedelta(minutes=5))
        before = len(host.outbox.messages)
        host.invitations.deliver()
        assert len(host.outbox.messages) == before
        found = host.invitations.get(info.id)
        assert found.delivery is not None
        assert (found.delivery.state, found.delivery.error) == ("failed", "MailRefused")


@pytest.mark.parametrize("library", ["flask-mail", "flask-mailman"])
def test_a_library_is_given_no_address_that_it_would_change(library: str) -> None:
    """M1: both libraries write a local part beyond ASCII as an encoded word, which is another mailbox: refused."""
    with Server(options={"enable_SMTPUTF8": True}) as server, mailer(library, server) as send:
        with pytest.raises(MailRefused):
            send(a_message("jörg@example.com"))
        send(a_message("jo@xn--bcher-kva.example"))
    assert [envelope.rcpt_tos for envelope in server.envelopes] == [["jo@xn--bcher-kva.example"]]


def test_an_address_beyond_ascii_is_never_encoded() -> None:
    """M1: the header of an address beyond ASCII has it raw (RFC 6532): an encoded word would be another mailbox."""
    raw = to_email(a_message("jörg@example.com"), SENDER).as_bytes()
    assert b"\r\nTo: j\xc3\xb6rg@example.com\r\n" in raw
    with Server(options={"enable_SMTPUTF8": True}) as server:
        SMTPMailer("127.0.0.1", server.port, sender=SENDER, security="none")(a_message("jörg@example.com"))
    assert b"To: j\xc3\xb6rg@example.com\r\n" in server.envelopes[0].content


# Lines and bytes

JAPANESE = "日本語アプリケーション" * 9
LONG_LINK = "<https://app.example.com/stop/" + "x" * 300 + ">"


def an_email(**how: Any) -> EmailMessage:
    sender = how.pop("sender", SENDER)
    return to_email(replace(a_message(), **how), sender)


@pytest.mark.parametrize("words", [JAPANESE[:90], "Grüße, " * 12 + "x", "é" * 90, "😀" * 90, "a" * 89 + "ü"], ids=ascii)
def test_encoded_words_are_short(words: str) -> None:
    """M3: encoded words have at most 75 characters, their lines 76 (RFC 2047), and they read back as the words."""
    email = an_email(sender=f"{words} <no-reply@acme.example>", subject=f"{words} invited you")
    head = email.as_bytes().partition(b"\r\n\r\n")[0].decode("ascii")
    encoded = [line for line in head.split("\r\n") if "=?" in line]
    assert encoded
    assert max(map(len, encoded)) <= 76
    assert max(len(word) for line in encoded for word in line.split() if word.startswith("=?")) <= 75
    mail = written(email)
    sender = head.replace("\r\n", "").partition("From: ")[2].partition(" <no-reply@acme.example>")[0]
    assert str(make_header(decode_header(sender))) == words.strip()
    assert mail["Subject"] == f"{words} invited you"
    assert mail.defects == []


def test_long_links_stay_whole() -> None:
    """M3: a long link in a header is on one line as it is, whatever stands beside it; no line is longer than 998."""
    plain = {"List-Unsubscribe": LONG_LINK, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    email = an_email(headers={**a_message().headers, **plain}, subject=JAPANESE)
    raw = email.as_bytes()
    assert f"List-Unsubscribe: {LONG_LINK}\r\n".encode() in raw
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw
    assert max(map(len, raw.split(b"\r\n"))) <= 998


@pytest.mark.parametrize("value", ["x" * 5000, "ü" * 5000, "x " * 2000, "ü x" * 900, "\ud800", "a" * 990 + " ü"])
def test_no_header_is_too_long_for_a_line(value: str) -> None:
    """M3: any value of any header keeps its lines under 998 octets and in ASCII."""
    raw = an_email(headers={"X-Note": value}, subject=value).as_bytes()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.isascii()


TEXTS = {
    "German": "Grüße aus Köln\n" * 20,
    "Japanese": "日本語の招待です。\n" * 50,
    "a long line": "x" * 5000 + "\n",
    "a long line beyond ASCII": "ü" * 5000 + "\n",
    "dots": ".\n..\n.hidden\n\n.\n",
    "dots beyond ASCII": ".\nü\n.\n..ü\n",
    "From": "From here\n>From there\n",
    "trailing blanks": "ü \nx \t\n",
    "bare returns": "one\rtwo\r\nthree\n",
    "controls": "a\x0b\x1c\x1eb\x85\u2028c\n",
}


@pytest.mark.parametrize("eight_bits", [True, False])
def test_bodies_of_seven_bits(eight_bits: bool) -> None:
    """M3: also a server without 8BITMIME gets bytes of 7 bits in lines under 998, and all of the text arrives: leading
    dots, blanks at line ends, long lines."""
    with Server(options={"decode_data": not eight_bits, "enable_SMTPUTF8": False}) as server:
        mailer = SMTPMailer("127.0.0.1", server.port, sender=SENDER, security="none")
        for text in TEXTS.values():
            mailer(replace(a_message(), text=text, html=f"<pre>{text}</pre>"))
    assert len(server.envelopes) == len(TEXTS)
    for envelope, (name, text) in zip(server.envelopes, TEXTS.items(), strict=True):
        content = envelope.content if isinstance(envelope.content, bytes) else envelope.content.encode("ascii")
        assert content.isascii(), name
        assert max(map(len, content.replace(b"\r\n", b"\n").split(b"\n"))) <= 998, name
        mail: Any = message_from_bytes(content, policy=policy.default)
        arrived = mail.get_body(("plain",)).get_content()
        assert arrived.replace("\r\n", "\n").split("\n") == text.replace("\r\n", "\n").replace("\r", "\n").split(
            "\n"
        ), name


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b", "\udcff", "\0" * 1000, "ü\0\ud83d"], ids=ascii)
def test_text_that_no_email_can_carry(bad: str) -> None:
    """M3: NUL and half characters cannot keep an email from being built, wherever they come from."""
    email = an_email(subject=bad, text=bad, html=bad, headers={"X-Note": bad}, sender=f"{bad} <a@acme.example>")
    raw = email.as_bytes()
    assert b"\0" not in raw
    assert raw.isascii()
    mail = written(email)
    assert mail.defects == []
    mail.get_body(("plain",)).get_content().encode()


@pytest.mark.parametrize("words", ["日本" * 50_000, "x" * 100_000, "é\u0301" * 50_000, "=?" * 50_000, "<" * 50_000])
def test_building_is_cheap(words: str) -> None:
    """M3, W5: the time to build an email does not grow with what a name or subject is made of."""
    started = time.process_time()
    an_email(subject=words, sender=f"{words} <a@acme.example>").as_bytes()
    assert time.process_time() - started < 1
