"""Reminders, and the mails that tell of an answer or a revocation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from flask_invitations import MailRefused
from flask_invitations.current import get_state, override
from flask_invitations.tokens import Mint
from tests.hosts import Host, build
from tests.http.tools import DECLINE, STATES, Case, accept, make, set_columns, unchanged

pytestmark = pytest.mark.in_turn

HOUR = timedelta(hours=1)
BEFORE = 6 * HOUR
TTL = 48 * HOUR


@pytest.fixture
def reminding(database_url: str) -> Iterator[Host]:
    """A host that reminds six hours before the end."""
    with build(database_url, config={"INVITATIONS_REMIND_BEFORE": BEFORE}) as built:
        yield built


def sweep(host: Host) -> int:
    with host.app.app_context():
        return int(host.invitations.sweep().reminded)


def kinds(host: Host) -> list[str]:
    return [message.kind for message in host.outbox.messages]


def test_one_reminder_with_the_same_link(reminding: Host) -> None:
    """So long before the end, and not a moment earlier, one mail with the same link goes out; never a second one."""
    case = make(reminding, "pending")
    reminding.clock.tick(TTL - BEFORE - timedelta(microseconds=1))
    assert sweep(reminding) == 0
    reminding.clock.tick(timedelta(microseconds=1))
    assert sweep(reminding) == 1
    first, second = reminding.outbox.messages
    assert (first.kind, second.kind, second.to) == ("invitation", "reminder", case.email)
    assert first.accept_url == second.accept_url
    assert first.headers["Message-ID"] != second.headers["Message-ID"]
    reminding.clock.tick(HOUR)
    with unchanged(reminding):
        assert sweep(reminding) == 0
    shown: Any = reminding.client(case.admin).get(case.url).json
    assert shown["delivery"]["state"] == "sent"
    events: Any = reminding.client(case.admin).get(f"{case.url}/events").json
    assert [event["details"]["kind"] for event in events["items"] if event["type"] == "sent"] == kinds(reminding)
    assert accept(reminding.client(), case.token).status_code == 201


def test_who_is_to_be_reminded(reminding: Host) -> None:
    """B11: what a sweep takes up to remind of expires soon, and has not expired while it swept."""
    make(reminding, "pending")

    def to_remind() -> int:
        ctx, now = get_state().ctx, reminding.clock()
        return len(ctx.unit.run(lambda: ctx.store.to_remind(now, now + BEFORE, 9)))

    with reminding.app.app_context():
        reminding.clock.tick(TTL - timedelta(microseconds=1))
        assert to_remind() == 1
        reminding.clock.tick(timedelta(microseconds=1))
        assert to_remind() == 0


@pytest.mark.parametrize(
    "state", ["accepted", "declined", "revoked", "overdue", "swept", "tenant inactive", "bounced", "account member"]
)
def test_no_reminder_of_what_is_over(reminding: Host, state: str) -> None:
    """B11: nobody is reminded of an invitation that was answered, revoked, has expired, or whose tenant is inactive,
    nor where the first mail came back; nor is somebody who became a
    member by another way."""
    case = make(reminding, "pending")
    if state not in ("overdue", "swept"):
        reminding.clock.tick(TTL - BEFORE)
    STATES[state](case)
    reminding.outbox.clear()
    sweep(reminding)
    assert kinds(reminding) == []


@pytest.mark.parametrize("state", ["accepted", "declined", "revoked", "overdue", "tenant inactive", "replaced"])
def test_no_reminder_when_it_is_over_before_the_worker_comes(database_url: str, state: str) -> None:
    """B11, CVE-2022-1385: what ends after the sweep and before the worker comes is not reminded of."""
    config = {"INVITATIONS_REMIND_BEFORE": BEFORE, "INVITATIONS_DELIVERY": "queue"}
    with build(database_url, config=config) as host:
        from tests.http.tools import invite, people

        tenant, admin, plain, stranger = people(host)
        made = invite(host.client(admin), "guest@acme.example")
        with host.app.app_context():
            host.invitations.deliver()
        token = host.outbox.token_to("guest@acme.example")
        case = Case(host, admin, plain, stranger, tenant, "guest@acme.example", made["id"], token)
        host.clock.tick(TTL - BEFORE)
        assert sweep(host) == 1
        host.clock.tick(timedelta(seconds=1))
        STATES[state](case)
        host.outbox.clear()
        with host.app.app_context():
            host.invitations.deliver()
        assert "reminder" not in kinds(host)


def test_no_reminder_on_the_heels_of_the_mail(reminding: Host) -> None:
    """An invitation that stands no longer than the reminder's span, or whose mail left late, is not reminded of."""
    make(reminding, "pending", expires_in=3600)
    assert sweep(reminding) == 0
    reminding.outbox.fail_with = TimeoutError()
    make_unsent(reminding)
    reminding.clock.tick(TTL - BEFORE + HOUR)
    reminding.outbox.fail_with = None
    with reminding.app.app_context():
        reminding.invitations.deliver()
    reminding.outbox.clear()
    assert sweep(reminding) == 0
    reminding.clock.tick(HOUR)
    assert sweep(reminding) == 0
    assert kinds(reminding) == []


def test_a_resend_starts_anew(reminding: Host) -> None:
    """After a resend the new link is reminded of, once, before its own end."""
    case = make(reminding, "pending")
    reminding.clock.tick(TTL - BEFORE)
    assert sweep(reminding) == 1
    reminding.clock.tick(HOUR)
    reminding.client(case.admin).post(f"{case.url}/resend")
    assert sweep(reminding) == 0
    reminding.clock.tick(TTL - BEFORE)
    assert sweep(reminding) == 1
    assert kinds(reminding) == ["invitation", "reminder", "invitation", "reminder"]
    assert reminding.outbox.messages[-1].accept_url == reminding.outbox.messages[-2].accept_url


def test_off_by_default(host: Host) -> None:
    """Unless the host asks for it nobody is reminded."""
    make(host, "pending")
    host.clock.tick(TTL - HOUR)
    assert sweep(host) == 0


def test_no_reminder_with_another_link(local_url: str) -> None:
    """Where the key that made the link is gone there is no reminder: the mailed link still opens, another would end
    it."""
    with build(local_url, config={"INVITATIONS_REMIND_BEFORE": BEFORE}) as host:
        case = make(host, "pending")
        host.clock.tick(TTL - BEFORE)
        with override(host.app, mint=Mint(["another key"])):
            sweep(host)
        assert kinds(host) == ["invitation"]
        assert accept(host.client(), case.token).status_code == 201


# Answers and revocations


@pytest.fixture
def telling(database_url: str) -> Iterator[Host]:
    """A host that tells the inviter of answers, and the invitee of a revocation."""
    with build(database_url, config={"INVITATIONS_NOTIFY_INVITER": True, "INVITATIONS_NOTIFY_REVOKED": True}) as built:
        yield built


@pytest.mark.parametrize("answer", ["accepted", "declined"])
def test_the_inviter_is_told(telling: Host, answer: str) -> None:
    """The inviter gets one mail of the answer, without a link; what the invitation shows of its own mail stays."""
    case = make(telling, "pending")
    telling.outbox.clear()
    telling.clock.tick(HOUR)
    STATES[answer](case)
    (mail,) = telling.outbox.messages
    assert (mail.kind, mail.to, mail.accept_url) == (answer, "admin@acme.example", None)
    assert case.token not in mail.text + mail.html + mail.subject
    assert case.email in mail.text
    shown: Any = telling.client(case.admin).get(case.url).json
    assert (shown["status"], shown["delivery"]["state"]) == (answer, "sent")


def test_the_invitee_is_told_of_a_revocation(telling: Host) -> None:
    """Who was sent an invitation is told, once, that it was taken back; who never got it is not bothered."""
    case = make(telling, "pending")
    telling.outbox.clear()
    STATES["revoked"](case)
    STATES["revoked"](case)
    (mail,) = telling.outbox.messages
    assert (mail.kind, mail.to, mail.accept_url) == ("revoked", case.email, None)
    telling.outbox.fail_with = MailRefused()
    other = make_unsent(telling)
    telling.outbox.fail_with = None
    telling.outbox.clear()
    STATES["revoked"](other)
    assert kinds(telling) == []


def make_unsent(host: Host) -> Case:
    from tests.http.tools import invite, people

    tenant, admin, plain, stranger = people(host, "Unsent")
    made = invite(host.client(admin), "guest@unsent.example")
    return Case(host, admin, plain, stranger, tenant, "guest@unsent.example", made["id"], "")


def test_told_nothing_by_default(host: Host) -> None:
    """All of these are off unless the host asks for them."""
    STATES["accepted"](make(host, "pending"))
    STATES["revoked"](make(host, "pending", "Other"))
    assert kinds(host) == ["invitation", "invitation"]


def test_nobody_to_tell(telling: Host) -> None:
    """The system's own invitations, an inviter whose address is not theirs, and one who is gone: no mail, no error."""
    with telling.app.app_context():
        telling.invitations.invite("first@example.com", tenant_id=telling.tenant())
    token = telling.outbox.token_to("first@example.com")
    assert accept(telling.client(), token).status_code == 201
    case = make(telling, "pending", "Second")
    set_columns(telling, telling.User, case.admin, email_verified=False)
    telling.outbox.clear()
    STATES["declined"](case)
    assert kinds(telling) == []


def test_a_mailer_that_fails_spoils_no_answer(telling: Host) -> None:
    """J1: an answer stands whatever becomes of the mail that tells of it; the worker tries that mail again."""
    case = make(telling, "pending")
    telling.outbox.clear()
    telling.outbox.fail_with = TimeoutError()
    assert telling.client().post(DECLINE, json={"token": case.token}).status_code == 200
    telling.outbox.fail_with = None
    telling.clock.tick(timedelta(minutes=1))
    with telling.app.app_context():
        assert telling.invitations.deliver() == {"sent": 1}
    assert kinds(telling) == ["declined"]


def test_nobody_is_told_in_a_tenant_that_is_inactive(telling: Host) -> None:
    """B11: what is told of an invitation is not sent any more once its tenant is inactive, and says why."""
    case = make(telling, "pending")
    telling.outbox.clear()
    telling.outbox.fail_with = TimeoutError()
    assert telling.client().post(DECLINE, json={"token": case.token}).status_code == 200
    telling.outbox.fail_with = None
    STATES["tenant inactive"](case)
    telling.clock.tick(timedelta(minutes=1))
    with telling.app.app_context():
        assert telling.invitations.deliver() == {"cancelled": 1}
    (told,) = telling.rows(telling.invitations.models.Delivery, kind="declined")
    assert (told.last_error, kinds(telling)) == ("tenant-inactive", [])


def test_an_undone_answer_is_told_to_nobody(telling: Host) -> None:
    """J6: the mail is part of the answer's transaction."""
    case = make(telling, "pending")
    telling.outbox.clear()

    def undone() -> None:
        with telling.invitations.unit():
            telling.invitations.decline(case.token)
            raise ValueError("undo")

    with telling.app.app_context(), pytest.raises(ValueError, match="undo"):
        undone()
    with telling.app.app_context():
        assert telling.invitations.deliver() == {}
    assert kinds(telling) == []
