"""``GET /invitations``: filters, search, pages, and everything that a query string may try."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from tests.hosts import Host
from tests.http.tools import LIST, Case, invite, make, people, refused


def emails(host: Host, who: Any, **query: Any) -> list[str]:
    answer = host.client(who).get(LIST, query_string=query)
    assert answer.status_code == 200, answer.text
    page: Any = answer.json
    return [item["email"].partition("@")[0] for item in page["items"]]


@pytest.fixture
def crowd(host: Host) -> tuple[Host, Any]:
    """Six invitations of every state and several roles in one tenant, one in another; and their admin."""
    _, admin, _, stranger = people(host)
    client = host.client(admin)
    invite(host.client(stranger), "theirs@example.com")
    made = {}
    for name, role in (("ann", "user"), ("bob_x", "manager"), ("b%b", "admin"), ("dé", "user"), ("E", "viewer")):
        made[name] = invite(client, f"{name}@example.com", role=role)["id"]
        host.clock.tick(timedelta(seconds=1))
    client.delete(f"{LIST}/{made['ann']}")
    host.client().post("/api/v1/users/decline-invite", json={"token": host.outbox.token_to("bob_x@example.com")})
    host.clock.tick(timedelta(days=1))
    made["late"] = invite(client, "late@example.com", expires_in=3600)["id"]
    host.clock.tick(timedelta(hours=2))
    return host, admin


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["late", "E", "dé", "b%b", "bob_x", "ann"]),
    ({"status": "pending"}, ["E", "dé", "b%b"]),
    ({"status": "expired"}, ["late"]),
    ({"status": "revoked"}, ["ann"]),
    ({"status": "declined"}, ["bob_x"]),
    ({"status": "accepted"}, []),
    ({"role": "user"}, ["late", "dé", "ann"]),
    ({"role": "user", "status": "pending"}, ["dé"]),
    ({"email": "E@EXAMPLE.com"}, ["E"]),
    ({"email": "ann@example.com"}, ["ann"]),
    ({"email": "theirs@example.com"}, []),
    ({"email": "_@example.com"}, []),
    ({"q": "b"}, ["b%b", "bob_x"]),
    ({"q": "B"}, ["b%b", "bob_x"]),
    ({"q": "%"}, ["b%b"]),
    ({"q": "_"}, ["bob_x"]),
    ({"q": "b_b"}, []),
    ({"q": "\\"}, []),
    ({"q": "/"}, []),
    ({"q": "' OR '1'='1"}, []),
    ({"q": "dé@"}, ["dé"]),
    ({"q": "theirs"}, []),
    ({"limit": 1}, ["late"]),
    ({"limit": 100}, ["late", "E", "dé", "b%b", "bob_x", "ann"]),
]


def test_filters(crowd: tuple[Host, Any]) -> None:
    """C7, C11: a filter finds what it says in the caller's own tenant, and search takes every character for itself."""
    host, admin = crowd
    for query, expected in FILTERS:
        assert emails(host, admin, **query) == expected, query


def test_accents_are_letters(crowd: tuple[Host, Any]) -> None:
    """F1: the filter by address takes é for é alone, whatever the database's collation thinks."""
    host, admin = crowd
    assert emails(host, admin, email="de@example.com") == []


def test_pages(host: Host) -> None:
    """Pages of every size show each invitation once, newest first, though rows come in between and share a moment."""
    _, admin, _, stranger = people(host)
    client = host.client(admin)
    for number in range(7):
        invite(client, f"p{number}@example.com")
        invite(host.client(stranger), f"p{number}@example.com")
        if number % 3 == 2:
            host.clock.tick(timedelta(microseconds=1))
    expected = [f"p{number}" for number in range(6, -1, -1)]
    for limit in (1, 2, 3, 7, 8):
        found: list[str] = []
        cursor: dict[str, Any] = {}
        for _ in range(9):
            page: Any = client.get(LIST, query_string={"limit": limit, **cursor}).json
            found += [item["email"].partition("@")[0] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            assert len(page["items"]) == limit
            cursor = {"cursor": page["next_cursor"]}
        assert found == expected
    first: Any = client.get(LIST, query_string={"limit": 3}).json
    host.clock.tick(timedelta(seconds=1))
    invite(client, "newer@example.com")
    second: Any = client.get(LIST, query_string={"limit": 3, "cursor": first["next_cursor"]}).json
    assert [item["email"] for item in second["items"]] == [f"p{number}@example.com" for number in (3, 2, 1)]


def test_cursor_carries_no_authority(host: Host) -> None:
    """K1: another tenant's cursor shows nothing but the own tenant's rows."""
    _, admin, _, stranger = people(host)
    for number in range(2):
        invite(host.client(admin), f"ours{number}@example.com")
        invite(host.client(stranger), f"theirs{number}@example.com")
    page: Any = host.client(stranger).get(LIST, query_string={"limit": 1}).json
    assert emails(host, admin, cursor=page["next_cursor"]) in (["ours1", "ours0"], ["ours0"])


BAD: list[dict[str, Any]] = [
    {"sort": "token_hash"},
    {"order_by": "1; DROP TABLE users"},
    {"token_hash": "a"},
    {"tenant_id": "2"},
    {"stat": "pending"},
    {"status": "open"},
    {"status": ""},
    {"status": "PENDING"},
    {"role": "root"},
    {"role": ""},
    {"limit": 0},
    {"limit": 101},
    {"limit": -1},
    {"limit": "x"},
    {"limit": "1.5"},
    {"limit": ""},
    {"limit": "9" * 5000},
    {"email": "not an address"},
    {"email": ""},
    {"email": "a@b@example.com"},
    {"email": "nul\0@example.com"},
    {"q": ""},
    {"q": "x" * 255},
    {"q": "nul\0"},
    {"cursor": ""},
    {"cursor": "x"},
    {"cursor": "é"},
    {"cursor": "A" * 5000},
]


def cursor(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


TAMPERED: list[Any] = [
    [],
    {},
    1,
    None,
    "text",
    ["2026-01-01", "x"],
    [1, 2],
    [None, None],
    ["2026-01-01T00:00:00+00:00", 5],
    ["0001-01-01T00:00:00+23:59", "0" * 32],
    ["x", "0" * 32],
    ["2026-01-01T00:00:00", "0" * 32, 1],
    {"a": 1, "b": 2},
    [["2026-01-01"], ["0" * 32]],
    ["2026-01-01T00:00:00'--", "0" * 32],
]


@pytest.mark.parametrize("query", [*BAD, *[{"cursor": cursor(value)} for value in TAMPERED]], ids=str)
def test_bad_query(untouched: Case, query: dict[str, Any]) -> None:
    """K1: a wrong or unknown parameter, a cursor of somebody's own making among them, is 422 and names it."""
    answer = untouched.host.client(untouched.admin).get(LIST, query_string=query)
    problem = refused(answer, 422, "invalid-request", errors=(answer.json or {}).get("errors"))
    assert problem["errors"].keys() == query.keys()


def test_search_for_anything(host: Host) -> None:
    """Searching for whatever text never breaks on any database."""
    client = host.client(make(host, "pending").admin)
    for text in ("nul\0", "\udcff", "é", "😀", "x" * 254, "\x1f", "\u202e"):
        quoted = "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))
        assert client.get(f"{LIST}?q={quoted}").status_code in (200, 422), ascii(text)


def test_far_away_cursor(host: Host) -> None:
    """A cursor at either end of time is an empty or a full page, on every database."""
    case = make(host, "pending")
    for moment, expected in (("0001-01-01T00:00:00+00:00", []), ("9999-12-31T23:59:59+00:00", [case.email])):
        place = cursor([moment, "0" * 32])
        page: Any = host.client(case.admin).get(LIST, query_string={"cursor": place}).json
        assert [item["email"] for item in page["items"]] == expected


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "tail",
    [
        "/invite",
        "/invitations",
        "/invitations/{id}",
        "/invitations/{id}/events",
        "/invitations/{id}/resend",
        "/accept-invite",
        "/accept-invite/preview",
        "/decline-invite",
        "/invitations/openapi.json",
    ],
)
def test_reading_changes_nothing(untouched: Case, method: str, tail: str) -> None:
    """E4, R18: GET, HEAD and OPTIONS change nothing, neither on an overdue invitation nor with a token about."""
    host, now = untouched.host, untouched.host.clock.now
    host.clock.tick(timedelta(days=9))
    url = "/api/v1/users" + tail.format(id=untouched.id)
    for client in (host.client(untouched.admin), host.client()):
        answer = client.open(
            url, method=method, query_string={"token": untouched.token}, json={"token": untouched.token}
        )
        assert answer.status_code in (200, 401, 404, 405, 422)  # where it is asked at all, the parameter is unknown
        assert untouched.token not in answer.text
    host.clock.set(now)
