"""Dramatiq: actors and hook."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import dramatiq
from flask import Flask

from . import DELIVER, SWEEP, Enqueue, Jobs, jobs_on

if TYPE_CHECKING:
    from dramatiq import Broker


def enqueue_with(broker: Broker, app: Flask) -> Enqueue:
    """The hook ``enqueue`` for Dramatiq; declares the two actors on ``broker``, on its queue ``default``.

    How long it waits for the broker is up to the time-outs that ``broker`` was made with.
    """
    return jobs_on(broker, app, _register)


def _register(broker: Broker, jobs: Jobs) -> Enqueue:
    # Only a broker with the middleware that retries knows the option.
    once: dict[str, Any] = {"max_retries": 0} if "max_retries" in broker.actor_options else {}
    deliver = dramatiq.actor(actor_name=DELIVER, broker=broker, **once)(jobs.deliver)
    dramatiq.actor(actor_name=SWEEP, broker=broker, **once)(jobs.sweep)

    def enqueue(delivery_id: uuid.UUID) -> None:
        deliver.send(str(delivery_id))

    return enqueue
