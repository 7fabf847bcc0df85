"""What the rooms of SQL share: the host's session, and how a statement of ours reaches our tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ..model.binding import Models


class Tables:
    """The tables of one host.

    :param session: gives the host's session.
    """

    def __init__(self, session: Callable[[], Any], models: Models) -> None:
        self._session = session
        self.models = models

    @property
    def session(self) -> Any:
        return self._session()

    @property
    def connection(self) -> Any:
        """The session's own connection, in its transaction: for statements that need nothing of the ORM."""
        return self.session.connection(bind_arguments={"mapper": sa.inspect(self.models.Invitation)})

    @staticmethod
    def _key_of(model: type[Any]) -> Any:
        """The one column that one of the host's classes is known by."""
        return sa.inspect(model).primary_key[0]

    def _execute(self, statement: Any, values: Mapping[str, Any] | None = None) -> int:
        """How many rows an UPDATE of one of our tables changed."""
        count: int = self.connection.execute(statement, values).rowcount
        return count

    def _insert(self, model: type[Any], values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        self.connection.execute(sa.insert(model.__table__), values)
