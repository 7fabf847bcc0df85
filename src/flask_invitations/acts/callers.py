"""Who calls, from where, and what they may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.orm.exc import DetachedInstanceError, ObjectDeletedError

from ..context import Context
from ..errors import Forbidden, Unauthenticated
from ..replies import BY, LEAVER
from ..store.statements import EVERYWHERE
from ..tokens import Token

MAX_ADDRESS, MAX_USER_AGENT = 45, 512


@dataclass(frozen=True)
class Origin:
    """Where a call came from, as the audit trail keeps it; see :meth:`of`."""

    remote_addr: str | None = None
    user_agent: str | None = None

    @classmethod
    def of(cls, remote_addr: str | None, user_agent: str | None) -> Origin:
        """:param remote_addr: the peer's address as the host's proxy set-up reports it.
        :param user_agent: whatever the client says; control characters are escaped, the rest is capped (K3)."""
        return cls(_clean(remote_addr, MAX_ADDRESS), _clean(user_agent, MAX_USER_AGENT))


def _clean(text: str | None, limit: int) -> str | None:
    if text is None or text.isprintable():
        return text and text[:limit]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)[:limit]


@dataclass(frozen=True)
class Caller:
    """Who calls, and from where.

    :param user: the host's user; ``None``: nobody is signed in.
    :param id: that user's primary key.
    :param counted: see :func:`counted`.
    """

    user: Any
    id: Any
    origin: Origin
    counted: bool = field(default=False, kw_only=True)

    def audit(self) -> dict[str, Any]:
        """Columns of an event that this caller causes."""
        return {"actor_id": self.id, "remote_addr": self.origin.remote_addr, "user_agent": self.origin.user_agent}


@dataclass(frozen=True)
class Manager(Caller):
    """A caller of whom it is proved that they may manage the invitations of a tenant.

    :param user: ``None``: the system, which may do anything.
    """

    tenant_id: Any


def caller(ctx: Context, user: Any, origin: Origin | None = None) -> Caller:
    """:param user: as the gate let them through, or nobody."""
    return Caller(user, None if user is None else ctx.models.user_id(user), origin or Origin())


def counted(ctx: Context, by: Caller, token: Token | None = None) -> Caller:
    """``by``, who holds a link: counted against the limits for where they call from, once a call, before anything is
    looked up (G3).

    :param token: of an accept, which is counted against the limit for that token too.
    :raises RateLimited: too often for now.
    """
    remote_addr = None if by.counted else by.origin.remote_addr
    ctx.limits.answering(remote_addr, None if token is None else token.hash)
    return replace(by, counted=True)


def named(ctx: Context, name: str, given: Any, origin: Origin | None = None) -> Caller:
    """Whoever is named from Python: by the gate that hooks go through too.

    :param name: of the argument.
    :raises TypeError: no user of the host's, or one without a row.
    """
    return caller(ctx, BY.taken(name, "is", given, ctx.hooks.house), origin)


def leaver(ctx: Context, given: Any) -> tuple[Any, Any]:
    """The key and the email of whoever leaves: signed in or not, and maybe deleted by now.

    :raises TypeError: no user of the host's, or one that was never saved.
    """
    user = LEAVER.taken("user", "is", given, ctx.hooks.house)
    try:
        return ctx.models.user_id(user), getattr(user, "email", None)
    except (ObjectDeletedError, DetachedInstanceError):  # nothing is left but the key
        return ctx.models.user_id(user), None


def manager(ctx: Context, by: Caller, tenant_id: Any = None) -> Manager:
    """``by`` as a manager, in ``tenant_id`` or else in the tenant in which they act now.

    :raises Unauthenticated: nobody is signed in.
    :raises Forbidden: may not manage invitations there.
    """
    if by.user is None:
        raise Unauthenticated
    if ctx.models.tenant is not None:
        tenant_id = ctx.hooks.tenant_of(by.user) if tenant_id is None else tenant_id
        if tenant_id is None:
            raise Forbidden
    if not ctx.hooks.can_invite(by.user, tenant_id, None):
        raise Forbidden
    return Manager(by.user, by.id, by.origin, tenant_id)


def system(tenant_id: Any = EVERYWHERE, origin: Origin | None = None) -> Manager:
    """The system itself (scripts, the command line): may do anything, in one tenant or everywhere."""
    return Manager(None, None, origin or Origin(), tenant_id)


def may_grant(ctx: Context, by: Manager, tenant_id: Any, role: str) -> bool:
    """Whether ``by`` may grant ``role`` there (C1, C2: asked on every path)."""
    return by.user is None or ctx.hooks.can_invite(by.user, tenant_id, role)


def grantable(ctx: Context, by: Manager) -> Sequence[str]:
    """The roles that ``by`` may grant in their tenant, lowest first."""
    return [role for role in ctx.config.roles if may_grant(ctx, by, by.tenant_id, role)]
