"""The cache of the catalog: a change costs what it changes, and the cache never goes back to an older state."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from canuse import v1
from canuse_server.api.context import CallContext
from canuse_server.api.environment import Environment
from canuse_server.api.services.catalog_service.servicer import CatalogServicer
from canuse_server.api.users.changes import Edit, change_user, create_user
from canuse_server.domain.model import (
    Feature,
    FeatureType,
    Package,
    PackageFeature,
    PackageStatus,
    PackageType,
    Profile,
    Subscription,
    SubscriptionStatus,
)
from canuse_server.store.codec.documents import decode_feature
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.catalog import CHANGES_KEPT
from canuse_server.store.repositories.users.state import UserState
from support.database import KEYS, RETENTION, Database

CALLS = Feature("calls", FeatureType.CONSUMABLE, 1)


def server(store: Store) -> Environment:
    """Return the catalog cache of one of several servers."""
    return Environment.of(store, "live", RETENTION, default_package="")


@pytest.fixture
def other(store: Store) -> Environment:
    """Another server on the same store."""
    return server(store)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Features that were decoded, in order."""
    found: list[bytes] = []

    def counted(value: bytes) -> Feature:
        found.append(value)
        return decode_feature(value)

    monkeypatch.setattr("canuse_server.store.repositories.catalog.decode_feature", counted)
    return found


async def put(env: Environment, *features: Feature) -> None:
    """Create or replace features."""
    for feature in features:
        await env.cache.put_feature(await env.catalog.stored_feature(feature.id), feature)


async def create_many(env: Environment, count: int) -> None:
    """Create features with numbers in their ids."""
    many = [Feature(f"f{number:05d}", FeatureType.CONSUMABLE, 1) for number in range(count)]
    await asyncio.gather(*(env.catalog.put_feature(None, feature) for feature in many))


async def test_a_change_costs_what_has_changed_however_many_features_there_are(
    env: Environment, other: Environment, decoded: list[bytes]
) -> None:
    """All features were read again: with more than 4,096 each change blocked the event loop for 50 ms and more."""
    await create_many(other, 5000)
    await env.cache.refresh()
    assert len(decoded) == len(env.cache.features) == 5000
    before = dict(env.cache.features)
    for number in range(10):
        await put(other, Feature(f"f{number:05d}", FeatureType.CONSUMABLE, 1, name="new"))
        decoded.clear()
        await env.cache.refresh()
        assert len(decoded) == 1
    # Lanes plan a request again if its feature is a new object.
    kept = [name for name, feature in before.items() if env.cache.features[name] is feature]
    assert len(kept) == 4990
    assert {env.cache.features[f"f{number:05d}"].name for number in range(10)} == {"new"}


async def test_changes_of_packages_read_no_features(env: Environment, other: Environment, decoded: list[bytes]) -> None:
    await put(other, CALLS)
    await env.cache.refresh()
    decoded.clear()
    await other.catalog.put_package(None, Package("p", 1))
    await env.cache.refresh()
    assert decoded == []


async def test_all_features_are_read_a_few_at_a_time(
    env: Environment, other: Environment, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read at once, 30,000 features blocked everybody for 200 ms."""
    await create_many(other, 1200)
    call, at_a_time = Store.call, list[int]()

    async def counted(self: Store, *commands: Any) -> Any:
        at_a_time.append(len(decoded))
        return await call(self, *commands)

    monkeypatch.setattr(Store, "call", counted)
    await env.cache.refresh()
    assert len(decoded) == 1200
    assert max(b - a for a, b in pairwise(at_a_time)) <= 100


async def test_a_server_too_far_behind_for_the_log_of_changes_reads_everything(
    env: Environment, other: Environment
) -> None:
    await put(other, CALLS, Feature("sso", FeatureType.BINARY, 1))
    await env.cache.refresh()
    await put(other, replace(CALLS, archived=True))
    for number in range(CHANGES_KEPT + 200):
        await put(other, Feature("sso", FeatureType.BINARY, 1, name=str(number)))
    with capture_logs() as lines:
        await env.cache.refresh()
    assert [each["event"].startswith("reading the whole catalogue") for each in lines] == [True]
    assert env.cache.features["calls"].archived
    assert env.cache.features["sso"].name == str(CHANGES_KEPT + 199)


async def test_the_first_feature_of_an_empty_catalogue_is_nothing_to_log(env: Environment, other: Environment) -> None:
    await env.cache.refresh()
    await put(other, CALLS)
    with capture_logs() as lines:
        await env.cache.refresh()
    assert (lines, list(env.cache.features)) == ([], ["calls"])


Dump = dict[bytes, bytes]


def backup(database: Database) -> Dump:
    """Return a backup of the store."""
    return {key: database.redis.dump(key) for key in database.redis.scan_iter()}  # type: ignore[misc]


def restore(database: Database, dump: Dump) -> None:
    """Restore a backup."""
    database.empty()
    for key, value in dump.items():
        database.redis.restore(key, 0, value)


async def publish(env: Environment, limit: int) -> None:
    """Publish the next version of a package with a limit of calls."""
    stored = await env.catalog.stored_package("p")
    version = stored.item.version + 1 if stored else 1
    package = Package("p", 1, status=PackageStatus.PUBLISHED, version=version, published_version=version)
    entry = PackageFeature("calls", limit)
    await env.catalog.put_package(stored, replace(package, type=PackageType.BASE, features=(entry,)))


async def test_a_store_that_went_back_in_time_and_came_to_the_same_number_again_is_read_anew(
    env: Environment, other: Environment, database: Database
) -> None:
    """The number was equal, so packages and features of the other history stayed in the cache for good."""
    await put(other, CALLS)
    await publish(other, 1)
    before = backup(database)
    await publish(other, 2)
    await put(other, replace(CALLS, name="old"))
    await env.cache.refresh()
    await env.cache.load_packages([("p", 1), ("p", 2)])
    restore(database, before)
    await publish(other, 3)
    await put(other, replace(CALLS, name="new"))
    await env.cache.refresh()
    await env.cache.load_packages([("p", 1), ("p", 2)])
    assert env.cache.features["calls"].name == "new"
    assert [entry.limit for entry in env.cache.packages["p", 2].features] == [3]
    assert [entry.limit for entry in env.cache.packages["p", 1].features] == [1]


async def test_a_store_that_went_back_in_time_is_read_anew_though_its_number_is_lower(
    env: Environment, other: Environment, database: Database
) -> None:
    await put(other, CALLS)
    await publish(other, 1)
    before = backup(database)
    await put(other, replace(CALLS, archived=True), Feature("later", FeatureType.BINARY, 1))
    await publish(other, 2)
    await env.cache.refresh()
    await env.cache.load_packages([("p", 2)])
    restore(database, before)
    await env.cache.refresh()
    assert set(env.cache.features) == {"calls"}
    assert not env.cache.features["calls"].archived
    await env.cache.load_packages([("p", 2)])
    with pytest.raises(StoreUnavailableError, match="version 2 of package 'p'"):
        env.cache.packages["p", 2]
    # What is written from now on has lower numbers than the cache.
    await put(env, replace(CALLS, name="again"))
    assert env.cache.features["calls"].name == "again"


async def test_packages_are_those_of_the_store_at_once_after_a_connection_was_made_anew(
    env: Environment, other: Environment, database: Database
) -> None:
    await put(other, CALLS)
    before = backup(database)
    await publish(other, 1)
    await env.cache.refresh()
    await env.cache.load_packages([("p", 1)])
    restore(database, before)
    await publish(other, 7)
    database.redis.client_kill_filter(_type="normal", skipme=True)
    # The connection must have been used since, whatever comes first.
    await wait_until_connected(env)
    await env.cache.load_packages([("p", 1)])
    assert [entry.limit for entry in env.cache.packages["p", 1].features] == [7]


async def wait_until_connected(env: Environment) -> None:
    """Wait until the store answers."""
    while True:
        try:
            await env.users.read("124")
        except StoreUnavailableError:
            await asyncio.sleep(0.01)
        else:
            return


async def test_nothing_is_worked_out_from_a_version_that_is_not_in_the_store(
    env: Environment, other: Environment, database: Database
) -> None:
    """It was a KeyError, reported as an internal error."""
    await put(other, CALLS)
    await publish(other, 5)
    await create_user(env, "124", Profile(), disabled=False)

    async def edit(_: UserState) -> tuple[Edit, None]:
        return Edit((Subscription("t", "p", 1, SubscriptionStatus.ACTIVE, 1),)), None

    await change_user(env, "124", edit)
    database.redis.delete(KEYS.package_versions)
    before = database.contents()
    with pytest.raises(StoreUnavailableError):
        await change_user(other, "124", edit)
    assert database.contents() == before


class DelayedReply:
    """Delays the reply to the first call of a method of the catalog repository."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, env: Environment, method: str) -> None:
        self.is_called, self._come = asyncio.Event(), asyncio.Event()
        self._call = getattr(env.catalog, method)
        monkeypatch.setattr(env.catalog, method, self)

    async def __call__(self, *arguments: Any) -> Any:
        """Make the call; the first one returns when it is released."""
        reply = await self._call(*arguments)
        if not self.is_called.is_set():
            self.is_called.set()
            await self._come.wait()
        return reply

    def arrive(self) -> None:
        """Release the reply."""
        self._come.set()


async def test_a_slow_confirmation_does_not_bring_back_what_was_changed_since(
    env: Environment, other: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One server renamed a feature, another archived it, and the first one then allowed it from its cache."""
    await put(other, CALLS)
    await env.cache.refresh()
    confirmation = DelayedReply(monkeypatch, env, "put_feature")
    request = v1.UpdateFeatureRequest(feature=v1.Feature(id="calls", name="renamed"))
    renaming = asyncio.create_task(CatalogServicer().update_feature(request, CallContext(env)))
    await confirmation.is_called.wait()
    await CatalogServicer().archive_feature(v1.ArchiveFeatureRequest(feature_id="calls"), CallContext(other))
    await env.cache.refresh()
    confirmation.arrive()
    await renaming
    assert (env.cache.features["calls"].name, env.cache.features["calls"].archived) == ("renamed", True)


async def test_a_slow_reading_does_not_bring_back_what_was_changed_since(
    env: Environment, other: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(other, CALLS)
    reading = DelayedReply(monkeypatch, env, "usable_feature")
    finding = asyncio.create_task(env.cache.find_feature("calls"))
    await reading.is_called.wait()
    await put(other, replace(CALLS, archived=True))
    await env.cache.refresh()
    reading.arrive()
    found = await finding
    assert found is not None
    assert found.archived
    assert env.cache.features["calls"].archived


async def test_a_late_read_of_another_history_is_discarded(
    env: Environment, other: Environment, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(other, *[replace(CALLS, name=f"old {number}") for number in range(5)])
    reading = DelayedReply(monkeypatch, env, "usable_feature")
    finding = asyncio.create_task(env.cache.find_feature("calls"))
    await reading.is_called.wait()
    database.empty()
    await put(other, replace(CALLS, name="new"))
    await env.cache.refresh()
    reading.arrive()
    found = await finding
    assert found is not None
    assert found.name == "new"
    assert env.cache.features["calls"].name == "new"


async def test_a_write_that_was_lost_with_its_history_does_not_stay_in_memory(
    env: Environment, other: Environment, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(other, CALLS)
    before = backup(database)
    confirmation = DelayedReply(monkeypatch, env, "put_feature")
    archiving = asyncio.create_task(put(env, replace(CALLS, archived=True)))
    await confirmation.is_called.wait()
    restore(database, before)
    await env.cache.refresh()
    confirmation.arrive()
    await archiving
    assert not env.cache.features["calls"].archived


async def test_what_is_written_while_another_history_is_read_holds_though_its_number_is_lower(
    env: Environment, other: Environment, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(other, *[replace(CALLS, name=f"old {number}") for number in range(5)])
    await env.cache.refresh()
    database.empty()
    await put(other, CALLS)
    reading = DelayedReply(monkeypatch, env, "usable_features")
    refreshing = asyncio.create_task(env.cache.refresh())
    await reading.is_called.wait()
    await put(env, replace(CALLS, name="new"))
    reading.arrive()
    await refreshing
    assert env.cache.features["calls"].name == "new"


async def test_what_is_changed_while_all_is_read_is_not_lost(
    env: Environment, other: Environment, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(other, CALLS)
    await env.cache.refresh()
    database.redis.delete(KEYS.catalog_changes)
    await put(other, replace(CALLS, name="one"))
    reading = DelayedReply(monkeypatch, env, "usable_features")
    refreshing = asyncio.create_task(env.cache.refresh())
    await reading.is_called.wait()
    await put(env, replace(CALLS, name="two"))
    reading.arrive()
    await refreshing
    assert env.cache.features["calls"].name == "two"
