"""Accounts of several processes on one budget, for any sequence of uses, calls, losses and delays.

The service is that of FakeClient, whose answers are those of a server. Each process has a clock of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from canuse import CanuseError, Lease, Unavailable
from canuse.errors import from_status
from canuse.leases.account import Account
from canuse.leases.answers import Word
from canuse.leases.calls import Call, Extend, Record, Reserve, Settle
from canuse.testing import FakeClient
from canuse.testing.fake.refusal import Refusal

USER: Final = "124"
FEATURE: Final = "api-calls"
BUDGET: Final = 60
LEASE: Final = Lease(ttl_seconds=10, report_seconds=1, idle_seconds=8, max_share=0.4)
PATHS: Final = {Reserve: "Reserve", Extend: "ExtendLease", Settle: "Settle", Record: "CreateUsageEvent"}
amounts = st.integers(1, 6)
delays_ms = st.sampled_from([0, 0, 0, 1, 40, 900, 4_000, 9_999])
times_ms = st.sampled_from([1, 300, 1_000, 5_000, 9_000, 10_000])
processes = st.integers(0, 1)


@dataclass
class Process:
    """A process with its account, if it has one."""

    offset_seconds: float
    account: Account | None = None
    processed: set[str] = field(default_factory=set)
    """The event ids of the calls that the service has processed."""

    def is_in_doubt(self) -> bool:
        """Whether the outcome of a settlement is not known to it."""
        return self.account is not None and isinstance(self.account.open, Settle | Record)

    def processed_units(self) -> int:
        """Units of a settlement that the service has processed, without an answer so far."""
        call = self.account.open if self.account else None
        return call.used if isinstance(call, Settle | Record) and call.event_id in self.processed else 0


class Accounts(RuleBasedStateMachine):
    """Uses and calls in any order. What was taken is checked with each use, what was recorded at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeClient()
        self.fake.package("pro", {FEATURE: f"{BUDGET}/hour"})
        self.fake.user(USER, "pro")
        self.start = self.fake.now
        self.processes = [Process(offset) for offset in (1e6, -5.0)]
        self.yes = self.crashed = self.lost = self.resets = 0

    @initialize(
        sizes=st.lists(st.integers(4, 30), min_size=2, max_size=2),
        before_ms=st.sampled_from([3_600_000, 9_500, 3_000, 500]),
        after_ms=st.sampled_from([0, 900, 2_000]),
    )
    def begin(self, sizes: list[int], before_ms: int, after_ms: int) -> None:
        """Let each process take a lease, perhaps shortly before the period ends."""
        self.come_near_the_reset(before_ms)
        for number, size in enumerate(sizes):
            self.look(number, "answered", 0, after_ms, [], size)

    @rule(number=processes, amount=amounts)
    def use(self, number: int, amount: int) -> None:
        """Use units in a process."""
        process = self.processes[number]
        account = process.account
        if account is None or (taken := account.take(amount)) is None:
            return
        self.check_taken(process, account, taken, amount)

    @rule(number=processes, more=st.integers(0, 1))
    def use_all(self, number: int, more: int) -> None:
        """Use all units that a process has, or try to use more."""
        account = self.processes[number].account
        if account is not None and account.left + more:
            self.use(number, account.left + more)

    def check_taken(self, process: Process, account: Account, taken: tuple[Word, int], amount: int) -> None:
        """Check that the server had reserved what was taken, at that time."""
        self.yes += amount
        word, used = taken
        assert used == account.unreported
        assert word.consumption_after(used).used <= BUDGET
        held = self.service.users[USER].account(FEATURE, self.service.now)
        [lease] = [each for each in held.leases if each.id == account.lease_id]
        assert lease.is_open(self.service.now), "it used units that had come back"
        assert lease.period == held.period, "it used units of a period that has ended"
        assert account.unreported - process.processed_units() <= lease.amount, "it used more than was granted"

    @rule(
        number=processes,
        outcome=st.sampled_from(["answered", "answered", "answer lost", "request lost"]),
        before_ms=delays_ms,
        after_ms=delays_ms,
        meanwhile=st.lists(amounts, max_size=3),
        size=st.integers(4, 30),
    )
    def look(self, number: int, outcome: str, before_ms: int, after_ms: int, meanwhile: list[int], size: int) -> None:
        """Make the call that is due in a process, which goes on using units; first the one that takes a lease."""
        process = self.processes[number]
        if process.account is None or process.account.ended:
            process.account = Account(USER, FEATURE, LEASE, size, lambda: self.local(process))
        if (call := process.account.next_call()) is None:
            return
        self.pass_time(before_ms)
        for amount in meanwhile[:1]:
            self.use(number, amount)
        answer: Any = Unavailable("lost")
        if outcome != "request lost":
            answer = self.service_answer(process, call)
        for amount in meanwhile[1:]:
            self.use(number, amount)
        self.pass_time(after_ms)
        self.tell(process.account, call, answer if outcome == "answered" else Unavailable("lost"))

    @rule(number=processes, amount=amounts)
    def use_elsewhere(self, number: int, amount: int) -> None:
        """Let the service decide a use of a process."""
        answer = self.fake.use_feature(USER, FEATURE, amount)
        self.yes += amount if answer else 0
        account = self.processes[number].account
        if answer and account is not None:
            account.decided_elsewhere(amount)

    @rule(milliseconds=times_ms)
    def pass_time(self, milliseconds: int) -> None:
        """Let time pass."""
        self.fake.set_time(self.fake.now + timedelta(milliseconds=milliseconds))

    # A settlement whose outcome stays unknown for an hour is given up, and an expired lease is deleted after a day.
    @precondition(lambda self: self.resets < 3 and not any(map(Process.is_in_doubt, self.processes)))
    @rule(before_ms=st.sampled_from([0, 1, 500, 3_000, 9_500]))
    def come_near_the_reset(self, before_ms: int) -> None:
        """Let time pass until shortly before the period ends."""
        self.resets += 1
        counts = self.fake.can_use(USER, FEATURE).consumption
        assert counts
        assert counts.resets_at
        self.fake.set_time(max(self.fake.now, counts.resets_at - timedelta(milliseconds=before_ms)))

    @precondition(lambda self: self.yes > 20)
    @rule(number=processes)
    def stop(self, number: int) -> None:
        """Let a process give its lease back."""
        if (account := self.processes[number].account) is not None:
            account.stop()

    @precondition(lambda self: self.yes > 20)
    @rule(number=processes)
    def crash(self, number: int) -> None:
        """End a process by `kill -9`."""
        process = self.processes[number]
        if process.account is not None:
            self.crashed += process.account.unreported - process.processed_units()
            process.account = None

    def teardown(self) -> None:
        """Give everything back; what was recorded is what was used."""
        for process in self.processes:
            if (account := process.account) is None:
                continue
            account.stop()
            for call in self.calls(account):
                self.tell(account, call, self.service_answer(process, call))
            assert account.unreported == 0
        usage = self.fake.show_usage(USER, FEATURE)
        assert usage.current
        recorded = usage.current.used + sum(period.used for period in usage.past)
        assert recorded == self.yes - self.crashed - self.lost
        assert self.lost == 0

    def local(self, process: Process) -> float:
        """Return the time by the clock of a process."""
        return (self.fake.now - self.start).total_seconds() + process.offset_seconds

    @property
    def service(self) -> Any:
        """The state of the service."""
        return self.fake._service.world

    def service_answer(self, process: Process, call: Call) -> Any:
        """Return the answer of the service, or its error."""
        try:
            answer = self.fake._service.call(f"/canuse.v1.EntitlementService/{PATHS[type(call)]}", call.request())
        except Refusal as refusal:
            return from_status(refusal.status)
        process.processed.add(call.event_id)
        return answer

    def tell(self, account: Account, call: Call, answer: Any) -> None:
        """Tell an account how its call ended."""
        lost = account.failed(call, answer) if isinstance(answer, CanuseError) else account.answered(call, answer)
        self.lost += lost.used if lost else 0

    @staticmethod
    def calls(account: Account) -> Iterator[Call]:
        """Yield the calls that are due until none is."""
        for _ in range(8):
            if (call := account.next_call()) is None:
                return
            yield call
        raise AssertionError("it goes on making calls")


def test_no_process_uses_more_than_it_was_granted_and_each_use_is_recorded_once() -> None:
    run_state_machine_as_test(
        Accounts,
        settings=settings(
            max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
