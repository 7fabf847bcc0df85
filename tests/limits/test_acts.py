"""Who is counted for what: inviters and tenants by recipients; holders of links by address and by token."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_invitations import InvalidRequest, RateLimited, acts
from flask_invitations.acts import Wanted
from flask_invitations.addresses import parse
from flask_invitations.current import caller, get_state
from flask_invitations.store.unit import Stale
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import (
    ACCEPT,
    DECLINE,
    DOCUMENT,
    INVITE,
    LIST,
    NO_TOKEN,
    PREVIEW,
    accept,
    invite,
    make,
    people,
    refused,
    unchanged,
)
from tests.test_budgets import metered

pytestmark = pytest.mark.in_turn

#: By such names the limits of a host are given here.
PREFIX = "INVITATIONS_RATELIMIT_"


@contextmanager
def limited(
    url: str, /, *, config: dict[str, Any] | None = None, hooks: Any = None, **rates: str | None
) -> Iterator[Host]:
    """A host with these limits and no others; what was counted for an earlier one is not counted for it."""
    given = {"SECRET_KEY": uuid.uuid4().hex} | {PREFIX + name.upper(): rate for name, rate in rates.items()}
    with build(url, config={**given, **(config or {})}, **(hooks or {})) as host:
        yield host


def too_many(answer: TestResponse) -> int:
    """Assert that an answer is the refusal; gives how long to wait."""
    refused(answer, 429, "rate-limited")
    wait = int(answer.headers["Retry-After"])
    assert wait >= 1
    assert answer.headers["Cache-Control"] == "no-store"
    return wait


def post(client: FlaskClient, email: str, **fields: Any) -> TestResponse:
    return client.post(INVITE, json={"email": email, **fields})


# Inviters


def test_one_budget(database_url: str) -> None:
    """E5: inviting, with and without an email, and sending again share what an inviter may; explaining costs nothing,
    and answers as if there were room."""
    with limited(database_url, invite="3/hour") as host:
        _, admin, *_ = people(host)
        client = host.client(admin)
        made = invite(client, "p1@example.com")
        for number in range(5):
            answer = client.post(f"{INVITE}?explain=true", json={"email": f"q{number}@example.com"})
            assert answer.json == {"allowed": True, "approval": False, "reasons": []}
        assert client.post(f"{LIST}/{made['id']}/resend").status_code == 200
        invite(client, "p2@example.com", mail=False)
        with unchanged(host), metered(host, "current_user") as meter:
            too_many(post(client, "p3@example.com"))
            too_many(client.post(f"{LIST}/{made['id']}/resend"))
        assert meter.total == 0
        answer = client.post(f"{INVITE}?explain=true", json={"email": "q@example.com"})
        assert answer.json == {"allowed": True, "approval": False, "reasons": []}
        assert client.delete(f"{LIST}/{made['id']}").status_code == 204


def test_refused_ones_count(database_url: str) -> None:
    """E5: what the rules refuse has cost what it costs: the limiter was asked before them. It was this inviter's."""
    with limited(database_url, invite="2/hour") as host:
        acme, admin, *_ = people(host)
        invite(host.client(admin), "p1@example.com")
        refused_one = post(host.client(admin), "p1@example.com")
        assert refused_one.status_code == 409
        too_many(post(host.client(admin), "p2@example.com"))
        invite(host.client(host.user("second@acme.example", "admin", acme)), "p2@example.com")


def test_tenants(database_url: str) -> None:
    """Inviters of a tenant share what it may, by whatever way they invite; another tenant has its own."""
    with limited(database_url, tenant="2/hour", invite="9/hour") as host:
        acme, admin, *_ = people(host)
        other = host.user("second@acme.example", "admin", acme)
        invite(host.client(admin), "p1@example.com")
        with host.sign_in(other):
            by = host.db.session.get(host.User, other)
            host.invitations.invite("p2@example.com", by=by)
            with pytest.raises(RateLimited) as refusal:
                host.invitations.invite("p3@example.com", by=by)
        assert 0 < refusal.value.retry_after <= 3600
        _, far, *_ = people(host, "Far")
        invite(host.client(far), "p3@example.com")


def test_the_system_is_under_no_limit(database_url: str) -> None:
    """Scripts and the command line invite as often as they like, and use up nothing."""
    with limited(database_url, tenant="1/hour", invite="1/hour") as host:
        acme, admin, *_ = people(host)
        with host.app.app_context():
            for number in range(3):
                host.invitations.invite(f"p{number}@example.com", tenant_id=acme)
        line = ["invitations", "invite", "--tenant", str(acme)]
        assert host.app.test_cli_runner().invoke(args=[*line, "p9@example.com"]).exit_code == 0
        invite(host.client(admin), "new@example.com")
        too_many(post(host.client(admin), "newer@example.com"))


def _many(host: Host, admin: Any, count: int) -> Any:
    with host.sign_in(admin):
        ctx = get_state().ctx
        rows = [Wanted(parse(f"m{number}@example.com")) for number in range(count)]
        return acts.invite_many(ctx, by=acts.manager(ctx, caller(ctx)), rows=rows).results


def test_many_by_http(database_url: str) -> None:
    """E5: both calls for many count each person, a dry run and revoking none."""
    with limited(database_url, invite="5/hour", tenant="9/hour") as host:
        _, admin, *_ = people(host)
        client, rows = host.client(admin), [{"email": f"b{number}@example.com"} for number in range(3)]
        assert client.post(f"{INVITE}/bulk", json={"invitations": rows, "dry_run": True}).status_code == 200
        made = client.post(f"{INVITE}/bulk", json={"invitations": rows}).json
        ids = [each["invitation"]["id"] for each in made["results"]]  # type: ignore[index]
        with unchanged(host):
            too_many(client.post(f"{INVITE}/bulk", json={"invitations": rows}))
            too_many(client.post(f"{LIST}/bulk", json={"action": "resend", "ids": ids}))
        assert client.post(f"{LIST}/bulk", json={"action": "resend", "ids": ids[:2]}).json["done"] == 2  # type: ignore[index]
        assert client.post(f"{LIST}/bulk", json={"action": "revoke", "ids": ids}).json["done"] == 3  # type: ignore[index]


def test_many_at_once(database_url: str) -> None:
    """E5: a call for many costs as many, all or nothing; one that could never fit is wrong, and names the number."""
    with limited(database_url, invite="4/hour", tenant="9/hour") as host:
        _, admin, *_ = people(host)
        invite(host.client(admin))
        with unchanged(host), pytest.raises(RateLimited):
            _many(host, admin, 4)
        with unchanged(host), pytest.raises(InvalidRequest) as refusal:
            _many(host, admin, 5)
        assert refusal.value.errors == {"invitations": ["Invite at most 4 people at a time."]}
        assert len(_many(host, admin, 3)) == 3
        too_many(post(host.client(admin), "p1@example.com"))


def test_once_a_call(database_url: str) -> None:
    """A unit that is run again is counted once, and so is an act in a transaction of the host's."""
    seen: list[str] = []

    def somebody_was_faster(draft: Any) -> None:
        seen.append(draft.email_key)
        if seen.count(draft.email_key) < 3:
            raise Stale

    hooks = {"check_invitee": somebody_was_faster}
    with limited(database_url, invite="2/hour", hooks=hooks) as host:
        _, admin, *_ = people(host)
        invite(host.client(admin), "p1@example.com")
        with host.sign_in(admin), host.invitations.unit():
            by = host.db.session.get(host.User, admin)
            host.invitations.invite("p2@example.com", by=by)
            with pytest.raises(RateLimited):
                host.invitations.invite("p3@example.com", by=by)
        assert len(seen) == 6
        assert len(host.rows(host.invitations.models.Invitation)) == 2


def test_limits_for(database_url: str) -> None:
    """The host's word for a tenant takes the place of the settings, each for itself; ``None`` is no limit."""
    plans: dict[Any, dict[str, Any]] = {}
    hooks = {"limits_for": lambda tenant_id: plans.get(tenant_id, {})}
    with limited(database_url, invite="1/hour", tenant="2/hour", hooks=hooks) as host:
        small, admin, *_ = people(host)
        large, boss, *_ = people(host, "Large")
        plans[large] = {"RATELIMIT_INVITE": "5/hour", "RATELIMIT_TENANT": None, "PENDING_MAX": 4}
        plans[small] = {"RATELIMIT_INVITE": None}
        for number in range(2):
            invite(host.client(admin), f"p{number}@example.com")
        too_many(post(host.client(admin), "p9@example.com"))
        for number in range(4):
            invite(host.client(boss), f"p{number}@example.com")
        refused(post(host.client(boss), "p9@example.com"), 409, "too-many-pending")
        too_many(post(host.client(boss), "p9@example.com"))


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (None, "NoneType"),
        (["RATELIMIT_INVITE"], "list"),
        ({"RATELIMIT_ACCEPT": "1/day"}, "'RATELIMIT_ACCEPT', which is no limit of a tenant"),
        ({"RATELIMIT_INVITE": "often"}, "a RATELIMIT_INVITE that is no rate limit"),
        ({"RATELIMIT_TENANT": 7}, "a RATELIMIT_TENANT that is no rate limit"),
        ({"RATELIMIT_TENANT": "0/day"}, "a RATELIMIT_TENANT that is no rate limit"),
        ({"PENDING_MAX": "7"}, "a PENDING_MAX that is no whole number"),
        ({"PENDING_MAX": True}, "a PENDING_MAX that is no whole number"),
        ({"PENDING_MAX": -1}, "a PENDING_MAX that is no whole number"),
    ],
)
def test_limits_for_is_not_believed(tmp_path: Any, answer: Any, what: str) -> None:
    """What is no limit of a tenant names the hook."""
    with limited(f"sqlite:///{tmp_path}/x.sqlite3", hooks={"limits_for": lambda tenant_id: answer}) as host:
        _, admin, *_ = people(host)
        with pytest.raises(TypeError, match=rf"^limits_for returned {what}\. Return a mapping"):
            post(host.client(admin), "p1@example.com")


# Holders of links


def _from(host: Host, remote_addr: str | None, **headers: str) -> FlaskClient:
    client = host.client()
    client.environ_base["REMOTE_ADDR"] = remote_addr  # type: ignore[assignment]
    client.environ_base.update({f"HTTP_{name}": value for name, value in headers.items()})
    return client


def test_where_a_call_comes_from(database_url: str) -> None:
    """G3: looking, accepting and declining share a budget for each address; what a client says of its address is worth
    nothing, and what cannot be a token counts too."""
    with limited(database_url, accept="5/minute") as host:
        case = make(host, "pending")
        client = _from(host, "192.0.2.1")
        assert client.post(PREVIEW, json={"token": case.token}).status_code == 200
        refused(client.post(PREVIEW, json={"token": "no token"}), 404, "invitation-not-found")
        refused(client.post(DECLINE, json={"token": NO_TOKEN}), 404, "invitation-not-found")
        refused(accept(client, "short"), 404, "invitation-not-found")
        refused(accept(client, case.token, "weak"), 422, "invalid-request")
        names = ("X_FORWARDED_FOR", "X_REAL_IP", "FORWARDED", "CF_CONNECTING_IP", "X_FORWARDED_HOST")
        with unchanged(host), metered(host) as meter:
            for number, url in enumerate((PREVIEW, ACCEPT, DECLINE)):
                liar = _from(host, "192.0.2.1", **dict.fromkeys(names, f"198.51.100.{number}"))
                body = {"token": case.token, **({"password": PASSWORD} if url == ACCEPT else {})}
                too_many(liar.post(url, json=body))
        assert meter.total == 0
        assert accept(_from(host, "192.0.2.2"), case.token).status_code == 201


def test_ipv6(database_url: str) -> None:
    """G3: of IPv6 a /64 is one caller; an IPv4 address in IPv6 is itself."""
    with limited(database_url, accept="1/minute") as host:
        for first, same, other in (
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
            ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
        ):
            body = {"token": NO_TOKEN}
            assert _from(host, first).post(PREVIEW, json=body).status_code == 404
            too_many(_from(host, same).post(PREVIEW, json=body))
            assert _from(host, other).post(PREVIEW, json=body).status_code == 404


def test_no_address(database_url: str) -> None:
    """Where no address is known, as in a script or behind a socket, none is counted."""
    with limited(database_url, accept="1/minute") as host:
        case = make(host, "pending")
        for _ in range(3):
            assert _from(host, "").post(PREVIEW, json={"token": case.token}).status_code == 200
        with host.app.app_context():
            for _ in range(3):
                assert host.invitations.preview(case.token).obstacle is None


def test_python_in_a_request(database_url: str) -> None:
    """From Python the same counts where a request is being answered, as from the host's own view."""
    with limited(database_url, accept="1/minute") as host:
        case = make(host, "pending")
        with host.app.test_request_context(environ_base={"REMOTE_ADDR": "192.0.2.1"}):
            assert host.invitations.preview(case.token).obstacle is None
            with pytest.raises(RateLimited):
                host.invitations.accept(case.token, password=PASSWORD)


def test_a_token_is_slowed_and_not_locked(database_url: str) -> None:
    """G3, B12: too many accepts with one link have to wait, wherever they come from; then it still opens. Looking at
    the offer is not slowed, and another link neither."""
    with limited(database_url, token="2/2 seconds") as host:
        case, other = make(host, "pending"), make(host, "pending", "Other")
        for number in range(2):
            refused(accept(_from(host, f"192.0.2.{number}"), case.token, "weak"), 422, "invalid-request")
        with unchanged(host), metered(host) as meter:
            wait = too_many(accept(_from(host, "192.0.2.9"), case.token))
        assert meter.total == 0
        assert host.client().post(PREVIEW, json={"token": case.token}).status_code == 200
        assert accept(host.client(), other.token).status_code == 201
        time.sleep(wait)
        assert accept(host.client(), case.token).status_code == 201


def test_a_fresh_link(database_url: str) -> None:
    """E5: a fresh link that is sent counts as its inviter's, once; where there is no room, nobody is told, and a link
    that cannot be renewed now uses up nothing."""
    config = {"INVITATIONS_FRESH_LINK": "send"}
    with limited(database_url, invite="3/hour", config=config) as host:
        live = make(host, "pending")
        with host.app.app_context():
            for _ in range(5):
                host.invitations.request_link(live.token)
        case = make(host, "overdue", "Other")
        with host.app.app_context():
            host.invitations.request_link(case.token)
            host.invitations.request_link(case.token)
        assert len(host.outbox.messages) == 3
        for client in (host.client(live.admin), host.client(live.admin), host.client(case.admin)):
            invite(client, f"last{len(host.outbox.messages)}@example.com")
        too_many(post(host.client(live.admin), "more@example.com"))
        too_many(post(host.client(case.admin), "more@example.com"))
    with limited(database_url, invite="1/hour", accept="1/minute", config=config) as host:
        case = make(host, "overdue", "Third")
        with unchanged(host), host.app.app_context():
            host.invitations.request_link(case.token)
        with host.app.test_request_context(environ_base={"REMOTE_ADDR": "192.0.2.1"}):
            host.invitations.request_link(NO_TOKEN)
            with pytest.raises(RateLimited):
                host.invitations.request_link(case.token)


# Pages


def test_pages(database_url: str) -> None:
    """A page is one call, whatever it asks behind the scenes, and its refusal says in words what to do."""
    with limited(database_url, accept="3/minute") as host:
        case = make(host, "pending")
        client = _from(host, "192.0.2.1")
        pasted = f"https://app.example.com/x?a={'b' * 43}&c={NO_TOKEN}&t={case.token}"
        assert client.post("/invitations/open", data={"token": pasted}).status_code == 200
        weak = client.post("/invitations/accept", data={"token": case.token, "password": "weak"})
        assert weak.status_code == 422
        assert client.post("/invitations/decline", data={"token": "none"}).status_code == 404
        for page in ("open", "accept", "decline"):
            with unchanged(host), metered(host) as meter:
                answer = client.post(f"/invitations/{page}", data={"token": pasted, "password": PASSWORD})
            assert (answer.status_code, meter.total) == (429, 0)
            assert int(answer.headers["Retry-After"]) >= 1
            assert "Please wait a little" in answer.text
            assert "Wait a while, then open the link in the email again." in answer.text
            assert case.token not in answer.text
        assert client.get("/invitations/accept").status_code == 200


def test_desk(database_url: str) -> None:
    """The desk says it in words, keeps what was typed, and tells how long to wait."""
    with limited(database_url, invite="1/hour") as host:
        _, admin, *_ = people(host)
        made = invite(host.client(admin))
        client = host.client(admin)
        seal = client.get("/invitations/").text.partition('name="seal" value="')[2].partition('"')[0]
        with unchanged(host):
            typed = {"seal": seal, "email": "typed@example.com", "role": "user"}
            answer = client.post("/invitations/invite", data=typed)
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 3600
        assert "Too many invitations were sent in a short time." in answer.text
        assert 'value="typed@example.com"' in answer.text
        page = client.get(f"/invitations/{made['id']}").text
        seal = page.partition("/resend")[2].partition('name="seal" value="')[2].partition('"')[0]
        answer = client.post(f"/invitations/{made['id']}/resend", data={"seal": seal})
        assert (answer.status_code, "Retry-After" in answer.headers) == (429, True)
        assert "Too many invitations were sent in a short time." in answer.text


def test_openapi(tmp_path: Any) -> None:
    """The document says which calls may be told to wait, and where it stands for how long."""
    with limited(f"sqlite:///{tmp_path}/x.sqlite3") as host:
        document: Any = host.client().get(DOCUMENT).json
    told = {
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
        if "Retry-After" in operation["responses"].get("429", {}).get("headers", {})
    }
    by_managers = {"invite", "invite_many", "resend_invitation", "change_many"}
    assert told == by_managers | {"preview_invite", "accept_invite", "decline_invite"}
    busy = document["paths"]["/invite"]["post"]["responses"]["503"]["headers"]
    assert busy["Retry-After"]["schema"]["type"] == "integer"


# In place of the limiter


def test_rate_limit(database_url: str) -> None:
    """The hook takes the place of the limiter: it is asked by scope, with keys that tell nothing, and its word holds; a
    scope that is off is not asked."""
    asked: list[tuple[str, str, int]] = []
    waits: dict[str, float] = {}

    def rate_limit(scope: str, key: str, cost: int) -> float | None:
        asked.append((scope, key, cost))
        return waits.get(scope)

    rates: Any = dict.fromkeys(("accept", "token", "invite", "recipient"), "1/day")
    with limited(database_url, **rates, hooks={"rate_limit": rate_limit}) as host:
        case = make(host, "pending")
        _many(host, case.admin, 2)
        refused(accept(host.client(), case.token, "weak"), 422, "invalid-request")
        assert [(scope, cost) for scope, _, cost in asked] == [
            ("invite", 1),
            ("recipient", 1),
            ("invite", 2),
            ("recipient", 1),
            ("recipient", 1),
            ("accept", 1),
            ("token", 1),
        ]
        told = repr(asked)
        assert not [each for each in (case.token, case.email, "127.0.0.1", "m1@") if each in told]
        assert asked[0][1] == asked[2][1]
        waits["token"] = 6.5
        assert too_many(accept(host.client(), case.token)) == 7
        waits["token"] = 1e300
        assert too_many(accept(host.client(), case.token)) == 30 * 86_400
        waits.update(token=0, invite=3)
        assert too_many(accept(host.client(), case.token)) == 1
        assert too_many(post(host.client(case.admin), "p1@example.com")) == 3


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (True, "bool"),
        (False, "bool"),
        ("7", "str"),
        (-1, "-1, which is no time to wait"),
        (float("nan"), "nan, which is no time to wait"),
        (float("inf"), "inf, which is no time to wait"),
    ],
)
def test_rate_limit_is_not_believed(tmp_path: Any, answer: Any, what: str) -> None:
    """What is no time to wait names the hook."""
    url = f"sqlite:///{tmp_path}/x.sqlite3"
    wrong = pytest.raises(TypeError, match=rf"^rate_limit returned {what}\. Return the seconds")
    with limited(url, accept="9/day", hooks={"rate_limit": lambda scope, key, cost: answer}) as host, wrong:
        host.client().post(PREVIEW, json={"token": NO_TOKEN})


def test_statements_are_as_many(database_url: str) -> None:
    """R23: limits cost no statement."""
    counts = []
    for rate in (None, "9/minute"):
        rates: Any = dict.fromkeys(("accept", "token", "invite", "tenant", "recipient"), rate)
        with limited(database_url, **rates) as host:
            _, admin, *_ = people(host, f"Acme {rate}".replace("/", " "))
            with metered(host, "current_user") as meter:
                made = invite(host.client(admin), f"{rate}@example.com".replace("/", "."))
                host.client(admin).post(f"{LIST}/{made['id']}/resend")
                token = host.outbox.token_to(made["email"])
                host.client().post(PREVIEW, json={"token": token})
                assert accept(host.client(), token).status_code == 201
            counts.append(meter.total)
    assert counts[0] == counts[1]
