"""A storage that is away, or that takes calls and never answers: nobody hangs, and only managers are turned away."""

from __future__ import annotations

import itertools
import logging
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from flask_invitations import ConfigurationError, limits
from flask_invitations.current import get_state
from tests.hosts import UNLIMITED, Host, build
from tests.http.tools import DECLINE, INVITE, LIST, PREVIEW, accept, invite, make, refused, unchanged
from tests.limits.test_acts import _from, limited, too_many
from tests.limits.test_limiter import budget, limiter
from tests.queued import deliver, mails
from tests.queues.servers import Proxy

RATES = dict.fromkeys(("accept", "token", "invite", "tenant", "recipient"), "9/hour")
#: Whoever waits for longer than this, on however busy a machine, hangs.
LONG = 15


class Mute(Proxy):
    """It takes calls, and never answers."""

    def _serve(self, listener: Any, ends: list[Any]) -> None:
        try:
            while True:
                ends.append(listener.accept()[0])
        except OSError:
            return


@contextmanager
def away(proxy: Proxy, how: str) -> Iterator[None]:
    """The storage, away for as long as the block."""
    proxy.close()
    mute = None
    if how == "mute":
        mute = Mute.__new__(Mute)
        mute._url, mute._port = proxy._url, proxy._port
        mute.open()
    try:
        yield
    finally:
        if mute is not None:
            mute.close()
        proxy.open()
        time.sleep(limits.PAUSE)


@pytest.fixture(params=["redis", "memcached"])
def proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """In front of a storage."""
    with Proxy(request.getfixturevalue(f"{request.param}_url")) as made:
        yield made


@pytest.mark.in_turn
@pytest.mark.parametrize("how", ["closed", "mute"])
def test_storage_away(
    database_url: str, proxy: Proxy, how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the storage is away, managers get 503 and nothing is written; invitees and the worker go on; the log says
    so once, without the address. When it is back, all is as before."""
    config = {"INVITATIONS_RATELIMIT_STORAGE": proxy.url, "INVITATIONS_DELIVERY": "queue"}
    with limited(database_url, config=config, **RATES) as host:
        queue = _Queue(host)
        with away(proxy, how), caplog.at_level(logging.ERROR, "flask_invitations"):
            start = time.monotonic()
            client = host.client(queue.admin)
            with unchanged(host):
                for answer in (
                    client.post(INVITE, json={"email": "new@example.com"}),
                    client.post(f"{LIST}/{queue.ids[0]}/resend"),
                ):
                    refused(answer, 503, "try-again")
                    assert int(answer.headers["Retry-After"]) >= 1
            assert deliver(host) == {"sent": 3}
            tokens = [host.outbox.token_to(email) for email in queue.emails]
            assert host.client().post(PREVIEW, json={"token": tokens[0]}).status_code == 200
            assert accept(host.client(), tokens[0]).status_code == 201
            assert host.client().post(DECLINE, json={"token": tokens[1]}).status_code == 200
            assert time.monotonic() - start < LONG
        said = [record for record in caplog.messages if "does not answer" in record]
        assert len(said) == 1
        assert str(urlsplit(proxy.url).port) not in caplog.text
        invite(client, "new@example.com")


class _Queue:
    """A host with three emails that wait."""

    def __init__(self, host: Host) -> None:
        from tests.http.tools import people

        _, self.admin, *_ = people(host)
        self.emails = [f"p{number}@example.com" for number in range(3)]
        self.ids = [invite(host.client(self.admin), email)["id"] for email in self.emails]


@pytest.mark.parametrize("scheme", ["redis", "valkey", "memcached"])
def test_never_there(scheme: str) -> None:
    """A storage that was never there does not answer either, whichever error its driver has for that."""
    with pytest.raises(limits.StorageDown):
        limiter(f"{scheme}://127.0.0.1:1").take([budget("1/minute")])


@pytest.mark.parametrize("scheme", ["redis", "memcached"])
def test_it_is_not_asked_by_everybody(scheme: str) -> None:
    """Of those who call while it takes calls and never answers, the first waits, not for long; then nobody does."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        one, asked = limiter(f"{scheme}://127.0.0.1:{mute.getsockname()[1]}"), list[int]()

        def call() -> None:
            with pytest.raises(limits.StorageDown):
                one.take([budget("1/minute")])

        for _ in range(2):
            caller = threading.Thread(target=call, daemon=True)
            caller.start()
            caller.join(LONG)
            assert not caller.is_alive()
            asked.append(_callers(mute))
    assert asked[0] > 0
    assert asked[1] == 0


def _callers(server: socket.socket) -> int:
    """How many wait to be taken in."""
    for count in itertools.count():
        if not select.select([server], [], [], 0)[0]:
            return count
        server.accept()[0].close()
    raise AssertionError


def test_back_again_it_counts(redis_url: str, tmp_path: Any) -> None:
    """What was counted before an outage still is after it."""
    with Proxy(redis_url) as proxy:
        config = {"INVITATIONS_RATELIMIT_STORAGE": proxy.url}
        with limited(f"sqlite:///{tmp_path}/x.sqlite3", config=config, accept="2/hour") as host:
            case = make(host, "pending")
            client = _from(host, f"192.0.2.{time.time_ns() % 250}")
            body = {"token": case.token}
            assert client.post(PREVIEW, json=body).status_code == 200
            with away(proxy, "closed"):
                assert client.post(PREVIEW, json=body).status_code == 200
            assert client.post(PREVIEW, json=body).status_code == 200
            too_many(client.post(PREVIEW, json=body))


def test_inline_email(redis_url: str, tmp_path: Any) -> None:
    """An invitation of the system, which no limit asks about, is mailed at once while the storage is away."""
    with Proxy(redis_url) as proxy:
        config = {"INVITATIONS_RATELIMIT_STORAGE": proxy.url}
        with limited(f"sqlite:///{tmp_path}/x.sqlite3", config=config, **RATES) as host, away(proxy, "closed"):
            with host.app.app_context():
                host.invitations.invite("p1@example.com", tenant_id=host.tenant())
            assert [row.state for row in mails(host)] == ["sent"]


@pytest.mark.parametrize(
    "uri",
    [
        "redis",
        "nowhere://me:s3cret@127.0.0.1",
        "async+memory://",
        "async+redis://:s3cret@127.0.0.1",
        "redis://:s3cret@127.0.0.1:port",
        "redis://:s3cret@[::1",
        "mongodb://me:s3cret@127.0.0.1",
        "redis+cluster://me:s3cret@127.0.0.1:9",
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the library's, half made
def test_no_such_storage(tmp_path: Any, uri: str) -> None:
    """A storage that cannot be used is refused at ``init_app``: the key, the fix, and no password."""
    with pytest.raises(ConfigurationError, match=r"^INVITATIONS_RATELIMIT_STORAGE names a storage .+\.$") as refusal:
        build(f"sqlite:///{tmp_path}/x.sqlite3", config={"INVITATIONS_RATELIMIT_STORAGE": uri})
    assert "s3cret" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    ("config", "warned"),
    [
        ({"TESTING": False}, True),
        ({"TESTING": False, "DEBUG": True}, False),
        ({"TESTING": True}, False),
        ({"TESTING": False, "INVITATIONS_RATELIMIT_STORAGE": "redis://127.0.0.1:6379/1"}, False),
        ({"TESTING": False, **UNLIMITED}, False),
    ],
)
def test_warns_of_memory(tmp_path: Any, caplog: pytest.LogCaptureFixture, config: Any, warned: bool) -> None:
    """Where each process would count for itself, the log says so at the start, once, unless nothing is counted."""
    on = {**dict.fromkeys(UNLIMITED, "9/day"), **config}
    with caplog.at_level(logging.WARNING, "flask_invitations"), build(f"sqlite:///{tmp_path}/x.sqlite3", config=on):
        assert ["RATELIMIT_STORAGE" in message for message in caplog.messages] == [True] * warned


def test_two_apps(tmp_path: Any) -> None:
    """Two apps count apart, each by its own settings, also with one extension object."""
    from flask import Flask

    with limited(f"sqlite:///{tmp_path}/x.sqlite3", accept="1/hour") as host:
        other = Flask("other")
        other.config.update(host.app.config, INVITATIONS_RATELIMIT_ACCEPT="2/hour")
        host.db.init_app(other)
        given = {"user_model": host.User, "tenant_model": host.Tenant, "mailer": host.outbox}
        host.invitations.init_app(other, host.db, **given, current_user=lambda: None)
        codes = [app.test_client().post(PREVIEW, json={"token": "x"}).status_code for app in (host.app, other) * 3]
        assert codes == [404, 404, 429, 404, 429, 429]
        with other.app_context():
            assert get_state().ctx.config.ratelimit_accept == "2/hour"
