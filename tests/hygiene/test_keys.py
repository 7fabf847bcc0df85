"""What a link hangs on: the database's nonce and the app's key together, and neither alone; and no key for ever."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_invitations import Status
from flask_invitations.testing import token_in
from flask_invitations.tokens import Mint
from tests.hosts import PASSWORD, Host, build

ACCEPT = "/api/v1/users/accept-invite"
OLD, NEW = "the key of old", "the key of now"
LEASE = timedelta(minutes=5)


def key(secret: str, *fallbacks: str) -> dict[str, Any]:
    """The settings of an app with this key."""
    return {"SECRET_KEY": secret, "SECRET_KEY_FALLBACKS": list(fallbacks) or None}


def invite(host: Host, email: str = "ann@example.com", *, mailed: bool = True) -> Any:
    """An invitation's id; without ``mailed``, its mail waits in the queue."""
    host.outbox.fail_with = None if mailed else OSError("mail is down")
    tenant_id = host.tenant()
    with host.app.app_context():
        return host.invitations.invite(email, tenant_id=tenant_id).id


def accept(host: Host, token: str) -> tuple[int, str]:
    answer = host.client().post(ACCEPT, json={"token": token, "password": PASSWORD})
    return answer.status_code, answer.get_json().get("code", "")


def row_of(host: Host, invitation_id: Any) -> Any:
    return host.rows(host.invitations.models.Invitation, id=invitation_id)[0]


def urlsafe(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def test_the_database_alone_opens_nothing(database_url: str) -> None:
    """D7: whoever has every cell of the tables but not the key can make no link of them."""
    with build(database_url, config=key(OLD)) as host:
        row = row_of(host, invite(host))
        nonce, digest = bytes.fromhex(row.token_nonce), bytes.fromhex(row.token_hash)
        guesses = {
            urlsafe(each) for each in (nonce, digest, hashlib.sha256(nonce).digest(), hashlib.sha256(digest).digest())
        }
        guesses |= {urlsafe(hmac.new(wrong, nonce, "sha256").digest()) for wrong in (b"", nonce, digest, b"secret")}
        guesses |= {row.token_nonce, row.token_hash, row.pending_key, row.id.hex, str(row.id)}
        thief = Mint(["a key that the thief made up"])
        assert thief.recover(row.token_nonce, row.token_hash) is None
        guesses.add(thief._sign(thief._signers[0], nonce).reveal())
        for guess in sorted(guesses):
            assert accept(host, guess) == (404, "invitation-not-found"), guess
        assert row_of(host, row.id).status == Status.PENDING


@pytest.mark.parametrize("_database", ["sqlite"], indirect=True)
def test_the_key_alone_opens_nothing(database_url: str, tmp_path: Path) -> None:
    """D7, A7: two apps with one key have different links, and a link of the one is nobody's at the other: what opens
    is found in the table, not in the signature."""
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.sqlite3'}"
    with build(database_url, config=key(OLD)) as ours, build(elsewhere, config=key(OLD)) as theirs:
        invite(ours)
        invite(theirs)
        token = theirs.outbox.token_to("ann@example.com")
        assert token != ours.outbox.token_to("ann@example.com")
        assert accept(ours, token) == (404, "invitation-not-found")
        assert accept(theirs, token) == (201, "")


@pytest.mark.parametrize("fallbacks", [(), (OLD,), ("older", OLD)], ids=["none", "one", "two"])
def test_a_new_key_kills_no_mailed_link(database_url: str, fallbacks: tuple[str, ...]) -> None:
    """I5: a link that was mailed before ``SECRET_KEY`` was rotated opens, with and without fallbacks."""
    with build(database_url, config=key(OLD)) as before:
        invite(before)
        token = before.outbox.token_to("ann@example.com")
    with build(database_url, config=key(NEW, *fallbacks), create_all=False) as after:
        assert after.client().post(f"{ACCEPT}/preview", json={"token": token}).status_code == 200
        assert accept(after, token) == (201, "")


@pytest.mark.parametrize("fallbacks", [(), (OLD,), ("older", OLD)], ids=["none", "one", "two"])
def test_a_queued_mail_survives_a_new_key(database_url: str, fallbacks: tuple[str, ...]) -> None:
    """I5, R13: a mail that was queued before the rotation carries the same link where the old key is a fallback, and
    else a fresh one; either opens."""
    with build(database_url, config=key(OLD)) as before:
        invitation_id = invite(before, mailed=False)
        digest = row_of(before, invitation_id).token_hash
    with build(database_url, config=key(NEW, *fallbacks), create_all=False) as after:
        after.clock.tick(LEASE)
        with after.app.app_context():
            assert after.invitations.deliver() == {"sent": 1}
        row, token = row_of(after, invitation_id), after.outbox.token_to("ann@example.com")
        assert hashlib.sha256(token.encode()).hexdigest() == row.token_hash
        assert (row.token_hash == digest) == (OLD in fallbacks)
        assert accept(after, token) == (201, "")


def test_the_newest_key_makes_the_links(database_url: str) -> None:
    """I5: a new link is made with ``SECRET_KEY``, never with a fallback: it outlives the fallbacks' removal."""
    with build(database_url, config=key(NEW, OLD)) as host:
        row = row_of(host, invite(host))
        assert Mint([OLD]).recover(row.token_nonce, row.token_hash) is None
        assert Mint([NEW]).recover(row.token_nonce, row.token_hash) is not None


@pytest.mark.parametrize("fallbacks", [(), (OLD,)], ids=["none", "one"])
def test_the_same_link_again_after_a_new_key(database_url: str, fallbacks: tuple[str, ...]) -> None:
    """I5, B5: a resend with ``rotate: false`` after the rotation sends the same link where a fallback still makes it;
    else a fresh one, and the old one says that it was replaced."""
    with build(database_url, config=key(OLD)) as before:
        invitation_id = invite(before)
        first = before.outbox.token_to("ann@example.com")
    with build(database_url, config=key(NEW, *fallbacks), create_all=False) as after:
        with after.app.app_context():
            after.invitations.resend(invitation_id, rotate=False)
        second = token_in(after.outbox.messages[-1].accept_url)
        assert (second == first) == bool(fallbacks)
        if not fallbacks:
            assert accept(after, first) == (410, "invitation-replaced")
        assert accept(after, second) == (201, "")
