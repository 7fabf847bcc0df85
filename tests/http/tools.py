"""What the tests of behaviour share: the calls by name, invitations in every state, and the exact shapes of answers."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_invitations import DeliveryState
from tests.hosts import PASSWORD, Host

API = "/api/v1/users"
INVITE, LIST, DOCUMENT = f"{API}/invite", f"{API}/invitations", f"{API}/invitations/openapi.json"
PREVIEW, ACCEPT, DECLINE = f"{API}/accept-invite/preview", f"{API}/accept-invite", f"{API}/decline-invite"

#: Well-formed, and nobody's.
NO_TOKEN, NO_ID = "A" * 43, uuid.UUID(int=7 << 76 | 2 << 62)
#: The address that tests invite, unless they say another.
GUEST = "guest@example.com"

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Maybe:
    """``None``, or what ``shape`` says."""

    shape: Any


ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
KEY_SHAPES: Mapping[str, Any] = {"int": int, "uuid": UUID, "str": re.compile(r"k-[0-9a-f]{32}")}


def check(value: Any, shape: Any, where: str = "answer") -> None:
    """Assert that JSON has exactly this shape: a type, a pattern, ``Maybe``, ``[each]``, or a dict of all its keys."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        assert value.keys() == shape.keys(), where
        for name, inner in shape.items():
            check(value[name], inner, f"{where}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for place, each in enumerate(value):
            check(each, shape[0], f"{where}[{place}]")
    elif isinstance(shape, Maybe):
        if value is not None:
            check(value, shape.shape, where)
    elif isinstance(shape, re.Pattern):
        assert isinstance(value, str), where
        assert shape.fullmatch(value), f"{where}: {value}"
    else:
        assert type(value) is shape, f"{where}: {value!r}"


def shapes(host: Host) -> dict[str, Any]:
    """The shapes of the API's answers, with the keys of this host in them."""
    key: Any = KEY_SHAPES[host.key]
    tenant: Any = type(None) if host.tenancy == "none" else key
    invitation: dict[str, Any] = {
        "id": ID,
        "email": str,
        "role": str,
        "status": re.compile("pending|accepted|declined|revoked|expired"),
        "tenant_id": tenant,
        "message": Maybe(str),
        "details": Maybe(dict),
        "locale": Maybe(str),
        "invited_by": Maybe({"id": key, "email": str}),
        "expires_at": INSTANT,
        "created_at": INSTANT,
        "updated_at": INSTANT,
        "accepted_at": Maybe(INSTANT),
        "accepted_by_id": Maybe(key),
        "delivery": {
            "state": re.compile("|".join(DeliveryState)),
            "attempts": int,
            "last_attempt_at": Maybe(INSTANT),
            "sent_at": Maybe(INSTANT),
            "error": Maybe(str),
        },
    }
    event = {
        "id": ID,
        "type": str,
        "at": INSTANT,
        "actor_id": Maybe(key),
        "remote_addr": Maybe(str),
        "user_agent": Maybe(str),
        "details": Maybe(dict),
    }
    offer = {
        "email": str,
        "role": str,
        "status": str,
        "tenant": {"id": tenant, "name": str},
        "invited_by": Maybe({"email": str}),
        "message": Maybe(str),
        "expires_at": INSTANT,
        "account_exists": bool,
        "obstacle": Maybe({"code": str, "detail": str}),
    }
    return {
        "invitation": invitation,
        "details": {**invitation, "obstacle": Maybe({"code": str, "detail": str})},
        "page": {"items": [invitation], "next_cursor": Maybe(str)},
        "events": {"items": [event], "next_cursor": Maybe(str)},
        "offer": offer,
        "acceptance": {
            "user": {"id": key, "email": str, "role": str, "tenant_id": tenant},
            "invitation": {
                **{name: invitation[name] for name in ("id", "email", "role", "status", "tenant_id")},
                "accepted_at": INSTANT,
            },
        },
    }


def refused(answer: TestResponse, status: int, code: str, **evidence: Any) -> dict[str, Any]:
    """Assert that an answer is this refusal, the whole problem object of it; gives that object."""
    assert (answer.status_code, (answer.json or {}).get("code")) == (status, code), answer.text
    assert answer.mimetype == "application/problem+json"
    body: dict[str, Any] = answer.get_json()
    detail = body.pop("detail")
    assert re.fullmatch(r"[A-Z][^\n]{10,}\.", detail), detail
    wanted = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code, **evidence}
    if code == "invalid-request" and not evidence:
        check_complaints(body.pop("errors"))
    assert body == wanted
    return answer.get_json()  # type: ignore[no-any-return]


def check_complaints(errors: Any) -> None:
    """Assert that ``errors`` maps fields to lists of sentences (or, inside of an object, to such a map)."""
    assert isinstance(errors, dict)
    assert errors
    for messages in errors.values():
        if isinstance(messages, dict):
            check_complaints(messages)
        else:
            check(messages, [str])
            assert messages


def copy(host: Host, made: str, count: int) -> None:
    """Write so many more pending invitations straight into the tables, like the one with this id; a moment apart."""
    models = host.invitations.models
    for model, column in ((models.Invitation, "id"), (models.Delivery, "invitation_id")):
        (row,) = host.rows(model, **{column: uuid.UUID(made)})
        like = {name.key: getattr(row, name.key) for name in model.__table__.columns}
        copies = []
        for number in range(1, count + 1):
            key, moment = f"{number:064x}", like["created_at"] + timedelta(microseconds=number)
            fresh: dict[str, Any] = {"id": uuid.UUID(int=row.id.int + number), "created_at": moment}
            if model is models.Invitation:
                unique = {"token_hash": key, "pending_key": key, "previous_token_hash": None}
                fresh |= {**unique, "email": f"p{number}@example.com", "email_key": f"p{number}@example.com"}
            else:
                fresh["invitation_id"] = uuid.UUID(int=uuid.UUID(made).int + number)
            copies.append({**like, **fresh})
        with host.engine.begin() as connection:
            connection.execute(sa.insert(model.__table__), copies)


Rows = dict[str, list[tuple[Any, ...]]]


def snapshot(host: Host) -> Rows:
    """Every row of every table, the host's own included."""
    with host.engine.connect() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(sa.select(table)).all()), key=repr)
            for table in host.db.metadata.sorted_tables
        }


def changed(before: Rows, after: Rows) -> set[str]:
    """The names of the tables that are no longer as they were."""
    return {name for name in before if before[name] != after[name]}


@contextmanager
def unchanged(host: Host) -> Iterator[None]:
    """Assert that the block leaves every row of every table as it was."""
    before = snapshot(host)
    yield
    assert changed(before, snapshot(host)) == set()


def invite(client: FlaskClient, email: str = GUEST, **fields: Any) -> dict[str, Any]:
    """Invite by HTTP, and give the invitation."""
    answer = client.post(INVITE, json={"email": email, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.get_json()
    return made


def accept(client: FlaskClient, token: str, password: str | None = PASSWORD, **fields: Any) -> TestResponse:
    """Accept by HTTP."""
    return client.post(ACCEPT, json={"token": token, "password": password, **fields})


def set_columns(host: Host, model: Any, row_id: Any, **columns: Any) -> None:
    """Change a row of the host's own behind our back."""
    with host.engine.begin() as connection:
        table = model.__table__
        connection.execute(sa.update(table).where(table.c.id == row_id).values(**columns))


def delete_row(host: Host, model: Any, row_id: Any) -> None:
    """Delete a row of the host's own behind our back."""
    with host.engine.begin() as connection:
        table = model.__table__
        connection.execute(sa.delete(table).where(table.c.id == row_id))


@dataclass
class Case:
    """One invitation in some state, in a tenant of its own, and the people around it."""

    host: Host
    admin: Any
    plain: Any
    stranger: Any
    tenant: Any
    email: str
    id: str
    token: str

    def client(self, who: str) -> FlaskClient:
        """A client of ``nobody``, the ``admin``, the ``plain`` member, the ``stranger`` (an owner elsewhere) or the
        account of the invited address (``invitee``)."""
        if who == "nobody":
            return self.host.client()
        if who == "invitee":
            return self.host.client(self.invitee, self.tenant)
        return self.host.client(getattr(self, who))

    @property
    def invitee(self) -> Any:
        """The id of the account of the invited address."""
        return self.host.rows(self.host.User, email=self.email)[0].id

    @property
    def url(self) -> str:
        return f"{LIST}/{self.id}"


def people(host: Host, name: str = "Acme", admin_role: str = "admin") -> tuple[Any, Any, Any, Any]:
    """A tenant with an admin and a plain member, and an owner of another one: (tenant, admin, plain, stranger)."""
    found, slug = host.rows(host.User, email="owner@elsewhere.example"), name.lower()
    with host.at_once():
        tenant, other = host.tenant(name), host.tenant("Elsewhere")
        admin = host.user(f"admin@{slug}.example", admin_role, tenant)
        plain = host.user(f"plain@{slug}.example", "user", tenant)
        stranger = found[0].id if found else host.user("owner@elsewhere.example", "owner", other)
    return tenant, admin, plain, stranger


def make(host: Host, state: str, name: str = "Acme", **fields: Any) -> Case:
    """An invitation in ``state``, made by HTTP in the tenant ``name``; see the functions below."""
    tenant, admin, plain, stranger = people(host, name)
    email = f"guest@{name.lower()}.example"
    made = invite(host.client(admin), email, **fields)
    case = Case(host, admin, plain, stranger, tenant, email, made["id"], host.outbox.token_to(email))
    STATES[state](case)
    return case


def _pending(_case: Case) -> None:
    """As it was made."""


def _overdue(case: Case) -> None:
    case.host.clock.tick(WEEK)


def _swept(case: Case) -> None:
    _overdue(case)
    with case.host.app.app_context():
        case.host.invitations.sweep()


def _accepted(case: Case) -> None:
    assert accept(case.host.client(), case.token).status_code == 201


def _declined(case: Case) -> None:
    assert case.host.client().post(DECLINE, json={"token": case.token}).status_code == 200


def _never_again(case: Case) -> None:
    body = {"token": case.token, "never_again": True}
    assert case.host.client().post(DECLINE, json=body).status_code == 200


def _revoked(case: Case) -> None:
    assert case.host.client(case.admin).delete(case.url).status_code == 204


def _replaced(case: Case) -> None:
    """``token`` is the one before the current."""
    assert case.host.client(case.admin).post(f"{case.url}/resend").status_code == 200


def _replaced_overdue(case: Case) -> None:
    _replaced(case)
    _overdue(case)


def _forgotten(case: Case) -> None:
    """``token`` is the one before the one before the current."""
    _replaced(case)
    _replaced(case)


def _inactive(case: Case) -> None:
    set_columns(case.host, case.host.Tenant, case.tenant, active=False)


def _inviter_deleted(case: Case) -> None:
    delete_row(case.host, case.host.User, case.admin)
    case.admin = case.host.user(f"second@{case.email.partition('@')[2]}", "admin", case.tenant)


def _inviter_left(case: Case) -> None:
    _drop_out(case.host, case.admin)
    case.admin = case.host.user(f"second@{case.email.partition('@')[2]}", "admin", case.tenant)


def _drop_out(host: Host, user_id: Any) -> None:
    if host.tenancy == "tenant":
        set_columns(host, host.User, user_id, tenant_id=None)
        return
    with host.engine.begin() as connection:
        connection.execute(sa.delete(host.Membership.__table__).where(host.Membership.user_id == user_id))


def _inviter_demoted(case: Case) -> None:
    set_role(case.host, case.admin, "user")
    case.admin = case.host.user(f"second@{case.email.partition('@')[2]}", "admin", case.tenant)


def set_role(host: Host, user_id: Any, role: str) -> None:
    """Give a user another role, behind our back."""
    if host.tenancy == "membership":
        with host.engine.begin() as connection:
            table = host.Membership.__table__
            connection.execute(sa.update(table).where(table.c.user_id == user_id).values(role=role))
    else:
        set_columns(host, host.User, user_id, role=role)


def _account_elsewhere(case: Case) -> None:
    case.host.user(case.email, "user", case.host.tenant("Elsewhere"))


def _account_unverified(case: Case) -> None:
    case.host.user(case.email, "user", case.host.tenant("Elsewhere"), verified=False)


def _account_member(case: Case) -> None:
    case.host.user(case.email, "user", case.tenant)


def _bounced(case: Case) -> None:
    """The provider says that the mail came back."""
    (mail,) = case.host.rows(case.host.invitations.models.Delivery, invitation_id=uuid.UUID(case.id))
    with case.host.app.app_context():
        assert case.host.invitations.record_delivery(mail.id, "bounced")


STATES: Mapping[str, Any] = {
    "pending": _pending,
    "overdue": _overdue,
    "swept": _swept,
    "accepted": _accepted,
    "declined": _declined,
    "never again": _never_again,
    "revoked": _revoked,
    "replaced": _replaced,
    "replaced, overdue": _replaced_overdue,
    "forgotten": _forgotten,
    "tenant inactive": _inactive,
    "inviter deleted": _inviter_deleted,
    "inviter left": _inviter_left,
    "inviter demoted": _inviter_demoted,
    "account elsewhere": _account_elsewhere,
    "account unverified": _account_unverified,
    "account member": _account_member,
    "bounced": _bounced,
}
