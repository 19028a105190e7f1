"""A server on the manual clock with an HTTP port, and callers of it."""

from collections.abc import Iterator

import httpx
import pytest

from support.kana import Kana
from support.load import running
from support.message_clients import Client
from support.processes import Canuse
from support.resources import Clock


@pytest.fixture(scope="module")
def canuse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server that requires no keys."""
    folder = tmp_path_factory.mktemp("kana")
    with running(Canuse(folder, "--clock", "manual", env={"CANUSE_HTTP_LISTEN": "127.0.0.1:0"})) as canuse:
        yield canuse


@pytest.fixture(scope="module")
def http(canuse: Canuse) -> Iterator[httpx.Client]:
    """An HTTP client."""
    with httpx.Client(base_url=canuse.http_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def kana(http: httpx.Client) -> Kana:
    """A caller of the Admin API."""
    return Kana(http)


@pytest.fixture(scope="module")
def client(canuse: Canuse) -> Iterator[Client]:
    """A client over gRPC."""
    with Client(canuse.address) as client:
        yield client


@pytest.fixture
def clock(canuse: Canuse) -> Iterator[Clock]:
    """The clock of the server."""
    clock = Clock(canuse.address)
    yield clock
    clock.close()
