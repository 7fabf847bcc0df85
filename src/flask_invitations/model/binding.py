"""The tables, mapped once per host against its user and tenant classes."""

from __future__ import annotations

import inspect
import re
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import RelationshipProperty, mapped_column, registry
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.base import InspectionAttr
from sqlalchemy.schema import conv

from ..errors import ConfigurationError
from .options import key_column, match, shared
from .tables import Delivery, Invitation, InvitationEvent, Request, Suppression, Turn, text

_INFO_KEY = "flask_invitations"


@dataclass(frozen=True)
class Models:
    """The mapped classes of one host, and its own.

    :param Turn: ``None`` where there are tenants.
    """

    user: type[Any]
    tenant: type[Any] | None
    Invitation: type[Invitation]
    InvitationEvent: type[InvitationEvent]
    Delivery: type[Delivery]
    Suppression: type[Suppression]
    Request: type[Request]
    Turn: Any

    @property
    def tables(self) -> tuple[sa.Table, ...]:
        """In the order in which they can be created."""
        ours = (self.Invitation, self.InvitationEvent, self.Delivery, self.Suppression, self.Request, self.Turn)
        return tuple(each.__table__ for each in ours if each is not None)

    def user_id(self, user: Any) -> Any:
        """The primary key of one of the host's users, saved by now."""
        return _saved_key(user)

    @cached_property
    def user_email(self) -> Any:
        """A user's email as SQL, NULL where the class has none that SQL knows."""
        found = sql_of(self.user, "email")
        return sa.null() if found is None else found

    @cached_property
    def searched_email(self) -> Any:
        """The same, in the form in which an index of the host's has it: in lower case, or as it is."""
        column = self.user_email
        return sa.func.lower(column) if _has_lower_index(column) else column

    def tenant_id(self, given: Any) -> Any:
        """A tenant's id as the database has it, from itself, from its text, or from the tenant.

        :raises ValueError: it cannot be one, or the app has no tenants.
        """
        if self.tenant is None:
            raise ValueError("There are no tenants.")
        kind = self._tenant_kind
        if kind is not None and isinstance(given, kind) and not isinstance(given, bool):
            return _storable(given)
        if isinstance(given, self.tenant):
            return _saved_key(given)
        if kind is None:
            return _storable(given)
        if isinstance(given, str):
            return self.tenant_key(given)
        raise ValueError(f"{type(given).__name__} is no key.")

    def tenant_key(self, text: str) -> Any:
        """A tenant's id from its text.

        :raises ValueError: it cannot be one.
        """
        return _storable((self._tenant_kind or _uuid_or_text)(text))

    @cached_property
    def _tenant_kind(self) -> type[Any] | None:
        return str if self.tenant is None else key_type(self.tenant)


def check_mapped(name: str, model: Any) -> None:
    """Refuse what is not a mapped class with a key we can point at; ``None`` is passed over.

    :raises ConfigurationError: naming the argument and the fix.
    """
    if model is None:
        return
    if not isinstance(model, type) or sa.inspect(model, raiseerr=False) is None:
        raise ConfigurationError(f"{name} must be a mapped class. Pass the class itself, for example {name}=User.")
    if key_type(model) not in (int, uuid.UUID, str, None):
        raise ConfigurationError(
            f"{model.__name__} has a primary key that is not int, UUID or str. {name} needs such a key."
        )


def key_type(model: type[Any]) -> type[Any] | None:
    """What a key is in Python; ``None`` where a type of the host's (the well-known GUID recipe) does not say."""
    try:
        kind: type[Any] = primary_key(model).type.python_type
    except NotImplementedError:
        return None
    return None if kind is object else kind


def _saved_key(row: Any) -> Any:
    """:raises ValueError: it was never saved."""
    key: Any = instance_state(row).key
    if key is None:
        raise ValueError("It was never saved.")
    return key[1][0]


def properties(mapper: Any) -> Mapping[str, Any]:
    """The properties of a mapper. It is not configured for that: classes that it names may still be to come."""
    return {name: mapper.get_property(name) for name in mapper.class_manager if mapper.has_property(name)}


def sql_of(model: type[Any], name: str) -> Any:
    """An attribute of a mapped class as an expression: a column, a synonym, or a hybrid that can be one; else ``None``.

    A Python property has a value, and nothing that a database could compare it with.
    """
    mapper, static = sa.inspect(model), inspect.getattr_static(model, name, None)
    if not mapper.has_property(name) and not isinstance(static, InspectionAttr):
        return None
    if isinstance(properties(mapper).get(name), RelationshipProperty):
        return None
    try:
        expression = getattr(model, name)
        one, many = sa.bindparam("value", type_=sa.String()), sa.bindparam("values", type_=sa.String(), expanding=True)
        sa.select(expression).where(expression == one, expression.in_(many))
    except Exception:  # a hybrid that only Python can work out raises whatever it likes
        return None
    return expression


def _has_lower_index(email: Any) -> bool:
    """Whether the host declares an index on ``lower(email)``: then addresses are found however they are written."""
    found: Any = None
    with suppress(Exception):  # a comparator of the host's answers as it likes
        found = email.property
    columns = getattr(found, "columns", None)
    if not columns or not isinstance(columns[0], sa.Column):
        return False
    name, table = columns[0].name, columns[0].table
    expressions = (str(each).rpartition(")")[0] for index in table.indexes for each in index.expressions)
    written = (re.sub(r"""::\w+|\w+\.|[()"`\s]""", "", each).lower() for each in expressions)
    return f"lower{name}".lower() in written


def _storable(key: Any) -> Any:
    """:raises ValueError: a number or text that no column holds, and some drivers choke on."""
    if isinstance(key, int) and not -(2**63) <= key < 2**63:
        raise ValueError("beyond 64 bits")
    if isinstance(key, str) and "\0" in key.encode("utf-8").decode():
        raise ValueError("NUL")
    return key


def _uuid_or_text(text: str) -> uuid.UUID | str:
    try:
        return uuid.UUID(text)
    except ValueError:
        return text


def primary_key(model: type[Any]) -> sa.Column[Any]:
    """The single primary-key column of a mapped class."""
    columns = sa.inspect(model).primary_key
    if len(columns) != 1:
        raise ConfigurationError(f"{model.__name__} has a composite primary key. It needs a key of one column.")
    column: sa.Column[Any] = columns[0]
    return column


def bind(user: type[Any], tenant: type[Any] | None) -> Models:
    """Map our classes onto the metadata of ``user``, once; later calls give the same classes.

    They live in a registry of our own, so that a host's ``relationship("Invitation")`` keeps meaning the
    host's class, and on the host's metadata, so that ``create_all`` and Alembic see them.

    :raises ConfigurationError: the classes disagree with an earlier call or with each other.
    """
    metadata = primary_key(user).table.metadata
    bound = metadata.info.get(_INFO_KEY)
    if bound is None:
        bound = metadata.info[_INFO_KEY] = _map(metadata, user, tenant)
    if (bound.user, bound.tenant) != (user, tenant):
        raise ConfigurationError(
            "user_model or tenant_model differs from the one these tables were first bound to. "
            "Use the same classes on every app that shares this metadata."
        )
    return bound


def _map(metadata: sa.MetaData, user: type[Any], tenant: type[Any] | None) -> Models:
    user_key = primary_key(user)
    tenant_key = None if tenant is None else primary_key(tenant)
    if tenant_key is not None and tenant_key.table.metadata is not metadata:
        raise ConfigurationError("tenant_model and user_model have different metadata. Put both on one bind.")
    _refuse_taken(metadata, has_tenants=tenant is not None)
    base: Any = registry(metadata=metadata).generate_base()

    def key(table: str, name: str, target: sa.Column[Any], on_delete: str, nullable: bool) -> Any:
        link = sa.ForeignKey(target, name=conv(f"fk_{table}_{name}"), ondelete=on_delete)
        return key_column(target, link, nullable=nullable)

    def tenant_id(mixin: type[Any]) -> Any:
        if tenant_key is None:
            return mapped_column(text(64), nullable=True)
        return key(mixin.__tablename__, "tenant_id", tenant_key, "CASCADE", False)

    def mapped(mixin: type[Any], **columns: Any) -> Any:
        return type(mixin.__name__, (mixin, base), {"__module__": __name__, **columns})

    table = Invitation.__tablename__
    models = Models(
        user,
        tenant,
        mapped(
            Invitation,
            tenant_id=tenant_id(Invitation),
            invited_by_id=key(table, "invited_by_id", user_key, "SET NULL", True),
            accepted_by_id=key(table, "accepted_by_id", user_key, "SET NULL", True),
        ),
        mapped(InvitationEvent, tenant_id=tenant_id(InvitationEvent), actor_id=key_column(user_key)),
        mapped(Delivery),
        mapped(Suppression, tenant_id=tenant_id(Suppression)),
        mapped(Request),
        mapped(Turn) if tenant is None else None,
    )
    _fit(models, {key.table for key in (user_key, tenant_key) if key is not None})
    return models


def _refuse_taken(metadata: sa.MetaData, *, has_tenants: bool) -> None:
    """Before anything is mapped, so that nothing is half mapped.

    :raises ConfigurationError: a table of the host's has the name of one of ours.
    """
    ours = (Invitation, InvitationEvent, Delivery, Suppression, Request, *(() if has_tenants else (Turn,)))
    taken = {table.name for table in metadata.tables.values() if table.schema == metadata.schema}
    for name in (each.__tablename__ for each in ours if each.__tablename__ in taken):
        raise ConfigurationError(
            f"A table of yours is named {name!r}, as one of ours. Rename it, or, if it is ours and was read from the "
            f"database, call init_app before you reflect the database."
        )


def _fit(models: Models, hosts: Collection[sa.Table]) -> None:
    """Our tables are stored as the host's are."""
    options = shared(hosts)
    for each in models.tables:
        each.kwargs.update(options)
        sa.event.listen(each, "before_create", match)
