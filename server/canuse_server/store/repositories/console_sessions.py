"""The sessions of people who have logged in to the console, and the forms that they have sent: strings that expire."""

import secrets
from typing import Final, cast

from canuse_server.store.keys import CONSOLE_FORM, CONSOLE_SESSION
from canuse_server.store.redis.client import Store

LIFETIME_SECONDS: Final = 12 * 3600
"""How long a session lasts, by the store's own clock, also where the server is on the manual clock."""
FORM_SECONDS: Final = 24 * 3600
"""How long it is known that a form was sent."""


class ConsoleSessions:
    """Sessions by the digest of their id: whoever reads the store cannot use them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def begin(self, digest: str, key_id: str) -> None:
        """Store a session of the holder of an API key. Raises StoreError."""
        await self._store.require_data()
        await self._store.change(("SET", CONSOLE_SESSION + digest, key_id, "EX", str(LIFETIME_SECONDS)))

    async def key_id(self, digest: str) -> str | None:
        """Return the id of the API key that a session was begun with; None if there is no such session."""
        (value,), _ = await self._store.call(("GET", CONSOLE_SESSION + digest))
        return None if value is None else cast("bytes", value).decode()

    async def end(self, digest: str) -> None:
        """End a session. Raises StoreError."""
        await self._store.change(("DEL", CONSOLE_SESSION + digest))

    async def claim(self, digest: str) -> bool:
        """Return whether a form is sent for the first time. Raises StoreError."""
        key, attempt = CONSOLE_FORM + digest, secrets.token_hex(8)
        # The commands may be sent twice: what is stored says whose attempt was the first.
        (_, first), _ = await self._store.call(("SET", key, attempt, "NX", "EX", str(FORM_SECONDS)), ("GET", key))
        return cast("bytes", first).decode() == attempt
