"""What a class of users must be like, so that the default hooks work on it.

Its mapper and columns are looked at, not its names alone. What would fail at the first accept, after the email went
out, is refused while the app is set up, with the hook that would do instead. Nothing of the host's is called or made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.orm import RelationshipProperty

from .addresses import MAX_ADDRESS
from .config import Config
from .errors import ConfigurationError
from .gate import never_run
from .model.binding import key_type, primary_key, sql_of
from .replies import House, role_named
from .users import Users, check_filled, has_listeners, takes_what_it_has

#: Characters of Werkzeug's scrypt hash.
HASH_LENGTH = 162


@dataclass(frozen=True)
class Complaint:
    """Something that a default hook could not work with.

    :param what: follows the name of the class; :param fix: what to change there.
    :param hooks: those which, brought by the host, make it no matter.
    """

    what: str
    fix: str
    hooks: tuple[str, ...]


def check(
    house: House, config: Config, given: Mapping[str, Any], profile: Mapping[str, bool] | None, sessions: Any
) -> None:
    """Refuse hooks that do not go together, and a class of users that the default ones could not work with.

    :param given: the hooks that the host brings itself; :param profile: see :class:`Users`;
    :param sessions: the host's object with its ``session``, or with a registry of them.
    :raises ConfigurationError: naming the hook that would fix it.
    """
    users = Users(house.models, config, profile)
    _check_together(users, given)
    for rule in RULES:
        for complaint in rule(users):
            missing = [hook for hook in complaint.hooks if given.get(hook) is None]
            if missing:
                hooks = " and ".join(missing)
                raise ConfigurationError(f"{users.model.__name__}{complaint.what}. {complaint.fix}, or pass {hooks}.")
    if given.get("create_user") is None and not has_listeners(users, sessions):
        check_filled(users)


def _check_together(users: Users, given: Mapping[str, Any]) -> None:
    if given.get("tenant_of") is not None and given.get("role_of") is None:
        raise ConfigurationError(
            "tenant_of is given without role_of. Pass role_of=(user, tenant_id) -> role or None too, because the "
            "default gives a user their one role in whatever tenant tenant_of names."
        )
    verifies = given.get("email_is_verified") is not None or users.has("email_verified")
    if given.get("join") is not None and not verifies:
        raise ConfigurationError(
            f"join is given, and nothing says whether an address is verified. Pass email_is_verified=(user) -> bool, "
            f"or add a column email_verified to {users.model.__name__}."
        )


# The rules


def _missing(users: Users) -> Iterator[Complaint]:
    needed: dict[str, tuple[str, ...]] = {"email": ("find_user", "create_user"), "role": ("role_of", "create_user")}
    if users.models.tenant is not None:
        needed["tenant_id"] = ("tenant_of", "role_of", "create_user")
    for name, hooks in needed.items():
        if not users.has(name):
            yield Complaint(f" has no {name!r}", "Add it", hooks)
    for name in users.profile or () if takes_what_it_has(users) else ():
        if not users.has(name):
            yield Complaint(f" has no {name!r}, a field of profile_schema", "Add it", ("create_user",))
    if not users.has("set_password") and not users.has("password_hash"):
        yield Complaint(" has neither set_password nor password_hash", "Add one", ("create_user",))


def _searchable(users: Users) -> Iterator[Complaint]:
    if users.has("email") and sql_of(users.model, "email") is None:
        fix = "Make it a column, a synonym of one, or a hybrid with an expression"
        yield Complaint(".email cannot be searched by the database", fix, ("find_user",))


def _writable(users: Users) -> Iterator[Complaint]:
    assigned = [*users.ours, *(users.profile or ())] if takes_what_it_has(users) else []
    for name in (*assigned, "email_verified"):
        if users.has(name) and not users.is_writable(name):
            yield Complaint(f".{name} cannot be set", "Make it a column, or give it a setter", ("create_user",))


def _email_is_long_enough(users: Users) -> Iterator[Complaint]:
    length = _length(users.column("email"))
    if length < MAX_ADDRESS:
        what = f".email holds {length} characters, and addresses have up to {MAX_ADDRESS}"
        yield Complaint(what, f"Make it String({MAX_ADDRESS})", ("create_user",))


def _role_is_text(users: Users) -> Iterator[Complaint]:
    if isinstance(users.mapped("role"), RelationshipProperty):
        fix = "Make it a column of text or of an Enum"
        yield Complaint(".role is a relationship, and roles are names", fix, ("role_of", "create_user"))
    elif inspect.isroutine(users.static("role")):
        yield Complaint(".role is a method", "Make it a column", ("role_of", "create_user"))


def _role_holds_roles(users: Users) -> Iterator[Complaint]:
    column = users.column("role")
    if column is None:
        return
    unknown = [role for role in users.config.roles if not _holds(column, role, users.config.roles)]
    if unknown:
        fix = "Set INVITATIONS_ROLES to the roles that it holds, or widen it"
        yield Complaint(f".role cannot hold {unknown[0]!r} of INVITATIONS_ROLES", fix, ("role_of", "create_user"))


def _holds(column: sa.Column[Any], role: str, roles: Sequence[str]) -> bool:
    words = role_words(column, roles)
    if words is not None:
        return role in words
    return _python_type(column) in (str, None) and len(role) <= _length(column) and _binds(column, role)


def _binds(column: sa.Column[Any], value: str) -> bool:
    """Whether a type of the host's own takes it."""
    try:
        bind: Any = column.type.bind_processor(DefaultDialect())
        if bind is not None:
            bind(value)
    except Exception:  # whatever the host's type raises
        return False
    return True


def role_words(column: sa.Column[Any] | None, roles: Sequence[str]) -> Mapping[str, Any] | None:
    """What a column of an ``Enum`` holds for each role; ``None``: it is none."""
    kind = None if column is None else column.type
    if not isinstance(kind, sa.Enum):
        return None
    if kind.enum_class is None:
        return {word: word for word in kind.enums}
    return {role_named(member, roles): member for member in kind.enum_class}


def _verified_is_yes_or_no(users: Users) -> Iterator[Complaint]:
    fix, hooks = "Make it a Boolean column or a hybrid", ("email_is_verified", "create_user")
    if inspect.isroutine(users.static("email_verified")):
        yield Complaint(".email_verified is a method, which is always true", fix, hooks)
        return
    kind = _python_type(sql_of(users.model, "email_verified")) if users.has("email_verified") else None
    if kind not in (bool, int, None):
        yield Complaint(f".email_verified is a {kind.__name__}, not yes or no", fix, hooks)


def _tenant_id_is_its_key(users: Users) -> Iterator[Complaint]:
    column, tenant = users.column("tenant_id"), users.models.tenant
    if tenant is None or not users.has("tenant_id"):
        return
    if isinstance(users.mapped("tenant_id"), RelationshipProperty):
        hooks = ("tenant_of", "role_of", "create_user")
        yield Complaint(".tenant_id is a relationship", "Make it a column", hooks)
    kinds = _python_type(column), key_type(tenant)
    if None not in kinds and kinds[0] is not kinds[1]:
        fix = f"Give it the type of {tenant.__name__}.{primary_key(tenant).key}"
        yield Complaint(".tenant_id has another type than the key of tenants", fix, ("tenant_of", "create_user"))


def _password(users: Users) -> Iterator[Complaint]:
    setter, hooks = users.static("set_password"), ("create_user",)
    if not users.has("set_password"):
        yield from _password_hash(users)
    elif not inspect.isroutine(inspect.unwrap(setter)):
        yield Complaint(".set_password is no method", "Make it take the password", hooks)
    elif (kind := never_run(inspect.unwrap(getattr(setter, "__func__", setter)))) is not None:
        yield Complaint(f".set_password is {kind}, which does nothing when it is called", "Make it plain", hooks)
    elif inspect.isfunction(setter) and not _can_be_called(setter, "self", "password"):
        yield Complaint(".set_password takes other arguments than the password", "Make it take the password", hooks)


def _can_be_called(function: Any, *arguments: str) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    return True


def _password_hash(users: Users) -> Iterator[Complaint]:
    length = _length(users.column("password_hash"))
    if users.has("password_hash") and not users.is_writable("password_hash"):
        yield Complaint(".password_hash cannot be set", "Make it a column, or give it a setter", ("create_user",))
    if length < HASH_LENGTH:
        what = f".password_hash holds {length} characters, and a hash has {HASH_LENGTH}"
        yield Complaint(what, "Make it String(255)", ("create_user",))


def _constructor(users: Users) -> Iterator[Complaint]:
    """Its own ``__init__``, or the one that a dataclass has."""
    profile = users.profile or {}
    always = [name for name, there in profile.items() if there]
    for passed in ([*users.ours, *always], [*users.ours, *profile]):
        try:
            inspect.signature(users.model).bind(**dict.fromkeys(passed))
        except TypeError as error:
            what = f"({', '.join(f'{name}=...' for name in passed)}) cannot be called ({error})"
            yield Complaint(what, "Let it take these keywords", ("create_user",))
        except ValueError:  # Python cannot tell how it is called
            return


RULES: Sequence[Callable[[Users], Iterator[Complaint]]] = (
    _missing,
    _searchable,
    _role_is_text,
    _verified_is_yes_or_no,
    _writable,
    _email_is_long_enough,
    _role_holds_roles,
    _tenant_id_is_its_key,
    _password,
    _constructor,
)


def _python_type(expression: Any) -> type[Any] | None:
    """``None``: its type does not say."""
    try:
        kind: type[Any] = expression.type.python_type
    except (NotImplementedError, AttributeError):
        return None
    return None if kind is object else kind


def _length(column: sa.Column[Any] | None) -> float:
    """How many characters it holds, as far as it says."""
    length = None if column is None or isinstance(column.type, sa.Enum) else getattr(column.type, "length", None)
    return length if isinstance(length, int) else float("inf")
