"""R23: how many statements each act may run, the host's own hooks aside, on each database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations.current import get_state, override
from tests.hosts import PASSWORD, TENANCIES, Host, Tenancy, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, LIST, NO_TOKEN, PREVIEW, accept, copy, invite

#: The host's hooks that query, by what tests.hosts gives; the defaults of the package count as ours.
HOSTS_OWN = ("current_user", "tenant_is_active", "tenant_of", "role_of", "join", "create_user")


@dataclass
class Meter:
    """Statements by transaction: a new list begins with each commit."""

    spent: list[list[str]] = field(default_factory=lambda: [[]])
    aside: int = 0

    def statement(self, _connection: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        if not self.aside and not text.startswith("BEGIN"):  # which any other driver sends by itself
            self.spent[-1].append(text)

    def commit(self, _connection: Any) -> None:
        self.spent.append([])

    def exempt(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """``hook``, its statements not counted."""

        @wraps(hook)
        def free(*arguments: Any) -> Any:
            self.aside += 1
            try:
                return hook(*arguments)
            finally:
                self.aside -= 1

        return free

    @property
    def total(self) -> int:
        return sum(map(len, self.spent))


@contextmanager
def metered(host: Host, *hooks: str) -> Iterator[Meter]:
    """Counts what the block runs, but for what these hooks run."""
    meter, engine = Meter(), host.engine
    with host.app.app_context():
        given = {name: getattr(get_state().ctx.hooks, name) for name in hooks}
    with override(host.app, **{name: meter.exempt(hook) for name, hook in given.items() if hook is not None}):
        sa.event.listen(engine, "before_cursor_execute", meter.statement)
        sa.event.listen(engine, "commit", meter.commit)
        try:
            yield meter
        finally:
            sa.event.remove(engine, "before_cursor_execute", meter.statement)
            sa.event.remove(engine, "commit", meter.commit)


@pytest.fixture(params=["default", *TENANCIES])
def thrifty(request: pytest.FixtureRequest, database_url: str) -> Iterator[tuple[Host, tuple[str, ...]]]:
    """A host, and which of its hooks are its own; ``default``: all but ``current_user`` are the package's."""
    default = request.param == "default"
    tenancy: Tenancy = "tenant" if default else request.param
    overrides: dict[str, Any] = {"tenant_is_active": None} if default else {}
    with build(database_url, tenancy=tenancy, **overrides) as host:
        host.client(host.user("warm@example.com", "admin")).get(LIST)
        # the default can_invite runs nothing but role_of, which is the host's own where there are memberships
        own = (*HOSTS_OWN, "can_invite") if tenancy == "membership" else HOSTS_OWN
        yield host, ("current_user",) if default else own


Thrifty = tuple[Host, tuple[str, ...]]


@pytest.mark.in_turn
@pytest.mark.parametrize("capped", [True, False])
def test_invite(thrifty: Thrifty, capped: bool) -> None:
    """R23: inviting takes at most 8 statements in its transaction, and 3 more for sending the mail right away; with
    ``PENDING_MAX`` off at most 7, of which none locks or counts."""
    host, hooks = thrifty
    client = host.client(host.user("admin@example.com", "admin"))
    with host.app.app_context():
        config = get_state().ctx.config
    caps = {} if capped else {"config": replace(config, pending_max=None)}
    with override(host.app, **caps), metered(host, *hooks) as meter:
        invite(client, "guest@example.com", message="Hello", details={"a": 1})
    assert len(meter.spent[0]) <= 7 + capped, meter.spent
    assert any("count(" in each for each in meter.spent[0]) == capped
    assert capped or not any(re.search("BEGIN|FOR |LOCK|_turns", each) for each in meter.spent[0]), meter.spent
    assert sum(map(len, meter.spent[1:])) <= 3, meter.spent


#: What an ``Idempotency-Key`` adds: the look before, what locks the key (on MariaDB with its patience set and restored;
#: on SQLite nothing), and the answer.
KEY = {"sqlite": 2, "postgresql": 3, "mysql": 5}


@pytest.mark.in_turn
def test_a_key(thrifty: Thrifty) -> None:
    """R23: with an ``Idempotency-Key`` inviting takes at most 2, 3 or 5 statements more, depending on the database, and
    the answer again 2."""
    host, hooks = thrifty
    client = host.client(host.user("admin@example.com", "admin"))
    headers, spent = {"Idempotency-Key": "a key"}, []
    for email, sent in (("plain@example.com", {}), ("keyed@example.com", headers), ("keyed@example.com", headers)):
        with metered(host, *hooks) as meter:
            assert client.post(INVITE, json={"email": email}, headers=sent).status_code == 201
        spent.append(meter.total)
        plain, texts = email.startswith("plain"), [text for part in meter.spent for text in part]
        assert plain == (not any("user_invitation_requests" in text for text in texts))
    plain_call, keyed_call, again = spent
    assert keyed_call - plain_call <= KEY[host.engine.dialect.name]
    assert again <= 3


@pytest.mark.in_turn
@pytest.mark.parametrize("joining", [False, True])
def test_accept(thrifty: Thrifty, joining: bool) -> None:
    """R23: accepting takes at most 9 statements, for a new account and for one that joins: two of them look once more
    at the tenant and the inviter."""
    host, hooks = thrifty
    if joining and host.tenancy != "membership":
        return
    invite(host.client(host.user("admin@example.com", "admin")), "guest@example.com")
    guest = host.user("guest@example.com", tenant=host.tenant("Elsewhere")) if joining else None
    with metered(host, *hooks) as meter:
        assert accept(host.client(guest), host.outbox.token_to("guest@example.com")).status_code == 201
    assert meter.total <= 9, meter.spent


@pytest.mark.in_turn
def test_list(thrifty: Thrifty) -> None:
    """R23: a page takes at most 3 statements, whether it shows one invitation or a hundred."""
    host, hooks = thrifty
    client = host.client(host.user("admin@example.com", "admin"))
    made = invite(client, "guest@example.com")
    copy(host, made["id"], 100)
    counts = []
    for wanted in (1, 100):
        with metered(host, *hooks) as meter:
            page: Any = client.get(LIST, query_string={"limit": wanted}).json
        assert len(page["items"]) == wanted
        counts.append(meter.total)
    assert max(counts) <= 3
    assert counts[0] == counts[1]


@pytest.mark.in_turn
def test_desk(thrifty: Thrifty) -> None:
    """A page of the manager's desk takes at most 4 statements, whatever is searched for and however many there are; one
    of a single invitation, which tells what stands in its way, one more."""
    host, hooks = thrifty
    client = host.client(host.user("admin@example.com", "admin"))
    made = invite(client, "guest@example.com")
    lists, one = ("/invitations/", "/invitations/?q=p&status=pending&role=user"), f"/invitations/{made['id']}"
    copy(host, made["id"], 100)
    for page, most in (*((each, 4) for each in lists), (one, 5), (f"{one}/revoke", 5)):
        with metered(host, *hooks) as meter:
            assert client.get(page).status_code == 200
        assert meter.total <= most, meter.spent


@pytest.mark.in_turn
def test_desk_of_many(thrifty: Thrifty) -> None:
    """The desk's preview takes as many statements for a hundred people as for one, and the form none of ours."""
    host, hooks = thrifty
    client = host.client(host.user("admin@example.com", "admin"))
    form = client.get("/invitations/many").text
    seal = re.search(r'action="/invitations/many/preview".*?name="seal" value="([^"]+)"', form, re.DOTALL)
    assert seal
    counts = []
    for many in (1, 100):
        people = "\n".join(f"p{number}@example.com" for number in range(many))
        with metered(host, *hooks) as meter:
            page = client.post("/invitations/many/preview", data={"seal": seal[1], "people": people})
        assert page.text.count("<bdi>p") == many
        counts.append(meter.total)
    assert counts[0] == counts[1]
    assert max(counts) <= 7, counts


@pytest.mark.in_turn
@pytest.mark.parametrize("signed_in", [False, True])
def test_open_page(thrifty: Thrifty, signed_in: bool) -> None:
    """R23: the page that shows the offer takes at most 3 statements, whoever looks at it; the landing page none."""
    host, hooks = thrifty
    invite(host.client(host.user("admin@example.com", "admin")), "guest@example.com", message="Hello")
    client = host.client(host.user("guest@example.com", tenant=host.tenant("Elsewhere")) if signed_in else None)
    with metered(host, *hooks) as meter:
        assert client.get("/invitations/accept").status_code == 200
        assert meter.total == 0
        page = client.post("/invitations/open", data={"token": host.outbox.token_to("guest@example.com")})
    assert (page.status_code, "Hello" in page.text) == (200, True)
    assert meter.total <= 3, meter.spent


@pytest.mark.in_turn
@pytest.mark.parametrize("url", [PREVIEW, ACCEPT, DECLINE])
def test_malformed_token(thrifty: Thrifty, url: str) -> None:
    """A11, R23: what cannot be a token costs no statement at all; an unknown one costs one."""
    host, hooks = thrifty
    for token, cost in (("", 0), ("short", 0), ("A" * 44, 0), ("é" * 43, 0), (NO_TOKEN, 1)):
        with metered(host, *hooks) as meter:
            answer = host.client().post(url, json={"token": token, **({"password": PASSWORD} if url == ACCEPT else {})})
        assert answer.status_code == 404
        # an accept that is refused looks once more, for its line in the audit trail
        assert meter.total <= cost * 2, meter.spent


@pytest.mark.in_turn
def test_unauthenticated(thrifty: Thrifty) -> None:
    """A call without a user costs nothing."""
    host, hooks = thrifty
    with metered(host, *hooks) as meter:
        assert host.client().post(INVITE, json={"email": "a@example.com"}).status_code == 401
    assert meter.total == 0
