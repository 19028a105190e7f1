"""Whichever calls are cancelled or time out, every answer belongs to its own question."""

import asyncio
import random

import grpc

from canuse import v1
from support.load import MAX_WAIT_SECONDS, in_groups
from support.mixed_load import USERS, LoadUser, MixedLoad, create_users, stubs
from support.processes import Canuse

WORKERS = 60
CALLS = 3000
GIVEN_UP = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class ImpatientLoad(MixedLoad):
    """Calls of which many are cancelled or time out."""

    async def call(self, timeout_seconds: float) -> None:
        """Make a call, and assert that its answer is for its own user."""
        user, stub = self.pick()
        kind = self.rng.choice(("check", "record", "use"))
        if kind == "check":
            check = v1.CanUseRequest(user_id=user.user_id, feature_id=user.feature_id)
            user.check((await stub.CanUse(check, timeout=timeout_seconds)).consumption)
            return
        user.maybe_counted += 1
        if kind == "record":
            record = v1.CreateUsageEventRequest(user_id=user.user_id, feature_id=user.feature_id)
            recorded = await stub.CreateUsageEvent(record, timeout=timeout_seconds)
            assert recorded.recorded
            self._counted(user, recorded.consumption)
        else:
            use = v1.UseFeatureRequest(user_id=user.user_id, feature_id=user.feature_id)
            used = await stub.UseFeature(use, timeout=timeout_seconds)
            assert used.access
            self._counted(user, used.consumption)

    def _counted(self, user: LoadUser, consumption: v1.Consumption) -> None:
        user.check(consumption)
        user.counted += 1
        user.maybe_counted -= 1

    async def call_or_give_up(self) -> None:
        """Make a call with a short deadline, or cancel it after a while, or wait for its answer."""
        seconds = self.rng.choice((0.0, 0.0005, self.rng.uniform(0, 0.05)))
        ending = self.rng.choice(("wait", "cancel", "deadline"))
        try:
            if ending == "cancel":
                async with asyncio.timeout(seconds):
                    await self.call(MAX_WAIT_SECONDS)
            else:
                await self.call(MAX_WAIT_SECONDS if ending == "wait" else seconds)
        except TimeoutError:
            self.outcomes["given up"] += 1
        except grpc.aio.AioRpcError as error:
            if ending != "deadline" or error.code() not in GIVEN_UP:
                raise
            self.outcomes["given up"] += 1
        else:
            self.outcomes["answered"] += 1


async def test_every_answer_is_for_its_own_user_while_calls_are_cancelled_and_time_out(server: Canuse) -> None:
    users = await create_users(server.address)
    async with stubs(server.address) as opened:
        load = ImpatientLoad(random.Random(3), opened, users)
        await in_groups(WORKERS, (load.call_or_give_up() for _ in range(CALLS)))
        # Cancelled calls may still be executed: the answers after them must be right as well.
        await in_groups(WORKERS, (load.call(MAX_WAIT_SECONDS) for _ in range(USERS * 5)))
    assert load.outcomes["answered"] >= CALLS / 4
    assert load.outcomes["given up"] >= CALLS / 4
    await asyncio.to_thread(load.check_counts, server.address)
