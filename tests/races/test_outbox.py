"""The outbox under kills, crowds and failures: the scenarios of ``python -m benchmarks.delivery``, in short.

Real worker processes, a real SMTP server in a process of its own. Each scenario holds what happened against what is
promised; in a soak all of them run at full length on every database.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.delivery.failures import hang, poison
from benchmarks.delivery.kills import crowd, kills, web_kill
from benchmarks.delivery.report import Report
from benchmarks.delivery.storm import storm
from tests.conftest import DATABASES
from tests.races.harness import SOAK, rounds

pytestmark = pytest.mark.soak


def on(*few: str) -> pytest.MarkDecorator:
    """The databases of a test: these, or all of them in a soak."""
    return pytest.mark.parametrize("_database", (*DATABASES, "sqlite-wal") if SOAK else few, indirect=True)


def kept(report: Report) -> None:
    """All that was promised came true."""
    assert report.broken == [], report.figures


def crew(database_url: str, many: int) -> int:
    """How many workers: SQLite has one writer at a time."""
    return 2 if database_url.startswith("sqlite") else many


@on("postgresql", "sqlite-wal")
def test_workers_are_killed(database_url: str, tmp_path: Path) -> None:
    """R7, R17: however often a worker is killed, every mail arrives, at most one of them twice for each kill and then
    with the same link and Message-ID, and none waits longer than for the end of its lease."""
    kept(
        kills(
            database_url,
            tmp_path,
            mails=rounds(24, 1000),
            workers=crew(database_url, 4),
            seconds=rounds(1, 30),
            every=2 if SOAK else 0.5,
            lease=rounds(2, 5),
            most=rounds(3, 1000),
            late=15,
        )
    )


@on("mariadb")
def test_crowd_of_workers(database_url: str, tmp_path: Path) -> None:
    """R8: workers that nobody kills send no mail twice, however many there are."""
    kept(crowd(database_url, tmp_path, mails=rounds(60, 1000), workers=crew(database_url, rounds(4, 8))))


@on("mariadb")
def test_all_at_once(database_url: str, tmp_path: Path) -> None:
    """E1, E2, E3: while the database goes away again and again, clocks are seconds apart, and receivers sleep, no email
    is lost or sent twice, and none is sent for an invitation that was revoked or resent before."""
    outages, mails = rounds(1, 10), rounds(40, 1000)
    away, seconds = (3.0, 60.0) if SOAK else (1.5, 3.0)
    workers = crew(database_url, 4)
    kept(storm(database_url, tmp_path, mails=mails, workers=workers, outages=outages, away=away, seconds=seconds))


@on("postgresql")
@pytest.mark.parametrize("delivery", ["queue", "inline"])
def test_web_process_is_killed(database_url: str, delivery: str, tmp_path: Path) -> None:
    """R6, J6: a web process that dies right after the commit of an invitation leaves its mail to a worker, be it one
    that the process was to send itself."""
    kept(web_kill(database_url, tmp_path, kills=rounds(3, 100), delivery=delivery))


@on("postgresql")
def test_mail_server_hangs(database_url: str, tmp_path: Path) -> None:
    """R11: while one worker waits for a mail server that never answers no transaction is open, and another worker sends
    the other mails; the one that hung is given back and arrives later."""
    kept(hang(database_url, tmp_path, mails=10, timeout=rounds(3, 10)))


@on("mariadb")
@pytest.mark.parametrize("batch", [1, 50])
def test_poison(database_url: str, batch: int, tmp_path: Path) -> None:
    """R12, J5: a recipient whom the server refuses, and a mail for which a hook raises, keep no other mail from
    leaving: the first is given up at once, the second after its last try."""
    kept(poison(database_url, tmp_path, mails=rounds(20, 100), batch=batch))
