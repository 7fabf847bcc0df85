"""Accept, decline, revoke, resend, sweep and the clock, all at once: what came of it has one explanation."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest

from flask_invitations import Status
from flask_invitations.testing import token_in
from tests.hosts import PASSWORD, Host
from tests.races.harness import ACCEPT as ACCEPT_URL
from tests.races.harness import Racers, crowded, event_types, invited, rounds
from tests.races.histories import ACCEPT, DECLINE, RESEND, REVOKE, SWEEP, TTL, Call, World, explain

CROWD = 6
#: What takes part in a race; the more often it stands here, the more often it does.
CAST = (ACCEPT, ACCEPT, ACCEPT, DECLINE, REVOKE, REVOKE, RESEND, RESEND, "resend the same", SWEEP, "tick")
SILENT = {"created", "sent", "accept_refused"}


class Stage:
    """One host and the things that can be done to one invitation on it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.admin = host.user("admin@example.com", role="admin")

    def invite(self, email: str) -> None:
        self.id, self.token = invited(self.host, email)
        self.moments = [self.host.clock()]
        self.ticked = (0, 0)

    def do(self, what: str, token: str) -> tuple[int, str, str]:
        """Status, code and link of one call."""
        if what == SWEEP:
            with self.host.app.app_context():
                return self.host.invitations.sweep().expired, "", ""
        if what == ACCEPT:
            answer = self.host.client().post(ACCEPT_URL, json={"token": token, "password": PASSWORD})
        elif what == DECLINE:
            answer = self.host.client().post("/api/v1/users/decline-invite", json={"token": token})
        else:
            path = f"/api/v1/users/invitations/{self.id}"
            manager = self.host.client(self.admin)
            rotate = {"rotate": what == RESEND}
            answer = manager.delete(path) if what == REVOKE else manager.post(f"{path}/resend", json=rotate)
        body: dict[str, Any] = answer.get_json(silent=True) or {}
        return answer.status_code, body.get("code", ""), token_in(body["accept_url"]) if "accept_url" in body else token

    def tick(self) -> None:
        """Past the end of whatever was sent so far."""
        started = time.monotonic_ns()
        self.host.clock.tick(TTL + timedelta(seconds=1))
        self.ticked = (started, time.monotonic_ns())
        self.moments.append(self.host.clock())

    def clocks(self, started: int, ended: int) -> tuple[datetime, ...]:
        """What the clock may have shown between two moments."""
        if len(self.moments) == 1 or ended < self.ticked[0]:
            return (self.moments[0],)
        return (self.moments[1],) if started > self.ticked[1] else tuple(self.moments)

    def call(self, what: str, token: str) -> Call | None:
        """Do it, and say how it went and when; the clock's tick is no call."""
        started = time.monotonic_ns()
        if what == "tick":
            self.tick()
            return None
        status, code, link = self.do(what, token)
        kind = RESEND if what.startswith(RESEND) else what
        return Call(kind, link, started, time.monotonic_ns(), (), status, code)


def play(stage: Stage, racers: Racers, dice: random.Random, email: str) -> None:
    """One race, then everybody who ever had a link tries it; all of it must have one explanation."""
    stage.invite(email)
    first = World(stage.token, stage.host.clock() + TTL)
    cast = [dice.choice(CAST) for _ in range(CROWD)]
    while cast.count("tick") > 1:
        cast[cast.index("tick")] = ACCEPT

    def act(what: str, pause: float) -> Call | None:
        time.sleep(pause)
        return stage.call(what, stage.token)

    acts = [partial(act, what, dice.choice((0, 0, 0.001, 0.003, 0.006))) for what in cast]
    calls = [call for call in racers.race(*acts) if call is not None]
    links = {stage.token, *(call.token for call in calls if call.what == RESEND and call.status == 200)}
    for link in sorted(links):
        late = stage.call(ACCEPT, link)
        assert late is not None
        calls.append(late)
    calls = [replace(call, clocks=stage.clocks(call.started, call.ended)) for call in calls]
    assert [call for call in calls if call.status >= 500] == []
    (row,) = stage.host.rows(stage.host.invitations.models.Invitation, id=stage.id)
    events = Counter({name: count for name, count in event_types(stage.host, stage.id).items() if name not in SILENT})
    assert explain(calls, first, row.status, events) is not None, (calls, row.status, events)
    accepted = [call for call in calls if call.what == ACCEPT and call.status == 201]
    assert len(stage.host.rows(stage.host.User, email=email)) == len(accepted) == (row.status == Status.ACCEPTED)
    stage.do(REVOKE, "")  # nothing is left for a later sweep to find


@pytest.mark.soak
def test_every_history_has_an_explanation(database_url: str) -> None:
    """R3, R17: whatever races with whatever, some order of the calls explains every answer, the final status and the
    audit trail: no member after an acknowledged revoke, no two acceptances, no rotated link that opens."""
    settings = {"INVITATIONS_RETURN_LINK": True, "INVITATIONS_RETENTION": timedelta(days=36500)}
    with crowded(database_url, 8, config=settings) as host, Racers(CROWD) as racers:
        stage, dice = Stage(host), random.Random(database_url.partition(":")[0])
        for number in range(rounds(12, 1250)):
            play(stage, racers, dice, f"round{number}@example.com")


NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)
START = World("t1", NOW + TTL)


def told(what: str, when: tuple[int, int], status: int, code: str = "", token: str = "t1") -> Call:
    return Call(what, token, *when, (NOW,), status, code)


@pytest.mark.parametrize(
    ("calls", "status", "events"),
    [
        pytest.param([(REVOKE, (0, 1), 204), (ACCEPT, (2, 3), 201)], "accepted", "accepted revoked", id="after revoke"),
        pytest.param([(ACCEPT, (0, 3), 201), (ACCEPT, (1, 2), 201)], "accepted", "accepted", id="twice"),
        pytest.param([(RESEND, (0, 1), 200, "", "t2"), (ACCEPT, (2, 3), 201)], "accepted", "resent accepted", id="old"),
        pytest.param([(ACCEPT, (0, 1), 201)], "pending", "accepted", id="not written down"),
        pytest.param([(ACCEPT, (0, 1), 201)], "accepted", "accepted accepted", id="written down twice"),
        pytest.param([(DECLINE, (0, 1), 410, "invitation-expired")], "pending", "", id="early"),
    ],
)
def test_illegal_histories_are_found(calls: list[Any], status: str, events: str) -> None:
    """R3: the judge of these races does find the histories that must not be."""
    assert explain([told(*call) for call in calls], START, status, Counter(events.split())) is None


def test_legal_histories_pass() -> None:
    """R3: the same judge lets a revoke pass that came too late for a call under way."""
    calls = [told(ACCEPT, (0, 3), 201), told(REVOKE, (1, 2), 409, "invitation-accepted")]
    assert explain(calls, START, "accepted", Counter(["accepted"])) is not None
