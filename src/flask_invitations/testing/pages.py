"""A look at the pages: whether the templates that the host put in place of ours have all that they need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Any

from flask import Flask, render_template, url_for

from ..current import get_state
from ..samples import Sample, desk_samples, samples
from ..web.pages import is_own


class _Seen(HTMLParser):
    """What stands on a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: dict[str, list[dict[str, str | None]]] = {}
        self.marks: set[str] = set()
        self.classes: set[str] = set()
        self.forms: dict[str, set[str]] = {}
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self._form = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.setdefault(tag, []).append(given)
        self.marks |= given.keys()
        self.classes |= set((given.get("class") or "").split())
        if tag == "form":
            self._form = given.get("action") or ""
            self.forms.setdefault(self._form, set())
        elif self._form and given.get("name"):
            self.forms[self._form].add(given["name"] or "")
        if tag in ("main", "title", "script", "h1"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = ""
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data: str) -> None:
        for tag in ("page", *self._open):
            self.texts[tag] = self.texts.get(tag, "") + data

    def has(self, tag: str, name: str, part: str) -> bool:
        return any(part in (attrs.get(name) or "") for attrs in self.tags.get(tag, ()))


def check_pages(app: Flask) -> None:
    """Render each page, the invitee's and the manager's, with sample data, through the templates that ``app`` puts in
    place of ours, and look for what it cannot do without: blocks, landmarks, forms and their fields, the script, no
    inline code.

    :raises AssertionError: naming each template, what it lacks, and the fix.
    """
    with app.app_context():
        here = f"{get_state().ctx.config.pages_prefix}/accept"
    with app.test_request_context(here):
        shown = [*samples(), *desk_samples()]
        lacks = [*_frame_lacks(app), *(each for sample in shown for each in _lacks(app, sample))]
    if lacks:
        raise AssertionError("\n".join(dict.fromkeys(lacks)))


def _words() -> dict[str, Any]:
    ctx = get_state().ctx
    return {"app_name": ctx.config.app_name, "settings": ctx.config, "home_url": "/", **ctx.language(None).words()}


def _frame_lacks(app: Flask) -> Iterator[str]:
    frame = "invitations/base.html"
    probe = "{% extends frame %}{% block title %}the title{% endblock %}{% block content %}the content{% endblock %}"
    try:
        base = get_state().ctx.template("base.html")
        words = {"frame": base, **_words()}
        seen = _Seen(render_template(base.environment.from_string(probe), **words))
    except Exception as error:
        yield _unrendered(frame, error)
        return
    for block, inside in (("title", "title"), ("content", "main")):
        if f"the {block}" not in seen.texts.get(inside, ""):
            yield f"{frame}: no {{% block {block} %}} inside of <{inside}>: put it there"
    yield from _head_lacks(frame, seen)


def _unrendered(template: str, error: Exception) -> str:
    if isinstance(error, RecursionError) and _extends_itself(template):
        return f'{template}: it extends itself: write {{% extends "flask_{template}" %}}'
    return f"{template}: it does not render: {type(error).__name__}: {error}"


def _extends_itself(template: str) -> bool:
    environment: Any = get_state().ctx.template(template.removeprefix("invitations/")).environment
    source = environment.loader.get_source(environment, template)[0]
    return re.search(rf"""extends\s+["']{re.escape(template)}["']""", source) is not None


def _head_lacks(frame: str, seen: _Seen) -> Iterator[str]:
    if not seen.has("link", "rel", "stylesheet"):
        yield f"{frame}: no stylesheet: link invitations.css, or one of your own"
    if not seen.has("script", "src", url_for("invitations.static", filename="invitations.js")):
        yield f"{frame}: no invitations.js: without that script an emailed link must be pasted by hand"
    if not seen.tags.get("html") or not seen.tags["html"][0].get("lang"):
        yield f'{frame}: <html> does not say its language: lang="{{{{ language.tag }}}}"'
    if len(seen.tags.get("main", ())) != 1:
        yield f"{frame}: there must be one <main>"
    for tag, name in (("link", "href"), ("script", "src"), ("img", "src")):
        for url in filter(None, (each.get(name) for each in seen.tags.get(tag, ()))):
            if not url.startswith("data:") and not is_own(url):
                yield f"{frame}: {url} is on another site, which our Content-Security-Policy forbids: serve it yourself"


def _lacks(app: Flask, sample: Sample) -> Iterator[str]:
    template = f"invitations/{sample.template}"
    try:
        seen = _Seen(render_template(get_state().ctx.template(sample.template), **_words(), **sample.words))
    except Exception as error:
        yield _unrendered(template, error)
        return
    yield from _page_lacks(template, seen)
    if seen.tags.get("style") or "style" in seen.marks or seen.texts.get("script", "").strip():
        yield f"{template}: inline style or script, which our Content-Security-Policy forbids: move it to a file"
    for text in sample.texts:
        if text not in seen.texts["page"]:
            yield f"{template}: it does not show {text!r}"
    for mark in sorted(set(sample.marks) - seen.marks):
        yield f"{template}: no element with {mark}, by which the script finds its way"
    csrf = ("csrf_token",) if _has_csrf_token(app) else ()
    for endpoint, names in sample.forms.items():
        action = endpoint if endpoint.startswith("/") else url_for(f"invitations.{endpoint}")
        yield from _form_lacks(template, seen, action, (*names, *csrf))


def _page_lacks(template: str, seen: _Seen) -> Iterator[str]:
    if "h1" not in seen.texts:
        yield f"{template}: no <h1>"
    if "invitations" not in seen.classes:
        yield f'{template}: nothing has the class "invitations", and so no style: extend invitations/page.html'


def _has_csrf_token(app: Flask) -> bool:
    """Whether the host gives its templates one, as a global or by a context processor."""
    words: dict[str, Any] = {}
    app.update_template_context(words)
    return "csrf_token" in {**app.jinja_env.globals, **words}


def _form_lacks(template: str, seen: _Seen, action: str, names: Sequence[str]) -> Iterator[str]:
    if action not in seen.forms:
        yield f"{template}: no form to {action}"
        return
    for name in names:
        if name not in seen.forms[action]:
            fix = ": put {{ form.carried(token) }} into it" if name in ("token", "csrf_token") else ""
            fix = ": put {{ desk.sealed(...) }} into it" if name == "seal" else fix
            yield f"{template}: the form to {action} has no field {name!r}{fix}"
