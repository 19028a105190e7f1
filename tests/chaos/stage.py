"""A server on a store of its own that can be broken behind its back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.load import running
from support.processes import Canuse, RedisServer
from support.tools import VALKEY_SERVER


@contextmanager
def stage(folder: Path, transport: str, *settings: str) -> Iterator[tuple[Canuse, RedisServer]]:
    """Run a server on a Valkey with some settings. Nothing may have happened that has no known reason."""
    store = RedisServer(VALKEY_SERVER, folder / "store", settings).start()
    try:
        with running(Canuse(folder, "--transport", transport, "--redis-url", store.url)) as canuse:
            yield canuse, store
    finally:
        store.stop()
    assert "no known reason" not in canuse.log
