"""R4, B13: many at once for the last places and the last seat; none of them is one too many."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from tests.hosts import TENANCIES, Host, Tenancy
from tests.races.harness import Racers, accept, crowded, invited, rounds

pytestmark = pytest.mark.soak

#: How many may be open, and how many want to be.
LIMIT, MANY = 10, 50
FULL, NO_SEAT = (409, "too-many-pending"), (409, "no-seats")
CALLS = "/api/v1/users"

Answer = tuple[int, str]


def limited(database_url: str, **options: Any) -> Host:
    """A host where few invitations may be open."""
    return crowded(database_url, 20, config={"INVITATIONS_PENDING_MAX": LIMIT}, **options)


def call(host: Host, admin: Any, method: str, path: str, **body: Any) -> Answer:
    answer = host.client(admin).open(f"{CALLS}{path}", method=method, json=body or None)
    return answer.status_code, (answer.get_json(silent=True) or {}).get("code", "")


def inviting(host: Host, admin: Any) -> Callable[[], Answer]:
    """An act that invites another address each time."""
    numbers = count()
    return lambda: call(host, admin, "POST", "/invite", email=f"guest{next(numbers)}@example.com")


def statuses(host: Host) -> Counter[str]:
    return Counter(row.status for row in host.rows(host.invitations.models.Invitation))


@pytest.mark.parametrize("tenancy", TENANCIES)
def test_the_last_places(database_url: str, tenancy: Tenancy) -> None:
    """R4: of many at once, with room for 10, exactly 10 are made, and the others are told that there are too many."""
    with limited(database_url, tenancy=tenancy) as host, Racers(MANY) as racers:
        admin = host.user("admin@example.com", role="admin")
        assert Counter(racers.race(inviting(host, admin))) == {(201, ""): LIMIT, FULL: MANY - LIMIT}
        assert statuses(host) == {"pending": LIMIT}


def test_a_resend_takes_a_place(database_url: str) -> None:
    """R4: resends of expired ones and new ones race for the same last places."""
    with limited(database_url) as host, Racers(40) as racers:
        admin = host.user("admin@example.com", role="admin")
        old = [invited(host, f"old{number}@example.com")[0] for number in range(LIMIT)]
        host.clock.tick(timedelta(days=9))
        invite = inviting(host, admin)
        assert [invite() for _ in range(LIMIT - 3)] == [(201, "")] * (LIMIT - 3)
        resends = [partial(call, host, admin, "POST", f"/invitations/{each}/resend") for each in old * 2]
        answers = racers.race(*resends, *[invite] * 20)
        told = Counter(answers)
        assert told.keys() <= {(200, ""), (201, ""), FULL}
        # whose other resend came later finds it open, which takes no place
        rows = host.rows(host.invitations.models.Invitation)
        assert Counter(row.status_at(host.clock()) for row in rows)["pending"] == LIMIT
        assert told[201, ""] + told[200, ""] >= 3


def seats(host: Host, total: int) -> Callable[[Any], int]:
    """The hook of a host whose tenants have so many seats."""
    user = host.User

    def free(tenant_id: Any) -> int:
        mine = sa.true() if host.tenancy == "none" else user.tenant_id == tenant_id
        taken = host.db.session.scalar(sa.select(sa.func.count()).select_from(user).where(mine))
        return total - (taken or 0)

    return free


@pytest.mark.parametrize("tenancy", ["none", "tenant"])
def test_the_last_seat(database_url: str, tenancy: Tenancy) -> None:
    """B13, R4: of many who accept at once, with one seat left, one gets in; the others are told that there is none."""
    hosts: list[Host] = []
    hook = lambda tenant_id: seats(hosts[0], 1)(tenant_id) if hosts[1:] else None  # noqa: E731
    with crowded(database_url, 20, tenancy=tenancy, seats=hook) as host, Racers(MANY) as racers:
        hosts.append(host)
        tokens = [invited(host, f"guest{number}@example.com")[1] for number in range(MANY)]
        hosts.append(host)
        answers = Counter(racers.race(*(partial(accept, host, token) for token in tokens)))
        assert answers == {(201, ""): 1, NO_SEAT: MANY - 1}
        assert len(host.rows(host.User)) == 1
        assert statuses(host) == {"accepted": 1, "pending": MANY - 1}


@pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)
def test_a_host_that_holds_its_tenant(database_url: str) -> None:
    """R4: whoever is at work on the tenant is waited for; afterwards what was committed meanwhile counts."""
    with limited(database_url) as host, Racers(20) as racers:
        admin, tenant = host.user("admin@example.com", role="admin"), host.tenant()
        invite = inviting(host, admin)

        def rename() -> Answer:
            with orm.Session(host.engine) as session, session.begin():
                session.get_one(host.Tenant, tenant, with_for_update=True).name = "Renamed"
                time.sleep(0.3)
            return 0, ""

        answers: Sequence[Answer] = racers.race(rename, *[invite] * 19)
        assert Counter(answers) == {(0, ""): 1, (201, ""): LIMIT, FULL: 9}
        assert statuses(host) == {"pending": LIMIT}


@pytest.mark.parametrize("tenancy", ["none", "tenant"])
def test_a_storm(database_url: str, tenancy: Tenancy) -> None:
    """T7, R4: invites, resends, revocations and accepts of one tenant at once end in no deadlock, and never in too
    many open ones."""
    known = {(200, ""), (201, ""), (204, ""), FULL, (410, "invitation-revoked"), (409, "invitation-accepted")}
    known |= {(409, "account-exists"), (410, "invitation-replaced"), (409, "already-member")}
    options: Any = {"tenancy": tenancy, "seats": lambda _tenant_id: 1000}
    with limited(database_url, **options) as host, Racers(24) as racers:
        admin = host.user("admin@example.com", role="admin")
        invite = inviting(host, admin)
        for number in range(rounds(1, 40)):
            made = [invited(host, f"round{number}-{each}@example.com") for each in range(4)]
            acts = [invite] * 8
            for invitation_id, token in made:
                acts.append(partial(call, host, admin, "POST", f"/invitations/{invitation_id}/resend"))
                acts.append(partial(call, host, admin, "DELETE", f"/invitations/{invitation_id}"))
                acts += [partial(accept, host, token)] * 2
            told = Counter(racers.race(*acts))
            assert told.keys() <= known, told
            assert statuses(host)["pending"] <= LIMIT
            for row in host.rows(host.invitations.models.Invitation, status="pending"):
                assert call(host, admin, "DELETE", f"/invitations/{row.id}") == (204, "")
