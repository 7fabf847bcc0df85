"""SIGKILL at every moment of accept and of invite: all of it happened or nothing, and trying again is enough."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from flask_invitations import Status
from flask_invitations.config import Config
from flask_invitations.testing import token_in
from tests.hosts import PASSWORD, Host, Tenancy, build
from tests.races.crew import Crew
from tests.races.harness import ACCEPT, SOAK, event_types, invited


def moments(crew: Crew, work: str, share: Callable[[], dict[str, Any]]) -> list[str]:
    """The moments at which ``work`` can be killed: it is done once, undisturbed."""
    (whole,) = crew.run(f"tests.races.work:{work}", [{**share(), "die_at": None}])
    passed: list[str] = whole.result
    return passed


def deaths(passed: list[str]) -> list[int]:
    """The numbers of the moments to kill at: all of them in a soak. Else not those right after a statement, where to
    the database everything is as it will be right before the next one."""
    return [at for at, name in enumerate(passed) if SOAK or name != "after statement"]


def kill(crew: Crew, work: str, share: dict[str, Any], at: int) -> None:
    """Have ``work`` die at its moment number ``at``."""
    (ended,) = crew.run(f"tests.races.work:{work}", [{**share, "die_at": at}])
    assert ended.signal == SIGKILL, ended


class Guest:
    """Somebody invited, who accepts and dies again and again; in a host with memberships they have an account."""

    def __init__(self, host: Host, url: str) -> None:
        self.host, self.url, self.number = host, url, 0
        self.joins = host.tenancy == "membership"
        self.elsewhere = host.tenant("Elsewhere")

    def share(self) -> dict[str, Any]:
        """The next guest's part in ``accept_and_die``."""
        self.number += 1
        self.email = f"guest{self.number}@example.com"
        self.user = self.host.user(self.email, tenant=self.elsewhere) if self.joins else None
        self.id, self.token = invited(self.host, self.email)
        of = {"tenancy": self.host.tenancy, "user_id": self.user}
        return {"database_url": self.url, "token": self.token, **of}

    def members(self) -> int:
        """How many of this guest the tenant has."""
        home = self.host.tenant()
        if self.joins:
            return len(self.host.rows(self.host.Membership, user_id=self.user, tenant_id=home))
        return len(self.host.rows(self.host.User, email=self.email))

    def status(self) -> str:
        (row,) = self.host.rows(self.host.invitations.models.Invitation, id=self.id)
        return str(row.status)

    def check(self, accepted: bool) -> None:
        """Status, member and event agree."""
        told = event_types(self.host, self.id)["accepted"]
        found = self.status(), self.members(), told
        assert found == ((Status.ACCEPTED, 1, 1) if accepted else (Status.PENDING, 0, 0)), found


def crash_accept(crew: Crew, host: Host, url: str) -> None:
    guest = Guest(host, url)
    passed = moments(crew, "accept_and_die", guest.share)
    guest.check(accepted=True)
    assert passed.count("before commit") == 1, passed
    assert len(passed) >= 12, passed
    committed = passed.index("after commit")
    for at in deaths(passed):
        kill(crew, "accept_and_die", guest.share(), at)
        guest.check(accepted=at >= committed)
        answer = host.client(guest.user).post(ACCEPT, json={"token": guest.token, "password": PASSWORD})
        mine = 200 if guest.joins else 409  # the account that accepted gets its answer again
        assert answer.status_code == (201 if at < committed else mine), (passed[at], answer.text)
        guest.check(accepted=True)


@pytest.mark.soak
def test_accept_killed_anywhere(database_url: str, crew: Crew) -> None:
    """R5, B8: an accept killed before or after any statement or the commit left either a pending invitation and no
    user, or an accepted one with its user and event; accepting again gets there, and makes no second user."""
    with build(database_url) as host:
        crash_accept(crew, host, database_url)


@pytest.mark.soak
@pytest.mark.parametrize("_database", ["sqlite", "postgresql"], indirect=True)
def test_join_killed_anywhere(database_url: str, crew: Crew) -> None:
    """R5: the same where an existing account joins by a membership of its own table."""
    tenancy: Tenancy = "membership"
    with build(database_url, tenancy=tenancy) as host:
        crash_accept(crew, host, database_url)


class Post:
    """What the mailer of the killed processes handed over, by address."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def links_to(self, email: str) -> list[str]:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [link for to, link in map(str.split, lines) if to == email]


@pytest.mark.soak
def test_invite_killed_anywhere(database_url: str, crew: Crew, tmp_path: Path) -> None:
    """R6, J1: an invite killed anywhere left nothing, or an invitation whose mail comes: once the dead process's lease
    is over the worker sends it, with the one link that opens it, be it for the second time."""
    post = Post(tmp_path / "post")
    with build(database_url) as host:
        host.tenant()
        worker, invitation = host.app.test_cli_runner(), host.invitations.models.Invitation
        numbers = iter(range(1000))

        def share() -> dict[str, Any]:
            return {"database_url": database_url, "email": f"n{next(numbers)}@example.com", "sent": str(post.file)}

        passed = moments(crew, "invite_and_die", share)
        commits = [at for at, name in enumerate(passed) if name == "after commit"]
        committed, recorded = commits[0], commits[-1]
        assert passed.index("before mail") > committed, "a mail left before its invitation was sure"
        for at in deaths(passed):
            mine = share()
            email = mine["email"]
            kill(crew, "invite_and_die", mine, at)
            rows = host.rows(invitation, email_key=email)
            assert len(rows) == (at >= committed), passed[at]
            assert len(post.links_to(email)) == (at > passed.index("before mail"))
            host.clock.tick(Config.delivery_lease)
            host.outbox.clear()
            expected, patience = int(committed <= at < recorded), time.monotonic() + 10
            while True:  # a server may hold the locks of the dead for a moment, and a worker passes over them
                assert worker.invoke(args=["invitations", "deliver"]).exit_code == 0
                mails = [message for message in host.outbox.messages if message.to == email]
                if len(mails) >= expected or time.monotonic() > patience:
                    break
            assert len(mails) == expected, passed[at]
            if not rows:
                continue
            (link,) = {*post.links_to(email), *(message.accept_url for message in mails)}
            assert hashlib.sha256(token_in(link).encode()).hexdigest() == rows[0].token_hash
            assert event_types(host, rows[0].id) == {"created": 1, "sent": 1}
            assert [row.state for row in host.rows(host.invitations.models.Delivery, invitation_id=rows[0].id)] == [
                "sent"
            ]
            answer = host.client().post(ACCEPT, json={"token": token_in(link), "password": PASSWORD})
            assert answer.status_code == 201
