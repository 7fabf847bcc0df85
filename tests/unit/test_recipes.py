"""The mailers of docs/mailers.md, as they stand there, against real servers."""

from __future__ import annotations

import json
import re
import smtplib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from flask import Flask

from flask_invitations import MailRefused, Message
from flask_invitations.mail.failures import is_final
from tests.unit.mailserver import SECRET, SENDER, Server, a_message

PAGE = Path(__file__).parents[2] / "docs" / "mailers.md"


def recipe(name: str) -> dict[str, Any]:
    """What the snippet marked ``name`` defines."""
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    space: dict[str, Any] = {}
    exec(found[1], space)
    return space


@contextmanager
def settled(server: Server, **settings: Any) -> Iterator[Flask]:
    """An app with the settings of both libraries, in its context."""
    app = Flask(__name__)
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port, MAIL_DEFAULT_SENDER=SENDER, MAIL_TIMEOUT=5)
    app.config.update(settings)
    with app.app_context():
        yield app


@contextmanager
def mailer(name: str, server: Server) -> Iterator[Callable[[Message], None]]:
    space = recipe(name)
    with settled(server) as app:
        space["mail"].init_app(app)
        yield space["send_mail"]


@pytest.mark.parametrize("library", ["flask-mail", "flask-mailman"])
def test_a_library_sends_the_whole_mail(library: str) -> None:
    """Subject, both parts and all headers arrive, each header once, to the invitee alone."""
    message = a_message()
    with Server() as server, mailer(library, server) as send:
        send(message)
    mail = server.received()
    assert server.envelopes[0].rcpt_tos == [message.to]
    assert (mail["Subject"], mail["From"], mail["To"]) == (message.subject, SENDER, message.to)
    assert {name: mail.get_all(name) for name in message.headers} == {k: [v] for k, v in message.headers.items()}
    assert SECRET in mail.get_body(("plain",)).get_content()
    assert SECRET in mail.get_body(("html",)).get_content()


@pytest.mark.parametrize("library", ["flask-mail", "flask-mailman"])
@pytest.mark.parametrize(("answer", "final"), [("550 5.1.1 No such user", True), ("450 Later", False)])
def test_a_library_says_what_is_final(library: str, answer: str, final: bool) -> None:
    """The library lets the server's refusal through, so that a 550 fails the mail and a 450 waits."""
    with Server(answers={"RCPT": answer}) as server, mailer(library, server) as send:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            send(a_message())
        assert is_final(refused.value) is final


def test_the_settings_of_a_library() -> None:
    """SMTPMailer takes a library's settings, and asks for TLS whatever they say."""
    with Server() as server, settled(server) as app, pytest.raises(smtplib.SMTPNotSupportedError, match="STARTTLS"):
        recipe("settings")["mailer_of"](app)(a_message())
    assert server.envelopes == []


class Provider(BaseHTTPRequestHandler):
    """An HTTP API for mails, which knows some addresses that it refuses."""

    answers = {"gone@example.com": (422, "suppressed"), "odd@example.com": (422, "unknown-field")}  # noqa: RUF012

    def do_POST(self) -> None:
        mail = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.taken.append((self.headers["Idempotency-Key"], mail))  # type: ignore[attr-defined]
        status, code = self.answers.get(mail["to"], (200, "ok"))
        body = json.dumps({"code": code}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def provider() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Provider) as server:
        server.taken = []  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


def test_an_http_api(provider: HTTPServer) -> None:
    """The delivery's id is the idempotency key; an answer about the address is final, with its cause."""
    space = recipe("http")
    space["URL"] = f"http://127.0.0.1:{provider.server_port}/"
    message = a_message()
    with space["provider"]:
        space["send_mail"](message)
        ((key, mail),) = provider.taken  # type: ignore[attr-defined]
        assert key == str(message.id)
        assert (mail["text"], mail["headers"]) == (message.text, message.headers)
        with pytest.raises(MailRefused) as refused:
            space["send_mail"](a_message("gone@example.com"))
        assert isinstance(refused.value.__cause__, space["requests"].HTTPError)
        with pytest.raises(space["requests"].HTTPError) as failed:
            space["send_mail"](a_message("odd@example.com"))
        assert not is_final(failed.value)
