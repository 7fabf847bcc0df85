"""Names of any length and make: shown, and never more than shown."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask_babel import Babel

from flask_invitations import to_email
from flask_invitations.languages.plain import NAME, one_line, plain, shortened
from flask_invitations.mail.compose import IN_SUBJECT
from flask_invitations.mail.headers import SUBJECT
from tests.hosts import Host, build
from tests.unit.mailserver import SENDER
from tests.unit.test_mail import ADMIN, KINDS, LANGUAGES, composed

#: What people could be called, as long as one may wish.
NAMES = {
    "letters": "x" * 20_000,
    "words": "Your account is closed. Call us now. " * 600,
    "Japanese": "日本語アプリケーション" * 2_000,
    "emoji": "😀" * 20_000,
    "a pile of marks": "a" + "\u0300\u0301\u0302" * 7_000,
    "marks only": "\u0300" * 20_000,
    "Thai marks": "ก" + "็" * 20_000,
    "letters with marks": "e\u0301" * 10_000,
    "turned": "\u202e\u2066" * 10_000 + "evil",
    "invisible": "\u200b" * 20_000,
    "variation selectors": "a" + "\ufe0f" * 20_000,
    "dots": "a." * 10_000,
    "links": "http://evil.example/" * 1_000,
    "line breaks": "a\r\n" * 7_000,
    "spaces": " " * 20_000 + "a",
    "encoded words": "=?utf-8?q?a?=" * 1_600,
    "equals": "=" * 10_000 + "?" * 10_000,
    "half characters": "\ud800" * 20_000,
    "NUL": "\0" * 20_000,
    "markup": "<b>" * 7_000,
    "braces": "{{ 7*7 }}" * 2_500,
    "percent": "%(tenant)s" * 2_000,
}


@pytest.fixture(scope="module")
def babel() -> Iterator[Host]:
    with build("sqlite://", create_all=False) as host:
        Babel(host.app)
        yield host


@pytest.mark.parametrize("name", NAMES)
def test_an_email_stays_an_email(babel: Host, name: str) -> None:
    """W5: whatever the tenant, the inviter, the app and the role are called, an email is built in no time and stays
    small, and each name ends in an ellipsis where it was cut."""
    raw = NAMES[name]
    started = time.process_time()
    message = composed(babel, inviter=replace(ADMIN, name=raw), tenant=raw, app=raw, role=raw[:64], message=raw[:1000])
    size = len(to_email(message, SENDER).as_bytes())
    assert time.process_time() - started < 1
    assert size < 80_000
    assert len(message.subject) <= SUBJECT
    assert ("…" in message.subject) is (len(one_line(raw)) > IN_SUBJECT)


def fixed_words(subject: str) -> int:
    """How many letters of a subject are not the name's."""
    return len(re.findall(r"[^\W\d_]", subject.replace("X", "")))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_name_is_the_subject(babel: Host, kind: Any, language: str) -> None:
    """W5: in each language a subject has the words of its sentence beside the names, within what an inbox shows: each
    name has at most fifty characters of it."""
    long = "X" * 20_000
    message = composed(babel, kind, locale=language, inviter=replace(ADMIN, name=long), tenant=long)
    assert re.findall("X{3,}…?", message.subject)
    assert all(len(run) == IN_SUBJECT and run.endswith("…") for run in re.findall("X{3,}…?", message.subject))
    assert fixed_words(message.subject) >= 9
    assert fixed_words(message.subject[: IN_SUBJECT + 30]) >= 4
    usual = composed(babel, kind, locale=language, inviter=replace(ADMIN, name="Ada Lovelace"))
    assert "…" not in usual.subject


@pytest.mark.parametrize("email", ["a" * 64 + "@" + "b" * 60 + ".example"])
def test_an_address_is_short_in_a_subject_only(babel: Host, email: str) -> None:
    """W5: a long address is shortened in a subject, and whole where it is told."""
    for kind in KINDS:
        message = composed(babel, kind, email=email, email_key=email, inviter=replace(ADMIN, email=email))
        assert email not in message.subject
        assert email in message.text


def test_faces_show_the_same(tmp_path: Path) -> None:
    """W5: page, desk and API answer quickly, shortly, and with a name that was cut."""
    called = {"now": ""}

    def name(*_: Any) -> str:
        return called["now"]

    with build(f"sqlite:///{tmp_path / 'host.sqlite3'}", tenant_name=name, display_name=name) as host:
        manager = host.client(host.user("admin@example.com", role="admin"))
        for number, (make, called["now"]) in enumerate(list(NAMES.items())[::3]):
            email = f"u{number}@example.com"
            assert manager.post("/api/v1/users/invite", json={"email": email}).status_code == 201, make
            token = host.outbox.token_to(email)
            started = time.process_time()
            preview: Any = host.client().post("/api/v1/users/accept-invite/preview", json={"token": token}).json
            page, desk = host.client().post("/invitations/open", data={"token": token}), manager.get("/invitations/")
            assert time.process_time() - started < 2, make
            assert len(preview["tenant"]["name"]) <= NAME, make
            assert (page.status_code, desk.status_code) == (200, 200), make
            assert max(len(page.data), len(desk.data)) < 100_000, make


def test_piles_of_marks_are_low() -> None:
    """W5: no letter has more marks than any language needs, so that no name covers the lines around it; three stay."""
    assert plain("a" + "\u0301" * 50) == "a" + "\u0301" * 3
    assert plain("Việt Nam, e\u0302\u0301, נִּֽ, กี่") == "Việt Nam, e\u0302\u0301, נִּֽ, กี่"


def test_look_alike_links_are_none() -> None:
    """W5, E2: a dot, colon or slash of another script between letters makes no link; a sentence stays as it is."""
    for text in ("evil。com", "evil．com", "evil․com", "http：／／evil.com", "a＠evil.com", "evil｡com"):
        assert re.search(r"[a-z][。．․：／＠｡.][a-z]", plain(text)) is None
    assert plain("日本語。次の文：はい／いいえ。") == "日本語。次の文：はい／いいえ。"


@pytest.mark.parametrize(
    ("text", "length", "cut"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("ab cd", 4, "ab…"),
        ("e\u0301e\u0301e\u0301", 4, "e\u0301…"),
        ("\u0301" * 9, 4, "…"),
        ("", 3, ""),
    ],
)
def test_shortened(text: str, length: int, cut: str) -> None:
    """W5: cut to so many characters, the ellipsis among them; a mark is never parted from its letter."""
    assert shortened(text, length) == cut
