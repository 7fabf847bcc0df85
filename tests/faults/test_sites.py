"""Calls that come from pages of other sites: W2, A7."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flask_invitations.origins import Origin
from flask_invitations.web.sites import is_from_elsewhere
from tests.hosts import Host, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, PREVIEW, Case, make, refused, unchanged
from tests.pages.test_desk import DESK, sealed

TRUSTED = "https://spa.example:8443"
FACES = ("api", "page", "desk")
#: What a browser says, to the faces that it may call with that. The host is asked as http://localhost, and its
#: ACCEPT_URL is on https://app.example.com.
VERDICTS: list[tuple[dict[str, str], str]] = [
    ({}, "api page desk"),
    ({"Sec-Fetch-Site": "same-origin"}, "api page desk"),
    ({"Sec-Fetch-Site": "none"}, "api page desk"),
    ({"Sec-Fetch-Site": "same-site"}, ""),
    ({"Sec-Fetch-Site": "cross-site"}, ""),
    ({"Sec-Fetch-Site": ""}, ""),
    ({"Sec-Fetch-Site": "Same-Origin"}, ""),
    ({"Sec-Fetch-Site": "same-origin, cross-site"}, ""),
    ({"Sec-Fetch-Site": "somewhere"}, ""),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, "api page desk"),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "null"}, ""),
    ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, ""),
    # Pages that may, wherever they are.
    ({"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example.com"}, "api page desk"),
    ({"Sec-Fetch-Site": "same-site", "Origin": "https://app.example.com"}, "api page desk"),
    ({"Sec-Fetch-Site": "cross-site", "Origin": TRUSTED}, "api page desk"),
    ({"Origin": "https://app.example.com"}, "api page desk"),
    ({"Origin": "https://APP.example.com:443"}, "api page desk"),
    ({"Origin": "https://app.example.com."}, "api page desk"),
    ({"Origin": TRUSTED}, "api page desk"),
    ({"Origin": "https://bücher.example".encode().decode("latin-1")}, ""),
    ({"Origin": "https://xn--bcher-kva.example"}, "api page desk"),
    ({"Origin": "https://[2001:db8:0:0::1]"}, "api page desk"),
    ({"Origin": "http://app.example.com"}, ""),
    ({"Origin": "https://app.example.com:8443"}, ""),
    ({"Origin": "https://sub.app.example.com"}, ""),
    ({"Origin": "https://spa.example"}, ""),
    # Our own, where nothing else is said.
    ({"Origin": "http://localhost"}, "api page desk"),
    ({"Origin": "http://localhost:80"}, "api page desk"),
    ({"Origin": "HTTP://LOCALHOST"}, "api page desk"),
    ({"Origin": "https://localhost"}, "api page desk"),
    ({"Origin": "null"}, "page desk"),
    ({"Origin": "Null"}, ""),
    ({"Origin": ""}, ""),
    ({"Origin": "http://localhost/"}, ""),
    ({"Origin": "http://localhost/path"}, ""),
    ({"Origin": "http://localhost?"}, ""),
    ({"Origin": "http://localhost#x"}, ""),
    ({"Origin": "http://localhost:8080"}, ""),
    ({"Origin": "https://localhost:80"}, ""),
    ({"Origin": "http://localhost, http://evil.example"}, ""),
    ({"Origin": "http://localhost http://evil.example"}, ""),
    ({"Origin": "http://localhost,http://localhost"}, ""),
    ({"Origin": "http://localhost@evil.example"}, ""),
    ({"Origin": "http://evil.example@localhost"}, ""),
    ({"Origin": "http://localhost\\@evil.example"}, ""),
    ({"Origin": "localhost"}, ""),
    ({"Origin": "//localhost"}, ""),
    ({"Origin": "file://"}, ""),
    ({"Origin": "chrome-extension://localhost"}, ""),
    ({"Origin": "http://["}, ""),
    ({"Origin": "http://[::1"}, ""),
    ({"Origin": "http://localhost:"}, "api page desk"),
    ({"Origin": "http://localhost:x"}, ""),
    ({"Origin": "http://localhost:99999999999999"}, ""),
    ({"Origin": "http://" + "a" * 5000}, ""),
    ({"Origin": "http://\xff"}, ""),
    # Credentials: a browser adds all of them but a bearer token by itself.
    ({"Sec-Fetch-Site": "cross-site", "Authorization": "Basic YTpi"}, ""),
    ({"Sec-Fetch-Site": "cross-site", "Authorization": "Negotiate YTpi"}, ""),
    ({"Sec-Fetch-Site": "cross-site", "Authorization": "Bearer"}, ""),
    ({"Sec-Fetch-Site": "cross-site", "Authorization": "Bearer "}, ""),
    ({"Sec-Fetch-Site": "cross-site", "Authorization": "Basic bearer x"}, ""),
    ({"Sec-Fetch-Site": "cross-site", "Authorization": "Bearer abc"}, "api"),
    ({"Sec-Fetch-Site": "cross-site", "Authorization": "bearer abc"}, "api"),
    ({"Origin": "https://evil.example", "Authorization": "Bearer abc"}, "api"),
    ({"Origin": "null", "Authorization": "Bearer abc"}, "api page desk"),
    ({"Sec-Fetch-Site": "cross-site", "Cookie": "session=x"}, ""),
    ({"Referer": "https://evil.example/", "Cookie": "session=x"}, "api page desk"),
]


@dataclass
class Door:
    """A way to call each face that changes nothing, whatever the answer."""

    case: Case
    seal: str

    def call(self, face: str, headers: dict[str, str], **how: Any) -> TestResponse:
        nobody, admin = self.case.host.client(), self.case.client("admin")
        sent: dict[str, Callable[[], TestResponse]] = {
            "api": lambda: admin.post(f"{self.case.url}/resend", json={"x": 1}, headers=headers, **how),
            "page": lambda: nobody.post("/invitations/open", data={"token": self.case.token}, headers=headers, **how),
            "desk": lambda: admin.post(f"{DESK}invite", data={"seal": self.seal}, headers=headers, **how),
        }
        return sent[face]()


#: What each face answers to a call that it takes.
TAKEN = {"api": 422, "page": 200, "desk": 422}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A host that trusts a few origins besides."""
    url = f"sqlite:///{tmp_path_factory.mktemp('sites') / 's.sqlite3'}"
    trusted = ["https://SPA.example:8443", "https://bücher.example", "https://[2001:DB8::1]:443"]
    with build(url, config={"INVITATIONS_TRUSTED_ORIGINS": trusted}) as host:
        case = make(host, "pending")
        client = case.client("admin")
        door = Door(case, sealed(client, DESK, f"{DESK}invite"))
        with unchanged(host):
            yield door


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("headers", "allowed"), VERDICTS, ids=ascii)
def test_verdict(door: Door, face: str, headers: dict[str, str], allowed: str) -> None:
    """W2, A7: what a browser says of where a call comes from decides on every face, by one table, with a cookie, with
    another credential or with none; a malformed word is a stranger's, never a crash."""
    answer = door.call(face, headers)
    assert answer.status_code == (TAKEN[face] if face in allowed.split() else 403), answer.text
    if face == "api" and not allowed:
        refused(answer, 403, "cross-site")


@pytest.mark.parametrize("face", FACES)
def test_behind_a_proxy(door: Door, face: str) -> None:
    """W2: behind a proxy that ends TLS and that the host does not trust, our own page is our own; one over http is not
    that of an app over https."""
    for base, origin, allowed in (
        ("http://shop.example", "https://shop.example", True),
        ("http://shop.example:8000", "https://shop.example:8000", True),
        ("https://shop.example", "https://shop.example", True),
        ("https://shop.example", "http://shop.example", False),
        ("http://127.0.0.1:8000", "https://shop.example", False),
        ("http://[::1]:5000", "http://[0:0::1]:5000", True),
    ):
        answer = door.call(face, {"Origin": origin}, base_url=base)
        assert answer.status_code == (TAKEN[face] if allowed else 403), (base, origin)
    broken = door.call(face, {"Origin": "http://evil.example"}, environ_overrides={"HTTP_HOST": "evil.example/@["})
    assert broken.status_code in (400, 403)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_every_call_that_changes_something(door: Door, method: str) -> None:
    """W2: no call of the API that changes anything takes a sibling's request, an empty body among them; reading is left
    to the browser."""
    case = door.case
    urls = {"POST": [INVITE, PREVIEW, ACCEPT, DECLINE, f"{case.url}/resend"], "DELETE": [case.url]}
    for url in urls[method]:
        for headers in ({"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}):
            refused(case.client("admin").open(url, method=method, headers=headers), 403, "cross-site")
    assert case.client("admin").get(case.url, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "HTTP_ORIGIN": st.text(max_size=40) | st.builds("{}://{}{}".format, *[st.text(max_size=12)] * 3),
            "HTTP_SEC_FETCH_SITE": st.text(max_size=12) | st.sampled_from(["same-origin", "none", "same-site"]),
        },
    ),
    st.booleans(),
)
def test_nothing_that_is_said_gets_through(said: dict[str, str], page: bool) -> None:
    """W2: nothing but the words of the table passes, whatever is sent in these headers, and nothing breaks."""
    trusted = Origin("https", "app.example.com")
    foreign = is_from_elsewhere(said, lambda: "http://localhost", lambda: [trusted], page=page)
    site, sender = said.get("HTTP_SEC_FETCH_SITE"), said.get("HTTP_ORIGIN")
    ours = site in ("same-origin", "none") or (site is None and (sender is None or (page and sender == "null")))
    assert foreign is not ours or "localhost" in (sender or "") or "app.example.com" in (sender or "")


# Bodies


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
@pytest.mark.parametrize(("method", "tail"), [("POST", "/resend"), ("DELETE", ""), ("GET", ""), ("GET", "/events")])
def test_a_body_is_json(door: Door, method: str, tail: str, kind: str | None) -> None:
    """W2: where there is a body it is declared as JSON, also where none is needed, or none is taken."""
    client, url = door.case.client("admin"), f"{door.case.url}{tail}"
    for raw in (b"{}", b"a=b", b"\0"):
        answer = client.open(url, method=method, data=raw, content_type=kind)
        refused(answer, 415, "unsupported-media-type")


def test_a_body_that_is_not_taken(door: Door) -> None:
    """W2: a call that takes no body refuses what stands in one by its name, and takes an empty object for none."""
    client: FlaskClient = door.case.client("admin")
    for method, url in (("DELETE", door.case.url), ("GET", door.case.url)):
        answer = client.open(url, method=method, json={"confirm": True})
        refused(answer, 422, "invalid-request", errors={"confirm": ["Unknown field."]})
        refused(client.open(url, method=method, data=b"{", content_type="application/json"), 400, "malformed-request")
    assert client.get(door.case.url, json={}).status_code == 200


@pytest.mark.parametrize("value", ["*", "null"])
def test_no_wildcards(tmp_path: Any, value: str) -> None:
    """W2: an origin is trusted by its name only."""
    with pytest.raises(Exception, match="INVITATIONS_TRUSTED_ORIGINS must start with https"):
        build(f"sqlite:///{tmp_path / 'x.sqlite3'}", config={"INVITATIONS_TRUSTED_ORIGINS": [value]})


def test_a_page_of_the_accept_url(door: Door) -> None:
    """A7: a single-page app on the origin of ACCEPT_URL may call the API from browsers of today and of yesterday."""
    host: Host = door.case.host
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {}):
        said = {"Origin": "https://app.example.com", **headers}
        assert host.client().post(PREVIEW, json={"token": door.case.token}, headers=said).status_code == 200


@pytest.mark.parametrize(
    ("own", "sender", "is_own"),
    [
        ("http://app.example.com:443", "https://app.example.com", True),  # a proxy that adds the port
        ("http://my_app:5000", "http://my_app:5000", True),
        ("http://xn--i-7iq.ws", "http://xn--i-7iq.ws", True),
        ("http://[fe80::1%25eth0]", "http://[fe80::1%25eth0]", True),
        ("http://my_app:5000", "http://my_app:5001", False),
        ("https://app.example.com", "http://app.example.com", False),
        ("http://app.example.com:8443", "https://app.example.com", False),
    ],
)
def test_an_origin_that_is_ours_to_the_letter(own: str, sender: str, is_own: bool) -> None:
    """W2: our own origin is known also where it cannot be normalized, and behind a proxy that adds the default port."""
    assert is_from_elsewhere({"HTTP_ORIGIN": sender}, lambda: own, tuple, page=False) is not is_own
