"""One clock, the app's: whatever it shows, an invitation is open exactly as long as it says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from flask_invitations import InvitationExpired, Status
from flask_invitations.testing import SettableClock
from tests.hosts import PASSWORD, Host, build

TTL, TICK = timedelta(hours=48), timedelta(microseconds=1)
NOW = datetime.now(timezone.utc)
#: Ten minutes behind and ahead of the database's clock; a clock of another zone; the hour that Berlin has twice.
CLOCKS = {
    "right": NOW,
    "slow": NOW - timedelta(minutes=10),
    "fast": NOW + timedelta(minutes=10),
    "Kolkata": NOW.astimezone(timezone(timedelta(hours=5, minutes=30))),
    "DST": datetime(2026, 10, 25, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2))),
}


def invite(host: Host) -> Any:
    tenant_id = host.tenant()
    with host.app.app_context():
        return host.invitations.invite("ann@example.com", tenant_id=tenant_id)


@pytest.mark.in_turn
@pytest.mark.parametrize("start", CLOCKS.values(), ids=CLOCKS)
def test_open_to_the_last_moment(database_url: str, start: datetime) -> None:
    """R18, B1: one microsecond before ``expires_at`` the link opens, whatever the app's clock shows: it alone is asked
    at create and at compare."""
    with build(database_url, clock=SettableClock(start)) as host:
        made = invite(host)
        clock = _clock(host)
        assert made.expires_at == made.created_at + TTL == clock() + TTL
        assert made.expires_at.utcoffset() == timedelta(0)
        clock.set(made.expires_at - TICK)
        with host.app.app_context():
            assert host.invitations.sweep().expired == 0
            assert host.invitations.get(made.id).status == Status.PENDING
            assert host.invitations.accept(host.outbox.token_to("ann@example.com"), password=PASSWORD).user.id


@pytest.mark.in_turn
@pytest.mark.parametrize("start", CLOCKS.values(), ids=CLOCKS)
def test_shut_at_the_moment_itself(database_url: str, start: datetime) -> None:
    """R18, B1: at ``expires_at`` itself it is expired: for preview, decline, accept, get, list and sweep alike."""
    with build(database_url, clock=SettableClock(start)) as host:
        made = invite(host)
        token, ours = host.outbox.token_to("ann@example.com"), host.invitations
        _clock(host).set(made.expires_at)
        acts: list[Callable[[], Any]] = [
            lambda: ours.preview(token),
            lambda: ours.decline(token),
            lambda: ours.accept(token, password=PASSWORD),
        ]
        with host.app.app_context():
            for act in acts:
                with pytest.raises(InvitationExpired):
                    act()
            assert ours.get(made.id).status == Status.EXPIRED
            assert [each.id for each in ours.list(status="expired")] == [made.id]
            assert list(ours.list(status="pending")) == []
            assert (ours.sweep().expired, ours.sweep().expired) == (1, 0)
        assert host.rows(host.User) == []


def test_expiry_while_accepting(host: Host) -> None:
    """R18, B1: time that passes between the look at the link and the claim counts: what expires while the password is
    being hashed is not accepted."""
    made = invite(host)
    host.clock.set(made.expires_at - TICK)
    moments = iter([host.clock(), made.expires_at])
    with host.app.app_context(), pytest.raises(InvitationExpired):
        _with_clock(host, lambda: next(moments, made.expires_at)).accept(
            host.outbox.token_to("ann@example.com"), password=PASSWORD
        )
    assert host.rows(host.User) == []


def _clock(host: Host) -> Any:
    """The clock that the app was given."""
    return host.app.extensions["invitations"].ctx.hooks.said["clock"]


def _with_clock(host: Host, clock: Callable[[], datetime]) -> Any:
    """The acts of ``host`` on another clock, which the host itself does not see."""
    from flask_invitations.current import override

    class Acts:
        def accept(self, token: str, *, password: str) -> Any:
            with override(host.app, clock=clock):
                return host.invitations.accept(token, password=password)

    return Acts()
