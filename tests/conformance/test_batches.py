"""Batches: many checks or uses in one call, each as if made alone, and those of one user in order."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status

import canuse
from canuse import v1
from support.message_clients import AsyncClient, Client
from support.processes import Canuse
from support.resources import Clock, binary, consumable, grant, package, subscriber, unique
from support.store_inspection import StoreInspector
from support.wire import Stubs, failure

CLIENT_BYTES = 4 * 1024 * 1024
"""The default limit of gRPC for a message."""
MAX_AMOUNT = 2**53 - 1
SET = v1.USAGE_ACTION_SET


def check(user_id: str, feature_id: str, **fields: Any) -> v1.CanUseRequest:
    """Return a check."""
    return v1.CanUseRequest(user_id=user_id, feature_id=feature_id, **fields)


def use(
    user_id: str, feature_id: str, delta: int | None = None, event_id: str = "", **fields: Any
) -> v1.CreateUsageEventRequest:
    """Return a use."""
    return v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, delta=delta, event_id=event_id, **fields)


def checked_use(user_id: str, feature_id: str, delta: int | None = None, **fields: Any) -> v1.UseFeatureRequest:
    """Return a use that is checked."""
    return v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id, delta=delta, **fields)


def outcome_alone(call: Callable[..., object], request: object) -> object:
    """Return the answer of a single call, or the status of its error."""
    try:
        return call(request)
    except grpc.RpcError as error:
        trailers = dict(cast("grpc.Call", error).trailing_metadata() or ())
        return Status.FromString(cast("bytes", trailers["grpc-status-details-bin"]))


def outcomes_of(
    results: list[v1.BatchCanUseResult] | list[v1.BatchCreateUsageEventsResult] | list[v1.BatchUseFeatureResult],
) -> list[object]:
    """Return the outcome of each call of a batch."""
    return [result.status if result.HasField("status") else result.response for result in results]


def summary(result: v1.CreateUsageEventResponse | canuse.CanuseError) -> tuple[int, int] | str:
    """Return the applied delta and the total, or the reason of the error."""
    if isinstance(result, canuse.CanuseError):
        return result.reason
    return result.applied_delta, result.consumption.used


def mixed_pairs(client: Client) -> list[tuple[str, str]]:
    """Return pairs of all kinds of users and features, including unknown ones."""
    user_id, feature_id = subscriber(client, 5)
    disabled, archived = subscriber(client, 5), subscriber(client, 5)
    client.update_user(disabled[0], disabled=True)
    client.archive_feature(archived[1])
    nobody, missing = unique("nobody"), unique("missing")
    return [
        (user_id, feature_id),
        subscriber(client, None),
        (nobody, feature_id),
        disabled,
        ("", feature_id),
        archived,
        (user_id, missing),
        (user_id, binary(client)),
        (user_id, consumable(client)),
        (user_id, "x" * 129),
        (nobody, feature_id),
        ("", ""),
        subscriber(client, 1),
        (nobody, missing),
        (user_id, missing),
    ]


def test_each_check_of_a_batch_comes_to_what_it_comes_to_alone(client: Client, stubs: Stubs) -> None:
    requests = [
        check(user_id, feature_id, delta=delta)
        for user_id, feature_id in mixed_pairs(client)
        for delta in (None, 1, 6, 0, -(2**63), MAX_AMOUNT)
    ]
    full = subscriber(client, None)
    client.create_usage_event(*full, delta=MAX_AMOUNT)
    requests.append(check(*full))
    expected = [outcome_alone(stubs.entitlements.CanUse, request) for request in requests]
    batch = stubs.entitlements.BatchCanUse(v1.BatchCanUseRequest(requests=requests))
    assert outcomes_of(list(batch.results)) == expected
    assert {type(result) for result in expected} == {Status, v1.CanUseResponse}


def test_each_use_of_a_batch_comes_to_what_it_comes_to_alone(client: Client, stubs: Stubs) -> None:
    requests = [
        use(*pair, **fields)
        for pair in mixed_pairs(client)
        for fields in (
            {"delta": 3},
            {"delta": -2},
            {"delta": 4, "action": SET},
            {"delta": 0},
            {"delta": MAX_AMOUNT},
            {"action": SET},
            {"metadata": {"key": "v" * 2046}},
            {"event_id": "\n"},
        )
    ]
    # The outcome depends on what was used before: so everything is done in the batch first, and taken back.
    batch = stubs.entitlements.BatchCreateUsageEvents(v1.BatchCreateUsageEventsRequest(requests=requests))
    for pair in {(request.user_id, request.feature_id) for request in requests}:
        outcome_alone(stubs.entitlements.CreateUsageEvent, use(*pair, 0, action=SET))
    expected = [outcome_alone(stubs.entitlements.CreateUsageEvent, request) for request in requests]
    results = outcomes_of(list(batch.results))
    for result in (*results, *expected):
        if isinstance(result, v1.CreateUsageEventResponse):
            assert bool(result.event_id) == result.recorded
            result.event_id = ""  # Where none was sent it is the ledger's, of each event its own.
    assert results == expected
    reasons = {result.reason for result in expected if isinstance(result, v1.CreateUsageEventResponse)}
    assert len(reasons) == 6


def test_each_checked_use_of_a_batch_comes_to_what_it_comes_to_alone(clocked: Client, clocked_stubs: Stubs) -> None:
    requests = [
        checked_use(*pair, **fields)
        for pair in mixed_pairs(clocked)
        for fields in (
            {"delta": 3},
            {"delta": 4, "metadata": {"key": "v" * 2046}},
            {},
            {"delta": 0},
            {"delta": MAX_AMOUNT},
            {"delta": 1, "event_id": "\n"},
        )
    ]
    batch = clocked_stubs.entitlements.BatchUseFeature(v1.BatchUseFeatureRequest(requests=requests))
    for pair in {(request.user_id, request.feature_id) for request in requests}:
        outcome_alone(clocked_stubs.entitlements.CreateUsageEvent, use(*pair, 0, action=SET))
    expected = [outcome_alone(clocked_stubs.entitlements.UseFeature, request) for request in requests]
    results = outcomes_of(list(batch.results))
    for result in (*results, *expected):
        if isinstance(result, v1.UseFeatureResponse):
            assert bool(result.event_id) == result.access
            result.event_id = ""  # Where none was sent it is the ledger's, of each event its own.
    assert results == expected
    reasons = {result.reason for result in expected if isinstance(result, v1.UseFeatureResponse)}
    assert len(reasons) == 6


def test_a_batch_of_checked_uses_uses_up_a_budget_and_no_more(client: Client) -> None:
    some = subscriber(client, 5)
    other = subscriber(client, 2)
    requests = [checked_use(*some, 2), checked_use(*other, 2), checked_use(*some, 4), checked_use(*some, 3)]
    answers = client.batch_use_feature([*requests, checked_use(*some), checked_use(*other)])
    found = [(each.access, each.consumption.used) for each in answers if isinstance(each, v1.UseFeatureResponse)]
    assert found == [(True, 2), (True, 2), (False, 2), (True, 5), (False, 5), (False, 2)]
    assert [each.HasField("retry_after") for each in answers if isinstance(each, v1.UseFeatureResponse)] == [
        False,
        False,
        True,
        False,
        True,
        True,
    ]


def test_event_ids_of_checked_uses_hold_within_a_batch_and_for_one_that_is_repeated(client: Client) -> None:
    ids = subscriber(client, 3)
    requests = [
        checked_use(*ids, 2, event_id="a"),
        checked_use(*ids, 2, event_id="a"),
        checked_use(*ids, 2, event_id="b"),
        checked_use(*ids, 1, event_id="a"),
        checked_use(*ids, 1, event_id="c"),
    ]
    first, again = (client.batch_use_feature(requests) for _ in range(2))

    def seen(results: list[v1.UseFeatureResponse | canuse.CanuseError]) -> list[object]:
        return [
            each.reason if isinstance(each, canuse.CanuseError) else (each.access, each.consumption.used)
            for each in results
        ]

    assert seen(first) == seen(again) == [(True, 2), (True, 2), (False, 2), "EVENT_ID_REUSED", (True, 3)]
    assert [getattr(each, "replayed", None) for each in again] == [True, True, True, None, True]
    assert len(list(client.list_usage_events(ids[0]))) == 2


def test_checked_uses_of_a_user_keep_their_order_where_a_period_has_just_ended(clocked: Client, clock: Clock) -> None:
    user_id = clocked.create_user(unique("user")).id
    monthly, always = two_features(clocked, user_id)
    clocked.batch_use_feature([checked_use(user_id, monthly, 100)])
    clock.advance(days=32)
    requests = [
        checked_use(user_id, always, 1),
        checked_use(user_id, monthly, 60),
        checked_use(user_id, monthly, 50),
        checked_use(user_id, monthly, 40),
        checked_use(user_id, always, 2),
    ]
    answers = clocked.batch_use_feature(requests)
    found = [(each.access, each.consumption.used) for each in answers if isinstance(each, v1.UseFeatureResponse)]
    assert found == [(True, 1), (True, 60), (False, 60), (True, 100), (True, 3)]


@pytest.mark.parametrize("count", [0, 1001])
def test_no_requests_and_more_than_1000_are_refused_as_a_whole(client: Client, stubs: Stubs, count: int) -> None:
    user_id, feature_id = subscriber(client, None)
    checks = v1.BatchCanUseRequest(requests=[check(user_id, feature_id)] * count)
    uses = v1.BatchCreateUsageEventsRequest(requests=[use(user_id, feature_id)] * count)
    for call, request in (
        (stubs.entitlements.BatchCanUse, checks),
        (stubs.entitlements.BatchCreateUsageEvents, uses),
        (
            stubs.entitlements.BatchUseFeature,
            v1.BatchUseFeatureRequest(requests=[checked_use(user_id, feature_id)] * count),
        ),
    ):
        refused = failure(call, request)
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["requests"])
        assert refused.violations["requests"] == f"must be 1 to 1000 requests; {count} were sent"
    assert client.show_usage(user_id, feature_id).current.used == 0


def test_1000_requests_are_answered_in_their_order(client: Client) -> None:
    some = [subscriber(client, None) for _ in range(7)]
    requests = [use(*some[number % 7], number + 1) for number in range(1000)]
    totals = dict.fromkeys(some, 0)
    for number, result in enumerate(client.batch_create_usage_events(requests)):
        totals[some[number % 7]] += number + 1
        assert summary(result) == (number + 1, totals[some[number % 7]])
    answers = client.batch_can_use([check(*some[number % 7]) for number in range(1000)])
    used = [answer.consumption.used for answer in answers if isinstance(answer, v1.CanUseResponse)]
    assert used == [totals[some[number % 7]] for number in range(1000)]


def test_a_bad_use_fails_alone(client: Client) -> None:
    user_id, feature_id = subscriber(client, 10)
    requests = [
        use(user_id, feature_id),
        use(user_id, feature_id, 0),
        use(user_id, feature_id, 2),
        use(user_id, unique("missing")),
        use(user_id, feature_id, 3),
        use(unique("nobody"), feature_id),
        use(user_id, binary(client)),
        use(user_id, feature_id, 4),
    ]
    assert [summary(result) for result in client.batch_create_usage_events(requests)] == [
        (1, 1),
        "INVALID_FIELD",
        (2, 3),
        "FEATURE_NOT_FOUND",
        (3, 6),
        "USER_NOT_FOUND",
        "FEATURE_NOT_CONSUMABLE",
        (4, 10),
    ]


def test_explain_is_refused_where_it_is_asked_for(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 5)
    requests = [check(user_id, feature_id, explain=explain) for explain in (False, True, False)]
    first, refused, last = stubs.entitlements.BatchCanUse(v1.BatchCanUseRequest(requests=requests)).results
    assert first.response.access
    assert last.response == first.response
    detail = BadRequest()
    assert refused.status.details[1].Unpack(detail)
    assert [violation.field for violation in detail.field_violations] == ["explain"]
    assert refused.status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_event_ids_hold_within_a_batch_and_for_a_batch_that_is_repeated(client: Client) -> None:
    user_id, feature_id = subscriber(client, 100)
    other = subscriber(client, 100)
    requests = [
        use(user_id, feature_id, 2, "a"),
        use(user_id, feature_id, 2, "a"),
        use(user_id, feature_id, 3, "a"),
        use(*other, 3, "a"),
        use(user_id, feature_id, 5, "b"),
    ]
    first, again = (client.batch_create_usage_events(requests) for _ in range(2))
    assert [summary(result) for result in first] == [(2, 2), (2, 2), "EVENT_ID_REUSED", (3, 3), (5, 7)]
    assert [summary(result) for result in again] == [summary(result) for result in first]
    replays = [[getattr(result, "replayed", None) for result in results] for results in (first, again)]
    assert replays == [[False, True, None, False, False], [True, True, None, True, True]]


async def test_a_batch_of_the_async_client_comes_to_the_same(client: Client, server: Canuse) -> None:
    user_id, feature_id = subscriber(client, 10)
    requests = [check(user_id, feature_id), check(unique("nobody"), feature_id), check(user_id, feature_id, delta=11)]
    expected = [repr(result) for result in client.batch_can_use(requests)]
    assert "USER_NOT_FOUND" in expected[1]
    async with AsyncClient(server.address) as asynchronous:
        assert [repr(result) for result in await asynchronous.batch_can_use(requests)] == expected
        recorded = await asynchronous.batch_create_usage_events([use(user_id, feature_id, 4), use("", feature_id)])
        assert [summary(result) for result in recorded] == [(4, 4), "INVALID_FIELD"]


# A use that needs a repair, because a period has ended or the user is new, is not overtaken by the uses behind it.


def two_features(client: Client, user_id: str) -> tuple[str, str]:
    """Subscribe a user to two features: one with a monthly period, and one that never resets."""
    monthly, always = consumable(client), consumable(client)
    entries = [
        v1.PackageFeature(feature_id=monthly, limit=100, reset_period=v1.RESET_PERIOD_MONTH),
        v1.PackageFeature(feature_id=always, limit=100),
    ]
    client.subscribe(user_id, [package(client, entries)])
    return monthly, always


def test_uses_of_a_user_keep_their_order_where_a_period_has_just_ended(clocked: Client, clock: Clock) -> None:
    user_id, other = clocked.create_user(unique("user")).id, subscriber(clocked, 100, v1.RESET_PERIOD_MONTH)
    monthly, always = two_features(clocked, user_id)
    clocked.batch_create_usage_events([use(user_id, monthly, 50), use(*other, 60)])
    clock.advance(days=32)
    requests = [
        use(user_id, always, 1),
        use(user_id, monthly, 2),
        use(user_id, always, 3, "x"),
        use(*other, 7),
        use(user_id, monthly, 5, "x"),
        use(user_id, monthly, 9, action=SET),
        use(user_id, always, 4),
        use(user_id, monthly, 1),
    ]
    assert [summary(result) for result in clocked.batch_create_usage_events(requests)] == [
        (1, 1),
        (2, 2),
        (3, 4),
        (7, 7),
        "EVENT_ID_REUSED",
        (7, 9),
        (4, 8),
        (1, 10),
    ]
    events = [(event.feature_id, event.delta) for event in clocked.list_usage_events(user_id)]
    recorded = [(always, 1), (monthly, 2), (always, 3), (monthly, 9), (always, 4), (monthly, 1)]
    assert events == [*reversed(recorded), (monthly, 50)]


def test_uses_of_a_user_keep_their_order_where_a_lease_has_just_expired(clocked: Client, clock: Clock) -> None:
    user_id = clocked.create_user(unique("user")).id
    leased, free = two_features(clocked, user_id)
    clocked.reserve(user_id, leased, 100, ttl=timedelta(seconds=1))
    [answer] = clocked.batch_can_use([check(user_id, leased)])
    assert isinstance(answer, v1.CanUseResponse)
    assert (answer.access, answer.consumption.reserved) == (False, 100)
    clock.advance(seconds=1)
    requests = [use(user_id, leased, 1), use(user_id, free, 2), use(user_id, leased, 3), use(user_id, free, 4)]
    recorded = clocked.batch_create_usage_events(requests)
    assert [summary(result) for result in recorded] == [(1, 1), (2, 2), (3, 4), (4, 6)]
    assert [event.delta for event in clocked.list_usage_events(user_id)] == [4, 3, 2, 1]
    answers = clocked.batch_can_use([check(user_id, leased, delta=96), check(user_id, leased, delta=97)])
    assert [answer.access for answer in answers if isinstance(answer, v1.CanUseResponse)] == [True, False]


def test_checks_where_a_period_has_just_ended_are_all_of_the_new_one(clocked: Client, clock: Clock) -> None:
    users = [subscriber(clocked, 1, v1.RESET_PERIOD_MONTH) for _ in range(5)]
    requests = [check(*user) for user in users * 4]
    clocked.batch_create_usage_events([use(*user) for user in users])
    before = clocked.batch_can_use(requests)
    assert [answer.access for answer in before if isinstance(answer, v1.CanUseResponse)] == [False] * 20
    clock.advance(days=32)
    after = clocked.batch_can_use(requests)
    assert [answer.access for answer in after if isinstance(answer, v1.CanUseResponse)] == [True] * 20


def test_what_keeps_uses_waiting_goes_by_itself_and_keeps_no_later_batch_waiting(
    clocked: Client, clock: Clock, clocked_store: StoreInspector
) -> None:
    user_id = clocked.create_user(unique("user")).id
    monthly, always = two_features(clocked, user_id)
    grant(clocked, user_id, always, 1)  # Its uses are not recorded together with others.
    clock.advance(days=32)
    requests = [use(user_id, always), use(user_id, monthly), use(user_id, always), use(user_id, monthly)]
    clocked.batch_create_usage_events(requests)
    # The result of the attempt in which the second use had to be repeated. The next attempt completed.
    [milliseconds_left] = clocked_store.broken_chains(user_id)
    assert 0 < milliseconds_left <= 60_000
    again = clocked.batch_create_usage_events(requests)
    assert [summary(result) for result in again] == [(1, 3), (1, 3), (1, 4), (1, 4)]
    assert len(clocked_store.broken_chains(user_id)) == 1


# The largest accepted batch and the largest answer fit into a message.


def test_the_largest_batch_of_uses_gets_through(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = unique("user").ljust(128, "x"), unique("feature").ljust(128, "x")
    client.create_user(user_id)
    client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=feature_id, limit=MAX_AMOUNT)])])
    metadata = {f"key-{number:02}": "v" * 122 for number in range(16)}
    requests = [
        use(user_id, feature_id, MAX_AMOUNT, f"{number:0128}", action=SET, metadata=metadata) for number in range(1000)
    ]
    request = v1.BatchCreateUsageEventsRequest(requests=requests)
    answer = stubs.entitlements.BatchCreateUsageEvents(request)
    assert all(result.response.recorded for result in answer.results)
    assert max(request.ByteSize(), answer.ByteSize()) < CLIENT_BYTES
    checked = v1.BatchUseFeatureRequest(
        requests=[
            checked_use(user_id, feature_id, MAX_AMOUNT, event_id=f"{number:0128}", metadata=metadata)
            for number in range(1000, 2000)
        ]
    )
    refused = stubs.entitlements.BatchUseFeature(checked)
    assert {result.response.reason for result in refused.results} == {v1.REASON_BUDGET_EXCEEDED}
    assert max(checked.ByteSize(), refused.ByteSize()) < CLIENT_BYTES


def test_the_largest_answer_to_bad_requests_gets_through(stubs: Stubs) -> None:
    text, metadata = "\U000e0001" * 200, {str(number): "" for number in range(17)}
    bad = use("\x01" + text, "\x02" + text, -(2**63), "\x03" + text, action=7, metadata=metadata)
    request = v1.BatchCreateUsageEventsRequest(requests=[bad] * 1000)
    assert request.ByteSize() < CLIENT_BYTES
    answer = stubs.entitlements.BatchCreateUsageEvents(request)
    assert {result.status.code for result in answer.results} == {grpc.StatusCode.INVALID_ARGUMENT.value[0]}
    assert 1_000_000 < answer.ByteSize() < CLIENT_BYTES
