"""What the forks of :mod:`tests.races.crew` do here: deliver emails, and die on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask_invitations import Message
from tests.hosts import build
from tests.queued import deliver


def deliver_and_die(database_url: str, sent: str, die_after: int, ready: Callable[[], Any]) -> dict[str, int]:
    """Send what is due in one batch, each mail a line in the file ``sent``; killed right behind mail ``die_after``."""
    file = Path(sent)

    def mailer(message: Message) -> None:
        with file.open("a") as lines:
            lines.write(f"{message.to} {message.accept_url}\n")
        if len(file.read_text().splitlines()) == die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    config = {"INVITATIONS_DELIVERY": "queue"}
    with build(database_url, create_all=False, config=config, mailer=mailer) as host:
        return deliver(host, batch=50)
