"""Whole lists of people, invited chunk by chunk: a transaction each, so that it can be stopped and started again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from . import acts
from .acts import Manager
from .current import State
from .lists import Line
from .model.values import BulkInviteResult
from .rows import read

#: How many are invited in one transaction.
CHUNK = 1000


def invite_all(
    state: State, by: Manager, lines: Iterator[Line], dry_run: bool = False
) -> Iterator[list[tuple[Line, BulkInviteResult]]]:
    """Invite everybody in a list.

    :returns: chunk by chunk, once it is committed, what became of each line.
    :raises InvitationError: a chunk cannot be read or is refused as a whole; those before it stay.
    """
    while chunk := list(islice(lines, CHUNK)):
        fields = [{name: cell for name, cell in line.fields.items() if name != "name"} for line in chunk]
        told = acts.invite_many(state.ctx, by=by, rows=read(state, fields), dry_run=dry_run)
        yield list(zip(chunk, told.results, strict=True))
