"""Fields of the wrong type, just inside their bounds, and just outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from marshmallow import Schema, fields, validate

from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, PREVIEW, Case, make, refused, set_columns, unchanged


@pytest.fixture
def case(local: Host) -> Case:
    """A pending invitation."""
    return make(local, "pending")


def complaint(case: Case, body: dict[str, Any], field: str, url: str = INVITE) -> Any:
    """What is said about ``field``, and nothing about any other."""
    client = case.host.client(case.admin) if url == INVITE or url.endswith("resend") else case.host.client()
    answer = client.post(url, json=body)
    problem = refused(answer, 422, "invalid-request", errors=(answer.json or {}).get("errors"))
    assert problem["errors"].keys() == {field}
    return problem["errors"][field]


NOT_TEXT: list[Any] = [
    1,
    0,
    1.5,
    True,
    False,
    [],
    ["a@example.com"],
    {},
    {"a": "b"},
    ["a@example.com", "b@example.com"],
]


@pytest.mark.parametrize("value", NOT_TEXT)
@pytest.mark.parametrize("field", ["email", "role", "message", "locale"])
def test_text_must_be_text(untouched: Case, field: str, value: Any) -> None:
    """A10: where text is wanted, a number, a truth value, a list or an object is refused, never turned into text."""
    complaint(untouched, {"email": "new@example.com", field: value}, field)


@pytest.mark.parametrize("value", ["text", 1, True, [], [1], ["a"], "{}"])
def test_details_must_be_an_object(untouched: Case, value: Any) -> None:
    """C6: ``details`` is an object or nothing."""
    complaint(untouched, {"email": "new@example.com", "details": value}, "details")


@pytest.mark.parametrize("value", [True, False, "3600", 3600.5, [], {}, -1, 0, 3599, 2592001, 10**30, -(10**30)])
def test_expires_in(untouched: Case, value: Any) -> None:
    """B10: ``expires_in`` is a whole number of seconds from an hour to 30 days; nobody gets an eternal link."""
    complaint(untouched, {"email": "new@example.com", "expires_in": value}, "expires_in")


@pytest.mark.parametrize("seconds", [3600, 2592000])
def test_expires_in_at_its_bounds(case: Case, seconds: int) -> None:
    """B10: both bounds are allowed, and are what they say."""
    made: Any = case.host.client(case.admin).post(INVITE, json={"email": "n@example.com", "expires_in": seconds}).json
    span = datetime.fromisoformat(made["expires_at"][:-1]) - datetime.fromisoformat(made["created_at"][:-1])
    assert span == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["owner ", "Admin", "root", "", "us\u200ber", "user\n", "x" * 500])
def test_unknown_role(untouched: Case, value: str) -> None:
    """C4: a role that is not in the settings is refused, not guessed."""
    complaint(untouched, {"email": "new@example.com", "role": value}, "role")


@pytest.mark.parametrize(
    "value", ["", "e", "english language", "en_US", "en-", "-en", "de-CH\n", "en" + "-abcdefgh" * 4, "é"]
)
def test_bad_locale(untouched: Case, value: str) -> None:
    """``locale`` is a BCP 47 tag."""
    complaint(untouched, {"email": "new@example.com", "locale": value}, "locale")


@pytest.mark.parametrize("value", ["en", "de-CH", "zh-Hant-TW", "sr-Latn-RS", "es-419", "sl-rozaj-biske-1994"])
def test_good_locale(case: Case, value: str) -> None:
    """A language tag comes back as it was given."""
    answer = case.host.client(case.admin).post(INVITE, json={"email": "new@example.com", "locale": value})
    assert answer.json is not None
    assert answer.json["locale"] == value


def filled(size: int) -> dict[str, str]:
    """An object whose JSON takes exactly ``size`` octets."""
    return {"a": "é" * ((size - 9) // 2) + "x" * ((size - 9) % 2)}


def test_filled() -> None:
    """The helper measures octets."""
    assert [len(json.dumps(filled(size), ensure_ascii=False).encode()) for size in (4096, 4097)] == [4096, 4097]


@pytest.mark.parametrize("mark", ["x", "é", "😀"])
def test_message_length(case: Case, mark: str) -> None:
    """A message of 1,000 characters of any kind is kept whole; one more is refused."""
    with unchanged(case.host):
        complaint(case, {"email": "new@example.com", "message": mark * 1001}, "message")
    made: Any = case.host.client(case.admin).post(INVITE, json={"email": "n@example.com", "message": mark * 1000}).json
    assert made["message"] == mark * 1000


@pytest.mark.parametrize("value", ["", "  \n\t "])
def test_blank_message(untouched: Case, value: str) -> None:
    """A message of nothing is a mistake."""
    complaint(untouched, {"email": "new@example.com", "message": value}, "message")


def test_details_length(case: Case) -> None:
    """I4: details of 4 KiB of JSON are kept whole; one octet more is refused."""
    with unchanged(case.host):
        complaint(case, {"email": "new@example.com", "details": filled(4097)}, "details")
    made: Any = case.host.client(case.admin).post(INVITE, json={"email": "n@example.com", "details": filled(4096)}).json
    assert made["details"] == filled(4096)


DETAILS: list[dict[str, Any]] = [
    {},
    {"": ""},
    {"a": None, "b": [True, False, 0, -1, 1.5, 1e300, 10**100], "c": {"d": [[], {}]}},
    {"ключ": "значение 😀", "__proto__": {"x": 1}, "token": "mine", "id": 3},
]


@pytest.mark.in_turn
@pytest.mark.parametrize("details", DETAILS)
def test_details_come_back(host: Host, details: dict[str, Any]) -> None:
    """C6: details are kept as they are on every database, and mean nothing to us."""
    case = make(host, "pending", details=details)
    seen: Any = host.client(case.admin).get(case.url).json
    assert seen["details"] == details
    assert (seen["id"], seen["role"]) == (case.id, "user")


def test_text_comes_back(host: Host) -> None:
    """What is written in any script comes back as it was, on every database."""
    message = 'Grüß Gott 😀 \u202eabc "quoted" <b>bold</b> \\ %s {{ 7*7 }} {token}\nline two'
    case = make(host, "pending", message=message)
    seen: Any = host.client(case.admin).get(case.url).json
    assert seen["message"] == message


@pytest.mark.parametrize("body", [{}, {"role": "user"}, {"email": None}])
def test_missing_email(untouched: Case, body: dict[str, Any]) -> None:
    """Without an address there is nobody to invite."""
    complaint(untouched, body, "email")


@pytest.mark.parametrize("value", [*NOT_TEXT, None])
@pytest.mark.parametrize("url", [PREVIEW, DECLINE, ACCEPT])
def test_token_must_be_text(untouched: Case, url: str, value: Any) -> None:
    """A10, A11: a token that is no text, null among them, is refused before anything is looked up."""
    with untouched.host.statements() as seen:
        complaint(untouched, {"token": value}, "token", url)
    assert seen == []


@pytest.mark.parametrize("url", [PREVIEW, DECLINE, ACCEPT])
def test_missing_token(untouched: Case, url: str) -> None:
    """Without a token there is nothing to answer."""
    complaint(untouched, {}, "token", url)


@pytest.mark.parametrize("value", NOT_TEXT)
def test_reason_must_be_text(untouched: Case, value: Any) -> None:
    """A reason is text or nothing."""
    complaint(untouched, {"token": untouched.token, "reason": value}, "reason", DECLINE)


def test_reason_length(case: Case) -> None:
    """A reason of 500 characters is kept whole; one more is refused and declines nothing."""
    with unchanged(case.host):
        complaint(case, {"token": case.token, "reason": "é" * 501}, "reason", DECLINE)
    assert case.host.client().post(DECLINE, json={"token": case.token, "reason": "é" * 500}).status_code == 200
    (event,) = case.host.rows(case.host.invitations.models.InvitationEvent, type="declined")
    assert event.details == {"reason": "é" * 500}


@pytest.mark.parametrize("value", ["true", "false", "yes", 1, 0, "", [], {}, None])
def test_rotate(untouched: Case, value: Any) -> None:
    """``rotate`` is true or false: nothing else is taken for one of them."""
    complaint(untouched, {"rotate": value}, "rotate", f"{untouched.url}/resend")


# What the invitee sends


@pytest.mark.parametrize("value", NOT_TEXT)
def test_password_must_be_text(case: Case, value: Any) -> None:
    """A10: a password that is no text is refused."""
    with unchanged(case.host):
        complaint(case, {"token": case.token, "password": value}, "password", ACCEPT)


@pytest.mark.parametrize(
    "password",
    [None, "", "x" * 14, "password", "passwordpassword", "aaaaaaaaaaaaaaaaaaaa", "x" * 129, "correct\u0020h"],
)
def test_weak_password(case: Case, password: str | None) -> None:
    """B12, I3: a weak, short, long or missing password is refused, and the invitation stands."""
    (message,) = complaint(case, {"token": case.token, "password": password}, "password", ACCEPT)
    assert message.endswith(".")
    assert case.host.client().post(ACCEPT, json={"token": case.token, "password": PASSWORD}).status_code == 201


@pytest.mark.parametrize(
    "password", ["vyxq kwzj hbpf m", "ß" * 3 + "örßüäq wnzkhf vpl", "😀 kqz vbn wpo rtj mlk", " kqz vbn wpo rtj mlk "]
)
def test_strong_password(case: Case, password: str) -> None:
    """A password is taken as it is: spaces and every script count."""
    assert case.host.client().post(ACCEPT, json={"token": case.token, "password": password}).status_code == 201
    (user,) = case.host.rows(case.host.User, email=case.email)
    assert user.check_password(password)
    assert not user.check_password(password.strip() + " ")


def test_password_bounds(local_url: str) -> None:
    """I3: length is counted in characters, and both bounds are allowed."""
    letters = "kqzvbnwporjtmlkfdshgxcyaeiu"
    for length, status in ((14, 422), (15, 201), (128, 201), (129, 422)):
        with build(local_url) as host:
            case = make(host, "pending", f"T{length}")
            body = {"token": case.token, "password": (letters * 5)[:length]}
            assert host.client().post(ACCEPT, json=body).status_code == status, length


def test_long_password_is_never_hashed(local: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """I3: a password over the limit is refused before anything is hashed."""
    case = make(local, "pending")
    monkeypatch.setattr(local.User, "set_password", lambda *_: pytest.fail("hashed"))
    complaint(case, {"token": case.token, "password": "kqz " * 3000}, "password", ACCEPT)


class Profile(Schema):
    """The extra accept fields of a host."""

    name = fields.String(required=True, validate=validate.Length(1, 20))
    email_verified = fields.Boolean()


@pytest.fixture
def profiled(local_url: str) -> Iterator[Case]:
    """An invitation of a host that asks for a name."""
    with build(local_url, profile_schema=Profile) as host:
        yield make(host, "pending")


def test_profile(profiled: Case) -> None:
    """C13: the fields that the host declared, and only they, reach the new account."""
    body = {"token": profiled.token, "password": PASSWORD, "name": "Guest"}
    assert profiled.host.client().post(ACCEPT, json=body).status_code == 201
    (user,) = profiled.host.rows(profiled.host.User, email=profiled.email)
    assert user.name == "Guest"


@pytest.mark.parametrize("name", [None, 1, "", "x" * 21, ["Guest"], {"a": 1}])
def test_bad_profile(profiled: Case, name: Any) -> None:
    """B12: a profile that the host's schema refuses is refused by field, and the invitation stands."""
    body = {"token": profiled.token, "password": PASSWORD, "name": name}
    complaint(profiled, body, "name", ACCEPT)
    assert profiled.host.client().post(ACCEPT, json={**body, "name": "Guest"}).status_code == 201


def test_all_complaints_at_once(profiled: Case) -> None:
    """Somebody with a bad profile and a weak password hears of both."""
    answer = profiled.host.client().post(ACCEPT, json={"token": profiled.token, "password": "x"})
    problem = refused(answer, 422, "invalid-request", errors=(answer.json or {})["errors"])
    assert problem["errors"].keys() == {"name", "password"}


@pytest.mark.parametrize(
    "field",
    [
        "email",
        "role",
        "tenant_id",
        "id",
        "invited_by_id",
        "is_admin",
        "password_hash",
        "accepted_by_id",
        "status",
        "email_key",
        "user_id",
        "__class__",
        "profile",
        "user",
        "origin",
        "ctx",
    ],
)
def test_mass_assignment(untouched: Case, field: str) -> None:
    """A3, C13: the invitee chooses neither address, nor role, nor tenant, nor any other column."""
    errors = complaint(untouched, {"token": untouched.token, "password": PASSWORD, field: "owner"}, field, ACCEPT)
    assert errors == ["Unknown field."]


def test_password_where_none_is_needed(local_url: str) -> None:
    """With PASSWORD_REQUIRED off a new account may come without one; a given one is still checked."""
    with build(local_url, config={"INVITATIONS_PASSWORD_REQUIRED": False}) as host:
        case = make(host, "pending")
        complaint(case, {"token": case.token, "password": "short"}, "password", ACCEPT)
        assert host.client().post(ACCEPT, json={"token": case.token}).status_code == 201
        (user,) = host.rows(host.User, email=case.email)
        assert user.password_hash is None


def test_inactive_at_create(case: Case) -> None:
    """A tenant that is not active invites nobody."""
    set_columns(case.host, case.host.Tenant, case.tenant, active=False)
    with unchanged(case.host):
        answer = case.host.client(case.admin).post(INVITE, json={"email": "new@example.com"})
        refused(answer, 403, "tenant-inactive")
