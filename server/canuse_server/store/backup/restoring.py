"""Writes the data of a backup into a store."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from canuse_server.store.backup import file
from canuse_server.store.backup.layout import ALL_KEYS
from canuse_server.store.codec.backup_pb2 import BackupKey, BackupStream
from canuse_server.store.errors import StoreError
from canuse_server.store.keys import SCHEMA
from canuse_server.store.preflight.schema import RESTORING, check_version, problem_with
from canuse_server.store.redis.client import RawCommand, Store

NOTICE_SECONDS: Final = 2.0
"""Time for servers that use the store to notice that they must not. They look each half second."""
COMMANDS_AT_ONCE: Final = 500
KEYS_AT_ONCE: Final = 500


class RestoreRefusedError(Exception):
    """The backup does not suit this version, or the store is not empty. Nothing was changed."""


def check_backup(path: Path) -> file.Checked:
    """Read a whole backup; return its first and its last chunk.

    Raises:
        BackupFileError: it is no backup, or it is damaged, incomplete, or of a newer format.
        RestoreRefusedError: its data has a schema that this version does not know.
        OSError: it cannot be read.
    """
    checked = file.check(path)
    if problem_with(checked.header.schema.encode()):
        raise RestoreRefusedError(
            f"{path} was made by canuse {checked.header.canuse_version} and has data of schema "
            f"{checked.header.schema!r}, which this version does not know: restore it with that version or a later one"
        )
    return checked


class Restorer:
    """Restores one backup, which `check_backup` has checked, into one store."""

    def __init__(self, store: Store, path: Path, schema: str) -> None:
        self._store = store
        self._path = path
        self._schema = schema
        self.share = 0.0
        """How much of it is restored, from 0 to 1."""
        self._newest = b"", b""
        """The stream of the last restored entry, and its id."""

    async def has_data(self) -> bool:
        """Whether the store has data of canuse. Raises StoreError."""
        async for keys in self._store.scan(ALL_KEYS):
            if keys:
                return True
        return False

    async def restore(self, *, replace: bool) -> None:
        """Restore the backup. `replace`: delete the data of canuse that the store has.

        Raises:
            RestoreRefusedError: the store has data of canuse. Nothing was changed.
            SchemaError: the store is too old. Nothing was changed.
            StoreError: the store is unavailable or refuses a command. It may have a part of the backup, and no server
                uses it.
        """
        await check_version(self._store)
        has_data = await self.has_data()
        if has_data and not replace:
            raise RestoreRefusedError(
                f"the store at {self._store.endpoint.address} has data of canuse: restore into an empty store, or "
                "delete this data with --replace"
            )
        await self._call(("SET", SCHEMA, RESTORING))
        if has_data:
            await asyncio.sleep(NOTICE_SECONDS)
            await self._delete_all()
        for part in file.read_keys(self._path):
            commands = [command for key in part.keys for command in self._commands(key)]
            for at in range(0, len(commands), COMMANDS_AT_ONCE):
                await self._call(*commands[at : at + COMMANDS_AT_ONCE])
            self.share = part.share
        # In a Cluster it also sets the marks of the buckets. The schema is last.
        await self._store.create_schema(self._schema)
        await self._call(("SET", SCHEMA, self._schema))
        self.share = 1.0

    async def _delete_all(self) -> None:
        """Delete all keys of canuse but the schema."""
        is_empty = False
        while not is_empty:
            is_empty = True
            async for keys in self._store.scan(ALL_KEYS):
                others = [key for key in keys if key != SCHEMA.encode()]
                for at in range(0, len(others), KEYS_AT_ONCE):
                    is_empty = False
                    await self._call(*(("UNLINK", key) for key in others[at : at + KEYS_AT_ONCE]))

    async def _call(self, *commands: RawCommand) -> None:
        try:
            await self._store.call(*commands)
        except StoreError as error:
            raise StoreError(
                f"the restore has ended before its end: {error}. The store has a part of the backup, and no server "
                "uses it: repeat the restore with --replace"
            ) from error

    def _commands(self, key: BackupKey) -> Iterator[RawCommand]:
        """Yield the commands that restore a key, or add a part to it."""
        name = key.key
        match key.WhichOneof("content"):
            case None:
                yield "UNLINK", name
                return
            case "text":
                yield "SET", name, key.text
            case "hash_fields":
                yield "HSET", name, *key.hash_fields.items
            case "set_members":
                yield "SADD", name, *key.set_members.items
            case "sorted_members":
                members, scores = key.sorted_members.items[::2], key.sorted_members.items[1::2]
                yield "ZADD", name, *_interleaved(scores, members)
            case "list_elements":
                yield "RPUSH", name, *key.list_elements.items
            case "stream":
                yield from self._of_stream(name, key.stream)
        if key.expires_at_ms:
            yield "PEXPIREAT", name, str(key.expires_at_ms)

    def _of_stream(self, name: bytes, stream: BackupStream) -> Iterator[RawCommand]:
        for entry in stream.entries:
            yield "XADD", name, entry.id, *entry.fields
            self._newest = name, entry.id
        last_id = stream.last_id
        if last_id not in (b"", b"0-0") and self._newest != (name, last_id):
            # The next entry gets a higher id, although the last one of the original is not in the backup.
            yield "XADD", name, last_id, "e", ""
            yield "XDEL", name, last_id


def _interleaved(first: Iterable[bytes], second: Iterable[bytes]) -> Iterator[bytes]:
    for pair in zip(first, second, strict=True):
        yield from pair
