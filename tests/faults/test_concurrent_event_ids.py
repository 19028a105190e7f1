"""An event id counts once, however often and however concurrently it is sent."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from canuse import AlreadyExists, v1
from support.load import callers, running, used
from support.message_clients import AsyncClient, Client
from support.processes import Canuse
from support.resources import subscriber, unique

Answer = v1.CreateUsageEventResponse | v1.UseFeatureResponse
Send = Callable[[AsyncClient, str, str, str], Coroutine[object, object, Answer]]

TIMES = 50


async def create_usage_event(client: AsyncClient, user_id: str, feature_id: str, event_id: str) -> Answer:
    return await client.create_usage_event(user_id, feature_id, 3, event_id=event_id)


async def use_feature(client: AsyncClient, user_id: str, feature_id: str, event_id: str) -> Answer:
    return await client.use_feature(user_id, feature_id, 3, event_id=event_id)


async def send_at_once(address: str, send: Send, user_id: str, feature_id: str, event_id: str) -> list[Answer]:
    """Send one event many times concurrently, over several connections."""
    async with callers(address, 4) as clients:
        calls = (send(clients[number % 4], user_id, feature_id, event_id) for number in range(TIMES))
        return await asyncio.gather(*calls)


def apart_from_replayed(answer: Answer) -> bytes:
    """Return an answer as bytes, without its `replayed` flag."""
    copy = type(answer)()
    copy.MergeFrom(answer)  # type: ignore[arg-type]
    copy.replayed = False
    return copy.SerializeToString(deterministic=True)


@pytest.mark.parametrize("send", [create_usage_event, use_feature])
async def test_one_event_id_sent_50_times_at_once_counts_once_and_all_answers_agree(
    server: Canuse, client: Client, send: Send
) -> None:
    user_id, feature_id = subscriber(client, 100)
    answers = await send_at_once(server.address, send, user_id, feature_id, unique("event"))
    assert [answer.replayed for answer in answers].count(False) == 1
    assert len({apart_from_replayed(answer) for answer in answers}) == 1
    assert answers[0].consumption.used == 3
    assert used(client, user_id, feature_id) == 3


async def test_a_refusal_under_an_event_id_is_repeated_even_when_the_budget_has_grown(
    server: Canuse, client: Client
) -> None:
    user_id, feature_id = subscriber(client, 2)
    event_id = unique("event")
    answers = await send_at_once(server.address, use_feature, user_id, feature_id, event_id)
    client.create_usage_event(user_id, feature_id, -1_000)
    answers += await send_at_once(server.address, use_feature, user_id, feature_id, event_id)
    assert [answer.replayed for answer in answers].count(False) == 1
    assert len({apart_from_replayed(answer) for answer in answers}) == 1
    assert answers[0].reason == v1.REASON_BUDGET_EXCEEDED
    assert used(client, user_id, feature_id) == 0


async def test_one_event_id_for_many_users_counts_once_for_each(server: Canuse, client: Client) -> None:
    event_id = unique("event")
    for _ in range(3):
        user_id, feature_id = subscriber(client, 100)
        answers = await send_at_once(server.address, create_usage_event, user_id, feature_id, event_id)
        assert [answer.replayed for answer in answers].count(False) == 1
        assert used(client, user_id, feature_id) == 3


async def test_an_event_id_counts_once_across_restarts_of_the_server(embedded: Canuse) -> None:
    event_id = unique("event")
    with running(embedded):
        with Client(embedded.address) as client:
            user_id, feature_id = subscriber(client, 100)
        first = await send_at_once(embedded.address, create_usage_event, user_id, feature_id, event_id)
        for end in (embedded.stop, embedded.kill):
            end()
            embedded.start()
            again = await send_at_once(embedded.address, create_usage_event, user_id, feature_id, event_id)
            assert all(answer.replayed for answer in again)
            assert len({apart_from_replayed(answer) for answer in first + again}) == 1
        with Client(embedded.address) as client:
            assert used(client, user_id, feature_id) == 3
            with pytest.raises(AlreadyExists) as refused:
                client.create_usage_event(user_id, feature_id, 4, event_id=event_id)
            assert refused.value.reason == "EVENT_ID_REUSED"
            assert used(client, user_id, feature_id) == 3
