"""The scripts check everything before they write; what they store is found again, and what has ended is removed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, cast

import pytest
from redis.exceptions import ResponseError

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import MAX_AMOUNT, Reason, ResetPeriod
from canuse_server.domain.past_periods import PastPeriod
from canuse_server.domain.periods import Period
from canuse_server.store.codec.user_values import pack_entitlement
from canuse_server.store.keys import CLOCK, CLOCK_AUDIT, bucket_of
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.manual_clock import LATEST_MS
from canuse_server.store.repositories.usage_commands import (
    EventIdReusedError,
    RecordOutOfRangeError,
    StaleError,
    UserMissingError,
)
from canuse_server.store.scripts.loader import (
    ADVANCE_CLOCK,
    ALL,
    APPLY_CATALOG,
    APPLY_USER,
    DELETE_USER,
    EXTEND_LEASE,
    INDEX_USER,
    PUT_API_KEY,
    PUT_CATALOG,
    RECORD_BATCH,
    RECORD_USAGE,
    RESERVE,
    SETTLE,
    SWEEP_LEASES,
    TOKEN_GENERATION,
    TRIM_LEDGER,
    TRIM_PAST_PERIODS,
    TRIM_TURN,
    Script,
)
from support.database import HOUR_MS, KEYS, RETENTION, Database, digest, pack_counter, pack_grants, packed_event
from support.strategies import ms

NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
DAY: Final = 24 * HOUR_MS
FIVE_A_DAY: Final = Entitlement(
    consumable=True,
    active=True,
    limit=5,
    overage_enabled=False,
    reset_period=ResetPeriod.DAY,
    period=Period(NOW, NOW + DAY),
    valid_until_ms=None,
)
FIVE_A_MONTH: Final = replace(
    FIVE_A_DAY, reset_period=ResetPeriod.MONTH, period=Period(NOW, NOW + 31 * DAY), valid_until_ms=NOW + 31 * DAY
)
PACKED: Final = pack_entitlement(FIVE_A_DAY)
GRANT: Final = GrantBalance(NOW - DAY, None, 6, 3)
ARITY: Final = {
    RECORD_USAGE: (3, 5),
    RECORD_BATCH: (2, 6),
    APPLY_USER: (7, 19),
    DELETE_USER: (9, 5),
    INDEX_USER: (2, 3),
    RESERVE: (8, 9),
    SETTLE: (9, 9),
    EXTEND_LEASE: (7, 7),
    SWEEP_LEASES: (3, 3),
    PUT_API_KEY: (4, 8),
    PUT_CATALOG: (6, 11),
    APPLY_CATALOG: (8, 8),
    ADVANCE_CLOCK: (2, 5),
    TOKEN_GENERATION: (2, 4),
    TRIM_LEDGER: (1, 3),
    TRIM_PAST_PERIODS: (1, 4),
    TRIM_TURN: (2, 3),
}
"""The exact or minimum number of keys and arguments of each script."""
NOTHING: Final[Mapping[str, Any]] = {}
NO_ENTRY: Final = ("", "1000", "")
"""The arguments of a change without an entry in the audit log."""
PlacedBalance = tuple[int, int, int, int]
"""A grant in the new order: its old place, effective at, expires at, amount."""


def keys(count: int) -> list[str]:
    """Return existing keys of one bucket, so that a script could do harm."""
    return [f"canuse:live:{{b0000}}:{number}" for number in range(count)]


def wrong_counts(script: Script) -> list[tuple[int, int]]:
    """Return numbers of keys and arguments that are one too low or too high for a script."""
    key_count, argument_count = ARITY[script]
    wrong = [(key_count, argument_count - 1), (2 if script is DELETE_USER else key_count - 1, argument_count)]
    if script is not DELETE_USER:
        # A use in a chain has one more key; one with an event id has four more.
        wrong.append((key_count + (2 if script is RECORD_USAGE else 1), argument_count))
    if script is not APPLY_USER:
        wrong.append((key_count, argument_count + 1))
    return wrong


@pytest.mark.parametrize(("script", "counts"), [(script, counts) for script in ALL for counts in wrong_counts(script)])
def test_a_script_refuses_more_or_fewer_keys_or_arguments_than_it_takes(
    database: Database, script: Script, counts: tuple[int, int]
) -> None:
    database.redis.hset(keys(1)[0], "m", "x")
    before = database.contents()
    with pytest.raises(ResponseError, match=f"{script.name} takes"):
        database.run(script, keys(counts[0]), *["0"] * counts[1])
    assert database.contents() == before


def test_every_script_has_its_counts_checked() -> None:
    assert set(ARITY) == set(ALL)


# record_usage: a refused call has written nothing.


def missing(database: Database) -> None:
    """Use a feature as a user who does not exist."""
    database.record(NOW, user_id="nobody")


def reused(database: Database) -> None:
    """Use another amount with an event id that is taken."""
    database.record(NOW + 1, delta=2, event_id="e", fingerprint=b"other!")


def too_much(database: Database) -> None:
    """Use more than can be counted."""
    database.record(NOW + 1, delta=MAX_AMOUNT)


@pytest.mark.parametrize(
    ("attempt", "error"),
    [(missing, UserMissingError), (reused, EventIdReusedError), (too_much, RecordOutOfRangeError)],
)
def test_a_use_that_is_refused_writes_nothing(
    database: Database, attempt: Callable[[Database], None], error: type[Exception]
) -> None:
    database.put_user(FIVE_A_DAY)
    database.record(NOW, event_id="e", fingerprint=b"123456")
    before = database.contents()
    assert len(before) == 3
    with pytest.raises(error):
        attempt(database)
    assert database.contents() == before


def test_a_stale_entitlement_is_refused_from_its_very_moment_on_and_nothing_is_written(database: Database) -> None:
    database.put_user(replace(FIVE_A_DAY, valid_until_ms=NOW + 1))
    database.record(NOW)
    before = database.contents()
    for mode in (usage_commands.ADD, usage_commands.SET, usage_commands.USE):
        with pytest.raises(StaleError):
            database.record(NOW + 1, mode=mode, event_id="e", fingerprint=b"123456")
    assert database.contents() == before


def test_a_known_event_id_is_answered_also_when_the_entitlement_is_stale_by_then(database: Database) -> None:
    database.put_user(replace(FIVE_A_DAY, valid_until_ms=NOW + 1))
    first, _ = database.record(NOW, event_id="e", fingerprint=b"123456")
    again, replayed = database.record(NOW + 1, event_id="e", fingerprint=b"123456")
    assert (again.shown(), replayed) == (first.shown(), True)


def test_a_refusal_is_kept_under_its_event_id_and_nothing_else_is_written(database: Database) -> None:
    database.put_user(replace(FIVE_A_DAY, limit=0))
    before = database.contents()
    refused, _ = database.record(NOW, mode=usage_commands.USE, event_id="e", fingerprint=b"123456")
    assert (refused.reason, refused.ledger_id) == (Reason.BUDGET_EXCEEDED, "")
    database.put_user(FIVE_A_DAY)
    again, replayed = database.record(NOW, mode=usage_commands.USE, event_id="e", fingerprint=b"123456")
    assert (again.shown(), replayed) == (refused.shown(), True)
    assert database.redis.hdel(KEYS.user("124"), "d") == 1
    after = database.contents()
    dedupe = {key.encode() for key in KEYS.events("124")}
    assert after.keys() - before.keys() <= dedupe
    assert after.keys() - dedupe == before.keys()


def test_a_script_reads_the_store_s_own_clock_unless_it_is_given_the_time(database: Database) -> None:
    seconds, microseconds = database.redis.time()
    before_ms = seconds * 1000 + microseconds // 1000
    database.put_user(replace(FIVE_A_DAY, period=Period(before_ms, before_ms + DAY)))
    outcome, _ = database.record(None)
    assert before_ms <= outcome.now_ms < before_ms + 5000
    assert int(outcome.ledger_id.partition("-")[0]) - outcome.now_ms in range(-5, 1000)
    outcome_at_time, _ = database.record(before_ms + DAY)
    assert outcome_at_time.now_ms == before_ms + DAY
    assert outcome_at_time.ledger_id == f"{before_ms + DAY}-0"


def test_numbers_are_exact_up_to_the_largest(database: Database) -> None:
    database.put_user(replace(FIVE_A_DAY, limit=MAX_AMOUNT))
    outcome, _ = database.record(NOW, delta=MAX_AMOUNT)
    assert (outcome.used, outcome.applied_delta, outcome.reason) == (MAX_AMOUNT, MAX_AMOUNT, Reason.WITHIN_BUDGET)
    outcome, _ = database.record(NOW, delta=-1)
    assert (outcome.used, outcome.applied_delta) == (MAX_AMOUNT - 1, -1)
    assert database.counter() == (MAX_AMOUNT - 1, NOW)
    outcome, _ = database.record(NOW, delta=-MAX_AMOUNT)
    assert (outcome.used, outcome.applied_delta) == (0, -(MAX_AMOUNT - 1))


@pytest.mark.parametrize("used", [10**14, 10**15, 10**15 + 1, MAX_AMOUNT])
def test_large_counts_become_exact_past_periods(database: Database, used: int) -> None:
    """Lua's `tostring` turns 10^15 into 1e+15."""
    database.put_user(replace(FIVE_A_DAY, limit=MAX_AMOUNT))
    database.record(NOW, delta=used)
    database.record(NOW + DAY)
    assert database.past() == [PastPeriod(Period(NOW, NOW + DAY), used, MAX_AMOUNT, 0)]


# Past periods.


def test_past_periods_are_kept_by_age_and_the_oldest_are_dropped(database: Database) -> None:
    database.put_user(FIVE_A_DAY)
    for day in range(65):
        database.record(NOW + day * DAY, delta=day + 1)
        oldest = max(0, day - 62)  # It ended less than 62 days ago.
        assert database.past() == [
            PastPeriod(Period(NOW + past * DAY, NOW + (past + 1) * DAY), past + 1, 5, 0)
            for past in range(day - 1, oldest - 1, -1)
        ]
    assert database.counter() == (65, NOW + 64 * DAY)


def test_a_period_in_which_nothing_was_used_is_not_kept(database: Database) -> None:
    database.put_user(FIVE_A_DAY)
    database.record(NOW)
    database.record(NOW, delta=-1)
    database.record(NOW + 4 * DAY)
    assert database.past() == []
    database.record(NOW + 9 * DAY)
    # The period ended a day after its start, not where the next period with a use began.
    assert [past.period for past in database.past()] == [Period(NOW + 4 * DAY, NOW + 5 * DAY)]


def test_with_an_age_of_a_day_only_the_last_day_is_kept(database: Database) -> None:
    database.put_user(FIVE_A_DAY)
    for day in range(3):
        database.record(NOW + day * DAY, retention=replace(RETENTION, past_periods_max_age_days=1))
    assert database.past() == [PastPeriod(Period(NOW + DAY, NOW + 2 * DAY), 1, 5, 0)]
    database.record(NOW + 9 * DAY, retention=replace(RETENTION, past_periods_max_age_days=1))
    assert not database.redis.exists(KEYS.history("124"))


def test_an_unlimited_budget_is_kept_as_such(database: Database) -> None:
    database.put_user(replace(FIVE_A_DAY, limit=None))
    database.record(NOW, delta=7)
    database.record(NOW + DAY)
    assert database.past() == [PastPeriod(Period(NOW, NOW + DAY), 7, None, 0)]


def test_a_refusal_leaves_the_count_of_the_previous_period_where_it_is(database: Database) -> None:
    database.put_user(FIVE_A_DAY)
    database.record(NOW, delta=5)
    outcome, _ = database.record(NOW + DAY, mode=usage_commands.USE, delta=6)
    assert (outcome.used, outcome.period_start_ms) == (0, NOW + DAY)
    assert (database.counter(), database.past()) == ((5, NOW), [])


def test_a_clock_that_steps_back_over_a_reset_does_not_give_the_budget_twice(database: Database) -> None:
    database.put_user(FIVE_A_DAY)
    database.record(NOW, delta=5)
    database.record(NOW + DAY, delta=5)
    database.redis.delete(KEYS.ledger(bucket_of("124")))
    outcome, _ = database.record(NOW + DAY - 1, mode=usage_commands.USE)
    assert (outcome.reason, outcome.used, outcome.period_start_ms) == (Reason.BUDGET_EXCEEDED, 5, NOW + DAY)
    assert len(database.past()) == 1


# Event ids, in four hashes of which two alternate.


def hashes(database: Database) -> list[set[bytes]]:
    """Return the digests of the event ids in each of the four hashes."""
    return [set(database.call("HKEYS", key)) for key in KEYS.events("124")]


def use(database: Database, event_id: str, now_ms: int) -> bool:
    """Record a use of 0 with an event id; return whether it is a repetition."""
    return database.record(now_ms, delta=-1, event_id=event_id, fingerprint=b"123456")[1]


def test_an_event_id_is_known_for_at_least_the_ttl_and_not_for_ever(database: Database) -> None:
    database.put_user(FIVE_A_DAY)
    step = HOUR_MS // 4
    for number in range(40):
        now_ms = NOW + number * step
        assert not use(database, f"e{number}", now_ms)
        # Four steps are the ttl: everything since then is still known.
        for recent in range(max(0, number - 4), number + 1):
            assert use(database, f"e{recent}", now_ms), (recent, number)
        assert sum(map(len, hashes(database))) <= 9


def test_an_event_id_stored_just_before_the_hashes_alternate_survives_it(database: Database) -> None:
    database.put_user(FIVE_A_DAY)
    use(database, "opens", NOW)
    use(database, "last", NOW + HOUR_MS - 1)
    use(database, "turns", NOW + HOUR_MS)
    assert use(database, "last", NOW + 2 * HOUR_MS - 1)
    assert sorted(map(len, hashes(database))) == [0, 0, 1, 2]


def test_the_hashes_alternate(database: Database) -> None:
    database.put_user(FIVE_A_DAY)
    turns = []
    for hour in range(5):
        use(database, f"e{hour}", NOW + hour * HOUR_MS)
        turns.append([digest(f"e{hour}") in ids for ids in hashes(database)][:2])
    assert turns == [turns[0], turns[0][::-1]] * 2 + [turns[0]]
    assert sorted(map(len, hashes(database))) == [0, 0, 1, 1]


def test_a_clock_that_steps_back_forgets_no_event_id(database: Database) -> None:
    database.put_user(replace(FIVE_A_DAY, reset_period=ResetPeriod.NEVER, period=Period(0, None)))
    moments = [NOW, NOW + 2 * HOUR_MS, NOW + HOUR_MS // 2, NOW + 3 * HOUR_MS - 1, NOW - 5 * DAY]
    for number, now_ms in enumerate(moments):
        database.redis.delete(KEYS.ledger(bucket_of("124")))
        assert not use(database, f"e{number}", now_ms)
        assert all(use(database, f"e{earlier}", now_ms) for earlier in range(1, number + 1))


def test_the_hashes_expire_by_themselves_once_all_their_ids_are_older_than_the_ttl(database: Database) -> None:
    database.put_user(FIVE_A_DAY)
    use(database, "e", NOW)
    open_key = next(key for key, ids in zip(KEYS.events("124"), hashes(database), strict=True) if ids)
    assert HOUR_MS < int(database.redis.pttl(open_key)) <= 2 * HOUR_MS


def test_an_event_id_is_kept_for_a_ttl_that_was_raised_since_its_hash_was_opened(database: Database) -> None:
    database.put_user(FIVE_A_DAY)
    use(database, "e", NOW)
    longer = replace(RETENTION, dedupe_ttl_ms=10 * HOUR_MS)
    database.record(NOW, retention=longer, event_id="later", fingerprint=b"123456")
    ttls = [int(database.redis.pttl(key)) for key in KEYS.events("124")]
    assert 10 * HOUR_MS < max(ttls) <= 20 * HOUR_MS


def test_an_event_id_can_look_like_anything_that_is_kept_beside_it(database: Database) -> None:
    database.put_user(FIVE_A_DAY)
    for event_id in ("i", "ie", "e", "m", " ", "日本"):
        assert not use(database, event_id, NOW)
        assert use(database, event_id, NOW)


# apply_user.


def apply(
    database: Database,
    expected: bytes = b"",
    *,
    meta: bytes = b"new",
    profile: bytes = b"",
    subscriptions: Mapping[str, bytes] = NOTHING,
    entitlements: Mapping[str, bytes] = NOTHING,
    removals: tuple[str, ...] = (),
    carry_overs: tuple[tuple[str, ...], ...] = (),
    counted_from: str | None = None,
    grants: Mapping[str, bytes] = NOTHING,
    orders: Mapping[str, tuple[PlacedBalance, ...]] = NOTHING,
    ended: Mapping[str, bytes] = NOTHING,
    event: tuple[str, bytes, bytes] | None = None,
    now_ms: int = 0,
) -> int | bytes:
    """Run apply_user on the user 124 and return its reply."""
    bucket = bucket_of("124")
    names = [KEYS.user("124"), KEYS.users(bucket), KEYS.profile("124"), KEYS.history("124"), KEYS.grants("124")]
    reply: int | bytes = database.run(
        APPLY_USER,
        [*names, KEYS.ended("124"), KEYS.audit(bucket), *(KEYS.events("124") if event else ())],
        *(expected, meta, "124", profile, "62", str(now_ms), *NO_ENTRY, "0"),
        *_counted(subscriptions.items()),
        *("until", *_counted(ended.items())),
        *_counted(entitlements.items()),
        *_counted((feature_id,) for feature_id in removals),
        *(("1", "calls", _start(database) if counted_from is None else counted_from) if carry_overs else ("0",)),
        *_counted(carry_overs),
        *_counted(grants.items()),
        str(len(orders)),
        *(argument for feature_id, placed in orders.items() for argument in (feature_id, *_counted(placed))),
        *((packed_event(*event[:2]), event[2]) if event else ()),
    )
    return reply


def _counted(rows: Iterable[tuple[str | bytes | int, ...]]) -> list[str | bytes]:
    """Return the number of rows, and their values in one list."""
    found = list(rows)
    return [str(len(found)), *(part if isinstance(part, bytes) else str(part) for row in found for part in row)]


def _start(database: Database) -> str:
    counter = database.counter()
    return "" if counter is None else str(counter[1])


def have(database: Database, used: int, period_start_ms: int, grants: tuple[GrantBalance, ...] = ()) -> None:
    """Create a user as `apply` does, who has used `calls`."""
    assert apply(database, entitlements={"calls": pack_entitlement(FIVE_A_DAY)})
    count(database, used, period_start_ms, grants)


def count(database: Database, used: int, period_start_ms: int, grants: tuple[GrantBalance, ...] = ()) -> None:
    """Replace the count of `calls`."""
    database.put_counter(used, period_start_ms)
    if grants:
        database.redis.hset(KEYS.user("124"), "g:calls", cast("Any", pack_grants(grants)))


@pytest.mark.parametrize("counted_from", ["", str(NOW - DAY), str(NOW + DAY)])
def test_a_count_that_has_gone_on_to_another_period_since_is_left_as_it_is(
    database: Database, counted_from: str
) -> None:
    """A use recorded just after a reset was moved back into the day before by a change read just before it."""
    have(database, 7, NOW)
    before = database.contents()
    changes = (carry_over(NOW - DAY, DAY, 5, NOW - DAY),)
    assert apply(database, b"new", meta=b"newer", carry_overs=changes, counted_from=counted_from) == 0
    assert database.contents() == before


def carry_over(start_ms: int, length_ms: int, budget: int, new_start_ms: int | str) -> tuple[str, ...]:
    """Return the arguments of one carry_over of `calls`."""
    return "calls", str(start_ms), str(length_ms), str(budget), str(new_start_ms)


def fields(database: Database) -> dict[bytes, bytes]:
    """Return the user's hash."""
    return cast("dict[bytes, bytes]", database.redis.hgetall(KEYS.user("124")))


def test_a_user_is_created_once(database: Database) -> None:
    assert apply(database, profile=b"S{}") == 1
    assert database.redis.smembers(KEYS.users(bucket_of("124"))) == {b"124"}
    before = database.contents()
    assert apply(database, meta=b"other", profile=b"D", subscriptions={"x": b"y"}, removals=("calls",)) == 0
    assert database.contents() == before


@pytest.mark.parametrize("expected", [b"", b"old", b"new "])
def test_a_user_who_has_changed_since_is_left_as_they_are(database: Database, expected: bytes) -> None:
    apply(database, profile=b"S{}", entitlements={"calls": PACKED})
    count(database, 5, NOW, grants=(GRANT,))
    before = database.contents()
    changed = apply(
        database,
        expected,
        profile=b"D",
        subscriptions={"t": b"x"},
        entitlements={"f": PACKED},
        removals=("calls",),
        carry_overs=(carry_over(NOW, DAY, 5, ""), carry_over(NOW, DAY, 5, NOW + 1)),
        grants={"g1": b"{}"},
        orders={"calls": ((1, NOW, -1, 9), (0, NOW, -1, 9))},
    )
    assert changed == 0
    assert database.contents() == before


def test_fields_are_set_and_removed_in_one_step(database: Database) -> None:
    other = pack_entitlement(replace(FIVE_A_MONTH, limit=None))
    apply(database, subscriptions={"t": b"\x00\xff"}, entitlements={"a": PACKED, "b": PACKED, "c": PACKED})
    changed = apply(
        database,
        b"new",
        meta=b"newer",
        entitlements={"a": other},
        removals=("b", "none", "c"),
        grants={"g1": b"\x00\xff"},
        orders={"b": ((0, 5, -1, 7),)},
    )
    assert changed == 1
    grant = pack_grants([GrantBalance(5, None, 7, 0)])
    assert fields(database) == {b"m": b"newer", b"f:a": other, b"s:t": b"\x00\xff", b"g:b": grant}
    assert database.redis.hgetall(KEYS.grants("124")) == {b"g1": b"\x00\xff"}


def test_a_new_entitlement_takes_the_place_of_the_old_one_and_the_count_after_it_stays(database: Database) -> None:
    have(database, 4, NOW)
    for other in (FIVE_A_MONTH, replace(FIVE_A_DAY, limit=None, active=False), replace(FIVE_A_DAY, valid_until_ms=1)):
        assert apply(database, b"new", entitlements={"calls": pack_entitlement(other)})
        assert fields(database)[b"f:calls"] == pack_entitlement(other) + pack_counter(4, NOW)


def test_a_profile_is_left_or_replaced_or_removed(database: Database) -> None:
    key = KEYS.profile("124")
    apply(database, profile=b"SDone")
    assert database.redis.get(key) == b"Done"
    apply(database, b"new", meta=b"2")
    assert database.redis.get(key) == b"Done"
    apply(database, b"2", meta=b"3", profile=b"D")
    assert database.redis.get(key) is None


def test_arguments_that_do_not_add_up_write_nothing(database: Database) -> None:
    apply(database)
    before = database.contents()
    names = [KEYS.user("124"), KEYS.users(0), KEYS.profile("124"), KEYS.history("124"), KEYS.grants("124")]
    names += [KEYS.ended("124"), KEYS.audit(0)]
    start = ("new", "newer", "124", "", "62", "0", *NO_ENTRY, "0")
    for rest in (
        ("0", "", "0", "1", "a", "x", "0", "0", "1", "calls", "0", "0"),
        ("0", "", "0", "0", "0", "0", "0", "0", "0", "more"),
        ("0", "", "0", "5", "a", "x", "0", "0", "0"),
        ("0", "", "0", "0", "0", "0", "0", "0", "1", "calls", "2", "0", "5", "-1", "7"),
    ):
        with pytest.raises(ResponseError):
            database.run(APPLY_USER, names, *start, *rest)
        assert database.contents() == before


def test_a_subscription_that_has_ended_is_in_one_place(database: Database) -> None:
    apply(database, subscriptions={"a": b"on", "b": b"on"})
    assert database.redis.hget(KEYS.user("124"), "e") is None
    apply(database, b"new", ended={"a": b"ended"})
    assert database.redis.hgetall(KEYS.ended("124")) == {b"a": b"ended"}
    assert database.redis.hmget(KEYS.user("124"), "s:a", "s:b", "e") == [None, b"on", b"until"]


def test_an_answer_is_kept_with_its_change_and_given_again_whatever_has_changed_since(database: Database) -> None:
    event = ("event", b"123456", b"answer")
    assert apply(database, b"other", event=event) == 0
    assert apply(database, event=event) == 1
    before = database.contents()
    assert apply(database, b"whatever", meta=b"2", event=event) == b"Ranswer"
    assert apply(database, b"new", meta=b"2", event=event) == b"Ranswer"
    assert apply(database, b"new", meta=b"2", event=("event", b"654321", b"answer")) == b"X"
    assert database.contents() == before
    assert apply(database, b"new", meta=b"2", event=("another", b"123456", b"other")) == 1


def test_several_carry_overs_of_one_count_are_made_one_after_the_other(database: Database) -> None:
    have(database, 4, NOW)
    steps = (
        carry_over(NOW, 31 * DAY, 5, NOW + 9 * DAY),
        carry_over(NOW + 9 * DAY, 28 * DAY, 20, ""),
        carry_over(NOW, DAY, 7, NOW),
    )
    apply(database, b"new", carry_overs=steps)
    assert database.counter() is None
    assert database.past() == [PastPeriod(Period(NOW + 9 * DAY, NOW + 37 * DAY), 4, 20, 0)]


def test_a_count_moves_with_its_period(database: Database) -> None:
    have(database, 4, NOW)
    apply(database, b"new", carry_overs=(carry_over(NOW, DAY, 5, NOW - HOUR_MS),))
    assert (database.counter(), database.past()) == ((4, NOW - HOUR_MS), [])


def test_a_count_whose_period_is_over_becomes_a_past_period(database: Database) -> None:
    have(database, 4, NOW)
    apply(database, b"new", carry_overs=(carry_over(NOW, 31 * DAY, 5, ""),))
    assert database.counter() is None
    assert database.past() == [PastPeriod(Period(NOW, NOW + 31 * DAY), 4, 5, 0)]


def test_a_count_of_an_older_period_becomes_a_past_period_and_is_not_moved(database: Database) -> None:
    have(database, 4, NOW - 3 * DAY)
    apply(database, b"new", carry_overs=(carry_over(NOW, DAY, -1, NOW - HOUR_MS),))
    assert database.counter() is None
    assert database.past() == [PastPeriod(Period(NOW - 3 * DAY, NOW - 2 * DAY), 4, None, 0)]


def test_a_count_ahead_of_the_clock_keeps_its_period_through_a_change_of_entitlements(database: Database) -> None:
    """The clock had stepped back over a reset. The count went back with it, and the budget was granted twice."""
    have(database, 5, NOW + DAY)
    apply(database, b"new", carry_overs=(carry_over(NOW, DAY, 5, NOW),))
    assert (database.counter(), database.past()) == ((5, NOW + DAY), [])


def test_a_feature_without_a_count_has_nothing_to_carry_over(database: Database) -> None:
    apply(database)
    apply(database, b"new", carry_overs=(carry_over(NOW, DAY, 5, ""), carry_over(NOW, DAY, 5, NOW)))
    assert (database.counter(), database.past()) == (None, [])


def test_past_periods_are_trimmed_when_a_count_is_settled_too(database: Database) -> None:
    have(database, 0, NOW)
    for day in range(65):
        count(database, day + 1, NOW + day * DAY)
        apply(database, b"new", carry_overs=(carry_over(NOW + day * DAY, DAY, 9, ""),), now_ms=NOW + (day + 1) * DAY)
    assert [past.used for past in database.past()] == list(range(65, 3, -1))


def test_a_count_of_zero_becomes_no_past_period(database: Database) -> None:
    have(database, 0, NOW)
    apply(database, b"new", carry_overs=(carry_over(NOW, DAY, 5, ""),))
    assert (database.counter(), database.past()) == (None, [])


def test_large_counts_and_late_times_are_settled_exactly(database: Database) -> None:
    have(database, MAX_AMOUNT, LATEST_MS - DAY)
    apply(database, b"new", carry_overs=(carry_over(LATEST_MS - DAY, DAY, MAX_AMOUNT, LATEST_MS - 5),))
    assert database.counter() == (MAX_AMOUNT, LATEST_MS - 5)
    apply(database, b"new", carry_overs=(carry_over(LATEST_MS - 5, DAY, MAX_AMOUNT, ""),))
    assert database.past() == [PastPeriod(Period(LATEST_MS - 5, LATEST_MS - 5 + DAY), MAX_AMOUNT, MAX_AMOUNT, 0)]


def test_grants_are_kept_in_a_new_order_with_what_is_left_and_drawn_of_each_by_then(database: Database) -> None:
    """Grants may be drawn from between the read and the write: the script uses the current balances."""
    have(database, 10, NOW, grants=(GRANT, GrantBalance(NOW, NOW + 9, None, 2)))
    database.record(NOW, delta=4)
    placed = ((2, NOW, NOW + 5, -1), (0, NOW + 1, -1, 9), (1, NOW - DAY, NOW, 100), (0, NOW, NOW + 1, -1))
    assert apply(database, b"new", grants={"g1": b"{}"}, orders={"calls": placed})
    assert database.grants() == (
        GrantBalance(NOW, NOW + 5, None, 2),
        GrantBalance(NOW + 1, None, 9, 0),
        GrantBalance(NOW - DAY, NOW, 2, 7),
        GrantBalance(NOW, NOW + 1, None, 0),
    )


def test_what_was_drawn_is_kept_with_its_past_period_and_stays_drawn(database: Database) -> None:
    have(database, 9, NOW, grants=(GRANT, GrantBalance(NOW, None, None, 1)))
    apply(database, b"new", carry_overs=(carry_over(NOW, DAY, 5, ""),))
    assert database.past() == [PastPeriod(Period(NOW, NOW + DAY), 9, 5, 4)]
    assert database.grants() == (GRANT._replace(drawn=0), GrantBalance(NOW, None, None, 0))


def test_what_was_drawn_goes_on_with_a_count_that_goes_on(database: Database) -> None:
    have(database, 8, NOW - HOUR_MS, grants=(GRANT,))
    apply(database, b"new", carry_overs=(carry_over(NOW - HOUR_MS, DAY, 5, NOW),))
    assert (database.counter(), database.grants(), database.past()) == ((8, NOW), (GRANT,), [])
    database.record(NOW, delta=-2)
    assert database.grants() == (GRANT._replace(left=8, drawn=1),)


def test_a_grant_that_is_revoked_when_its_count_is_over_gives_nothing_back(database: Database) -> None:
    """The order changes in the step that closes the period: what was drawn in it must not return."""
    have(database, 9, NOW, grants=(GRANT,))
    revoked = ((1, NOW - DAY, NOW + DAY, 9),)
    apply(database, b"new", carry_overs=(carry_over(NOW, DAY, 5, ""),), orders={"calls": revoked})
    assert database.grants() == (GrantBalance(NOW - DAY, NOW + DAY, 6, 0),)
    database.record(NOW + DAY, delta=-5)
    assert database.grants() == (GrantBalance(NOW - DAY, NOW + DAY, 6, 0),)


def test_grants_of_others_and_of_other_features_are_left_alone(database: Database) -> None:
    have(database, 8, NOW, grants=(GRANT,))
    for feature_id, user_id in (("messages", "124"), ("calls", "other")):
        database.put_user(FIVE_A_DAY, user_id, grants=(GRANT,), feature_id=feature_id)
    database.record(NOW, delta=3)
    assert database.grants() == (GRANT._replace(left=3, drawn=6),)
    assert database.grants(feature_id="messages") == database.grants("other") == (GRANT,)


# delete_user, token_generation, put_catalog, advance_clock.


def newest(database: Database) -> bytes:
    """Return the id of the newest event in the ledger."""
    entries = cast("list[tuple[bytes, object]]", database.redis.xrevrange(KEYS.ledger(bucket_of("124")), count=1))
    return entries[0][0]


def delete(database: Database, user_id: str) -> tuple[int, bytes]:
    """Run delete_user and return its reply."""
    bucket = bucket_of(user_id)
    beside = [KEYS.profile(user_id), KEYS.history(user_id), KEYS.grants(user_id), *KEYS.events(user_id)]
    names = [KEYS.user(user_id), KEYS.users(bucket), KEYS.ledger(bucket), KEYS.audit(bucket)]
    existed, last = database.run(DELETE_USER, [*names, *beside, KEYS.ended(user_id)], user_id, "0", *NO_ENTRY)
    return existed, last


def test_a_user_who_is_erased_leaves_nothing_but_the_events(database: Database) -> None:
    apply(database, profile=b"S{}", grants={"g1": b"{}"}, ended={"s1": b"x"})
    database.put_user(FIVE_A_DAY)
    for day in range(3):
        database.record(NOW + day * DAY, event_id=f"e{day}", fingerprint=b"123456")
    assert len(database.contents()) == 9
    last = newest(database)
    assert delete(database, "124") == (1, last)
    assert set(database.contents()) == {KEYS.ledger(bucket_of("124")).encode()}


def test_others_in_the_bucket_stay_and_nobody_is_erased_twice(database: Database) -> None:
    apply(database)
    database.redis.sadd(KEYS.users(bucket_of("124")), "another")
    assert delete(database, "124") == (1, b"")
    before = database.contents()
    assert database.redis.smembers(KEYS.users(bucket_of("124"))) == {b"another"}
    assert delete(database, "124") == (0, b"")
    assert database.contents() == before


def test_the_last_event_is_returned_for_a_missing_user_too(database: Database) -> None:
    """A deleted user may leave events behind, and one created again a moment later may have more."""
    apply(database)
    database.put_user(FIVE_A_DAY)
    database.record(NOW, delta=1)
    last = newest(database)
    assert [delete(database, "124") for _ in range(2)] == [(1, last), (0, last)]


def test_the_tokens_of_a_user_share_a_generation_that_ends_with_the_user(database: Database) -> None:
    def generation(new: bytes) -> bytes | None:
        names = [KEYS.user("124"), KEYS.audit(bucket_of("124"))]
        reply: list[bytes] | None = database.run(TOKEN_GENERATION, names, new, *NO_ENTRY)
        return None if reply is None else reply[0]

    assert generation(b"1") is None
    assert database.contents() == {}
    apply(database)
    assert [generation(new) for new in (b"1", b"2")] == [b"1", b"1"]
    assert [generation(new) for new in (b"", b"", b"3")] == [b"", b"", b"3"]
    delete(database, "124")
    assert [generation(new) for new in (b"4", b"")] == [None, None]
    apply(database)
    assert generation(b"5") == b"5"


def put(database: Database, before: str, after: str, version: str = "", item: str = "f", part: int = 7) -> bytes:
    """Run put_catalog on a feature and return its reply; `part` is the random part of the stamp."""
    keys = [KEYS.features, KEYS.feature_ids, KEYS.catalog_version, KEYS.package_versions, KEYS.catalog_changes]
    change = (item, before, after, version, KEYS.catalog_channel, str(part), "feature", "100")
    reply: bytes = database.run(PUT_CATALOG, [*keys, KEYS.catalog_audit], *change, *NO_ENTRY)
    return reply


def test_an_item_of_the_catalogue_is_created_once_and_replaced_as_it_was_read(database: Database) -> None:
    assert put(database, "", "one") == b"1-7"
    assert put(database, "one", "two", part=9) == b"2-9"
    before = database.contents()
    for expected in ("", "one", "tw"):
        assert put(database, expected, "three", "1:f") == b""
    assert database.contents() == before
    assert database.redis.hget(KEYS.features, "f") == b"two"
    assert database.redis.get(KEYS.catalog_version) == b"2-9"
    assert not database.redis.exists(KEYS.package_versions)


def changes(database: Database) -> list[bytes]:
    """Return the stamps in the log of changes."""
    return [entry[0] for entry in database.call("XRANGE", KEYS.catalog_changes, "-", "+")]


def test_the_log_of_changes_ends_with_the_stamp_and_is_the_log_of_one_history(database: Database) -> None:
    put(database, "", "one", part=5)
    put(database, "one", "two", part=6)
    assert changes(database) == [b"1-5", b"2-6"]
    # A version without stamps increased the number, and then the stamp was lost.
    for before, part, stamps in (("17", 3, [b"18-3"]), ("", 4, [b"1-4"]), ("odd", 8, [b"1-8"])):
        database.redis.set(KEYS.catalog_version, before)
        put(database, "two", "two", part=part)
        assert changes(database) == stamps


def test_the_log_of_changes_does_not_grow_without_bound(database: Database) -> None:
    for number in range(1000):
        put(database, "", "x", item=str(number))
    assert 100 <= len(changes(database)) <= 300


def test_items_are_found_in_the_order_of_their_ids_byte_by_byte(database: Database) -> None:
    for item in ("b", "é", "a", "B", "a:"):
        put(database, "", "x", item=item)
    assert database.redis.zrange(KEYS.feature_ids, 0, -1) == [item.encode() for item in ("B", "a", "a:", "b", "é")]


def test_what_is_published_is_kept_by_its_version(database: Database) -> None:
    put(database, "", "draft")
    put(database, "draft", "published", "1:f")
    assert database.redis.hgetall(KEYS.package_versions) == {b"1:f": b"published"}


def test_every_server_is_notified_of_a_change_and_of_nothing_else(database: Database) -> None:
    with database.redis.pubsub(ignore_subscribe_messages=True) as messages:  # type: ignore[no-untyped-call]
        messages.subscribe(KEYS.catalog_channel)
        messages.get_message(timeout=5)
        put(database, "other", "one")
        put(database, "", "one", item="g")
        message = next(found for _ in range(100) if (found := messages.get_message(timeout=0.1)))
        assert (message["channel"], message["data"]) == (KEYS.catalog_channel.encode(), b"g")
        assert messages.get_message(timeout=0.1) is None


def move(database: Database, how: str, amount: int, latest: int = LATEST_MS) -> bytes:
    """Run advance_clock and return its reply."""
    reply: bytes = database.run(ADVANCE_CLOCK, [CLOCK, CLOCK_AUDIT], how, str(amount), str(latest), *NO_ENTRY[:2])
    return reply


def test_the_clock_moves_to_a_time_or_by_a_duration_and_says_what_it_shows(database: Database) -> None:
    database.redis.set(CLOCK, "1000")
    assert move(database, "T", 5000) == b"5000"
    assert move(database, "D", 250) == b"5250"
    assert move(database, "D", 0) == b"5250"
    assert move(database, "T", 5250) == b"5250"
    assert move(database, "T", LATEST_MS) == str(LATEST_MS).encode() == database.redis.get(CLOCK)


@pytest.mark.parametrize(("how", "amount"), [("T", 4999), ("T", 0), ("D", -1), ("T", 10001), ("D", 5001), ("D", 2**60)])
def test_the_clock_goes_neither_back_nor_past_the_latest_time(database: Database, how: str, amount: int) -> None:
    database.redis.set(CLOCK, "5000")
    assert move(database, how, amount, latest=10_000) == b""
    assert database.redis.get(CLOCK) == b"5000"
