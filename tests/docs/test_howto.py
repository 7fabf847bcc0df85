"""The code of the how-to pages, as it stands there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_invitations.current import override
from tests.docs.teams import API, Teams, code, served
from tests.hosts import PASSWORD
from tests.pages.browser import chromium


@pytest.fixture
def teams() -> Iterator[Teams]:
    made = Teams()
    with made.app.app_context(), override(made.app, mailer=made.mail):
        made.db.create_all()
        yield made
        made.close()


def test_many_tenants(teams: Teams) -> None:
    """docs/tenants.md: a new user of one team joins another with the same account, and leaves nothing behind."""
    first, second = teams.made("Team", name="First"), teams.made("Team", name="Second")
    owner = teams.made("User", email="owner@example.com", email_verified=True, password_hash="-", team_id=second.id)
    teams.made("Membership", user_id=owner.id, team_id=second.id, role="owner")
    teams.invitations.invite("ann@example.com", tenant_id=first.id)
    body = {"token": teams.mail.token_to("ann@example.com"), "password": PASSWORD}
    made = teams.client().post(f"{API}/accept-invite", json=body)
    assert (made.status_code, made.json["user"]["tenant_id"]) == (201, first.id)

    assert teams.client(owner.id).post(f"{API}/invite", json={"email": "ann@example.com"}).status_code == 201
    body = {"token": teams.mail.token_to("ann@example.com")}
    assert teams.client().post(f"{API}/accept-invite", json=body).json["code"] == "account-exists"
    joined = teams.client(made.json["user"]["id"]).post(f"{API}/accept-invite", json=body)
    assert (joined.status_code, joined.json["user"]["id"]) == (201, made.json["user"]["id"])
    assert teams.space["Membership"].query.count() == 3
    assert (
        teams.client(made.json["user"]["id"]).post(f"{API}/invite", json={"email": "x@example.com"}).status_code == 403
    )

    teams.add("docs/tenants.md", "leave")
    waiting = teams.invitations.invite("bob@example.com", by=owner)
    teams.space["leave"](owner, second)
    assert teams.invitations.get(waiting.id).status == "revoked"


def test_the_first_owner(teams: Teams) -> None:
    """docs/first-owner.md: a team and the invitation of its owner, or neither."""
    teams.add("docs/first-owner.md")
    made = teams.client().post("/teams", data={"name": "New", "email": "ann@example.com"})
    (one,) = teams.invitations.list(tenant_id=made.json["id"])
    assert (made.status_code, one.role, one.delivery.state) == (201, "owner", "sent")
    refused = teams.client().post("/teams", data={"name": "Other", "email": "no address"})
    assert (refused.status_code, refused.json["code"]) == (422, "invalid-request")
    assert teams.space["Team"].query.count() == 1


def test_invite_only(teams: Teams) -> None:
    """docs/invite-only.md: who is unknown is sent away, in words."""
    teams.add("docs/invite-only.md")
    teams.add("docs/invite-only.md", "sign-in")
    assert teams.client().get("/sign-up").status_code == 403
    known = teams.made("User", email="ann@example.com", password_hash="-")
    assert teams.space["user_of"]("Ann@Example.com") is known
    with pytest.raises(Exception, match="invitation"):
        teams.space["user_of"]("eve@example.com")


def test_behind_a_proxy(teams: Teams) -> None:
    """docs/proxy.md: the page of an old browser is on our origin, and the audit trail has its address."""
    team = teams.made("Team", name="First")
    one = teams.invitations.invite("ann@example.com", tenant_id=team.id)
    body = {"token": teams.mail.token_to("ann@example.com")}
    outside = {"Origin": "http://teams.example.com", "Host": "127.0.0.1:8000"}
    assert teams.client().post(f"{API}/decline-invite", json=body, headers=outside).json["code"] == "cross-site"
    teams.add("docs/proxy.md")
    passed = {"X-Forwarded-Host": "teams.example.com", "X-Forwarded-Proto": "http", "X-Forwarded-For": "192.0.2.7"}
    assert teams.client().post(f"{API}/decline-invite", json=body, headers={**outside, **passed}).status_code == 200
    event = (
        teams.space["db"]
        .session.scalars(teams.space["db"].select(teams.invitations.models.InvitationEvent).filter_by(type="declined"))
        .one()
    )
    assert (event.invitation_id, event.remote_addr) == (one.id, "192.0.2.7")


def test_an_accept_page_of_ones_own(tmp_path: Path) -> None:
    """docs/accept-page.md: the page takes the token out of the address, shows the offer, and accepts."""
    teams = Teams(f"sqlite:///{tmp_path / 'join.sqlite3'}", root_path=str(tmp_path))
    teams.add("docs/accept-page.md", "view")
    (tmp_path / "static").mkdir()
    for name in ("join.html", "join.js"):
        (tmp_path / "static" / name).write_text(code("docs/accept-page.md", name))
    with teams.app.app_context(), override(teams.app, mailer=teams.mail):
        teams.db.create_all()
        team = teams.made("Team", name="First <b>team</b>")
        teams.invitations.invite("ann@example.com", tenant_id=team.id)
        token = teams.mail.token_to("ann@example.com")
        with served(teams.app) as base, chromium() as browser:
            page = browser.new_page()
            page.goto(f"{base}/join#{token}")
            page.get_by_label("Password").wait_for()
            assert page.url == f"{base}/join"
            assert "Join First <b>team</b> as user with ann@example.com." in page.inner_text("main")
            page.get_by_label("Password").fill("short")
            page.get_by_role("button").click()
            page.get_by_text("at least 15").wait_for()
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button").click()
            page.wait_for_url(f"{base}/")
            page.close()
        assert teams.space["User"].query.one().email == "ann@example.com"
        teams.close()
