"""However much work a batch is, other calls proceed during it."""

import asyncio

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.batch.execution import BATCH_METHODS, answer_batch


async def test_others_go_on_while_a_batch_is_worked_on(env: Environment) -> None:
    """A thousand bad uses blocked everybody else for up to 400 ms."""
    [method] = (each for each in BATCH_METHODS if each.request is pb.BatchCreateUsageEventsRequest)
    # All of them are refused without the store: nothing is awaited.
    bad = pb.CreateUsageEventRequest(user_id="\n" * 99, feature_id="\n" * 99, event_id="\n" * 99, delta=0)
    batch = pb.BatchCreateUsageEventsRequest(requests=[bad] * 1000).SerializeToString()
    answering = asyncio.ensure_future(answer_batch(method, batch, env))
    others = 0
    while not answering.done():
        others += 1
        await asyncio.sleep(0)
    assert len(pb.BatchCreateUsageEventsResponse.FromString(await answering).results) == 1000
    assert others > 5
