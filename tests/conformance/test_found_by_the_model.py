"""Defects that the state machine of tests/model has found, each as a test."""

from datetime import datetime, timedelta

from canuse import v1
from support.message_clients import Client
from support.migrations import migrate, of, publish
from support.resources import Clock, consumable, grant, package, subscriber, unique
from support.wire import Stubs, moment


def test_use_features_of_one_feature_says_no(client: Client, stubs: Stubs) -> None:
    """It once granted access, with reason BUDGET_EXCEEDED, and counted nothing."""
    user_id, feature_id = subscriber(client, 1)
    request = v1.UseFeaturesRequest(user_id=user_id, charges=[v1.Charge(feature_id=feature_id, delta=2)])
    answer = stubs.entitlements.UseFeatures(request)
    assert (answer.access, answer.reason) == (False, v1.REASON_BUDGET_EXCEEDED)
    assert answer.blocking_feature_id == feature_id
    assert not answer.event_id


def test_a_count_that_only_a_grant_gave_is_over_when_the_grant_ends(
    clocked: Client, clocked_stubs: Stubs, clock: Clock
) -> None:
    """The past period once ended at its own start."""
    user_id, feature_id, start = unique("user"), consumable(clocked), clock.now()
    clocked.create_user(user_id)
    grant = v1.Grant(
        id="g", user_id=user_id, feature_id=feature_id, amount=5, expires_at=moment(start + timedelta(hours=1))
    )
    clocked_stubs.subscriptions.CreateGrant(v1.CreateGrantRequest(grant=grant))
    assert clocked.use_feature(user_id, feature_id, 2).access
    clock.advance(hours=2)
    usage = clocked.show_usage(user_id, feature_id)
    assert not usage.HasField("current")
    (past,) = usage.past
    assert (past.period_start, past.period_end) == (moment(start), moment(start + timedelta(hours=1)))
    assert (past.used, past.drawn_from_grants) == (2, 2)


def test_a_grant_revoked_before_it_opened_does_not_hide_the_next(
    clocked: Client, clocked_stubs: Stubs, clock: Clock
) -> None:
    """The period of uses before the next grant once ended when the revoked one would have opened."""
    user_id, feature_id, now = unique("user"), consumable(clocked), clock.now()
    clocked.create_user(user_id)
    opens = {"revoked": now + timedelta(hours=1), "next": now + timedelta(hours=2)}
    for grant_id, effective_at in opens.items():
        grant = v1.Grant(id=grant_id, user_id=user_id, feature_id=feature_id, effective_at=moment(effective_at))
        clocked_stubs.subscriptions.CreateGrant(v1.CreateGrantRequest(grant=grant))
    clocked_stubs.subscriptions.RevokeGrant(v1.RevokeGrantRequest(user_id=user_id, grant_id="revoked"))
    recorded = clocked.create_usage_event(user_id, feature_id)
    assert (recorded.reason, recorded.consumption.used) == (v1.REASON_SUBSCRIPTION_INACTIVE, 1)
    assert recorded.consumption.resets_at == moment(opens["next"])


def test_a_base_package_that_ends_before_it_starts_is_no_second_one(clocked: Client, clock: Clock) -> None:
    """It once was: a plan that was cancelled in advance could not be followed by another."""
    user_id, now = unique("user"), clock.now()
    clocked.create_user(user_id)
    plans = [package(clocked, [v1.PackageFeature(feature_id=consumable(clocked))]) for _ in range(2)]
    (later,) = clocked.subscribe(user_id, plans[:1], started_at=now + timedelta(days=10))
    clocked.update_subscription(later.id, cancel_at=now + timedelta(days=5))
    clocked.subscribe(user_id, plans[1:])
    assert {held.package_id for held in clocked.list_subscriptions(user_id)} == set(plans)


def test_the_ledger_has_no_budget_past_the_largest_amount(clocked: Client, clock: Clock) -> None:
    """The budget of a past period once was 2^53 or more: the package's and what grants had given on top."""
    largest_limit = 2**53 - 1
    user_id, feature_id = subscriber(clocked, 1, v1.RESET_PERIOD_DAY)
    grant(clocked, user_id, feature_id, 2)
    assert clocked.use_feature(user_id, feature_id, 3).consumption.budget == 3
    largest = v1.PackageFeature(feature_id=feature_id, limit=largest_limit, reset_period=v1.RESET_PERIOD_DAY)
    clocked.subscribe(user_id, [package(clocked, [largest], v1.PACKAGE_TYPE_ADD_ON)])
    lease = clocked.reserve(user_id, feature_id, 1, ttl=timedelta(days=2))
    assert lease.consumption.budget == largest_limit
    clock.advance(days=1)
    assert clocked.settle(lease.lease_id, 1).recorded
    (past,) = clocked.show_usage(user_id, feature_id).past
    assert (past.used, past.budget, past.drawn_from_grants) == (4, largest_limit, 2)
    event = next(iter(clocked.list_usage_events(user_id)))
    assert (event.used, event.budget, event.remaining) == (4, largest_limit, largest_limit - 4)


def test_an_hour_without_use_and_leases_adds_no_budget_to_the_sum_of_its_day(clocked: Client, clock: Clock) -> None:
    """It did if subscriptions changed in it, as if a lease had been taken, and there was less overage to bill."""
    start = _next_midnight(clock)
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_HOUR, overage_enabled=True)
    clock.set(start + timedelta(minutes=59))
    first, late = (clocked.reserve(user_id, feature_id, 1, ttl=timedelta(days=7)) for _ in range(2))
    clock.set(start + timedelta(hours=1))
    assert clocked.settle(first.lease_id, 8).recorded
    clocked.subscribe(user_id, [package(clocked, [], v1.PACKAGE_TYPE_ADD_ON)])
    clock.set(start + timedelta(hours=2))
    clocked.use_feature(user_id, feature_id, 6)
    clock.set(start + timedelta(days=7, hours=3))
    assert clocked.settle(late.lease_id, 4).recorded
    (past,) = clocked.show_usage(user_id, feature_id).past
    assert (past.used, past.budget, past.overage, past.summed) == (18, 10, 8, True)
    (total,) = clocked.list_usage_totals(feature_id=feature_id)
    assert (total.used, total.budget, total.overage) == (18, 10, 8)


def test_a_feature_given_again_within_an_hour_begins_without_the_leases_of_before(
    clocked: Client, clock: Clock
) -> None:
    """What was left of the hour once counted as one with leases, and its limit to the sum of the day."""
    start = _next_midnight(clock)
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_HOUR)
    (subscription,) = clocked.list_subscriptions(user_id)
    lease = clocked.reserve(user_id, feature_id, 1)
    for entries in ((), (of(feature_id, 5, v1.RESET_PERIOD_HOUR),)):
        clock.advance(minutes=5)
        publish(clocked, subscription.package_id, *entries)
        migrate(clocked, subscription.package_id)
    assert clocked.settle(lease.lease_id, 2).recorded
    for delta in (1, -1):
        clocked.create_usage_event(user_id, feature_id, delta)
    clock.set(start + timedelta(hours=2))
    clocked.use_feature(user_id, feature_id, 3)
    clock.set(start + timedelta(days=8))
    (past,) = clocked.show_usage(user_id, feature_id).past
    assert (past.used, past.budget, past.summed) == (5, 10, True)


def _next_midnight(clock: Clock) -> datetime:
    """Move the clock to the start of the next day (UTC); return the time."""
    clock.set(clock.now().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1))
    return clock.now()
