"""Hosts that set headers on every answer: W3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, after_this_request, make_response, request, request_finished, session
from flask.sessions import SecureCookieSessionInterface
from werkzeug.test import TestResponse

from flask_invitations.current import override
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DOCUMENT, INVITE, LIST, PREVIEW, Case, make
from tests.pages.test_desk import DESK

PUBLIC = {
    "Cache-Control": "public, max-age=3600",
    "CDN-Cache-Control": "max-age=600",
    "Surrogate-Control": "max-age=600",
    "x-accel-expires": "600",
    "Expires": "Thu, 01 Dec 2099 16:00:00 GMT",
    "X-Content-Type-Options": "sniff",
    "Vary": "Accept-Encoding",
    "X-Host": "theirs",
}


def theirs(answer: Response) -> Response:
    answer.headers.update(PUBLIC)
    return answer


def twice(answer: Response) -> Response:
    theirs(answer).headers["Vary"] = "Origin"
    answer.headers.add("Vary", "Accept-Encoding")
    return answer


def other(answer: Response) -> Response:
    answer.direct_passthrough = False
    made = make_response(answer.get_data(), answer.status_code, dict(answer.headers))
    answer.close()
    return theirs(made)


class Sessions(SecureCookieSessionInterface):
    """Sets headers where it saves, after every other function."""

    def is_null_session(self, obj: object) -> bool:
        return False

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        theirs(response)
        super().save_session(app, session, response)


def _after_request(app: Flask) -> None:
    app.after_request(theirs)


def _last_of_all(app: Flask) -> None:
    app.after_request_funcs.setdefault(None, []).insert(0, theirs)


def _two_lines(app: Flask) -> None:
    app.after_request(twice)


def _replaced(app: Flask) -> None:
    app.after_request(other)


def _in_the_session(app: Flask) -> None:
    app.session_interface = Sessions()
    app.before_request(lambda: session.update(seen=1))


def _after_this_request(app: Flask) -> None:
    app.before_request(lambda: after_this_request(theirs) and None)


HOSTS: list[Callable[[Flask], None]] = [
    _after_request,
    _last_of_all,
    _two_lines,
    _replaced,
    _in_the_session,
    _after_this_request,
]


@pytest.fixture(params=HOSTS, ids=lambda each: each.__name__.strip("_"))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """An invitation on a host that has every answer cached by everybody, in one way or another."""
    with build(f"sqlite:///{tmp_path / 'w.sqlite3'}") as host:
        host.app.config["PROPAGATE_EXCEPTIONS"] = False
        host.app.add_url_rule("/own", "own", lambda: "own")
        request.param(host.app)
        yield make(host, "pending")


def answers(case: Case) -> Iterator[tuple[str, TestResponse]]:
    """Answers of every kind that we give."""
    admin, nobody = case.client("admin"), case.host.client()
    for url in (LIST, case.url, f"{case.url}/events", DOCUMENT, f"{LIST}?limit=0", f"{LIST}/x"):
        yield url, admin.get(url)
    yield "401", nobody.get(LIST)
    yield "201", admin.post(INVITE, json={"email": "second@example.com"})
    yield "404", nobody.post(PREVIEW, json={"token": "x"})
    yield "preview", nobody.post(PREVIEW, json={"token": case.token})
    yield "400", nobody.post(PREVIEW, data=b"{", content_type="application/json")
    yield "413", nobody.post(PREVIEW, data=b"x" * 20_000)
    yield "415", nobody.post(PREVIEW, data=b"x")
    yield "403", nobody.post(PREVIEW, json={}, headers={"Sec-Fetch-Site": "cross-site"})
    yield "options", nobody.options(PREVIEW)
    for page in ("accept", "open", "accepted", "requested", ""):
        yield page, nobody.get(f"/invitations/{page}")
    yield "desk", admin.get(DESK)
    yield "page 413", nobody.post("/invitations/open", data=b"x" * 20_000)
    yield "accept", nobody.post(ACCEPT, json={"token": case.token, "password": PASSWORD})
    yield "204", admin.delete(f"{LIST}/{_second(case)}")


def _second(case: Case) -> Any:
    return case.host.rows(case.host.invitations.models.Invitation, email="second@example.com")[0].id


def test_nothing_of_ours_is_cached(case: Case) -> None:
    """W3: however a host sets its headers, every answer of ours says ``no-store`` and ``nosniff`` and nothing else to
    any kind of cache, varies by cookie beside what the host says, and keeps the host's other headers."""
    for name, answer in answers(case):
        assert answer.headers.getlist("Cache-Control") == ["no-store"], name
        assert answer.headers.getlist("X-Content-Type-Options") == ["nosniff"], name
        assert not {"CDN-Cache-Control", "Surrogate-Control", "X-Accel-Expires", "Expires"} & set(answer.headers.keys())
        assert {"accept-encoding", "cookie"} <= {each.lower() for each in answer.vary}, name
        assert answer.headers["X-Host"] == "theirs"


def test_what_is_the_hosts_stays_so(case: Case) -> None:
    """W3: the host's own pages, and what nobody answers to, keep its headers; our static files may be cached."""
    client = case.host.client()
    for url in ("/own", "/nowhere", "/invitations/static/invitations.css"):
        answer = client.get(url)
        assert answer.headers["Cache-Control"] == PUBLIC["Cache-Control"], url
        answer.close()


def test_a_crash(case: Case) -> None:
    """W3: the 500 that a broken hook makes in our endpoints is not cached either."""

    def broken(*_: Any) -> Any:
        raise LookupError

    with override(case.host.app, find_user=broken):
        answer = case.host.client().post(ACCEPT, json={"token": case.token, "password": PASSWORD})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (500, "no-store")


def test_a_host_that_answers_for_us(tmp_path: Path) -> None:
    """W3: what the host's ``before_request`` answers in place of us is not cached: it may be about who is signed in."""
    with build(f"sqlite:///{tmp_path / 'b.sqlite3'}") as host:
        host.app.before_request(lambda: theirs(Response("wait", 503)) if request.path.startswith("/api") else None)
        assert host.client().get(LIST).headers["Cache-Control"] == "no-store"


def test_each_app_once(tmp_path: Path) -> None:
    """W3: one extension on several apps listens once on each."""
    hosts: list[Host] = [build(f"sqlite:///{tmp_path / name}.sqlite3") for name in "ab"]
    for host in hosts:
        assert len(list(request_finished.receivers_for(host.app))) == 1
        assert host.client().get(LIST).headers["Cache-Control"] == "no-store"
        host.close()
