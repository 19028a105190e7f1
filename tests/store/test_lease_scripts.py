"""The lease scripts: what is reserved is held, released on time, and counted in the right period."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, cast

import pytest
from redis.exceptions import ResponseError

from canuse_server.domain.carry_over import carry_over_one
from canuse_server.domain.decision import Reservation
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import MAX_AMOUNT, Reason, ResetPeriod
from canuse_server.domain.past_periods import PastPeriod
from canuse_server.domain.periods import Period
from canuse_server.store.codec.user_values import pack_entitlement
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.leases import LeaseMissingError
from canuse_server.store.repositories.usage_commands import (
    EventIdReusedError,
    LeasesDueError,
    RecordOutOfRangeError,
    StaleError,
    UserMissingError,
)
from canuse_server.store.repositories.users.change import UserChange
from canuse_server.store.repositories.users.users import Users
from support.database import HOUR_MS, KEYS, RETENTION, Database, shown
from support.leases import EXPIRED, MINUTE_MS, OPEN, Lease, UserLeases, token
from support.strategies import ms

NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
DAY: Final = 24 * HOUR_MS
LATE: Final = RETENTION.dedupe_ttl_ms
FIVE_A_DAY: Final = Entitlement(
    consumable=True,
    active=True,
    limit=5,
    overage_enabled=False,
    reset_period=ResetPeriod.DAY,
    period=Period(NOW, NOW + DAY),
    valid_until_ms=None,
)
A, B, C = token(1), token(2), token(3)


@pytest.fixture
def leasing(database: Database) -> UserLeases:
    """The leases of a user with five calls a day."""
    database.put_user(FIVE_A_DAY)
    return UserLeases(database)


def set_entitlement(leasing: UserLeases, **changes: Any) -> None:
    """Replace the user's entitlement."""
    field = pack_entitlement(replace(FIVE_A_DAY, **changes))
    leasing.database.redis.hset(KEYS.user("124"), "f:calls", cast("Any", field))


def test_an_amount_is_taken_whole_or_as_far_as_there_is_of_it_or_not_at_all(leasing: UserLeases) -> None:
    whole = leasing.reserve(NOW, A, 3)
    assert (whole.granted, whole.expires_at_ms, whole.token) == (3, NOW + MINUTE_MS, A)
    assert (whole.charge.reason, whole.charge.used, whole.charge.reserved) == (Reason.WITHIN_BUDGET, 0, 3)
    too_little = leasing.reserve(NOW, B, 4, min_amount=3)
    assert (too_little.granted, too_little.expires_at_ms) == (0, 0)
    assert (too_little.charge.reason, too_little.charge.reserved) == (Reason.BUDGET_EXCEEDED, 3)
    part = leasing.reserve(NOW, B, 4, min_amount=2)
    assert (part.granted, part.charge.reason, part.charge.reserved) == (2, Reason.WITHIN_BUDGET, 5)
    nothing = leasing.reserve(NOW, C, 1)
    assert (nothing.granted, nothing.charge.reason) == (0, Reason.BUDGET_EXCEEDED)
    assert leasing.all().keys() == {A, B}
    leasing.check()


def test_what_is_taken_is_there_for_nobody_else_and_what_was_not_used_of_it_comes_back(leasing: UserLeases) -> None:
    database = leasing.database
    leasing.reserve(NOW, A, 3)
    refused, _ = database.record(NOW, mode=usage_commands.USE, delta=3)
    assert (refused.reason, refused.used, refused.reserved) == (Reason.BUDGET_EXCEEDED, 0, 3)
    given, _ = database.record(NOW, mode=usage_commands.USE, delta=2)
    assert (given.reason, given.used, given.reserved, given.budget) == (Reason.WITHIN_BUDGET, 2, 3, 5)
    past_it, _ = database.record(NOW, delta=1)
    assert (past_it.reason, past_it.used) == (Reason.BUDGET_EXCEEDED, 3)
    settled = leasing.settle(NOW, A, 1)
    assert (settled.charge.used, settled.charge.applied_delta, settled.charge.reserved) == (4, 1, 0)
    assert (settled.charge.reason, settled.late) == (Reason.WITHIN_BUDGET, False)
    assert database.counter() == (4, NOW)
    assert database.record(NOW, mode=usage_commands.USE, delta=1)[0].reason == Reason.WITHIN_BUDGET
    assert leasing.all() == {}
    leasing.check()


def test_more_than_was_taken_is_a_fact_and_none_is_no_event(leasing: UserLeases) -> None:
    leasing.reserve(NOW, A, 2)
    leasing.reserve(NOW, B, 2)
    more = leasing.settle(NOW, A, 7)
    assert (more.charge.used, more.charge.reserved, more.charge.reason) == (7, 2, Reason.BUDGET_EXCEEDED)
    assert len(leasing.database.entries()) == 1
    nothing = leasing.settle(NOW, B, 0)
    assert (nothing.charge.used, nothing.charge.reserved, nothing.charge.ledger_id) == (7, 0, "")
    assert len(leasing.database.entries()) == 1


def test_without_a_limit_and_with_overage_the_whole_amount_is_taken(leasing: UserLeases) -> None:
    set_entitlement(leasing, limit=None)
    assert leasing.reserve(NOW, A, 10**15).granted == 10**15
    set_entitlement(leasing, limit=10**15 + 5, overage_enabled=True)
    over = leasing.reserve(NOW, B, 10)
    assert (over.granted, over.charge.reason) == (10, Reason.OVERAGE)
    leasing.check()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"active": False}, Reason.SUBSCRIPTION_INACTIVE),
        ({"limit": 0}, Reason.BUDGET_EXCEEDED),
        ({"limit": 0, "active": False}, Reason.SUBSCRIPTION_INACTIVE),
    ],
)
def test_a_refused_reservation_writes_nothing(leasing: UserLeases, change: dict[str, Any], reason: Reason) -> None:
    set_entitlement(leasing, **change)
    before = leasing.database.contents()
    refused = leasing.reserve(NOW, A)
    assert (refused.granted, refused.charge.reason) == (0, reason)
    assert leasing.reserve(NOW, A, archived=True).charge.reason == Reason.FEATURE_ARCHIVED
    assert leasing.reserve(NOW, A, feature_id="other").charge.reason == Reason.NOT_ENTITLED
    assert leasing.database.contents() == before
    leasing.database.put_user(disabled=True)
    assert leasing.reserve(NOW, A).charge.reason == Reason.USER_DISABLED
    assert leasing.all() == {}


def test_what_can_not_be_done_writes_nothing(leasing: UserLeases) -> None:
    set_entitlement(leasing, limit=None, valid_until_ms=NOW + 10)
    leasing.reserve(NOW, A, MAX_AMOUNT - 1)
    before = leasing.database.contents()
    with pytest.raises(RecordOutOfRangeError):
        leasing.reserve(NOW, B, 2)
    with pytest.raises(RecordOutOfRangeError):
        leasing.database.record(NOW, delta=2)
    with pytest.raises(RecordOutOfRangeError):
        leasing.database.record(NOW, mode=usage_commands.SET, delta=2)
    with pytest.raises(StaleError):
        leasing.reserve(NOW + 10, B)
    with pytest.raises(StaleError):
        leasing.settle(NOW + 10, A, 1)
    with pytest.raises(UserMissingError):
        UserLeases(leasing.database, "nobody").reserve(NOW, B)
    for missing in (UserLeases(leasing.database, "nobody"), leasing):
        with pytest.raises(LeaseMissingError):
            missing.settle(NOW, B, 1)
    with pytest.raises(LeaseMissingError):
        leasing.settle(NOW, A, 1, feature_id="other")
    assert leasing.database.contents() == before
    assert leasing.settle(NOW, A, MAX_AMOUNT).charge.used == MAX_AMOUNT


def test_what_is_used_of_a_lease_leaves_room_for_what_others_hold(leasing: UserLeases) -> None:
    """One unit too many was allowed: a sum beyond 2^53 had been rounded."""
    set_entitlement(leasing, limit=None)
    leasing.reserve(NOW, A, MAX_AMOUNT - 5)
    leasing.reserve(NOW, B, 5)
    before = leasing.database.contents()
    with pytest.raises(RecordOutOfRangeError):
        leasing.settle(NOW, B, 6)
    assert leasing.database.contents() == before
    assert leasing.settle(NOW, B, 5).charge.reserved == MAX_AMOUNT - 5


def test_a_token_that_is_taken_is_refused_before_anything_is_written(leasing: UserLeases) -> None:
    leasing.reserve(NOW, A, 2)
    before = leasing.database.contents()
    with pytest.raises(ResponseError, match="the token is taken"):
        leasing.reserve(NOW, A, 1)
    assert leasing.database.contents() == before


def test_a_lease_expires_at_its_very_moment_and_what_it_holds_comes_back(leasing: UserLeases) -> None:
    database, end = leasing.database, NOW + MINUTE_MS
    leasing.reserve(NOW, A, 5)
    assert leasing.feature_state(end - 1).reserved() == 5
    assert database.record(end - 1, mode=usage_commands.USE)[0].reason == Reason.BUDGET_EXCEEDED
    before = database.contents()
    calls = (
        lambda: leasing.feature_state(end),
        lambda: database.record(end, mode=usage_commands.USE),
        lambda: database.record(end),
        lambda: leasing.reserve(end, B),
        lambda: leasing.settle(end, A, 1),
    )
    for call in calls:
        with pytest.raises(LeasesDueError):
            call()
    assert database.contents() == before
    assert leasing.sweep(end - 1) == 0
    assert database.contents() == before
    assert leasing.sweep(end) == 1
    leasing.check()
    assert leasing.all() == {A: Lease(EXPIRED, 1, 5, end, "calls")}
    assert leasing.feature_state(end).reserved() == 0
    assert leasing.reserve(end, B, 5).granted == 5


def test_a_lease_that_expired_can_be_settled_late_and_is_forgotten_in_the_end(leasing: UserLeases) -> None:
    end = NOW + MINUTE_MS
    leasing.reserve(NOW, A, 5)
    leasing.reserve(NOW, B, 5, ttl_ms=2 * MINUTE_MS)
    leasing.sweep(end)
    leasing.database.record(end, mode=usage_commands.USE, delta=5)
    late = leasing.settle(end + 1, A, 3)
    assert (late.late, late.charge.used, late.charge.reserved) == (True, 8, 0)
    assert late.charge.reason == Reason.BUDGET_EXCEEDED
    assert leasing.due_ms() is None

    set_entitlement(leasing, limit=100)
    leasing.reserve(NOW, B, 5)
    assert leasing.sweep(end) == 1
    assert leasing.due_ms() == end + LATE
    assert leasing.sweep(end + LATE - 1) == 0
    with pytest.raises(LeasesDueError):
        leasing.settle(end + LATE, B, 1)
    assert leasing.sweep(end + LATE) == 1
    with pytest.raises(LeaseMissingError):
        leasing.settle(end + LATE, B, 1)
    leasing.check()


def test_a_lease_that_nobody_asked_about_for_long_is_given_back_and_forgotten_at_once(leasing: UserLeases) -> None:
    set_entitlement(leasing, reset_period=ResetPeriod.NEVER, period=Period(NOW, None))
    leasing.reserve(NOW, A, 5)
    assert leasing.sweep(NOW + MINUTE_MS + LATE) == 1
    assert leasing.all() == {}
    assert leasing.reservation() == Reservation(1, NOW, 0)
    leasing.check()


def test_leases_that_expire_together_are_swept_so_many_at_a_time(leasing: UserLeases) -> None:
    set_entitlement(leasing, limit=100)
    for number in range(7):
        leasing.reserve(NOW, token(number), number + 1)
    end = NOW + MINUTE_MS
    assert [leasing.sweep(end, 3) for _ in range(4)] == [3, 3, 1, 0]
    assert leasing.feature_state(end).reserved() == 0
    leasing.check()


def test_features_without_leases_do_not_look_at_those_of_others(leasing: UserLeases) -> None:
    leasing.database.put_user(FIVE_A_DAY, feature_id="messages")
    leasing.reserve(NOW, A, 5)
    end = NOW + MINUTE_MS
    assert leasing.feature_state(end, feature_id="messages").reserved() == 0
    for event_id in ("", "e"):
        used, _ = leasing.database.record(end, feature_id="messages", mode=usage_commands.USE, event_id=event_id)
        assert used.reserved == 0
    with pytest.raises(LeasesDueError):
        leasing.feature_state(end)


def test_each_feature_has_what_its_own_leases_hold(leasing: UserLeases) -> None:
    leasing.database.put_user(FIVE_A_DAY, feature_id="messages")
    leasing.reserve(NOW, A, 5)
    assert leasing.reserve(NOW, B, 3, feature_id="messages").granted == 3
    end = NOW + MINUTE_MS
    assert leasing.sweep(end) == 2
    assert (leasing.feature_state(end).reserved(), leasing.feature_state(end, feature_id="messages").reserved()) == (
        0,
        0,
    )
    leasing.check()


# Idempotency.


def test_both_calls_are_answered_again_under_their_event_id_and_done_once(leasing: UserLeases) -> None:
    first = leasing.reserve(NOW, A, 2, event_id="r", fingerprint=b"reserv")
    again = leasing.reserve(NOW + 1, B, 2, event_id="r", fingerprint=b"reserv")
    assert again._replace(charge=first.charge) == first._replace(replayed=True)
    assert shown(again.charge) == shown(first.charge)
    settled = leasing.settle(NOW + 2, A, 1, event_id="s", fingerprint=b"settle")
    repeated = leasing.settle(NOW + 3, A, 1, event_id="s", fingerprint=b"settle")
    assert repeated._replace(charge=settled.charge) == settled._replace(replayed=True)
    assert shown(repeated.charge) == shown(settled.charge)
    with pytest.raises(LeaseMissingError):
        leasing.settle(NOW + 3, A, 1)
    with pytest.raises(LeaseMissingError):
        leasing.settle(NOW + 3, A, 1, event_id="another", fingerprint=b"settle")
    assert leasing.database.counter() == (1, NOW)
    assert leasing.all() == {}


def test_a_refusal_is_replayed_too(leasing: UserLeases) -> None:
    leasing.reserve(NOW, A, 5)
    refused = leasing.reserve(NOW, B, 1, event_id="r", fingerprint=b"reserv")
    leasing.settle(NOW, A, 0)
    again = leasing.reserve(NOW, C, 1, event_id="r", fingerprint=b"reserv")
    assert again._replace(charge=refused.charge) == refused._replace(replayed=True)
    assert shown(again.charge) == shown(refused.charge)
    assert leasing.all() == {}


def test_an_event_id_is_the_user_s_whatever_it_was_for(leasing: UserLeases) -> None:
    leasing.reserve(NOW, A, 2, event_id="e", fingerprint=b"reserv")
    with pytest.raises(EventIdReusedError):
        leasing.reserve(NOW, B, 3, event_id="e", fingerprint=b"other!")
    with pytest.raises(EventIdReusedError):
        leasing.settle(NOW, A, 2, event_id="e", fingerprint=b"settle")
    with pytest.raises(EventIdReusedError):
        leasing.database.record(NOW, event_id="e", fingerprint=b"record")
    assert leasing.database.counter() == (0, NOW)


# Periods.


def test_a_reset_gives_the_whole_budget_while_a_lease_of_the_day_before_is_open(leasing: UserLeases) -> None:
    leasing.database.record(NOW, delta=1)
    leasing.reserve(NOW, A, 4, ttl_ms=2 * DAY)
    tomorrow = NOW + DAY
    assert leasing.feature_state(tomorrow - 1).reserved() == 4
    assert leasing.feature_state(tomorrow).reserved() == 0
    taken = leasing.reserve(tomorrow, B, 5)
    assert (taken.granted, taken.charge.reserved, taken.charge.period_start_ms) == (5, 5, tomorrow)
    assert leasing.database.past() == [PastPeriod(Period(NOW, tomorrow), 1, 5, 0)]
    leasing.check()

    settled = leasing.settle(tomorrow, A, 3)
    assert (settled.charge.used, settled.charge.reserved, settled.charge.applied_delta) == (0, 5, 3)
    assert leasing.database.past() == [PastPeriod(Period(NOW, tomorrow), 4, 5, 0)]
    assert leasing.database.counter() == (0, tomorrow)
    leasing.check()


@pytest.mark.parametrize("rolls", ["settle", "use", "refusal", "nothing"])
def test_what_is_used_of_a_lease_counts_to_its_day_whoever_leaves_that_first(leasing: UserLeases, rolls: str) -> None:
    """Nothing else was used on that day, so only the lease gave it a past period."""
    database, tomorrow = leasing.database, NOW + DAY
    leasing.reserve(NOW, A, 5, ttl_ms=2 * DAY)
    leasing.reserve(NOW, B, 5, ttl_ms=2 * DAY)
    if rolls == "settle":
        leasing.settle(tomorrow, A, 1)
    elif rolls == "use":
        assert database.record(tomorrow, mode=usage_commands.USE, delta=5)[0].reason == Reason.WITHIN_BUDGET
        leasing.settle(tomorrow, A, 1)
    elif rolls == "refusal":
        database.record(tomorrow, mode=usage_commands.USE, delta=6)
        leasing.settle(tomorrow, A, 1)
    else:
        leasing.settle(tomorrow, A, 0)
        assert database.past() == []
        assert database.counter() == (0, NOW)
        return
    assert database.past() == [PastPeriod(Period(NOW, tomorrow), 1, 5, 0)]
    assert database.counter() == (5 if rolls == "use" else 0, tomorrow)
    assert leasing.reservation() == Reservation(1, NOW, 0)
    leasing.check()


def test_a_late_settle_counts_to_the_day_of_its_lease_too(leasing: UserLeases) -> None:
    leasing.reserve(NOW, A, 5, ttl_ms=DAY - LATE + 1)
    tomorrow = NOW + DAY
    settled = leasing.swept(tomorrow, lambda: leasing.settle(tomorrow, A, 2))
    assert (settled.late, settled.charge.used) == (True, 0)
    assert leasing.database.past() == [PastPeriod(Period(NOW, tomorrow), 2, 5, 0)]


def test_each_day_s_leases_find_their_own_day_and_what_is_too_far_back_is_in_the_ledger_alone(
    leasing: UserLeases,
) -> None:
    leasing = replace(leasing, retention=replace(RETENTION, past_periods_max_age_days=3))
    for day in range(6):
        leasing.reserve(NOW + day * DAY, token(day), 3, ttl_ms=7 * DAY)
    today = NOW + 5 * DAY
    for day in range(6):
        settled = leasing.settle(today, token(day), day + 1)
        assert settled.charge.ledger_id != ""
        leasing.check()
    used = {past.period.start_ms: past.used for past in leasing.database.past()}
    assert used == {NOW + day * DAY: day + 1 for day in (2, 3, 4)}
    assert leasing.database.counter() == (6, today)
    assert len(leasing.database.entries()) == 6


def test_a_past_day_can_not_be_counted_past_the_largest_amount(leasing: UserLeases) -> None:
    set_entitlement(leasing, limit=None)
    leasing.database.record(NOW, delta=MAX_AMOUNT - 3)
    leasing.reserve(NOW, A, 3, ttl_ms=2 * DAY)
    before = leasing.database.contents()
    with pytest.raises(RecordOutOfRangeError):
        leasing.settle(NOW, A, 4)
    with pytest.raises(RecordOutOfRangeError):
        leasing.settle(NOW + DAY, A, 4)
    assert leasing.database.contents() == before
    leasing.settle(NOW + DAY, A, 3)
    assert leasing.database.past() == [PastPeriod(Period(NOW, NOW + DAY), MAX_AMOUNT, None, 0)]


def test_a_lease_of_the_day_before_gives_nothing_back_to_the_day_in_which_it_expires(leasing: UserLeases) -> None:
    tomorrow = NOW + DAY
    leasing.reserve(NOW, A, 4, ttl_ms=DAY + 1)
    leasing.reserve(tomorrow, B, 5, ttl_ms=DAY)
    assert leasing.sweep(tomorrow + 1) == 1
    assert leasing.feature_state(tomorrow + 1).reserved() == 5
    leasing.check()


def test_a_clock_that_steps_back_over_a_reset_leaves_a_lease_in_the_day_it_was_taken_in(leasing: UserLeases) -> None:
    tomorrow = NOW + DAY
    leasing.reserve(tomorrow, A, 5)
    assert leasing.feature_state(tomorrow - 1).reserved() == 5
    assert leasing.reserve(tomorrow - 1, B, 1).granted == 0
    assert leasing.settle(tomorrow - 1, A, 2).charge.used == 2
    assert leasing.database.counter() == (2, tomorrow)


# A change of the user's entitlements.


async def change(leasing: UserLeases, users: Users, now_ms: int, after: Entitlement | None) -> None:
    """Replace the entitlement as the service does."""
    state = await users.read("124")
    assert state is not None
    before = state.entitlements["calls"]
    await users.apply(
        UserChange(
            user_id="124",
            raw_meta=state.raw_meta,
            meta=state.meta._replace(revision=state.meta.revision + 1),
            entitlements={} if after is None else {"calls": after},
            removed_entitlements=("calls",) if after is None else (),
            counters=state.counters,
            carry_overs=carry_over_one("calls", before, after, now_ms),
        )
    )
    leasing.check()


def hourly(start_ms: int) -> Entitlement:
    """Return an entitlement of five calls an hour, from a moment on."""
    return replace(FIVE_A_DAY, reset_period=ResetPeriod.HOUR, period=Period(start_ms, start_ms + HOUR_MS))


async def test_what_is_reserved_goes_with_the_count_into_another_period(leasing: UserLeases, users: Users) -> None:
    leasing.database.record(NOW, delta=1)
    leasing.reserve(NOW, A, 2)
    leasing.reserve(NOW, B, 2, ttl_ms=DAY)
    await change(leasing, users, NOW + 10, hourly(NOW + 5))
    feature_state = leasing.feature_state(NOW + 10)
    assert (feature_state.current()[1], feature_state.reserved()) == (1, 4)
    assert leasing.reservation() == Reservation(1, NOW + 5, 4)
    assert leasing.settle(NOW + 10, A, 1).charge.reserved == 2
    later = NOW + 5 + HOUR_MS
    assert leasing.feature_state(later).reserved() == 0
    leasing.settle(later, B, 2)
    assert leasing.database.past() == [PastPeriod(Period(NOW + 5, later), 4, 5, 0)]


async def test_what_was_reserved_of_a_period_that_is_over_does_not_come_back_with_the_count_of_the_next(
    leasing: UserLeases, users: Users
) -> None:
    tomorrow = NOW + DAY
    leasing.reserve(NOW, A, 4, ttl_ms=3 * DAY)
    leasing.database.record(tomorrow, delta=1)
    # Its period starts where that of the lease did.
    weekly = replace(FIVE_A_DAY, reset_period=ResetPeriod.WEEK, period=Period(NOW, NOW + 7 * DAY))
    await change(leasing, users, tomorrow, weekly)
    feature_state = leasing.feature_state(tomorrow)
    assert (feature_state.current()[1], feature_state.reserved()) == (1, 0)
    settled = leasing.settle(tomorrow, A, 3)
    assert (settled.charge.used, settled.charge.period_start_ms) == (1, NOW)
    assert leasing.database.past() == [PastPeriod(Period(NOW, tomorrow), 3, 5, 0)]
    assert leasing.reserve(tomorrow, B, 9).granted == 4
    leasing.check()


async def test_an_entitlement_that_is_lost_and_given_again_starts_without_the_leases_of_before(
    leasing: UserLeases, users: Users
) -> None:
    leasing.reserve(NOW, A, 4)
    await change(leasing, users, NOW, None)
    refused = leasing.settle(NOW, A, 1)
    assert (refused.charge.reason, refused.charge.entitlement) == (Reason.NOT_ENTITLED, None)
    assert refused.charge.ledger_id != ""
    assert [past.used for past in leasing.database.past()] == [1]
    set_entitlement(leasing)
    assert leasing.feature_state(NOW).reserved() == 0
    assert leasing.reserve(NOW, B, 9).granted == 5
    assert leasing.settle(NOW, B, 2).charge.used == 2
    leasing.check()


# Grants.


def test_grants_are_drawn_from_when_units_are_used_and_not_when_they_are_reserved(leasing: UserLeases) -> None:
    database = leasing.database
    database.put_user(FIVE_A_DAY, grants=[GrantBalance(0, None, 4, 0)])
    taken = leasing.reserve(NOW, A, 10)
    assert (taken.granted, taken.charge.budget) == (9, 9)
    assert database.grants() == (GrantBalance(0, None, 4, 0),)
    settled = leasing.settle(NOW, A, 7)
    assert (settled.charge.budget, settled.charge.reason) == (9, Reason.WITHIN_BUDGET)
    assert database.grants() == (GrantBalance(0, None, 2, 2),)


def test_a_grant_that_expires_before_the_units_are_used_gives_nothing(leasing: UserLeases) -> None:
    grant = GrantBalance(0, NOW + 10, 4, 0)
    leasing.database.put_user(FIVE_A_DAY, grants=[grant])
    assert leasing.reserve(NOW, A, 9).granted == 9
    feature_state = leasing.feature_state(NOW + 10)
    assert (feature_state.budget(), feature_state.reserved()) == (5, 9)
    assert leasing.settle(NOW + 10, A, 9).charge.reason == Reason.BUDGET_EXCEEDED
    assert leasing.database.grants() == (grant,)


def test_a_lease_held_across_a_reset_draws_from_grants_what_its_day_did_not_give(leasing: UserLeases) -> None:
    database, tomorrow = leasing.database, NOW + DAY
    database.put_user(FIVE_A_DAY, grants=[GrantBalance(0, None, 4, 0)])
    leasing.reserve(NOW, A, 9, ttl_ms=2 * DAY)
    leasing.reserve(tomorrow, B, 1)
    settled = leasing.settle(tomorrow, A, 8)
    assert database.grants() == (GrantBalance(0, None, 1, 0),)
    assert database.past() == [PastPeriod(Period(NOW, tomorrow), 8, 5, 3)]
    assert (settled.charge.budget, settled.charge.used, settled.charge.reserved) == (6, 0, 1)
    assert database.record(tomorrow, delta=-1)[0].used == 0
    assert database.grants() == (GrantBalance(0, None, 1, 0),)


# Cost.


def commands(leasing: UserLeases) -> dict[str, int]:
    """Return how often the store has run each command since the last call of this function."""
    redis: Any = leasing.database.redis
    found = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in redis.info("commandstats").items()}
    redis.config_resetstat()
    return {name: calls for name, calls in found.items() if not name.startswith(("config", "info", "evalsha"))}


def test_no_call_works_harder_for_a_user_with_a_thousand_leases(leasing: UserLeases) -> None:
    """The commands are the same, as often; none of them reads all leases."""
    set_entitlement(leasing, limit=None)
    taken = 0
    counted: list[dict[str, dict[str, int]]] = []
    for lease_count in (10, 1000):
        while taken < lease_count:
            taken += 1
            leasing.reserve(NOW, token(taken), 1, ttl_ms=taken * 1000)
        commands(leasing)
        found = {}
        leasing.feature_state(NOW)
        found["check"] = commands(leasing)
        leasing.database.record(NOW, mode=usage_commands.USE)
        found["use"] = commands(leasing)
        leasing.reserve(NOW, token(5000 + lease_count), 1, ttl_ms=DAY)
        found["reserve"] = commands(leasing)
        leasing.settle(NOW, token(5000 + lease_count), 1)
        found["settle"] = commands(leasing)
        counted.append(found)
    assert counted[0] == counted[1]
    whole = {"hgetall", "hvals", "hkeys", "hscan", "smembers", "keys", "scan"}
    assert not whole & {name for found in counted for names in found.values() for name in names}
    leasing.check()


def test_a_sweep_works_as_hard_as_there_are_leases_due(leasing: UserLeases) -> None:
    set_entitlement(leasing, limit=None)
    for number in range(1000):
        leasing.reserve(NOW, token(number), 1, ttl_ms=(number + 1) * 1000)
    commands(leasing)
    assert leasing.sweep(NOW + 3000) == 3
    assert commands(leasing) == {"zrangebyscore": 2, "hget": 1 + 3 + 1, "hset": 3 + 2, "zadd": 3, "zrange": 1}
    leasing.check()


def test_a_user_without_leases_pays_for_two_fields_that_are_not_there(leasing: UserLeases) -> None:
    leasing.database.record(NOW)
    commands(leasing)
    leasing.database.record(NOW)
    assert commands(leasing) == {"hmget": 1, "xadd": 1, "hset": 1}
    assert usage_commands.check_command(KEYS, "124", "calls").command[2:] == ("m", "x", "f:calls", "g:calls", "r:calls")


def test_states_of_leases_are_numbered_as_the_script_numbers_them(leasing: UserLeases) -> None:
    leasing.reserve(NOW, A, 2)
    assert leasing.all() == {A: Lease(OPEN, 1, 2, NOW + MINUTE_MS, "calls")}
