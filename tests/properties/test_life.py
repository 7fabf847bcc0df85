"""The life cycle as a property: no sequence of calls gets anybody in twice, late, or by a dead link."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.hosts import build
from tests.properties.machine import Life
from tests.races.harness import SOAK

#: How many games, by default and in a soak; SQLite, where a game is cheapest, gets the most.
GAMES = {"sqlite": (30, 480), "postgresql": (8, 120), "mysql": (8, 120)}


@pytest.mark.soak
def test_life_of_invitations(database_url: str) -> None:
    """R3, R13, R18, B1, B4, B5, B6: over any sequence of invite, resend, revoke, decline, accept, sweep, delivery and
    time there are never two acceptances, and none after expiry, revocation or rotation; statuses move along the drawn
    arrows only; each change has exactly one event; and every mail carries the link that opens."""
    few, many = GAMES[database_url.partition("+")[0].partition(":")[0]]
    with build(database_url) as built:

        class Game(Life):
            host = built

        run_state_machine_as_test(
            Game,
            settings=settings(
                max_examples=many if SOAK else few,
                stateful_step_count=30,
                derandomize=not SOAK,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
