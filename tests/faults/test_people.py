"""What managers learn of people, and for how long anybody does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations.acts.sweep import CHUNK
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DECLINE, PREVIEW, Case, accept, invite, make, refused, set_columns, unchanged

pytestmark = pytest.mark.in_turn

AGENT = {"User-Agent": "Stranger/7.7"}
DAYS_90 = timedelta(days=90)
#: What a forwarded link is good for, by its holder's hand.
ACTS = {
    "declined": lambda client, token: client.post(DECLINE, json={"token": token}, headers=AGENT),
    "accept_refused": lambda client, token: client.post(
        ACCEPT, json={"token": token, "password": PASSWORD}, headers=AGENT
    ),
    "link_requested": lambda client, token: client.post("/invitations/fresh", data={"token": token}, headers=AGENT),
}


def trail(case: Case, kind: str) -> list[dict[str, Any]]:
    answer: Any = case.host.client(case.admin).get(f"{case.url}/events").json
    return [event for event in answer["items"] if event["type"] == kind]


def seen(case: Case) -> str:
    """Everything that a manager and the operator can read about an invitation."""
    manager, host = case.host.client(case.admin), case.host
    with host.app.app_context():
        python = repr(host.invitations.events(case.id)) + repr(host.invitations.get(case.id))
    shown = host.app.test_cli_runner().invoke(args=["invitations", "show", case.id]).output
    pages = [manager.get(f"{case.url}/events").text, manager.get(f"/invitations/{case.id}").text]
    return "\n".join([*pages, python, shown])


@pytest.mark.parametrize("kind", ACTS)
def test_a_stranger_with_the_link_stays_one(database_url: str, kind: str) -> None:
    """S1: of somebody of another tenant who was forwarded a link, and does something with it, a manager is told neither
    id, address nor agent; nor by what follows from it."""
    with build(database_url, config={"INVITATIONS_FRESH_LINK": "send"}) as host:
        case = make(host, "pending")
        stranger = host.user("lone.stranger@elsewhere.example", "owner", host.tenant("Elsewhere"))
        if kind == "link_requested":
            host.clock.tick(timedelta(hours=49))
        ACTS[kind](host.client(stranger), case.token)
        (event,) = trail(case, kind)
        assert (event["actor_id"], event["remote_addr"], event["user_agent"]) == (None, None, None)
        text = seen(case)
        assert "Stranger/7.7" not in text
        assert "lone.stranger" not in text
        assert f"Account {stranger}" not in text
        row = host.rows(host.invitations.models.InvitationEvent, type=kind)[0]
        assert row.actor_id == stranger  # kept for the operator


def test_whoever_becomes_a_member_is_told_of(host: Host) -> None:
    """S1: the same person is named once they are a member."""
    case = make(host, "pending")
    stranger = host.user("lone.stranger@elsewhere.example", "owner", host.tenant("Elsewhere"))
    accept(host.client(stranger), case.token)
    assert trail(case, "accept_refused")[0]["actor_id"] is None
    set_columns(host, host.User, stranger, tenant_id=case.tenant)
    assert trail(case, "accept_refused")[0]["actor_id"] == stranger


def test_a_deleted_account_is_nobodys(host: Host) -> None:
    """S1: who cannot be asked about is no member."""
    case = make(host, "pending")
    stranger = host.user("lone.stranger@elsewhere.example", "owner", host.tenant("Elsewhere"))
    accept(host.client(stranger), case.token)
    with host.engine.begin() as connection:
        table = host.User.__table__
        connection.execute(sa.delete(table).where(table.c.id == stranger))
    assert trail(case, "accept_refused")[0]["actor_id"] is None


def test_nobody_and_managers_are_told_of(host: Host) -> None:
    """S1: of nobody signed in address and agent are told; of a manager who has left since, what they did as one."""
    case = make(host, "pending")
    host.client().post(ACCEPT, json={"token": case.token, "password": "short"}, headers=AGENT)
    (event,) = trail(case, "accept_refused")
    assert (event["actor_id"], event["user_agent"]) == (None, "Stranger/7.7")
    assert event["remote_addr"]
    first, case.admin = case.admin, host.user("second@acme.example", "admin", case.tenant)
    set_columns(host, host.User, first, tenant_id=host.tenant("Elsewhere"))
    assert trail(case, "created")[0]["actor_id"] == first


def test_what_follows_names_no_stranger(host: Host) -> None:
    """S1: a decision by a link's holder closes older invitations of the address; their events name no holder."""
    case = make(host, "pending")
    host.clock.tick(timedelta(hours=49))
    newer = invite(host.client(case.admin), case.email)
    stranger = host.user("lone.stranger@elsewhere.example", "owner", host.tenant("Elsewhere"))
    ACTS["declined"](host.client(stranger), host.outbox.token_to(case.email))
    (event,) = trail(case, "revoked")
    assert (event["actor_id"], event["user_agent"]) == (None, None)
    assert event["details"] == {"decided_by": newer["id"]}


def purged(host: Host, state: str = "revoked") -> Case:
    case = make(host, state)
    host.clock.tick(DAYS_90 + timedelta(days=3))
    with host.app.app_context():
        assert host.invitations.sweep().purged == 1
    return case


@pytest.mark.parametrize("state", ["revoked", "declined", "accepted", "overdue"])
def test_a_purged_link_is_unknown(host: Host, state: str) -> None:
    """S2: once an invitation is purged its link is nobody's, on every path, and whoever opens it leaves no trace."""
    case = make(host, state)
    host.clock.tick(DAYS_90 + timedelta(days=3))
    with host.app.app_context():
        host.invitations.sweep()
    host.clock.tick(timedelta(hours=1))
    client = host.client()
    with unchanged(host):
        refused(client.post(PREVIEW, json={"token": case.token}), 404, "invitation-not-found")
        refused(client.post(DECLINE, json={"token": case.token}, headers=AGENT), 404, "invitation-not-found")
        refused(accept(client, case.token), 404, "invitation-not-found")
        assert client.post("/invitations/open", data={"token": case.token}).status_code == 404
        assert client.post("/invitations/fresh", data={"token": case.token}, headers=AGENT).status_code in (302, 303)


@pytest.mark.parametrize("event", ["bounced", "delivered", "complained"])
def test_a_report_after_the_purge(host: Host, event: str) -> None:
    """S2: what a provider reports of a purged invitation's email is nobody's: nothing is written."""
    purged(host)
    (mail,) = host.rows(host.invitations.models.Delivery)
    with unchanged(host), host.app.app_context():
        assert host.invitations.record_delivery(mail.id, event, "550 no ann@acme.example here") is False


def test_nothing_personal_is_written_of_a_purged_one(host: Host) -> None:
    """S2: what a manager does to a purged invitation is told with its actor, without address, agent or details."""
    case = purged(host, "swept")
    assert host.client(case.admin).delete(case.url, headers=AGENT).status_code == 204
    (event,) = trail(case, "revoked")
    assert event["actor_id"] == case.admin
    assert event["remote_addr"] is event["user_agent"] is event["details"] is None


def test_a_report_quotes_no_address(host: Host) -> None:
    """S2: what the provider says goes into the trail without addresses."""
    case = make(host, "pending")
    (mail,) = host.rows(host.invitations.models.Delivery)
    with host.app.app_context():
        said = f"550 5.1.1 <{case.email}>: Recipient address rejected: User unknown, mailto:x@y.example"
        assert host.invitations.record_delivery(mail.id, "bounced", said)
    (event,) = trail(case, "bounced")
    assert event["details"]["detail"] == "550 5.1.1 <***>: Recipient address rejected: User unknown, mailto:***"


def personal(host: Host) -> list[str]:
    """The types of the events that hold personal data."""
    rows = host.rows(host.invitations.models.InvitationEvent)
    kept = [row for row in rows if row.remote_addr or row.user_agent or row.details]
    assert all((row in kept) == (row.personal_at is not None) for row in rows)
    return sorted(row.type for row in kept)


def sweep(host: Host) -> None:
    with host.app.app_context():
        host.invitations.sweep()


def test_events_age(host: Host) -> None:
    """S2: RETENTION after it happened, an event of a closed invitation forgets from where it came, whenever that was
    closed; one of an open invitation keeps it."""
    case = make(host, "pending")
    for _ in range(50):
        host.clock.tick(timedelta(days=2))
        assert host.client(case.admin).post(f"{case.url}/resend").status_code == 200
    sweep(host)
    assert "created" in personal(host)
    host.client(case.admin).delete(case.url)
    sweep(host)
    kept = personal(host)
    assert (kept.count("created"), kept.count("resent"), kept.count("sent"), kept.count("revoked")) == (0, 45, 45, 1)
    host.clock.tick(DAYS_90)
    sweep(host)
    assert personal(host) == []


def test_what_slipped_in_is_found(host: Host) -> None:
    """S2: an event that somebody wrote while another purged is forgotten RETENTION after it was written; in steps, and
    for as many as there are."""
    case = purged(host)
    table = host.invitations.models.InvitationEvent.__table__
    (like,) = host.rows(host.invitations.models.InvitationEvent, type="purged")
    row = {column.key: getattr(like, column.key) for column in table.columns}
    late = {"type": "accept_refused", "remote_addr": "203.0.113.7", "personal_at": host.clock()}
    rows = [{**row, **late, "id": type(like.id)(int=like.id.int + number)} for number in range(1, CHUNK + 8)]
    with host.engine.begin() as connection:
        connection.execute(sa.insert(table), rows)
    sweep(host)
    assert len(personal(host)) == CHUNK + 7
    host.clock.tick(DAYS_90)
    sweep(host)
    assert personal(host) == []
    assert case.id


def test_no_retention_at_all(tmp_path: Path) -> None:
    """S2: with RETENTION 0 the first sweep after the end forgets everything."""
    with build(f"sqlite:///{tmp_path / 'local.sqlite3'}", config={"INVITATIONS_RETENTION": 0}) as host:
        case = make(host, "pending")
        accept(host.client(), case.token, password="short")
        host.client().post(DECLINE, json={"token": case.token, "reason": "no"}, headers=AGENT)
        sweep(host)
        assert personal(host) == []


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
def test_ageing_is_served_by_an_index(host: Host) -> None:
    """S2, R23: looking for what has aged reads an index, not the table."""
    statement = (
        "EXPLAIN SELECT id FROM user_invitation_events WHERE personal_at <= now() ORDER BY personal_at LIMIT 200"
    )
    with host.engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = "\n".join(connection.exec_driver_sql(statement).scalars())
    assert "ix_user_invitation_events_personal_at" in plan
