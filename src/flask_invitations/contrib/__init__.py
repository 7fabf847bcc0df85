"""Ready ``enqueue`` hooks for task queues: a module each for Celery, RQ, Dramatiq and Huey. Only the host imports them.

Each has ``enqueue_with(engine, app)``, called before ``init_app``::

    from flask_invitations.contrib.celery import enqueue_with

    invitations.init_app(app, db, ..., enqueue=enqueue_with(celery, app))

It gives the engine two tasks, :data:`DELIVER` and :data:`SWEEP`, and returns the hook, which publishes the id of a
delivery and nothing else. No engine retries these tasks or keeps what they return: the outbox does both, and better.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from flask import Flask, current_app, has_app_context

from .. import acts, outbox
from ..context import Context
from ..current import get_state
from ..traces import hidden

#: The names of the two tasks: send one mail, or without an id all that are due; expire and purge.
DELIVER, SWEEP = "flask_invitations.deliver", "flask_invitations.sweep"

Enqueue = Callable[[uuid.UUID], None]

#: To which process the pooled connections of an SQLAlchemy engine belong: at first to the one that imported us.
_IMPORTER = os.getpid()
_owners: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


class Jobs:
    """What a worker does for an app: each job in an app context of its own, and so with a session of its own.

    :param app: for workers that run outside of any app context; inside of one, it is the current app.
    """

    enqueue: Enqueue

    def __init__(self, app: Flask | None = None) -> None:
        self.app = app

    @hidden
    def deliver(self, delivery_id: str | None = None) -> None:
        """Send one mail of the outbox, or all that are due."""
        with self._context() as ctx:
            outbox.deliver(ctx, None if delivery_id is None else uuid.UUID(delivery_id))

    @hidden
    def sweep(self) -> None:
        """Expire what is overdue; purge what was closed long ago."""
        with self._context() as ctx:
            acts.sweep(ctx)

    @contextmanager
    def _context(self) -> Iterator[Context]:
        app = current_app if self.app is None or has_app_context() else self.app
        with app.app_context():
            ctx = get_state().ctx
            _own_connections(ctx)
            yield ctx


def jobs_on(engine: Any, app: Flask, register: Callable[[Any, Jobs], Enqueue]) -> Enqueue:
    """The hook of ``app`` for a task queue. Tasks are registered once; an engine that is given another app, as test
    suites do that build many, works for the last one."""
    jobs: Jobs | None = getattr(engine, "flask_invitations", None)
    if jobs is None:
        jobs = engine.flask_invitations = Jobs()
        jobs.enqueue = register(engine, jobs)
    jobs.app = app
    return jobs.enqueue


def _own_connections(ctx: Context) -> None:
    """A forked worker starts with no connections: those that it inherited are its parent's to use and to close."""
    for engine in ctx.store.engines():
        if _owners.setdefault(engine, _IMPORTER) != os.getpid():
            engine.dispose(close=False)
            _owners[engine] = os.getpid()
