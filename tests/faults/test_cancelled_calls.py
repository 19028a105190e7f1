"""Whoever gives up: every answer that comes is the one to its own question."""

import asyncio
import random

import grpc

from canuse import v1
from support.load import PATIENCE_SECONDS, in_groups
from support.mixed_load import USERS, Person, Storm, people, stubs
from support.processes import Canuse

WORKERS = 60
CALLS = 3000
GIVEN_UP = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class ImpatientStorm(Storm):
    """Calls of which many are given up on the way."""

    async def call(self, timeout_seconds: float) -> None:
        """Make a call, and check that its answer is for its own user."""
        person, stub = self.pick()
        kind = self.chance.choice(("check", "record", "use"))
        if kind == "check":
            check = v1.CanUseRequest(user_id=person.user_id, feature_id=person.feature_id)
            person.check((await stub.CanUse(check, timeout=timeout_seconds)).consumption)
            return
        person.maybe_counted += 1
        if kind == "record":
            record = v1.CreateUsageEventRequest(user_id=person.user_id, feature_id=person.feature_id)
            recorded = await stub.CreateUsageEvent(record, timeout=timeout_seconds)
            assert recorded.recorded
            self._counted(person, recorded.consumption)
        else:
            use = v1.UseFeatureRequest(user_id=person.user_id, feature_id=person.feature_id)
            used = await stub.UseFeature(use, timeout=timeout_seconds)
            assert used.access
            self._counted(person, used.consumption)

    def _counted(self, person: Person, consumption: v1.Consumption) -> None:
        person.check(consumption)
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
            if how != "deadline" or error.code() not in GIVEN_UP:
                raise
            self.outcomes["given up"] += 1
        else:
            self.outcomes["answered"] += 1


async def test_every_answer_is_for_its_own_user_while_calls_are_cancelled_and_time_out(server: Canuse) -> None:
    users = await people(server.address)
    async with stubs(server.address) as opened:
        storm = ImpatientStorm(random.Random(3), opened, users)
        await in_groups(WORKERS, (storm.call_or_give_up() for _ in range(CALLS)))
        # What was given up may still be on its way: the answers after it have to be right as well.
        await in_groups(WORKERS, (storm.call(PATIENCE_SECONDS) for _ in range(USERS * 5)))
    assert storm.outcomes["answered"] >= CALLS / 4
    assert storm.outcomes["given up"] >= CALLS / 4
    await asyncio.to_thread(storm.check_counts, server.address)
