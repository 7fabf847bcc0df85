"""The browser between two sites, and between two people."""

from __future__ import annotations

from typing import Any

import pytest
from flask import session

from tests.hosts import Host, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, LIST, accept, invite, make, refused, unchanged
from tests.pages.site import serving

ELSEWHERE = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
)


def test_accepting_signs_nobody_in(local_url: str) -> None:
    """H1: after an accept nobody is signed in: no cookie is set, and the session that an attacker has planted is worth
    what it was worth before. Where the host signs in, its own code gets the user after the commit, and may begin a
    fresh session first."""
    with build(local_url) as host:
        client = host.client()
        with client.session_transaction() as kept:
            kept["planted"] = "by somebody"
        case = make(host, "pending")
        answer = accept(client, case.token)
        assert "session" not in answer.get_json()
        assert "Set-Cookie" not in answer.headers
        page = client.get("/invitations/accepted")
        assert case.email not in page.text
        with client.session_transaction() as kept:
            assert dict(kept) == {"planted": "by somebody"}

    def sign_in(user: Any, _invitation: Any) -> None:
        session.clear()
        session["user"] = user.id

    with build(local_url, on_accepted=sign_in) as host:
        client = host.client()
        with client.session_transaction() as kept:
            kept["planted"] = "by somebody"
        invite(host.client(host.user("second@acme.example", "admin")), "new@example.com")
        assert accept(client, host.outbox.token_to("new@example.com")).status_code == 201
        with client.session_transaction() as kept:
            assert kept.keys() == {"user"}


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
def test_no_other_site_acts_for_somebody(local: Host, headers: dict[str, str]) -> None:
    """H2: a page of another site, or of a sibling subdomain, that sends a form or a JSON body from a signed-in browser
    invites, revokes, resends, accepts and declines nothing, by the API, the pages or the desk."""
    case = make(local, "pending")
    client = local.client(case.admin)
    client.set_cookie("session", "signed in")
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", INVITE, {"json": {"email": "evil@example.com", "role": "admin"}}),
        ("POST", f"{case.url}/resend", {}),
        ("DELETE", case.url, {}),
        ("POST", ACCEPT, {"json": {"token": case.token}}),
        ("POST", DECLINE, {"json": {"token": case.token}}),
        ("POST", INVITE, {"data": '{"email": "evil@example.com"}', "content_type": "text/plain"}),
    ]
    if headers != {"Origin": "null"}:  # how older browsers send the forms of pages that tell no address
        calls += [
            ("POST", "/invitations/decline", {"data": {"token": case.token}}),
            ("POST", f"/invitations/{case.id}/revoke", {"data": {}}),
            ("POST", "/invitations/invite", {"data": {"email": "evil@example.com"}}),
        ]
    with unchanged(local):
        for method, url, body in calls:
            answer = client.open(url, method=method, headers=headers, **body)
            assert answer.status_code == 403, url
    assert len(local.outbox.messages) == 1


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_no_form_can_speak_to_the_api(local: Host, kind: str | None) -> None:
    """H2: what a form can send without asking first is no body for the API; and the forms of the desk carry a seal that
    only its own pages give."""
    case = make(local, "pending")
    client = local.client(case.admin)
    with unchanged(local):
        answer = client.post(INVITE, data=b'{"email": "evil@example.com", "x": "="}', content_type=kind)
        refused(answer, 415, "unsupported-media-type")
        for seal in ("", "x", "x.y.z"):
            form = {"email": "evil@example.com", "role": "user", "seal": seal}
            assert client.post("/invitations/invite", data=form).status_code >= 400 or not local.outbox.messages[1:]
    assert len(local.outbox.messages) == 1


def test_nobody_puts_our_pages_into_a_frame(browser: Any, tmp_path: Any) -> None:
    """H3: every page of ours forbids to be framed, and a real browser shows nothing of it in one."""
    with serving(tmp_path) as site, browser.new_context() as context:
        frame = f'<iframe src="{site.base}/invitations/accept"></iframe>'
        site.host.app.add_url_rule("/bait", "bait", lambda: frame)
        client = site.host.client()
        _, link = site.invite()
        pages = [
            client.get("/invitations/accept"),
            client.post("/invitations/open", data={"token": link[-43:]}),
            client.post("/invitations/open", data={"token": "x"}),
            client.get("/invitations/"),
        ]
        for each in pages:
            assert "frame-ancestors 'none'" in each.headers["Content-Security-Policy"], each.request.path
        page = context.new_page()
        page.goto(f"{site.base}/bait")
        page.wait_for_load_state("networkidle")
        inner = page.frames[-1]
        assert inner != page.main_frame
        assert "Continue" not in inner.content()


def test_desk_is_not_served_to_another_site(local: Host) -> None:
    """H3: the list of a signed-in manager is neither framed nor cached."""
    case = make(local, "pending")
    page = local.client(case.admin).get("/invitations/")
    assert case.email in page.text
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"
    assert local.client().get(LIST).status_code == 401
