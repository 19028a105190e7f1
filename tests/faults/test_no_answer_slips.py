"""Whoever gives up, and whatever breaks on the way: every answer that comes is the one to its own question."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from canuse import AsyncClient, Client, v1
from canuse.errors import from_rpc_error
from support.load import OWN_CONNECTION, in_groups, plan, subscribers, used
from support.processes import Canuse, RedisServer
from support.relay import Relay
from support.world import consumable, unique

USERS = 40
FIRST_LIMIT = 1000
WORKERS = 60
CALLS = 3000
CONNECTIONS = 4
GIVEN_UP = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
PATIENCE_SECONDS = 30


@dataclass
class Person:
    """A user whose limit nobody else has, and what their calls came to."""

    user_id: str
    feature_id: str
    limit: int
    counted: int = 0
    maybe_counted: int = 0

    def check(self, consumption: v1.Consumption) -> None:
        """Make sure that an answer is about this user."""
        assert consumption.budget == self.limit


async def people(address: str) -> list[Person]:
    """Create users who differ by their limits."""
    limits = range(FIRST_LIMIT, FIRST_LIMIT + USERS)
    feature_id, package_ids = await asyncio.to_thread(plans, address, limits)
    async with AsyncClient(address) as client:
        user_ids = await subscribers(client, package_ids)
    return [Person(user_id, feature_id, limit) for user_id, limit in zip(user_ids, limits, strict=True)]


def plans(address: str, limits: Iterable[int]) -> tuple[str, list[str]]:
    """Publish a package for each limit of one feature; return the ids."""
    with Client(address) as client:
        feature_id = consumable(client)
        return feature_id, [plan(client, feature_id, limit) for limit in limits]


@asynccontextmanager
async def stubs(address: str) -> AsyncIterator[list[v1.EntitlementServiceStub]]:
    channels = [grpc.aio.insecure_channel(address, OWN_CONNECTION) for _ in range(CONNECTIONS)]
    try:
        yield [v1.EntitlementServiceStub(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


@dataclass
class Storm:
    """Calls of all kinds, each for one of several people, some given up on the way."""

    chance: random.Random
    stubs: Sequence[v1.EntitlementServiceStub]
    people: Sequence[Person]
    event_ids: dict[str, Person] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)

    async def call(self, timeout_seconds: float) -> None:
        """Make one call and check that its answer is for its own user."""
        person, stub = self.chance.choice(self.people), self.chance.choice(self.stubs)
        kind = self.chance.choice(("check", "record", "use"))
        ids = {"user_id": person.user_id, "feature_id": person.feature_id}
        if kind == "check":
            person.check((await stub.CanUse(v1.CanUseRequest(**ids), timeout=timeout_seconds)).consumption)
            return
        person.maybe_counted += 1
        answer: v1.CreateUsageEventResponse | v1.UseFeatureResponse
        if kind == "record":
            answer = await stub.CreateUsageEvent(v1.CreateUsageEventRequest(**ids), timeout=timeout_seconds)
            assert answer.recorded
        else:
            answer = await stub.UseFeature(v1.UseFeatureRequest(**ids), timeout=timeout_seconds)
            assert answer.access
        person.check(answer.consumption)
        person.counted += 1
        person.maybe_counted -= 1

    async def call_or_give_up(self) -> None:
        """Make a call with a deadline that may pass, or that is cancelled after a while, or that is waited for."""
        moment = self.chance.choice((0.0, 0.0005, self.chance.uniform(0, 0.05)))
        how = self.chance.choice(("wait", "cancel", "deadline"))
        try:
            if how == "cancel":
                async with asyncio.timeout(moment):
                    await self.call(PATIENCE_SECONDS)
            else:
                await self.call(PATIENCE_SECONDS if how == "wait" else moment)
        except TimeoutError:
            self.outcomes["given up"] += 1
        except grpc.aio.AioRpcError as error:
            assert error.code() in GIVEN_UP, error
            assert how == "deadline", error
            self.outcomes["given up"] += 1
        else:
            self.outcomes["answered"] += 1

    def check_counts(self, address: str) -> None:
        """Make sure that all that was acknowledged was counted, and nothing that was not sent."""
        with Client(address) as client:
            for person in self.people:
                count = used(client, person.user_id, person.feature_id)
                assert person.counted <= count <= person.counted + person.maybe_counted


async def test_every_answer_is_for_its_own_user_while_calls_are_cancelled_and_time_out(server: Canuse) -> None:
    users = await people(server.address)
    async with stubs(server.address) as opened:
        storm = Storm(random.Random(3), opened, users)
        await in_groups(WORKERS, (storm.call_or_give_up() for _ in range(CALLS)))
        # What was given up may still be on its way: the answers after it have to be right as well.
        await in_groups(WORKERS, (storm.call(PATIENCE_SECONDS) for _ in range(USERS * 5)))
    assert storm.outcomes["answered"] >= CALLS / 4
    assert storm.outcomes["given up"] >= CALLS / 4
    await asyncio.to_thread(storm.check_counts, server.address)


class BrokenStorm(Storm):
    """Calls while the connections to the store break. What was to be repeated is repeated with its event id."""

    async def call_until_it_counts(self) -> None:
        """Record an event until it is acknowledged: it counts once."""
        person, event_id = self.chance.choice(self.people), unique("event")
        request = v1.CreateUsageEventRequest(user_id=person.user_id, feature_id=person.feature_id, event_id=event_id)
        for _ in range(1000):
            try:
                answer = await self.chance.choice(self.stubs).CreateUsageEvent(request, timeout=PATIENCE_SECONDS)
            except grpc.aio.AioRpcError as error:
                self._count_failure(error)
                await asyncio.sleep(0.01)
            else:
                person.check(answer.consumption)
                assert answer.event_id == event_id
                person.counted += 1
                return
        raise AssertionError(f"{event_id} was never acknowledged")

    async def call_once(self) -> None:
        """Make a call; one that fails has not counted, unless it says that nobody knows."""
        person, stub = self.chance.choice(self.people), self.chance.choice(self.stubs)
        request = v1.UseFeatureRequest(user_id=person.user_id, feature_id=person.feature_id)
        try:
            answer = await stub.UseFeature(request, timeout=PATIENCE_SECONDS)
        except grpc.aio.AioRpcError as error:
            person.maybe_counted += self._count_failure(error) == "OUTCOME_UNKNOWN"
            await asyncio.sleep(0.01)
        else:
            person.check(answer.consumption)
            person.counted += 1

    async def check_once(self) -> None:
        """Check; that does not write, so its outcome is never unknown."""
        person, stub = self.chance.choice(self.people), self.chance.choice(self.stubs)
        request = v1.CanUseRequest(user_id=person.user_id, feature_id=person.feature_id)
        try:
            person.check((await stub.CanUse(request, timeout=PATIENCE_SECONDS)).consumption)
        except grpc.aio.AioRpcError as error:
            assert self._count_failure(error) == "STORE_UNAVAILABLE"
            await asyncio.sleep(0.01)

    def _count_failure(self, error: grpc.aio.AioRpcError) -> str:
        reason = from_rpc_error(error).reason
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        assert reason in ("STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"), error
        self.outcomes[reason] += 1
        return reason

    async def run(self, until: asyncio.Event) -> None:
        """Keep calling from one worker."""
        while not until.is_set():
            await self.chance.choice((self.call_until_it_counts, self.call_once, self.check_once))()


@pytest.mark.redis
async def test_every_answer_is_right_and_every_count_exact_while_connections_to_the_store_break(
    transport: str, tmp_path: Path, fragile_redis: RedisServer
) -> None:
    chance = random.Random(5)
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": "0.5"}
    async with Relay.to(fragile_redis.port) as relay:
        canuse = Canuse(tmp_path, "--transport", transport, "--redis-url", relay.url, env=env)
        await asyncio.to_thread(canuse.start)
        try:
            async with stubs(canuse.address) as opened:
                storm = BrokenStorm(chance, opened, await people(canuse.address))
                done = asyncio.Event()
                workers = [asyncio.create_task(storm.run(done)) for _ in range(WORKERS)]
                for fault in ("cut", "replies", "requests", "cut", "forget", "replies", "forget", "cut") * 2:
                    await asyncio.sleep(chance.uniform(0.05, 0.15))
                    await break_it(fault, relay, fragile_redis)
                done.set()
                await asyncio.gather(*workers)
            assert storm.outcomes["OUTCOME_UNKNOWN"]
            await asyncio.to_thread(storm.check_counts, canuse.address)
        finally:
            await asyncio.to_thread(canuse.stop)
    assert "no known reason" not in canuse.log


async def break_it(fault: str, relay: Relay, redis: RedisServer) -> None:
    """Do one thing to the way to the store: break it, hold it up for longer than a call waits, or lose the scripts."""
    if fault == "forget":
        await asyncio.to_thread(redis.command, "SCRIPT", "FLUSH")
    elif fault != "cut":
        if fault == "replies":
            relay.hold_replies()
        else:
            relay.hold_requests()
        await asyncio.sleep(0.7)
        relay.release()
    relay.cut()
