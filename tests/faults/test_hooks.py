"""H2, H3, H4, H6: what hooks, and calls from Python, give us is held against one declared answer each."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, Response
from flask.json.provider import DefaultJSONProvider
from flask_babel.speaklater import LazyString
from flask_login import AnonymousUserMixin
from sqlalchemy import orm
from werkzeug.local import LocalProxy

from flask_invitations import ConfigurationError, Invitations, Unauthenticated
from flask_invitations.current import get_state, override
from flask_invitations.gate import Answer, Function
from flask_invitations.hooks import TABLE
from flask_invitations.testing import RecordingMailer
from tests.hosts import ACCEPT_URL, PASSWORD, Host, build, shape
from tests.http.tools import GUEST, INVITE, LIST, PREVIEW, Case, accept, make, unchanged


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host on SQLite, for tests that leave it as it was or look at nothing but their own invitation."""
    with build(f"sqlite:///{tmp_path_factory.mktemp('hooks') / 'hooks.sqlite3'}") as built:
        yield built


@pytest.fixture(scope="module")
def joining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One where accounts can join."""
    with build(f"sqlite:///{tmp_path_factory.mktemp('join') / 'join.sqlite3'}", tenancy="membership") as built:
        yield built


_NUMBERS = count()


def fresh(host: Host, state: str = "pending") -> Case:
    """An invitation in a tenant of its own."""
    return make(host, state, f"case{next(_NUMBERS)}")


# The table


def test_each_hook_declares_an_answer() -> None:
    """H2-H4: there is no hook without a declared answer, and the fix that an answer names is a sentence."""
    functions = [word for word in TABLE.values() if isinstance(word, Function)]
    assert len(functions) == len(TABLE) - 3
    for word in functions:
        assert isinstance(word.answer, Answer), word.name
        assert word.answer.fix[0].isupper(), word.name
        assert not word.answer.fix.endswith("."), word.name
    with pytest.raises(TypeError, match="answer"):
        Function("user", "A hook that says nothing of its answer.")  # type: ignore[call-arg]


#: What no browser can be led to, or should be.
NO_URLS = ["/a\nSet-Cookie: x=1", "javascript:alert(1)", "/two words", "https://[x"]
#: hook -> answers that would fail later, far from their cause.
MISFITS: dict[str, list[Any]] = {
    "mailer": [False],
    "enqueue": [False],
    "join": [False],
    "current_user": [7, "ann@example.com", object(), [], {}],
    "find_user": [7, [], iter([]), sa.select(1)],
    "find_users": [None, 7, {"ann@example.com": 1}, "ann@example.com"],
    "create_user": [None, 7, [], {}],
    "tenant_of": [object(), 1.5, True, "no number", [1], b"1"],
    "role_of": [True, 7, b"admin", ["admin"], object(), type("Role", (), {"name": "admin"})()],
    "can_invite": [None, 1, "yes"],
    "email_is_verified": [None, 1, datetime.now(timezone.utc)],
    "tenant_is_active": [None, 1],
    "validate_password": [False, True, "weak"],
    "check_invitee": [False, True],
    "check_acceptance": [False, True],
    "seats": [True, False, 1.5, "7", [], sa.select(1)],
    "limits_for": [None, ["PENDING_MAX"], {"RATELIMIT_ACCEPT": None}, {"RATELIMIT_INVITE": 7}, {"PENDING_MAX": True}],
    "rate_limit": [True, False, "1", -1, float("nan"), float("inf"), timedelta(1)],
    "tenant_name": [None, 7, b"Acme", ["Acme"], object()],
    "display_name": [7, b"Ann", ["Ann"], object()],
    "login_url": [None, 7, b"/login", str, *NO_URLS],
    "logout_url": [None, 7, b"/logout", *NO_URLS],
    "home_url": [None, 7, b"/", *NO_URLS],
    "accepted_url": [7, b"/welcome", ["/welcome"], *NO_URLS],
    "role_label": [None, 7, b"Member"],
    "on_accepted": [[], "text", b"", {1, 2}, 7, object()],
    "clock": [None, datetime(2026, 1, 1), date(2026, 1, 1), 1.5, "2026-01-01"],
}


def test_misfits_are_of_every_hook() -> None:
    """H2-H4: what this file says of all hooks it says of every hook."""
    assert MISFITS.keys() == {name for name, word in TABLE.items() if isinstance(word, Function)}


@pytest.mark.parametrize("name", MISFITS)
def test_misfit(shared: Host, name: str) -> None:
    """H2-H4: an answer that a hook may not give is a ``TypeError`` that names the hook, what it gave, and the fix."""
    word: Any = TABLE[name]
    with shared.app.app_context():
        house = get_state().ctx.hooks.house
        for answer in MISFITS[name]:
            gated = word.behind_gate(lambda *_, answer=answer: answer, house)
            with pytest.raises(TypeError, match=rf"^{name} returned .+\. {re.escape(word.answer.fix)}\.$"):
                gated(*word.takes)
        gc.collect()


class Level(Enum):
    """Roles as a host may have them: by value, by name, or by neither."""

    FIRST = "admin"
    OWNER = 3
    SUPER = "superuser"


class Word(str, Enum):
    """Roles that are text."""

    MANAGER = "manager"


def test_answers_that_are_read(shared: Host) -> None:
    """H2-H4: what only needs to be read is read: members of an ``Enum`` as roles, a tenant or the text of its id, and
    translations that wait for their language as text."""
    tenant_id = shared.tenant()
    tenant = shared.rows(shared.Tenant, id=tenant_id)[0]
    wanted: list[tuple[str, Any, Any]] = [
        ("role_of", Level.FIRST, "admin"),
        ("role_of", Level.OWNER, "owner"),
        ("role_of", Level.SUPER, "superuser"),
        ("role_of", Word.MANAGER, "manager"),
        ("role_of", "no role of ours", "no role of ours"),
        ("role_of", None, None),
        ("tenant_of", tenant, tenant_id),
        ("tenant_of", str(tenant_id), tenant_id),
        ("tenant_of", LocalProxy(lambda: tenant_id), tenant_id),
        ("tenant_of", None, None),
        ("seats", None, None),
        ("seats", 7, 7),
        ("seats", -7, 0),
        ("tenant_name", LazyString(lambda: "Acme"), "Acme"),
        ("display_name", LazyString(lambda: "Ann"), "Ann"),
        ("display_name", None, None),
        ("login_url", LocalProxy(lambda: "/login"), "/login"),
        ("accepted_url", None, None),
        ("role_label", LazyString(lambda: "Member"), "Member"),
    ]
    with shared.app.test_request_context():
        house = get_state().ctx.hooks.house
        for name, answer, read in wanted:
            word: Any = TABLE[name]
            found = word.behind_gate(lambda *_, answer=answer: answer, house)(*word.takes)
            assert (found, type(found)) == (read, type(read)), name


def test_role_enum_lets_owners_invite(joining: Host) -> None:
    """U: a ``role_of`` that answers with an ``Enum`` grants what the role grants."""
    case = fresh(joining, "pending")
    with override(joining.app, role_of=lambda *_: Level.FIRST):
        answer = joining.client(case.admin).post(INVITE, json={"email": "enum@example.com", "role": "admin"})
        assert answer.status_code == 201
        assert joining.client(case.admin).get(LIST).status_code == 200


def test_own_exceptions_pass(shared: Host) -> None:
    """H5: what a hook raises itself, a refusal, a ``TypeError`` or a ``BaseException``, comes out of the gate as it
    is."""

    class Stop(BaseException):
        """Like ``gevent.Timeout``."""

    with shared.app.app_context():
        house = get_state().ctx.hooks.house
    for error in (Unauthenticated(), TypeError("theirs"), Stop(), GeneratorExit(), StopIteration()):
        for name, word in TABLE.items():
            if isinstance(word, Function):

                def hook(*_: Any, error: BaseException = error) -> Any:
                    raise error

                with pytest.raises(type(error)) as caught:
                    word.behind_gate(hook, house)(*word.takes)
                assert caught.value is error, name


# H2: who calls


class Method:
    """Nobody, as Flask-Login had it before 0.3."""

    def is_authenticated(self) -> bool:
        return False


class Async:
    """Nobody who could be asked."""

    async def is_authenticated(self) -> bool:
        return False


def _anonymous() -> Any:
    return AnonymousUserMixin()


NOBODY: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "anonymous": _anonymous,
    "proxy": lambda: LocalProxy(_anonymous),
    "proxy of a proxy": lambda: LocalProxy(lambda: LocalProxy(_anonymous)),
    "proxy of None": lambda: LocalProxy(lambda: None),
    "method": Method,
}


@pytest.mark.parametrize("kind", NOBODY)
def test_hook_gives_nobody(shared: Host, kind: str) -> None:
    """H2: an anonymous user, of whatever class and behind whatever proxy, is nobody to every call."""
    case = fresh(shared, "pending")
    with override(shared.app, current_user=NOBODY[kind]):
        client = shared.app.test_client()
        assert client.post(INVITE, json={"email": GUEST}).status_code == 401
        assert client.post(PREVIEW, json={"token": case.token}).status_code == 200
        assert accept(client, case.token).status_code == 201


@pytest.mark.parametrize("kind", [kind for kind in NOBODY if kind != "None"])
def test_python_gives_nobody(shared: Host, kind: str) -> None:
    """H2: nobody from Python is nobody, and never the system, which may do anything."""
    case, who = fresh(shared, "pending"), NOBODY[kind]
    calls = shared.invitations
    with shared.app.app_context(), unchanged(shared):
        for manages in (
            lambda: calls.invite("a@example.com", by=who()),
            lambda: calls.invite("a@example.com", inviter=who()),
            lambda: calls.explain("a@example.com", by=who()),
            lambda: calls.resend(case.id, by=who()),
            lambda: calls.revoke(case.id, by=who()),
            lambda: calls.get(case.id, by=who()),
            lambda: calls.events(case.id, by=who()),
            lambda: calls.list(by=who()),
        ):
            with pytest.raises(Unauthenticated):
                manages()
        assert calls.preview(case.token, who()).obstacle is None
        assert calls.preview(case.token, by=who()).obstacle is None


STRANGERS: list[Any] = [7, "ann@example.com", object(), [], type("Other", (), {"is_authenticated": True})(), Async()]


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda each: type(each).__name__)
def test_no_user(shared: Host, stranger: Any) -> None:
    """H2: whatever is no user of the host's is a ``TypeError`` that names the hook, or the argument."""
    case = fresh(shared, "pending")
    calls, named = shared.invitations, "is_authenticated|%s"
    with unchanged(shared):
        with (
            override(shared.app, current_user=lambda: stranger),
            pytest.raises(TypeError, match=named % "current_user"),
        ):
            shared.app.test_client().post(INVITE, json={"email": GUEST})
        with shared.app.app_context():
            named_in: dict[str, Callable[[], Any]] = {
                "by": lambda: calls.invite(GUEST, by=stranger),
                "inviter": lambda: calls.invite(GUEST, inviter=stranger),
                "user": lambda: calls.preview(case.token, user=stranger),
                "by ": lambda: calls.accept(case.token, password=PASSWORD, by=stranger),
                "user ": lambda: calls.revoke_for(stranger),
            }
            for argument, call in named_in.items():
                with pytest.raises(TypeError, match=rf"^({named % argument.strip()}).*(is no user|nothing)"):
                    call()
        gc.collect()


def test_suspended_user_is_nobody_and_can_leave(shared: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """H2: an account that may not sign in calls nothing, and yet its invitations can be revoked, its address is known
    as taken, and whether it may is asked of a method too."""
    case = fresh(shared, "pending")
    for said in (False, lambda self: False):
        monkeypatch.setattr(shared.User, "is_authenticated", said, raising=False)
        assert shared.client(case.admin).post(INVITE, json={"email": GUEST}).status_code == 401
    with shared.app.app_context():
        admin = shared.db.session.get(shared.User, case.admin)
        with pytest.raises(Unauthenticated):
            shared.invitations.invite("b@example.com", by=admin)
        assert shared.invitations.revoke_for(admin) == 1


# H4: users of another session


@contextmanager
def elsewhere(host: Host, user_id: Any, *, how: str) -> Iterator[Any]:
    """A user as another session has them."""
    with orm.Session(host.engine) as other:
        user = other.get(host.User, user_id)
        assert user is not None
        if how == "detached":
            other.expunge(user)
        elif how == "detached and expired":
            other.commit()
            other.expunge(user)
        yield user


HOW = ["other session", "detached", "detached and expired"]


@pytest.mark.parametrize("how", HOW)
def test_find_user_of_another_session(joining: Host, how: str) -> None:
    """H4: a ``find_user`` and a ``current_user`` that answer with a row of another session (a cache) answer with the
    user of ours: whoever accepts has joined."""
    case = fresh(joining, "account elsewhere")
    with elsewhere(joining, case.invitee, how=how) as user:

        def find_user(email: str) -> Any:
            return user if email == case.email else None

        def join(account: Any, invitation: Any) -> None:
            assert account in joining.db.session
            account.name = "joined"
            joining.db.session.add(
                joining.Membership(user_id=account.id, tenant_id=invitation.tenant_id, role=invitation.role)
            )

        with override(joining.app, find_user=find_user, current_user=lambda: user, join=join):
            assert accept(joining.app.test_client(), case.token).status_code == 201
    assert joining.rows(joining.User, id=case.invitee)[0].name == "joined"


@pytest.mark.parametrize("how", HOW)
def test_caller_of_another_session(shared: Host, how: str) -> None:
    """H4: whoever calls from Python may come from another session, or from before a commit; what that session has
    changed of them is not written."""
    case = fresh(shared, "pending")
    with elsewhere(shared, case.admin, how=how) as user, shared.app.app_context():
        if how == "detached":
            user.name = "never written"
        made = shared.invitations.invite("h4@example.com", by=user)
        shared.invitations.revoke(made.id, by=user)
        shared.db.session.commit()
    assert made.invited_by is not None
    assert made.invited_by.id == case.admin
    assert shared.rows(shared.User, id=case.admin)[0].name is None


def test_caller_expired_by_a_commit(shared: Host) -> None:
    """H4: a user of our session that a commit has expired is asked for once, and works."""
    case = fresh(shared, "pending")
    with shared.app.app_context():
        user = shared.db.session.get(shared.User, case.admin)
        shared.db.session.commit()
        assert shared.invitations.get(case.id, by=user).id == shared.invitations.get(case.id).id


GONE = "that is no longer in the database"
NEW = "that was never saved"


@pytest.mark.parametrize("hook", ["current_user", "find_user", "find_users"])
@pytest.mark.parametrize("kind", ["transient", "pending", "deleted", "deleted elsewhere"])
def test_user_without_a_row(joining: Host, hook: str, kind: str) -> None:
    """H4: a user who was never saved, or is deleted by now, is an error that names the hook, or the argument."""
    word: Any = TABLE[hook]
    with joining.app.app_context():
        session, house = joining.db.session, get_state().ctx.hooks.house
        user = joining.User(email=f"{hook}-{kind.replace(' ', '')}@example.com")
        if kind != "transient":
            session.add(user)
        if kind.startswith("deleted"):
            session.commit()
            _delete(joining, user, by_us=kind == "deleted")
        answer = [user] if hook == "find_users" else user
        with pytest.raises(TypeError, match=f"^{hook} returned a User {GONE if kind.startswith('deleted') else NEW}"):
            word.behind_gate(lambda *_: answer, house)(*word.takes)
        with pytest.raises(TypeError, match=f"^by is a User {GONE if kind.startswith('deleted') else NEW}"):
            joining.invitations.get("A" * 43, by=user)
        session.rollback()


def _delete(host: Host, user: Any, *, by_us: bool) -> None:
    session: Any = host.db.session
    if by_us:
        session.delete(user)
        session.flush()
        return
    user_id = user.id
    session.commit()
    with host.engine.begin() as connection:
        connection.execute(sa.delete(host.User.__table__).where(host.User.id == user_id))


def test_deleted_user_leaves(shared: Host) -> None:
    """H4: ``revoke_for`` takes a user who is deleted by now, which is when a host calls it."""
    case = fresh(shared, "pending")
    with shared.app.app_context():
        session = shared.db.session
        guest = shared.User(email=case.email, role="user", tenant_id=case.tenant)
        with pytest.raises(TypeError, match=f"^user is a User {NEW}"):
            shared.invitations.revoke_for(guest)
        session.add(guest)
        session.commit()
        assert guest.email == case.email
        session.delete(guest)
        session.commit()
        assert shared.invitations.revoke_for(guest) == 1


@pytest.mark.parametrize("how", HOW)
def test_user_of_another_session_leaves(shared: Host, how: str) -> None:
    """H4: ``revoke_for`` takes a user of another session, even one whose attributes nobody can read any more."""
    case = fresh(shared)
    with elsewhere(shared, case.admin, how=how) as user, shared.app.app_context():
        assert shared.invitations.revoke_for(user) == 1
    case = fresh(shared)
    guest = shared.user(case.email, tenant=case.tenant)
    with elsewhere(shared, guest, how=how) as user, shared.app.app_context():
        assert shared.invitations.revoke_for(user) == 1


MADE = ["nobody", "other class", "other session", "committed elsewhere", "another address", "deleted"]


@pytest.mark.parametrize("kind", MADE)
def test_create_user_answers(shared: Host, kind: str) -> None:
    """H4: ``create_user`` answers with the new user of this address, in our session, or the accept is undone and the
    hook is named."""
    case, other = fresh(shared), orm.Session(shared.engine)

    def create_user(invitation: Any, _profile: Any, _password: Any) -> Any:
        email = "another@example.com" if kind == "another address" else invitation.email
        user = shared.User(email=email, role="user", tenant_id=invitation.tenant_id)
        if kind == "other session":
            other.add(user)
        if kind == "committed elsewhere":
            user = other.get(shared.User, case.plain)
            other.expunge(user)
        if kind == "deleted":
            shared.db.session.add(user)
            shared.db.session.flush()
            shared.db.session.delete(user)
            shared.db.session.flush()
        return {"nobody": None, "other class": object()}.get(kind, user)

    wrong = pytest.raises(TypeError, match=r"^create_user returned ")
    with unchanged(shared), override(shared.app, create_user=create_user), wrong:
        accept(shared.client(), case.token)
    other.close()
    assert accept(shared.client(), case.token).status_code == 201


# H3: sessions that cannot be JSON


class Circle(dict[str, Any]):
    """Contains itself."""

    def __init__(self) -> None:
        super().__init__()
        self["self"] = self


def _deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


SESSIONS: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda user: b"token",
    "model": lambda user: user,
    "set": lambda user: {"token"},
    "bytes in it": lambda user: {"token": b"token"},
    "model in it": lambda user: {"user": user},
    "set in it": lambda user: {"roles": {"admin"}},
    "NaN": lambda user: {"at": float("nan")},
    "infinity": lambda user: {"at": [float("-inf")]},
    "key no text": lambda user: {("a", "b"): 1},
    "keys of two kinds": lambda user: {"a": 1, 2: 3},
    "circular": lambda user: Circle(),
    "bottomless": lambda user: _deep(100_000),
    "mapping in it": lambda user: {"a": MappingProxyType({})},
    "generator": lambda user: (each for each in "ab"),
}


@pytest.mark.parametrize("kind", SESSIONS)
def test_session_is_no_json(shared: Host, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """H3: what ``on_accepted`` returns and the app cannot dump is no session: the answer is 201, and the log names the
    hook."""
    case = fresh(shared, "pending")
    with override(shared.app, on_accepted=lambda user, _invitation: SESSIONS[kind](user)):
        answer = accept(shared.client(), case.token)
        gc.collect()
    assert answer.status_code == 201
    assert "session" not in (answer.json or {})
    assert "on_accepted returned" in caplog.text
    assert case.id in caplog.text


def test_half_a_surrogate_in_a_session(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """H3: nor is text that the app's JSON passes on and no answer can be made of."""

    class Raw(DefaultJSONProvider):
        """Leaves text as it is."""

        ensure_ascii = False

    with build(f"sqlite:///{tmp_path / 'own.sqlite3'}", on_accepted=lambda *_: {"name": "\ud800"}) as host:
        host.app.json = Raw(host.app)
        assert accept(host.client(), make(host, "pending").token).json.keys() == {"user", "invitation"}  # type: ignore[union-attr]
    assert "on_accepted returned what cannot be JSON" in caplog.text


def test_session_by_the_apps_own_json(tmp_path: Path) -> None:
    """H3: what can be JSON the app's own provider decides, as it will for the answer, whenever it was set; and a
    session of plain values is handed on as it is, also from Python."""

    class Sets(DefaultJSONProvider):
        """Has sets, and makes its answers of bytes, as orjson does."""

        def dumps(self, obj: Any, **_: Any) -> str:
            return json.dumps(obj, default=sorted)

        def response(self, *args: Any, **_: Any) -> Any:
            return Response(self.dumps(*args).encode(), mimetype="application/json")

    def on_accepted(_user: Any, _invitation: Any) -> Mapping[str, Any]:
        return MappingProxyType({"roles": {"b", "a"}, "n": None})

    with build(f"sqlite:///{tmp_path / 'own.sqlite3'}", on_accepted=on_accepted) as host:
        host.app.json = Sets(host.app)
        answer: Any = accept(host.client(), make(host, "pending").token)
        assert (answer.status_code, answer.json["session"]) == (201, {"roles": ["a", "b"], "n": None})
        with host.app.app_context():
            done = host.invitations.accept(make(host, "pending", "Two").token, password=PASSWORD)
            assert done.session == {"roles": {"a", "b"}, "n": None}


# H6: factories


def _app(path: Path, name: str) -> Flask:
    app = Flask(name)
    app.config.update(SECRET_KEY="k", INVITATIONS_ACCEPT_URL=ACCEPT_URL)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{path / name}.sqlite3"
    KIND.db.init_app(app)
    return app


KIND = shape("int", "none")


def test_factory_that_decorates_runs_twice(tmp_path: Path) -> None:
    """H6: a factory that decorates can be called again, before and after its first app was used; each app has what was
    given last before its ``init_app``."""
    invitations, boxes = Invitations(), list[Any]()

    def create_app(name: str) -> Flask:
        app = _app(tmp_path, name)

        @invitations.tenant_name
        def tenant_name(_tenant_id: Any) -> str:
            return name

        boxes.append(invitations.mailer(RecordingMailer()))
        invitations.current_user(lambda: None)
        invitations.init_app(app, KIND.db, user_model=KIND.User)  # type: ignore[call-arg]
        return app

    apps = [create_app("one"), create_app("two")]
    for app in apps:
        with app.app_context():
            KIND.db.create_all()
            invitations.invite(GUEST)
    apps.append(create_app("three"))
    with apps[2].app_context():
        KIND.db.create_all()
        invitations.invite(GUEST)
    for app, box in zip(apps, boxes, strict=True):
        with app.app_context():
            assert len(box.messages) == 1
            assert invitations.preview(box.token_to(GUEST)).tenant.name == app.name
            KIND.db.session.remove()
            KIND.db.engine.dispose()


def test_decoration_that_no_app_has(tmp_path: Path) -> None:
    """H6: a hook that is given anew after ``init_app``, with no ``init_app`` to follow, would be lost: the first use of
    the app says so; one that was never given before is refused at once."""
    invitations = Invitations()
    invitations.current_user(lambda: None)
    invitations.init_app(_app(tmp_path, "late"), KIND.db, user_model=KIND.User, mailer=RecordingMailer())
    with pytest.raises(ConfigurationError, match="on_accepted was given after init_app"):
        invitations.on_accepted(lambda user, invitation: None)
    invitations.current_user(lambda: None)
    app = _app(tmp_path, "later")
    Invitations(app, KIND.db, user_model=KIND.User, mailer=RecordingMailer(), current_user=lambda: None)
    with app.app_context():
        KIND.db.create_all()
        assert invitations.list() == []  # another object's app is not meant
        KIND.db.engine.dispose()


def test_late_decoration_is_told_at_the_first_use(tmp_path: Path) -> None:
    """H6: whoever uses the app first is told, by HTTP and from Python, until an ``init_app`` has taken the hook."""
    invitations, app = Invitations(), _app(tmp_path, "first")
    invitations.current_user(lambda: None)
    invitations.init_app(app, KIND.db, user_model=KIND.User, mailer=RecordingMailer())
    invitations.current_user(lambda: None)
    app.testing = True
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"^current_user was given after init_app"):
            app.test_client().get(LIST)
        with app.app_context(), pytest.raises(ConfigurationError, match=r"^current_user was given after init_app"):
            invitations.list()
    second = _app(tmp_path, "second")
    invitations.init_app(second, KIND.db, user_model=KIND.User, mailer=RecordingMailer())
    assert app.test_client().get(LIST).status_code == second.test_client().get(LIST).status_code == 401
    invitations.current_user(lambda: None)
    assert second.test_client().get(LIST).status_code == 401
