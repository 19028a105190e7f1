"""Confirmation that writes have reached the disk or the replicas.

`WAIT` and `WAITAOF` wait for the last write of their own connection. But a response may depend on a write of another
connection: a repeated call gets the response of its first attempt. So a marker is written before them: once it is
confirmed, so is everything before it.
"""

from dataclasses import dataclass
from typing import Final

import hiredis

from canuse_server.domain.durability import Durability
from canuse_server.store.errors import OutcomeUnknownError, UnmetDurabilityError
from canuse_server.store.keys import confirmation_marker
from canuse_server.store.redis.replies import is_redirect, pack

APPENDFSYNC: Final = ("CONFIG", "GET", "appendfsync")
"""Reads when the store syncs its append-only file to disk."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The commands after a batch of writes that make the store confirm all of them. See `error`."""

    packed: bytes
    replies: int
    required: tuple[int, ...]
    on_disk: bool
    """Whether the last reply is that to APPENDFSYNC."""

    @staticmethod
    def is_redirected(replies: list[object]) -> bool:
        """Whether the slot of the marker has moved to another node: retry with a key that is still on this one."""
        return is_redirect(replies[0])

    def error(self, replies: list[object]) -> OutcomeUnknownError | None:
        """Return why the writes are not confirmed according to the replies, or None if they are."""
        if isinstance(replies[0], hiredis.ReplyError):
            return OutcomeUnknownError(f"the store could not confirm the writes: {replies[0]}")
        if self.on_disk and (unmet := disk_problem(*replies[-2:])):
            return UnmetDurabilityError(unmet)
        for reply, required in zip(replies[1:], self.required, strict=False):
            # WAITAOF returns two counts, of the server's own file and of those of replicas; WAIT that of replicas.
            count = reply[0] if isinstance(reply, list) else reply
            if isinstance(count, hiredis.ReplyError):
                return OutcomeUnknownError(f"the store could not confirm the writes: {count}")
            if not isinstance(count, int) or count < required:
                return OutcomeUnknownError(f"the store did not confirm the writes in time: {count!r} of {required}")
        return None


@dataclass(frozen=True, slots=True)
class Promise:
    """The durability that the server promises for every write, and the maximum time to wait for it."""

    level: Durability = Durability.MEMORY
    replicas: int = 1
    timeout_seconds: float = 2.0

    def confirmation(self, level: Durability, tag: str = "") -> Confirmation:
        """Return the commands that confirm writes; `tag` is the hash tag of a key on their node."""
        limit = str(max(1, round(self.timeout_seconds * 1000)))
        commands: list[tuple[str, ...]] = [("SET", confirmation_marker(tag), "")]
        required = []
        # The replicas first: the server's own file is synced during that wait.
        if level & Durability.REPLICA:
            commands.append(("WAIT", str(self.replicas), limit))
            required.append(self.replicas)
        if level & Durability.FSYNC:
            commands.append(("WAITAOF", "1", "0", limit))
            required.append(1)
            commands.append(APPENDFSYNC)
        on_disk = commands[-1] is APPENDFSYNC
        return Confirmation(b"".join(map(pack, commands)), len(commands), tuple(required), on_disk)


def disk_problem(waited: object, appendfsync: object) -> str | None:
    """Return why a store does not wait for its disk, by its replies to WAITAOF and APPENDFSYNC, or None if it does.

    Valkey (up to 9.1 at least) and some versions of Redis 7 answer WAITAOF at once if `appendfsync` is not `always`,
    although nothing has reached the disk yet (redis/redis#13793). A store that refuses CONFIG has to be trusted.
    """
    if isinstance(waited, hiredis.ReplyError) and "appendonly" in str(waited):
        return "durability fsync needs an append-only file, and the store has none: set its appendonly to yes"
    if isinstance(appendfsync, list) and len(appendfsync) == 2 and appendfsync[1] != b"always":
        current = appendfsync[1].decode()
        return (
            f"durability fsync needs the store's appendfsync to be always, and it is {current}; "
            "for the embedded Valkey it is the setting fsync"
        )
    return None
