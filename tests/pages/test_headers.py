"""The pages of a host that sets headers of its own on every answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Response

from flask_invitations.web.pages import HEADERS
from tests.hosts import Host, build
from tests.pages.site import PAGES, fill_in, open_offer, serving
from tests.pages.test_pages import invite, post

#: Stricter than ours in one way (only scripts of its own nonce), looser in others.
THEIRS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'nonce-abc'; frame-ancestors *",
    "Referrer-Policy": "unsafe-url",
    "X-Frame-Options": "ALLOWALL",
    "Cache-Control": "public, max-age=3600",
    "Strict-Transport-Security": "max-age=31536000",
}


def set_theirs(answer: Response) -> Response:
    answer.headers.update(THEIRS)
    return answer


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Host]:
    """A host that sets its own headers on every answer."""
    with build(f"sqlite:///{tmp_path / 'h.sqlite3'}") as host:
        host.app.add_url_rule("/own", "own", lambda: "own")
        host.app.after_request(set_theirs)
        yield host


def test_ours_have_the_last_word_on_our_pages(strict: Host) -> None:
    """D1, D8, H3: whatever the host puts on every answer, our pages go out with our policy and are cached nowhere;
    other headers of the host's stay, and its own pages keep its own policy."""
    token, client = invite(strict), strict.client()
    answers = [client.get(f"{PAGES}/{page}") for page in ("accept", "open", "accepted", "requested")]
    answers += [post(client, "open", token), post(client, "open"), client.get(f"{PAGES}/static/invitations.js")]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == dict(HEADERS)
        assert answer.headers["Strict-Transport-Security"] == THEIRS["Strict-Transport-Security"]
        assert answer.headers.getlist("Content-Security-Policy") == [HEADERS["Content-Security-Policy"]]
        answer.close()
    assert {answer.headers["Cache-Control"] for answer in answers[:-1]} == {"no-store"}
    assert client.get("/own").headers["Content-Security-Policy"] == THEIRS["Content-Security-Policy"]


def test_in_a_browser(browser: Any, tmp_path: Path) -> None:
    """With a host that lets no script run but its own, the whole way works, script included."""
    with serving(tmp_path) as site, browser.new_context() as context:
        site.host.app.after_request(set_theirs)
        page, said = context.new_page(), list[str]()
        page.on("console", lambda message: said.append(message.text))
        open_offer(page, site.invite()[1])
        page.get_by_role("button", name="Show password").click()
        fill_in(page)
        page.get_by_role("heading", name="Welcome, you are now a member").wait_for()
        assert said == []
