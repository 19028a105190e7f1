"""Imports the command `canuse`, then forks a process for each request on a socket; see `fork_server.py`.

It has no threads and no connections, as a fork would not inherit them intact.
"""

import faulthandler
import gc
import io
import json
import os
import selectors
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import Any, Final

import canuse_server

# As `main` does, before gRPC is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
import canuse_server.app.run
import canuse_server.cli.main
import canuse_server.transport.native.server

LENGTH: Final = struct.Struct("!I")
FILES: Final = 3
"""Sent with each request: standard output, standard error, and the socket for process id and exit status."""


def main() -> None:
    """Fork until the other end of the socket is closed; return in each forked process, to run the command."""
    control = socket.socket(fileno=int(sys.argv[1]))
    running: dict[int, socket.socket] = {}
    woken, wake = socket.socketpair()
    woken.setblocking(False)
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # Ctrl-C is handled by the test run, which ends every forked process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if woken in ready:
                with suppress(BlockingIOError):
                    woken.recv(1 << 16)
                reap(running)
            if control not in ready:
                continue
            head, files, _, _ = socket.recv_fds(control, LENGTH.size, FILES, socket.MSG_WAITALL)
            if not head:
                sys.exit(0)
            request = json.loads(read(control, LENGTH.unpack(head)[0]))
            output, errors, status = files
            pid = os.fork()
            if not pid:
                break
            running[pid] = socket.socket(fileno=status)
            with suppress(ConnectionError):
                running[pid].sendall(LENGTH.pack(pid))
            os.close(output)
            os.close(errors)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.default_int_handler)
    os.close(status)
    for mine in (control, woken, wake, *running.values()):
        mine.close()
    become(request, output, errors)


def read(control: socket.socket, length: int) -> bytes:
    """Read so many bytes: a signal in between ends a `recv` early."""
    data = b""
    while len(data) < length:
        more = control.recv(length - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data


def reap(running: dict[int, socket.socket]) -> None:
    """Report the exit status of the processes that have ended."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with running.pop(ended[0]) as status, suppress(ConnectionError):
                status.sendall(LENGTH.pack(ended[1]))


def become(request: Any, output: int, errors: int) -> None:
    """Set up this process as Python sets up a new one."""
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.close(output)
    os.close(errors)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    encoding = os.environ.get("PYTHONIOENCODING") or "utf-8"
    raw = [open(number, "wb", closefd=False) for number in (1, 2)]  # noqa: SIM115 - open to the end
    sys.stdout = io.TextIOWrapper(raw[0], encoding)
    sys.stderr = io.TextIOWrapper(raw[1], encoding, "backslashreplace", line_buffering=True)
    sys.argv = ["canuse", *request["arguments"]]
    if "PYTHONFAULTHANDLER" in os.environ:
        faulthandler.enable()


if __name__ == "__main__":
    main()
    canuse_server.main()
