"""The host's own rows: its users and tenants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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

    def fresh(self, tenant_id: Any, user_ids: Collection[Any]) -> Mapping[Any, Any]:
        """A tenant and users as they were last committed, whatever the session, or the snapshot of its transaction, has
        of them; held until that is over. What the host has changed must be flushed before.

        :returns: the users that there are, by their keys.
        """
        self._read_again(self.models.tenant, {tenant_id})
        return {self.models.user_id(user): user for user in self._read_again(self.models.user, set(user_ids))}

    def _read_again(self, model: type[Any] | None, keys: Collection[Any]) -> Sequence[Any]:
        keys = [key for key in keys if key is not None]
        if model is None or not keys:
            return ()
        key = self._key_of(model)
        select = sa.select(model).where(key.in_(keys)).order_by(key)
        locking = select.with_for_update(read=True, of=model)  # a weaker lock would pass over what a snapshot has not
        found = self.session.scalars(locking, execution_options={"populate_existing": True}).unique().all()
        self._unit.keep(found)
        if len(found) < len(keys):
            self._forget(model, keys)
        return list(found)

    def _forget(self, model: type[Any], keys: Collection[Any]) -> None:
        """Have the session ask for these rows again: some are gone."""
        for key in keys:
            row = self.session.identity_map.get(sa.inspect(model).identity_key_from_primary_key((key,)))
            if row is not None:
                self.session.expire(row)

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
