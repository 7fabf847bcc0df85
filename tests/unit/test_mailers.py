"""The mailer for development."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from flask import Flask

from flask_invitations import LogMailer
from tests.unit.mailserver import SECRET, a_message


@pytest.fixture(params=[True, False], ids=["debug", "no debug"])
def debug(request: pytest.FixtureRequest) -> Iterator[bool]:
    app = Flask(__name__)
    app.debug = request.param
    with app.app_context():
        yield request.param


def test_the_log_mailer(debug: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """D2: in debug the whole mail is printed, link included; else only that one was due, without link or address."""
    message = a_message()
    with caplog.at_level(logging.DEBUG):
        LogMailer()(message)
    printed, logged = capsys.readouterr(), caplog.text
    assert (SECRET in printed.err) is debug
    assert (message.to in printed.err) is debug
    assert printed.out == ""
    assert SECRET not in logged
    assert message.to not in logged
    assert (str(message.invitation.id) in logged) is not debug
