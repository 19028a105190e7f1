"""The interface of the store: pipelined commands, scripts, the time, and a redis-py client for administration."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from canuse_server.domain.durability import Durability
from canuse_server.runtime.call_state import current_call, current_store_deadline
from canuse_server.store.codec.event_ids import EventKey
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from canuse_server.store.keys import SCHEMA, key_of, tag_of
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.blocking_connection import BlockingConnection
from canuse_server.store.redis.command import Command
from canuse_server.store.redis.connection import PipelinedConnection
from canuse_server.store.redis.data_guard import GONE, DataGuard
from canuse_server.store.redis.durability import Promise
from canuse_server.store.redis.group_commit import GroupCommit, Written
from canuse_server.store.redis.replies import NoScriptError, ReadOnlyError, check, pack
from canuse_server.store.redis.routing import ConnectionRouter
from canuse_server.store.redis.sentinel import MasterResolver
from canuse_server.store.scripts.loader import ALL, Script
from canuse_server.store.scripts.statuses import needs_repair

TIME: Final = pack(("TIME",))
ASKING: Final = pack(("ASKING",))
IN_MEMORY: Final = Promise()
MAX_ATTEMPTS: Final = 10
"""Maximum number of times that one call loads a script that the server does not know."""
SCAN_COUNT: Final = 1000
"""About how many keys one step of a scan looks at."""
REDIRECT_DELAY_SECONDS: Final = 0.02
"""Delay before a retry after a server refused a command because of a failover or a moving slot."""

RawCommand = tuple[str | bytes, ...]


def time_ms(reply: object) -> int:
    """Read Redis's `TIME` in milliseconds."""
    seconds, microseconds = cast("list[bytes]", check(reply))
    return int(seconds) * 1000 + int(microseconds) // 1000


@dataclass(slots=True)
class Clock:
    """The time of the manual clock, or None if the store's clock is used."""

    now_ms: int | None = None


class Store:
    """Redis or Valkey. `manual_now_ms` is the time of the manual clock, or None if the store's clock is used.

    A write returns when it has reached what `promise` says and what the caller requires beyond that (`CallState`).
    """

    def __init__(
        self,
        endpoint: StoreAddress,
        timeout_seconds: float,
        promise: Promise = IN_MEMORY,
        *,
        clock: Clock | None = None,
        tagged: bool = False,
        guard: DataGuard | None = None,
    ) -> None:
        """Connections open on first use. `tagged`: the server is a node of a Cluster, so hash tags matter."""
        self.endpoint = endpoint
        self.timeout_seconds = timeout_seconds
        self.promise = promise
        self.admin: Redis = endpoint.admin(timeout_seconds)
        self.event_key = EventKey()
        self._clock = clock or Clock()
        self._tagged = tagged
        self.guard = guard or DataGuard()
        self._master = MasterResolver(endpoint, timeout_seconds, self.guard)
        self._connection = PipelinedConnection(self._master, timeout_seconds)
        # Replies arrive in order: on a shared connection, a single call would wait for a whole batch.
        self._batches = PipelinedConnection(self._master, timeout_seconds)
        self._confirmed: dict[Durability, GroupCommit] = {}

    @property
    def manual_now_ms(self) -> int | None:
        """The time of the manual clock, or None if the store's clock is used."""
        return self._clock.now_ms

    @manual_now_ms.setter
    def manual_now_ms(self, now_ms: int | None) -> None:
        self._clock.now_ms = now_ms

    @property
    def manual_now(self) -> str:
        """The time for scripts, or empty if they use the store's clock."""
        now_ms = self._clock.now_ms
        return "" if now_ms is None else str(now_ms)

    async def load_scripts(self) -> None:
        """Load all scripts into the server."""
        for script in ALL:
            packed = pack(("SCRIPT", "LOAD", script.source))
            check((await self._connection.execute(packed, 1, writes=False))[0])

    async def call(self, *commands: RawCommand) -> tuple[list[object], int]:
        """Return the replies to commands that only read or can be repeated, and the time just before them.

        Raises:
            StoreUnavailableError: the store is unavailable.
        """
        packed = b"".join(map(pack, commands))
        manual_now_ms = self._clock.now_ms
        if manual_now_ms is not None:
            if not commands:
                return [], manual_now_ms
            replies = await self._connection.execute(packed, len(commands), writes=False)
            return [check(reply) for reply in replies], manual_now_ms
        now, *replies = await self._connection.execute(TIME + packed, len(commands) + 1, writes=False)
        return [check(reply) for reply in replies], time_ms(now)

    async def execute(self, command: Command) -> tuple[object, int]:
        """Execute a command of the hot path; return its reply and, for a read, the time just before it (else 0).

        Raises:
            StoreUnavailableError: nothing was written.
            OutcomeUnknownError: it may have been written.
        """
        if command.script is None:
            (reply,), now_ms = await self.call(command.command)
            return reply, now_ms
        return await self._write(command.command, command.script), 0

    async def pipeline(self, commands: Sequence[Command]) -> list[tuple[object, int]]:
        """Execute commands of the hot path, either reads or writes, in order and with one write to the socket.

        Returns:
            For each command its reply or its StoreError (after NoScriptError or NotMadeError, send it again), and for
            a read the time just before it (else 0).
        """
        if not commands:
            return []
        scripts = {command.script for command in commands if command.script is not None}
        # Always loaded first: if a script were loaded after a NOSCRIPT, later commands would overtake earlier ones.
        head = [pack(("SCRIPT", "LOAD", script.source)) for script in scripts]
        now_ms = 0 if scripts else self._clock.now_ms
        if now_ms is None:
            head.append(TIME)
        packed = b"".join([*head, *(pack(command.command) for command in commands)])
        count, level = len(head) + len(commands), self._level()
        if scripts and level:
            replies, failure = await self._confirm(
                level, packed, count, self._tags(*(command.command for command in commands))
            )
            unconfirmed = failure
        else:
            replies, failure = await self._batches.collect(packed, count, writes=bool(scripts))
            unconfirmed = None
        if unconfirmed is None:
            checked = [_checked(each, None) if isinstance(each, hiredis.ReplyError) else each for each in replies]
        else:
            checked = [_checked(each, unconfirmed) for each in replies]
        checked += [failure] * (count - len(replies))
        if now_ms is None:
            if isinstance(checked[0], Exception):
                return [(checked[0], 0)] * len(commands)
            now_ms = time_ms(checked[0])
        return [(reply, now_ms) for reply in checked[len(head) :]]

    async def run(self, script: Script, keys: list[str], *arguments: str | bytes) -> object:
        """Run a script that writes and return its reply.

        Raises:
            StoreUnavailableError: nothing was written.
            OutcomeUnknownError: it may have been written.
        """
        return await self._write(("EVALSHA", script.sha, str(len(keys)), *keys, *arguments), script)

    async def change(self, *commands: RawCommand) -> None:
        """Make changes that can be repeated, on the node of the first command's key.

        Raises:
            StoreUnavailableError: the changes may not have been made.
            OutcomeUnknownError: the changes were made, but are not confirmed.
        """
        level = self._level()
        if not level:
            await self.call(*commands)
            return
        packed = b"".join(map(pack, commands))
        replies, failure = await self._confirm(level, packed, len(commands), self._tags(*commands))
        for reply in replies:
            check(reply)
        if failure is not None:
            raise failure

    async def confirm(self) -> None:
        """Wait until all writes so far are as durable as required, unless this call already waited.

        Raises:
            OutcomeUnknownError: the writes may not be as durable as required.
        """
        if (level := self._level()) and not current_call().confirmed:
            await self.confirm_at(level, "")

    async def confirm_at(self, level: Durability, tag: str) -> None:
        """Wait until all writes to one server are confirmed; `tag` is a hash tag of one of its slots."""
        _, failure = await self._confirm(level, b"", 0, (tag,) if tag else ())
        if failure is not None:
            raise OutcomeUnknownError(str(failure))

    async def infos(self) -> list[dict[str, str]]:
        """Return the INFO of each server of the store."""
        (reply,), _ = await self.call(("INFO",))
        lines = (line.partition(":") for line in cast("bytes", reply).decode().splitlines())
        return [{name: value for name, _, value in lines}]

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """Yield the names of all keys that match a pattern, some at a time. A name can be there twice.

        Raises:
            StoreUnavailableError: the store is unavailable. Begin again.
        """
        cursor = "0"
        while True:
            cursor, keys = await self.scan_step(cursor, pattern, SCAN_COUNT)
            yield keys
            if cursor == "0":
                return

    async def scan_step(self, cursor: str, pattern: str, count: int) -> tuple[str, list[bytes]]:
        """Look at about `count` keys of this server: return the cursor of the next step, 0 after the last one, and the
        names that match a pattern.

        Raises:
            StoreUnavailableError: the store is unavailable, or refuses it.
        """
        (reply,), _ = await self.call(("SCAN", cursor, "MATCH", pattern, "COUNT", str(count)))
        following, keys = cast("tuple[bytes, list[bytes]]", reply)
        return following.decode(), keys

    async def servers(self) -> Sequence["Store"]:
        """Return the servers that together have all keys: of a Cluster its masters."""
        return [self]

    async def now_ms(self, near: str = "") -> int:
        """Return the time of the manual clock, or of the server; in a Cluster, of the node with the key `near`."""
        if self._clock.now_ms is not None:
            return self._clock.now_ms
        return (await self.call())[1]

    async def create(self, key: str, value: bytes) -> None:
        """Set a string that does not exist yet."""
        await self.call(("SET", key, value, "NX"))

    async def create_schema(self, version: str) -> None:
        """Set the schema version of a store that has none."""
        await self.call(("SET", SCHEMA, version, "NX"))

    async def schema(self) -> bytes | None:
        """Return the schema version of the data, None if the store is empty. The data guard does not apply."""
        return await self.unguarded(SCHEMA)

    async def unguarded(self, key: str) -> bytes | None:
        """Return the value of a string. The data guard does not apply."""
        (reply,) = await self._connection.execute(pack(("GET", key)), 1, writes=False, guarded=False)
        return cast("bytes | None", check(reply))

    async def require_data(self) -> None:
        """Check that the store has its data, before something is created or reported as missing.

        Raises:
            StoreUnavailableError: the data is gone, or the store is unavailable.
        """
        if self.guard.is_on and await self.schema() is None:
            self.guard.note(GONE)
        self.guard.check()

    def link(self, key: str) -> object:
        """Return an identifier of the connection for a key; it changes when the connection is opened again."""
        del key  # All keys share one connection.
        return self._connection.opened

    def messages(self) -> PubSub:
        """Return a client that can subscribe to channels."""
        return self.admin.pubsub()

    def connection_router(self, timeout_seconds: float) -> ConnectionRouter:
        """Return the connections of one thread, with their timeout."""
        return ConnectionRouter(BlockingConnection(self._master, timeout_seconds), self._master.invalidate)

    def call_seconds(self, required: Durability) -> float:
        """Return how long a call with a required durability may wait for the store in total."""
        level = self.promise.level if required is Durability.MEMORY else self.promise.level | required
        return self.write_timeout_seconds(level)

    def write_timeout_seconds(self, level: Durability) -> float:
        """Return the timeout of a connection on which the store confirms writes."""
        return self.timeout_seconds + self.promise.timeout_seconds * level.bit_count()

    async def _write(self, command: RawCommand, script: Script) -> object:
        """Run a script. After a refusal by a replica, the Sentinels are asked for the current master."""
        deadline = asyncio.get_running_loop().time() + self.timeout_seconds
        while True:
            try:
                return await self.write_once(command, script)
            except ReadOnlyError:
                if self.endpoint.sentinels is None or asyncio.get_running_loop().time() >= deadline:
                    raise
            self._master.invalidate()
            await asyncio.sleep(REDIRECT_DELAY_SECONDS)

    async def write_once(self, command: RawCommand, script: Script, *, asking: bool = False) -> object:
        """Run a script on this server. `asking`: the server is importing the slot.

        Raises:
            RedirectError: the script was not run; another server may run it, or this one later.
        """
        packed, load, level = (ASKING if asking else b"") + pack(command), b"", self._level()
        for _ in range(MAX_ATTEMPTS):
            count, failure = 1 + bool(load) + asking, None
            if level:
                replies, failure = await self._confirm(level, load + packed, count, self._tags(command))
                if failure is not None and len(replies) < count:
                    raise failure
            else:
                replies = await self._connection.execute(load + packed, count, writes=True)
            try:
                reply = check(replies[-1])
            except NoScriptError:
                # Nothing was run, so this does not repeat a write. A restart or SCRIPT FLUSH removes scripts.
                load = pack(("SCRIPT", "LOAD", script.source))
                continue
            if failure is not None and not needs_repair(reply):
                raise failure
            return reply
        raise StoreUnavailableError("the store lost the script repeatedly")

    async def read_once(self, command: RawCommand, *, asking: bool) -> tuple[object, int]:
        """Return the reply to one read and the time before it; `asking` as in `write_once`."""
        if not asking:
            replies, now_ms = await self.call(command)
            return replies[0], now_ms
        now, _, reply = await self._connection.execute(TIME + ASKING + pack(command), 3, writes=False)
        manual_now_ms = self._clock.now_ms
        return check(reply), time_ms(now) if manual_now_ms is None else manual_now_ms

    def _level(self) -> Durability:
        """Return the level of durability that the current call has to wait for."""
        required = current_call().durability
        # Arithmetic with flags is slow, and hardly any call requires more.
        if required is Durability.MEMORY:
            return self.promise.level
        return Durability.MEMORY if required is None else self.promise.level | required

    def _tags(self, *commands: RawCommand) -> tuple[str, ...]:
        """Return the hash tags of the keys of some commands, if the server is a node of a Cluster."""
        return tuple(dict.fromkeys(tag_of(key_of(command)) for command in commands)) if self._tagged else ()

    async def _confirm(self, level: Durability, packed: bytes, count: int, tags: tuple[str, ...]) -> Written:
        """Send writes that the store has to confirm; `tags` are the hash tags of their keys."""
        current_call().confirmed = True
        commit = self._confirmed.get(level)
        if commit is None:
            connection = PipelinedConnection(self._master, self.write_timeout_seconds(level))
            commit = self._confirmed[level] = GroupCommit(connection, self.promise, level)
        return await commit.execute(packed, count, tags, current_store_deadline(self.write_timeout_seconds(level)))

    async def close(self) -> None:
        """Close all connections."""
        self._connection.close()
        self._batches.close()
        for commit in self._confirmed.values():
            commit.close()
        await self._master.close()
        await self.admin.aclose()


def _checked(reply: object, unconfirmed: StoreError | None) -> object:
    """Return a reply, or its error, or `unconfirmed` in place of the reply to a write."""
    try:
        reply = check(reply)
    except StoreError as error:
        return error
    if unconfirmed is None or needs_repair(reply):
        return reply
    # A list has the replies to the uses of a batch.
    return [_checked(each, unconfirmed) for each in reply] if isinstance(reply, list) else unconfirmed
