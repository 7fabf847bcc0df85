"""Hosts whose emails wait for a worker, and the worker."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from flask_invitations import outbox
from flask_invitations.current import get_state

from .hosts import Host
from .http.tools import copy, invite, people


def deliver(host: Host, **how: Any) -> dict[str, int]:
    with host.app.app_context():
        return dict(outbox.deliver(get_state().ctx, **how))


def waiting(host: Host, count: int) -> Any:
    """So many queued emails; gives the id of an admin."""
    _, admin, *_ = people(host)
    made = invite(host.client(admin), "p0@example.com")
    if count > 1:
        copy(host, made["id"], count - 1)
    host.clock.tick(timedelta(seconds=1))
    return admin


def mails(host: Host, **where: Any) -> list[Any]:
    return host.rows(host.invitations.models.Delivery, **where)


def states(host: Host) -> Counter[str]:
    return Counter(row.state for row in mails(host))
