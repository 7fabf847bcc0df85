"""What a driver's error means: every code that drivers offer, in one place."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import DBAPIError, OperationalError

#: PostgreSQL: serialization failure, deadlock, lock not available, too many connections, cannot connect now.
#: MariaDB and MySQL: lock wait time-out, deadlock, record changed since last read, too many connections,
#: cannot connect (2002, 2003).
_TRANSIENT = frozenset({"40001", "40P01", "55P03", "53300", "57P03", 1205, 1213, 1020, 1040, 2002, 2003})
_UNIQUE = frozenset({"23505", 1062})


def is_transient(error: DBAPIError) -> bool:
    """Whether the same work may succeed in another transaction."""
    if error.connection_invalidated or _codes(error) & _TRANSIENT:
        return True
    # Without a statement it could not even connect; drivers give that no common code.
    return isinstance(error, OperationalError) and (error.statement is None or "locked" in str(error.orig))


def is_unique(error: DBAPIError) -> bool:
    """Whether a unique key refused."""
    return bool(_codes(error) & _UNIQUE) or str(error.orig).startswith("UNIQUE constraint failed")


def _codes(error: DBAPIError) -> frozenset[Any]:
    """Every code that a driver offers: the SQLSTATE, the error number. PyMySQL has both from version 1.2 on."""
    raw: Any = error.orig
    number = next(iter(raw.args or ()), None)
    return frozenset((getattr(raw, "sqlstate", None), getattr(raw, "pgcode", None), number)) - {None}
