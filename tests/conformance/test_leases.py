"""Reserve and Settle: an amount is reserved for a time, and what was used of it is recorded as a fact."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import NotFound, v1
from support.message_clients import Client
from support.resources import Clock, binary, consumable, package, subscriber, unique
from support.store_inspection import StoreInspector
from support.wire import Stubs, failure

MILLISECOND: Final = timedelta(milliseconds=1)
MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)
LATE: Final = timedelta(hours=24)
"""How long after its expiry a lease can be settled: as long as event ids are remembered."""


def time(message: Timestamp) -> datetime:
    """Return a message as a time."""
    return message.ToDatetime(UTC)


def counts(consumption: v1.Consumption) -> tuple[int, int, int]:
    """Return used, reserved and remaining."""
    return consumption.used, consumption.reserved, consumption.remaining


def is_gone(client: Client, lease_id: str) -> bool:
    """Whether the lease does not exist; otherwise this settles it."""
    try:
        client.settle(lease_id, 0)
    except NotFound as error:
        assert (error.reason, error.metadata) == ("LEASE_NOT_FOUND", {"lease_id": lease_id})
        return True
    return False


# Reserving and releasing.


def test_an_amount_is_granted_whole_in_part_or_not_at_all(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    whole = client.reserve(user_id, feature_id, 3)
    assert (whole.granted, whole.reason, counts(whole.consumption)) == (3, v1.REASON_WITHIN_BUDGET, (0, 3, 2))
    assert whole.lease_id.startswith("lease_")
    none = client.reserve(user_id, feature_id, 9, min_amount=3)
    assert (none.granted, none.lease_id, none.HasField("expires_at")) == (0, "", False)
    assert (none.reason, counts(none.consumption)) == (v1.REASON_BUDGET_EXCEEDED, (0, 3, 2))
    part = client.reserve(user_id, feature_id, 9, min_amount=2)
    assert (part.granted, part.reason, counts(part.consumption)) == (2, v1.REASON_WITHIN_BUDGET, (0, 5, 0))
    assert part.lease_id != whole.lease_id
    assert client.reserve(user_id, feature_id, 1).granted == 0


def test_without_a_limit_or_with_overage_all_is_granted(client: Client) -> None:
    user_id, feature_id = subscriber(client, None)
    unlimited = client.reserve(user_id, feature_id, 2**53 - 1)
    assert (unlimited.granted, unlimited.reason) == (2**53 - 1, v1.REASON_UNLIMITED)
    assert not unlimited.consumption.HasField("remaining")
    user_id, feature_id = subscriber(client, 5, overage_enabled=True)
    over = client.reserve(user_id, feature_id, 7)
    assert (over.granted, over.reason, counts(over.consumption)) == (7, v1.REASON_OVERAGE, (0, 7, 0))


def test_what_is_reserved_is_there_for_nobody_else_and_shows_everywhere(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 5)
    lease = client.reserve(user_id, feature_id, 3)
    held = (0, 3, 2)
    assert counts(client.can_use(user_id, feature_id).consumption) == held
    assert [client.can_use(user_id, feature_id, delta).access for delta in (2, 3)] == [True, False]
    assert counts(client.show_usage(user_id, feature_id).current) == held
    [entitlement] = client.list_entitlements(user_id)
    assert counts(entitlement.consumption) == held
    refused = client.use_feature(user_id, feature_id, 3)
    assert (refused.access, refused.reason, counts(refused.consumption)) == (False, v1.REASON_BUDGET_EXCEEDED, held)
    several = client.use_features(user_id, {feature_id: 3})
    assert (several.access, counts(several.consumptions[0])) == (False, held)
    [checked] = client.batch_can_use([v1.CanUseRequest(user_id=user_id, feature_id=feature_id)])
    assert isinstance(checked, v1.CanUseResponse)
    assert counts(checked.consumption) == held
    explained = client.can_use(user_id, feature_id, 3, explain=True)
    [step] = [step for step in explained.explanation.steps if step.HasField("counter")]
    assert step.counter.reserved == 3
    assert "leases reserve 3" in step.text
    assert "0 used, 3 reserved and 3 more make 6" in explained.explanation.steps[-1].text

    assert client.use_feature(user_id, feature_id, 2).access
    recorded = client.create_usage_event(user_id, feature_id, 1)
    assert (recorded.reason, counts(recorded.consumption)) == (v1.REASON_BUDGET_EXCEEDED, (3, 3, 0))
    settled = client.settle(lease.lease_id, 1)
    assert (settled.recorded, settled.late, settled.reason) == (True, False, v1.REASON_WITHIN_BUDGET)
    assert counts(settled.consumption) == (4, 0, 1)
    assert counts(client.can_use(user_id, feature_id).consumption) == (4, 0, 1)


def test_a_settled_use_is_in_the_ledger_and_a_lease_alone_is_not(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    lease = client.reserve(user_id, feature_id, 3, event_id="r")
    assert list(client.list_usage_events(user_id)) == []
    settled = client.settle(lease.lease_id, 2, metadata={"job": "7"})
    [event] = client.list_usage_events(user_id)
    assert (event.id, event.delta, event.applied_delta, event.used) == (settled.event_id, 2, 2, 2)
    assert (event.feature_id, event.action, dict(event.metadata)) == (feature_id, v1.USAGE_ACTION_ADD, {"job": "7"})


def test_more_than_was_granted_is_recorded_and_nothing_gives_all_back(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    more = client.settle(client.reserve(user_id, feature_id, 2).lease_id, 6)
    assert (more.recorded, more.reason, counts(more.consumption)) == (True, v1.REASON_BUDGET_EXCEEDED, (6, 0, 0))
    user_id, feature_id = subscriber(client, 5)
    none = client.settle(client.reserve(user_id, feature_id, 2).lease_id, 0)
    assert (none.recorded, none.event_id, none.late, counts(none.consumption)) == (False, "", False, (0, 0, 5))
    assert list(client.list_usage_events(user_id)) == []


def test_each_refusal_is_that_of_a_use_and_takes_nothing(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    lease = client.reserve(user_id, feature_id, 2)

    def refused(reason: v1.Reason.ValueType) -> None:
        answer = client.reserve(user_id, feature_id, 1)
        assert (answer.granted, answer.lease_id, answer.reason) == (0, "", reason)
        assert client.use_feature(user_id, feature_id).reason == reason

    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_UNPAID)
    refused(v1.REASON_SUBSCRIPTION_INACTIVE)
    client.archive_feature(feature_id)
    refused(v1.REASON_FEATURE_ARCHIVED)
    client.update_user(user_id, disabled=True)
    refused(v1.REASON_USER_DISABLED)
    # The work was done all the same.
    settled = client.settle(lease.lease_id, 1)
    assert (settled.recorded, settled.reason, settled.consumption.used) == (True, v1.REASON_USER_DISABLED, 1)
    other = client.reserve(client.create_user(unique("user")).id, consumable(client), 1)
    assert (other.granted, other.reason, other.HasField("consumption")) == (0, v1.REASON_NOT_ENTITLED, False)


def test_grants_are_drawn_from_when_units_are_used(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    client.create_grant(user_id, "gift", feature_id, amount=4)
    lease = client.reserve(user_id, feature_id, 20)
    assert (lease.granted, lease.consumption.budget) == (9, 9)
    assert [source.left for source in client.show_usage(user_id, feature_id).sources] == [5, 4]
    client.settle(lease.lease_id, 7)
    assert [source.left for source in client.show_usage(user_id, feature_id).sources] == [0, 2]


# Refused calls.


def test_what_is_unknown_or_can_not_be_counted_is_an_error(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 5)
    for names, reason in (
        ({"user_id": unique("user"), "feature_id": feature_id}, "USER_NOT_FOUND"),
        ({"user_id": user_id, "feature_id": unique("feature")}, "FEATURE_NOT_FOUND"),
        ({"user_id": user_id, "feature_id": binary(client)}, "FEATURE_NOT_CONSUMABLE"),
    ):
        request = v1.ReserveRequest(**names, amount=1)  # type: ignore[arg-type]
        assert failure(stubs.entitlements.Reserve, request).reason == reason


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 2**53}, "amount"),
        ({"amount": 5, "min_amount": 0}, "min_amount"),
        ({"amount": 5, "min_amount": 6}, "min_amount"),
        ({"ttl": Duration(nanos=999_999_999)}, "ttl"),
        ({"ttl": Duration(seconds=7 * 86_400, nanos=1_000_000)}, "ttl"),
        ({"ttl": Duration()}, "ttl"),
        ({"ttl": Duration(seconds=-5)}, "ttl"),
        ({"ttl": Duration(seconds=2**62)}, "ttl"),
        ({"ttl": Duration(seconds=5, nanos=-1)}, "ttl"),
        ({"ttl": Duration(seconds=5, nanos=10**9)}, "ttl"),
        ({"event_id": "a\nb"}, "event_id"),
        ({"user_id": ""}, "user_id"),
        ({"feature_id": "a" * 129}, "feature_id"),
    ],
)
def test_bad_input_to_reserve_names_the_field(client: Client, stubs: Stubs, fields: dict[str, Any], wrong: str) -> None:
    user_id, feature_id = subscriber(client, 5)
    valid: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id, "amount": 5}
    request = v1.ReserveRequest(**(valid | fields))
    refused = failure(stubs.entitlements.Reserve, request)
    assert (refused.reason, refused.fields) == ("INVALID_FIELD", [wrong])
    assert counts(client.can_use(user_id, feature_id).consumption) == (0, 0, 5)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"used": None}, "used"),
        ({"used": -1}, "used"),
        ({"used": 2**53}, "used"),
        ({"lease_id": ""}, "lease_id"),
        ({"event_id": "a" * 129}, "event_id"),
        ({"metadata": {"a": "b" * 2048}}, "metadata"),
    ],
)
def test_bad_input_to_settle_names_the_field_and_leaves_the_lease(
    client: Client, stubs: Stubs, fields: dict[str, Any], wrong: str
) -> None:
    user_id, feature_id = subscriber(client, 5)
    lease_id = client.reserve(user_id, feature_id, 2).lease_id
    valid: dict[str, Any] = {"lease_id": lease_id, "used": 1}
    request = v1.SettleRequest(**(valid | fields))
    refused = failure(stubs.entitlements.Settle, request)
    assert (refused.reason, refused.fields) == ("INVALID_FIELD", [wrong])
    assert counts(client.can_use(user_id, feature_id).consumption) == (0, 2, 3)
    assert not is_gone(client, lease_id)


def test_the_bounds_themselves_are_accepted(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    before = datetime.now(UTC)
    for ttl in (timedelta(seconds=1), timedelta(days=7), None):
        lease = client.reserve(user_id, feature_id, 1, ttl=ttl)
        earliest = before + (MINUTE if ttl is None else ttl)
        assert earliest - timedelta(seconds=1) < time(lease.expires_at) < earliest + timedelta(seconds=30)
    assert client.settle(client.reserve(user_id, feature_id, 2, min_amount=2).lease_id, 2).consumption.used == 2


def test_a_total_that_would_pass_the_largest_amount_is_refused_with_a_lease_too(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, None)
    lease = client.reserve(user_id, feature_id, 2**53 - 2)
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id}
    for call, request in (
        (stubs.entitlements.Reserve, v1.ReserveRequest(**ids, amount=2)),
        (stubs.entitlements.UseFeature, v1.UseFeatureRequest(**ids, delta=2)),
        (stubs.entitlements.CanUse, v1.CanUseRequest(**ids, delta=2)),
        (stubs.entitlements.CreateUsageEvent, v1.CreateUsageEventRequest(**ids, delta=2)),
    ):
        assert failure(call, request).reason == "TOTAL_OUT_OF_RANGE"
    client.use_feature(user_id, feature_id)
    refused = failure(stubs.entitlements.Settle, v1.SettleRequest(lease_id=lease.lease_id, used=2**53 - 1))
    assert (refused.reason, refused.metadata) == ("TOTAL_OUT_OF_RANGE", ids)
    assert client.settle(lease.lease_id, 2**53 - 2).consumption.used == 2**53 - 1


def test_a_very_long_id_of_a_lease_is_not_there_and_breaks_nothing(stubs: Stubs) -> None:
    for length in (512, 513, 100_000):
        refused = failure(stubs.entitlements.Settle, v1.SettleRequest(lease_id="lease_" + "A" * length, used=1))
        assert refused.reason == "LEASE_NOT_FOUND"


def test_a_lease_is_settled_once_and_only_by_its_own_id(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    lease_id = client.reserve(user_id, feature_id, 2).lease_id
    other_id = client.reserve(*subscriber(client, 5), 2).lease_id
    _, token, owner = lease_id.split("_", 2)
    _, other_token, other_owner = other_id.split("_", 2)
    for wrong in (
        "lease",
        "lease__",
        "nonsense",
        f"lease_{token}_",
        f"lease_{other_token}_{owner}",
        f"lease_{token}_{other_owner}",
        f"LEASE_{token}_{owner}",
        f"lease_{token.upper()}x_{owner}",
        lease_id + "=",
        lease_id[:-1],
        lease_id + "A" * 100,
        next(client.list_subscriptions(user_id)).id,
    ):
        assert is_gone(client, wrong)
    assert counts(client.can_use(user_id, feature_id).consumption) == (0, 2, 3)
    client.settle(lease_id, 1)
    assert is_gone(client, lease_id)
    assert client.show_usage(user_id, feature_id).current.used == 1


def test_erasing_a_user_erases_their_leases(client: Client, store: StoreInspector) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    lease_id = client.reserve(user_id, feature_id, 2).lease_id
    client.delete_user(user_id)
    assert store.names_with(user_id) == [store.audit_log(user_id)]
    assert is_gone(client, lease_id)
    client.create_user(user_id)
    client.subscribe(user_id, [subscription.package_id])
    assert is_gone(client, lease_id)
    assert counts(client.can_use(user_id, feature_id).consumption) == (0, 0, 5)


# Idempotency.


def test_both_calls_get_their_first_answer_again_under_their_event_id(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 5)
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id}
    first = client.reserve(**ids, amount=3, event_id="r")
    assert (first.event_id, first.replayed) == ("r", False)
    again = client.reserve(**ids, amount=3, min_amount=1, ttl=MINUTE, event_id="r")
    assert (again.replayed, again.lease_id, again.expires_at) == (True, first.lease_id, first.expires_at)
    for other in ({"amount": 2}, {"amount": 3, "min_amount": 2}, {"amount": 3, "ttl": Duration(seconds=61)}):
        refused = failure(stubs.entitlements.Reserve, v1.ReserveRequest(**ids, **other, event_id="r"))
        assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "EVENT_ID_REUSED")

    settled = client.settle(first.lease_id, 2, event_id="s", metadata={"a": "b"})
    repeated = client.settle(first.lease_id, 2, event_id="s", metadata={"a": "b"})
    assert (settled.replayed, repeated.replayed, repeated.event_id) == (False, True, "s")
    assert repeated.consumption == settled.consumption
    for request in (
        v1.SettleRequest(lease_id=first.lease_id, used=1, event_id="s", metadata={"a": "b"}),
        v1.SettleRequest(lease_id=first.lease_id, used=2, event_id="s"),
        v1.SettleRequest(lease_id=first.lease_id, used=2, event_id="r"),
    ):
        assert failure(stubs.entitlements.Settle, request).reason == "EVENT_ID_REUSED"
    use = v1.UseFeatureRequest(**ids, event_id="r")
    assert failure(stubs.entitlements.UseFeature, use).reason == "EVENT_ID_REUSED"
    assert client.reserve(**ids, amount=3, event_id="r").lease_id == first.lease_id
    assert counts(client.can_use(**ids).consumption) == (2, 0, 3)


def test_a_refusal_is_replayed_and_so_is_an_answer_for_a_lease_of_a_user_in_another_state(client: Client) -> None:
    user_id, feature_id = subscriber(client, 0)
    refused = client.reserve(user_id, feature_id, 1, event_id="r")
    client.create_grant(user_id, "gift", feature_id, amount=4)
    again = client.reserve(user_id, feature_id, 1, event_id="r")
    assert (refused.granted, again.granted, again.replayed) == (0, 0, True)
    lease = client.reserve(user_id, feature_id, 1, event_id="another")
    settled = client.settle(lease.lease_id, 1, event_id="s")
    client.update_user(user_id, disabled=True)
    assert client.settle(lease.lease_id, 1, event_id="s").reason == settled.reason == v1.REASON_WITHIN_BUDGET


@pytest.mark.parametrize("limit", [5, 0], ids=["granted", "refused"])
def test_an_event_id_sent_50_times_at_once_takes_one_lease_and_settles_it_once(
    client: Client, stubs: Stubs, limit: int
) -> None:
    user_id, feature_id = subscriber(client, limit)
    reserve = v1.ReserveRequest(user_id=user_id, feature_id=feature_id, amount=2, event_id="r")
    answers = [call.result() for call in [stubs.entitlements.Reserve.future(reserve) for _ in range(50)]]
    assert [answer.replayed for answer in answers].count(False) == 1
    [lease_id] = {answer.lease_id for answer in answers}
    assert client.can_use(user_id, feature_id).consumption.reserved == (2 if limit else 0)
    if lease_id:
        settle = v1.SettleRequest(lease_id=lease_id, used=1, event_id="s")
        results = [call.result() for call in [stubs.entitlements.Settle.future(settle) for _ in range(50)]]
        assert [result.replayed for result in results].count(False) == 1
        assert counts(client.can_use(user_id, feature_id).consumption) == (1, 0, 4)


def test_a_lease_settled_50_times_at_once_without_an_event_id_counts_once(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 500)
    request = v1.SettleRequest(lease_id=client.reserve(user_id, feature_id, 2).lease_id, used=2)
    calls = [stubs.entitlements.Settle.future(request) for _ in range(50)]
    codes = [call.code() for call in calls]
    assert (codes.count(grpc.StatusCode.OK), codes.count(grpc.StatusCode.NOT_FOUND)) == (1, 49)
    assert counts(client.can_use(user_id, feature_id).consumption) == (2, 0, 498)


# Time.


def _checked(client: Client, user_id: str, feature_id: str) -> v1.Consumption:
    [result] = client.batch_can_use([v1.CanUseRequest(user_id=user_id, feature_id=feature_id)])
    assert isinstance(result, v1.CanUseResponse)
    return result.consumption


def _recorded(client: Client, user_id: str, feature_id: str) -> v1.Consumption:
    nothing = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, delta=-1)
    [result] = client.batch_create_usage_events([nothing])
    assert isinstance(result, v1.CreateUsageEventResponse)
    return result.consumption


Look = Callable[[Client, str, str], v1.Consumption]
LOOKS: Final[dict[str, Look]] = {
    "CanUse": lambda client, user_id, feature_id: client.can_use(user_id, feature_id).consumption,
    "UseFeature": lambda client, user_id, feature_id: client.use_feature(user_id, feature_id, 9).consumption,
    "UseFeatures": lambda client, user_id, feature_id: client.use_features(user_id, {feature_id: 9}).consumptions[0],
    "ShowUsage": lambda client, user_id, feature_id: client.show_usage(user_id, feature_id).current,
    "ListEntitlements": lambda client, user_id, _: next(client.list_entitlements(user_id)).consumption,
    "Reserve": lambda client, user_id, feature_id: client.reserve(user_id, feature_id, 9, min_amount=9).consumption,
    "BatchCanUse": _checked,
    "BatchCreateUsageEvents": _recorded,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_lease_expires_at_its_very_millisecond_for_whoever_looks_first(
    clocked: Client, clock: Clock, look: Look
) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_NEVER)
    lease = clocked.reserve(user_id, feature_id, 5, ttl=timedelta(milliseconds=1500))
    assert time(lease.expires_at) == clock.now() + timedelta(milliseconds=1500)
    clock.set(time(lease.expires_at) - MILLISECOND)
    assert counts(look(clocked, user_id, feature_id)) == (0, 5, 0)
    clock.set(time(lease.expires_at))
    assert counts(look(clocked, user_id, feature_id)) == (0, 0, 5)


def test_of_leases_that_overlap_each_ends_at_its_own_time(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 15, v1.RESET_PERIOD_NEVER)
    seconds = (3, 1, 5, 2, 4)
    leases = {each: clocked.reserve(user_id, feature_id, each, ttl=timedelta(seconds=each)) for each in seconds}
    clocked.settle(leases[4].lease_id, 0)
    for remaining in (11 - 1, 10 - 2, 8 - 3, 5, 0):
        clock.advance(seconds=1)
        assert clocked.can_use(user_id, feature_id).consumption.reserved == remaining


def test_a_late_settle_is_recorded_as_a_fact_and_says_so(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_NEVER)
    lease = clocked.reserve(user_id, feature_id, 5)
    clock.set(time(lease.expires_at) - MILLISECOND)
    in_time = clocked.reserve(user_id, feature_id, 5)
    clock.advance(milliseconds=1)
    others = clocked.use_feature(user_id, feature_id, 4)
    assert (in_time.granted, others.access) == (0, True)
    late = clocked.settle(lease.lease_id, 3)
    assert (late.recorded, late.late, late.reason) == (True, True, v1.REASON_BUDGET_EXCEEDED)
    assert counts(late.consumption) == (7, 0, 0)
    assert is_gone(clocked, lease.lease_id)


def test_an_expired_lease_is_forgotten_when_event_ids_may_be(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_NEVER)
    leases = [clocked.reserve(user_id, feature_id, 1) for _ in range(3)]
    clock.set(time(leases[0].expires_at) + LATE - MILLISECOND)
    assert clocked.settle(leases[0].lease_id, 1).late
    clock.advance(milliseconds=1)
    assert all(is_gone(clocked, lease.lease_id) for lease in leases)
    assert counts(clocked.can_use(user_id, feature_id).consumption) == (1, 0, 4)


@pytest.mark.parametrize("period", [v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_MONTH], ids=v1.ResetPeriod.Name)
def test_a_lease_that_spans_a_reset_leaves_the_new_period_alone_and_counts_to_the_old_one(
    clocked: Client, clock: Clock, period: v1.ResetPeriod.ValueType
) -> None:
    user_id, feature_id = subscriber(clocked, 5, period)
    start = clocked.use_feature(user_id, feature_id, 1).consumption
    clock.set(time(start.resets_at) - MINUTE)
    first, second, third = (clocked.reserve(user_id, feature_id, 1, ttl=2 * DAY) for _ in range(3))
    clock.set(time(start.resets_at) - MILLISECOND)
    assert counts(clocked.can_use(user_id, feature_id).consumption) == (1, 3, 1)
    clock.set(time(start.resets_at))
    assert counts(clocked.can_use(user_id, feature_id).consumption) == (0, 0, 5)
    fresh = clocked.reserve(user_id, feature_id, 9)
    assert (fresh.granted, counts(fresh.consumption)) == (5, (0, 5, 0))

    settled = clocked.settle(first.lease_id, 4)
    assert (settled.recorded, settled.late, counts(settled.consumption)) == (True, False, (0, 5, 0))
    assert settled.consumption.period_start == start.resets_at
    clock.set(time(second.expires_at))
    late = clocked.settle(second.lease_id, 2)
    assert (late.late, counts(late.consumption)) == (True, (0, 0, 5))
    clocked.settle(third.lease_id, 0)
    usage = clocked.show_usage(user_id, feature_id)
    assert [(past.period_start, past.period_end, past.used) for past in usage.past] == [
        (start.period_start, start.resets_at, 7)
    ]
    assert counts(usage.current) == (0, 0, 5)
    events = [(event.delta, event.used) for event in clocked.list_usage_events(user_id)]
    assert events == [(2, 7), (4, 5), (1, 1)]


@pytest.mark.parametrize("period", [v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_MONTH], ids=v1.ResetPeriod.Name)
def test_a_period_in_which_only_leases_were_taken_is_shown_once_something_of_them_was_used(
    clocked: Client, clock: Clock, period: v1.ResetPeriod.ValueType
) -> None:
    user_id, feature_id = subscriber(clocked, 5, period)
    start = clocked.can_use(user_id, feature_id).consumption
    clock.set(time(start.resets_at) - MINUTE)
    lease = clocked.reserve(user_id, feature_id, 3, ttl=2 * DAY)
    clock.set(time(start.resets_at))
    clocked.use_feature(user_id, feature_id, 2)
    assert list(clocked.show_usage(user_id, feature_id).past) == []
    clocked.settle(lease.lease_id, 3)
    [past] = clocked.show_usage(user_id, feature_id).past
    assert (past.period_start, past.period_end, past.used, past.budget) == (start.period_start, start.resets_at, 3, 5)
    assert clocked.show_usage(user_id, feature_id).current.used == 2


def test_what_is_reserved_moves_with_the_count_into_the_period_of_a_new_package(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_MONTH)
    [old] = clocked.list_subscriptions(user_id)
    clocked.use_feature(user_id, feature_id, 1)
    lease, expiring = (clocked.reserve(user_id, feature_id, 2, ttl=ttl) for ttl in (7 * DAY, 2 * DAY))
    clock.advance(hours=30)
    entry = v1.PackageFeature(feature_id=feature_id, limit=9, reset_period=v1.RESET_PERIOD_WEEK)
    add_on = package(clocked, [entry], v1.PACKAGE_TYPE_ADD_ON)
    clocked.subscribe(user_id, [add_on])
    moved = clocked.can_use(user_id, feature_id).consumption
    assert (counts(moved), time(moved.period_start)) == ((1, 4, 4), clock.now())
    clock.set(time(expiring.expires_at))
    assert counts(clocked.can_use(user_id, feature_id).consumption) == (1, 2, 6)
    settled = clocked.settle(lease.lease_id, 1)
    assert counts(settled.consumption) == (2, 0, 7)
    clocked.cancel_subscription(old.id)
    assert counts(clocked.can_use(user_id, feature_id).consumption) == (2, 0, 7)


def test_a_grant_s_end_takes_its_feature_away_and_what_was_reserved_of_it_counts_to_the_ledger(
    clocked: Client, clock: Clock
) -> None:
    user_id, feature_id = clocked.create_user(unique("user")).id, consumable(clocked)
    end = clock.now() + DAY
    clocked.create_grant(user_id, "gift", feature_id, amount=4, expires_at=end)
    lease, other = (clocked.reserve(user_id, feature_id, 2, ttl=2 * DAY) for _ in range(2))
    clock.set(end)
    settled = clocked.settle(lease.lease_id, 2)
    assert (settled.recorded, settled.reason, settled.late) == (True, v1.REASON_NOT_ENTITLED, False)
    assert not settled.HasField("consumption")
    [past] = clocked.show_usage(user_id, feature_id).past
    assert past.used == 2
    clocked.create_grant(user_id, "another", feature_id, amount=7)
    assert counts(clocked.can_use(user_id, feature_id).consumption) == (0, 0, 7)
    # The first grant has ended, so the current one has to cover it.
    assert counts(clocked.settle(other.lease_id, 1).consumption) == (0, 0, 6)
    assert [event.delta for event in clocked.list_usage_events(user_id)] == [1, 2]
