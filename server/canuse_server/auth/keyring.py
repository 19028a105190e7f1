"""The API keys in the server's memory, kept as they are in the store."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from canuse_server.auth.gate import Gate
from canuse_server.observe.throttle import Throttle
from canuse_server.store.api_keys import ApiKeys

log = structlog.get_logger(__name__)

POLL_SECONDS: Final = 0.4
"""How old what is in memory can become where the message about a change is lost. A revocation has a second."""
NOTE_SECONDS: Final = 60.0
"""How often it is noted of a key that it is used."""
_FAULTS: Final = Throttle(5.0)


class Keyring:
    """Reads the keys and hands them to the gate."""

    def __init__(self, keys: ApiKeys, gate: Gate) -> None:
        self._keys = keys
        self._gate = gate
        self._version = -1
        self._noted: dict[str, float] = {}
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the keys again if they have changed; raises StoreError."""
        async with self._reading:
            version, now_ms = await self._keys.version()
            self._gate.set_clock(now_ms)
            if version != self._version:
                read = await self._keys.read()
                self._gate.set_keys(read.keys)
                self._version = read.version

    async def note_used(self) -> None:
        """Note which keys have been used, of each once a minute at most; raises StoreError."""
        now = time.monotonic()
        self._noted = {key_id: at for key_id, at in self._noted.items() if now - at < NOTE_SECONDS}
        due = [key_id for key_id in self._gate.take_used() if key_id not in self._noted]
        if due:
            self._noted |= dict.fromkeys(due, now)
            await self._keys.note_used(dict.fromkeys(due, await self._keys.store.now_ms()))

    async def follow(self) -> None:
        """Keep up with the store: at once when told of a change, and by the version number all the time."""
        await asyncio.gather(self._go_on(self._poll), self._go_on(self._listen))

    async def _poll(self) -> None:
        while True:
            await self.refresh()
            await self.note_used()
            await asyncio.sleep(POLL_SECONDS)

    async def _listen(self) -> None:
        async with self._keys.store.messages() as messages:
            await messages.subscribe(self._keys.channel)
            while True:
                if await messages.get_message(ignore_subscribe_messages=True, timeout=POLL_SECONDS):
                    await self.refresh()

    async def _go_on(self, work: Callable[[], Awaitable[None]]) -> None:
        """Start a work again and again. Each is on its own: where no messages can be had, the version still tells."""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - whatever it is, following has to go on
                if _FAULTS.let_through() is not None:
                    log.warning("the API keys may be out of date", cause=f"{type(error).__name__}: {error}")
                await asyncio.sleep(POLL_SECONDS)
