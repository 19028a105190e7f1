"""Two servers on one store act as one: a change through one takes effect at the other."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from redis import Redis

from canuse import v1
from support.load import callers, in_groups, limited_package, running, used, wait_until
from support.message_clients import AsyncClient, Client
from support.migrations import migrate
from support.population import create_population
from support.processes import Canuse, RedisServer
from support.resources import consumable, subscriber, unique
from support.resources import package as new_package
from support.store_inspection import StoreInspector

BOTH_WAYS = [("native", "grpcio"), ("grpcio", "native")]
SEEN_WITHIN_SECONDS = 5


@pytest.fixture(scope="module")
def servers(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Canuse]]:
    """A server on each transport, all on one Redis."""
    with ExitStack() as stack:
        yield {
            transport: stack.enter_context(
                running(Canuse(tmp_path_factory.mktemp(transport), "--transport", transport, "--redis-url", redis.url))
            )
            for transport in ("native", "grpcio")
        }


@pytest.fixture(params=BOTH_WAYS, ids="->".join)
def pair(request: pytest.FixtureRequest, servers: dict[str, Canuse]) -> tuple[Canuse, Canuse]:
    """The server that a change is made through, and the other one."""
    first, second = request.param
    return servers[first], servers[second]


@pytest.fixture
def one(pair: tuple[Canuse, Canuse]) -> Iterator[Client]:
    with Client(pair[0].address) as client:
        yield client


@pytest.fixture
def other(pair: tuple[Canuse, Canuse]) -> Iterator[Client]:
    with Client(pair[1].address) as client:
        yield client


def test_what_is_created_through_one_is_usable_through_the_other_at_once(one: Client, other: Client) -> None:
    for _ in range(20):
        user_id, feature_id = subscriber(one, 5)
        assert other.use_feature(user_id, feature_id).access
        assert one.can_use(user_id, feature_id).consumption.used == 1


def test_a_feature_created_through_one_is_known_to_the_other_before_any_message_about_it(
    one: Client, other: Client, redis: RedisServer
) -> None:
    user_id = unique("user")
    one.create_user(user_id)
    for _ in range(10):
        assert redis.command("CLIENT", "KILL", "TYPE", "pubsub").startswith(b":")
        feature_id = consumable(one)
        assert other.can_use(user_id, feature_id).reason == v1.REASON_NOT_ENTITLED
        assert not other.create_usage_event(user_id, feature_id).recorded


def test_a_feature_created_through_one_is_at_once_subscribed_to_and_used_through_the_other(
    one: Client, other: Client
) -> None:
    feature_id, user_id = consumable(one), unique("user")
    package_id = limited_package(other, feature_id, 5)
    one.create_user(user_id)
    other.subscribe(user_id, [package_id])
    assert one.create_usage_event(user_id, feature_id, 2).consumption.remaining == 3
    assert other.can_use(user_id, feature_id, 3).access
    assert not other.can_use(user_id, feature_id, 4).access


def test_what_is_changed_of_a_user_through_one_holds_at_the_other_at_once(one: Client, other: Client) -> None:
    user_id, feature_id = subscriber(one, 5)
    assert other.can_use(user_id, feature_id).access
    one.update_user(user_id, disabled=True)
    assert other.can_use(user_id, feature_id).reason == v1.REASON_USER_DISABLED
    one.update_user(user_id, disabled=False)
    (subscription,) = other.list_subscriptions(user_id)
    one.cancel_subscription(subscription.id)
    assert other.can_use(user_id, feature_id).reason == v1.REASON_SUBSCRIPTION_INACTIVE


def test_a_user_subscribed_through_one_is_subscribed_to_more_through_the_other(one: Client, other: Client) -> None:
    """The other server did not know the package of the first subscription, and failed."""
    user_id, feature_id = subscriber(one, 5)
    add_on = limited_package(one, feature_id, 7, v1.PACKAGE_TYPE_ADD_ON)
    other.subscribe(user_id, [add_on])
    assert one.can_use(user_id, feature_id).consumption.budget == 7


async def archive_and_wait(one: Client, other: Client) -> None:
    user_id, feature_id = subscriber(one, 5)
    assert other.use_feature(user_id, feature_id).access
    one.archive_feature(feature_id)
    assert one.can_use(user_id, feature_id).reason == v1.REASON_FEATURE_ARCHIVED
    async with asyncio.timeout(SEEN_WITHIN_SECONDS):
        await wait_until(lambda: other.can_use(user_id, feature_id).reason == v1.REASON_FEATURE_ARCHIVED)
    assert other.use_feature(user_id, feature_id).reason == v1.REASON_FEATURE_ARCHIVED


async def test_a_feature_archived_through_one_is_soon_archived_for_the_other(one: Client, other: Client) -> None:
    await archive_and_wait(one, other)


async def test_a_feature_is_soon_archived_for_a_server_whose_connection_for_messages_broke(
    one: Client, other: Client, redis: RedisServer
) -> None:
    assert redis.command("CLIENT", "KILL", "TYPE", "pubsub").startswith(b":")
    await archive_and_wait(one, other)


async def use_until_refused(client: AsyncClient, user_id: str, feature_id: str, granted: list[int]) -> None:
    while (answer := await client.use_feature(user_id, feature_id)).access:
        granted.append(answer.consumption.used)


async def test_a_feature_is_soon_archived_for_a_server_that_gets_no_messages(
    one: Client, other: Client, redis: RedisServer
) -> None:
    assert redis.command("ACL", "SETUSER", "default", "-subscribe") == b"+OK\r\n"
    try:
        assert redis.command("CLIENT", "KILL", "TYPE", "pubsub").startswith(b":")
        await archive_and_wait(one, other)
    finally:
        assert redis.command("ACL", "SETUSER", "default", "+@all") == b"+OK\r\n"


async def test_the_count_stays_exact_while_one_server_subscribes_a_user_who_uses_the_other(
    pair: tuple[Canuse, Canuse], one: Client
) -> None:
    feature_id, user_id = await asyncio.to_thread(consumable, one), unique("user")
    # The uses last until the last change: each change raises the budget while it is being used.
    limits = (4_000, 4_100, 4_200, 4_300, 4_400, 500)
    kinds = (v1.PACKAGE_TYPE_BASE, *[v1.PACKAGE_TYPE_ADD_ON] * 5)
    plans = [
        await asyncio.to_thread(limited_package, one, feature_id, *each) for each in zip(limits, kinds, strict=True)
    ]
    one.create_user(user_id)
    one.subscribe(user_id, plans[:1])
    granted: list[int] = []
    async with callers(pair[0].address, 1) as (subscribing,), callers(pair[1].address, 4) as clients:
        using = [
            asyncio.create_task(use_until_refused(clients[n % 4], user_id, feature_id, granted)) for n in range(40)
        ]
        for number, plan_id in enumerate(plans[1:], 1):
            await wait_until(lambda number=number: len(granted) >= 300 * number)  # type: ignore[misc]
            await subscribing.subscribe(user_id, [plan_id])
        await asyncio.gather(*using)
    # No unit was granted twice, none was lost, and the total is what the largest limit allows.
    assert sorted(granted) == list(range(1, 4_401))
    assert used(one, user_id, feature_id) == 4_400


async def test_subscriptions_made_through_both_at_once_both_hold(
    pair: tuple[Canuse, Canuse], one: Client, other: Client
) -> None:
    feature_id = await asyncio.to_thread(consumable, one)
    less, more = [
        await asyncio.to_thread(limited_package, one, feature_id, limit, v1.PACKAGE_TYPE_ADD_ON) for limit in (60, 80)
    ]
    async with callers(pair[0].address, 1) as (first,), callers(pair[1].address, 1) as (second,):
        for _ in range(60):
            user_id = unique("user")
            one.create_user(user_id)
            await asyncio.gather(first.subscribe(user_id, [more]), second.subscribe(user_id, [less]))
            assert {item.package_id for item in other.list_subscriptions(user_id)} == {less, more}
            # Neither was computed from the state before the other.
            assert one.can_use(user_id, feature_id).consumption.budget == 80


async def test_a_budget_is_given_out_once_when_both_give_it_out(pair: tuple[Canuse, Canuse], one: Client) -> None:
    user_id, feature_id = await asyncio.to_thread(subscriber, one, 50)
    async with callers(pair[0].address, 2) as first, callers(pair[1].address, 2) as second:
        clients = first + second
        calls = (clients[number % 4].use_feature(user_id, feature_id) for number in range(200))
        answers = await in_groups(100, calls)
    assert sorted(answer.consumption.used for answer in answers if answer.access) == list(range(1, 51))
    assert used(one, user_id, feature_id) == 50


async def test_versions_drafted_through_one_and_published_through_the_other_stay_as_they_were_published(
    pair: tuple[Canuse, Canuse], one: Client
) -> None:
    package_id = one.create_package(unique("package")).id
    async with callers(pair[0].address, 1) as (editing,), callers(pair[1].address, 1) as (publishing,):
        edits = (editing.update_package(package_id, name=f"edit {number}") for number in range(50))
        publications = (publishing.publish_package(package_id) for _ in range(50))
        _, published = await asyncio.gather(in_groups(4, edits), in_groups(4, publications))
    current = one.publish_package(package_id).published_version
    assert {package.version for package in published} <= set(range(1, current + 1))
    assert all(package.status == v1.PACKAGE_STATUS_PUBLISHED for package in published)
    for package in published:
        assert one.get_package(package_id, version=package.version).name == package.name


async def test_subscriptions_that_both_move_at_once_move_once(
    pair: tuple[Canuse, Canuse], one: Client, other: Client, redis: RedisServer
) -> None:
    population = create_population(pair[0], 300)
    done = await asyncio.gather(*(asyncio.to_thread(migrate, client, population.package_id) for client in (one, other)))
    assert sum(last.migrated for last in done) == 300
    with Redis.from_url(redis.url) as inside:
        assert set(population.changes(StoreInspector(inside))) == {1}
        assert population.versions(StoreInspector(inside)) == {2}


async def test_a_migration_that_one_began_is_resumed_by_the_other(
    pair: tuple[Canuse, Canuse], one: Client, other: Client
) -> None:
    population = create_population(pair[0], 30)
    last = await asyncio.to_thread(migrate, one, population.package_id, dry_run=True)
    again = await asyncio.to_thread(migrate, other, population.package_id, dry_run=True, resume_token=last.resume_token)
    assert (again.users, again.migrated) == (last.users, 30)


async def test_of_calls_through_both_that_ensure_a_user_one_creates_and_one_subscribes(
    servers: dict[str, Canuse],
) -> None:
    native, grpcio = servers.values()
    with Client(native.address) as client:
        package_id = new_package(client, [])
    async with AsyncClient(native.address) as one, AsyncClient(grpcio.address) as other:
        for _ in range(20):
            user_id = unique("user")
            calls = [each.ensure_user(user_id, name="Ada", package_id=package_id) for each in (one, other) * 5]
            answers = await asyncio.gather(*calls)
            assert [answer.created for answer in answers].count(True) == 1
            assert [answer.subscribed for answer in answers].count(True) == 1
            assert len([each async for each in one.list_subscriptions(user_id)]) == 1


async def test_of_package_changes_through_both_one_package_is_left_and_each_is_told_what_it_replaced(
    servers: dict[str, Canuse],
) -> None:
    native, grpcio = servers.values()
    with Client(native.address) as client:
        packages = [new_package(client, []) for _ in range(3)]
    async with AsyncClient(native.address) as one, AsyncClient(grpcio.address) as other:
        user_id = (await one.ensure_user(unique("user"), package_id=packages[0])).user.id
        calls = [each.change_package(user_id, package_id) for package_id in packages * 5 for each in (one, other)]
        answers = await asyncio.gather(*calls)
        assert all(len(answer.replaced) == answer.changed for answer in answers)
        subscriptions = [each async for each in one.list_subscriptions(user_id)]
        assert len(subscriptions) == 1 + sum(answer.changed for answer in answers)
        assert [each.status for each in subscriptions].count(v1.SUBSCRIPTION_STATUS_ACTIVE) == 1
