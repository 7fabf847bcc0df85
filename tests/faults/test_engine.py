"""The delivery engine against what it does not control: databases that go away, slow hooks, interruptions."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations import TryAgain, invitation_created, invitation_sent
from flask_invitations.contrib import Jobs
from flask_invitations.current import get_state, override
from flask_invitations.outbox import mails as outbox_mails
from flask_invitations.outbox.outcomes import backoff
from tests.faults.outage import fragile, templates
from tests.faults.rivals import WRITES, is_there
from tests.hosts import Host, build
from tests.http.tools import LIST, invite, people, set_columns
from tests.queued import deliver, mails, states, waiting
from tests.races.proxy import AFTER, Proxy

MINUTE = timedelta(minutes=1)
LEASE = 3 * MINUTE
#: Seconds; longer than a unit of work tries by itself, which is 0.6.
OUTAGE = 1.0


def sent_events(host: Host) -> Counter[Any]:
    """How often the audit trail of each invitation tells that an email was sent."""
    return Counter(row.invitation_id for row in host.rows(host.invitations.models.InvitationEvent, type="sent"))


def once(host: Host, count: int) -> None:
    """So many emails have left, each once, and that is written down once."""
    assert Counter(message.id for message in host.outbox.messages) == Counter(row.id for row in mails(host))
    assert states(host) == {"sent": count}
    assert set(sent_events(host).values()) == {1}
    assert len(sent_events(host)) == count


def after(host: Host, number: int, do: Callable[[Any], None]) -> Any:
    """A mailer that does something right after it has taken email number ``number``."""

    def mailer(message: Any) -> None:
        host.outbox(message)
        if len(host.outbox.messages) == number:
            do(message)

    return mailer


# E1: the database is away


@pytest.mark.in_turn
@pytest.mark.parametrize("at", [1, 3, 5], ids=["first", "amid", "last"])
def test_what_was_sent_is_not_sent_again(database_url: str, at: int) -> None:
    """E1: where the database goes away while a batch is sent, and comes back while the lease holds, every email leaves
    once, and what became of each is written down once."""
    with fragile(database_url) as (host, database):
        waiting(host, 5)
        with override(host.app, mailer=after(host, at, lambda _: database.leave_for(OUTAGE))):
            assert deliver(host, batch=5) == {"sent": 5}
        host.clock.tick(LEASE)
        assert deliver(host, batch=5) == {}
        once(host, 5)


def _reads(host: Host) -> None:
    host.db.session.execute(sa.select(host.Tenant)).all()


def _flushes(host: Host) -> None:
    WRITES["flush"](host, "Left")


def _nests(host: Host) -> None:
    host.db.session.begin_nested()
    _reads(host)


@pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("use", [_reads, _flushes, _nests])
def test_a_mailer_that_uses_the_session(database_url: str, use: Callable[[Host], None], batch: int) -> None:
    """E1: the same where the mailer has left a transaction open, which is lost with the connection."""
    with fragile(database_url) as (host, database):
        waiting(host, 3)

        def leave(_message: Any) -> None:
            use(host)
            database.leave_for(OUTAGE)

        with override(host.app, mailer=after(host, 2, leave)):
            assert deliver(host, batch=batch) == {"sent": 3}
        host.clock.tick(LEASE)
        assert deliver(host, batch=batch) == {}
        once(host, 3)
        assert not is_there(host, "Left")
        pool: Any = host.engine.pool
        assert pool.checkedout() == 0


@pytest.mark.parametrize("batch", [1, 3])
def test_a_listener_that_fails_after_the_mailer(queued: Host, batch: int, caplog: pytest.LogCaptureFixture) -> None:
    """E1: the same where a listener of the host's raises while what the mailer has left is rolled back. The log shows
    where."""
    waiting(queued, 3)

    def fail(_connection: Any) -> None:
        raise ValueError("the listener's own")

    def leave(_message: Any) -> None:
        _reads(queued)
        sa.event.listen(queued.engine, "rollback", fail, once=True)

    with override(queued.app, mailer=after(queued, 2, leave)):
        assert deliver(queued, batch=batch) == {"sent": 3}
    queued.clock.tick(LEASE)
    assert deliver(queued) == {}
    once(queued, 3)
    assert "the mailer left a transaction open, and rolling it back failed" in caplog.text
    assert "the listener's own" in caplog.text
    pool: Any = queued.engine.pool
    assert pool.checkedout() == 0


@pytest.mark.in_turn
def test_claim_by_claim(database_url: str) -> None:
    """E1: the same without batches, for one email by its id, and in a task queue's job."""
    with fragile(database_url) as (host, database):
        waiting(host, 4)
        with override(host.app, mailer=after(host, 1, lambda _: database.leave_for(OUTAGE))):
            assert deliver(host, delivery_id=mails(host)[0].id) == {"sent": 1}
        with override(host.app, mailer=after(host, 2, lambda _: database.leave_for(OUTAGE))):
            Jobs(host.app).deliver(str(mails(host)[1].id))
        with override(host.app, mailer=after(host, 3, lambda _: database.leave_for(OUTAGE))):
            assert deliver(host) == {"sent": 2}
        host.clock.tick(LEASE)
        assert deliver(host) == {}
        once(host, 4)


@pytest.mark.in_turn
def test_a_worker_that_is_told_to_stop_writes_down_first(database_url: str) -> None:
    """E1: told to stop while the database is away, a worker goes on trying to write down what it has sent, and puts
    back what it has not begun."""
    with fragile(database_url) as (host, database):
        waiting(host, 3)
        stopped: list[Any] = []

        def away(message: Any) -> None:
            database.leave_for(OUTAGE)
            stopped.append(message)

        with override(host.app, mailer=after(host, 1, away)):
            assert deliver(host, batch=3, stop=lambda: bool(stopped)) == {"sent": 1}
        assert states(host) == {"sent": 1, "queued": 2}
        assert [row.attempts for row in mails(host, state="queued")] == [0, 0]


@pytest.mark.in_turn
def test_the_lease_bounds_it(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """E1: where the database stays away for longer than the lease, the worker gives up, and the log names what may be
    sent twice; nothing is lost."""
    with fragile(database_url, config={"INVITATIONS_DELIVERY_LEASE": 1}) as (host, database):
        waiting(host, 2)
        began = time.monotonic()
        with override(host.app, mailer=after(host, 1, lambda _: database.leave_for(3))), pytest.raises(TryAgain):
            deliver(host)
        assert time.monotonic() - began < 3
        (cry,) = [record for record in caplog.records if record.levelname == "ERROR" and "twice" in record.message]
        assert str(host.outbox.messages[0].id) in cry.message
        time.sleep(3)
        host.clock.tick(LEASE)
        assert deliver(host) == {"sent": 2}


@pytest.mark.in_turn
def test_inline(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """E1: a request that has sent an email writes that down when the database is back, and waits for it for a few
    seconds only."""
    with fragile(database_url, config={"INVITATIONS_DELIVERY": "inline"}) as (host, database):
        _, admin, *_ = people(host)
        with override(host.app, mailer=after(host, 1, lambda _: database.leave_for(OUTAGE))):
            made = invite(host.client(admin), "guest@example.com")
        assert made["delivery"]["state"] == "sent"
        once(host, 1)
        monkeypatch.setattr(outbox_mails, "PATIENCE", timedelta(seconds=0.5))
        began = time.monotonic()
        with override(host.app, mailer=after(host, 2, lambda _: database.leave_for(4))):
            made = invite(host.client(admin), "other@example.com")
        assert made["delivery"]["state"] == "sending"
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)
def test_an_unknown_commit(database_url: str) -> None:
    """E1: where the connection breaks right behind the COMMIT that wrote outcomes down, they are written down once; the
    batch that was leased by it is free at once, and has lost no try."""
    with Proxy(database_url) as proxy, build(proxy.url, config={"INVITATIONS_DELIVERY": "queue"}) as host:
        waiting(host, 6)
        with override(host.app, mailer=after(host, 3, lambda _: proxy.cut_at_commit(AFTER))):
            assert deliver(host, batch=3) == {"sent": 6}
        assert proxy.calm_down()
        once(host, 6)
        assert {row.attempts for row in mails(host)} == {1}


def test_a_fence_is_used_once(queued: Host) -> None:
    """E1: what one worker writes down late, or for a second time, changes nothing of another's lease, even where
    that is the same attempt."""
    waiting(queued, 1)
    (row,), tenant = mails(queued), queued.tenant()
    with queued.app.app_context():
        ctx = get_state().ctx
        first, second = uuid.uuid4(), uuid.uuid4()

        def lease(mark: uuid.UUID) -> Any:
            return ctx.unit.run(lambda: ctx.store.mails.lease(ctx.now(), ctx.now() + LEASE, 1, mark=mark))

        def put_back() -> None:
            ctx.unit.run(lambda: ctx.store.mails.put_back([row.id], first, [tenant], ctx.now()))

        def settle(mark: uuid.UUID, state: str) -> Any:
            how: Any = {"last_error": None, "next_attempt_at": None, "tried": True}
            how["sent_at"] = ctx.now() if state == "sent" else None
            return list(ctx.unit.run(lambda: ctx.store.mails.settle([row.id], mark, state, [tenant], **how)))

        assert [one.mail.attempts for one in lease(first)] == [1]
        put_back()
        assert settle(first, "sent") == []
        assert [one.mail.attempts for one in lease(second)] == [1]
        put_back()
        assert settle(first, "cancelled") == []
        (now,) = mails(queued)
        assert (now.state, now.fence) == ("sending", second)
        assert settle(second, "failed") == [row.id]
        assert settle(first, "sent") == []
    (now,) = mails(queued)
    assert (now.state, now.sent_at) == ("failed", None)


def test_what_another_has_is_not_ours(queued: Host) -> None:
    """E3: an email that another worker has by now, or that waits again, is neither looked at nor kept by us."""
    waiting(queued, 1)
    (row,), fence, tenant = mails(queued), uuid.uuid4(), queued.tenant()
    with queued.app.app_context():
        ctx = get_state().ctx
        store, later = ctx.store.mails, ctx.now() + LEASE

        def ours(mark: uuid.UUID) -> tuple[bool, bool]:
            return ctx.unit.run(
                lambda: (store.glance(row.id, mark, ["x"]) is not None, store.renew(row.id, mark, later))
            )

        ctx.unit.run(lambda: store.lease(ctx.now(), later, 1, mark=fence))
        assert (ours(fence), ours(uuid.uuid4())) == ((True, True), (False, False))
        ctx.unit.run(lambda: store.put_back([row.id], fence, [tenant], ctx.now()))
        assert ours(fence) == (False, False)


# E3: what happens between the look and the sending


def revoke(host: Host, admin: Any, invitation_id: Any) -> None:
    assert host.client(admin).delete(f"{LIST}/{invitation_id}").status_code == 204


@pytest.mark.parametrize("rotate", [True, False])
def test_each_is_looked_at_right_before(queued: Host, rotate: bool) -> None:
    """E3: in a batch that is sent in no time, what was revoked or resent since it was leased is not sent, also where
    the link is still the same."""
    admin = waiting(queued, 4)
    rows = queued.rows(queued.invitations.models.Invitation)

    def meanwhile(message: Any) -> None:
        gone, again = [row for row in rows if row.id != message.invitation.id][:2]
        revoke(queued, admin, gone.id)
        url = f"{LIST}/{again.id}/resend"
        assert queued.client(admin).post(url, json={"rotate": rotate}).status_code == 200

    with override(queued.app, mailer=after(queued, 1, meanwhile)):
        assert deliver(queued, batch=4) == {"sent": 3, "cancelled": 2}
    assert len({message.to for message in queued.outbox.messages}) == 3


@pytest.mark.in_turn
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("pause", [0, 2, 400])
def test_what_is_done_before_sending(queued: Host, batch: int, pause: float) -> None:
    """E3: an invitation that is revoked while its email is rendered is not sent, however long that takes."""
    admin = waiting(queued, 3)
    ctx, gone = queued.app.extensions["invitations"].ctx, list[Any]()

    def render(*what: Any, **words: Any) -> str:
        if not gone:
            gone.append(words["invitation"].id)
            revoke(queued, admin, gone[0])
            queued.clock.tick(timedelta(seconds=pause))
        return str(ctx.template(*what).render(**words))

    with override(queued.app, template=templates(render)):
        assert deliver(queued, batch=batch) == {"sent": 2, "cancelled": 1}
    assert gone[0] not in {message.invitation.id for message in queued.outbox.messages}


@pytest.mark.parametrize("hook", ["template", "rate_limit"])
def test_a_hook_that_reads(database_url: str, hook: str) -> None:
    """E3: the last look sees what was committed after the host's own template or limiter has read the database: on
    MariaDB the transaction that it read in would not."""
    counts = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_RATELIMIT_RECIPIENT": "9/day"}
    gone: list[Any] = []

    def read_and_revoke(name: str) -> None:
        if name == hook and not gone and states(host)["sending"]:
            assert host.db.session.query(host.Tenant).count()
            gone.append(host.rows(host.invitations.models.Invitation)[0].id)
            with ThreadPoolExecutor() as elsewhere:
                elsewhere.submit(revoke, host, admin, gone[0]).result()

    def render(*what: Any, **words: Any) -> str:
        read_and_revoke("template")
        return str(ctx.template(*what).render(**words))

    def rate_limit(_scope: str, _key: str, _cost: int) -> None:
        read_and_revoke("rate_limit")

    with build(database_url, config=counts, rate_limit=rate_limit) as host:
        admin, ctx = waiting(host, 1), host.app.extensions["invitations"].ctx
        with override(host.app, template=templates(render)):
            assert deliver(host) == {"cancelled": 1}
        assert host.outbox.messages == []
        assert gone


def test_a_clock_that_reads(database_url: str) -> None:
    """E3: nor does it matter that the host's clock reads the database, which leaves a transaction open between one
    email and the next."""
    with build(database_url, config={"INVITATIONS_DELIVERY": "queue"}) as host:
        admin, ctx, gone = waiting(host, 2), host.app.extensions["invitations"].ctx, list[Any]()

        def clock() -> Any:
            assert host.db.session.query(host.Tenant).count()
            return host.clock()

        def render(*what: Any, **words: Any) -> str:
            if host.outbox.messages and not gone:
                gone.append(words["invitation"].id)
                with ThreadPoolExecutor() as elsewhere:
                    elsewhere.submit(revoke, host, admin, gone[0]).result()
            return str(ctx.template(*what).render(**words))

        with override(host.app, template=templates(render), clock=clock):
            assert deliver(host, batch=2) == {"sent": 1, "cancelled": 1}
        assert gone[0] not in {message.invitation.id for message in host.outbox.messages}


def test_a_slow_hook_outlives_the_lease(queued: Host) -> None:
    """E3: what another worker has taken, since a hook took longer than the lease, is left to that."""
    waiting(queued, 3)
    ctx, other = queued.app.extensions["invitations"].ctx, list[Any]()

    def render(*what: Any, **words: Any) -> str:
        if not other:
            queued.clock.tick(2 * LEASE)
            with override(queued.app, template=ctx.template):
                other.append(deliver(queued, batch=3))
        return str(ctx.template(*what).render(**words))

    with override(queued.app, template=templates(render)):
        assert deliver(queued, batch=3) == {}
    assert other == [{"sent": 3}]
    once(queued, 3)


def test_a_lease_is_renewed_right_before(queued: Host) -> None:
    """E3: after a hook that took nearly as long as the lease an email is ours for another lease: nobody else takes it
    while it is sent."""
    waiting(queued, 1)
    ctx, slow, other = queued.app.extensions["invitations"].ctx, list[Any](), list[Any]()

    def render(*what: Any, **words: Any) -> str:
        if not slow:
            slow.append(True)
            queued.clock.tick(LEASE - timedelta(seconds=1))
        return str(ctx.template(*what).render(**words))

    def meanwhile(_message: Any) -> None:
        queued.clock.tick(LEASE / 2)
        other.append(deliver(queued))

    with override(queued.app, template=templates(render), mailer=after(queued, 1, meanwhile)):
        assert deliver(queued) == {"sent": 1}
    assert other == [{}]
    once(queued, 1)


def test_the_rules_are_asked_again_after_a_slow_hook(queued: Host) -> None:
    """E3: an organization that is deactivated while a slow hook runs gets no email, in a batch of one too."""
    waiting(queued, 1)
    ctx, slow = queued.app.extensions["invitations"].ctx, list[Any]()

    def render(*what: Any, **words: Any) -> str:
        if not slow:
            slow.append(True)
            queued.clock.tick(timedelta(seconds=30))
            set_columns(queued, queued.Tenant, queued.tenant(), active=False)
        return str(ctx.template(*what).render(**words))

    with override(queued.app, template=templates(render)):
        assert deliver(queued) == {"cancelled": 1}
    assert [row.last_error for row in mails(queued)] == ["tenant-inactive"]


@pytest.mark.in_turn
@pytest.mark.parametrize("batch", [1, 3])
def test_receivers_take_their_own_time(queued: Host, batch: int) -> None:
    """E3: while receivers of ``invitation_sent`` run, which may take longer than the lease, the worker holds nothing:
    other workers send the rest, once, and what is revoked meanwhile is sent by nobody."""
    admin = waiting(queued, 6)
    heard, others = list[Any](), Counter[str]()

    def receiver(*_: Any, invitation: Any) -> None:
        heard.append(invitation.id)
        if len(heard) == 1:
            assert states(queued)["sending"] == 0
            queued.clock.tick(2 * LEASE)
            left = [row.invitation_id for row in mails(queued, state="queued")]
            revoke(queued, admin, left[0])
            others.update(deliver(queued, batch=2))

    with invitation_sent.connected_to(receiver, sender=queued.app):
        ended = Counter(deliver(queued, batch=batch)) + others
    assert ended == {"sent": 5}
    assert len(set(heard)) == len(heard) == 5
    assert len({message.id for message in queued.outbox.messages}) == len(queued.outbox.messages) == 5
    assert {row.attempts for row in mails(queued, state="sent")} == {1}


def test_inline_is_looked_at_right_before(host: Host) -> None:
    """E3: of several that one transaction has posted, each is looked at before it is sent, and its lease renewed where
    the others took long; an observer that revokes is heard first."""
    tenant, others = host.tenant(), list[Any]()
    made: list[Any] = []

    def meanwhile(_message: Any) -> None:
        host.clock.tick(LEASE - timedelta(seconds=1))
        with host.app.app_context():
            host.invitations.revoke(made[2].id)

    def slow(_message: Any) -> None:
        host.clock.tick(MINUTE)
        others.append(deliver(host))

    def mailer(message: Any) -> None:
        host.outbox(message)
        (meanwhile if len(host.outbox.messages) == 1 else slow)(message)

    def observer(*_: Any, invitation: Any) -> None:
        if invitation.email == "p0@example.com":
            with host.app.app_context():
                host.invitations.revoke(invitation.id)

    with override(host.app, mailer=mailer), host.app.app_context():
        with invitation_created.connected_to(observer, sender=host.app), host.invitations.unit() as unit:
            made += [host.invitations.invite(f"p{number}@example.com", tenant_id=tenant) for number in range(4)]
        told = [unit.result(one).delivery for one in made]
    assert [one and one.state for one in told] == ["cancelled", "sent", "cancelled", "sent"]
    assert others == [{}]
    assert [message.to for message in host.outbox.messages] == ["p1@example.com", "p3@example.com"]


# E5: arithmetic, and exceptions that are none


@pytest.mark.parametrize("attempt", [-1, 0, 1, 9, 10, 43, 50, 1100, 2**31])
def test_no_number_of_attempts_is_too_large(attempt: int) -> None:
    """E5: the pause before another try has a bound, whatever number stands in the row."""
    assert MINUTE * 0.9 <= backoff(attempt) <= timedelta(hours=6)


def test_many_attempts(database_url: str) -> None:
    """E5: with the greatest DELIVERY_ATTEMPTS an email that has failed 42 times, or once too often, is tried again."""
    config = {"INVITATIONS_DELIVERY": "queue", "INVITATIONS_DELIVERY_ATTEMPTS": 50}
    with build(database_url, config=config) as host:
        waiting(host, 3)
        for row, attempts in zip(mails(host), (42, 49, 2**31 - 50), strict=True):
            set_columns(host, host.invitations.models.Delivery, row.id, attempts=attempts)
        host.outbox.fail_with = OSError()
        assert deliver(host) == {"queued": 2, "failed": 1}


class Timeout(BaseException):
    """What gevent raises out of whatever runs too long."""


INTERRUPTS = (Timeout, KeyboardInterrupt, SystemExit)


@pytest.mark.in_turn
@pytest.mark.parametrize("interrupt", INTERRUPTS)
@pytest.mark.parametrize("batch", [1, 4])
def test_a_mailer_that_is_interrupted(queued: Host, interrupt: type[BaseException], batch: int) -> None:
    """E5: what is raised in a mailer and is no ``Exception`` goes on; what was sent before is written down first, and
    the rest of the batch is put back: the email in hand as a try that failed, the others untried."""
    waiting(queued, 4)

    def stop(_message: Any) -> None:
        raise interrupt

    def mailer(message: Any) -> None:
        if len(queued.outbox.messages) == 2:
            raise interrupt
        queued.outbox(message)

    with override(queued.app, mailer=mailer), pytest.raises(interrupt):
        deliver(queued, batch=batch)
    assert states(queued) == {"sent": 2, "queued": 2}
    assert sorted(row.attempts for row in mails(queued, state="queued")) == [0, 1]
    queued.clock.tick(MINUTE)
    assert deliver(queued, batch=batch) == {"sent": 2}
    once(queued, 4)


@pytest.mark.in_turn
@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_a_hook_that_is_interrupted(queued: Host, interrupt: type[BaseException]) -> None:
    """E5: the same in a hook that is asked before the next email: the last one's outcome is written down, nothing stays
    leased."""
    waiting(queued, 3)

    def tenant_name(_tenant_id: Any) -> str:
        if queued.outbox.messages:
            raise interrupt
        return "Acme"

    with override(queued.app, tenant_name=tenant_name), pytest.raises(interrupt):
        deliver(queued)
    assert states(queued) == {"sent": 1, "queued": 2}
    assert deliver(queued) == {"sent": 2}
    once(queued, 3)


def test_a_hook_that_is_interrupted_alone(queued: Host) -> None:
    """E5: the same where the emails are prepared one by one, since a hook has failed for another of them."""
    waiting(queued, 2)
    calls: list[BaseException] = [ValueError(), Timeout()]

    def tenant_name(_tenant_id: Any) -> str:
        if calls:
            raise calls.pop(0)
        return "Acme"

    with override(queued.app, tenant_name=tenant_name), pytest.raises(Timeout):
        deliver(queued, batch=2)
    assert states(queued) == {"queued": 2}
    assert deliver(queued) == {"sent": 2}


def test_rendering_that_is_interrupted(queued: Host) -> None:
    """E5: the same while an email is rendered."""
    waiting(queued, 2)

    def render(*_: Any, **_words: Any) -> str:
        raise Timeout

    with override(queued.app, template=templates(render)), pytest.raises(Timeout):
        deliver(queued, batch=2)
    assert states(queued) == {"queued": 2}


@pytest.mark.in_turn
@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_a_request_that_is_interrupted(host: Host, interrupt: type[BaseException]) -> None:
    """E5: the same where a request sends: nothing that its transaction has posted stays leased."""
    tenant = host.tenant()

    def mailer(message: Any) -> None:
        if host.outbox.messages:
            raise interrupt
        host.outbox(message)

    def invite_four() -> None:
        with host.invitations.unit():
            for number in range(4):
                host.invitations.invite(f"p{number}@example.com", tenant_id=tenant)

    with host.app.app_context():
        with override(host.app, mailer=mailer), pytest.raises(interrupt):
            invite_four()
        assert states(host) == {"sent": 1, "queued": 3}
        assert sorted(row.attempts for row in mails(host, state="queued")) == [0, 0, 1]
        host.clock.tick(MINUTE)
        assert deliver(host) == {"sent": 3}
    once(host, 4)


def test_a_bar_that_breaks(queued: Host) -> None:
    """E5: what is raised by whoever watches the progress goes on, once the outcomes are written down."""
    waiting(queued, 2)

    def progress(_count: int) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        deliver(queued, progress=progress)
    assert states(queued) == {"sent": 1, "queued": 1}


@pytest.mark.in_turn
def test_a_batch_is_never_endless(queued: Host) -> None:
    """Of a batch without a bound at most 1,000 are leased at a time."""
    waiting(queued, 1005)
    told: list[int] = []
    with override(queued.app, tenant_name=lambda _: "Acme", mailer=lambda _: None):
        deliver(queued, batch=10**9, stop=lambda: bool(told), progress=told.append)
        leased = [row for row in mails(queued) if row.last_attempt_at is not None]
    assert len(leased) == 1000


def test_writing_down_that_is_interrupted(queued: Host) -> None:
    """E5: what is raised while outcomes are written down goes on, once they are."""
    waiting(queued, 2)
    interrupts: list[BaseException] = []

    def interrupted(_connection: Any) -> None:
        if interrupts:
            raise interrupts.pop()

    mailer = after(queued, 1, lambda _: interrupts.append(Timeout()))
    for watched in (False, True):
        queued.outbox.clear()
        sa.event.listen(queued.engine, "commit", interrupted)
        try:
            with override(queued.app, mailer=mailer), pytest.raises(Timeout):
                watch_and_deliver(queued, watched)
        finally:
            sa.event.remove(queued.engine, "commit", interrupted)
    assert states(queued) == {"sent": 2}
    assert set(sent_events(queued).values()) == {1}


def watch_and_deliver(host: Host, watched: bool) -> None:
    with invitation_sent.connected_to(lambda *_, invitation: None, sender=host.app) if watched else nullcontext():
        deliver(host)


@pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)
def test_an_unknown_lease(database_url: str) -> None:
    """E1: where the connection breaks right behind the COMMIT of a first lease, the emails leave once, when that is
    over."""
    with Proxy(database_url) as proxy, build(proxy.url, config={"INVITATIONS_DELIVERY": "queue"}) as host:
        waiting(host, 2)
        proxy.cut_at_commit(AFTER)
        with pytest.raises(TryAgain):
            deliver(host, batch=2)
        assert proxy.calm_down()
        assert deliver(host, batch=2) == {}
        host.clock.tick(LEASE)
        assert deliver(host, batch=2) == {"sent": 2}
        once(host, 2)
