"""Each engine as the documentation sets it up: a real broker, a worker in a process of its own, a real mail server."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations import invitation_created
from tests.queues.servers import Mailbox, Proxy, wait_for
from tests.queues.shops import ENGINES, Engine, web, worker, write


@dataclass
class Stand:
    """A shop and its worker at work; only the shop speaks to the broker by way of the proxy."""

    engine: Engine
    shop: Any
    proxy: Proxy
    mailbox: Mailbox

    def invite(self) -> tuple[str, float]:
        """Whom we invited, and how many seconds the call took."""
        email, start = f"{uuid.uuid4().hex}@example.com", time.monotonic()
        with self.shop.app.app_context():
            assert self.shop.invitations.invite(email).delivery.state == "queued"
        return email, time.monotonic() - start

    def rows(self) -> dict[str, tuple[str, int]]:
        """By address: state of the outbox row, and how often it was tried."""
        models, session = self.shop.invitations.models, self.shop.db.session
        mail = models.Delivery
        read = sa.select(models.Invitation.email, mail.state, mail.attempts).join(mail)
        with self.shop.app.app_context():
            return {email: (state, attempts) for email, state, attempts in session.execute(read)}

    def is_sent(self, email: str) -> bool:
        return self.rows()[email] == ("sent", 1)


@pytest.fixture(scope="module", params=ENGINES)
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    engine, folder = ENGINES[request.param], tmp_path_factory.mktemp("shop")
    broker, queue = request.getfixturevalue(f"{engine.broker}_url"), f"flask_invitations_test_{uuid.uuid4().hex}"
    write(engine, folder)
    with Mailbox() as mailbox, Proxy(broker) as proxy:
        common = {"DATABASE_URL": f"sqlite:///{folder}/shop.sqlite3", "SMTP_PORT": str(mailbox.port)}
        with web(engine, folder, {**common, "BROKER_URL": proxy.url}) as shop:
            if engine.snippet == "celery":
                shop.celery.conf.task_default_queue = queue
            with worker(engine, folder, {**common, "BROKER_URL": broker}, queue):
                yield Stand(engine, shop, proxy, mailbox)
            if engine.broker == "rabbitmq":
                _remove(shop.celery, queue)


def _remove(celery: Any, queue: str) -> None:
    """What Celery declared for us in a RabbitMQ that is not ours."""
    with celery.connection_for_write() as connection, connection.channel() as channel:
        channel.queue_delete(queue)
        channel.exchange_delete(queue)


def test_the_worker_sends(stand: Stand) -> None:
    """An invitation's mail leaves by the worker, once, and its row says so."""
    email, _ = stand.invite()
    assert wait_for(lambda: stand.is_sent(email)), stand.rows()
    assert stand.mailbox.recipients.count(email) == 1


def test_the_broker_goes_away_after_the_commit(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    """Between commit and enqueue the broker stops: the invitation stands, the call does not wait, and the next
    ``deliver`` of all that is due sends the mail, once; back again, the broker wakes the worker as before."""

    def stop(_app: Any, **_: Any) -> None:
        stand.proxy.close()

    with invitation_created.connected_to(stop, sender=stand.shop.app):
        missed, seconds = stand.invite()
    assert seconds < 10
    assert "enqueue failed after the commit" in caplog.text
    stand.proxy.open()
    next_one, _ = stand.invite()
    assert wait_for(lambda: stand.is_sent(next_one)), stand.rows()
    assert stand.rows()[missed] == ("queued", 0)
    stand.engine.deliver_all(stand.shop)
    assert wait_for(lambda: stand.is_sent(missed)), stand.rows()
    assert [stand.mailbox.recipients.count(each) for each in (missed, next_one)] == [1, 1]
    print(f"invited without a broker in {seconds:.2f} s")  # noqa: T201
