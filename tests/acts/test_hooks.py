"""R19: what happens when the host's words fail: participants undo everything, observers change nothing."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from flask_invitations import (
    InvitationError,
    invitation_accepted,
    invitation_created,
    invitation_declined,
    invitation_expired,
    invitation_resent,
    invitation_revoked,
    invitation_sent,
)
from flask_invitations.current import get_state, override
from tests.hosts import PASSWORD, Host, build
from tests.http.tools import (
    ACCEPT,
    DECLINE,
    INVITE,
    LIST,
    PREVIEW,
    STATES,
    WEEK,
    Case,
    accept,
    changed,
    make,
    refused,
    snapshot,
    unchanged,
)


class Boom(Exception):
    """An accident."""


class Abort(BaseException):
    """What stops a process."""


class SeatsTaken(InvitationError):
    """A refusal of the host's own."""

    code = "seats-taken"
    status = 402
    sentence = "Every seat is taken: buy another one."


#: act -> the participants that it calls; each is made to fail there.
PARTICIPANTS = {
    "invite": ("current_user", "tenant_of", "can_invite", "find_user", "tenant_is_active", "tenant_name"),
    "resend": ("current_user", "tenant_of", "can_invite", "tenant_is_active", "tenant_name"),
    "revoke": ("current_user", "tenant_of", "can_invite"),
    "list": ("current_user", "tenant_of", "can_invite"),
    "preview": ("tenant_is_active", "role_of", "find_user", "tenant_name"),
    "decline": ("tenant_is_active", "role_of", "tenant_name"),
    "accept": (
        "current_user",
        "tenant_is_active",
        "role_of",
        "can_invite",
        "find_user",
        "validate_password",
        "create_user",
    ),
    "join": ("current_user", "find_user", "email_is_verified", "role_of", "join"),
}
PAIRS = [(act, hook) for act, hooks in PARTICIPANTS.items() for hook in hooks]


def do(case: Case, act: str) -> Any:
    admin, token = case.host.client(case.admin), {"token": case.token}
    calls: dict[str, Callable[[], Any]] = {
        "invite": lambda: admin.post(INVITE, json={"email": "new@example.com"}),
        "resend": lambda: admin.post(f"{case.url}/resend"),
        "revoke": lambda: admin.delete(case.url),
        "list": lambda: admin.get(LIST),
        "preview": lambda: case.host.client().post(PREVIEW, json=token),
        "decline": lambda: case.host.client().post(DECLINE, json=token),
        "accept": lambda: case.host.client().post(ACCEPT, json={**token, "password": PASSWORD}),
        "join": lambda: case.client("invitee").post(ACCEPT, json=token),
    }
    return calls[act]()


def raising(error: BaseException) -> Callable[..., Any]:
    def hook(*_: Any) -> Any:
        raise error

    return hook


@pytest.fixture(scope="module")
def _joining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with build(f"sqlite:///{tmp_path_factory.mktemp('hooks') / 'hooks.sqlite3'}", tenancy="membership") as built:
        yield built


@pytest.fixture(scope="module")
def cases(_joining: Host) -> dict[str, Case]:
    """Two invitations that no failing act changes: one to nobody yet, one to an account."""
    return {"new": make(_joining, "pending", "One"), "account": make(_joining, "account elsewhere", "Two")}


@pytest.mark.parametrize("error", [Boom(), Abort()], ids=["Exception", "BaseException"])
@pytest.mark.parametrize(("act", "hook"), PAIRS)
def test_participant_breaks(cases: dict[str, Case], act: str, hook: str, error: BaseException) -> None:
    """R19: whatever a participant raises comes out as it is, nothing of the act stays, no mail leaves, and the next
    call works."""
    case = cases["account" if act == "join" else "new"]
    mails = len(case.host.outbox.messages)
    with unchanged(case.host):
        with override(case.host.app, **{hook: raising(error)}), pytest.raises(type(error)):
            do(case, act)
        assert case.host.client(case.admin).get(case.url).status_code == 200
    assert len(case.host.outbox.messages) == mails


@pytest.mark.parametrize(("act", "hook"), PAIRS)
def test_participant_refuses(cases: dict[str, Case], act: str, hook: str) -> None:
    """R19: a refusal that a participant raises, the host's own too, is the answer; all that it leaves is the audit
    trail of a refused accept."""
    case = cases["account" if act == "join" else "new"]
    before = snapshot(case.host)
    with override(case.host.app, **{hook: raising(SeatsTaken())}):
        refused(do(case, act), 402, "seats-taken")
    recorded = act in ("accept", "join") and hook != "current_user"
    assert changed(before, snapshot(case.host)) == ({"user_invitation_events"} if recorded else set())


@pytest.mark.parametrize("error", [Boom(), Abort(), SeatsTaken()], ids=type)
def test_what_a_participant_wrote_is_undone(host: Host, error: BaseException) -> None:
    """R19, B8: what ``create_user`` wrote before it failed is undone by the database, on each of them; afterwards the
    same link lets the invitee in."""
    case = make(host, "pending")
    before = snapshot(host)

    def create_user(invitation: Any, _profile: Any, _password: Any) -> Any:
        session: Any = host.db.session
        session.add(host.User(email=invitation.email_key, role="owner", tenant_id=case.tenant))
        session.get(host.User, case.plain).role = "owner"
        session.flush()
        raise error

    with override(host.app, create_user=create_user):
        if isinstance(error, SeatsTaken):
            refused(accept(host.client(), case.token), 402, "seats-taken")
        else:
            with pytest.raises(type(error)):
                accept(host.client(), case.token)
    assert changed(before, snapshot(host)) <= {"user_invitation_events"}
    assert accept(host.client(), case.token).status_code == 201


def test_commit_breaks(host: Host) -> None:
    """B8: where the commit itself fails, there is neither user nor acceptance, and the link still opens."""
    import sqlalchemy as sa

    case = make(host, "pending")

    def fail(_session: Any) -> None:
        raise Boom

    session = host.db.session
    with unchanged(host):
        sa.event.listen(session, "before_commit", fail)
        try:
            with pytest.raises(Boom):
                accept(host.client(), case.token)
        finally:
            sa.event.remove(session, "before_commit", fail)
    assert accept(host.client(), case.token).status_code == 201


# H1: what would have to be awaited


async def coroutine(*_: Any, **__: Any) -> bool:
    """What every hook here hides behind a lambda: an answer that is true, and no answer."""
    return False


@pytest.mark.parametrize(("act", "hook"), PAIRS)
def test_participant_is_async(cases: dict[str, Case], act: str, hook: str) -> None:
    """H1: a coroutine that a participant returns lets nobody do anything: it is an error that names the hook, and
    nothing of the act stays."""
    case = cases["account" if act == "join" else "new"]
    with unchanged(case.host), override(case.host.app, **{hook: lambda *_: coroutine()}):
        with pytest.raises(TypeError, match=rf"^{hook} returned a coroutine.*Make it a plain function"):
            do(case, act)
        gc.collect()


@pytest.mark.parametrize("answer", [None, 1, "yes"])
def test_can_invite_is_no_bool(cases: dict[str, Case], answer: Any) -> None:
    """H1: an answer that is only true by accident lets nobody invite."""
    case = cases["new"]
    sentence = rf"^can_invite returned {type(answer).__name__}\. Return True or False\.$"
    with (
        unchanged(case.host),
        override(case.host.app, can_invite=lambda *_: answer),
        pytest.raises(TypeError, match=sentence),
    ):
        do(case, "invite")


def test_hook_of_a_default_is_async(local_url: str) -> None:
    """H1: a hook that a default asks goes through the same gate: the default ``can_invite`` asks ``role_of``."""
    with build(local_url, role_of=lambda *_: coroutine()) as host, host.app.app_context():
        hooks, tenant = get_state().ctx.hooks, host.tenant()
        with pytest.raises(TypeError, match=r"^role_of returned a coroutine"):
            hooks.can_invite(host.User(), tenant, None)


def test_mailer_is_async(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """H1: a mailer that returns a coroutine has sent nothing: the mail is not ``sent``, the log says why, and it leaves
    as soon as the mailer is a plain function."""
    case = make(host, "pending")
    mails = len(host.outbox.messages)
    with override(host.app, mailer=lambda _: coroutine()):
        made: Any = host.client(case.admin).post(INVITE, json={"email": "new@example.com"})
        gc.collect()
    assert made.status_code == 201
    assert (made.json["delivery"]["state"], made.json["delivery"]["sent_at"]) == ("queued", None)
    assert "mailer returned a coroutine" in caplog.text
    host.clock.tick(timedelta(minutes=5))
    with host.app.app_context():
        assert host.invitations.deliver() == {"sent": 1}
    assert len(host.outbox.messages) == mails + 1


def test_enqueue_is_async(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """H1: an ``enqueue`` that returns a coroutine has woken nobody: it is logged by name, and the mail waits in the
    outbox for whoever polls."""
    config = {"INVITATIONS_DELIVERY": "queue"}
    with build(database_url, config=config, enqueue=lambda _: coroutine()) as host, host.app.app_context():
        host.invitations.invite("new@example.com", tenant_id=host.tenant())
        gc.collect()
        assert "enqueue returned a coroutine" in caplog.text
        assert host.invitations.deliver() == {"sent": 1}


# Observers


def sent_signals() -> dict[str, Any]:
    first: list[Any] = [invitation_created, invitation_sent, invitation_resent, invitation_revoked]
    return {signal.name: signal for signal in (*first, invitation_declined, invitation_accepted, invitation_expired)}


@contextmanager
def connected(signals: Any, receiver: Callable[..., Any], sender: Any) -> Iterator[None]:
    for signal in signals:
        signal.connect(receiver, sender=sender)
    try:
        yield
    finally:
        for signal in signals:
            signal.disconnect(receiver, sender=sender)


def everything(case: Case) -> list[int]:
    """Every act once; gives the statuses."""
    host, admin = case.host, case.host.client(case.admin)
    statuses = [admin.post(f"{case.url}/resend").status_code]
    statuses.append(accept(host.client(), host.outbox.token_to(case.email)).status_code)
    for name in ("declined", "revoked", "late"):
        made = admin.post(INVITE, json={"email": f"{name}@example.com"})
        statuses.append(made.status_code)
        assert made.json is not None
        if name == "declined":
            body = {"token": host.outbox.token_to("declined@example.com")}
            statuses.append(host.client().post(DECLINE, json=body).status_code)
        if name == "revoked":
            statuses.append(admin.delete(f"{LIST}/{made.json['id']}").status_code)
    host.clock.tick(WEEK)
    with host.app.app_context():
        host.invitations.sweep()
    return statuses


GOOD = [200, 201, 201, 200, 201, 204, 201]


def test_signals(local: Host) -> None:
    """All seven signals are sent after the commit, by the app, with the invitation as it then is, and never with
    anything that opens it."""
    case = make(local, "pending")
    heard: list[tuple[str, Any, Any]] = []

    def receiver(name: str) -> Callable[..., None]:
        def receive(sender: Any, *, invitation: Any, **more: Any) -> None:
            assert sender is local.app
            stored = local.rows(local.invitations.models.Invitation, id=invitation.id)[0]
            assert stored.status == invitation.status
            heard.append((name, invitation, more))

        return receive

    receivers = {name: receiver(name) for name in sent_signals()}
    for name, signal in sent_signals().items():
        signal.connect(receivers[name], sender=local.app)
    assert everything(case) == GOOD
    names = [name.removeprefix("invitation-") for name, _, _ in heard]
    expected = ["resent", "sent", "accepted", "created", "sent", "declined", "created", "sent", "revoked"]
    assert names == [*expected, "created", "sent", "expired"]
    rows = local.rows(local.invitations.models.Invitation)
    secrets = [getattr(row, column) for row in rows for column in ("token_hash", "token_nonce", "pending_key")]
    secrets += [str(message.accept_url).partition("#")[2] for message in local.outbox.messages]
    for name, invitation, more in heard:
        assert more.keys() == ({"user"} if name == "invitation-accepted" else set())
        told = repr(invitation) + repr(vars(invitation)) + repr(more)
        assert not [secret for secret in secrets if secret and secret in told]


def test_other_apps_hear_nothing(local: Host) -> None:
    """A receiver that listens to another app's invitations is not called."""
    case = make(local, "pending")
    heard: list[Any] = []
    with connected(sent_signals().values(), lambda *_, **__: heard.append(1), sender=object()):
        assert everything(case) == GOOD
    assert heard == []


@pytest.mark.parametrize("error", [Boom(), SeatsTaken()], ids=type)
def test_receivers_break(local: Host, caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    """R19: a receiver that raises is logged with the invitation's id, keeps no other from being called, and turns no
    success into an error."""
    case = make(local, "pending")
    heard: list[Any] = []

    def first(*_: Any, **__: Any) -> None:
        raise error

    def second(*_: Any, **__: Any) -> None:
        heard.append(1)

    signals = sent_signals().values()
    with caplog.at_level(logging.ERROR), connected(signals, first, local.app), connected(signals, second, local.app):
        assert everything(case) == GOOD
    assert len(heard) == 12
    assert case.id in caplog.text
    for message in local.outbox.messages:
        assert str(message.accept_url).partition("#")[2] not in caplog.text


@pytest.mark.parametrize("error", [Boom("secret words"), SeatsTaken()], ids=type)
def test_on_accepted_breaks(local: Host, caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    """R19: ``on_accepted`` cannot undo an acceptance: the answer is 201 without a session, and the log tells of it."""
    case = make(local, "pending")
    with override(local.app, on_accepted=raising(error)):
        answer = accept(local.client(), case.token)
    assert answer.status_code == 201
    assert "session" not in (answer.json or {})
    assert "on_accepted" in caplog.text
    assert case.id in caplog.text
    assert case.token not in caplog.text


@pytest.mark.parametrize("returned", [coroutine, lambda *_: ["a list"]], ids=["coroutine", "list"])
def test_on_accepted_returns_no_session(
    local: Host, caplog: pytest.LogCaptureFixture, returned: Callable[..., Any]
) -> None:
    """H1: what ``on_accepted`` returns and is no mapping, a coroutine above all, is no session and is logged."""
    case = make(local, "pending")
    with override(local.app, on_accepted=lambda *given: returned(*given)):
        answer = accept(local.client(), case.token)
        gc.collect()
    assert answer.status_code == 201
    assert "session" not in (answer.json or {})
    assert f"on_accepted returned {'a coroutine' if returned is coroutine else 'list'}" in caplog.text
    assert case.id in caplog.text


def test_receiver_is_async(local: Host, caplog: pytest.LogCaptureFixture) -> None:
    """H1: a receiver that must be awaited has heard nothing, which is logged as an error with its name; the act
    succeeds, and the next receiver is called."""
    case = make(local, "pending")
    heard: list[Any] = []

    def second(*_: Any, **__: Any) -> None:
        heard.append(1)

    signals = sent_signals().values()
    with connected(signals, coroutine, local.app), connected(signals, second, local.app):
        assert everything(case) == GOOD
        gc.collect()
    assert len(heard) == 12
    told = [
        record for record in caplog.records if "the receiver coroutine returned a coroutine" in str(record.exc_info)
    ]
    assert [record.levelname for record in told] == ["ERROR"] * 12


@pytest.mark.parametrize("hook", ["on_accepted", "mailer", "receiver"])
def test_observer_is_stopped(local: Host, hook: str) -> None:
    """R19: a BaseException in an observer (the process is being stopped) comes out, after the commit: what was done
    stays done, and a mail that was not sent is sent later."""
    case = make(local, "pending")
    if hook == "receiver":
        with connected([invitation_accepted], raising_keywords(Abort()), local.app), pytest.raises(Abort):
            accept(local.client(), case.token)
        assert accept(case.client("invitee"), case.token).status_code == 200
    elif hook == "on_accepted":
        with override(local.app, on_accepted=raising(Abort())), pytest.raises(Abort):
            accept(local.client(), case.token)
        assert accept(case.client("invitee"), case.token).status_code == 200
    else:
        with override(local.app, mailer=raising(Abort())), pytest.raises(Abort):
            local.client(case.admin).post(INVITE, json={"email": "new@example.com"})
        local.clock.tick(timedelta(minutes=5))
        with local.app.app_context():
            assert local.invitations.deliver() == {"sent": 1}
        assert accept(local.client(), local.outbox.token_to("new@example.com")).status_code == 201


def raising_keywords(error: BaseException) -> Callable[..., Any]:
    def receiver(*_: Any, **__: Any) -> None:
        raise error

    return receiver


def test_observers_see_committed_rows(host: Host) -> None:
    """Mailer, ``on_accepted`` and receivers run after the commit: another connection sees all of it by then."""
    case = make(host, "pending")
    seen: list[tuple[str, int]] = []

    def mailer(message: Any) -> None:
        seen.append(("mail", len(host.rows(host.invitations.models.Invitation, id=message.invitation.id))))

    def on_accepted(user: Any, _invitation: Any) -> None:
        seen.append(("accepted", len(host.rows(host.User, id=user.id))))

    with override(host.app, mailer=mailer, on_accepted=on_accepted):
        host.client(case.admin).post(INVITE, json={"email": "new@example.com"})
        accept(host.client(), case.token)
    assert seen == [("mail", 1), ("accepted", 1)]


def test_hooks_get_no_secret(local: Host) -> None:
    """What the hooks are given holds no token, hash or nonce, nor any row that could be changed behind our back."""
    from flask_invitations import InvitationInfo

    case = make(local, "pending", details={"a": 1})
    given: list[Any] = []

    def create_user(invitation: Any, profile: Any, password: Any) -> Any:
        given.append(invitation)
        assert (dict(profile), password) == ({}, PASSWORD)
        return local.User(email=invitation.email_key, role=invitation.role, tenant_id=invitation.tenant_id)

    def validate_password(password: str, invitation: Any) -> None:
        given.append(invitation)

    def on_accepted(_user: Any, invitation: Any) -> None:
        given.append(invitation)

    with override(local.app, create_user=create_user, validate_password=validate_password, on_accepted=on_accepted):
        assert accept(local.client(), case.token).status_code == 201
    assert [type(each) for each in given] == [InvitationInfo] * 3
    assert [each.status for each in given] == ["pending", "pending", "accepted"]
    (row,) = local.rows(local.invitations.models.Invitation)
    told = repr([vars(each) for each in given])
    for secret in (case.token, row.token_hash, row.token_nonce):
        assert secret not in told


def test_states_are_known() -> None:
    """The helper knows the states that this file uses."""
    assert {"pending", "account elsewhere"} <= STATES.keys()
