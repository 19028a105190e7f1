"""Many concurrent callers: connections, bulk creation of users, and the outcome of calls."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from canuse import Unavailable, v1
from support.message_clients import AsyncClient, Client
from support.processes import Canuse
from support.resources import unique

T = TypeVar("T")

MAX_WAIT_SECONDS: Final = 30
# Channels to one address share a connection by default.
OWN_CONNECTION: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100))


@contextmanager
def running(canuse: Canuse) -> Iterator[Canuse]:
    """Run a server while the block runs."""
    canuse.start()
    try:
        yield canuse
    finally:
        canuse.stop()


@asynccontextmanager
async def callers(address: str, connections: int) -> AsyncIterator[list[AsyncClient]]:
    """Open clients with a connection each."""
    async with AsyncExitStack() as stack:
        opened = (
            AsyncClient(address, timeout_seconds=MAX_WAIT_SECONDS, options=OWN_CONNECTION) for _ in range(connections)
        )
        yield [await stack.enter_async_context(client) for client in opened]


async def in_groups(size: int, calls: Iterable[Awaitable[T]]) -> list[T]:
    """Await many calls, so many at a time; return their results in order."""
    semaphore = asyncio.Semaphore(size)

    async def one(call: Awaitable[T]) -> T:
        async with semaphore:
            return await call

    return await asyncio.gather(*map(one, calls))


async def subscribers(client: AsyncClient, package_ids: Sequence[str]) -> list[str]:
    """Create a user for each package, subscribed to it; return their ids in the same order."""

    async def one(package_id: str) -> str:
        user_id = unique("user")
        await client.create_user(user_id)
        await client.subscribe(user_id, [package_id])
        return user_id

    return await in_groups(20, (one(package_id) for package_id in package_ids))


def limited_package(
    client: Client, feature_id: str, limit: int, kind: v1.PackageType.ValueType = v1.PACKAGE_TYPE_BASE
) -> str:
    """Publish a package that lists one feature with a limit that never resets; return its id."""
    package_id = unique("package")
    entry = v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=v1.RESET_PERIOD_NEVER)
    client.create_package(package_id, [entry], type=kind)
    client.publish_package(package_id)
    return package_id


def used(client: Client, user_id: str, feature_id: str) -> int:
    """Return a user's count."""
    return client.show_usage(user_id, feature_id).current.used


@dataclass
class Events:
    """Usage events of one user, each sent once or several times with an id of its own."""

    user_id: str
    feature_id: str
    acknowledged: dict[str, v1.CreateUsageEventResponse] = field(default_factory=dict)
    unacknowledged: set[str] = field(default_factory=set)

    async def send(self, client: AsyncClient, event_id: str) -> bool:
        """Send one; return whether it was acknowledged. Failures other than Unavailable are raised."""
        self.unacknowledged.add(event_id)
        try:
            answer = await client.create_usage_event(self.user_id, self.feature_id, event_id=event_id)
        except Unavailable:
            return False
        assert answer.recorded
        self.acknowledged[event_id] = answer
        self.unacknowledged.discard(event_id)
        return True

    async def send_until_acknowledged(self, client: AsyncClient, event_id: str) -> None:
        """Send one repeatedly until it is acknowledged."""
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        while not await self.send(client, event_id):
            assert time.monotonic() < deadline, f"{event_id} was never acknowledged"
            await asyncio.sleep(0.02)

    async def send_continuously(self, clients: Sequence[AsyncClient], workers: int, until: asyncio.Event) -> None:
        """Send new events from many workers until told to stop; failed ones are not repeated."""

        async def work(client: AsyncClient) -> None:
            while not until.is_set():
                if not await self.send(client, unique("event")):
                    await asyncio.sleep(0.02)

        await asyncio.gather(*(work(clients[number % len(clients)]) for number in range(workers)))


def until(condition: Callable[[], object], seconds: float = MAX_WAIT_SECONDS) -> None:
    """Block the thread until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


async def wait_until(condition: Callable[[], object]) -> None:
    """Wait on the event loop until a condition holds."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)
