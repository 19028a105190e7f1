"""A budget is granted exactly once, under any concurrency."""

import asyncio

from canuse import v1
from support.load import callers, limited_package, subscribers
from support.message_clients import AsyncClient, Client
from support.processes import Canuse
from support.resources import consumable, subscriber

BUDGET = 5
CALLERS = 100
CONNECTIONS = 4


async def use_at_once(clients: list[AsyncClient], user_id: str, feature_id: str) -> list[v1.UseFeatureResponse]:
    calls = (clients[number % CONNECTIONS].use_feature(user_id, feature_id) for number in range(CALLERS))
    return await asyncio.gather(*calls)


async def test_of_100_callers_at_once_on_a_budget_of_5_exactly_5_get_access(server: Canuse, client: Client) -> None:
    feature_id = consumable(client)
    package_id = limited_package(client, feature_id, BUDGET)
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


async def test_of_100_callers_who_reserve_at_once_from_a_budget_of_5_exactly_5_are_granted(
    server: Canuse, client: Client
) -> None:
    feature_id = consumable(client)
    package_id = limited_package(client, feature_id, BUDGET)
    async with callers(server.address, CONNECTIONS) as clients:
        for user_id in await subscribers(clients[0], [package_id] * 20):
            calls = (clients[number % CONNECTIONS].reserve(user_id, feature_id, 1) for number in range(CALLERS))
            answers = await asyncio.gather(*calls)
            granted = [answer for answer in answers if answer.granted]
            assert sorted(answer.consumption.reserved for answer in granted) == [1, 2, 3, 4, 5]
            assert {answer.reason for answer in answers if not answer.granted} == {v1.REASON_BUDGET_EXCEEDED}
            await asyncio.gather(*(clients[0].settle(answer.lease_id, 1) for answer in granted))
            counts = (await clients[0].show_usage(user_id, feature_id)).current
            assert (counts.used, counts.reserved) == (BUDGET, 0)


async def test_leases_of_different_sizes_taken_and_settled_at_once_never_hold_more_than_there_is(
    server: Canuse, client: Client
) -> None:
    user_id, feature_id = subscriber(client, 50, v1.RESET_PERIOD_NEVER)
    used = 0

    async def work(caller: AsyncClient, amount: int) -> None:
        nonlocal used
        lease = await caller.reserve(user_id, feature_id, amount, min_amount=amount // 2 + 1)
        if not lease.granted:
            return
        assert lease.consumption.used + lease.consumption.reserved <= 50
        assert amount // 2 < lease.granted <= amount
        settled = await caller.settle(lease.lease_id, lease.granted // 2)
        assert settled.consumption.used + settled.consumption.reserved <= 50
        used += lease.granted // 2

    async with callers(server.address, CONNECTIONS) as clients:
        await asyncio.gather(*(work(clients[number % CONNECTIONS], number % 7 + 1) for number in range(CALLERS)))
    counts = client.show_usage(user_id, feature_id).current
    assert (counts.used, counts.reserved) == (used, 0)
    assert used > 0
