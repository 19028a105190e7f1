"""Repairs that a call needs before it can be answered: as many as there are."""

from collections.abc import Awaitable, Callable

import pytest

from canuse import v1
from canuse_server.api.bounds import MAX_CHARGES
from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.executor import answer, repair
from canuse_server.api.hotpath.method import FeatureUnknownError
from canuse_server.api.hotpath.record import UseFeatures
from canuse_server.api.users.changes import create_user
from canuse_server.domain.api_keys import ApiKey
from canuse_server.domain.model import Feature, FeatureType, Package, Profile
from canuse_server.domain.periods import DAY_MS
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.api_keys import ApiKeys
from canuse_server.store.repositories.audit.writing import AuditWriter
from canuse_server.store.repositories.usage_commands import UserMissingError
from support.database import RETENTION, Database


async def test_features_that_are_not_in_memory_are_looked_up_though_a_call_names_as_many_as_it_can(
    env: Environment,
) -> None:
    """Another server had created them a moment ago. After ten look-ups the call failed with STORE_UNAVAILABLE."""
    ids = [f"f{number}" for number in range(MAX_CHARGES)]
    for feature_id in ids:
        await env.catalog.put_feature(None, Feature(feature_id, FeatureType.CONSUMABLE, 1))
    await create_user(env, "124", Profile(), disabled=False)
    charges = [v1.Charge(feature_id=feature_id) for feature_id in ids]
    request = v1.UseFeaturesRequest(user_id="124", charges=charges)
    assert env.cache.features == {}
    response = v1.UseFeaturesResponse.FromString(await answer(UseFeatures(), request.SerializeToString(), env))
    assert (response.reason, response.blocking_feature_id) == (v1.REASON_NOT_ENTITLED, ids[0])
    assert len(response.consumptions) == MAX_CHARGES


async def test_no_user_is_reported_missing_and_nothing_is_written_where_the_data_is_gone(database: Database) -> None:
    store = Store(StoreAddress.from_url(database.url), 5.0)
    store.guard.is_on = True
    env = Environment.of(store, "live", RETENTION, default_package="")
    feature, package = Feature("f", FeatureType.BINARY, 1), Package("p", 1)
    key = ApiKey("key_1", "n", "live", frozenset(), 1, None, b"")
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: repair(UserMissingError(), "124", env),
        lambda: repair(FeatureUnknownError("f"), "124", env),
        lambda: create_user(env, "124", Profile(), disabled=False),
        lambda: env.cache.put_feature(None, feature),
        lambda: env.catalog.put_package(None, package),
        lambda: ApiKeys(store, AuditWriter(store, DAY_MS)).put(b"", key),
        env.cache.refresh,
    )
    try:
        for call in calls:
            store.guard.problem = ""
            with pytest.raises(StoreUnavailableError, match="data"):
                await call()
    finally:
        await store.close()
    assert database.contents() == {}
