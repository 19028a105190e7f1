"""While the connection to the store breaks repeatedly, every answer is right, and every error true."""

import asyncio
import random
from pathlib import Path

import grpc

from canuse import v1
from canuse.errors import from_rpc_error
from support.load import MAX_WAIT_SECONDS
from support.mixed_load import MixedLoad, create_users, stubs
from support.processes import Canuse, RedisServer
from support.relay import Relay
from support.resources import unique

WORKERS = 60
FAULTS = ("cut", "replies", "forget", "requests", "cut", "forget", "late", "cut", "cut", "forget", "cut")


class FaultyStoreLoad(MixedLoad):
    """Calls that may fail because the store is unavailable, and for no other reason."""

    async def call_until_it_counts(self) -> None:
        """Record an event until it is acknowledged: with its event id it counts once."""
        user, event_id = self.pick()[0], unique("event")
        request = v1.CreateUsageEventRequest(user_id=user.user_id, feature_id=user.feature_id, event_id=event_id)
        for _ in range(1000):
            try:
                answer = await self.pick()[1].CreateUsageEvent(request, timeout=MAX_WAIT_SECONDS)
            except grpc.aio.AioRpcError as error:
                await self._failed(error)
            else:
                user.check(answer.consumption)
                assert answer.event_id == event_id
                user.counted += 1
                return
        raise AssertionError(f"{event_id} was never acknowledged")

    async def call_once(self) -> None:
        """Make a call: if it fails it has not counted, unless its outcome is unknown."""
        user, stub = self.pick()
        request = v1.UseFeatureRequest(user_id=user.user_id, feature_id=user.feature_id)
        try:
            answer = await stub.UseFeature(request, timeout=MAX_WAIT_SECONDS)
        except grpc.aio.AioRpcError as error:
            reason = await self._failed(error)
            user.maybe_counted += reason == "OUTCOME_UNKNOWN"
        else:
            user.check(answer.consumption)
            user.counted += 1

    async def check_once(self) -> None:
        """Make a check, which never fails: without the store its answer says so and has no counts."""
        user, stub = self.pick()
        request = v1.CanUseRequest(user_id=user.user_id, feature_id=user.feature_id)
        answer = await stub.CanUse(request, timeout=MAX_WAIT_SECONDS)
        if answer.reason == v1.REASON_STORE_UNAVAILABLE:
            assert not answer.access
            assert not answer.HasField("consumption")
            await asyncio.sleep(0.01)
        else:
            user.check(answer.consumption)

    async def _failed(self, error: grpc.aio.AioRpcError) -> str:
        """Count a failure, wait a little, and return its reason; raise it if it is not about the store."""
        reason = from_rpc_error(error).reason
        if error.code() != grpc.StatusCode.UNAVAILABLE or reason not in ("STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"):
            raise error
        self.outcomes[reason] += 1
        await asyncio.sleep(0.01)
        return reason

    async def run(self, until: asyncio.Event) -> None:
        """Keep calling from one worker."""
        while not until.is_set():
            await self.rng.choice((self.call_until_it_counts, self.call_once, self.check_once))()


async def inject_fault(fault: str, relay: Relay, redis: RedisServer) -> None:
    """Inject one fault: cut connections, delay replies longer than calls wait, or make the store forget the scripts."""
    match fault:
        case "forget":
            await asyncio.to_thread(redis.command, "SCRIPT", "FLUSH")
        case "late":
            # Late replies arrive when other calls are waiting: they must not be mistaken for theirs.
            relay.hold_replies()
            await asyncio.sleep(1.4)
            relay.release()
        case "replies" | "requests":
            relay.hold_replies() if fault == "replies" else relay.hold_requests()
            await asyncio.sleep(0.7)
            relay.release()
            relay.cut()
        case _:
            relay.cut()


async def test_every_answer_is_right_and_every_count_exact_while_connections_to_the_store_break(
    transport: str, tmp_path: Path, redis: RedisServer
) -> None:
    rng = random.Random(5)
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": "0.5"}
    async with Relay.to(redis.port) as relay:
        canuse = Canuse(tmp_path, "--transport", transport, "--redis-url", relay.url, env=env)
        await asyncio.to_thread(canuse.start)
        try:
            async with stubs(canuse.address) as opened:
                load = FaultyStoreLoad(rng, opened, await create_users(canuse.address))
                done = asyncio.Event()
                workers = [asyncio.create_task(load.run(done)) for _ in range(WORKERS)]
                for fault in FAULTS:
                    await asyncio.sleep(rng.uniform(0.05, 0.15))
                    await inject_fault(fault, relay, redis)
                done.set()
                await asyncio.gather(*workers)
            assert load.outcomes["OUTCOME_UNKNOWN"]
            await asyncio.to_thread(load.check_counts, canuse.address)
        finally:
            await asyncio.to_thread(canuse.stop)
    assert not canuse.failed_unexpectedly()
