"""What the ready hooks promise beside waking a worker: no imports unasked, apps kept apart, no shared connections."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import celery
import dramatiq
import pytest
import redis
import rq
from celery.beat import Scheduler
from celery.exceptions import OperationalError
from dramatiq.brokers.stub import StubBroker
from huey import MemoryHuey

from flask_invitations import DeliveryState, Status
from flask_invitations.contrib import DELIVER, SWEEP
from flask_invitations.contrib.celery import SCHEDULE
from flask_invitations.contrib.celery import enqueue_with as celery_enqueue
from flask_invitations.current import override
from tests.hosts import Host, build
from tests.queues.servers import Proxy

LIBRARIES = ("celery", "dramatiq", "huey", "kombu", "redis", "rq")


def _celery() -> Any:
    engine = celery.Celery("test", broker="memory://", set_as_current=False)
    engine.conf.task_always_eager = True
    return engine


def _run_dramatiq(broker: StubBroker) -> None:
    """Let a worker empty the broker."""
    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=1)
    worker.start()
    broker.join("default", timeout=10_000)
    worker.join()
    worker.stop()


#: An engine of its own in this process, and what sees to it that everything published was done.
ENGINES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "celery": (_celery, lambda _: None),
    "dramatiq": (StubBroker, _run_dramatiq),
    "huey": (lambda: MemoryHuey(immediate=True), lambda _: None),
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """Two apps with a database and a mailer each."""
    urls = [f"sqlite:///{tmp_path / name}.sqlite3" for name in ("one", "two")]
    built = [build(url, tenancy="none", config={"INVITATIONS_DELIVERY": "queue"}) for url in urls]
    yield built
    for host in built:
        host.close()


def enqueue_with(engine: str, queue: Any, host: Host) -> Any:
    return import_module(f"flask_invitations.contrib.{engine}").enqueue_with(queue, host.app)


def invite(host: Host, hook: Any) -> str:
    """Invite somebody, with this ``enqueue``; whom?"""
    email = f"{uuid.uuid4().hex}@example.com"
    with override(host.app, enqueue=hook), host.app.app_context():
        host.invitations.invite(email)
    return email


def mailed(host: Host) -> list[str]:
    return [message.to for message in host.outbox.messages]


def test_the_package_imports_no_task_queue() -> None:
    """Whoever uses no task queue, or another one, needs none of these: they are not even looked for."""
    names = {*LIBRARIES, "flask_invitations.contrib"}
    look = f"import sys, flask_invitations; print(*sys.modules.keys() & {names})"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def test_an_engine_for_each_app(engine: str, hosts: list[Host]) -> None:
    """Two apps with an engine each: each one's mails leave by its own mailer, from its own outbox."""
    make, run = ENGINES[engine]
    queues = [make() for _ in hosts]
    hooks = [enqueue_with(engine, queue, host) for queue, host in zip(queues, hosts, strict=True)]
    invited = [[invite(host, hook)] for host, hook in zip(hosts, hooks, strict=True)]
    for queue in queues:
        run(queue)
    assert [mailed(host) for host in hosts] == invited


def test_an_engine_for_app_after_app(engine: str, hosts: list[Host]) -> None:
    """An engine that is given one app after the other, as a module's is in a test suite, works for the last."""
    make, run = ENGINES[engine]
    queue = make()
    for host in hosts:
        email = invite(host, enqueue_with(engine, queue, host))
        run(queue)
        assert mailed(host) == [email]


def test_sweep(engine: str, hosts: list[Host]) -> None:
    """The task ``sweep`` expires what is overdue."""
    host, (make, _) = hosts[0], ENGINES[engine]
    queue = make()
    email = invite(host, None)
    enqueue_with(engine, queue, host)
    host.clock.tick(timedelta(days=3))
    _task(engine, queue, SWEEP)()
    (row,) = host.rows(host.invitations.models.Invitation, email=email)
    assert row.status == Status.EXPIRED


def test_deliver_without_an_id(engine: str, hosts: list[Host]) -> None:
    """The task ``deliver`` without an id, as a scheduler sends it, sends all that are due."""
    host, (make, _) = hosts[0], ENGINES[engine]
    queue = make()
    invited = [invite(host, None), invite(host, None)]
    enqueue_with(engine, queue, host)
    _task(engine, queue, DELIVER)()
    assert sorted(mailed(host)) == sorted(invited)
    assert {row.state for row in host.rows(host.invitations.models.Delivery)} == {DeliveryState.SENT}


def _task(engine: str, queue: Any, name: str) -> Any:
    """What the engine has under that name."""
    if engine == "celery":
        return queue.tasks[name]
    return queue.get_actor(name) if engine == "dramatiq" else queue._registry.string_to_task(name)().execute


def test_rq_takes_the_app_of_its_worker(redis_url: str, hosts: list[Host]) -> None:
    """RQ's job finds the app by the context that its worker runs in, leaves nothing behind when it is done, and says
    what is missing where there is none."""
    host, email = hosts[0], ""
    with redis.Redis.from_url(redis_url) as connection:
        queue = rq.Queue(uuid.uuid4().hex, connection=connection)
        email = invite(host, enqueue_with("rq", queue, host))
        (waiting,) = queue.jobs
        with pytest.raises(RuntimeError, match="application context"):
            waiting.func(*waiting.args)
        with host.app.app_context():
            rq.SimpleWorker([queue], connection=connection).work(burst=True)
        assert queue.job_ids == []
        assert not rq.job.Job.exists(waiting.id, connection=connection)
    assert mailed(host) == [email]


def test_celery_schedule(hosts: list[Host]) -> None:
    """The entries for beat are taken by its scheduler as they are, and name the two tasks."""
    queue = _celery()
    celery_enqueue(queue, hosts[0].app)
    queue.conf.beat_schedule = {**SCHEDULE}
    scheduler = Scheduler(queue)
    assert {entry.task for entry in scheduler.schedule.values()} == {DELIVER, SWEEP} <= set(queue.tasks)
    email = invite(hosts[0], None)
    for entry in scheduler.schedule.values():
        scheduler.apply_entry(entry)
    assert mailed(hosts[0]) == [email]


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_celery_gives_up_on_a_broker_that_is_down(scheme: str, hosts: list[Host]) -> None:
    """However patient Celery is set to be, the hook connects once and raises."""
    with Proxy(f"{scheme}://127.0.0.1:1/0") as gone:
        url = gone.url
    queue = celery.Celery("test", broker=url, set_as_current=False)
    queue.conf.broker_transport_options = {"max_retries": 100, "interval_start": 5}
    start = time.monotonic()
    with pytest.raises(OperationalError):
        celery_enqueue(queue, hosts[0].app)(uuid.uuid4())
    assert time.monotonic() - start < 3


def test_celery_takes_the_next_broker_of_a_list(redis_url: str, hosts: list[Host]) -> None:
    """Where Celery is given several brokers, and the first is down, the next one takes the message."""
    queue = celery.Celery("test", broker=f"redis://127.0.0.1:1/0;{redis_url}", set_as_current=False)
    queue.conf.task_default_queue = uuid.uuid4().hex
    celery_enqueue(queue, hosts[0].app)(uuid.uuid4())
    with redis.Redis.from_url(redis_url) as connection:
        assert connection.llen(queue.conf.task_default_queue) == 1


FORK = """
import os, sys
import sqlalchemy as sa
from flask_invitations.contrib import Jobs
from tests.hosts import build

host = build(sys.argv[1], tenancy="none")
opened = []
sa.event.listen(host.engine, "connect", lambda *_: opened.append(os.getpid()))
jobs = Jobs(host.app)
jobs.deliver()
before = len(opened)
child = os.fork()
if child == 0:
    jobs.deliver()
    jobs.deliver()
    os._exit(0 if opened[before:] == [os.getpid()] else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
jobs.deliver()
assert len(opened) == before
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_shares_no_connection(tmp_path: Path) -> None:
    """A forked worker's first job opens a connection of its own, its second uses that; the parent keeps its own."""
    command = [sys.executable, "-c", FORK, f"sqlite:///{tmp_path}/fork.sqlite3"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
