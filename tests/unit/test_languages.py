"""The languages: which one is chosen, what it makes of sentences and times, and whether its catalog is complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from functools import cache
from html import unescape
from pathlib import Path

import pytest
from babel.messages import Catalog, Message
from babel.messages.frontend import CommandLineInterface
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po
from flask import Flask, request
from flask_babel import Babel
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import DictLoader, Environment, select_autoescape
from marshmallow import Schema, fields, validate

from flask_invitations.languages.babel import DOMAIN, current_tag, languages, spoken
from flask_invitations.languages.language import ENGLISH, Language
from flask_invitations.web.forms import SAID
from tests.hosts import build, without_profile

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src/flask_invitations"
OURS = ("ar", "de", "es", "fr", "it", "ja", "nl", "pt_BR", "vi")
TAGS = tuple(each.replace("_", "-") for each in OURS)
#: Words that a language shares with English.
SAME = {
    "de": {"Name", "Person", "Status"},
    "fr": {"Actions", "Invitation", "Invitations", "Message", "Pages"},
    "it": {"Account %(id)s", "Email"},
    "nl": {"Status", "Details", "Account %(id)s"},
    "pt_BR": {"Status"},
}
JANUARY = datetime(2026, 1, 2, 15, 5, tzinfo=timezone.utc)


def host(default: str = "en", folder: Path | None = None, **how: object) -> Callable[[str | None], Language]:
    """The languages of an app with Flask-Babel, whose own translations are in ``folder``."""
    app = Flask("host")
    found = languages(app)
    Babel(app, default_locale=default, default_translation_directories=str(folder or "none"), **how)
    return found


def write(folder: Path, locale: str, sentences: dict[str, str], plurals: dict[tuple[str, str], list[str]]) -> None:
    """A host's own catalog of our domain."""
    catalog = Catalog(locale=locale)
    for sentence, translation in sentences.items():
        catalog.add(sentence, translation)
    for one_and_many, all_forms in plurals.items():
        catalog.add(one_and_many, all_forms)
    file = folder / locale / "LC_MESSAGES" / f"{DOMAIN}.mo"
    file.parent.mkdir(parents=True)
    with file.open("wb") as stream:
        write_mo(stream, catalog)


# Which one


@pytest.mark.parametrize(
    ("tag", "chosen"),
    [
        ("fr", "fr"),
        ("fr-CA", "fr"),
        ("FR_ca", "fr"),
        ("fr-Latn-CA-x-mine", "fr"),
        ("vi-XX", "vi"),
        ("en-GB", "en"),
        ("pt-BR", "pt-BR"),
        ("pt_BR", "pt-BR"),
        ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("ar-EG", "ar"),
        ("ja-JP", "ja"),
        ("nl-BE", "nl"),
        ("it-CH", "it"),
        ("ko", "de"),
        ("xx", "de"),
        ("", "de"),
        (None, "de"),
        ("../../de", "de"),
        ("fr/../es", "de"),
        ("root", "de"),
        ("\0", "de"),
        ("-", "de"),
        ("e" * 100_000, "de"),
        ("-x" * 100_000, "de"),
    ],
)
def test_nearest(tag: str | None, chosen: str) -> None:
    """A tag finds itself, else its base language, else another region's, else the app's own."""
    assert host("de")(tag).tag == chosen


@settings(deadline=None)  # the first one reads the catalogs
@given(st.text() | st.from_regex(r"[a-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,4}", fullmatch=True))
def test_any_tag(tag: str) -> None:
    """No tag, however made up, is an error."""
    assert host("de")(tag).tag in ("en", *TAGS)


@pytest.mark.parametrize(
    ("default", "chosen"), [("vi", "vi"), ("de_CH", "de"), ("pt_PT", "pt-BR"), ("ko", "en"), ("en_GB", "en")]
)
def test_the_apps_own(default: str, chosen: str) -> None:
    """An app whose own language there is no catalog of speaks English."""
    assert host(default)(None).tag == chosen


def test_the_request_is_not_asked(tmp_path: Path) -> None:
    """The app's own language and time zone are those of its settings, whatever the request's are; what the host's
    Babel chose for the request is known all the same."""
    app = Flask("host")
    found = languages(app)
    Babel(
        app,
        default_locale="de",
        default_timezone="Europe/Berlin",
        locale_selector=lambda: request.args.get("lang"),
        timezone_selector=lambda: "Asia/Tokyo",
    )
    outside = found(None)
    assert current_tag() is None
    with app.app_context():
        assert current_tag() is None
    with app.test_request_context("/?lang=pt_BR"):
        assert current_tag() == "pt-BR"
        assert found(None).tag == outside.tag == "de"
        assert found(None).moment(JANUARY) == outside.moment(JANUARY)
        assert "16:05" in outside.moment(JANUARY)
    with app.test_request_context("/"):
        assert current_tag() == "de"


def test_without_babel() -> None:
    """An app without Flask-Babel speaks English, whatever it is asked for, and knows of no request's language."""
    app = Flask("host")
    assert languages(app)("de") is languages(app)(None) is ENGLISH
    with app.test_request_context("/"):
        assert current_tag() is None


def test_two_apps_are_apart(tmp_path: Path) -> None:
    """What one app adds and sets is not another's."""
    write(tmp_path, "ro", {"View the invitation": "Vezi invitația"}, {})
    one, two = host("ro", tmp_path, default_timezone="Europe/Rome"), host("fr")
    assert [one(None).tag, two(None).tag, two("ro").tag] == ["ro", "fr", "fr"]
    assert "17:05" not in one(None).moment(JANUARY)
    assert "16:05" in one(None).moment(JANUARY)
    assert two(None).gettext("View the invitation") == "Voir l’invitation"


# What it says


def test_a_sentence_of_the_hosts_own(tmp_path: Path) -> None:
    """A host's catalog replaces a sentence of ours, in English too, and leaves the others."""
    write(tmp_path, "de", {"View the invitation": "Zur Einladung"}, {})
    write(tmp_path, "en", {"View the invitation": "Have a look"}, {})
    found = host("en", tmp_path)
    assert found("de-AT").gettext("View the invitation") == "Zur Einladung"
    assert found("de").gettext("Join %(tenant)s") == "%(tenant)s beitreten"
    assert found(None).gettext("View the invitation") == "Have a look"
    assert found(None).gettext("Join %(tenant)s") == "Join %(tenant)s"
    assert found("fr").gettext("View the invitation") == "Voir l’invitation"


def test_a_language_of_the_hosts_own(tmp_path: Path) -> None:
    """A host's catalog adds a language, its direction and its plurals with it; a regional one serves its region, and
    others that are written in the same script."""
    forms = ["%(num)s دعوت", "%(num)s دعوت‌ها"]
    write(tmp_path, "fa", {"View the invitation": "دیدن دعوت"}, {("%(num)s invitation", "%(num)s invitations"): forms})
    write(tmp_path, "pt_PT", {"View the invitation": "Ver convite"}, {})
    write(tmp_path, "zh_TW", {"View the invitation": "查看邀請"}, {})
    found = host("en", tmp_path)
    persian = found("fa-IR")
    assert (persian.tag, persian.direction, found("de").direction) == ("fa", "rtl", "ltr")
    assert persian.gettext("View the invitation") == "دیدن دعوت"
    one, many = "%(num)s invitation", "%(num)s invitations"
    assert [persian.ngettext(one, many, count) for count in (1, 3)] == forms
    assert [found(tag).tag for tag in ("pt-PT", "pt-BR", "pt")] == ["pt-PT", "pt-BR", "pt-BR"]
    assert [found(tag).tag for tag in ("zh-TW", "zh-Hant-HK", "zh-CN", "zh")] == [
        "zh-Hant-TW",
        "zh-Hant-TW",
        "en",
        "en",
    ]
    assert found("zh-TW").gettext("View the invitation") == found("zh-Hant-TW").gettext("View the invitation")


def test_plural_forms() -> None:
    """Each language has as many plural forms as its grammar: Arabic six, Japanese one."""
    found, one, many = host(), "in %(num)s day", "in %(num)s days"
    arabic, japanese, brazilian, italian = (found(tag).ngettext for tag in ("ar", "ja", "pt-BR", "it"))
    assert [arabic(one, many, count) for count in (0, 1, 2, 3, 10, 11, 99, 100, 103)] == [
        *("الآن", "خلال يوم واحد", "خلال يومين", "خلال %(num)s أيام", "خلال %(num)s أيام"),
        *("خلال %(num)s يومًا", "خلال %(num)s يومًا", "خلال %(num)s يوم", "خلال %(num)s أيام"),
    ]
    assert {japanese(one, many, count) for count in range(200)} == {"%(num)s 日後"}
    assert [brazilian(one, many, count) for count in (0, 1, 2)] == [
        "em %(num)s dia",
        "em %(num)s dia",
        "em %(num)s dias",
    ]
    assert [italian(one, many, count) for count in (0, 1, 2)] == [
        "tra %(num)s giorni",
        "tra %(num)s giorno",
        "tra %(num)s giorni",
    ]


def test_values_are_kept_apart() -> None:
    """In plain text that runs from right to left each name stands in a direction of its own, so that the point of
    "Acme Inc." stays where it is; in HTML, and from left to right, nothing is added."""
    env = Environment(autoescape=select_autoescape(["html"]))
    env.loader = DictLoader(dict.fromkeys(("mail.txt", "mail.html"), '{{ _("Join %(tenant)s", tenant="Acme Inc.") }}'))

    def said(tag: str, name: str) -> str:
        return env.get_template(name).render(host()(tag).words())

    assert said("ar", "mail.txt") == "الانضمام إلى \u2068Acme Inc.\u2069"
    assert said("ar", "mail.html") == "الانضمام إلى Acme Inc."
    assert said("de", "mail.txt") == "Acme Inc. beitreten"


def test_no_arabic_sentence_starts_with_a_value() -> None:
    """A mail program takes the direction of a line of plain text from its first letter."""
    catalog = read(PACKAGE / f"translations/ar/LC_MESSAGES/{DOMAIN}.po")
    mailed = [each for each in catalog if each.id and any("/mail/" in file for file, _ in each.locations)]
    assert [each.string for each in mailed if not re.match("[\u0600-\u06ff]", str(each.string))] == []
    assert len(mailed) > 30


def test_a_catalog_that_is_not_a_languages_is_left(tmp_path: Path) -> None:
    """A directory of no known language, and a host without any, do no harm."""
    (tmp_path / "klingon/LC_MESSAGES").mkdir(parents=True)
    (tmp_path / "klingon/LC_MESSAGES" / f"{DOMAIN}.mo").write_bytes(b"")
    assert host("en", tmp_path)("de").tag == "de"


@pytest.mark.parametrize(
    ("zone", "tag", "told"),
    [
        ("UTC", "en", "January 2, 2026, 3:05 PM (UTC)"),
        ("UTC", "fr", "2 janvier 2026, 15:05 (UTC)"),
        ("Europe/Vienna", "de", "2. Januar 2026, 16:05 (Mitteleuropäische Normalzeit)"),
        ("Europe/Vienna", "de-AT", "2. Jänner 2026, 16:05 (Mitteleuropäische Normalzeit)"),
        ("America/New_York", "en-GB", "2 January 2026, 10:05 (Eastern Standard Time)"),
        ("America/New_York", "es", "2 de enero de 2026, 10:05 (hora estándar oriental)"),
        ("Pacific/Auckland", "vi", "04:05 3 tháng 1, 2026 (Giờ Mùa Hè New Zealand)"),
        ("UTC", "ja", "2026年1月2日 15:05 (UTC)"),
        ("UTC", "ar", "2 يناير 2026، 3:05 م (UTC)"),
    ],
)
def test_moments(zone: str, tag: str, told: str) -> None:
    """A time is told in the app's time zone, by its name, in the way of the language and the region."""
    found = host("en", default_timezone=zone)(tag).moment
    # The names of time zones are Babel's data, which writes them large or small, as its version has it.
    assert found(JANUARY).replace("\u202f", " ").casefold() == told.casefold()
    assert found(JANUARY.replace(tzinfo=None)) == found(JANUARY)


def test_summer_time() -> None:
    """The name of the time zone is the one of that day."""
    assert "Sommerzeit" in host("de", default_timezone="Europe/Berlin")(None).moment(JANUARY.replace(month=7))


WITHOUT = """
import sys
sys.path.insert(0, {root!r})

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("babel", "flask_babel"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from tests.hosts import build
with build("sqlite:///" + sys.argv[1]) as host:
    with host.app.app_context():
        host.invitations.invite("new@example.com", tenant_id=host.tenant(), locale="de")
    page = host.app.test_client().get("/invitations/accept")
    print(host.outbox.messages[0].subject, "|", host.outbox.messages[0].locale, "|", page.status_code)
"""


def test_babel_is_not_needed(tmp_path: Path) -> None:
    """Where neither Babel nor Flask-Babel can be imported, mails and pages are in English."""
    command = [sys.executable, "-c", WITHOUT.format(root=str(ROOT)), str(tmp_path / "host.sqlite3")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ), check=False)
    assert done.stdout.strip() == "You are invited to join Acme | en | 200", done.stderr


# Which there are


def test_all_that_are_spoken(tmp_path: Path) -> None:
    """All languages there are, ours and the host's, once each by its own name for itself, English first; without
    Flask-Babel that is English alone. Each is found again by its tag."""
    for locale in ("de", "fa", "pt_PT"):
        write(tmp_path, locale, {"View the invitation": "x"}, {})
    app = Flask("host")
    with app.app_context():
        assert spoken() == {"en": "English"}
        Babel(app, default_translation_directories=str(tmp_path))
        assert list(spoken().items()) == [
            ("en", "English"),
            ("ar", "العربية"),
            ("de", "Deutsch"),
            ("es", "Español"),
            ("fa", "فارسی"),
            ("fr", "Français"),
            ("it", "Italiano"),
            ("ja", "日本語"),
            ("nl", "Nederlands"),
            ("pt-BR", "Português (Brasil)"),
            ("pt-PT", "Português (Portugal)"),
            ("vi", "Tiếng Việt"),
        ]
        assert [languages(app)(tag).tag for tag in spoken()] == list(spoken())


def test_the_desk_offers_them(tmp_path: Path) -> None:
    """Whoever invites may choose a language that the host added, and the mail is in it."""
    write(tmp_path, "ro", {"You are invited to join %(tenant)s as %(role)s.": "Invitație la %(tenant)s"}, {})
    with build(f"sqlite:///{tmp_path / 'h.sqlite3'}") as made:
        Babel(made.app, default_translation_directories=str(tmp_path))
        desk = made.client(made.user("ada@example.com", role="admin"))
        offered = desk.get("/invitations/").text
        assert '<option value="ro">Română</option>' in offered
        seal = re.search(r'name="seal" value="([^"]+)"', offered)
        assert seal is not None
        typed = {"email": "new@example.com", "locale": "ro", "seal": seal[1]}
        assert desk.post("/invitations/invite", data=typed).status_code == 303
        assert made.outbox.messages[0].locale == "ro"


# What is wrong with a form


class Profile(Schema):
    """A field for each complaint of marshmallow's that is in our catalogs."""

    name = fields.String(required=True)
    mail = fields.Email()
    site = fields.Url()
    age = fields.Integer()
    part = fields.Float()
    code = fields.String(validate=validate.Regexp("x"))
    terms = fields.Boolean(validate=validate.Equal(True))
    short = fields.String(validate=validate.Length(min=3))
    long = fields.String(validate=validate.Length(max=4))
    length = fields.String(validate=validate.Length(3, 4))
    years = fields.Integer(validate=validate.Range(min=3))


WRONG = {
    **dict.fromkeys(("mail", "site", "age", "part", "code"), "?"),
    **dict.fromkeys(("short", "length"), "a"),
    "long": "abcde",
    "years": "1",
    "terms": False,
}
VALUES = {"min": 3, "max": 4}


def test_complaints_are_marshmallows() -> None:
    """The sentences that we translate for marshmallow are the very ones that it says."""
    said = {each for complaints in Profile().validate(WRONG).values() for each in complaints}
    assert said == {each % VALUES for each in SAID}


@pytest.mark.parametrize("language", OURS)
def test_a_form_complains_in_its_language(tmp_path: Path, language: str) -> None:
    """What is wrong with a field is told in the language of the page: our own sentences and marshmallow's."""
    with build(f"sqlite:///{tmp_path / 'h.sqlite3'}", profile_schema=Profile, create_user=without_profile) as made:
        Babel(made.app, default_locale=language)
        with made.app.app_context():
            made.invitations.invite("new@example.com", tenant_id=made.tenant())
        token = made.outbox.token_to("new@example.com")
        sent = {"token": token, "password": "short", "mail": "?", "age": "?", "short": "a", "length": "a"}
        page = made.client().post("/invitations/accept", data=sent)
        translate, shown = languages(made.app)(language).gettext, unescape(page.text)
    low = "Use at least %(minimum)s characters. A few words make a good password."
    assert page.status_code == 422
    assert f'<html lang="{language.replace("_", "-")}"' in shown
    assert (
        f'<p class="invitations-error" id="invitations-error-password">{translate(low) % {"minimum": 15}}</p>' in shown
    )
    for field, sentence in (
        ("name", "Missing data for required field."),
        ("mail", "Not a valid email address."),
        ("age", "Not a valid integer."),
        ("terms", "Must be equal to True."),
        ("short", "Shorter than minimum length %(min)s."),
        ("length", "Length must be between %(min)s and %(max)s."),
    ):
        assert f'id="invitations-error-{field}">{translate(sentence) % VALUES}</p>' in shown
        assert sentence % VALUES not in shown


# The catalogs


@cache
def extracted(folder: Path) -> list[Message]:
    """The sentences that .ci/translations would find now."""
    made = folder / "made.pot"
    mapping = ["-F", str(ROOT / "pyproject.toml"), "-c", "NOTE:", "-k", "Sentence", "-o", str(made)]
    CommandLineInterface().run(  # type: ignore[no-untyped-call]
        ["pybabel", "-q", "extract", *mapping, str(PACKAGE)]
    )
    return [each for each in read(made) if each.id]


def read(file: Path) -> Catalog:
    """A catalog of whichever kind."""
    with file.open("rb") as stream:
        return read_mo(stream) if file.suffix == ".mo" else read_po(stream)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> list[Message]:
    """The sentences of the package as they are now."""
    found = extracted(tmp_path_factory.getbasetemp())
    files = {file for sentence in found for file, _ in sentence.locations}
    assert {Path(file).suffix for file in files} == {".html", ".txt", ".py"}
    return found


def forms(text: object) -> list[str]:
    """A sentence, or its singular and plurals."""
    return [text] if isinstance(text, str) else list(text or ())  # type: ignore[call-overload]


def placeholders(text: str) -> set[str]:
    """What is filled in; what is left after that must be no ``%`` of its own."""
    assert "%" not in re.sub(r"%\(\w+\)[sd]|%%", "", text), text
    return set(re.findall(r"%\(\w+\)[sd]", text))


def test_the_template_is_current(sentences: list[Message]) -> None:
    """Whoever adds a language starts from the sentences that there are: ``.ci/translations`` was run."""
    template = read(PACKAGE / f"translations/{DOMAIN}.pot")
    assert [each.id for each in sentences if each.id not in template] == []


@pytest.mark.parametrize("language", OURS)
def test_every_sentence_is_translated(sentences: list[Message], language: str) -> None:
    """Each sentence has its translation, of its own words, by somebody who was sure, with the same placeholders."""
    catalog = read(PACKAGE / f"translations/{language}/LC_MESSAGES/{DOMAIN}.po")
    for sentence in sentences:
        found = catalog.get(sentence.id)
        assert found is not None, sentence.id
        assert not found.fuzzy, sentence.id
        assert all(forms(found.string)), sentence.id
        assert len(forms(found.string)) == (1 if isinstance(sentence.id, str) else catalog.num_plurals)
        for form in forms(found.string):
            assert form not in {*forms(sentence.id)} - SAME.get(language, set())
            wanted = placeholders(forms(sentence.id)[-1])
            assert wanted - {"%(num)s", "%(num)d"} <= placeholders(form) <= wanted, form


@pytest.mark.parametrize("language", OURS)
def test_compiled_catalogs_are_current(language: str) -> None:
    """What is shipped compiled is what stands in the source beside it."""
    compiled, source = (
        read(PACKAGE / f"translations/{language}/LC_MESSAGES/{DOMAIN}{kind}") for kind in (".mo", ".po")
    )
    found = {tuple(forms(each.id)): forms(each.string) for each in compiled if each.id}
    ready = {tuple(forms(each.id)): forms(each.string) for each in source if each.id and all(forms(each.string))}
    assert {key: found.get(key) for key in ready} == ready
    assert found.keys() <= {tuple(forms(each.id)) for each in source}


def test_the_languages_are_these() -> None:
    """Every catalog that we ship is looked at here."""
    assert sorted(path.name for path in (PACKAGE / "translations").iterdir() if path.is_dir()) == sorted(OURS)
