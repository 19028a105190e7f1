"""What the processes of a server ask each other, on Unix sockets in a folder of their own.

The supervisor asks its workers whether they are ready, and for their metrics and decisions; a worker that shows figures
asks the supervisor for the decisions of all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TIMEOUT_SECONDS: Final = 2.0
"""Maximum time for a worker to answer."""
SUPERVISOR_TIMEOUT_SECONDS: Final = 3.0
"""Maximum time for the supervisor to answer, which asks the workers first."""

READINESS: Final = b"r"
METRICS: Final = b"m"
DECISIONS: Final = b"d"
READY: Final = b"ready"


@dataclass(frozen=True)
class Reports:
    """The sockets of a server."""

    folder: Path
    with_metrics: bool
    """Whether the workers have metrics, which costs them a little."""

    @property
    def supervisor(self) -> Path:
        """The socket of the supervisor."""
        return self.folder / "supervisor.sock"

    def worker(self, number: int) -> Path:
        """Return the socket of a worker."""
        return self.folder / f"worker-{number}.sock"


@dataclass(frozen=True)
class WorkerReports:
    """What a worker knows of them."""

    own: Path
    """The socket on which it answers."""
    supervisor: Path
    with_metrics: bool


async def serve_reports(path: Path, answers: Mapping[bytes, Callable[[], Awaitable[bytes]]]) -> asyncio.Server:
    """Answer each connection with what it asks for, by its first byte, and close it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = answers.get(await reader.read(1))
            if asked is not None:
                writer.write(await asked())
        finally:
            writer.close()

    return await asyncio.start_unix_server(answer, path)


async def read_report(path: Path, question: bytes, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes | None:
    """Return the answer to a question; None if there is none. What is not known is answered with nothing."""
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(question)
                return await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
