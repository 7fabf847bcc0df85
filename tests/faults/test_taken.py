"""Hosts that use our names, or that tell addresses apart in another way: A5."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Blueprint, Flask, request
from flask.cli import AppGroup
from flask_seasurf import SeaSurf
from flask_sqlalchemy import SQLAlchemy
from jinja2 import DictLoader

from flask_invitations import ConfigurationError, Invitations
from flask_invitations.testing import RecordingMailer
from tests.hosts import ACCEPT_URL, PASSWORD
from tests.http.tools import ACCEPT, INVITE, LIST

OPEN = "/invitations/open"
#: What SeaSurf calls; filtered where it is used, since it is deprecated from Python 3.12 on.
UTCNOW = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")


class Site:
    """A bare host whose first user is signed in wherever a call says so, and its emails."""

    def __init__(self, folder: Path, **how: Any) -> None:
        self.app, self.db, self.outbox = Flask("taken", **how), SQLAlchemy(), RecordingMailer()
        self.app.config.update(SECRET_KEY="k", INVITATIONS_ACCEPT_URL=ACCEPT_URL)
        self.app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder / 'taken.sqlite3'}"
        self.db.init_app(self.app)
        db: Any = self.db

        class User(db.Model):  # type: ignore[misc]
            id = db.Column(db.Integer, primary_key=True)
            email = db.Column(db.String(254), unique=True, nullable=False)
            role = db.Column(db.String(20), nullable=False)
            password_hash = db.Column(db.String(200))

        self.User: Any = User

    def init(self) -> Site:
        """``init_app``; whoever calls is the owner."""
        Invitations().init_app(
            self.app,
            self.db,
            user_model=self.User,
            mailer=self.outbox,
            current_user=lambda: self.db.session.get(self.User, int(request.headers.get("X-User", 0))),
        )
        return self

    def filled(self) -> Site:
        """Its tables and an owner."""
        with self.app.app_context():
            self.db.create_all()
            self.db.session.add(self.User(id=1, email="owner@example.com", role="owner"))
            self.db.session.commit()
        return self

    def client(self, user: int = 0, name: str = "localhost") -> Any:
        """Calls a host of that name, as the user with that id."""
        client: Any = self.app.test_client()
        client.environ_base["HTTP_X_USER"] = str(user)
        client.open = partial(client.open, base_url=f"http://{name}")
        return client


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes a host, and closes its database."""
    made: list[Site] = []

    def make(**how: Any) -> Site:
        made.append(Site(tmp_path, **how))
        return made[-1]

    yield make
    for each in made:
        with each.app.app_context():
            each.db.session.remove()
            each.db.engine.dispose()


def blueprint(name: str) -> Callable[[Site], object]:
    return lambda site: site.app.register_blueprint(Blueprint(name, __name__), url_prefix="/own")


def table(name: str) -> Callable[[Site], object]:
    return lambda site: sa.Table(name, site.db.metadata, sa.Column("id", sa.Integer, primary_key=True))


def setting(**values: Any) -> Callable[[Site], object]:
    return lambda site: site.app.config.update(values)


#: What the host has -> what the error says of it, and of the fix.
TAKEN: dict[str, tuple[Callable[[Site], object], tuple[str, ...]]] = {
    "pages": (blueprint("invitations"), ("'invitations'", "blueprint", "name=")),
    "api": (blueprint("invitations_api"), ("'invitations_api'", "blueprint", "name=")),
    "desk": (blueprint("invitations_desk"), ("'invitations_desk'", "blueprint", "name=")),
    "table": (table("user_invitations"), ("'user_invitations'", "Rename", "reflect")),
    "last table": (table("user_invitation_turns"), ("'user_invitation_turns'", "Rename")),
    "commands": (lambda site: site.app.cli.add_command(AppGroup("invitations")), ("'invitations'", "command")),
    "extension": (lambda site: site.app.extensions.update(invitations={}), ("extensions['invitations']", "dict")),
    "prefixes": (setting(INVITATIONS_API_PREFIX="/invitations"), ("PAGES_PREFIX", "API_PREFIX")),
    "nested": (setting(INVITATIONS_PAGES_PREFIX="/api/v1/users/invitations"), ("PAGES_PREFIX", "API_PREFIX")),
    "old key": (setting(SECRET_KEY_FALLBACKS="oldkey"), ("SECRET_KEY_FALLBACKS", "list")),
    "old keys of an empty variable": (setting(SECRET_KEY_FALLBACKS=[""]), ("SECRET_KEY_FALLBACKS", "empty")),
    "old bytes": (setting(SECRET_KEY_FALLBACKS=b"oldkey"), ("SECRET_KEY_FALLBACKS", "list")),
    "old number": (setting(SECRET_KEY_FALLBACKS=[1]), ("SECRET_KEY_FALLBACKS", "list")),
    "number": (setting(SECRET_KEY=12345), ("SECRET_KEY must be text or bytes",)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_name_of_ours(site: Callable[..., Site], name: str) -> None:
    """A5: a host's blueprint, table, command or key that is in our way is refused in a sentence with the fix, before
    anything of ours is there: the app is as it was."""
    host, (take, words) = site(), TAKEN[name]
    take(host)
    before = _look(host)
    with pytest.raises(ConfigurationError) as caught:
        host.init()
    for word in words:
        assert word in str(caught.value)
    assert _look(host) == before


def _look(host: Site) -> tuple[object, ...]:
    """What an app has that we add to."""
    app = host.app
    rules = [rule.endpoint for rule in app.url_map.iter_rules()]
    parts = (app.blueprints, app.cli.commands, app.extensions, host.db.metadata.tables, host.db.metadata.info)
    return rules, *(dict(part) for part in parts)


def test_a_table_of_the_name_elsewhere(site: Callable[..., Site]) -> None:
    """A5: a table of that name in another schema is in nobody's way."""
    host = site()
    sa.Table("user_invitations", host.db.metadata, sa.Column("id", sa.Integer, primary_key=True), schema="crm")
    assert "invitations" in host.init().app.extensions


def test_too_late(site: Callable[..., Site]) -> None:
    """A5: an app that has answered already is left as it was; Flask says why."""
    host = site()
    host.client().get("/")
    before = _look(host)
    with pytest.raises(AssertionError, match="register_blueprint"):
        host.init()
    assert _look(host)[:-2] == before[:-2]  # but for the metadata, which is no app's


@pytest.mark.parametrize("name", ["app.example.com", "eu.example.com:8443"])
def test_host_matching(site: Callable[..., Site], name: str) -> None:
    """A5: in an app that tells addresses apart by host everything works on each host, and a view of the host's goes
    first."""
    host = site(host_matching=True, static_host="static.example.com").init().filled()
    host.app.add_url_rule("/invitations/accept", "own", lambda: "ours", host="other.example.com")
    owner, guest = host.client(1, name), host.client(0, name)
    made = owner.post(INVITE, json={"email": "ann@example.com"})
    assert (made.status_code, made.headers["Location"]) == (201, f"{LIST}/{made.json['id']}")
    assert owner.get(made.headers["Location"]).status_code == 200
    assert "ann@example.com" in owner.get("/invitations/").text
    page = guest.get("/invitations/accept").text
    assert f'action="{OPEN}"' in page
    with guest.get("/invitations/static/invitations.css") as asset:
        assert asset.status_code == 200
    token = host.outbox.token_to("ann@example.com")
    offer = guest.post(OPEN, data={"token": token}, headers={"Origin": f"http://{name}"})
    assert "ann@example.com" in offer.text
    assert guest.post(ACCEPT, json={"token": token, "password": PASSWORD}).status_code == 201
    assert host.client(0, "other.example.com").get("/invitations/accept").text == "ours"
    host.app.config["SERVER_NAME"] = "example.com"
    with host.app.app_context():
        assert host.app.url_for("invitations.landing") == "http://app.example.com/invitations/accept"


@UTCNOW
def test_seasurf(site: Callable[..., Site]) -> None:
    """A5: SeaSurf asks no token of a call to us, whichever of the two is set up first, and still looks after the
    host's own views and the forms of its layout."""
    host = site().init()
    SeaSurf(host.app)
    host.app.add_url_rule("/own", "own", lambda: "done", methods=["POST"])
    host.filled()
    owner, guest = host.client(1), host.client()
    assert owner.post("/own").status_code == 403
    assert owner.post(INVITE, json={"email": "ann@example.com"}).status_code == 201
    token = host.outbox.token_to("ann@example.com")
    assert "ann@example.com" in guest.post(OPEN, data={"token": token}).text
    assert guest.post(ACCEPT, json={"token": token, "password": PASSWORD}).status_code == 201
    elsewhere = owner.post(INVITE, json={"email": "bob@example.com"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert elsewhere.json["code"] == "cross-site"
    assert owner.post("/own").status_code == 403


LAYOUT = "<form><input value='{{ csrf_token() }}'></form>{% block content %}{% endblock %}"


@UTCNOW
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_seasurf_and_the_layout(site: Callable[..., Site], method: str) -> None:
    """A5: a form of the host's layout on a page of ours carries a token that its own view takes, also on a page that
    answers a POST."""
    host = site()
    host.app.jinja_loader = DictLoader({"invitations/base.html": LAYOUT})
    SeaSurf(host.app)
    host.init().filled()
    host.app.add_url_rule("/own", "own", lambda: "done", methods=["POST"])
    client = host.client()
    page = client.get("/invitations/accept") if method == "GET" else client.post(OPEN, data={"token": "none"})
    token = re.search(r"value='(\w+)'", page.text)
    assert token is not None, page.text
    assert client.post("/own", data={"_csrf_token": token[1]}).text == "done"
    assert client.post("/own", data={"_csrf_token": "x"}).status_code == 403
