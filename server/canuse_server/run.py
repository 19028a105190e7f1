"""`canuse serve`: settings, logs, signals, and in words what keeps it from starting."""

import asyncio
import signal
import tomllib
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from canuse_server.app import ListenError, serve
from canuse_server.observe import logs
from canuse_server.settings import Settings
from canuse_server.store.embedded import DataDirInUse, EmbeddedStartError
from canuse_server.store.errors import StoreError

START_ERRORS = (ListenError, DataDirInUse, EmbeddedStartError, StoreError, OSError)


def run(config: Path | None, given: dict[str, object]) -> str | None:
    """Serve until SIGTERM or Ctrl-C; return what is wrong where it can't start, in one line."""
    try:
        settings = Settings.load(config, given)
    except ValidationError as error:
        parts = (
            (".".join(map(str, part["loc"])), part["msg"].removeprefix("Value error, ")) for part in error.errors()
        )
        return "; ".join(f"{name}: {text}" for name, text in parts)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return f"{config}: {error}"
    logs.configure(settings.log_level)
    try:
        asyncio.run(_serve(settings))
    except START_ERRORS as error:
        return str(error)
    return None


async def _serve(settings: Settings) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    started = False

    def ready(line: str) -> None:
        nonlocal started
        started = True
        print(line, flush=True)  # noqa: T201 - the line that says where it is

    serving = asyncio.create_task(serve(settings, ready, stop))

    def end() -> None:
        stop.set()
        if not started:
            serving.cancel()  # It may wait for the store, for as long as that takes to load its data.

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    with suppress(asyncio.CancelledError):
        await serving
