"""The life cycle as a property: no sequence of calls gets anybody in twice, late, or by a dead link."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.hosts import build
from tests.properties.machine import Life
from tests.races.harness import SOAK

#: Games and their length; SQLite, where a game is cheapest, gets the most.
GAMES = {"sqlite": (60, 30), "postgresql": (15, 30), "mysql": (15, 30)}


@pytest.mark.soak
def test_life_of_invitations(database_url: str) -> None:
    """R3, R13, R18, B1, B4, B5, B6: over any sequence of invite, resend, revoke, decline, accept, sweep, delivery and
    time there are never two acceptances, and none after expiry, revocation or rotation; statuses move along the drawn
    arrows only; each change has exactly one event; and every mail carries the link that opens."""
    games, steps = GAMES[database_url.partition("+")[0].partition(":")[0]]
    with build(database_url) as built:

        class Game(Life):
            host = built

        run_state_machine_as_test(
            Game,
            settings=settings(
                max_examples=games * 8 if SOAK else games,
                stateful_step_count=steps,
                derandomize=not SOAK,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
