"""The rule stands twice, in Python for checks and in Lua for what records: they agree on any state."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.decision import Standing, TotalOutOfRangeError, decide
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import MAX_AMOUNT, Reason, ResetPeriod
from canuse_server.domain.periods import FIXED_LENGTH_MS, Period
from canuse_server.store import usage
from canuse_server.store.keys import bucket_of
from canuse_server.store.usage import RecordOutOfRangeError, StaleError, UserMissingError
from support.database import KEYS, Database, Recorded
from support.strategies import amounts, entitlements, length_ms, ms

USER: Final = "124"
NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
hundreds = settings(max_examples=250, deadline=None)


@dataclass(frozen=True)
class State:
    """All that a decision depends on. `counter` is what was used, and since when."""

    exists: bool
    disabled: bool
    archived: bool
    entitlement: Entitlement | None
    counter: tuple[int, int] | None

    def put(self, database: Database) -> None:
        """Have the store hold nothing of the user but this."""
        database.redis.delete(KEYS.user(USER), KEYS.history(USER), KEYS.ledger(bucket_of(USER)), *KEYS.dedupe(USER))
        if self.exists:
            database.put_user(self.entitlement, disabled=self.disabled)
            if self.counter is not None:
                database.put_counter(*self.counter)


@st.composite
def states(draw: st.DrawFn) -> State:
    """Any state that canuse can leave in a store, also by a clock that steps back, and of users who are gone."""
    entitlement = draw(st.none() | entitlements(NOW))
    counter = None
    if entitlement is not None:
        start_ms = entitlement.period_at(NOW).start_ms
        if entitlement.reset_period in FIXED_LENGTH_MS:
            start_ms += draw(st.integers(-3, 3) | st.just(0)) * length_ms(entitlement.reset_period)
        else:
            start_ms -= draw(st.just(0) | st.integers(0, 40 * 86_400_000))
        limit = entitlement.limit or 0
        used = amounts | st.integers(max(0, limit - 3), min(MAX_AMOUNT, limit + 3))
        counter = draw(st.none() | st.tuples(used, st.just(max(0, start_ms))))
    return State(
        exists=draw(st.integers(0, 19)) > 0,
        disabled=draw(st.integers(0, 9)) == 0,
        archived=draw(st.integers(0, 9)) == 0,
        entitlement=entitlement,
        counter=counter,
    )


def deltas(state: State) -> st.SearchStrategy[int]:
    """Amounts, often such that they just fit or just do not."""
    limit = state.entitlement.limit if state.entitlement else None
    left = max(1, (MAX_AMOUNT if limit is None else limit) - (state.counter[0] if state.counter else 0))
    return amounts.filter(bool) | st.integers(max(1, left - 2), min(MAX_AMOUNT, left + 2))


def looked_at(database: Database, state: State) -> Standing:
    """Read the user as a check does."""
    reply = database.call(*usage.check_trip(KEYS, USER, "calls").command)
    return usage.standing(reply, NOW, archived=state.archived)


def used_before(state: State, standing: Standing) -> tuple[int, int]:
    """Return by the domain what was used in the current period, and when that started."""
    assert state.entitlement is not None
    period, used, _ = standing.current()
    return used, period.start_ms


@given(st.data())
@hundreds
def test_a_check_says_yes_exactly_where_checking_and_recording_records(
    shared_database: Database, data: st.DataObject
) -> None:
    state = data.draw(states(), label="state")
    delta = data.draw(deltas(state), label="delta")
    state.put(shared_database)
    before = shared_database.contents()

    try:
        standing = looked_at(shared_database, state)
        reason: Reason | type[Exception] = decide(standing, delta)
    except (UserMissingError, StaleError) as error:
        with pytest.raises(type(error)):
            shared_database.record(NOW, mode=usage.USE, delta=delta, archived=state.archived)
        assert shared_database.contents() == before
        return
    except TotalOutOfRangeError:
        with pytest.raises(RecordOutOfRangeError):
            shared_database.record(NOW, mode=usage.USE, delta=delta, archived=state.archived)
        assert shared_database.contents() == before
        return

    outcome, replayed = shared_database.record(NOW, mode=usage.USE, delta=delta, archived=state.archived)
    assert outcome.reason == reason
    assert (outcome.now_ms, outcome.entitlement, replayed) == (NOW, state.entitlement, False)
    assert (outcome.ledger_id != "") == outcome.reason.access
    if outcome.reason.access:
        used, start_ms = used_before(state, standing)
        assert (outcome.used, outcome.applied_delta, outcome.period_start_ms) == (used + delta, delta, start_ms)
        assert shared_database.counter() == (used + delta, start_ms)
        assert looked_at(shared_database, state).current()[1] == used + delta
    else:
        assert outcome.applied_delta == 0
        if state.entitlement is not None:
            assert (outcome.used, outcome.period_start_ms) == used_before(state, standing)
        assert shared_database.contents() == before


@given(st.data())
@hundreds
def test_what_is_recorded_without_a_check_stands_as_the_domain_says(
    shared_database: Database, data: st.DataObject
) -> None:
    state = data.draw(states().filter(lambda state: state.exists), label="state")
    mode = data.draw(st.sampled_from((usage.ADD, usage.SET)), label="mode")
    positive = deltas(state)
    delta = data.draw(positive | st.just(0) if mode == usage.SET else positive | positive.map(int.__neg__), "delta")
    state.put(shared_database)
    before = shared_database.contents()

    def record() -> Recorded:
        return shared_database.record(NOW, mode=mode, delta=delta, archived=state.archived)[0]

    try:
        standing = looked_at(shared_database, state)
    except StaleError:
        with pytest.raises(StaleError):
            record()
        return
    if state.entitlement is None:
        outcome = record()
        assert (outcome.reason, outcome.applied_delta, outcome.ledger_id) == (Reason.NOT_ENTITLED, 0, "")
        assert shared_database.contents() == before
        return
    used, start_ms = used_before(state, standing)
    total = max(0, delta if mode == usage.SET else used + delta)
    if total > MAX_AMOUNT:
        with pytest.raises(RecordOutOfRangeError):
            record()
        assert shared_database.contents() == before
        return
    outcome = record()
    assert outcome.reason == _stands(standing, total)
    assert (outcome.used, outcome.applied_delta, outcome.period_start_ms) == (total, total - used, start_ms)
    assert shared_database.counter() == (total, start_ms)
    assert len(shared_database.entries()) == 1


@pytest.mark.parametrize("overage_enabled", [False, True])
@pytest.mark.parametrize("limit", [None, 5, MAX_AMOUNT])
@pytest.mark.parametrize(("used", "delta"), [(0, MAX_AMOUNT), (MAX_AMOUNT - 1, 1), (MAX_AMOUNT, 1), (1, MAX_AMOUNT)])
def test_both_stop_at_the_very_same_total(
    shared_database: Database, limit: int | None, overage_enabled: bool, used: int, delta: int
) -> None:
    entitlement = Entitlement(
        consumable=True,
        active=True,
        limit=limit,
        overage_enabled=overage_enabled,
        reset_period=ResetPeriod.NEVER,
        period=Period(0, None),
        valid_until_ms=None,
    )
    state = State(exists=True, disabled=False, archived=False, entitlement=entitlement, counter=(used, 0))
    state.put(shared_database)
    try:
        reason = decide(looked_at(shared_database, state), delta)
    except TotalOutOfRangeError:
        assert used + delta > MAX_AMOUNT
        with pytest.raises(RecordOutOfRangeError):
            shared_database.record(NOW, mode=usage.USE, delta=delta)
    else:
        assert not reason.access or used + delta <= MAX_AMOUNT
        assert shared_database.record(NOW, mode=usage.USE, delta=delta)[0].reason == reason


def _stands(standing: Standing, total: int) -> Reason:
    assert standing.entitlement is not None
    if standing.disabled:
        return Reason.USER_DISABLED
    if standing.archived:
        return Reason.FEATURE_ARCHIVED
    if not standing.entitlement.active:
        return Reason.SUBSCRIPTION_INACTIVE
    budget = standing.budget()
    if budget is None:
        return Reason.UNLIMITED
    if total <= budget:
        return Reason.WITHIN_BUDGET
    return Reason.OVERAGE if standing.entitlement.overage_enabled else Reason.BUDGET_EXCEEDED
