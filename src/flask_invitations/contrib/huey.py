"""Huey: tasks, on its own schedule too, and hook."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from flask import Flask
from huey import crontab

from . import DELIVER, SWEEP, Enqueue, Jobs, jobs_on

if TYPE_CHECKING:
    from huey import Huey


def enqueue_with(huey: Huey, app: Flask) -> Enqueue:
    """The hook ``enqueue`` for Huey; registers the two tasks on ``huey``, as periodic ones: the consumer delivers
    what is due every minute and sweeps every 5, unless it is started with ``--no-periodic``.

    How long the hook waits for the storage is up to the time-outs that ``huey`` was made with.
    """
    return jobs_on(huey, app, _register)


def _register(huey: Huey, jobs: Jobs) -> Enqueue:
    deliver = huey.periodic_task(crontab(), **_named(DELIVER))(jobs.deliver)
    huey.periodic_task(crontab(minute="*/5"), **_named(SWEEP))(jobs.sweep)

    def enqueue(delivery_id: uuid.UUID) -> None:
        deliver(str(delivery_id))

    return enqueue


def _named(name: str) -> dict[str, Any]:
    """Huey puts the module in front of a task's name."""
    module, _, last = name.rpartition(".")
    return {"name": last, "__module__": module, "retries": 0}
