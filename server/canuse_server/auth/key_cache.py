"""A cache of the API keys, and of the keys that sign user tokens, kept up to date with the store."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final

from canuse_server.auth.authorizer import Authorizer
from canuse_server.store.repositories.api_keys import ApiKeys
from canuse_server.store.repositories.invalidation import keep_fresh
from canuse_server.store.repositories.user_tokens import SigningKeys, SigningKeysRead

POLL_INTERVAL_SECONDS: Final = 0.4
"""Maximum age of the cache if the message about a change is lost. A revocation must take effect within a second."""
LAST_USED_INTERVAL_SECONDS: Final = 60.0
"""Interval at which the last use of a key is written to the store."""


class ApiKeyCache:
    """Reads the keys and passes them to the authorizer. Rotates the keys that sign user tokens."""

    def __init__(self, keys: ApiKeys, authorizer: Authorizer) -> None:
        self._keys = keys
        self._authorizer = authorizer
        self._signing_keys = SigningKeys(keys.store)
        self._signing: SigningKeysRead | None = None
        self._stamp: bytes | None = None
        self._noted_at: dict[str, float] = {}
        self._refresh_lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the API keys if they have changed, and the keys that sign user tokens. Raises StoreError."""
        async with self._refresh_lock:
            stamp, now_ms = await self._keys.stamp()
            self._authorizer.set_clock(now_ms)
            if stamp != self._stamp:
                read = await self._keys.read()
                if not read.total:
                    # A store that lost its data must neither open access nor remove the keys.
                    await self._keys.store.require_data()
                self._authorizer.set_keys(read.keys, keys_seen=read.ever_existed)
                self._stamp = read.stamp
            self._signing = await self._signing_keys.read()
            self._authorizer.tokens.keys = {key.number: key for key in self._signing.keys}

    async def forget(self) -> None:
        """Forget that keys ever existed: the data was deleted on purpose. The next refresh reads them."""
        async with self._refresh_lock:
            self._authorizer.keys_seen = False
            self._stamp = None

    async def note_used(self) -> None:
        """Write the last use of the used keys, at most once per minute for each. Raises StoreError."""
        now = time.monotonic()
        self._noted_at = {key_id: at for key_id, at in self._noted_at.items() if now - at < LAST_USED_INTERVAL_SECONDS}
        due = [key_id for key_id in self._authorizer.take_used() if key_id not in self._noted_at]
        if due:
            self._noted_at |= dict.fromkeys(due, now)
            await self._keys.note_used(dict.fromkeys(due, await self._keys.store.now_ms()))

    def keep_fresh(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return the tasks that keep the cache up to date: they poll the stamp and listen for changes."""
        return keep_fresh(
            self._keys.store,
            self._keys.channel,
            self._refresh_and_note,
            POLL_INTERVAL_SECONDS,
            "what is known of API keys",
        )

    async def rotate_signing_keys(self) -> None:
        """Create the next key that signs user tokens, if that is due. Raises StoreError."""
        if self._signing is not None and await self._signing_keys.rotate(self._signing):
            await self.refresh()

    async def _refresh_and_note(self) -> None:
        await self.refresh()
        await self.note_used()
        # Last: a store that refuses writes must not stop the rest.
        await self.rotate_signing_keys()
