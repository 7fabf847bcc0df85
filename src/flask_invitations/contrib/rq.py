"""RQ: hook, and the two jobs, which RQ imports by path. The worker runs in the app's context (``docs/queues.md``)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from flask import Flask

from . import Enqueue, Jobs

if TYPE_CHECKING:
    from rq import Queue

#: Seconds for which RQ shows a job that failed; by default a year.
FAILURE_TTL = 24 * 60 * 60

_jobs = Jobs()


def enqueue_with(queue: Queue, app: Flask) -> Enqueue:
    """The hook ``enqueue`` for RQ. How long it waits for Redis is up to the client that ``queue`` was made with.

    :param app: not needed here, since the job's app is the worker's; taken so that all engines are set up alike.
    """

    def enqueue(delivery_id: uuid.UUID) -> None:
        queue.enqueue(deliver, str(delivery_id), result_ttl=0, failure_ttl=FAILURE_TTL)

    return enqueue


def deliver(delivery_id: str | None = None) -> None:
    """Send one mail of the outbox, or all that are due.

    :raises RuntimeError: the worker does not run in an app context.
    """
    _jobs.deliver(delivery_id)


def sweep() -> None:
    """Expire what is overdue; purge what was closed long ago.

    :raises RuntimeError: the worker does not run in an app context.
    """
    _jobs.sweep()
