"""We are a guest in the host's app: its pages, its error pages and its session stay its own; ours are never cached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response, session
from werkzeug.exceptions import HTTPException, NotFound

from tests.hosts import PASSWORD, Host, build
from tests.http.tools import (
    ACCEPT,
    API,
    DECLINE,
    DOCUMENT,
    INVITE,
    LIST,
    NO_TOKEN,
    PREVIEW,
    Case,
    accept,
    make,
    refused,
    unchanged,
)


@pytest.fixture(params=[True, False], ids=["own handlers", "plain"])
def furnished(request: pytest.FixtureRequest, local_url: str) -> Iterator[tuple[Case, bool]]:
    """A host with pages and error pages of its own, or without the latter."""
    with build(local_url) as host:
        furnish(host.app, request.param)
        yield make(host, "pending"), request.param


def furnish(app: Flask, handlers: bool) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/page")
    def page() -> str:
        session["seen"] = 1
        return "page"

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("the host's")

    @app.get("/gone")
    def gone() -> str:
        raise NotFound("the host's")

    if handlers:
        app.register_error_handler(HTTPException, lambda error: (f"host: {error.code}", error.code))
        app.register_error_handler(Exception, lambda error: (f"host: {type(error).__name__}", 500))


STRANGE = ["/nowhere", "/gone", f"{API}/nowhere", f"{LIST}/a/b", f"{API}", "/invitations/nowhere/at/all"]


def test_hosts_errors_stay_the_hosts(furnished: tuple[Case, bool]) -> None:
    """An error page outside of our endpoints is the host's: HTML, or what its handlers make; never our JSON."""
    case, own = furnished
    client = case.host.client(case.admin)
    expected = [(url, "GET", 404) for url in STRANGE] + [(INVITE, "GET", 405), (LIST, "DELETE", 405)]
    for url, method, status in expected:
        answer = client.open(url, method=method)
        assert (answer.status_code, answer.mimetype) == (status, "text/html"), url
        assert (f"host: {status}" in answer.text) is own, url
        assert "no-store" not in answer.headers.get("Cache-Control", "")
    answer = client.get("/broken")
    assert (answer.status_code, answer.mimetype) == (500, "text/html")
    assert ("host: RuntimeError" in answer.text) is own


def test_our_errors_stay_ours(furnished: tuple[Case, bool]) -> None:
    """The host's catch-all handlers do not reach into the API: its refusals are problem objects all the same."""
    case, _ = furnished
    host = case.host
    refused(host.client().get(LIST), 401, "unauthenticated")
    refused(host.client().post(PREVIEW, json={"token": NO_TOKEN}), 404, "invitation-not-found")
    refused(host.client().post(PREVIEW, data=b"{", content_type="application/json"), 400, "malformed-request")
    refused(host.client().post(PREVIEW, data=b" " * 20000, content_type="application/json"), 413, "body-too-large")


def test_a_crash_in_a_hook_is_the_hosts(furnished: tuple[Case, bool], caplog: pytest.LogCaptureFixture) -> None:
    """R19: a hook that breaks makes a 500 in the host's own fashion, not cached, without a word of what was sent."""
    case, own = furnished
    from flask_invitations.current import override

    def broken(*_: Any) -> Any:
        raise LookupError("hook")

    with override(case.host.app, find_user=broken), unchanged(case.host):
        answer = accept(case.host.client(), case.token)
    assert answer.status_code == 500
    assert ("host: LookupError" in answer.text) is own
    assert case.token not in answer.text + caplog.text
    assert PASSWORD not in answer.text + caplog.text
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("who", ["admin", "nobody"])
def test_never_cached(untouched: Case, who: str) -> None:
    """D8: every answer of the API, a refusal too, is ``no-store`` and varies by cookie."""
    client = untouched.client(who)
    calls: list[tuple[str, str, Any]] = [
        ("GET", LIST, None),
        ("GET", f"{LIST}?limit=0", None),
        ("GET", untouched.url, None),
        ("HEAD", untouched.url, None),
        ("OPTIONS", untouched.url, None),
        ("GET", f"{untouched.url}/events", None),
        ("GET", DOCUMENT, None),
        ("POST", INVITE, {}),
        ("POST", INVITE, {"email": untouched.email}),
        ("POST", f"{LIST}/x/resend", None),
        ("DELETE", f"{LIST}/x", None),
        ("POST", PREVIEW, {"token": untouched.token}),
        ("POST", PREVIEW, []),
        ("POST", ACCEPT, {"token": NO_TOKEN}),
        ("POST", DECLINE, {"token": "x"}),
    ]
    for method, url, body in calls:
        answer = client.open(url, method=method, json=body)
        assert answer.headers["Cache-Control"] == "no-store", url
        assert "Cookie" in answer.headers["Vary"], url
        assert "Set-Cookie" not in answer.headers, url


def test_success_is_not_cached(local: Host) -> None:
    """D8: 201 and 204 are not cached either."""
    case = make(local, "pending")
    answers = [
        local.client(case.admin).post(INVITE, json={"email": "new@example.com"}),
        local.client(case.admin).delete(case.url),
        accept(local.client(), local.outbox.token_to("new@example.com")),
    ]
    assert [answer.status_code for answer in answers] == [201, 204, 201]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Cookie" in answer.headers["Vary"]


@pytest.mark.parametrize("url", [PREVIEW, ACCEPT, DECLINE])
def test_nothing_sent_is_echoed(untouched: Case, url: str) -> None:
    """D4: a refusal repeats neither the token nor anything else that was sent."""
    secret = "Zq" * 21 + "Z"
    bodies: list[Any] = [
        {"token": secret},
        {"token": [secret]},
        {"token": secret, "password": {"x": secret}},
        [secret],
        {"token": untouched.token, "reason": secret * 20, "password": secret * 9},
    ]
    for body in bodies:
        answer = untouched.host.client().post(url, json=body)
        if answer.status_code == 200:
            continue
        assert secret not in answer.text + str(answer.headers)
        assert untouched.token not in answer.text + str(answer.headers)


def test_no_second_secret(local: Host) -> None:
    """A13, D5: neither inviting, resending, accepting nor reading hands out a token, a hash, a nonce or a link."""
    case = make(local, "pending")
    client = local.client(case.admin)
    answers = [
        client.post(INVITE, json={"email": "new@example.com"}),
        client.post(f"{case.url}/resend"),
        client.get(LIST),
        client.get(case.url),
        client.get(f"{case.url}/events"),
    ]
    rows = local.rows(local.invitations.models.Invitation)
    tokens = [local.outbox.token_to(case.email), local.outbox.token_to("new@example.com"), case.token]
    answers += [accept(local.client(), token) for token in tokens[:1]]
    secrets = tokens + [getattr(row, name) for row in rows for name in ("token_hash", "token_nonce", "pending_key")]
    for answer in answers:
        assert answer.status_code < 300
        for secret in secrets:
            assert secret not in answer.text + str(answer.headers)
        assert "accept_url" not in answer.text


def test_return_link(local_url: str) -> None:
    """D5: only with RETURN_LINK do create and resend show the link; then it proves no mailbox any more."""
    with build(local_url, config={"INVITATIONS_RETURN_LINK": True}) as host:
        admin = host.client(host.user("admin@example.com", "admin"))
        made: Any = admin.post(INVITE, json={"email": "guest@example.com"}).json
        assert made.pop("accept_url") == host.outbox.link_to("guest@example.com")
        again: Any = admin.post(f"{LIST}/{made['id']}/resend").json
        assert again.pop("accept_url") == host.outbox.link_to("guest@example.com")
        for url in (LIST, f"{LIST}/{made['id']}", f"{LIST}/{made['id']}/events"):
            assert "accept_url" not in admin.get(url).text
        taken: Any = accept(host.client(), host.outbox.token_to("guest@example.com")).json
        assert "accept_url" not in taken["invitation"]
        assert host.rows(host.User, email="guest@example.com")[0].email_verified is False


def test_the_session_is_left_alone(local: Host) -> None:
    """A6, D3, H1: no call keeps anything in the server session, sets a cookie, or signs anybody in."""
    case = make(local, "pending")
    client = local.client()
    calls = [(PREVIEW, {"token": case.token}), (ACCEPT, {"token": case.token, "password": "weak"})]
    calls += [(ACCEPT, {"token": case.token, "password": PASSWORD}), (DECLINE, {"token": case.token})]
    for url, body in calls:
        answer = client.post(url, json=body)
        assert "Set-Cookie" not in answer.headers
        assert "session" not in (answer.json or {})
    with client.session_transaction() as kept:
        assert dict(kept) == {}


def test_foreign_addresses_are_not_consulted(local: Host) -> None:
    """E1: whatever Host or X-Forwarded-Host the call carries, the mailed link leads where the setting says."""
    case = make(local, "pending")
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    answer = local.client(case.admin).post(INVITE, json={"email": "new@example.com"}, headers=headers)
    assert answer.status_code == 201
    assert local.outbox.link_to("new@example.com").startswith("https://app.example.com/invitations/accept#")
    assert "evil" not in local.outbox.messages[-1].text + local.outbox.messages[-1].html


def test_forwarded_for_is_not_believed(local: Host) -> None:
    """K5: the audit trail keeps the peer's address; who may speak for it is the host's ProxyFix."""
    case = make(local, "pending")
    headers = {"X-Forwarded-For": "6.6.6.6", "User-Agent": "a\u00e9\t" + "x" * 600}
    answer = local.client().post(ACCEPT, json={"token": case.token, "password": "weak"}, headers=headers)
    assert answer.status_code == 422
    (event,) = local.rows(local.invitations.models.InvitationEvent, type="accept_refused")
    assert event.remote_addr == "127.0.0.1"
    assert len(event.user_agent) == 512
    assert event.user_agent.isprintable()


def test_response_hooks_of_the_host_run(local: Host) -> None:
    """The host's own after_request still sees our answers."""

    def mark(answer: Response) -> Response:
        answer.headers["X-Host"] = "yes"
        return answer

    local.app.after_request(mark)
    assert local.client().get(LIST).headers["X-Host"] == "yes"
