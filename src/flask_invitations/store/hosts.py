"""The host's own rows: its users and tenants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from ..model.binding import Models
from .statements import Tables, chunks
from .unit import Unit, log

UNENFORCED = (
    "SQLite does not enforce foreign keys on this engine. Deleting a tenant or a user leaves invitations behind, and a"
    " new tenant or user may get the old id. Run PRAGMA foreign_keys = ON on every connection. See docs/security.md."
)


class Hosts(Tables):
    """The users and tenants of one host."""

    def __init__(self, session: Callable[[], Any], models: Models, unit: Unit) -> None:
        super().__init__(session, models)
        self._unit = unit

    @cached_property
    def ids_come_again(self) -> bool:
        """Whether the id of a deleted tenant or user may be given to a new one while our rows still point at it: SQLite
        does that where it enforces no foreign keys. Asked at the first use, and warned of."""
        connection = self.connection
        if connection.dialect.name != "sqlite":
            return False
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute("PRAGMA foreign_keys")
            enforced = bool(cursor.fetchone()[0])
        if not enforced:
            log.warning(UNENFORCED)
        return not enforced

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

    def users(self, ids: Sequence[Any]) -> Sequence[Any]:
        """The users of these ids that there are."""
        user = self.models.user
        found: Sequence[Any] = self.session.scalars(sa.select(user).where(self._key_of(user).in_(ids))).unique().all()
        return found

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
        """Write a new user (or what a hook changed) now, so that it has its key; returns the key."""
        if sa.inspect(user).transient:
            self.session.add(user)
        self.session.flush()
        return self.models.user_id(user)
