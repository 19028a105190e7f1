"""`canuse serve`: settings, logs, signals, and in words what keeps it from starting."""

import asyncio
import os
import signal
import tomllib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog
from pydantic import ValidationError

from canuse_server.app.settings_problems import problems, unknown_variables
from canuse_server.app.supervisor import WorkerStartError
from canuse_server.app.wiring import ListenError, Ready, serve
from canuse_server.runtime import logs
from canuse_server.settings import Settings
from canuse_server.store.embedded.supervisor import DataDirInUse, EmbeddedStartError
from canuse_server.store.errors import StoreError
from canuse_server.transport.tls import TlsError

log = structlog.get_logger(__name__)

START_ERRORS = (ListenError, TlsError, WorkerStartError, DataDirInUse, EmbeddedStartError, StoreError, OSError)


def run(config: Path | None, given: dict[str, object]) -> str | None:
    """Serve until SIGTERM or Ctrl-C; return what is wrong where it can't start, in one line."""
    try:
        settings = Settings.load(config, given)
    except ValidationError as error:
        return problems(error, config, given, os.environ)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return f"{config}: {error}"
    logs.configure(settings.log_level)
    for name, closest in unknown_variables(os.environ):
        log.warning("unknown environment variable: it is not a setting and has no effect", name=name, closest=closest)
    try:
        asyncio.run(_serve(settings))
    except START_ERRORS as error:
        return str(error)
    return None


async def _serve(settings: Settings) -> None:
    def ready(how: Ready) -> None:
        print(how, flush=True)  # noqa: T201 - the line that says where it is

    await until_ended(partial(serve, settings), ready)


async def until_ended(
    serving: Callable[[Callable[[Ready], None], asyncio.Event], Coroutine[None, None, None]],
    ready: Callable[[Ready], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C; `ready` is told where and how."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    started = False

    def is_ready(how: Ready) -> None:
        nonlocal started
        started = True
        ready(how)

    task = asyncio.create_task(serving(is_ready, stop))

    def end() -> None:
        stop.set()
        if not started:
            task.cancel()  # It may wait for the store, for as long as that takes to load its data.

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    with suppress(asyncio.CancelledError):
        await task
