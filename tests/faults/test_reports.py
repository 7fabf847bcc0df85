"""What a provider reports, and when: before our own worker has written anything down, and of whoever wants no more."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from flask_invitations.acts.report import EVENTS
from flask_invitations.clock import as_utc
from flask_invitations.current import override
from tests.faults.outage import templates
from tests.hosts import Host, build
from tests.http.tools import DECLINE, LIST, invite, people
from tests.queued import deliver, mails

pytestmark = pytest.mark.in_turn

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
TELLING = [event for event, state in EVENTS.items() if state is not None]


@pytest.fixture
def queued(database_url: str) -> Iterator[Host]:
    """A host whose emails a worker sends, and which tells invitees of a revocation."""
    config = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_NOTIFY_REVOKED": True}
    with build(database_url, config={**config, "INVITATIONS_REMIND_BEFORE": 3600 * 24}) as built:
        yield built


def report(host: Host, message_id: Any, event: str) -> bool:
    with host.app.app_context():
        return host.invitations.record_delivery(message_id, event)


# Any order


@pytest.mark.parametrize("delivery", ["queue", "inline"])
def test_a_report_may_come_first(database_url: str, delivery: str) -> None:
    """E6: a report that comes before the worker has written down that the email was sent leaves the same row and the
    same audit trail as one that comes after."""
    with build(database_url, config={"INVITATIONS_DELIVERY": delivery}) as host:
        _, admin, *_ = people(host)
        for event in TELLING:
            assert fares(host, admin, event, early=True) == fares(host, admin, event, early=False)


def fares(host: Host, admin: Any, event: str, *, early: bool) -> tuple[Any, ...]:
    """What becomes of an email of which the provider reports ``event``."""
    start, email = host.clock(), f"{event}-{early}@example.com"

    def mailer(message: Any) -> None:
        if early:
            assert report(host, message.id, event)
        host.clock.tick(SECOND)

    with override(host.app, mailer=mailer):
        made = invite(host.client(admin), email)
        deliver(host)
    (row,) = mails(host, invitation_id=uuid.UUID(made["id"]))
    assert row.sent_at is not None
    assert early or report(host, row.id, event)
    host.clock.tick(DAY)
    assert deliver(host) == {}
    (row,) = mails(host, invitation_id=uuid.UUID(made["id"]))
    told = host.rows(host.invitations.models.InvitationEvent, invitation_id=row.invitation_id)
    kinds = sorted(each.type for each in told)
    assert "sent" in kinds
    return row.state, as_utc(row.sent_at) - start, row.last_error, row.attempts, kinds


@pytest.mark.parametrize("event", ["failed", "rejected"])
def test_what_was_never_sent_has_no_time(queued: Host, event: str) -> None:
    """E6: a provider that says it never sent an email does not tell when it did; such an invitee is told of no
    revocation."""
    _, admin, *_ = people(queued)
    made = invite(queued.client(admin), "guest@example.com")

    def dies(message: Any) -> None:
        report(queued, message.id, event)
        raise OSError

    with override(queued.app, mailer=dies):
        deliver(queued)
    (row,) = mails(queued)
    assert (row.state, row.sent_at) == (EVENTS[event], None)
    assert queued.client(admin).delete(f"{LIST}/{made['id']}").status_code == 204
    assert len(mails(queued)) == 1


def test_a_failure_does_not_undo_a_report(queued: Host) -> None:
    """E6: where our own try timed out, and the provider says that the email was delivered, it was."""
    _, admin, *_ = people(queued)
    invite(queued.client(admin), "guest@example.com")

    def times_out(message: Any) -> None:
        report(queued, message.id, "delivered")
        raise TimeoutError

    with override(queued.app, mailer=times_out):
        deliver(queued)
    queued.clock.tick(DAY)
    assert deliver(queued) == {}
    assert [row.state for row in mails(queued)] == ["delivered"]


# Whoever wants no more


def sent(host: Host) -> tuple[Any, str, Any]:
    """An invitation whose email has left: its admin, its id, and that email's."""
    _, admin, *_ = people(host)
    made = invite(host.client(admin), "guest@example.com", expires_in=3 * 86400)
    deliver(host)
    host.clock.tick(MINUTE)
    return admin, made["id"], mails(host)[0].id


def nothing_more(host: Host) -> None:
    """Nothing more has left, nothing is left to send; what there was says why."""
    host.clock.tick(MINUTE)
    deliver(host)
    assert len(host.outbox.messages) == 1
    later = mails(host)[1:]
    assert {(row.state, row.last_error) for row in later} <= {("cancelled", "mail-bounced")}


@pytest.mark.parametrize("event", ["bounced", "complained", "unsubscribed"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_no_notice_of_a_revocation(queued: Host, event: str, when: str) -> None:
    """E6: who complained, or whose mailbox is not there, is not told of a revocation, whichever came first."""
    admin, invitation_id, mail_id = sent(queued)
    acts: list[Callable[[], Any]] = [
        lambda: queued.client(admin).delete(f"{LIST}/{invitation_id}"),
        lambda: report(queued, mail_id, event),
    ]
    for act in reversed(acts) if when == "before" else acts:
        act()
    nothing_more(queued)


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_no_reminder(queued: Host, elsewhere: bool, when: str) -> None:
    """E6: nor reminded; nor where it was another invitation of that address that came back."""
    admin, invitation_id, mail_id = sent(queued)
    if elsewhere:
        assert queued.client(admin).delete(f"{LIST}/{invitation_id}").status_code == 204
        deliver(queued)
        queued.outbox.clear()
        invite(queued.client(admin), "Guest@example.com", expires_in=3 * 86400)
        deliver(queued)
    queued.clock.tick(2 * DAY + MINUTE)
    acts: list[Callable[[], Any]] = [lambda: sweep(queued), lambda: report(queued, mail_id, "complained")]
    for act in reversed(acts) if when == "before" else acts:
        act()
    before = len(queued.outbox.messages)
    deliver(queued)
    if not elsewhere or when == "after":  # a later email that left says that the address is well again
        assert len(queued.outbox.messages) == before


def sweep(host: Host) -> None:
    with host.app.app_context():
        host.invitations.sweep()


def test_what_waits_is_stopped(queued: Host) -> None:
    """E6: an email that waits for its next try when a complaint about an earlier one comes is not sent, and one that a
    manager confirms afterwards is; another tenant's, and a namesake's, are left alone."""
    admin, invitation_id, mail_id = sent(queued)
    elsewhere = queued.user("admin@other.example", "admin", queued.tenant("Elsewhere"))
    assert queued.client(admin).post(f"{LIST}/{invitation_id}/resend").status_code == 200
    invite(queued.client(elsewhere), "guest@example.com")
    invite(queued.client(admin), "other@example.com")
    report(queued, mail_id, "complained")
    assert [row.state for row in mails(queued)] == ["complained", "cancelled", "queued", "queued"]
    deliver(queued)
    assert [message.to for message in queued.outbox.messages[1:]] == ["guest@example.com", "other@example.com"]
    again = queued.client(admin).post(f"{LIST}/{invitation_id}/resend", json={"confirm": True})
    assert again.status_code == 200
    assert deliver(queued) == {"sent": 1}


def test_what_is_in_hand_is_stopped(queued: Host) -> None:
    """E6: so is one of a batch that a worker has in hand; one that the mailer has already is written down as sent."""
    admin, invitation_id, mail_id = sent(queued)
    assert queued.client(admin).post(f"{LIST}/{invitation_id}/resend").status_code == 200
    ctx = queued.app.extensions["invitations"].ctx

    def render(*what: Any, **words: Any) -> str:
        report(queued, mail_id, "complained")
        return str(ctx.template(*what).render(**words))

    with override(queued.app, template=templates(render)):
        assert deliver(queued) == {}
    assert [row.state for row in mails(queued)] == ["complained", "cancelled"]
    queued.client(admin).post(f"{LIST}/{invitation_id}/resend", json={"confirm": True})

    def mailer(message: Any) -> None:
        report(queued, mails(queued)[0].id, "bounced")
        report(queued, mail_id, "complained")
        queued.outbox(message)
        with queued.app.app_context():
            ctx.unit.run(lambda: ctx.store.mails.stop([row], "mail-bounced"))

    (row,) = queued.rows(queued.invitations.models.Invitation)
    with override(queued.app, mailer=mailer):
        deliver(queued)
    last = mails(queued)[-1]
    assert (last.state, last.last_error, last.sent_at is None) == ("sent", None, False)


@contextmanager
def declined(database_url: str) -> Iterator[tuple[Host, Any]]:
    """A host where an invitation was sent and declined, and the notice to its inviter waits; the id of that admin."""
    config = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_NOTIFY_INVITER": True}
    with build(database_url, config=config) as host:
        _, admin, *_ = people(host)
        invite(host.client(admin), "guest@example.com")
        deliver(host)
        token = host.outbox.token_to("guest@example.com")
        assert host.client().post(DECLINE, json={"token": token}).status_code == 200
        yield host, admin


def test_a_complaint_stops_nothing_to_the_inviter(database_url: str) -> None:
    """E6: the notice to the inviter that waits when the invitee complains is sent all the same."""
    with declined(database_url) as (host, _):
        report(host, mails(host)[0].id, "complained")
        assert deliver(host) == {"sent": 1}
        assert host.outbox.messages[-1].kind == "declined"


def test_a_bounce_at_the_inviter_says_nothing_of_the_invitee(database_url: str) -> None:
    """E6: a notice to the inviter that comes back stops no email to the invitee."""
    with declined(database_url) as (host, admin):
        deliver(host)
        notice = mails(host)[-1]
        assert notice.kind == "declined"
        host.clock.tick(MINUTE)
        invite(host.client(admin), "guest@example.com")
        report(host, notice.id, "bounced")
        assert deliver(host) == {"sent": 1}
