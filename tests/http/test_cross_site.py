"""Calls that come from another site; and the host's Flask-WTF, before and after us."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, request
from flask_wtf.csrf import CSRFProtect

from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, LIST, PREVIEW, Case, make, refused

CROSS: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://evil.example?localhost"},
    {"Origin": "http://localhost@evil.example"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "https://app.example.com.evil.example"},
    {"Origin": ""},
    {"Origin": "localhost"},
]
SAME: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    {"Origin": "http://localhost"},
    {"Origin": "https://app.example.com"},
    {"Referer": "https://evil.example/"},
]
WRITES = [
    ("POST", INVITE),
    ("POST", f"{INVITE}/bulk"),
    ("POST", f"{LIST}/bulk"),
    ("POST", "{url}/resend"),
    ("DELETE", "{url}"),
    ("POST", PREVIEW),
    ("POST", ACCEPT),
    ("POST", DECLINE),
]


def body_for(case: Case, url: str) -> dict[str, Any] | None:
    if url == INVITE:
        return {"email": "new@example.com"}
    if url == f"{INVITE}/bulk":
        return {"invitations": [{"email": "new@example.com"}]}
    if url == f"{LIST}/bulk":
        return {"action": "revoke", "ids": [case.id]}
    if url == ACCEPT:
        return {"token": case.token, "password": PASSWORD}
    return {"token": case.token} if url in (PREVIEW, DECLINE) else None


@pytest.mark.parametrize(("method", "url"), WRITES)
@pytest.mark.parametrize("headers", CROSS, ids=str)
def test_cross_site(untouched: Case, method: str, url: str, headers: dict[str, str]) -> None:
    """H2: a call with a cookie that another site sends, or a sandboxed frame, is refused, whatever it wants."""
    client = untouched.host.client(untouched.admin)
    client.set_cookie("session", "whatever")
    answer = client.open(url.format(url=untouched.url), method=method, json=body_for(untouched, url), headers=headers)
    refused(answer, 403, "cross-site")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("headers", SAME, ids=str)
def test_same_site(local: Host, headers: dict[str, str]) -> None:
    """H2: our own pages, the site that the mails lead to, and programs that say nothing, may call with a cookie."""
    case = make(local, "pending")
    for number, (method, url) in enumerate(WRITES):
        fresh = make(local, "pending", f"T{number}")
        who = local.client() if url in (PREVIEW, ACCEPT, DECLINE) else local.client(fresh.admin)
        who.set_cookie("session", "whatever")
        answer = who.open(url.format(url=fresh.url), method=method, json=body_for(fresh, url), headers=headers)
        assert answer.status_code < 300, (url, answer.text)
    assert case.client("admin").get(case.url).status_code == 200


@pytest.mark.parametrize("headers", CROSS, ids=str)
def test_without_cookie(untouched: Case, headers: dict[str, str]) -> None:
    """H2, W2: a call of another site is refused without a cookie too: there are other credentials that browsers add."""
    refused(untouched.host.client().post(PREVIEW, json={"token": untouched.token}, headers=headers), 403, "cross-site")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_from_another_site(untouched: Case, method: str) -> None:
    """Reading changes nothing and is left to the browser's own same-origin rule."""
    client = untouched.host.client(untouched.admin)
    client.set_cookie("session", "whatever")
    assert client.open(LIST, method=method, headers=CROSS[0]).status_code == 200


# Flask-WTF


def add_routes(app: Flask) -> None:
    @app.post("/host-form")
    def host_form() -> str:
        return f"took {request.form.get('x')}"

    @app.post("/api/v1/users/own")
    def own() -> str:
        return "own"


class Guarded(Flask):
    """An app that has its CSRFProtect from the start."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.secret_key = "early"
        CSRFProtect(self)


@pytest.fixture(params=["before", "after"])
def protected(request: pytest.FixtureRequest, local_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host with CSRFProtect, set up before us or after us."""
    if request.param == "before":
        monkeypatch.setattr("tests.hosts.Flask", Guarded)
    with build(local_url) as host:
        add_routes(host.app)
        if request.param == "after":
            CSRFProtect(host.app)
        yield host


def test_csrf_protect(protected: Host) -> None:
    """H2: with Flask-WTF our API needs no form token, and answers as ever, a refusal included."""
    for number, (method, url) in enumerate(WRITES):
        case = make(protected, "pending", f"T{number}")
        who = protected.client() if url in (PREVIEW, ACCEPT, DECLINE) else protected.client(case.admin)
        answer = who.open(url.format(url=case.url), method=method, json=body_for(case, url))
        assert answer.status_code < 300, (url, answer.text)
    client = protected.client(case.admin)
    client.set_cookie("session", "whatever")
    refused(client.post(INVITE, json={"email": "a@example.com"}, headers=CROSS[0]), 403, "cross-site")


def test_csrf_protect_still_protects_the_host(protected: Host) -> None:
    """H2: the host's own routes are guarded as before, also the one below our prefix, and its refusal is its own."""
    protected.client().get(LIST)
    for url in ("/host-form", "/api/v1/users/own"):
        answer = protected.client().post(url, data={"x": "1"})
        assert (answer.status_code, answer.mimetype) == (400, "text/html")
        assert "CSRF token is missing" in answer.text
        assert "no-store" not in answer.headers.get("Cache-Control", "")
