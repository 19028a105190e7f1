"""The default store: a Valkey server that runs as a child process on a data directory.

A Valkey that dies is restarted on its data, a canuse that dies ends its Valkey, and two Valkeys never write to one
directory.
"""

import asyncio
import time
from asyncio.subprocess import Process
from pathlib import Path

import structlog

from canuse_server.store.embedded.data_dir import DataDir, DataDirInUse, choose_socket, discard_socket
from canuse_server.store.embedded.process import EmbeddedStartError, Fsync, Launch, describe_exit, end

__all__ = ["DataDirInUse", "EmbeddedStartError", "EmbeddedValkey"]

STABLE_AFTER_SECONDS = 30.0  # a Valkey that ran this long is restarted at once
FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS = 0.1, 30.0  # any other one after a delay that doubles

log = structlog.get_logger(__name__)


class EmbeddedValkey:
    """A Valkey on `data_dir`, supervised from `start` to `stop`.

    `fsync` sets what a power cut can lose: the writes of about the last second ("everysec") or none ("always", slower).
    A Valkey without an answer for `max_start_seconds` has failed to start; "loading" is an answer.
    """

    def __init__(self, data_dir: Path, *, fsync: Fsync = "everysec", max_start_seconds: float = 60.0) -> None:
        self._data_dir = DataDir(data_dir)
        self._fsync = fsync
        self._max_start_seconds = max_start_seconds
        self._socket_path: Path | None = None
        self._process: Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def socket_path(self) -> Path:
        """The Unix socket of Valkey, the same after a restart; raises RuntimeError unless started."""
        if self._socket_path is None:
            raise RuntimeError("the embedded Valkey is not started")
        return self._socket_path

    @property
    def pid(self) -> int:
        """The process id of the latest Valkey; raises RuntimeError unless started."""
        if self._process is None:
            raise RuntimeError("the embedded Valkey is not started")
        return self._process.pid

    async def start(self) -> None:
        """Lock the directory, start Valkey, and return when it has loaded its data.

        The thread of the event loop must last as long as Valkey: on Linux, Valkey ends with it.
        Raises DataDirInUse or EmbeddedStartError, and then holds no lock.
        """
        try:
            await self._data_dir.take()
            try:
                self._socket_path = choose_socket(self._data_dir.path)
                launch = Launch(self._data_dir, self._socket_path, self._fsync, self._max_start_seconds)
                self._process = process = await launch.run()
            except BaseException:
                self._release()
                raise
        except OSError as error:
            reason = error.strerror or str(error)
            message = f"no embedded Valkey can run on the data directory {self._data_dir.path}: {reason}"
            raise EmbeddedStartError(message) from error
        log.info("Valkey is ready", pid=process.pid, data_dir=str(self._data_dir.path))
        self._watch = asyncio.create_task(self._supervise(launch, process), name="embedded Valkey supervisor")

    async def stop(self) -> None:
        """End Valkey after it has written its data, and release the directory. Does nothing unless started."""
        if self._watch is None:
            return
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)
        if self._process is not None:
            await end(self._process)
        self._watch = None
        self._release()

    async def _supervise(self, launch: Launch, process: Process) -> None:
        """Restart Valkey each time it dies, until cancelled."""
        delay, started = 0.0, time.monotonic()
        reason = f"it {describe_exit(await process.wait())}"
        while True:
            if time.monotonic() - started >= STABLE_AFTER_SECONDS:
                delay = 0.0
            log.error("Valkey is down and is being restarted", reason=reason, delay_seconds=delay)
            await asyncio.sleep(delay)
            delay = min(max(2 * delay, FIRST_DELAY_SECONDS), MAX_DELAY_SECONDS)
            started = time.monotonic()
            try:
                self._process = process = await launch.run()
                log.info("Valkey is up again", pid=process.pid)
                reason = f"it {describe_exit(await process.wait())}"
            except (EmbeddedStartError, OSError) as error:
                reason = str(error)

    def _release(self) -> None:
        """Remove the socket of the ended Valkey, and release the directory."""
        if self._socket_path is not None:
            discard_socket(self._socket_path, self._data_dir.path)
        self._process = self._socket_path = None
        self._data_dir.release()
