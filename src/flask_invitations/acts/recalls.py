"""Recalls: how what a manager was answered is kept for a call that is repeated, and made again; see :mod:`.once`."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..context import Context
from ..errors import InvitationError
from ..model.values import BulkChange, BulkChangeResult, BulkInvite, BulkInviteResult, InvitationInfo
from ..store.found import Found
from .callers import Manager
from .once import Recall
from .read import find


def recall_invitation(ctx: Context, by: Manager) -> Recall[InvitationInfo]:
    """How the invitation that an act of ``by`` returned is given again: as it is now. Its link is not kept: it is made
    again where it is shown at all, and as long as it is the one that was shown."""

    def again(kept: Mapping[str, Any]) -> InvitationInfo:
        return _again(ctx, find(ctx, by, uuid.UUID(kept["id"])), kept)

    return Recall(_whose(by), _kept, again)


def recall_rows(ctx: Context, by: Manager, emails: Sequence[str | None]) -> Recall[BulkInvite]:
    """The same of many. The verdict on each is the one of then, also where its invitation is gone by now.

    :param emails: of the rows, which the same body has again.
    """

    def keep(bulk: BulkInvite) -> Mapping[str, Any]:
        return {"plan": bulk.plan, "rows": [(each.outcome, _kept_part(each)) for each in bulk.results]}

    def again(kept: Mapping[str, Any]) -> BulkInvite:
        ids = [uuid.UUID(part["id"]) for _, part in kept["rows"] if part and "id" in part]
        found = {str(each.row.id): each for each in ctx.store.by_ids(by.tenant_id, ids)}

        def invitation(part: Mapping[str, Any]) -> InvitationInfo | None:
            there = found.get(part.get("id", ""))
            return None if there is None else _again(ctx, there, part)

        rows = enumerate(zip(emails, kept["rows"], strict=True))
        results = [
            BulkInviteResult(index, email, outcome, invitation(part), _refusal(part))
            for index, (email, (outcome, part)) in rows
        ]
        return BulkInvite(results, kept["plan"])

    return Recall(_whose(by), keep, again)


def recall_changes(by: Manager, ids: Sequence[uuid.UUID | str]) -> Recall[BulkChange]:
    """The same of many that were changed.

    :param ids: which the same body has again.
    """

    def keep(bulk: BulkChange) -> Sequence[Any]:
        return [(each.outcome, _kept_part(each)) for each in bulk.results]

    def again(kept: Sequence[Any]) -> BulkChange:
        rows = enumerate(zip(ids, kept, strict=True))
        return BulkChange(
            [BulkChangeResult(index, str(one), outcome, _refusal(part)) for index, (one, (outcome, part)) in rows]
        )

    return Recall(_whose(by), keep, again)


class _Told(InvitationError):
    """A refusal that was told before."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem["detail"])
        self._problem = problem

    def problem(self) -> dict[str, Any]:
        return dict(self._problem)


def _kept_part(result: Any) -> Mapping[str, Any]:
    """A refusal's whole answer: it repeats nothing that was sent."""
    if result.error is not None:
        return {"problem": result.error.problem()}
    info = getattr(result, "invitation", None)
    return {} if info is None else _kept(info)


def _refusal(part: Mapping[str, Any]) -> InvitationError | None:
    return _Told(part["problem"]) if "problem" in part else None


def _whose(by: Manager) -> tuple[str, ...]:
    """The part of a key that says who uses it."""
    return "manager", str(by.id), str(by.tenant_id)


def _kept(info: InvitationInfo) -> Mapping[str, Any]:
    return {"id": str(info.id), "link": info.accept_url and _digest(info.accept_url)}


def _again(ctx: Context, found: Found, kept: Mapping[str, Any]) -> InvitationInfo:
    info, row = found.info(ctx.now()), found.row
    token = ctx.mint.recover(row.token_nonce, row.token_hash) if kept["link"] and ctx.config.return_link else None
    if token is None or _digest(ctx.config.link(token.reveal())) != kept["link"]:
        return info
    return replace(info, accept_url=ctx.config.link(token.reveal()))


def _digest(link: str) -> str:
    return hashlib.sha256(link.encode()).hexdigest()
