"""Servers that belong to one test, which may break them."""

from pathlib import Path

import pytest

from support.processes import Canuse


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each transport."""
    return str(request.param)


@pytest.fixture
def embedded(transport: str, tmp_path: Path) -> Canuse:
    """A server on an embedded Valkey, not started yet."""
    return Canuse(tmp_path, "--transport", transport)
