"""Servers of a test's own, which it may break."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.processes import Canuse, RedisServer
from support.tools import REDIS_SERVER

TRANSPORTS = ("native", "grpcio")


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Each transport."""
    return str(request.param)


@contextmanager
def own_redis(folder: Path, *settings: str) -> Iterator[RedisServer]:
    """Run a Redis that nobody else uses."""
    assert REDIS_SERVER is not None
    server = RedisServer(REDIS_SERVER, folder, settings).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def fragile_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis to break."""
    with own_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def embedded(transport: str, tmp_path: Path) -> Canuse:
    """A server on an embedded Valkey, to start and to break; it is not started."""
    return Canuse(tmp_path, "--transport", transport)
