"""The one clock."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from flask_invitations.clock import as_utc, utcnow
from flask_invitations.testing import SettableClock


def test_utcnow() -> None:
    """R18: the clock tells an aware time in UTC."""
    before, now, after = datetime.now(timezone.utc), utcnow(), datetime.now(timezone.utc)
    assert before <= now <= after
    assert now.tzinfo is timezone.utc


@given(st.datetimes(min_value=datetime(1900, 1, 2), max_value=datetime(2200, 1, 1)))
def test_naive_is_utc(moment: datetime) -> None:
    """R18: what a database hands back naive is read as UTC, to the microsecond."""
    assert as_utc(moment) == moment.replace(tzinfo=timezone.utc)


@given(
    st.datetimes(min_value=datetime(1900, 1, 2), max_value=datetime(2200, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
)
def test_aware_is_converted(moment: datetime, minutes: int) -> None:
    """R18: an aware time stays the same moment, told in UTC; telling it twice changes nothing."""
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    told = as_utc(aware)
    assert told == aware
    assert told.utcoffset() == timedelta(0)
    assert as_utc(told) == told


def test_settable_clock() -> None:
    """The clock for tests moves only when told, and always tells aware UTC."""
    clock = SettableClock(datetime(2030, 1, 1, 12))
    assert clock() == clock() == datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
    clock.tick(timedelta(hours=1))
    assert clock() == datetime(2030, 1, 1, 13, tzinfo=timezone.utc)
    clock.set(datetime(2030, 1, 1, 0, tzinfo=timezone(timedelta(hours=2))))
    assert clock().isoformat() == "2029-12-31T22:00:00+00:00"
