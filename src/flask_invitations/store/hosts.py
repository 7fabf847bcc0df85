"""The host's own rows: its users and tenants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from ..model.binding import Models
from .statements import Tables, chunks
from .unit import Unit


class Hosts(Tables):
    """The users and tenants of one host."""

    def __init__(self, session: Callable[[], Any], models: Models, unit: Unit) -> None:
        super().__init__(session, models)
        self._unit = unit

    def user(self, user_id: Any) -> Any:
        return self._get(self.models.user, user_id)

    def tenant(self, tenant_id: Any) -> Any:
        return self._get(self.models.tenant, tenant_id)

    def _get(self, model: type[Any] | None, key: Any) -> Any:
        if model is None or key is None:
            return None
        row = self.session.get(model, key)
        self._unit.keep([row])
        return row

    def attached(self, user: Any) -> Any:
        """A user that was written, in the session also where somebody has closed that since."""
        if not sa.inspect(user).detached:
            return user
        (key,) = sa.inspect(user).identity
        return self._get(self.models.user, key)

    def users_by_email(self, key: str) -> Sequence[Any]:
        """The users that the database holds equal to ``key``; its collation may hold more equal than we do."""
        found: Sequence[Any] = self.session.scalars(self._by_email, {"email": key}).unique().all()
        return found

    @cached_property
    def _by_email(self) -> Any:
        user = self.models.user
        return sa.select(user).where(user.email == sa.bindparam("email")).limit(20)

    def users_by_emails(self, keys: Sequence[str]) -> Sequence[Any]:
        """The same for many at once, a statement for each chunk of them."""
        user, wanted = self.models.user, list(dict.fromkeys(keys))
        found = (self.session.scalars(sa.select(user).where(user.email.in_(chunk))) for chunk in chunks(wanted))
        return [each for users in found for each in users.unique()]

    def save(self, user: Any) -> Any:
        """Write a new user (or what a hook changed) now, so that it has its key; returns the key.

        :raises TransactionMisuse: the hook that made or changed it has ended the transaction.
        """
        self._unit.check("create_user, or join,")
        if sa.inspect(user).transient:
            self.session.add(user)
        self.session.flush()
        return self.models.user_id(user)
