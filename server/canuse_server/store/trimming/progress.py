"""Whose turn it is to trim, and how far a pass has come. All servers of a store share both."""

import json
import secrets
from typing import Final, NamedTuple, cast

from canuse_server.runtime.call_state import unconfirmed
from canuse_server.store.keys import TRIM_PROGRESS, TRIM_TURN
from canuse_server.store.redis.client import Store
from canuse_server.store.scripts.loader import TRIM_TURN as TAKE_TURN

TURN_MS: Final = 60_000
"""How long a server has the turn after it was last heard of. Then another one continues its pass."""


class Place(NamedTuple):
    """How far a pass has come: all before it is trimmed."""

    ledgers: int = 0
    """How many ledgers are done."""
    node: str = ""
    """The address of the server whose keys are being scanned; those with lower addresses are done."""
    cursor: str = "0"
    """Where the scan of this server continues; NODE_DONE if it is done."""


NODE_DONE: Final = "done"


class Progress(NamedTuple):
    """The current pass and the last one, in milliseconds of the store's clock."""

    started_ms: int = 0
    """0: no pass has been started since the last one ended."""
    place: Place = Place()
    ended_ms: int = 0
    """When the last pass ended; 0: none has."""
    lasted_ms: int = 0
    """How long it took."""

    def packed(self) -> str:
        """Return it as it is stored."""
        return json.dumps(self)

    @classmethod
    def unpack(cls, stored: bytes) -> "Progress":
        """Read what is stored; the start of everything if another version has stored it."""
        try:
            started_ms, (ledgers, node, cursor), ended_ms, lasted_ms = json.loads(stored)
            return cls(int(started_ms), Place(int(ledgers), str(node), str(cursor)), int(ended_ms), int(lasted_ms))
        except (ValueError, TypeError):
            return cls()


class Look(NamedTuple):
    """What a look at the turn has shown."""

    has_turn: bool
    progress: Progress
    now_ms: int
    """The time of the store's clock."""


class Turn:
    """The turn of one server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = secrets.token_hex(8)

    async def look(self) -> Look:
        """Return how far the servers have come. Raises StoreError."""
        return await self._run("", "")

    async def take(self, progress: Progress | None = None) -> Look:
        """Take or keep the turn if no other server has it, and then write the progress if any. Raises StoreError."""
        return await self._run(self._name, "" if progress is None else progress.packed())

    async def _run(self, name: str, progress: str) -> Look:
        with unconfirmed():
            reply = await self._store.run(TAKE_TURN, [TRIM_TURN, TRIM_PROGRESS], name, str(TURN_MS), progress)
        has_turn, stored, now_ms = cast("tuple[int, bytes, int]", reply)
        return Look(has_turn == 1, Progress.unpack(stored), now_ms)
