"""The host deletes a tenant, or a user, while everything else goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from tests.hosts import Host
from tests.http.tools import DECLINE, LIST, accept, invite
from tests.races.harness import Racers, crowded, rounds

pytestmark = [pytest.mark.soak, pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)]

QUEUED = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_NOTIFY_REVOKED": True, "INVITATIONS_NOTIFY_INVITER": True}
#: Everybody but who deletes.
OTHERS = 7


def delete(host: Host, model: Any, key: Any) -> str:
    """Delete a row as hosts do, and what hangs on it by the database's own rules."""
    with host.engine.begin() as connection:
        connection.execute(sa.delete(model).where(model.id == key))
    return "deleted"


def status(call: Callable[[], Any]) -> str:
    return str(call().status_code)


def by_the_system(host: Host, act: Callable[[], Any]) -> str:
    with host.app.app_context():
        act()
    return "done"


def crowd(host: Host, admin: Any, tokens: Sequence[str], made: Sequence[dict[str, Any]]) -> list[Callable[[], str]]:
    """Acts of each kind, each on an invitation of its own."""
    manager, calls = host.client(admin), host.invitations
    return [
        partial(status, partial(accept, host.client(), tokens[0])),
        partial(status, partial(host.client().post, DECLINE, json={"token": tokens[1]})),
        partial(status, partial(manager.delete, f"{LIST}/{made[2]['id']}")),
        partial(status, partial(manager.post, f"{LIST}/{made[3]['id']}/resend")),
        partial(by_the_system, host, calls.deliver),
        partial(by_the_system, host, calls.deliver),
        partial(by_the_system, host, calls.sweep),
    ]


@pytest.mark.parametrize("what", ["tenant", "inviter"])
def test_the_hosts_delete_goes_through(database_url: str, what: str) -> None:
    """T7: a host that deletes a tenant or an inviter is never the victim of a deadlock with what is sent, accepted,
    declined, revoked, sent again and swept at that moment; and nobody of these gets an error, but for a manager who is
    deleted amid a call of theirs: they are told to try again."""
    with crowded(database_url, OTHERS + 1, config=QUEUED) as host, Racers(OTHERS + 1) as racers:
        for number in range(rounds(6, 60)):
            tenant = host.tenant(f"Tenant {number}")
            admin = host.user(f"admin{number}@acme.example", "admin", tenant)
            made = [invite(host.client(admin), f"guest{one}@tenant{number}.example") for one in range(8)]
            with host.app.app_context():
                host.invitations.deliver()
            tokens = [host.outbox.token_to(one["email"]) for one in made]
            for one in made[4:]:
                assert host.client(admin).post(f"{LIST}/{one['id']}/resend").status_code == 200
            gone = partial(delete, host, *((host.Tenant, tenant) if what == "tenant" else (host.User, admin)))
            answers = Counter(racers.race(*crowd(host, admin, tokens, made), gone))
            assert answers["deleted"] == 1
            assert not [one for one in answers if one.startswith("5") and one != "503"], answers
            assert answers["503"] <= 2, answers
