"""Mail servers that are down, hang, or refuse; hooks that fail."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from flask_invitations import DeliveryState, SMTPMailer
from flask_invitations.clock import as_utc, utcnow
from flask_invitations.current import override
from tests.hosts import Host, build

from .postoffice import SENDER, Manners, PostOffice
from .report import Report
from .rows import addresses, delivery_to, queue, states, unfinished, wait
from .workers import Job, Workers, settings

INVITE = "/api/v1/users/invite"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
#: Nobody listens there: IANA keeps it for discarding.
CLOSED = SMTPMailer("127.0.0.1", 9, sender=SENDER, security="none", timeout=1)


# Down


def outage(live_url: str, down_url: str, folder: Path, *, calls: int) -> Report:
    """Two hosts take turns call by call; one's mail server is up, the other's is down for four hours.

    :param calls: invite calls at each host.
    """
    report = Report()
    config = {"INVITATIONS_DELIVERY": "queue"}
    with PostOffice(folder) as office:
        live = build(live_url, config=config, mailer=office.mailer())
        down = build(down_url, config=config, mailer=CLOSED)
        with live, down:
            _compare(report, live, down, calls)
            report.promise(unfinished(live) == 0, "the live mailer left mails")
            arrived = len(office.mails())
            _recover(down, office)
            _judge_outage(report, down, {mail.to for mail in office.mails()[arrived:]})
    return report


def _compare(report: Report, live: Host, down: Host, calls: int) -> None:
    took = _four_hours((live, down), calls)
    (live_median, live_p95), (down_median, down_p95) = ((median(each), quantiles(each, n=20)[-1]) for each in took)
    report.tell(f"{calls} invites each", f"median {live_median:.1f} ms live, {down_median:.1f} ms down")
    report.tell(f"p95 {live_p95:.1f} ms live, {down_p95:.1f} ms down (ratio {down_p95 / live_p95:.2f})")
    report.promise(down_p95 <= 1.1 * live_p95, f"p95 is {down_p95 / live_p95:.2f} times that of a live mailer")


def _four_hours(hosts: tuple[Host, Host], calls: int) -> tuple[list[float], list[float]]:
    """Invite, evenly over four hours of the test's clock, with a worker each minute; milliseconds of each call."""
    took: tuple[list[float], list[float]] = [], []
    clients = [host.client(host.user("admin@example.com", role="admin")) for host in hosts]
    sides = list(zip(clients, took, strict=True))
    for minute in range(240):
        for number in range(calls * minute // 240, calls * (minute + 1) // 240):
            for client, times in sides if number % 2 else sides[::-1]:
                times.append(_invite(client, number))
        for host in hosts:
            host.clock.tick(MINUTE)
            _deliver(host)
    return took


def _invite(client: Any, number: int) -> float:
    """Every fifth may be accepted for an hour only. Milliseconds."""
    body = {"email": f"guest{number}@example.com", "expires_in": 3600 if number % 5 == 0 else 3 * 86400}
    began = time.perf_counter()
    answer = client.post(INVITE, json=body)
    took = time.perf_counter() - began
    if answer.status_code != 201:
        raise AssertionError(f"invite answered {answer.status}: {answer.text}")
    return took * 1000


def _deliver(host: Host, batch: int = 50) -> None:
    host.app.test_cli_runner().invoke(args=["invitations", "deliver", "--batch", str(batch)], catch_exceptions=False)


def _recover(host: Host, office: PostOffice) -> None:
    """The mail server is up again; a worker comes each minute, until no mail waits."""
    with override(host.app, mailer=office.mailer()):
        for _ in range(12 * 60):
            if not unfinished(host):
                return
            host.clock.tick(MINUTE)
            _deliver(host)


def _judge_outage(report: Report, host: Host, arrived: set[str]) -> None:
    models = host.invitations.models
    invited = {row.id: row for row in host.rows(models.Invitation)}
    mails = host.rows(models.Delivery)
    ended, tries = Counter(mail.state for mail in mails), max(mail.attempts for mail in mails)
    report.tell(f"{ended['sent']} sent afterwards", f"{ended['cancelled']} cancelled", f"at most {tries} tries")
    report.promise(set(ended) <= {DeliveryState.SENT, DeliveryState.CANCELLED}, f"mails ended as {dict(ended)}")
    report.promise(tries <= 12, f"{tries} tries for one mail")
    sent = {invited[mail.invitation_id].email for mail in mails if mail.state == DeliveryState.SENT}
    report.promise(sent == arrived, "what is called sent is not what arrived")
    for mail in mails:
        expiry = as_utc(invited[mail.invitation_id].expires_at)
        in_time = as_utc(mail.sent_at) < expiry if mail.state == DeliveryState.SENT else expiry <= host.clock()
        report.promise(in_time, f"a mail that expired at {expiry} is {mail.state}")


# Hanging


def hang(url: str, folder: Path, *, mails: int, timeout: float) -> Report:
    """The mail server never answers for one mail; a second worker does the others.

    :param timeout: the mailer's, in seconds.
    """
    report, hanging, emails = Report(), "hanging@example.com", addresses(mails)
    (folder / "well").mkdir()
    with PostOffice(folder, Manners(hang=(hanging,))) as office, PostOffice(folder / "well") as well:
        job = Job(url, office.port, timeout=timeout)
        with build(url, config=settings(job), clock=None) as host:
            queue(host, [hanging])
            queue(host, emails)
            with Workers(2, job):
                _while_it_hangs(report, host, hanging, mails)
                ended = wait(lambda: delivery_to(host, hanging).state == DeliveryState.QUEUED, timeout + 10)
            report.promise(ended, "the hanging mail was not given back")
            report.tell(f"then: {delivery_to(host, hanging).last_error}")
            with override(host.app, mailer=well.mailer(), clock=lambda: utcnow() + HOUR):
                _deliver(host)
            report.promise(states(host) == {DeliveryState.SENT: mails + 1}, f"rows are {dict(states(host))}")
            report.promise([mail.to for mail in well.mails()] == [hanging], "the hanging mail did not arrive")
    return report


def _while_it_hangs(report: Report, host: Host, hanging: str, others: int) -> None:
    """One worker waits for the mail server; what of the database does it keep, and what does the other do?"""

    def hangs() -> bool:
        return bool(delivery_to(host, hanging).state == DeliveryState.SENDING)

    began = time.monotonic()
    wait(lambda: states(host)[DeliveryState.SENT] == others, 60)
    took = time.monotonic() - began
    report.promise(wait(hangs, 20), "no worker took the hanging mail")
    held = _held(host)
    report.tell(f"{states(host)['sent']} others sent in {took:.1f} s meanwhile", f"{len(held)} transactions open")
    report.promise(not held, f"transactions stay open: {held}")
    report.promise(hangs(), "the mail no longer hung when the others were done")


#: Of the present database: which transactions there are, each with the moment when it began.
_TRANSACTIONS = {
    "postgresql": "SELECT pid, xact_start, state FROM pg_stat_activity WHERE datname = current_database()"
    " AND xact_start IS NOT NULL AND pid <> pg_backend_pid()",
    "mysql": "SELECT trx_id, trx_started, trx_state FROM information_schema.innodb_trx"
    " JOIN information_schema.processlist p ON p.id = trx_mysql_thread_id WHERE p.db = database()"
    " AND p.id <> connection_id()",
}


def _held(host: Host) -> set[str]:
    """The transactions that stay open for longer than a worker's look at the outbox takes."""
    dialect = host.engine.dialect.name
    if dialect == "sqlite":
        return _held_in_file(host.engine.url.database or "")
    looks = []
    with host.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for _ in range(3):
            looks.append({str(row) for row in connection.exec_driver_sql(_TRANSACTIONS[dialect])})
            time.sleep(0.15)
    return set.intersection(*looks)


def _held_in_file(path: str) -> set[str]:
    with closing(sqlite3.connect(path, timeout=0.5)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            return {str(error)}
    return set()


# Poison


class HookFails(Exception):
    """What a host's hook raises for one tenant."""


def poison(url: str, folder: Path, *, mails: int, batch: int) -> Report:
    """One recipient whom the server refuses, and one mail for which a hook raises, among ``mails`` in all."""
    report, refused, hooked = Report(), "refused@example.com", "hooked@example.com"
    emails = addresses(mails - 1)
    with (
        PostOffice(folder, Manners(refuse=(refused,))) as office,
        build(url, config={"INVITATIONS_DELIVERY": "queue"}, mailer=office.mailer()) as host,
    ):
        queue(host, [*emails[: mails // 2], refused])
        queue(host, [hooked], tenant="Poison")
        queue(host, emails[mails // 2 :])
        with override(host.app, tenant_name=_fails_for(host.tenant("Poison"))):
            _deliver(host, batch)
            _judge_poison(report, host, office, emails)
            bad = delivery_to(host, refused)
            report.tell(f"the refused one: {bad.state} after {bad.attempts} try ({bad.last_error})")
            report.promise((bad.state, bad.attempts) == (DeliveryState.FAILED, 1), "the refused one was not given up")
            _exhaust(report, host, hooked)
    return report


def _fails_for(poisoned: Any) -> Any:
    def tenant_name(tenant_id: Any) -> str:
        if tenant_id == poisoned:
            raise HookFails
        return "Acme"

    return tenant_name


def _judge_poison(report: Report, host: Host, office: PostOffice, emails: list[str]) -> None:
    arrived = sorted(mail.to for mail in office.mails())
    report.tell(f"{len(arrived)} of {len(emails) + 1} arrived, beside one whose hook raises")
    report.promise(arrived == sorted(emails), f"{len(set(emails) - set(arrived))} mails did not arrive")
    report.promise(states(host)["sent"] == len(emails), f"rows are {dict(states(host))}")


def _exhaust(report: Report, host: Host, hooked: str) -> None:
    """The other one is tried again and again, then given up."""
    first = delivery_to(host, hooked)
    report.promise((first.state, first.attempts) == (DeliveryState.QUEUED, 1), f"the hook's mail is {first.state}")
    for _ in range(20):
        host.clock.tick(4.5 * HOUR)  # the longest wait is 4.3 h, and ten of them are less than its 48 h
        _deliver(host)
    last = delivery_to(host, hooked)
    report.tell(f"the hook's: {last.state} after {last.attempts} tries ({last.last_error})")
    report.promise(last.state == DeliveryState.FAILED, f"the hook's mail is {last.state}")
