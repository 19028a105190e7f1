"""Random calls of several kinds from many callers, for users whose answers can be told apart."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import grpc

from canuse import v1
from support.load import MAX_WAIT_SECONDS, OWN_CONNECTION, limited_package, subscribers, used
from support.message_clients import AsyncClient, Client
from support.resources import consumable

if TYPE_CHECKING:
    from canuse.v1.entitlement_service_pb2_grpc import EntitlementServiceAsyncStub

USERS: Final = 40
FIRST_LIMIT: Final = 1000
CONNECTIONS: Final = 4


@dataclass
class LoadUser:
    """A user with a limit that no other user has, and the outcome of their calls."""

    user_id: str
    feature_id: str
    limit: int
    counted: int = 0
    maybe_counted: int = 0

    def check(self, consumption: v1.Consumption) -> None:
        """Assert that an answer is about this user."""
        assert consumption.budget == self.limit


async def create_users(address: str) -> list[LoadUser]:
    """Create users with different limits."""
    limits = range(FIRST_LIMIT, FIRST_LIMIT + USERS)
    feature_id, package_ids = await asyncio.to_thread(_limited_packages, address, limits)
    async with AsyncClient(address, timeout_seconds=MAX_WAIT_SECONDS) as client:
        user_ids = await subscribers(client, package_ids)
    return [LoadUser(user_id, feature_id, limit) for user_id, limit in zip(user_ids, limits, strict=True)]


def _limited_packages(address: str, limits: Iterable[int]) -> tuple[str, list[str]]:
    with Client(address) as client:
        feature_id = consumable(client)
        return feature_id, [limited_package(client, feature_id, limit) for limit in limits]


@asynccontextmanager
async def stubs(address: str) -> AsyncIterator[list["EntitlementServiceAsyncStub"]]:
    """Open stubs with a connection each."""
    channels = [grpc.aio.insecure_channel(address, OWN_CONNECTION) for _ in range(CONNECTIONS)]
    try:
        yield [v1.EntitlementServiceStub(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


@dataclass
class MixedLoad:
    """Random calls for some users over some connections, and the number of each outcome."""

    rng: random.Random
    stubs: Sequence["EntitlementServiceAsyncStub"]
    users: Sequence[LoadUser]
    outcomes: Counter[str] = field(default_factory=Counter)

    def pick(self) -> "tuple[LoadUser, EntitlementServiceAsyncStub]":
        """Choose a user and a connection."""
        return self.rng.choice(self.users), self.rng.choice(self.stubs)

    def check_counts(self, address: str) -> None:
        """Assert that everything acknowledged was counted, and nothing that certainly did not happen."""
        with Client(address) as client:
            for user in self.users:
                count = used(client, user.user_id, user.feature_id)
                assert user.counted <= count <= user.counted + user.maybe_counted, user
