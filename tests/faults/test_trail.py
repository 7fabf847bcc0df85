"""The audit trail of an invitation under fire: W6."""

from __future__ import annotations

import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations import InvalidRequest
from tests.hosts import PASSWORD, Host
from tests.http.tools import ACCEPT, Case, make, refused
from tests.pages.test_desk import DESK, words
from tests.races.harness import Racers, accept, crowded, invited
from tests.test_cli import fine


def events(case: Case, **query: Any) -> Any:
    """A page of the trail, as the API gives it."""
    answer = case.client("admin").get(f"{case.url}/events", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def pages(case: Case, limit: int) -> list[dict[str, Any]]:
    """The whole trail, page by page."""
    found, cursor = list[dict[str, Any]](), dict[str, Any]()
    for _ in range(200):
        page = events(case, limit=limit, **cursor)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        assert len(page["items"]) == limit
        cursor = {"cursor": page["next_cursor"]}
    raise AssertionError("no end")


def write_events(case: Case, count: int) -> None:
    """So many more lines, each a moment after the other, three of them at the same one."""
    model, host = case.host.invitations.models.InvitationEvent, case.host
    like = {"tenant_id": case.tenant, "invitation_id": uuid.UUID(case.id), "type": "sent", "times": 1}
    moments = [host.clock.now + timedelta(seconds=number // 3) for number in range(count)]
    rows = [{**like, "id": uuid.UUID(int=(7 << 76) + number), "at": at} for number, at in enumerate(moments)]
    with host.engine.begin() as connection:
        connection.execute(sa.insert(model.__table__), rows)


def test_refusals_are_counted(host: Host) -> None:
    """W6: what somebody repeats with one dead link is one line that counts; the state changes stay in sight, in the
    API, from Python, on the command line and on the desk."""
    case = make(host, "revoked")
    for _ in range(40):
        host.clock.tick(timedelta(seconds=1))
        assert accept(host, case.token)[1] == "invitation-revoked"
    items = events(case)["items"]
    assert [each["type"] for each in items] == ["created", "sent", "revoked", "accept_refused"]
    told = items[-1]["details"]
    assert (told["code"], told["count"]) == ("invitation-revoked", 40)
    assert told["last_at"] == host.clock.now.isoformat().replace("+00:00", "Z")
    assert items[-1]["at"] < told["last_at"]
    with host.app.app_context():
        assert host.invitations.events(case.id)[-1].details == told
    assert "'count': 40" in fine(host, "show", case.id)
    shown = words(case.client("admin").get(f"{DESK}{case.id}"))
    assert "40 attempts were made." in shown
    assert "Revoked" in shown


def test_each_reason_and_each_link_has_its_line(host: Host) -> None:
    """W6: another reason is another line, and another link too; the first of a kind looks as ever."""
    case = make(host, "pending")
    first = case.token
    weak = {"password": "short"}
    for _ in range(2):
        assert host.client().post(ACCEPT, json={"token": first, **weak}).status_code == 422
    assert case.client("admin").post(f"{case.url}/resend").status_code == 200
    second = host.outbox.token_to(case.email)
    for _ in range(3):
        assert host.client().post(ACCEPT, json={"token": first, "password": PASSWORD}).status_code == 410
    assert host.client().post(ACCEPT, json={"token": second, **weak}).status_code == 422
    told = [each["details"] for each in events(case)["items"] if each["type"] == "accept_refused"]
    assert [(each["code"], each.get("count")) for each in told] == [
        ("invalid-request", 2),
        ("invitation-replaced", 3),
        ("invalid-request", None),
    ]


def test_counted_at_once(database_url: str) -> None:
    """W6: refusals at the same moment are all counted, in one line, and none of them fails for another."""
    with crowded(database_url, 8) as host, Racers(8) as racers:
        invitation_id, token = invited(host, "race@example.com")
        with host.app.app_context():
            host.invitations.revoke(invitation_id)
        for _ in range(3):
            answers = racers.race(partial(accept, host, token))
            assert set(answers) == {(410, "invitation-revoked")}
        lines = host.rows(host.invitations.models.InvitationEvent, type="accept_refused")
        assert [each.times for each in lines] == [24]


def test_pages(host: Host) -> None:
    """W6: pages of every size show each line once, oldest first, also of lines that share a moment."""
    case = make(host, "pending")
    write_events(case, 130)
    whole = pages(case, 100)
    assert len(whole) == 132
    assert [each["at"] for each in whole] == sorted(each["at"] for each in whole)
    assert len({each["id"] for each in whole}) == 132
    for limit in (7, 44):
        assert pages(case, limit) == whole
    with host.app.app_context():
        ours = host.invitations
        first = ours.events(case.id)
        rest = ours.events(case.id, after=(first[-1].at, first[-1].id))
        assert [str(each.id) for each in (*first, *rest)] == [each["id"] for each in whole]
        assert len(ours.events(case.id, limit=3)) == 3
    assert fine(host, "show", case.id).count("\n") == 133


def test_a_page_of_another(host: Host) -> None:
    """W6: a cursor carries no authority: another's shows nothing but the lines of this invitation."""
    case, other = make(host, "pending"), make(host, "pending", "Second")
    write_events(other, 9)
    theirs = events(other, limit=5)["next_cursor"]
    ours = {each["id"] for each in pages(case, 100)}
    assert {each["id"] for each in events(case, cursor=theirs)["items"]} <= ours
    assert host.client(other.admin).get(f"{case.url}/events?limit=1").status_code == 404


@pytest.mark.in_turn
@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"cursor": "x"}, {"cursor": "W10="}, {"after": "x"}, {"offset": 1}],
    ids=str,
)
def test_bad_query(host: Host, query: dict[str, Any]) -> None:
    """W6: a wrong or unknown parameter is 422 and names it, from Python too."""
    case = make(host, "pending")
    answer = case.client("admin").get(f"{case.url}/events", query_string=query)
    assert refused(answer, 422, "invalid-request", errors=(answer.json or {}).get("errors"))["errors"].keys() == {
        *query
    }
    with host.app.app_context():
        for wrong in ({"limit": 0}, {"limit": "all"}, {"after": "x"}, {"after": (1, 2)}, {"after": ()}):
            with pytest.raises(InvalidRequest) as info:
                host.invitations.events(case.id, **wrong)
            assert info.value.errors.keys() == wrong.keys()


def test_the_desk_in_pages(host: Host) -> None:
    """W6: the desk shows the latest page of a long trail, and the ways to what came before, and back."""
    case = make(host, "revoked")
    write_events(case, 120)
    client, page = case.client("admin"), f"{DESK}{case.id}"
    answer, lines = client.get(page), 0
    for number in range(3):
        lines += answer.text.count("<li>\n      <strong>")
        assert ("Newest" in words(answer)) is (number > 0)
        _, found, rest = answer.text.partition('rel="prev" href="')
        if not found:
            break
        answer = client.get(rest.partition('"')[0].replace("&amp;", "&"))
    assert (number, lines) == (2, 123)
    assert "Invited as user" in words(answer)
    for wrong in ("x", "", "W10="):
        assert client.get(f"{page}?cursor={wrong}").status_code in (200, 422)
