"""Opens the store for a command, also one that a running server uses."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from canuse_server.app.settings_problems import SettingsError, load_settings
from canuse_server.cli.connection import Refused
from canuse_server.runtime import logs
from canuse_server.settings import Settings
from canuse_server.store.backup.file import BackupFileError
from canuse_server.store.backup.restoring import RestoreRefusedError
from canuse_server.store.embedded.data_dir import CANUSE_LOCK, running_socket
from canuse_server.store.embedded.supervisor import DataDirInUse, EmbeddedStartError, EmbeddedValkey
from canuse_server.store.errors import StoreError
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.cluster import store_at
from canuse_server.store.redis.replies import ACCESS_ERRORS

Job = Callable[[Store, Settings], Awaitable[None]]

TIMEOUT_SECONDS: Final = 30.0
"""Time for one answer of the store: nobody waits for a single one, and they can be large."""
_ERRORS: Final = (StoreError, DataDirInUse, EmbeddedStartError, BackupFileError, RestoreRefusedError, Refused, OSError)


def run_on_store(
    redis_url: str | None,
    data_dir: Path | None,
    config: Path | None,
    job: Job,
    *,
    create: bool,
    timeout_seconds: float | None,
) -> str | None:
    """Run a job on a store; return the error, in one line, if there is one.

    `timeout_seconds` is the time for one answer of the store, None for TIMEOUT_SECONDS.
    """
    overrides: dict[str, object] = {"redis_url": redis_url, "data_dir": data_dir}
    overrides = {name: value for name, value in overrides.items() if value is not None}
    if len(overrides) > 1:
        return "--redis-url and --data-dir name two stores: give one of them"
    try:
        settings = load_settings(config, overrides)
    except SettingsError as error:
        return str(error)
    logs.configure("error")
    # As Ctrl-C does, so that nothing is left of an unfinished file.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        asyncio.run(
            _run(
                settings,
                job,
                by_data_dir=data_dir is not None,
                create=create,
                timeout_seconds=timeout_seconds or TIMEOUT_SECONDS,
            )
        )
    except _ERRORS as error:
        hint = "; docs/operations.md lists the rights that this command needs"
        return f"{error}{hint if any(word in str(error) for word in ACCESS_ERRORS) else ''}"
    return None


async def _run(settings: Settings, job: Job, *, by_data_dir: bool, create: bool, timeout_seconds: float) -> None:
    async with _address(settings, by_data_dir=by_data_dir, create=create) as address:
        store = store_at(address, timeout_seconds)
        try:
            await job(store, settings)
        finally:
            await store.close()


@asynccontextmanager
async def _address(settings: Settings, *, by_data_dir: bool, create: bool) -> AsyncIterator[StoreAddress]:
    """Yield the address of the store: the embedded Valkey of a running server, or else one of the command's own."""
    if settings.redis_url is not None and not by_data_dir:
        yield StoreAddress.from_url(settings.redis_url)
        return
    if not create and not (settings.data_dir / CANUSE_LOCK).exists():
        raise Refused(f"{settings.data_dir} is not the data directory of a canuse; --data-dir or --redis-url names it")
    valkey = EmbeddedValkey(settings.data_dir, fsync=settings.embedded_fsync)
    try:
        await valkey.start()
    except DataDirInUse:
        if (path := running_socket(settings.data_dir)) is None:
            raise
        yield _of_socket(path)
        return
    try:
        yield _of_socket(valkey.socket_path)
    finally:
        await valkey.stop()


def _of_socket(path: Path) -> StoreAddress:
    return StoreAddress.from_url(f"unix://{quote(str(path))}")
