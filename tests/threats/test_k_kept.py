"""What nobody has reported of invitations so far, and was asked for all the same."""

from __future__ import annotations

import base64
import csv
import json
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.hosts import Host
from tests.http.tools import ACCEPT, LIST, copy, invite, make, people, refused, set_columns


def test_a_cursor_carries_no_authority(host: Host) -> None:
    """K1: whatever somebody writes into a cursor, another organization's place in the list, the end of time, another
    tenant's id, the list shows the caller's own organization; what is no cursor is refused."""
    case, other = make(host, "pending"), make(host, "pending", "Other")
    copy(host, case.id, 5)
    theirs = host.client(case.admin).get(LIST, query_string={"limit": 1}).get_json()["next_cursor"]
    owner = host.client(other.admin)
    for at in ("9999-12-31T23:59:59+00:00", "2030-01-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00"):
        made = base64.urlsafe_b64encode(json.dumps([at, case.id]).encode()).decode()
        for cursor in (theirs, made):
            page: Any = owner.get(LIST, query_string={"cursor": cursor}).json
            assert {item["id"] for item in page["items"]} <= {other.id}
    for cursor in ("x", theirs[:-4], base64.b64encode(b'["now", 1, 2]').decode(), "%00", "A" * 5000):
        refused(owner.get(LIST, query_string={"cursor": cursor}), 422, "invalid-request")


def test_pages_lose_and_repeat_nothing(host: Host) -> None:
    """K1: while rows come, a list that is read page by page shows each row that was there once."""
    case = make(host, "pending")
    copy(host, case.id, 9)
    client, seen, cursor = host.client(case.admin), list[str](), None
    while True:
        page: Any = client.get(LIST, query_string={"limit": 3, **({"cursor": cursor} if cursor else {})}).json
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        host.clock.tick(timedelta(seconds=1))
        invite(client, f"late{len(seen)}@example.com")
    assert len(seen) == len(set(seen)) == 10


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t="])
def test_no_cell_becomes_a_formula(local: Host, tmp_path: Path, start: str) -> None:
    """K2: in the table that an import writes, no cell begins like a formula, whatever the list said."""
    source, result = tmp_path / "people.csv", tmp_path / "result.csv"
    source.write_text(f'email,role\n"{start}cmd|calc!A0@example.com",user\n"{start}1+1@example.com",user\n', "utf-8")
    arguments = ["invitations", "import", str(source), "--tenant", str(local.tenant()), "--result", str(result)]
    local.app.test_cli_runner().invoke(args=arguments)
    with result.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert len(lines) == 3
    assert [cell for line in lines for cell in line if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []


@pytest.mark.parametrize("agent", ["a\r\nINFO accepted id=1", "\x1b[2Jx", "x" * 5000, "a\x00b", "\u2028x", "\u202ex"])
def test_the_trail_holds_no_forged_line(host: Host, agent: str) -> None:
    """K3: what a client says of itself stands in the audit trail escaped and cut to 512 characters; one line is one
    line, whatever stands in it."""
    from flask_invitations.acts import Origin

    kept = Origin.of("127.0.0.1", agent).user_agent
    assert kept is not None
    assert kept.isprintable()
    assert len(kept) <= 512
    case = make(host, "pending")
    plain = agent.encode("latin-1", "replace").decode("latin-1").replace("\r", " ").replace("\n", " ").replace("\0", "")
    answer = host.client().post(ACCEPT, json={"token": case.token, "password": "x"}, headers={"User-Agent": plain})
    assert answer.status_code == 422
    (event,) = host.rows(host.invitations.models.InvitationEvent, type="accept_refused")
    assert event.user_agent.isprintable()
    assert len(event.user_agent) <= 512


@pytest.mark.parametrize(
    "name", ["evil\u202egro.elpmaxe", "\u2066Acme\u2069", "Ac\u200bme", "\ufeffAcme", "A\u0000cme", "Acme\u2028Inc"]
)
def test_no_name_turns_the_line_around(local: Host, name: str) -> None:
    """K4: characters that turn or hide text are taken out of the names of organizations and inviters, in emails and on
    pages; beside an inviter's name stands their address, where it is verified."""
    _, admin, *_ = people(local)
    set_columns(local, local.User, admin, name=f"Ann {name}")
    set_columns(local, local.Tenant, local.tenant(), name=name.replace("\0", ""))
    invite(local.client(admin))
    (message,) = local.outbox.messages
    page = local.client().post("/invitations/open", data={"token": local.outbox.token_to("guest@example.com")})
    hidden = {"\u202e", "\u2066", "\u2069", "\u200b", "\ufeff", "\0", "\u2028"}
    for text in (message.subject, message.text, message.html, page.text):
        assert hidden.isdisjoint(text)
        if text is not message.subject:
            assert "admin@acme.example" in text
    set_columns(local, local.User, admin, email_verified=False)
    invite(local.client(admin), "second@example.com")
    assert "admin@acme.example" not in local.outbox.messages[-1].text


def test_the_address_is_the_peers(local: Host) -> None:
    """K5: the audit trail keeps the address that Flask reports, whatever a client claims in its headers; it ages with
    the rest of what is personal."""
    case = make(local, "pending")
    claims = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6", "X-Real-IP": "6.6.6.6"}
    local.client().post(ACCEPT, json={"token": case.token, "password": "weak"}, headers=claims)
    events = local.rows(local.invitations.models.InvitationEvent, type="accept_refused")
    assert {event.remote_addr for event in events} == {"127.0.0.1"}
    assert local.client(case.admin).delete(case.url).status_code == 204
    local.clock.tick(timedelta(days=91))
    with local.app.app_context():
        local.invitations.sweep()
    table = local.invitations.models.InvitationEvent.__table__
    with local.engine.connect() as connection:
        kept = connection.execute(sa.select(table.c.remote_addr, table.c.user_agent)).all()
    assert set(map(tuple, kept)) == {(None, None)}
    assert uuid.UUID(case.id)
