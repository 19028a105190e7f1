"""Event ids are kept for one to two of their ttls, whichever ttls the callers use."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import ResetPeriod
from canuse_server.domain.periods import FIXED_LENGTH_MS, Period
from support.database import HOUR_MS, KEYS, RETENTION, Database, digest
from support.strategies import ms

NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
LONGEST_MS: Final = RETENTION.dedupe_ttl_ms
SHORT_MS: Final = HOUR_MS // 6
UNLIMITED: Final = Entitlement(
    consumable=True,
    active=True,
    limit=None,
    overage_enabled=False,
    reset_period=ResetPeriod.NEVER,
    period=Period(NOW, None),
    valid_until_ms=None,
)
advances = st.sampled_from((0, 1, SHORT_MS - 1, SHORT_MS, SHORT_MS + 1, LONGEST_MS - 1, LONGEST_MS, 3 * LONGEST_MS))
steps = advances | st.integers(0, SHORT_MS) | st.integers(0, 3 * LONGEST_MS)


def ends(database: Database) -> list[int]:
    """Return when each of the user's four hashes expires."""
    field = database.redis.hget(KEYS.user("124"), "d")
    assert isinstance(field, bytes)
    return [int.from_bytes(field[first : first + 6], "little") for first in range(0, 24, 6)]


def end_of(database: Database, event_id: str) -> int:
    """Return when the only hash with an event id expires."""
    places = [database.redis.hexists(KEYS.events("124")[number], digest(event_id)) for number in range(4)]
    assert places.count(True) == 1
    return ends(database)[places.index(True)]


def use(database: Database, event_id: str, now_ms: int, ttl_ms: int) -> bool:
    """Use a feature once with an event id; return whether it is a repetition."""
    return database.record(now_ms, event_id=event_id, ttl_ms=ttl_ms)[1]


@given(st.lists(st.tuples(steps, st.sampled_from((SHORT_MS, LONGEST_MS))), max_size=40))
@settings(max_examples=100, deadline=None)
def test_an_id_is_kept_for_one_to_two_of_its_ttls_beside_ids_with_another_ttl(
    shared_database: Database, taken: list[tuple[int, int]]
) -> None:
    database, now_ms = shared_database, NOW
    database.empty()
    database.put_user(UNLIMITED)
    stored: dict[str, tuple[int, int]] = {}
    for number, (step_ms, ttl_ms) in enumerate(taken):
        now_ms += step_ms
        event_id = f"e{number}"
        assert not use(database, event_id, now_ms, ttl_ms)
        assert ttl_ms < end_of(database, event_id) - now_ms <= 2 * ttl_ms
        stored[event_id] = now_ms + ttl_ms, ttl_ms
        for earlier, (until_ms, its_ttl_ms) in stored.items():
            assert now_ms >= until_ms or use(database, earlier, now_ms, its_ttl_ms), earlier
    assert sum(bool(database.redis.exists(key)) for key in KEYS.events("124")) <= 4


@given(st.lists(st.tuples(steps, st.integers(SHORT_MS, LONGEST_MS)), max_size=25))
@settings(max_examples=100, deadline=None)
def test_an_id_is_kept_for_at_least_its_ttl_beside_ids_with_any_other_ttl(
    shared_database: Database, taken: list[tuple[int, int]]
) -> None:
    database, now_ms = shared_database, NOW
    database.empty()
    database.put_user(UNLIMITED)
    stored: dict[str, int] = {}
    for number, (step_ms, ttl_ms) in enumerate(taken):
        now_ms += step_ms
        assert not use(database, f"e{number}", now_ms, ttl_ms)
        assert ttl_ms < end_of(database, f"e{number}") - now_ms <= 2 * LONGEST_MS
        stored[f"e{number}"] = now_ms + ttl_ms
        for earlier, until_ms in stored.items():
            assert now_ms >= until_ms or use(database, earlier, now_ms, LONGEST_MS), earlier


def test_a_hash_expires_by_itself_within_twice_the_ttl_of_its_ids(database: Database) -> None:
    database.put_user(UNLIMITED)
    use(database, "short", NOW, SHORT_MS)
    use(database, "long", NOW, LONGEST_MS)
    remaining = sorted(int(database.redis.pttl(key)) for key in KEYS.events("124"))
    assert remaining[:2] == [-2, -2]
    assert SHORT_MS < remaining[2] <= 2 * SHORT_MS < LONGEST_MS < remaining[3] <= 2 * LONGEST_MS


def test_an_id_with_another_ttl_is_the_same_id(database: Database) -> None:
    database.put_user(UNLIMITED)
    assert not use(database, "e", NOW, SHORT_MS)
    assert not use(database, "f", NOW, LONGEST_MS)
    assert use(database, "e", NOW + 1, LONGEST_MS)
    assert use(database, "f", NOW + 1, SHORT_MS)


@pytest.mark.parametrize("reset_period", [ResetPeriod.HOUR, ResetPeriod.DAY, ResetPeriod.WEEK])
def test_a_stored_answer_shows_the_period_that_had_rolled_over(database: Database, reset_period: ResetPeriod) -> None:
    length_ms = FIXED_LENGTH_MS[reset_period]
    database.put_user(replace(UNLIMITED, limit=5, reset_period=reset_period, period=Period(NOW, NOW + length_ms)))
    for step in (0, 1, 3):
        now_ms = NOW + step * length_ms + 1
        for event_id in (f"first of {step}", f"second of {step}"):
            first, _ = database.record(now_ms, event_id=event_id)
            again, replayed = database.record(now_ms, event_id=event_id)
            assert replayed
            assert again.entitlement is not None
            assert again.entitlement.period == Period(now_ms - 1, now_ms - 1 + length_ms)
            assert again.shown() == first.shown()


def test_an_id_takes_few_bytes(database: Database) -> None:
    """A hundred ids of a user took 179 bytes each."""
    database.put_user(replace(UNLIMITED, limit=1000, reset_period=ResetPeriod.MONTH, period=Period(NOW, NOW + HOUR_MS)))
    for number in range(100):
        use(database, f"an event id of some length {number}", NOW, LONGEST_MS)
    [key] = [key for key in KEYS.events("124") if database.redis.exists(key)]
    assert {len(field) for field in database.redis.hkeys(key)} == {12}
    assert {len(value) for value in database.redis.hvals(key)} == {28}
    assert int(database.redis.memory_usage(key) or 0) <= 80 * 100
