"""What a worker tells its supervisor, on a Unix socket: whether it is ready, and its metrics."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

TIMEOUT_SECONDS: Final = 2.0
"""Maximum time for a worker to answer."""


class Report(NamedTuple):
    """An answer of a worker."""

    is_ready: bool
    metrics: bytes


async def serve_reports(path: Path, is_ready: Callable[[], bool], metrics: Callable[[], bytes]) -> asyncio.Server:
    """Answer each connection with a report, and close it."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((b"1" if is_ready() else b"0") + await asyncio.to_thread(metrics))
        writer.close()

    return await asyncio.start_unix_server(answer, path)


async def read_report(path: Path) -> Report | None:
    """Return a worker's report; None if it does not answer."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    return Report(answer[:1] == b"1", answer[1:])
