"""The rules of a lease one by one, on a clock that is moved by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import (
    FailedPrecondition,
    Lease,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Reason,
    StoreUnavailable,
    Unavailable,
    v1,
)
from canuse.leases.account import Account
from canuse.leases.calls import Call, Extend, Record, Reserve, Settle
from canuse.leases.sizing import Candidate, Rate, size

C = TypeVar("C", bound=Call)
SERVER_TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""The server's clock has nothing to do with that of the account."""
LEASE = Lease(ttl_seconds=10, report_seconds=1, idle_seconds=100, max_share=0.5)
MARGIN = LEASE.margin_seconds


class Time:
    """The clock of the process."""

    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def stamp(moment: datetime) -> Timestamp:
    """Return a time as the server sends it."""
    result = Timestamp()
    result.FromDatetime(moment)
    return result


def counts(remaining: int | None, used: int = 0, resets_in: float = 3600, **more: Any) -> v1.Consumption:
    """Return counts of a period that ends some seconds after the server's time."""
    return v1.Consumption(
        used=used,
        remaining=remaining,
        period_start=stamp(SERVER_TIME - timedelta(hours=1)),
        resets_at=stamp(SERVER_TIME + timedelta(seconds=resets_in)),
        **more,
    )


def due(account: Account, kind: type[C]) -> C:
    """Return the call that is due, which is of the given type."""
    call = account.next_call()
    assert isinstance(call, kind), call
    return call


def granted(amount: int, consumption: v1.Consumption, reason: v1.Reason.ValueType = v1.REASON_WITHIN_BUDGET) -> Any:
    """Return the answer to Reserve, made at the server's time."""
    expires_at = stamp(SERVER_TIME + timedelta(seconds=LEASE.ttl_seconds))
    return v1.ReserveResponse(
        granted=amount, lease_id="lease", expires_at=expires_at, reason=reason, consumption=consumption
    )


def leased(
    time: Time,
    amount: int = 20,
    left: int | None = 1000,
    reason: v1.Reason.ValueType = v1.REASON_WITHIN_BUDGET,
    *,
    resets_in: float = 3600,
) -> Account:
    """Return an account with a lease that was taken now."""
    account = Account("user", "feature", LEASE, amount, time)
    account.answered(due(account, Reserve), granted(amount, counts(left, resets_in=resets_in), reason))
    assert account.next_call() is None
    return account


def test_nothing_is_used_before_there_is_a_lease(time: Time) -> None:
    account = Account("user", "feature", LEASE, 20, time)
    assert account.take(1) is None
    request = due(account, Reserve).request()
    assert (request.amount, request.min_amount, request.ttl.ToTimedelta()) == (20, 20, timedelta(seconds=10))
    assert account.take(1) is None


def test_units_are_used_until_none_is_left(time: Time) -> None:
    account = leased(time, 5)
    assert [bool(account.take(2)) for _ in range(3)] == [True, True, False]
    assert bool(account.take(1))
    assert (account.left, account.unreported) == (0, 5)


def test_a_lease_is_used_for_its_time_from_before_the_request_was_sent(time: Time) -> None:
    account = Account("user", "feature", LEASE, 20, time)
    call, sent_at = due(account, Reserve), time.now
    time.now += 4
    account.answered(call, granted(20, counts(1000)))
    time.now = sent_at + 10 - MARGIN - 0.001
    assert account.take(1)
    time.now += 0.001
    assert account.take(1) is None
    assert due(account, Settle).final


def test_a_lease_is_used_up_to_the_end_of_its_period_from_before_the_request_was_sent(time: Time) -> None:
    account = Account("user", "feature", LEASE, 20, time)
    call, sent_at = due(account, Reserve), time.now
    time.now += 1
    account.answered(call, granted(20, counts(1000, resets_in=3)))
    time.now = sent_at + 2.999
    assert account.take(1)
    time.now = sent_at + 3
    assert account.take(1) is None
    assert due(account, Settle).final


def test_a_reservation_in_doubt_is_made_again_with_its_event_id_and_counts_from_the_first_time(time: Time) -> None:
    account = Account("user", "feature", LEASE, 20, time)
    call, sent_at = due(account, Reserve), time.now
    for error in (OutcomeUnknown("?"), Unavailable("?"), StoreUnavailable("?"), PermissionDenied("?")):
        time.now += 1
        account.failed(call, error)
        assert account.next_call() is call
        assert account.due_at > time.now
    account.answered(call, granted(20, counts(1000)))
    time.now = sent_at + 10 - MARGIN
    assert account.take(1) is None


def test_a_reservation_in_doubt_is_given_up_when_its_lease_has_expired(time: Time) -> None:
    account = Account("user", "feature", LEASE, 20, time)
    call = due(account, Reserve)
    time.now += 10
    account.failed(call, Unavailable("?"))
    assert account.next_call() is None
    assert account.ended


def test_a_settlement_in_doubt_is_made_again_as_it_was_before_anything_else(time: Time) -> None:
    account = leased(time)
    account.take(3)
    time.now += 1
    call = due(account, Settle)
    assert (call.used, call.final) == (3, False)
    account.failed(call, Unavailable("?"))
    account.take(2)
    account.stop()
    assert account.next_call() is call
    account.answered(call, v1.SettleResponse(recorded=True, reason=v1.REASON_WITHIN_BUDGET, consumption=counts(980, 3)))
    last = due(account, Settle)
    assert (last.used, last.final, last.event_id != call.event_id) == (2, True, True)
    account.answered(last, v1.SettleResponse(recorded=True))
    assert account.next_call() is None
    assert (account.unreported, account.ended) == (0, True)


def test_what_was_used_of_a_lease_that_is_gone_is_recorded_as_an_event_under_the_same_id(time: Time) -> None:
    account = leased(time)
    account.take(3)
    time.now += 1
    call = due(account, Settle)
    account.take(1)
    assert account.failed(call, NotFound("gone", reason="LEASE_NOT_FOUND")) is None
    first = due(account, Record)
    assert (first.used, first.event_id, first.request().delta) == (3, call.event_id, 3)
    account.answered(first, v1.CreateUsageEventResponse(recorded=True))
    rest = due(account, Record)
    assert (rest.used, rest.event_id != call.event_id) == (1, True)
    lost = account.failed(rest, NotFound("gone", reason="USER_NOT_FOUND"))
    assert lost is rest
    assert account.next_call() is None
    assert (account.unreported, account.ended) == (0, True)


def test_a_settlement_that_stays_in_doubt_for_as_long_as_its_id_is_kept_is_lost(time: Time) -> None:
    account = leased(time)
    account.take(3)
    time.now += 10
    call = due(account, Settle)
    time.now += 3599
    assert account.failed(call, Unavailable("?")) is None
    time.now += 1
    lost = account.failed(call, Unavailable("?"))
    assert lost
    assert (lost.used, account.unreported) == (3, 0)


def test_nothing_is_used_after_a_lease_is_stopped(time: Time) -> None:
    account = leased(time)
    account.stop()
    assert account.take(1) is None
    call = due(account, Settle)
    assert (call.used, call.final) == (0, True)


def test_a_lease_that_arrives_after_the_account_was_stopped_is_given_back(time: Time) -> None:
    account = Account("user", "feature", LEASE, 20, time)
    call = due(account, Reserve)
    account.stop()
    account.answered(call, granted(20, counts(1000)))
    assert account.take(1) is None
    assert due(account, Settle).final


@pytest.mark.parametrize(
    "answer",
    [
        v1.SettleResponse(recorded=True, reason=v1.REASON_USER_DISABLED, consumption=counts(980)),
        v1.SettleResponse(recorded=True, reason=v1.REASON_NOT_ENTITLED),
        v1.SettleResponse(recorded=True, reason=v1.REASON_WITHIN_BUDGET, consumption=counts(980, resets_in=60)),
    ],
    ids=["denied", "no entitlement", "another period"],
)
def test_a_report_that_tells_of_an_end_of_the_access_stops_the_lease(time: Time, answer: v1.SettleResponse) -> None:
    account = leased(time)
    account.take(1)
    time.now += 1
    account.answered(due(account, Settle), answer)
    assert account.take(1) is None
    assert due(account, Settle).final


@pytest.mark.parametrize(
    "error", [NotFound("expired"), FailedPrecondition("ended", reason="LEASE_PERIOD_ENDED")], ids=["expired", "period"]
)
def test_a_lease_that_cannot_be_extended_is_settled(time: Time, error: Any) -> None:
    account = leased(time)
    time.now += 5
    account.failed(due(account, Extend), error)
    assert account.take(1) is None
    assert due(account, Settle).final


def test_units_are_added_before_the_lease_is_empty_and_only_once(time: Time) -> None:
    account = leased(time)
    time.now += 0.5
    account.take(9)
    assert account.left >= account.low
    account.take(2)
    assert account.left < account.low
    call = due(account, Extend)
    assert call.amount > 0
    answer = v1.ExtendLeaseResponse(
        extended=True,
        expires_at=stamp(SERVER_TIME + timedelta(seconds=11)),
        reason=v1.REASON_WITHIN_BUDGET,
        consumption=counts(900),
    )
    account.answered(call, answer)
    account.answered(call, answer)
    assert account.left == 9 + call.amount


def test_a_refused_extension_leaves_what_is_left_and_is_not_repeated_at_once(time: Time) -> None:
    account = leased(time)
    time.now += 0.5
    account.take(15)
    refused = v1.ExtendLeaseResponse(
        extended=False,
        expires_at=stamp(SERVER_TIME + timedelta(seconds=10)),
        reason=v1.REASON_BUDGET_EXCEEDED,
        consumption=counts(0),
    )
    account.answered(due(account, Extend), refused)
    assert account.next_call() is None
    taken = account.take(5)
    assert taken
    assert taken[0].reason == Reason.REASON_WITHIN_BUDGET
    assert account.low == 0, "each use would look for more"


def test_an_unlimited_feature_is_used_for_the_stated_time_after_the_last_answer(time: Time) -> None:
    account = leased(time, left=None, reason=v1.REASON_UNLIMITED)
    time.now += LEASE.max_stale_seconds - 0.001
    assert account.take(1)
    time.now += 0.001
    assert account.take(1) is None
    answer = v1.SettleResponse(recorded=True, reason=v1.REASON_UNLIMITED, consumption=counts(None, 1))
    account.answered(due(account, Settle), answer)
    assert account.take(1)


def test_a_lease_without_use_is_given_back(time: Time) -> None:
    account = leased(time, left=None, reason=v1.REASON_UNLIMITED)
    account.lease = Lease(ttl_seconds=10, report_seconds=1, idle_seconds=3)
    account.take(1)
    time.now += 1
    answer = v1.SettleResponse(recorded=True, reason=v1.REASON_UNLIMITED, consumption=counts(None, 1))
    account.answered(due(account, Settle), answer)
    assert account.next_call() is None
    time.now += 2.9
    assert account.next_call() is None
    time.now += 0.1
    assert due(account, Settle).final


@pytest.mark.parametrize(("left", "is_given_back"), [(10, True), (200, False)])
def test_what_exceeds_the_rate_is_given_back_if_others_have_less(time: Time, left: int, is_given_back: bool) -> None:
    account = leased(time, 100)
    finals: list[bool] = []
    while len(finals) < 4 and True not in finals:
        account.take(1)
        time.now += 1
        call = due(account, Settle)
        finals.append(call.final)
        answer = v1.SettleResponse(recorded=True, reason=v1.REASON_WITHIN_BUDGET, consumption=counts(left))
        account.answered(call, answer)
    assert finals == ([False, True] if is_given_back else [False] * 4)


def test_the_counts_of_an_answer_are_those_of_the_server_with_what_was_used_since(time: Time) -> None:
    account = Account("user", "feature", LEASE, 20, time)
    consumption = counts(70, used=5, budget=100, reserved=25)
    account.answered(due(account, Reserve), granted(20, consumption))
    account.take(4)
    taken = account.take(1)
    assert taken
    shown = taken[0].consumption_after(taken[1])
    assert (shown.used, shown.reserved, shown.remaining, shown.budget) == (10, 5, 85, 100)


def test_the_size_follows_the_rate_and_shrinks_near_the_budget() -> None:
    lease = Lease(ahead_seconds=2, max_units=5000, max_share=0.1)
    assert [size(rate, lease, None) for rate in (0.1, 10, 1000, 1e6)] == [1, 20, 2000, 5000]
    assert [size(1000, lease, left) for left in (100_000, 1000, 19, 0)] == [2000, 100, 1, 0]


def test_a_lease_is_worthwhile_from_a_rate_of_some_uses_on() -> None:
    lease = Lease(ahead_seconds=2, max_share=0.1)
    slow, fast, nearly_used_up = Candidate(0), Candidate(0), Candidate(0)
    assert [slow.size_after(1, now, lease, 1000) for now in (0, 1.5, 3, 4.5)] == [0, 0, 0, 0]
    assert [fast.size_after(1, now, lease, 1000) for now in (0, 0.5)] == [0, 8]
    assert [nearly_used_up.size_after(1, now, lease, 39) for now in (0, 0.1, 0.2)] == [0, 0, 0]


def test_the_rate_rises_at_once_and_falls_by_half() -> None:
    rate = Rate(0, 10)
    assert rate.note(100, 1)
    assert rate.per_second == 100
    assert rate.note(0, 2)
    assert rate.per_second == 50
    assert not rate.note(1, 2.01)
