"""The test kit's look at the pages: a host that put templates of its own in place of ours learns what they lack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask_wtf import CSRFProtect
from jinja2 import ChoiceLoader, DictLoader, StrictUndefined
from marshmallow import Schema, fields

from flask_invitations.testing import check_pages
from tests.hosts import Host, build, without_profile
from tests.pages.site import Profile

OURS = Path(__file__).parents[2] / "src/flask_invitations/templates"
FRAME = (OURS / "invitations/frame.html").read_text()
EVERYTHING = {"INVITATIONS_FRESH_LINK": "send"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Host]:
    """A host with every kind of field, and fresh links."""
    with build(
        f"sqlite:///{tmp_path / 'kit.sqlite3'}", profile_schema=Profile, create_user=without_profile, config=EVERYTHING
    ) as host:
        yield host


def put(site: Host, **templates: str) -> None:
    """Give the host templates of its own."""
    own = {f"invitations/{name}.html": text for name, text in templates.items()}
    site.app.jinja_loader = ChoiceLoader([DictLoader(own)])


def complaints(site: Host) -> str:
    with pytest.raises(AssertionError) as found:
        check_pages(site.app)
    return str(found.value)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("csrf", [False, True])
def test_ours_are_complete(site: Host, strict: bool, csrf: bool) -> None:
    """The kit has nothing to say about our own templates, with a host's form tokens and strict names or without."""
    if strict:
        site.app.jinja_env.undefined = StrictUndefined
    if csrf:
        CSRFProtect(site.app)
    check_pages(site.app)


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("{% block content %}{% endblock %}", "invitations/base.html: no {% block content %} inside of <main>"),
        ("{% block title %}{% endblock %}", "invitations/base.html: no {% block title %} inside of <title>"),
        ('lang="{{ language.tag }}"', "invitations/base.html: <html> does not say its language"),
        ('{% include "invitations/head.html" %}', "invitations/base.html: no stylesheet"),
        ('{% include "invitations/head.html" %}', "invitations/base.html: no invitations.js"),
        ("</?main>", "invitations/base.html: there must be one <main>"),
    ],
)
def test_a_frame_that_forgets(site: Host, lost: str, told: str) -> None:
    """A base template without one of its blocks, landmarks or files is named, with what it lacks."""
    frame = re.sub(lost if lost.startswith("<") else re.escape(lost), "", FRAME)
    assert frame != FRAME
    put(site, base=frame)
    assert told in complaints(site)


@pytest.mark.parametrize(
    ("name", "lost", "told"),
    [
        ("landing", "{{ form.paste() }}", "invitations/landing.html: no form to /invitations/open"),
        ("landing", "{{ form.carried(token) }}", "the form to /invitations/open has no field 'token': put {{"),
        (
            "landing",
            "data-invitations-with-link",
            "invitations/landing.html: no element with data-invitations-with-link",
        ),
        (
            "offer",
            "{% block invitations_profile %}.*{% endblock %}(?=\n  {% block invitations_password)",
            "/invitations/accept has no field 'name'",
        ),
        ("offer", '{% call form.field\\("password".*?endcall %}', "has no field 'password'"),
        ("offer", '<input type="text" name="username"[^>]*>', "has no field 'username'"),
        ("offer", "{{ form.carried\\(token\\) }}", "the form to /invitations/accept has no field 'csrf_token': put {{"),
        ("offer", "<details.*</details>", "invitations/offer.html: no form to /invitations/decline"),
        ("offer", "{% if errors %}{{ form.summary.*?endif %}|said=[^,]*,", "it does not show 'a complaint'"),
        ("offer", "<h1>.*?</h1>", "invitations/offer.html: no <h1>"),
        (
            "offer",
            "{% block invitations_abuse %}.*?{% endblock %}",
            "the form to /invitations/decline has no field 'never_again'",
        ),
        ("stop", "<form.*?</form>", "invitations/stop.html: no form to /invitations/stop/"),
        ("refused", '{% elif told.way == "fresh".*?</form>', "no form to /invitations/fresh"),
        ("declined", "<h1>.*?</h1>", "invitations/declined.html: no <h1>"),
        ("accepted", "<h1>", "invitations/accepted.html: inline style"),
        (
            "requested",
            "{% block invitations_page %}",
            "invitations/requested.html: it does not render: TemplateSyntaxError",
        ),
        ("stopped", "invitations/page", 'invitations/stopped.html: nothing has the class "invitations"'),
        ("desk/list", '{{ desk.sealed("invite") }}', "/invitations/invite has no field 'seal': put {{ desk.sealed"),
        ("desk/details", '{{ desk.sealed("resend") }}', "/resend has no field 'seal': put {{ desk.sealed"),
        ("desk/revoke", "<form.*?</form>", "invitations/desk/revoke.html: no form to /invitations/"),
        ("desk/list", '{{ desk.sealed("selected") }}', "/invitations/selected has no field 'seal': put {{ desk.sealed"),
        ("desk/list", "{{ desk.outcome(outcome) }}", "invitations/desk/list.html: it does not show '4711'"),
        ("desk/many", '<input id="invitations-field-file"[^>]*>', "/invitations/many/preview has no field 'file'"),
        ("desk/preview", '<input type="hidden" name="plan"[^>]*>', "/invitations/many has no field 'plan'"),
        ("desk/preview", "{{ why(each) }}", "invitations/desk/preview.html: it does not show 'a reason'"),
        ("desk/revoke_many", "<form.*?</form>", "revoke_many.html: no form to /invitations/selected/revoke"),
        ("desk/refused", "<h1.*?</h1>", "invitations/desk/refused.html: no <h1>"),
    ],
)
def test_a_page_that_forgets(site: Host, name: str, lost: str, told: str) -> None:
    """A page without a form, a field, a token, its heading or its errors, or with inline code, is named with it."""
    CSRFProtect(site.app)
    text = (OURS / f"invitations/{name}.html").read_text()
    pattern = lost if lost.startswith(("{%", "<")) or "\\" in lost else re.escape(lost)
    instead = {"<h1>": "<h1 style='color: red'>", "invitations/page": "invitations/base"}.get(lost, "")
    put(site, **{name: re.sub(pattern, instead, text, flags=re.DOTALL)})
    assert told in complaints(site)


@pytest.mark.parametrize("name", ["base", "offer", "desk/list"])
def test_a_template_that_extends_itself(site: Host, name: str) -> None:
    """J3: a file that takes the place of ours and extends that place is a loop, and the way out is told."""
    put(site, **{name: f'{{% extends "invitations/{name}.html" %}}'})
    told = complaints(site)
    assert f'invitations/{name}.html: it extends itself: write {{% extends "flask_invitations/{name}.html" %}}' in told
    assert told.count("it extends itself") == 1


def test_a_layout_with_context_processors(site: Host) -> None:
    """J3: a layout may count on what the app's context processors give, on where the request is, and on a form token
    that is text; what it does not have is named."""
    layout = "{{ me.name }} {{ request.endpoint.split('.')[0] }} {% block body %}{% endblock %}"
    put(site, base=FRAME.replace("<body>", f"<body>{layout}"))
    assert "invitations/base.html: it does not render: UndefinedError: 'me' is undefined" in complaints(site)
    site.app.context_processor(lambda: {"me": {"name": "Ann"}, "csrf_token": "a-token"})
    check_pages(site.app)
    with site.app.test_client() as client:
        assert 'name="csrf_token" value="a-token"' in client.get("/invitations/accept").text


def test_a_layout_from_elsewhere(site: Host) -> None:
    """J2: what our policy keeps a browser from loading is named; what comes from the app, or stands in the page, is
    not."""
    own = '<link rel="icon" href="/favicon.ico"><img src="data:image/gif;base64,AAAA" alt="">'
    other = '<script src="//cdn.example/x.js"></script>'
    put(site, base=FRAME.replace("<body>", f"<body>{own}{other}"))
    (told,) = complaints(site).splitlines()
    assert told.startswith("invitations/base.html: //cdn.example/x.js is on another site")


def test_a_field_that_no_input_asks_for(tmp_path: Path) -> None:
    """A required profile field of a kind that our page cannot ask for is told before an invitee is stuck."""

    class Deep(Schema):
        address = fields.Nested(Schema.from_dict({"street": fields.String()}), required=True)

    with build(f"sqlite:///{tmp_path / 'kit.sqlite3'}", profile_schema=Deep, create_user=without_profile) as host:
        assert "the form to /invitations/accept has no field 'address'" in complaints(host)


def test_each_template_can_be_the_hosts(tmp_path: Path, site: Host) -> None:
    """E: every template of ours, once a file of its name lies in the host's own folder, is rendered from there."""
    folder = tmp_path / "templates" / "invitations"
    folder.mkdir(parents=True)
    site.app.root_path = str(tmp_path)
    names = [path.relative_to(OURS / "invitations").as_posix() for path in (OURS / "invitations").rglob("*.*")]
    assert len(names) >= 30
    rendered: Any = site.app.jinja_env
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("OURS NO MORE")
        with site.app.test_request_context():
            assert rendered.get_template(f"invitations/{name}").render() == "OURS NO MORE", name


def test_accounts_without_passwords(tmp_path: Path) -> None:
    """Where a password is not required, the page of the host may leave its field out."""
    config = {"INVITATIONS_PASSWORD_REQUIRED": False}
    with build(f"sqlite:///{tmp_path / 'kit.sqlite3'}", config=config) as host:
        offer = "{% extends 'flask_invitations/offer.html' %}{% block invitations_password %}{% endblock %}"
        put(host, offer=offer)
        check_pages(host.app)
