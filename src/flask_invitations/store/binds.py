"""Where a statement goes. The host's session says so, by ``get_bind``, for every statement of ours.

A session may send reads to a replica, which lags behind. What decides about a change must not: within a unit that
writes, the session is asked where an UPDATE of ours goes, and all statements of the unit go there. An act that only
reads goes where the session sends its very statement.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import sqlalchemy as sa

from ..model.binding import Models
from .drivers import listen
from .servers import check_driver, check_server

T = TypeVar("T")

_WRITES = "flask_invitations_writes"


class _Writing:
    # A generator would cost three times as many calls, in each unit.

    def __init__(self, session: Any) -> None:
        self._info = session.info

    def __enter__(self) -> None:
        self._info[_WRITES] = True

    def __exit__(self, *_error: object) -> None:
        self._info.pop(_WRITES, None)  # whoever closed the session has cleared it


def writing(session: Any) -> _Writing:
    """For ``with``: in a unit that writes everything goes where the session sends an UPDATE of ours."""
    return _Writing(session)


class Binds:
    """The connections of one host.

    :param session: gives the host's session.
    """

    def __init__(self, session: Callable[[], Any], models: Models) -> None:
        self._session = session
        self._mapper = sa.inspect(models.Invitation)
        self._write = sa.update(models.Invitation.__table__)
        self._look = sa.select(models.Invitation.__table__)
        self._known: set[Any] = set()

    def engines(self) -> Collection[sa.Engine]:
        """Where the session sends statements that change something, and those that only read."""
        session = self._session()
        asked = ({"mapper": self._mapper, "clause": each} for each in (self._write, self._look))
        return {session.get_bind(**where).engine for where in asked}

    def connection(self, statement: Any = None) -> Any:
        """The session's own connection for a statement, in its transaction.

        :param statement: ``None``: one that changes something.
        :raises ConfigurationError: the driver or the server is none that we support.
        """
        return self._connect(self._session(), statement)

    def _connect(self, session: Any, statement: Any) -> Any:
        asked = self._write if statement is None or _WRITES in session.info else statement
        where = {"mapper": self._mapper, "clause": asked}
        if not self._known:
            check_driver(session.get_bind(**where).dialect)
        connection = session.connection(bind_arguments=where)
        if connection.dialect not in self._known:
            self._meet(connection.dialect)
        return connection

    def forget_snapshot(self) -> bool:
        """By default, a transaction on MariaDB and MySQL goes on seeing what its first read saw. Only the driver's is
        ended: the session keeps its connection, with the options that the host gave it.

        :returns: whether the connection is still there.
        """
        connection = self.connection()
        if connection.dialect.name not in ("mysql", "mariadb"):
            return True
        try:
            connection.connection.rollback()
        except connection.dialect.dbapi.Error as error:
            connection.invalidate(error)
            return False
        return True

    def _meet(self, dialect: Any) -> None:
        check_driver(dialect)
        check_server(dialect)
        listen(dialect)
        self._known.add(dialect)

    def read(self, act: Callable[[Any], T]) -> T:
        """Have the session read rows of the host's; in a unit that writes, by the connection of the unit.

        :param act: does so, with the session; nothing is left to fetch when it returns.
        """
        session = self._session()
        if _WRITES not in session.info:
            if not self._known:  # the session connects by itself, and errors are heeded from the first one on
                for engine in self.engines():
                    listen(engine.dialect)
            return act(session)
        return _by(self._connect(session, None), session, act)


def _by(connection: Any, session: Any, act: Callable[[Any], T]) -> T:
    """Have ``act`` read by this connection. For the ORM SQLAlchemy has no other way: it passes an argument ``bind``
    on to ``get_bind``, and not every host's heeds that."""
    attributes = vars(session)
    before = attributes.get("get_bind")
    attributes["get_bind"] = lambda *_arguments, **_named: connection
    try:
        return act(session)
    finally:
        attributes["get_bind"] = before
        if before is None:
            del attributes["get_bind"]
