"""Emails that carried the wrong link, somebody else's words, or went to too many."""

from __future__ import annotations

import re
import smtplib
import ssl
from datetime import timedelta
from email import message_from_bytes, policy
from html.parser import HTMLParser
from typing import Any

import pytest
import trustme
from flask import Flask

from flask_invitations import ConfigurationError, Invitations, SMTPMailer, to_email
from tests.hosts import Host, build
from tests.http.tools import INVITE, LIST, accept, invite, make, people, refused, set_columns, snapshot, unchanged
from tests.queued import deliver, mails
from tests.unit.mailserver import SENDER, Server, a_message, certified

EVIL = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "Forwarded": "host=evil.example;proto=https",
    "X-Forwarded-Server": "evil.example",
    "X-Original-Host": "evil.example",
}
#: What an attacker calls an organization or themselves.
LURE = '<a href="https://evil.example/">Claim</a> https://evil.example/prize www.evil.example evil.example'


class Links(HTMLParser):
    """Where an HTML text leads, and what it is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.targets += [value or "" for name, value in attrs if name in ("href", "src", "action")]


@pytest.mark.parametrize("call", ["invite", "resend", "desk"])
def test_link_leads_where_the_setting_says(local: Host, call: str) -> None:
    """E1: whatever host name, forwarded or not, and whatever ``Origin`` a request claims, the emailed link leads to the
    configured address."""
    case = make(local, "pending")
    client, headers = local.client(case.admin), {**EVIL, "Origin": "https://app.example.com"}
    if call == "invite":
        assert client.post(INVITE, json={"email": "new@example.com"}, headers=headers).status_code == 201
    elif call == "resend":
        assert client.post(f"{case.url}/resend", headers=headers).status_code == 200
    else:
        page = client.get("/invitations/").text
        seal = page.partition('name="seal" value="')[2].partition('"')[0]
        form = {"seal": seal, "email": "desk@example.com", "role": "user"}
        assert client.post("/invitations/invite", data=form, headers=headers).status_code in (200, 302, 303)
    assert len(local.outbox.messages) == 2
    message = local.outbox.messages[-1]
    assert str(message.accept_url).startswith("https://app.example.com/invitations/accept#")
    assert "evil" not in message.text + message.html + str(message.headers)


@pytest.mark.parametrize("url", [None, "", "/accept#{token}", "//x.example/#{token}", "http://x.example/#{token}"])
def test_no_address_no_start(local: Host, url: Any) -> None:
    """E1: without an absolute https address nothing starts; there is no fallback to the request."""
    app = Flask("bare")
    app.config.update(SECRET_KEY="k" * 32, SQLALCHEMY_DATABASE_URI="sqlite://")
    if url is not None:
        app.config["INVITATIONS_ACCEPT_URL"] = url
    with pytest.raises(ConfigurationError, match="ACCEPT_URL"):
        Invitations().init_app(app, local.db, user_model=local.User, mailer=local.outbox, current_user=lambda: None)


def test_nobodys_words_become_a_link(local: Host) -> None:
    """E2: the name of an organization, the name of an inviter and their message are shown as text: no tag of theirs,
    and nothing that a mail program would make a link of, in the text part, the HTML part or the subject."""
    tenant, admin, *_ = people(local, LURE)
    set_columns(local, local.User, admin, name=f"IT Support {LURE}")
    invite(local.client(admin), message=f"Urgent! {LURE}\njavascript:alert(1)\ndata:text/html,x")
    assert tenant
    (message,) = local.outbox.messages
    seen = Links(message.html)
    outward = [each for each in seen.targets if not each.startswith("https://app.example.com/invitations/accept#")]
    assert outward == []
    for part in (message.text, message.subject, re.sub(r"<[^>]+>", "", message.html)):
        assert "://evil" not in part
        assert not re.search(r"(?<![\w\u2060])(?:www\.)?evil\.example", part), part
    assert "<a href=&#34;" not in message.subject
    page = local.client().post("/invitations/open", data={"token": local.outbox.token_to("guest@example.com")})
    assert [each for each in Links(page.text).targets if "evil" in each] == []


@pytest.mark.parametrize(
    "trick", ["\r\nBcc: evil@example.com", "\nX-Evil: 1", "\r", "\u2028Bcc: evil@example.com", "\u0085", "\x00", "\x0b"]
)
def test_no_name_begins_a_header(local: Host, trick: str) -> None:
    """E3: line ends and control characters in a name, of whatever kind, make no header and end none; in an address they
    are refused."""
    _, admin, *_ = people(local)
    set_columns(local, local.User, admin, name=f"Ann{trick} Lee")
    set_columns(local, local.Tenant, local.tenant(), name=f"Acme{trick} Inc")
    invite(local.client(admin))
    (message,) = local.outbox.messages
    raw = to_email(message, SENDER).as_bytes()
    mail = message_from_bytes(raw, policy=policy.default)
    assert {name.lower() for name in mail}.isdisjoint({"bcc", "cc", "x-evil"})
    assert str(mail["To"]) == "guest@example.com"
    head = raw.partition(b"\r\n\r\n")[0]
    assert all(re.match(rb"[\w-]+: |[ \t]", line) for line in head.split(b"\r\n"))
    answer = local.client(admin).post(INVITE, json={"email": f"a@example.com{trick}"})
    if trick.strip():
        assert answer.status_code in (400, 422)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_scanner_that_follows_every_link_changes_nothing(local: Host, method: str) -> None:
    """E4: a mail scanner asks for the link and for every address on the page that it finds, with and without the token:
    nothing is accepted, declined or revoked, no row changes, and no account is deleted."""
    case = make(local, "pending")
    client, before = local.client(), snapshot(local)
    found = Links(client.get("/invitations/accept").text).targets
    found += Links(client.post("/invitations/open", data={"token": case.token}).text).targets
    found += [f"/invitations/{page}" for page in ("open", "accept", "decline", "fresh", "accepted", "declined")]
    found += [PATH + f"/{call}" for call in ("accept-invite", "decline-invite", "accept-invite/preview")]
    assert len(found) > 12
    for path in dict.fromkeys(found):
        for tail in ("", f"?token={case.token}&password=x", f"/{case.token}"):
            client.open(path + tail, method=method, data={"token": case.token}, buffered=True)
    client.open(f"{case.url}", method=method)
    assert snapshot(local) == before
    assert accept(client, case.token).status_code == 201


PATH = "/api/v1/users"


@pytest.mark.parametrize("where", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_no_parameter_sends_the_browser_away(local: Host, where: str) -> None:
    """E6: neither ``next`` nor any of its names sends an invitee or a manager to another site, before or after they
    have answered."""
    case = make(local, "pending")
    names = dict.fromkeys(("next", "return_to", "redirect", "redirect_uri", "url", "continue"), where)
    client = local.client()
    answers = [
        client.get("/invitations/open", query_string=names),
        client.post("/invitations/open", data={"token": "x", **names}, query_string=names),
        client.post(
            "/invitations/accept",
            data={"token": case.token, "password": "correct horse battery staple", **names},
            query_string=names,
        ),
        client.get("/invitations/accepted", query_string=names),
        local.client(case.admin).get("/invitations/", query_string=names),
    ]
    for answer in answers:
        assert (answer.headers.get("Location") or "/invitations").startswith("/invitations")
        assert [each for each in Links(answer.text).targets if "evil" in each or "alert" in each] == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("flaw", ["unknown authority", "another name", "no TLS at all"])
def test_no_email_to_a_server_that_proves_nothing(
    security: Any, flaw: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E7: a mail server whose certificate nobody trusts, or that is another's, or that claims to know no TLS, gets no
    email."""
    authority = trustme.CA()
    if flaw != "unknown authority":
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    name = "mail.example.com" if flaw == "another name" else "localhost"
    context = None if flaw == "no TLS at all" else certified(authority, name)
    with Server(context, implicit=context is not None and security == "tls") as server:
        mailer = SMTPMailer("localhost", server.port, sender=SENDER, security=security, timeout=5)
        with pytest.raises((ssl.SSLError, smtplib.SMTPException, OSError)):
            mailer(a_message())
    assert server.envelopes == []
    with pytest.raises(ConfigurationError):
        SMTPMailer("mail.example.com", 25, sender=SENDER, security="none")


@pytest.mark.parametrize(
    "word", ["=?utf-8?q?=0ABcc:_evil@example.com?=", "=?utf-8?b?CkJjYzogZXZpbEBleGFtcGxlLmNvbQ==?="]
)
def test_no_encoded_word_is_decoded_into_a_header(local: Host, word: str) -> None:
    """E8: an encoded word in a name stays the text that it is: no Bcc comes of it; in an address it is refused."""
    _, admin, *_ = people(local)
    set_columns(local, local.User, admin, name=f"Ann {word}")
    set_columns(local, local.Tenant, local.tenant(), name=word)
    invite(local.client(admin))
    (message,) = local.outbox.messages
    raw = to_email(message, SENDER).as_bytes()
    mail = message_from_bytes(raw, policy=policy.default)
    assert {name.lower() for name in mail}.isdisjoint({"bcc", "cc"})
    assert "\nBcc:" not in raw.decode()
    assert "\n" not in str(mail["Subject"])
    refused(local.client(admin).post(INVITE, json={"email": f"{word}@example.com"}), 422, "invalid-request")


def test_words_for_the_worker_are_looked_at_again(database_url: str) -> None:
    """E2: what was changed between the invitation and its email, an inviter's name for one, is as harmless in the email
    that a worker sends later."""
    with build(database_url, config={"INVITATIONS_DELIVERY": "queue"}) as host:
        _, admin, *_ = people(host)
        made = invite(host.client(admin))
        set_columns(host, host.User, admin, name=LURE)
        host.clock.tick(timedelta(hours=1))
        assert deliver(host) == {"sent": 1}
        assert "://evil" not in host.outbox.messages[-1].text + host.outbox.messages[-1].html
        assert mails(host)[0].state == "sent"
        assert host.client(admin).get(f"{LIST}/{made['id']}").status_code == 200


RATES = {
    "INVITATIONS_RATELIMIT_INVITE": "5/day",
    "INVITATIONS_RATELIMIT_TENANT": "8/day",
    "INVITATIONS_RATELIMIT_RECIPIENT": "2/day",
}


def test_recipients_are_counted(local_url: str) -> None:
    """E5: an inviter has a budget of recipients, and so has their organization; inviting and sending again share it.
    Who is over it is told when to come back, and nothing has happened: no row, no email."""
    with build(local_url, config=RATES) as host:
        tenant, admin, *_ = people(host)
        client, second = host.client(admin), host.client(host.user("second@acme.example", "admin", tenant))
        made = [invite(client, f"p{number}@example.com") for number in range(4)]
        assert client.post(f"{LIST}/{made[0]['id']}/resend").status_code == 200
        with unchanged(host):
            for answer in (
                client.post(INVITE, json={"email": "more@example.com"}),
                client.post(f"{LIST}/{made[1]['id']}/resend"),
            ):
                refused(answer, 429, "rate-limited")
                assert int(answer.headers["Retry-After"]) > 0
        for number in range(3):
            invite(second, f"q{number}@example.com")
        refused(second.post(INVITE, json={"email": "more@example.com"}), 429, "rate-limited")
        assert len(host.outbox.messages) == 8


def test_no_mailbox_is_flooded(local_url: str) -> None:
    """E5: whoever invites it, from however many organizations, one address gets so many emails and no more; the next
    one waits."""
    with build(local_url, config=RATES) as host:
        for number in range(4):
            admin = host.user(f"admin@t{number}.example", "admin", host.tenant(f"Tenant{number}"))
            made = invite(host.client(admin), "victim@example.com")
        assert [message.to for message in host.outbox.messages] == ["victim@example.com"] * 2
        assert made["delivery"]["state"] == "queued"
        host.clock.tick(timedelta(minutes=5))
        deliver(host)
        assert len(host.outbox.messages) == 2
