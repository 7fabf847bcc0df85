"""Somebody stops all invitations while others invite them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.hosts import Host
from tests.http.tools import INVITE, LIST, invite
from tests.races.harness import Racers, crowded, rounds

pytestmark = pytest.mark.soak

CROWD = 8
STOP = {"INVITATIONS_LIST_UNSUBSCRIBE": True}


def stop(host: Host, path: str) -> int:
    return host.client().post(path).status_code


def once(host: Host, act: str, path: str, admin: Any, email: str) -> int:
    """The status of a stop, of an invitation, or of a resend of what is open."""
    client = host.client(admin)
    if act == "stop":
        return stop(host, path)
    if act == "invite":
        return client.post(INVITE, json={"email": email}).status_code
    found: Any = client.get(LIST, query_string={"email": email, "limit": 1}).json
    return client.post(f"{LIST}/{found['items'][0]['id']}/resend").status_code


@pytest.mark.parametrize("before", ["pending", "revoked"])
def test_a_stop_and_many_managers(database_url: str, before: str) -> None:
    """E5, B7: whatever happens at the moment of a stop, everybody is answered; afterwards nothing is open whose email
    has left, and nobody can invite or resend."""
    acts = ["stop", "invite", "resend", "invite", "stop", "resend", "invite", "resend"]
    with crowded(database_url, CROWD, config=STOP) as host, Racers(CROWD) as racers:
        admin, models = host.user("admin@example.com", role="admin"), host.invitations.models
        client = host.client(admin)
        for number in range(rounds(3, 50)):
            email = f"round{number}@example.com"
            made = invite(client, email)
            path = host.outbox.messages[-1].headers["List-Unsubscribe"].partition("example.com")[2].rstrip(">")
            if before == "revoked":
                assert client.delete(f"{LIST}/{made['id']}").status_code == 204
            answers = racers.race(*(partial(once, host, act, path, admin, email) for act in acts))
            stops = [answer for answer, act in zip(answers, acts, strict=True) if act == "stop"]
            assert stops == [200, 200]
            assert set(answers) <= {200, 201, 409, 410}
            for row in host.rows(models.Invitation, email_key=email, status="pending"):
                (mail,) = host.rows(models.Delivery, invitation_id=row.id)
                assert (mail.state, mail.last_error) == ("cancelled", "address-suppressed")
            assert client.post(INVITE, json={"email": email}).status_code == 409
