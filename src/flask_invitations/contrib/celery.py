"""Celery: tasks, hook and beat schedule."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from flask import Flask

from . import DELIVER, SWEEP, Enqueue, Jobs, jobs_on

if TYPE_CHECKING:
    from celery import Celery

#: For ``celery.conf.beat_schedule``: deliver every minute, sweep every 5. What no worker took in time is dropped.
SCHEDULE: dict[str, dict[str, Any]] = {
    DELIVER: {"task": DELIVER, "schedule": 60.0, "options": {"expires": 60}},
    SWEEP: {"task": SWEEP, "schedule": 300.0, "options": {"expires": 300}},
}

#: Seconds that an invite call waits for a broker that does not answer.
PATIENCE = 2
#: Even with ``retry=False`` Celery goes on trying to connect for seconds: so these are for its transport.
_AMQP = {"read_timeout": PATIENCE, "write_timeout": PATIENCE}
_REDIS = {"socket_connect_timeout": PATIENCE, "socket_timeout": PATIENCE}


def enqueue_with(celery: Celery, app: Flask) -> Enqueue:
    """The hook ``enqueue`` for Celery, on any broker; registers the two tasks on ``celery``.

    It publishes over a connection of its own, which is never stale and gives up after ``PATIENCE`` seconds.
    """
    return jobs_on(celery, app, _register)


def _register(celery: Celery, jobs: Jobs) -> Enqueue:
    # Shared, as is Celery's default, a task would appear on every other Celery app of this process, for the wrong app.
    options: dict[str, Any] = {"acks_late": True, "ignore_result": True, "max_retries": 0, "shared": False}

    def deliver(delivery_id: str | None = None) -> None:
        jobs.deliver(delivery_id)

    def sweep() -> None:
        jobs.sweep()

    wake = celery.task(deliver, name=DELIVER, **options)
    celery.task(sweep, name=SWEEP, **options)
    patience: dict[str, Any] = {"connect_timeout": PATIENCE, "transport_options": {**_AMQP, **_REDIS}}

    def enqueue(delivery_id: uuid.UUID) -> None:
        with celery.connection_for_write(**patience) as connection:
            connection.transport_options["max_retries"] = max(len(connection.alt) - 1, 0)  # each broker of a list once
            wake.apply_async((str(delivery_id),), connection=connection, retry=False)

    return enqueue
