"""ListUsageEvents: what was recorded, newest first, with the result of each event."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from support.message_clients import AsyncClient, Client
from support.processes import Canuse
from support.resources import Clock, binary, consumable, package, subscriber, unique
from support.store_inspection import user_in_same_bucket
from support.wire import Stubs, failure, moment

SET = v1.USAGE_ACTION_SET
MILLISECOND = timedelta(milliseconds=1)


def deltas(client: Client, user_id: str, **filters: datetime | str | int | None) -> list[int]:
    """Return the deltas of a user's events, newest first."""
    return [event.delta for event in client.list_usage_events(user_id, **filters)]  # type: ignore[arg-type]


def subscribe_all(client: Client, *users: str) -> str:
    """Create users with an unlimited feature, and return the feature."""
    feature_id = consumable(client)
    package_id = package(client, [v1.PackageFeature(feature_id=feature_id)])
    for user_id in users:
        client.create_user(user_id)
        client.subscribe(user_id, [package_id])
    return feature_id


def test_each_event_says_what_was_sent_and_what_it_came_to(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 10, v1.RESET_PERIOD_DAY, overage_enabled=True)
    start = clock.now()
    clocked.create_usage_event(user_id, feature_id, 8, metadata={"job": "1", "who": "é"})
    clock.advance(seconds=1)
    clocked.create_usage_event(user_id, feature_id, -9, event_id="back")
    clocked.create_usage_event(user_id, feature_id, 12, action=SET)
    clocked.use_feature(user_id, feature_id, event_id="used")
    events = list(clocked.list_usage_events(user_id))
    times = [moment(start + timedelta(seconds=seconds)) for seconds in (1, 1, 1, 0)]
    assert [event.time for event in events] == times
    assert len({event.id for event in events}) == 4
    for event in events:
        assert event.id.startswith(f"{event.time.ToMilliseconds()}-")
        event.ClearField("id")
        event.ClearField("time")
    overage, within = v1.REASON_OVERAGE, v1.REASON_WITHIN_BUDGET
    add, budget = v1.USAGE_ACTION_ADD, 10
    assert events == [
        v1.UsageEvent(
            feature_id=feature_id,
            delta=1,
            applied_delta=1,
            action=add,
            event_id="used",
            reason=overage,
            used=13,
            budget=budget,
            remaining=0,
        ),
        v1.UsageEvent(
            feature_id=feature_id,
            delta=12,
            applied_delta=12,
            action=SET,
            reason=overage,
            used=12,
            budget=budget,
            remaining=0,
        ),
        v1.UsageEvent(
            feature_id=feature_id,
            delta=-9,
            applied_delta=-8,
            action=add,
            event_id="back",
            reason=within,
            used=0,
            budget=budget,
            remaining=10,
        ),
        v1.UsageEvent(
            feature_id=feature_id,
            delta=8,
            applied_delta=8,
            action=add,
            metadata={"job": "1", "who": "é"},
            reason=within,
            used=8,
            budget=budget,
            remaining=2,
        ),
    ]


def test_an_event_without_a_limit_has_neither_budget_nor_remaining(client: Client) -> None:
    user_id, feature_id = subscriber(client, None)
    client.create_usage_event(user_id, feature_id, 7)
    [event] = client.list_usage_events(user_id)
    assert (event.reason, event.used) == (v1.REASON_UNLIMITED, 7)
    assert not event.HasField("budget")
    assert not event.HasField("remaining")


def test_the_id_of_an_event_is_the_one_that_recording_it_answered(client: Client) -> None:
    user_id, feature_id = subscriber(client, None)
    event_ids = [client.create_usage_event(user_id, feature_id).event_id for _ in range(3)]
    assert [event.id for event in client.list_usage_events(user_id)] == event_ids[::-1]


def test_what_was_not_recorded_is_not_listed_and_a_repeat_is_listed_once(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    client.use_feature(user_id, feature_id, 6)
    client.create_usage_event(user_id, consumable(client))
    for _ in range(3):
        client.create_usage_event(user_id, feature_id, 2, event_id="once")
    assert deltas(client, user_id) == [2]


def test_uses_of_several_features_at_once_are_an_event_each(client: Client) -> None:
    user_id = client.create_user(unique("user")).id
    features = [consumable(client) for _ in range(3)]
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=each) for each in features])])
    client.use_features(user_id, {feature_id: place for place, feature_id in enumerate(features, 1)}, event_id="all")
    events = [(event.feature_id, event.delta, event.event_id) for event in client.list_usage_events(user_id)]
    assert events == [(features[2], 3, "all"), (features[1], 2, "all"), (features[0], 1, "all")]


def test_only_events_of_the_user_and_of_the_feature_are_listed(client: Client) -> None:
    user_id = unique("user")
    other = user_in_same_bucket(user_id)
    feature_id = subscribe_all(client, user_id, other)
    second = consumable(client)
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=second)], v1.PACKAGE_TYPE_ADD_ON)])
    for user, feature, delta in ((user_id, feature_id, 1), (other, feature_id, 2), (user_id, second, 3)):
        client.create_usage_event(user, feature, delta)
    client.create_usage_event(user_id, feature_id, 4)
    assert deltas(client, user_id) == [4, 3, 1]
    assert deltas(client, user_id, feature_id=feature_id) == [4, 1]
    assert deltas(client, user_id, feature_id=second) == [3]
    assert deltas(client, user_id, feature_id=binary(client)) == []
    assert deltas(client, other) == [2]


def test_the_start_is_inclusive_and_the_end_exclusive_to_the_millisecond(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, None)
    times = []
    for delta in (1, 2, 3):
        times.append(clock.advance(milliseconds=2))
        clocked.create_usage_event(user_id, feature_id, delta)
    first, second, third = times
    part = timedelta(microseconds=1)
    for start, end, expected in (
        (None, None, [3, 2, 1]),
        (second, None, [3, 2]),
        (second + part, None, [3]),
        (second - part, None, [3, 2]),
        (None, second, [1]),
        (None, second + part, [2, 1]),
        (None, second - part, [1]),
        (first, third, [2, 1]),
        (second, second + MILLISECOND, [2]),
        (second, second, []),
        (second + part, second + part, []),
        (third + MILLISECOND, None, []),
        (None, datetime(1970, 1, 1, tzinfo=UTC), []),
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC), [3, 2, 1]),
    ):
        assert deltas(clocked, user_id, start_time=start, end_time=end, page_size=1) == expected, (start, end)


def test_new_events_do_not_move_the_pages(client: Client) -> None:
    user_id, feature_id = subscriber(client, None)
    for delta in range(1, 8):
        client.create_usage_event(user_id, feature_id, delta)
    found = []
    for event in client.list_usage_events(user_id, page_size=2):
        found.append(event.delta)
        client.create_usage_event(user_id, feature_id, 100)
    assert found == [7, 6, 5, 4, 3, 2, 1]


def test_a_page_looks_at_a_bounded_part_of_the_ledger_and_the_next_one_goes_on(client: Client, stubs: Stubs) -> None:
    user_id = unique("user")
    other = user_in_same_bucket(user_id)
    feature_id = subscribe_all(client, user_id, other)
    client.create_usage_event(user_id, feature_id, 1)
    for _ in range(11):
        client.batch_create_usage_events([v1.CreateUsageEventRequest(user_id=other, feature_id=feature_id)] * 1000)
    client.create_usage_event(user_id, feature_id, 2)
    pages: list[list[int]] = []
    request = v1.ListUsageEventsRequest(user_id=user_id)
    while not pages or request.page_token:
        page = stubs.usage.ListUsageEvents(request)
        pages.append([event.delta for event in page.events])
        request.page_token = page.next_page_token
    assert pages == [[2], [], [1]]
    assert deltas(client, user_id) == [2, 1]
    assert deltas(client, user_id, page_size=1) == [2, 1]


@pytest.mark.parametrize("size", [1, 999, 1000])
def test_pages_meet_where_the_ledger_is_read_in_several_parts(client: Client, size: int) -> None:
    user_id, feature_id = subscriber(client, None)
    for start in (0, 1000, 2000):
        client.batch_create_usage_events(
            [
                v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, delta=start + place + 1)
                for place in range(1000 if size > 1 else 7)
            ]
        )
    found = deltas(client, user_id, page_size=size)
    assert len(found) == (3000 if size > 1 else 21)
    assert found == sorted(found, reverse=True)


def token(stubs: Stubs, user_id: str, feature_id: str, content: bytes) -> str:
    """Return a forged page token of a user's events, with events after it."""
    event = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, delta=5)
    stubs.entitlements.BatchCreateUsageEvents(v1.BatchCreateUsageEventsRequest(requests=[event] * 2))
    page = stubs.usage.ListUsageEvents(v1.ListUsageEventsRequest(user_id=user_id, page_size=1))
    mark = json.loads(urlsafe_b64decode(page.next_page_token + "=="))[0]
    forged = json.dumps([mark]).encode()[:-1] + b"," + content.removeprefix(b"[")
    return urlsafe_b64encode(forged).decode().rstrip("=")


@pytest.mark.parametrize(
    "content",
    [
        b'[0,""]',
        b'[0,"0-0"]',
        b'[0,"1"]',
        b'[0,"1-"]',
        b'[0,"-1-0"]',
        b'[0,"1-2-3"]',
        b'[0,"01-2"]',
        b'[0," 1-2"]',
        b'[0,"1_0-2"]',
        b'[0,"x-1"]',
        b'[0,"18446744073709551616-0"]',
        b'[0,"5-18446744073709551616"]',
        b'[0,"+"]',
        b'[1,"1-2"]',
        b'[0,"\\uff11-2"]',
    ],
)
def test_a_token_of_no_place_in_the_ledger_is_refused(client: Client, stubs: Stubs, content: bytes) -> None:
    user_id, feature_id = subscriber(client, None)
    request = v1.ListUsageEventsRequest(user_id=user_id, page_token=token(stubs, user_id, feature_id, content))
    refused = failure(stubs.usage.ListUsageEvents, request)
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])


def test_a_token_of_any_place_in_the_ledger_is_taken(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, None)
    for content, count in ((b'[0,"0-1"]', 0), (b'[0,"18446744073709551615-18446744073709551615"]', 4)):
        request = v1.ListUsageEventsRequest(user_id=user_id, page_token=token(stubs, user_id, feature_id, content))
        assert len(stubs.usage.ListUsageEvents(request).events) == count


def test_an_unknown_user_or_feature_is_an_error(client: Client, stubs: Stubs) -> None:
    user_id, feature_id, missing = *subscriber(client, 5), unique("missing")
    listing = stubs.usage.ListUsageEvents
    no_user = failure(listing, v1.ListUsageEventsRequest(user_id=missing, feature_id=feature_id))
    no_feature = failure(listing, v1.ListUsageEventsRequest(user_id=user_id, feature_id=missing))
    assert (no_user.code, no_user.reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")
    assert (no_feature.code, no_feature.reason) == (grpc.StatusCode.NOT_FOUND, "FEATURE_NOT_FOUND")
    assert (no_user.metadata, no_feature.metadata) == ({"user_id": missing}, {"feature_id": missing})


def test_all_bad_fields_are_reported_at_once(client: Client, stubs: Stubs) -> None:
    late, bad = Timestamp(seconds=2**40), Timestamp(nanos=-1)
    request = v1.ListUsageEventsRequest(feature_id="\n", start_time=late, end_time=bad)
    refused = failure(stubs.usage.ListUsageEvents, request)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields == ["end_time", "feature_id", "start_time", "user_id"]


def test_a_start_after_the_end_is_refused(client: Client, stubs: Stubs) -> None:
    user_id, _ = subscriber(client, 5)
    end = Timestamp(seconds=1_700_000_000, nanos=5)
    start = Timestamp(seconds=1_700_000_000, nanos=6)
    request = v1.ListUsageEventsRequest(user_id=user_id, start_time=start, end_time=end)
    refused = failure(stubs.usage.ListUsageEvents, request)
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["start_time"])
    assert start.ToJsonString() in refused.violations["start_time"]
    assert end.ToJsonString() in refused.violations["start_time"]


def test_a_time_without_a_zone_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(ValueError, match="start_time"):
        list(client.list_usage_events("u", start_time=datetime(2025, 1, 1)))  # noqa: DTZ001 - the point of the test


def test_the_events_of_a_user_go_with_the_user(client: Client) -> None:
    user_id = unique("user")
    feature_id = subscribe_all(client, user_id)
    client.create_usage_event(user_id, feature_id, 3)
    client.delete_user(user_id)
    client.create_user(user_id)
    assert deltas(client, user_id) == []


def test_a_page_of_the_largest_events_gets_through(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = unique("user").ljust(128, "x"), unique("feature").ljust(128, "x")
    client.create_user(user_id)
    client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=feature_id, limit=2**53 - 1)])])
    metadata = {f"key-{number:02}": "v" * 122 for number in range(16)}
    requests = [
        v1.CreateUsageEventRequest(
            user_id=user_id,
            feature_id=feature_id,
            delta=2**53 - 1,
            action=SET,
            event_id=f"{number:0128}",
            metadata=metadata,
        )
        for number in range(1000)
    ]
    client.batch_create_usage_events(requests)
    page = stubs.usage.ListUsageEvents(v1.ListUsageEventsRequest(user_id=user_id, page_size=1000))
    assert len(page.events) == 1000
    assert page.ByteSize() < 4 * 1024 * 1024


async def test_the_async_client_lists_the_same(client: Client, server: Canuse) -> None:
    user_id, feature_id = subscriber(client, None)
    for delta in (1, 2, 3):
        client.create_usage_event(user_id, feature_id, delta)
    async with AsyncClient(server.address) as asynchronous:
        listed = asynchronous.list_usage_events(user_id, feature_id=feature_id, page_size=2)
        assert [event.delta async for event in listed] == [3, 2, 1]
