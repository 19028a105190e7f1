"""Trimming passes remove what is too old of users for whom no call comes, and nothing else."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, cast

import pytest

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import ResetPeriod
from canuse_server.domain.periods import DAY_MS, WEEK_MS, Period
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.keys import TRIM_PROGRESS, TRIM_TURN, Keys, bucket_of
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.usage_commands import Retention
from canuse_server.store.trimming.progress import NODE_DONE, Place, Progress, Turn
from canuse_server.store.trimming.slices import EVENTS_AT_ONCE, LEASES_AT_ONCE, Data, Slices
from canuse_server.store.trimming.trimmer import MAX_PAUSE_SECONDS, Pace, Trimmer
from support.database import HOUR_MS, KEYS, Database
from support.leases import MINUTE_MS, UserLeases, token
from support.store_inspection import user_in_same_bucket
from support.strategies import ms

pytestmark = pytest.mark.extended

NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
RETENTION: Final = Retention(dedupe_ttl_ms=HOUR_MS, ledger_max_age_ms=DAY_MS, past_periods_max_age_days=10)
AT_ONCE: Final = Pace(interval_seconds=0.001, share=1)
HOURLY: Final = Entitlement(
    consumable=True,
    active=True,
    limit=None,
    overage_enabled=False,
    reset_period=ResetPeriod.HOUR,
    period=Period(NOW, NOW + HOUR_MS),
    valid_until_ms=None,
)


@pytest.fixture
def trimmer(store: Store) -> Trimmer:
    """A trimmer of the store that does not pause."""
    store.manual_now_ms = NOW
    return Trimmer(store, RETENTION, AT_ONCE)


async def trim(trimmer: Trimmer, now_ms: int) -> Mapping[Data, int]:
    """Make a pass at a time; return what it has trimmed."""
    trimmer.store.manual_now_ms = now_ms
    before = trimmer.slices.trimmed.copy()
    await asyncio.sleep(0.002)
    await trimmer.trim_if_due()
    assert not trimmer.slices.failures
    return trimmer.slices.trimmed - before


def record(database: Database, now_ms: int, times: int = 1, *, user_id: str = "124") -> None:
    """Record uses."""
    for _ in range(times):
        database.record(now_ms, user_id=user_id, retention=RETENTION)


async def test_events_of_idle_users_leave_the_ledger_to_the_last_one(database: Database, trimmer: Trimmer) -> None:
    database.put_user(HOURLY)
    record(database, NOW, 250)
    record(database, NOW + 5000)
    assert await trim(trimmer, NOW + DAY_MS) == {}
    assert await trim(trimmer, NOW + DAY_MS + 1) == {"events": 250}
    assert len(database.entries()) == 1
    assert await trim(trimmer, NOW + DAY_MS + 5001) == {"events": 1}
    assert database.entries() == []
    # The next event has a later id, so that readers who go on from an id miss none.
    record(database, NOW + 5000)
    assert database.entries()[0][0] == f"{NOW + 5000}-1".encode()


async def test_a_long_ledger_is_trimmed_in_short_steps(database: Database, trimmer: Trimmer) -> None:
    count = 4 * EVENTS_AT_ONCE
    with database.redis.pipeline(transaction=False) as pipeline:
        for number in range(count):
            pipeline.xadd(KEYS.ledger(7), {"e": "x" * 60}, id=f"{NOW}-{number}")
        pipeline.execute()
    slices = Slices(trimmer.store, RETENTION)
    trimmer.store.manual_now_ms = NOW + 2 * DAY_MS
    steps = [slices.trimmed["events"] async for _ in slices.from_place(Place())]
    assert steps[-1] == count
    assert max(after - before for before, after in zip([0, *steps], steps, strict=False)) <= EVENTS_AT_ONCE


async def test_expired_leases_are_released_and_forgotten_when_they_are_due(
    database: Database, trimmer: Trimmer
) -> None:
    leasing = UserLeases(database, retention=RETENTION)
    database.put_user(replace(HOURLY, reset_period=ResetPeriod.NEVER, period=Period(NOW, None)))
    count = 2 * LEASES_AT_ONCE + 1
    for number in range(count):
        leasing.reserve(NOW, token(number), 2)
    end = NOW + MINUTE_MS
    assert await trim(trimmer, end - 1) == {}
    assert await trim(trimmer, end) == {"leases": count}
    leasing.check()
    reservation = leasing.reservation()
    assert reservation is not None
    assert (reservation.units, len(leasing.all())) == (0, count)
    assert leasing.settle(end, token(0), 1).late
    assert await trim(trimmer, end + RETENTION.dedupe_ttl_ms) == {"leases": count - 1}
    assert leasing.all() == {}
    assert leasing.due_ms() is None
    leasing.check()


async def test_past_periods_of_idle_users_are_added_up_and_removed(database: Database, trimmer: Trimmer) -> None:
    features = ["calls", *(f"calls{number}" for number in range(199))]
    for feature_id in features:
        database.put_user(HOURLY, feature_id=feature_id)
    for hour in range(3):
        for feature_id in features:
            database.record(NOW + hour * HOUR_MS, feature_id=feature_id, retention=RETENTION)
    last = NOW + 2 * HOUR_MS
    week_later = NOW + WEEK_MS
    assert (await trim(trimmer, week_later))["events"] == 600
    assert await trim(trimmer, week_later + 2 * HOUR_MS) == {"past_periods": 200}
    assert [past.used for past in database.past()] == [2]
    assert await trim(trimmer, last + 10 * DAY_MS) == {"past_periods": 200}
    assert not database.redis.exists(KEYS.history("124"))
    assert database.counter() == (1, last)


async def test_both_environments_are_trimmed_and_users_with_any_id(database: Database, trimmer: Trimmer) -> None:
    test = Keys("test")
    ids = ("a:b{c}\n*", "é" * 20)
    database.put_user(HOURLY)
    UserLeases(database, retention=RETENTION).reserve(NOW, token(1))
    for user_id in ids:
        for keys in (KEYS, test):
            for old, new in ((KEYS.user, keys.user), (KEYS.leases, keys.leases), (KEYS.leases_due, keys.leases_due)):
                database.redis.copy(old("124"), new(user_id))
    assert await trim(trimmer, NOW + MINUTE_MS) == {"leases": 1 + 2 * len(ids)}


async def test_what_only_looks_like_a_user_s_key_is_left_alone(database: Database, trimmer: Trimmer) -> None:
    tag = f"{{b{bucket_of('124'):04d}}}"
    other = f"{{b{(bucket_of('124') + 1) % 1024:04d}}}"
    for name in (f"canuse:other:{tag}:t:124", f"canuse:live:{other}:t:124", f"canuse:live:{tag}:u:x:{tag}:t:124"):
        database.redis.zadd(name, {"0": 1})
    before = database.contents()
    assert await trim(trimmer, NOW) == {}
    assert before.items() <= database.contents().items()


async def test_a_key_that_cannot_be_trimmed_does_not_keep_others_from_it(database: Database, trimmer: Trimmer) -> None:
    database.put_user(HOURLY)
    record(database, NOW)
    strange = user_in_same_bucket("124")
    database.redis.set(KEYS.history(strange), "not a hash")
    trimmer.store.manual_now_ms = NOW + 2 * DAY_MS
    await trimmer.trim_if_due()
    assert +trimmer.slices.trimmed == {"events": 1}
    assert trimmer.slices.failures.total() == 1
    assert database.redis.get(KEYS.history(strange)) == b"not a hash"


def progress_of(database: Database) -> Progress:
    """Return what the servers know of each other's passes."""
    return Progress.unpack(cast("bytes | None", database.redis.get(TRIM_PROGRESS)) or b"")


async def test_one_server_trims_at_a_time_and_another_continues_where_it_ended(
    database: Database, trimmer: Trimmer, shared_store: Store
) -> None:
    database.put_user(HOURLY)
    record(database, NOW)
    shared_store.manual_now_ms = NOW + 2 * DAY_MS
    bucket = bucket_of("124")
    first, second = Turn(shared_store), Trimmer(shared_store, RETENTION, AT_ONCE)
    look = await first.take(Progress(started_ms=1, place=Place(ledgers=bucket + 1)))
    assert look.has_turn
    assert not (await Turn(shared_store).take(Progress(started_ms=2))).has_turn
    await second.trim_if_due()
    assert progress_of(database) == look.progress
    assert len(database.entries()) == 1
    # The first one is not heard of any more: the ledgers that it had done are not trimmed again in this pass.
    database.redis.pexpire(TRIM_TURN, 1)
    await asyncio.sleep(0.01)
    await second.trim_if_due()
    assert len(database.entries()) == 1
    ended = progress_of(database)
    assert ended.started_ms == 0
    assert abs(ended.ended_ms - (await first.look()).now_ms) < 60_000
    assert ended.lasted_ms == ended.ended_ms - 1
    assert 0 <= second.age_seconds() < 60
    assert second.last_pass_seconds == ended.lasted_ms / 1000
    # It keeps the turn, and makes the next pass from the start.
    await asyncio.sleep(0.01)
    await second.trim_if_due()
    assert database.entries() == []


async def test_a_pass_ends_for_a_server_that_has_lost_its_turn(
    database: Database, trimmer: Trimmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canuse_server.store.trimming.trimmer.SAVE_SECONDS", 0)
    pause = Pace.pause_after

    def lose_turn(pace: Pace, seconds: float) -> float:
        database.redis.set(TRIM_TURN, "another server")
        return pause(pace, seconds)

    monkeypatch.setattr(Pace, "pause_after", lose_turn)
    await trimmer.trim_if_due()
    assert progress_of(database).ended_ms == 0
    assert progress_of(database).place.ledgers < 100


async def test_a_scan_continues_at_the_stored_cursor(database: Database, trimmer: Trimmer) -> None:
    with database.redis.pipeline(transaction=False) as pipeline:
        for number in range(2000):
            pipeline.set(f"canuse:live:{{b0001}}:p:{number}", "")
        pipeline.execute()
    slices = Slices(trimmer.store, RETENTION)
    (server,) = await trimmer.store.servers()
    all_ledgers = Place(ledgers=2048)
    places = [place async for place in slices.from_place(all_ledgers)]
    assert len(set(places)) > 10
    assert places[-1] == Place(2048, server.endpoint.address, NODE_DONE)
    half = places[len(places) // 2]
    assert [place async for place in slices.from_place(half)][1:] == places[places.index(half) + 2 :]
    assert [place async for place in slices.from_place(places[-1])] == []


async def test_a_pass_is_due_an_interval_after_the_last_one(database: Database, trimmer: Trimmer) -> None:
    hourly = Trimmer(trimmer.store, RETENTION, Pace(3600, 1))
    await hourly.trim_if_due()
    first = progress_of(database)
    assert first.ended_ms
    await hourly.trim_if_due()
    assert progress_of(database) == first
    for ended_ms in (first.ended_ms - 3_600_000, first.ended_ms + 7_200_000):
        database.redis.set(TRIM_PROGRESS, Progress(ended_ms=ended_ms).packed())
        await hourly.trim_if_due()
        assert abs(progress_of(database).ended_ms - first.ended_ms) < 60_000


@pytest.mark.parametrize("stored", [b"", b"{}", b"[1, 2, 3]", b"[1, [2, 3], 4, 5]", b"[null, [0, 1, 2], 3, 4]"])
def test_progress_of_another_version_is_the_start_of_everything(stored: bytes) -> None:
    assert Progress.unpack(stored) == Progress()


@pytest.mark.parametrize(("share", "seconds", "pause"), [(0.01, 0.001, 0.099), (0.5, 0.2, 0.2), (1, 5, 0)])
def test_pauses_leave_the_store_its_time(share: float, seconds: float, pause: float) -> None:
    assert Pace(1, share).pause_after(seconds) == pytest.approx(pause)
    assert Pace(1, 0.001).pause_after(seconds * 1000) == MAX_PAUSE_SECONDS


async def test_a_store_that_refuses_a_command_of_a_script_ends_the_pass(database: Database, trimmer: Trimmer) -> None:
    user = ("ACL", "SETUSER", "default")
    database.call(*user, "-xtrim")
    try:
        with pytest.raises(StoreUnavailableError, match=r"xtrim|can't run this command"):
            await trimmer.trim_if_due()
    finally:
        database.call(*user, "+@all")
    assert progress_of(database).ended_ms == 0


def test_there_are_no_passes_without_an_interval(shared_store: Store) -> None:
    off = Trimmer(shared_store, RETENTION, Pace(0, 0.01))
    assert not off.is_on
    asyncio.run(off.run())
