"""Whom many addresses belong to: the hook ``find_users``, its default, and what becomes of its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from flask_invitations.current import get_state, override
from tests.hosts import Host, build


def accounts(host: Host, *emails: str) -> dict[str, str]:
    """The stored address of each account that was found, by the address that was asked for."""
    with host.app.app_context():
        return {email: user.email for email, user in get_state().ctx.hooks.accounts(emails).items()}


def test_default_is_one_query(host: Host) -> None:
    """The default finds those that there are among hundreds, with one statement for every 500 addresses."""
    for name in ("ann", "bob", "eve"):
        host.user(f"{name}@example.com")
    strangers = [f"nobody-{number}@example.com" for number in range(498)]
    with host.statements() as one:
        found = accounts(host, "eve@example.com", "ann@example.com", *strangers)
    assert found == {"eve@example.com": "eve@example.com", "ann@example.com": "ann@example.com"}
    with host.statements() as two:
        found = accounts(host, *strangers, "eve@example.com", "ann@example.com", "bob@example.com")
    assert len(found) == 3
    assert [sum("users" in statement for statement in each) for each in (one, two)] == [1, 2]
    with host.statements() as none:
        assert accounts(host) == {}
    assert none == []


def test_default_compares_itself(host: Host) -> None:
    """F1, CVE-2019-19844: an account jose@ is not found for josé@, nor ss for ß, whatever the collation says."""
    for email in ("jose@example.com", "strasse@example.com", "ann@example.com"):
        host.user(email)
    asked = ("josé@example.com", "straße@example.com", "ann@example.com")
    assert accounts(host, *asked) == {"ann@example.com": "ann@example.com"}
    with host.app.app_context():
        find_users = get_state().ctx.hooks.find_users
        assert find_users is not None
        assert [user.email for user in find_users(asked)] == ["ann@example.com"]


def test_default_agrees_with_find_user(host: Host) -> None:
    """One at a time or all at once: the two defaults find the same accounts."""
    emails = ["ann@example.com", "jose@example.com", "josé@example.com", "bob@example.com"]
    for email in emails[:2]:
        host.user(email)
    with host.app.app_context():
        hooks = get_state().ctx.hooks
        singly = {email: user.email for email in emails if (user := hooks.find_user(email))}
    assert accounts(host, *emails) == singly


def test_default_uses_the_index(local: Host) -> None:
    """The default goes through the host's index, and scans no table."""
    with local.statements() as seen:
        accounts(local, "ann@example.com", "bob@example.com")
    (statement,) = seen
    with local.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", ("a", "b")).all()
    assert [str(line[-1]).split(" (")[0] for line in plan] == ["SEARCH users USING INDEX sqlite_autoindex_users_1"]


def one_by_one(host: Host, asked: list[str]) -> Callable[[str], Any]:
    """A ``find_user`` of the host's, which knows an account by another address."""

    def find_user(email: str) -> Any:
        asked.append(email)
        known_as = {"alias@example.com": "ann@example.com"}.get(email)
        return host.db.session.scalar(sa.select(host.User).where(host.User.email == known_as))

    return find_user


def test_own_find_user_is_asked_for_each(local: Host) -> None:
    """Where the host has a ``find_user`` of its own and no ``find_users``, its answer for each address counts, an alias
    too; and a test that replaces the one has replaced the other."""
    local.user("ann@example.com")
    local.user("bob@example.com")
    asked: list[str] = []
    with override(local.app, find_user=one_by_one(local, asked)):
        found = accounts(local, "alias@example.com", "bob@example.com")
    assert found == {"alias@example.com": "ann@example.com"}
    assert asked == ["alias@example.com", "bob@example.com"]
    assert accounts(local, "bob@example.com") == {"bob@example.com": "bob@example.com"}


def test_own_find_users(local: Host) -> None:
    """The host's own ``find_users`` is asked once, for all; whom it brings along unasked, or for a similar address, is
    nobody's."""
    for email in ("ann@example.com", "jose@example.com", "unasked@example.com"):
        local.user(email)
    asked: list[Sequence[str]] = []

    def find_users(emails: Sequence[str]) -> Any:
        asked.append(emails)
        return local.db.session.scalars(sa.select(local.User))

    with override(local.app, find_users=find_users):
        found = accounts(local, "ann@example.com", "josé@example.com")
    assert found == {"ann@example.com": "ann@example.com"}
    assert asked == [("ann@example.com", "josé@example.com")]


@pytest.mark.parametrize("given", ["find_user", "find_users"])
def test_given_at_init_app(local_url: str, given: str) -> None:
    """A host that gives one of the two is never asked through the default of the other."""
    hooks: dict[str, Any] = {given: (lambda _: None) if given == "find_user" else (lambda _: [])}
    with build(local_url, **hooks) as host:
        host.user("ann@example.com")
        with host.statements() as seen:
            assert accounts(host, "ann@example.com") == {}
        assert seen == []
