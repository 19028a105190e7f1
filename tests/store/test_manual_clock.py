"""The manual clock is stored: a restart continues from it."""

import pytest

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import ResetPeriod
from canuse_server.domain.periods import DAY_MS, Period
from canuse_server.store.keys import CLOCK
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.audit.writing import AuditWriter
from canuse_server.store.repositories.manual_clock import LATEST_MS, ClockRangeError, ManualClock
from support.database import Database

FOREVER = Entitlement(
    consumable=True,
    active=True,
    limit=None,
    overage_enabled=False,
    reset_period=ResetPeriod.NEVER,
    period=Period(0, None),
    valid_until_ms=None,
)


async def test_the_time_stands_still_until_it_is_moved(store: Store, database: Database) -> None:
    clock = ManualClock(store, AuditWriter(store, DAY_MS))
    await clock.start()
    shown = clock.time_ms()
    seconds, _ = database.redis.time()
    assert 0 <= seconds * 1000 + 1000 - shown < 10_000
    assert await store.now_ms() == shown
    assert await clock.advance(5) == shown + 5 == clock.time_ms() == await store.now_ms()
    assert await clock.set(shown + 1000) == shown + 1000
    assert store.manual_now == str(shown + 1000)


async def test_a_restart_goes_on_with_the_time_that_was_shown(store: Store) -> None:
    clock = ManualClock(store, AuditWriter(store, DAY_MS))
    await clock.start()
    later_ms = await clock.advance(86_400_000)
    store.manual_now_ms = None
    restarted = ManualClock(store, AuditWriter(store, DAY_MS))
    await restarted.start()
    assert restarted.time_ms() == later_ms


async def test_a_restart_after_a_long_while_shows_the_present(store: Store, database: Database) -> None:
    database.redis.set(CLOCK, "1000")
    clock = ManualClock(store, AuditWriter(store, DAY_MS))
    await clock.start()
    assert abs(clock.time_ms() - (await _redis_ms(database))) < 10_000


async def _redis_ms(database: Database) -> int:
    seconds, microseconds = database.redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


@pytest.mark.parametrize("moved_ms", [-1, LATEST_MS])
async def test_a_move_that_can_not_be_made_leaves_the_time(store: Store, moved_ms: int) -> None:
    clock = ManualClock(store, AuditWriter(store, DAY_MS))
    await clock.start()
    shown = clock.time_ms()
    with pytest.raises(ClockRangeError):
        await clock.advance(moved_ms)
    with pytest.raises(ClockRangeError):
        await clock.set(shown + moved_ms)
    assert clock.time_ms() == shown == await store.now_ms()


def test_a_use_sent_just_before_the_clock_is_moved_and_received_after_a_later_one_is_recorded(
    database: Database,
) -> None:
    """Connections overtake each other, and a stream accepts no id before its last one."""
    database.put_user(FOREVER)
    database.record(2000)
    outcome, _ = database.record(1999)
    assert (outcome.used, outcome.now_ms) == (2, 1999)
    assert len(database.entries()) == 2
