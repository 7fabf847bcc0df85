"""J1: our templates mean what they say, whatever the host has done to Jinja."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from jinja2 import ChoiceLoader, DictLoader, Environment, ModuleLoader, StrictUndefined
from jinja2.ext import Extension
from jinja2.nativetypes import NativeEnvironment

from tests.hosts import Host, build

PAGES, API = "/invitations", "/api/v1/users"
NOW = datetime(2026, 3, 2, 15, 5, tzinfo=timezone.utc)
NAME = "<i>Ada & Co"
DELIMITERS = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


class Loud(Extension):
    """An extension that rewrites the source of every template."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return source.upper()


class Native(NativeEnvironment):
    """An environment that renders values, not text."""

    def __init__(self, app: Flask, **options: Any) -> None:
        super().__init__(**{"loader": app.create_global_jinja_loader(), **options})


def _options(**options: Any) -> Callable[[Flask], None]:
    def change(app: Flask) -> None:
        app.jinja_options = {**app.jinja_options, **options}

    return change


def _env(change: Callable[[Any], Any]) -> Callable[[Flask], None]:
    return lambda app: change(app.jinja_env) and None


def _broken(*_given: Any, **_more: Any) -> str:
    return "BROKEN"


def _no_escape(app: Flask) -> None:
    app.select_jinja_autoescape = lambda filename: False  # type: ignore[method-assign]


def _native(app: Flask) -> None:
    app.jinja_environment = Native  # type: ignore[assignment]


def _own_loader(app: Flask) -> None:
    app.jinja_env.loader = DictLoader({"home.html": "Home"})


HOSTS: dict[str, Callable[[Flask], None]] = {
    "other delimiters": _options(**DELIMITERS),
    "delimiters changed late": _env(lambda env: vars(env).update(DELIMITERS)),
    "line statements": _options(line_statement_prefix="#", line_comment_prefix="//"),
    "nothing is escaped": _no_escape,
    "autoescape is off": _options(autoescape=False),
    "strict names": _options(undefined=StrictUndefined),
    "a finalizer": _options(finalize=lambda value: "" if value is None else f"[{value}]"),
    "white space": _options(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, newline_sequence="\r\n"),
    "filters": _env(lambda env: env.filters.update(dict.fromkeys(("e", "escape", "trim", "join", "string"), _broken))),
    "tests": _env(lambda env: env.tests.update(dict.fromkeys(("defined", "none"), lambda value: False))),
    "globals": _env(lambda env: env.globals.update(range=_broken, dict=_broken, namespace=_broken, tenant_name="Evil")),
    "an extension that rewrites": _env(lambda env: env.add_extension(Loud)),
    "native types": _native,
    "a loader that knows no blueprints": _own_loader,
}


def _build(tmp_path: Path, change: Callable[[Flask], None]) -> Host:
    host = build(f"sqlite:///{tmp_path / 'templates.sqlite3'}", clock=lambda: NOW)
    change(host.app)
    return host


def _shown(host: Host) -> tuple[str, str, str, str, str]:
    """What an invitee of a tenant with a hostile name is shown: page, subject, text, HTML; and the manager's desk."""
    tenant = host.tenant(NAME)
    admin = host.user("admin@example.com", role="admin", tenant=tenant)
    assert host.client(admin).post(f"{API}/invite", json={"email": "new@example.com"}).status_code == 201
    (message,) = host.outbox.messages
    token = str(message.accept_url).rpartition("#")[2]
    page = host.client().post(f"{PAGES}/open", data={"token": token})
    desk = host.client(admin).get(f"{PAGES}/")
    assert (page.status_code, desk.status_code) == (200, 200)
    return page.text, message.subject, message.text, message.html, desk.text


def _same(text: str) -> str:
    """Less what differs between two hosts, ids and secrets, and less white space."""
    return re.sub(r'value="[^"]*"|[A-Za-z0-9_-]{36,}|\s+', "", text)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What a host that changes nothing shows."""
    with _build(tmp_path_factory.mktemp("usual"), lambda app: None) as host:
        return _shown(host)


@pytest.mark.parametrize("change", HOSTS.values(), ids=HOSTS)
def test_the_hosts_own_ways(tmp_path: Path, usual: tuple[str, ...], change: Callable[[Flask], None]) -> None:
    """J1: pages and emails are the same to the letter, and a name is never markup, whatever the host has changed."""
    with _build(tmp_path, change) as host:
        shown = _shown(host)
    assert [_same(each) for each in shown] == [_same(each) for each in usual]
    page, _, text, html, _ = shown
    assert NAME not in page + html
    assert "&lt;i&gt;Ada &amp; Co" in page
    assert "Ada" in text


def test_a_layout_of_the_hosts(tmp_path: Path) -> None:
    """J1: a template in place of ours is in Jinja's own syntax, and extends the host's layout, which is in the host's
    delimiters, with the host's filters, globals and tags at hand."""
    own = {
        "layout.html": "<title><% block title %><% endblock %></title><< shout('host') >>"
        "<% block content %><% endblock %>",
        "invitations/base.html": "{% extends 'layout.html' %}{% block title %}{{ 'x'|shouted }}{% endblock %}",
        "invitations/declined.html": "{% extends 'invitations/base.html' %}{% block content %}"
        "{% do [].append(1) %}{{ shout('<b>') }}<< no syntax of ours >>{% endblock %}",
    }

    def change(app: Flask) -> None:
        _options(**DELIMITERS, extensions=["jinja2.ext.do"])(app)
        app.jinja_loader = ChoiceLoader([DictLoader(own)])
        app.jinja_env.globals["shout"] = app.jinja_env.filters["shouted"] = str.upper

    with _build(tmp_path, change) as host:
        answer = host.client().get(f"{PAGES}/declined").text
    assert answer == "<title>X</title>HOST&lt;B&gt;<< no syntax of ours >>"


def test_a_name_that_the_host_adds_later(tmp_path: Path) -> None:
    """J1: a filter or global that the host registers after the first email can be used in its templates."""
    own = {"invitations/declined.html": "{{ 'a'|late }}{{ late('b') }}"}
    with _build(tmp_path, lambda app: setattr(app, "jinja_loader", DictLoader(own))) as host:
        host.client().get(f"{PAGES}/accepted")
        host.app.jinja_env.filters["late"] = host.app.jinja_env.globals["late"] = str.upper
        assert host.client().get(f"{PAGES}/declined").text == "AB"


def test_one_block_of_a_page(tmp_path: Path) -> None:
    """J1: a template of the host's can extend the one of ours that it takes the place of, and fill one block."""
    text = "{% extends 'flask_invitations/declined.html' %}{% block title %}Pity{% endblock %}"
    loader = DictLoader({"invitations/declined.html": text})
    with _build(tmp_path, lambda app: setattr(app, "jinja_loader", loader)) as host:
        answer = host.client().get(f"{PAGES}/declined").text
    assert "<title>Pity" in answer
    assert "<h1>" in answer


def test_a_host_whose_templates_are_compiled(tmp_path: Path) -> None:
    """J1: a loader of the host's that has no sources keeps neither ours nor the host's other templates from loading."""
    Environment(loader=DictLoader({"home.html": "Home"})).compile_templates(tmp_path / "compiled", zip=None)
    own = {"invitations/declined.html": "Pity"}

    def change(app: Flask) -> None:
        app.jinja_loader = DictLoader(own)
        app.jinja_env.loader = ChoiceLoader([ModuleLoader(tmp_path / "compiled"), app.create_global_jinja_loader()])

    with _build(tmp_path, change) as host:
        _shown(host)
        assert host.client().get(f"{PAGES}/declined").text == "Pity"


def test_a_context_processor_that_gives_anything(tmp_path: Path) -> None:
    """J1: a context processor of the host's may use any name that our templates take from Jinja."""
    names = ("namespace", "range", "dict", "cycler", "joiner", "lipsum")

    def change(app: Flask) -> None:
        app.context_processor(lambda: dict.fromkeys(names, "production"))

    with _build(tmp_path, change) as host:
        _shown(host)


@pytest.mark.parametrize("part", ["txt", "html"])
def test_an_email_without_its_link(host: Host, part: str, caplog: pytest.LogCaptureFixture) -> None:
    """J1: an email whose template shows no link is not sent; the template is named."""
    host.app.jinja_loader = DictLoader({f"invitations/mail/invitation.{part}": "Dear << name >>"})
    admin = host.user("admin@example.com", role="admin")
    assert host.client(admin).post(f"{API}/invite", json={"email": "new@example.com"}).status_code == 201
    assert host.outbox.messages == []
    (mail,) = host.rows(host.invitations.models.Delivery)
    assert (mail.state, mail.sent_at) == ("queued", None)
    assert f"invitations/mail/invitation.{part} shows no link" in caplog.text
