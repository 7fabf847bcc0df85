"""What a driver's error means. No driver is asked for one code in one place: every code that it offers is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from ..errors import ConfigurationError, InvalidRequest, Sentence

#: A SQLSTATE, the first two characters of one, an error number of MariaDB and MySQL, or a name: SQLite's for an error,
#: PostgreSQL's for the function in its source that raised one.
Code = str | int


class Outcome(Enum):
    """What can be done about an error."""

    #: Another transaction may succeed at once.
    AGAIN = "again"
    #: The same call may succeed later, on this server or on another; another transaction now would not.
    UNAVAILABLE = "unavailable"
    #: A unique key refused.
    UNIQUE = "unique"
    #: The database cannot hold a character.
    TEXT = "text"
    #: Anything else: a fault in a statement, in the tables, or in what a hook writes.
    OTHER = "other"


def _table(codes: Mapping[Outcome, tuple[Code, ...]]) -> Mapping[Code, Outcome]:
    return {code: outcome for outcome, those in codes.items() for code in those}


_POSTGRESQL = _table(
    {
        Outcome.AGAIN: (
            *("40", "55P03"),  # serialization, deadlock, a lock that did not come free
            *("08000", "08003", "08006", "25P03", "57P01", "57P02", "57P05"),  # the connection was closed
            *("26000", "42P05", "RevalidateCachedQuery"),  # what is prepared is gone, is another's, is of older tables
        ),
        Outcome.UNAVAILABLE: (
            *("25006", "25P04", "57014"),  # read-only, a transaction or a statement took too long
            *("53", "57", "58", "08"),  # out of connections, memory, disk; starting, stopping; the machine
            *("28", "3D000"),  # no login, no such database
            "40003",  # nobody knows whether it was done
        ),
        Outcome.UNIQUE: ("23505",),
        Outcome.TEXT: ("22021", "22P05"),
        Outcome.OTHER: ("40002",),  # an integrity constraint
    }
)
_MARIADB = _table(
    {
        Outcome.AGAIN: (
            *(1020, 1205, 1213, 1614, 3101, 3572),  # changed since last read, lock wait, deadlock, group replication
            *(
                1053,
                1152,
                1158,
                1159,
                1160,
                1161,
                1184,
                1927,
                2006,
                2013,
                2014,
                2027,
                2055,
                3169,
                4031,
            ),  # connection closed
        ),
        Outcome.UNAVAILABLE: (
            *(1036, 1223, 1290, 1792, 1836),  # read-only
            *(1317, 1969, 3024),  # a statement was cancelled, or took too long
            *(1047, 1180, 1181, 3100),  # the node of a cluster is not ready; the commit or rollback failed
            *(1021, 1037, 1038, 1041, 1114, 1135, 1206),  # out of disk, memory, threads, locks
            *(1040, 1129, 1130, 1203, 1226, 2002, 2003, 2005, 2012, 2026),  # no connection
            *(1044, 1045, 1049),  # no login, no such database
        ),
        Outcome.UNIQUE: (1062, 1169, 1586),
        Outcome.TEXT: (1267, 1270, 1271, 1300, 1366, 3854, 3988),
    }
)
_SQLITE = _table(
    {
        Outcome.AGAIN: ("SQLITE_BUSY", "SQLITE_LOCKED"),
        Outcome.UNAVAILABLE: (
            *("SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN"),
            *("SQLITE_NOMEM", "SQLITE_INTERRUPT", "SQLITE_PROTOCOL"),
        ),
        Outcome.UNIQUE: ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"),
    }
)
_OUTCOMES: Mapping[Code, Outcome] = {**_POSTGRESQL, **_MARIADB, **_SQLITE}
#: Of two codes of one error, the one that tells more.
_ORDER = (Outcome.OTHER, Outcome.UNIQUE, Outcome.TEXT, Outcome.UNAVAILABLE, Outcome.AGAIN)
#: Before Python 3.11 SQLite's errors have no name, only a text.
_SQLITE_TEXTS = {
    "database is locked": "SQLITE_BUSY",
    "database table is locked": "SQLITE_LOCKED",
    "attempt to write a readonly database": "SQLITE_READONLY",
    "disk I/O error": "SQLITE_IOERR",
    "database or disk is full": "SQLITE_FULL",
    "unable to open database file": "SQLITE_CANTOPEN",
    "interrupted": "SQLITE_INTERRUPT",
    "UNIQUE constraint failed": "SQLITE_CONSTRAINT_UNIQUE",
}
#: After these the connection leads nowhere, or to a server that will not write again: no other transaction may get it.
_LOST: frozenset[Code] = frozenset(
    (
        *("25006", "25P03", "25P04", "57P01", "57P02", "57P03", "57P04", "57P05"),
        *("08000", "08003", "08006", "08007", "08P01"),
        *(1036, 1047, 1053, 1152, 1158, 1159, 1160, 1161, 1184, 1290, 1792, 1836, 1927, 2006, 2013, 2014, 2027, 2055),
        *(3169, 4031),
    )
)

#: A table or a column that is not there; SQLite has only a text for it.
_ABSENT: frozenset[Code] = frozenset(("42P01", "42703", 1146, 1054))
_ABSENT_TEXT = re.compile(r"no such (table|column)|table \w+ has no column")
#: What looks for a table, as SQLAlchemy does, may well find none.
_LOOKS = ("DESCRIBE", "SHOW")
#: What the names of our tables begin with.
OURS = "user_invitation"
_UPGRADE = "then `flask db upgrade`. In a project without migrations, run db.create_all()."
#: What makes our tables, and what makes those of the host.
MIGRATE_OURS = f"Run `flask invitations migrations`, {_UPGRADE}"
MIGRATE = f"Run `flask db migrate`, {_UPGRADE}"
NO_TABLES = f"The tables of flask-invitations are missing or out of date. {MIGRATE_OURS}"

#: About a field whose text the database cannot hold.
TEXT: str = Sentence("The database cannot store a character of this text. Leave it out, for example an emoji.")

_ours: ContextVar[bool] = ContextVar("flask_invitations_unit", default=False)


def outcome(error: DBAPIError) -> Outcome:
    """What can be done about an error of the database's."""
    offered = codes(error)
    found = {_OUTCOMES.get(code) for code in offered} - {None} or {_OUTCOMES.get(_class_of(code)) for code in offered}
    known = next((each for each in _ORDER if each in found), None)
    return known or _without_code(error)


def _class_of(code: Code) -> Code:
    """The class of a SQLSTATE, or what an extended name of SQLite's extends."""
    if not isinstance(code, str):
        return code
    return "_".join(code.split("_")[:2]) if code.startswith("SQLITE_") else code[:2]


def _without_code(error: DBAPIError) -> Outcome:
    if error.connection_invalidated:
        return Outcome.AGAIN
    # Without a statement it could not even connect; drivers give that no common code.
    unconnected = error.statement is None and isinstance(error, (OperationalError, InterfaceError))
    return Outcome.UNAVAILABLE if unconnected else Outcome.OTHER


def codes(error: DBAPIError) -> frozenset[Code]:
    """Every code that the driver offers: SQLSTATE, error number, names."""
    raw: Any = error.orig
    first = next(iter(getattr(raw, "args", ())), None)
    offered = [getattr(raw, name, None) for name in ("sqlstate", "pgcode", "errno", "sqlite_errorname")]
    offered += [getattr(getattr(raw, "diag", None), name, None) for name in ("sqlstate", "source_function")]
    offered.append(first.get("C") if isinstance(first, Mapping) else first)
    if isinstance(first, str):  # a sentence, of which only SQLite's tell anything
        offered[-1] = next((name for text, name in _SQLITE_TEXTS.items() if first.startswith(text)), None)
    return frozenset(code for code in offered if isinstance(code, (str, int)) and code)


def is_transient(error: DBAPIError) -> bool:
    """Whether the same work may succeed at once, in another transaction."""
    return outcome(error) is Outcome.AGAIN


def is_busy(error: DBAPIError) -> bool:
    """Whether the same work may succeed, at once or later: whoever asked can be told to try again."""
    return outcome(error) in (Outcome.AGAIN, Outcome.UNAVAILABLE)


def is_integrity(error: DBAPIError) -> bool:
    """Whether a constraint refused; to pg8000 most of them are errors like any other."""
    return isinstance(error, IntegrityError) or any(str(code).startswith("23") for code in codes(error))


def is_unique(error: DBAPIError) -> bool:
    """Whether a unique key refused."""
    return outcome(error) is Outcome.UNIQUE


def is_locked(error: DBAPIError) -> bool:
    """Whether MariaDB or MySQL gave up one statement, since somebody else has what it waited for."""
    return bool(codes(error) & {1205, 3572})


def is_absent(error: DBAPIError) -> bool:
    """Whether a table is missing, or a column of one."""
    if (error.statement or "").startswith(_LOOKS):
        return False
    return bool(codes(error) & _ABSENT or _ABSENT_TEXT.match(str(error.orig)))


def is_ours_absent(error: DBAPIError) -> bool:
    """Whether a table of ours is missing, or a column of one."""
    told, statement = str(error.orig), error.statement or ""
    return is_absent(error) and (OURS in told or (statement.startswith("INSERT") and OURS in statement))


def lacking(error: Exception) -> str | None:
    """What the driver says of a table or a column that is missing, in one line; ``None``: that is not the matter."""
    if not isinstance(error, DBAPIError) or not is_absent(error):
        return None
    # MariaDB's drivers put a number before it. The names in it are of the schema, and never somebody's input.
    told = next((each for each in reversed(getattr(error.orig, "args", ())) if isinstance(each, str)), str(error.orig))
    return told.splitlines()[0].rstrip(".")


def unwritable(error: DBAPIError) -> str | None:
    """The name of the field whose text the database cannot hold or compare, where that is the matter; else ``None``."""
    told = str(error.orig)
    if outcome(error) is not Outcome.TEXT:
        return None
    named = re.search(r"string value.* for column (?:[`'\"]?\w+[`'\"]?\.)*[`'\"]?(\w+)", told, re.DOTALL)
    return named[1] if named else _suspect(error.params, "ascii")


def _suspect(parameters: Any, encoding: str) -> str | None:
    """The parameter that is not in a character set: most databases do not tell which it was."""
    odd = (name for name, value in _pairs(parameters) if isinstance(value, str) and not _fits(value, encoding))
    name = next(odd, None)
    return None if name is None else re.sub(r"(_\d+_\d+|__\d+)$", "", name)


def _pairs(parameters: Any) -> Iterator[tuple[str, Any]]:
    """The parameters of a statement, of one row or of several; what has no name is ``text``."""
    if isinstance(parameters, Mapping):
        yield from parameters.items()
        return
    for each in parameters or ():
        if isinstance(each, (Mapping, list, tuple)):
            yield from _pairs(each)
        else:
            yield "text", each


def _fits(text: str, encoding: str) -> bool:
    return text.encode(encoding, "ignore").decode(encoding) == text


class _Heeded:
    # A generator would cost three times as many calls, in each unit.

    def __enter__(self) -> None:
        self._before = _ours.get()
        _ours.set(True)

    def __exit__(self, *_error: object) -> None:
        _ours.set(self._before)  # not by a token: a block may end in another thread than it began in


def heeded() -> _Heeded:
    """For ``with``: a unit of ours is under way, and what it learns about a connection counts; see :func:`listen`."""
    return _Heeded()


def listen(dialect: sa.Dialect) -> None:
    """Heed what units of ours learn from the errors of an engine."""
    if not sa.event.contains(dialect, "handle_error", _heed):
        sa.event.listen(dialect, "handle_error", _heed, retval=True)


def _heed(context: ExceptionContext) -> Exception | None:
    """A connection that leads nowhere is no other transaction's: SQLAlchemy knows of few errors that say so, and that a
    server is read-only since a failover is none of them. A text that the driver cannot send is somebody's input. Where
    our tables are missing, whoever runs the app needs to know what to do."""
    error, raw = context.sqlalchemy_exception, context.original_exception
    if not _ours.get():
        return None
    if isinstance(error, DBAPIError) and codes(error) & _LOST:
        context.is_disconnect = True
    if isinstance(error, DBAPIError) and is_ours_absent(error):
        return ConfigurationError(NO_TABLES)
    if isinstance(raw, UnicodeEncodeError):
        return InvalidRequest({_suspect(context.parameters, raw.encoding) or "text": [TEXT]})
    return None
