"""Stop, and what is remembered of addresses: who wants no more invitations, and whose emails came back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..context import Context
from ..model.states import Reason, Status
from ..model.tables import Suppression
from ..store.found import Found
from ..store.statements import EVERYWHERE
from .answer import turn_down
from .callers import Caller, Manager
from .manage import close_all


def stop(ctx: Context, *, token: str, by: Caller) -> None:
    """The tenant cannot invite the address any more that the email with this stop token went to; what is open for it
    there is closed. Nothing is told of the token: neither whether it is ours, nor whether that was so before.

    :raises TryAgain: the database refused; nothing happened.
    """
    read = ctx.pseudonyms.read_stop_token(token)
    if read is None:
        return

    def say() -> None:
        found = ctx.store.by_id(EVERYWHERE, read[0])
        if found is not None:
            _stop(ctx, found, read[1], by)

    ctx.unit.run(say)


def _stop(ctx: Context, found: Found, pseudonym: str, by: Caller) -> None:
    now, row, wish = ctx.now(), found.row, Reason.NEVER_AGAIN
    if row.status_at(now) == Status.PENDING:
        turn_down(ctx, row, found.info(now), by, now, wish=wish)
        return
    email_key = row.email_key or _address(ctx, row.tenant_id, pseudonym)
    if email_key is None:
        ctx.store.suppressions.add(row.tenant_id, [pseudonym], wish, now)
    else:
        ctx.store.suppressions.add(row.tenant_id, ctx.pseudonyms.of(row.tenant_id, email_key), wish, now)
        close_all(ctx, row.tenant_id, email_key, by, row.id)


def _address(ctx: Context, tenant_id: Any, pseudonym: str) -> str | None:
    """Whose pseudonym it is, once the invitation has lost its address; ``None``: of nobody for whom anything is open
    there."""
    known = ctx.store.histories.open_addresses(tenant_id)
    return next((each for each in known if pseudonym in ctx.pseudonyms.of(tenant_id, each)), None)


def suppressions(ctx: Context, *, by: Manager) -> Sequence[Suppression]:
    """What is remembered, oldest first."""
    return ctx.unit.look(lambda: ctx.store.suppressions.listed(by.tenant_id))


def lift(ctx: Context, *, by: Manager, email_key: str) -> int:
    """Forget what is remembered of an address.

    :returns: how many rows that were.
    """
    return ctx.unit.run(lambda: ctx.store.suppressions.lift(by.tenant_id, email_key))
