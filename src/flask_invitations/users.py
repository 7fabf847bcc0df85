"""The host's class of users, looked at: what its mapper, its columns and its functions say of a new user.

Nothing is configured for that: classes that the host's models name may still be to come.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import ColumnProperty, RelationshipProperty, SynonymProperty

from .config import Config
from .errors import ConfigurationError
from .model.binding import Models, properties
from .traces import is_elsewhere

#: The events of a session in which a host may fill what a new user lacks.
_FILLING = ("before_flush", "before_attach", "after_attach", "transient_to_pending")


@dataclass(frozen=True)
class Users:
    """The class of users of one host, and what the default ``create_user`` passes to it.

    :param profile: the fields that a loaded profile has, and whether each is always there; ``None``: nobody can tell.
    """

    models: Models
    config: Config
    profile: Mapping[str, bool] | None

    @property
    def model(self) -> type[Any]:
        return self.models.user

    @property
    def mapper(self) -> Any:
        return sa.inspect(self.model)

    @property
    def ours(self) -> list[str]:
        """What is passed whatever the profile says."""
        return ["email", "role", *(["tenant_id"] if self.models.tenant is not None else [])]

    def has(self, name: str) -> bool:
        return self.mapper.has_property(name) or self.static(name) is not None

    def static(self, name: str) -> Any:
        """An attribute as the class has it: no descriptor is asked."""
        return inspect.getattr_static(self.model, name, None)

    def mapped(self, name: str) -> Any:
        """What an attribute is to the mapper, a synonym followed; ``None``: nothing."""
        found = properties(self.mapper).get(name)
        return self.mapped(found.name) if isinstance(found, SynonymProperty) else found

    def column(self, name: str) -> sa.Column[Any] | None:
        found = self.mapped(name)
        column = found.columns[0] if isinstance(found, ColumnProperty) else None
        return column if isinstance(column, sa.Column) else None

    def is_writable(self, name: str) -> bool:
        """Whether what is assigned to it is stored, as far as can be seen."""
        found = self.mapped(name)
        if isinstance(found, ColumnProperty):
            return isinstance(found.columns[0], sa.Column)
        static = self.static(name)
        if isinstance(static, (property, hybrid_property)):
            return static.fset is not None
        return not inspect.isroutine(static)


def takes_what_it_has(users: Users) -> bool:
    return bool(users.mapper.class_manager.original_init.__qualname__ == "_declarative_constructor")


def has_listeners(users: Users, sessions: Any) -> bool:
    """Whether functions of the host's are called before a user is written: what they fill, nobody can see."""
    of_ours = [each for each in users.mapper.class_manager.dispatch.init if each.__module__ != "sqlalchemy.orm.mapper"]
    try:
        heard = getattr(sessions.session, "session_factory", lambda: sessions.session)().dispatch
    except Exception:  # not every session tells before there is an app
        return True
    on_session = (getattr(heard, name) for name in _FILLING)
    on_set = (each.class_attribute.dispatch.set for each in _column_properties(users))
    on_insert = (users.mapper.validators, users.mapper.dispatch.before_insert)
    return any(True for each in (of_ours, *on_insert, *on_session, *on_set) for _ in each)


def _column_properties(users: Users) -> list[Any]:
    return [each for each in properties(users.mapper).values() if isinstance(each, ColumnProperty)]


def check_filled(users: Users) -> None:
    """:raises ConfigurationError: a new row would lack a value that it must have."""
    filled = _filled(users)
    attributes = {column: each.key for each in _column_properties(users) for column in each.columns}
    for column in (column for table in users.mapper.tables for column in table.c):
        is_filled = filled is None or attributes.get(column) in filled
        if not is_filled and not _fills_itself(column, users.mapper):
            raise ConfigurationError(
                f"{users.model.__name__} has a column {column.name!r} that is NOT NULL, and nothing fills it. Let "
                "profile_schema require it, give it a default (of the database: server_default), or pass create_user."
            )


def _fills_itself(column: sa.Column[Any], mapper: Any) -> bool:
    has_default = (column.default, column.server_default, column.computed, column.identity) != (None,) * 4
    is_parents = mapper.inherits is not None and column.primary_key and bool(column.foreign_keys)
    is_kind = column is mapper.polymorphic_on and mapper.polymorphic_identity is not None
    counted = column is column.table.autoincrement_column or column is mapper.version_id_col
    return bool(column.nullable) or has_default or is_parents or is_kind or counted


def _filled(users: Users) -> set[str] | None:
    """The attributes that a new user has a value of; ``None``: nobody can tell."""
    if users.profile is None:
        return None
    names = [*users.ours, *(name for name, there in users.profile.items() if there)]
    names += [name for name in ("email_verified",) if users.has(name)]
    if users.config.password_required:
        names.append("set_password" if users.has("set_password") else "password_hash")
    parts = [_stored(users, name) for name in names]
    parts.append(_by_constructor(users))
    return None if None in parts else set().union(*(part for part in parts if part is not None))


def _stored(users: Users, name: str) -> set[str] | None:
    """The attributes that are filled where one is set, or called."""
    found = users.mapped(name)
    if isinstance(found, RelationshipProperty):
        return {each.key for each in _column_properties(users) if found.local_columns & set(each.columns)}
    if found is not None:
        return {found.key}
    static = users.static(name)
    setter = getattr(static, "fset", None)
    return _mentioned(users.model, [static if setter is None else setter])


def _by_constructor(users: Users) -> set[str] | None:
    made = users.mapper.class_manager.original_init
    code: CodeType | None = getattr(made, "__code__", None)
    if code is not None and code.co_filename == "<string>":  # a dataclass's own
        after = inspect.getattr_static(users.model, "__post_init__", None)
        given = inspect.signature(users.model).parameters.values()
        filled = {each.name for each in given if each.default not in (None, inspect.Parameter.empty)}
        mentioned = set[str]() if after is None else _mentioned(users.model, [after])
        return None if mentioned is None else filled | mentioned | _dataclass_defaults(users.model)
    return set() if takes_what_it_has(users) else _mentioned(users.model, [made])


def _dataclass_defaults(model: type[Any]) -> set[str]:
    missing = (None, dataclasses.MISSING)
    fields = dataclasses.fields(model) if dataclasses.is_dataclass(model) else ()
    return {each.name for each in fields if not {each.default, each.default_factory} <= {*missing}}


def _mentioned(model: type[Any], functions: Iterable[Any]) -> set[str] | None:
    """The names in the code of functions, and of the methods and setters that those use; ``None``: nobody can tell,
    since one has no code to look at, or calls a function of the host's."""
    names, waiting = set[str](), list(functions)
    while waiting:
        function = inspect.unwrap(waiting.pop())
        function = getattr(function, "__func__", function)
        code = getattr(function, "__code__", None)
        if code is None or any(_is_hosts(function.__globals__.get(name)) for name in code.co_names):
            return None
        new = set(_names(code)) - names
        names |= new
        waiting += [each for name in new for each in _run_by(model, name)]
    return names


def _is_hosts(called: Any) -> bool:
    """Whether a global is a function whose code is not installed: what it does to a user is anybody's guess."""
    code = getattr(inspect.unwrap(called) if inspect.isfunction(called) else None, "__code__", None)
    return code is not None and not is_elsewhere(code.co_filename)


def _run_by(model: type[Any], name: str) -> Iterator[Any]:
    """What is run where a method is called, or an attribute set."""
    for kind in model.__mro__:
        static = inspect.getattr_static(kind, name, None)
        found = getattr(static, "fset", static)
        if inspect.isfunction(found):
            yield found
        elif isinstance(found, SynonymProperty):
            yield from _run_by(model, found.name)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple):  # the names of keyword arguments
            yield from (each for each in constant if isinstance(each, str))
        elif isinstance(constant, CodeType):
            yield from _names(constant)
