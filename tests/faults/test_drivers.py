"""What drivers say when a server gives up: with every driver that is supported, by errors of real servers."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flask_invitations import TryAgain, outbox
from flask_invitations.errors import ConfigurationError
from flask_invitations.store.drivers import Outcome, is_integrity, outcome
from flask_invitations.store.servers import DRIVERS, check_driver, check_server
from tests.faults.databases import EACH_DRIVER, BadDay, Provoked, by_driver, caught, raising
from tests.hosts import PASSWORD, build
from tests.races.harness import ACCEPT, Racers, accept, crowded, invited, rounds, unexpected

LIST = "/api/v1/users/invitations"
TRY_AGAIN = (503, "try-again")

#: By server, what each code of a bad day means.
AGAIN: dict[str, tuple[str | int, ...]] = {
    "postgresql": ("40001", "40P01", "55P03", "57P01", "57P02", "57P05", "25P03", "08006", "08003"),
    "mariadb": (1020, 1205, 1213, 1053, 1158, 1159, 1160, 1161, 1927, 4031),
}
UNAVAILABLE: dict[str, tuple[str | int, ...]] = {
    "postgresql": ("25006", "57014", "57P03", "57P04", "53000", "53100", "53200", "53300", "58030", "08001", "08007"),
    "mariadb": (1036, 1290, 1792, 1836, 1969, 3024, 1047, 1317, 1040, 1180, 1021, 1114, 1203),
}
#: After these the connection leads nowhere.
LOST: dict[str, tuple[str | int, ...]] = {
    "postgresql": ("25006", "57P01", "08006"),
    "mariadb": (1290, 1836, 1047, 1053),
}


@pytest.fixture
def driver_url(database_url: str, driver: str) -> str:
    """The database of the test, by the driver of the test."""
    return by_driver(database_url, driver)


@pytest.fixture
def engine(empty_url: str, driver: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(by_driver(empty_url, driver))
    yield made
    made.dispose()


def server_of(engine: sa.Engine) -> str:
    return "postgresql" if engine.dialect.name == "postgresql" else "mariadb"


# What errors mean


@EACH_DRIVER
def test_real_errors_have_their_outcome(engine: sa.Engine) -> None:
    """D1, D2: whatever the driver, what a server raises is known for what it is."""
    provoked = Provoked(engine)
    expected: dict[Callable[[], None], Outcome] = {
        provoked.unique: Outcome.UNIQUE,
        provoked.not_null: Outcome.OTHER,
        provoked.read_only: Outcome.UNAVAILABLE,
        provoked.statement_timeout: Outcome.UNAVAILABLE,
        provoked.lock_timeout: Outcome.AGAIN,
        provoked.snapshot: Outcome.AGAIN,
        provoked.deadlock: Outcome.AGAIN,
        provoked.killed: Outcome.AGAIN,
    }
    found = {provoke.__name__: outcome(caught(provoke)) for provoke in expected}
    assert found == {provoke.__name__: known for provoke, known in expected.items()}
    assert all(is_integrity(caught(provoke)) for provoke in (provoked.unique, provoked.not_null))


@EACH_DRIVER
def test_every_code_has_its_outcome(engine: sa.Engine) -> None:
    """D1, D2: whatever the driver, every code that a server raises on a bad day reaches us, and has its outcome."""
    for known, listed in ((Outcome.AGAIN, AGAIN), (Outcome.UNAVAILABLE, UNAVAILABLE)):
        for code in listed[server_of(engine)]:
            with engine.connect() as connection:
                error = caught(partial(connection.exec_driver_sql, raising(engine.dialect, code)))
            assert outcome(error) is known, (code, error)


@EACH_DRIVER
def test_no_connection(engine: sa.Engine) -> None:
    """D2: where nothing listens, or the database is not there, it is not a fault of the host's code."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for url in (engine.url.set(port=port), engine.url.set(database="invitations_nowhere")):
        assert outcome(caught(sa.create_engine(url).connect)) is Outcome.UNAVAILABLE


def test_errors_of_sqlite(tmp_path: Path) -> None:
    """D1, D2: the same for SQLite, also where its errors have no names, as before Python 3.11."""
    file = tmp_path / "errors.sqlite3"
    writer = sa.create_engine(f"sqlite:///{file}", connect_args={"timeout": 0})
    reader = sa.create_engine(f"sqlite:///file:{file}?mode=ro&uri=true", connect_args={"timeout": 0})
    with writer.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE one (id INTEGER PRIMARY KEY, n INTEGER UNIQUE NOT NULL)")
        connection.exec_driver_sql("INSERT INTO one VALUES (1, 1)")

    def run(engine: sa.Engine, statement: str) -> DBAPIError:
        with engine.connect() as connection:
            return caught(partial(connection.exec_driver_sql, statement))

    with writer.connect() as other:
        other.exec_driver_sql("UPDATE one SET n = 2")
        locked = run(writer, "UPDATE one SET n = 3")
    errors = {
        Outcome.AGAIN: [locked],
        Outcome.UNIQUE: [run(writer, "INSERT INTO one VALUES (2, 1)"), run(writer, "INSERT INTO one VALUES (1, 2)")],
        Outcome.UNAVAILABLE: [
            run(reader, "UPDATE one SET n = 3"),
            caught(sa.create_engine(f"sqlite:///{tmp_path}/no/file").connect),
        ],
        Outcome.OTHER: [run(writer, "INSERT INTO one VALUES (2, NULL)"), run(writer, "SELECT * FROM nothing")],
    }
    for known, each in errors.items():
        for error in each:
            assert outcome(error) is known
            error.orig = type(error.orig)(*error.orig.args)  # type: ignore[union-attr,misc] # without its name
            assert outcome(error) is known
    writer.dispose()
    reader.dispose()


# What is answered


@pytest.mark.soak
@EACH_DRIVER
@pytest.mark.parametrize("isolated", [False, True])
def test_accept_while_somebody_revokes(driver_url: str, isolated: bool) -> None:
    """D1: whoever is later hears why, or is told to try again; the server's choice of isolation makes nobody a 500."""
    is_mariadb = not driver_url.startswith("postgresql")
    options: dict[str, Any] = {} if is_mariadb or not isolated else {"isolation_level": "REPEATABLE READ"}
    with crowded(driver_url, 4, config={"SQLALCHEMY_ENGINE_OPTIONS": options}) as host, Racers(2) as racers:
        if is_mariadb:
            setting = "SET SESSION innodb_snapshot_isolation = " + ("ON" if isolated else "OFF")
            sa.event.listen(host.engine, "connect", partial(_run, setting))
        admin = host.client(host.user("admin@example.com", role="admin"))
        answers: Counter[tuple[int, str]] = Counter()
        for number in range(rounds(6, 72)):
            invitation_id, token = invited(host, f"round{number}@example.com")

            def revoke(invitation_id: Any = invitation_id) -> tuple[int, str]:
                return admin.delete(f"{LIST}/{invitation_id}").status_code, "revoke"

            answers.update(racers.race(partial(accept, host, token), revoke))
        known = [(201, ""), (410, "invitation-revoked"), TRY_AGAIN]
        assert unexpected(answers, *known, *((status, "revoke") for status in (204, 409, 503))) == {}


def _run(statement: str, connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(statement)
    cursor.close()


@EACH_DRIVER
def test_a_second_invitation_is_known_as_one(driver_url: str) -> None:
    """D1: two who invite the same address at one moment meet in a unique key; the second hears of the first."""
    with crowded(driver_url, 4) as host, Racers(4) as racers:
        admin = host.client(host.user("admin@example.com", role="admin"))
        for number in range(rounds(3, 40)):
            body = {"email": f"round{number}@example.com"}
            answers = racers.race(partial(admin.post, "/api/v1/users/invite", json=body))
            assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 3}


@EACH_DRIVER
def test_a_bad_day_is_told(driver_url: str) -> None:
    """D2: whatever the server says, an accept is answered 503, with Retry-After; it is run again only where that can
    help in the same second; and nothing was done, so that the next one succeeds."""
    with build(driver_url) as host:
        _, token = invited(host, "ann@example.com")
        for code in UNAVAILABLE[server_of(host.engine)][:3]:
            with BadDay(host.engine, code, "UPDATE user_invitations").under_way() as day:
                answer = host.client().post(ACCEPT, json={"token": token, "password": PASSWORD})
            assert (answer.status_code, answer.get_json()["code"], day.raised) == (*TRY_AGAIN, 1), code
            assert int(answer.headers["Retry-After"]) > 0
        assert accept(host, token) == (201, "")


@EACH_DRIVER
def test_work_is_run_again(driver_url: str) -> None:
    """D1: whatever the driver, work that the server gave up is run again, and succeeds."""
    with build(driver_url) as host:
        for code in AGAIN[server_of(host.engine)][:4]:
            _, token = invited(host, f"{code}@example.com")
            with BadDay(host.engine, code, "UPDATE user_invitations", 1).under_way() as day:
                assert accept(host, token) == (201, ""), code
            assert day.raised == 1


@EACH_DRIVER
def test_a_connection_that_leads_nowhere_is_dropped(driver_url: str) -> None:
    """D2: after a failover or a shutdown the next call has another connection; after a time-out it has the same."""
    kept: dict[str, tuple[str | int, ...]] = {"postgresql": ("57014",), "mariadb": (1969, 3024)}
    with build(driver_url, config={"SQLALCHEMY_ENGINE_OPTIONS": {"pool_size": 1, "max_overflow": 0}}) as host:
        name = server_of(host.engine)
        ask = "SELECT pg_backend_pid()" if name == "postgresql" else "SELECT connection_id()"
        _, token = invited(host, "ann@example.com")

        def number() -> Any:
            with host.engine.connect() as connection:
                return connection.exec_driver_sql(ask).scalar()

        for code in (*LOST[name], *kept[name]):
            before = number()
            with BadDay(host.engine, code, "UPDATE user_invitations").under_way():
                assert accept(host, token) == TRY_AGAIN
            assert (number() != before) == (code in LOST[name]), code
        assert accept(host, token) == (201, "")


@EACH_DRIVER
def test_a_read_only_server(driver_url: str) -> None:
    """D2: on a server that was made read-only, by a failover or by hand, what changes something is answered 503, what
    only reads is answered; and once it can be written again, all is well."""
    is_postgresql = driver_url.startswith("postgresql")
    off, on = ("off", "on") if is_postgresql else ("WRITE", "ONLY")
    setting = "SET default_transaction_read_only = " if is_postgresql else "SET SESSION TRANSACTION READ "
    with build(driver_url) as host:
        admin = host.client(host.user("admin@example.com", role="admin"))
        (_, token), tenant = invited(host, "ann@example.com"), host.tenant()
        state = [on]
        sa.event.listen(host.engine, "connect", lambda raw, record: _run(setting + state[0], raw, record))
        sa.event.listen(host.engine, "connect", lambda raw, _record: raw.commit())
        host.engine.dispose()
        assert accept(host, token) == TRY_AGAIN
        answer = admin.post("/api/v1/users/invite", json={"email": "bob@example.com"})
        assert (answer.status_code, answer.get_json()["code"]) == TRY_AGAIN
        assert admin.get(LIST).status_code == 200
        with host.app.app_context(), pytest.raises(TryAgain), host.invitations.unit():
            host.invitations.invite("bob@example.com", tenant_id=tenant)
        assert admin.get(LIST).status_code == 200
        state[0] = off
        assert accept(host, token) == TRY_AGAIN, "one was in the pool; it is dropped"
        assert accept(host, token) == (201, "")


@EACH_DRIVER
def test_a_bad_day_at_the_commit(driver_url: str) -> None:
    """D2: where the server gives up at the commit, an accept is answered 503, and so is a block of the host's."""
    with build(driver_url) as host:
        _, token = invited(host, "ann@example.com")
        name = server_of(host.engine)
        commit, tenant = host.engine.dialect.do_commit, host.tenant()
        code: str | int = "53100" if name == "postgresql" else 1180

        def fail(connection: Any) -> None:
            _run(raising(host.engine.dialect, code), connection, None)

        host.engine.dialect.do_commit = fail  # type: ignore[method-assign,assignment]
        try:
            assert accept(host, token) == TRY_AGAIN
            with host.app.app_context(), pytest.raises(TryAgain), host.invitations.unit():
                host.invitations.invite("bob@example.com", tenant_id=tenant)
        finally:
            host.engine.dialect.do_commit = commit  # type: ignore[method-assign]
        assert accept(host, token) == (201, "")


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql+psycopg2", "postgresql+pg8000", "mysql+pymysql"])
def test_reading_with_the_database_down(scheme: str) -> None:
    """D2: with no database at all, whoever reads is told to try again too: at the API, on the pages, at the desk, where
    it is the host's own user loader that meets the error first."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with build(f"{scheme}://nobody@127.0.0.1:{port}/nothing", create_all=False) as host:
        admin = host.client(1)
        for answer in (
            admin.get(LIST),
            admin.post("/api/v1/users/invite", json={"email": "ann@example.com"}),
            host.client().post(f"{ACCEPT}/preview", json={"token": "A" * 43}),
            admin.post(f"{ACCEPT}/preview", json={"token": "A" * 43}),
            admin.get("/invitations/"),
            admin.post("/invitations/open", data={"token": "A" * 43}),
        ):
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["Retry-After"]) > 0
        with host.app.app_context():
            for act in (
                lambda: host.invitations.list(tenant_id=1),
                lambda: outbox.count_due(host.app.extensions["invitations"].ctx),
            ):
                with pytest.raises(TryAgain):
                    act()


# What is refused


class _Dialect:
    """What is asked of a dialect; no server that is too old is at hand."""

    def __init__(self, name: str, driver: str, *version: object, is_async: bool = False) -> None:
        self.name, self.driver, self.is_async = name, driver, is_async
        self.server_version_info, self.is_mariadb = version, "MariaDB" in version


@pytest.mark.parametrize("scheme", ["sqlite+aiosqlite", "postgresql+asyncpg", "mysql+aiomysql", "mssql+pyodbc"])
def test_a_driver_that_is_not_supported(scheme: str) -> None:
    """D1: another driver is refused with a sentence that names those to use: before it is asked anything."""
    dialect = sa.engine.make_url(f"{scheme}://").get_dialect()()
    with pytest.raises(ConfigurationError, match=rf"{dialect.name}\+{dialect.driver}.* is not supported.*psycopg2"):
        check_driver(dialect)
    for name, drivers in DRIVERS.items():
        for driver in drivers:
            check_driver(sa.engine.make_url(f"{name}+{driver}://").get_dialect()())


def test_an_async_engine_is_refused_at_the_first_use() -> None:
    """D1: on an engine for asyncio the first act says so."""
    url = "postgresql+psycopg_async://nobody@127.0.0.1/nothing"
    sentence = r"postgresql\+psycopg \(asyncio\) is not supported"
    with (
        build(url, create_all=False) as host,
        host.app.app_context(),
        pytest.raises(ConfigurationError, match=sentence),
    ):
        host.invitations.list(tenant_id=1)


def test_a_server_that_is_too_old() -> None:
    """D1: a server without what our statements need is refused, by its version; a newer one is not."""
    old = (
        (_Dialect("mysql", "pymysql", 10, 5, 29, "MariaDB"), "MariaDB 10.5.29 is too old. Use MariaDB 10.6 or later."),
        (_Dialect("mariadb", "pymysql", 10, 5, 1, "MariaDB"), "MariaDB 10.5.1 is too old. Use MariaDB 10.6 or later."),
        (_Dialect("mysql", "mysqldb", 5, 7, 44), "MySQL 5.7.44 is too old. Use MySQL 8 or later."),
        (_Dialect("postgresql", "psycopg", 12, 22), "PostgreSQL 12.22 is too old. Use PostgreSQL 13 or later."),
        (_Dialect("sqlite", "pysqlite", 3, 8, 7), "SQLite 3.8.7 is too old. Use SQLite 3.15 or later."),
    )
    for dialect, sentence in old:
        with pytest.raises(ConfigurationError) as info:
            check_server(dialect)
        assert str(info.value) == sentence
    for dialect in (
        _Dialect("mysql", "pymysql", 10, 6, 0, "MariaDB"),
        _Dialect("mysql", "pymysql", 8, 0, 11),
        _Dialect("postgresql", "psycopg", 13, 0),
        _Dialect("sqlite", "pysqlite", 3, 40, 1),
    ):
        check_server(dialect)
