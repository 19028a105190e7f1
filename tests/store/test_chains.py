"""Chains of uses: sent together, and made in their order although some of them may have to be repeated."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.batches import BATCH_METHODS, answer_batch
from canuse_server.api.world import World
from canuse_server.demo import load_demo
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import MAX_AMOUNT, ResetPeriod
from canuse_server.domain.periods import Period
from canuse_server.store import usage
from canuse_server.store.usage import ChainBrokenError, Charge, EventIdReusedError, Use
from support.database import KEYS, RETENTION, Database
from support.strategies import ms

NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
WITHOUT_END: Final = Entitlement(
    consumable=True,
    active=True,
    limit=None,
    overage_enabled=False,
    reset_period=ResetPeriod.NEVER,
    period=Period(NOW, None),
    valid_until_ms=None,
)
GONE_STALE: Final = replace(WITHOUT_END, valid_until_ms=NOW)


def record(
    database: Database, chain: str | None, *features: str, user_id: str = "124", delta: int = 1, event_id: str = ""
) -> None:
    """Record uses, as one of a chain where one is named; raise what `usage.outcome` does."""
    charges = tuple(Charge(feature_id, delta, archived=False, entry=b"") for feature_id in features)
    use = Use(usage.ADD, user_id, charges, event_id, str(delta).encode().ljust(8) if event_id else b"")
    trip = usage.record_trip(KEYS, use, RETENTION, str(NOW))
    if chain is not None:
        trip = usage.chained(trip, KEYS.chain(user_id, chain))
    usage.outcome(database.call(*trip.command))


def stale_alone(database: Database) -> None:
    """Use a feature whose entitlement is stale."""
    record(database, "a", "stale")


def stale_among_others(database: Database) -> None:
    """Use several features, one of whose entitlements is stale."""
    record(database, "a", "calls", "stale", event_id="e")


def no_user(database: Database) -> None:
    """Use a feature as a user that there is not, whose uses another chain of the name is about."""
    database.redis.rename(KEYS.user("124"), "elsewhere")
    try:
        record(database, "a", "calls")
    finally:
        database.redis.rename("elsewhere", KEYS.user("124"))


@pytest.mark.parametrize("repeated", [stale_alone, stale_among_others, no_user])
def test_behind_a_use_that_has_to_be_repeated_none_of_its_chain_is_recorded(
    database: Database, repeated: Callable[[Database], None]
) -> None:
    database.put_user(WITHOUT_END)
    database.put_user(GONE_STALE, feature_id="stale")
    record(database, "a", "calls")
    with pytest.raises((usage.StaleError, usage.UserMissingError)):
        repeated(database)
    before = database.contents()
    for _ in range(2):
        with pytest.raises(ChainBrokenError):
            record(database, "a", "calls")
    assert database.contents() == before
    assert 0 < database.redis.pttl(KEYS.chain("124", "a")) <= 60_000
    record(database, "b", "calls")
    record(database, None, "calls")
    assert database.counter() == (3, NOW)


def test_a_use_that_is_refused_for_good_keeps_none_of_its_chain_waiting(database: Database) -> None:
    database.put_user(WITHOUT_END)
    record(database, "a", "calls", event_id="e")
    with pytest.raises(EventIdReusedError):
        record(database, "a", "calls", delta=2, event_id="e")
    with pytest.raises(usage.RecordOutOfRangeError):
        record(database, "a", "calls", delta=MAX_AMOUNT)
    record(database, "a", "nothing that the user has")
    record(database, "a", "calls", delta=4)
    assert database.counter() == (5, NOW)
    assert not database.redis.exists(KEYS.chain("124", "a"))


def test_a_stale_use_without_a_chain_writes_nothing(database: Database) -> None:
    database.put_user(GONE_STALE)
    before = database.contents()
    with pytest.raises(usage.StaleError):
        record(database, None, "calls")
    assert database.contents() == before


async def test_features_that_are_not_in_memory_are_looked_up_before_anything_is_recorded(world: World) -> None:
    await load_demo(world)
    world.cache.features.clear()
    requests = [
        pb.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, delta=delta)
        for delta, (user_id, feature_id) in enumerate(
            [("124", "api-calls"), ("124", "missing"), ("200", "messages"), ("124", "messages"), ("200", "gone")], 1
        )
    ]
    [method] = (each for each in BATCH_METHODS if each.request is pb.BatchCreateUsageEventsRequest)
    batch = pb.BatchCreateUsageEventsRequest(requests=requests).SerializeToString()
    answer = pb.BatchCreateUsageEventsResponse.FromString(await answer_batch(method, batch, world))
    told = [result.response.consumption.used or result.status.message for result in answer.results]
    assert told == [1, "there is no feature 'missing'", 3, 4, "there is no feature 'gone'"]
