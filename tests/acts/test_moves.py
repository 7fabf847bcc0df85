"""The table of moves: what leads where, as data; each cell of it tried on real rows, by the guard and by the acts."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations import EventType, Status
from flask_invitations.clock import as_utc
from flask_invitations.current import get_state
from flask_invitations.model.states import MOVES, Move
from flask_invitations.store.unit import Stale
from tests.hosts import PASSWORD, Host
from tests.http.tools import ACCEPT, DECLINE, STATES, Case, invite, make

#: How an invitation is stored, and whether it is before its expiry; a pending one past it is as good as expired.
STORED = list(itertools.product(Status, (True, False)))


def allowed(move: Move, status: Status, on_time: bool) -> bool:
    return status in move.before and move.on_time in (None, on_time)


def test_the_table_is_sound() -> None:
    """Nothing leaves a final status, only a resend opens again, an answer counts in time only, and each move is told in
    the audit trail."""
    final = {Status.ACCEPTED, Status.DECLINED, Status.REVOKED}
    assert not {status for move in MOVES.values() for status in move.before} & final
    assert {name for name, move in MOVES.items() if move.after == Status.PENDING} == {"resend"}
    assert {move.after for move in MOVES.values()} == set(Status)
    in_time = {name: move.on_time for name, move in MOVES.items() if move.on_time is not None}
    assert in_time == {"accept": True, "decline": True, "expire": False}
    assert len({move.event for move in MOVES.values()}) == len(MOVES)


@pytest.mark.in_turn
@pytest.mark.parametrize("name", MOVES)
def test_guards(host: Host, name: str) -> None:
    """The UPDATE of a move changes a row that is stored where the move starts from and in time, and no other."""
    case, move = make(host, "pending"), MOVES[name]
    table, now = host.invitations.models.Invitation.__table__, host.clock()
    for status, on_time in STORED:
        key = {"pending_key": "k" * 64 if status == Status.PENDING else None}
        set_row(host, table, status=status, expires_at=now + timedelta(seconds=1 if on_time else 0), **key)
        with host.app.app_context():
            store = get_state().ctx.store
            found = store.by_id(case.tenant, host.rows(host.invitations.models.Invitation)[0].id)
            assert found is not None
            row = found.row

            def run(store: Any = store, row: Any = row) -> None:
                kept = {"pending_key": "k" * 64} if move.after == Status.PENDING else {}
                store.move(row, move, now, **kept)

            try:
                with store.unit.joined():
                    run()
                moved = True
            except Stale:
                moved = False
        assert moved == allowed(move, status, on_time), (status, on_time)
        (after,) = host.rows(host.invitations.models.Invitation)
        assert after.status == (move.after if moved else status)
        assert (after.pending_key is None) == (after.status != "pending")


def set_row(host: Host, table: Any, **columns: Any) -> None:
    with host.engine.begin() as connection:
        connection.execute(sa.update(table).values(columns))


def sweep(case: Case) -> None:
    with case.host.app.app_context():
        case.host.invitations.sweep()


ACTS: Mapping[str, Callable[[Case], Any]] = {
    "accept": lambda case: case.host.client().post(ACCEPT, json={"token": case.token, "password": PASSWORD}),
    "decline": lambda case: case.host.client().post(DECLINE, json={"token": case.token}),
    "revoke": lambda case: case.host.client(case.admin).delete(case.url),
    "resend": lambda case: case.host.client(case.admin).post(f"{case.url}/resend"),
    "expire": sweep,
}
#: The states of the tests, and how each is stored.
KEPT = {
    "pending": (Status.PENDING, True),
    "overdue": (Status.PENDING, False),
    "swept": (Status.EXPIRED, False),
    "accepted": (Status.ACCEPTED, True),
    "declined": (Status.DECLINED, True),
    "revoked": (Status.REVOKED, True),
}


@pytest.mark.in_turn
@pytest.mark.parametrize("state", KEPT)
def test_acts(host: Host, state: str) -> None:
    """Each act moves an invitation in this state exactly as the table says, with the event that it names; where the
    table has no move, neither status nor trail change, but for a refused accept's line."""
    assert ACTS.keys() == MOVES.keys()
    for name, act in ACTS.items():
        case = make(host, state, name.capitalize())
        assert state in STATES
        before, events = stored(case)
        assert before == KEPT[state][0]
        act(case)
        after, later = stored(case)
        move = MOVES[name]
        new = [each for each in later[len(events) :] if each not in (EventType.SENT, EventType.ACCEPT_REFUSED)]
        if allowed(move, *KEPT[state]):
            assert (after, new) == (move.after, [move.event]), name
        else:
            assert (after, new) == (before, []), name


def stored(case: Case) -> tuple[str, list[str]]:
    """The status as it is stored, and the types of the events, in their order."""
    models = case.host.invitations.models
    (row,) = [each for each in case.host.rows(models.Invitation) if str(each.id) == case.id]
    return row.status, [each.type for each in case.host.rows(models.InvitationEvent, invitation_id=row.id)]


@pytest.mark.parametrize("name", MOVES)
def test_moves_are_dated(host: Host, name: str) -> None:
    """``updated_at`` is the moment of the move, and so is ``closed_at``; but an expired invitation closed when its time
    was over, and one that is open again is not closed."""
    case = make(host, {"expire": "overdue", "resend": "swept"}.get(name, "pending"))
    host.clock.tick(timedelta(minutes=1))
    ACTS[name](case)
    (row,) = host.rows(host.invitations.models.Invitation)
    closed = {"expire": row.expires_at, "resend": None}.get(name, row.updated_at)
    assert as_utc(row.updated_at) == host.clock()
    assert row.closed_at == closed


def test_several_move_together_or_not_at_all(host: Host) -> None:
    """R3: of several invitations that are to move, one that is no longer as it was found keeps all from moving."""
    case = make(host, "pending")
    other = invite(host.client(case.admin), "other@acme.example")
    with host.app.app_context():
        store = get_state().ctx.store
        found = [store.by_id(case.tenant, uuid.UUID(key)) for key in (case.id, other["id"])]
        assert host.client(case.admin).delete(case.url).status_code == 204
        with pytest.raises(Stale), store.unit.joined():
            store.move_all([each.row for each in found if each is not None], MOVES["decline"], host.clock())
    assert {row.status for row in host.rows(host.invitations.models.Invitation)} == {"pending", "revoked"}
