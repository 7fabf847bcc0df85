"""The outbox in its first form: inline and queued, mail servers that fail, hang, and come back."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations.current import override
from tests.hosts import Host, build
from tests.http.tools import INVITE, LIST, Case, accept, delete_row, invite, make, people, refused, set_columns

pytestmark = pytest.mark.in_turn

MINUTE = timedelta(minutes=1)
LEASE = 3 * MINUTE


class MailDown(Exception):
    """What a mailer raises; its text is nobody's business."""


def deliver(host: Host, delivery_id: uuid.UUID | None = None) -> dict[str, int]:
    with host.app.app_context():
        return dict(host.invitations.deliver(delivery_id))


def deliveries(host: Host) -> list[Any]:
    rows = host.rows(host.invitations.models.Delivery)
    return sorted(rows, key=lambda row: (row.created_at, row.id))


def states(host: Host) -> list[str]:
    return [row.state for row in deliveries(host)]


# Inline


def test_mailer_fails(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """J1: when the mail server is down the invitation stands, says ``queued`` and the error's class, and a worker later
    sends the very same link."""
    _, admin, *_ = people(host)
    host.outbox.fail_with = MailDown("550 guest@example.com unknown")
    made = invite(host.client(admin), "guest@example.com")
    sent = made["delivery"]
    assert (sent["state"], sent["attempts"], sent["error"], sent["sent_at"]) == ("queued", 1, "MailDown", None)
    assert host.client(admin).get(f"{LIST}/{made['id']}").get_json()["delivery"] == sent
    (before,) = host.rows(host.invitations.models.Invitation)
    assert deliver(host) == {}
    host.outbox.fail_with = None
    host.clock.tick(MINUTE)
    assert deliver(host) == {"sent": 1}
    (after,) = host.rows(host.invitations.models.Invitation)
    assert (after.token_hash, after.previous_token_hash) == (before.token_hash, None)
    assert accept(host.client(), host.outbox.token_to("guest@example.com")).status_code == 201
    shown: Any = host.client(admin).get(f"{LIST}/{made['id']}").json
    assert (shown["delivery"]["state"], shown["delivery"]["attempts"], shown["delivery"]["error"]) == ("sent", 2, None)
    assert "unknown" not in str(deliveries(host)[0].last_error) + caplog.text
    assert "guest@example.com" not in caplog.text


def test_same_mail_on_every_try(host: Host) -> None:
    """The id of the message is the delivery's, stable across tries: an idempotency key; so are link and text."""
    _, admin, *_ = people(host)
    tries: list[Any] = []

    def failing(message: Any) -> None:
        tries.append(message)
        raise MailDown

    with override(host.app, mailer=failing):
        invite(host.client(admin), "guest@example.com")
        host.clock.tick(MINUTE)
        deliver(host)
        host.clock.tick(3 * MINUTE)
        deliver(host)
    assert len(tries) == 3
    assert len({(mail.id, mail.accept_url, mail.text, mail.html, mail.headers["Message-ID"]) for mail in tries}) == 1
    assert tries[0].id == deliveries(host)[0].id


def test_giving_up(host: Host) -> None:
    """R10, R12: tries come 1 minute apart, doubling to 6 hours; after DELIVERY_ATTEMPTS the mail has failed for good,
    and another one is none the worse."""
    _, admin, *_ = people(host)
    host.outbox.fail_with = MailDown()
    made = invite(host.client(admin), "poison@example.com", expires_in=30 * 86400)
    waits = []
    while states(host) == ["queued"]:
        (row,) = deliveries(host)
        waits.append((_aware(row.next_attempt_at) - host.clock()).total_seconds() / 60)
        host.clock.set(_aware(row.next_attempt_at) - timedelta(microseconds=1))
        assert deliver(host) == {}
        host.clock.tick(timedelta(microseconds=1))
        deliver(host)
    assert len(waits) == 9
    for number, wait in enumerate(waits):
        longest = min(2**number, 360)
        assert longest * 0.9 <= wait <= longest
    shown: Any = host.client(admin).get(f"{LIST}/{made['id']}").json
    delivery = shown["delivery"]
    assert (delivery["state"], delivery["attempts"], delivery["error"]) == ("failed", 10, "MailDown")
    assert shown["status"] == "pending"
    host.outbox.fail_with = None
    host.clock.tick(timedelta(days=1))
    assert deliver(host) == {}
    invite(host.client(admin), "fine@example.com")
    assert [message.to for message in host.outbox.messages] == ["fine@example.com"]
    assert host.client(admin).post(f"{LIST}/{made['id']}/resend").status_code == 200
    assert accept(host.client(), host.outbox.token_to("poison@example.com")).status_code == 201


def _aware(moment: Any) -> Any:
    from datetime import timezone

    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


@pytest.mark.parametrize("attempts", [1, 2])
def test_delivery_attempts(database_url: str, attempts: int) -> None:
    """The setting DELIVERY_ATTEMPTS counts the first try too."""
    with build(database_url, config={"INVITATIONS_DELIVERY_ATTEMPTS": attempts}) as host:
        _, admin, *_ = people(host)
        host.outbox.fail_with = MailDown()
        invite(host.client(admin), "guest@example.com")
        for _ in range(attempts - 1):
            assert states(host) == ["queued"]
            host.clock.tick(timedelta(hours=1))
            deliver(host)
        assert states(host) == ["failed"]


def test_the_last_attempt_counts(database_url: str) -> None:
    """The last try that DELIVERY_ATTEMPTS allows is made, and may succeed; a sender that dies in it is not followed by
    another, and the mail has failed."""
    with build(database_url, config={"INVITATIONS_DELIVERY_ATTEMPTS": 2}) as host:
        case = failed_once(host)
        host.clock.tick(MINUTE)
        assert deliver(host) == {"sent": 1}

        host.outbox.fail_with = MailDown()
        invite(host.client(case.admin), "other@example.com")
        host.outbox.fail_with = None
        die(host, attempts=2)
        assert deliver(host) == {}
        host.clock.tick(LEASE)
        assert deliver(host) == {"failed": 1}
        assert states(host) == ["sent", "failed"]
        assert len(host.outbox.messages) == 1


def die(host: Host, attempts: int) -> None:
    """Leave the latest email as somebody does who was killed while sending it."""
    leased = {"state": "sending", "next_attempt_at": None, "leased_until": host.clock() + LEASE, "sent_at": None}
    set_columns(
        host,
        host.invitations.models.Delivery,
        deliveries(host)[-1].id,
        **leased,
        attempts=attempts,
        fence=uuid.uuid4(),
    )


# A worker


def test_queue(queued: Host) -> None:
    """In queue mode nothing is sent in the request; the worker sends once, and only once."""
    _, admin, *_ = people(queued)
    made = invite(queued.client(admin), "guest@example.com")
    assert (made["delivery"]["state"], made["delivery"]["attempts"]) == ("queued", 0)
    assert queued.outbox.messages == []
    assert deliver(queued) == {"sent": 1}
    assert deliver(queued) == {}
    assert len(queued.outbox.messages) == 1
    assert accept(queued.client(), queued.outbox.token_to("guest@example.com")).status_code == 201


def test_enqueue(queued: Host) -> None:
    """After the commit ``enqueue`` gets the id of the delivery and nothing else; with it a worker sends that mail."""
    _, admin, *_ = people(queued)
    given: list[Any] = []

    def enqueue(*arguments: Any) -> None:
        assert len(deliveries(queued)) == len(given) + 1
        given.append(arguments)

    with override(queued.app, enqueue=enqueue):
        invite(queued.client(admin), "one@example.com")
        invite(queued.client(admin), "two@example.com")
        refused(
            queued.client(admin).post(INVITE, json={"email": "two@example.com"}),
            409,
            "already-invited",
            **_named(queued),
        )
    ids = [row.id for row in deliveries(queued)]
    assert given == [(ids[0],), (ids[1],)]
    assert isinstance(given[0][0], uuid.UUID)
    assert deliver(queued, ids[1]) == {"sent": 1}
    assert deliver(queued, ids[1]) == {}
    assert deliver(queued, uuid.uuid4()) == {}
    assert [message.to for message in queued.outbox.messages] == ["two@example.com"]


def _named(host: Host) -> dict[str, str]:
    (row,) = host.rows(host.invitations.models.Invitation, email_key="two@example.com")
    return {"invitation_id": str(row.id)}


def test_enqueue_fails(queued: Host, caplog: pytest.LogCaptureFixture) -> None:
    """J6: a broker that is down costs nothing: the call succeeds, the log tells of it, and a polling worker sends."""
    _, admin, *_ = people(queued)

    def enqueue(_delivery_id: uuid.UUID) -> None:
        raise MailDown("broker")

    with override(queued.app, enqueue=enqueue):
        made = invite(queued.client(admin), "guest@example.com")
    assert made["delivery"]["state"] == "queued"
    assert made["id"] in caplog.text
    assert deliver(queued) == {"sent": 1}


def test_no_wake_up_for_what_was_undone(queued: Host) -> None:
    """J6: a worker is woken after the commit, so never for an invitation that was rolled back."""
    people(queued)
    given: list[Any] = []
    tenant = queued.tenant()

    def undone() -> None:
        with queued.invitations.unit():
            queued.invitations.invite("guest@example.com", tenant_id=tenant)
            raise ValueError("undo")

    with override(queued.app, enqueue=given.append), queued.app.app_context(), pytest.raises(ValueError, match="undo"):
        undone()
    assert given == []


@pytest.mark.parametrize("state", ["revoked", "declined", "accepted", "overdue", "tenant inactive"])
def test_closed_while_queued(queued: Host, state: str) -> None:
    """B11, R9: a mail whose invitation was closed, or whose tenant was deactivated, before a worker came, is cancelled
    and sent to nobody."""
    case = waiting(queued)
    end(case, state)
    queued.outbox.clear()
    queued.clock.tick(timedelta(seconds=1))
    deliver(queued)
    assert queued.outbox.messages == []
    assert states(queued)[-1] == "cancelled"
    shown: Any = queued.client(case.admin).get(case.url).json
    assert shown["delivery"]["state"] == "cancelled"


def waiting(host: Host) -> Case:
    """An invitation whose link is known, and whose second mail waits for a worker."""
    _, admin, plain, stranger = people(host)
    made = invite(host.client(admin), "guest@example.com")
    deliver(host)
    token = host.outbox.token_to("guest@example.com")
    host.clock.tick(timedelta(seconds=1))
    host.client(admin).post(f"{LIST}/{made['id']}/resend", json={"rotate": False})
    assert states(host) == ["sent", "queued"]
    return Case(host, admin, plain, stranger, host.tenant(), "guest@example.com", made["id"], token)


def end(case: Case, state: str) -> None:
    from tests.http.tools import STATES

    STATES[state](case)


def test_tenant_deleted_while_queued(queued: Host) -> None:
    """R9: with its tenant a waiting mail is gone, and the worker goes on."""
    case = waiting(queued)
    delete_row(queued, queued.Tenant, case.tenant)
    assert deliver(queued) == {}
    assert states(queued) == []


def test_tenant_inactive_while_inline_retry(host: Host) -> None:
    """B11, R9: the same for the second try of a mail that failed at first."""
    case = failed_once(host)
    set_columns(host, host.Tenant, case.tenant, active=False)
    host.clock.tick(MINUTE)
    assert deliver(host) == {"cancelled": 1}
    assert host.outbox.messages == []


def failed_once(host: Host) -> Case:
    tenant, admin, plain, stranger = people(host)
    host.outbox.fail_with = MailDown()
    made = invite(host.client(admin), "guest@example.com")
    host.outbox.fail_with = None
    return Case(host, admin, plain, stranger, tenant, "guest@example.com", made["id"], "")


def test_only_the_live_link_arrives(queued: Host) -> None:
    """R13: resent twice before a worker came, one mail leaves, with the link that opens."""
    case = waiting(queued)
    for _ in range(2):
        queued.clock.tick(timedelta(seconds=1))
        queued.client(case.admin).post(f"{case.url}/resend")
    queued.outbox.clear()
    assert deliver(queued) == {"sent": 1}
    assert states(queued) == ["sent", "cancelled", "cancelled", "sent"]
    refused(accept(queued.client(), case.token), 404, "invitation-not-found")
    assert accept(queued.client(), queued.outbox.token_to(case.email)).status_code == 201


def test_resent_twice_in_one_transaction(host: Host) -> None:
    """R13: resent twice inside of the host's own transaction, the one mail that leaves has the link that opens."""
    case = make(host, "pending")
    host.outbox.clear()
    with host.app.app_context(), host.invitations.unit():
        for _ in range(2):
            host.clock.tick(timedelta(seconds=1))
            host.invitations.resend(uuid.UUID(case.id))
    assert len(host.outbox.messages) == 1
    assert states(host) == ["sent", "cancelled", "sent"]
    assert accept(host.client(), host.outbox.token_to(case.email)).status_code == 201


def test_revoke_cancels_a_failed_try(host: Host) -> None:
    """B11: revoking while a mail waits for its next try stops it at once."""
    case = failed_once(host)
    assert host.client(case.admin).delete(case.url).status_code == 204
    assert states(host) == ["cancelled"]
    host.clock.tick(timedelta(hours=1))
    assert deliver(host) == {}
    assert host.outbox.messages == []


def test_abandoned_lease(host: Host) -> None:
    """J3: a mail whose sender died is sent by the worker when its lease is over, not before."""
    failed_once(host)
    die(host, attempts=1)
    assert deliver(host) == {}
    host.clock.tick(LEASE - timedelta(microseconds=1))
    assert deliver(host) == {}
    host.clock.tick(timedelta(microseconds=1))
    assert deliver(host) == {"sent": 1}
    assert deliveries(host)[0].attempts == 2
    assert accept(host.client(), host.outbox.token_to("guest@example.com")).status_code == 201


def test_late_worker_completes_nothing(host: Host) -> None:
    """J2: a sender that outlived its lease does not overwrite what the next one did."""
    _, admin, *_ = people(host)

    def slow(message: Any) -> None:
        host.clock.tick(LEASE)
        with override(host.app, mailer=host.outbox):
            assert deliver(host) == {"sent": 1}
        raise MailDown

    with override(host.app, mailer=slow):
        invite(host.client(admin), "guest@example.com")
    (row,) = deliveries(host)
    assert (row.state, row.attempts, row.last_error) == ("sent", 2, None)


def test_one_bad_mail_blocks_no_other(queued: Host) -> None:
    """J5: a mail that cannot even be rendered is one failed try among others that leave."""
    _, admin, *_ = people(queued)
    for number in range(5):
        invite(queued.client(admin), f"p{number}@example.com")

    def mailer(message: Any) -> None:
        if message.to == "p2@example.com":
            raise UnicodeError("bad header")
        queued.outbox(message)

    with override(queued.app, mailer=mailer):
        assert deliver(queued) == {"sent": 4, "queued": 1}
    assert {message.to for message in queued.outbox.messages} == {f"p{number}@example.com" for number in (0, 1, 3, 4)}


def test_key_is_gone(database_url: str) -> None:
    """Where no key gives the stored hash any more, a retried mail carries a new link that opens; the old one, which
    nobody got, is known as replaced."""
    with build(database_url) as host:
        failed_once(host)
        from flask_invitations.tokens import Mint

        with override(host.app, mint=Mint(["another key"])):
            host.clock.tick(MINUTE)
            assert deliver(host) == {"sent": 1}
        assert accept(host.client(), host.outbox.token_to("guest@example.com")).status_code == 201


def test_fallback_key(database_url: str) -> None:
    """I5: after a rotation of SECRET_KEY a retried mail carries the same link, found by a fallback key."""
    with build(database_url) as host:
        failed_once(host)
        from flask_invitations.tokens import Mint

        (before,) = host.rows(host.invitations.models.Invitation)
        with override(host.app, mint=Mint(["the new key", "older", host.app.config["SECRET_KEY"]])):
            host.clock.tick(MINUTE)
            assert deliver(host) == {"sent": 1}
        (after,) = host.rows(host.invitations.models.Invitation)
        assert before.token_hash == after.token_hash
        assert accept(host.client(), host.outbox.token_to("guest@example.com")).status_code == 201


OPEN_TRANSACTIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND state <> 'idle' AND backend_type = 'client backend'",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p "
    "ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()",
}


@pytest.mark.parametrize("mode", ["inline", "worker"])
def test_hanging_mailer_holds_no_transaction(database_url: str, mode: str) -> None:
    """R11: while a mail server hangs no transaction is open and no row is locked: other mails and calls go on."""
    config = {"INVITATIONS_DELIVERY": "inline" if mode == "inline" else "queue"}
    with build(database_url, config=config) as host:
        _, admin, *_ = people(host)
        entered, leave = threading.Event(), threading.Event()

        def hang(_message: Any) -> None:
            entered.set()
            assert leave.wait(20)

        def work() -> None:
            invite(host.client(admin), "guest@example.com")
            if mode == "worker":
                deliver(host)

        with override(host.app, mailer=hang):
            thread = threading.Thread(target=work)
            thread.start()
            try:
                assert entered.wait(20)
                wait_for(lambda: open_transactions(host) == 0)
                case_id = host.rows(host.invitations.models.Invitation)[0].id
                assert host.client(admin).delete(f"{LIST}/{case_id}").status_code == 204
            finally:
                leave.set()
                thread.join(20)
        assert not thread.is_alive()
        assert states(host) == ["sent"]


def wait_for(condition: Callable[[], bool]) -> None:
    """MariaDB's list of transactions is as old as its last reader, until nobody has read it for 0.1 s."""
    end = time.monotonic() + 2
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.15)


def open_transactions(host: Host) -> int:
    if host.engine.dialect.name == "sqlite":
        engine = sa.create_engine(host.engine.url, connect_args={"timeout": 0})
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
            connection.rollback()
        engine.dispose()
        return 0
    name = "mysql" if host.engine.dialect.name in ("mysql", "mariadb") else "postgresql"
    engine = sa.create_engine(host.engine.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return int(connection.scalar(sa.text(OPEN_TRANSACTIONS[name])) or 0)
