"""The host of ``docs/queues.md``: a ``shop.py`` as it is assumed there, and ``shop_queue.py`` as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from flask_invitations.contrib import DELIVER
from flask_invitations.contrib.rq import deliver
from tests.queues.servers import end

PAGE = Path(__file__).parents[2] / "docs" / "queues.md"

SHOP = """
import os

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_invitations import Invitations, SMTPMailer

app = Flask(__name__)
app.config.update(SECRET_KEY="k", SQLALCHEMY_DATABASE_URI=os.environ["DATABASE_URL"], INVITATIONS_DELIVERY="queue")
app.config["INVITATIONS_ACCEPT_URL"] = "https://shop.example/invitations/accept#{token}"
db = SQLAlchemy(app)
mailer = SMTPMailer("127.0.0.1", int(os.environ["SMTP_PORT"]), sender="Shop <shop@shop.example>", security="none")
invitations = Invitations()
invitations.current_user(lambda: None)


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(254), unique=True, nullable=False)
    role = db.Column(db.String(20), nullable=False)
    password_hash = db.Column(db.String(200), nullable=False)


with app.app_context():
    db.create_all()  # leaves a connection in the pool, which a forked worker must not use
"""


@dataclass(frozen=True)
class Engine:
    """A task queue: its snippet, its broker, its worker's command; how to send the task ``deliver`` without an id, as
    its scheduler does (switched off here); and how to close what the web process opened."""

    snippet: str
    broker: str
    worker: str
    deliver_all: Callable[[Any], Any]
    close: Callable[[Any], Any]


def _huey_deliver(shop: Any) -> None:
    """What the consumer's scheduler does in any minute in which nothing else is due."""
    for task in shop.huey.read_periodic(datetime(2026, 1, 1, 0, 1)):
        shop.huey.enqueue(task)


def _celery(broker: str) -> Engine:
    bare = "--without-gossip --without-mingle --without-heartbeat"
    return Engine(
        "celery",
        broker,
        f"celery -A shop_queue:celery worker -Q {{queue}} -c 1 {bare}",
        lambda shop: shop.celery.send_task(DELIVER),
        lambda shop: shop.celery.close(),
    )


ENGINES = {
    "celery on rabbitmq": _celery("rabbitmq"),
    "celery on redis": _celery("redis"),
    "rq": Engine(
        "rq",
        "redis",
        "flask --app shop_queue work",
        lambda shop: shop.queue.enqueue(deliver),
        lambda shop: shop.queue.connection.connection_pool.disconnect(),
    ),
    "dramatiq": Engine(
        "dramatiq",
        "redis",
        "dramatiq shop_queue:broker -p 1 -t 1",
        lambda shop: shop.broker.get_actor(DELIVER).send(),
        lambda shop: shop.broker.client.connection_pool.disconnect(),
    ),
    "huey": Engine(
        "huey",
        "redis",
        "huey.bin.huey_consumer shop_queue.huey -w 1 -k process --no-periodic",
        _huey_deliver,
        lambda shop: shop.huey.storage.pool.disconnect(),
    ),
}


def write(engine: Engine, folder: Path) -> None:
    """Put the two files there."""
    snippet = re.search(rf"<!-- {engine.snippet} -->\n```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert snippet is not None
    (folder / "shop.py").write_text(SHOP)
    (folder / "shop_queue.py").write_text(snippet[1])


@contextmanager
def web(engine: Engine, folder: Path, environment: dict[str, str]) -> Iterator[Any]:
    """``shop_queue`` imported here, as the process that invites."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.syspath_prepend(folder)
        shop = import_module("shop_queue")
        try:
            with shop.app.app_context():
                shop.db.create_all()
            yield shop
        finally:
            engine.close(shop)
            with shop.app.app_context():
                shop.db.engine.dispose()
            for name in ("shop", "shop_queue"):
                del sys.modules[name]


@contextmanager
def worker(engine: Engine, folder: Path, environment: dict[str, str], queue: str) -> Iterator[None]:
    """The engine's worker, in a process of its own; what it says is shown where the test fails."""
    command = [sys.executable, "-m", *engine.worker.format(queue=queue).split()]
    log = folder / "worker.log"
    with log.open("w") as said:
        options: dict[str, Any] = {"stdout": said, "stderr": subprocess.STDOUT, "start_new_session": True}
        options["env"] = {**os.environ, **environment, "PYTHONPATH": str(folder)}
        process = subprocess.Popen(command, cwd=folder, **options)
    try:
        yield
    finally:
        end(process)
        sys.stdout.write(log.read_text())
