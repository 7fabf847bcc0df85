"""``examples/with_celery`` as its reader runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from flask_invitations.contrib.celery import SCHEDULE
from tests.queues.servers import Mailbox, end, wait_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "with_celery"


def test_the_example_mails_by_its_worker(tmp_path: Path, redis_url: str) -> None:
    """The first owner is invited from the command line; the mail leaves by the worker; beat knows its entries."""
    folder = tmp_path / "shop"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("instance", "__pycache__"))
    with Mailbox() as mailbox:
        told = {"BROKER_URL": redis_url, "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mailbox.port)}
        environment = {**os.environ, **told, "SMTP_SECURITY": "none", "FLASK_APP": "shop"}
        command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-c", "1"]
        subprocess.run(
            [sys.executable, "-m", "flask", "create-tables"], cwd=folder, env=environment, check=True, timeout=60
        )
        log = tmp_path / "log"
        with log.open("w") as said:
            worker = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True
            )
        try:
            invite = [sys.executable, "-m", "flask", "invitations", "invite", "owner@example.com", "--role", "owner"]
            subprocess.run(invite, cwd=folder, env=environment, check=True, timeout=60)
            assert wait_for(lambda: mailbox.recipients == ["owner@example.com"]), log.read_text()
        finally:
            end(worker)
    look = [sys.executable, "-c", "from worker import celery; print(*celery.conf.beat_schedule)"]
    assert subprocess.check_output(look, cwd=folder, env=environment, timeout=60).decode().split() == list(SCHEDULE)
