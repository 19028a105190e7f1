"""Servers of a test's own, which it may break."""

from pathlib import Path

import pytest

from support.processes import Canuse


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each transport."""
    return str(request.param)


@pytest.fixture
def embedded(transport: str, tmp_path: Path) -> Canuse:
    """A server on an embedded Valkey, to start and to break; it is not started."""
    return Canuse(tmp_path, "--transport", transport)
