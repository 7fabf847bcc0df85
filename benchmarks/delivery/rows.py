"""Mails to send, what became of their rows, and whether what arrived is what was promised."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from flask_invitations import DeliveryState
from flask_invitations.testing import token_in
from tests.hosts import Host

from .postoffice import Mail
from .report import Report

OPEN = (DeliveryState.QUEUED, DeliveryState.SENDING)


def addresses(count: int) -> list[str]:
    return [f"guest{number}@example.com" for number in range(count)]


def queue(host: Host, emails: Iterable[str], tenant: str = "Acme") -> None:
    """Invite all these, in one transaction."""
    tenant_id = host.tenant(tenant)
    with host.app.app_context(), host.invitations.unit():
        for email in emails:
            host.invitations.invite(email, tenant_id=tenant_id)


def states(host: Host) -> Counter[str]:
    """How many mails are in which state."""
    mail = host.invitations.models.Delivery
    with host.engine.connect() as connection:
        found = connection.execute(sa.select(mail.state, sa.func.count(mail.id)).group_by(mail.state)).all()
    return Counter({row[0]: row[1] for row in found})


def unfinished(host: Host) -> int:
    """How many mails a worker still has to do with."""
    found = states(host)
    return sum(found[state] for state in OPEN)


def delivery_to(host: Host, email: str) -> Any:
    """The row of the mail to ``email``."""
    (invitation,) = host.rows(host.invitations.models.Invitation, email=email)
    (mail,) = host.rows(host.invitations.models.Delivery, invitation_id=invitation.id)
    return mail


def wait(until: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    """Whether ``until`` came true in time."""
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def judge(report: Report, host: Host, mails: Sequence[Mail], emails: Sequence[str], *, copies: int) -> None:
    """Every mail arrived, at most ``copies`` twice; all copies are one, with the link that opens."""
    arrived = {mail.to for mail in mails}
    duplicates = len(mails) - len(arrived)
    tries = sum(row.attempts for row in host.rows(host.invitations.models.Delivery))
    report.tell(f"{len(arrived):,} arrived in {tries:,} tries", f"{duplicates} duplicates")
    report.promise(arrived == set(emails), f"{len(set(emails) - arrived)} mails are lost")
    report.promise(duplicates <= copies, f"{duplicates} duplicates where at most {copies} may be")
    report.promise(len(set(mails)) == len(arrived), "copies differ in link or Message-ID")
    opens = {row.email: row.token_hash for row in host.rows(host.invitations.models.Invitation)}
    dead = [mail for mail in mails if hashlib.sha256(token_in(mail.link).encode()).hexdigest() != opens[mail.to]]
    report.promise(not dead, f"{len(dead)} links open nothing")
    left = states(host)
    report.promise(left == {DeliveryState.SENT: len(emails)}, f"rows are {dict(left)}")
