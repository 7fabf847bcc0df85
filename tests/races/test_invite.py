"""One address, many managers: it is invited once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from tests.hosts import Host
from tests.races.crew import Crew
from tests.races.harness import CROWD, Racers, crowded, rounds, unexpected

pytestmark = pytest.mark.soak

WON, LOST = (201, ""), (409, "already-invited")
PROCESSES = 4


def check_round(host: Host, email: str, answers: Sequence[tuple[int, str]]) -> None:
    """One invitation, one event, one mail to send, and the others were told."""
    assert len(answers) == CROWD
    assert Counter(answers)[WON] == 1, Counter(answers)
    assert unexpected(answers, WON, LOST) == {}
    models = host.invitations.models
    (row,) = host.rows(models.Invitation, email_key=email)
    assert row.status == "pending"
    assert [event.type for event in host.rows(models.InvitationEvent, invitation_id=row.id)] == ["created", "sent"]
    assert [mail.state for mail in host.rows(models.Delivery, invitation_id=row.id)] == ["sent"]


def test_one_of_many_threads_invites(database_url: str) -> None:
    """R2, R17: of 32 threads that invite one address at once exactly one does, and the others hear which one it is."""
    with crowded(database_url) as host, Racers() as racers:
        admin = host.user("admin@example.com", role="admin")

        def invite(email: str) -> Any:
            answer = host.client(admin).post("/api/v1/users/invite", json={"email": email})
            return answer.status_code, answer.get_json()

        for number in range(rounds(3)):
            email = f"round{number}@example.com"
            answers = racers.race(partial(invite, email))
            check_round(host, email, [(status, body.get("code", "")) for status, body in answers])
            named = {body.get("invitation_id", body.get("id")) for _, body in answers}
            assert named == {str(host.rows(host.invitations.models.Invitation, email_key=email)[0].id)}
            assert [message.to for message in host.outbox.messages].count(email) == 1


def test_one_of_many_processes_invites(database_url: str, crew: Crew) -> None:
    """R2, R17: the same with 4 processes of 8 threads each."""
    with crowded(database_url) as host:
        host.user("admin@example.com", role="admin")
        emails = [f"round{number}@example.com" for number in range(rounds(2))]
        share = {"database_url": database_url, "emails": emails, "threads": CROWD // PROCESSES}
        ended = crew.run("tests.races.work:invite_all", [share] * PROCESSES)
        for number, email in enumerate(emails):
            check_round(host, email, [(status, code) for each in ended for status, code in each.result[number]])
