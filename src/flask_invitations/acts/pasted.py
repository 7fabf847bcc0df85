"""Which of the tokens that a pasted link may hold is one of ours."""

from __future__ import annotations

from collections.abc import Sequence

from ..context import Context
from ..model.states import Status
from ..tokens import Token


def recognize(ctx: Context, held: Sequence[Token]) -> Token | None:
    """The one that opens an invitation, or opened one; where none does, the likeliest. One statement, and none where
    there is nothing to choose.

    :param held: by :func:`..pasted.candidates`.
    :raises TryAgain: the database refused to the last.
    """
    if len(held) < 2:
        return next(iter(held), None)
    known = ctx.unit.look(lambda: ctx.store.links([each.hash for each in held]))
    order = [Status.PENDING, *(status for status in Status if status != Status.PENDING), None]  # ``None``: replaced
    return min(held, key=lambda each: order.index(known[each.hash]) if each.hash in known else len(order))
