"""The host's profile schema as a form, and the form as what the schema reads."""

from __future__ import annotations

import enum
import json
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, fields, validate
from werkzeug.datastructures import MultiDict

from flask_invitations.errors import Sentence
from flask_invitations.web.forms import inputs, read_profile, sentences
from tests.hosts import PASSWORD, Host, build
from tests.pages.test_pages import invite, post


class Size(enum.Enum):
    """A choice by name."""

    SMALL = 1
    VERY_LARGE = 2


class Every(Schema):
    """A field of each kind."""

    text = fields.String(required=True, validate=validate.Length(1, 40))
    mail = fields.Email()
    site = fields.Url(data_key="web_site")
    whole = fields.Integer(strict=True)
    part = fields.Float()
    day = fields.Date()
    at = fields.Time()
    when = fields.DateTime()
    size = fields.Enum(Size, required=True)
    number = fields.Enum(Size, by_value=fields.Integer)
    pick = fields.Integer(validate=validate.OneOf([1, 2], ["One", "Two"]))
    many = fields.List(fields.String(validate=validate.OneOf(["a", "b"])))
    several = fields.List(fields.Integer(), validate=validate.ContainsOnly([1, 2, 3]))
    news = fields.Boolean(metadata={"label": "Tell me news", "description": "Once a month."})
    terms = fields.Boolean(required=True, validate=validate.Equal(True))
    deep = fields.Nested(Schema.from_dict({"street": fields.String()}))


SENT = {
    "text": "Nora",
    "mail": "n@example.com",
    "web_site": "https://example.com",
    "whole": "7",
    "part": "1.5",
    "day": "2026-11-23",
    "at": "09:30",
    "when": "2026-11-23T09:30",
    "size": "VERY_LARGE",
    "number": "2",
    "pick": "2",
    "many": ["b"],
    "several": ["1", "3"],
    "terms": "on",
}
LOADED = {
    "text": "Nora",
    "mail": "n@example.com",
    "site": "https://example.com",
    "whole": 7,
    "part": 1.5,
    "day": date(2026, 11, 23),
    "at": time(9, 30),
    "when": datetime(2026, 11, 23, 9, 30),
    "size": Size.VERY_LARGE,
    "number": Size.VERY_LARGE,
    "pick": 2,
    "many": ["b"],
    "several": [1, 3],
    "news": False,
    "terms": True,
}


def read(sent: dict[str, Any]) -> dict[str, Any]:
    names = [field.data_key or name for name, field in Every().load_fields.items()]
    return read_profile(inputs(Every()), names, MultiDict(sent))


def test_a_control_for_each_kind() -> None:
    """Each field is asked for by the control and the keyboard that fit it; what no control fits has none."""
    asked = {each.name: (each.kind, each.mode) for each in inputs(Every())}
    assert asked == {
        "text": ("text", None),
        "mail": ("email", None),
        "web_site": ("url", None),
        "whole": ("text", "numeric"),
        "part": ("text", "decimal"),
        "day": ("date", None),
        "at": ("time", None),
        "when": ("datetime-local", None),
        "size": ("select", None),
        "number": ("select", None),
        "pick": ("select", None),
        "many": ("checkboxes", None),
        "several": ("checkboxes", None),
        "news": ("checkbox", None),
        "terms": ("checkbox", None),
    }
    assert [each.name for each in inputs(Every()) if each.required] == ["text", "size", "terms"]
    assert inputs(Schema()) == []


def test_labels_and_choices() -> None:
    """Labels, hints, choices and lengths are the schema's own words."""
    by_name = {each.name: each for each in inputs(Every())}
    assert (by_name["news"].label, by_name["news"].hint) == ("Tell me news", "Once a month.")
    assert (by_name["web_site"].label, by_name["web_site"].hint) == ("Web site", None)
    assert by_name["text"].max_length == 40
    assert by_name["size"].choices == [("SMALL", "Small"), ("VERY_LARGE", "Very large")]
    assert by_name["number"].choices == [("1", "Small"), ("2", "Very large")]
    assert by_name["pick"].choices == [("1", "One"), ("2", "Two")]
    assert by_name["several"].choices == [("1", "1"), ("2", "2"), ("3", "3")]


def test_what_was_sent_loads() -> None:
    """What a browser sends for each control is what the schema reads; a box not ticked is false."""
    assert Every().load(read(SENT)) == LOADED


@pytest.mark.parametrize("junk", ["x", "", " ", "9" * 5000, "-", "²", "٣x"])
def test_junk_is_refused_by_the_schema(junk: str) -> None:
    """What is no number, no choice, no day is left to the schema to refuse; what is empty counts as left out."""
    given = read({**SENT, "whole": junk, "pick": junk, "day": junk})
    wrong = Every().validate(given)
    assert set(wrong) == ({"whole", "pick", "day"} if junk else set())


def test_nothing_ticked_and_nothing_chosen() -> None:
    """An empty form misses what is required and nothing else; its lists are empty and its boxes false."""
    given = read({})
    assert given == {"many": [], "several": [], "news": False, "terms": False}
    assert set(Every().validate(given)) == {"text", "size", "terms"}


def test_the_page_keeps_what_was_entered(tmp_path: Path) -> None:
    """After a mistake every control shows what was entered; then all of it reaches ``create_user``."""
    seen: list[Any] = []

    def create_user(invitation: Any, profile: Any, password: Any) -> Any:
        seen.append(dict(profile))
        return host.User(email=invitation.email_key, role=invitation.role, tenant_id=invitation.tenant_id)

    url = f"sqlite:///{tmp_path / 'p.sqlite3'}"
    host: Host
    with build(url, profile_schema=Every, create_user=create_user) as host:
        token, client = invite(host), host.client()
        first = post(client, "open", token).text
        assert (
            '<input id="invitations-field-whole" name="whole" type="text" autocomplete="on" inputmode="numeric">'
            in first
        )
        again = post(client, "accept", token, password="short", **SENT)
        assert again.status_code == 422
        for shown in (
            'name="text" type="text" required value="Nora"',
            'name="web_site" type="url" value="https://example.com"',
            'name="whole" type="text" value="7"',
            '<option value="VERY_LARGE" selected>Very large</option>',
            '<option value="2" selected>Two</option>',
            'name="many" type="checkbox" value="b" checked>',
            'name="several" type="checkbox" value="3" checked>',
            'name="terms" type="checkbox" required checked>',
        ):
            assert shown in again.text
        assert again.text.count(" checked>") == 4
        assert post(client, "accept", token, password=PASSWORD, **SENT).status_code == 303
        assert seen == [LOADED]


def test_sentences_are_translated() -> None:
    """What is wrong with a field is told in the reader's language, our numbers filled in afterwards; a host's own
    sentence goes through as it is, with whatever percent signs; and in JSON it is English."""
    catalog = {"At most %(high)s.": "Höchstens %(high)s.", "Not a valid URL.": "Keine gültige Adresse."}

    def gettext(text: str) -> str:
        return catalog.get(text, text)

    ours = Sentence("At most %(high)s.", high=128)
    assert sentences([ours, "Not a valid URL."], gettext) == ["Höchstens 128.", "Keine gültige Adresse."]
    assert sentences({0: {"street": ["100 % wrong"]}, "_schema": "No."}, gettext) == ["100 % wrong", "No."]
    assert json.dumps({"password": [ours]}) == '{"password": ["At most 128."]}'
    assert Sentence("100 % ours").translated(gettext) == "100 % ours"
