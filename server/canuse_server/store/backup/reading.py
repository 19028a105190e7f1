"""Reads all data of a store for a backup, while others use the store.

All keys of a user are read at one moment, with the place in the ledger at that moment: the events of the user up to
that place are in the backup, later ones are not. So the counts and the events of each user belong together. What users
refer to is read after them: a package that a subscription has is in the backup.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Final, cast

from google.protobuf.message import DecodeError

from canuse_server.store.backup.layout import ALL_KEYS, LEDGER, USER, USERS, Layout, bucket_prefix
from canuse_server.store.backup.patience import patiently
from canuse_server.store.codec.backup_pb2 import BackupItems, BackupKey, BackupStream, BackupStreamEntry
from canuse_server.store.codec.ledger_pb2 import LedgerEntry
from canuse_server.store.errors import SchemaError, StoreError, StoreUnavailableError
from canuse_server.store.keys import BUCKETS
from canuse_server.store.preflight.schema import check_version, problem_with
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.command import Command
from canuse_server.store.redis.replies import NoScriptError, NotMadeError
from canuse_server.store.repositories.ledger import Place
from canuse_server.store.scripts.loader import READ_KEYS

USERS_AT_ONCE: Final = 32
"""A store answers all commands that it has received from one client before those of others, so calls wait for these."""
ITEMS_AT_ONCE: Final = 1000
"""Number of items of a collection that are one part of it."""
_FIELD_BY_TYPE: Final = {
    b"hash": "hash_fields",
    b"set": "set_members",
    b"zset": "sorted_members",
    b"list": "list_elements",
}
START: Final = Place(0, 0)
Entry = tuple[bytes, list[bytes]]


class StoreReader:
    """Reads the data of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.users = 0
        self.events = 0
        self.share = 0.0
        """How much of it is read, from 0 to 1."""

    async def schema(self) -> str:
        """Return the version of the schema of the data.

        Raises:
            SchemaError: the store has no data, or data of a schema that this version does not know, or it is too old.
            StoreError: it is unavailable.
        """
        await check_version(self._store)
        found = await self._store.schema()
        if found is None:
            raise SchemaError(f"the store at {self._store.endpoint.address} has no data of canuse")
        if problem := problem_with(found):
            raise SchemaError(problem)
        return found.decode()

    async def contents(self) -> AsyncIterator[BackupKey]:
        """Yield all keys, the large ones in parts. Raises StoreError."""
        layout = await patiently(self._layout)
        environments = sorted(layout.environments)
        for number, environment in enumerate(environments):
            for bucket in range(BUCKETS):
                async for key in self._bucket(layout, bucket_prefix(environment, bucket)):
                    yield key
                self.share = (number + (bucket + 1) / BUCKETS) / len(environments)
        for _, group in sorted(layout.groups.items()):
            async for key in self._group(sorted(group)):
                yield key
        self.share = 1.0

    async def _layout(self) -> Layout:
        layout = Layout()
        async for keys in self._store.scan(ALL_KEYS):
            layout.note(keys)
        return layout

    async def _bucket(self, layout: Layout, prefix: bytes) -> AsyncIterator[BackupKey]:
        (members,), _ = await patiently(lambda: self._store.call(("SMEMBERS", prefix + USERS)))
        user_ids, places = cast("list[bytes]", members), dict[bytes, Place]()
        for at in range(0, len(user_ids), USERS_AT_ONCE):
            part = user_ids[at : at + USERS_AT_ONCE]
            ledger = prefix + LEDGER
            names = [[*_keys_of(user_id, prefix, layout.kinds), ledger] for user_id in part]
            for user_id, own, found in zip(part, names, await self._read(names), strict=True):
                if found[0] is not None:
                    places[user_id] = START if found[-1] is None else Place.read(found[-1][2])
                    for name, content in zip(own[:-1], found[:-1], strict=True):
                        for key in _parts(name, content):
                            yield key
        async for key in self._group([prefix + name for name in sorted(layout.names)], prefix + LEDGER, places):
            yield key
        deleted = await self._deleted(prefix, places)
        for user_id in deleted:
            del places[user_id]
            for name in _keys_of(user_id, prefix, layout.kinds):
                yield BackupKey(key=name)
        self.users += len(places)
        for key in _parts(prefix + USERS, [b"set", -1, list(places)] if places else None):
            yield key

    async def _deleted(self, prefix: bytes, user_ids: Iterable[bytes]) -> list[bytes]:
        """Return the users who have been deleted by now. The events of some may be missing in the backup."""
        ids = list(user_ids)
        commands = [("EXISTS", prefix + USER + b":" + user_id) for user_id in ids]
        replies = (await patiently(lambda: self._store.call(*commands)))[0] if ids else []
        return [user_id for user_id, exists in zip(ids, replies, strict=True) if not exists]

    async def _group(
        self, names: Sequence[bytes], ledger: bytes | None = None, places: dict[bytes, Place] | None = None
    ) -> AsyncIterator[BackupKey]:
        """Yield keys of one slot, read at one moment; streams up to that moment.

        Of the key `ledger` only those events of users up to their places, which `places` has.
        """
        (contents,) = await self._read([names])
        for name, content in zip(names, contents, strict=True):
            if content is None or content[0] != b"stream":
                for key in _parts(name, content):
                    yield key
                continue
            _, expires_at, last_id = content
            async for entries in self._entries(name, last_id):
                kept = _events_of(entries, places) if name == ledger and places is not None else entries
                if name == ledger:
                    self.events += len(kept)
                stream = BackupStream(entries=(BackupStreamEntry(id=each, fields=fields) for each, fields in kept))
                yield _key(name, expires_at, stream=stream)
            yield _key(name, expires_at, stream=BackupStream(last_id=last_id))

    async def _entries(self, key: bytes, last_id: bytes) -> AsyncIterator[list[Entry]]:
        """Yield the entries of a stream up to an id, some at a time."""
        start = b"-"
        while True:
            command = ("XRANGE", key, start, last_id, "COUNT", str(ITEMS_AT_ONCE))
            (reply,), _ = await patiently(lambda: self._store.call(command))  # noqa: B023 - it is called at once
            entries = cast("list[Entry]", reply)
            if entries:
                yield entries
            if len(entries) < ITEMS_AT_ONCE:
                return
            start = b"(" + entries[-1][0]

    async def _read(self, groups: Sequence[Sequence[bytes]]) -> list[list[Any]]:
        """Return the contents of groups of keys, each group at one moment."""
        found: dict[int, list[Any]] = {}

        async def read_missing() -> list[list[Any]]:
            missing = [number for number in range(len(groups)) if number not in found]
            commands = [_read_command(groups[number]) for number in missing]
            failure: StoreError | None = None
            for number, (reply, _) in zip(missing, await self._store.pipeline(commands), strict=True):
                if isinstance(reply, NoScriptError | NotMadeError):
                    failure = failure or StoreUnavailableError(str(reply))
                elif isinstance(reply, StoreError):
                    failure = reply
                else:
                    found[number] = cast("list[Any]", reply)
            if failure is not None:
                raise failure
            return [found[number] for number in range(len(groups))]

        return await patiently(read_missing)


def _read_command(names: Sequence[bytes]) -> Command:
    return Command(("EVALSHA", READ_KEYS.sha, str(len(names)), *names), READ_KEYS)


def _keys_of(user_id: bytes, prefix: bytes, kinds: Iterable[bytes]) -> list[bytes]:
    return [prefix + kind + b":" + user_id for kind in kinds]


def _events_of(entries: Iterable[Entry], places: dict[bytes, Place]) -> list[Entry]:
    """Return the events of users up to their places. What cannot be read may be of a newer version, and is kept."""
    kept = []
    for entry_id, fields in entries:
        try:
            place = places.get(LedgerEntry.FromString(fields[1]).user_id.encode())
        except (DecodeError, IndexError):
            kept.append((entry_id, fields))
            continue
        if place is not None and Place.read(entry_id) <= place:
            kept.append((entry_id, fields))
    return kept


def _parts(name: bytes, content: Any) -> Iterator[BackupKey]:
    """Yield a key with its content as the script returns it, in parts; nothing if it does not exist."""
    if content is None:
        return
    kind, expires_at, value = content
    if kind == b"string":
        yield _key(name, expires_at, text=value)
        return
    for at in range(0, len(value), ITEMS_AT_ONCE):
        yield _key(name, expires_at, **{_FIELD_BY_TYPE[kind]: BackupItems(items=value[at : at + ITEMS_AT_ONCE])})


def _key(name: bytes, expires_at_ms: int, **content: Any) -> BackupKey:
    return BackupKey(key=name, expires_at_ms=max(0, expires_at_ms), **content)
