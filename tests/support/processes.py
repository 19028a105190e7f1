"""Servers as processes: canuse, and the system's Redis."""

import inspect
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from canuse_server.api import failures
from support import fork_server

START_SECONDS = 60
STOP_SECONDS = 30
STORE_TIMEOUT_SECONDS = 20
"""How long servers wait for their store, unless a test is about that: a slow machine is not an unavailable store."""
SHORT_STORE_TIMEOUT = {"CANUSE_STORE_TIMEOUT_SECONDS": "1"}
"""The default of that setting, for servers whose store is taken away."""

UNEXPECTED_FAILURE = "a call failed with an internal error"
"""The log message about an error that the server does not know."""
assert UNEXPECTED_FAILURE in inspect.getsource(failures), "the server logs it in other words now"


def free_port() -> int:
    """Return a port on the loopback that is free and not in the range that systems assign.

    A restarted server needs its port back: a port from that range may by then belong to another server or to the end of
    a connection, even that of a caller who tries to reach the server.
    """
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Canuse:
    """A canuse server. `address` is where it serves; `log` is what it has written to stderr. `http_url` is its HTTP
    port and `ops_url` that for health and metrics, if `CANUSE_HTTP_LISTEN` and `CANUSE_OPS_LISTEN` in `env` ask for it.

    `startup_lines` are the lines it printed before it was ready.
    """

    def __init__(self, folder: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.options = options
        self.env = {
            "CANUSE_LISTEN": "127.0.0.1:0",
            "CANUSE_DATA_DIR": str(folder / "data"),
            "CANUSE_STORE_TIMEOUT_SECONDS": str(STORE_TIMEOUT_SECONDS),
            # Tests compare what is stored; those of trimming turn it on.
            "CANUSE_TRIM_INTERVAL_SECONDS": "0",
            **(env or {}),
        }
        self.address = self.http_url = self.ops_url = self.ready_line = ""
        self.startup_lines: list[str] = []
        self.inspection_url = ""
        """Where a test looks into its store, where that is not where canuse does."""
        self.process: fork_server.Forked | None = None

    def start(self) -> "Canuse":
        """Start it and wait until it is ready. It keeps its port if it is started again."""
        if self.address:
            self.env["CANUSE_LISTEN"] = self.address
        if self.http_url:
            self.env["CANUSE_HTTP_LISTEN"] = self.http_url.partition("://")[2]
        return self.launch().wait_until_ready()

    def launch(self) -> "Canuse":
        """Start it without waiting until it is ready."""
        env = {**os.environ, "PYTHONFAULTHANDLER": "1", **self.env}
        with self.log_path.open("ab") as log:
            self.process = fork_server.start("serve", *self.options, env=env, stderr=log.fileno())
        return self

    def wait_until_ready(self) -> "Canuse":
        """Wait until it says that it is ready, and note its address."""
        assert self.process is not None
        assert self.process.stdout is not None
        self.startup_lines = []
        while (line := self.process.stdout.readline()) and not line.startswith("canuse ready"):
            self.startup_lines.append(line)
        found = re.match(r"canuse ready on (\S+) ", line)
        assert found, f"it did not start: {line}\n{self.log}"
        self.address, self.ready_line = found[1], line
        http = re.search(r", HTTP on ([^\s,]+)", line)
        self.http_url = http[1] if http else ""
        ops = re.search(r", metrics on (\S+)/metrics", line)
        self.ops_url = ops[1] if ops else ""
        return self

    @property
    def log_path(self) -> Path:
        """The file that stderr goes to."""
        return self.folder / "canuse.log"

    @property
    def log(self) -> str:
        """What it has written to stderr."""
        # What others have sent may be in it, byte by byte: gRPC repeats some of it.
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def failed_unexpectedly(self) -> bool:
        """Return whether a call ended with an error that the server does not know, according to its log."""
        return UNEXPECTED_FAILURE in self.log

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def valkey_pid(self) -> int:
        """The process id of the embedded Valkey started last."""
        return int(re.findall(r'"pid": (\d+)[^\n]*Valkey is ready', self.log)[-1])

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Stop it gracefully and return its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Python tells in the log where each thread is.
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(STOP_SECONDS)
            raise AssertionError(f"it did not end:\n{self.log[-8000:]}") from None
        finally:
            self.process.stdout.close()
        return status


class RedisServer:
    """A Redis or Valkey server on a port of its own."""

    host = "127.0.0.1"
    """Where it is reached."""

    def __init__(self, program: str, folder: Path, settings: Sequence[str] = ()) -> None:
        self.program = program
        self.folder = folder
        self.settings = settings
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://{self.host}:{self.port}"

    def start(self) -> "RedisServer":
        """Start it, on the same data if it ran before, and wait until it answers."""
        command = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self.launch([*command, *durable, *self.settings])
        return self

    def launch(self, command: Sequence[str]) -> None:
        """Run a command, and wait until it answers on the port."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "redis.log").read_text()
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        """Whether this process answers, not another one on its port."""
        assert self.process is not None
        try:
            with socket.create_connection((self.host, self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                if not connection.recv(64).startswith(b"+PONG"):
                    return False
                connection.sendall(b"INFO server\r\n")
                return f"process_id:{self.process.pid}\r\n".encode() in connection.recv(1 << 16)
        except OSError:
            return False

    def command(self, *words: str) -> bytes:
        """Send one command and return the first part of the raw reply."""
        with socket.create_connection((self.host, self.port), 5) as connection:
            parts = [word.encode() for word in words]
            packed = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
            connection.sendall(b"*%d\r\n%s" % (len(parts), packed))
            return connection.recv(1 << 16)

    def calls(self, command: str) -> int:
        """Return how often it has run a command, given in lower case."""
        found = re.search(rf"cmdstat_{command}:calls=(\d+)", self.command("INFO", "commandstats").decode())
        return int(found[1]) if found else 0

    def has_ended(self) -> bool:
        """Whether it has ended, by itself or not."""
        return self.process is not None and self.process.poll() is not None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the process: the kernel accepts connections and data for it, but nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """Stop it gracefully."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(STOP_SECONDS)
