"""What is mailed: the words of an invitation, whatever its parts are made of, and headers that are only ours."""

from __future__ import annotations

import re
import unicodedata
import uuid
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import FileSystemLoader

from flask_invitations import Message, to_email
from flask_invitations.mail import one_line, plain
from flask_invitations.state import override
from tests.hosts import Host, build

NEW = "new@example.com"
SENDER = "Acme <no-reply@acme.example>"
#: What mail programs may not be given to show or to act on.
FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")

HOSTILE = {
    "line break": "Acme\r\nBcc: evil@example.com",
    "bare newline": "Acme\nBcc: evil@example.com\n\nHello",
    "bare return": "Acme\rBcc: evil@example.com",
    "NUL and escapes": "Ac\x00me\x1b[31m\x85\x9b",
    "Unicode line breaks": "Acme\u2028Bcc: evil@example.com\u2029",
    "encoded word": "=?utf-8?q?=0ABcc:evil@example.com?=",
    "encoded word in base64": "=?utf-8?b?CkJjYzogZXZpbEBleGFtcGxlLmNvbQ==?=",
    "encoded word in pieces": "=\u200b?utf-8?q?=0ABcc:evil@example.com?\u200b=",
    "bidi": "\u202eecmA\u202c \u2066evil\u2069 \u200eA\u200f",
    "invisible": "A\u200bc\u200dm\ufeffe\u00ad",
    "HTML": "<img src=x onerror=alert(1)><a href='http://evil.example'>Acme</a>",
    "template": "{{ config }}{% raw %}{# #}",
    "link": "http://evil.example/login www.evil.example evil@evil.example",
    "lone surrogate": "Acme \ud800 Corp",
    "only invisible": "\u200b\u202e",
}


def mailed(
    folder: Path, *, config: dict[str, Any] | None = None, inviter: str = "admin@example.com", **how: Any
) -> Message:
    """The mail of one invitation, made in a host of its own."""
    name = how.pop("name", "Acme")
    message, url = how.pop("message", None), f"sqlite:///{folder / uuid.uuid4().hex}.sqlite3"
    with build(url, config=config, tenant_name=lambda tenant_id: name) as host:
        host.clock.set(datetime(2026, 3, 1, 9, 5, 30, tzinfo=timezone.utc))
        _invite(host, inviter, message=message, **how)
        (made,) = host.outbox.messages
        return made


def _invite(host: Host, inviter: str, **how: Any) -> None:
    admin = host.user(inviter, role="admin")
    with host.app.app_context():
        host.invitations.invite(NEW, inviter=host.db.session.get(host.User, admin), **how)


def parsed(message: Message) -> Any:
    """The message as it arrives: serialised, then read as a mail program would."""
    return message_from_bytes(to_email(message, SENDER).as_bytes(), policy=policy.default)


def words(html: str) -> str:
    """What a reader of the HTML part sees, as one line."""
    body = re.sub(r"<head>.*?</head>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<.*?>", " ", body, flags=re.DOTALL)).split())


# What it says


def test_both_parts_say_the_same(tmp_path: Path) -> None:
    """Text and HTML name the tenant, the inviter, the role, the message, the true expiry in UTC, the link, and
    what to do if it was not expected."""
    message = mailed(tmp_path, role="manager", message="Hello!\nSee you", expires_in=3600 * 30)
    assert message.subject == "admin@example.com invites you to Acme"
    for text in (" ".join(message.text.split()), words(message.html)):
        for part in (
            "admin@example.com",
            "join Acme as manager",
            message.accept_url,
            "2 March 2026, 15:05 UTC",
            "ignore it",
        ):
            assert part in text, part
        assert "decline on the same page" in text
        assert "Test Host" in text
    assert "> Hello!\n> See you\n" in message.text
    assert re.search(r"<blockquote [^>]*white-space: pre-line[^>]*>Hello!\nSee you</blockquote>", message.html)


def test_without_a_message(tmp_path: Path) -> None:
    """No message: no empty quotation."""
    message = mailed(tmp_path)
    assert ">" not in message.text
    assert "blockquote" not in message.html
    assert "\n\n\n" not in message.text


def test_the_system_invites(tmp_path: Path) -> None:
    """E2: nobody is named where nobody invited, or where the inviter's address is none."""
    for inviter in ("not an address\r\nBcc: evil@example.com", "<b>@example.com"):
        message = mailed(tmp_path, inviter=inviter)
        assert message.subject == "You are invited to Acme"
        for text in (message.text, message.html):
            assert "You are invited to join" in text
            assert "Bcc" not in text
            assert "<b>@" not in text


def test_the_link_is_the_only_link(tmp_path: Path) -> None:
    """E1, E2: the HTML part leads nowhere but to the link, loads nothing, and shows the link as text too."""
    message = mailed(tmp_path, message="http://evil.example www.evil.example", name="evil.example")
    assert re.findall(r'href="(.*?)"', message.html) == [message.accept_url]
    assert re.search(r"src=|url\(|<img|<link|<script|@import|mailto:", message.html) is None
    assert message.html.count(message.accept_url) == 2
    assert re.findall(r"https?://\S+", message.text) == [message.accept_url]
    assert "evil.example" not in message.text + message.html


def test_the_link_survives_its_way(tmp_path: Path) -> None:
    """The link arrives whole: neither folded nor changed, and escaped in HTML only."""
    settings = {"INVITATIONS_ACCEPT_URL": "https://app.example.com/" + "long/" * 30 + "?a=1&t={token}"}
    message = mailed(tmp_path, config=settings, message="Zoë, grüß dich")
    mail = parsed(message)
    assert message.accept_url in mail.get_body(("plain",)).get_content().splitlines()
    html = mail.get_body(("html",)).get_content()
    assert [unescape(link) for link in re.findall(r'href="(.*?)"', html)] == [message.accept_url]
    assert "?a=1&amp;t=" in html


# Hostile parts


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("where", ["tenant", "app", "message"])
def test_hostile_words(tmp_path: Path, name: str, where: str) -> None:
    """E2, E3, E8, K4: whatever the tenant, the app or the inviter's message is called, the mail has our headers only,
    each on one line, no control or invisible character, no markup, no template's doing and no second link."""
    if where == "message":
        message = mailed(tmp_path, message=re.sub("[\x00\ud800]", "", name))
    elif where == "tenant":
        message = mailed(tmp_path, name=name)
    else:
        message = mailed(tmp_path, config={"INVITATIONS_APP_NAME": name})
    mail = parsed(message)
    assert mail.keys() == [
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Auto-Response-Suppress",
        "MIME-Version", "Content-Type",
    ]  # fmt: skip
    assert (str(mail["To"]), mail.defects) == (NEW, [])
    text, html = (mail.get_body((kind,)).get_content().replace("\r\n", "\n") for kind in ("plain", "html"))
    for part in (str(mail["Subject"]), text, html):
        assert FORBIDDEN.search(part) is None
        assert "evil.example" not in part
        assert "@example.com\n" not in part
    assert "\n" not in str(mail["Subject"])
    assert "=?" not in message.subject
    assert re.search(r"<img|<a href='|onerror=alert\(1\)>(?!&)", html) is None
    if "{{" in name:
        assert "{{ config }}" in text
    assert re.findall(r"https?://[^\s<\"]+", text) == [message.accept_url]


def test_a_hosts_own_subject_is_still_one_header(tmp_path: Path) -> None:
    """E3, E8: a host's subject template that uses a raw word cannot add a header either."""
    with build(f"sqlite:///{tmp_path / 'own.sqlite3'}") as host:
        folder = tmp_path / "templates/invitations/mail"
        folder.mkdir(parents=True)
        (folder / "invitation.subject.txt").write_text("{{ invitation.message }}\n")
        host.app.jinja_loader = FileSystemLoader(tmp_path / "templates")
        for number, hostile in enumerate(HOSTILE.values()):
            raw, address = re.sub("[\x00\ud800]", "", hostile) + ".", f"new{number}@example.com"
            with host.app.app_context():
                host.invitations.invite(address, tenant_id=host.tenant(), message=raw)
            mail = parsed(host.outbox.messages[-1])
            assert "Bcc" not in mail
            assert FORBIDDEN.search(str(mail["Subject"])) is None
            assert mail["To"] == address


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_any_words_are_made_plain(text: str) -> None:
    """E2, E3, E8, K4: no character that controls or hides, no encoded word and no link is left in any words, and
    what was plain keeps its letters."""
    made = plain(text)
    assert not [c for c in made if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"]
    assert not [c for c in made if unicodedata.category(c) == "Cf" and c != "\u2060"]
    assert "=?" not in made
    assert "://" not in made
    assert re.search(r"[^\W_]\.[^\W_]", made) is None
    letters = [c for c in text if c.isalpha()]
    assert [c for c in made if c.isalpha()] == letters
    assert len(one_line(text).splitlines()) <= 1


# The envelope and the headers


def test_headers(tmp_path: Path) -> None:
    """The headers tell robots not to answer, and let a provider recognise a second try."""
    message = mailed(tmp_path)
    mail = parsed(message)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Auto-Response-Suppress"] == "All"
    assert mail["Message-ID"] == f"<{message.id}@app.example.com>"
    assert mail["From"].addresses[0].addr_spec == "no-reply@acme.example"
    assert abs(mail["Date"].datetime - datetime.now(timezone.utc)).total_seconds() < 60
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert [part.get_content_charset() for part in mail.iter_parts()] == ["utf-8", "utf-8"]


def test_a_message_without_an_id_gets_one(tmp_path: Path) -> None:
    """``to_email`` serves a host's own messages too."""
    message = replace(mailed(tmp_path), headers={})
    assert str(to_email(message, SENDER)["Message-ID"]).startswith("<")


def test_a_retry_is_the_same_mail(tmp_path: Path) -> None:
    """R13: a mail that is tried again has the same id, link and words."""
    with build(f"sqlite:///{tmp_path / 'retry.sqlite3'}") as host:
        seen: list[Message] = []

        def mailer(message: Message) -> None:
            seen.append(message)
            raise OSError("down")

        with override(host.app, mailer=mailer), host.app.app_context():
            host.invitations.invite(NEW, tenant_id=host.tenant(), message="Hello")
            host.clock.tick(timedelta(hours=1))
            host.invitations.deliver()
        first, second = seen
        assert (first.id, first.accept_url, first.headers) == (second.id, second.accept_url, second.headers)
        assert (first.subject, first.text, first.html) == (second.subject, second.text, second.html)


def test_a_message_shows_no_link(tmp_path: Path) -> None:
    """D2: the ``repr`` of a message, which ends up in logs, has neither link nor words."""
    message = mailed(tmp_path)
    shown = repr(message)
    assert message.accept_url not in shown
    assert message.accept_url.partition("#")[2] not in shown
    assert "ignore it" not in shown


def test_an_international_address(tmp_path: Path) -> None:
    """A mail goes to the ASCII form of the stored domain, which every server takes; the local part is as typed."""
    with build(f"sqlite:///{tmp_path / 'international.sqlite3'}") as host, host.app.app_context():
        host.invitations.invite("Jo@Bücher.example", tenant_id=host.tenant())
        message = host.outbox.messages[0]
    assert message.to == "Jo@xn--bcher-kva.example"
    assert to_email(message, SENDER)["To"].addresses[0].addr_spec == message.to
