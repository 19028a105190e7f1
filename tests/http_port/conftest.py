"""A server with an HTTP port, and a plain HTTP client of it."""

from collections.abc import Iterator

import httpx
import pytest

from support.load import running
from support.message_clients import Client
from support.processes import Canuse

ANY_PORT = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def canuse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server that the pages of one origin may call."""
    folder = tmp_path_factory.mktemp("http")
    with running(Canuse(folder, env={**ANY_PORT, "CANUSE_HTTP_CORS_ORIGINS": ORIGIN})) as canuse:
        yield canuse


@pytest.fixture(scope="module")
def http(canuse: Canuse) -> Iterator[httpx.Client]:
    """An HTTP client."""
    with httpx.Client(base_url=canuse.http_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def client(canuse: Canuse) -> Iterator[Client]:
    """A client over gRPC."""
    with Client(canuse.address) as client:
        yield client
