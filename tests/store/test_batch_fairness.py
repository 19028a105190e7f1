"""However much work a batch is, other calls proceed during it."""

import asyncio
from typing import Any

import pytest
from google.rpc.status_pb2 import Status

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.hotpath.batch import execution
from canuse_server.api.hotpath.batch.execution import BATCH_METHODS, answer_batch
from canuse_server.api.hotpath.executor import repair


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
    assert others > 40


async def test_an_error_that_calls_share_is_written_once(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a thousand checks of a feature that does not exist, to write it took half of the time."""
    [method] = (each for each in BATCH_METHODS if each.request is pb.BatchCanUseRequest)
    requests = [pb.CanUseRequest(user_id=f"u{number}", feature_id="none") for number in range(100)]
    written = 0

    def status(error: ApiError) -> Status:
        nonlocal written
        written += 1
        return usual(error)

    usual = ApiError.status
    monkeypatch.setattr(ApiError, "status", status)
    answer = await answer_batch(method, pb.BatchCanUseRequest(requests=requests).SerializeToString(), env)
    results = pb.BatchCanUseResponse.FromString(answer).results
    assert {result.status.message for result in results} == {"feature 'none' does not exist"}
    assert (len(results), written) == (100, 1)


async def test_repairs_are_not_all_made_at_once(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand repairs in one turn of the event loop kept everybody else waiting for 30 ms."""
    [method] = (each for each in BATCH_METHODS if each.request is pb.BatchCanUseRequest)
    requests = [pb.CanUseRequest(user_id="u", feature_id=f"none{number}") for number in range(100)]
    under_way, counts = 0, list[int]()

    async def counted(*arguments: Any) -> None:
        nonlocal under_way
        under_way += 1
        counts.append(under_way)
        try:
            await repair(*arguments)
        finally:
            under_way -= 1

    monkeypatch.setattr(execution, "repair", counted)
    answer = await answer_batch(method, pb.BatchCanUseRequest(requests=requests).SerializeToString(), env)
    messages = [result.status.message for result in pb.BatchCanUseResponse.FromString(answer).results]
    assert messages == [f"feature 'none{number}' does not exist" for number in range(100)]
    assert len(counts) == 100
    assert 1 < max(counts) <= 16
