"""Fixtures of pytest for tests of code that calls canuse; docs/testing.md describes them.

pytest loads this module wherever the package canuse is installed: it imports nothing before a test asks for a fixture.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from canuse import Client
    from canuse.testing import CanuseServer


@pytest.fixture(scope="session")
def canuse_settings() -> Mapping[str, object]:
    """Settings of the server by name. Override it in a conftest.py: `{"default_package": "free"}`."""
    return {}


@pytest.fixture(scope="session")
def canuse_session_server(canuse_settings: Mapping[str, object]) -> "Iterator[CanuseServer]":
    """The server that all tests share, with what they leave in it. Tests use `canuse_server`."""
    from canuse.testing import CanuseServer  # noqa: PLC0415 - see above

    with CanuseServer(canuse_settings) as server:
        yield server


@pytest.fixture
def canuse_server(canuse_session_server: "CanuseServer", monkeypatch: pytest.MonkeyPatch) -> "CanuseServer":
    """A server without any data, at the present time, to which `CANUSE_SERVER` leads."""
    canuse_session_server.reset()
    for name in ("CANUSE_API_KEY", "CANUSE_CLIENT_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CANUSE_SERVER", canuse_session_server.address)
    return canuse_session_server


@pytest.fixture
def canuse_client(canuse_server: "CanuseServer") -> "Client":
    """A client of `canuse_server`."""
    return canuse_server.client
