"""`retry_after` of a no: at that moment the same call is a yes, and a millisecond before it is still a no."""

from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

import pytest
from google.protobuf.message import Message

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, binary, consumable, grant, package, subscriber, unique

MILLISECOND = timedelta(milliseconds=1)
DAY = timedelta(days=1)
Ids = tuple[str, str]
Ask = Callable[[Client, str, str, int], Any]


def reserve_all(client: Client, user_id: str, feature_id: str, amount: int) -> v1.ReserveResponse:
    """Reserve an amount or nothing."""
    return client.reserve(user_id, feature_id, amount, min_amount=amount)


def use_of_several(client: Client, user_id: str, feature_id: str, amount: int) -> v1.UseFeaturesResponse:
    """Use an amount by the method for several features."""
    return client.use_features(user_id, {feature_id: amount})


def explained(client: Client, user_id: str, feature_id: str, amount: int) -> v1.CanUseResponse:
    """Check, with an explanation, which says the same."""
    response = client.can_use(user_id, feature_id, amount, explain=True)
    assert after(response.explanation.steps[-1].decision) == after(response)
    return response


def in_a_batch(client: Client, user_id: str, feature_id: str, amount: int) -> v1.CanUseResponse:
    """Check in a batch."""
    request = v1.CanUseRequest(user_id=user_id, feature_id=feature_id, delta=amount)
    [response] = client.batch_can_use([request])
    assert isinstance(response, v1.CanUseResponse)
    return response


def in_the_list(client: Client, user_id: str, feature_id: str, amount: int) -> v1.Entitlement:
    """Return the entitlement, which is about one unit."""
    assert amount == 1
    [entitlement] = [each for each in client.list_entitlements(user_id) if each.feature_id == feature_id]
    return entitlement


ASKS: dict[str, Ask] = {
    "CanUse": Client.can_use,
    "explain": explained,
    "BatchCanUse": in_a_batch,
    "UseFeature": Client.use_feature,
    "UseFeatures": use_of_several,
    "Reserve": reserve_all,
}
every_way = pytest.mark.parametrize("ask", [*ASKS.values(), in_the_list], ids=[*ASKS, "ListEntitlements"])


def after(message: Message) -> timedelta | None:
    """Return `retry_after`, or None if it is absent."""
    return message.retry_after.ToTimedelta() if message.HasField("retry_after") else None  # type: ignore[attr-defined]


def is_yes(response: Any) -> bool:
    """Return whether a response is a yes."""
    return bool(response.granted if isinstance(response, v1.ReserveResponse) else response.access)


def exactly_after(client: Client, clock: Clock, ask: Ask, ids: Ids, expected: timedelta, amount: int = 1) -> None:
    """Check that a no says when it will be a yes, and that it is one then and not before."""
    now, response = clock.now(), ask(client, *ids, amount)
    assert (is_yes(response), after(response)) == (False, expected)
    clock.set(now + expected - MILLISECOND)
    almost = ask(client, *ids, amount)
    assert (is_yes(almost), after(almost)) == (False, MILLISECOND)
    clock.set(now + expected)
    assert is_yes(then := ask(client, *ids, amount))
    assert after(then) is None


def reset_of(client: Client, ids: Ids, clock: Clock) -> timedelta:
    """Return the time until the count of a feature resets."""
    return client.can_use(*ids).consumption.resets_at.ToDatetime(UTC) - clock.now()


@every_way
@pytest.mark.parametrize("period", [v1.RESET_PERIOD_HOUR, v1.RESET_PERIOD_MONTH], ids=v1.ResetPeriod.Name)
def test_a_used_up_budget_is_there_again_after_the_reset(
    clocked: Client, clock: Clock, ask: Ask, period: v1.ResetPeriod.ValueType
) -> None:
    ids = subscriber(clocked, 3, period)
    clocked.create_usage_event(*ids, 5)
    clock.advance(minutes=7, milliseconds=1)
    exactly_after(clocked, clock, ask, ids, reset_of(clocked, ids, clock))


def test_an_answer_that_is_asked_for_again_and_again_counts_down(clocked: Client, clock: Clock) -> None:
    ids = subscriber(clocked, 3, v1.RESET_PERIOD_DAY)
    clocked.create_usage_event(*ids, 3)
    seen = []
    for _ in range(4):
        seen.append(after(clocked.can_use(*ids)))
        clock.advance(hours=1)
    assert seen == [DAY - timedelta(hours=hours) for hours in range(4)]


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_nothing_is_said_where_time_changes_nothing(clocked: Client, clock: Clock, ask: Ask) -> None:
    daily, never = subscriber(clocked, 3, v1.RESET_PERIOD_DAY), subscriber(clocked, 3, v1.RESET_PERIOD_NEVER)
    clocked.create_usage_event(*never, 3)
    for ids, amount in ((daily, 4), (never, 1)):
        response = ask(clocked, *ids, amount)
        assert (is_yes(response), after(response)) == (False, None)


@pytest.mark.parametrize("period", [v1.RESET_PERIOD_HOUR, v1.RESET_PERIOD_MONTH], ids=v1.ResetPeriod.Name)
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_a_subscription_that_ends_with_the_period_gives_nothing_afterwards(
    clocked: Client, ask: Ask, period: v1.ResetPeriod.ValueType
) -> None:
    ids = subscriber(clocked, 3, period)
    clocked.create_usage_event(*ids, 3)
    [subscription] = clocked.list_subscriptions(ids[0])
    clocked.cancel_subscription(subscription.id, at_period_end=True)
    response = ask(clocked, *ids, 1)
    assert (response.reason, after(response)) == (v1.REASON_BUDGET_EXCEEDED, None)


@every_way
def test_a_grant_that_starts_later(clocked: Client, clock: Clock, ask: Ask) -> None:
    ids = subscriber(clocked, 3, v1.RESET_PERIOD_DAY)
    clocked.create_usage_event(*ids, 4)
    # Too little, too late, and enough: one is above the budget already.
    grant(clocked, *ids, 1, effective_at=clock.now() + timedelta(hours=1))
    grant(clocked, *ids, 9, effective_at=clock.now() + timedelta(hours=3))
    grant(clocked, *ids, 1, effective_at=clock.now() + timedelta(hours=2))
    exactly_after(clocked, clock, ask, ids, timedelta(hours=2))


@every_way
def test_a_grant_without_a_subscription(clocked: Client, clock: Clock, ask: Ask) -> None:
    ids = clocked.create_user(unique("user")).id, consumable(clocked)
    grant(clocked, *ids, 5, effective_at=clock.now() + DAY)
    assert clocked.can_use(*ids).reason == v1.REASON_SUBSCRIPTION_INACTIVE
    exactly_after(clocked, clock, ask, ids, DAY)


def test_a_grant_that_ends_before_the_reset_is_not_counted_on(clocked: Client, clock: Clock) -> None:
    ids = subscriber(clocked, 2, v1.RESET_PERIOD_DAY)
    grant(clocked, *ids, 3, expires_at=clock.now() + timedelta(hours=1))
    clocked.create_usage_event(*ids, 3)
    assert after(clocked.use_feature(*ids, 3)) is None
    grant(clocked, *ids, 1)
    clocked.create_usage_event(*ids)
    exactly_after(clocked, clock, Client.use_feature, ids, DAY, 3)


@every_way
def test_a_subscription_that_starts_later(clocked: Client, clock: Clock, ask: Ask) -> None:
    ids = subscriber(clocked, 3, started_at=clock.now() + DAY)
    exactly_after(clocked, clock, ask, ids, DAY)


def test_a_subscription_that_starts_later_with_a_binary_feature(clocked: Client, clock: Clock) -> None:
    feature_id, user_id = binary(clocked), clocked.create_user(unique("user")).id
    package_id = package(clocked, [v1.PackageFeature(feature_id=feature_id)])
    clocked.subscribe(user_id, [package_id], started_at=clock.now() + DAY)
    exactly_after(clocked, clock, Client.can_use, (user_id, feature_id), DAY)


def test_a_subscription_that_starts_without_access_or_with_another_budget_is_not_counted_on(
    clocked: Client, clock: Clock
) -> None:
    feature_id = consumable(clocked)
    small, large = (
        package(clocked, [v1.PackageFeature(feature_id=feature_id, limit=limit)], v1.PACKAGE_TYPE_ADD_ON)
        for limit in (3, 9)
    )
    unpaid, twice = (clocked.create_user(unique("user")).id for _ in range(2))
    clocked.subscribe(unpaid, [small], started_at=clock.now() + DAY, status=v1.SUBSCRIPTION_STATUS_UNPAID)
    clocked.subscribe(twice, [small], started_at=clock.now() + DAY)
    clocked.subscribe(twice, [large], started_at=clock.now() + 2 * DAY)
    for user_id in (unpaid, twice):
        response = clocked.can_use(user_id, feature_id, 5)
        assert (response.reason, after(response)) == (v1.REASON_SUBSCRIPTION_INACTIVE, None)


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_units_that_a_lease_may_release_are_not_waited_for(clocked: Client, clock: Clock, ask: Ask) -> None:
    ids = subscriber(clocked, 5, v1.RESET_PERIOD_DAY)
    clocked.reserve(*ids, 3)
    assert after(ask(clocked, *ids, 3)) is None
    # Only the reset helps, whatever becomes of the lease.
    clocked.create_usage_event(*ids, 4)
    exactly_after(clocked, clock, ask, ids, DAY, 2)


def test_of_several_features_the_last_one_counts(clocked: Client, clock: Clock) -> None:
    hourly, daily, user_id = consumable(clocked), consumable(clocked), clocked.create_user(unique("user")).id
    entries = [
        v1.PackageFeature(feature_id=feature_id, limit=1, reset_period=period)
        for feature_id, period in ((hourly, v1.RESET_PERIOD_HOUR), (daily, v1.RESET_PERIOD_DAY))
    ]
    clocked.subscribe(user_id, [package(clocked, entries)])
    charges = {hourly: 1, daily: 1}
    assert clocked.use_features(user_id, charges).access
    assert after(clocked.use_features(user_id, charges)) == DAY
    clock.advance(hours=1)
    response = clocked.use_features(user_id, charges)
    assert (response.blocking_feature_id, after(response)) == (daily, 23 * timedelta(hours=1))
    clocked.create_usage_event(user_id, hourly)
    response = clocked.use_features(user_id, charges)
    assert (response.blocking_feature_id, after(response)) == (hourly, 23 * timedelta(hours=1))
    assert after(clocked.use_features(user_id, {hourly: 1, consumable(clocked): 1})) is None


def test_a_reservation_waits_for_its_smallest_amount(clocked: Client, clock: Clock) -> None:
    ids = subscriber(clocked, 3, v1.RESET_PERIOD_DAY)
    clocked.create_usage_event(*ids, 2)
    response = clocked.reserve(*ids, 10, min_amount=2)
    assert (response.granted, after(response)) == (0, DAY)
    clock.advance(days=1)
    assert clocked.reserve(*ids, 10, min_amount=2).granted == 3


@pytest.mark.parametrize("method", ["use_feature", "reserve"])
def test_a_stored_answer_says_what_the_first_one_did(clocked: Client, clock: Clock, method: str) -> None:
    ids = subscriber(clocked, 3, v1.RESET_PERIOD_DAY)
    clocked.create_usage_event(*ids, 3)
    event_id = unique("event")
    first = getattr(clocked, method)(*ids, 1, event_id=event_id)
    clock.advance(hours=1)
    again = getattr(clocked, method)(*ids, 1, event_id=event_id)
    assert again.replayed
    assert after(again) == after(first) == DAY


def test_no_time_makes_a_disabled_user_or_an_archived_feature_a_yes(clocked: Client) -> None:
    disabled, archived = subscriber(clocked, 0, v1.RESET_PERIOD_DAY), subscriber(clocked, 0, v1.RESET_PERIOD_DAY)
    clocked.update_user(disabled[0], disabled=True)
    clocked.archive_feature(archived[1])
    for ids in (disabled, archived):
        for ask in ASKS.values():
            assert after(ask(clocked, *ids, 1)) is None
