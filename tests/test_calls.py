"""R23: what a request costs in Python, and that nothing is made for each request which could be made once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from flask import Flask, request, request_started
from flask.testing import FlaskClient
from marshmallow import Schema
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder
from werkzeug.wsgi import ClosingIterator

from flask_invitations.current import get_state, override
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DECLINE, DOCUMENT, GUEST, INVITE, LIST, PREVIEW, copy, invite
from tests.pages import test_desk_many as desk_many
from tests.pages.site import Name
from tests.pages.test_desk import send
from tests.queued import deliver

DESK = "/invitations"
#: Rounds that are not counted: drivers prepare a statement when they have seen it a few times.
WARM, COUNTED = 6, 5


class Counter:
    """Calls of functions, those that are written in C included.

    :param of: count the calls of this Python function only.
    """

    def __init__(self, of: Any = None) -> None:
        self._code, self.count = None if of is None else of.__code__, 0

    def __call__(self, frame: Any, event: str, _argument: Any) -> None:
        if self._code is None:
            self.count += event in ("call", "c_call")
        else:
            self.count += event == "call" and frame.f_code is self._code

    @contextmanager
    def counting(self) -> Iterator[None]:
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)


# Budgets


@pytest.fixture
def queued(database_url: str) -> Iterator[tuple[Host, Any]]:
    """A host whose mails are sent by a worker, and its admin."""
    with build(database_url, config={"INVITATIONS_DELIVERY": "queue"}) as host:
        yield host, host.user("admin@example.com", "admin")


def cost(app: Flask, builder: Callable[[], EnvironBuilder]) -> int:
    """The fewest calls that serving such a request took, from the WSGI server's call to the last of the body."""
    counts, statuses = [], list[str]()

    def start_response(status: str, _headers: Any, _error: Any = None) -> Any:
        statuses.append(status)

    for _ in range(WARM + COUNTED):
        environ, counter = builder().get_environ(), Counter()
        with counter.counting(), closing(cast(ClosingIterator, app(environ, start_response))) as body:
            assert b"".join(body)
        counts.append(counter.count)
    assert {status[:2] for status in statuses} == {"20"}
    return min(counts[WARM:])


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
def test_invite(queued: tuple[Host, Any]) -> None:
    """R23: an invite takes at most 4,700 Python calls, Flask, SQLAlchemy and the host's own hooks included."""
    (host, admin), numbers = queued, count()

    def builder() -> EnvironBuilder:
        email = f"guest{next(numbers)}@example.com"
        return EnvironBuilder(INVITE, method="POST", json={"email": email}, headers=Headers(host.headers(admin)))

    assert cost(host.app, builder) <= 4_700


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
def test_list(queued: tuple[Host, Any]) -> None:
    """R23: a page of 20 invitations takes at most 6,000 Python calls."""
    host, admin = queued
    copy(host, invite(host.client(admin), message="Hello")["id"], 20)
    assert cost(host.app, lambda: EnvironBuilder(f"{LIST}?limit=20", headers=Headers(host.headers(admin)))) <= 6_000


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("batch", "most"), [(1, 5_700), (20, 3_500)])
def test_emails(queued: tuple[Host, Any], batch: int, most: int) -> None:
    """R23: an email takes a worker at most 5,700 Python calls, and in a batch of 20 at most 3,500; the mailer's come on
    top."""
    host, _ = queued
    for _ in range(2):  # drivers prepare a statement when they have seen it a few times
        with host.app.app_context(), host.invitations.unit():
            for _ in range(40):
                host.invitations.invite(f"{uuid4()}@example.com", tenant_id=host.tenant("Acme"))
        counter = Counter()
        with counter.counting():
            assert deliver(host, batch=batch) == {"sent": 40}
    assert counter.count <= 40 * most


# Every endpoint


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with a profile of its own, on SQLite."""
    config = {"INVITATIONS_FRESH_LINK": "ask"}
    url = f"sqlite:///{tmp_path_factory.mktemp('calls') / 'calls.sqlite3'}"
    with build(url, config=config, profile_schema=Name) as host:
        host.user("admin@example.com", "admin")
        everything(host, "warm")
        yield host


def everything(host: Host, name: str) -> None:
    """A request to every endpoint, and of those that take something one with it and one that is refused.

    :param name: in the addresses that are invited, different each time.
    """
    (admin,) = host.rows(host.User, email="admin@example.com")
    manager, guest, numbers = host.client(admin.id), host.client(), count()

    def made() -> tuple[str, str]:
        """The id and the token of another invitation."""
        email = f"{name}{next(numbers)}@example.com"
        return invite(manager, email)["id"], host.outbox.token_to(email)

    by_api(manager, guest, made)
    by_pages(guest, made)
    by_desk(manager, made, f"{name}@example.com")


def by_api(manager: FlaskClient, guest: FlaskClient, made: Callable[[], tuple[str, str]]) -> None:
    """Every call of the JSON API."""
    (one, token), (_, other) = made(), made()
    for answer in (
        manager.post(INVITE, json={"email": "nobody", "role": "x"}),
        manager.post(f"{INVITE}/bulk", json={"invitations": [{"email": "nobody"}, {}], "dry_run": True}),
        manager.post(f"{INVITE}/bulk", json={"invitations": [1]}),
        manager.post(f"{LIST}/bulk", json={"action": "resend", "ids": ["x"]}),
        manager.get(DOCUMENT),
        manager.get(LIST),
        manager.get(f"{LIST}?limit=x"),
        manager.get(f"{LIST}/{one}"),
        manager.get(f"{LIST}/{one}/events"),
        manager.post(f"{LIST}/{one}/resend", json={"rotate": False}),
        guest.post(PREVIEW, json={"token": token}),
        guest.post(DECLINE, json={"token": other, "reason": "x" * 501}),
        guest.post(DECLINE, json={"token": other}),
        guest.post(ACCEPT, json={"token": token, "password": PASSWORD, "name": ""}),
        guest.post(ACCEPT, json={"token": token, "password": PASSWORD, "name": "Nora"}),
        manager.delete(f"{LIST}/{one}"),
        manager.delete(f"{LIST}/{made()[0]}"),
    ):
        assert answer.status_code in (200, 201, 204, 409, 422), answer.text


def by_pages(guest: FlaskClient, made: Callable[[], tuple[str, str]]) -> None:
    """Every page of the invitee's."""
    (_, token), (_, other) = made(), made()
    places = ("accept", f"accept/{token}", "open", "decline", "fresh", "requested", "accepted", "declined", "stop/x")
    for place in places:
        assert guest.get(f"{DESK}/{place}").status_code in (200, 303)
    for place, form in (
        ("open", {"token": token}),
        ("fresh", {"token": token}),
        ("decline", {"token": other, "reason": "x" * 501}),
        ("decline", {"token": other}),
        ("accept", {"token": token, "password": PASSWORD, "name": ""}),
        ("accept", {"token": token, "password": PASSWORD, "name": "Nora"}),
        ("stop/x", {}),
    ):
        assert guest.post(f"{DESK}/{place}", data=form).status_code in (200, 303, 422)


def by_desk(manager: FlaskClient, made: Callable[[], tuple[str, str]], email: str) -> None:
    """Every page of the desk."""
    one = f"{DESK}/{made()[0]}"
    for page in (
        f"{DESK}/",
        f"{DESK}/invite",
        f"{DESK}/many",
        f"{DESK}/many/preview",
        one,
        f"{one}/resend",
        f"{one}/revoke",
    ):
        assert manager.get(page).status_code in (200, 303)
    for page, action, form in (
        (f"{DESK}/", f"{DESK}/invite", {"email": "nobody"}),
        (f"{DESK}/", f"{DESK}/invite", {"email": email}),
        (one, f"{one}/resend", {}),
        (f"{one}/revoke", f"{one}/revoke", {}),
    ):
        assert send(manager, page, action, **form).status_code in (303, 422)
    several(manager, f"nobody, many-{email}", made()[0])


def several(manager: FlaskClient, people: str, one: str) -> None:
    """Many at the desk: looked at, and sent; one that was selected is sent again, and revoked."""
    shown = desk_many.look(manager, people)
    answers = [shown, desk_many.send(manager, shown), desk_many.select(manager, "resend", one)]
    asked = desk_many.select(manager, "revoke", one)
    answers += [asked, desk_many.confirm(manager, asked)]
    assert [answer.status_code for answer in answers] == [200, 303, 303, 200, 303]


def test_every_endpoint_is_asked(local: Host) -> None:
    """The laws below are about every endpoint that there is."""
    asked: set[str | None] = set()

    def note(_app: Flask) -> None:
        asked.add(request.endpoint)

    with request_started.connected_to(note, local.app):
        everything(local, "asked")
    views = {each for each in local.app.view_functions if each.startswith("invitations")}
    assert asked >= views - {"invitations.static"}


def test_no_schema_is_made_for_a_request(local: Host) -> None:
    """No request makes a marshmallow schema, whatever it asks for and whether or not it is refused."""
    counter = Counter(of=Schema.__init__)
    with counter.counting():
        everything(local, "once")
    assert counter.count == 0


def test_who_is_signed_in_is_asked_once(local: Host) -> None:
    """The host is asked who is signed in at most once in a request, a refused one included."""
    asked: list[tuple[str, Any]] = []
    with local.app.app_context():
        theirs = get_state().ctx.hooks.current_user

    def current_user() -> Any:
        assert not any(environ is request.environ for _, environ in asked), request.path
        asked.append((request.path, request.environ))
        return theirs()

    with override(local.app, current_user=current_user):
        everything(local, "who")
    assert {path.split("/")[1] for path, _ in asked} == {"api", "invitations"}


def test_each_app_has_its_own(tmp_path: Path) -> None:
    """What is made once is made once for each app: another app's profile does not show in this one's pages."""
    for number, profile in enumerate((Name, None)):
        with build(f"sqlite:///{tmp_path / f'{number}.sqlite3'}", profile_schema=profile) as host:
            invite(host.client(host.user("admin@example.com", "admin")))
            page = host.client().post(f"{DESK}/open", data={"token": host.outbox.token_to(GUEST)})
            assert ("Your name" in page.text) is (profile is not None)
            document: Any = host.client().get(DOCUMENT).json
            assert ("name" in document["components"]["schemas"]["AcceptBody"]["properties"]) is (profile is not None)
