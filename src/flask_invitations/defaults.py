"""What a conventional host need not say: the default of each optional hook."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from threading import Lock
from typing import Any

import sqlalchemy as sa
from flask import Flask
from werkzeug.security import generate_password_hash

from .addresses import key_of
from .clock import utcnow
from .config import Config
from .conventions import role_words
from .errors import ConfigurationError, InvalidRequest, PasswordRejected, Sentence
from .gate import refuse_unrun
from .hooks import HookTable
from .model.binding import Models
from .model.values import InvitationInfo
from .replies import House
from .store.invitations import Store
from .tokens import Secret, sealed

#: The estimator is shown so many characters: what it does grows with the square of them.
_ESTIMATED = 40
#: It tries every reading of a character that may stand for several letters. Where there would be more, we leave it one
#: character for each letter.
_READINGS = 4
_ONE_SPELLING = str.maketrans("@{[<!|9$+", "4(((11657")
#: It keeps the words of whom it was asked about last.
_estimator = Lock()


class Defaults:
    """The default hooks of one host; each method is the hook of its name."""

    def __init__(self, config: Config, models: Models, store: Store) -> None:
        self._config, self._models, self._store = config, models, store
        self._words = role_words(sa.inspect(models.user).columns.get("role"), config.roles) or {}

    def tenant_of(self, user: Any) -> Any:
        return None if self._models.tenant is None else user.tenant_id

    def find_user(self, email: str) -> Any:
        """Looked up through the host's index, then compared by *us*: a database that takes é for e must not
        hand over another person's account (CVE-2019-19844)."""
        for user in self._store.hosts.users_by_email(email):
            if key_of(user.email) == email:
                return user
        return None

    def find_users(self, emails: Sequence[str]) -> Sequence[Any]:
        """The same for many at once."""
        wanted = set(emails)
        return [user for user in self._store.hosts.users_by_emails(emails) if key_of(user.email) in wanted]

    def email_is_verified(self, user: Any) -> bool:
        verified: Any = getattr(user, "email_verified", True)
        return bool(verified) if verified is None or isinstance(verified, int) else verified

    def create_user(self, invitation: InvitationInfo, profile: Mapping[str, Any], password: str | None) -> Any:
        columns: dict[str, Any] = {
            "email": invitation.email_key,
            "role": self._words.get(invitation.role, invitation.role),
        }
        if self._models.tenant is not None:
            columns["tenant_id"] = invitation.tenant_id
        secret = sealed(password)
        del password  # a crash report shows the variables of every call
        self._check_lengths(profile)
        user = self._models.user(**columns, **profile)
        if secret is not None:
            _set_password(user, secret)
        if hasattr(self._models.user, "email_verified"):
            # The link proves the mailbox, unless somebody else was shown it.
            user.email_verified = not invitation.link_shown
        return user

    def _check_lengths(self, profile: Mapping[str, Any]) -> None:
        """:raises InvalidRequest: a text is longer than its column, which the host's schema has not said."""
        columns = sa.inspect(self._models.user).columns
        longest = {name: getattr(columns[name].type, "length", None) for name in profile if name in columns}
        errors = {
            name: [Sentence("Use at most %(maximum)s characters.", maximum=length)]
            for name, length in longest.items()
            if length is not None and isinstance(profile[name], str) and len(profile[name]) > length
        }
        if errors:
            raise InvalidRequest(errors)

    def validate_password(self, password: str, invitation: InvitationInfo) -> None:
        """Length in characters, before any hashing; then, with zxcvbn installed, whether it is commonly used, or made
        of the invitee's address and the names that they know us by. The cost is bounded, whatever was chosen.

        NIST SP 800-63B-4, section 3.1.1.2: length and a list of common passwords, no rules of composition.
        """
        low, high = self._config.password_min_length, self._config.password_max_length
        if len(password) < low:
            raise PasswordRejected(
                Sentence("Use at least %(minimum)s characters. A few words make a good password.", minimum=low)
            )
        if len(password) > high:
            raise PasswordRejected(Sentence("Use at most %(maximum)s characters.", maximum=high))
        names = (self._config.app_name, invitation.tenant_name or "")
        if find_spec("zxcvbn") is not None and _is_common(password, invitation.email_key or "", names):
            raise PasswordRejected(Sentence("This password is easy to guess. Choose one that is not in common use."))

    def tenant_is_active(self, tenant_id: Any) -> bool:
        return self._models.tenant is None or self._store.hosts.tenant(tenant_id) is not None

    def tenant_name(self, tenant_id: Any) -> str:
        return str(getattr(self._store.hosts.tenant(tenant_id), "name", None) or self._config.app_name)

    def display_name(self, user: Any) -> str | None:
        name = getattr(user, "name", None)
        return name if isinstance(name, str) else None


def complete(app: Flask, config: Config, store: Store, house: House, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The host's hooks, each that it did not give filled with its default.

    :raises ConfigurationError: there is none that could work on this host.
    """
    models = store.models
    own = Defaults(config, models, store)
    # Defaults that ask other hooks call them like everybody else: behind the gate.
    tenant_of = HookTable.tenant_of.behind_gate(given.get("tenant_of", own.tenant_of), house)
    role = given.get("role_of", role_of(tenant_of, models.tenant is not None))
    standard = {
        "tenant_of": own.tenant_of,
        "role_of": role,
        "can_invite": can_invite(config, HookTable.role_of.behind_gate(role, house)),
        "find_user": own.find_user,
        "email_is_verified": own.email_is_verified,
        "create_user": own.create_user,
        "validate_password": own.validate_password,
        "tenant_is_active": own.tenant_is_active,
        "tenant_name": own.tenant_name,
        "display_name": own.display_name,
        "clock": utcnow,
    }
    if "find_user" not in given:
        standard["find_users"] = own.find_users
    if "current_user" not in given:
        standard["current_user"] = current_user(app)
    return {**standard, **given}


def role_of(tenant_of: Callable[[Any], Any], has_tenants: bool) -> Callable[[Any, Any], Any]:
    """The default ``role_of``: the user's own role, in the tenant in which they act."""

    def role_of(user: Any, tenant_id: Any) -> Any:
        if has_tenants and (tenant_id is None or tenant_of(user) != tenant_id):
            return None
        return user.role

    return role_of


def can_invite(config: Config, role_of: Callable[[Any, Any], str | None]) -> Callable[[Any, Any, str | None], bool]:
    """The default ``can_invite``: an admin role, and nothing above one's own; an unknown role grants nothing (C4)."""
    rank = {role: place for place, role in enumerate(config.roles)}

    def can_invite(user: Any, tenant_id: Any, role: str | None) -> bool:
        own = role_of(user, tenant_id)
        if own not in config.admin_roles:
            return False
        return role is None or (role in rank and rank[role] <= rank[own])

    return can_invite


def current_user(app: Flask) -> Callable[[], Any]:
    """Flask-Login's user, where Flask-Login is set up on ``app``.

    :raises ConfigurationError: it is not.
    """
    if not hasattr(app, "login_manager"):
        raise ConfigurationError(
            "current_user is missing. Pass current_user=() -> user or None, or call LoginManager.init_app(app) first."
        )

    from flask_login import current_user as user  # the host has it, since it set it up

    return lambda: user


def _set_password(user: Any, password: Secret) -> None:
    setter = getattr(user, "set_password", None)
    if setter is not None:
        refuse_unrun("set_password", setter(password.reveal()))
    else:
        user.password_hash = generate_password_hash(password.reveal())


def _is_common(password: str, email: str, names: Iterable[str]) -> bool:
    from zxcvbn import zxcvbn

    local, _, domain = email.partition("@")
    known = dict.fromkeys(word[:_ESTIMATED] for word in (email, local, domain, *re.split(r"[\W_]+", local), *names))
    with _estimator:
        found = zxcvbn(_shown(password), user_inputs=[word for word in known if word])
    return bool(found["score"] < 2)


def _shown(password: str) -> str:
    """What the estimator is shown of a password."""
    from zxcvbn.matching import L33T_TABLE

    shown = password[:_ESTIMATED]
    readings = math.prod(max(1, sum(each in shown for each in spellings)) for spellings in L33T_TABLE.values())
    return shown.translate(_ONE_SPELLING) if readings > _READINGS else shown
