"""Fixtures for tests of operations."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import RedisServer
from support.tools import VALKEY_SERVER


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[RedisServer]:
    """A Valkey of its own."""
    server = RedisServer(VALKEY_SERVER, tmp_path / "valkey")
    server.start()
    yield server
    server.stop()
