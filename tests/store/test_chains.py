"""Chains of uses: sent together, and recorded in order although some of them may have to be repeated."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest
from redis.exceptions import NoScriptError

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.batch.execution import BATCH_METHODS, answer_batch
from canuse_server.app.demo import load_demo
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import MAX_AMOUNT, ResetPeriod
from canuse_server.domain.periods import Period
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.usage_commands import ChainBrokenError, Charge, EventIdReusedError, Use
from canuse_server.store.scripts.loader import ALL
from support.database import KEYS, RETENTION, Database, packed_event
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


LENGTH: Final = 9


def record(
    database: Database, place: int, *features: str, user_id: str = "124", delta: int = 1, event_id: str = ""
) -> None:
    """Record uses; `place`, 1 to LENGTH, is their place in a chain. Raises what `usage_commands.outcome` raises."""
    charges = tuple(Charge(feature_id, delta, archived=False, entry=b"") for feature_id in features)
    use = Use(usage_commands.ADD, user_id, charges, packed_event(event_id, str(delta).encode().ljust(6)))
    command = usage_commands.record_command(KEYS, use, RETENTION, str(NOW))
    if place:
        command = usage_commands.chained(command, KEYS.chain(user_id, "mark"), place, LENGTH)
    usage_commands.outcome(database.call(*command.command), [delta] * len(features))


def stale_alone(database: Database) -> None:
    """Use a feature whose entitlement is stale."""
    record(database, 2, "stale")


def stale_among_others(database: Database) -> None:
    """Use several features, one of whose entitlements is stale."""
    record(database, 2, "calls", "stale", event_id="e")


def no_user(database: Database) -> None:
    """Use a feature as a user who does not exist any more."""
    database.redis.rename(KEYS.user("124"), "elsewhere")
    try:
        record(database, 2, "calls")
    finally:
        database.redis.rename("elsewhere", KEYS.user("124"))


def never_run(database: Database) -> None:
    """Run a script that the store does not know."""
    database.redis.script_flush()
    try:
        with pytest.raises(NoScriptError):
            record(database, 2, "calls")
        raise usage_commands.StaleError
    finally:
        for script in ALL:
            database.redis.script_load(script.source)


@pytest.mark.parametrize("repeated", [stale_alone, stale_among_others, no_user, never_run])
def test_behind_a_use_that_was_not_made_none_of_its_chain_is_recorded(
    database: Database, repeated: Callable[[Database], None]
) -> None:
    """A redirected use was executed after those behind it: nothing kept them waiting."""
    database.put_user(WITHOUT_END)
    database.put_user(GONE_STALE, feature_id="stale")
    record(database, 1, "calls")
    with pytest.raises((usage_commands.StaleError, usage_commands.UserMissingError)):
        repeated(database)
    before = database.contents()
    for place in (3, 4, 3, LENGTH):
        with pytest.raises(ChainBrokenError):
            record(database, place, "calls")
    assert database.contents() == before
    assert 0 < database.redis.pttl(KEYS.chain("124", "mark")) <= 60_000
    for place in (2, 3):
        record(database, place, "calls")
    with pytest.raises(ChainBrokenError):
        record(database, 5, "calls")
    record(database, 0, "calls")
    assert database.counter() == (4, NOW)


@pytest.mark.parametrize("place", [2, LENGTH])
def test_a_chain_whose_first_use_was_not_made_or_that_is_forgotten_stands_still(database: Database, place: int) -> None:
    database.put_user(WITHOUT_END)
    before = database.contents()
    for _ in range(2):
        with pytest.raises(ChainBrokenError):
            record(database, place, "calls")
    assert database.contents() == before
    assert not database.redis.exists(KEYS.chain("124", "mark"))


def test_a_first_use_that_has_to_be_repeated_is_the_first_one_again(database: Database) -> None:
    database.put_user(GONE_STALE)
    with pytest.raises(usage_commands.StaleError):
        record(database, 1, "calls")
    with pytest.raises(ChainBrokenError):
        record(database, 2, "calls")
    database.put_user(WITHOUT_END)
    record(database, 1, "calls")
    record(database, 2, "calls")
    assert database.counter() == (2, NOW)


def test_a_use_that_is_refused_for_good_keeps_none_of_its_chain_waiting(database: Database) -> None:
    database.put_user(WITHOUT_END)
    record(database, 1, "calls", event_id="e")
    record(database, 2, "calls", event_id="e")
    with pytest.raises(EventIdReusedError):
        record(database, 3, "calls", delta=2, event_id="e")
    with pytest.raises(usage_commands.RecordOutOfRangeError):
        record(database, 4, "calls", delta=MAX_AMOUNT)
    record(database, 5, "nothing that the user has")
    for place in range(6, LENGTH):
        record(database, place, "calls")
    assert database.redis.exists(KEYS.chain("124", "mark"))
    record(database, LENGTH, "calls", delta=4)
    assert database.counter() == (8, NOW)
    assert not database.redis.exists(KEYS.chain("124", "mark"))


def test_a_stale_use_without_a_chain_writes_nothing(database: Database) -> None:
    database.put_user(GONE_STALE)
    before = database.contents()
    with pytest.raises(usage_commands.StaleError):
        record(database, 0, "calls")
    assert database.contents() == before


async def test_features_that_are_not_in_memory_are_looked_up_before_anything_is_recorded(env: Environment) -> None:
    await load_demo(env)
    env.cache.features.clear()
    requests = [
        pb.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, delta=delta)
        for delta, (user_id, feature_id) in enumerate(
            [("124", "api-calls"), ("124", "missing"), ("200", "messages"), ("124", "messages"), ("200", "gone")], 1
        )
    ]
    [method] = (each for each in BATCH_METHODS if each.request is pb.BatchCreateUsageEventsRequest)
    batch = pb.BatchCreateUsageEventsRequest(requests=requests).SerializeToString()
    answer = pb.BatchCreateUsageEventsResponse.FromString(await answer_batch(method, batch, env))
    results = [result.response.consumption.used or result.status.message for result in answer.results]
    assert results == [1, "feature 'missing' does not exist", 3, 4, "feature 'gone' does not exist"]
