"""Grants: drawn from after the package, in their order, each within its time, and never twice."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, binary, consumable, grant, left, package, subscriber, unique
from support.wire import Stubs, failure

LARGEST = 2**53 - 1
FAR_OFF = datetime(2125, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
Ids = tuple[str, str]


def fresh(client: Client) -> Ids:
    """Create a user without subscriptions, and a feature; return the ids of both."""
    return client.create_user(unique("user")).id, consumable(client)


def counts(client: Client, ids: Ids) -> tuple[int, int | None, int | None]:
    """Return used, budget and remaining, which three methods must agree on."""
    user_id, feature_id = ids
    found = client.show_usage(user_id, feature_id).current
    assert client.can_use(user_id, feature_id).consumption == found
    [listed] = [each for each in client.list_entitlements(user_id) if each.feature_id == feature_id]
    assert listed.consumption == found
    return (
        found.used,
        found.budget if found.HasField("budget") else None,
        found.remaining if found.HasField("remaining") else None,
    )


def balances(client: Client, ids: Ids) -> list[int | None]:
    """Return what the grants have left, in drawing order."""
    sources = client.show_usage(*ids).sources
    return [source.left if source.HasField("left") else None for source in sources if source.grant_id]


def summary(response: v1.UseFeatureResponse) -> tuple[bool, str]:
    """Return access and reason."""
    return response.access, v1.Reason.Name(response.reason).removeprefix("REASON_")


def test_the_package_is_used_first_and_then_the_grant(client: Client) -> None:
    ids = subscriber(client, 3)
    [subscription] = client.list_subscriptions(ids[0])
    grant_id = grant(client, *ids, 2)
    seen = []
    for _ in range(5):
        seen.append(list(left(client, *ids).values()))
        assert summary(client.use_feature(*ids)) == (True, "WITHIN_BUDGET")
    assert seen == [[3, 2], [2, 2], [1, 2], [0, 2], [0, 1]]
    assert summary(client.use_feature(*ids)) == (False, "BUDGET_EXCEEDED")
    assert counts(client, ids) == (5, 5, 0)
    sources = client.show_usage(*ids).sources
    assert [(each.subscription_id, each.grant_id, each.amount) for each in sources] == [
        (subscription.id, "", 3),
        ("", grant_id, 2),
    ]
    [entitlement] = client.list_entitlements(ids[0])
    assert (list(entitlement.subscription_ids), list(entitlement.grant_ids)) == ([subscription.id], [grant_id])


def test_a_grant_alone_gives_access_to_a_consumable_feature(client: Client) -> None:
    ids = fresh(client)
    assert summary(client.use_feature(*ids)) == (False, "NOT_ENTITLED")
    grant_id = grant(client, *ids, 2)
    assert counts(client, ids) == (0, 2, 2)
    assert summary(client.use_feature(*ids, 2)) == (True, "WITHIN_BUDGET")
    assert summary(client.use_feature(*ids)) == (False, "BUDGET_EXCEEDED")
    [entitlement] = client.list_entitlements(ids[0])
    assert (entitlement.access, entitlement.reason) == (False, v1.REASON_BUDGET_EXCEEDED)
    assert (list(entitlement.subscription_ids), list(entitlement.grant_ids)) == ([], [grant_id])
    assert not entitlement.consumption.HasField("resets_at")
    assert not entitlement.consumption.overage_enabled


def test_a_grant_switches_a_binary_feature_on_for_one_user(client: Client) -> None:
    feature_id = binary(client)
    user_id, other_id = (client.create_user(unique("user")).id for _ in range(2))
    grant_id = grant(client, user_id, feature_id, None)
    answer = client.can_use(user_id, feature_id)
    assert (answer.access, answer.reason, answer.HasField("consumption")) == (True, v1.REASON_INCLUDED, False)
    [entitlement] = client.list_entitlements(user_id)
    assert (entitlement.access, list(entitlement.grant_ids)) == (True, [grant_id])
    assert client.can_use(other_id, feature_id).reason == v1.REASON_NOT_ENTITLED
    client.revoke_grant(user_id, grant_id)
    assert client.can_use(user_id, feature_id).reason == v1.REASON_NOT_ENTITLED


def test_an_unlimited_grant_lifts_the_limit_and_what_was_used_of_it_does_not_weigh_after_it(client: Client) -> None:
    ids = subscriber(client, 3)
    first, unlimited = grant(client, *ids, 2, priority=1), grant(client, *ids, None, priority=2)
    after = grant(client, *ids, 4, priority=3)
    assert summary(client.use_feature(*ids, 100)) == (True, "UNLIMITED")
    assert counts(client, ids) == (100, None, None)
    assert balances(client, ids) == [0, None, 4]
    client.revoke_grant(ids[0], unlimited)
    # 3 of the package, 2 and 95 of the existing grants; and 4 to come.
    assert counts(client, ids) == (100, 104, 4)
    assert left(client, *ids) | {first: 0, unlimited: 0, after: 4} == left(client, *ids)
    assert summary(client.use_feature(*ids, 5)) == (False, "BUDGET_EXCEEDED")
    assert summary(client.use_feature(*ids, 4)) == (True, "WITHIN_BUDGET")


def test_nothing_is_drawn_where_the_package_is_unlimited(client: Client) -> None:
    ids = subscriber(client, None)
    grant(client, *ids, 5)
    assert summary(client.use_feature(*ids, 1000)) == (True, "UNLIMITED")
    assert (counts(client, ids), balances(client, ids)) == ((1000, None, None), [5])


def test_grants_are_drawn_from_by_priority_then_expiry_then_id(client: Client) -> None:
    user_id, feature_id = fresh(client)
    soon, later = FAR_OFF, FAR_OFF + timedelta(days=1)
    grants = [
        ("first", 0, later),
        ("z soon", 1, soon),
        ("b", 1, later),
        ("c", 1, later),
        ("a never", 1, None),
        ("b never", 1, None),
        ("last", 7, soon),
    ]
    for grant_id, priority, expires_at in grants[::2] + grants[1::2][::-1]:
        client.create_grant(user_id, grant_id, feature_id, amount=2, priority=priority, expires_at=expires_at)
    order = [grant_id for grant_id, _, _ in grants]
    assert list(left(client, user_id, feature_id)) == order
    [entitlement] = client.list_entitlements(user_id)
    assert list(entitlement.grant_ids) == order
    for used in range(1, 15):
        client.use_feature(user_id, feature_id)
        expected = [max(0, min(2, 2 * number - used)) for number in range(1, 8)]
        assert list(left(client, user_id, feature_id).values()) == expected
    assert summary(client.use_feature(user_id, feature_id)) == (False, "BUDGET_EXCEEDED")


def test_a_grant_that_comes_before_others_is_drawn_from_next_though_they_are_drawn_from_already(
    client: Client,
) -> None:
    ids = fresh(client)
    grant(client, *ids, 5, priority=5)
    client.use_feature(*ids, 2)
    grant(client, *ids, 3, priority=1)
    client.use_feature(*ids, 2)
    assert (balances(client, ids), counts(client, ids)) == ([1, 3], (4, 8, 4))


def test_what_is_taken_back_goes_to_the_last_grant_first_and_the_package_last(client: Client) -> None:
    ids = subscriber(client, 3)
    for priority in (1, 2):
        grant(client, *ids, 2, priority=priority)
    client.create_usage_event(*ids, 9)
    assert (balances(client, ids), counts(client, ids)) == ([0, 0], (9, 7, 0))
    seen = []
    for _ in range(9):
        client.create_usage_event(*ids, -1)
        seen.append(list(left(client, *ids).values()))
    beyond = [[0, 0, 0], [0, 0, 0]]
    assert seen == [*beyond, [0, 0, 1], [0, 0, 2], [0, 1, 2], [0, 2, 2], [1, 2, 2], [2, 2, 2], [3, 2, 2]]


def test_a_total_that_is_set_draws_and_gives_back_as_one_that_is_reached(client: Client) -> None:
    ids = subscriber(client, 3)
    grant(client, *ids, 5)
    for total, expected in ((6, 2), (20, 0), (7, 1), (3, 5), (0, 5), (8, 0), (4, 4)):
        recorded = client.create_usage_event(*ids, total, action=v1.USAGE_ACTION_SET)
        assert (recorded.consumption.used, recorded.consumption.budget) == (total, 8)
        assert balances(client, ids) == [expected]


def test_a_fact_past_package_and_grants_is_recorded(client: Client) -> None:
    ids = subscriber(client, 3)
    grant(client, *ids, 2)
    recorded = client.create_usage_event(*ids, 9)
    assert (recorded.recorded, recorded.reason) == (True, v1.REASON_BUDGET_EXCEEDED)
    assert counts(client, ids) == (9, 5, 0)
    # What exceeded the budget earlier is drawn from a grant that opens later.
    grant(client, *ids, 6)
    assert counts(client, ids) == (9, 11, 2)
    assert summary(client.use_feature(*ids, 2)) == (True, "WITHIN_BUDGET")
    assert balances(client, ids) == [0, 0]


def test_overage_begins_when_the_grants_are_used_up(client: Client) -> None:
    ids = subscriber(client, 3, overage_enabled=True)
    grant(client, *ids, 2)
    assert summary(client.use_feature(*ids, 5)) == (True, "WITHIN_BUDGET")
    assert summary(client.use_feature(*ids, 2)) == (True, "OVERAGE")
    assert counts(client, ids) == (7, 5, 0)


def test_revoking_leaves_what_was_used_and_never_makes_it_negative(client: Client) -> None:
    ids = subscriber(client, 3)
    first, second = grant(client, *ids, 4, priority=1), grant(client, *ids, 4, priority=2)
    client.use_feature(*ids, 5)
    client.revoke_grant(ids[0], first)
    # Of the first grant only the 2 drawn units remain in the budget.
    assert (counts(client, ids), balances(client, ids)) == ((5, 9, 4), [0, 4])
    client.revoke_grant(ids[0], second)
    assert counts(client, ids) == (5, 5, 0)
    assert summary(client.use_feature(*ids)) == (False, "BUDGET_EXCEEDED")
    # A use that is taken back returns to the grant, although that gives nothing any more.
    assert client.create_usage_event(*ids, -2).consumption.remaining == 0
    assert counts(client, ids) == (3, 3, 0)
    assert client.create_usage_event(*ids, -9).applied_delta == -3
    assert counts(client, ids) == (0, 3, 3)


def test_a_use_of_a_grant_that_is_revoked_is_kept_as_a_past_period(client: Client) -> None:
    ids = fresh(client)
    grant_id = grant(client, *ids, 5)
    client.use_feature(*ids, 4)
    revoked = client.revoke_grant(ids[0], grant_id)
    assert summary(client.use_feature(*ids)) == (False, "NOT_ENTITLED")
    assert list(client.list_entitlements(ids[0])) == []
    usage = client.show_usage(*ids)
    assert not usage.HasField("current")
    [source] = usage.sources
    assert (source.grant_id, source.amount, source.left) == (grant_id, 5, 0)
    [past] = usage.past
    assert (past.used, past.budget, past.drawn_from_grants) == (4, 0, 4)
    assert (past.period_start, past.period_end) == (revoked.effective_at, revoked.revoked_at)
    # A grant that opens later starts a new count.
    grant(client, *ids, 1)
    assert counts(client, ids) == (0, 1, 1)


def test_the_grants_of_one_whose_subscription_lapsed_still_give_access_and_what_it_gave_does_not_weigh_on_them(
    client: Client,
) -> None:
    ids = subscriber(client, 3)
    [subscription] = client.list_subscriptions(ids[0])
    client.use_feature(*ids, 2)
    grant(client, *ids, 4)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_PAST_DUE)
    assert counts(client, ids) == (2, 6, 4)
    assert summary(client.use_feature(*ids, 3)) == (True, "WITHIN_BUDGET")
    assert summary(client.use_feature(*ids, 2)) == (False, "BUDGET_EXCEEDED")
    assert (counts(client, ids), balances(client, ids)) == ((5, 6, 1), [1])
    # It gives what it had left again.
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_ACTIVE)
    assert counts(client, ids) == (5, 7, 2)
    assert [source.left for source in client.show_usage(*ids).sources] == [1, 1]
    client.cancel_subscription(subscription.id)
    assert summary(client.use_feature(*ids)) == (True, "WITHIN_BUDGET")
    assert summary(client.use_feature(*ids)) == (False, "BUDGET_EXCEEDED")


def test_the_grant_of_one_whose_unlimited_package_lapsed_is_not_swallowed_by_what_was_used_of_it(
    client: Client,
) -> None:
    ids = subscriber(client, None)
    [subscription] = client.list_subscriptions(ids[0])
    client.use_feature(*ids, 1000)
    client.cancel_subscription(subscription.id)
    grant(client, *ids, 2)
    assert counts(client, ids) == (1000, 1002, 2)
    assert summary(client.use_feature(*ids, 3)) == (False, "BUDGET_EXCEEDED")
    assert summary(client.use_feature(*ids, 2)) == (True, "WITHIN_BUDGET")
    assert balances(client, ids) == [0]


def test_a_subscription_that_comes_after_a_grant_goes_on_with_the_count(client: Client) -> None:
    ids = fresh(client)
    grant(client, *ids, 5)
    client.use_feature(*ids, 2)
    entry = v1.PackageFeature(feature_id=ids[1], limit=3, reset_period=v1.RESET_PERIOD_MONTH)
    client.subscribe(ids[0], [package(client, [entry])])
    assert counts(client, ids) == (2, 8, 6)
    client.use_feature(*ids, 4)
    assert list(left(client, *ids).values()) == [0, 2]


@pytest.mark.parametrize("amounts", [[LARGEST], [LARGEST, LARGEST, 1]])
def test_amounts_are_exact_up_to_the_largest(client: Client, stubs: Stubs, amounts: list[int]) -> None:
    ids = fresh(client)
    for priority, amount in enumerate(amounts):
        grant(client, *ids, amount, priority=priority)
    assert counts(client, ids) == (0, LARGEST, LARGEST)
    assert client.use_feature(*ids, LARGEST - 1).consumption.remaining == 1
    assert balances(client, ids) == [1, *amounts[1:]]
    assert client.use_feature(*ids).access
    assert balances(client, ids) == [0, *amounts[1:]]
    assert summary(client.use_feature(*ids)) == (False, "BUDGET_EXCEEDED")
    assert client.create_usage_event(*ids, -LARGEST).applied_delta == -LARGEST
    assert balances(client, ids) == amounts
    grant(client, *ids, None)
    client.use_feature(*ids, LARGEST)
    refused = failure(stubs.entitlements.UseFeature, v1.UseFeatureRequest(user_id=ids[0], feature_id=ids[1]))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TOTAL_OUT_OF_RANGE")


def test_callers_at_once_get_exactly_what_package_and_grants_give(client: Client, stubs: Stubs) -> None:
    ids = subscriber(client, 3)
    grant(client, *ids, 2)
    request = v1.UseFeatureRequest(user_id=ids[0], feature_id=ids[1])
    calls = [stubs.entitlements.UseFeature.future(request) for _ in range(100)]
    answers = [call.result() for call in calls]
    assert sorted(answer.consumption.used for answer in answers if answer.access) == [1, 2, 3, 4, 5]
    assert {summary(answer) for answer in answers if not answer.access} == {(False, "BUDGET_EXCEEDED")}
    assert (counts(client, ids), balances(client, ids)) == ((5, 5, 0), [0])


def test_grants_that_come_and_go_while_others_use_the_feature_are_each_drawn_from_once(
    client: Client, stubs: Stubs
) -> None:
    ids = subscriber(client, 3)
    use = v1.UseFeatureRequest(user_id=ids[0], feature_id=ids[1])
    uses, changes = [], []
    for number in range(40):
        expected = v1.Grant(id=f"g{number}", user_id=ids[0], feature_id=ids[1], amount=2, priority=number % 5)
        changes.append(stubs.subscriptions.CreateGrant.future(v1.CreateGrantRequest(grant=expected)))
        uses += [stubs.entitlements.UseFeature.future(use) for _ in range(4)]
    assert {change.code() for change in changes} == {grpc.StatusCode.OK}
    given = sum(call.result().access for call in uses)
    used, budget, remaining = counts(client, ids)
    assert (used, budget, remaining) == (given, 83, 83 - given)
    assert sum(amount or 0 for amount in left(client, *ids).values()) == 83 - given


# Within their time.


def test_a_grant_gives_from_its_first_moment_up_to_its_last(clocked: Client, clock: Clock) -> None:
    ids, start = fresh(clocked), clock.now() + timedelta(hours=1)
    end = start + timedelta(hours=1)
    grant_id = grant(clocked, *ids, 5, effective_at=start, expires_at=end)

    def stands(time: datetime) -> tuple[bool, str]:
        clock.set(time)
        answer = clocked.can_use(*ids)
        used = clocked.use_feature(*ids)
        assert (answer.access, answer.reason) == (used.access, used.reason)
        return summary(used)

    assert stands(start - MILLISECOND) == (False, "SUBSCRIPTION_INACTIVE")
    assert left(clocked, *ids) == {grant_id: 0}
    assert stands(start) == stands(end - MILLISECOND) == (True, "WITHIN_BUDGET")
    assert left(clocked, *ids) == {grant_id: 3}
    assert stands(end) == (False, "NOT_ENTITLED")
    assert left(clocked, *ids) == {grant_id: 0}
    [past] = clocked.show_usage(*ids).past
    assert (past.used, past.period_start.ToDatetime(UTC), past.period_end.ToDatetime(UTC)) == (2, start, end)


def test_a_grant_beside_a_package_opens_and_ends_at_its_moments(clocked: Client, clock: Clock) -> None:
    ids, start = subscriber(clocked, 3), clock.now() + timedelta(hours=1)
    end = start + timedelta(hours=1)
    grant(clocked, *ids, 5, effective_at=start, expires_at=end)
    seen = []
    for time in (start - MILLISECOND, start, end - MILLISECOND, end):
        clock.set(time)
        seen.append(counts(clocked, ids))
        if time == start:
            clocked.use_feature(*ids, 5)
    # The 2 drawn units stay in the budget of the period in which they were used.
    assert seen == [(0, 3, 3), (0, 8, 8), (5, 8, 3), (5, 5, 0)]


def test_a_grant_may_begin_in_the_past_and_counts_from_now_on(clocked: Client, clock: Clock) -> None:
    ids, now = fresh(clocked), clock.now()
    grant(clocked, *ids, 5, effective_at=now - timedelta(days=400))
    assert counts(clocked, ids) == (0, 5, 5)
    clocked.use_feature(*ids, 2)
    # An even older subscription does not change the count.
    grant(clocked, *ids, 1, effective_at=now - timedelta(days=500))
    assert counts(clocked, ids) == (2, 6, 4)
    over = grant(clocked, *ids, 9, effective_at=now - timedelta(days=9), expires_at=now - timedelta(days=8))
    assert (counts(clocked, ids), left(clocked, *ids)[over]) == ((2, 6, 4), 0)


@pytest.mark.parametrize("period", [v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_MONTH])
def test_what_was_drawn_stays_drawn_when_the_period_resets(
    clocked: Client, clock: Clock, period: v1.ResetPeriod.ValueType
) -> None:
    ids, start = subscriber(clocked, 3, period), clock.now()
    grant(clocked, *ids, 5)
    clocked.use_feature(*ids, 6)
    clock.advance(days=31)
    assert (counts(clocked, ids), balances(clocked, ids)) == ((0, 5, 5), [2])
    clocked.use_feature(*ids, 4)
    # The next one begins with a use, not with a read.
    clock.advance(days=31)
    assert summary(clocked.use_feature(*ids, 5)) == (False, "BUDGET_EXCEEDED")
    assert summary(clocked.use_feature(*ids, 4)) == (True, "WITHIN_BUDGET")
    assert (counts(clocked, ids), balances(clocked, ids)) == ((4, 4, 0), [0])
    past = clocked.show_usage(*ids).past
    assert [(each.used, each.budget, each.drawn_from_grants) for each in past] == [(4, 3, 1), (6, 3, 3)]
    assert past[-1].period_start.ToDatetime(UTC) == start
    clock.advance(days=31)
    assert counts(clocked, ids) == (0, 3, 3)
    past = clocked.show_usage(*ids).past
    assert [(each.used, each.budget, each.drawn_from_grants) for each in past] == [(4, 3, 1), (4, 3, 1)]


def test_what_was_drawn_in_a_period_that_is_over_is_not_given_back(clocked: Client, clock: Clock) -> None:
    ids = subscriber(clocked, 3, v1.RESET_PERIOD_DAY)
    grant_id = grant(clocked, *ids, 5)
    clocked.use_feature(*ids, 6)
    clock.advance(days=1)
    assert clocked.create_usage_event(*ids, -6).applied_delta == 0
    assert (counts(clocked, ids), balances(clocked, ids)) == ((0, 5, 5), [2])
    # Nor when the day begins with a change of the grants.
    clocked.use_feature(*ids, 4)
    clock.advance(days=1)
    clocked.revoke_grant(ids[0], grant_id)
    assert counts(clocked, ids) == (0, 3, 3)
    assert clocked.create_usage_event(*ids, -6).applied_delta == 0
    assert counts(clocked, ids) == (0, 3, 3)
    past = clocked.show_usage(*ids).past
    assert [(each.used, each.drawn_from_grants) for each in past] == [(4, 1), (6, 3)]


def test_a_new_grant_comes_on_top_though_the_count_is_still_that_of_the_day_before(
    clocked: Client, clock: Clock
) -> None:
    ids = subscriber(clocked, 3, v1.RESET_PERIOD_DAY)
    grant(clocked, *ids, 5, priority=5)
    clocked.use_feature(*ids, 6)
    clock.advance(days=1)
    grant(clocked, *ids, 4, priority=1)
    assert counts(clocked, ids) == (0, 9, 9)
    clocked.use_feature(*ids, 8)
    assert balances(clocked, ids) == [0, 1]


def test_the_time_between_two_grants_belongs_to_neither(clocked: Client, clock: Clock) -> None:
    ids, now = fresh(clocked), clock.now()
    times = [now + timedelta(days=day) for day in range(4)]
    grant(clocked, *ids, 5, effective_at=times[0], expires_at=times[1])
    grant(clocked, *ids, 7, effective_at=times[2], expires_at=times[3])
    clocked.use_feature(*ids, 2)
    clock.set(times[1])
    assert summary(clocked.use_feature(*ids)) == (False, "SUBSCRIPTION_INACTIVE")
    recorded = clocked.create_usage_event(*ids, 3)
    assert (recorded.recorded, recorded.reason) == (True, v1.REASON_SUBSCRIPTION_INACTIVE)
    clock.set(times[2])
    assert counts(clocked, ids) == (0, 7, 7)
    clocked.use_feature(*ids, 4)
    clock.set(times[3])
    past = clocked.show_usage(*ids).past
    assert [(each.used, each.drawn_from_grants, each.period_start.ToDatetime(UTC)) for each in past] == [
        (4, 4, times[2]),
        (3, 0, times[1]),
        (2, 2, times[0]),
    ]
    assert [each.period_end.ToDatetime(UTC) for each in past] == times[:0:-1]


def test_the_last_use_of_an_ending_grant_and_the_first_of_the_next_are_kept_apart(
    clocked: Client, clock: Clock
) -> None:
    ids, end = fresh(clocked), clock.now() + timedelta(days=1)
    grant(clocked, *ids, 5, expires_at=end)
    grant(clocked, *ids, 5, effective_at=end - timedelta(hours=1))
    clock.set(end - MILLISECOND)
    clocked.use_feature(*ids, 2)
    assert balances(clocked, ids) == [3, 5]
    clock.set(end)
    # Where a grant is open throughout, the count continues, and what was drawn stays in the budget.
    assert (counts(clocked, ids), balances(clocked, ids)) == ((2, 7, 5), [0, 5])
    clocked.use_feature(*ids, 2)
    assert balances(clocked, ids) == [0, 3]
