"""The host's own rows: its users and tenants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from ..model.binding import Models
from .attempts import log
from .statements import Tables, chunks
from .unit import Unit

UNENFORCED = (
    "SQLite does not enforce foreign keys on this engine. Deleting a tenant or a user leaves invitations behind, and a"
    " new tenant or user may get the old id. Run PRAGMA foreign_keys = ON on every connection. See docs/security.md."
)


class Hosts(Tables):
    """The users and tenants of one host."""

    def __init__(self, session: Callable[[], Any], models: Models, unit: Unit) -> None:
        super().__init__(session, models)
        self._session, self._unit = session, unit

    @cached_property
    def ids_come_again(self) -> bool:
        """Whether the id of a deleted tenant or user may be given to a new one while our rows still point at it: SQLite
        does that where it enforces no foreign keys. Asked at the first use, and warned of."""
        again = self.is_unenforced()
        if again:
            log.warning(UNENFORCED)
        return again

    def is_unenforced(self) -> bool:
        """Whether the database does not enforce foreign keys, by the connection at hand."""
        connection = self._binds.connection()
        if connection.dialect.name != "sqlite":
            return False
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute("PRAGMA foreign_keys")
            return not cursor.fetchone()[0]

    def user(self, user_id: Any) -> Any:
        return self._get(self.models.user, user_id)

    def tenant(self, tenant_id: Any) -> Any:
        return self._get(self.models.tenant, tenant_id)

    def _get(self, model: type[Any] | None, key: Any) -> Any:
        if model is None or key is None:
            return None
        row = self._binds.read(lambda session: session.get(model, key))
        self._unit.keep([row])
        return row

    def attached(self, user: Any) -> Any:
        """A user that was written, in the session also where somebody has closed that since."""
        if not sa.inspect(user).detached:
            return user
        (key,) = sa.inspect(user).identity
        return self._get(self.models.user, key)

    def users(self, ids: Sequence[Any]) -> Sequence[Any]:
        """The users of these ids that there are."""
        user = self.models.user
        return self._read(sa.select(user).where(self._key_of(user).in_(ids)))

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
        locking = select.with_for_update(read=True, of=key)  # a weaker lock would pass over what a snapshot has not
        found = self._read(locking, execution_options={"populate_existing": True})
        self._unit.keep(found)
        if len(found) < len(keys):
            self._forget(model, keys)
        return list(found)

    def _forget(self, model: type[Any], keys: Collection[Any]) -> None:
        """Have the session ask for these rows again: some are gone."""
        for key in keys:
            row = self._session().identity_map.get(sa.inspect(model).identity_key_from_primary_key((key,)))
            if row is not None:
                self._session().expire(row)

    def hold(self, tenant_id: Any) -> None:
        """Have this tenant to ourselves until the transaction is over: whoever else calls this for it waits. Rows that
        point at the tenant are written meanwhile, on PostgreSQL.

        Where there are no tenants, the one row of a table of ours stands for all.
        """
        if self._unit.begin_on_sqlite():  # there whoever may write is alone
            return
        if self.models.tenant is None:
            self._execute(self._turn[self._binds.connection().dialect.name == "postgresql"])
        else:  # read whole, since whoever asks whether it is active reads it too
            self._unit.keep(self._read(self._alone, {"tenant_id": tenant_id}))

    @cached_property
    def _alone(self) -> Any:
        tenant: Any = self.models.tenant
        key = self._key_of(tenant)
        held = sa.select(tenant).where(key == sa.bindparam("tenant_id", type_=key.type))
        return held.with_for_update(key_share=True, of=key).execution_options(populate_existing=True)

    @cached_property
    def _turn(self) -> Mapping[bool, Any]:
        """Locks the one row of the table, or makes it; by whether it is PostgreSQL."""
        table, one = self.models.Turn.__table__, {"id": 1}
        postgres = postgresql.insert(table).values(one)
        return {
            True: postgres.on_conflict_do_update(index_elements=["id"], set_=one, where=sa.false()),
            False: mysql.insert(table).values(one).on_duplicate_key_update(one),
        }

    def users_by_email(self, key: str) -> Sequence[Any]:
        """The users whose email the database holds equal to ``key``, in lower case where an index has it so; its
        collation may hold more equal than we do."""
        return self._read(self._by_email, {"email": key})

    @cached_property
    def _by_email(self) -> Any:
        return sa.select(self.models.user).where(self.models.searched_email == sa.bindparam("email")).limit(20)

    def users_by_emails(self, keys: Sequence[str]) -> Sequence[Any]:
        """The same for many at once, a statement for each chunk of them."""
        email, everybody = self.models.searched_email, sa.select(self.models.user)
        wanted = list(dict.fromkeys(keys))
        found = (self._read(everybody.where(email.in_(chunk))) for chunk in chunks(wanted))
        return [each for users in found for each in users]

    def _read(self, statement: Any, given: Any = None, **how: Any) -> Sequence[Any]:
        return self._binds.read(lambda session: session.scalars(statement, given, **how).unique().all())

    def save(self, user: Any) -> Any:
        """Write a new user (or what a hook changed) now, so that it has its key; returns the key.

        :raises TransactionMisuse: the hook that made or changed it has ended the transaction.
        """
        self._unit.check("create_user, or join,")
        if sa.inspect(user).transient:
            self._session().add(user)
        self._session().flush()
        return self.models.user_id(user)
