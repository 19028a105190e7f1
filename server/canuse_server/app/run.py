"""`canuse serve`: settings, logs, signals, and the messages of errors at startup."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from canuse_server.app.ports import ListenError
from canuse_server.app.ready import Ready
from canuse_server.app.settings_problems import SettingsError, load_settings, unknown_variables
from canuse_server.app.wiring import serve
from canuse_server.app.workers.supervisor import WorkerStartError
from canuse_server.auth.bootstrap import BootstrapKeyError
from canuse_server.runtime import logs
from canuse_server.runtime.standard_output import print_line
from canuse_server.settings import Settings
from canuse_server.store.embedded.supervisor import DataDirInUse, EmbeddedStartError
from canuse_server.store.errors import StoreError
from canuse_server.traces.target import TracesError
from canuse_server.transport.tls import TlsError

log = structlog.get_logger(__name__)

START_ERRORS = (
    BootstrapKeyError,
    ListenError,
    TlsError,
    TracesError,
    WorkerStartError,
    DataDirInUse,
    EmbeddedStartError,
    StoreError,
    OSError,
)


def run(config: Path | None, overrides: dict[str, object]) -> str | None:
    """Serve until SIGTERM or Ctrl-C; return the error, in one line, if the server cannot start.

    `overrides` are the settings from the command line.
    """
    try:
        settings = load_settings(config, overrides)
    except SettingsError as error:
        return str(error)
    logs.configure(settings.log_level, share_stderr=settings.workers > 1)
    for name, closest in unknown_variables(os.environ):
        log.warning("unknown environment variable: it is not a setting and has no effect", name=name, closest=closest)
    try:
        asyncio.run(_serve(settings))
    except START_ERRORS as error:
        return str(error)
    return None


async def _serve(settings: Settings) -> None:
    await run_until_signal(partial(serve, settings), print_line)


async def run_until_signal(
    serving: Callable[[Callable[[Ready], None], asyncio.Event], Coroutine[None, None, None]],
    on_ready: Callable[[Ready], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C; call `on_ready` when calls are answered."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    started = False

    def on_started(ready: Ready) -> None:
        nonlocal started
        started = True
        on_ready(ready)

    task = asyncio.create_task(serving(on_started, stop))

    def request_stop() -> None:
        stop.set()
        if not started:
            task.cancel()  # It may wait for the store, which can take long to load its data.

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, request_stop)
    with suppress(asyncio.CancelledError):
        await task
