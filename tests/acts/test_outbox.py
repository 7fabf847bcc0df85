"""The outbox: who takes up a row and when, what is given up, what is put back, and what may not be sent any more."""

from __future__ import annotations

import itertools
import smtplib
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flask_invitations import DeliveryState, MailRefused, outbox
from flask_invitations.current import override
from tests.hosts import Host, build
from tests.http.tools import LIST, accept, invite, make, people, set_columns
from tests.queued import deliver, mails, waiting

MINUTE = timedelta(minutes=1)
LEASE = 3 * MINUTE


# Every (state, time)

TIMES = (None, timedelta(seconds=-1), timedelta(0), timedelta(microseconds=1), timedelta(hours=6))


def test_every_row_is_final_or_taken_up_by_one_rule(queued: Host) -> None:
    """R12, J3, J4: of every state with every pair of times the database refuses those that wait for nothing; each of
    the others is final, or is taken up by exactly one rule, at once or later."""
    waiting(queued, 1)
    now, table = queued.clock(), queued.invitations.models.Delivery.__table__
    (row,) = mails(queued)
    columns = {column.key: getattr(row, column.key) for column in table.columns}
    kept: list[tuple[uuid.UUID, DeliveryState]] = []
    for number, (state, due, lease) in enumerate(itertools.product(DeliveryState, TIMES, TIMES), 1):
        values = {"state": state, "next_attempt_at": _at(now, due), "leased_until": _at(now, lease)}
        one = {**columns, **values, "id": uuid.UUID(int=row.id.int + number)}
        legal = (state == "queued") == (due is not None) and (state == "sending") == (lease is not None)
        if _insert(queued, table, one):
            assert legal, values
            kept.append((one["id"], state))
        else:
            assert not legal, values
    assert len(kept) == 2 * (len(TIMES) - 1) + len(DeliveryState) - 2
    for later in (timedelta(0), timedelta(hours=6)):
        rules = _rules(queued, now + later)
        for key, state in kept:
            found = next(each for each in mails(queued) if each.id == key)
            moment = found.next_attempt_at or found.leased_until
            expected = 0 if moment is None or _aware(moment) > now + later else 1
            assert sum(key in rule for rule in rules) == expected, (state, moment)
            if later:
                assert expected == (state in ("queued", "sending"))


def _at(now: datetime, span: timedelta | None) -> datetime | None:
    return None if span is None else now + span


def _aware(moment: datetime) -> datetime:
    from flask_invitations.clock import as_utc

    return as_utc(moment)


def _insert(host: Host, table: sa.Table, values: dict[str, Any]) -> bool:
    try:
        with host.engine.begin() as connection:
            connection.execute(sa.insert(table), values)
    except (IntegrityError, sa.exc.OperationalError):  # MariaDB calls a violated CHECK operational
        return False
    return True


def _rules(host: Host, now: datetime) -> list[set[uuid.UUID]]:
    """What each rule would take up at ``now``, by the conditions that the worker's own statements have."""
    with host.app.app_context():
        store = host.app.extensions["invitations"].ctx.store
        mail = store.models.Delivery
        return [set(host.db.session.scalars(sa.select(mail.id).where(rule))) for rule in store.mails.due(now)]


@pytest.mark.parametrize("batch", [1, 7])
def test_a_worker_takes_the_due_and_only_those(queued: Host, batch: int) -> None:
    """A worker takes what is due, at the very moment too, and leaves what is not."""
    waiting(queued, 20)
    model, now = queued.invitations.models.Delivery, queued.clock()
    ids = [row.id for row in mails(queued)]
    for key in ids[:5]:
        set_columns(queued, model, key, next_attempt_at=now + timedelta(microseconds=1))
    for key in ids[5:10]:
        set_columns(queued, model, key, next_attempt_at=now)
    set_columns(queued, model, ids[10], state="sending", next_attempt_at=None, leased_until=now, attempts=1)
    set_columns(
        queued, model, ids[11], state="sending", next_attempt_at=None, leased_until=now + timedelta(microseconds=1)
    )
    assert deliver(queued, batch=batch) == {"sent": 14}
    assert {row.id for row in mails(queued) if row.state != "sent"} == {*ids[:5], ids[11]}


# Giving up


class Refused(Exception):
    """A provider's library says so."""


def refusing(error: Exception) -> Any:
    def mailer(_message: Any) -> None:
        raise error

    return mailer


def caused() -> MailRefused:
    error = MailRefused("p0@example.com is on the suppression list")
    error.__cause__ = Refused("p0@example.com")
    return error


FINAL = {
    "MailRefused": MailRefused("no such p0@example.com"),
    "Refused": caused(),
    "SMTPRecipientsRefused 550": smtplib.SMTPRecipientsRefused({"p0@example.com": (550, b"p0@example.com unknown")}),
    "SMTPDataError 550 5.1.1": smtplib.SMTPDataError(550, b"5.1.1 no such p0@example.com"),
}


@pytest.mark.in_turn
@pytest.mark.parametrize("name", FINAL)
def test_a_final_refusal_fails_at_once(queued: Host, name: str) -> None:
    """R12: what the mail server or the host's mailer refuses for good is not tried again; of the reason only the class
    and the code are kept, and everybody can see them."""
    admin = waiting(queued, 1)
    with override(queued.app, mailer=refusing(FINAL[name])):
        assert deliver(queued) == {"failed": 1}
    (row,) = mails(queued)
    assert (row.attempts, row.last_error) == (1, name)
    client = queued.client(admin)
    shown: Any = client.get(LIST).json
    (item,) = shown["items"]
    assert (item["delivery"]["state"], item["delivery"]["error"], item["status"]) == ("failed", name, "pending")
    events: Any = client.get(f"{LIST}/{item['id']}/events").json
    told = events["items"][-1]
    assert (told["type"], told["details"]["error"], told["actor_id"]) == ("mail_failed", name, None)
    assert "example.com" not in str(told)
    assert queued.client(admin).post(f"{LIST}/{item['id']}/resend").status_code == 200
    assert deliver(queued) == {"sent": 1}


LATER = [
    smtplib.SMTPRecipientsRefused({"p0@example.com": (450, b"greylisted")}),
    smtplib.SMTPDataError(451, b"later"),
    smtplib.SMTPDataError(554, b"5.6.0 p0@example.com rejected"),
    smtplib.SMTPAuthenticationError(535, b"wrong password"),
    smtplib.SMTPSenderRefused(550, b"not you", "no-reply@example.com"),
    smtplib.SMTPServerDisconnected(),
    TimeoutError(),
]


@pytest.mark.in_turn
@pytest.mark.parametrize("error", LATER, ids=lambda error: type(error).__name__)
def test_what_is_not_about_the_address_is_tried_again(queued: Host, error: Exception) -> None:
    """A server that is busy, down, or does not know *us* gives up no mail: nothing is lost to a changed password."""
    waiting(queued, 1)
    with override(queued.app, mailer=refusing(error)):
        assert deliver(queued) == {"queued": 1}
    queued.clock.tick(MINUTE)
    assert deliver(queued) == {"sent": 1}


@pytest.mark.in_turn
@pytest.mark.parametrize("batch", [1, 50])
def test_poison(queued: Host, batch: int) -> None:
    """R12, J5: of a hundred mails one is refused and one cannot even be looked at, since a hook fails for it: the other
    98 leave, in the same run."""
    waiting(queued, 100)
    second = queued.tenant("Poison")
    tenants = [row.id for row in queued.rows(queued.invitations.models.Invitation)]
    system = {"invited_by_id": None, "inviter_ref": None}  # whom no tenant can lose
    set_columns(queued, queued.invitations.models.Invitation, tenants[40], tenant_id=second, **system)

    def mailer(message: Any) -> None:
        if message.to == "p7@example.com":
            raise MailRefused
        queued.outbox(message)

    def tenant_is_active(tenant_id: Any) -> bool:
        return bool(1 / (tenant_id != second))

    with override(queued.app, mailer=mailer, tenant_is_active=tenant_is_active):
        assert deliver(queued, batch=batch) == {"sent": 98, "failed": 1, "queued": 1}
    (stuck,) = mails(queued, state="queued")
    assert (stuck.last_error, stuck.attempts) == ("ZeroDivisionError", 1)
    queued.clock.tick(MINUTE)
    assert deliver(queued) == {"sent": 1}
    assert len({message.to for message in queued.outbox.messages}) == 99


@pytest.mark.in_turn
def test_retry_failed(queued: Host) -> None:
    """Mails that were given up can be queued again, all at once, and have as many tries as before; those that nobody
    needs any more are cancelled."""
    admin = waiting(queued, 3)
    with override(queued.app, mailer=refusing(MailRefused())):
        assert deliver(queued) == {"failed": 3}
    (revoked, *_) = queued.rows(queued.invitations.models.Invitation)
    assert queued.client(admin).delete(f"{LIST}/{revoked.id}").status_code == 204
    for attempts in (10, 20):
        with queued.app.app_context():
            outbox.retry_failed(queued.app.extensions["invitations"].ctx)
        with override(queued.app, mailer=refusing(TimeoutError())):
            while "queued" in {row.state for row in mails(queued)}:
                deliver(queued)
                queued.clock.tick(timedelta(hours=1))
        assert {row.attempts for row in mails(queued, state="failed")} == {attempts}
    assert sorted(row.state for row in mails(queued)) == ["cancelled", "failed", "failed"]
    with queued.app.app_context():
        assert outbox.retry_failed(queued.app.extensions["invitations"].ctx) == 2
    assert deliver(queued) == {"sent": 2}


# Batches


def test_a_batch_is_written_down_together(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """R23: an email costs 5 statements on PostgreSQL, 6 elsewhere, of which each further one of a batch costs one, the
    last look; another asks whether its address has an account by now."""
    monkeypatch.setattr(outbox.work, "FRESH", timedelta(minutes=1))  # however slow the machine is
    config = {"INVITATIONS_DELIVERY": "queue"}
    with build(database_url, config=config, tenant_is_active=None) as host:
        _, admin, *_ = people(host)
        for number in range(22):
            invite(host.client(admin), f"p{number}@example.com")
        deliver(host, batch=2, stop=stop_after(host, 2))
        counts = []
        for batch in (1, 15):
            with host.statements() as seen:
                assert deliver(host, batch=batch, stop=stop_after(host, batch)) == {"sent": batch}
            counts.append(len(seen))
        each = 2 if host.engine.dialect.name == "sqlite" else 1  # SQLite leases each by an UPDATE of its own
        assert counts[0] == (5 if host.engine.dialect.name == "postgresql" else 6)
        assert counts[1] == counts[0] + 14 * each


def test_a_slow_host_is_not_asked_again_and_again(queued: Host) -> None:
    """R12: where hooks take so long that what they said of a batch is old before it has left, smaller batches are
    taken: what is asked for each email does not grow with the batch."""
    waiting(queued, 30)
    asked: list[Any] = []

    def display_name(user: Any) -> str:
        asked.append(user)
        queued.clock.tick(timedelta(seconds=0.3))
        return "Ann"

    with override(queued.app, display_name=display_name):
        assert deliver(queued, batch=30) == {"sent": 30}
    assert len(asked) < 3 * 30


def stop_after(host: Host, count: int) -> Any:
    """Says stop when so many more mails have left."""
    end = len(host.outbox.messages) + count
    return lambda: len(host.outbox.messages) >= end


def test_a_stopped_worker_puts_back_what_it_did_not_begin(queued: Host) -> None:
    """SIGTERM in the middle of a batch: the mail in hand is finished, the others are due at once for anybody, and none
    of them has lost a try."""
    waiting(queued, 10)
    stopped: list[bool] = []

    def mailer(message: Any) -> None:
        queued.outbox(message)
        stopped.append(len(queued.outbox.messages) == 3)

    with override(queued.app, mailer=mailer):
        assert deliver(queued, batch=10, stop=lambda: any(stopped)) == {"sent": 3}
    rest = mails(queued, state="queued")
    assert [row.attempts for row in rest] == [0] * 7
    assert deliver(queued, batch=10) == {"sent": 7}
    assert len({message.to for message in queued.outbox.messages}) == 10


def test_what_waited_in_a_batch_is_looked_at_again(queued: Host) -> None:
    """B11, R13: a batch that takes longer than a second is put back and looked at anew: what was revoked or resent
    meanwhile is not sent with a dead link."""
    admin = waiting(queued, 6)
    rows = queued.rows(queued.invitations.models.Invitation)
    others: list[Any] = []

    def slow(message: Any) -> None:
        queued.outbox(message)
        if not others:
            others.extend(row for row in rows if row.id != message.invitation.id)
            queued.clock.tick(timedelta(seconds=2))
            assert queued.client(admin).delete(f"{LIST}/{others[0].id}").status_code == 204
            assert queued.client(admin).post(f"{LIST}/{others[1].id}/resend").status_code == 200

    with override(queued.app, mailer=slow):
        ended = deliver(queued, batch=6)
    assert ended == {"sent": 5, "cancelled": 2}
    assert others[0].email not in {message.to for message in queued.outbox.messages}
    assert accept(queued.client(), queued.outbox.token_to(others[1].email)).status_code == 201


def test_a_worker_that_outlived_its_lease_overwrites_nothing(queued: Host) -> None:
    """J2: of a batch whose lease ran out, only what nobody else has taken since is written down."""
    waiting(queued, 3)
    other: dict[str, int] = {}

    def slow(message: Any) -> None:
        queued.outbox(message)
        if len(queued.outbox.messages) == 1:
            queued.clock.tick(LEASE)
            other.update(deliver(queued, batch=2))

    with override(queued.app, mailer=slow):
        deliver(queued, batch=3)
    assert other == {"sent": 3}
    assert {(row.state, row.attempts) for row in mails(queued)} == {("sent", 2)}
    events = queued.rows(queued.invitations.models.InvitationEvent, type="sent")
    assert len(events) == 3


def test_nobody_waits_for_long_behind_others(queued: Host) -> None:
    """R7, J3: a mail whose worker died is taken up within a second after its lease, however many others are waiting."""
    waiting(queued, 20)
    model, now = queued.invitations.models.Delivery, queued.clock()
    (lost, *_) = sorted(row.id for row in mails(queued))
    dead = {"state": "sending", "next_attempt_at": None, "leased_until": now, "attempts": 1}
    set_columns(queued, model, lost, **dead)
    sent: list[uuid.UUID] = []

    def mailer(message: Any) -> None:
        queued.clock.tick(timedelta(milliseconds=400))
        sent.append(message.id)

    with override(queued.app, mailer=mailer):
        assert deliver(queued) == {"sent": 20}
    assert sent.index(lost) == 3


def test_two_workers_never_meet(queued: Host) -> None:
    """R8: while one worker is claiming, another takes other rows and waits for nothing; SQLite serialises them."""
    waiting(queued, 30)
    if queued.engine.dialect.name == "sqlite":
        return
    with queued.app.app_context():
        ctx = queued.app.extensions["invitations"].ctx
        mine = ctx.store.mails.lease(ctx.now(), ctx.now() + LEASE, 4)  # its transaction stays open
        with queued.app.app_context():
            theirs = ctx.unit.run(lambda: ctx.store.mails.lease(ctx.now(), ctx.now() + LEASE, 100))
        assert (len(mine), len(theirs)) == (4, 26)
        assert not {one.mail.id for one in mine} & {one.mail.id for one in theirs}
        queued.db.session.rollback()


# What is said of it


def test_progress(queued: Host) -> None:
    """Whoever watches is told how many mails have ended since."""
    waiting(queued, 7)
    told: list[int] = []
    deliver(queued, batch=3, progress=told.append)
    assert told == [3, 3, 1]


def test_the_inviters_address_is_shown_only_where_it_is_theirs(host: Host) -> None:
    """K4: an inviter whose address nobody verified is named without it, in mails and on pages; the managers' list has
    it all the same."""
    case = make(host, "pending")
    assert "admin@acme.example" in host.outbox.messages[-1].text
    set_columns(host, host.User, case.admin, email_verified=False, name="Ann Other")
    host.client(case.admin).post(f"{case.url}/resend")
    mail = host.outbox.messages[-1]
    assert "admin@acme.example" not in mail.text + mail.html + mail.subject
    assert "Ann Other" in mail.text
    shown: Any = host.client(case.admin).get(case.url).json
    assert shown["invited_by"]["email"] == "admin@acme.example"
    offer: Any = host.client().post(
        "/api/v1/users/accept-invite/preview", json={"token": host.outbox.token_to(case.email)}
    )
    assert offer.json["invited_by"] == {"email": None}
