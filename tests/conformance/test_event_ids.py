"""Idempotency keys: a repeated call gets the first answer again and is not counted."""

from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, consumable, package, subscriber, unique
from support.wire import Stubs, failure

DEDUPE_TTL_HOURS = 24


def same_but_replayed(first: Message, again: Message) -> bool:
    """Whether an answer equals the first one and is marked as replayed."""
    expected = type(first).FromString(first.SerializeToString())
    expected.replayed = True  # type: ignore[attr-defined]
    return again == expected and not first.replayed  # type: ignore[attr-defined]


def used(client: Client, user_id: str, feature_id: str) -> int:
    """Return the count."""
    return client.show_usage(user_id, feature_id).current.used


def test_a_repeat_gets_the_first_answer_again_whatever_has_happened_since(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    first = client.create_usage_event(user_id, feature_id, 3, event_id="e", metadata={"b": "1", "a": "2"})
    assert (first.event_id, first.replayed) == ("e", False)
    client.create_usage_event(user_id, feature_id, 4, event_id="f")
    client.update_user(user_id, disabled=True)
    client.cancel_subscription(next(client.list_subscriptions(user_id)).id)
    client.archive_feature(feature_id)
    again = client.create_usage_event(user_id, feature_id, 3, event_id="e", metadata={"a": "2", "b": "1"})
    assert same_but_replayed(first, again)
    assert used(client, user_id, feature_id) == 7


def test_the_order_of_metadata_on_the_wire_is_no_content(stubs: Stubs, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    plain = v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id, event_id="e").SerializeToString()
    pairs = [v1.UseFeatureRequest(metadata={f"{number}": ""}).SerializeToString() for number in range(16)]
    payloads = (plain + b"".join(pairs), b"".join(pairs[::-1]) + plain, b"".join([*pairs[8:], plain, *pairs[:8]]))
    path = "/canuse.v1.EntitlementService/UseFeature"
    first, *rest = (v1.UseFeatureResponse.FromString(stubs.call_raw(path, payload)) for payload in payloads)
    assert [same_but_replayed(first, again) for again in rest] == [True, True]


def test_a_default_and_its_value_are_the_same_content(stubs: Stubs, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id, "event_id": "e"}
    record = stubs.entitlements.CreateUsageEvent
    first = record(v1.CreateUsageEventRequest(**ids))
    again = record(v1.CreateUsageEventRequest(**ids, delta=1, action=v1.USAGE_ACTION_ADD))
    assert same_but_replayed(first, again)


def test_a_use_is_replayed_and_so_is_a_refusal(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    given = client.use_feature(user_id, feature_id, 4, event_id="given")
    refused = client.use_feature(user_id, feature_id, 2, event_id="refused")
    assert (given.access, refused.access, refused.event_id) == (True, False, "refused")
    client.create_usage_event(user_id, feature_id, 0, action=v1.USAGE_ACTION_SET)
    assert same_but_replayed(given, client.use_feature(user_id, feature_id, 4, event_id="given"))
    assert same_but_replayed(refused, client.use_feature(user_id, feature_id, 2, event_id="refused"))
    assert used(client, user_id, feature_id) == 0
    assert client.use_feature(user_id, feature_id, 2, event_id="a new try").access


@pytest.mark.parametrize(
    "other",
    [{"delta": 3}, {"delta": -2}, {"action": v1.USAGE_ACTION_SET}, {"metadata": {"a": "c"}}, {"metadata": {}}],
    ids=["delta", "negative", "action", "metadata", "no metadata"],
)
def test_other_content_under_the_same_id_is_refused_and_counts_nothing(
    client: Client, stubs: Stubs, other: dict[str, Any]
) -> None:
    user_id, feature_id = subscriber(client, None)
    content: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id, "event_id": "e"}
    content |= {"delta": 2, "action": v1.USAGE_ACTION_ADD, "metadata": {"a": "b"}}
    first = stubs.entitlements.CreateUsageEvent(v1.CreateUsageEventRequest(**content))
    request = v1.CreateUsageEventRequest(**(content | other))
    refused = failure(stubs.entitlements.CreateUsageEvent, request)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "EVENT_ID_REUSED")
    assert refused.metadata == {"user_id": user_id, "event_id": "e"}
    assert used(client, user_id, feature_id) == 2
    assert same_but_replayed(first, stubs.entitlements.CreateUsageEvent(v1.CreateUsageEventRequest(**content)))


def test_another_feature_under_the_same_id_is_refused(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 5)
    other_id = consumable(client)
    client.use_feature(user_id, feature_id, event_id="e")
    request = v1.UseFeatureRequest(user_id=user_id, feature_id=other_id, event_id="e")
    assert failure(stubs.entitlements.UseFeature, request).reason == "EVENT_ID_REUSED"


def test_recording_and_using_share_the_ids_of_a_user(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 5)
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id}
    client.create_usage_event(user_id, feature_id, event_id="recorded")
    client.use_feature(user_id, feature_id, event_id="used")
    use = v1.UseFeatureRequest(**ids, event_id="recorded")
    record = v1.CreateUsageEventRequest(**ids, event_id="used")
    assert failure(stubs.entitlements.UseFeature, use).reason == "EVENT_ID_REUSED"
    assert failure(stubs.entitlements.CreateUsageEvent, record).reason == "EVENT_ID_REUSED"
    assert used(client, user_id, feature_id) == 2


def test_users_do_not_share_ids(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    other_id = client.create_user(unique("user")).id
    client.subscribe(other_id, [subscription.package_id])
    client.use_feature(user_id, feature_id, 2, event_id="e")
    other = client.use_feature(other_id, feature_id, 3, event_id="e")
    assert (other.replayed, other.consumption.used) == (False, 3)
    assert used(client, user_id, feature_id) == 2


def test_a_call_that_failed_leaves_its_id_free(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, None)
    client.create_usage_event(user_id, feature_id, 2**53 - 1)
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id, "event_id": "e"}
    assert failure(stubs.entitlements.UseFeature, v1.UseFeatureRequest(**ids)).reason == "TOTAL_OUT_OF_RANGE"
    assert failure(stubs.entitlements.UseFeature, v1.UseFeatureRequest(**ids, delta=0)).reason == "INVALID_FIELD"
    assert not client.create_usage_event(user_id, feature_id, -2, event_id="e").replayed


@pytest.mark.parametrize("event_id", ["i", "e{}:1", " ", "👨\u200d👩\u200d👧", "é" * 64, "a" * 128])
def test_an_event_id_may_be_any_text_within_128_bytes(client: Client, event_id: str) -> None:
    user_id, feature_id = subscriber(client, 5)
    first = client.use_feature(user_id, feature_id, event_id=event_id)
    assert first.event_id == event_id
    assert same_but_replayed(first, client.use_feature(user_id, feature_id, event_id=event_id))


@pytest.mark.parametrize("event_id", ["a" * 129, "é" * 64 + "a", "a\nb", "\x00", "a\x9f"])
def test_any_other_event_id_is_refused_and_counts_nothing(client: Client, stubs: Stubs, event_id: str) -> None:
    user_id, feature_id = subscriber(client, 5)
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id, "event_id": event_id}
    calls: list[tuple[Callable[..., object], object]] = [
        (stubs.entitlements.UseFeature, v1.UseFeatureRequest(**ids)),
        (stubs.entitlements.CreateUsageEvent, v1.CreateUsageEventRequest(**ids)),
    ]
    for call, request in calls:
        assert failure(call, request).fields == ["event_id"]
    assert used(client, user_id, feature_id) == 0


def test_calls_without_an_id_are_all_counted_and_have_ids_of_their_own(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    answers = [client.create_usage_event(user_id, feature_id) for _ in range(4)]
    assert len({answer.event_id for answer in answers}) == 4
    assert used(client, user_id, feature_id) == 4


@pytest.mark.parametrize("limit", [None, 0], ids=["given", "refused"])
def test_an_id_sent_50_times_at_once_counts_once_and_all_answers_agree(
    client: Client, stubs: Stubs, limit: int | None
) -> None:
    user_id, feature_id = subscriber(client, limit)
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id}
    use = v1.UseFeatureRequest(**ids, delta=3, event_id="use")
    record = v1.CreateUsageEventRequest(**ids, delta=4, event_id="record")
    calls = [stubs.entitlements.CreateUsageEvent.future(record) for _ in range(50)]
    records = [call.result() for call in calls]
    uses = [call.result() for call in [stubs.entitlements.UseFeature.future(use) for _ in range(50)]]
    for answers in (records, uses):
        [first] = [answer for answer in answers if not answer.replayed]
        assert all(same_but_replayed(first, answer) for answer in answers if answer.replayed)
    assert used(client, user_id, feature_id) == (7 if limit is None else 4)


def test_each_id_is_kept_for_its_time_and_forgotten_after_twice_that(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, None, v1.RESET_PERIOD_NEVER)
    firsts = []
    for hour in range(3 * DEDUPE_TTL_HOURS):
        firsts.append(clocked.use_feature(user_id, feature_id, event_id=f"{hour}"))
        clock.advance(hours=1)
        if (oldest := hour - DEDUPE_TTL_HOURS + 1) >= 0:
            assert same_but_replayed(firsts[oldest], clocked.use_feature(user_id, feature_id, event_id=f"{oldest}"))
    assert not any(first.replayed for first in firsts)
    again = clocked.use_feature(user_id, feature_id, event_id="0")
    assert (again.replayed, again.consumption.used) == (False, len(firsts) + 1)


def test_an_id_is_replayed_across_a_reset_of_the_period(clocked: Client, clock: Clock) -> None:
    for period in (v1.RESET_PERIOD_HOUR, v1.RESET_PERIOD_MONTH):
        user_id, feature_id = subscriber(clocked, 5, period)
        end = clocked.show_usage(user_id, feature_id).current.resets_at.ToDatetime(UTC)
        clock.set(end - timedelta(minutes=1))
        first = clocked.use_feature(user_id, feature_id, 2, event_id="e")
        clock.set(end + timedelta(minutes=1))
        assert same_but_replayed(first, clocked.use_feature(user_id, feature_id, 2, event_id="e"))
        assert used(clocked, user_id, feature_id) == 0


def test_many_ids_of_one_user_are_each_remembered(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, None)
    ids = [f"e{number}" for number in range(300)]
    requests = [v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id, event_id=each) for each in ids]
    for replayed in (False, True):
        for first in range(0, 300, 100):
            calls = [stubs.entitlements.UseFeature.future(request) for request in requests[first : first + 100]]
            assert {call.result().replayed for call in calls} == {replayed}
    assert used(client, user_id, feature_id) == 300


def test_a_fact_that_was_not_recorded_leaves_its_id_free(client: Client) -> None:
    """For a day, an event sent before its subscription was answered `recorded: false, replayed: true`."""
    user_id, feature_id = client.create_user(unique("user")).id, consumable(client)

    def send() -> list[v1.CreateUsageEventResponse]:
        by_batch = [
            v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, delta=4, event_id=f"batch-{number % 2}")
            for number in range(3)
        ]
        answers = [
            client.create_usage_event(user_id, feature_id, 2, event_id="added"),
            client.create_usage_event(user_id, feature_id, 7, action=v1.USAGE_ACTION_SET, event_id="set"),
            *client.batch_create_usage_events(by_batch),
        ]
        return [answer for answer in answers if isinstance(answer, v1.CreateUsageEventResponse)]

    outcomes = [(answer.recorded, answer.replayed, answer.reason) for answer in send()]
    assert outcomes == [(False, False, v1.REASON_NOT_ENTITLED)] * 5
    # Nothing was recorded, so the id is accepted with other content.
    assert not client.create_usage_event(user_id, feature_id, 3, event_id="added").recorded
    entry = v1.PackageFeature(feature_id=feature_id, limit=None, reset_period=v1.RESET_PERIOD_MONTH)
    client.subscribe(user_id, [package(client, [entry])])
    told_then = [(answer.recorded, answer.replayed, answer.consumption.used) for answer in send()]
    assert told_then == [(True, False, 2), (True, False, 7), (True, False, 11), (True, False, 15), (True, True, 11)]
    assert [answer.replayed for answer in send()] == [True] * 5
    assert used(client, user_id, feature_id) == 15


def test_a_refused_use_keeps_its_id_though_there_was_nothing_to_count_against(client: Client) -> None:
    user_id, feature_id = client.create_user(unique("user")).id, consumable(client)
    first = client.use_feature(user_id, feature_id, event_id="e")
    refused = client.reserve(user_id, feature_id, 1, event_id="f")
    several = client.use_features(user_id, {feature_id: 1}, event_id="g")
    entry = v1.PackageFeature(feature_id=feature_id, limit=None, reset_period=v1.RESET_PERIOD_MONTH)
    client.subscribe(user_id, [package(client, [entry])])
    assert same_but_replayed(first, client.use_feature(user_id, feature_id, event_id="e"))
    assert same_but_replayed(refused, client.reserve(user_id, feature_id, 1, event_id="f"))
    assert same_but_replayed(several, client.use_features(user_id, {feature_id: 1}, event_id="g"))
    assert used(client, user_id, feature_id) == 0


def test_a_lease_settled_with_nothing_used_keeps_its_id(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    lease_id = client.reserve(user_id, feature_id, 2).lease_id
    first = client.settle(lease_id, used=0, event_id="e")
    assert not first.recorded
    assert same_but_replayed(first, client.settle(lease_id, used=0, event_id="e"))


def kept_for(**length: float) -> Duration:
    """Return an `event_id_ttl`."""
    ttl = Duration()
    ttl.FromTimedelta(timedelta(**length))
    return ttl


def test_an_id_is_kept_for_the_requested_ttl_and_forgotten_after_twice_that(
    clocked: Client, clocked_stubs: Stubs, clock: Clock
) -> None:
    user_id, feature_id = subscriber(clocked, None, v1.RESET_PERIOD_NEVER)
    request = v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id, event_id="e")
    request.event_id_ttl.FromSeconds(600)
    kept_longer = v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id, event_id="day")
    first = clocked_stubs.entitlements.UseFeature(request)
    first_of_day = clocked_stubs.entitlements.UseFeature(kept_longer)
    clock.advance(minutes=9, seconds=59)
    assert same_but_replayed(first, clocked_stubs.entitlements.UseFeature(request))
    for number in range(2):
        # Only a new id empties the hash that has expired.
        clock.advance(minutes=10)
        other = v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id, event_id=f"{number}")
        other.event_id_ttl.FromSeconds(600)
        assert not clocked_stubs.entitlements.UseFeature(other).replayed
    again = clocked_stubs.entitlements.UseFeature(request)
    assert (again.replayed, again.consumption.used) == (False, 5)
    assert same_but_replayed(first_of_day, clocked_stubs.entitlements.UseFeature(kept_longer))


def test_the_ttl_of_an_id_is_not_part_of_the_content(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 5)
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id, "event_id": "e"}
    first = stubs.entitlements.UseFeature(v1.UseFeatureRequest(**ids, event_id_ttl=kept_for(minutes=10)))
    for ttl in (None, kept_for(minutes=1), kept_for(hours=3), kept_for(days=3650)):
        assert same_but_replayed(first, stubs.entitlements.UseFeature(v1.UseFeatureRequest(**ids, event_id_ttl=ttl)))
    # The same holds for a ttl above the maximum of the server.
    ids["event_id"] = "longer"
    first = stubs.entitlements.UseFeature(v1.UseFeatureRequest(**ids, event_id_ttl=kept_for(days=3650)))
    assert same_but_replayed(first, stubs.entitlements.UseFeature(v1.UseFeatureRequest(**ids)))


@pytest.mark.parametrize(
    "ttl", [kept_for(seconds=0), kept_for(seconds=-600), kept_for(seconds=0.999), kept_for(days=3651)]
)
def test_a_ttl_of_less_than_a_second_or_more_than_ten_years_is_refused(
    client: Client, stubs: Stubs, ttl: Duration
) -> None:
    user_id, feature_id = subscriber(client, 5)
    ids: dict[str, Any] = {"user_id": user_id, "event_id": "e", "event_id_ttl": ttl}
    charges = [v1.Charge(feature_id=feature_id)]
    calls: list[tuple[Callable[..., object], object]] = [
        (stubs.entitlements.UseFeature, v1.UseFeatureRequest(**ids, feature_id=feature_id)),
        (stubs.entitlements.CreateUsageEvent, v1.CreateUsageEventRequest(**ids, feature_id=feature_id)),
        (stubs.entitlements.UseFeatures, v1.UseFeaturesRequest(**ids, charges=charges)),
        (stubs.entitlements.Reserve, v1.ReserveRequest(**ids, feature_id=feature_id, amount=1)),
        (stubs.subscriptions.Subscribe, v1.SubscribeRequest(**ids, package_ids=["any"])),
    ]
    lease_id = client.reserve(user_id, feature_id, 1).lease_id
    settle = v1.SettleRequest(lease_id=lease_id, used=1, event_id="e", event_id_ttl=ttl)
    calls.append((stubs.entitlements.Settle, settle))
    for call, request in calls:
        assert failure(call, request).fields == ["event_id_ttl"]
    assert used(client, user_id, feature_id) == 0


def test_all_calls_that_take_an_event_id_take_its_ttl(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 50)
    [subscription] = client.list_subscriptions(user_id)
    add_on = package(client, [], v1.PACKAGE_TYPE_ADD_ON)
    ids: dict[str, Any] = {"user_id": user_id, "event_id_ttl": kept_for(minutes=10)}
    charges = [v1.Charge(feature_id=feature_id)]
    calls: list[tuple[Any, Any]] = [
        (stubs.entitlements.UseFeature, v1.UseFeatureRequest(**ids, feature_id=feature_id)),
        (stubs.entitlements.CreateUsageEvent, v1.CreateUsageEventRequest(**ids, feature_id=feature_id)),
        (stubs.entitlements.UseFeatures, v1.UseFeaturesRequest(**ids, charges=charges)),
        (stubs.entitlements.Reserve, v1.ReserveRequest(**ids, feature_id=feature_id, amount=1)),
        (stubs.subscriptions.Subscribe, v1.SubscribeRequest(**ids, package_ids=[add_on])),
        (stubs.subscriptions.ChangePackage, v1.ChangePackageRequest(**ids, package_id=subscription.package_id)),
    ]
    lease_id = client.reserve(user_id, feature_id, 1).lease_id
    settle = v1.SettleRequest(lease_id=lease_id, used=1, event_id_ttl=ids["event_id_ttl"])
    calls.append((stubs.entitlements.Settle, settle))
    for number, (call, request) in enumerate(calls):
        request.event_id = f"e{number}"
        first = call(request)
        assert same_but_replayed(first, call(request))
    assert subscription.package_id != add_on
