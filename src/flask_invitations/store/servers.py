"""Which drivers and servers this package was tried with; the others are refused, at the first use of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError

_MARIADB = ("pymysql", "mysqldb", "mariadbconnector")
#: By the dialect's name, the drivers as they stand in a database URL.
DRIVERS: Mapping[str, tuple[str, ...]] = {
    "sqlite": ("pysqlite",),
    "postgresql": ("psycopg", "psycopg2", "pg8000"),
    "mysql": _MARIADB,
    "mariadb": _MARIADB,
}
#: By the server's name, the first version with all that our statements need (SKIP LOCKED, row values).
OLDEST: Mapping[str, tuple[int, ...]] = {"SQLite": (3, 15), "PostgreSQL": (13,), "MariaDB": (10, 6), "MySQL": (8,)}


def check_driver(dialect: Any) -> None:
    """Refuse a driver before it is used: one for asyncio would only say that it misses a greenlet.

    :raises ConfigurationError: naming the driver and those to use.
    """
    if dialect.is_async or dialect.driver not in DRIVERS.get(dialect.name, ()):
        listed = ", ".join(f"{name} ({', '.join(drivers)})" for name, drivers in DRIVERS.items())
        name = f"{dialect.name}+{dialect.driver}{' (asyncio)' if dialect.is_async else ''}"
        raise ConfigurationError(f"The database driver {name} is not supported. Use one of: {listed}.")


def check_server(dialect: Any) -> None:
    """Refuse a server that is too old; its driver has connected, so that the version is known.

    :raises ConfigurationError: naming the versions.
    """
    name = _server(dialect)
    found = tuple(part for part in dialect.server_version_info or () if isinstance(part, int))
    if found and found < OLDEST[name]:
        raise ConfigurationError(f"{name} {_dotted(found)} is too old. Use {name} {_dotted(OLDEST[name])} or later.")


def _server(dialect: Any) -> str:
    if dialect.name == "postgresql":
        return "PostgreSQL"
    if dialect.name == "sqlite":
        return "SQLite"
    return "MariaDB" if dialect.is_mariadb else "MySQL"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
