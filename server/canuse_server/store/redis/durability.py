"""What a write has reached before it is acknowledged, and how the store is made to say so.

`WAIT` and `WAITAOF` wait for the last write of their own connection. An answer may also tell of a write that was made
on another one: a repeated call gets the answer of its first attempt. So a write of no meaning goes before them: once
that is confirmed, everything that was written before it is.
"""

from dataclasses import dataclass
from typing import Final

import hiredis

from canuse_server.domain.durability import Durability
from canuse_server.store.keys import written
from canuse_server.store.redis.replies import is_redirect, pack

APPENDFSYNC: Final = ("CONFIG", "GET", "appendfsync")
"""Asks when a store brings its file to the disk."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The commands at the end of a batch of writes that have the store confirm all of them. See `fault`."""

    packed: bytes
    replies: int
    wanted: tuple[int, ...]
    on_disk: bool
    """Whether the last reply is how the store brings its file to the disk."""

    @staticmethod
    def is_elsewhere(replies: list[object]) -> bool:
        """Whether the write of no meaning was for a key that has moved: then one that is still here has to be tried."""
        return is_redirect(replies[0])

    def fault(self, replies: list[object]) -> str | None:
        """Return in words what the replies to the commands lack; None: the writes are confirmed."""
        if isinstance(replies[0], hiredis.ReplyError):
            return f"the store could not confirm the writes: {replies[0]}"
        for reply, wanted in zip(replies[1:], self.wanted, strict=False):
            # WAITAOF tells of the own file and of those of replicas, WAIT of replicas.
            count = reply[0] if isinstance(reply, list) else reply
            if isinstance(count, hiredis.ReplyError):
                return f"the store could not confirm the writes: {count}"
            if not isinstance(count, int) or count < wanted:
                return f"the store did not confirm the writes in time: {count!r} of {wanted}"
        return disk_fault(replies[-1]) if self.on_disk else None


@dataclass(frozen=True, slots=True)
class Promise:
    """What the server promises for every write: a level, how many replicas that takes, how long one waits for it."""

    level: Durability = Durability.MEMORY
    replicas: int = 1
    timeout_seconds: float = 2.0

    def confirmation(self, level: Durability, tag: str = "") -> Confirmation:
        """Return what has writes confirmed; `tag` is the hash tag of a key on the node that they are on."""
        limit = str(max(1, round(self.timeout_seconds * 1000)))
        commands: list[tuple[str, ...]] = [("SET", written(tag), "")]
        wanted = []
        # The replicas first: while one waits for them the own file is on its way as well.
        if level & Durability.REPLICA:
            commands.append(("WAIT", str(self.replicas), limit))
            wanted.append(self.replicas)
        if level & Durability.FSYNC:
            commands.append(("WAITAOF", "1", "0", limit))
            wanted.append(1)
            commands.append(APPENDFSYNC)
        on_disk = commands[-1] is APPENDFSYNC
        return Confirmation(b"".join(map(pack, commands)), len(commands), tuple(wanted), on_disk)


def disk_fault(reply: object) -> str | None:
    """Return in words why a store does not wait for its disk, by its reply to APPENDFSYNC; None: it does.

    Valkey (up to 9.1 at least) and some versions of Redis 7 answer WAITAOF at once where `appendfsync` is not `always`,
    although nothing has reached the disk yet (redis/redis#13793). A store that refuses to tell has to be trusted.
    """
    if isinstance(reply, list) and len(reply) == 2 and reply[1] != b"always":
        return f"the store's appendfsync is {reply[1].decode()}, so it confirms writes that are not on disk yet"
    return None
