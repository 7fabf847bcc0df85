"""A host behind a real server, and every page and state of the invitee's that there is.

``STATES["expired"](site, page)`` brings a page of the browser to that state.
"""

from __future__ import annotations

import enum
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from marshmallow import Schema, fields, validate
from sqlalchemy import orm
from werkzeug.serving import make_server

from flask_invitations.current import get_state
from tests.hosts import PASSWORD, Host, build, shape

PAGES = "/invitations"
MESSAGE = "Hi Nora, your seat is ready.\nThe plan for spring is pinned in the channel called planning."
_ids = count(1)


class Team(enum.Enum):
    """A choice."""

    design = 1
    engineering = 2


class Name(Schema):
    """What a new user tells of themselves."""

    name = fields.String(
        required=True,
        validate=validate.Length(1, 20, error="Use 1 to 20 characters."),
        metadata={"label": "Your name"},
    )


class Profile(Name):
    """A field of each kind that our pages ask for."""

    team = fields.Enum(Team, metadata={"label": "Your team"})
    interests = fields.List(fields.String(validate=validate.OneOf(["mail", "chat"], ["By mail", "By chat"])))
    website = fields.Url()
    seats = fields.Integer(strict=True, metadata={"description": "How many people come with you."})
    birthday = fields.Date()
    newsletter = fields.Boolean(metadata={"label": "Send me news about once a month"})


@dataclass
class Site:
    """A host that answers at ``base``; ``log`` is what its server writes, ``profiles`` what invitees told."""

    host: Host
    base: str
    log: list[str]
    profiles: list[Mapping[str, Any]] = field(default_factory=list)

    def invite(self, email: str | None = None, *, by: str | None = "ann@acme.example", **more: Any) -> tuple[str, str]:
        """Have somebody (or the system) invite into Acme; gives the address and the mailed link."""
        host, email = self.host, email or f"nora{next(_ids)}@example.com"
        with host.app.app_context():
            inviter = by and host.db.session.scalar(sa.select(host.User).filter_by(email=by))
            more = {"message": MESSAGE, **more}
            host.invitations.invite(email, inviter=inviter, tenant_id=host.tenant("Acme"), **more)
        return email, host.outbox.link_to(email)

    @property
    def stop_link(self) -> str:
        """The link by which the latest email can be stopped."""
        return self.host.outbox.messages[-1].headers["List-Unsubscribe"].strip("<>")

    def row(self, email: str) -> Any:
        return self.host.rows(self.host.invitations.models.Invitation, email=email)[-1]

    def expire(self, email: str) -> None:
        """The invitation's time is over; nobody else's is."""
        model = self.host.invitations.models.Invitation
        with orm.Session(self.host.engine) as session:
            over = self.host.clock() - timedelta(minutes=1)
            session.execute(sa.update(model).where(model.email == email).values(expires_at=over))
            session.commit()

    def sign_in(self, page: Any, user_id: Any) -> None:
        page.set_extra_http_headers({"X-Test-User": str(user_id)})


@contextmanager
def serving(folder: Path, **overrides: Any) -> Iterator[Site]:
    """A host on a free port of the loopback, with memberships, an inviter Ann, and everything switched on."""
    kind, profiles, log = shape("int", "membership"), list[Mapping[str, Any]](), list[str]()

    def create_user(invitation: Any, profile: Mapping[str, Any], password: str | None) -> Any:
        if profile.get("name") == "Slow":
            time.sleep(1.5)  # longer than two clicks take on a busy machine
        profiles.append(profile)
        user = kind.User(email=invitation.email_key, name=profile.get("name"), email_verified=True)
        user.set_password(password)
        kind.db.session.add(user)
        kind.db.session.flush()
        kind.db.session.add(kind.Membership(user_id=user.id, tenant_id=invitation.tenant_id, role=invitation.role))
        return user

    with _server() as (base, mount, lines):
        log = lines
        config = {
            "INVITATIONS_ACCEPT_URL": f"{base}{PAGES}/accept#{{token}}",
            "INVITATIONS_APP_NAME": "Northwind",
            "INVITATIONS_FRESH_LINK": "send",
            "INVITATIONS_LIST_UNSUBSCRIBE": True,
            **overrides.pop("config", {}),
        }
        words: dict[str, Any] = {
            "profile_schema": Name,
            "create_user": create_user,
            "login_url": lambda: "/sign-in",
            "logout_url": lambda: "/sign-out",
            **overrides,
        }
        with build(f"sqlite:///{folder / 'site.sqlite3'}", tenancy="membership", config=config, **words) as host:
            host.app.add_url_rule("/", "home", lambda: "home")
            host.app.add_url_rule("/favicon.ico", "favicon", lambda: ("", 204))
            ann = host.user("ann@acme.example", "owner", host.tenant("Acme"), verified=True)
            _name(host, ann, "Ann Lindqvist")
            mount(host.app)
            yield Site(host, base, log, profiles)


def _name(host: Host, user_id: Any, name: str) -> None:
    with orm.Session(host.engine) as session:
        session.execute(sa.update(host.User).where(host.User.id == user_id).values(name=name))
        session.commit()


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def _server() -> Iterator[tuple[str, Callable[[Any], None], list[str]]]:
    """Werkzeug's server in a thread: its address, how to give it an app, and what it logs."""
    apps, lines, logger = list[Any](), list[str](), logging.getLogger("werkzeug")
    handler, before = _Lines(lines), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    server = make_server("127.0.0.1", 0, lambda environ, start: apps[-1](environ, start), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", apps.append, lines
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
        logger.removeHandler(handler)
        logger.setLevel(before)


# The way through the pages


class Tongue:
    """A page whose words are looked for in another language."""

    def __init__(self, page: Any, gettext: Any) -> None:
        self._page, self._gettext = page, gettext

    def __getattr__(self, name: str) -> Any:
        return getattr(self._page, name)

    def get_by_role(self, role: str, name: str | None = None, **how: Any) -> Any:
        return self._page.get_by_role(role, **how, **({} if name is None else {"name": self._gettext(name)}))

    def get_by_label(self, text: str, **how: Any) -> Any:
        return self._page.get_by_label(self._gettext(text), **how)

    def get_by_text(self, text: Any, **how: Any) -> Any:
        return self._page.get_by_text(self._gettext(text) if isinstance(text, str) else text, **how)


def translation(site: Site, tag: str) -> Callable[[str], str]:
    """From a sentence in English to the same in that language."""
    with site.host.app.app_context():
        return get_state().ctx.language(tag).gettext


def open_offer(page: Any, link: str) -> None:
    """From the mailed link to what it offers, or to why it offers nothing."""
    page.goto(link)
    proceed(page)


def proceed(page: Any) -> None:
    """From the landing page to the next, until that one's script has run too."""
    with page.expect_navigation():
        page.get_by_role("button", name="Continue").click()


def focus_comes_to(locator: Any) -> None:
    """Wait for it: a browser moves the focus only after it has shown what it moves it to."""
    locator.and_(locator.page.locator(":focus")).wait_for()


def fill_in(page: Any, password: str = PASSWORD, name: str = "Nora") -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Choose a password").fill(password)
    page.get_by_role("button", name="Accept the invitation").click()


State = Callable[[Site, Any], None]
STATES: dict[str, State] = {}


def state(act: State) -> State:
    STATES[act.__name__.strip("_").replace("_", "-")] = act
    return act


@state
def _landing(site: Site, page: Any) -> None:
    page.goto(site.invite()[1])


@state
def _landing_paste(site: Site, page: Any) -> None:
    page.goto(f"{site.base}{PAGES}/accept")


@state
def _landing_cut(site: Site, page: Any) -> None:
    page.goto(f"{site.base}{PAGES}/accept#{'A' * 20}")


@state
def _offer(site: Site, page: Any) -> None:
    open_offer(page, site.invite(role="admin")[1])


@state
def _offer_by_system(site: Site, page: Any) -> None:
    open_offer(page, site.invite(by=None, message=None)[1])
    page.get_by_text("I do not want to join").click()


@state
def _offer_errors(site: Site, page: Any) -> None:
    open_offer(page, site.invite(role="admin")[1])
    fill_in(page, password="passwordpassword", name="N" * 20)
    focus_comes_to(page.get_by_role("alert").locator("[autofocus]"))  # whoever types before that is told off
    page.get_by_label("Choose a password").type("a few words")
    page.get_by_text(re.compile(r"11\D+15")).first.wait_for()


def _as_account(
    site: Site, page: Any, tenant: str = "Elsewhere", *, verified: bool = True, signed_in: bool = True
) -> str:
    email, link = site.invite()
    user = site.host.user(email, "user", site.host.tenant(tenant), verified=verified)
    if signed_in:
        site.sign_in(page, user)
    open_offer(page, link)
    return link


@state
def _offer_join(site: Site, page: Any) -> None:
    _as_account(site, page)


@state
def _account_exists(site: Site, page: Any) -> None:
    _as_account(site, page, signed_in=False)


@state
def _account_unverified(site: Site, page: Any) -> None:
    _as_account(site, page, verified=False)


@state
def _already_member(site: Site, page: Any) -> None:
    _as_account(site, page, tenant="Acme")


@state
def _wrong_account(site: Site, page: Any) -> None:
    site.sign_in(page, site.host.user(f"other{next(_ids)}@example.com", "user", site.host.tenant("Elsewhere")))
    open_offer(page, site.invite()[1])


@state
def _accepted(site: Site, page: Any) -> None:
    _offer(site, page)
    fill_in(page)
    page.get_by_role("heading", name="Welcome, you are now a member").wait_for()


@state
def _accepted_signed_in(site: Site, page: Any) -> None:
    _as_account(site, page)
    page.get_by_role("button", name="Accept the invitation").click()
    page.get_by_role("heading", name="Welcome, you are now a member").wait_for()


@state
def _declined(site: Site, page: Any) -> None:
    _offer(site, page)
    page.get_by_text("I do not want to join").click()
    page.get_by_role("button", name="Decline the invitation").click()
    page.get_by_role("heading", name="You declined the invitation").wait_for()


@state
def _stop(site: Site, page: Any) -> None:
    site.invite()
    page.goto(site.stop_link)


@state
def _stopped(site: Site, page: Any) -> None:
    _stop(site, page)
    page.get_by_role("button", name="Stop these invitations").click()
    page.get_by_role("heading", name="You will get no more of these invitations").wait_for()


@state
def _dead_expired(site: Site, page: Any) -> None:
    email, link = site.invite()
    site.expire(email)
    open_offer(page, link)


@state
def _requested(site: Site, page: Any) -> None:
    _dead_expired(site, page)
    page.get_by_role("button", name="Send me a new link").click()
    page.get_by_role("heading", name="Check your inbox").wait_for()


@state
def _dead_accepted(site: Site, page: Any) -> None:
    _, link = site.invite()
    with site.host.app.app_context():
        site.host.invitations.accept(link[-43:], password=PASSWORD, profile={"name": "Nora"})
    open_offer(page, link)


@state
def _dead_accepted_by_me(site: Site, page: Any) -> None:
    link = _as_account(site, page)
    page.get_by_role("button", name="Accept the invitation").click()
    open_offer(page, link)


@state
def _dead_revoked(site: Site, page: Any) -> None:
    email, link = site.invite()
    with site.host.app.app_context():
        site.host.invitations.revoke(site.row(email).id)
    open_offer(page, link)


@state
def _dead_replaced(site: Site, page: Any) -> None:
    email, link = site.invite()
    with site.host.app.app_context():
        site.host.invitations.resend(site.row(email).id)
    open_offer(page, link)


@state
def _dead_declined(site: Site, page: Any) -> None:
    _, link = site.invite()
    with site.host.app.app_context():
        site.host.invitations.decline(link[-43:])
    open_offer(page, link)


@state
def _dead_unknown(site: Site, page: Any) -> None:
    page.goto(f"{site.base}{PAGES}/accept")
    page.get_by_label("Your invitation link").fill("https://northwind.example/invitations/accept#half")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="This link does not open an invitation").wait_for()
