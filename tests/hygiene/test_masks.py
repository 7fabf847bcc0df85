"""Whatever of ours is printed shows no secret."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from flask_invitations import InvitationError, Message
from flask_invitations.tokens import Token
from tests.hosts import PASSWORD, Host, build
from tests.hygiene.traces import Traces


class Collector:
    """A mailer that keeps the objects of ours in the calls that led to it."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def __call__(self, message: Message) -> None:
        frame = sys._getframe().f_back
        self.found["Message"] = message
        while frame is not None:
            for value in frame.f_locals.values():
                if dataclasses.is_dataclass(value) and type(value).__module__.startswith("flask_invitations"):
                    self.found[type(value).__name__] = value
            frame = frame.f_back


def printed(thing: Any) -> str:
    """Everything that print and format make of it."""
    return f"{thing!r} {thing!s} {thing!a} {thing} {[thing]} {(thing,)} {{'it': {thing}}}"


def looks(host: Host, token: str, old: str) -> list[Callable[[], Any]]:
    """Calls that answer with an object of ours, or are refused."""
    ours = host.invitations
    return [
        lambda: ours.preview(token),
        lambda: ours.preview(old),
        lambda: ours.decline(token[:-1]),
        lambda: ours.accept(token, password="short"),
        lambda: ours.accept(token, password=PASSWORD),
        lambda: ours.accept(token, password=PASSWORD),
    ]


@pytest.mark.parametrize("_database", ["sqlite"], indirect=True)
def test_nothing_of_ours_prints_the_link(database_url: str) -> None:
    """D2: ``repr`` and ``str`` of messages, letters, tokens, invitations (even where they carry the link on request),
    acceptances and refusals, tracebacks and causes included, are masked."""
    collector, traces = Collector(), Traces()
    with build(database_url, mailer=collector, config={"INVITATIONS_RETURN_LINK": True}) as host:
        tenant_id = host.tenant()
        with host.app.app_context():
            made = host.invitations.invite("ann@example.com", tenant_id=tenant_id)
            old = collector.found["Letter"].token.reveal()
            again = host.invitations.resend(made.id)
            token = collector.found["Letter"].token.reveal()
            assert again.accept_url is not None
            assert token in again.accept_url
            things = [made, again, *collector.found.values(), *vars(collector.found["Letter"]).values()]
            for look in looks(host, token, old):
                try:
                    things.append(look())
                except InvitationError as refusal:
                    traces.add(f"traceback of {refusal.code}", "".join(traceback.format_exception(refusal)))
                    things += [refusal, refusal.args, vars(refusal), refusal.problem(), refusal.__context__]
    names = {type(thing).__name__ for thing in things}
    assert names >= {"InvitationInfo", "Message", "Letter", "Token", "Context", "Acceptance", "Offer"}
    assert names >= {"InvitationReplaced", "InvitationNotFound", "InvitationAccepted", "InvalidRequest"}
    for thing in things:
        traces.add(type(thing).__name__, printed(thing))
    for secret in (old, token, PASSWORD, host.app.config["SECRET_KEY"]):
        assert traces.of(secret) == []


def test_a_token_shows_itself_on_request_only() -> None:
    """D2: a token is a mask however it is printed, compared or hashed; ``reveal`` is the one way to see it."""
    token = Token("A" * 43)
    assert token.reveal() == "A" * 43
    assert "A" * 20 not in printed(token)
    assert f"{token}" == "***"
    assert token == Token("A" * 43)
    assert "A" * 20 not in repr({token: token})
