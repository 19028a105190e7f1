"""Past periods as the scripts keep them: by age, hours summed into days, and in few bytes."""

from datetime import UTC, datetime
from importlib.resources import files
from typing import Final, NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.model import MAX_AMOUNT
from canuse_server.domain.past_periods import PastPeriod, kept
from canuse_server.domain.periods import DAY_MS, HOUR_MS, WEEK_MS, Period
from canuse_server.store.codec import past_periods as codec
from support.database import Database
from support.strategies import amounts, limits, moments, ms

FOLDER: Final = files("canuse_server.store") / "scripts" / "lib"
FRAGMENTS: Final = "\n".join((FOLDER / f"{name}.lua").read_text() for name in ("layout", "fields", "history"))
ADD: Final = f"""{FRAGMENTS}
local numbers = {{}}
for i = 3, #ARGV do numbers[i] = tonumber(ARGV[i]) end
past_periods().archive(KEYS[1], 'calls', numbers[3], {{
  start = numbers[5], finish = numbers[6], used = numbers[7], budget = numbers[8], drawn = numbers[9],
  epoch = numbers[10],
}}, numbers[4])
"""
FIND: Final = f"""{FRAGMENTS}
local history = past_periods()
local _, period = history.find(history.read(KEYS[1], 'calls'), tonumber(ARGV[1]))
return period and string.format('%.0f', period.start)
"""
KEY: Final = "canuse:live:{b0000}:h:124"
NOON: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
MIDNIGHT: Final = NOON - 12 * HOUR_MS


class Added(NamedTuple):
    """A period to add at a moment, with the epoch of its leases."""

    now_ms: int
    past: PastPeriod
    epoch: int = 0


def add(database: Database, added: Added, kept_days: int = 62) -> None:
    """Add a period as the scripts do."""
    (start_ms, end_ms), used, budget, drawn, _ = added.past
    numbers = (kept_days, added.now_ms, start_ms, end_ms, used, -1 if budget is None else budget, drawn, added.epoch)
    database.call("EVAL", ADD, "1", KEY, "", "", *map(str, numbers))


def stored(database: Database) -> list[PastPeriod]:
    """Return what is stored, oldest first."""
    return codec.unpack_fields(cast("dict[bytes, bytes]", database.redis.hgetall(KEY))).get("calls", [])


def size(database: Database) -> int:
    """Return the bytes of what is stored."""
    return len(cast("bytes | None", database.redis.hget(KEY, b"\x01calls")) or b"")


def hour(number: int, used: int = 8, budget: int | None = 5) -> PastPeriod:
    """Return an hour, by its number since midnight."""
    return PastPeriod(Period(MIDNIGHT + number * HOUR_MS, MIDNIGHT + (number + 1) * HOUR_MS), used, budget, 0)


@given(moments, moments, amounts, limits, amounts, st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_python_reads_what_the_scripts_pack(
    shared_database: Database, one: int, other: int, used: int, budget: int | None, drawn: int, epoch: int
) -> None:
    shared_database.empty()
    past = PastPeriod(Period(min(one, other), max(one, other)), used, budget, drawn)
    add(shared_database, Added(past.end_ms(), past, epoch))
    assert stored(shared_database) == ([past] if used or epoch else [])


steps = st.lists(
    st.tuples(
        st.sampled_from((0, 0, 0, HOUR_MS, DAY_MS, 5 * DAY_MS, 70 * DAY_MS, -DAY_MS)),
        st.sampled_from((0, 1, HOUR_MS, HOUR_MS, HOUR_MS, DAY_MS, 31 * DAY_MS)),
        st.integers(0, 3) | st.sampled_from((300, 10**7, MAX_AMOUNT)),
        st.none() | st.integers(0, 5) | st.just(MAX_AMOUNT),
        st.integers(0, 2),
        st.sampled_from((0, 0, 1)),
    ),
    max_size=60,
)
"""For each period the gap before it, its length, used, budget, drawn, and whether leases were taken in it."""


@given(steps, st.sampled_from((0, HOUR_MS, 7 * DAY_MS, 63 * DAY_MS)), st.sampled_from((1, 62, 400)))
@settings(max_examples=150, deadline=None)
def test_what_scripts_sum_and_drop_late_reads_as_if_it_were_done_at_once(
    shared_database: Database, steps: list[tuple[int, int, int, int | None, int, int]], later_ms: int, kept_days: int
) -> None:
    shared_database.empty()
    every: list[PastPeriod] = []
    now_ms, epoch = NOON, 0
    for gap_ms, length_ms, used, budget, drawn, leased in steps:
        start_ms = now_ms + gap_ms
        past = PastPeriod(Period(start_ms, start_ms + length_ms), used, budget, drawn)
        now_ms = max(now_ms, past.end_ms())
        epoch += leased
        if used or leased:
            every.append(past)
        add(shared_database, Added(now_ms, past, epoch * leased), kept_days)
    max_age_ms = kept_days * DAY_MS
    assert kept(stored(shared_database), now_ms + later_ms, max_age_ms) == kept(every, now_ms + later_ms, max_age_ms)


def test_hours_become_part_of_their_day_a_week_later_with_the_overage_of_each(shared_database: Database) -> None:
    shared_database.empty()
    hours = [hour(0, 8), hour(1, 2), hour(23, 9), hour(24, 6)]
    for past in hours:
        add(shared_database, Added(past.end_ms(), past))
    assert stored(shared_database) == hours
    add(shared_database, Added(hour(24 * 8 - 1).end_ms(), hour(24 * 8 - 1)))
    day = PastPeriod(Period(MIDNIGHT, MIDNIGHT + DAY_MS), 19, 15, 0, 7)
    assert stored(shared_database) == [day, hour(24, 6), hour(24 * 8 - 1)]
    assert day.overage() == sum(past.overage() for past in hours[:3])


def test_an_hourly_feature_keeps_at_most_a_week_of_hours_and_a_sum_for_each_day(shared_database: Database) -> None:
    shared_database.empty()
    for number in range(24 * 80):
        past = hour(number, 300 + number % 7)
        add(shared_database, Added(past.end_ms(), past))
    found = stored(shared_database)
    assert len(found) <= 62 + 1 + 8 * 24
    assert sum(past.used for past in found[-168:]) == sum(300 + number % 7 for number in range(24 * 80 - 168, 24 * 80))
    # A month that ended yesterday can be billed.
    days = [past for past in found if past.summed_overage is not None]
    assert all(past.used == sum(300 + number % 7 for number in _hours(past)) for past in days)
    assert size(shared_database) <= 24 * len(found)


def _hours(past: PastPeriod) -> range:
    return range((past.period.start_ms - MIDNIGHT) // HOUR_MS, (past.end_ms() - MIDNIGHT) // HOUR_MS)


@pytest.mark.parametrize("length_ms", [HOUR_MS, DAY_MS, WEEK_MS, 28 * DAY_MS, 31 * DAY_MS, 365 * DAY_MS, 366 * DAY_MS])
def test_a_period_takes_at_most_24_bytes(shared_database: Database, length_ms: int) -> None:
    shared_database.empty()
    past = PastPeriod(Period(NOON, NOON + length_ms), 2**32 - 1, 2**32 - 1, 2**16 - 1)
    add(shared_database, Added(past.end_ms(), past, 2**16 - 1))
    before = size(shared_database)
    add(shared_database, Added(past.end_ms() + 1, past, 2**16 - 1))
    assert size(shared_database) - before <= 24


def test_periods_of_an_earlier_layout_are_converted_with_the_next_one(shared_database: Database) -> None:
    shared_database.empty()
    epoch = bytes((9, 0, 0, 0))
    days = [PastPeriod(Period(NOON + day * DAY_MS, NOON + (day + 1) * DAY_MS), 7, 5, 1) for day in range(14)]
    old = b"".join(
        b"".join(number.to_bytes(8, "little") for number in (past.period.start_ms, past.end_ms(), 7, 5, 1)) + epoch
        for past in reversed(days[:12])
    )
    shared_database.redis.hset(KEY, "calls", old)
    assert stored(shared_database) == days[:12]
    add(shared_database, Added(days[12].end_ms(), days[12]))
    assert list(cast("dict[bytes, bytes]", shared_database.redis.hgetall(KEY))) == [b"\x01calls"]
    assert stored(shared_database) == days[:13]
    # A server of the earlier version may go on for a while.
    shared_database.redis.hset(KEY, "calls", old[:44])
    add(shared_database, Added(days[13].end_ms(), days[13]))
    assert sorted(stored(shared_database)) == sorted([*days, days[11]])


def test_leases_find_their_period_and_the_sum_that_it_has_become_part_of(shared_database: Database) -> None:
    shared_database.empty()
    for number, epoch in ((0, 0), (1, 3), (2, 0), (3, 5), (30, 6), (200, 7)):
        past = hour(number)
        add(shared_database, Added(past.end_ms(), past, epoch))
    found = {epoch: shared_database.call("EVAL", FIND, "1", KEY, str(epoch)) for epoch in (1, 3, 5, 6, 7, 8)}
    day, next_day, last = (str(hour(number).period.start_ms).encode() for number in (0, 30, 200))
    assert found == {1: None, 3: day, 5: day, 6: next_day, 7: last, 8: None}


def test_what_is_stored_is_bounded_whatever_becomes_a_past_period(shared_database: Database) -> None:
    """A feature that is removed and given again becomes a past period each time."""
    shared_database.empty()
    total = 0
    for number in range(3000):
        past = PastPeriod(Period(NOON, NOON + 9 * DAY_MS + number), 1000, 5, 0)
        add(shared_database, Added(past.end_ms(), past))
        total += past.used
    assert size(shared_database) <= 32_000
    assert sum(past.used for past in stored(shared_database)) == total
    assert sum(past.overage() for past in stored(shared_database)) == 3000 * 995
