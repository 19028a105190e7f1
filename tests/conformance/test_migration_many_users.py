"""MigrateSubscriptions over many users: its messages, cancellation at any moment, and concurrent changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import pytest

from canuse import v1
from support.load import MAX_WAIT_SECONDS, callers, in_groups
from support.message_clients import AsyncClient, Client
from support.migrations import migrate
from support.population import Population, create_population
from support.processes import Canuse
from support.resources import unique
from support.store_inspection import StoreInspector

pytestmark = pytest.mark.extended

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SIZE = 1_300
"""More users than one message covers."""
USING = 20


@pytest.fixture(scope="module")
def population(server: Canuse) -> Population:
    """Users that each test migrates from whatever version they are on."""
    return create_population(server, SIZE)


@pytest.fixture
async def caller(server: Canuse) -> AsyncIterator[AsyncClient]:
    """An asyncio client of the server on the system clock."""
    async with AsyncClient(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
        yield client


def move_to(client: Client, population: Population, version: int) -> None:
    """Migrate all users to a version."""
    migrate(client, population.package_id, to_version=version)


async def first_message(client: AsyncClient, package_id: str, **options: bool | int) -> v1.MigrateSubscriptionsResponse:
    """Start a migration, and cancel it after its first message."""
    messages = client.migrate_subscriptions(package_id, **options)  # type: ignore[arg-type]
    async with aclosing(cast("AsyncGenerator[v1.MigrateSubscriptionsResponse, None]", messages)):
        return await anext(messages)


def test_the_messages_count_on_and_the_last_one_is_done(
    client: Client, population: Population, store: StoreInspector
) -> None:
    move_to(client, population, 1)
    before = population.changes(store)
    messages = list(client.migrate_subscriptions(population.package_id, to_version=2))
    assert len(messages) > 1
    users = [message.users for message in messages]
    assert users == sorted(users)
    assert users[-1] >= SIZE
    assert (messages[-1].migrated, messages[-1].shrinking_users) == (SIZE, 0)
    assert population.versions(store) == {2}
    assert population.changes(store) == [changes + 1 for changes in before]


def test_each_user_who_gets_less_is_named_once(client: Client, population: Population) -> None:
    move_to(client, population, 2)
    for dry_run in (True, False):
        messages = list(client.migrate_subscriptions(population.package_id, to_version=1, dry_run=dry_run))
        named = [user_id for message in messages for user_id in message.shrinking_user_ids]
        assert sorted(named) == sorted(population.user_ids)
        assert [message.shrinking_users for message in messages] == [
            sum(len(message.shrinking_user_ids) for message in messages[: number + 1])
            for number in range(len(messages))
        ]


async def test_a_migration_that_its_caller_ended_is_resumed_and_nobody_moves_twice(
    client: Client, caller: AsyncClient, population: Population, store: StoreInspector
) -> None:
    await asyncio.to_thread(move_to, client, population, 1)
    before = population.changes(store)
    first = await first_message(caller, population.package_id)
    assert not first.done
    assert 0 < first.users < SIZE
    done = await asyncio.to_thread(migrate, client, population.package_id, resume_token=first.resume_token)
    # What had moved before the server saw the cancellation has moved, and is not counted again.
    assert first.migrated < done.migrated <= SIZE
    assert population.versions(store) == {2}
    assert population.changes(store) == [changes + 1 for changes in before]


async def test_a_dry_run_that_is_resumed_counts_each_user_once(
    client: Client, caller: AsyncClient, population: Population
) -> None:
    await asyncio.to_thread(move_to, client, population, 2)
    first = await first_message(caller, population.package_id, to_version=1, dry_run=True)
    options = {"to_version": 1, "dry_run": True, "resume_token": first.resume_token}
    rest = list(await asyncio.to_thread(lambda: list(client.migrate_subscriptions(population.package_id, **options))))  # type: ignore[arg-type]
    assert (rest[-1].migrated, rest[-1].shrinking_users) == (SIZE, SIZE)
    named = [user_id for message in (first, *rest) for user_id in message.shrinking_user_ids]
    assert sorted(named) == sorted(population.user_ids)


@pytest.mark.extended
async def test_the_count_stays_exact_while_subscriptions_move_and_are_used(
    server: Canuse, client: Client, caller: AsyncClient, population: Population, store: StoreInspector
) -> None:
    await asyncio.to_thread(move_to, client, population, 1)
    before = await population.used(caller)
    recorded = [0] * SIZE
    over = asyncio.Event()

    async def use(user: AsyncClient, start: int) -> None:
        number = start
        while not over.is_set():
            event = await user.create_usage_event(population.user_ids[number], population.feature_id, 2)
            assert event.recorded
            recorded[number] += 2
            number = (number + USING) % SIZE

    async with callers(server.address, 2) as clients:
        using = [asyncio.create_task(use(clients[number % 2], number)) for number in range(USING)]
        for version in (2, 1, 2):
            done = await asyncio.to_thread(migrate, client, population.package_id, to_version=version)
            assert done.migrated == SIZE
        over.set()
        await asyncio.gather(*using)
    assert sum(recorded) > 0
    assert await population.used(caller) == [used + more for used, more in zip(before, recorded, strict=True)]
    assert population.versions(store) == {2}


async def test_two_migrations_at_once_move_each_user_once(
    client: Client, population: Population, store: StoreInspector
) -> None:
    await asyncio.to_thread(move_to, client, population, 1)
    before = population.changes(store)
    both = await asyncio.gather(*(asyncio.to_thread(migrate, client, population.package_id) for _ in range(2)))
    assert sum(done.migrated for done in both) == SIZE
    assert population.changes(store) == [changes + 1 for changes in before]


async def test_users_who_come_and_go_meanwhile_are_neither_missed_nor_brought_back(
    client: Client, caller: AsyncClient, population: Population, store: StoreInspector
) -> None:
    await asyncio.to_thread(move_to, client, population, 1)
    package_id = population.package_id
    over = asyncio.Event()
    arrived: list[str] = []

    async def come_and_go() -> None:
        while not over.is_set():
            ids = [unique("user"), unique("user")]
            for user_id in ids:
                await caller.create_user(user_id)
                [subscription] = await caller.subscribe(user_id, [package_id])
                assert subscription.package_version == 2
            await caller.delete_user(ids[0])
            arrived.append(ids[1])

    async def leave(user_id: str) -> None:
        await caller.delete_user(user_id)

    leaving = population.user_ids[::13]
    coming = asyncio.create_task(come_and_go())
    moving = asyncio.create_task(asyncio.to_thread(migrate, client, package_id))
    await in_groups(4, map(leave, leaving))
    done = await moving
    over.set()
    await coming
    staying_ids = [user_id for user_id in population.user_ids if user_id not in set(leaving)]
    staying = Population(package_id, population.feature_id, staying_ids)
    assert len(staying.user_ids) <= done.migrated <= SIZE
    assert arrived
    assert staying.versions(store) == {2} == Population(package_id, population.feature_id, arrived).versions(store)
    assert [user_id for user_id in leaving if store.user(user_id)] == []


async def test_users_who_are_erased_as_they_are_about_to_move_stay_erased(
    server: Canuse, client: Client, caller: AsyncClient, store: StoreInspector
) -> None:
    some = create_population(server, 300)
    over = asyncio.Event()

    async def move() -> None:
        version = 1
        while not over.is_set():
            await asyncio.to_thread(migrate, client, some.package_id, to_version=version)
            version = 3 - version

    moving = asyncio.create_task(move())
    await in_groups(2, map(caller.delete_user, some.user_ids))
    over.set()
    await moving
    assert [user_id for user_id in some.user_ids if store.user(user_id)] == []
