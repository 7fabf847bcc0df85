"""Who wants no more invitations is not invited again: said by declining, reporting or the stop link of an email; and
what a provider reports of an address outlives the invitation."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations import Invitations, invitation_reported, invitation_revoked
from flask_invitations.acts import Wanted, invite_many, system
from flask_invitations.addresses import parse
from flask_invitations.current import get_state, override
from flask_invitations.model.states import Reason
from flask_invitations.tokens import Pseudonyms
from tests.hosts import Host, build
from tests.http.tools import DECLINE, GUEST, INVITE, LIST, Case, accept, invite, make, refused, unchanged
from tests.queued import deliver, mails

pytestmark = pytest.mark.in_turn

STOP = {"INVITATIONS_LIST_UNSUBSCRIBE": True}
RETENTION = {"INVITATIONS_RETENTION": 0}
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
SUPPRESSED = "address-suppressed"


@pytest.fixture
def stoppable(database_url: str) -> Iterator[Host]:
    """A host whose emails can be stopped, and whose closed invitations lose their personal data at the next sweep.
    Nobody holds the tenant, which would keep a stop waiting until an invitation is committed."""
    with build(database_url, config={**STOP, **RETENTION, "INVITATIONS_PENDING_MAX": None}) as host:
        yield host


def stop_path(host: Host, number: int = -1) -> str:
    """The path of the stop link in an email."""
    link = host.outbox.messages[number].headers["List-Unsubscribe"]
    found = re.fullmatch(r"<https://app\.example\.com(/invitations/stop/[\w.-]+)>", link)
    assert found is not None, link
    return found[1]


def press(host: Host, path: str) -> Any:
    """What a mail program does: a POST from its provider's servers, without cookies."""
    return host.client().post(path, data={"List-Unsubscribe": "One-Click"})


def _never_again(case: Case) -> None:
    assert case.host.client().post(DECLINE, json={"token": case.token, "never_again": True}).status_code == 200


def _report(case: Case) -> None:
    assert case.host.client().post(DECLINE, json={"token": case.token, "report": True}).status_code == 200


def _from_python(case: Case) -> None:
    with case.host.app.app_context():
        case.host.invitations.decline(case.token, never_again=True)


def _by_page(case: Case) -> None:
    form = {"token": case.token, "reason": "", "never_again": "on"}
    assert case.host.client().post("/invitations/decline", data=form).status_code == 303


def _by_stop_link(case: Case) -> None:
    assert press(case.host, stop_path(case.host)).status_code == 200


WAYS = [_never_again, _report, _from_python, _by_page, _by_stop_link]


def sweep(host: Host) -> Any:
    with host.app.app_context():
        return host.invitations.sweep()


def remembered(host: Host) -> list[tuple[str, Any]]:
    return sorted((row.reason, row.tenant_id) for row in host.rows(host.invitations.models.Suppression))


def suppress(host: Host, email: str, tenant: Any, reason: Any = "never_again") -> None:
    """Behind everybody's back."""
    with host.app.app_context():
        ctx = get_state().ctx
        names = ctx.pseudonyms.of(tenant, email)
        ctx.unit.run(lambda: ctx.store.suppressions.add(tenant, names, reason, ctx.now()))


# Never again


@pytest.mark.parametrize("way", WAYS)
def test_never_again(stoppable: Host, way: Callable[[Case], None]) -> None:
    """E5: whichever way the invitee says it, the tenant cannot invite that address any more, however it is written,
    with or without ``confirm``, nor once the invitation was purged; another tenant can. Every refusal is the same."""
    case = make(stoppable, "pending")
    way(case)
    client, sent = stoppable.client(case.admin), len(stoppable.outbox.messages)
    assert client.get(case.url).json["status"] == "declined"  # type: ignore[index]
    said = set()
    for _ in range(2):
        with unchanged(stoppable):
            for body in ({"email": case.email}, {"email": case.email.upper(), "confirm": True}):
                answer: Any = client.post(INVITE, json=body)
                refused(answer, 409, SUPPRESSED)
                said.add(answer.json["detail"])
            told: Any = client.post(f"{INVITE}?explain=true", json={"email": case.email}).json
            assert [each["code"] for each in told["reasons"]] == [SUPPRESSED]
        stoppable.clock.tick(MINUTE)
        sweep(stoppable)
    assert client.get(case.url).json["email"] is None  # type: ignore[index]
    assert said == {
        "This address does not accept invitations from this organization. Contact the person in another way."
    }
    assert len(stoppable.outbox.messages) == sent
    assert invite(stoppable.client(case.stranger), case.email)["status"] == "pending"


@pytest.mark.parametrize("way", WAYS)
def test_what_is_open_is_closed(stoppable: Host, way: Callable[[Case], None]) -> None:
    """Never again closes everything else that is open for that address in that tenant, older and newer; not what is
    another's, or another tenant's."""
    case = make(stoppable, "pending")
    client = stoppable.client(case.admin)
    stoppable.clock.tick(3 * DAY)
    newer = invite(client, case.email)
    token = stoppable.outbox.token_to(case.email)
    elsewhere = invite(stoppable.client(case.stranger), case.email)
    namesake = invite(client, "other@example.com")
    path, heard = stop_path(stoppable, 1), list[Any]()
    with invitation_revoked.connected_to(lambda _app, invitation: heard.append(str(invitation.id)), stoppable.app):
        if way is _by_stop_link:  # of the older one, which has expired
            press(stoppable, stop_path(stoppable, 0))
        else:
            case.token = token
            way(case)
    states = {each["id"]: each["status"] for each in client.get(LIST).json["items"]}  # type: ignore[index]
    closed = {case.id: "revoked", newer["id"]: "revoked" if way is _by_stop_link else "declined"}
    assert states == {**closed, namesake["id"]: "pending"}
    assert sorted(heard) == sorted(each for each, status in closed.items() if status == "revoked")
    other: Any = stoppable.client(case.stranger).get(f"{LIST}/{elsewhere['id']}").json
    assert other["status"] == "pending"
    if way is not _report:  # which is another word
        with unchanged(stoppable):
            assert press(stoppable, path).status_code == 200  # once more changes nothing


def test_a_newer_one_is_closed_with_an_older(stoppable: Host) -> None:
    """So is a newer one that has expired, where the older one, sent again since, is turned down."""
    case = make(stoppable, "pending")
    client = stoppable.client(case.admin)
    stoppable.clock.tick(3 * DAY)
    newer = invite(client, case.email)
    stoppable.clock.tick(3 * DAY)
    assert client.post(f"{case.url}/resend").status_code == 200
    case.token = stoppable.outbox.token_to(case.email)
    _never_again(case)
    assert client.get(f"{LIST}/{newer['id']}").json["status"] == "revoked"  # type: ignore[index]


def test_an_expired_one_stays_closed(stoppable: Host) -> None:
    """An expired invitation is closed too: it cannot be resent, and no fresh link is given for it."""
    case = make(stoppable, "overdue")
    assert press(stoppable, stop_path(stoppable)).status_code == 200
    refused(stoppable.client(case.admin).post(f"{case.url}/resend"), 410, "invitation-revoked")
    trail: Any = stoppable.client(case.admin).get(f"{case.url}/events").json
    assert trail["items"][-1]["details"] == {"decided_by": case.id}


def test_reported(stoppable: Host) -> None:
    """E5: a report is told to the operator by a signal, without the link, and in the audit trail; beside the decline
    that it is."""
    case, heard = make(stoppable, "pending"), list[Any]()
    with invitation_reported.connected_to(lambda _app, invitation: heard.append(invitation), stoppable.app):
        body = {"token": case.token, "report": True, "reason": "I do not know them"}
        answer: Any = stoppable.client().post(DECLINE, json=body)
    assert (answer.status_code, answer.json["status"]) == (200, "declined")
    assert [(str(each.id), each.status, each.accept_url) for each in heard] == [(case.id, "declined", None)]
    trail: Any = stoppable.client(case.admin).get(f"{case.url}/events").json
    assert [each["type"] for each in trail["items"]][-2:] == ["declined", "reported"]
    assert remembered(stoppable) == [("reported", case.tenant)]


def test_declining_alone_is_no_word_for_ever(stoppable: Host) -> None:
    """Who just declines can be invited again, and reports nothing."""
    case, heard = make(stoppable, "pending"), list[Any]()
    with invitation_reported.connected_to(heard.append, stoppable.app):
        body = {"token": case.token, "never_again": False, "report": False}
        assert stoppable.client().post(DECLINE, json=body).status_code == 200
    assert (heard, remembered(stoppable)) == ([], [])
    assert invite(stoppable.client(case.admin), case.email)["status"] == "pending"


@pytest.mark.parametrize("field", ["never_again", "report"])
@pytest.mark.parametrize("value", [1, "true", None, []])
def test_wrong_flags(host: Host, field: str, value: Any) -> None:
    """What is neither true nor false is refused, and nothing is done."""
    case = make(host, "pending")
    with unchanged(host):
        answer = host.client().post(DECLINE, json={"token": case.token, field: value})
        refused(answer, 422, "invalid-request", errors=answer.json["errors"])  # type: ignore[index]
        assert answer.json["errors"].keys() == {field}  # type: ignore[index]


# Emails


@pytest.fixture
def waiting(database_url: str) -> Iterator[Host]:
    """A host whose emails a worker sends, of every kind."""
    more = {"INVITATIONS_NOTIFY_REVOKED": True, "INVITATIONS_REMIND_BEFORE": DAY, "INVITATIONS_FRESH_LINK": "send"}
    with build(database_url, config={**STOP, "INVITATIONS_DELIVERY": "queue", **more}) as host:
        yield host


def _waits(host: Host, case: Case) -> None:
    """The invitation itself."""


def _reminded(host: Host, case: Case) -> None:
    deliver(host)
    host.clock.tick(DAY + MINUTE)
    assert sweep(host).reminded == 1


def _told_of_revocation(host: Host, case: Case) -> None:
    deliver(host)
    assert host.client(case.admin).delete(case.url).status_code == 204


def _fresh_link(host: Host, case: Case) -> None:
    deliver(host)
    host.clock.tick(2 * DAY)
    with host.app.app_context():
        host.invitations.request_link(host.outbox.token_to(case.email))


@pytest.mark.parametrize("prepare", [_waits, _reminded, _told_of_revocation, _fresh_link])
@pytest.mark.parametrize("when", ["waits", "prepared"])
def test_no_email_leaves(waiting: Host, prepare: Callable[[Host, Case], None], when: str) -> None:
    """E5: an email of whichever kind that waits for an address which wants none is cancelled with the code, by the
    worker's rules, and by its last look where the word came after them."""
    admin = waiting.user("admin@acme.example", "admin")
    made = invite(waiting.client(admin), GUEST)
    case = Case(waiting, admin, None, None, waiting.tenant(), GUEST, made["id"], "")
    prepare(waiting, case)
    waiting.outbox.clear()
    waiting.clock.tick(MINUTE)
    if when == "waits":
        suppress(waiting, GUEST, case.tenant)
        deliver(waiting)
    else:
        with while_rendering(waiting, lambda: suppress(waiting, GUEST, case.tenant)):
            deliver(waiting)
    assert waiting.outbox.messages == []
    last = mails(waiting)[-1]
    assert (last.state, last.last_error) == ("cancelled", SUPPRESSED)


@contextmanager
def while_rendering(host: Host, act: Callable[[], Any]) -> Iterator[None]:
    """Have it done by somebody else, once, while an email is rendered: after the rules, before the last look."""
    ctx, asked = host.app.extensions["invitations"].ctx, list[str]()

    def template(name: str) -> Any:
        asked.append(name)
        if len(asked) == 1:
            in_thread(act)
        return ctx.template(name)

    with override(host.app, template=template):
        yield
    assert asked[0].startswith("mail/")


def in_thread(act: Callable[[], Any]) -> Any:
    """In a session of its own."""
    done = list[Any]()
    thread = threading.Thread(target=lambda: done.append(act()))
    thread.start()
    thread.join(30)
    assert done
    return done[0]


def test_a_stop_between_the_rules_and_the_mailer(waiting: Host) -> None:
    """B11: a stop that is answered while a worker has the email in hand keeps it from leaving."""
    admin = waiting.user("admin@acme.example", "admin")
    made = invite(waiting.client(admin), GUEST)
    deliver(waiting)
    path = stop_path(waiting)
    assert waiting.client(admin).post(f"{LIST}/{made['id']}/resend").status_code == 200
    with while_rendering(waiting, lambda: press(waiting, path)):
        deliver(waiting)
    assert len(waiting.outbox.messages) == 1
    assert [row.state for row in mails(waiting)] == ["sent", "cancelled"]


def test_what_a_manager_sees(host: Host) -> None:
    """An invitation that is open all the same, since it was made at that very moment, is not sent again, and its
    manager reads why."""
    case = make(host, "pending")
    suppress(host, case.email, case.tenant)
    client = host.client(case.admin)
    with unchanged(host):
        refused(client.post(f"{case.url}/resend", json={"confirm": True}), 409, SUPPRESSED)
        assert client.get(case.url).json["obstacle"]["code"] == SUPPRESSED  # type: ignore[index]
    assert accept(host.client(), case.token).status_code == 201  # whoever has the link may change their mind


# At the same moment


def test_a_stop_while_somebody_invites(stoppable: Host) -> None:
    """E5, B7: an invitation whose transaction had asked the rules before the stop was answered, and is committed after,
    sends no email, and is not sent again."""
    case = make(stoppable, "revoked")
    path, client = stop_path(stoppable), stoppable.client(case.admin)

    def check_invitee(_draft: Any) -> None:
        if not remembered(stoppable):
            in_thread(lambda: press(stoppable, path))

    with override(stoppable.app, check_invitee=check_invitee):
        made = invite(client, case.email)
    assert len(stoppable.outbox.messages) == 1
    assert (made["delivery"]["state"], made["delivery"]["error"]) == ("cancelled", SUPPRESSED)
    refused(client.post(f"{LIST}/{made['id']}/resend"), 409, SUPPRESSED)


@pytest.mark.parametrize("_database", ["postgresql", "mariadb"], indirect=True)
def test_an_invitation_while_somebody_stops(stoppable: Host) -> None:
    """E5, B7: an invitation that is committed, and mailed, between a stop's look for what is open and its commit is
    closed before the stop is answered. (SQLite has one writer at a time.)"""
    case = make(stoppable, "revoked")
    path, client, made = stop_path(stoppable), stoppable.client(case.admin), list[Any]()

    def meanwhile(_connection: Any) -> None:
        if not made:
            made.append(None)
            made.append(in_thread(lambda: invite(client, case.email)))

    sa.event.listen(stoppable.engine, "commit", meanwhile)
    assert press(stoppable, path).status_code == 200
    sa.event.remove(stoppable.engine, "commit", meanwhile)
    assert made[1]["delivery"]["state"] == "sent"
    assert client.get(f"{LIST}/{made[1]['id']}").json["status"] == "revoked"  # type: ignore[index]


def test_twice_at_once(stoppable: Host) -> None:
    """Of two who say the same at once both are answered, and it is remembered once."""
    case = make(stoppable, "revoked")
    path, twice = stop_path(stoppable), list[Any]()

    def meanwhile(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("INSERT INTO user_invitation_suppressions") and not twice:
            twice.append(None)
            if stoppable.engine.dialect.name == "postgresql":  # elsewhere the first holds the second back
                twice.append(in_thread(lambda: press(stoppable, path).status_code))

    sa.event.listen(stoppable.engine, "before_cursor_execute", meanwhile)
    assert press(stoppable, path).status_code == 200
    sa.event.remove(stoppable.engine, "before_cursor_execute", meanwhile)
    assert set(twice) <= {None, 200}
    assert remembered(stoppable) == [("never_again", case.tenant)]


# The stop link


def test_looking_changes_nothing(stoppable: Host) -> None:
    """E4: GET, HEAD and OPTIONS of a stop link run no statement and change nothing; the page has a button."""
    make(stoppable, "pending")
    path = stop_path(stoppable)
    with unchanged(stoppable):
        for method in ("GET", "HEAD", "OPTIONS"):
            with stoppable.statements() as seen:
                answer = stoppable.client().open(path, method=method)
            assert (answer.status_code, seen) == (200, [])
        page = stoppable.client().get(path)
        assert f'<form method="post" action="{path}">' in page.text
        assert "Set-Cookie" not in page.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://mail.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://mail.example"},
        {"Referer": "https://mail.example/inbox"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_one_click(database_url: str, headers: dict[str, str], kind: str) -> None:
    """RFC 8058: a POST from anywhere stops, whatever form it comes in, with the host's CSRFProtect set up too; it is
    answered by a page, without a redirect and without a cookie."""
    from flask_wtf.csrf import CSRFProtect

    with build(database_url, config=STOP) as host:
        CSRFProtect(host.app)
        case = make(host, "pending")
        sent = {"data": {"List-Unsubscribe": "One-Click"}, "content_type": kind}
        answer = host.client().post(stop_path(host), base_url="https://localhost", headers=headers, **sent)
        assert (answer.status_code, answer.mimetype) == (200, "text/html")
        assert "Set-Cookie" not in answer.headers
        assert remembered(host) == [("never_again", case.tenant)]


def test_an_unknown_link_tells_nothing(stoppable: Host) -> None:
    """G1: a stop link that was changed, or made by a stranger, or whose invitation is gone, gets the same answer as
    a real one, and changes nothing."""
    make(stoppable, "pending")
    path = stop_path(stoppable)
    token = path.rpartition("/")[2]
    whose, _, seal = token.rpartition(".")
    stranger = Pseudonyms(["another key"]).stop_token(uuid.uuid4(), "0" * 64)
    with stoppable.app.app_context():
        nobody = get_state().ctx.pseudonyms.stop_token(uuid.uuid4(), "0" * 64)
    wrong = [
        "x",
        whose,
        f"{whose}.",
        f".{seal}",
        f"{'A' * len(whose)}.{seal}",
        stranger,
        nobody,
        "é",
        "%00",
        token + "A",
    ]
    answers = set[Any]()
    with unchanged(stoppable):
        for each in (*wrong, stoppable.outbox.token_to("guest@acme.example")):
            answer = press(stoppable, f"/invitations/stop/{each}")
            answers.add((answer.status_code, answer.data))
    answers.add(((real := press(stoppable, path)).status_code, real.data))
    assert len(answers) == 1
    assert len(remembered(stoppable)) == 1


def test_a_stop_token_opens_nothing_else(stoppable: Host) -> None:
    """The stop link is no invitation: it neither opens, accepts nor declines one; nor is its link one that stops."""
    case = make(stoppable, "pending")
    token = stop_path(stoppable).rpartition("/")[2]
    assert case.token not in token
    with unchanged(stoppable):
        for part in (token, *token.split(".")):
            assert stoppable.client().post(DECLINE, json={"token": part}).status_code == 404
            assert accept(stoppable.client(), part).status_code == 404
            assert stoppable.client().post("/invitations/open", data={"token": part}).status_code == 404


@pytest.mark.parametrize("meanwhile", ["nothing", "invited again"])
def test_a_stop_link_outlives_its_invitation(stoppable: Host, meanwhile: str) -> None:
    """RFC 8058: the link still works when the invitation has lost its personal data; what was made for the same address
    since is closed too."""
    case = make(stoppable, "declined")
    path, client = stop_path(stoppable), stoppable.client(case.admin)
    sweep(stoppable)
    newer = invite(client, case.email)["id"] if meanwhile == "invited again" else None
    invite(client, "other@example.com")
    assert press(stoppable, path).status_code == 200
    refused(client.post(INVITE, json={"email": case.email}), 409, SUPPRESSED)
    if newer is not None:
        assert client.get(f"{LIST}/{newer}").json["status"] == "revoked"  # type: ignore[index]
    assert len(client.get(LIST, query_string={"status": "pending"}).json["items"]) == 1  # type: ignore[index]


def test_every_email_to_the_invitee_has_it(database_url: str) -> None:
    """The two headers are on every email to the invitee and on none to the inviter; and on none without the setting."""
    more = {"INVITATIONS_NOTIFY_REVOKED": True, "INVITATIONS_NOTIFY_INVITER": True, "INVITATIONS_REMIND_BEFORE": DAY}
    seen = {}
    for on in (True, False):
        with build(database_url, config={**more, "INVITATIONS_LIST_UNSUBSCRIBE": on}, create_all=on) as host:
            admin = host.user(f"admin-{on}@acme.example", "admin")
            made = invite(host.client(admin), f"one-{on}@example.com")
            host.clock.tick(DAY + MINUTE)
            sweep(host)
            assert host.client(admin).delete(f"{LIST}/{made['id']}").status_code == 204
            invite(host.client(admin), f"two-{on}@example.com")
            assert accept(host.client(), host.outbox.token_to(f"two-{on}@example.com")).status_code == 201
            seen[on] = {message.kind: message.headers.get("List-Unsubscribe-Post") for message in host.outbox.messages}
            assert all(
                ("List-Unsubscribe" in each.headers) == (each.headers.get("List-Unsubscribe-Post") is not None)
                for each in host.outbox.messages
            )
    click = "List-Unsubscribe=One-Click"
    assert seen[True] == {"invitation": click, "reminder": click, "revoked": click, "accepted": None}
    assert set(seen[False].values()) == {None}


def test_where_the_link_leads(database_url: str) -> None:
    """The link leads where the pages are reached from outside, whatever the request says."""
    config = {**STOP, "INVITATIONS_PAGES_URL": "https://invite.example.com/a/b"}
    with build(database_url, config=config) as host:
        make(host, "pending")
        assert host.outbox.messages[0].headers["List-Unsubscribe"].startswith("<https://invite.example.com/a/b/stop/")


# Keys


@pytest.mark.parametrize("fallbacks", [["the key of old"], ["older", "the key of old"]])
def test_a_new_key_forgets_nothing(database_url: str, fallbacks: list[str]) -> None:
    """I5: with the old key among the fallbacks what was said is known, and the links of emails stop as before; what is
    said then is written under the new key."""
    old = {**STOP, "SECRET_KEY": "the key of old"}
    new = {**STOP, "SECRET_KEY": "the key of now", "SECRET_KEY_FALLBACKS": fallbacks}
    with build(database_url, config=old) as before:
        case = make(before, "pending")
        _never_again(case)
        second = invite(before.client(case.admin), "second@example.com")
        path = stop_path(before)
    with build(database_url, config=new, create_all=False) as after:
        client = after.client(case.admin)
        refused(client.post(INVITE, json={"email": case.email}), 409, SUPPRESSED)
        assert press(after, path).status_code == 200
        refused(client.post(INVITE, json={"email": "second@example.com"}), 409, SUPPRESSED)
        assert client.get(f"{LIST}/{second['id']}").json["status"] == "declined"  # type: ignore[index]
        assert after.client().post(DECLINE, json={"token": case.token, "report": True}).status_code == 410
    with build(database_url, config={**new, "SECRET_KEY_FALLBACKS": None}, create_all=False) as later:
        client = later.client(case.admin)
        refused(client.post(INVITE, json={"email": "second@example.com"}), 409, SUPPRESSED)
        assert invite(client, case.email)["status"] == "pending"  # the key is gone, and with it what it wrote


def test_no_address_is_kept(stoppable: Host) -> None:
    """D7: neither the table nor the link holds an address, or a hash that whoever knows the address can make; and the
    same address has another pseudonym in another tenant."""
    case = make(stoppable, "pending")
    path = stop_path(stoppable)
    press(stoppable, path)
    _never_again(theirs := make(stoppable, "pending", "Elsewhere2"))
    (one, other) = stoppable.rows(stoppable.invitations.models.Suppression)
    assert one.pseudonym != other.pseudonym
    guesses = [Pseudonyms([key]).of(case.tenant, case.email)[0] for key in ("", "flask-invitations.address.v1")]
    assert one.pseudonym not in guesses
    assert case.email.partition("@")[0] not in path + one.pseudonym
    assert theirs.tenant == other.tenant_id


def test_a_deleted_tenant_takes_its_rows(host: Host) -> None:
    """C10: what an address said to a tenant goes with the tenant."""
    case = make(host, "pending")
    _never_again(case)
    table = host.Tenant.__table__
    with host.engine.begin() as connection:
        connection.execute(sa.delete(host.User.__table__))
        connection.execute(sa.delete(table).where(table.c.id == case.tenant))
    assert remembered(host) == []


@pytest.mark.parametrize("tenancy", ["none", "membership"])
def test_other_hosts(database_url: str, tenancy: Any) -> None:
    """The same where hosts have no tenants, and where accounts belong to several."""
    with build(database_url, tenancy=tenancy, config={**STOP, **RETENTION}, key="uuid") as host:
        admin = host.client(host.user("admin@acme.example", "admin"))
        invite(admin, GUEST)
        assert press(host, stop_path(host)).status_code == 200
        sweep(host)
        refused(admin.post(INVITE, json={"email": GUEST}), 409, SUPPRESSED)
        assert press(host, stop_path(host)).status_code == 200
        assert len(remembered(host)) == 1


# Bounces


@pytest.mark.parametrize("event", ["bounced", "complained"])
def test_a_bounce_outlives_its_invitation(stoppable: Host, event: str) -> None:
    """P4: after a bounce or a complaint the address needs to be confirmed, also once the invitation is revoked and
    purged; until an email leaves that somebody has confirmed."""
    case = make(stoppable, "pending")
    report(stoppable, event)
    client = stoppable.client(case.admin)
    assert client.delete(case.url).status_code == 204
    for _ in range(2):
        with unchanged(stoppable):
            refused(client.post(INVITE, json={"email": case.email}), 409, "mail-bounced")
        stoppable.clock.tick(MINUTE)
        sweep(stoppable)
    assert client.get(case.url).json["email"] is None  # type: ignore[index]
    made = invite(client, case.email, confirm=True)
    assert client.delete(f"{LIST}/{made['id']}").status_code == 204
    sweep(stoppable)
    again = invite(client, case.email)
    report(stoppable, event)
    assert client.delete(f"{LIST}/{again['id']}").status_code == 204
    sweep(stoppable)
    refused(client.post(INVITE, json={"email": case.email}), 409, "mail-bounced")


def test_each_address_is_confirmed_for_itself(host: Host) -> None:
    """P4: an address that somebody confirms makes no other one better."""
    tenant, emails = host.tenant(), ["one@example.com", "two@example.com"]
    for email in emails:
        suppress(host, email, tenant, "bounced")
    with host.app.app_context():
        host.invitations.invite(emails[0], tenant_id=tenant, confirm=True)
        assert not host.invitations.explain(emails[1], tenant_id=tenant).allowed


def test_it_is_remembered_once(host: Host) -> None:
    """I5: what comes again under a new key of the app is the same."""
    tenant, old, new = host.tenant(), "a" * 64, "b" * 64
    with host.app.app_context():
        ctx = get_state().ctx
        for names in ([old], [new, old]):
            ctx.unit.run(partial(ctx.store.suppressions.add, tenant, names, Reason.BOUNCED, ctx.now()))
    assert [row.pseudonym for row in host.rows(host.invitations.models.Suppression)] == [old]


def report(host: Host, event: str) -> None:
    with host.app.app_context():
        assert host.invitations.record_delivery(host.outbox.messages[-1].id, event)


def test_never_again_is_stronger(stoppable: Host) -> None:
    """Who wants no more is not invited by confirming the address, and what was remembered before stays."""
    case = make(stoppable, "pending")
    report(stoppable, "complained")
    _never_again(case)
    assert remembered(stoppable) == [("complained", case.tenant), ("never_again", case.tenant)]
    refused(stoppable.client(case.admin).post(INVITE, json={"email": case.email, "confirm": True}), 409, SUPPRESSED)


# Many, and how much it costs


def test_many_are_judged_at_once(host: Host) -> None:
    """R23: of many the suppressed ones are refused one by one; looking for 1,000 takes as many statements as for 10."""
    tenant, spent = host.tenant(), {}
    for number in (2, 10, 500):
        emails = [f"n{number}x{each}@example.com" for each in range(number)]
        suppress(host, emails[1], tenant)
        with host.app.app_context(), host.statements() as seen:
            rows = [Wanted(parse(email), mail=False) for email in emails]
            told = invite_many(get_state().ctx, by=system(tenant), rows=rows)
        codes = [each.error and each.error.code for each in told.results]
        assert codes == [None, SUPPRESSED, *[None] * (number - 2)]
        spent[number] = len([each for each in seen if "user_invitation_suppressions" in each])
    assert spent == {2: 1, 10: 1, 500: 1}


def test_a_confirmed_bulk(host: Host) -> None:
    """Of many that are confirmed, all that had bounced are good again once their emails have left; in one statement."""
    tenant, emails = host.tenant(), [f"n{each}@example.com" for each in range(5)]
    for email in emails[:3]:
        suppress(host, email, tenant, "bounced")
    ours: Invitations = host.invitations
    with host.app.app_context():
        rows = [Wanted(parse(email), confirm=True) for email in emails]
        with host.statements() as seen:
            told = invite_many(get_state().ctx, by=system(tenant), rows=rows)
        assert len([each for each in seen if each.startswith("UPDATE user_invitation_suppressions")]) == 1
        for each in told.results:
            ours.revoke(each.invitation.id)  # type: ignore[union-attr]
        assert all(ours.explain(email, tenant_id=tenant).allowed for email in emails)


# The command line


def run(host: Host, *arguments: str) -> str:
    done = host.app.test_cli_runner().invoke(args=["invitations", "suppressions", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_command(host: Host) -> None:
    """``suppressions`` lists what is remembered, without an address or a whole hash; ``--lift`` forgets it, in one
    tenant or in all, and says how much."""
    case = make(host, "pending")
    _never_again(case)
    other = make(host, "pending", "Other")
    for tenant in (case.tenant, other.tenant):
        suppress(host, other.email, tenant, "complained")
    (row, *_) = host.rows(host.invitations.models.Suppression)
    listed = [line.split("\t") for line in run(host).splitlines()]
    assert listed[0][:3] == [row.pseudonym[:12], str(case.tenant), "never_again"]
    assert [each[2] for each in listed] == ["never_again", "complained", "complained"]
    assert row.pseudonym not in run(host)
    assert len(run(host, "--tenant", str(other.tenant)).splitlines()) == 1
    assert run(host, "--tenant", str(other.tenant), "--lift", case.email) == "0 lifted\n"
    assert run(host, "--lift", case.email.upper()) == "1 lifted\n"
    assert run(host, "--lift", other.email) == "2 lifted\n"
    assert (run(host), remembered(host)) == ("", [])
    assert invite(host.client(case.admin), case.email)["status"] == "pending"
    failed = host.app.test_cli_runner().invoke(args=["invitations", "suppressions", "--lift", "no address"])
    assert failed.exit_code == 1
    assert failed.stderr.startswith("Error: email: ")
