"""What is mailed: the words of each kind of mail, whatever its parts are made of, and headers that are only ours."""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.headerregistry import Address
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask_babel import Babel
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import FileSystemLoader, StrictUndefined

from flask_invitations import DeliveryInfo, InvitationInfo, Inviter, Message, to_email
from flask_invitations.current import get_state, override
from flask_invitations.languages.language import Language
from flask_invitations.languages.plain import one_line, plain
from flask_invitations.mail.compose import Letter, compose
from flask_invitations.model.states import TO_INVITER, WITH_LINK, Kind
from tests.hosts import Host, build

NEW = "new@example.com"
SENDER = "Acme <no-reply@acme.example>"
EXPIRES = datetime(2026, 3, 2, 15, 5, 30, tzinfo=timezone.utc)
ADMIN = Inviter(7, "admin@example.com")
ADA = replace(ADMIN, name="Ada Lovelace")
KINDS = (Kind.INVITATION, Kind.REMINDER, Kind.REVOKED, Kind.ACCEPTED, Kind.DECLINED, Kind.LINK_REQUEST)
LANGUAGES = ("en", "ar", "de", "es", "fr", "it", "ja", "nl", "pt-BR", "vi")
HEADERS = [
    "From", "To", "Subject", "Date", "MIME-Version", "Content-Type",
    "Message-ID", "Auto-Submitted", "X-Auto-Response-Suppress",
]  # fmt: skip
#: What mail programs may not be given to show or to act on.
FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
LINK = re.compile(r"https?://[^\s<\"]+")
#: What keeps a name apart in a text from right to left: ours, in pairs.
APART = re.compile("\u2068([^\u2068\u2069]*)\u2069")

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
    "template": "{{ config }}{% raw %}{# #} %(tenant)s %s %",
    "link": "http://evil.example/login www.evil.example evil@evil.example",
    "lone surrogate": "Acme \ud800 Corp",
    "only invisible": "\u200b\u202e",
    "8 kB": "Acme\r\n<b>http://evil.example</b> " * 256,
}


@pytest.fixture(scope="module")
def english() -> Iterator[Host]:
    """A host without Babel. Its database is never asked: these mails are made by hand."""
    with build("sqlite://", create_all=False) as host:
        yield host


@pytest.fixture(scope="module")
def babel() -> Iterator[Host]:
    """A host with Flask-Babel, set up after us, its times told in Berlin."""
    with build("sqlite://", create_all=False) as host:
        Babel(host.app, default_timezone="Europe/Berlin")
        yield host


def composed(host: Host, kind: Kind = Kind.INVITATION, **how: Any) -> Message:
    """A mail of that kind.

    :param how: ``tenant``, ``app``, ``inviter``, ``accept_url``, ``language`` (what finds one), or a field of the
        invitation.
    """
    delivery = DeliveryInfo(uuid.uuid4(), "sending", 1, EXPIRES, None, None)
    inviter, tenant = how.pop("inviter", ADMIN), how.pop("tenant", "Acme")
    with host.app.app_context():
        ctx = get_state().ctx
    language = how.pop("language", ctx.language)
    if kind in TO_INVITER and "locale" in how:  # theirs is the app's language: so let that be this one
        apps = ctx.language(how.pop("locale"))
        return composed(host, kind, inviter=inviter, tenant=tenant, language=lambda _tag: apps, **how)
    settings = {"app_name": how.pop("app", "Test Host"), "accept_url": how.pop("accept_url", ctx.config.accept_url)}
    token = ctx.mint.new()[1] if kind in WITH_LINK else None
    letter = Letter(delivery, kind, _invitation(**how), tenant, inviter, token)
    return compose(replace(ctx, config=replace(ctx.config, **settings), language=language), letter)


def _invitation(**how: Any) -> InvitationInfo:
    usual = {"id": uuid.uuid4(), "email": NEW, "email_key": NEW, "role": "user", "status": "pending"}
    times = dict.fromkeys(("expires_at", "created_at", "updated_at"), EXPIRES)
    nothing = dict.fromkeys(InvitationInfo.__dataclass_fields__)
    return InvitationInfo(**{**nothing, **times, **usual, "link_shown": False, **how})


def parsed(message: Message) -> Any:
    """The message as it arrives: serialised, then read as a mail program would."""
    return message_from_bytes(to_email(message, SENDER).as_bytes(), policy=policy.default)


def headers(mail: Any) -> list[str]:
    """The names of its headers, but for ``Content-Language``."""
    return [name for name in mail.keys() if name != "Content-Language"]  # noqa: SIM118 - no mapping: names may repeat


def words(html: str) -> str:
    """What a reader of the HTML part sees, as one line."""
    body = re.sub(r"<head>.*?</head>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<.*?>", "", body, flags=re.DOTALL)).split())


def sentences(message: Message) -> set[str]:
    """Every paragraph of all parts of a mail: what a translation has to translate."""
    html = re.sub(r"<style>.*?</style>|</?(?:span|strong)\b[^>]*>", "", message.html, flags=re.DOTALL)
    blocks = [unescape(block) for block in re.split(r"<[^>]*>", html)]
    lines = [line for line in message.text.splitlines() if not line.startswith(">")]
    return {" ".join(block.replace("\u034f", "").split()) for block in [message.subject, *lines, *blocks]} - {""}


# What it says


@pytest.mark.parametrize("kind", WITH_LINK)
def test_both_parts_say_the_same(english: Host, kind: Kind) -> None:
    """Text and HTML name the tenant, the inviter, the role, the message, the true expiry in UTC, the link, whom it is
    for, and what to do if it was not expected."""
    message = composed(english, kind, role="manager", message="Hello!\nSee you", inviter=ADA)
    for text in (" ".join(message.text.split()), words(message.html)):
        for part in (
            "Ada Lovelace (admin@example.com) invite",
            "join Acme as manager",
            "Ada Lovelace wrote:",
            message.accept_url,
            "March 2, 2026, 15:05 UTC",
            "you can ignore this email",
            "open the link and decline the invitation",
            f"Test Host sent this email to {NEW}",
        ):
            assert part is not None
            assert part in text, part
    assert "> Hello!\n> See you\n" in message.text
    assert re.search(r"<blockquote [^>]*white-space: pre-line[^>]*>Hello!\nSee you</blockquote>", message.html)


def test_subjects(english: Host) -> None:
    """The subject says in one line who wants what of whom."""
    assert {kind: composed(english, kind, inviter=ADA).subject for kind in KINDS} == {
        "invitation": "Ada Lovelace invited you to join Acme",
        "reminder": "Reminder: Ada Lovelace invited you to join Acme",
        "revoked": "Your invitation to Acme was revoked",
        "accepted": "new@example.com joined Acme",
        "declined": "new@example.com declined your invitation to Acme",
        "link_request": "new@example.com asked for a new link to join Acme",
    }


@pytest.mark.parametrize(
    ("inviter", "named", "wrote"),
    [
        (ADA, "Ada Lovelace (admin@example.com)", "Ada Lovelace wrote:"),
        (ADMIN, "admin@example.com", "admin@example.com wrote:"),
        (replace(ADA, email=None), "Ada Lovelace", "Ada Lovelace wrote:"),
        (replace(ADMIN, email=None), None, "Message:"),
        (None, None, "Message:"),
    ],
)
@pytest.mark.parametrize("kind", [Kind.INVITATION, Kind.REMINDER, Kind.REVOKED])
def test_inviters(english: Host, kind: Kind, inviter: Inviter | None, named: str | None, wrote: str) -> None:
    """E2, K4: the inviter is named by their name and by their verified e-mail, where there are any; else nobody is."""
    message = composed(english, kind, inviter=inviter, message="Hello")
    for text in (message.text, words(message.html)):
        assert (f"{named} invite" if named else "ou ") in text
        assert (wrote in text) == (kind in WITH_LINK)
        assert "None" not in text
    assert "None" not in message.subject


@pytest.mark.parametrize("message", [None, "", " \n", "\u200b"])
def test_without_a_message(english: Host, message: str | None) -> None:
    """No message: no empty quotation."""
    made = composed(english, message=message)
    assert ">" not in made.text
    assert "blockquote" not in made.html
    assert "\n\n\n" not in made.text


def test_the_link_is_the_only_link(babel: Host) -> None:
    """E1, E2: the HTML part leads nowhere but to the link, loads nothing, and shows the link as text too."""
    for kind in WITH_LINK:
        message = composed(babel, kind, message="http://evil.example www.evil.example", tenant="evil.example")
        assert message.accept_url is not None
        assert re.findall(r'href="(.*?)"', message.html) == [message.accept_url]
        assert message.html.count(message.accept_url) == 2
        assert re.findall(r"https?://\S+", message.text) == [message.accept_url]
        assert "evil.example" not in message.text + message.html


def test_the_link_survives_its_way(english: Host) -> None:
    """The link arrives whole: neither folded nor changed, and escaped in HTML only."""
    url = "https://app.example.com/" + "long/" * 30 + "?a=1&t={token}"
    message = composed(english, accept_url=url, message="Zoë, grüß dich")
    mail = parsed(message)
    assert message.accept_url in mail.get_body(("plain",)).get_content().splitlines()
    html = mail.get_body(("html",)).get_content()
    assert [unescape(link) for link in re.findall(r'href="(.*?)"', html)] == [message.accept_url]
    assert "?a=1&amp;t=" in html


@pytest.mark.parametrize("kind", KINDS)
def test_html_stands_alone(babel: Host, kind: Kind) -> None:
    """The HTML part loads nothing, runs nothing, knows dark mode and says its language, also where a mail program
    keeps the inside of its body only."""
    html = composed(babel, kind, locale="de").html
    assert re.search(r"src=|url\(|<img|<link|<script|@import|mailto:| on\w+=", html) is None
    assert '<html lang="de" dir="ltr">' in html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert "prefers-color-scheme: dark" in html
    assert 'lang="de" dir="ltr"' in html.partition("<body")[2]
    assert html.count("<h1") == 1


# Hostile parts


def hostile(host: Host, kind: Kind, language: str) -> Iterator[tuple[str, Message]]:
    """Mails of which every part is of that make."""
    for name, raw in HOSTILE.items():
        everywhere = {"tenant": raw, "app": raw, "role": raw, "message": raw + "."}
        yield name, composed(host, kind, locale=language, inviter=replace(ADMIN, name=raw + "."), **everywhere)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_words(babel: Host, kind: Kind, language: str) -> None:
    """E2, E8, K4: whatever the tenant, the app, the inviter, the role or the message is called, no mail has a control
    or invisible character, a markup that is not ours, a template's doing or a second link."""
    frame = re.findall(r"<(/?\w+)", composed(babel, kind, locale=language, message="x", inviter=ADA).html)
    for name, message in hostile(babel, kind, language):
        for part in (message.subject, message.text, message.html):
            assert FORBIDDEN.search(APART.sub(r"\1", part) if language == "ar" else part) is None, name
            assert "evil.example" not in part, name
        assert re.findall(r"<(/?\w+)", message.html) == frame, name
        assert LINK.findall(message.text) == ([message.accept_url] if kind in WITH_LINK else []), name
        if name == "template":
            assert "{{ config }}{% raw %}{# #} %(tenant)s %s %" in message.text


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_headers(babel: Host, kind: Kind) -> None:
    """E3, E8: whatever its parts are called, a mail arrives with our headers only, each on one line, and whole."""
    for name, message in hostile(babel, kind, "vi"):
        if name == "8 kB" and kind != Kind.INVITATION:
            continue  # to fold such a header takes long, and is the same for all
        mail = parsed(message)
        assert (headers(mail), mail.defects) == (HEADERS, []), name
        assert mail["To"] == (ADMIN.email if kind in TO_INVITER else NEW)
        assert mail["Subject"] == message.subject, name
        assert len(message.subject.splitlines()) == 1
        assert "=?" not in message.subject
        for part, sent in (("plain", message.text), ("html", message.html)):
            assert mail.get_body((part,)).get_content().splitlines() == sent.splitlines(), name


def test_hostile_messages_are_quoted(english: Host) -> None:
    """E2, E3: each line of a message is quoted in the text, whatever it breaks lines with."""
    for raw in HOSTILE.values():
        text = composed(english, message=f"first\n{raw}\nlast").text
        quoted = text.partition("wrote:\n\n")[2].partition("\n\nTo view the invitation")[0]
        assert {line[:1] for line in quoted.splitlines()} == {">"}
        assert quoted.startswith("> first\n")
        assert quoted.endswith("\n> last")


def test_a_hosts_own_subject_is_still_one_header(tmp_path: Path) -> None:
    """E3, E8: a host's subject template that uses a raw word cannot add a header either."""
    with host_with(tmp_path, {"invitation.subject.txt": "{{ invitation.message }}\n"}) as host:
        for raw in HOSTILE.values():
            mail = parsed(composed(host, message=raw + "."))
            assert headers(mail) == HEADERS
            assert FORBIDDEN.search(str(mail["Subject"])) is None


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


# Languages


@pytest.mark.parametrize("language", LANGUAGES[1:])
@pytest.mark.parametrize(
    ("kind", "inviter"),
    [(kind, who) for kind in KINDS for who in (ADA, None) if who or kind not in TO_INVITER],
)
def test_nothing_is_left_in_english(babel: Host, kind: Kind, language: str, inviter: Inviter | None) -> None:
    """A mail in another language shares no sentence with the English one, and says the same of the same people."""
    ours, theirs = (
        composed(babel, kind, locale=locale, message="Hello", inviter=inviter) for locale in ("en", language)
    )
    same = sentences(ours) & sentences(theirs)
    assert {each for each in same if LINK.fullmatch(each) is None} - {"Test Host", "T", "Hello"} == set()
    for value in ("Acme", "user", NEW):
        assert (value in theirs.text) == (value in ours.text)
        assert (value in words(theirs.html)) == (value in words(ours.html))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inviter", [ADA, None])
def test_every_word_can_be_translated(english: Host, kind: Kind, inviter: Inviter | None) -> None:
    """Nothing but values stands outside of a sentence that is translated."""
    marked = Language("xx", "rtl", gettext="⟦{}⟧".format, moment=lambda when: "then")
    who = ADMIN if kind in TO_INVITER else inviter
    message = composed(english, kind, inviter=who, message="Hello", language=lambda tag: marked)
    html = re.sub(r"<style>.*?</style>|<[^>]*>", " ", message.html, flags=re.DOTALL)
    for part in (message.subject, message.text, unescape(html).replace("\u034f", "")):
        left = set(re.sub("⟦.*?⟧", " ", part, flags=re.DOTALL).split())
        assert left <= {"Test", "Host", "T", "Hello", ">", message.accept_url}
    assert '<html lang="xx" dir="rtl">' in message.html


@pytest.mark.parametrize(
    ("locale", "language", "shown"),
    [
        ("de-AT", "de", "2. März 2026, 16:05 (Mitteleuropäische Normalzeit)"),
        ("fr", "fr", "2 mars 2026, 16:05 (heure normale d’Europe centrale)"),
        ("es-MX", "es", "(hora estándar de Europa central)"),
        ("vi", "vi", "16:05 2 tháng 3, 2026 (Giờ chuẩn Trung Âu)"),
        ("en-GB", "en", "2 March 2026, 16:05 (Central European Standard Time)"),
        ("xx", "en", "(Central European Standard Time)"),
        (None, "en", "(Central European Standard Time)"),
    ],
)
def test_locales(babel: Host, locale: str | None, language: str, shown: str) -> None:
    """A mail is in the invitation's language, else in the app's own; it says so, and tells its time by the app's
    clock with the name of its time zone."""
    message = composed(babel, locale=locale)
    assert message.headers["Content-Language"] == message.locale == language
    assert shown in message.text
    assert shown in words(message.html)


# A host's own templates


def host_with(folder: Path, templates: dict[str, str]) -> Host:
    """A host that has these mail templates of its own."""
    own = folder / "invitations/mail"
    own.mkdir(parents=True)
    for name, source in templates.items():
        (own / name).write_text(source, "utf-8")
    host = build("sqlite://", create_all=False)
    host.app.jinja_loader = FileSystemLoader(folder)
    return host


def test_one_template_of_the_hosts_own(tmp_path: Path, english: Host) -> None:
    """A host replaces one file by its own, which has the same words; every other stays."""
    own = '{{ _("Join %(tenant)s", tenant=tenant_name) }}, {{ language.tag }}: {{ accept_url }}'
    with host_with(tmp_path, {"invitation.txt": own}) as host:
        message = composed(host)
        assert message.text == f"Join Acme, en: {message.accept_url}"
        assert message.subject == composed(english).subject
        assert "open the link and decline the invitation" in message.html
        assert "open the link and decline the invitation" in composed(host, Kind.REMINDER).text


def test_a_frame_of_the_hosts_own(tmp_path: Path) -> None:
    """A host replaces the frame of every HTML mail at once."""
    frame = "<html><body><h2>Corporate</h2>{% block content %}{% endblock %}</body></html>"
    with host_with(tmp_path, {"_frame.html": frame}) as host:
        for kind in KINDS:
            html = composed(host, kind).html
            assert html.lstrip().startswith("<html><body><h2>Corporate</h2>")
            assert "<h1" in html


@pytest.mark.parametrize("kind", KINDS)
def test_a_hosts_own_ways_with_jinja(english: Host, kind: Kind) -> None:
    """The text reads the same whatever the host does with white space, and no template asks for a word that it is not
    given."""
    with build("sqlite://", create_all=False) as host:
        env = host.app.jinja_env
        env.trim_blocks = env.lstrip_blocks = env.keep_trailing_newline = True
        env.undefined = StrictUndefined
        for message in (None, "Hello\n\nyou"):
            own, usual = (composed(each, kind, message=message) for each in (host, english))
            assert usual.text.strip() == usual.text
            link = usual.accept_url or "-"
            assert own.text.strip().replace(own.accept_url or "-", link) == usual.text
            assert own.subject == usual.subject


# The envelope and the headers


def test_headers(english: Host) -> None:
    """The headers tell robots not to answer, and let a provider recognise a second try."""
    message = composed(english)
    mail = parsed(message)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Auto-Response-Suppress"] == "All"
    assert mail["Message-ID"] == f"<{message.id}@app.example.com>"
    assert mail["From"].addresses[0].addr_spec == "no-reply@acme.example"
    assert abs(mail["Date"].datetime - datetime.now(timezone.utc)).total_seconds() < 60
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert [part.get_content_charset() for part in mail.iter_parts()] == ["utf-8", "utf-8"]


def test_the_language_arrives(babel: Host) -> None:
    """The mail as it is sent says which language it is in."""
    assert parsed(composed(babel, locale="de-AT"))["Content-Language"] == "de"


@pytest.mark.parametrize("kind", KINDS)
def test_whose_language(babel: Host, kind: Kind) -> None:
    """The invitee is written to in the invitation's language, the inviter in the app's."""
    with babel.app.app_context():
        ctx = get_state().ctx
    delivery = DeliveryInfo(uuid.uuid4(), "sending", 1, EXPIRES, None, None)
    letter = Letter(delivery, kind, _invitation(locale="fr"), "Acme", ADMIN, ctx.mint.new()[1])
    assert compose(ctx, letter).locale == ("en" if kind in TO_INVITER else "fr")


def test_a_message_without_an_id_gets_one(english: Host) -> None:
    """``to_email`` serves a host's own messages too."""
    message = replace(composed(english), headers={})
    assert str(to_email(message, SENDER)["Message-ID"]).startswith("<")


def test_mails_share_no_more_than_they_have_in_common(english: Host) -> None:
    """What mails have in common is parsed once: a mail is the same whichever were built before it, however often it is
    written out, and what a host changes of one changes no other."""
    message = replace(composed(english), text="plain", html="<p>plain</p>")
    other = replace(message, to="Zoë <zoe@xn--bcher-kva.example>", subject="Für Zoë: =_ " + "lang " * 40)

    def written(each: Message) -> str:
        boundary = re.compile(r"=_[0-9a-f]{32}|^Date: .*$", re.MULTILINE)
        return boundary.sub("-", to_email(each, SENDER).as_string())

    alone = [written(each) for each in (message, other)]
    changed = to_email(message, "Somebody <else@acme.example>")
    changed.replace_header("Auto-Submitted", "no")
    changed.set_param("charset", "latin-1")
    assert [written(each) for each in (message, other, message, other)] == alone * 2
    kept = to_email(other, SENDER)
    assert kept.as_bytes() == kept.as_bytes()


def test_a_host_may_go_on_with_the_mail(english: Host) -> None:
    """What ``to_email`` gives takes whatever the standard library takes for a header."""
    email = to_email(composed(english), SENDER)
    email["Cc"] = [Address("Ann", "ann", "acme.example"), Address("Bob", "bob", "acme.example")]
    del email["Date"]
    email["Date"] = EXPIRES
    assert email["Cc"] == "Ann <ann@acme.example>, Bob <bob@acme.example>"
    assert email["Date"].datetime == EXPIRES
    with pytest.raises(ValueError, match="linefeed"):
        email["X-Tenant"] = "Acme\r\nBcc: evil@example.com"


def test_an_address_that_is_none_is_not_shown(tmp_path: Path) -> None:
    """E2: an inviter whose address is none, as the host has it, is not named by it."""
    with build(f"sqlite:///{tmp_path / 'host.sqlite3'}") as host:
        for inviter in ("not an address\r\nBcc: evil@example.com", "<b>@example.com"):
            admin = host.user(inviter, role="admin")
            with host.app.app_context():
                host.invitations.invite(f"{uuid.uuid4()}@x.example", inviter=host.db.session.get(host.User, admin))
            message = host.outbox.messages[-1]
            assert message.subject == "You are invited to join Acme"
            assert "You are invited to join" in message.text
            assert re.search("Bcc|<b>@", message.text + message.html) is None


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


def test_a_message_shows_no_link(english: Host) -> None:
    """D2: the ``repr`` of a message, which ends up in logs, has neither link nor words."""
    message = composed(english)
    assert message.accept_url is not None
    shown = repr(message)
    assert message.accept_url not in shown
    assert message.accept_url.partition("#")[2] not in shown
    assert "ignore it" not in shown


def test_an_international_address(english: Host) -> None:
    """A mail goes to the ASCII form of the stored domain, which every server takes; the local part is as typed."""
    message = composed(english, email="Jo@Bücher.example", email_key="jo@xn--bcher-kva.example")
    assert message.to == "Jo@xn--bcher-kva.example"
    assert to_email(message, SENDER)["To"].addresses[0].addr_spec == message.to
