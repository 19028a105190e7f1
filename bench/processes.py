"""Processes pinned to cores: their start and stop, CPU time and memory."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

START_SECONDS: Final = 60
STOP_SECONDS: Final = 30
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the server, and the core of the loader and the stores. None: not pinned."""

    server: int | None
    load: int | None

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """Return the first two cores that this process may use."""
        cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
        return cls(cores[0], cores[1]) if len(cores) > 1 else cls(None, None)

    def busy_seconds(self) -> float | None:
        """Return the busy time of these cores since boot, or None if the system does not report it."""
        if self.server is None or self.load is None:
            return None
        lines = (_PROC / "stat").read_text().splitlines()
        times = {words[0]: words[1:] for words in map(str.split, lines)}
        # user, nice, system, interrupts and time of other virtual machines, but not idle and I/O wait.
        busy = [times[f"cpu{core}"][index] for core in (self.server, self.load) for index in (0, 1, 2, 5, 6, 7)]
        return sum(map(int, busy)) / os.sysconf("SC_CLK_TCK")


def pin(core: int | None) -> None:
    """Pin this process, and the processes that it starts from now on, to a core."""
    if core is not None and sys.platform == "linux":
        os.sched_setaffinity(0, {core})


@contextmanager
def running(
    command: Sequence[str], core: int | None, env: Mapping[str, str], own_core: int | None
) -> Iterator["Process"]:
    """Run a program on a core, and stop it afterwards. This process stays on `own_core`.

    Raises:
        StartError: the program does not exist.
    """
    with tempfile.TemporaryDirectory(prefix="canuse-bench-") as folder:
        log_path = Path(folder) / "log"
        pin(core)  # A child inherits its parent's core, so none of its threads runs elsewhere.
        try:
            with log_path.open("wb") as log:
                popen = subprocess.Popen(
                    command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **env}
                )
        except OSError as error:
            raise StartError(f"{command[0]}: {error.strerror}") from error
        finally:
            pin(own_core)
        try:
            yield Process(popen, log_path)
        finally:
            popen.terminate()
            try:
                popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()


class StartError(RuntimeError):
    """A program did not start. The message ends with its output."""


@dataclass(frozen=True, slots=True)
class Process:
    """A running program."""

    popen: "subprocess.Popen[bytes]"
    log_path: Path

    def wait_for_port(self, port: int) -> None:
        """Wait until the port is open; raise StartError if the program ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                if self.popen.poll() is not None or time.monotonic() > deadline:
                    output = self.log_path.read_text(errors="replace")[-2000:]
                    raise StartError(f"it did not start:\n{output}") from None
                time.sleep(0.02)
            else:
                return

    def cpu_seconds(self) -> float | None:
        """Return the CPU time of the program and its children so far, or None if the system does not report it."""
        times = [_fields(pid)[11:13] for pid in self._tree()]
        ticks = sum(int(number) for pair in times for number in pair)
        return ticks / os.sysconf("SC_CLK_TCK") if times else None

    def resident_bytes(self) -> int | None:
        """Return the resident memory of the program and its children, or None if the system does not report it."""
        lines = [re.search(r"VmRSS:\s+(\d+) kB", (_PROC / str(pid) / "status").read_text()) for pid in self._tree()]
        return sum(int(line[1]) * 1024 for line in lines if line) if lines else None

    def _tree(self) -> list[int]:
        """Return the program's process id and those of all its descendants."""
        if not (_PROC / str(self.popen.pid)).exists():
            return []
        parents: dict[int, list[int]] = {}
        for path in _PROC.iterdir():
            if path.name.isdecimal():
                try:
                    parents.setdefault(int(_fields(int(path.name))[1]), []).append(int(path.name))
                except OSError:
                    continue  # The process has ended.
        tree = [self.popen.pid]
        for pid in tree:
            tree += parents.get(pid, [])
        return tree


def _fields(pid: int) -> list[str]:
    """Return the fields of a process's `stat` after its name, which may contain spaces and parentheses."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()


def free_port() -> int:
    """Return a free port on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
