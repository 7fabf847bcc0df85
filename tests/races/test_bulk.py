"""Many managers, one list: everybody in it is invited once. And a list that is imported again after a crash."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from tests.hosts import Host, build
from tests.races.crew import Crew
from tests.races.harness import SOAK, Racers, crowded, rounds

pytestmark = pytest.mark.soak

BULK, CHANGE = "/api/v1/users/invite/bulk", "/api/v1/users/invitations/bulk"
QUEUE = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_PENDING_MAX": 10_000}  # more than all rounds invite
ROWS, CALLERS = 120, 6


def check_once(host: Host, emails: list[str]) -> None:
    """Each address has one invitation, one event and one email."""
    models = host.invitations.models
    rows = host.rows(models.Invitation)
    assert sorted(row.email_key for row in rows) == sorted(emails)
    for model in (models.InvitationEvent, models.Delivery):
        assert Counter(each.invitation_id for each in host.rows(model)) == Counter(row.id for row in rows)


def test_many_at_once(database_url: str) -> None:
    """R2, B13: of parallel calls that invite the same people in different orders, each person is made by one and
    ``already-invited`` to the others; no call fails."""
    with crowded(database_url, CALLERS, config=QUEUE) as host, Racers(CALLERS) as racers:
        admin, everybody = host.user("admin@example.com", role="admin"), list[str]()
        for number in range(rounds(2, 30)):
            emails = [f"r{number}n{each}@example.com" for each in range(ROWS)]
            everybody += emails
            orders = [emails, emails[::-1], emails[ROWS // 2 :] + emails[: ROWS // 2]] * (CALLERS // 3)

            def bulk(order: list[str]) -> Any:
                body = {"invitations": [{"email": email} for email in order]}
                return host.client(admin).post(BULK, json=body)

            answers = racers.race(*(partial(bulk, order) for order in orders))
            assert Counter(answer.status_code for answer in answers) == {200: CALLERS}
            told = [each for answer in answers for each in answer.get_json()["results"]]
            assert {each["error"]["code"] for each in told if "error" in each} == {"already-invited"}
            made = {each["invitation"]["id"]: each["email"] for each in told if "invitation" in each}
            assert sorted(made.values()) == sorted(emails)
            assert {each["error"]["invitation_id"] for each in told if "error" in each} <= made.keys()
        check_once(host, everybody)


def test_one_by_one_and_many(database_url: str) -> None:
    """R2: single invites in between do no harm either."""
    with crowded(database_url, CALLERS, config=QUEUE) as host, Racers(CALLERS) as racers:
        admin = host.user("admin@example.com", role="admin")
        emails = [f"n{each}@example.com" for each in range(ROWS)]

        def one(email: str) -> int:
            return host.client(admin).post("/api/v1/users/invite", json={"email": email}).status_code

        def bulk() -> int:
            body = {"invitations": [{"email": email} for email in emails]}
            return host.client(admin).post(BULK, json=body).status_code

        singles = [partial(one, emails[at]) for at in range(0, ROWS, ROWS // (CALLERS - 1))][: CALLERS - 1]
        answers = racers.race(bulk, *singles)
        assert answers[0] == 200
        assert set(answers[1:]) <= {201, 409}
        check_once(host, emails)


def test_resend_and_revoke_at_once(database_url: str) -> None:
    """R3: parallel calls that resend and revoke the same invitations answer for each, and leave one state."""
    with crowded(database_url, CALLERS, config=QUEUE) as host, Racers(CALLERS) as racers:
        admin = host.user("admin@example.com", role="admin")
        rows = {"invitations": [{"email": f"n{each}@example.com"} for each in range(ROWS)]}
        made: Any = host.client(admin).post(BULK, json=rows).get_json()
        ids = [each["invitation"]["id"] for each in made["results"]]

        def change(action: str, order: list[str]) -> Any:
            return host.client(admin).post(CHANGE, json={"action": action, "ids": order})

        acts = [partial(change, action, order) for action in ("resend", "revoke") for order in (ids, ids[::-1], ids)]
        answers = racers.race(*acts)
        assert Counter(answer.status_code for answer in answers) == {200: CALLERS}
        codes = {each["error"]["code"] for a in answers for each in a.get_json()["results"] if "error" in each}
        assert codes <= {"invitation-revoked"}
        assert {row.status for row in host.rows(host.invitations.models.Invitation)} == {"revoked"}
        waiting = host.rows(host.invitations.models.Delivery, state="queued")
        assert waiting == []


# Crashes


@pytest.mark.in_turn
def test_an_import_that_is_killed(database_url: str, crew: Crew, tmp_path: Path) -> None:
    """R5, R6: an import that is killed at any moment has invited whole chunks or nothing of them; started again, it
    invites the rest: every address exactly once."""
    path = tmp_path / "people.csv"
    emails = [f"n{number}@example.com" for number in range(25)]
    path.write_text("email\n" + "".join(f"{email}\n" for email in emails))

    def run(die_at: int | None) -> Any:
        share = {"database_url": database_url, "path": str(path), "die_at": die_at}
        (ended,) = crew.run("tests.races.work:import_and_die", [share])
        return ended

    with build(database_url, config=QUEUE) as host:
        host.tenant()
        models = host.invitations.models
        passed = run(None).result
        check_once(host, emails)
        deaths = [at for at, name in enumerate(passed) if SOAK or "commit" in name or at % 7 == 0]
        assert len(deaths) > 8
        for at in deaths:
            with host.engine.begin() as connection:
                for model in (models.Delivery, models.InvitationEvent, models.Invitation):
                    connection.execute(model.__table__.delete())
            assert run(at).signal == SIGKILL
            assert len(host.rows(models.Invitation)) in (0, 10, 20, 25)
            assert run(None).result
            check_once(host, emails)
