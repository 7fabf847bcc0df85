"""Many at once, as they come in: how many there may be is looked at before one of them is read (I1), and what is wrong
with one of them is said of that one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from marshmallow import Schema, fields, validate

from .acts import Unreadable, Wanted
from .addresses import MAX_ADDRESS
from .current import State
from .errors import InvalidRequest
from .shapes import Body, Flag, Text, load

if TYPE_CHECKING:
    _List = fields.List[Any]
else:  # marshmallow 3 does not know its type arguments
    _List = fields.List


class Rows(_List):
    """Objects or text: a list, of which the items are left as they are. The inner field describes them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        kind = dict if isinstance(self.inner, fields.Nested) else str
        if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
            raise self.make_error("invalid")
        return value


def _at_most(state: State) -> validate.Length:
    return validate.Length(max=state.ctx.config.bulk_max, error="Send at most {max} at a time.")


def invite_body(state: State) -> Schema:
    """What ``POST /invite/bulk`` takes."""
    row = fields.Nested(lambda: state.invite_body)
    shape: Any = Body.from_dict(
        {
            "invitations": Rows(row, required=True, validate=_at_most(state)),
            "dry_run": Flag(load_default=False),
            "plan": Text(allow_none=True, load_default=None, validate=validate.Length(max=64)),
        },
        name="BulkInviteBody",
    )
    instance: Schema = shape()
    return instance


def change_body(state: State) -> Schema:
    """What ``POST /invitations/bulk`` takes."""
    actions = validate.OneOf(["resend", "revoke"], error="Must be one of: {choices}.")
    shape: Any = Body.from_dict(
        {
            "action": Text(required=True, validate=actions),
            "ids": Rows(fields.String(), required=True, validate=_at_most(state)),
        },
        name="BulkChangeBody",
    )
    instance: Schema = shape()
    return instance


def load_invites(state: State, given: Any) -> dict[str, Any]:
    """The arguments of :func:`.acts.invite_many`.

    :raises InvalidRequest: it is not one list of objects, or has too many.
    """
    loaded = load(state.once(invite_body), given)
    return {"rows": read(state, loaded.pop("invitations")), **loaded}


def read(state: State, rows: Sequence[Any]) -> Sequence[Wanted | Unreadable]:
    """Each row for itself.

    By a shape of what it has: :class:`Wanted` knows the rest, and to go through all that a row lacks takes most of the
    time in which it is read.
    """
    shape, known = state.once(_narrow), state.invite_body.fields.keys()
    return [_read(shape(frozenset(known & {*row, "email"})), row) for row in rows]


def _narrow(state: State) -> Callable[[frozenset[str]], Schema]:
    """The shape of a row by the fields that it may have, each made once."""
    whole = type(state.invite_body)
    return cache(lambda names: whole(only=names))


def _read(shape: Schema, row: Any) -> Wanted | Unreadable:
    try:
        return Wanted.loaded(load(shape, row))
    except InvalidRequest as error:
        email = row.get("email")
        return Unreadable(email if isinstance(email, str) and len(email) <= MAX_ADDRESS else None, error)


def load_changes(state: State, given: Any) -> dict[str, Any]:
    """``action`` and ``ids`` of what is to be changed.

    :raises InvalidRequest: it is not one list of ids, or has too many.
    """
    return load(state.once(change_body), given)
