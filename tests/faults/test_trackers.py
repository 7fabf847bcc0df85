"""Error trackers keep the variables of every call, the request's body and the log: none of ours may show there."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from flask_invitations.contrib import Jobs
from flask_invitations.current import override
from flask_invitations.hooks import TABLE
from flask_invitations.testing import token_in
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, LIST, PREVIEW
from tests.races.harness import SOAK

_numbers = count(1)


class Boom(Exception):
    """What a host's code raises."""


class Failing:
    """A hook of the host's that raises when it is called for the nth time. Its own calls keep nothing: they are the
    host's."""

    def __init__(self, hook: Any, when: int) -> None:
        self.hook, self.left = hook, when

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            del given, named
            raise Boom("a mistake of the host's")
        return self.hook(*given, **named)


class Tracker(Transport):
    """Sentry's client with its defaults, whose events stay here; beside them, what Python itself shows of variables."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.events: list[str] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events += [json.dumps(item.payload.json, default=repr) for item in envelope.items]

    def before_send(self, event: Any, hint: Any) -> Any:
        if "exc_info" in hint:
            shown = traceback.TracebackException(*hint["exc_info"], capture_locals=True)
            self.events.append("".join(shown.format()))
        return event

    def showing(self, secret: str) -> list[str]:
        """A piece of each event in which it stands."""
        found = [(event, event.find(secret)) for event in self.events]
        return [event[max(0, place - 300) : place + 100] for event, place in found if place >= 0]


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    transport = Tracker()
    options: dict[str, Any] = {"transport": transport, "before_send": transport.before_send}
    sentry_sdk.init(dsn="https://public@sentry.example.com/1", **options)
    try:
        yield transport
    finally:
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Host]:
    """A host whose failures Flask reports, as it does in production."""
    with build(
        f"sqlite:///{tmp_path / 'local.sqlite3'}", config={"TESTING": False, "PROPAGATE_EXCEPTIONS": False}
    ) as host:
        yield host


class Scene:
    """One invitation whose parts must never be seen, and the ways to act on it."""

    def __init__(self, host: Host) -> None:
        self.host, self.email = host, f"ann.number.{next(_numbers)}@invitee.example.com"
        self.admin = next((user.id for user in host.rows(host.User)), None) or host.user("boss@example.com", "admin")
        with host.app.app_context():
            self.id = host.invitations.invite(self.email, tenant_id=host.tenant()).id
        self.token = token_in(host.outbox.messages[-1].accept_url)

    @property
    def secrets(self) -> dict[str, str]:
        """By what it is; also of a link that was made since."""
        (row,) = self.host.rows(self.host.invitations.models.Invitation, id=self.id)
        tokens = {token_in(message.accept_url) for message in self.host.outbox.messages if message.accept_url}
        named = {"password": PASSWORD, "nonce": row.token_nonce, "hash": row.token_hash, "address": self.email}
        return {**named, **{f"token {number}": token for number, token in enumerate({self.token, *tokens})}}

    def by_api(self) -> list[Callable[[], Any]]:
        manager, guest = self.host.client(self.admin), self.host.client()
        return [
            lambda: manager.post(INVITE, json={"email": self.email, "message": "hello"}),
            lambda: manager.post(f"{INVITE}?explain=true", json={"email": self.email}),
            lambda: manager.get(LIST),
            lambda: manager.get(f"{LIST}/{self.id}"),
            lambda: manager.get(f"{LIST}/{self.id}/events"),
            lambda: manager.post(f"{LIST}/{self.id}/resend", json={}),
            lambda: guest.post(PREVIEW, json={"token": self.token}),
            lambda: guest.post(ACCEPT, json={"token": self.token, "password": PASSWORD}),
            lambda: guest.post(DECLINE, json={"token": self.token, "reason": "no"}),
            lambda: manager.delete(f"{LIST}/{self.id}"),
        ]

    def by_pages(self) -> list[Callable[[], Any]]:
        manager, guest = self.host.client(self.admin), self.host.client()

        def desk(path: str, **fields: str) -> Any:
            page = manager.get(f"/invitations/{path}").text
            seals = [part.split('value="')[1].split('"')[0] for part in page.split("<input") if 'name="seal"' in part]
            return seals or [""]

        listing, details = desk(""), desk(str(self.id))
        return [
            lambda: guest.post("/invitations/open", data={"token": self.token}),
            lambda: manager.post("/invitations/invite", data={"email": self.email, "seal": listing[0]}),
            lambda: manager.get("/invitations/"),
            lambda: manager.get(f"/invitations/{self.id}"),
            lambda: manager.post(f"/invitations/{self.id}/resend", data={"seal": details[0]}),
            lambda: guest.post("/invitations/accept", data={"token": self.token, "password": PASSWORD}),
            lambda: guest.post("/invitations/accept", data={"token": f"https://x.example/#{self.token}"}),
            lambda: guest.post("/invitations/decline", data={"token": self.token, "reason": "no"}),
            lambda: guest.post("/invitations/open", data={"token": "A" * 43, "password": PASSWORD}),
        ]

    def by_python(self) -> list[Callable[[], Any]]:
        ours, tenant_id = self.host.invitations, self.host.tenant()
        return [
            lambda: ours.invite(self.email, tenant_id=tenant_id),
            lambda: ours.invite(self.email, tenant_id=tenant_id, role="nobody knows"),
            lambda: ours.explain(self.email, tenant_id=tenant_id),
            lambda: ours.list(email=self.email),
            lambda: ours.get(self.id),
            lambda: ours.events(self.id),
            lambda: ours.preview(self.token),
            lambda: ours.accept(self.token, password="short"),
            lambda: ours.accept(self.token, password=PASSWORD, profile={"unknown": "x"}),
            lambda: ours.decline(self.token, reason="x" * 501),
            lambda: ours.accept(self.token, password=PASSWORD),
            lambda: ours.resend(self.id),
            lambda: ours.decline(self.token, reason="no"),
            lambda: ours.request_link(self.token),
            lambda: ours.deliver(),
            lambda: ours.record_delivery(self.host.outbox.messages[-1].id, "bounced", f"no such user {self.email}"),
            lambda: ours.revoke(self.id),
            lambda: ours.sweep(),
        ]

    def by_command(self) -> list[Callable[[], Any]]:
        runner = self.host.app.test_cli_runner(catch_exceptions=False)
        where = () if self.host.Tenant is None else ("--tenant", str(self.host.tenant()))

        def command(*words: str) -> Callable[[], Any]:
            return lambda: runner.invoke(args=["invitations", *words])

        calls = [("invite", "typed@example.com", *where), ("list",), ("show", str(self.id)), ("resend", str(self.id))]
        return [command(*words) for words in (*calls, ("deliver",), ("revoke", str(self.id)), ("sweep",))]

    def by_worker(self) -> list[Callable[[], Any]]:
        self.host.outbox.fail_with = None
        jobs = Jobs(self.host.app)
        return [
            lambda: self.host.app.test_client().get("/"),
            jobs.deliver,
            lambda: jobs.deliver(str(self.host.outbox.messages[-1].id)),
            jobs.sweep,
        ]


#: At which of its calls a hook fails.
ROUNDS = (1, 2, 3) if SOAK else (1,)
FACES = ("by_api", "by_pages", "by_python", "by_command", "by_worker")
#: What a hook answers where the host brings none.
ABSENT: dict[str, Any] = {"login_url": "https://app.example.com/in", "logout_url": "https://app.example.com/out"}
HOOKS = tuple(sorted(TABLE.keys() - {"user_model", "tenant_model", "profile_schema", "find_users"}))


def report(call: Callable[[], Any], app: Any) -> None:
    """What a host's own last resort does with what nobody caught."""
    try:
        with app.app_context():
            call()
    except Exception as error:
        sentry_sdk.capture_exception(error)


def check(scene: Scene, tracker: Tracker, what: str) -> None:
    for name, secret in scene.secrets.items():
        assert tracker.showing(secret) == [], f"{name} after {what}"


@pytest.mark.parametrize("face", FACES)
def test_every_hook_of_every_act(local: Host, tracker: Tracker, face: str) -> None:
    """S3: whichever hook of the host's raises during whichever act, by whichever face, an error tracker that keeps the
    variables of all calls sees no token, password, nonce, hash or address of the invitee."""
    raised = 0
    for name in HOOKS:
        for when in ROUNDS:
            scene = Scene(local)
            with local.app.app_context():
                hooks = local.app.extensions["invitations"].ctx.hooks
                hook = hooks.said.get(name) or (lambda *given, name=name: ABSENT.get(name))
            for call in getattr(scene, face)():
                failing = Failing(hook, when)
                with override(local.app, **{name: failing}):
                    report(call, local.app)
                raised += failing.left <= 0
            check(scene, tracker, f"{name} failed in call {when}")
    assert raised
    assert any("a mistake of the host's" in event for event in tracker.events) or face == "by_worker"
    assert len(tracker.events) > raised or face == "by_worker"
