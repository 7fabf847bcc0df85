"""Sweeping: what is overdue is marked, what was closed long ago loses its personal data; in small steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flask_invitations.acts.sweep import CHUNK
from tests.hosts import Host, build
from tests.http.tools import STATES, Case, accept, copy, invite, make, people, refused, snapshot, unchanged

DAYS_90 = timedelta(days=90)


def sweep(host: Host) -> tuple[int, int]:
    with host.app.app_context():
        swept = host.invitations.sweep()
    return swept.expired, swept.purged


def many(host: Host, count: int) -> Case:
    """As many pending invitations, all but one written straight into the table."""
    case = make(host, "pending")
    copy(host, case.id, count - 1)
    return case


def test_many(host: Host) -> None:
    """R21: more rows than fit one step are swept in one call, each with its event; again finds nothing."""
    count = CHUNK + 7
    many(host, count)
    assert sweep(host) == (0, 0)
    host.clock.tick(timedelta(hours=48))
    assert sweep(host) == (count, 0)
    with unchanged(host):
        assert sweep(host) == (0, 0)
    events = host.rows(host.invitations.models.InvitationEvent, type="expired")
    assert len(events) == len({event.invitation_id for event in events}) == count


def test_steps_are_small(local: Host) -> None:
    """R21: no step holds more rows than CHUNK: killed in between, what was done stays done."""
    from flask_invitations import invitation_expired

    many(local, CHUNK + 7)
    local.clock.tick(timedelta(hours=48))
    heard = 0

    class Killed(BaseException):
        pass

    def receiver(*_: Any, **__: Any) -> None:
        nonlocal heard
        heard += 1
        raise Killed

    with invitation_expired.connected_to(receiver, sender=local.app), pytest.raises(Killed):
        sweep(local)
    rows = local.rows(local.invitations.models.Invitation, status="expired")
    assert (heard, len(rows)) == (1, CHUNK)
    assert sweep(local) == (7, 0)


PERSONAL = (
    "guest@acme.example",
    "Guest@",
    "a secret message",
    "secret desk",
    "de-CH",
    "127.0.0.1",
    "Browser/1.0",
    "no, thanks",
)


@pytest.mark.parametrize("state", ["swept", "accepted", "declined", "revoked"])
def test_retention(host: Host, state: str) -> None:
    """R21: 90 days after its end an invitation forgets who it was about, in every column of every table, and the trail
    of what happened when stays; the account that came of it is the host's and stays as well."""
    case = make(host, "pending", message="a secret message", details={"x": "secret desk"}, locale="de-CH")
    accept(host.client(), case.token, password="weak")
    if state == "declined":
        body = {"token": case.token, "reason": "no, thanks"}
        host.client().post("/api/v1/users/decline-invite", json=body, headers={"User-Agent": "Browser/1.0"})
    else:
        STATES[state](case)
    host.clock.tick(DAYS_90 - timedelta(days=7 if state == "swept" else 0) - timedelta(microseconds=1))
    before = [event.type for event in host.rows(host.invitations.models.InvitationEvent)]
    if state != "swept":
        with unchanged(host):
            assert sweep(host) == (0, 0)
        host.clock.tick(timedelta(microseconds=1))
    else:
        host.clock.tick(timedelta(days=8))
    assert sweep(host) == (0, 1)
    with unchanged(host):
        assert sweep(host) == (0, 0)
    rows = snapshot(host)
    del rows["users"]
    for word in PERSONAL:
        assert word not in repr(rows), word
    after = host.rows(host.invitations.models.InvitationEvent)
    assert [event.type for event in after] == [*before, "purged"]
    assert all(event.details is event.remote_addr is event.user_agent is None for event in after)
    assert len(host.rows(host.User, email=case.email)) == (1 if state == "accepted" else 0)


def test_purged_one(host: Host) -> None:
    """A purged invitation can still be seen, and its link is nobody's; the address may be invited anew. What was done
    with it after it was closed is forgotten along."""
    case = make(host, "revoked")
    host.clock.tick(DAYS_90 - timedelta(days=1))
    refused(accept(host.client(), case.token), 410, "invitation-revoked")
    host.clock.tick(timedelta(days=1))
    assert sweep(host) == (0, 1)
    assert {event.remote_addr for event in host.rows(host.invitations.models.InvitationEvent)} == {None}
    shown: Any = host.client(case.admin).get(case.url).json
    assert (shown["status"], shown["email"], shown["message"], shown["details"]) == ("revoked", None, None, None)
    refused(accept(host.client(), case.token), 404, "invitation-not-found")
    refused(host.client(case.admin).post(f"{case.url}/resend"), 410, "invitation-revoked")
    assert host.client(case.admin).get("/api/v1/users/invitations?q=guest").get_json()["items"] == []
    assert invite(host.client(case.admin), case.email)["status"] == "pending"


def test_purged_expired_one(host: Host) -> None:
    """An expired invitation that was purged cannot be resent: nobody knows to whom; it can still be revoked."""
    case = make(host, "swept")
    host.clock.tick(DAYS_90)
    assert sweep(host) == (0, 1)
    refused(host.client(case.admin).post(f"{case.url}/resend"), 410, "invitation-expired")
    assert host.client(case.admin).delete(case.url).status_code == 204


def test_pending_is_never_purged(local_url: str) -> None:
    """R21: however short the retention, what is pending keeps its data; an overdue one expires first, and is purged
    when its time has come."""
    with build(local_url, config={"INVITATIONS_RETENTION": 0}) as host:
        case = make(host, "pending")
        with unchanged(host):
            assert sweep(host) == (0, 0)
        host.clock.tick(timedelta(hours=48))
        assert sweep(host)[0] == 1
        host.clock.tick(timedelta(seconds=1))
        sweep(host)
        (row,) = host.rows(host.invitations.models.Invitation)
        assert (row.status, row.email_key) == ("expired", None)
        assert case.id == str(row.id)


def test_resent_one_is_not_purged(host: Host) -> None:
    """R21: an invitation that was brought back is pending, whenever it had been closed."""
    case = make(host, "swept")
    host.client(case.admin).post(f"{case.url}/resend")
    _, admin, *_ = (None, case.admin)
    host.clock.tick(timedelta(hours=47))
    with unchanged(host):
        assert sweep(host) == (0, 0)
    assert accept(host.client(), host.outbox.token_to(case.email)).status_code == 201
    assert admin


def test_nobody_waits_for_a_sweep(host: Host) -> None:
    """Without any sweep an overdue invitation opens nothing, reads as expired, and makes room for another."""
    _, admin, *_ = people(host)
    old = invite(host.client(admin), "guest@example.com")
    host.clock.tick(timedelta(hours=48))
    newer = invite(host.client(admin), "guest@example.com")
    statuses = {str(row.id): row.status for row in host.rows(host.invitations.models.Invitation)}
    assert statuses == {old["id"]: "expired", newer["id"]: "pending"}
    events = host.rows(host.invitations.models.InvitationEvent, type="expired")
    assert [str(event.invitation_id) for event in events] == [old["id"]]
