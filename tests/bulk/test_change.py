"""Resending and revoking many: a verdict for each id, one transaction, and statements that do not grow."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from flask_invitations import InvalidRequest, InvitationInfo, invitation_resent, invitation_revoked
from tests.bulk.test_invite import ROOMY, bulk, codes, numbered
from tests.hosts import Host, build
from tests.http.tools import LIST, NO_ID, accept, invite, make, people, refused, set_columns, set_role, unchanged

BULK = f"{LIST}/bulk"


def change(client: FlaskClient, action: str, ids: list[Any]) -> dict[str, Any]:
    """Change many by HTTP, and give the answer."""
    answer = client.post(BULK, json={"action": action, "ids": ids})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.get_json()
    return told


def rows_of(host: Host) -> dict[str, Any]:
    return {str(row.id): row for row in host.rows(host.invitations.models.Invitation)}


def test_resend(host: Host) -> None:
    """B5, C7: each of many is sent again with a new link, or told why not; foreign and unknown ids, and what is no id,
    are told apart nowhere; one that comes twice is sent once."""
    case = make(host, "accepted")
    foreign = invite(host.client(case.stranger), "foreign@example.com")["id"]
    client = host.client(case.admin)
    one, late, closed = (invite(client, f"{name}@example.com", expires_in=7200)["id"] for name in ("a", "b", "c"))
    assert client.delete(f"{LIST}/{closed}").status_code == 204
    old = host.outbox.token_to("a@example.com")
    host.clock.tick(timedelta(hours=3))
    before, heard = rows_of(host), list[Any]()
    host.outbox.clear()
    with invitation_resent.connected_to(lambda _app, invitation: heard.append(str(invitation.id)), host.app):
        told = change(client, "resend", [one, case.id, foreign, str(NO_ID), "x", closed, late, one.upper(), ""])
    unknown = ["invitation-not-found"] * 3
    assert codes(told) == [
        "done", "invitation-accepted", *unknown, "invitation-revoked", "done", "done", unknown[0]
    ]  # fmt: skip
    assert (told["done"], told["refused"]) == (3, 6)
    assert [each["id"] for each in told["results"]][-2:] == [one.upper(), ""]
    assert {str(each["error"]) for each in told["results"][2:5]} == {str(told["results"][2]["error"])}
    assert heard == [one, late]
    assert sorted(message.to for message in host.outbox.messages) == ["a@example.com", "b@example.com"]
    for key, row in rows_of(host).items():
        if key in (one, late):
            assert (row.status, row.token_hash != before[key].token_hash) == ("pending", True)
            assert (row.previous_token_hash, row.version) == (before[key].token_hash, before[key].version + 1)
            assert row.link_number == before[key].link_number + 1
            (event,) = host.rows(host.invitations.models.InvitationEvent, invitation_id=row.id, type="resent")
            assert (event.details, event.actor_id) == ({"rotated": True, "was_invited_by": case.admin}, case.admin)
        else:
            assert vars(row)["version"] == before[key].version
    refused(accept(host.client(), old), 410, "invitation-replaced")
    for name in ("a", "b"):
        assert accept(host.client(), host.outbox.token_to(f"{name}@example.com")).status_code == 201


def test_resend_of_one_address_twice(host: Host) -> None:
    """Of two expired invitations of one address one is opened again: the other hears that the place is taken."""
    _, admin, *_ = people(host)
    client = host.client(admin)
    ids = []
    for _ in range(2):
        ids.append(invite(client, expires_in=3600)["id"])
        host.clock.tick(timedelta(hours=2))
    told = change(client, "resend", ids)
    assert codes(told) == ["done", "already-invited"]
    assert told["results"][1]["error"]["invitation_id"] == ids[0]


def test_resend_asks_every_rule(host: Host) -> None:
    """C2: the ceiling, the tenant, members and bounces are asked of each."""
    case = make(host, "bounced")
    client = host.client(case.admin)
    high, joined = (invite(client, f"{role}@example.com", role=role)["id"] for role in ("admin", "user"))
    host.user("user@example.com", "user", case.tenant)
    other = host.user("manager@acme.example", "owner", case.tenant)
    host.outbox.clear()
    assert codes(change(host.client(other), "resend", [case.id, joined])) == ["mail-bounced", "already-member"]
    set_columns(host, host.Tenant, case.tenant, active=False)
    assert codes(change(client, "resend", [high, case.id])) == ["tenant-inactive"] * 2
    assert host.outbox.messages == []


def test_revoke(host: Host) -> None:
    """C7: each of many is revoked, or told why not; what is closed stays as it is; their emails stay in."""
    case = make(host, "accepted")
    foreign = invite(host.client(case.stranger), "foreign@example.com")["id"]
    client = host.client(case.admin)
    one, late, closed = (invite(client, f"{name}@example.com", expires_in=7200)["id"] for name in ("a", "b", "c"))
    assert client.delete(f"{LIST}/{closed}").status_code == 204
    heard = list[Any]()
    with invitation_revoked.connected_to(lambda _app, invitation: heard.append(str(invitation.id)), host.app):
        told = change(client, "revoke", [one, case.id, foreign, str(NO_ID), "x", closed, late, one])
    unknown = ["invitation-not-found"] * 3
    assert codes(told) == ["done", "invitation-accepted", *unknown, "done", "done", "done"]
    assert heard == [one, late]
    statuses = {key: row.status for key, row in rows_of(host).items()}
    assert statuses == {case.id: "accepted", foreign: "pending", **dict.fromkeys((one, late, closed), "revoked")}
    for key in (one, late, closed):
        events = host.rows(host.invitations.models.InvitationEvent, invitation_id=uuid.UUID(key), type="revoked")
        assert len(events) == 1


def test_notices_of_many_are_left_to_the_worker(database_url: str) -> None:
    """With NOTIFY_REVOKED more than 10 invitees are told by the worker, not in the request."""
    with build(database_url, config={"INVITATIONS_NOTIFY_REVOKED": True}) as host:
        _, admin, *_ = people(host)
        client = host.client(admin)
        ids = [each["invitation"]["id"] for each in bulk(client, numbered(11))["results"]]
        with host.app.app_context():
            host.invitations.deliver()
        host.outbox.clear()
        assert change(client, "revoke", ids)["done"] == 11
        assert host.outbox.messages == []
        with host.app.app_context():
            assert host.invitations.deliver() == {"sent": 11}
        assert {message.kind for message in host.outbox.messages} == {"revoked"}


def test_who_may(host: Host) -> None:
    """Only managers; wrong bodies are refused as a whole, and so are more ids than BULK_MAX."""
    case = make(host, "pending")
    good = {"action": "revoke", "ids": [case.id]}
    with unchanged(host):
        refused(host.client().post(BULK, json=good), 401, "unauthenticated")
        refused(host.client(case.plain).post(BULK, json=good), 403, "forbidden")
        assert codes(change(host.client(case.stranger), "revoke", [case.id])) == ["invitation-not-found"]
        wrong: list[dict[str, Any]] = [{"action": "accept"}, {"ids": None}, {"ids": [1]}, {"rotate": True}]
        for more in wrong:
            answer = host.client(case.admin).post(BULK, json={**good, **more})
            assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid-request")
        errors = {"ids": ["Send at most 1000 at a time."]}
        answer = host.client(case.admin).post(BULK, json={**good, "ids": [case.id] * 1001})
        refused(answer, 422, "invalid-request", errors=errors)


def test_from_python(host: Host) -> None:
    """The system resends and revokes in several tenants at once; ids are UUIDs or their text."""
    here, there = host.tenant(), host.tenant("Elsewhere")
    with host.app.app_context():
        api = host.invitations
        made = [api.invite("a@example.com", tenant_id=tenant) for tenant in (here, there)]
        ids: list[Any] = [made[0].id, str(made[1].id)]
        told = api.resend_many(iter(ids))
        assert (told.done, told.refused) == (2, 0)
        assert [each.id for each in told.results] == [str(each.id) for each in made]
        assert api.revoke_many(ids).done == 2
        assert [api.get(each.id).status for each in made] == ["revoked", "revoked"]
        assert api.resend_many([]).results == []
        ids.append(1)
        with pytest.raises(InvalidRequest):
            api.revoke_many(ids)


@pytest.mark.in_turn
def test_many_cost_no_more_statements(database_url: str) -> None:
    """R23: resending and revoking 500 takes as many statements as 10, and 1,000 one more for each chunk."""
    with build(database_url, config=ROOMY, tenant_is_active=None) as host:
        tenant = host.tenant()

        def count(number: int, slug: str) -> tuple[int, int]:
            spent = []
            with host.app.app_context():
                made = host.invitations.invite_many(numbered(number, slug), tenant_id=tenant).results
                ids = [each.invitation.id for each in made if isinstance(each.invitation, InvitationInfo)]
                for act in (host.invitations.resend_many, host.invitations.revoke_many):
                    with host.statements() as seen:
                        assert act(ids).done == number
                    spent.append(len(seen))
            return spent[0], spent[1]

        count(2, "warm")
        ten, chunk, thousand = (count(number, f"n{number}x") for number in (10, 500, 1000))
        assert ten == chunk
        assert max(ten) <= 12, ten
        assert thousand[0] <= ten[0] + 8
        assert thousand[1] <= ten[1] + 6
        rows = host.rows(host.invitations.models.Invitation)
        assert len({row.token_hash for row in rows}) == len(rows)


def test_ceiling_of_a_resend(host: Host) -> None:
    """C2: who may not grant a role any more does not send it again."""
    _, admin, *_ = people(host)
    client = host.client(admin)
    ids = [invite(client, f"{role}@example.com", role=role)["id"] for role in ("admin", "user")]
    owner = host.user("owner@acme.example", "owner")
    top = invite(host.client(owner), "top@example.com", role="owner")["id"]
    assert codes(change(client, "resend", [*ids, top])) == ["done", "done", "role-not-allowed"]
    set_role(host, admin, "user")
    refused(client.post(BULK, json={"action": "resend", "ids": ids}), 403, "forbidden")
