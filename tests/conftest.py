"""Fixtures for every test: an empty database on each server, and the default host on it.

SQLite is always there. PostgreSQL: ``INVITATIONS_TEST_POSTGRESQL``, else a server on 127.0.0.1:5432 that trusts
``postgres``, else one that we start. MariaDB: ``INVITATIONS_TEST_MARIADB``, else ``root@127.0.0.1:3306``, else those
tests are skipped; where ``CI=true`` they fail instead.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.hosts import KEYS, TENANCIES, Host, build
from tests.races.harness import SOAK
from tests.servers import File, Scratch, find_mariadb, find_postgresql, in_ci, scratch

#: How long an example takes is no law of ours, and on a busy machine no fact either.
hypothesis.settings.register_profile("invitations", deadline=None)
hypothesis.settings.load_profile("invitations")

DATABASES = ("sqlite", "postgresql", "mariadb")
#: Every kind of host once, each key and each tenancy on each database: for tests of what another one proves on all.
PAIRS = [
    (DATABASES[(row + column) % len(DATABASES)], key, tenancy)
    for row, key in enumerate(KEYS)
    for column, tenancy in enumerate(TENANCIES)
]
TESTS = Path(__file__).parent
#: Folders whose tests on SQLite are marked ``quick``: what one runs after each change.
QUICK = {"acts", "contract", "docs", "unit"}
SERVERS = pytest.StashKey[dict[str, str | None]]()
STOP = pytest.StashKey[Callable[[], None]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Find the servers once, in the process that starts the others."""
    config = session.config
    if hasattr(config, "workerinput"):
        config.stash[SERVERS] = config.workerinput["servers"]
    elif not config.option.collectonly:
        postgresql, config.stash[STOP] = find_postgresql()
        config.stash[SERVERS] = {"postgresql": postgresql, "mariadb": find_mariadb()}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``-m quick`` looks into no other folder: to import them all takes as long as the tests."""
    folder = collection_path.relative_to(TESTS).parts[:1] if collection_path.is_relative_to(TESTS) else ()
    return True if config.option.markexpr == "quick" and folder and folder[0] not in QUICK else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the rows of ``in_turn`` that are run on another database, and mark what is quick."""
    if not SOAK:
        servers = config.stash.get(SERVERS, {})
        quick = config.option.markexpr == "quick"
        _take_turns(items, {name for name in DATABASES[1:] if quick or servers.get(name, name) is None})
    for item in items:
        if _is_quick(item):
            item.add_marker("quick")


def _take_turns(items: list[pytest.Item], away: set[str]) -> None:
    """Of what is marked ``in_turn``, keep each row of each test on one of the databases, and none that is away."""
    rows: defaultdict[Any, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("in_turn"):
            rows[_row(item)].append(item)
    dropped = set[pytest.Item]()
    for number, row in enumerate(rows.values()):
        choice = [item for item in row if _database_of(item) not in away] or row
        dropped.update(set(row) - {choice[number % len(choice)]})
    items[:] = [item for item in items if item not in dropped]


def _row(item: pytest.Item) -> Any:
    """Which test it is, and by which objects it is parametrized, the database apart."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    return item.nodeid.partition("[")[0], *((name, id(params[name])) for name in sorted(params) if name != "_database")


def _database_of(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("_database")


def _is_quick(item: pytest.Item) -> bool:
    """Most laws are proved without a server; the same on PostgreSQL and MariaDB, races and browsers take the time."""
    return item.path.relative_to(TESTS).parts[0] in QUICK and _database_of(item) in (None, "sqlite")


def pytest_collection_finish() -> None:
    """As few searches for garbage as there is memory for."""
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> None:
    """What is there when a file begins stays: looking through it for garbage again and again takes a tenth of the run,
    and a test that looks at what is collected would wait for all that earlier files imported and cached."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a worker of pytest-xdist where the servers are."""
    node.workerinput["servers"] = node.config.stash[SERVERS]  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server that we started."""
    config.stash.get(STOP, lambda: None)()


def _server(config: pytest.Config, name: str) -> str:
    url = config.stash[SERVERS][name]
    if url is None:
        reason = f"no {name} server: start one on 127.0.0.1:3306 (root, no password) or set INVITATIONS_TEST_MARIADB"
        if in_ci():
            pytest.fail(reason)
        pytest.skip(reason)
    return url


@pytest.fixture(scope="session")
def _postgresql(request: pytest.FixtureRequest) -> Iterator[Scratch]:
    with scratch(_server(request.config, "postgresql")) as database:
        yield database


@pytest.fixture(scope="session")
def _mariadb(request: pytest.FixtureRequest) -> Iterator[Scratch]:
    with scratch(_server(request.config, "mariadb")) as database:
        yield database


@pytest.fixture(params=DATABASES)
def _database(request: pytest.FixtureRequest, tmp_path: Path) -> Scratch | File:
    return File(tmp_path) if request.param == "sqlite" else request.getfixturevalue(f"_{request.param}")


@pytest.fixture
def database_url(_database: Scratch | File) -> str:
    """The SQLAlchemy URL of a database to build a host on, on each server in turn: there is not a row in it.

    It may have the tables of an earlier host; ``build`` sees to that.
    """
    return _database.clear()


@pytest.fixture
def empty_url(_database: Scratch | File) -> str:
    """The same of a database without tables."""
    return _database.empty()


@pytest.fixture
def host(database_url: str) -> Iterator[Host]:
    """The default host: int keys, the tenant on the user."""
    with build(database_url) as built:
        yield built


@pytest.fixture
def queued(database_url: str) -> Iterator[Host]:
    """A host whose emails a worker sends."""
    with build(database_url, config={"INVITATIONS_DELIVERY": "queue"}) as built:
        yield built
