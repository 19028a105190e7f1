"""The store as the rest of canuse sees it: trips on the shared connection, scripts, time, and redis-py for the rest."""

from collections.abc import Sequence
from typing import Final, cast

from redis.asyncio import Redis

from canuse_server.store.connection import PipelinedConnection
from canuse_server.store.durability import CONFIRMED, WANTED, Durability, Promise
from canuse_server.store.endpoint import Endpoint
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from canuse_server.store.group_commit import GroupCommit, Written
from canuse_server.store.lua import ALL, Script
from canuse_server.store.patience import patience_of_call
from canuse_server.store.replies import NoScriptError, check, pack
from canuse_server.store.usage import Trip

TIME: Final = pack(("TIME",))
IN_MEMORY: Final = Promise()
ATTEMPTS: Final = 5
"""How often a script that the store has forgotten is loaded for one call."""


def time_ms(reply: object) -> int:
    """Read Redis's `TIME` in milliseconds."""
    seconds, microseconds = cast("list[bytes]", check(reply))
    return int(seconds) * 1000 + int(microseconds) // 1000


class Store:
    """Redis or Valkey. `manual_now_ms` None: its own clock holds; else the manual clock's time, which stands still.

    A write returns when it has reached what `promise` says and what the caller wants beyond that (`durability.WANTED`).
    """

    def __init__(self, endpoint: Endpoint, timeout_seconds: float, promise: Promise = IN_MEMORY) -> None:
        self.endpoint = endpoint
        self.timeout_seconds = timeout_seconds
        self.promise = promise
        self.manual_now_ms: int | None = None
        self.admin: Redis = endpoint.admin(timeout_seconds)
        self._connection = PipelinedConnection(endpoint, timeout_seconds)
        # Replies come in order: on one connection a single call would wait for all of a batch that was sent before it.
        self._batches = PipelinedConnection(endpoint, timeout_seconds)
        self._confirmed: dict[Durability, GroupCommit] = {}

    @property
    def manual_now(self) -> str:
        """The time that scripts are to take, or empty for Redis's own."""
        return "" if self.manual_now_ms is None else str(self.manual_now_ms)

    async def load_scripts(self) -> None:
        """Make every script known to the server."""
        for script in ALL:
            await self._load(script)

    async def call(self, *commands: tuple[str | bytes, ...]) -> tuple[list[object], int]:
        """Return the replies to commands that only read, or do no harm when repeated, and the time just before.

        Raises:
            StoreUnavailableError: the store is away.
        """
        packed = b"".join(map(pack, commands))
        if self.manual_now_ms is not None:
            if not commands:
                return [], self.manual_now_ms
            replies = await self._connection.execute(packed, len(commands), writes=False)
            return [check(reply) for reply in replies], self.manual_now_ms
        now, *replies = await self._connection.execute(TIME + packed, len(commands) + 1, writes=False)
        return [check(reply) for reply in replies], time_ms(now)

    async def travel(self, trip: Trip) -> tuple[object, int]:
        """Make a trip of the hot path: return the reply, and for a reading one the time just before (else 0).

        Raises:
            StoreUnavailableError: nothing was written.
            OutcomeUnknownError: it may have been written.
        """
        if trip.script is None:
            (reply,), now_ms = await self.call(trip.command)
            return reply, now_ms
        return await self._write(trip.command, trip.script), 0

    async def travel_all(self, trips: Sequence[Trip]) -> tuple[list[object], int]:
        """Make trips of the hot path, all of them reading or all recording, in one write and in their order.

        Returns:
            For each trip its reply, or the StoreError that it ended with (NoScriptError: make it again); and the time
            just before the reading ones (else 0).
        """
        if not trips:
            return [], 0
        scripts = {trip.script for trip in trips if trip.script is not None}
        # Each time, for a script that is loaded while they are on their way would let later ones overtake earlier ones.
        head = [pack(("SCRIPT", "LOAD", script.source)) for script in scripts]
        now_ms = 0 if scripts else self.manual_now_ms
        if now_ms is None:
            head.append(TIME)
        packed = b"".join([*head, *(pack(trip.command) for trip in trips)])
        count, level = len(head) + len(trips), self._level()
        if scripts and level:
            replies, fault = await self._confirm(level, packed, count)
            unconfirmed = fault
        else:
            replies, fault = await self._batches.collect(packed, count, writes=bool(scripts))
            unconfirmed = None
        checked = [_checked(reply, unconfirmed) for reply in replies] + [fault] * (count - len(replies))
        if now_ms is None and isinstance(checked[0], Exception):
            return [checked[0]] * len(trips), 0
        return checked[len(head) :], time_ms(checked[0]) if now_ms is None else now_ms

    async def run(self, script: Script, keys: list[str], *arguments: str | bytes) -> object:
        """Run a script that writes and return its reply.

        Raises:
            StoreUnavailableError: nothing was written.
            OutcomeUnknownError: it may have been written.
        """
        return await self._write(("EVALSHA", script.sha, str(len(keys)), *keys, *arguments), script)

    async def change(self, *commands: tuple[str | bytes, ...]) -> None:
        """Make changes that do no harm when repeated.

        Raises:
            StoreUnavailableError: they may not have been made.
            OutcomeUnknownError: they were made, but are not confirmed.
        """
        level = self._level()
        if not level:
            await self.call(*commands)
            return
        replies, fault = await self._confirm(level, b"".join(map(pack, commands)), len(commands))
        for reply in replies:
            check(reply)
        if fault is not None:
            raise fault

    async def confirm(self) -> None:
        """Have all that was written so far confirmed, unless this call has had it confirmed already.

        Raises:
            OutcomeUnknownError: it may not survive what it was promised to survive.
        """
        if (level := self._level()) and not CONFIRMED.get():
            _, fault = await self._confirm(level, b"", 0)
            if fault is not None:
                raise OutcomeUnknownError(str(fault))

    async def info(self) -> dict[str, str]:
        """Return what the store says about itself."""
        (reply,), _ = await self.call(("INFO",))
        lines = (line.partition(":") for line in cast("bytes", reply).decode().splitlines())
        return {name: value for name, _, value in lines}

    async def now_ms(self) -> int:
        """Return the time: Redis's, or the manual clock's."""
        if self.manual_now_ms is not None:
            return self.manual_now_ms
        return (await self.call())[1]

    async def _write(self, command: tuple[str | bytes, ...], script: Script) -> object:
        packed, load, level = pack(command), b"", self._level()
        for _ in range(ATTEMPTS):
            count, fault = 2 if load else 1, None
            if level:
                replies, fault = await self._confirm(level, load + packed, count)
                if fault is not None and len(replies) < count:
                    raise fault
            else:
                replies = await self._connection.execute(load + packed, count, writes=True)
            try:
                reply = check(replies[-1])
            except NoScriptError:
                # Nothing was run, so that this is no repetition of a write. A restart or SCRIPT FLUSH forgets scripts.
                load = pack(("SCRIPT", "LOAD", script.source))
                continue
            if fault is not None:
                raise fault
            return reply
        raise StoreUnavailableError("the store forgot the script again and again")

    def seconds_for(self, *, writes: bool) -> float:
        """Return how long the call that is being answered may wait for the store in all."""
        return self.patience_seconds(self._level()) if writes else self.timeout_seconds

    def patience_seconds(self, level: Durability) -> float:
        """Return how long a connection may be silent on which the store confirms writes."""
        return self.timeout_seconds + self.promise.timeout_seconds * level.bit_count()

    def _level(self) -> Durability:
        """Return what has to be confirmed for the call that is being answered."""
        return self.promise.level | WANTED.get()

    async def _confirm(self, level: Durability, packed: bytes, count: int) -> Written:
        """Send writes that the store is to confirm."""
        CONFIRMED.set(True)
        commit = self._confirmed.get(level)
        if commit is None:
            connection = PipelinedConnection(self.endpoint, self.patience_seconds(level))
            commit = self._confirmed[level] = GroupCommit(connection, self.promise.confirmation(level))
        return await commit.execute(packed, count, patience_of_call(self.patience_seconds(level)))

    async def _load(self, script: Script) -> None:
        packed = pack(("SCRIPT", "LOAD", script.source))
        check((await self._connection.execute(packed, 1, writes=False))[0])

    async def close(self) -> None:
        """Close all connections."""
        self._connection.close()
        self._batches.close()
        for commit in self._confirmed.values():
            commit.close()
        await self.admin.aclose()


def _checked(reply: object, unconfirmed: StoreError | None) -> object:
    """Return a reply, or what it means where it is an error; else `unconfirmed` in its place, if it is given."""
    try:
        reply = check(reply)
    except StoreError as error:
        return error
    return reply if unconfirmed is None else unconfirmed
