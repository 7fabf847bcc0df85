"""One link, many hands: somebody wins, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from tests.hosts import Host
from tests.races.crew import Crew
from tests.races.harness import CROWD, Racers, accept, crowded, event_types, invited, rounds, unexpected

pytestmark = pytest.mark.soak

WON = (201, "")
#: Whoever looked while the winner was at it sees either the spent link or the account that it made.
LOST = ((409, "invitation-accepted"), (409, "account-exists"))
PROCESSES = 4


def check_round(host: Host, email: str, invitation_id: Any, answers: Sequence[tuple[int, str]]) -> None:
    """One won, the others were refused, and there is one of everything."""
    assert len(answers) == CROWD
    assert Counter(answers)[WON] == 1, Counter(answers)
    assert unexpected(answers, WON, *LOST) == {}
    assert len(host.rows(host.User, email=email)) == 1
    assert event_types(host, invitation_id)["accepted"] == 1


def test_one_of_many_threads_wins(database_url: str) -> None:
    """R1, B7, R17: of 32 threads that accept one link at once exactly one makes a user, and the others are refused."""
    with crowded(database_url) as host, Racers() as racers:
        for number in range(rounds(2)):
            email = f"round{number}@example.com"
            invitation_id, token = invited(host, email)
            answers = racers.race(partial(accept, host, token))
            check_round(host, email, invitation_id, answers)


def test_one_of_many_processes_wins(database_url: str, crew: Crew) -> None:
    """R1, B7, R17: the same with 4 processes of 8 threads each: nothing that holds it together is inside of one."""
    with crowded(database_url) as host:
        emails = [f"round{number}@example.com" for number in range(rounds(2))]
        made = [invited(host, email) for email in emails]
        share = {"database_url": database_url, "tokens": [token for _, token in made], "threads": CROWD // PROCESSES}
        ended = crew.run("tests.races.work:accept_all", [share] * PROCESSES)
        for number, (email, (invitation_id, _)) in enumerate(zip(emails, made, strict=True)):
            answers = [(status, code) for each in ended for status, code in each.result[number]]
            check_round(host, email, invitation_id, answers)
