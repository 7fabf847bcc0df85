"""Any text in any field: there is no 5xx, and what is kept can be emailed and displayed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marshmallow import Schema, fields
from werkzeug.test import TestResponse

from flask_invitations import Message
from flask_invitations.mail.headers import to_email
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, LIST, PREVIEW, people
from tests.pages.test_desk import DESK, sealed
from tests.races.harness import rounds

#: All that a JSON string can hold, halves of characters among it; what has surprised somebody before; and much of it.
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=60)
ODD = st.sampled_from(
    [
        "", " ", "\0", "\ud800", "\udfff\ud800", "\r\nBcc: x@evil.example", "=?utf-8?q?=0ABcc:x=40evil.example?=",
        "\u2028", "\u202e", "\ufeff", "\u200b", "{{ 7*7 }}", "{% raw %}", "%(email)s", "%s", "<script>",
        "'; --", "https://evil.example", "\x1b[2J", "\x85", "ß", "İ", "ﬁ", "e\u0301", "𝕏", "👩‍👩‍👧", "NULL", "None",
        "a" * 3000, "é" * 300, "." * 64, "@" * 5, "1e999", "NaN", "-1", "true",
    ]
)  # fmt: skip
TEXT = ANYTHING | ODD | st.tuples(ANYTHING, ODD, ANYTHING).map("".join)
ADDRESS = TEXT | st.tuples(TEXT, st.sampled_from(["@example.com", "@bücher.example", "@[127.0.0.1]"])).map("".join)
RUN = settings(max_examples=rounds(4, 60), deadline=None, database=None, suppress_health_check=list(HealthCheck))
_numbers = itertools.count()


class Profile(Schema):
    name = fields.String()


class Emails:
    """A mailer that makes of each message the bytes that a mail server would get, and reads them as one would."""

    def __init__(self) -> None:
        self.links: dict[str, str] = {}

    def __call__(self, message: Message) -> None:
        raw = to_email(message, "Acme <no-reply@acme.example>").as_bytes()
        read = message_from_bytes(raw, _class=EmailMessage, policy=policy.default)
        assert [name for name in read.keys() if name.lower() in ("to", "cc", "bcc")] == ["To"]  # noqa: SIM118
        assert not read.defects
        assert message.accept_url in read.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        self.links[str(message.invitation.id)] = str(message.accept_url).partition("#")[2]


@dataclass
class Site:
    host: Host
    admin: FlaskClient
    emails: Emails

    def invite(self, **given: Any) -> TestResponse:
        return self.admin.post(INVITE, json={"email": f"g{next(_numbers)}@example.com", **given})

    def token(self) -> str:
        """Of a fresh invitation."""
        return self.emails.links[self.invite().json["id"]]  # type: ignore[index]

    def check(self, answer: TestResponse) -> None:
        """Assert that an answer is one; and where an invitation was made of it, that it was emailed and is shown."""
        assert answer.status_code < 500
        if answer.status_code == 201:
            made: Any = answer.json
            assert made["delivery"]["state"] == "sent"
            shown = self.admin.get(f"{LIST}/{made['id']}").json
            assert {name: shown[name] for name in ("email", "message", "details", "locale")} == {  # type: ignore[index]
                name: made[name] for name in ("email", "message", "details", "locale")
            }
            for page in (DESK, f"{DESK}{made['id']}"):
                displayed(self.admin.get(page))
            displayed(form(self.host.client(), "/invitations/open", token=self.emails.links[made["id"]]))


def displayed(answer: TestResponse) -> None:
    assert answer.status_code == 200
    answer.data.decode()
    assert b"\0" not in answer.data


def form(client: FlaskClient, url: str, **texts: str) -> TestResponse:
    """Send a form with texts that no browser would send."""
    pairs = (f"{name}={quote_from_bytes(text.encode('utf-8', 'surrogatepass'))}" for name, text in texts.items())
    return client.post(url, data="&".join(pairs), content_type="application/x-www-form-urlencoded")


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    emails = Emails()
    with build(database_url, profile_schema=Profile, mailer=emails) as host:
        host.app.testing = False  # what nobody expects is a 500, as it is for people
        _, admin, *_ = people(host)
        yield Site(host, host.client(admin), emails)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["email", "role", "message", "locale"])
def test_what_a_manager_types(site: Site, name: str) -> None:
    """W7, E3, K4: any text in any field of an invitation is refused with 4xx, or kept, emailed and shown as it is."""

    @RUN
    @given(text=ADDRESS if name == "email" else TEXT)
    def run(text: str) -> None:
        site.check(site.invite(**{name: text}))

    run()


@pytest.mark.soak
@pytest.mark.parametrize("name", ["email", "role", "message", "locale", "expires_in"])
def test_what_is_typed_at_the_desk(site: Site, name: str) -> None:
    """W7, E3, K4: the same for the form at the desk."""
    seal = sealed(site.admin, DESK, f"{DESK}invite")

    @RUN
    @given(text=ADDRESS if name == "email" else TEXT)
    def run(text: str) -> None:
        given_ = {"email": f"g{next(_numbers)}@example.com", name: text}
        answer = form(site.admin, f"{DESK}invite", seal=seal, **given_)
        assert answer.status_code in (303, 400, 403, 409, 413, 422)
        if answer.status_code == 303:
            displayed(site.admin.get(answer.location))
        displayed(site.admin.get(DESK))

    run()


@pytest.mark.soak
@pytest.mark.parametrize("name", ["email", "role", "message", "locale"])
def test_what_a_row_says(site: Site, name: str) -> None:
    """W7: the same for a row of many: what is refused is that row alone, unless no JSON can hold it."""

    @RUN
    @given(text=ADDRESS if name == "email" else TEXT)
    def run(text: str) -> None:
        rows = [{"email": f"g{next(_numbers)}@example.com", name: text}, {"email": f"g{next(_numbers)}@example.com"}]
        answer = site.admin.post(f"{INVITE}/bulk", json={"invitations": rows})
        assert answer.status_code in (200, 400)
        if answer.status_code == 200:
            assert answer.json["results"][1]["outcome"] == "created"  # type: ignore[index]

    run()


@pytest.mark.soak
def test_details(site: Site) -> None:
    """W7, C6: any object of JSON."""
    leaves = TEXT | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
    objects = st.recursive(leaves, lambda each: st.lists(each) | st.dictionaries(TEXT, each), max_leaves=8)

    @RUN
    @given(details=st.dictionaries(TEXT, objects, max_size=3))
    def run(details: dict[str, Any]) -> None:
        answer = site.invite(details=details)
        site.check(answer)
        if answer.status_code == 201:
            assert answer.json["details"] == json.loads(json.dumps(details))  # type: ignore[index]

    run()


@pytest.mark.soak
@pytest.mark.parametrize("name", ["token", "password", "name", "reason"])
def test_what_an_invitee_types(site: Site, name: str) -> None:
    """W7, B12: any text in any field of the invitee's, in the API and on the page; a refused one spends nothing."""
    token = site.token()

    @RUN
    @given(text=TEXT)
    def run(text: str) -> None:
        nonlocal token
        calls = {"reason": (DECLINE, "decline"), "token": (PREVIEW, "open")}
        call, page = calls.get(name, (ACCEPT, "accept"))
        fields_ = {"token": token, **({"password": PASSWORD} if call == ACCEPT else {}), name: text}
        client = site.host.client()
        for by_form in (False, True):
            answer = form(client, f"/invitations/{page}", **fields_) if by_form else client.post(call, json=fields_)
            assert answer.status_code < 500
            if answer.status_code in (200, 201, 303) and name != "token":
                token = site.token()
                fields_["token"] = token
        displayed(site.admin.get(DESK))

    run()


@pytest.mark.soak
@pytest.mark.parametrize("name", ["q", "status", "role", "email", "cursor", "limit", "invited_by"])
def test_what_is_searched_for(site: Site, name: str) -> None:
    """W7, C11, K1: any text in any query parameter, in the API and at the desk."""
    site.token()

    @RUN
    @given(text=TEXT)
    def run(text: str) -> None:
        query = f"{name}={quote_from_bytes(text.encode('utf-8', 'surrogatepass'))}"
        assert site.admin.get(f"{LIST}?{query}").status_code in (200, 400, 414, 422)
        assert site.admin.get(f"{DESK}?{query}").status_code in (200, 400, 414, 422)

    run()


@pytest.mark.soak
def test_who_calls(site: Site) -> None:
    """W7, K3: any bytes in the header that says which program calls; the audit trail shows it."""
    printable = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=700)

    @RUN
    @given(agent=printable)
    def run(agent: str) -> None:
        answer = site.admin.post(
            INVITE, json={"email": f"g{next(_numbers)}@example.com"}, environ_overrides={"HTTP_USER_AGENT": agent}
        )
        assert answer.status_code == 201
        made: Any = answer.json
        displayed(site.admin.get(f"{DESK}{made['id']}"))
        (first, *_) = site.admin.get(f"{LIST}/{made['id']}/events").json["items"]  # type: ignore[index]
        assert first["user_agent"] is None or first["user_agent"].isprintable()

    run()
