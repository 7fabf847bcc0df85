"""The host's data: whatever happens under an act, what the host has written is committed, or the caller hears of it.

Random steps on three databases, with real rivals: in other sessions, at the server, in the middle of an act.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import SQLAlchemyError

from flask_invitations import InvitationError
from flask_invitations.current import override
from flask_invitations.store.unit import TransactionMisuse
from tests.faults.rivals import WRITES, elsewhere
from tests.faults.test_host_writes import hang_up, number_of
from tests.hosts import PASSWORD, Host, build
from tests.races.harness import SOAK

#: How many rounds, by default and in a soak.
ROUNDS = {"sqlite": (15, 120), "postgresql": (15, 120), "mysql": (15, 120)}

ACTS = ("invite", "accept", "revoke", "resend", "decline", "list", "request_link", "deliver", "sweep")
#: What happens in the middle of the act.
TROUBLES = ("nothing", "revoked", "resent", "invited", "declined", "killed", "account", "deleted")
#: How the host holds the act.
FRAMES = ("alone", "unit", "nested unit", "caught in unit", "caught alone")

#: For how many seconds the act waits for its rival, which may be waiting for the act.
PATIENCE = 0.2

_numbers = itertools.count()
#: What may reach the caller, in place of a success.
ERRORS = (InvitationError, SQLAlchemyError, TransactionMisuse)


@dataclass(frozen=True)
class Round:
    """One transaction of a host's: what it writes, which act it calls and how, and what happens then.

    :param at: at which of the act's looks at the clock.
    """

    before: list[str]
    act: str
    after: list[str]
    frame: str
    trouble: str
    at: int


def rounds() -> st.SearchStrategy[Round]:
    writes = st.lists(st.sampled_from(list(WRITES)), max_size=2)
    frame, trouble = st.sampled_from(FRAMES), st.sampled_from(TROUBLES)
    return st.builds(Round, writes, st.sampled_from(ACTS), writes, frame, trouble, st.integers(1, 4))


@dataclass
class Game:
    """One round, played on a host."""

    host: Host
    round: Round
    name: str
    tenant: Any
    invitation: Any
    token: str
    written: list[str]
    connection: int | None = None
    rivals: list[threading.Thread] = field(default_factory=list)

    def write(self, how: str) -> None:
        name = f"{self.name} {len(self.written)} {how}"
        WRITES[how](self.host, name)
        self.written.append(name)

    def act(self) -> Any:
        calls, email = self.host.invitations, f"{self.name}@example.com"
        return {
            "invite": lambda: calls.invite(f"new-{email}", tenant_id=self.tenant),
            "accept": lambda: calls.accept(self.token, password=PASSWORD),
            "revoke": lambda: calls.revoke(self.invitation),
            "resend": lambda: calls.resend(self.invitation),
            "decline": lambda: calls.decline(self.token),
            "list": lambda: calls.list(tenant_id=self.tenant),
            "request_link": lambda: calls.request_link(self.token),
            "deliver": calls.deliver,
            "sweep": calls.sweep,
        }[self.round.act]()

    def trouble(self) -> None:
        """Happens in another session, committed when it is over."""
        calls, session = self.host.invitations, self.host.db.session
        model: Any = calls.models.Invitation
        row, email = model.id == self.invitation, f"{self.name}@example.com"

        def account() -> None:
            session.add(self.host.User(email=email, role="user", tenant_id=self.tenant))
            session.commit()

        def delete() -> None:
            session.execute(sa.delete(model).where(row))
            session.commit()

        does: dict[str, Callable[[], Any]] = {
            "nothing": lambda: None,
            "revoked": lambda: calls.revoke(self.invitation),
            "resent": lambda: calls.resend(self.invitation),
            "invited": lambda: calls.invite(f"new-{email}", tenant_id=self.tenant),
            "declined": lambda: calls.decline(self.token),
            "killed": lambda: None if self.connection is None else hang_up(self.host, self.connection),
            "account": account,
            "deleted": delete,
        }
        try:
            does[self.round.trouble]()
        except ERRORS:  # a rival may lose, too
            session.rollback()

    def play(self) -> None:
        """Returns when the host believes that all is committed; raises where it does not."""
        host, frame = self.host, self.round.frame
        for each in self.round.before:
            self.write(each)
        if frame == "alone":
            self._inside()
        elif frame == "caught alone":
            self._caught()
            self._inside()
        elif frame == "unit":
            with host.invitations.unit():
                self._inside()
        elif frame == "nested unit":
            with host.invitations.unit(), host.invitations.unit():
                self._inside()
        else:
            with host.invitations.unit():
                self._caught()
                self._inside()
        host.db.session.commit()  # of what was written since the act, or before one that only reads

    def _caught(self) -> None:
        """An act whose refusal the host catches: outside of a block that is the word that all is undone."""
        try:
            self.act()
        except ERRORS:
            if self.round.frame == "caught alone":
                self.written.clear()

    def _inside(self) -> None:
        self.act()
        for each in self.round.after:
            self.write(each)


def play(host: Host, played: Round) -> None:
    """One round, then the law."""
    name = f"game{next(_numbers)}"
    with host.app.app_context():
        tenant = host.tenant()
        host.db.session.add_all([host.Tenant(name=f"Old {name} {number} rename") for number in range(6)])
        info = host.invitations.invite(f"{name}@example.com", tenant_id=tenant)
        game = Game(host, played, name, tenant, info.id, host.outbox.token_to(f"{name}@example.com"), [])
    ours, asked = threading.get_ident(), 0

    def clock() -> Any:
        nonlocal asked
        if threading.get_ident() == ours:
            asked += 1
            if asked == played.at:
                session = host.db.session()
                if session.in_transaction() and host.engine.dialect.name != "sqlite":
                    game.connection = number_of(session.connection())
                elsewhere(host, game.trouble)
        return host.clock()

    with host.app.app_context(), override(host.app, clock=clock):
        try:
            game.play()
        except ERRORS:
            game.written.clear()
        host.db.session.rollback()
        for each in game.rivals:
            each.join()
    there = {row.name for row in host.rows(host.Tenant)}
    assert [each for each in game.written if each not in there] == [], "success with loss"


@pytest.mark.soak
def test_success_without_loss(database_url: str) -> None:
    """T1: over random writes of a host, acts, and rivals that conflict with them, lock them out, or kill their
    connection, each write of the host's is committed, or the caller got an exception; never success with loss."""
    impatient = {
        "sqlite": {"timeout": 0.02},
        "postgresql": {"options": "-c lock_timeout=300"},
        "mysql": {"init_command": "SET innodb_lock_wait_timeout = 1"},
    }
    backend = database_url.partition("+")[0].partition(":")[0]
    few, many = ROUNDS[backend]
    options = {"connect_args": impatient.get(backend, {})}
    with build(database_url, config={"SQLALCHEMY_ENGINE_OPTIONS": options, "INVITATIONS_FRESH_LINK": "send"}) as host:

        @settings(
            max_examples=many if SOAK else few,
            derandomize=not SOAK,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(rounds())
        def rule(played: Round) -> None:
            play(host, played)

        rule()
