"""Starts the command `canuse` as processes forked from one that has imported it already.

Each is a separate process with its own arguments, environment, output and exit status, as if Python had been started
for it. Tests start the command about five hundred times, and most of that time would be spent on imports.
"""

import atexit
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final, TextIO

PROGRAM: Final = Path(__file__).with_name("fork_server_program.py")
LENGTH: Final = struct.Struct("!I")
_START_SECONDS: Final = 60


class Forked:
    """A forked process, with the part of the interface of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid = pid
        self.stdout: TextIO | None = None
        self.returncode: int | None = None
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit status; raises TimeoutExpired."""
        with self._lock:
            if self.returncode is None:
                self._status.settimeout(timeout)
                try:
                    message = self._status.recv(LENGTH.size, socket.MSG_WAITALL)
                except (TimeoutError, BlockingIOError):
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
                assert message, "the fork server has ended"
                self.returncode = os.waitstatus_to_exitcode(LENGTH.unpack(message)[0])
                self._status.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is running."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # The fork server has noticed its end already.
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


class _ForkServer:
    """The process that forks others; it ends with this one."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-P", str(PROGRAM), str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(command, pass_fds=(theirs.fileno(),))
        self._lock = threading.Lock()
        atexit.register(self._close)

    def start(self, arguments: Sequence[str], env: Mapping[str, str], folder: Path, output: int, errors: int) -> Forked:
        """Fork a process that runs the command in a folder, with its output and errors redirected to open files."""
        body = json.dumps({"arguments": list(arguments), "env": dict(env), "folder": str(folder)}).encode()
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            socket.send_fds(self._control, [LENGTH.pack(len(body))], [output, errors, theirs.fileno()])
            self._control.sendall(body)
        ours.settimeout(_START_SECONDS)
        message = ours.recv(LENGTH.size, socket.MSG_WAITALL)
        assert message, "the fork server has ended"
        return Forked(LENGTH.unpack(message)[0], ours)

    def _close(self) -> None:
        self._control.close()
        self._process.wait()


@cache
def _fork_server() -> _ForkServer:
    """Return the fork server of this process, started on first use."""
    return _ForkServer()


def start(*arguments: str, env: Mapping[str, str], stderr: int) -> Forked:
    """Start `canuse` with arguments. Its standard output is a pipe; standard error is redirected to an open file."""
    reader, writer = os.pipe()
    stdout = open(reader, encoding="utf-8")  # noqa: SIM115 - whoever ends the process closes it
    try:
        started = _fork_server().start(arguments, env, Path.cwd(), writer, stderr)
    except BaseException:
        stdout.close()
        raise
    finally:
        os.close(writer)
    started.stdout = stdout
    return started


def run(
    *arguments: str, env: Mapping[str, str] = os.environ, folder: Path | None = None, timeout_seconds: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Run `canuse` with arguments until it ends, in this folder or another; raises TimeoutExpired."""
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = _fork_server().start(arguments, env, folder or Path.cwd(), output.fileno(), errors.fileno())
        try:
            status = process.wait(timeout_seconds)
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, status, output.read().decode(), errors.read().decode())
