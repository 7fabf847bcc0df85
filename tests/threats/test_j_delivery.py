"""Emails that were lost, sent twice, or stuck for ever."""

from __future__ import annotations

import smtplib
import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flask_invitations.current import override
from tests.hosts import Host
from tests.http.tools import INVITE, LIST, accept, invite, people, refused, set_columns
from tests.queued import deliver, mails, states, waiting

MINUTE = timedelta(minutes=1)
LEASE = 3 * MINUTE


def test_a_mail_server_that_is_down_loses_nothing(host: Host) -> None:
    """J1: the invitation stands and does not say that its email was sent; inviting again names it instead of hiding it;
    the email leaves when the server is back, with a link that opens."""
    _, admin, *_ = people(host)
    host.outbox.fail_with = smtplib.SMTPServerDisconnected("down")
    made = invite(host.client(admin))
    assert made["delivery"]["state"] == "queued"
    assert made["delivery"]["error"] == "SMTPServerDisconnected"
    answer = host.client(admin).post(INVITE, json={"email": "guest@example.com"})
    refused(answer, 409, "already-invited", invitation_id=made["id"])
    host.outbox.fail_with = None
    host.clock.tick(MINUTE)
    assert deliver(host) == {"sent": 1}
    assert accept(host.client(), host.outbox.token_to("guest@example.com")).status_code == 201


def test_a_slow_batch_is_not_sent_by_another_worker_too(queued: Host) -> None:
    """J2: what one worker has in hand, a second one that comes meanwhile leaves alone, however slow the first is; and
    where the first outlived its lease, what the second has sent is not overwritten."""
    waiting(queued, 6)
    second: list[dict[str, int]] = []

    def slow(message: Any) -> None:
        queued.outbox(message)
        if len(queued.outbox.messages) == 2:
            with override(queued.app, mailer=queued.outbox):
                second.append(deliver(queued))

    with override(queued.app, mailer=slow):
        assert deliver(queued, batch=6) == {"sent": 6}
    assert second == [{}]
    assert len(queued.outbox.messages) == len({message.to for message in queued.outbox.messages}) == 6
    assert states(queued) == {"sent": 6}


def test_a_dead_worker_leaves_nothing_in_hand_for_ever(queued: Host) -> None:
    """J3: rows that a worker had in hand when it died are taken up when its lease is over, not before; those over which
    every allowed try died end as failed, which everybody can see."""
    waiting(queued, 3)
    dead = {"state": "sending", "next_attempt_at": None, "leased_until": queued.clock() + LEASE, "fence": uuid.uuid4()}
    first, second, third = mails(queued)
    for row, attempts in ((first, 1), (second, 1), (third, 10)):
        set_columns(queued, type(row), row.id, **dead, attempts=attempts)
    assert deliver(queued) == {}
    queued.clock.tick(LEASE)
    assert deliver(queued) == {"sent": 2, "failed": 1}
    assert {row.last_error for row in mails(queued, state="failed")} == {"WorkerLost"}


@pytest.mark.parametrize(
    "values",
    [
        {"state": "queued", "next_attempt_at": None},
        {"state": "sending", "next_attempt_at": None, "leased_until": None},
        {"state": "strange", "next_attempt_at": None},
    ],
    ids=lambda values: values["state"],
)
def test_no_row_waits_for_nothing(queued: Host, values: dict[str, Any]) -> None:
    """J4: the database takes no row that no worker would ever find: one that waits has the time at which it is due."""
    waiting(queued, 1)
    table = queued.invitations.models.Delivery.__table__
    with pytest.raises(DBAPIError), queued.engine.begin() as connection:
        connection.execute(sa.update(table).values(**values))
    assert deliver(queued) == {"sent": 1}


def test_one_bad_recipient_stops_nobody_else(queued: Host) -> None:
    """J5: a recipient whom the server refuses, and an email that cannot even be built, keep no other from leaving."""
    waiting(queued, 8)

    def mailer(message: Any) -> None:
        if message.to == "p2@example.com":
            raise smtplib.SMTPRecipientsRefused({message.to: (550, b"5.1.1 no such user")})
        if message.to == "p3@example.com":
            raise UnicodeError("a header that cannot be written")
        queued.outbox(message)

    with override(queued.app, mailer=mailer):
        assert deliver(queued, batch=8) == {"sent": 6, "failed": 1, "queued": 1}
    assert {message.to for message in queued.outbox.messages} == {
        f"p{number}@example.com" for number in (0, 1, 4, 5, 6, 7)
    }


@pytest.mark.parametrize("broker", ["down", "loses it"])
def test_the_queue_is_only_a_bell(queued: Host, broker: str) -> None:
    """J6: the email stands in the database in the invitation's own transaction. A broker that is down or loses its
    message loses no email; and nobody is woken, or emailed, for what was rolled back."""
    tenant, admin, *_ = people(queued)
    rung: list[Any] = []

    def enqueue(delivery_id: Any) -> None:
        rung.append(delivery_id)
        if broker == "down":
            raise ConnectionError("broker")

    with override(queued.app, enqueue=enqueue):
        made = invite(queued.client(admin))
        with queued.app.app_context(), pytest.raises(LookupError):
            _undone(queued, tenant)
    assert len(rung) == 1
    assert queued.client(admin).get(f"{LIST}/{made['id']}").get_json()["delivery"]["state"] == "queued"
    queued.clock.tick(timedelta(seconds=1))
    assert deliver(queued) == {"sent": 1}
    assert [message.to for message in queued.outbox.messages] == ["guest@example.com"]


def _undone(host: Host, tenant: Any) -> None:
    with host.invitations.unit():
        host.invitations.invite("undone@example.com", tenant_id=tenant)
        raise LookupError
