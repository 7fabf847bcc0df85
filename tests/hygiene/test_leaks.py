"""The link's token is in the mail, and nowhere else."""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from flask_invitations import InvitationInfo
from flask_invitations.testing import token_in
from tests.hosts import PASSWORD, Host, build
from tests.hygiene.traces import TalkativeMailer, Traces, everything_logged, signals_heard

API = "/api/v1/users"
WEAK = "a weak one"


class Flow:
    """A host under observation, and the steps of a full life on it."""

    def __init__(self, host: Host, mailer: TalkativeMailer, traces: Traces) -> None:
        self.host, self.mailer, self.traces = host, mailer, traces
        self.admin = host.user("admin@example.com", role="admin")

    def call(self, client: FlaskClient, method: str, path: str, **how: Any) -> Any:
        answer = client.open(path, method=method, **how)
        self.traces.response(f"{method} {re.sub('[A-Za-z0-9_-]{43}', '<token>', path)}", answer)
        for cookie in answer.headers.getlist("Set-Cookie"):
            self.traces.add("cookie", cookie)
        with client.session_transaction() as session:
            self.traces.add("session", dict(session))
        return answer

    def manage(self, method: str, path: str, **how: Any) -> Any:
        return self.call(self.host.client(self.admin), method, API + path, **how)

    def guest(self, path: str, **body: Any) -> Any:
        return self.call(self.host.client(), "POST", API + path, json=body)

    @property
    def token(self) -> str:
        """The link in the latest mail, sent or not."""
        return token_in(self.mailer.messages[-1].accept_url)

    @property
    def tokens(self) -> set[str]:
        return {token_in(message.accept_url) for message in self.mailer.messages}

    def look_at(self, invitation_id: str) -> None:
        """Everything that a manager can read of an invitation."""
        for path in ("", "/events"):
            assert self.manage("GET", f"/invitations/{invitation_id}{path}").status_code == 200
        assert self.manage("GET", "/invitations?q=example").status_code == 200

    def command(self, *arguments: str) -> None:
        done = self.host.app.test_cli_runner().invoke(args=["invitations", *arguments])
        assert done.exit_code == 0
        self.traces.add(f"flask invitations {arguments[0]}", done.output)


@pytest.fixture
def flow(database_url: str, capfd: pytest.CaptureFixture[str]) -> Iterator[Flow]:
    """A host that logs all it can, whose hooks fail noisily, and whose mailer tells all it knows."""
    traces = Traces()
    mailer = TalkativeMailer(traces)

    def on_accepted(user: Any, invitation: InvitationInfo) -> None:
        traces.values_on_the_stack("on_accepted", sys._getframe())
        traces.add("on_accepted", invitation)
        raise RuntimeError("an observer that fails is logged")

    def validate_password(password: str, invitation: InvitationInfo) -> None:
        traces.values_on_the_stack("validate_password", sys._getframe())
        if password == WEAK:
            raise RuntimeError("the check itself fails")

    config = {"PROPAGATE_EXCEPTIONS": False}
    hooks: dict[str, Any] = {"mailer": mailer, "on_accepted": on_accepted, "validate_password": validate_password}
    with everything_logged(traces), build(database_url, config=config, **hooks) as host, signals_heard(host, traces):
        yield Flow(host, mailer, traces)
    printed = capfd.readouterr()
    traces.add("stdout", printed.out)
    traces.add("stderr", printed.err)


def live_through(flow: Flow) -> None:
    """Invite, a mailer that fails, delivery, resends, refusals of all kinds, decline and accept by both faces."""
    flow.mailer.failing = True
    made = flow.manage("POST", "/invite", json={"email": "ann@example.com", "message": "Welcome"})
    assert made.get_json()["delivery"]["error"] == "ConnectionError"
    invitation_id = made.get_json()["id"]
    flow.look_at(invitation_id)
    flow.mailer.failing = False
    flow.host.clock.tick(timedelta(minutes=2))
    flow.command("deliver")
    first = flow.token
    for rotate in (False, True):
        assert flow.manage("POST", f"/invitations/{invitation_id}/resend", json={"rotate": rotate}).status_code == 200
    assert flow.token != first
    flow.look_at(invitation_id)
    flow.command("show", invitation_id)
    _be_refused(flow, first)
    assert flow.guest("/accept-invite/preview", token=flow.token).status_code == 200
    assert flow.guest("/accept-invite", token=flow.token, password=PASSWORD).status_code == 201
    assert flow.guest("/accept-invite", token=flow.token, password=PASSWORD).status_code == 409
    flow.look_at(invitation_id)
    _use_the_pages(flow)


def _be_refused(flow: Flow, old: str) -> None:
    token, guest = flow.token, flow.host.client()
    assert flow.guest("/accept-invite/preview", token=old).get_json()["code"] == "invitation-replaced"
    assert flow.guest("/accept-invite", token=old, password=PASSWORD).status_code == 410
    assert flow.guest("/accept-invite", token=token).status_code == 422
    assert flow.guest("/accept-invite", token=token, email=token, password=PASSWORD).status_code == 422
    assert flow.guest("/accept-invite", token=[token], password=PASSWORD).status_code == 422
    assert flow.guest("/accept-invite", token=token + "x", password=PASSWORD).status_code == 404
    assert flow.guest("/accept-invite", token=token, password=WEAK).status_code == 500
    assert flow.guest("/decline-invite", token=token, reason=5).status_code == 422
    assert flow.call(guest, "POST", f"{API}/accept-invite", data=token).status_code == 415
    broken = {"data": '{"token": "' + token, "content_type": "application/json"}
    assert flow.call(guest, "POST", f"{API}/accept-invite", **broken).status_code == 400
    assert flow.manage("GET", f"/invitations/{token}").status_code == 404
    assert flow.manage("DELETE", f"/invitations/{token}").status_code == 404
    assert flow.manage("GET", f"/invitations?cursor={token}").status_code == 422
    signed_in = flow.host.client(flow.admin)
    body = {"token": token, "password": PASSWORD}
    assert flow.call(signed_in, "POST", f"{API}/accept-invite", json=body).get_json()["code"] == "wrong-account"


def _use_the_pages(flow: Flow) -> None:
    """Pages that carry the token for its holder are looked at in a test of their own; here: all the others."""
    for name in ("eve", "bob"):
        flow.manage("POST", "/invite", json={"email": f"{name}@example.com"})
    bob, eve = (token_in(message.accept_url) for message in flow.mailer.messages[:-3:-1])
    client = flow.host.client()
    flow.call(client, "GET", "/invitations/accept")
    declined = flow.call(client, "POST", "/invitations/decline", data={"token": eve, "reason": "no"})
    accepted = flow.call(client, "POST", "/invitations/accept", data={"token": bob, "password": PASSWORD})
    for answer in (declined, accepted):
        assert answer.status_code == 303
        flow.call(client, "GET", answer.headers["Location"])
    assert flow.call(client, "POST", "/invitations/open", data={"token": bob}).status_code == 409
    assert flow.call(client, "POST", "/invitations/accept", data={"token": eve, "password": "x"}).status_code == 410
    assert flow.call(client, "POST", "/invitations/open", data={"token": eve[:-1]}).status_code == 404


def test_no_trace_of_token_or_password(flow: Flow) -> None:
    """D2, D3, D4, D5, D6, D7, C8, J1: after a full life with SQL echo and DEBUG logging no cell, log line, answer,
    event, signal, session, cookie, command output or repr holds a token, plain, percent-encoded, base64 or hex; nor
    the password that somebody chose."""
    live_through(flow)
    flow.traces.database(flow.host)
    assert len(flow.tokens) >= 4
    assert len(flow.traces.texts) > 300
    assert {where for where, _ in flow.traces.texts} >= {
        "log of flask_invitations",
        "log of tests.hosts",
        "log of sqlalchemy.engine.Engine",
        "signal",
        "the message",
        "validate_password: run, self",
    }
    assert [where for secret in (*sorted(flow.tokens), PASSWORD) for where in flow.traces.of(secret)] == []


def test_no_trace_of_the_hash(flow: Flow) -> None:
    """C8, C11: outside of the tables and the SQL log, no hash and no nonce is seen either."""
    live_through(flow)
    secrets = set()
    for row in flow.host.rows(flow.host.invitations.models.Invitation):
        secrets |= {row.token_hash, row.token_nonce, row.previous_token_hash or row.token_hash}
    flow.traces.database(flow.host, but=("token_hash", "token_nonce", "previous_token_hash"))
    flow.traces.texts = [each for each in flow.traces.texts if not each[0].startswith("log of sqlalchemy")]
    assert [where for secret in sorted(secrets) for where in flow.traces.of(secret)] == []


def test_the_search_finds(flow: Flow) -> None:
    """D2: the search of these tests is no blind man: it finds a token in each of its dresses, and in a log."""
    flow.manage("POST", "/invite", json={"email": "ann@example.com"})
    assert flow.traces.of(flow.token) == []
    for number, dress in enumerate(_dressed(flow.token)):
        flow.traces.add(f"dress {number}", dress)
    logging.getLogger("somebody").debug("link %s", flow.token)
    assert flow.traces.of(flow.token) == [*(f"dress {number}" for number in range(7)), "log of somebody"]


def _dressed(token: str) -> list[str]:
    percent = "".join(f"%{ord(letter):02X}" for letter in token)
    longer = [base64.b64encode(("x" * length + token + "y").encode()).decode() for length in (0, 1, 2)]
    return [quote(token), percent, *longer, token.encode().hex(), json.dumps({"a": [token]})]


@pytest.mark.parametrize("_database", ["sqlite"], indirect=True)
def test_pages_carry_it_for_its_holder_only(flow: Flow) -> None:
    """D1, D3, A6: the pages that a token's holder opened carry it in a hidden field of their forms, and nowhere else:
    no link, header, cookie or script."""
    flow.manage("POST", "/invite", json={"email": "ann@example.com"})
    token, client = flow.token, flow.host.client()
    shown = [
        client.get(f"/invitations/accept/{token}"),
        client.post("/invitations/open", data={"token": token}),
        client.post("/invitations/accept", data={"token": token, "password": ""}),
    ]
    hidden = re.compile(rf'<input type="hidden" name="token" value="{token}"[^<>]*>')
    for answer in shown:
        body, found = hidden.subn("", answer.text)
        assert found
        flow.traces.add(answer.request.path.replace(token, "<token>"), f"{answer.headers} {body}")
    assert flow.traces.of(token) == []


@pytest.mark.parametrize("_database", ["sqlite"], indirect=True)
def test_return_link_shows_it_on_request_only(database_url: str) -> None:
    """D5: with ``RETURN_LINK`` the answers to create and resend hold the link, and no other does."""
    with build(database_url, config={"INVITATIONS_RETURN_LINK": True}) as host:
        manager, traces = host.client(host.user("admin@example.com", role="admin")), Traces()
        made = manager.post(f"{API}/invite", json={"email": "ann@example.com"})
        path = f"{API}/invitations/{made.get_json()['id']}"
        again = manager.post(f"{path}/resend")
        for answer in (made, again):
            assert token_in(answer.get_json()["accept_url"])
        assert again.get_json()["accept_url"] == host.outbox.link_to("ann@example.com")
        for each in (path, f"{path}/events", f"{API}/invitations"):
            traces.response(each, manager.get(each))
        assert traces.of(host.outbox.token_to("ann@example.com")) == []
