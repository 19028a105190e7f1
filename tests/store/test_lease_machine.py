"""Leases compared with a model in plain Python, for any sequence of calls at any time.

The model knows no epochs, counters or sorted sets: a lease belongs to a period, and a period has a total.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from canuse_server.domain.carry_over import carry_over_one
from canuse_server.domain.decision import decide
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import Reason, ResetPeriod
from canuse_server.domain.periods import Period, period_at
from canuse_server.store.codec.user_values import Meta
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.leases import Extended, LeaseMissingError, LeasePeriodEndedError, Settled
from canuse_server.store.repositories.usage_commands import Retention
from canuse_server.store.repositories.users.change import UserChange
from canuse_server.store.repositories.users.users import Users
from support.database import HOUR_MS, KEYS, Database
from support.leases import UserLeases, token
from support.strategies import ms

START: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
DAY: Final = 24 * HOUR_MS
RETENTION: Final = Retention(dedupe_ttl_ms=HOUR_MS, ledger_max_age_ms=1000 * DAY, past_periods_max_age_days=400)
REPETITIONS: Final = 60
amounts = st.integers(1, 12)


@dataclass(eq=False)
class ModelPeriod:
    """A period of the model, with its total, and whether leases were taken in it."""

    used: int = 0
    leased: bool = False


@dataclass(eq=False)
class ModelLease:
    """A lease of the model."""

    model_period: ModelPeriod
    amount: int
    expires_at_ms: int
    settled: bool = False


class Machine(RuleBasedStateMachine):
    """One user and one feature, in the store and in the model."""

    database: ClassVar[Database]
    runner: ClassVar[asyncio.Runner]
    users: ClassVar[Users]

    def __init__(self) -> None:
        super().__init__()
        self.database.empty()
        self.database.put_user()
        self.leasing = UserLeases(self.database, retention=RETENTION)
        self.now_ms = START
        self.entitlement: Entitlement | None = None
        self.period: Period | None = None
        self.model_period = ModelPeriod()
        self.closed: list[ModelPeriod] = []
        self.leases: list[ModelLease] = []

    # The model.

    def _enter(self) -> None:
        """Move to the current period."""
        if self.entitlement is None or self.period is None:
            return
        period = self.entitlement.period_at(self.now_ms)
        if period.start_ms > self.period.start_ms:
            self.closed.append(self.model_period)
            self.model_period, self.period = ModelPeriod(), period

    def _is_open(self, lease: ModelLease) -> bool:
        return not lease.settled and self.now_ms < lease.expires_at_ms

    def _reserved(self) -> int:
        if self.entitlement is None:
            return 0
        return sum(
            lease.amount for lease in self.leases if lease.model_period is self.model_period and self._is_open(lease)
        )

    def _reason(self, delta: int) -> Reason:
        if self.entitlement is None:
            return Reason.NOT_ENTITLED
        if self.entitlement.limit is None:
            return Reason.UNLIMITED
        if self.model_period.used + self._reserved() + delta <= self.entitlement.limit:
            return Reason.WITHIN_BUDGET
        return Reason.OVERAGE if self.entitlement.overage_enabled else Reason.BUDGET_EXCEEDED

    # Calls.

    @initialize(limit=st.none() | st.integers(0, 20))
    def start(self, limit: int | None) -> None:
        self.change_plan(ResetPeriod.DAY, START, limit, overage_enabled=False)

    @rule(
        reset_period=st.sampled_from((ResetPeriod.HOUR, ResetPeriod.DAY, ResetPeriod.NEVER)),
        anchor_ms=st.sampled_from((START, START - 3 * DAY, START - HOUR_MS // 2)),
        limit=st.none() | st.integers(0, 20),
        overage_enabled=st.booleans(),
    )
    def change_plan(self, reset_period: ResetPeriod, anchor_ms: int, limit: int | None, overage_enabled: bool) -> None:
        period = period_at(anchor_ms, reset_period, self.now_ms)
        after = Entitlement(
            consumable=True,
            active=True,
            limit=limit,
            overage_enabled=overage_enabled,
            reset_period=reset_period,
            period=period,
            valid_until_ms=None,
        )
        self._apply(after)
        if self.entitlement is None:
            self.model_period = ModelPeriod()
        self.entitlement, self.period = after, period

    @precondition(lambda self: self.entitlement is not None)
    @rule()
    def lose_the_feature(self) -> None:
        self._apply(None)
        self.closed.append(self.model_period)
        self.entitlement = self.period = None

    def _apply(self, after: Entitlement | None) -> None:
        """Replace the entitlement as the service does."""
        state = self.runner.run(self.users.read("124"))
        assert state is not None
        before, counter = state.entitlements.get("calls"), state.counters.get("calls")
        carry_overs = carry_over_one("calls", before, after, self.now_ms) if before and counter else []
        change = UserChange(
            user_id="124",
            raw_meta=state.raw_meta,
            meta=Meta(disabled=False, revision=state.meta.revision + 1, created_at_ms=0),
            entitlements={} if after is None else {"calls": after},
            removed_entitlements=() if after is not None or before is None else ("calls",),
            counters=state.counters,
            carry_overs=carry_overs,
        )
        self.runner.run(self.users.apply(change))

    @rule(amount=amounts, min_amount=amounts, ttl_ms=st.sampled_from((1, 1000, HOUR_MS, DAY, 3 * DAY)))
    def reserve(self, amount: int, min_amount: int, ttl_ms: int) -> None:
        min_amount = min(min_amount, amount)
        number = len(self.leases)
        requested, reason = amount, self._reason(amount)
        if reason == Reason.BUDGET_EXCEEDED:
            assert self.entitlement is not None
            assert self.entitlement.limit is not None
            requested = self.entitlement.limit - self.model_period.used - self._reserved()
            reason = Reason.WITHIN_BUDGET if requested >= min_amount else Reason.BUDGET_EXCEEDED
        expected = requested if reason.access else 0
        result = self.leasing.swept(
            self.now_ms,
            lambda: self.leasing.reserve(self.now_ms, token(number), amount, min_amount=min_amount, ttl_ms=ttl_ms),
        )
        assert (result.granted, result.charge.reason) == (expected, reason)
        if expected:
            self.model_period.leased = True
            self.leases.append(ModelLease(self.model_period, expected, self.now_ms + ttl_ms))
        assert result.charge.reserved == self._reserved()

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), ttl_ms=st.sampled_from((0, 1, 1000, HOUR_MS, 7 * DAY)), amount=st.just(0) | amounts)
    def extend(self, data: st.DataObject, ttl_ms: int, amount: int) -> None:
        number = data.draw(st.integers(0, len(self.leases) - 1))
        lease = self.leases[number]

        def extend() -> Extended:
            return self.leasing.extend(self.now_ms, token(number), ttl_ms=ttl_ms, amount=amount)

        reason = self._reason(amount)
        extended = reason.access or not amount
        if not self._is_open(lease):
            with pytest.raises(LeaseMissingError):
                self.leasing.swept(self.now_ms, extend)
            return
        if amount and extended and lease.model_period is not self.model_period:
            with pytest.raises(LeasePeriodEndedError):
                self.leasing.swept(self.now_ms, extend)
            return
        result = self.leasing.swept(self.now_ms, extend)
        if extended:
            lease.amount += amount
            lease.expires_at_ms = max(lease.expires_at_ms, self.now_ms + ttl_ms)
        assert (result.extended, result.charge.reason) == (extended, reason)
        assert (result.amount, result.expires_at_ms) == (lease.amount, lease.expires_at_ms)
        assert result.charge.reserved == self._reserved()

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), used=st.integers(0, 15), final=st.booleans())
    def settle(self, data: st.DataObject, used: int, final: bool) -> None:
        number = data.draw(st.integers(0, len(self.leases) - 1))
        lease = self.leases[number]

        def settle() -> Settled:
            return self.leasing.settle(self.now_ms, token(number), used, final=final)

        if lease.settled or self.now_ms >= lease.expires_at_ms + RETENTION.dedupe_ttl_ms:
            with pytest.raises(LeaseMissingError):
                self.leasing.swept(self.now_ms, settle)
            return
        result = self.leasing.swept(self.now_ms, settle)
        assert result.late == (self.now_ms >= lease.expires_at_ms)
        lease.settled = final
        lease.amount = max(0, lease.amount - used)
        lease.model_period.used += used
        assert (result.charge.ledger_id != "") == (used > 0)
        assert (result.charge.reason, result.charge.reserved) == (self._reason(0), self._reserved())
        if self.entitlement is not None:
            assert result.charge.used == self.model_period.used

    @rule(mode=st.sampled_from((usage_commands.ADD, usage_commands.USE, usage_commands.SET)), delta=amounts)
    def use(self, mode: str, delta: int) -> None:
        reason = self._reason(delta - (self.model_period.used if mode == usage_commands.SET else 0))
        outcome, _ = self.leasing.swept(
            self.now_ms, lambda: self.database.record(self.now_ms, mode=mode, delta=delta, retention=RETENTION)
        )
        assert (outcome.reason, outcome.reserved) == (reason, self._reserved())
        if self.entitlement is not None and (mode != usage_commands.USE or reason.access):
            self.model_period.used = delta if mode == usage_commands.SET else self.model_period.used + delta
            assert outcome.used == self.model_period.used

    @rule(data=st.data())
    def let_time_pass(self, data: st.DataObject) -> None:
        moments = [self.now_ms + step for step in (1, 1000, HOUR_MS, DAY)]
        for lease in self.leases:
            moments += [lease.expires_at_ms, lease.expires_at_ms + RETENTION.dedupe_ttl_ms]
        if self.period is not None and self.period.end_ms is not None:
            moments.append(self.period.end_ms)
        moments += [moment - 1 for moment in moments]
        self.now_ms = data.draw(st.sampled_from(sorted({moment for moment in moments if moment >= self.now_ms})))
        self._enter()

    # Invariants.

    @invariant()
    def a_check_stands_as_the_model_does(self) -> None:
        feature_state = self.leasing.swept(self.now_ms, lambda: self.leasing.feature_state(self.now_ms))
        if self.entitlement is None:
            assert feature_state.entitlement is None
            return
        assert (feature_state.current()[1], feature_state.reserved()) == (self.model_period.used, self._reserved())
        for delta in (1, 5, 20):
            assert decide(feature_state, delta) == self._reason(delta)

    @invariant()
    def what_is_reserved_is_what_open_leases_hold(self) -> None:
        self.leasing.check()

    @invariant()
    def what_was_used_in_past_periods_is_there(self) -> None:
        past_periods, counter, reservation = self.database.past(), self.database.counter(), self.leasing.reservation()
        found = [past.used for past in past_periods]
        # The last past period is stored by the next use.
        if counter and self.period and counter[1] < self.period.start_ms:
            leased = reservation is not None and reservation.period_start_ms == counter[1]
            found += [counter[0]] if counter[0] or leased else []
        expected = [model_period.used for model_period in self.closed if model_period.used or model_period.leased]
        assert sum(found) == sum(expected)
        if all(past.summed_overage is None for past in past_periods):
            # Each, also without use: it adds its budget to the sum of its day.
            assert sorted(found) == sorted(expected)


@pytest.fixture
def machine(shared_database: Database) -> Iterator[type[Machine]]:
    """The machine on a store."""
    with asyncio.Runner() as runner:
        store = Store(StoreAddress.from_url(shared_database.url), 5.0)
        users = Users(store, KEYS, RETENTION)
        parts = {"database": shared_database, "runner": runner, "users": users}
        yield type("MachineOnAStore", (Machine,), parts)
        runner.run(store.close())


@pytest.mark.extended
def test_leases_agree_with_the_model_whatever_happens(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=REPETITIONS, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
