"""Bodies that are not what they should be: each gets its 4xx, and nothing is half-done in the database."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from importlib.metadata import requires
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, PREVIEW, Case, changed, make, refused, snapshot, unchanged

LIMIT = 16 * 1024


@dataclass
class Bench:
    """An invitation, and a way to send any bytes to any call that takes a body."""

    case: Case

    @property
    def host(self) -> Host:
        return self.case.host

    def target(self, call: str) -> tuple[FlaskClient, str, dict[str, Any]]:
        """Who calls, where, and a body that would do."""
        admin, nobody = self.host.client(self.case.admin), self.host.client()
        token = {"token": self.case.token}
        targets: dict[str, tuple[FlaskClient, str, dict[str, Any]]] = {
            "invite": (admin, INVITE, {"email": "new@example.com"}),
            "resend": (admin, f"{self.case.url}/resend", {"rotate": True}),
            "preview": (nobody, PREVIEW, token),
            "decline": (nobody, DECLINE, token),
            "accept": (nobody, ACCEPT, {**token, "password": PASSWORD}),
        }
        return targets[call]

    def send(self, call: str, raw: bytes, content_type: str | None = "application/json", **more: Any) -> TestResponse:
        client, url, _ = self.target(call)
        return client.post(url, data=raw, content_type=content_type, **more)

    def good(self, call: str) -> dict[str, Any]:
        return self.target(call)[2]


CALLS = ("invite", "resend", "preview", "decline", "accept")
every_call = pytest.mark.parametrize("call", CALLS)


@pytest.fixture
def bench(untouched: Case) -> Bench:
    """Asserts at the end that nothing in the database has changed, and that no mail was sent."""
    return Bench(untouched)


def test_good_bodies(local: Host) -> None:
    """What the other tests here spoil would have been taken."""
    for number, call in enumerate(CALLS):
        bench = Bench(make(local, "pending", f"T{number}"))
        client, url, body = bench.target(call)
        if call == "invite":
            body = {"email": f"new{number}@example.com"}
        assert client.post(url, data=json.dumps(body), content_type="application/json; charset=utf-8").status_code < 300


@every_call
@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/problem+json",
        "application/jsonp",
        "application/json-patch+json",
        "*/*",
        "application/xml",
        "x",
    ],
)
def test_content_type(bench: Bench, call: str, content_type: str | None) -> None:
    """A body that is not declared as JSON is refused with 415, whatever is in it (H2: a form cannot send one)."""
    refused(bench.send(call, json.dumps(bench.good(call)).encode(), content_type), 415, "unsupported-media-type")


NOT_JSON = {
    "cut off": b'{"email": "a@example.com"',
    "words": b"email=a@example.com",
    "two objects": b"{}{}",
    "a field twice": b'{"email": "a@example.com", "email": "b@example.com"}',
    "a field twice, the same": b'{"token": "a", "token": "a"}',
    "a field twice, spelled otherwise": b'{"token": "a", "t\\u006fken": "b"}',
    "a field twice, deep inside": b'{"details": {"a": [{"b": 1, "b": 2}]}}',
    "trailing comma": b'{"email": "a@example.com",}',
    "single quotes": b"{'email': 'a@example.com'}",
    "comment": b"{} // no",
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"email": "a@example.com"}'.encode("utf-16"),
    "latin-1": '{"email": "jos\xe9@example.com"}'.encode("latin-1"),
    "overlong utf-8": b'{"email": "a\xc0\x80@example.com"}',
    "raw control character": b'{"message": "a\x01"}',
    "raw nul": b'{"message": "a\x00"}',
    "nul": b'{"message": "a\\u0000"}',
    "nul in a key": b'{"details": {"\\u0000": 1}}',
    "nul deep inside": b'{"details": {"a": [{"b": "\\u0000"}]}}',
    "half a surrogate": b'{"message": "\\ud800"}',
    "half a surrogate in a key": b'{"\\udfff": 1}',
    "surrogates the wrong way round": b'{"message": "\\ude00\\ud83d"}',
    "surrogate bytes": b'{"message": "\xed\xa0\x80"}',
    "NaN": b'{"details": {"a": NaN}}',
    "Infinity": b'{"details": {"a": Infinity}}',
    "-Infinity": b'{"expires_in": -Infinity}',
    "number beyond range": b'{"details": {"a": 1e999}}',
    "number beyond range, negative": b'{"details": {"a": [-1e999]}}',
    "number with 309 digits": b'{"details": {"a": ' + b"9" * 309 + b"}}",
    "number with 5,000 digits": b'{"details": {"a": ' + b"9" * 5000 + b"}}",
    "nested 33 deep": b'{"details":' + b"[" * 32 + b"]" * 32 + b"}",
    "nested 5,000 deep": b'{"details":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "nested 2,500 deep in objects": b'{"a":' * 2500 + b"1" + b"}" * 2500,
    "unclosed, 15,000 deep": b"[" * 15000,
}


@every_call
@pytest.mark.parametrize("raw", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_not_json(bench: Bench, call: str, raw: bytes) -> None:
    """I4: what is not well-formed JSON, or holds what no database takes, is 400; never a 500."""
    refused(bench.send(call, raw), 400, "malformed-request")


@pytest.mark.parametrize("call", ["invite", "preview", "decline", "accept"])
def test_empty_body(bench: Bench, call: str) -> None:
    """An empty body is not JSON where a body is needed."""
    refused(bench.send(call, b""), 400, "malformed-request")


@every_call
@pytest.mark.parametrize("raw", [b"[]", b'"text"', b"null", b"1", b"true", b'[{"email": "a@example.com"}]'])
def test_no_object(bench: Bench, call: str, raw: bytes) -> None:
    """I1: JSON that is no object, a list of bodies above all, is 422: no call loads many at once."""
    refused(bench.send(call, raw), 422, "invalid-request")


def test_marshmallow_is_mended() -> None:
    """I1: the versions of marshmallow with CVE-2025-68480 are excluded."""
    (wanted,) = [text for text in requires("flask-invitations") or () if text.startswith("marshmallow")]
    for bound in (">=3.26.2", "!=4.0.*", "!=4.1.0", "!=4.1.1"):
        assert bound in wanted


@every_call
def test_unknown_field(bench: Bench, call: str) -> None:
    """A field that we do not know is refused by its name, never passed over (A3, C12)."""
    body = {**bench.good(call), "tenant_id": 1}
    answer = bench.send(call, json.dumps(body).encode())
    refused(answer, 422, "invalid-request", errors={"tenant_id": ["Unknown field."]})


def padded(body: dict[str, Any], size: int) -> bytes:
    """``body`` as JSON, padded with white space to exactly so many bytes."""
    raw = json.dumps(body).encode()
    return raw + b" " * (size - len(raw))


@every_call
def test_size(local: Host, call: str) -> None:
    """I4: 16 KiB are taken, one byte more is 413, with and without a Content-Length."""
    bench = Bench(make(local, "pending"))
    good = bench.good(call)
    with unchanged(local):
        for raw in (padded(good, LIMIT + 1), b"x" * (1 << 20)):
            refused(bench.send(call, raw), 413, "body-too-large")
            refused(send_chunked(bench, call, raw), 413, "body-too-large")
    assert bench.send(call, padded(good, LIMIT)).status_code < 300


@every_call
def test_chunked(local: Host, call: str) -> None:
    """A body that comes without Content-Length is read like another."""
    bench = Bench(make(local, "pending"))
    assert send_chunked(bench, call, padded(bench.good(call), LIMIT)).status_code < 300


def send_chunked(bench: Bench, call: str, raw: bytes) -> TestResponse:
    """As a server hands over a chunked body: the stream ends by itself, and its length is not known."""
    client, url, _ = bench.target(call)
    return client.post(
        url,
        input_stream=io.BytesIO(raw),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
        headers={"Transfer-Encoding": "chunked"},
    )


@every_call
def test_body_shorter_than_declared(bench: Bench, call: str) -> None:
    """A client that hangs up in the middle gets a 4xx if anything, and nothing happens."""
    client, url, good = bench.target(call)
    raw = json.dumps(good).encode()
    answer = client.post(
        url,
        input_stream=io.BytesIO(raw),
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": str(len(raw) + 9)},
    )
    refused(answer, 400, "malformed-request")


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", ""])
def test_nonsense_content_length(bench: Bench, length: str) -> None:
    """A Content-Length that is none counts as no body."""
    client, url, good = bench.target("invite")
    answer = client.post(
        url,
        input_stream=io.BytesIO(json.dumps(good).encode()),
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": length},
    )
    refused(answer, 400, "malformed-request")


@every_call
def test_hosts_own_limit(local_url: str, call: str) -> None:
    """Where the host's own MAX_CONTENT_LENGTH is smaller, it holds, and the refusal is still ours."""
    with build(local_url, config={"MAX_CONTENT_LENGTH": 300}) as host:
        bench = Bench(make(host, "pending"))
        before = snapshot(host)
        refused(bench.send(call, padded(bench.good(call), 301)), 413, "body-too-large")
        refused(send_chunked(bench, call, padded(bench.good(call), 301)), 413, "body-too-large")
        assert changed(before, snapshot(host)) == set()
        assert bench.send(call, padded(bench.good(call), 300)).status_code < 300


@pytest.mark.parametrize("depth", [30, 31])
def test_deep_but_allowed(local: Host, depth: int) -> None:
    """30 levels of details are allowed."""
    case = make(local, "pending")
    raw = b'{"email": "deep@example.com", "details": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
    answer = local.client(case.admin).post(INVITE, data=raw, content_type="application/json")
    assert answer.status_code == (201 if depth == 30 else 422)


@pytest.mark.parametrize("raw", [b"", b"{}"])
@pytest.mark.parametrize("content_type", [None, "application/json"])
def test_resend_without_body(local: Host, raw: bytes, content_type: str | None) -> None:
    """Resend's body is optional: an empty one and none mean the same."""
    case = make(local, "pending")
    answer = local.client(case.admin).post(f"{case.url}/resend", data=raw, content_type=content_type)
    if raw and content_type is None:
        refused(answer, 415, "unsupported-media-type")
    else:
        assert answer.status_code == 200
        assert local.outbox.token_to(case.email) != case.token
