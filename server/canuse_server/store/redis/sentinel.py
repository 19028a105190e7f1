"""Where the master is: for a single server always the same place, else where the Sentinels say.

A master that is told to stand back goes on taking writes for some seconds, until a Sentinel gets round to making it a
replica, and loses them then. So the Sentinels are listened to, and connections to a former master are left at once.
"""

import asyncio
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from canuse_server.runtime.background import end
from canuse_server.store.redis.address import Address, StoreAddress
from canuse_server.store.redis.data_guard import DataGuard

log = structlog.get_logger(__name__)

PROBE_TIMEOUT_SECONDS: Final = 0.5
"""How long a Sentinel has to answer at most."""
POLL_INTERVAL_SECONDS: Final = 1.0
"""How often the Sentinels are asked though none of them said anything."""
MIN_REFRESH_INTERVAL_SECONDS: Final = 0.1
"""How long after they were asked they are not asked again."""
CHANNELS: Final = ("+promoted-slave", "+failover-state-reconf-slaves", "+switch-master")
"""The channels of a Sentinel on which it tells of a new master. The last one may come seconds after the first."""


class MasterResolver:
    """Knows where the master is. Lanes read `endpoint` from their threads; all else belongs to the event loop."""

    def __init__(self, endpoint: StoreAddress, timeout_seconds: float, guard: DataGuard | None = None) -> None:
        self._sought = endpoint
        self.guard = guard or DataGuard()
        self._timeout_seconds = min(timeout_seconds, PROBE_TIMEOUT_SECONDS)
        self.endpoint = endpoint if endpoint.sentinels is None else None
        """Where it is, or None where that is not known yet."""
        self._epoch = -1
        self._found = asyncio.Event()
        self._suspected = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def address(self) -> str:
        """What is looked for, for people."""
        return self._sought.address

    def is_at(self, endpoint: StoreAddress) -> bool:
        """Whether a server is still the master, as far as is known."""
        return endpoint is self.endpoint

    async def resolve(self) -> StoreAddress:
        """Return where it is; wait until a Sentinel says."""
        if self._sought.sentinels is not None and not self._tasks:
            listening = (self._listen(sentinel) for sentinel in self._sought.sentinels.addresses)
            # They have no part in the deadline of the call that happens to start them.
            self._tasks = [asyncio.create_task(task, context=Context()) for task in (self._follow(), *listening)]
        while self.endpoint is None:
            await self._found.wait()
        return self.endpoint

    def invalidate(self) -> None:
        """Have the Sentinels asked again: the master does not answer, or is none any more."""
        self._suspected.set()

    async def _follow(self) -> None:
        """Ask all Sentinels: when there is a reason to, and every now and then."""
        while True:
            self._suspected.clear()
            try:
                await self._ask()
            except Exception as error:  # noqa: BLE001 - whatever it is, following has to go on
                log.warning("the Sentinels could not be asked", cause=f"{type(error).__name__}: {error}")
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL_SECONDS):
                    await self._suspected.wait()
            await asyncio.sleep(MIN_REFRESH_INTERVAL_SECONDS)

    async def _listen(self, sentinel: Address) -> None:
        """Have the Sentinels asked when one of them tells of a new master."""
        while True:
            client = self._client(sentinel)
            try:
                async with client.pubsub() as messages:
                    await messages.subscribe(*CHANNELS)
                    while True:
                        message = await messages.get_message(
                            ignore_subscribe_messages=True, timeout=POLL_INTERVAL_SECONDS
                        )
                        if message is not None:
                            self.invalidate()
            except (RedisError, OSError) as error:
                log.warning(
                    "a Sentinel does not answer", sentinel=str(sentinel), cause=f"{type(error).__name__}: {error}"
                )
            finally:
                await client.aclose()
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def _ask(self) -> None:
        """Ask all Sentinels; whichever knows of the latest failover is right."""
        assert self._sought.sentinels is not None
        answers = await asyncio.gather(*map(self._ask_one, self._sought.sentinels.addresses))
        known = [answer for answer in answers if answer is not None]
        if not known:
            return
        epoch, address = max(known)
        if epoch < self._epoch:
            return
        self._epoch = epoch
        at = self.endpoint
        if at is None or (at.host, at.port) != address:
            if at is not None:
                log.warning("another server is the master now", address=str(address))
            self.endpoint = self._sought.at(address)
            self._found.set()

    async def _ask_one(self, sentinel: Address) -> tuple[int, Address] | None:
        assert self._sought.sentinels is not None
        client: Any = self._client(sentinel)
        try:
            name = self._sought.sentinels.master
            state = await client.sentinel_master(name)
            # In a failover it says here which replica is to be the master, and there still who was.
            host, port = await client.sentinel_get_master_addr_by_name(name)
            return int(state["config-epoch"]), Address(host, port)
        except (RedisError, OSError) as error:
            log.debug("a Sentinel does not say where the master is", sentinel=str(sentinel), cause=str(error))
            return None
        finally:
            with suppress(RedisError, OSError):
                await client.aclose()

    def _client(self, sentinel: Address) -> Redis:
        assert self._sought.sentinels is not None
        times = {"socket_timeout": self._timeout_seconds, "socket_connect_timeout": self._timeout_seconds}
        options: dict[str, Any] = {**self._sought.sentinels.options, **times, "decode_responses": True}
        return Redis(host=sentinel.host, port=sentinel.port, **options)

    async def close(self) -> None:
        """Listen no more."""
        await end(self._tasks)
