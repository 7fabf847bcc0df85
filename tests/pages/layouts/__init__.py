"""Hosts with a layout of their own, made with the stylesheets that most people use: see LICENSES.md."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, render_template
from jinja2 import ChoiceLoader, DictLoader

_HERE = Path(__file__).parent
_DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"

#: What Bootstrap says to do for a dark scheme; the others do it by themselves.
THEME = """
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.setAttribute("data-bs-theme", dark.matches ? "dark" : "light");
dark.addEventListener("change", follow);
follow();
"""

_LAYOUT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{% block title %}}Home{{% endblock %}}</title>
<link rel="stylesheet" href="/assets/host.css">{script}
{{% block head %}}{{% endblock %}}</head>
<body>{bar}
<main class="{main}">{{% block body %}}<h1>Home</h1>{{% endblock %}}</main></body></html>"""

_FIND = '<form {form} action="/find"><input class="{field}" type="search" name="q" aria-label="Find">{button}</form>'
_BRAND = '<a class="{brand}" href="/"><img src="{dot}" alt="" width="24" height="24"> <strong>Northwind</strong></a>'

#: By name: a bar with a link, a picture, a form and who is signed in, and the class of <main>.
_PARTS = {
    "bootstrap": (
        f'<nav class="host navbar navbar-expand bg-body-tertiary"><div class="container">{_BRAND}{_FIND}'
        '<span class="navbar-text">{user}</span></div></nav>',
        "container py-4",
        {"brand": "navbar-brand", "form": 'class="d-flex"', "field": "form-control"},
        '<button class="btn btn-outline-primary">Find</button>',
    ),
    "bulma": (
        f'<nav class="host navbar"><div class="navbar-brand">{_BRAND}</div><div class="navbar-item">{_FIND}</div>'
        '<div class="navbar-item">{user}</div></nav>',
        "section",
        {"brand": "navbar-item", "form": 'class="field is-grouped"', "field": "input"},
        '<button class="button is-light">Find</button>',
    ),
    "pico": (
        f'<header class="host container"><nav><ul><li>{_BRAND}</li></ul><ul><li>{{user}}</li></ul></nav>'
        f"{_FIND}</header>",
        "container",
        {"brand": "", "form": 'role="search"', "field": ""},
        '<input type="submit" value="Find">',
    ),
}
NAMES = tuple(_PARTS)
#: The host's own elements.
BAR = "body, .host, .host *"

#: As docs/pages.md has it.
BASE = """{% extends "layout.html" %}
{% block head %}{{ super() }}{% include "invitations/head.html" %}{% endblock %}
{% block body %}{% block content %}{% endblock %}{% endblock %}
"""


def give(app: Flask, name: str) -> Callable[[], None]:
    """The layout of that name to an app, with a context processor that says who is signed in.

    :returns: gives our pages the framework's colors, too.
    """
    bar, main, classes, button = _PARTS[name]
    user = "{{ host_user.email if host_user else 'Sign in' }}"
    bar = bar.format(dot=_DOT, user=user, button=button, **classes)
    script = '<script src="/assets/theme.js"></script>' if name == "bootstrap" else ""
    layout = _LAYOUT.format(bar=bar, main=main, script=script)
    app.jinja_loader = ChoiceLoader([DictLoader({"layout.html": layout, "invitations/base.html": BASE})])
    app.context_processor(lambda: {"host_user": None})
    style = [gzip.decompress((_HERE / f"{name}.css.gz").read_bytes()).decode()]
    app.add_url_rule("/assets/host.css", "host_css", lambda: Response("\n".join(style), mimetype="text/css"))
    app.add_url_rule("/assets/theme.js", "host_js", lambda: Response(THEME, mimetype="text/javascript"))
    app.add_url_rule("/plain", "plain", lambda: render_template("layout.html"))
    return lambda: style.append(colors(name))


def colors(name: str) -> str:
    """What docs/pages.md has for that framework."""
    text = (Path(__file__).parents[3] / "docs/pages.md").read_text()
    found = re.search(rf"```css\n/\* {name}.*?\*/\n(.*?)```", text, re.DOTALL | re.IGNORECASE)
    assert found, name
    return found[1]
