"""Ended subscriptions keep their state, cost nothing, and only a status reactivates one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, consumable, package, subscriber, unique
from support.store_inspection import StoreInspector
from support.wire import Stubs, failure, moment

ACTIVE, TRIALING = v1.SUBSCRIPTION_STATUS_ACTIVE, v1.SUBSCRIPTION_STATUS_TRIALING
CANCELLED, PAST_DUE = v1.SUBSCRIPTION_STATUS_CANCELLED, v1.SUBSCRIPTION_STATUS_PAST_DUE
EXPIRED, UNPAID = v1.SUBSCRIPTION_STATUS_INCOMPLETE_EXPIRED, v1.SUBSCRIPTION_STATUS_UNPAID
ADD_ON, MONTH, WEEK = v1.PACKAGE_TYPE_ADD_ON, v1.RESET_PERIOD_MONTH, v1.RESET_PERIOD_WEEK
MAX_SUBSCRIPTIONS = 100
LATER = datetime(2125, 1, 1, tzinfo=UTC)


def add_on(client: Client, *feature_ids: str, limit: int | None = 5) -> str:
    """Publish an add-on with monthly features and return its id."""
    entries = [v1.PackageFeature(feature_id=each, limit=limit, reset_period=MONTH) for each in feature_ids]
    return package(client, entries, ADD_ON)


def dated(subscription_id: str, **dates: datetime | None) -> v1.UpdateSubscriptionRequest:
    """Return an update of dates only; None removes one."""
    held = v1.Subscription(id=subscription_id)
    for name, date in dates.items():
        if date is not None:
            getattr(held, name).CopyFrom(moment(date))
    return v1.UpdateSubscriptionRequest(subscription=held, update_mask=FieldMask(paths=list(dates)))


ENDINGS: dict[str, Callable[[Client, Clock, str, str], str]] = {}
"""Ways in which a subscription comes to its end; each returns its id."""


def ending(end: Callable[[Client, Clock, str, str], str]) -> Callable[[Client, Clock, str, str], str]:
    ENDINGS[end.__name__] = end
    return end


@ending
def cancelled(client: Client, _: Clock, user_id: str, package_id: str) -> str:
    return client.cancel_subscription(client.subscribe(user_id, [package_id])[0].id).id


@ending
def cancelled_by_status(client: Client, _: Clock, user_id: str, package_id: str) -> str:
    [held] = client.subscribe(user_id, [package_id])
    return client.update_subscription(held.id, status=CANCELLED).id


@ending
def expired_by_status(client: Client, _: Clock, user_id: str, package_id: str) -> str:
    return client.subscribe(user_id, [package_id], status=EXPIRED)[0].id


@ending
def ended_at_its_date(client: Client, clock: Clock, user_id: str, package_id: str) -> str:
    [held] = client.subscribe(user_id, [package_id])
    client.update_subscription(held.id, cancel_at=clock.now() + timedelta(hours=1))
    clock.advance(hours=1)
    return held.id


@ending
def trial_ran_out(client: Client, clock: Clock, user_id: str, package_id: str) -> str:
    [held] = client.subscribe(user_id, [package_id], trial_end=clock.now() + timedelta(hours=1))
    clock.advance(hours=1)
    return held.id


@ending
def ended_while_past_due(client: Client, clock: Clock, user_id: str, package_id: str) -> str:
    [held] = client.subscribe(user_id, [package_id], status=PAST_DUE)
    client.update_subscription(held.id, cancel_at=clock.now() + timedelta(hours=1))
    clock.advance(hours=1)
    return held.id


@pytest.fixture(params=ENDINGS)
def ended(request: pytest.FixtureRequest, clocked: Client, clock: Clock) -> v1.Subscription:
    """A subscription that has ended, of a user with other ended ones."""
    user_id, package_id = clocked.create_user(unique("user")).id, add_on(clocked, consumable(clocked))
    for _ in range(2):
        clocked.cancel_subscription(clocked.subscribe(user_id, [package_id])[0].id)
    held = clocked.get_subscription(ENDINGS[request.param](clocked, clock, user_id, package_id))
    clock.advance(hours=1)
    return held


def gives_access(client: Client, held: v1.Subscription) -> bool:
    [feature_id] = [each.feature_id for each in client.list_entitlements(held.user_id)]
    return client.can_use(held.user_id, feature_id).access


@pytest.mark.parametrize(
    "dates",
    [
        {"cancel_at": LATER},
        {"cancel_at": None},
        {"trial_end": LATER},
        {"trial_end": LATER, "cancel_at": LATER},
        {"trial_end": LATER, "cancel_at": None},
        {"cancel_at": datetime(2001, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_date_alone_brings_no_access_back(
    clocked: Client, clocked_stubs: Stubs, ended: v1.Subscription, dates: dict[str, datetime | None]
) -> None:
    """A late webhook with `cancel_at` alone reactivated a cancelled subscription."""
    assert ended.status in (CANCELLED, EXPIRED)
    assert clocked_stubs.subscriptions.UpdateSubscription(dated(ended.id, **dates)).subscription == ended
    assert clocked.get_subscription(ended.id) == ended
    assert not gives_access(clocked, ended)


def test_without_a_mask_dates_alone_bring_no_access_back(
    clocked: Client, clocked_stubs: Stubs, ended: v1.Subscription
) -> None:
    held = v1.Subscription(id=ended.id, cancel_at=moment(LATER), trial_end=moment(LATER))
    assert clocked_stubs.subscriptions.UpdateSubscription(v1.UpdateSubscriptionRequest(subscription=held)) == (
        v1.UpdateSubscriptionResponse(subscription=ended)
    )
    everything = v1.UpdateSubscriptionRequest(subscription=held, update_mask=FieldMask(paths=["*"]))
    assert failure(clocked_stubs.subscriptions.UpdateSubscription, everything).fields == ["subscription.status"]
    assert not gives_access(clocked, ended)


@pytest.mark.parametrize("status", [ACTIVE, TRIALING, PAST_DUE, UNPAID])
def test_a_status_brings_back_what_has_ended(
    clocked: Client, ended: v1.Subscription, status: v1.SubscriptionStatus.ValueType
) -> None:
    if status == TRIALING:
        back = clocked.update_subscription(ended.id, status=status, trial_end=LATER)
    else:
        back = clocked.update_subscription(ended.id, status=status)
    assert back.status == status == clocked.get_subscription(ended.id).status
    assert gives_access(clocked, ended) == (status in (ACTIVE, TRIALING))
    assert [each.id for each in clocked.list_subscriptions(ended.user_id)].count(ended.id) == 1
    assert clocked.cancel_subscription(ended.id).status == CANCELLED == clocked.get_subscription(ended.id).status
    assert not gives_access(clocked, ended)


@pytest.mark.parametrize("status", [ACTIVE, TRIALING, PAST_DUE])
def test_a_status_with_an_end_that_has_passed_brings_back_nothing_and_ends_what_goes_on(
    clocked: Client, clock: Clock, ended: v1.Subscription, status: v1.SubscriptionStatus.ValueType
) -> None:
    """A late message `ACTIVE until yesterday` removed the end, so that access was granted for ever."""
    yesterday = clock.now() - timedelta(days=1)
    [held] = clocked.subscribe(ended.user_id, [ended.package_id])
    over = clocked.update_subscription(held.id, status=status, trial_end=LATER, cancel_at=yesterday)
    assert (over.status, over.cancel_at.ToDatetime(UTC)) == (CANCELLED, clock.now())
    late = clocked.update_subscription(ended.id, status=status, trial_end=LATER, cancel_at=yesterday)
    assert late == ended == clocked.get_subscription(ended.id)
    assert not gives_access(clocked, ended)


@pytest.mark.parametrize("status", [CANCELLED, EXPIRED])
def test_another_word_for_ended_leaves_the_dates(
    clocked: Client, ended: v1.Subscription, status: v1.SubscriptionStatus.ValueType
) -> None:
    changed = clocked.update_subscription(ended.id, status=status, cancel_at=LATER)
    ended.status = status
    assert changed == ended == clocked.get_subscription(ended.id)


def test_an_earlier_end_holds_whatever_the_period_says(clocked: Client, clock: Clock) -> None:
    """`at_period_end` extended a subscription that was to end earlier."""
    package_id, user_id = add_on(clocked, consumable(clocked)), clocked.create_user(unique("user")).id
    early = clock.now() + timedelta(days=2)
    [held] = clocked.subscribe(user_id, [package_id])
    clocked.update_subscription(held.id, cancel_at=early)
    [trial] = clocked.subscribe(user_id, [package_id], trial_end=clock.now() + timedelta(days=9))
    clocked.update_subscription(trial.id, cancel_at=early)
    [late] = clocked.subscribe(user_id, [package_id], status=PAST_DUE)
    clocked.update_subscription(late.id, cancel_at=early)
    for each in (held, trial, late):
        assert clocked.cancel_subscription(each.id, at_period_end=True).cancel_at.ToDatetime(UTC) == early
    # A cancellation at once is earlier still.
    assert clocked.cancel_subscription(held.id).cancel_at.ToDatetime(UTC) == clock.now()


def test_a_later_end_and_none_become_the_end_of_the_period(clocked: Client, clock: Clock) -> None:
    package_id, user_id = add_on(clocked, consumable(clocked)), clocked.create_user(unique("user")).id
    trial_end = clock.now() + timedelta(days=9)
    for cancel_at in (None, LATER):
        [held] = clocked.subscribe(user_id, [package_id], trial_end=trial_end)
        clocked.update_subscription(held.id, cancel_at=cancel_at)
        assert clocked.cancel_subscription(held.id, at_period_end=True).cancel_at.ToDatetime(UTC) == trial_end


def test_a_user_has_100_subscriptions_that_have_not_ended_and_no_more(client: Client, stubs: Stubs) -> None:
    """There was no bound, and each change recomputed all of them: 473 blocked everybody for 156 ms."""
    packages, user_id = [add_on(client) for _ in range(10)], client.create_user(unique("user")).id
    held = [each for _ in range(MAX_SUBSCRIPTIONS // 10) for each in client.subscribe(user_id, packages)]
    one_more = v1.SubscribeRequest(user_id=user_id, package_ids=packages[:1])
    refused = failure(stubs.subscriptions.Subscribe, one_more)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_SUBSCRIPTIONS")
    assert refused.metadata == {"user_id": user_id}
    assert str(MAX_SUBSCRIPTIONS) in refused.message
    # Subscriptions that give no access for other reasons, or are still to start or to end, have not ended.
    client.update_subscription(held[0].id, status=PAST_DUE)
    client.update_subscription(held[1].id, cancel_at=LATER)
    assert failure(stubs.subscriptions.Subscribe, one_more).reason == "TOO_MANY_SUBSCRIPTIONS"
    client.cancel_subscription(held[2].id)
    several = v1.SubscribeRequest(user_id=user_id, package_ids=packages[:2])
    assert failure(stubs.subscriptions.Subscribe, several).reason == "TOO_MANY_SUBSCRIPTIONS"
    future = v1.SubscribeRequest(user_id=user_id, package_ids=packages[:1], started_at=moment(LATER))
    assert len(stubs.subscriptions.Subscribe(future).subscriptions) == 1
    back = v1.UpdateSubscriptionRequest(subscription=v1.Subscription(id=held[2].id, status=ACTIVE))
    assert failure(stubs.subscriptions.UpdateSubscription, back).reason == "TOO_MANY_SUBSCRIPTIONS"
    assert client.get_subscription(held[2].id).status == CANCELLED
    assert len(list(client.list_subscriptions(user_id))) == MAX_SUBSCRIPTIONS + 1


def test_those_that_have_ended_are_not_in_the_hash_that_changes_read(
    clocked: Client, clock: Clock, clocked_store: StoreInspector
) -> None:
    """A change of a user read and recomputed all subscriptions there had ever been."""
    feature_id, user_id = consumable(clocked), clocked.create_user(unique("user")).id
    packages = [add_on(clocked, feature_id) for _ in range(20)]
    for number in range(6):
        trial_end = clock.now() + timedelta(hours=1) if number % 2 else None
        for held in clocked.subscribe(user_id, packages, trial_end=trial_end):
            if trial_end is None:
                clocked.cancel_subscription(held.id)
        clock.advance(hours=2)
    [going_on] = clocked.subscribe(user_id, packages[:1])
    kept = [name for name in clocked_store.user(user_id) if name.startswith(b"s:")]
    assert len(kept) == 2  # The one, and that by whose periods uses are counted when it has ended.
    listed = list(clocked.list_subscriptions(user_id, page_size=7))
    assert len(listed) == len({each.id for each in listed}) == 121
    assert [each.status for each in listed] == [CANCELLED] * 120 + [ACTIVE]
    assert all(clocked.get_subscription(each.id) == each for each in listed[::10])
    [entitlement] = clocked.list_entitlements(user_id)
    assert entitlement.subscription_ids == [going_on.id]


def test_what_a_count_is_counted_in_outlives_all_that_gave_the_feature(clocked: Client, clock: Clock) -> None:
    """Of several ended subscriptions the one that gave most determines the periods."""
    feature_id, user_id = consumable(clocked), clocked.create_user(unique("user")).id
    packages = {limit: add_on(clocked, feature_id, limit=limit) for limit in (3, 9, 5)}
    starts = {}
    for limit, package_id in packages.items():
        starts[limit] = clock.now()
        [held] = clocked.subscribe(user_id, [package_id])
        clocked.use_feature(user_id, feature_id)
        clocked.cancel_subscription(held.id)
        clock.advance(days=1)
    counts = clocked.can_use(user_id, feature_id).consumption
    assert (counts.used, counts.budget) == (3, 9)
    assert counts.period_start.ToDatetime(UTC) == starts[9]
    clock.advance(days=40)
    later = clocked.create_usage_event(user_id, feature_id, 2)
    assert (later.reason, later.consumption.used, later.consumption.budget) == (v1.REASON_SUBSCRIPTION_INACTIVE, 2, 9)


def test_an_explanation_names_what_goes_on_and_the_ended_one_by_which_uses_are_counted(clocked: Client) -> None:
    feature_id, user_id = consumable(clocked), clocked.create_user(unique("user")).id
    package_id, other = add_on(clocked, feature_id), add_on(clocked)
    ended = [clocked.cancel_subscription(clocked.subscribe(user_id, [package_id])[0].id) for _ in range(5)]
    [going_on] = clocked.subscribe(user_id, [other])

    def named() -> set[str]:
        steps = clocked.can_use(user_id, feature_id, explain=True).explanation.steps
        return {step.subscription.subscription_id for step in steps if step.HasField("subscription")}

    assert going_on.id in named()
    assert len(named()) == 2
    assert len(named() & {each.id for each in ended}) == 1
    [counting] = clocked.subscribe(user_id, [package_id])
    assert named() == {going_on.id, counting.id}


def test_deletion_leaves_nothing_of_those_that_have_ended(client: Client, store: StoreInspector) -> None:
    user_id, _ = subscriber(client, 5)
    package_id = add_on(client, consumable(client))
    for _ in range(3):
        client.cancel_subscription(client.subscribe(user_id, [package_id])[0].id)
    assert "e" in store.kinds_of_keys(user_id)
    client.delete_user(user_id)
    assert store.kinds_of_keys(user_id) == set()
    client.create_user(user_id)
    assert list(client.list_subscriptions(user_id)) == []
