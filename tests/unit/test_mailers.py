"""The mailer for development."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from flask import Flask

from flask_invitations import LogMailer, MailRefused
from tests.hosts import build
from tests.unit.mailserver import SECRET, a_message


@pytest.fixture(params=[True, False], ids=["debug", "no debug"])
def debug(request: pytest.FixtureRequest) -> Iterator[bool]:
    app = Flask(__name__)
    app.debug = request.param
    with app.app_context():
        yield request.param


def test_the_log_mailer(debug: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """D2, M4: in debug the whole mail is printed, link included; else it is refused, and one line in all says why,
    without link or address."""
    mailer, message = LogMailer(), a_message()
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            with nullcontext() if debug else pytest.raises(MailRefused):
                mailer(message)
    printed, logged = capsys.readouterr(), caplog.text
    assert (SECRET in printed.err) is debug
    assert (message.to in printed.err) is debug
    assert printed.out == ""
    assert SECRET not in logged
    assert message.to not in logged
    assert [record.levelname for record in caplog.records] == ([] if debug else ["ERROR"])
    assert debug or "Pass another mailer" in logged


def test_nothing_counts_as_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """M4: outside of debug the delivery is ``failed`` after one attempt, named, in both ways of delivering; the
    invitation is made all the same."""
    for delivery in ("inline", "queue"):
        config = {"INVITATIONS_DELIVERY": delivery}
        with build(f"sqlite:///{tmp_path / delivery}.sqlite", mailer=LogMailer(), config=config) as host:
            admin = host.user("admin@example.com", role="admin")
            client = host.client(admin)
            assert client.post("/api/v1/users/invite", json={"email": "ann@example.com"}).status_code == 201
            with host.app.app_context():
                host.invitations.deliver()
            (item,) = client.get("/api/v1/users/invitations").get_json()["items"]
            found = item["delivery"]
            assert (found["state"], found["error"], found["attempts"]) == ("failed", "LogMailerSendsNothing", 1)
            assert found["sent_at"] is None
    assert caplog.text.count("LogMailer sends no email") == 2
    assert "ann@example.com" not in caplog.text
