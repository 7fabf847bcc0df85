"""Recalls: how what a manager was answered is kept for a call that is repeated, and made again; see :mod:`.once`."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..context import Context
from ..model.values import InvitationInfo
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
