"""Is there one order of the calls that explains what everybody was answered?

Each call took place somewhere between its start and its end. A history is legal where the calls can be put in an
order which keeps to that and in which a plain model, one call after the other, gives the same answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flask_invitations import Status

TTL = timedelta(hours=48)

ACCEPT, DECLINE, REVOKE, RESEND, SWEEP = "accept", "decline", "revoke", "resend", "sweep"
#: What each call answers where it changes something.
DONE = {ACCEPT: 201, DECLINE: 200, REVOKE: 204, RESEND: 200, SWEEP: 1}


@dataclass(frozen=True)
class Call:
    """One call and its answer: the HTTP status (of a sweep: how many it expired) and the ``code`` of a refusal.

    :param token: the link that it used; of a resend: the link that it sent.
    :param clocks: the moments that the clock showed while it ran: an act reads it for itself.
    """

    what: str
    token: str
    started: int
    ended: int
    clocks: tuple[datetime, ...]
    status: int
    code: str = ""


@dataclass(frozen=True)
class World:
    """One invitation, as the model has it."""

    token: str
    expires_at: datetime
    previous: str = ""
    status: str = Status.PENDING
    events: tuple[str, ...] = ()

    def at(self, now: datetime) -> str:
        overdue = self.status == Status.PENDING and self.expires_at <= now
        return Status.EXPIRED if overdue else self.status

    def become(self, status: str) -> World:
        return replace(self, status=status, events=(*self.events, status))


def after(world: World, call: Call, now: datetime) -> Iterator[World]:
    """The world after ``call`` took place at ``now``; nothing where it would have answered something else."""
    status = world.at(now)
    if call.what == SWEEP:
        if call.status == 0:  # whatever somebody else has locked is passed over
            yield world
        elif world.status == Status.PENDING and status == Status.EXPIRED:
            yield world.become(Status.EXPIRED)
    elif call.status == DONE[call.what]:
        yield from _success(world, call, now, status)
    elif call.code in _refusals(world, call, status):
        yield world


def _success(world: World, call: Call, now: datetime, status: str) -> Iterator[World]:
    unopened = status in (Status.PENDING, Status.EXPIRED)
    if call.what == REVOKE and status != Status.ACCEPTED:
        yield world.become(Status.REVOKED) if unopened else world
    elif call.what == RESEND and unopened:
        previous = world.previous if call.token == world.token else world.token
        fresh = replace(world, token=call.token, previous=previous, expires_at=now + TTL, status=Status.PENDING)
        yield replace(fresh, events=(*world.events, "resent"))
    elif call.what in (ACCEPT, DECLINE) and status == Status.PENDING and call.token == world.token:
        yield world.become(Status.ACCEPTED if call.what == ACCEPT else Status.DECLINED)


def _refusals(world: World, call: Call, status: str) -> tuple[str, ...]:
    """The codes that the model may refuse ``call`` with."""
    if call.what == RESEND:
        if status == Status.ACCEPTED:  # looked up before it was, the address of a member after it
            return "invitation-accepted", "already-member"
        return () if status in (Status.PENDING, Status.EXPIRED) else (f"invitation-{status}",)
    if call.what == REVOKE:
        return ("invitation-accepted",) if status == Status.ACCEPTED else ()
    if call.token not in (world.token, world.previous):
        return ("invitation-not-found",)
    if call.token != world.token and status in (Status.PENDING, Status.EXPIRED):
        return ("invitation-replaced",)
    return () if status == Status.PENDING else (f"invitation-{status}",)


def explain(calls: Sequence[Call], world: World, status: str, events: Counter[str]) -> Sequence[Call] | None:
    """An order that gives these answers, this final status and these events; ``None``: there is none."""
    if not calls:
        return [] if world.status == status and Counter(world.events) == events else None
    for call in calls:
        rest = [other for other in calls if other is not call]
        if any(other.ended < call.started for other in rest):
            continue
        for now in call.clocks:
            for then in after(world, call, now):
                found = explain(rest, then, status, events)
                if found is not None:
                    return [call, *found]
    return None
