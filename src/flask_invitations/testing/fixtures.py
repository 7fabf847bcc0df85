"""The fixtures of pytest, beside the host's own ``app``. Nothing else of the kit knows pytest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from .doubles import RecordingMailer, SettableClock
from .people import override


@pytest.fixture
def invitation_mail(app: Flask) -> Iterator[RecordingMailer]:
    """Records the app's invitation mails for the length of the test."""
    mailer = RecordingMailer()
    with override(app, mailer=mailer):
        yield mailer


@pytest.fixture
def invitation_clock(app: Flask) -> Iterator[SettableClock]:
    """Stops the app's invitation clock at the present moment for the length of the test."""
    clock = SettableClock()
    with override(app, clock=clock):
        yield clock
