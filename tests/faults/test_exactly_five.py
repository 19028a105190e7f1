"""Under any concurrency a budget is given out exactly once."""

import asyncio

from canuse import AsyncClient, Client, v1
from support.load import callers, plan, subscribers
from support.processes import Canuse
from support.world import consumable

BUDGET = 5
CALLERS = 100
CONNECTIONS = 4


async def use_at_once(clients: list[AsyncClient], user_id: str, feature_id: str) -> list[v1.UseFeatureResponse]:
    calls = (clients[number % CONNECTIONS].use_feature(user_id, feature_id) for number in range(CALLERS))
    return await asyncio.gather(*calls)


async def test_of_100_callers_at_once_on_a_budget_of_5_exactly_5_get_access(server: Canuse, client: Client) -> None:
    feature_id = consumable(client)
    package_id = plan(client, feature_id, BUDGET)
    runs = 20 if "--redis-url" in server.options else 200
    async with callers(server.address, CONNECTIONS) as clients:
        for user_id in await subscribers(clients[0], [package_id] * runs):
            answers = await use_at_once(clients, user_id, feature_id)
            granted = [answer for answer in answers if answer.access]
            refused = [answer for answer in answers if not answer.access]
            assert sorted(answer.consumption.used for answer in granted) == [1, 2, 3, 4, 5]
            assert {answer.consumption.used for answer in refused} == {BUDGET}
            assert {answer.reason for answer in refused} == {v1.REASON_BUDGET_EXCEEDED}
            assert (await clients[0].show_usage(user_id, feature_id)).current.used == BUDGET
