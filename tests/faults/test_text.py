"""Text and values that are none, from hosts, from Python, and in every part of a request: W7."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import quote, unquote_to_bytes

import pytest
from flask_babel import Babel, lazy_gettext
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError, fields
from werkzeug.datastructures import Headers
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import EnvironBuilder

from flask_invitations import InvalidRequest, InvitationError, InvitationNotFound, PasswordRejected
from flask_invitations.current import override
from tests.hosts import PASSWORD, Host, build, without_profile
from tests.http.tools import ACCEPT, DECLINE, DOCUMENT, INVITE, LIST, PREVIEW, Case, make, refused, unchanged
from tests.pages.test_desk import DESK, sealed, words
from tests.pages.test_pages import invite, post

LAZY = lazy_gettext("Use a company address.")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Host]:
    """A host on SQLite, with Flask-Babel."""
    with build(f"sqlite:///{tmp_path / 'text.sqlite3'}") as host:
        Babel(host.app)
        yield host


# What a host says


class ByClass(InvitationError):
    code = "company-only"
    status = 403
    sentence: ClassVar[Any] = LAZY


class Odd(InvitationError):
    """Evidence that JSON has no values for, a status without a phrase."""

    code = "odd"
    status = 499

    @property
    def evidence(self) -> dict[str, Any]:
        return {"when": datetime(2026, 1, 1, tzinfo=timezone.utc), "seen": {LAZY}, "odd": float("nan"), "1": b"x"}


REFUSALS = [ByClass(), ByClass(LAZY), InvitationError(LAZY), Odd(), InvitationError("half a \ud800 pair")]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: f"{type(each).__name__} {ascii(each.detail)[:12]}")
def test_what_a_hook_says(local: Host, refusal: InvitationError) -> None:
    """W7: a refusal of the host's with a lazy sentence, odd evidence or broken text is answered as that refusal, in the
    API, on the pages, at the desk, and in words from Python."""
    token = invite(local)

    def refuse(*_: Any) -> Any:
        raise refusal

    (admin,) = local.rows(local.User)
    client = local.client(admin.id)
    with override(local.app, check_invitee=refuse, create_user=refuse):
        answers = [
            client.post(INVITE, json={"email": "new@example.com"}),
            local.client().post(ACCEPT, json={"token": token, "password": PASSWORD}),
        ]
        for answer in answers:
            assert (answer.status_code, answer.json and answer.json["code"]) == (refusal.status, refusal.code)
            assert json.loads(answer.data, parse_constant=pytest.fail)["detail"] == refusal.detail
        assert post(local.client(), "accept", token, password=PASSWORD).status_code == refusal.status
        data = {"seal": sealed(client, DESK, f"{DESK}invite"), "email": "new@example.com"}
        answer = client.post(f"{DESK}invite", data=data)
        assert answer.status_code == refusal.status
        assert refusal.detail in words(answer)
    assert isinstance(refusal.detail, str)
    str(refusal).encode()


def test_fields_in_other_words(tmp_path: Path) -> None:
    """W7: lazy sentences of a password check and of a schema are told field by field, in JSON and on the page."""

    class Profile(Schema):
        nickname = fields.String(error_messages={"required": LAZY})
        team = fields.String(validate=lambda _: _refuse())

    def _refuse() -> Any:
        raise ValidationError([LAZY, "\udfff"])

    def validate_password(password: str, _invitation: Any) -> None:
        raise PasswordRejected(LAZY)

    url = f"sqlite:///{tmp_path / 'f.sqlite3'}"
    with build(url, profile_schema=Profile, create_user=without_profile, validate_password=validate_password) as host:
        Babel(host.app)
        token = invite(host)
        answer = host.client().post(ACCEPT, json={"token": token, "password": PASSWORD, "team": "x"})
        assert (answer.json or {})["errors"] == {"team": [str(LAZY), "?"], "password": [str(LAZY)]}
        page = post(host.client(), "accept", token, password=PASSWORD, team="x")
        assert page.status_code == 422
        assert page.text.count(str(LAZY)) >= 2


def test_a_text_longer_than_its_column(database_url: str) -> None:
    """W7: where the host's schema sets no length, a text that its column cannot hold is refused by its field."""

    class Profile(Schema):
        name = fields.String()

    with build(database_url, profile_schema=Profile) as host:
        (longest,) = [column.type.length for column in host.User.__table__.columns if column.key == "name"]
        token = invite(host)
        for count, status in ((longest + 1, 422), (longest, 201)):
            answer = host.client().post(ACCEPT, json={"token": token, "password": PASSWORD, "name": "é" * count})
            assert answer.status_code == status, answer.text
            if status == 422:
                assert (answer.json or {})["errors"] == {"name": [f"Use at most {longest} characters."]}


@pytest.mark.parametrize(("name", "value"), [("status", 200), ("status", "403"), ("status", 999), ("code", LAZY)])
def test_a_refusal_that_is_none(name: str, value: Any) -> None:
    """W7: a class of refusals of which no answer could be made is refused where it is written."""
    with pytest.raises(TypeError, match="Wrong needs a code, which is a string, and a status from 400 to 599"):
        type("Wrong", (InvitationError,), {name: value})


@pytest.mark.parametrize("errors", ["bad", ["bad"], None, 5, {1: "bad"}, {"\ud800": LAZY}, {"a": {"b": {1, 2}}}])
def test_errors_of_any_shape(errors: Any) -> None:
    """W7: whatever a host gives as the errors of a refusal becomes JSON that can be sent."""
    json.dumps(InvalidRequest(errors).problem(), allow_nan=False).encode()
    InvalidRequest(errors).detail.encode()


# From Python


class Sub(str):
    """Text all the same."""


TEXTS: list[Any] = ["\ud800", "a\0b", b"x", 5, ["x"], {"x": 1}, object(), True]
DEEP: dict[str, Any] = {}
for _ in range(30):
    DEEP = {"a": DEEP}
LOOP: dict[str, Any] = {}
LOOP["self"] = LOOP
WRONG: dict[str, list[Any]] = {
    "email": [*TEXTS, "", None, "a\ud800@example.com", "a@\ud800.example"],
    "role": [*TEXTS, ""],
    "message": [*TEXTS, "x" * 1001, " "],
    "locale": [*TEXTS, "", "x" * 36, "de\n"],
    "details": [
        set(), [], "x", 5, b"x", object(), DEEP, LOOP, {"a": {1}}, {"a": b"x"}, {"a": float("nan")},
        {"a": float("inf")}, {"a": "\ud800"}, {"\udfff": 1}, {"a": ["\0"]}, {"a": 10**400}, {"a": datetime(2026, 1, 1)},
        {(1, 2): 3}, {"a": "x" * 4096}, {"a": LAZY},
    ],
    "expires_in": [
        0, -1, 3599, 2_592_001, 10**400, -(10**400), "3600", 3600.0, float("nan"), True, b"1", [], timedelta(0),
        timedelta.max, timedelta.min, timedelta(days=-1),
    ],
    "mail": [None, 1, "yes"],
    "confirm": [None, 0, "no"],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_invite_from_python(local: Host, name: str) -> None:
    """W7: a value of the wrong type, of broken text, too long or too deep, is ``InvalidRequest`` that names the field,
    and nothing is written."""
    tenant = local.tenant()
    with local.app.app_context(), unchanged(local):
        for value in WRONG[name]:
            for act in (local.invitations.invite, local.invitations.explain):
                if name == "mail" and act == local.invitations.explain:
                    continue
                given = {"email": "new@example.com", name: value}
                with pytest.raises(InvalidRequest) as info:
                    act(**given, tenant_id=tenant)
                assert name in info.value.errors, ascii(value)
                json.dumps(info.value.problem())


def test_what_is_kept_is_what_is_read(local: Host) -> None:
    """W7: details are JSON from the start: what an act returns is what is read later, whatever they were made of."""
    given = {"a": (1, 2), "b": {"c": Sub("x")}, "d": MappingProxyType, "n": 10**300}
    given["d"] = [True, None, 1.5]
    with local.app.app_context():
        made = local.invitations.invite("new@example.com", details=given, tenant_id=local.tenant())
        given["a"] = "changed"
        found = local.invitations.get(made.id)
    assert made.details == found.details == {"a": [1, 2], "b": {"c": "x"}, "d": [True, None, 1.5], "n": 10**300}


def test_answers_from_python(local: Host) -> None:
    """W7: what an invitee could not have typed is refused from Python as well, or is no link at all."""
    token, ours = invite(local), local.invitations
    with local.app.app_context(), unchanged(local):
        for password in (b"x" * 20, 5, ["x"], "\ud800" * 20, "nul\0" * 9):
            with pytest.raises(InvalidRequest) as info:
                ours.accept(token, password=password)  # type: ignore[arg-type]
            assert info.value.errors.keys() == {"password"}
        for profile in ("x", ["name"], 5, {"name": "\ud800"}, {"name": ["a\0"]}, DEEP):
            with pytest.raises(InvalidRequest) as info:
                ours.accept(token, password=PASSWORD, profile=profile)  # type: ignore[arg-type]
        for reason in (b"x", 5, "\ud800", "\0", "x" * 501):
            with pytest.raises(InvalidRequest):
                ours.decline(token, reason=reason)  # type: ignore[arg-type]
        for link in (b"x", 5, None, "\ud800" * 43, "A\0" * 30, token.encode()):
            with pytest.raises(InvitationError):
                ours.preview(link)  # type: ignore[arg-type]
            ours.request_link(link)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["int", "str", "uuid"])
def test_keys_from_python(database_url: str, key: Any) -> None:
    """W7: what can be no key of a tenant or an invitation is refused by its name, or not found, whatever it is."""
    with build(database_url, key=key) as host, host.app.app_context(), unchanged(host):
        odds: list[Any] = [[], object(), b"x", 1.5, {}, True, 10**400, 2**63, "\ud800", "1\0", "x" * 5000, ""]
        for odd in odds:
            for act in (lambda odd: host.invitations.invite("b@example.com", tenant_id=odd), _list_of(host)):
                with suppress(InvitationError):
                    act(odd)
            for find in (
                host.invitations.get,
                host.invitations.events,
                host.invitations.resend,
                host.invitations.revoke,
            ):
                with pytest.raises(InvitationNotFound):
                    find(odd)
            assert host.invitations.deliver(odd) == {}
            assert host.invitations.record_delivery(odd, "bounced", odd) is False


def _list_of(host: Host) -> Any:
    return lambda odd: host.invitations.list(tenant_id=odd)


def test_lists_from_python(local: Host) -> None:
    """W7: filters and places in a list that are none are refused, those without a time zone are taken for UTC."""
    case = make(local, "pending")
    with local.app.app_context():
        ours = local.invitations
        wrong: dict[str, list[Any]] = {
            "q": [*TEXTS, ""],
            "role": TEXTS,
            "status": [*TEXTS, "pendnig"],
            "limit": [0, 101, "x", 1.5, 10**400, [], True, None],
            "after": ["x", (1, 2), (datetime(2026, 1, 1), "x"), ()],
        }
        for name, values in wrong.items():
            for value in values:
                with pytest.raises(InvalidRequest) as info:
                    ours.list(**{name: value})
                assert info.value.errors.keys() == {name}
        (row,) = ours.list()
        naive = row.created_at.replace(tzinfo=None) + timedelta(seconds=1)
        assert [each.id for each in ours.list(after=(naive, row.id))] == [row.id]
        assert str(row.id) == case.id


@given(text=st.text(st.characters(), min_size=1, max_size=60) | st.text("\ud800\udfff\0\x1b\u202e=?\r\n", min_size=1))
@settings(max_examples=60)
def test_whatever_is_stored_can_be_shown(mails: Host, text: str) -> None:
    """W7: a message and details of any text are refused, or come back as they were, in JSON, on the page, at the desk
    and in an email that can be sent."""
    host = mails
    with host.app.app_context():
        try:
            made = host.invitations.invite(
                f"m{len(host.outbox.messages)}@example.com", message=text, details={text: text}, tenant_id=host.tenant()
            )
        except InvalidRequest:
            assert "\0" in text or not text.strip() or any("\ud800" <= c <= "\udfff" for c in text)
            return
    mail = host.outbox.messages[-1]
    for part in (mail.subject, mail.text, mail.html, *mail.headers.values()):
        part.encode()
    (admin,) = host.rows(host.User, email="admin@example.com")
    client = host.client(admin.id)
    shown: Any = client.get(f"{LIST}/{made.id}").json
    assert (shown["message"], shown["details"]) == (text, {text: text})
    assert client.get(f"{DESK}{made.id}").status_code == 200
    assert post(host.client(), "open", host.outbox.token_to(made.email or "")).status_code == 200


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host that is invited from many times, on SQLite."""
    with build(f"sqlite:///{tmp_path_factory.mktemp('mails') / 'm.sqlite3'}") as host:
        host.user("admin@example.com", "admin")
        yield host


# In a request


STRANGE = (
    "%00", "%ff%fe", "%F0%28%8C%28", "%ED%A0%80", "..%2f..%2f", "%0d%0aX:1", "\u0661\u0662", "a" * 3000, "%", "%u0041",
    "{}", "urn:uuid:" + "0" * 32, "'\"><script>", "%2e%2e/%2e",
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """An invitation that nothing changes."""
    with build(f"sqlite:///{tmp_path_factory.mktemp('shared') / 's.sqlite3'}") as host:
        host.app.config["PROPAGATE_EXCEPTIONS"] = True
        case = make(host, "pending")
        with unchanged(host):
            yield case


def ask(case: Case, method: str, raw_url: str, headers: list[tuple[str, str]] = [], body: bytes = b"") -> int:  # noqa: B006
    """The status that a request gets, its path and query as they came off the wire."""
    path, _, query = raw_url.partition("?")
    builder = EnvironBuilder(method=method, headers=Headers(case.host.headers(case.admin)), data=body or None)
    environ = builder.get_environ()
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
    environ["QUERY_STRING"] = query.encode().decode("latin-1")
    for name, value in headers:
        environ[name if name.startswith("CONTENT_") else f"HTTP_{name}"] = value
    answer = case.host.app.test_client().open(environ)
    answer.close()
    return answer.status_code


@pytest.mark.parametrize("odd", STRANGE, ids=ascii)
def test_odd_addresses(shared: Case, odd: str) -> None:
    """W7: an address of any octets, in the place of an id, of a token, and in the query, is answered, never by 5xx."""
    for url in (
        f"{LIST}/{odd}",
        f"{LIST}/{odd}/events",
        f"/invitations/accept/{odd}",
        f"{DESK}{odd}",
        f"{DESK}{odd}/revoke",
    ):
        for method in ("GET", "POST", "DELETE"):
            assert ask(shared, method, url) < 500, (method, url)
    for url in (LIST, shared.url, f"{shared.url}/events", DOCUMENT, DESK, f"{DESK}{shared.id}", "/invitations/accept"):
        for name in ("q", "cursor", "status", "limit", "done", "x", odd):
            assert ask(shared, "GET", f"{url}?{name}={odd}&{odd}") < 500, (url, name)


@pytest.mark.parametrize("url", [LIST, "{url}/events", "{url}", DOCUMENT, INVITE])
def test_a_parameter_twice(shared: Case, url: str) -> None:
    """W7: a query parameter that is given twice is refused by its name: it has no one value."""
    method, address = ("POST" if url == INVITE else "GET"), url.format(url=shared.url)
    name = "explain" if url == INVITE else "limit"
    answer = shared.client("admin").open(
        f"{address}?{name}=1&{name}=1", method=method, json={"email": "x@example.com"} if url == INVITE else None
    )
    assert refused(answer, 422, "invalid-request")["errors"].keys() == {name}


HEADERS = (
    ("USER_AGENT", "x" * 100_000),
    ("USER_AGENT", "\xff\x00\x1b[0m"),
    ("USER_AGENT", ""),
    ("X_FORWARDED_FOR", "x" * 5000),
    ("X_FORWARDED_FOR", ", ,"),
    ("X_FORWARDED_FOR", "\xff<script>"),
    ("X_FORWARDED_FOR", "::ffff:1.2.3.4%25eth0"),
    ("ACCEPT_LANGUAGE", "\xff;q=x,*;q=9" + "a" * 5000),
    ("COOKIE", "\xff=\x00; session=\xff"),
    ("AUTHORIZATION", "Bearer \xff"),
    ("AUTHORIZATION", "\xff"),
    ("ORIGIN", "\xff"),
    ("HOST", "\xff"),
    ("CONTENT_TYPE", "application/json; charset=\xff"),
    ("CONTENT_TYPE", "multipart/form-data; boundary=\xff"),
    ("CONTENT_TYPE", "multipart/form-data; boundary="),
    ("CONTENT_TYPE", "\xff"),
    ("CONTENT_LENGTH", "9" * 400),
    ("TRANSFER_ENCODING", "\xff"),
)


@pytest.mark.parametrize("header", HEADERS, ids=lambda each: f"{each[0]} {ascii(each[1])[:20]}")
def test_odd_headers(shared: Case, header: tuple[str, str]) -> None:
    """W7: a header of any octets and any length is answered, never by 5xx."""
    for method, url in (
        ("GET", LIST),
        ("POST", PREVIEW),
        ("POST", DECLINE),
        ("POST", "/invitations/open"),
        ("GET", "/invitations/accept"),
        ("GET", DESK),
        ("POST", f"{DESK}invite"),
    ):
        assert ask(shared, method, url, [header], b"{}" if method == "POST" else b"") < 500, (method, url)


@given(
    st.binary(max_size=60), st.sampled_from(["GET", "POST", "DELETE"]), st.sampled_from([LIST, DESK, "/invitations/"])
)
@settings(max_examples=80)
def test_any_octets(shared: Case, raw: bytes, method: str, below: str) -> None:
    """W7: any octets as path, query and body of a request are answered, never by 5xx, and change nothing."""
    tail = quote(raw, safe="/?=&")
    assert ask(shared, method, f"{below}/{tail}", [("CONTENT_TYPE", "application/json")], raw) < 500
    assert ask(shared, method, f"{below}?{tail}", [("CONTENT_TYPE", "application/x-www-form-urlencoded")], raw) < 500


def test_where_a_call_came_from(tmp_path: Path) -> None:
    """W7: what a trusted proxy says of an address is kept short and printable, on every answer that is written down."""
    with build(f"sqlite:///{tmp_path / 'x.sqlite3'}") as host:
        case = make(host, "revoked")
        host.app.wsgi_app = ProxyFix(host.app.wsgi_app)  # type: ignore[method-assign]
        said = {"X-Forwarded-For": "\x1b\xff" * 300, "User-Agent": "\x1b\xff" * 60_000}
        answer = host.client().post(ACCEPT, json={"token": case.token, "password": PASSWORD}, headers=said)
        assert answer.status_code == 410
        (line,) = host.rows(host.invitations.models.InvitationEvent, type="accept_refused")
        assert len(line.remote_addr) <= 45
        assert len(line.user_agent) <= 512
        assert (line.remote_addr + line.user_agent).isprintable()


@pytest.mark.parametrize(
    ("seconds", "taken"), [(0, True), (1, True), (300, True), (301, False), (-43_200, True), (-43_201, False)]
)
def test_a_clock_that_is_ahead(local: Host, seconds: int, taken: bool) -> None:
    """W7: a form of the desk that another server made is good where that server's clock is a little ahead."""
    client = local.client(local.user("admin@example.com", "admin"))
    seal = sealed(client, DESK, f"{DESK}invite")
    local.clock.tick(timedelta(seconds=-seconds))
    answer = client.post(f"{DESK}invite", data={"seal": seal, "email": "new@example.com"})
    assert answer.status_code == (303 if taken else 403)
