"""What a worker answers its supervisor, on a Unix socket: whether it is ready, and its metrics."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

TIMEOUT_SECONDS: Final = 2.0
"""Maximum time for a worker to answer."""


READINESS: Final = b"r"
METRICS: Final = b"m"
READY: Final = b"ready"


async def serve_reports(path: Path, is_ready: Callable[[], bool], metrics: Callable[[], bytes]) -> asyncio.Server:
    """Answer each connection with what it asks for, by its first byte, and close it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1) == METRICS:
            writer.write(await asyncio.to_thread(metrics))
        elif is_ready():
            writer.write(READY)
        writer.close()

    return await asyncio.start_unix_server(answer, path)


async def read_report(path: Path, question: bytes) -> bytes | None:
    """Return a worker's answer to a question, READINESS or METRICS; None if it does not answer."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(question)
                return await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
