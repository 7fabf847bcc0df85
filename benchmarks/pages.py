"""How long until the first byte of an invitee's page, beside a bare Jinja page in the same run?

    .venv/bin/python -m benchmarks.pages [ROUNDS]

The bare page is what a host would write by hand for the same: a Flask view that reads as many rows of the host's by
SQLAlchemy as our page runs statements, and renders a template of about the same size, with a base and a dozen values.
The two take turns; medians are shown. Nothing is streamed: the first byte is there when the answer is.
"""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

import sqlalchemy as sa
from flask import Flask, render_template
from jinja2 import DictLoader

from benchmarks.run import Call, table, timed
from tests.hosts import Host, build

PAGES = "/invitations"
BASE = """<!doctype html><html lang="{{ lang }}"><head><meta charset="utf-8">
<title>{% block title %}{% endblock %}</title>
<link rel="stylesheet" href="{{ url_for('static', filename='page.css') }}"></head>
<body><header>{{ app }}</header><main>{% block content %}{% endblock %}</main></body></html>"""
FIELD = """<p><label for="f-{{ each }}">{{ each }}</label>
<input id="f-{{ each }}" name="{{ each }}" value="{{ user.email }}" required></p>"""
PAGE = f"""{{% extends "base.html" %}}{{% block title %}}Join {{{{ tenant }}}}{{% endblock %}}{{% block content %}}
<h1>Join {{{{ tenant }}}}</h1><p>{{{{ user.email }}}} invites you to {{{{ tenant }}}} as {{{{ user.role }}}}.</p>
<blockquote>{{{{ words }}}}</blockquote>
<form method="post" action="{{{{ url_for('page') }}}}">
{{% for each in fields %}}{FIELD}{{% endfor %}}<button>Accept</button></form>
<form method="post" action="{{{{ url_for('page') }}}}"><button>Decline</button></form>{{% endblock %}}"""


def bare(host: Host, statements: int, size: int) -> Call:
    """A hand-written page with as many statements and about as many bytes."""
    app, session = Flask("bare"), host.db.session
    app.config["SQLALCHEMY_DATABASE_URI"] = host.app.config["SQLALCHEMY_DATABASE_URI"]
    host.db.init_app(app)
    app.jinja_loader = DictLoader({"base.html": BASE, "page.html": PAGE})

    @app.post("/")
    def page() -> str:
        user: Any = None
        for _ in range(statements):
            user = session.scalar(sa.select(host.User).where(host.User.email == "admin@example.com"))
        words = {"lang": "en", "app": "Test", "tenant": "Acme", "fields": ("token", "name", "password", "reason")}
        return render_template("page.html", user=user, words="w" * max(0, size - 1200), **words)

    return partial(app.test_client().post, "/", data={"token": "x" * 43})


def measure(name: str, url: str, rounds: int) -> None:
    """One line of the table for each page."""
    with build(url) as host:
        admin = host.client(host.user("admin@example.com", role="admin"))
        admin.post("/api/v1/users/invite", json={"email": "new@example.com", "message": "Welcome!"})
        token, guest = host.outbox.token_to("new@example.com"), host.client()
        for what, call in (
            ("landing", partial(guest.get, f"{PAGES}/accept")),
            ("open", partial(guest.post, f"{PAGES}/open", data={"token": token})),
        ):
            with host.statements() as statements:
                size = len(call().data)
            least = bare(host, len(statements), size)
            pairs = [(timed(call), timed(least)) for _ in range(rounds + 20)][20:]
            ours, floor = (median(each) for each in zip(*pairs, strict=True))
            cells = f"{len(statements)} | {size} | {len(least().data)} | {ours:.2f} | {floor:.2f} | {ours / floor:.2f}"
            print(f"| {name} | {what} | {cells} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    head = "| database | page | SQL | bytes | bare bytes | ms | bare ms | ratio |\n|---|---|--:|--:|--:|--:|--:|--:|"
    table(head, 300, measure)
