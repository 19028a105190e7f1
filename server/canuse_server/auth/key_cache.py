"""The API keys in the server's memory, kept as they are in the store."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final

from canuse_server.auth.authorizer import Authorizer
from canuse_server.store.repositories.api_keys import ApiKeys
from canuse_server.store.repositories.invalidation import keep_fresh

POLL_INTERVAL_SECONDS: Final = 0.4
"""How old what is in memory can become where the message about a change is lost. A revocation has a second."""
LAST_USED_INTERVAL_SECONDS: Final = 60.0
"""How often it is noted of a key that it is used."""


class ApiKeyCache:
    """Reads the keys and hands them to the authorizer."""

    def __init__(self, keys: ApiKeys, authorizer: Authorizer) -> None:
        self._keys = keys
        self._authorizer = authorizer
        self._stamp: bytes | None = None
        self._noted: dict[str, float] = {}
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the keys again if they have changed; raises StoreError."""
        async with self._reading:
            stamp, now_ms = await self._keys.stamp()
            self._authorizer.set_clock(now_ms)
            if stamp != self._stamp:
                read = await self._keys.read()
                if not read.total:
                    # An empty store is no reason to let anybody in, or to forget the keys.
                    await self._keys.store.require_data()
                self._authorizer.set_keys(read.keys, demanded=read.were_made)
                self._stamp = read.stamp

    async def note_used(self) -> None:
        """Note which keys have been used, of each once a minute at most; raises StoreError."""
        now = time.monotonic()
        self._noted = {key_id: at for key_id, at in self._noted.items() if now - at < LAST_USED_INTERVAL_SECONDS}
        due = [key_id for key_id in self._authorizer.take_used() if key_id not in self._noted]
        if due:
            self._noted |= dict.fromkeys(due, now)
            await self._keys.note_used(dict.fromkeys(due, await self._keys.store.now_ms()))

    def keep_fresh(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what keeps up with the store: all the time by the stamp, at once when told of a change."""
        return keep_fresh(
            self._keys.store, self._keys.channel, self._keep_up, POLL_INTERVAL_SECONDS, "what is known of API keys"
        )

    async def _keep_up(self) -> None:
        await self.refresh()
        await self.note_used()
