"""Error trackers keep the variables of every call, the request's body and the log: none of ours may show there.

``test_trackers.py`` runs this in a process of its own: Sentry's integrations change Flask and SQLAlchemy for as long as
the process lives.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
import sqlalchemy as sa
from jinja2 import FileSystemLoader
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

import flask_invitations
from flask_invitations import InvitationError
from flask_invitations.contrib import Jobs
from flask_invitations.current import get_state, override
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


def test_every_receiver_of_every_signal(tmp_path: Path, tracker: Tracker) -> None:
    """S3, S4: receivers that raise are reported without secrets, and no signal carries the link, also where RETURN_LINK
    shows it to whoever invites."""
    heard: list[Any] = []

    def receive(sender: Any, invitation: Any, **more: Any) -> None:
        heard.append(invitation.accept_url)
        del sender, invitation, more
        raise Boom("a mistake of the host's")

    signals = [getattr(flask_invitations, name) for name in flask_invitations.__all__ if name.startswith("invitation_")]
    with build(f"sqlite:///{tmp_path / 'local.sqlite3'}", config={"INVITATIONS_RETURN_LINK": True}) as host:
        for signal in signals:
            signal.connect(receive, sender=host.app)
        scenes = [Scene(host) for _ in FACES]
        for scene, face in zip(scenes, FACES, strict=True):
            for call in getattr(scene, face)():
                report(call, host.app)
            check(scene, tracker, f"{face} with failing receivers")
    assert set(heard) == {None}
    assert len(tracker.events) >= len(heard) > 10


@pytest.mark.parametrize("template", ["offer", "refused", "desk/list", "desk/details", "desk/refused", "landing"])
def test_a_template_that_fails(local: Host, tracker: Tracker, tmp_path: Path, template: str) -> None:
    """S3: what a template of the host's is rendered with is reported no more than the rest."""
    _own_template(local, tmp_path, template)
    scene = Scene(local)
    calls = scene.by_pages()
    (tmp_path / f"invitations/{template}.html").write_text("{% set kept = token %}{{ nothing.there }}")
    with local.app.app_context():
        cache = get_state().ctx.template("base.html").environment.cache
    assert cache is not None
    cache.clear()
    for call in calls:
        report(call, local.app)
    check(scene, tracker, f"{template} failed")
    assert any("nothing" in event for event in tracker.events) or template in ("landing", "desk/refused")


@pytest.mark.parametrize("part", [".subject.txt", ".txt", ".html"])
def test_an_email_that_fails(local: Host, tracker: Tracker, tmp_path: Path, part: str) -> None:
    """S3: likewise of an email; what is said of it names no more than the exception's class."""
    scene = Scene(local)
    _own_template(local, tmp_path, "offer")
    (tmp_path / "invitations/mail").mkdir()
    (tmp_path / f"invitations/mail/invitation{part}").write_text(
        "{{ accept_url }}{{ invitee_email }}{{ nothing.there }}"
    )
    for face in FACES:
        for call in getattr(scene, face)():
            report(call, local.app)
    check(scene, tracker, f"invitation{part} failed")


def _own_template(host: Host, folder: Path, name: str) -> None:
    (folder / "invitations/desk").mkdir(parents=True)
    host.app.jinja_loader = FileSystemLoader(folder)


#: What makes the database refuse a row of ours, and what takes it back.
REFUSALS = {
    "sqlite": (
        "CREATE TRIGGER boom BEFORE {what} ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END",
        "DROP TRIGGER boom",
    ),
    "postgresql": (
        "ALTER TABLE {table} ADD CONSTRAINT boom CHECK ({column} IS NULL) NOT VALID",
        "ALTER TABLE {table} DROP CONSTRAINT boom",
    ),
    "mysql": (
        "CREATE TRIGGER boom BEFORE {what} ON {table} FOR EACH ROW SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = 1062,"
        " MESSAGE_TEXT = 'Duplicate entry ''somebody@else.example'' for key ''x'''",
        "DROP TRIGGER boom",
    ),
}
TABLES = {
    "user_invitations": ("UPDATE", "closed_at"),
    "user_invitation_events": ("INSERT", "type"),
    "user_invitation_deliveries": ("INSERT", "kind"),
    "users": ("INSERT", "email"),
}


@pytest.mark.in_turn
@pytest.mark.parametrize("table", TABLES)
def test_a_database_that_refuses(host: Host, tracker: Tracker, table: str) -> None:
    """S3: what the database was given, and what it quotes of that, is reported nowhere: neither as a variable of ours,
    SQLAlchemy's or the driver's, nor in the text of an exception or a log line."""
    host.app.config.update(TESTING=False, PROPAGATE_EXCEPTIONS=False)
    scenes = [Scene(host) for _ in FACES]
    calls = [call for scene, face in zip(scenes, FACES, strict=True) for call in getattr(scene, face)()]
    what, column = TABLES[table]
    refuse, undo = REFUSALS[host.engine.dialect.name]
    with host.engine.begin() as connection:
        connection.exec_driver_sql(refuse.format(table=table, what=what, column=column))
    sentry_sdk.get_isolation_scope().clear_breadcrumbs()
    try:
        for call in calls:
            report(call, host.app)
    finally:
        with host.engine.begin() as connection:
            connection.exec_driver_sql(undo.format(table=table))
    for scene in scenes:
        check(scene, tracker, f"{table} refused")
    assert tracker.events
    assert not any("somebody@else" in event for event in tracker.events)


def test_what_the_host_was_handling_is_its_own(local: Host) -> None:
    """S3: an exception that the host handles while it calls us keeps its text and its variables."""
    with local.app.app_context():
        try:
            local.db.session.execute(sa.text("SELECT :it FROM nowhere"), {"it": "somebody@else.example"})
        except sa.exc.OperationalError as mine:
            local.db.session.rollback()
            with suppress(InvitationError):
                local.invitations.preview("A" * 43)
            said = str(mine)
    assert "somebody@else.example" in said
