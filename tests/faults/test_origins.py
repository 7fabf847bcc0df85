"""Origins: one parsed form of scheme, host and port, for links, ``Message-ID`` and the header ``Origin``."""

from __future__ import annotations

import re
import time
from email import message_from_bytes, policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_invitations import ConfigurationError, to_email
from flask_invitations.config import Config, read
from flask_invitations.origins import Origin, origin_of
from tests.hosts import build

PATH = "/invitations/accept#{token}"

#: As an operator may write it, and as browsers do.
SAME = {
    "https://app.example.com": "https://app.example.com",
    "https://App.Example.COM": "https://app.example.com",
    "HTTPS://app.example.com": "https://app.example.com",
    "https://app.example.com:443": "https://app.example.com",
    "https://app.example.com:": "https://app.example.com",
    "https://app.example.com.": "https://app.example.com",
    "https://app.example.com:8443": "https://app.example.com:8443",
    "https://bücher.example": "https://xn--bcher-kva.example",
    "https://BÜCHER.example.:443": "https://xn--bcher-kva.example",
    "https://xn--bcher-kva.example": "https://xn--bcher-kva.example",
    "https://b\u0075\u0308cher.example": "https://xn--bcher-kva.example",
    "https://straße.example": "https://xn--strae-oqa.example",
    "https://アプリ。例え.jp": "https://xn--cckvf7b.xn--r8jz45g.jp",
    "https://ⓐpp.example.com": "https://app.example.com",
    "https://my_app.example.com": "https://my_app.example.com",
    "https://192.0.2.1": "https://192.0.2.1",
    "https://[2001:DB8:0::1]": "https://[2001:db8::1]",
    "https://[::1]:443": "https://[::1]",
    "http://[0:0:0:0:0:0:0:1]:5000": "http://[::1]:5000",
    "http://localhost:80": "http://localhost",
    "http://LOCALHOST.:5000": "http://localhost:5000",
}
#: Nobody, or not everybody, reads these as the same.
NONE = [
    "https://user:hush@app.example.com",
    "https://user@app.example.com",
    "https://app.example.com@evil.example",
    "https://evil.example\\@app.example.com",
    "https://app.example.com\\.evil.example",
    "https://app.exam\tple.com",
    "https://app.example.com\n",
    " https://app.example.com",
    "https://app.example.com /",
    "https://app.example.com:0",
    "https://app.example.com:65536",
    "https://app.example.com:٤٤٣",
    "https://app.example.com:443:443",
    "https://app..example.com",
    "https://.example.com",
    "https://-app.example.com",
    "https://app%2eexample.com",
    "https://ex\u2100mple.com",
    "https://xn--a",
    "https://127.1",
    "https://0x7f.0.0.1",
    "https://2130706433",
    "https://01.2.3.4",
    "https://[::1",
    "https://[fe80::1%25eth0]",
    "https://[v1.a]",
    "https://::1",
    "https://" + "a" * 64 + ".example",
    "https://" + "a." * 200 + "example",
    "https://" + "ü" * 100_000,
    "https:///",
    "https:app.example.com",
    "//app.example.com",
    "app.example.com",
    "null",
    "",
    "ftp://app.example.com",
    "https://\ud800.example",
]


def config(accept_url: str) -> Config:
    return read({"SECRET_KEY": "k", "INVITATIONS_ACCEPT_URL": accept_url}, "app")


@pytest.mark.parametrize(("typed", "known"), SAME.items())
def test_one_origin(typed: str, known: str) -> None:
    """M2: however an operator writes it, the origin is the one that a browser sends, and the emailed link has it."""
    read_in = config(typed + PATH)
    assert str(read_in.accept_origin) == known
    assert read_in.accept_origin == origin_of(known)
    assert read_in.link("T") == known + PATH.replace("{token}", "T")
    assert read_in.link("T").isascii()
    assert origin_of(str(read_in.accept_origin)) == read_in.accept_origin


@pytest.mark.parametrize("url", NONE, ids=lambda url: ascii(url)[:40])
def test_no_origin(url: str) -> None:
    """M2: what programs read in different ways is refused at the start, and is no origin that a call can come from."""
    assert origin_of(url) is None
    started = time.process_time()
    with pytest.raises(ConfigurationError, match="INVITATIONS_ACCEPT_URL") as refused:
        config(url + PATH)
    assert "hush" not in str(refused.value)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("value", [None, 7, b"https://app.example.com", ["https://app.example.com"]])
def test_only_text_is_an_origin(value: Any) -> None:
    """M2: only a scalar string can be an origin."""
    assert origin_of(value) is None


def test_user_and_password_are_refused_by_name() -> None:
    """M2: a link with credentials would hand them to every invitee: the refusal says what to remove."""
    with pytest.raises(ConfigurationError, match="must not contain a user name or password"):
        config("https://user:pw@app.example.com" + PATH)


def test_the_rest_of_the_link_is_ascii() -> None:
    """M2: path, query and fragment are percent-encoded, what is encoded stays as it is."""
    read_in = config("https://app.example.com/einladung/für?x=%2F&y=ü#t={token}")
    assert read_in.link("T") == "https://app.example.com/einladung/f%C3%BCr?x=%2F&y=%C3%BC#t=T"


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.sampled_from(["http", "https"]))
def test_any_host(host: str, scheme: str) -> None:
    """M2: any text is no host, or one in ASCII that reads back as itself."""
    origin = origin_of(f"{scheme}://{host}")
    if origin is not None:
        assert str(origin).isascii()
        assert str(origin) == str(origin).lower()
        assert origin_of(f"{origin}/path") == origin


@pytest.mark.parametrize(
    ("accept", "domain"),
    [
        ("https://bücher.example", "xn--bcher-kva.example"),
        ("https://App.Example.com.:443", "app.example.com"),
        ("http://[::1]:5000", "[IPv6:::1]"),
        ("http://127.0.0.1:5000", "127.0.0.1"),
        ("http://localhost:5000", "localhost"),
    ],
)
def test_emails_on_any_origin(accept: str, domain: str) -> None:
    """M2: on an international domain, an IP address or a port an email is built, its ``Message-ID`` is a valid one
    without port or user, and its link is ASCII."""
    with build("sqlite://", config={"INVITATIONS_ACCEPT_URL": accept + PATH}) as host:
        with host.app.app_context():
            host.invitations.invite("ann@example.com", tenant_id=host.tenant())
        (message,) = host.outbox.messages
    assert message.headers["Message-ID"] == f"<{message.id}@{domain}>"
    raw = to_email(message, "Acme <no-reply@acme.example>").as_bytes()
    mail = message_from_bytes(raw, policy=policy.default)
    assert (mail["Message-ID"], mail.defects, mail["Message-ID"].defects) == (message.headers["Message-ID"], [], ())
    assert re.search(rb"^Message-ID: <[!-;=?-~]+@[!-;=?-~]+>\r?$", raw, re.MULTILINE)
    assert message.accept_url is not None
    assert message.accept_url.isascii()
    assert message.accept_url in message.text


def test_origins_are_values() -> None:
    """M2: two spellings of one origin are equal, and stand for one in a set."""
    spelled = {origin_of(url) for url in ("https://A.example:443", "https://a.example.", "https://a.example/x?y#z")}
    assert spelled == {Origin("https", "a.example")}
    assert origin_of("http://a.example") not in spelled
    assert origin_of("https://a.example:80") not in spelled
