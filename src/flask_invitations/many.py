"""The acts on many invitations at once, from Python."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from . import acts
from .calls import Calls, seconds
from .current import get_state
from .model.values import BulkChange, BulkInvite
from .rows import load_changes, load_invites
from .traces import all_hidden


@all_hidden
class ManyCalls(Calls):
    """What can be done with the invitations of the current app, one by one and with many at once."""

    def invite_many(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        by: Any = None,
        inviter: Any = None,
        tenant_id: Any = None,
        dry_run: bool = False,
        plan: str | None = None,
    ) -> BulkInvite:
        """Invite many people in one transaction. What is refused keeps no other from being invited.

        The emails of more than 10 are left to a worker, also with ``INVITATIONS_DELIVERY = "inline"``.

        :param rows: for each person the arguments of :meth:`invite` by name: ``email``, and any of ``role``,
            ``message``, ``details``, ``expires_in``, ``locale``, ``mail`` and ``confirm``; at most ``BULK_MAX``.
        :param by: the host's user who invites, whose permission is checked; ``None``: the system, which may.
        :param inviter: another name for ``by``.
        :param tenant_id: into which tenant; default: the one in which ``by`` acts.
        :param dry_run: only tell what would become of them.
        :param plan: the ``plan`` that a dry run gave: nothing is written where something else would become of one.
        :returns: ``results``, one for each row in order; how many were ``created``, ``requested`` and ``refused``;
            ``plan``.
        :raises InvitationError: ``InvalidRequest`` for too many rows, or what are none, ``TenantInactive``,
            ``PlanChanged``, or ``Forbidden`` where ``by`` manages nothing; nothing was written.
        """
        state = get_state()
        given = {"invitations": [_plain(row) for row in rows], "dry_run": dry_run, "plan": plan}
        loaded = load_invites(state, given)
        return acts.invite_many(state.ctx, by=self._by(by, tenant_id, inviter=inviter), **loaded)

    def resend_many(self, ids: Iterable[uuid.UUID | str], *, by: Any = None) -> BulkChange:
        """Send the emails of many invitations once more, each with a new link, in one transaction.

        :param ids: of invitations, at most ``BULK_MAX``; one that comes twice is sent once.
        :param by: the host's user, whose permission is checked, and who becomes the inviter; ``None``: the system.
        :returns: ``results``, one for each id in order; how many were ``done`` and ``refused``.
        :raises InvalidRequest: too many ids.
        """
        return acts.resend_many(get_state().ctx, by=self._by(by), ids=self._ids("resend", ids))

    def revoke_many(self, ids: Iterable[uuid.UUID | str], *, by: Any = None) -> BulkChange:
        """Make sure that none of many invitations lets anybody in, in one transaction.

        :param ids: of invitations, at most ``BULK_MAX``.
        :param by: the host's user, whose permission is checked; ``None``: the system.
        :returns: ``results``, one for each id in order; how many were ``done`` and ``refused``.
        :raises InvalidRequest: too many ids.
        """
        return acts.revoke_many(get_state().ctx, by=self._by(by), ids=self._ids("revoke", ids))

    def _ids(self, action: str, ids: Iterable[uuid.UUID | str]) -> list[str]:
        given = {"action": action, "ids": [str(each) if isinstance(each, uuid.UUID) else each for each in ids]}
        wanted: list[str] = load_changes(get_state(), given)["ids"]
        return wanted


def _plain(row: Any) -> Any:
    """A row as JSON has it."""
    if not isinstance(row, Mapping):
        return row
    return {**row, "expires_in": seconds(row.get("expires_in"))}
