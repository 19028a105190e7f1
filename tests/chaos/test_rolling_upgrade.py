"""Two servers of the last release are upgraded one after the other under load, and then taken back to the release.

Callers that retry as clients do by default see no error; what one version has written the other one reads and changes.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from canuse import CanuseError, v1
from chaos.test_rolling_restart import a_connection, connections_to, count, create_subscriber, more
from support.earlier_version import EarlierCanuse, extract
from support.message_clients import AsyncClient, Client
from support.processes import Canuse, RedisServer
from support.resources import consumable, package, unique

WORKERS: Final = 8
CALLS: Final = 80
"""Minimum number of calls answered between two steps."""


async def test_an_upgrade_and_the_way_back_give_callers_no_error_and_lose_nothing(
    tmp_path: Path, redis: RedisServer
) -> None:
    code = tmp_path / "code"
    for folder in (code, tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
    await asyncio.to_thread(extract, code)
    versions = {"earlier": earlier(code, redis), "new": new(redis)}
    running = [await started(versions["earlier"], tmp_path / name) for name in ("one", "other")]
    assert isinstance(running[0], EarlierCanuse)
    assert str(code) in await asyncio.to_thread(running[0].module)
    answered: Counter[str] = Counter()
    faults: list[CanuseError] = []
    try:
        user_id, feature_id = await asyncio.to_thread(create_subscriber, running[0].address)
        target = "ipv4:" + ",".join(each.address for each in running)
        host = (("grpc.default_authority", "canuse"),)
        async with AsyncClient(target, timeout_seconds=30, options=host, retry=True) as client:
            done = asyncio.Event()

            async def work() -> None:
                while not done.is_set():
                    try:
                        await client.use_feature(user_id, feature_id)
                        answered["uses"] += 1
                        lease = await client.reserve(user_id, feature_id, 2)
                        await client.settle(lease.lease_id, 1)
                        answered["leases"] += 1
                        await client.show_usage(user_id, feature_id)
                        answered["reads"] += 1
                    except CanuseError as error:
                        faults.append(error)

            workers = [asyncio.create_task(work()) for _ in range(WORKERS)]
            try:
                for version in ("new", "earlier"):
                    for number in range(2):
                        await more(answered, CALLS)
                        running[number] = await replaced(running[number], versions[version], answered)
                        # Of one version each, or of one: both ways round.
                        for first, second in (running, running[::-1]):
                            await asyncio.to_thread(understand_each_other, first.address, second.address)
                await more(answered, CALLS)
            finally:
                done.set()
                await asyncio.gather(*workers)
        counted = await asyncio.to_thread(count, running[0].address, user_id, feature_id)
    finally:
        for each in running:
            await asyncio.to_thread(each.stop)
    assert faults == []
    assert counted == answered["uses"] + answered["leases"]
    assert not any(each.failed_unexpectedly() for each in running)


async def replaced(old: Canuse, make: Callable[[Path], Canuse], answered: "Counter[str]") -> Canuse:
    """Stop a server, and start another one in its place once the other server has answered calls."""
    before = connections_to(old.address)
    assert await asyncio.to_thread(old.stop) == 0
    await more(answered, CALLS)
    canuse = await started(make, old.folder, old.address)
    await a_connection(old.address, before)
    return canuse


def earlier(code: Path, redis: RedisServer) -> Callable[[Path], Canuse]:
    """Return how a server of the last release is made."""
    return lambda folder: EarlierCanuse(code, folder, "--redis-url", redis.url)


def new(redis: RedisServer) -> Callable[[Path], Canuse]:
    """Return how a server of this version is made."""
    return lambda folder: Canuse(folder, "--redis-url", redis.url)


async def started(make: Callable[[Path], Canuse], folder: Path, address: str = "") -> Canuse:
    """Start a server, on the address of the one before it."""
    canuse = make(folder)
    canuse.address = address
    return await asyncio.to_thread(canuse.start)


def understand_each_other(first: str, second: str) -> None:
    """Let one server write what it can, and the other one read it and go on with it."""
    with Client(first, timeout_seconds=30) as one, Client(second, timeout_seconds=30) as other:
        feature, user_id = consumable(one), unique("user")
        entry = v1.PackageFeature(feature_id=feature, limit=10, reset_period=v1.RESET_PERIOD_HOUR)
        sold = package(one, [entry])
        one.create_user(user_id, name="Ada", email=f"{user_id}@example.org", metadata={"a": "1"})
        one.subscribe(user_id, [sold])
        one.create_grant(user_id, "g", feature, amount=5)
        one.create_usage_event(user_id, feature, 3, event_id="e", metadata={"m": "1"})
        lease = one.reserve(user_id, feature, 2, event_id="l")
        assert other.get_user(user_id) == one.get_user(user_id)
        assert list(other.list_subscriptions(user_id)) == list(one.list_subscriptions(user_id))
        assert list(other.list_grants(user_id)) == list(one.list_grants(user_id))
        assert list(other.list_entitlements(user_id)) == list(one.list_entitlements(user_id))
        assert list(other.list_usage_events(user_id)) == list(one.list_usage_events(user_id))
        assert other.create_usage_event(user_id, feature, 3, event_id="e", metadata={"m": "1"}).replayed
        assert other.reserve(user_id, feature, 2, event_id="l").replayed
        assert other.settle(lease.lease_id, 1).recorded
        other.update_user(user_id, metadata={"a": "2"})
        assert one.get_user(user_id).metadata == {"a": "2"}
        assert [each.id for each in one.list_users(email=f"{user_id}@example.org")] == [user_id]
        consumption = one.can_use(user_id, feature).consumption
        assert (consumption.used, consumption.budget) == (4, 15)
        other.delete_user(user_id)
        assert [each.id for each in one.list_users(email=f"{user_id}@example.org")] == []
