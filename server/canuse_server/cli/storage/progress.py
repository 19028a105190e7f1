"""The progress of a long command, on standard error."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import typer

from canuse_server.runtime import background

TERMINAL_INTERVAL_SECONDS: Final = 0.2
INTERVAL_SECONDS: Final = 5.0
"""Interval between lines where each one stays, such as in a file."""


@asynccontextmanager
async def shown(wanted: bool | None, describe: Callable[[], str]) -> AsyncIterator[None]:
    """Show what `describe` returns as long as the block runs; `wanted` None: only on a terminal."""
    on_terminal = sys.stderr.isatty()
    if not (on_terminal if wanted is None else wanted):
        yield
        return
    task = asyncio.create_task(_show(describe, on_terminal))
    try:
        yield
    finally:
        await background.cancel_all([task])
        _write(describe(), on_terminal)
        if on_terminal:
            typer.echo(err=True)


async def _show(describe: Callable[[], str], on_terminal: bool) -> None:
    while True:
        _write(describe(), on_terminal)
        await asyncio.sleep(TERMINAL_INTERVAL_SECONDS if on_terminal else INTERVAL_SECONDS)


def _write(text: str, on_terminal: bool) -> None:
    """Write a line; on a terminal in place of the last one."""
    typer.echo(f"\r\x1b[K{text}" if on_terminal else text, err=True, nl=not on_terminal)
