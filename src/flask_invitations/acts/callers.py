"""Who calls, from where, and what they may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..context import Context
from ..errors import Forbidden, RoleNotAllowed, TenantInactive, Unauthenticated
from ..store.invitations import EVERYWHERE

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
    if text is None:
        return None
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)[:limit]


@dataclass(frozen=True)
class Manager:
    """Proof that somebody may manage the invitations of a tenant; ``user`` is ``None`` for the system."""

    user: Any
    actor_id: Any
    tenant_id: Any
    origin: Origin

    def audit(self) -> dict[str, Any]:
        """Columns of an event that this manager causes."""
        return audit(self.actor_id, self.origin)


def audit(actor_id: Any, origin: Origin) -> dict[str, Any]:
    return {"actor_id": actor_id, "remote_addr": origin.remote_addr, "user_agent": origin.user_agent}


def manager(ctx: Context, user: Any, origin: Origin, tenant_id: Any = None) -> Manager:
    """Who ``user`` is as a manager, in ``tenant_id`` or else in the tenant in which they act now.

    :raises Unauthenticated: nobody is signed in.
    :raises Forbidden: may not manage invitations there.
    """
    if user is None:
        raise Unauthenticated
    if ctx.models.tenant is not None:
        tenant_id = ctx.hooks.tenant_of(user) if tenant_id is None else tenant_id
        if tenant_id is None:
            raise Forbidden
    if not ctx.hooks.can_invite(user, tenant_id, None):
        raise Forbidden
    return Manager(user, ctx.models.user_id(user), tenant_id, origin)


def system(tenant_id: Any = EVERYWHERE, origin: Origin | None = None) -> Manager:
    """The system itself (scripts, the command line): may do anything, in one tenant or everywhere."""
    return Manager(None, None, tenant_id, origin or Origin())


def check_grant(ctx: Context, by: Manager, tenant_id: Any, role: str) -> None:
    """:raises RoleNotAllowed: ``by`` may not grant ``role`` there (C1, C2: asked on every path)."""
    if by.user is not None and not ctx.hooks.can_invite(by.user, tenant_id, role):
        raise RoleNotAllowed


def grantable(ctx: Context, by: Manager) -> Sequence[str]:
    """The roles that ``by`` may grant in their tenant, lowest first."""
    roles = ctx.config.roles
    return roles if by.user is None else [role for role in roles if ctx.hooks.can_invite(by.user, by.tenant_id, role)]


def check_tenant(ctx: Context, tenant_id: Any) -> None:
    """:raises TenantInactive: the host says so, or the tenant is gone."""
    if not ctx.hooks.tenant_is_active(tenant_id):
        raise TenantInactive
