"""What has been done in a transaction, whoever did it: every statement of every engine passes here.

A second attempt of ours begins with a rollback, and must not take with it what somebody else has written. So a
transaction is marked as soon as anything runs in it that is not plainly a read: what is not known to be harmless counts
as a write. The price of a mark that was not needed is two statements, a savepoint and its release.

What does not pass here is a statement on the driver's own cursor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from .drivers import Code, codes

#: A longer statement is not looked through. Ours that read with 500 ids are shorter.
_LONG = 40_000
#: MariaDB and MySQL run what is in ``/*! ... */`` and ``/*M! ... */``.
_COMMENT = r"(?:--[^\n]*(?:\n|\Z)|/\*(?!M?!)(?:[^*]|\*(?!/))*\*/)"
#: Like all that is repeated here, it can be read in one way only, so that many of them cost no time.
_COMMENTS = rf"(?:\s|\#[^\n]*(?:\n|\Z)|{_COMMENT})*"
_READ = re.compile(rf"{_COMMENTS}(?:SELECT|WITH|BEGIN)\b", re.IGNORECASE)
#: In a read: locks that the host relies on, what writes after all, a second statement.
_MORE = re.compile(r"\b(?:FOR|INTO|LOCK|INSERT|UPDATE|DELETE|MERGE|REPLACE)\b|;\s*\S", re.IGNORECASE)
#: What stands before a parenthesis; after a dot it is a name in a schema, whatever it is.
_CALLED = re.compile(rf"((?:\.{_COMMENTS}|(?<![\w$\"`\]]))[\w$\"`\]]+){_COMMENTS}\(")
#: What may stand before a parenthesis in a read: words of SQL and of types, functions that change nothing.
_HARMLESS = re.compile(
    r"all|and|any|array|as|avg|between|binary|by|case|cast|char|coalesce"
    r"|concat|count|cube|date|decimal|distinct|else|exists|extract|filter|float|from|greatest"
    r"|group|having|if|ifnull|in|integer|interval|is|join|json_extract|lateral|least|length"
    r"|like|limit|lower|ltrim|max|min|not|now|nullif|numeric|offset|on|or"
    r"|order|over|partition|recursive|round|row_number|rtrim|select|set|substr|substring|sum|then"
    r"|time|timestamp|trim|union|upper|using|values|varbinary|varchar|when|where|with",
    re.IGNORECASE,
)
#: Anything in which nothing is called.
_PLAIN = rf"(?:{_COMMENT}|'[^']*'|%\(\w+\)s|[^;'()/\#-]|-(?!-)|/(?!\*))*"
#: What a host says of a transaction rather than in it, such as what its rows are filtered by.
_SETTING = re.compile(
    rf"{_COMMENTS}(?:(?:RE)?SET\b{_PLAIN}|SELECT\b(?:{_PLAIN}\bset_config{_COMMENTS}\({_PLAIN}\))+{_PLAIN})(?:;{_COMMENTS})?",
    re.IGNORECASE,
)
_ENDED = rf"(?:COMMIT|ROLLBACK(?!{_COMMENTS}(?:(?:WORK|TRANSACTION)\b{_COMMENTS})?TO\b))"
_ENDS = re.compile(rf"{_COMMENTS}(?:{_ENDED}|END|ABORT|PREPARE\b{_COMMENTS}TRANSACTION)\b", re.IGNORECASE)
#: What MySQL and MariaDB commit before, whether or not somebody asked for that.
_COMMITS = re.compile(
    rf"{_COMMENTS}(?:/\*M?!\d*{_COMMENTS})?(?:{_ENDED}|BEGIN|START|(?:CREATE|DROP)(?!\s+TEMPORARY)|ALTER|TRUNCATE|RENAME"
    r"|GRANT|REVOKE|(?:UN)?LOCK|ANALYZE)\b",
    re.IGNORECASE,
)

#: After these MariaDB and MySQL have rolled the whole transaction back.
_ROLLED_BACK: frozenset[Code] = frozenset((1020, 1213, 1614, 3101))

_written: WeakSet[Any] = WeakSet()
#: Those of them in which more was done than to set something.
_changed: WeakSet[Any] = WeakSet()
_ended: WeakSet[Any] = WeakSet()
#: The connections on which something was done as a transaction began.
_early: WeakSet[Any] = WeakSet()


@cache
def watch() -> None:
    """Look at every statement from now on. These events are SQLAlchemy's cheapest by far: the ones of the connection
    would cost forty calls for each statement."""
    for name, look in (
        ("do_execute", _look),
        ("do_executemany", _look),
        ("do_execute_no_params", _look_without_parameters),
    ):
        sa.event.listen(sa.Engine, name, look)
    sa.event.listen(sa.Engine, "handle_error", _note_error)


def _note_error(context: Any) -> None:
    """An error that somebody catches may have ended the transaction all the same: on PostgreSQL each does, but for one
    inside of a savepoint; on MariaDB and MySQL a deadlock, or what else rolls back. A commit would say nothing."""
    connection, error = context.connection, context.sqlalchemy_exception
    transaction = None if connection is None else connection.get_transaction()
    if transaction is None or not isinstance(error, DBAPIError):
        return
    in_savepoint = connection.dialect.name == "postgresql" and connection.in_nested_transaction()
    if (connection.dialect.name == "postgresql" and not in_savepoint) or codes(error) & _ROLLED_BACK:
        _ended.add(transaction)


def has_written(session: Any) -> bool:
    """Whether anything but reads was done in the transaction that is open on a session."""
    return bool([each for each in _connections(session) if each.get_transaction() in _written])


def has_changed(session: Any) -> bool:
    """The same, settings aside: whether somebody may miss what a rollback takes back."""
    return bool([each for each in _connections(session) if each.get_transaction() in _changed])


def begin_anew(session: Any) -> None:
    """What was ended in the transaction of a session so far is nobody's concern but whoever ended it."""
    _ended.difference_update([each.get_transaction() for each in _connections(session)])


def is_whole(session: Any) -> bool:
    """Whether the transaction of a session is still the one that was begun, on each of its connections."""
    return not [each for each in _begun(session) if not each[1].is_active or each[0].get_transaction() in _ended]


def commits_alone(session: Any) -> bool:
    """Whether the driver of a connection that the session's transaction uses commits each statement by itself."""
    return bool([each for each in _connections(session) if _autocommits(each)])


def opened(session: Any) -> Iterable[Any]:
    """The connections that a session has opened for its transaction. Those that the host gave to the session are the
    host's, and not among them."""
    return {each[0] for each in _begun(session) if each[3]}


def read_only(session: Any) -> Iterable[Any]:
    """Of these the ones on which nothing but reads was done in it, nor by whoever heard that it begins."""
    return [each for each in opened(session) if each not in _early and each.get_transaction() not in _written]


def _connections(session: Any) -> Iterable[Any]:
    """Those that the transaction of a session uses."""
    return {each[0] for each in _begun(session)}


def _begun(session: Any) -> Iterable[Sequence[Any]]:
    """The same: each with its transaction, whether the session ends that, and whether the session has opened it."""
    transaction = session.get_transaction()
    begun = {} if transaction is None else transaction._connections  # noqa: SLF001 - public only from SQLAlchemy 2.1 on
    return begun.values()


def _autocommits(connection: Any) -> bool:
    """Drivers agree on no name for it; sqlite3 is in a transaction by now, unless nothing ever begins one."""
    driver = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite" and driver.isolation_level is None:
        return not driver.in_transaction
    ask = getattr(driver, "get_autocommit", None)
    setting = ask() if ask is not None else getattr(driver, "autocommit", False)
    return setting is True or setting == 1


def _look(_cursor: Any, statement: str, _parameters: Any, context: Any) -> None:
    if len(statement) > _LONG or not _is_read(statement):
        _mark(statement, context.root_connection)


def _look_without_parameters(_cursor: Any, statement: str, context: Any) -> None:
    _look(_cursor, statement, None, context)


def _mark(statement: str, connection: Any) -> None:
    transaction = connection.get_transaction()
    if transaction is None:  # it is only about to begin, and whoever did that does it again in the next one
        _early.add(connection)
        return
    _written.add(transaction)
    if _SETTING.fullmatch(statement) is None:
        _changed.add(transaction)
    is_mysql = connection.dialect.name in ("mysql", "mariadb")
    if _ENDS.match(statement) or (is_mysql and _COMMITS.match(statement)):
        _ended.add(transaction)


@lru_cache(maxsize=256)
def _is_read(statement: str) -> bool:
    if _READ.match(statement) is None or _MORE.search(statement) is not None:
        return False
    return all(_HARMLESS.fullmatch(name) for name in _CALLED.findall(statement))
