"""J4, J5: where the pages lead, what people read for a role, and what the desk tells of who, when and with what."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from flask_invitations import InvitationInfo
from flask_invitations.web import agents
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import accept, invite, make, set_columns
from tests.pages.test_desk import DESK, admin, send, words
from tests.pages.test_pages import PAGES, post, title
from tests.pages.test_pages import invite as token_for

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"


@pytest.mark.parametrize("where", ["/welcome?tenant=1", "http://localhost/welcome", "https://app.example.com/welcome"])
def test_after_accepting(tmp_path: Path, where: str) -> None:
    """J4: after accepting the pages lead where the host says, to another site by a page of ours; the API answers it as
    ``next``, also where the same account accepts once more."""
    asked: list[tuple[str, str]] = []

    def accepted_url(user: Any, invitation: InvitationInfo) -> str:
        asked.append((user.email, invitation.status))
        return where

    hooks: dict[str, Any] = {"accepted_url": accepted_url, "home_url": lambda: "/start"}
    with build(f"sqlite:///{tmp_path / 'w.sqlite3'}", tenancy="membership", **hooks) as host:
        token = token_for(host, "one@example.com")
        answer = post(host.client(), "accept", token, password=PASSWORD)
        if where.startswith("https"):
            assert (answer.status_code, title(answer)) == (200, "Welcome, you are now a member")
            assert answer.headers["Refresh"] == f"0; url={where}"
            assert f'href="{where}"' in answer.text
        else:
            assert (answer.status_code, answer.headers["Location"]) == (303, where)
        (user,) = host.rows(host.User, email="one@example.com")
        again: Any = accept(host.client(user.id), token)
        assert (again.status_code, again.json["next"]) == (200, where)
        other: Any = accept(host.client(), token_for(host, "two@example.com"))
        assert other.json["next"] == where
        assert asked == [("one@example.com", "accepted")] * 2 + [("two@example.com", "accepted")]


def test_nowhere_to_lead(tmp_path: Path) -> None:
    """J4: a hook that fails, or names nothing, leads nowhere and undoes nothing; the buttons lead home."""

    def accepted_url(user: Any, invitation: InvitationInfo) -> str | None:
        if invitation.email == "raises@example.com":
            raise LookupError
        return None

    hooks: dict[str, Any] = {"accepted_url": accepted_url, "home_url": lambda: "/start"}
    with build(f"sqlite:///{tmp_path / 'w.sqlite3'}", **hooks) as host:
        for email in ("raises@example.com", "none@example.com"):
            answer = post(host.client(), "accept", token_for(host, email), password=PASSWORD)
            assert (answer.status_code, answer.headers["Location"]) == (303, f"{PAGES}/accepted")
        by_api: Any = accept(host.client(), token_for(host, "api@example.com"))
        assert "next" not in by_api.json
        page = host.client().get(f"{PAGES}/accepted")
        assert re.findall(r'<a [^>]*href="([^"]+)"', page.text) == ["/start"]


def test_role_labels(tmp_path: Path) -> None:
    """J4: people read the host's word for a role, in emails, on the offer and at the desk; forms send the role."""
    labels = {"user": "Team <member>", "admin": "Chief"}
    with build(f"sqlite:///{tmp_path / 'w.sqlite3'}", role_label=lambda role: labels.get(role, role)) as host:
        token = token_for(host, "one@example.com", role="user")
        assert "Team <member>" in host.outbox.messages[-1].text
        assert "Team &lt;member&gt;" in post(host.client(), "open", token).text
        client = host.client(host.rows(host.User, email="admin@example.com")[0].id)
        for page in (DESK, f"{DESK}{host.rows(host.invitations.models.Invitation)[0].id}"):
            assert "Team <member>" in words(client.get(page))
        assert '<option value="user" selected>Team &lt;member&gt;</option>' in client.get(DESK).text
        assert len(re.findall('<option value="user" selected>', client.get(f"{DESK}?role=user").text)) == 2


@pytest.mark.parametrize("wish", ["never_again", "report", None])
def test_declined_for_good(tmp_path: Path, wish: str | None) -> None:
    """Who wants no more invitations is not told to ask for one."""
    with build(f"sqlite:///{tmp_path / 'w.sqlite3'}") as host:
        wishes = {wish: "1"} if wish else {}
        answer = post(host.client(), "decline", token_for(host), **wishes)
        page = words(host.client().get(answer.headers["Location"]))
        assert ("for a new invitation" in page) == (wish is None)
        assert ("can no longer invite you by email" in page) == (wish is not None)


def test_who_is_signed_in(tmp_path: Path) -> None:
    """J4: the desk says who is signed in, and leads home and to the sign-out page; the invitee's pages do not."""
    with build(f"sqlite:///{tmp_path / 'w.sqlite3'}", logout_url=lambda: "/out") as host:
        client = admin(host)
        page = client.get(DESK)
        assert "admin@example.com Sign out" in words(page)
        assert '<a href="/out">' in page.text
        assert '<a class="invitations-brand" href="/">' in page.text
        assert "admin@example.com" not in client.get(f"{PAGES}/accept").text


def test_sign_in_elsewhere(tmp_path: Path) -> None:
    """J4: a sign-in page on another site is not told where somebody was; one that leads back already is left alone."""
    for url in ("https://sso.example.com/in", "//sso.example.com/in", "/in?next=%2Fhome"):
        with build(f"sqlite:///{tmp_path / 'w.sqlite3'}", login_url=lambda url=url: url) as host:
            assert f'href="{url}"' in host.client().get(DESK).text


def test_actions_in_the_row(tmp_path: Path) -> None:
    """J5: an invitation is resent from its row alone, whatever is ticked, and comes back to the same page; a closed one
    has no actions, and one whose email bounced is to be looked at first."""
    with build(f"sqlite:///{tmp_path / 'w.sqlite3'}") as host:
        client = admin(host)
        made = {name: invite(client, f"{name}@example.com")["id"] for name in ("one", "two", "gone", "lost")}
        with host.app.app_context():
            host.invitations.revoke(made["gone"])
            mails = {mail.to: mail.id for mail in host.outbox.messages}
            host.invitations.record_delivery(mails["lost@example.com"], "bounced", "550")
        page = client.get(f"{DESK}?q=example")
        assert set(re.findall(r'name="resend" value="([^"]+)"', page.text)) == {made["one"], made["two"]}
        assert len(re.findall(r'/revoke" aria-label', page.text)) == 3
        assert "Check" in words(page)
        before = len(host.outbox.messages)
        answer = send(client, f"{DESK}?q=example", f"{DESK}selected?q=example", resend=made["one"], id=made["two"])
        assert answer.headers["Location"].startswith(f"{DESK}?q=example&done=resent")
        assert [mail.to for mail in host.outbox.messages[before:]] == ["one@example.com"]
        assert "1 invitation was resent." in words(client.get(answer.headers["Location"]))


def test_when_it_was_closed(tmp_path: Path) -> None:
    """J5: the list and the page say when an invitation was accepted, declined, revoked, or expires; each status has a
    sign of its own beside its word."""
    with build(f"sqlite:///{tmp_path / 'w.sqlite3'}") as host:
        client = admin(host)
        for name in ("accepted", "declined", "revoked", "pending"):
            invite(client, f"{name}@example.com", expires_in=2 * 86_400)
        rows = {row.email.partition("@")[0]: row for row in host.rows(host.invitations.models.Invitation)}
        host.clock.tick(timedelta(hours=5))
        with host.app.app_context():
            host.invitations.accept(host.outbox.token_to("accepted@example.com"), password=PASSWORD)
            host.invitations.decline(host.outbox.token_to("declined@example.com"))
            host.invitations.revoke(rows["revoked"].id)
        host.clock.tick(timedelta(hours=3))
        found = re.findall(
            r'badge invitations-(\w+)"><svg.*?d="(.*?)".*?invitations-hint">(.*?)</div>',
            client.get(DESK).text,
            re.DOTALL,
        )
        told = {status: re.sub("<.*?>", "", hint).strip() for status, _, hint in found}
        past = dict.fromkeys(("accepted", "declined", "revoked"), "3 hours ago")
        assert told == {**past, "pending": "Expires in 2 days"}
        assert len({sign for _, sign, _ in found}) == 4
        for status in past:
            page = client.get(f"{DESK}{rows[status].id}")
            assert "( 3 hours ago )" in words(page)


def test_what_somebody_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J5: a browser is told by its name, and not at all where nobody knows it or ua-parser is missing; never as it
    calls itself."""
    with build(f"sqlite:///{tmp_path / 'w.sqlite3'}") as host:
        case = make(host, "pending")
        client, page = case.client("admin"), f"{DESK}{case.id}"
        events = host.invitations.models.InvitationEvent
        (made,) = [each.id for each in host.rows(events) if each.type == "created"]
        for said, told in ((CHROME, "Chrome on Linux"), ("curl/8.5.0", "curl"), ("<b>odd</b>", ""), (None, "")):
            set_columns(host, events, made, user_agent=said)
            assert told in words(client.get(page))
            assert not said or said not in unescape(client.get(page).text)
        set_columns(host, events, made, user_agent=CHROME)
        monkeypatch.setattr(agents, "find_spec", lambda name: None)
        agents._is_there.cache_clear()
        try:
            assert "Linux" not in words(client.get(page))
        finally:
            agents._is_there.cache_clear()


def done(host: Host, state: str, what: str, error: str | None = None) -> str:
    """What the page says after an act, with its email in this state."""
    row = host.rows(host.invitations.models.Invitation)[0]
    mail = host.rows(host.invitations.models.Delivery)[0]
    next_at = host.clock() if state == "queued" else None
    set_columns(host, host.invitations.models.Delivery, mail.id, state=state, last_error=error, next_attempt_at=next_at)
    client = host.client(host.rows(host.User, email="admin@example.com")[0].id)
    return words(client.get(f"{DESK}{row.id}?done={what}"))


def test_sentences_fit_the_state(tmp_path: Path) -> None:
    """J5: what the desk says after inviting and resending is true of the email, and it does not press to resend one
    that waits."""
    with build(f"sqlite:///{tmp_path / 'w.sqlite3'}") as host:
        invite(admin(host), "one@example.com")
        assert "The email to one@example.com was sent." in done(host, "sent", "resent")
        waiting = done(host, "queued", "resent")
        assert "The email to one@example.com leaves in a moment." in waiting
        assert "There is no need to resend it yet." in waiting
        assert "one@example.com was invited. The email leaves in a moment." in done(host, "queued", "invited")
        failed = done(host, "failed", "invited", "SMTPDataError 554")
        assert "one@example.com was invited, but the email was not sent." in failed
        assert "There is no need" not in failed
        host.clock.tick(timedelta(days=3))
        late = done(host, "sent", "")
        assert "The link in the email has expired. After you resend the invitation, it is valid for 2 days." in late
