"""The address of the master: fixed for a single server, else as the Sentinels report it.

A master that is replaced accepts writes for some seconds until a Sentinel makes it a replica, and then loses them. So
canuse subscribes to the Sentinels' messages, and closes connections to a former master at once.
"""

import asyncio
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from canuse_server.runtime.background import cancel_all
from canuse_server.store.redis.address import Address, StoreAddress
from canuse_server.store.redis.data_guard import DataGuard

log = structlog.get_logger(__name__)

PROBE_TIMEOUT_SECONDS: Final = 0.5
"""Maximum time for a Sentinel to answer."""
POLL_INTERVAL_SECONDS: Final = 1.0
"""Interval at which the Sentinels are asked without a message."""
MIN_REFRESH_INTERVAL_SECONDS: Final = 0.1
"""Minimum time between two rounds of questions."""
CHANNELS: Final = ("+promoted-slave", "+failover-state-reconf-slaves", "+switch-master")
"""The channels on which a Sentinel announces a new master. The last message can follow seconds after the first."""


class MasterResolver:
    """Finds the master. Threads of the lane read `endpoint`; everything else runs on the event loop."""

    def __init__(self, endpoint: StoreAddress, timeout_seconds: float, guard: DataGuard | None = None) -> None:
        self._configured = endpoint
        self.guard = guard or DataGuard()
        self._timeout_seconds = min(timeout_seconds, PROBE_TIMEOUT_SECONDS)
        self.endpoint = endpoint if endpoint.sentinels is None else None
        """The address of the master, None until it is known."""
        self._epoch = -1
        self._is_known = asyncio.Event()
        self._suspected = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def address(self) -> str:
        """The configured address, for messages."""
        return self._configured.address

    def is_at(self, endpoint: StoreAddress) -> bool:
        """Whether `endpoint` is the current master, as far as is known."""
        return endpoint is self.endpoint

    async def resolve(self) -> StoreAddress:
        """Return the address of the master; wait until a Sentinel reports it."""
        if self._configured.sentinels is not None and not self._tasks:
            listening = (self._listen(sentinel) for sentinel in self._configured.sentinels.addresses)
            # An empty context: they must not inherit the deadline of the call that starts them.
            self._tasks = [asyncio.create_task(task, context=Context()) for task in (self._follow(), *listening)]
        while self.endpoint is None:
            await self._is_known.wait()
        return self.endpoint

    def invalidate(self) -> None:
        """Ask the Sentinels again: the master does not answer or has changed."""
        self._suspected.set()

    async def _follow(self) -> None:
        """Ask all Sentinels after `invalidate` and at intervals."""
        while True:
            self._suspected.clear()
            try:
                await self._query_all()
            except Exception as error:  # noqa: BLE001 - whatever fails, polling has to continue
                log.warning("no Sentinel answered", cause=f"{type(error).__name__}: {error}")
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL_SECONDS):
                    await self._suspected.wait()
            await asyncio.sleep(MIN_REFRESH_INTERVAL_SECONDS)

    async def _listen(self, sentinel: Address) -> None:
        """Ask all Sentinels when one of them announces a new master."""
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

    async def _query_all(self) -> None:
        """Ask all Sentinels, and use the answer with the latest failover."""
        assert self._configured.sentinels is not None
        answers = await asyncio.gather(*map(self._query, self._configured.sentinels.addresses))
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
                log.warning("the master has changed", address=str(address))
            self.endpoint = self._configured.at(address)
            self._is_known.set()

    async def _query(self, sentinel: Address) -> tuple[int, Address] | None:
        assert self._configured.sentinels is not None
        client: Any = self._client(sentinel)
        try:
            name = self._configured.sentinels.master
            state = await client.sentinel_master(name)
            # During a failover this returns the new master; `state` still describes the former one.
            host, port = await client.sentinel_get_master_addr_by_name(name)
            return int(state["config-epoch"]), Address(host, port)
        except (RedisError, OSError) as error:
            log.debug("a Sentinel does not say where the master is", sentinel=str(sentinel), cause=str(error))
            return None
        finally:
            with suppress(RedisError, OSError):
                await client.aclose()

    def _client(self, sentinel: Address) -> Redis:
        assert self._configured.sentinels is not None
        times = {"socket_timeout": self._timeout_seconds, "socket_connect_timeout": self._timeout_seconds}
        options: dict[str, Any] = {**self._configured.sentinels.options, **times, "decode_responses": True}
        return Redis(host=sentinel.host, port=sentinel.port, **options)

    async def close(self) -> None:
        """Stop polling and listening."""
        await cancel_all(self._tasks)
