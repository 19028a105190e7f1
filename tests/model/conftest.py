"""Servers on the manual clock that only the model's tests use: they move it on by thousands of years."""

from collections.abc import Iterator

import pytest

from support.processes import Canuse

# Nothing leaves the ledger within an example.
SETTINGS = {"CANUSE_LEDGER_MAX_AGE_SECONDS": str(3650 * 86_400)}


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server on the transport that the test names; return where it serves."""
    options = ("--transport", request.param, "--clock", "manual")
    server = Canuse(tmp_path_factory.mktemp("model"), *options, env=SETTINGS).start()
    yield server.address
    server.stop()
