"""Where a link was read that should have been seen by its mailbox only."""

from __future__ import annotations

import hashlib
import io
import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Response, session

from flask_invitations import RedactFilter, redact
from flask_invitations.current import get_state, override
from flask_invitations.testing import token_in
from flask_invitations.tokens import Mint
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, LIST, PREVIEW, accept, invite, make, people, refused
from tests.hygiene.traces import Traces, everything_logged
from tests.pages.site import fill_in, proceed, serving
from tests.queued import deliver

PAGES = "/invitations"


def test_no_server_and_no_other_site_is_told(browser: Any, tmp_path: Any) -> None:
    """D1: in a real browser, from the mailed link to the new account, the secret is in no address that is asked for, no
    ``Referer``, no line of the access log, not in the address bar, and no file of another site is loaded."""
    with serving(tmp_path) as site, browser.new_context() as context:
        page, asked = context.new_page(), list[Any]()
        page.on("request", lambda request: asked.append((request.url.partition("#")[0], dict(request.headers))))
        _, link = site.invite()
        token = token_in(link)
        page.goto(link)
        page.get_by_role("button", name="Continue").wait_for()
        assert token not in page.url
        proceed(page)
        fill_in(page)
        page.get_by_role("heading", name="Welcome, you are now a member").wait_for()
        assert {url for url, _ in asked if not url.startswith(site.base)} == set()
        assert [headers["referer"] for _, headers in asked if headers.get("referer")] == []
        assert token not in f"{asked} {site.log}"
        assert len(site.log) > 4


def test_pages_say_so_in_their_headers(local: Host) -> None:
    """D1: every page tells browsers and caches to pass nothing on and to keep nothing, and asks for no foreign file."""
    case = make(local, "pending")
    client = local.client()
    for answer in (
        client.get(f"{PAGES}/accept"),
        client.get(f"{PAGES}/accept/{case.token}"),
        client.post(f"{PAGES}/open", data={"token": case.token}),
        client.post(f"{PAGES}/open", data={"token": "x"}),
    ):
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert re.findall(r'(?:src|href)="(?:https?:)?//', answer.text) == []


def test_logs_and_trackers_see_a_mask(local: Host) -> None:
    """D2: with every logger at DEBUG, a mailer that fails with the whole email in its error, and a hook that breaks
    with the password, no line holds the link or the password; and the filter and the function for other logs mask what
    stands in an address."""
    traces = Traces()
    local.app.config["PROPAGATE_EXCEPTIONS"] = False

    def mailer(message: Any) -> None:
        local.outbox(message)
        raise ConnectionError(message.text)

    def validate(password: str, _invitation: Any) -> None:
        raise LookupError(password)

    with everything_logged(traces):
        with override(local.app, mailer=mailer):
            case = make(local, "pending")
        with override(local.app, validate_password=validate):
            assert accept(local.client(), case.token).status_code == 500
        assert accept(local.client(), case.token).status_code == 201
    assert len(traces.texts) > 50
    assert traces.of(case.token) == []
    assert [where for where, text in traces.texts if PASSWORD in text and where != "log of tests.hosts"] == []

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactFilter())
    log = logging.getLogger("access of tests")
    log.addHandler(handler)
    log.warning('"GET /join/%s HTTP/1.1" 200', case.token)
    log.warning("https://x.example/join%%23%s", case.token)
    log.removeHandler(handler)
    assert case.token not in stream.getvalue() + redact(f"transaction /join/{case.token}")
    assert "***" in stream.getvalue()


def test_no_detour_carries_it(local: Host) -> None:
    """D3: the link is in no redirect, no cookie and no server session, and nothing takes a ``next`` that could carry
    it."""
    case = make(local, "pending")
    client = local.client()
    steps = [
        client.get(f"{PAGES}/open"),
        client.post(f"{PAGES}/open", data={"token": case.token}),
        client.post(f"{PAGES}/accept?next=/x/{case.token}", data={"token": case.token, "password": PASSWORD}),
    ]
    for answer in steps:
        told = f"{answer.headers.get('Location')} {answer.headers.getlist('Set-Cookie')}"
        assert case.token not in told
    assert steps[-1].headers["Location"] == f"{PAGES}/accepted"
    with client.session_transaction() as kept:
        assert dict(kept) == {}
    refused(client.post(ACCEPT, json={"token": case.token, "next": f"/{case.token}"}), 422, "invalid-request")


@pytest.mark.parametrize("url", [PREVIEW, ACCEPT, DECLINE, f"{PAGES}/open", f"{PAGES}/accept", f"{PAGES}/decline"])
def test_no_refusal_repeats_what_was_sent(local: Host, url: str) -> None:
    """D4: neither problem objects nor error pages repeat a token or anything else that was sent."""
    secret = "Zq" * 21 + "Z"
    form = url.startswith(PAGES)
    for value in (secret, f"https://x.example/#{secret}", secret * 2, f"<b>{secret}"):
        body: dict[str, Any] = {"data" if form else "json": {"token": value, "password": value, "reason": value}}
        answer = local.client().post(url, **body)
        assert answer.status_code >= 400
        assert secret not in answer.text + str(answer.headers)


def test_inviter_does_not_get_the_link(local_url: str) -> None:
    """D5: no answer to a manager holds the link, unless the operator has switched that on; then such a link does not
    prove a mailbox."""
    for shown in (False, True):
        with build(local_url, config={"INVITATIONS_RETURN_LINK": shown}) as host:
            email = f"guest{shown:d}@example.com"
            admin = host.client(host.user(f"admin{shown:d}@acme.example", "admin"))
            made = admin.post(INVITE, json={"email": email})
            token = host.outbox.token_to(email)
            assert (token in made.text) is shown
            assert token not in admin.get(LIST).text
            assert accept(host.client(), token).status_code == 201
            assert host.rows(host.User, email=email)[0].email_verified is not shown


@pytest.mark.parametrize("delivery", ["inline", "queue"])
def test_outbox_holds_no_link(database_url: str, delivery: str) -> None:
    """D6: an email that waits or was sent stands in the database without its address, its text and its link, and yet
    what is sent at last opens the invitation."""
    with build(database_url, config={"INVITATIONS_DELIVERY": delivery}) as host:
        invite(host.client(people(host)[1]))
        models = host.invitations.models
        columns = set(models.Delivery.__table__.columns.keys())
        assert columns.isdisjoint({"to", "email", "text", "html", "body", "subject", "payload", "link", "token", "url"})
        traces = Traces()
        traces.database(host)
        if delivery == "queue":
            host.clock.tick(timedelta(seconds=1))
            assert deliver(host) == {"sent": 1}
        token = host.outbox.token_to("guest@example.com")
        traces.database(host)
        assert traces.of(token) == []
        assert accept(host.client(), token).status_code == 201


def test_database_alone_opens_nothing(host: Host) -> None:
    """D7: whoever has every cell of the tables has a hash of 256 random bits and a nonce: neither they nor what another
    key makes of them opens anything."""
    case = make(host, "pending")
    (row,) = host.rows(host.invitations.models.Invitation)
    assert row.token_hash == hashlib.sha256(case.token.encode()).hexdigest()
    assert len(case.token) == 43
    columns = [column.key for column in host.invitations.models.Invitation.__table__.columns]
    for value in (str(getattr(row, name)) for name in columns):
        for guess in (value, value[:43], value.ljust(43, "A")[:43]):
            refused(host.client().post(PREVIEW, json={"token": guess}), 404, "invitation-not-found")
    for key in ("", "another key", "the key of another host"):
        signer = Mint([key or "x"])
        assert signer.recover(row.token_nonce, row.token_hash) is None
    with host.app.app_context():
        found = get_state().ctx.mint.recover(row.token_nonce, row.token_hash)
    assert found is not None
    assert found.reveal() == case.token


def test_nothing_of_ours_is_kept_by_a_proxy(local: Host) -> None:
    """D8: whatever the host puts on its answers and its session, ours say ``no-store`` and vary by cookie: no shared
    cache hands one person's answer, or their cookie, to another."""

    def loose(answer: Response) -> Response:
        session["seen"] = 1
        answer.headers["Cache-Control"] = "public, max-age=3600"
        answer.headers["Surrogate-Control"] = "max-age=3600"
        answer.headers["Vary"] = "Accept-Encoding"
        return answer

    local.app.after_request(loose)
    case = make(local, "pending")
    client = local.client(case.admin)
    answers = [
        client.get(LIST),
        client.get(case.url),
        client.get(f"{PAGES}/"),
        client.get(f"{PAGES}/accept"),
        client.post(PREVIEW, json={"token": case.token}),
        client.post(PREVIEW, json={"token": "x"}),
        client.post(f"{PAGES}/open", data={"token": case.token}),
    ]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store", answer.request.path
        assert "Cookie" in answer.headers["Vary"]
        assert "Surrogate-Control" not in answer.headers
