"""The matrix: each rule on each path, and what it says there. A refusal writes nothing and sends nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from flask_invitations import AddressNotAllowed, InvitationError
from flask_invitations.current import get_state, override
from flask_invitations.model.states import Reason
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import ACCEPT, DECLINE, INVITE, LIST, PREVIEW, delete_row, set_columns, set_role, snapshot

TTL, BEFORE, RETENTION = timedelta(hours=48), timedelta(hours=24), timedelta(days=90)
CONFIG = {
    "INVITATIONS_DELIVERY": "queue",
    "INVITATIONS_REMIND_BEFORE": BEFORE,
    "INVITATIONS_FRESH_LINK": "send",
    "INVITATIONS_TTL": TTL,
}
EMAIL = "guest@example.com"


class SecondFactor(InvitationError):
    """A refusal of the host's own."""

    code = "second-factor"
    status = 403
    sentence = "Set up a second factor first."


@dataclass
class Scene:
    """An invitation, or none yet, and the people around it; ``colleague`` is the one who acts now."""

    host: Host
    tenant: Any
    inviter: Any
    colleague: Any
    hooks: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Scene:  # noqa: PYI034 - there are no further scenes
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.close()

    @property
    def row(self) -> Any:
        return self.host.rows(self.host.invitations.models.Invitation)[-1]

    @property
    def token(self) -> str:
        return self.host.outbox.token_to(EMAIL)

    @property
    def deliveries(self) -> list[Any]:
        return self.host.rows(self.host.invitations.models.Delivery)

    def invite(self, by: Any = None, role: str = "user", **fields: Any) -> Any:
        body = {"email": EMAIL, "role": role, **fields}
        return self.host.client(self.inviter if by is None else by).post(INVITE, json=body)

    def deliver(self) -> None:
        with self.host.app.app_context():
            self.host.invitations.deliver()

    def override(self, **hooks: Any) -> None:
        self.hooks.enter_context(override(self.host.app, **hooks))


# What stands in the way


def clear(_scene: Scene) -> None:
    """Nothing."""


def tenant_inactive(scene: Scene) -> None:
    set_columns(scene.host, scene.host.Tenant, scene.tenant, active=False)


def inviter_deleted(scene: Scene) -> None:
    delete_row(scene.host, scene.host.User, scene.inviter)


def inviter_left(scene: Scene) -> None:
    set_columns(scene.host, scene.host.User, scene.inviter, tenant_id=None)


def inviter_demoted(scene: Scene) -> None:
    set_role(scene.host, scene.inviter, "user")


def caller_below(scene: Scene) -> None:
    """Those who act now may grant nothing above ``viewer``."""
    colleague = scene.colleague

    def can_invite(user: Any, tenant_id: Any, role: str | None) -> bool:
        return user.id != colleague or role in (None, "viewer")

    scene.override(can_invite=can_invite)


def address_refused(scene: Scene) -> None:
    def check_invitee(draft: Any) -> None:
        assert (draft.email_key, draft.domain, draft.tenant_id) == (EMAIL, "example.com", scene.tenant)
        raise AddressNotAllowed

    scene.override(check_invitee=check_invitee)


def bounced(scene: Scene) -> None:
    """An earlier email to the address came back, whatever became of that invitation (P4)."""
    if not scene.deliveries:
        assert scene.invite().status_code == 201
        scene.deliver()
        report(scene, "complained")
        assert scene.host.client(scene.inviter).delete(f"{LIST}/{scene.row.id}").status_code == 204
        scene.host.outbox.clear()
    else:
        scene.deliver()
        report(scene, "bounced")


def suppressed(scene: Scene) -> None:
    """The invitee wants nothing from this tenant, and said so while the invitation was made."""
    with scene.host.app.app_context():
        ctx = get_state().ctx
        names = ctx.pseudonyms.of(scene.tenant, EMAIL)
        ctx.unit.run(lambda: ctx.store.suppressions.add(scene.tenant, names, Reason.NEVER_AGAIN, ctx.now()))


def report(scene: Scene, event: str) -> None:
    with scene.host.app.app_context():
        assert scene.host.invitations.record_delivery(scene.deliveries[0].id, event)


def member(scene: Scene) -> None:
    """The address became a member by another way (P3)."""
    scene.host.user(EMAIL, "user", scene.tenant)


def account(scene: Scene) -> None:
    """The address has an account in another tenant, and accounts cannot join (P5)."""
    scene.host.user(EMAIL, "user", scene.host.tenant("Elsewhere"))


def already_invited(scene: Scene) -> None:
    if not scene.deliveries:
        assert scene.invite().status_code == 201


def gated(scene: Scene) -> None:
    def check_acceptance(_invitation: Any, _user: Any) -> None:
        raise SecondFactor

    scene.override(check_acceptance=check_acceptance)


def revoked(scene: Scene) -> None:
    if scene.deliveries:
        assert scene.host.client(scene.inviter).delete(f"{LIST}/{scene.row.id}").status_code == 204


def expired(scene: Scene) -> None:
    scene.host.clock.tick(TTL)


SITUATIONS: Mapping[str, Callable[[Scene], None]] = {
    each.__name__: each
    for each in (
        clear,
        tenant_inactive,
        inviter_deleted,
        inviter_left,
        inviter_demoted,
        caller_below,
        address_refused,
        bounced,
        suppressed,
        member,
        account,
        already_invited,
        gated,
        revoked,
        expired,
    )
}

# The paths: each gives the code of what stopped it, or None where it went through


def by_invite(scene: Scene, situation: Callable[[Scene], None]) -> str | None:
    situation(scene)
    return refused(scene, lambda: scene.invite(scene.colleague))


def by_invite_in_unit(scene: Scene, situation: Callable[[Scene], None]) -> str | None:
    situation(scene)
    return refused(scene, lambda: in_unit(scene, "invite", EMAIL, role="user"))


def by_resend(scene: Scene, situation: Callable[[Scene], None]) -> str | None:
    sent(scene)
    situation(scene)
    url = f"{LIST}/{scene.row.id}/resend"
    return refused(scene, lambda: scene.host.client(scene.colleague).post(url))


def by_resend_in_unit(scene: Scene, situation: Callable[[Scene], None]) -> str | None:
    sent(scene)
    situation(scene)
    return refused(scene, lambda: in_unit(scene, "resend", scene.row.id))


def by_queued_email(scene: Scene, situation: Callable[[Scene], None]) -> str | None:
    assert scene.invite().status_code == 201
    situation(scene)
    return emailed(scene)


def by_reminder(scene: Scene, situation: Callable[[Scene], None]) -> str | None:
    sent(scene)
    scene.host.clock.tick(TTL - BEFORE)
    situation(scene)
    with scene.host.app.app_context():
        scene.host.invitations.sweep()
    return emailed(scene)


def by_fresh_link(scene: Scene, situation: Callable[[Scene], None]) -> str | None:
    """Tells nobody why: a refusal is that nothing happened."""
    sent(scene)
    token = scene.token
    scene.host.clock.tick(TTL)
    situation(scene)
    before = snapshot(scene.host)
    with scene.host.app.app_context():
        scene.host.invitations.request_link(token)
    if snapshot(scene.host) != before:
        return emailed(scene)
    return "refused"


def by_preview(scene: Scene, situation: Callable[[Scene], None]) -> str | None:
    sent(scene)
    token = scene.token
    situation(scene)
    before = snapshot(scene.host)
    answer: Any = scene.host.client().post(PREVIEW, json={"token": token}).json
    assert snapshot(scene.host) == before
    return code_of(answer)


def code_of(preview: Mapping[str, Any]) -> str | None:
    """What a preview says stands in the way."""
    obstacle = preview if "code" in preview else preview["obstacle"]
    return None if obstacle is None else str(obstacle["code"])


def by_page(scene: Scene, situation: Callable[[Scene], None]) -> str | None:
    """The page offers to accept, or not; in the words of the very refusal that the preview names."""
    token = sent(scene)
    situation(scene)
    page = scene.host.client().post("/invitations/open", data={"token": token})
    offered = "/invitations/accept" in [form.partition('"')[0] for form in page.text.split('action="')[1:]]
    preview: Any = scene.host.client().post(PREVIEW, json={"token": token}).json
    code = code_of(preview)
    assert offered == (code is None)
    assert page.status_code == (preview["status"] if "code" in preview else 200)
    return code


def by_accept(scene: Scene, situation: Callable[[Scene], None]) -> str | None:
    token = sent(scene)
    situation(scene)
    body = {"token": token, "password": PASSWORD}
    return refused(scene, lambda: scene.host.client().post(ACCEPT, json=body), audited=True)


def by_accept_in_unit(scene: Scene, situation: Callable[[Scene], None]) -> str | None:
    token = sent(scene)
    situation(scene)
    return refused(scene, lambda: in_unit(scene, "accept", token, password=PASSWORD), audited=True)


def sent(scene: Scene) -> str:
    """An invitation that was mailed; its token."""
    assert scene.invite().status_code == 201
    scene.deliver()
    return scene.token


def refused(scene: Scene, act: Callable[[], Any], *, audited: bool = False) -> str | None:
    before, mails = snapshot(scene.host), len(scene.host.outbox.messages)
    answer = act()
    code = str(answer.json["code"]) if answer.status_code >= 400 else None
    if code is not None:
        after = snapshot(scene.host)
        differ = {name for name in before if before[name] != after[name]}
        assert differ <= ({"user_invitation_events"} if audited else set())
        assert len(scene.host.outbox.messages) == mails
    return code


@dataclass
class Answer:
    """What a call from Python came to, like an answer of the API."""

    status_code: int
    json: Mapping[str, Any]


def in_unit(scene: Scene, name: str, *given: Any, **more: Any) -> Answer:
    """The act inside of a unit of the host's, which catches the refusal and goes on."""
    host = scene.host
    with host.app.app_context():
        by = {} if name == "accept" else {"by": host.db.session.get(host.User, scene.colleague)}
        with host.invitations.unit():
            try:
                getattr(host.invitations, name)(*given, **by, **more)
            except InvitationError as refusal:
                return Answer(refusal.status, refusal.problem())
    return Answer(200, {})


def emailed(scene: Scene) -> str | None:
    """What the worker does with the latest email: sends it, or cancels it with a code; ``"none"``: there is none."""
    before = len(scene.host.outbox.messages)
    waiting = [row.id for row in scene.deliveries if row.state == "queued"]
    scene.deliver()
    if not waiting:
        cancelled = [row for row in scene.deliveries if row.state == "cancelled"]
        return str(cancelled[-1].last_error) if cancelled else "none"
    (row,) = [row for row in scene.deliveries if row.id == waiting[-1]]
    assert (len(scene.host.outbox.messages) == before) == (row.state == "cancelled")
    return str(row.last_error) if row.state == "cancelled" else None


PATHS: Mapping[str, Callable[[Scene, Callable[[Scene], None]], str | None]] = {
    "invite": by_invite,
    "invite in unit()": by_invite_in_unit,
    "resend": by_resend,
    "resend in unit()": by_resend_in_unit,
    "queued email": by_queued_email,
    "reminder": by_reminder,
    "fresh link": by_fresh_link,
    "preview": by_preview,
    "page": by_page,
    "accept": by_accept,
    "accept in unit()": by_accept_in_unit,
}

_W, _I, _R, _E = "invitation-withdrawn", "tenant-inactive", "role-not-allowed", "invitation-expired"
_A, _X, _S = "account-exists", "already-member", "address-suppressed"

#: situation -> invite, resend, queued email, reminder, fresh link, preview, accept; page as preview, and inside of
#: ``unit()`` as outside.
MATRIX: Mapping[str, tuple[str | None, ...]] = {
    "clear": (None, None, None, None, None, None, None),
    "tenant_inactive": (_I, _I, _I, _I, "refused", _W, _W),
    "inviter_deleted": (None, None, _W, _W, "refused", _W, _W),
    "inviter_left": (None, None, _W, _W, "refused", _W, _W),
    "inviter_demoted": (None, None, _R, _R, "refused", _R, _R),
    "caller_below": (_R, _R, None, None, None, None, None),
    "address_refused": ("address-not-allowed", "address-not-allowed", None, None, None, None, None),
    "bounced": ("mail-bounced", "mail-bounced", "none", "none", "refused", None, None),
    "suppressed": (_S, _S, _S, _S, "refused", None, None),
    "member": (_X, _X, _X, _X, "refused", _A, _A),
    "account": (_A, _A, _A, _A, "refused", _A, _A),
    "already_invited": ("already-invited", None, None, None, None, None, None),
    "gated": (None, None, None, None, None, "second-factor", "second-factor"),
    "revoked": (None, *(["invitation-revoked"] * 2), "none", "refused", *(["invitation-revoked"] * 2)),
    "expired": (None, None, _E, "none", None, _E, _E),
}
COLUMNS = ("invite", "resend", "queued email", "reminder", "fresh link", "preview", "accept")


def expected(situation: str, path: str) -> str | None:
    column = "preview" if path == "page" else path.removesuffix(" in unit()")
    return MATRIX[situation][COLUMNS.index(column)]


@pytest.fixture
def scene(database_url: str) -> Iterator[Callable[[], Scene]]:
    """Makes scenes, each in a tenant of its own on the same database."""
    with build(database_url, config=CONFIG) as host:
        yield lambda: _scene(host)


def _scene(host: Host) -> Scene:
    for model in (host.invitations.models.Invitation, host.User):
        for row in host.rows(model):
            delete_row(host, model, row.id)
    host.outbox.clear()
    tenant = host.tenant(f"T{uuid.uuid4().hex}")
    slug = uuid.uuid4().hex
    people = (host.user(f"{who}@{slug}.example", "admin", tenant) for who in ("inviter", "colleague"))
    return Scene(host, tenant, *people)


def test_the_matrix_is_whole() -> None:
    """Every situation has its row, and every code that a rule can answer today is in some cell or person below."""
    assert MATRIX.keys() == SITUATIONS.keys()
    codes = {code for row in MATRIX.values() for code in row if code and code not in ("none", "refused")}
    assert {"tenant-inactive", "role-not-allowed", "address-not-allowed", "mail-bounced"} <= codes
    assert {"already-member", "account-exists", "already-invited", "invitation-withdrawn", "second-factor"} <= codes


@pytest.mark.in_turn
@pytest.mark.parametrize("situation", SITUATIONS)
def test_matrix(scene: Callable[[], Scene], situation: str) -> None:
    """P1 to P5: each path answers what the contract gives for this situation; what is refused leaves no row changed
    but the audit trail of an accept, and no email."""
    told = {}
    for path, walk in PATHS.items():
        with scene() as one:
            told[path] = walk(one, SITUATIONS[situation])
    assert told == {path: expected(situation, path) for path in PATHS}


def test_the_hosts_gate_is_asked_last(scene: Callable[[], Scene]) -> None:
    """``check_acceptance`` and ``seats`` are asked only where nothing else refuses, and never by a decline: so the gate
    sees nobody but the right person."""
    with scene() as one:
        body, asked = {"token": sent(one), "password": PASSWORD}, list[Any]()
        one.override(check_acceptance=lambda _invitation, user: asked.append(user), seats=asked.append)
        wrong: Any = one.host.client(one.colleague)
        assert code_of(wrong.post(PREVIEW, json={"token": body["token"]}).json) == "wrong-account"
        assert wrong.post(ACCEPT, json=body).status_code == 403
        assert one.host.client().post(DECLINE, json={"token": body["token"]}).status_code == 200
        assert asked == []


def test_the_host_is_told_by_which_way(scene: Callable[[], Scene]) -> None:
    """``check_invitee`` is told whether an invitation is made or sent again, and who stands behind it."""
    with scene() as one:
        told = list[Any]()
        one.override(check_invitee=lambda draft: told.append((draft.source, draft.email, draft.role, draft.inviter.id)))
        sent(one)
        assert one.host.client(one.colleague).post(f"{LIST}/{one.row.id}/resend").status_code == 200
        assert told == [("invite", EMAIL, "user", one.inviter), ("resend", EMAIL, "user", one.colleague)]


def test_an_inviter_from_outside_is_there(scene: Callable[[], Scene]) -> None:
    """C9: an inviter who is no member, but may invite all the same, vouches on."""
    with scene() as one:
        token = sent(one)
        inviter_left(one)
        one.override(can_invite=lambda *_: True)
        body = {"token": token, "password": PASSWORD}
        assert code_of(one.host.client().post(PREVIEW, json={"token": token}).json or {}) is None
        assert one.host.client().post(ACCEPT, json=body).status_code == 201


def test_an_account_is_known_by_its_own_address(database_url: str) -> None:
    """F1: whoever is signed in with the invited address, however it is written there, is its owner, even where
    ``find_user`` does not find them."""
    with build(database_url, tenancy="membership", config=CONFIG) as host, _scene(host) as one:
        token = sent(one)
        client = host.client(host.user(EMAIL.upper(), "user", host.tenant("Elsewhere")), one.tenant)
        one.override(find_user=lambda _email: None)
        assert code_of(client.post(PREVIEW, json={"token": token}).json or {}) is None
        assert client.post(ACCEPT, json={"token": token}).status_code == 201


def test_what_was_purged_is_not_sent_again(scene: Callable[[], Scene]) -> None:
    """An expired invitation that has lost its address is over for good: a resend answers that, and changes nothing."""
    with scene() as one:
        sent(one)
        one.host.clock.tick(TTL + RETENTION)
        with one.host.app.app_context():
            assert one.host.invitations.sweep().purged == 1
        url = f"{LIST}/{one.row.id}/resend"
        assert refused(one, lambda: one.host.client(one.colleague).post(url)) == "invitation-expired"


#: Who looks and accepts where accounts can join, and what they are told.
PEOPLE: Mapping[str, Mapping[str, str | None]] = {
    "new": {"nobody": None, "colleague": "wrong-account"},
    "account": {"nobody": "account-exists", "colleague": "wrong-account", "invitee": None},
    "unverified": {"nobody": "account-exists", "colleague": "wrong-account", "invitee": "account-unverified"},
    "member": {"nobody": "account-exists", "colleague": "wrong-account", "invitee": "already-member"},
    "gated": {"nobody": "second-factor", "colleague": "wrong-account"},
    "gated account": {"nobody": "account-exists", "colleague": "wrong-account", "invitee": "second-factor"},
}


@pytest.mark.in_turn
@pytest.mark.parametrize("state", PEOPLE)
def test_preview_is_accept(database_url: str, state: str) -> None:
    """P2: what the preview names as the obstacle is what accept answers to the same person, and its absence is a
    success."""
    for who, code in PEOPLE[state].items():
        with build(database_url, tenancy="membership", config=CONFIG) as host, _scene(host) as one:
            token = sent(one)
            people = {"nobody": None, "colleague": one.colleague, "invitee": _account(one, state)}
            if "gated" in state:
                gated(one)
            client = host.client(people[who], one.tenant)
            preview: Any = client.post(PREVIEW, json={"token": token}).json
            assert (preview["obstacle"] and preview["obstacle"]["code"]) == code, who
            with host.app.app_context():
                user = host.db.session.get(host.User, people[who]) if people[who] else None
                obstacle = host.invitations.preview(token, user).obstacle
                assert (obstacle and obstacle.code) == code
            answer = client.post(ACCEPT, json={"token": token, "password": PASSWORD})
            told: Any = answer.json
            assert (answer.status_code == 201, told.get("code")) == (code is None, code), who
            assert code is None or told["detail"] == preview["obstacle"]["detail"]


def _account(scene: Scene, state: str) -> Any:
    """The account of the invited address, in this state; ``None``: none."""
    if state in ("new", "gated"):
        return None
    tenant = scene.tenant if state == "member" else scene.host.tenant("Elsewhere")
    return scene.host.user(EMAIL, "user", tenant, verified=state != "unverified")
