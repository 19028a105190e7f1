"""ChangePackage: another base package in one step, now or at the end of the period."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, consumable, package, unique
from support.wire import Stubs, failure

NOW: Final = v1.CHANGE_TIMING_NOW
PERIOD_END: Final = v1.CHANGE_TIMING_PERIOD_END
ACTIVE, TRIALING = v1.SUBSCRIPTION_STATUS_ACTIVE, v1.SUBSCRIPTION_STATUS_TRIALING
CANCELLED, PAST_DUE = v1.SUBSCRIPTION_STATUS_CANCELLED, v1.SUBSCRIPTION_STATUS_PAST_DUE
MONTH: Final = timedelta(days=31)
"""January: the clock of the tests is set to its first day."""


@dataclass(frozen=True)
class Offer:
    """Three base packages with different amounts of a feature, and a user on the first."""

    feature_id: str
    small: str
    middle: str
    large: str
    user_id: str
    current: v1.Subscription


def entry(feature_id: str, limit: int, reset_period: v1.ResetPeriod.ValueType) -> v1.PackageFeature:
    return v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=reset_period)


def offer(client: Client) -> Offer:
    """Create packages with a feature by the month and one by the day, and subscribe a user to the first one."""
    feature_id, daily = consumable(client), consumable(client)
    small, middle, large = (
        package(client, [entry(feature_id, limit, v1.RESET_PERIOD_MONTH), entry(daily, limit, v1.RESET_PERIOD_DAY)])
        for limit in (5, 10, 20)
    )
    user_id = client.create_user(unique("user")).id
    [current] = client.subscribe(user_id, [small])
    return Offer(feature_id, small, middle, large, user_id, current)


@pytest.fixture
def here(client: Client) -> Offer:
    """On the server with the system clock."""
    return offer(client)


@pytest.fixture
def there(clocked: Client, clock: Clock) -> Offer:
    """On the server with the manual clock, at the start of a January."""
    clock.set(datetime(clock.now().year + 1, 1, 1, tzinfo=UTC))
    return offer(clocked)


def shown(client: Client, user_id: str) -> list[tuple[str, int]]:
    """Return the packages and the statuses of a user's subscriptions, oldest first."""
    return [(each.package_id, each.status) for each in client.list_subscriptions(user_id)]


def at(time: Timestamp) -> datetime:
    return time.ToDatetime(UTC)


def test_a_change_now_ends_the_old_subscription_and_starts_the_new_one_at_the_same_moment(
    client: Client, here: Offer
) -> None:
    client.use_feature(here.user_id, here.feature_id, 4)
    answer = client.change_package(here.user_id, here.middle)
    new, [old] = answer.subscription, answer.replaced
    assert (answer.changed, answer.replayed, answer.event_id) == (True, False, "")
    assert (new.package_id, new.status, new.HasField("trial_end"), new.HasField("cancel_at")) == (
        here.middle,
        ACTIVE,
        False,
        False,
    )
    assert (old.id, old.status, old.cancel_at) == (here.current.id, CANCELLED, new.started_at)
    assert list(client.list_subscriptions(here.user_id)) == [old, new]
    counts = client.can_use(here.user_id, here.feature_id).consumption
    assert (counts.used, counts.budget) == (4, 10)


def test_a_user_without_a_base_package_is_subscribed_now_with_either_timing(client: Client, here: Offer) -> None:
    for at_period_end in (False, True):
        user_id = client.create_user(unique("user")).id
        answer = client.change_package(user_id, here.middle, at_period_end=at_period_end)
        assert (answer.changed, list(answer.replaced)) == (True, [])
        assert client.can_use(user_id, here.feature_id).access
    client.cancel_subscription(here.current.id)
    assert list(client.change_package(here.user_id, here.middle).replaced) == []


def test_add_ons_and_grants_stay(client: Client, here: Offer) -> None:
    add_on = package(client, [entry(here.feature_id, 7, v1.RESET_PERIOD_MONTH)], v1.PACKAGE_TYPE_ADD_ON)
    [added] = client.subscribe(here.user_id, [add_on])
    client.create_grant(here.user_id, "g", here.feature_id, amount=3)
    client.change_package(here.user_id, here.large)
    assert client.get_subscription(added.id) == added
    assert client.can_use(here.user_id, here.feature_id).consumption.budget == 23


def test_the_same_package_again_changes_nothing_and_says_so(client: Client, here: Offer) -> None:
    first = client.change_package(here.user_id, here.middle)
    for at_period_end in (False, True):
        again = client.change_package(here.user_id, here.middle, at_period_end=at_period_end)
        assert (again.changed, again.subscription, list(again.replaced)) == (False, first.subscription, [])
    client.cancel_subscription(first.subscription.id, at_period_end=True)
    ending = client.get_subscription(first.subscription.id)
    # A cancellation stays: only a planned change is withdrawn.
    assert client.change_package(here.user_id, here.middle).subscription == ending
    # An older version is the same package: MigrateSubscriptions moves it.
    client.update_package(here.middle, name="new")
    client.publish_package(here.middle)
    assert not client.change_package(here.user_id, here.middle).changed


@pytest.mark.parametrize("timing", [NOW, PERIOD_END])
def test_a_package_that_nobody_can_subscribe_to_is_refused_and_the_old_one_stays(
    client: Client, stubs: Stubs, here: Offer, timing: v1.ChangeTiming.ValueType
) -> None:
    draft = client.create_package(unique("package"), []).id
    archived, add_on = package(client, []), package(client, [], v1.PACKAGE_TYPE_ADD_ON)
    client.archive_package(archived)
    for package_id, code, reason in (
        ("missing", grpc.StatusCode.NOT_FOUND, "PACKAGE_NOT_FOUND"),
        (draft, grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_NOT_PUBLISHED"),
        (archived, grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_NOT_PUBLISHED"),
        (add_on, grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_NOT_BASE"),
    ):
        request = v1.ChangePackageRequest(user_id=here.user_id, package_id=package_id, timing=timing)
        refused = failure(stubs.subscriptions.ChangePackage, request)
        assert (refused.code, refused.reason) == (code, reason)
        assert refused.metadata == {"package_id": package_id}
    assert list(client.list_subscriptions(here.user_id)) == [here.current]


def test_what_is_wrong_with_a_request_is_said_by_field(stubs: Stubs, here: Offer) -> None:
    for field, request in (
        ("user_id", v1.ChangePackageRequest(package_id=here.small)),
        ("package_id", v1.ChangePackageRequest(user_id=here.user_id)),
        ("event_id", v1.ChangePackageRequest(user_id=here.user_id, package_id=here.small, event_id="x" * 129)),
        ("timing", v1.ChangePackageRequest(user_id=here.user_id, package_id=here.small, timing=3)),  # type: ignore[arg-type]
    ):
        assert failure(stubs.subscriptions.ChangePackage, request).fields == [field]
    unknown = v1.ChangePackageRequest(user_id="missing", package_id=here.small)
    assert failure(stubs.subscriptions.ChangePackage, unknown).reason == "USER_NOT_FOUND"


def test_a_trial_goes_on_and_a_late_payment_stays_late(client: Client, here: Offer) -> None:
    """A change of the package pays nothing: by changing twice, a user could have got rid of the end of a trial."""
    trial_end = datetime.now(UTC) + timedelta(days=7)
    client.update_subscription(here.current.id, status=TRIALING, trial_end=trial_end)
    trial = client.change_package(here.user_id, here.middle).subscription
    assert (trial.status, trial.trial_end) == (TRIALING, client.get_subscription(here.current.id).trial_end)
    client.update_subscription(trial.id, status=PAST_DUE)
    late = client.change_package(here.user_id, here.large).subscription
    assert (late.status, late.HasField("trial_end")) == (PAST_DUE, False)
    assert client.can_use(here.user_id, here.feature_id).reason == v1.REASON_SUBSCRIPTION_INACTIVE


def test_a_change_at_the_period_s_end_takes_effect_at_the_end_of_the_longest_period(
    clocked: Client, clock: Clock, there: Offer
) -> None:
    start = at(there.current.started_at)
    clock.set(start + timedelta(days=10))
    clocked.use_feature(there.user_id, there.feature_id, 4)
    answer = clocked.change_package(there.user_id, there.middle, at_period_end=True)
    new, [old] = answer.subscription, answer.replaced
    assert at(new.started_at) == at(old.cancel_at) == start + MONTH
    assert (new.status, old.status) == (ACTIVE, ACTIVE)
    clock.set(start + MONTH - timedelta(milliseconds=1))
    counts = clocked.can_use(there.user_id, there.feature_id).consumption
    assert (counts.used, counts.budget) == (4, 5)
    clock.set(start + MONTH)
    counts = clocked.can_use(there.user_id, there.feature_id).consumption
    assert (counts.used, counts.budget) == (0, 10)
    assert shown(clocked, there.user_id) == [(there.small, CANCELLED), (there.middle, ACTIVE)]


def test_a_second_change_at_the_period_s_end_replaces_the_first_one(
    clocked: Client, clock: Clock, there: Offer
) -> None:
    first = clocked.change_package(there.user_id, there.middle, at_period_end=True).subscription
    clock.advance(days=3)
    second = clocked.change_package(there.user_id, there.large, at_period_end=True)
    assert [each.id for each in second.replaced] == [there.current.id, first.id]
    assert [each.status for each in second.replaced] == [ACTIVE, CANCELLED]
    assert second.subscription.started_at == first.started_at
    repeated = clocked.change_package(there.user_id, there.large, at_period_end=True)
    assert (repeated.changed, repeated.subscription) == (False, second.subscription)
    clock.set(at(first.started_at))
    assert clocked.can_use(there.user_id, there.feature_id).consumption.budget == 20


def test_a_planned_change_is_withdrawn_with_a_change_to_the_current_package(
    clocked: Client, clock: Clock, there: Offer
) -> None:
    clocked.change_package(there.user_id, there.middle, at_period_end=True)
    # Nobody new can get it, but who has it keeps it.
    clocked.archive_package(there.small)
    withdrawn = clocked.change_package(there.user_id, there.small)
    assert (withdrawn.changed, withdrawn.subscription) == (True, there.current)
    assert [(each.package_id, each.status) for each in withdrawn.replaced] == [(there.middle, CANCELLED)]
    clock.advance(days=40)
    assert clocked.can_use(there.user_id, there.feature_id).consumption.budget == 5


def test_a_change_now_replaces_a_planned_one(clocked: Client, clock: Clock, there: Offer) -> None:
    for package_id in (there.middle, there.large):
        planned = clocked.change_package(there.user_id, there.middle, at_period_end=True).subscription
        answer = clocked.change_package(there.user_id, package_id)
        assert planned.id in {each.id for each in answer.replaced}
        assert answer.subscription.started_at != planned.started_at
        clocked.change_package(there.user_id, there.small)
    clock.advance(days=400)
    assert clocked.can_use(there.user_id, there.feature_id).consumption.budget == 5


def test_an_end_before_the_period_s_end_is_when_the_new_one_starts(clocked: Client, clock: Clock, there: Offer) -> None:
    soon, later = clock.now() + timedelta(days=5), clock.now() + timedelta(days=500)
    for end, start in ((later, at(there.current.started_at) + MONTH), (soon, soon)):
        clocked.update_subscription(there.current.id, cancel_at=end)
        answer = clocked.change_package(there.user_id, there.middle, at_period_end=True)
        assert at(answer.subscription.started_at) == at(answer.replaced[0].cancel_at) == start
        clocked.change_package(there.user_id, there.small)


def test_a_trial_changes_at_its_end_and_an_early_payment_makes_no_second_package(
    clocked: Client, clock: Clock, there: Offer
) -> None:
    trial_end = clock.now() + timedelta(days=3)
    clocked.update_subscription(there.current.id, status=TRIALING, trial_end=trial_end)
    answer = clocked.change_package(there.user_id, there.middle, at_period_end=True)
    assert (at(answer.subscription.started_at), answer.subscription.status) == (trial_end, ACTIVE)
    clocked.update_subscription(there.current.id, status=ACTIVE)
    clock.set(trial_end)
    assert shown(clocked, there.user_id) == [(there.small, CANCELLED), (there.middle, ACTIVE)]


def test_a_package_without_periods_has_no_period_s_end(client: Client, stubs: Stubs, here: Offer) -> None:
    forever = package(client, [entry(here.feature_id, 1, v1.RESET_PERIOD_NEVER)])
    current = client.change_package(here.user_id, forever).subscription
    request = v1.ChangePackageRequest(user_id=here.user_id, package_id=here.middle, timing=PERIOD_END)
    refused = failure(stubs.subscriptions.ChangePackage, request)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_PERIOD_END")
    assert refused.metadata == {"subscription_id": current.id}
    assert client.get_subscription(current.id) == current


def test_what_is_planned_by_hand_is_replaced_too(clocked: Client, clock: Clock) -> None:
    one, two, three = (package(clocked, []) for _ in range(3))
    user_id, start = clocked.create_user(unique("user")).id, clock.now()
    dates = [start + timedelta(days=days) for days in (1, 50, 90)]
    [first] = clocked.subscribe(user_id, [one], started_at=dates[0])
    clocked.update_subscription(first.id, cancel_at=dates[1])
    [second] = clocked.subscribe(user_id, [two], started_at=dates[1])
    at_start = clocked.change_package(user_id, three, at_period_end=True)
    # Nothing has begun yet, so that the new one takes the place of the first.
    assert at(at_start.subscription.started_at) == dates[0]
    assert [each.id for each in at_start.replaced] == [first.id, second.id]
    assert [each.status for each in at_start.replaced] == [CANCELLED, CANCELLED]
    now = clocked.change_package(user_id, two)
    assert [each.id for each in now.replaced] == [at_start.subscription.id]
    clock.set(dates[2])
    assert [(each.package_id) for each in clocked.list_subscriptions(user_id) if each.status == ACTIVE] == [two]


def test_a_repeat_with_an_event_id_gets_the_first_answer_whatever_has_changed_since(
    client: Client, stubs: Stubs, here: Offer
) -> None:
    request = v1.ChangePackageRequest(user_id=here.user_id, package_id=here.middle, event_id="change-1")
    first = stubs.subscriptions.ChangePackage(request)
    assert (first.changed, first.replayed, first.event_id) == (True, False, "change-1")
    client.change_package(here.user_id, here.large)
    request.timing = NOW
    again = stubs.subscriptions.ChangePackage(request)
    assert (again.replayed, again.changed) == (True, True)
    assert (again.subscription, again.replaced) == (first.subscription, first.replaced)
    assert client.can_use(here.user_id, here.feature_id).consumption.budget == 20


def test_also_the_answer_that_nothing_changes_is_kept(client: Client, stubs: Stubs, here: Offer) -> None:
    request = v1.ChangePackageRequest(user_id=here.user_id, package_id=here.small, event_id="change-1")
    first = stubs.subscriptions.ChangePackage(request)
    assert (first.changed, first.subscription) == (False, here.current)
    client.change_package(here.user_id, here.large)
    again = stubs.subscriptions.ChangePackage(request)
    assert (again.changed, again.replayed, again.subscription) == (False, True, here.current)
    assert client.can_use(here.user_id, here.feature_id).consumption.budget == 20


def test_other_content_under_the_same_event_id_is_refused(client: Client, stubs: Stubs, here: Offer) -> None:
    client.change_package(here.user_id, here.middle, event_id="e")
    client.create_usage_event(here.user_id, here.feature_id, event_id="use")
    for package_id, timing, event_id in (
        (here.large, NOW, "e"),
        (here.middle, PERIOD_END, "e"),
        (here.middle, NOW, "use"),
    ):
        request = v1.ChangePackageRequest(user_id=here.user_id, package_id=package_id, timing=timing, event_id=event_id)
        refused = failure(stubs.subscriptions.ChangePackage, request)
        assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "EVENT_ID_REUSED")
        assert refused.metadata == {"user_id": here.user_id, "event_id": event_id}


def test_what_is_refused_uses_up_no_event_id(client: Client, stubs: Stubs, here: Offer) -> None:
    draft = client.create_package(unique("package"), []).id
    request = v1.ChangePackageRequest(user_id=here.user_id, package_id=draft, event_id="e")
    assert failure(stubs.subscriptions.ChangePackage, request).reason == "PACKAGE_NOT_PUBLISHED"
    client.publish_package(draft)
    assert not stubs.subscriptions.ChangePackage(request).replayed


def test_of_many_changes_at_once_each_finds_one_package_and_leaves_one(
    client: Client, stubs: Stubs, here: Offer
) -> None:
    requests = [
        v1.ChangePackageRequest(user_id=here.user_id, package_id=package_id)
        for package_id in (here.small, here.middle, here.large) * 10
    ]
    answers = [call.result() for call in [stubs.subscriptions.ChangePackage.future(each) for each in requests]]
    assert all(len(answer.replaced) == answer.changed for answer in answers)
    subscriptions = list(client.list_subscriptions(here.user_id))
    assert len(subscriptions) == 1 + sum(answer.changed for answer in answers)
    assert [each.status for each in subscriptions].count(ACTIVE) == 1


def test_of_many_repeats_at_once_one_changes(client: Client, stubs: Stubs, here: Offer) -> None:
    request = v1.ChangePackageRequest(user_id=here.user_id, package_id=here.middle, event_id="e")
    answers = [call.result() for call in [stubs.subscriptions.ChangePackage.future(request) for _ in range(20)]]
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 19
    assert {answer.subscription.id for answer in answers} == {answers[0].subscription.id}
    assert len(list(client.list_subscriptions(here.user_id))) == 2


def test_a_planned_change_counts_as_one_more_subscription(client: Client, stubs: Stubs, here: Offer) -> None:
    add_on = package(client, [], v1.PACKAGE_TYPE_ADD_ON)
    for _ in range(99):
        client.subscribe(here.user_id, [add_on])
    request = v1.ChangePackageRequest(user_id=here.user_id, package_id=here.middle, timing=PERIOD_END)
    assert failure(stubs.subscriptions.ChangePackage, request).reason == "TOO_MANY_SUBSCRIPTIONS"
    assert client.get_subscription(here.current.id) == here.current
    assert client.change_package(here.user_id, here.middle).changed
