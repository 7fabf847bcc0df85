"""Other extensions in the same app, and models of other shapes: the whole way works beside each of them.

Flask-Login, Flask-Security, Flask-JWT-Extended, Authlib, Flask-Admin and Flask-SQLAlchemy-Lite have examples, which
``tests/examples`` runs. Flask-WTF, Flask-Babel, SeaSurf, dataclasses, naming conventions and hosts that tell addresses
apart by host are looked at where what they could break is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from flask import Flask, jsonify, request
from flask.json.provider import JSONProvider
from flask.testing import FlaskClient
from flask_httpauth import HTTPBasicAuth
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    get_current_user,
    set_access_cookies,
    verify_jwt_in_request,
)
from flask_sqlalchemy import SQLAlchemy
from flask_talisman import Talisman
from sqlalchemy import orm
from werkzeug.security import check_password_hash

from flask_invitations import Invitations
from flask_invitations.testing import RecordingMailer
from flask_invitations.web.pages import HEADERS
from tests.hosts import PASSWORD
from tests.http.tools import ACCEPT, INVITE, LIST

OWNER, ANN = "owner@example.com", "ann@example.com"
LINK = "https://app.example.com/invitations/accept#{token}"


@dataclass
class Site:
    """A host in the making: its app and ``db``, and how the owner calls."""

    app: Flask
    db: SQLAlchemy
    outbox: RecordingMailer = field(default_factory=RecordingMailer)
    invitations: Invitations = field(default_factory=Invitations)
    owner: dict[str, Any] = field(default_factory=lambda: {"headers": {"X-User": OWNER}})

    def user_model(self, **columns: Any) -> Any:
        """A conventional class of users, or one with other columns."""
        space: dict[str, Any] = {
            "id": orm.mapped_column(sa.Integer, primary_key=True),
            "email": orm.mapped_column(sa.String(254), unique=True),
            "role": orm.mapped_column(sa.String(20)),
            "password_hash": orm.mapped_column(sa.String(255)),
        }
        space |= {"__module__": __name__, "__tablename__": "people", **columns}
        return type("User", (self.db.Model,), {name: each for name, each in space.items() if each is not ...})

    def by_header(self, user: Any) -> Callable[[], Any]:
        """Whoever the header says."""
        return lambda: self.db.session.scalar(sa.select(user).where(user.email == request.headers.get("X-User")))

    def init(self, user: Any, tenant: Any = None, **hooks: Any) -> None:
        """``init_app``, the tables, and the owner."""
        hooks = {"current_user": self.by_header(user), **hooks}
        self.invitations.init_app(self.app, self.db, user_model=user, tenant_model=tenant, mailer=self.outbox, **hooks)
        with self.app.app_context():
            self.db.create_all()
            home = {} if tenant is None else {"tenant_id": "acme"}
            if tenant is not None:
                self.db.session.add(tenant(code="acme", name="Acme"))
                self.db.session.flush()
            self.db.session.add(user(email=OWNER, role="owner", **home))
            self.db.session.commit()

    def flow(self, client: FlaskClient | None = None, **how: Any) -> Any:
        """The owner invites Ann, who accepts; both are listed. Gives the answer to accept."""
        client = client or self.app.test_client()
        assert client.post(INVITE, json={"email": ANN}, **how).status_code == 401
        owner = {**how, **self.owner}
        made = client.post(INVITE, json={"email": ANN, "role": "admin"}, **owner)
        assert made.status_code == 201, made.text
        body = {"token": self.outbox.token_to(ANN), "password": PASSWORD}
        done = self.app.test_client().post(ACCEPT, json=body, **how)
        assert done.status_code == 201, done.text
        listed = client.get(LIST, **owner)
        assert [each["status"] for each in listed.json["items"]] == ["accepted"]  # type: ignore[index]
        assert listed.json["items"][0]["accepted_by_id"] == done.json["user"]["id"]  # type: ignore[index]
        return done.json


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes a host on SQLite, or elsewhere, and closes its databases."""
    made: list[Site] = []

    def site(url: str | None = None, *, binds: dict[str, str] | None = None, **how: Any) -> Site:
        app = Flask("neighbors")
        app.config.update(SECRET_KEY="a key of 32 octets, as JWT wants it", INVITATIONS_ACCEPT_URL=LINK)
        app.config["SQLALCHEMY_DATABASE_URI"] = url or f"sqlite:///{tmp_path / 'site.sqlite3'}"
        app.config["SQLALCHEMY_BINDS"] = binds or {}
        db = SQLAlchemy(**how)
        db.init_app(app)
        made.append(Site(app, db))
        return made[-1]

    yield site
    for each in made:
        with each.app.app_context():
            each.db.session.remove()
            for engine in each.db.engines.values():
                engine.dispose()


# Extensions


def test_flask_httpauth(make: Callable[..., Site]) -> None:
    """Flask-HTTPAuth says who calls, in one line."""
    site, auth = make(), HTTPBasicAuth()
    user = site.user_model()

    @auth.verify_password  # type: ignore[untyped-decorator]
    def verify(email: str, password: str) -> Any:
        found = site.db.session.scalar(sa.select(user).where(user.email == email))
        return found if found is not None and check_password_hash(found.password_hash, password) else None

    site.init(user, current_user=auth.login_required(optional=True)(auth.current_user))
    second = "second@example.com"  # the first one has no password
    with site.app.app_context():
        site.invitations.invite(second, role="owner")
        site.invitations.accept(site.outbox.token_to(second), password=PASSWORD)
    site.owner = {"auth": (second, PASSWORD)}
    client = site.app.test_client()
    assert client.post(INVITE, json={"email": ANN}, auth=(second, "wrong")).status_code == 401
    assert client.post(INVITE, json={"email": ANN}, **site.owner).status_code == 201
    assert [each["status"] for each in client.get(LIST, **site.owner).json["items"]] == ["pending", "accepted"]  # type: ignore[index]


def test_talisman(make: Callable[..., Site]) -> None:
    """Talisman sends everybody to https and puts its policy on the host's pages; ours keep their own."""
    site = make()
    Talisman(site.app, content_security_policy={"default-src": "'none'"})
    site.init(site.user_model())
    site.app.add_url_rule("/own", "own", lambda: "own")
    secure: dict[str, Any] = {"base_url": "https://localhost"}
    site.flow(**secure)
    client = site.app.test_client()
    assert client.get("/invitations/accept").status_code == 302
    page, own = client.get("/invitations/accept", **secure), client.get("/own", **secure)
    assert page.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]
    assert own.headers["Content-Security-Policy"] == "default-src 'none'"
    assert len(page.headers.getlist("Content-Security-Policy")) == 1


class Orjson(JSONProvider):
    """As one writes it: nothing but what orjson itself knows."""

    def dumps(self, obj: Any, **_options: Any) -> str:
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **_options: Any) -> Any:
        return orjson.loads(s)


def test_orjson(make: Callable[..., Site]) -> None:
    """Whatever makes the app's JSON makes ours too: answers, refusals, and what ``on_accepted`` gives."""
    site = make()
    site.app.json = Orjson(site.app)
    site.init(
        site.user_model(), on_accepted=lambda user, invitation: {"id": invitation.id, "at": invitation.accepted_at}
    )
    session = site.flow()["session"]
    assert len(session["id"]) == 36
    assert session["at"].startswith("20")
    refused = site.app.test_client().post(INVITE, json={"email": "x"}, **site.owner)
    assert refused.status_code == 422
    assert json.loads(refused.text)["errors"]["email"]
    assert site.app.test_client().get("/api/v1/users/invitations/openapi.json").status_code == 200


def test_jwt_in_cookies(make: Callable[..., Site]) -> None:
    """A token in a cookie, with Flask-JWT-Extended's own token against forged calls: without that, it is nobody's; from
    another site the call is refused before anybody asks."""
    site = make()
    site.app.config.update(JWT_TOKEN_LOCATION=["cookies"], JWT_COOKIE_SECURE=False)
    user, jwt = site.user_model(), JWTManager(site.app)
    jwt.user_lookup_loader(lambda header, claims: site.db.session.get(user, int(claims["sub"])))

    def signed_in() -> Any:
        try:
            verify_jwt_in_request(optional=True)
            return get_current_user()
        except Exception:
            return None

    site.init(user, current_user=signed_in)

    @site.app.post("/sign-in")
    def sign_in() -> Any:
        answer = jsonify({})
        set_access_cookies(answer, create_access_token("1"))
        return answer

    client = site.app.test_client()
    client.post("/sign-in")
    cookie = client.get_cookie("csrf_access_token")
    assert cookie is not None
    site.owner = {"headers": {"X-CSRF-TOKEN": cookie.value, "Origin": "https://app.example.com"}}
    evil = {"Origin": "https://evil.example", "X-CSRF-TOKEN": cookie.value}
    assert client.post(INVITE, json={"email": ANN}, headers=evil).json["code"] == "cross-site"  # type: ignore[index]
    site.flow(client)


def test_async_views(make: Callable[..., Site]) -> None:
    """An async view of the host's calls us as any other does, in its own transaction too."""
    site = make()
    user = site.user_model()
    site.init(user)

    @site.app.post("/async")
    async def invite() -> dict[str, str]:
        with site.invitations.unit():
            site.db.session.add(user(email="made@example.com", role="user"))
            made = site.invitations.invite("bob@example.com")
        return {"state": made.delivery.state if made.delivery else ""}

    assert site.app.test_client().post("/async").json == {"state": "sent"}
    assert [message.to for message in site.outbox.messages] == ["bob@example.com"]


def test_script_name(make: Callable[..., Site]) -> None:
    """Below a path, every address that we give has that path."""
    site = make()
    site.init(site.user_model())
    below: Any = {"environ_overrides": {"SCRIPT_NAME": "/app"}}
    client = site.app.test_client()
    made = client.post(INVITE, json={"email": ANN}, **below, **site.owner)
    assert made.headers["Location"].startswith(f"/app{LIST}/")
    page = client.get("/invitations/accept", **below).text
    assert 'action="/app/invitations/open"' in page
    assert 'src="/app/invitations/static/invitations.js"' in page
    moved = client.get("/invitations/open", **below)
    assert moved.headers["Location"] == "/app/invitations/accept"


# Models


def test_other_keys(make: Callable[..., Site]) -> None:
    """Keys by other names, in Python and in the database."""
    site = make()
    columns = {"id": ..., "uid": orm.mapped_column("user_no", sa.Integer, primary_key=True)}
    space = {
        "__module__": __name__,
        "__tablename__": "firms",
        "code": orm.mapped_column("firm_code", sa.String(20), primary_key=True),
        "name": orm.mapped_column(sa.String(200)),
    }
    tenant = type("Firm", (site.db.Model,), space)
    home = orm.mapped_column(sa.ForeignKey("firms.firm_code", ondelete="CASCADE"))
    site.init(site.user_model(tenant_id=home, **columns), tenant)
    assert site.flow()["user"]["tenant_id"] == "acme"


def test_inheritance(make: Callable[..., Site]) -> None:
    """Users whose class is a table joined to that of its base."""
    site = make()
    kind = {"kind": orm.mapped_column(sa.String(20)), "__mapper_args__": {"polymorphic_on": "kind"}}
    person = site.user_model(role=..., password_hash=..., **kind)
    space = {
        "__module__": __name__,
        "__tablename__": "members",
        "__mapper_args__": {"polymorphic_identity": "member"},
        "id": orm.mapped_column(sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
        "role": orm.mapped_column(sa.String(20)),
        "password_hash": orm.mapped_column(sa.String(255)),
    }
    member = type("Member", (person,), space)
    site.init(member)
    site.flow()
    with site.app.app_context():
        assert [type(each) for each in site.db.session.scalars(sa.select(person))] == [member, member]


def test_several_binds(make: Callable[..., Site], tmp_path: Path) -> None:
    """Where users have a database of their own, our tables are there, and a transaction of the host's may span both."""
    site = make(binds={"accounts": f"sqlite:///{tmp_path / 'accounts.sqlite3'}"})
    note = {"id": orm.mapped_column(sa.Integer, primary_key=True), "__module__": __name__}
    made = type("Note", (site.db.Model,), note)
    site.init(site.user_model(__bind_key__="accounts"))
    site.flow()
    with site.app.app_context():
        with site.invitations.unit():
            site.db.session.add(made())
            site.invitations.invite("bob@example.com")
        tables = [set(sa.inspect(engine).get_table_names()) for engine in (site.db.engine, site.db.engines["accounts"])]
        assert tables[0] == {"note"}
        assert {"people", "user_invitations"} <= tables[1]
        assert site.db.session.scalar(sa.select(sa.func.count()).select_from(made)) == 1


@pytest.mark.parametrize("_database", ["postgresql"], indirect=True)
def test_schema(make: Callable[..., Site], empty_url: str) -> None:
    """Tables in a schema, with names by a convention of the host's."""
    convention = {"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s"}
    site = make(empty_url, metadata=sa.MetaData(schema="crm", naming_convention=convention))
    with site.app.app_context():
        site.db.session.execute(sa.text("CREATE SCHEMA crm"))
        site.db.session.commit()
    site.init(site.user_model())
    site.flow()
    with site.app.app_context():
        names = sa.inspect(site.db.engine).get_table_names(schema="crm")
        assert {"people", "user_invitations", "user_invitation_deliveries"} <= set(names)
        site.db.session.execute(sa.text("DROP SCHEMA crm CASCADE"))
        site.db.session.commit()
