"""The rule is implemented twice, in Python for checks and in Lua for uses: both agree on any state.

What a use draws from grants is also compared with a plain implementation, `support.grant_model`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.decision import FeatureState, Reservation, TotalOutOfRangeError, decide
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import MAX_AMOUNT, Reason, ResetPeriod
from canuse_server.domain.past_periods import PastPeriod, kept
from canuse_server.domain.periods import FIXED_LENGTH_MS, Period
from canuse_server.domain.retry import retry_at_ms
from canuse_server.store.codec.ledger_pb2 import LedgerEntry
from canuse_server.store.codec.user_values import ChargeOutcome, Meta, Outcome
from canuse_server.store.keys import bucket_of
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.leases import Reserved
from canuse_server.store.repositories.usage_commands import (
    Charge,
    LeasesDueError,
    RecordOutOfRangeError,
    StaleError,
    Use,
    UserMissingError,
)
from support import grant_model
from support.database import KEYS, RETENTION, Database, Recorded, packed_event, shown
from support.leases import UserLeases, pack_reservation, token
from support.strategies import amounts, balances, entitlements, granted, length_ms, ms

USER: Final = "124"
NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
CALLS: Final = "calls"
HOUR_MS: Final = 3_600_000
LEASE_MS: Final = 7 * 86_400_000
"""The longest lifetime of a lease."""
hundreds = settings(max_examples=150, deadline=None)


@dataclass(frozen=True)
class Part:
    """Everything that a decision about one feature depends on. `counter` is the total with its period start."""

    archived: bool
    entitlement: Entitlement | None
    counter: tuple[int, int] | None
    grants: tuple[GrantBalance, ...]
    reservation: Reservation | None = None


@dataclass(frozen=True)
class State:
    """A user as decisions read it. `leases_due_ms` is None without leases.

    `as_of_ms` is when the entitlements were computed.
    """

    exists: bool
    disabled: bool
    parts: dict[str, Part]
    leases_due_ms: int | None = None
    as_of_ms: int = 0

    def put(self, database: Database) -> None:
        """Make this the only state of the user in the store."""
        database.redis.delete(KEYS.user(USER), KEYS.history(USER), KEYS.ledger(bucket_of(USER)), *KEYS.events(USER))
        database.redis.delete(KEYS.leases(USER), KEYS.leases_due(USER))
        if not self.exists:
            return
        database.put_user(disabled=self.disabled)
        for feature_id, part in self.parts.items():
            database.put_user(part.entitlement, disabled=self.disabled, grants=part.grants, feature_id=feature_id)
            if part.counter is not None:
                database.put_counter(*part.counter, feature_id=feature_id)
            if part.reservation is not None:
                field = pack_reservation(part.reservation)
                database.redis.hset(KEYS.user(USER), f"r:{feature_id}", cast("Any", field))
        meta = Meta(self.disabled, 1, 0, self.as_of_ms).pack()
        database.redis.hset(KEYS.user(USER), "m", cast("Any", meta))
        if self.leases_due_ms is not None:
            due = self.leases_due_ms.to_bytes(6, "little")
            database.redis.hset(KEYS.user(USER), "x", cast("Any", due))

    def read(self, database: Database, feature_id: str = CALLS, now_ms: int = NOW) -> FeatureState:
        """Read the user as a check does."""
        reply = database.call(*usage_commands.check_command(KEYS, USER, feature_id).command)
        return usage_commands.feature_state(reply, now_ms, archived=self.parts[feature_id].archived)


def moments_around(ahead_ms: int) -> st.SearchStrategy[int]:
    """Moments just before and after a distance from now; and far beyond it."""
    return st.integers(NOW + ahead_ms - 1, NOW + ahead_ms + 1) | st.just(NOW + 400 * 86_400_000)


@st.composite
def parts(draw: st.DrawFn) -> Part:
    """Any state of a feature that canuse can leave in a store, also with a clock that steps back or ran far ahead."""
    entitlement = draw(st.none() | entitlements(draw(st.just(NOW) | st.just(NOW) | moments_around(HOUR_MS))))
    counter = None
    if entitlement is not None:
        start_ms = entitlement.period_at(NOW).start_ms
        if entitlement.reset_period in FIXED_LENGTH_MS:
            start_ms += draw(st.integers(-3, 3) | st.just(0)) * length_ms(entitlement.reset_period)
        else:
            start_ms -= draw(st.just(0) | st.integers(0, 40 * 86_400_000))
            if (end_ms := entitlement.period.end_ms) is not None:
                later = st.integers(end_ms + 1, end_ms + 400 * 86_400_000)
                start_ms = draw(st.just(start_ms) | st.just(start_ms) | later)
        limit = entitlement.limit or 0
        used = amounts | st.integers(max(0, limit - 3), min(MAX_AMOUNT, limit + 9))
        counter = draw(st.none() | st.tuples(used, st.just(max(0, start_ms))))
    grants = draw(st.just(()) | st.lists(balances(NOW), max_size=4).map(tuple))
    if entitlement is not None and any(grant.is_open(NOW) for grant in grants) and draw(st.booleans()):
        entitlement = granted(entitlement)
    return Part(
        archived=draw(st.integers(0, 9)) == 0,
        entitlement=entitlement,
        counter=counter,
        grants=drawn_at_most(grants, counter[0] if counter else 0),
        reservation=draw(st.none() | reservations(counter)),
    )


@st.composite
def reservations(draw: st.DrawFn, counter: tuple[int, int] | None) -> Reservation:
    """A reserved sum in the period of the count, within the largest amount, or in an older one."""
    used, start_ms = counter or (0, NOW)
    units = draw(st.integers(0, 9) | amounts)
    if draw(st.integers(0, 3)):
        return Reservation(draw(st.integers(1, 9)), start_ms, min(units, MAX_AMOUNT - used))
    return Reservation(draw(st.integers(1, 9)), max(0, start_ms - draw(st.integers(1, 9))), units)


def drawn_at_most(grants: Sequence[GrantBalance], used: int) -> tuple[GrantBalance, ...]:
    """Return grants from which no more was drawn than was used."""
    found = []
    for grant in grants:
        drawn = min(grant.drawn, used)
        used -= drawn
        found.append(grant._replace(drawn=drawn))
    return tuple(found)


@st.composite
def states(draw: st.DrawFn, features: tuple[str, ...] = (CALLS,)) -> State:
    """Any user, including a deleted one."""
    return State(
        exists=draw(st.integers(0, 19)) > 0,
        disabled=draw(st.integers(0, 9)) == 0,
        parts={feature_id: draw(parts()) for feature_id in features},
        leases_due_ms=draw(
            st.none() | st.integers(NOW - 1, NOW + 9) | st.just(NOW + 86_400_000) | moments_around(LEASE_MS)
        ),
        as_of_ms=draw(st.just(NOW) | st.integers(0, NOW) | moments_around(HOUR_MS)),
    )


@st.composite
def users_between_grants(draw: st.DrawFn) -> State:
    """A user who has drawn from several grants and is about to draw from others."""
    entitlement = Entitlement(
        consumable=True,
        active=True,
        limit=draw(st.none() | st.integers(0, 9)),
        overage_enabled=draw(st.booleans()),
        reset_period=draw(st.sampled_from((ResetPeriod.NEVER, ResetPeriod.HOUR, ResetPeriod.DAY))),
        period=Period(NOW, None),
        valid_until_ms=None,
    )
    length = FIXED_LENGTH_MS.get(entitlement.reset_period)
    entitlement.period = Period(NOW, None if length is None else NOW + length)
    small = balances(NOW).map(lambda grant: grant._replace(left=None if grant.left is None else grant.left % 10))
    grants = draw(st.lists(small, min_size=1, max_size=4))
    used = sum(grant.drawn for grant in grants) + draw(st.integers(0, 12))
    if draw(st.booleans()):
        entitlement, grants = granted(entitlement), [GrantBalance(NOW, None, draw(st.integers(0, 9)), 0), *grants]
    part = Part(archived=False, entitlement=entitlement, counter=(used, NOW), grants=tuple(grants))
    return State(exists=True, disabled=False, parts={CALLS: part})


def deltas(part: Part) -> st.SearchStrategy[int]:
    """Amounts, often such that they just fit or just do not."""
    limit = part.entitlement.limit if part.entitlement else None
    open_now = [grant.left or 0 for grant in part.grants if grant.is_open(NOW)]
    reserved = part.reservation.units if part.reservation else 0
    of_package = (MAX_AMOUNT if limit is None else limit) - (part.counter[0] if part.counter else 0) - reserved
    left = [of_package + sum(open_now[:count]) for count in range(len(open_now) + 1)]
    near = [min(MAX_AMOUNT, max(1, amount)) for amount in (*left, sum(open_now))]
    return st.one_of(
        amounts.filter(bool), *(st.integers(max(1, amount - 2), min(MAX_AMOUNT, amount + 2)) for amount in near)
    )


def compare(
    database: Database, state: State, before: FeatureState, outcome: ChargeOutcome | Recorded, total: int
) -> None:
    """Compare what was recorded of a feature, and what is stored now, with the plain implementation."""
    feature_id = LedgerEntry.FromString(dict(database.entries())[outcome.ledger_id.encode()][1]).feature_id
    period, used, _ = before.current()
    expected = grant_model.after(before, total)
    budget = grant_model.budget(before, expected)
    assert (outcome.used, outcome.applied_delta, outcome.period_start_ms) == (total, total - used, period.start_ms)
    assert (outcome.entitlement, outcome.budget) == (before.entitlement, budget)
    assert outcome.reserved == before.reserved()
    assert database.counter(feature_id=feature_id) == (total, period.start_ms)
    assert database.grants(feature_id=feature_id) == expected.grants
    after = state.read(database, feature_id, before.now_ms)
    assert after.current() == (period, total, sum(grant.drawn for grant in expected.grants))
    assert after.budget() == budget
    assert after.reserved() == before.reserved()


def expected_reason(before: FeatureState, total: int) -> Reason:
    """Return the reason for a total recorded without a check, by the plain implementation."""
    assert before.entitlement is not None
    if before.disabled:
        return Reason.USER_DISABLED
    if before.archived:
        return Reason.FEATURE_ARCHIVED
    if not before.entitlement.active:
        return Reason.SUBSCRIPTION_INACTIVE
    budget = grant_model.budget(before, grant_model.current(before))
    if budget is None:
        return Reason.UNLIMITED
    if total + before.reserved() <= budget:
        return Reason.WITHIN_BUDGET
    return Reason.OVERAGE if before.entitlement.overage_enabled else Reason.BUDGET_EXCEEDED


def retry_after(*charges: tuple[FeatureState, int]) -> int:
    """Return after what time charges that are refused now would be allowed, 0 if that is not known."""
    moment_ms = retry_at_ms(*charges)
    return 0 if moment_ms is None else moment_ms - NOW


def entry(feature_id: str) -> bytes:
    """Return a minimal ledger entry."""
    return LedgerEntry(feature_id=feature_id).SerializeToString()


@given(st.data())
@hundreds
def test_a_check_says_yes_exactly_where_checking_and_recording_records(
    shared_database: Database, data: st.DataObject
) -> None:
    state = data.draw(states(), label="state")
    part = state.parts[CALLS]
    delta = data.draw(deltas(part), label="delta")
    state.put(shared_database)
    before = shared_database.contents()

    def use() -> tuple[Recorded, bool]:
        return shared_database.record(
            NOW, mode=usage_commands.USE, delta=delta, archived=part.archived, entry=entry(CALLS)
        )

    try:
        feature_state = state.read(shared_database)
        reason: Reason | type[Exception] = decide(feature_state, delta)
    except (UserMissingError, LeasesDueError, StaleError) as error:
        with pytest.raises(type(error)):
            use()
        assert shared_database.contents() == before
        return
    except TotalOutOfRangeError:
        with pytest.raises(RecordOutOfRangeError):
            use()
        assert shared_database.contents() == before
        return

    outcome, replayed = use()
    assert outcome.reason == reason
    assert (outcome.now_ms, outcome.entitlement, replayed) == (NOW, part.entitlement, False)
    assert (outcome.ledger_id != "") == outcome.reason.access
    if outcome.reason.access:
        compare(shared_database, state, feature_state, outcome, feature_state.current()[1] + delta)
        return
    # In its place stands after what time the use would be allowed.
    assert outcome.applied_delta == retry_after((feature_state, delta))
    if part.entitlement is not None:
        period, used, _ = feature_state.current()
        assert (outcome.used, outcome.period_start_ms, outcome.budget) == (
            used,
            period.start_ms,
            feature_state.budget(),
        )
    assert shared_database.contents() == before


@given(st.data())
@hundreds
def test_what_is_recorded_without_a_check_gets_the_reason_of_the_domain(
    shared_database: Database, data: st.DataObject
) -> None:
    state = data.draw(states().filter(lambda state: state.exists), label="state")
    part = state.parts[CALLS]
    mode = data.draw(st.sampled_from((usage_commands.ADD, usage_commands.SET)), label="mode")
    positive = deltas(part)
    delta = data.draw(
        positive | st.just(0) if mode == usage_commands.SET else positive | positive.map(int.__neg__), "delta"
    )
    state.put(shared_database)
    before = shared_database.contents()

    def record() -> Recorded:
        return shared_database.record(NOW, mode=mode, delta=delta, archived=part.archived, entry=entry(CALLS))[0]

    try:
        feature_state = state.read(shared_database)
    except (LeasesDueError, StaleError) as error:
        with pytest.raises(type(error)):
            record()
        return
    if part.entitlement is None:
        outcome = record()
        assert (outcome.reason, outcome.applied_delta, outcome.ledger_id) == (Reason.NOT_ENTITLED, 0, "")
        assert shared_database.contents() == before
        return
    total = max(0, delta if mode == usage_commands.SET else feature_state.current()[1] + delta)
    if total + feature_state.reserved() > MAX_AMOUNT:
        with pytest.raises(RecordOutOfRangeError):
            record()
        assert shared_database.contents() == before
        return
    outcome = record()
    assert outcome.reason == expected_reason(feature_state, total)
    compare(shared_database, state, feature_state, outcome, total)
    assert len(shared_database.entries()) == 1


def without_event_ids(contents: dict[bytes, object]) -> dict[bytes, object]:
    """Return the contents of a store without the stored answers of event ids."""
    fields = cast("dict[bytes, object]", contents.get(KEYS.user(USER).encode(), {}))
    fields.pop(b"d", None)
    return {key: value for key, value in contents.items() if key.decode() not in KEYS.events(USER)}


@given(st.data())
@hundreds
def test_an_event_id_changes_nothing_except_that_a_repetition_gets_the_first_answer(
    shared_database: Database, data: st.DataObject
) -> None:
    names = (CALLS, "messages")[: data.draw(st.integers(1, 2), label="features")]
    state = data.draw(states(names), label="state")
    mode = data.draw(st.sampled_from((usage_commands.ADD, usage_commands.SET, usage_commands.USE)), label="mode")
    charges = []
    for feature_id, part in state.parts.items():
        delta = data.draw(deltas(part), label=feature_id)
        if mode == usage_commands.ADD and data.draw(st.booleans(), label="takes back"):
            delta = -delta
        charges.append(Charge(feature_id, delta, part.archived, entry(feature_id)))
    plain = Use(mode, USER, tuple(charges))

    def record_anew(use: Use) -> tuple[Outcome, bool] | type[Exception]:
        state.put(shared_database)
        return record(use)

    def record(use: Use) -> tuple[Outcome, bool] | type[Exception]:
        try:
            return shared_database.record_all(NOW, use)
        except (UserMissingError, LeasesDueError, StaleError, RecordOutOfRangeError) as error:
            return type(error)

    expected = record_anew(plain)
    contents = without_event_ids(shared_database.contents())
    with_id = plain._replace(event=packed_event("e", b"123456"))
    first = record_anew(with_id)
    assert first == expected
    assert without_event_ids(shared_database.contents()) == contents
    if isinstance(first, type):
        assert record(plain._replace(event=packed_event("e", b"other!"))) == first
        return
    outcome, _ = first
    kept = mode == usage_commands.USE or any(charge.recorded for charge in outcome.charges)
    second = record(with_id)
    assert isinstance(second, tuple)
    repeated, replayed = second
    assert (replayed, repeated.refused) == (kept, outcome.refused)
    assert [shown(charge) for charge in repeated.charges] == [shown(charge) for charge in outcome.charges]
    assert without_event_ids(shared_database.contents()) == contents


@given(st.data())
@hundreds
def test_several_uses_are_made_exactly_where_a_check_says_yes_to_each_of_them(
    shared_database: Database, data: st.DataObject
) -> None:
    state = data.draw(states((CALLS, "messages", "exports")), label="state")
    expected_values = {
        feature_id: data.draw(deltas(part), label=feature_id)
        for feature_id, part in state.parts.items()
        if data.draw(st.booleans() | st.just(value=True))
    } or {CALLS: 1}
    state.put(shared_database)
    before = shared_database.contents()
    charges = tuple(
        Charge(feature_id, delta, state.parts[feature_id].archived, entry(feature_id))
        for feature_id, delta in expected_values.items()
    )
    use = Use(usage_commands.USE, USER, charges)

    found: dict[str, FeatureState] = {}
    reasons: list[Reason | None] = []
    try:
        for feature_id in expected_values:
            found[feature_id] = state.read(shared_database, feature_id)
    except (UserMissingError, LeasesDueError, StaleError) as error:
        with pytest.raises(type(error)):
            shared_database.record_all(NOW, use)
        assert shared_database.contents() == before
        return
    for feature_id, delta in expected_values.items():
        try:
            reasons.append(decide(found[feature_id], delta))
        except TotalOutOfRangeError:
            reasons.append(None)
    refused = next((at for at, reason in enumerate(reasons, 1) if reason is not None and not reason.access), 0)
    if None in reasons and not refused:
        with pytest.raises(RecordOutOfRangeError):
            shared_database.record_all(NOW, use)
        assert shared_database.contents() == before
        return

    outcome, _ = shared_database.record_all(NOW, use)
    assert outcome.refused == refused
    for charge, reason, (feature_id, delta) in zip(outcome.charges, reasons, expected_values.items(), strict=True):
        assert reason is None or charge.reason == reason
        if not refused:
            compare(shared_database, state, found[feature_id], charge, found[feature_id].current()[1] + delta)
        elif state.parts[feature_id].entitlement is not None:
            period, used, _ = found[feature_id].current()
            recorded_values = (charge.used, charge.period_start_ms, charge.budget, charge.ledger_id)
            assert recorded_values == (used, period.start_ms, found[feature_id].budget(), "")
    if refused:
        retry = retry_after(*((found[feature_id], delta) for feature_id, delta in expected_values.items()))
        assert [charge.applied_delta for charge in outcome.charges] == [
            retry if number == refused else 0 for number in range(1, len(charges) + 1)
        ]
        assert shared_database.contents() == before
    else:
        assert len(shared_database.entries()) == len(expected_values)


@given(st.data())
@hundreds
def test_facts_are_recorded_beside_uses_whatever_becomes_of_those(
    shared_database: Database, data: st.DataObject
) -> None:
    names = (CALLS, "messages", "exports")
    state = data.draw(states(names).filter(lambda state: state.exists), label="state")
    facts = [data.draw(st.booleans(), label=f"{feature_id} is a fact") for feature_id in names]
    deltas_of = [
        data.draw(positive | positive.map(int.__neg__) if is_fact else positive, label=feature_id)
        for feature_id, is_fact, positive in zip(names, facts, map(deltas, state.parts.values()), strict=True)
    ]
    state.put(shared_database)
    before = shared_database.contents()
    charges = tuple(
        Charge(feature_id, delta, state.parts[feature_id].archived, entry(feature_id), is_fact)
        for feature_id, delta, is_fact in zip(names, deltas_of, facts, strict=True)
    )
    use = Use(usage_commands.USE, USER, charges)
    try:
        found = [state.read(shared_database, feature_id) for feature_id in names]
    except (LeasesDueError, StaleError) as error:
        with pytest.raises(type(error)):
            shared_database.record_all(NOW, use)
        assert shared_database.contents() == before
        return
    totals = [
        max(0, feature_state.current()[1] + charge.delta) if feature_state.entitlement else 0
        for feature_state, charge in zip(found, charges, strict=True)
    ]
    reasons = [
        Reason.NOT_ENTITLED if feature_state.entitlement is None else expected_reason(feature_state, total)
        for feature_state, total in zip(found, totals, strict=True)
    ]
    checked = [
        reason if charge.fact else decided(feature_state, charge)
        for feature_state, charge, reason in zip(found, charges, reasons, strict=True)
    ]
    refused = next((n for n, reason in enumerate(checked, 1) if reason is not None and not reason.access), 0)
    written = [
        feature_state.entitlement is not None and (charge.fact or not refused)
        for feature_state, charge in zip(found, charges, strict=True)
    ]
    if any(
        is_written and total + feature_state.reserved() > MAX_AMOUNT
        for is_written, total, feature_state in zip(written, totals, found, strict=True)
    ):
        with pytest.raises(RecordOutOfRangeError):
            shared_database.record_all(NOW, use)
        assert shared_database.contents() == before
        return

    outcome, _ = shared_database.record_all(NOW, use)
    assert outcome.refused == refused
    assert len(shared_database.entries()) == sum(written)
    # Beside facts the script does not look for it.
    retry = 0 if any(facts) else retry_after(*zip(found, deltas_of, strict=True))
    for number, charge in enumerate(outcome.charges):
        if facts[number]:
            assert charge.reason == reasons[number]
        if written[number]:
            compare(shared_database, state, found[number], charge, totals[number])
        else:
            assert (charge.applied_delta, charge.ledger_id) == (retry if number + 1 == refused else 0, "")


def decided(feature_state: FeatureState, charge: Charge) -> Reason | None:
    """Return the decision of a check; None if the total is out of range."""
    try:
        return decide(feature_state, charge.delta)
    except TotalOutOfRangeError:
        return None


@given(st.data())
@hundreds
def test_a_lease_is_granted_as_far_as_a_check_says_yes(shared_database: Database, data: st.DataObject) -> None:
    state = data.draw(states(), label="state")
    part = state.parts[CALLS]
    amount = data.draw(deltas(part), label="amount")
    min_amount = data.draw(st.integers(1, amount) | st.just(1), label="min_amount")
    state.put(shared_database)
    before = shared_database.contents()
    leasing = UserLeases(shared_database)

    def reserve() -> Reserved:
        return leasing.reserve(NOW, token(1), amount, min_amount=min_amount, archived=part.archived)

    try:
        feature_state = state.read(shared_database)
        reason = decide(feature_state, amount)
    except (UserMissingError, LeasesDueError, StaleError, TotalOutOfRangeError) as error:
        with pytest.raises(RecordOutOfRangeError if isinstance(error, TotalOutOfRangeError) else type(error)):
            reserve()
        assert shared_database.contents() == before
        return
    expected = amount if reason.access else 0
    if reason == Reason.BUDGET_EXCEEDED:
        budget = feature_state.budget()
        assert budget is not None
        left = budget - feature_state.current()[1] - feature_state.reserved()
        assert left < amount
        if left >= min_amount:
            expected, reason = left, Reason.WITHIN_BUDGET
    result = reserve()
    assert (result.granted, result.charge.reason) == (expected, reason)
    if expected:
        assert result.charge.applied_delta == 0
    else:
        retry = retry_after((feature_state, min_amount))
        # What is allowed without a limit is granted as a whole, so that all of it must be within the largest amount.
        assert result.charge.applied_delta in (retry, retry_after((feature_state, amount)))
        assert result.charge.applied_delta == retry or amount > MAX_AMOUNT // 2
    if not expected:
        assert shared_database.contents() == before
        return
    after = state.read(shared_database)
    assert after.reserved() == result.charge.reserved == feature_state.reserved() + expected
    assert (after.current(), after.budget(), after.grants) == (
        feature_state.current(),
        feature_state.budget(),
        as_of_current_period(feature_state),
    )
    assert shared_database.past() == past_period(feature_state)
    assert shared_database.entries() == []


def as_of_current_period(feature_state: FeatureState) -> tuple[GrantBalance, ...]:
    """Return the grants as of the current period: what was drawn in a past one can't be returned."""
    entitlement, counter = feature_state.entitlement, feature_state.counter
    assert entitlement is not None
    if counter is None or counter.period_start_ms >= entitlement.period_at(feature_state.now_ms).start_ms:
        return feature_state.grants
    return tuple(grant._replace(drawn=0) for grant in feature_state.grants)


steps = st.lists(
    st.tuples(
        st.sampled_from((usage_commands.ADD, usage_commands.SET, usage_commands.USE)),
        st.integers(1, 12) | st.integers(-12, -1),
        st.integers(0, 2) | st.sampled_from((3_600_000, 86_400_000)),
    ),
    min_size=2,
    max_size=8,
)


@given(st.data(), steps)
@hundreds
def test_use_after_use_the_same_is_drawn_and_given_back(
    shared_database: Database, data: st.DataObject, steps: list[tuple[str, int, int]]
) -> None:
    any_user = states().filter(lambda state: state.exists and state.parts[CALLS].entitlement is not None)
    state = data.draw(users_between_grants() | any_user, label="state")
    state.put(shared_database)
    now_ms = NOW
    for mode, delta, pause_ms in steps:
        now_ms += pause_ms
        try:
            feature_state = state.read(shared_database, now_ms=now_ms)
        except (LeasesDueError, StaleError):
            return
        period, used, drawn = feature_state.current()
        total = max(0, delta if mode == usage_commands.SET else used + delta)
        if total + feature_state.reserved() > MAX_AMOUNT or (mode == usage_commands.USE and delta < 0):
            continue
        past = shared_database.past()
        outcome, _ = shared_database.record(
            now_ms, mode=mode, delta=delta, archived=feature_state.archived, entry=entry(CALLS)
        )
        if outcome.ledger_id:
            compare(shared_database, state, feature_state, outcome, total)
        elif feature_state.entitlement is not None:
            assert (outcome.used, outcome.period_start_ms, outcome.budget) == (
                used,
                period.start_ms,
                feature_state.budget(),
            )
            assert shared_database.grants() == feature_state.grants
        assert drawn <= used
        assert shared_database.past() == (past_period(feature_state) + past if outcome.ledger_id else past)


@pytest.mark.parametrize(("left", "drawn"), [(None, 5), (6, 5), (3, 3)])
def test_a_total_that_stays_as_it_was_draws_nothing_from_a_grant_that_came_later(
    shared_database: Database, left: int | None, drawn: int
) -> None:
    """The excess weighs on the grant, and is drawn with the next use. The plain implementation drew it at once."""
    entitlement = Entitlement(
        consumable=True,
        active=True,
        limit=5,
        overage_enabled=False,
        reset_period=ResetPeriod.NEVER,
        period=Period(0, None),
        valid_until_ms=None,
    )
    part = Part(archived=False, entitlement=entitlement, counter=(9, 0), grants=(GrantBalance(0, None, left, 0),))
    state = State(exists=True, disabled=False, parts={CALLS: part})
    state.put(shared_database)
    for mode, delta, expected in ((usage_commands.SET, 9, 0), (usage_commands.ADD, 1, drawn)):
        before = state.read(shared_database)
        total = delta if mode == usage_commands.SET else 9 + delta
        outcome, _ = shared_database.record(NOW, mode=mode, delta=delta, entry=entry(CALLS))
        assert [grant.drawn for grant in shared_database.grants()] == [expected]
        compare(shared_database, state, before, outcome, total)
        shared_database.redis.delete(KEYS.ledger(bucket_of(USER)))


def past_period(feature_state: FeatureState) -> list[PastPeriod]:
    """Return the past period, if anything was used in it or leases were taken."""
    entitlement, counter = feature_state.entitlement, feature_state.counter
    assert entitlement is not None
    if counter is None or counter.period_start_ms >= feature_state.current()[0].start_ms:
        return []
    leased = (
        feature_state.reservation is not None and feature_state.reservation.period_start_ms == counter.period_start_ms
    )
    if not counter.used and not leased:
        return []
    drawn = sum(grant.drawn for grant in feature_state.grants)
    past = PastPeriod(entitlement.past_period(counter.period_start_ms), counter.used, entitlement.limit, drawn)
    return kept([past], feature_state.now_ms, RETENTION.past_periods_max_age_ms)


@pytest.mark.parametrize("overage_enabled", [False, True])
@pytest.mark.parametrize("limit", [None, 5, MAX_AMOUNT])
@pytest.mark.parametrize(("used", "delta"), [(0, MAX_AMOUNT), (MAX_AMOUNT - 1, 1), (MAX_AMOUNT, 1), (1, MAX_AMOUNT)])
@pytest.mark.parametrize("left", [(), (MAX_AMOUNT,), (MAX_AMOUNT, MAX_AMOUNT, 1), (None,)])
def test_both_stop_at_the_very_same_total(
    shared_database: Database,
    limit: int | None,
    overage_enabled: bool,
    used: int,
    delta: int,
    left: tuple[int | None, ...],
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
    grants = tuple(GrantBalance(0, None, amount, 0) for amount in left)
    part = Part(archived=False, entitlement=entitlement, counter=(used, 0), grants=grants)
    state = State(exists=True, disabled=False, parts={CALLS: part})
    state.put(shared_database)
    feature_state = state.read(shared_database)
    try:
        reason = decide(feature_state, delta)
    except TotalOutOfRangeError:
        assert used + delta > MAX_AMOUNT
        with pytest.raises(RecordOutOfRangeError):
            shared_database.record(NOW, mode=usage_commands.USE, delta=delta)
        return
    assert not reason.access or used + delta <= MAX_AMOUNT
    outcome, _ = shared_database.record(NOW, mode=usage_commands.USE, delta=delta, entry=entry(CALLS))
    assert outcome.reason == reason
    if reason.access:
        compare(shared_database, state, feature_state, outcome, used + delta)
