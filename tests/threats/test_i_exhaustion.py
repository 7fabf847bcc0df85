"""Small requests that cost much, and keys that change."""

from __future__ import annotations

import io
import json
import re
from datetime import timedelta
from importlib import import_module
from importlib.metadata import requires, version
from typing import Any

import email_validator
import pytest
from packaging.requirements import Requirement
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_invitations import canonical_email
from flask_invitations.current import override
from flask_invitations.tokens import Mint
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, PREVIEW, accept, invite, make, people, refused
from tests.queued import deliver


def test_a_list_is_not_loaded_as_many(local: Host) -> None:
    """I1: the marshmallow that spends a CPU on a small list is not taken, and no call of the API loads a list of bodies
    that was not asked for."""
    (floor,) = (Requirement(each) for each in requires("flask-invitations") or () if each.startswith("marshmallow"))
    for bad in ("3.26.1", "4.0.0", "4.1.0", "4.1.1"):
        assert not floor.specifier.contains(bad)
    assert floor.specifier.contains(version("marshmallow"))
    admin = people(local)[1]
    for url in (INVITE, PREVIEW, ACCEPT, DECLINE):
        body: Any = [{"email": f"p{number}@example.com"} for number in range(200)]
        refused(local.client(admin).post(url, json=body), 422, "invalid-request")
    assert local.outbox.messages == []


@pytest.mark.parametrize(
    "text",
    [
        "a" * 15_000,
        "@" * 15_000,
        "a@" + "a." * 7_000,
        "!#" * 7_000,
        "\u00e9" * 2_000,
        "a@" + "-" * 14_000,
        "." * 15_000,
    ],
    ids=lambda text: text[:6],
)
def test_length_is_looked_at_before_anything_else(local: Host, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """I2: an address of more than 254 octets is refused before the library that reads addresses sees it."""
    seen: list[str] = []
    read = email_validator.validate_email

    def validate(typed: str, **how: Any) -> Any:
        seen.append(typed)
        return read(typed, **how)

    monkeypatch.setattr(import_module("flask_invitations.addresses"), "validate_email", validate)
    admin = people(local)[1]
    refused(local.client(admin).post(INVITE, json={"email": text}), 422, "invalid-request")
    with pytest.raises(ValueError, match="longer than 254 octets"):
        canonical_email(text)
    assert [each for each in seen if len(each) > 254] == []


@pytest.mark.parametrize("password", ["short", (PASSWORD * 10)[:129], PASSWORD * 500])
def test_a_password_is_measured_before_it_is_hashed(local: Host, password: str) -> None:
    """I3: too short or too long, a password is refused before anything hashes it, and a long one is never cut: what is
    within the bounds is hashed whole."""
    hashed: list[str] = []
    create = local.app.extensions["invitations"].ctx.hooks.create_user

    def counting(invitation: Any, profile: Any, given: Any) -> Any:
        hashed.append(given)
        return create(invitation, profile, given)

    case = make(local, "pending")
    with override(local.app, create_user=counting):
        refused(accept(local.client(), case.token, password), 422, "invalid-request")
        assert hashed == []
        longest = (PASSWORD * 10)[:128]
        assert accept(local.client(), case.token, longest).status_code == 201
    assert hashed == [longest]
    (user,) = local.rows(local.User, email=case.email)
    assert user.check_password(longest)
    assert not user.check_password(longest[:-1])


class Endless(io.RawIOBase):
    """A body that never ends; counts how much of it was read."""

    def __init__(self) -> None:
        self.read_so_far = 0

    def readinto(self, buffer: Any) -> int:
        self.read_so_far += len(buffer)
        buffer[:] = b"a" * len(buffer)
        return len(buffer)

    def readable(self) -> bool:
        return True


@pytest.mark.parametrize("url", [INVITE, ACCEPT, PREVIEW, "/invitations/open", "/invitations/accept"])
def test_no_more_of_a_body_is_read_than_a_body_may_have(local: Host, url: str) -> None:
    """I4: of a body without end, nobody signed in, 16 KiB are read and no more, by the API and the pages."""
    kind = "application/json" if url.startswith("/api") else "application/x-www-form-urlencoded"
    body = Endless()
    environ = EnvironBuilder(url, method="POST", content_type=kind).get_environ()
    environ.update({"wsgi.input": io.BufferedReader(body), "wsgi.input_terminated": True})
    environ.pop("CONTENT_LENGTH", None)
    _, status, _ = run_wsgi_app(local.app, {**environ, "HTTP_TRANSFER_ENCODING": "chunked"})
    assert status.startswith("413")
    assert body.read_so_far <= 64 * 1024
    answer = local.client().post(url, data=b"a" * (16 * 1024 + 1), content_type=kind)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "raw",
    [
        "[" * 8_000,
        '{"a":' * 3_000,
        '{"email": "a@example.com", "details": ' + "[" * 40 + "]" * 40 + "}",
        '{"email": NaN}',
        '{"email": 1' + "0" * 5_000 + "}",
        '{"email": "a\\u0000b"}',
        '{"email": "\\ud800"}',
        '{"email": "a@example.com", "email": "b@example.com"}',
        "\ufeff{}",
        "",
    ],
    ids=lambda raw: raw[:12],
)
def test_no_nesting_and_no_number_breaks_it(local: Host, raw: str) -> None:
    """I4: nesting without end, numbers without end, NUL, half a character and names that come twice are a client's
    mistake, never a 500."""
    admin = people(local)[1]
    answer = local.client(admin).post(INVITE, data=raw.encode(), content_type="application/json")
    assert answer.status_code in (400, 422), answer.text
    assert local.outbox.messages == []


def test_a_changed_key_breaks_no_link(database_url: str) -> None:
    """I5: with the new key first and the old one as a fallback, links that were sent go on, an email that waited has
    the same link as before, what is new is made with the new key alone, and a form that the old key sealed is taken."""
    old, new = "the old key of this host", "the new key of this host"
    queue = {"INVITATIONS_DELIVERY": "queue"}
    with build(database_url, config={"SECRET_KEY": old, **queue}) as host:
        admin = people(host)[1]
        invite(host.client(admin), "sent@example.com")
        host.clock.tick(timedelta(seconds=1))
        deliver(host)
        sent = host.outbox.token_to("sent@example.com")
        invite(host.client(admin), "waiting@example.com")
        seal = _seal(host, admin)
    rotated = {"SECRET_KEY": new, "SECRET_KEY_FALLBACKS": [old], **queue}
    with build(database_url, config=rotated, create_all=False) as host:
        host.clock.tick(timedelta(seconds=5))
        (waiting,) = host.rows(host.invitations.models.Invitation, email_key="waiting@example.com")
        assert deliver(host) == {"sent": 1}
        (after,) = host.rows(host.invitations.models.Invitation, email_key="waiting@example.com")
        assert waiting.token_hash == after.token_hash
        for token in (sent, host.outbox.token_to("waiting@example.com")):
            assert accept(host.client(), token).status_code == 201
        form = {"email": "form@example.com", "role": "user", "seal": seal}
        assert host.client(admin).post("/invitations/invite", data=form).status_code in (200, 302, 303)
        (made,) = host.rows(host.invitations.models.Invitation, email_key="form@example.com")
        assert Mint([new]).recover(made.token_nonce, made.token_hash) is not None
        assert Mint([old]).recover(made.token_nonce, made.token_hash) is None
    assert json.dumps(rotated["SECRET_KEY_FALLBACKS"]) == json.dumps([old])


def _seal(host: Host, admin: Any) -> str:
    found = re.search(r'name="seal" value="([^"]+)"', host.client(admin).get("/invitations/").text)
    assert found
    return found[1]


def test_a_list_has_a_bound(local_url: str) -> None:
    """I1: a list of more rows than allowed is refused before any of them is read, and one that is too long in bytes is
    not read to its end."""
    with build(local_url, config={"INVITATIONS_BULK_MAX": 5}) as host:
        client = host.client(people(host)[1])
        rows = [{"email": f"p{number}@example.com"} for number in range(6)]
        answer = client.post(f"{INVITE}/bulk", json={"invitations": rows})
        refused(answer, 422, "invalid-request")
        assert "5" in str(answer.get_json()["errors"])
        nonsense = client.post(f"{INVITE}/bulk", json={"invitations": [{"email": 1, "x": [[]]}] * 6})
        assert nonsense.get_json()["errors"] == answer.get_json()["errors"]
        long = b'{"invitations": [' + b" " * (1024 * 1024) + b"]}"
        refused(client.post(f"{INVITE}/bulk", data=long, content_type="application/json"), 413, "body-too-large")
        assert host.outbox.messages == []
