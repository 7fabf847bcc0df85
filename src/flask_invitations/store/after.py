"""After the commit: what waited for it is done, and what observers leave in the session is taken back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ..traces import hide
from .frames import Part, frame_of
from .watch import has_changed, opened, read_only

log: logging.Logger = logging.getLogger("flask_invitations")

#: In what SQLAlchemy keeps of a driver's connection: whether it leads to the server itself.
_DIRECT = "flask_invitations_direct"


def clean(session: Any, what: str, *, by_commit: bool = False) -> None:
    """Take back what an observer has left in a session. That this fails, as where the connection is lost by then, is no
    error of what was done before; nobody uses the connection again.

    :param what: its name, for the log.
    :param by_commit: what has only read ends by COMMIT, where that spares work; see :func:`_end_reading`.
    """
    left = frame_of(session)
    if left is not None:
        left.ending = True
        left.close()
    connections = opened(session)
    try:
        _take_back(session, what, by_commit)
    except Exception as error:
        for connection in connections:
            with suppress(SQLAlchemyError):  # the session has closed it
                connection.invalidate(error)
        hide(error)
        log.warning("%s left a transaction open, and rolling it back failed", what, exc_info=True)


def _take_back(session: Any, what: str, by_commit: bool) -> None:
    if session.new or session.dirty or session.deleted or has_changed(session):
        log.warning("%s left changes in the session without a commit, and they were rolled back", what)
        session.rollback()
    elif session.in_nested_transaction():
        session.rollback()
    elif session.in_transaction():
        if by_commit:
            _end_reading(session)
        session.get_transaction().close()  # a rollback would expire what the host has loaded


def _end_reading(session: Any) -> None:
    """On PostgreSQL, have psycopg end by COMMIT what has only read. At a ROLLBACK it forgets all that it has prepared,
    and the database parses and plans each statement again.

    The session does not hear of it, and still knows what it has loaded.
    """
    for connection in read_only(session):
        if connection.dialect.driver == "psycopg":
            with suppress(SQLAlchemyError, connection.dialect.dbapi.Error):  # what was read was read
                if _is_direct(connection):
                    connection.dialect.do_commit(connection.connection)


def _is_direct(connection: Any) -> bool:
    """Whether no pooler is between a connection and the server; asked once for each. A pooler may give each transaction
    another session of the server: what was prepared is not there, or is another statement of the same name."""
    if _DIRECT not in connection.info:
        driver = connection.connection.dbapi_connection
        number, *_ = driver.execute("SELECT pg_backend_pid()").fetchone()  # which no listener of the host's hears of
        connection.info[_DIRECT] = number == driver.info.backend_pid
    return bool(connection.info[_DIRECT])


def run_all(waiting: Sequence[Part]) -> None:
    """An error of one keeps no other from being done. What is no error (a time-out of gevent's, an exit) is not ours to
    keep: it leaves at once, and what was not done is put back."""
    for number, part in enumerate(waiting):
        try:
            part.what()
        except Exception as error:
            hide(error)
            log.exception("work after the commit failed")
        except BaseException:
            run_all([replace(each, what=each.instead) for each in waiting[number:] if each.instead is not None])
            raise
