"""Other hooks for the length of a test, and people: new members, and clients that are signed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Flask, has_request_context, request
from flask.testing import FlaskClient

from .. import current
from ..addresses import key_of
from ..calls import Calls
from ..config import Config
from ..context import Context
from ..current import get_state, state_of
from ..errors import ConfigurationError
from ..gate import Function, OptionalHook
from ..hooks import TABLE
from ..spelling import meant
from ..tokens import Token

#: A password that the default ``validate_password`` takes.
PASSWORD = "correct horse battery staple"  # noqa: S105 - it is for tests

#: Where a request says whose it is.
_WHOSE = "flask_invitations.signed_in"


@contextmanager
def override(app: Flask, **hooks: Any) -> Iterator[None]:
    """Put other hooks in place of the app's own, for the length of the ``with`` block::

        with override(app, mailer=RecordingMailer(), can_invite=lambda user, tenant_id, role: True):
            ...

    :param hooks: any hook that is a function, by name; ``None`` takes away an optional one.
    :raises ConfigurationError: no such hook, or nothing that could be one.
    """
    for name, hook in hooks.items():
        _check(name, hook)
    with current.override(app, **hooks):
        yield


def _check(name: str, hook: Any) -> None:
    word = TABLE.get(name)
    if not isinstance(word, Function):
        near = meant(name, (each for each, known in TABLE.items() if isinstance(known, Function)))
        raise ConfigurationError(f"{name} is not a hook that can be overridden.{near} See docs/hooks.md for the names.")
    if hook is not None or not isinstance(word, OptionalHook):
        word.check(hook)


@contextmanager
def signed_in(app: Flask, user: Any) -> Iterator[FlaskClient]:
    """A test client whose calls to the API, the pages and the desk are made by ``user``, whatever people sign in with.

    Other clients are not signed in by it, and the app's own views do not know of it: for them sign in as usual.

    :param user: one of your users, or the primary key of one.
    """
    hooks = state_of(app).ctx.hooks
    models, own = hooks.house.models, hooks.said["current_user"]
    client = app.test_client()
    client.environ_base[_WHOSE] = models.user_id(user) if isinstance(user, models.user) else user
    with override(app, current_user=_whose(own)):
        yield client


def _whose(own: Callable[[], Any]) -> Callable[[], Any]:
    def current_user() -> Any:
        key = request.environ.get(_WHOSE) if has_request_context() else None
        return own() if key is None else get_state().ctx.store.hosts.user(key)

    return current_user


def new_member(
    app: Flask,
    email: str,
    *,
    tenant_id: Any = None,
    role: str | None = None,
    profile: Mapping[str, Any] | None = None,
    password: str = PASSWORD,
) -> Any:
    """Make an account as your app does: the system invites ``email``, and the invitation is accepted. No email is sent.

    :param tenant_id: needed if there is a tenant model.
    :param role: default: the setting ``DEFAULT_ROLE``.
    :param profile: the fields of your ``profile_schema``; ``password``: one that your ``validate_password`` takes.
    :returns: the primary key of the user.
    :raises InvitationError: your rules refuse that.
    """
    with app.test_request_context():
        ctx, calls = get_state().ctx, Calls()
        made = calls.invite(email, tenant_id=tenant_id, role=role, mail=False)
        token = token_of(ctx, made.id)
        return calls.accept(token.reveal(), password=password, profile=profile).user.id


def token_of(ctx: Context, invitation_id: Any) -> Token:
    """The token of an invitation, which nobody but the invitee is told."""
    row = ctx.hooks.house.session().get(ctx.models.Invitation, invitation_id)
    token = ctx.mint.recover(row.token_nonce, row.token_hash)
    if token is None:
        raise LookupError("The key that made this invitation is gone.")
    return token


@contextmanager
def signed_in_manager(
    app: Flask,
    *,
    tenant_id: Any = None,
    email: str = "manager@example.com",
    profile: Mapping[str, Any] | None = None,
    password: str = PASSWORD,
) -> Iterator[FlaskClient]:
    """The same as :func:`signed_in`, for a manager with the highest of ``INVITATIONS_ADMIN_ROLES``::

        with signed_in_manager(app, tenant_id=1) as client:
            client.post("/api/v1/users/invite", json={"email": "ann@example.com"})

    :param email: the manager's; the account is made by :func:`new_member` if there is none yet.
    """
    with app.app_context():
        ctx = get_state().ctx
        found = ctx.hooks.find_user(key_of(email) or email)
        user_id = None if found is None else ctx.models.user_id(found)
    if user_id is None:
        role = highest(ctx.config)
        user_id = new_member(app, email, tenant_id=tenant_id, role=role, profile=profile, password=password)
    with signed_in(app, user_id) as client:
        yield client


def highest(config: Config) -> str:
    """The highest of the roles that may invite."""
    return max(config.admin_roles, key=config.roles.index)
