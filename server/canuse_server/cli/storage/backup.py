"""The commands that back up a store and restore it."""

import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from canuse_server.cli.exit_status import EXIT_ERROR, tell
from canuse_server.cli.output import printable
from canuse_server.cli.storage import progress
from canuse_server.cli.storage.options import Progress, StoreOptions, with_store

if TYPE_CHECKING:
    from canuse_server.settings import Settings
    from canuse_server.store.backup.reading import StoreReader
    from canuse_server.store.redis.client import Store

BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]


@with_store
def backup(options: StoreOptions, file: BackupFile, *, show: Progress = None) -> None:
    """Write all data of a store to a file, which is replaced once the new one is complete. Servers may be running."""

    async def job(store: "Store", _settings: "Settings") -> None:
        from canuse_server.store.backup.file import FORMAT, BackupWriter  # noqa: PLC0415 - needs the extra `server`
        from canuse_server.store.backup.reading import StoreReader  # noqa: PLC0415
        from canuse_server.store.codec.backup_pb2 import BackupHeader  # noqa: PLC0415

        reader = StoreReader(store)
        header = BackupHeader(
            format=FORMAT,
            schema=await reader.schema(),
            canuse_version=metadata.version("canuse"),
            created_at_ms=time.time_ns() // 1_000_000,
        )
        writer = BackupWriter(file, header)
        try:
            async with progress.shown(show, lambda: _line(reader)):
                async for key in reader.contents():
                    writer.add(key)
                writer.finish(reader.users, reader.events)
        finally:
            writer.discard()
        typer.echo(
            f"backed up {reader.users} users and {reader.events} usage events to {file}: {writer.bytes_written} bytes"
        )

    options.run(job)


@with_store
def restore(
    options: StoreOptions,
    file: BackupFile,
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Delete the data of canuse that the store has.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check the file, without a store.")] = False,
    show: Progress = None,
) -> None:
    """Restore a backup into an empty store, of any kind. Nothing is changed unless the file is complete and undamaged.

    With --replace a server may be running on the store: it answers no calls until the restore is done.
    """

    from canuse_server.store.backup.file import BackupFileError  # noqa: PLC0415 - needs the extra `server`
    from canuse_server.store.backup.restoring import Restorer, RestoreRefusedError, check_backup  # noqa: PLC0415

    try:
        header, end = check_backup(file)
    except (BackupFileError, RestoreRefusedError, OSError) as error:
        tell(printable(str(error)))
        raise typer.Exit(EXIT_ERROR) from None
    contents = f"{end.users} users and {end.events} usage events"
    if check:
        made_at = datetime.fromtimestamp(header.created_at_ms / 1000, UTC).isoformat(timespec="seconds")
        typer.echo(f"{file} is complete: {contents}, made by canuse {header.canuse_version} at {made_at}")
        return

    async def job(store: "Store", _settings: "Settings") -> None:
        restorer = Restorer(store, file, header.schema)
        async with progress.shown(show, lambda: f"restored {restorer.share:4.0%} of {contents}"):
            await restorer.restore(replace=replace)
        typer.echo(f"restored {contents} from {file}")

    options.run(job, create=True)


def _line(reader: "StoreReader") -> str:
    return f"backed up {reader.share:4.0%}: {reader.users} users, {reader.events} usage events"
