"""What the mail provider says became of a mail: kept once, in any order, and heeded."""

from __future__ import annotations

import itertools
import uuid
from datetime import timedelta
from typing import Any

import pytest

from flask_invitations import DeliveryState, InvalidRequest
from flask_invitations.acts.report import EVENTS
from tests.hosts import Host, build
from tests.http.tools import LIST, Case, accept, make, refused, set_columns, unchanged

#: What every report means, from an empty sheet; the stronger word stands, whichever comes first.
STATE = {
    "deferred": "deferred",
    "delivered": "delivered",
    "opened": "delivered",
    "clicked": "delivered",
    "bounced": "bounced",
    "rejected": "bounced",
    "complained": "complained",
    "unsubscribed": "complained",
    "failed": "failed",
}
#: What the audit trail says of each.
TOLD = {"deferred": "deferred", "delivered": "delivered", "bounced": "bounced", "complained": "complained"}
TOLD |= {"failed": "mail_failed"}
STRENGTH = ("sent", "deferred", "delivered", "bounced", "complained")


def report(host: Host, message_id: Any, event: str, detail: str | None = None) -> bool:
    with host.app.app_context():
        return bool(host.invitations.record_delivery(message_id, event, detail))


def mail(host: Host) -> Any:
    return max(host.rows(host.invitations.models.Delivery), key=lambda row: (row.created_at, row.id))


def shown(case: Case) -> Any:
    answer: Any = case.host.client(case.admin).get(case.url).json
    return answer["delivery"]["state"]


def trail(case: Case) -> list[Any]:
    answer: Any = case.host.client(case.admin).get(f"{case.url}/events").json
    return [event for event in answer["items"] if event["type"] in TOLD.values()]


@pytest.mark.in_turn
@pytest.mark.parametrize("event", STATE)
def test_each_report(host: Host, event: str) -> None:
    """A report is seen in ``delivery.state`` and as one event of the audit trail; the same one again is no news."""
    case = make(host, "pending")
    assert report(host, mail(host).id, event, "451 4.7.1 see https://postmaster.example") is True
    assert shown(case) == STATE[event]
    with unchanged(host):
        assert report(host, mail(host).id, event) is False
    (told,) = trail(case)
    assert (told["type"], told["actor_id"]) == (TOLD[STATE[event]], None)
    about = {"delivery_id": str(mail(host).id), "event": event, "detail": "451 4.7.1 see https://postmaster.example"}
    assert told["details"] == about


@pytest.mark.parametrize("events", list(itertools.permutations(["deferred", "delivered", "bounced", "complained"], 3)))
def test_any_order(local: Host, events: tuple[str, ...]) -> None:
    """Reports that come out of order, and twice, end in the strongest of them."""
    case = make(local, "pending")
    for event in (*events, *events):
        report(local, mail(local).id, event)
    assert shown(case) == max(events, key=STRENGTH.index)
    assert len({event["type"] for event in trail(case)}) == len(trail(case)) <= len(events)


def test_all_of_anymails_names(local: Host) -> None:
    """Every name of Anymail's is taken, those that tell nothing of the delivery without effect; another is refused with
    the list of names."""
    assert {event for event, state in EVENTS.items() if state} == set(STATE)
    make(local, "pending")
    for event in EVENTS.keys() - STATE.keys():
        with unchanged(local):
            assert report(local, mail(local).id, event) is False
    with pytest.raises(InvalidRequest) as refusal:
        report(local, mail(local).id, "exploded")
    assert "bounced" in str(refusal.value.errors["event"])


def test_every_form_of_the_id(local: Host) -> None:
    """The mail is named by ``Message.id``, as it is or as text, or by its ``Message-ID`` header; another application's
    id is nobody's and no error."""
    make(local, "pending")
    (message,) = local.outbox.messages
    key, header = message.id, message.headers["Message-ID"]
    forms = [("deferred", key), ("delivered", str(key)), ("bounced", header), ("complained", header.strip("<>"))]
    for event, form in forms:
        assert report(local, form, event) is True
        assert mail(local).state == event
    for other in ("", "<x@y>", "0100-abc@email.example", str(uuid.uuid4()), uuid.uuid4(), header.replace("-", "x")):
        with unchanged(local):
            assert report(local, other, "bounced") is False


def test_faster_than_our_own_record(local: Host) -> None:
    """A report that comes while our worker still has the mail in hand, or after it died, tells that it was sent: it is
    not sent again, and what the report said stands."""
    seen = []

    def mailer(message: Any) -> None:
        seen.append(message.id)
        assert report(local, message.id, "bounced")

    from flask_invitations.current import override

    with override(local.app, mailer=mailer):
        case = make_without_mail(local)
    assert seen
    assert shown(case) == "bounced"
    local.clock.tick(timedelta(hours=1))
    with local.app.app_context():
        assert local.invitations.deliver() == {}
    set_columns(local, local.invitations.models.Delivery, seen[0], state="queued", next_attempt_at=local.clock())
    assert report(local, seen[0], "delivered")
    with local.app.app_context():
        assert local.invitations.deliver() == {}
    assert mail(local).sent_at is not None


def make_without_mail(host: Host) -> Case:
    from tests.http.tools import invite, people

    tenant, admin, plain, stranger = people(host)
    made = invite(host.client(admin), "guest@acme.example")
    return Case(host, admin, plain, stranger, tenant, "guest@acme.example", made["id"], "")


@pytest.mark.in_turn
@pytest.mark.parametrize("event", ["bounced", "complained", "rejected", "unsubscribed"])
def test_unwanted_mails_are_not_repeated(host: Host, event: str) -> None:
    """After a hard bounce or a complaint nothing more is sent to the address, by resending or reminding, until a
    manager confirms it; the link that was mailed still opens."""
    case = make(host, "pending")
    report(host, mail(host).id, event)
    host.outbox.clear()
    client = host.client(case.admin)
    with unchanged(host):
        refused(client.post(f"{case.url}/resend"), 409, "mail-bounced")
        refused(client.post(f"{case.url}/resend", json={"rotate": False}), 409, "mail-bounced")
    assert host.outbox.messages == []
    host.clock.tick(timedelta(seconds=1))
    answer = client.post(f"{case.url}/resend", json={"rotate": False, "confirm": True})
    assert answer.status_code == 200
    assert shown(case) == "sent"
    assert len(host.outbox.messages) == 1
    host.clock.tick(timedelta(seconds=1))
    assert client.post(f"{case.url}/resend", json={"rotate": False}).status_code == 200
    assert accept(host.client(), case.token).status_code == 201


def test_a_deferred_mail_may_be_resent(local: Host) -> None:
    """Soft trouble stops nothing."""
    case = make(local, "pending")
    report(local, mail(local).id, "deferred")
    assert local.client(case.admin).post(f"{case.url}/resend").status_code == 200


def test_the_detail_is_personal_data(local_url: str) -> None:
    """K3: what a provider says is cut to 500 characters, and forgotten with the rest when the retention is over."""
    with build(local_url, config={"INVITATIONS_RETENTION": 0}) as host:
        case = make(host, "pending")
        report(host, mail(host).id, "bounced", "\0" + "x" * 600)
        assert trail(case)[0]["details"]["detail"] == "x" * 500
        host.client(case.admin).delete(case.url)
        with host.app.app_context():
            host.invitations.sweep()
        assert trail(case)[0]["details"] is None


def test_every_state_has_its_rule(local: Host) -> None:
    """Every state in which a provider can report is known to the list of states."""
    assert set(STATE.values()) <= set(DeliveryState)
    assert local.client(make(local, "pending").admin).get(LIST).status_code == 200
