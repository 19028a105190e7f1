"""Worker processes on one port (`--workers N`). The kernel distributes the connections among them."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from canuse_server.app.workers.reports import READINESS, READY, Reports, read_report
from canuse_server.runtime import child
from canuse_server.settings import Settings

log = structlog.get_logger(__name__)

REPORTS: Final = "--reports"
"""The argument before the paths of the sockets for reports: that of the worker, and that of its supervisor."""
METRICS: Final = "--metrics"
"""The argument that tells a worker to have metrics."""
KEYS_SEEN: Final = "--keys-seen"
"""The argument that tells a worker that an API key has existed before its start."""
RETRY_INTERVAL_SECONDS: Final = 1.0
"""Minimum time between two starts of a worker, so that one that fails at once is not restarted in a loop."""


class WorkerStartError(RuntimeError):
    """A worker did not start. Its own message is on stderr."""


class ReservedPort:
    """A port reserved for the workers. It is bound but not listening, so it gets no connections."""

    def __init__(self, listen: str) -> None:
        """Bind the port; raise OSError if that fails."""
        self.host, _, port = listen.rpartition(":")
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        address = (self.host.strip("[]"), int(port))
        # This fails if another process listens on the port, also without `reuse_port`.
        with socket.create_server(address, family=family):
            self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(address)
        self.address = f"{self.host}:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        """Release the port."""
        self._socket.close()


class Workers:
    """Keeps a number of workers running until `stop`."""

    def __init__(
        self, settings: Settings, count: int, keys_seen: Callable[[], bool], reports: Reports | None = None
    ) -> None:
        """`settings` are those of each worker; `keys_seen` returns whether an API key exists or existed.

        `reports` are the sockets on which the processes ask each other, if they do.
        """
        self._reports = reports
        self._settings = settings
        self._keys_seen = keys_seen
        self._count = count
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: dict[int, Process] = {}
        self._stopping = False

    async def start(self) -> str:
        """Start all workers, wait until they are ready, and return their transport.

        Raises:
            WorkerStartError: a worker did not start. `stop` stops the others.
        """
        starts = [asyncio.create_task(self._start(number)) for number in range(self._count)]
        for start in starts:
            # The first error is raised; those of workers that end meanwhile need no report of their own.
            start.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.wait(starts)
        transports = [start.result() for start in starts]
        self._tasks = [asyncio.create_task(self._supervise(number)) for number in range(self._count)]
        return transports[0]

    async def stop(self) -> None:
        """Terminate all workers gracefully, and wait until they have ended."""
        self._stopping = True
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(process.wait() for process in self._processes.values()))

    async def _start(self, number: int) -> str:
        command = [
            sys.executable,
            "-m",
            "canuse_server.app.workers.worker",
            *([KEYS_SEEN] if self._keys_seen() else []),
        ]
        if self._reports is not None:
            path = self._reports.worker(number)
            path.unlink(missing_ok=True)
            command += [REPORTS, str(path), str(self._reports.supervisor)]
            command += [METRICS] if self._reports.with_metrics else []
        if sys.platform == "linux":
            # The workers end with this process, even if it is killed by `kill -9`.
            program = Path(child.__file__)
            command = [sys.executable, "-I", "-S", str(program), str(os.getpid()), *command]
        # In a session of its own: Ctrl-C only reaches this process, which drains the workers.
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
        assert process.stdin is not None
        assert process.stdout is not None
        self._processes[number] = process
        # Not as an argument or in the environment: the URL of the store may contain a password.
        with suppress(ConnectionError):
            process.stdin.write(self._settings.model_dump_json().encode())
            await process.stdin.drain()
        process.stdin.close()
        transport = (await process.stdout.readline()).decode().strip()
        if not transport:
            raise WorkerStartError(f"worker {number} did not start: exit status {await process.wait()}")
        log.info("a worker is ready", worker=number, pid=process.pid)
        return transport

    async def _supervise(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            started_at = loop.time()
            process = self._processes[number]
            status = await process.wait()
            if self._stopping:
                return
            log.error("a worker died and is being replaced", worker=number, pid=process.pid, status=status)
            await asyncio.sleep(max(0.0, started_at + RETRY_INTERVAL_SECONDS - loop.time()))
            await self._replace(number)

    async def _replace(self, number: int) -> None:
        while not self._stopping:
            try:
                await self._start(number)
            except (WorkerStartError, OSError) as error:
                if not self._is_stopping():
                    log.error("a worker could not be replaced", worker=number, cause=str(error))
                await asyncio.sleep(RETRY_INTERVAL_SECONDS)
            else:
                break
        # It may have been starting when `stop` terminated the others.
        if self._is_stopping():
            with suppress(ProcessLookupError):
                self._processes[number].terminate()

    async def ask(self, question: bytes) -> dict[int, bytes | None]:
        """Return the workers' answers to a question, by process id; None for one that does not answer."""
        reports = self._reports
        if reports is None:
            return {}
        pids = {number: process.pid for number, process in self._processes.items()}
        answers = await asyncio.gather(*(read_report(reports.worker(number), question) for number in pids))
        return dict(zip(pids.values(), answers, strict=True))

    async def are_ready(self) -> bool:
        """Whether all workers are ready."""
        answers = await self.ask(READINESS)
        return len(answers) == self._count and all(answer == READY for answer in answers.values())

    def _is_stopping(self) -> bool:
        return self._stopping
