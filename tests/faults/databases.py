"""Each driver on each server, and what makes a server raise what it would raise on a bad day."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

#: The module of each driver, by its name in a URL, and the parameters that its URL may keep.
MODULES = {
    "postgresql": {"psycopg": "psycopg", "psycopg2": "psycopg2", "pg8000": "pg8000"},
    "mariadb": {"pymysql": "pymysql", "mysqldb": "MySQLdb", "mariadbconnector": "mariadb"},
}
_QUERY = {
    "psycopg": {"sslmode": "disable", "gssencmode": "disable"},
    "psycopg2": {"sslmode": "disable", "gssencmode": "disable"},
    "pymysql": {"charset": "utf8mb4", "ssl_disabled": "true"},
    "mysqldb": {"charset": "utf8mb4"},
}
#: To a URL that begins with "mysql" Flask-SQLAlchemy adds a parameter that MariaDB Connector does not take.
_MARIADB = {"mariadbconnector": "mariadb"}
#: Two of them are made for a system library, and so no part of what pip alone installs; CI has all.
ALL = os.environ.get("INVITATIONS_TEST_DRIVERS") == "all"

PAIRS = [
    pytest.param(server, driver, id=driver)
    for server, drivers in MODULES.items()
    for driver, module in drivers.items()
    if ALL or find_spec(module)
]
#: For a test with the fixture ``driver_url``.
EACH_DRIVER = pytest.mark.parametrize(("_database", "driver"), PAIRS, indirect=["_database"])


def by_driver(url: str, driver: str) -> str:
    """The URL of the same database, by another driver."""
    parsed = make_url(url)
    name = "postgresql" if parsed.get_backend_name() == "postgresql" else _MARIADB.get(driver, "mysql")
    parsed = parsed.set(drivername=f"{name}+{driver}", query=_QUERY.get(driver, {}))
    return parsed.render_as_string(hide_password=False)


def raising(dialect: sa.Dialect, code: str | int) -> str:
    """A statement that has the server raise this error."""
    if dialect.name == "postgresql":
        return f"DO $$ BEGIN RAISE EXCEPTION 'a bad day' USING ERRCODE = '{code}'; END $$"
    return f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'a bad day'"


class BadDay:
    """From the statement of a number on that has a text in it, the server raises an error instead, some times.

    :param times: how often; a unit that is run again may find that all is well.
    """

    def __init__(self, engine: sa.Engine, code: str | int, text: str, times: int = 1000) -> None:
        self._engine, self._code, self._text, self._times = engine, code, text, times
        self.raised = 0

    def _before(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> Any:
        if self._text not in statement or self.raised >= self._times:
            return statement, parameters
        self.raised += 1
        return raising(self._engine.dialect, self._code), type(parameters)()

    @contextmanager
    def under_way(self) -> Iterator[BadDay]:
        sa.event.listen(self._engine, "before_cursor_execute", self._before, retval=True)
        try:
            yield self
        finally:
            sa.event.remove(self._engine, "before_cursor_execute", self._before)


def caught(act: Callable[[], Any]) -> DBAPIError:
    """The error that ``act`` ends in."""
    with pytest.raises(DBAPIError) as info:
        act()
    return info.value


class Provoked:
    """Real errors of a server, by two connections that get in each other's way over a table of two rows."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.is_postgresql = engine.dialect.name == "postgresql"
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS two_rows")
            connection.exec_driver_sql("CREATE TABLE two_rows (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
            connection.exec_driver_sql("INSERT INTO two_rows VALUES (1, 0), (2, 0)")

    def run(self, *statements: str) -> None:
        """In one transaction, which is rolled back."""
        with self._engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    @contextmanager
    def _pair(self, *settings: str) -> Iterator[tuple[sa.Connection, sa.Connection]]:
        with self._engine.connect() as one, self._engine.connect() as other:
            for setting in settings:
                other.exec_driver_sql(setting)
            yield one, other

    def unique(self) -> None:
        self.run("INSERT INTO two_rows VALUES (1, 1)")

    def not_null(self) -> None:
        self.run("INSERT INTO two_rows VALUES (3, NULL)")

    def read_only(self) -> None:
        begin = "SET TRANSACTION READ ONLY" if self.is_postgresql else "START TRANSACTION READ ONLY"
        self.run(begin, "INSERT INTO two_rows VALUES (3, 3)")

    def statement_timeout(self) -> None:
        if self.is_postgresql:
            self.run("SET LOCAL statement_timeout = 20", "SELECT pg_sleep(5)")
        else:
            self.run("SET STATEMENT max_statement_time = 0.02 FOR SELECT SLEEP(5)")

    def lock_timeout(self) -> None:
        setting = "SET LOCAL lock_timeout = 20" if self.is_postgresql else "SET SESSION innodb_lock_wait_timeout = 0"
        with self._pair(setting) as (one, other):
            one.exec_driver_sql("UPDATE two_rows SET n = 1 WHERE id = 1")
            other.exec_driver_sql("UPDATE two_rows SET n = 2 WHERE id = 1")

    def snapshot(self) -> None:
        """A row has changed since this transaction began."""
        setting = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
        with self._pair(setting if self.is_postgresql else "SET SESSION innodb_snapshot_isolation = ON") as pair:
            one, other = pair
            if not self.is_postgresql:
                other.commit()
            other.exec_driver_sql("SELECT * FROM two_rows").all()
            one.exec_driver_sql("UPDATE two_rows SET n = n + 1 WHERE id = 1")
            one.commit()
            other.exec_driver_sql("UPDATE two_rows SET n = n + 1 WHERE id = 1")

    def deadlock(self) -> None:
        with self._pair() as (one, other):
            one.exec_driver_sql("UPDATE two_rows SET n = 1 WHERE id = 1")
            other.exec_driver_sql("UPDATE two_rows SET n = 1 WHERE id = 2")
            errors: list[DBAPIError] = []

            def cross(connection: sa.Connection, row: int) -> None:
                try:
                    connection.exec_driver_sql(f"UPDATE two_rows SET n = 1 WHERE id = {row}")
                except DBAPIError as error:
                    errors.append(error)
                    connection.rollback()

            thread = threading.Thread(target=cross, args=(one, 2))
            thread.start()
            time.sleep(0.05)
            cross(other, 1)
            thread.join()
            raise errors[0]

    def killed(self) -> None:
        """Somebody ends the connection, as a server does that shuts down."""
        whoami = "SELECT pg_backend_pid()" if self.is_postgresql else "SELECT connection_id()"
        with self._pair() as (one, other):
            number = one.exec_driver_sql(whoami).scalar()
            with suppress(DBAPIError):
                other.exec_driver_sql(
                    f"SELECT pg_terminate_backend({number})" if self.is_postgresql else f"KILL {number}"
                )
            time.sleep(0.05)
            one.exec_driver_sql("SELECT 1")
