"""UseFeatures: several features in one step, all of them or none."""

from datetime import timedelta
from typing import Any

import grpc
import pytest

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, binary, consumable, grant, package, unique
from support.store_inspection import StoreInspector
from support.wire import Stubs, failure

LARGEST = 2**53 - 1
MAX_CHARGES = 32


def user_with(
    client: Client, *limits: int | None, period: v1.ResetPeriod.ValueType = v1.RESET_PERIOD_MONTH, **others: bool
) -> tuple[str, list[str]]:
    """Create a user with a feature for each limit; return the ids."""
    user_id, features = client.create_user(unique("user")).id, [consumable(client) for _ in limits]
    entries = [
        v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=period, **others)
        for feature_id, limit in zip(features, limits, strict=True)
    ]
    client.subscribe(user_id, [package(client, entries)])
    return user_id, features


def used(client: Client, user_id: str, features: list[str]) -> list[int]:
    """Return the counts."""
    return [client.show_usage(user_id, feature_id).current.used for feature_id in features]


def summary(response: v1.UseFeaturesResponse) -> tuple[bool, str, str]:
    """Return access, reason and the blocking feature."""
    reason = v1.Reason.Name(response.reason).removeprefix("REASON_")
    return response.access, reason, response.blocking_feature_id


def request(user_id: str, *charges: tuple[str, int | None], **others: Any) -> v1.UseFeaturesRequest:
    """Return a request; with a delta of None it is not set."""
    charge_messages = [v1.Charge(feature_id=feature_id, delta=delta) for feature_id, delta in charges]
    return v1.UseFeaturesRequest(user_id=user_id, charges=charge_messages, **others)


def test_all_are_given_and_counted_in_one_step(client: Client) -> None:
    user_id, [a, b, c] = user_with(client, 5, None, 7)
    given = client.use_features(user_id, {b: 9, a: 2, c: 7})
    assert summary(given) == (True, "UNLIMITED", "")
    assert [counts.used for counts in given.consumptions] == [9, 2, 7]
    assert [counts.remaining for counts in given.consumptions] == [0, 3, 0]
    assert not given.consumptions[0].HasField("budget")
    assert used(client, user_id, [a, b, c]) == [2, 9, 7]


def test_an_amount_is_one_unless_it_is_given(client: Client, stubs: Stubs) -> None:
    user_id, [a, b] = user_with(client, 5, 5)
    assert stubs.entitlements.UseFeatures(request(user_id, (a, None), (b, 2))).access
    assert used(client, user_id, [a, b]) == [1, 2]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_where_one_is_refused_none_is_counted_and_it_is_named(client: Client, position: int) -> None:
    user_id, features = user_with(client, 9, 9, 9)
    client.use_features(user_id, dict.fromkeys(features, 2))
    amounts = [3, 3, 3]
    amounts[position] = 8
    refused = client.use_features(user_id, dict(zip(features, amounts, strict=True)))
    assert summary(refused) == (False, "BUDGET_EXCEEDED", features[position])
    assert [(counts.used, counts.remaining) for counts in refused.consumptions] == [(2, 7)] * 3
    assert refused.event_id == ""
    assert used(client, user_id, features) == [2, 2, 2]


def test_the_first_that_is_refused_is_named(client: Client) -> None:
    user_id, [a, b, c] = user_with(client, 1, 1, 1)
    assert summary(client.use_features(user_id, {a: 1, c: 2, b: 2})) == (False, "BUDGET_EXCEEDED", c)


def test_a_single_charge_is_given_or_refused_as_by_use_feature(client: Client) -> None:
    """The script's short path did not report its refusal, and the caller was granted access."""
    user_id, [feature_id] = user_with(client, 2)
    assert summary(client.use_features(user_id, {feature_id: 2})) == (True, "WITHIN_BUDGET", "")
    assert summary(client.use_features(user_id, {feature_id: 1})) == (False, "BUDGET_EXCEEDED", feature_id)
    client.update_user(user_id, disabled=True)
    assert summary(client.use_features(user_id, {feature_id: 1})) == (False, "USER_DISABLED", feature_id)
    assert used(client, user_id, [feature_id]) == [2]


def test_a_feature_to_which_there_is_no_entitlement_has_empty_counts_in_its_place(client: Client) -> None:
    user_id, [a, b] = user_with(client, 5, 5)
    other = consumable(client)
    refused = client.use_features(user_id, {a: 1, other: 1, b: 1})
    assert summary(refused) == (False, "NOT_ENTITLED", other)
    assert [counts == v1.Consumption() for counts in refused.consumptions] == [False, True, False]
    nobody = client.create_user(unique("user")).id
    assert summary(client.use_features(nobody, {a: 1, b: 1})) == (False, "NOT_ENTITLED", a)


def test_each_refusal_counts_nothing(client: Client) -> None:
    user_id, [a, b] = user_with(client, 5, 5)
    [subscription] = client.list_subscriptions(user_id)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_UNPAID)
    assert summary(client.use_features(user_id, {a: 1, b: 1})) == (False, "SUBSCRIPTION_INACTIVE", a)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_ACTIVE)
    client.update_user(user_id, disabled=True)
    assert summary(client.use_features(user_id, {a: 1, b: 1})) == (False, "USER_DISABLED", a)
    client.update_user(user_id, disabled=False)
    client.archive_feature(b)
    assert summary(client.use_features(user_id, {a: 1, b: 1})) == (False, "FEATURE_ARCHIVED", b)
    assert used(client, user_id, [a, b]) == [0, 0]


def test_overage_of_one_is_given_and_the_reason_is_that_of_the_first(client: Client) -> None:
    user_id, [a, b] = user_with(client, 1, 9, overage_enabled=True)
    assert summary(client.use_features(user_id, {a: 3, b: 2})) == (True, "OVERAGE", "")
    assert summary(client.use_features(user_id, {b: 2, a: 3})) == (True, "WITHIN_BUDGET", "")
    assert used(client, user_id, [a, b]) == [6, 4]


def test_each_charge_is_an_event_in_the_ledger_with_the_id_and_metadata_of_the_call(
    client: Client, stubs: Stubs, store: StoreInspector
) -> None:
    user_id, [a, b] = user_with(client, 5, 5)
    given = client.use_features(user_id, {a: 2, b: 3}, event_id="e", metadata={"job": "j"})
    client.use_features(user_id, {a: 2, b: 3}, event_id="refused")
    plain = stubs.entitlements.UseFeatures(request(user_id, (b, 1), (a, 1)))
    entries = {key: entry for key, entry in store.ledger(user_id).items() if entry.user_id == user_id}
    assert [(entry.feature_id, entry.delta, entry.used, entry.event_id) for entry in entries.values()] == [
        (a, 2, 2, "e"),
        (b, 3, 3, "e"),
        (b, 1, 4, ""),
        (a, 1, 3, ""),
    ]
    assert [dict(entry.metadata) for entry in entries.values()] == [{"job": "j"}, {"job": "j"}, {}, {}]
    # Without an event id from the caller, it is the id of the first event.
    assert (given.event_id, plain.event_id) == ("e", list(entries)[2])


def test_a_refusal_leaves_the_store_as_it_was_byte_by_byte(client: Client, store: StoreInspector) -> None:
    user_id, [a, b] = user_with(client, 5, 5)
    other = consumable(client)
    grant(client, user_id, a, 3)
    client.use_features(user_id, {a: 6, b: 2})
    before = store.dump(user_id)
    for charges in ({a: 2, b: 4}, {a: 3, b: 1}, {b: 1, a: 1, other: 1}):
        assert not client.use_features(user_id, charges).access
    assert store.dump(user_id) == before


def test_grants_of_all_of_them_are_drawn_from_or_of_none(client: Client) -> None:
    user_id, [a, b] = user_with(client, 3, 3)
    for feature_id in (a, b):
        grant(client, user_id, feature_id, 2)
    assert client.use_features(user_id, {a: 4, b: 4}).access
    assert summary(client.use_features(user_id, {a: 1, b: 2})) == (False, "BUDGET_EXCEEDED", b)
    sources = [client.show_usage(user_id, feature_id).sources for feature_id in (a, b)]
    assert [[source.left for source in found] for found in sources] == [[0, 1], [0, 1]]
    assert summary(client.use_features(user_id, {a: 1, b: 1})) == (True, "WITHIN_BUDGET", "")


def test_a_repeat_gets_the_first_answer_again(client: Client) -> None:
    user_id, [a, b] = user_with(client, 5, 5)
    given = client.use_features(user_id, {a: 4, b: 1}, event_id="given")
    refused = client.use_features(user_id, {a: 1, b: 5}, event_id="refused")
    assert (summary(given), summary(refused)) == ((True, "WITHIN_BUDGET", ""), (False, "BUDGET_EXCEEDED", b))
    for feature_id in (a, b):
        client.create_usage_event(user_id, feature_id, 0, action=v1.USAGE_ACTION_SET)
    for first, charges in ((given, {a: 4, b: 1}), (refused, {a: 1, b: 5})):
        again = client.use_features(user_id, charges, event_id=first.event_id)
        assert again.replayed
        again.replayed = False
        assert again == first
    assert used(client, user_id, [a, b]) == [0, 0]


def test_other_content_under_the_same_id_is_refused(client: Client, stubs: Stubs) -> None:
    user_id, [a, b] = user_with(client, None, None)
    client.use_features(user_id, {a: 1, b: 2}, event_id="e")
    others = (
        request(user_id, (a, 1), event_id="e"),
        request(user_id, (b, 2), (a, 1), event_id="e"),
        request(user_id, (a, 2), (b, 1), event_id="e"),
        request(user_id, (a, 1), (b, 2), event_id="e", metadata={"a": "b"}),
    )
    for other in others:
        refused = failure(stubs.entitlements.UseFeatures, other)
        assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "EVENT_ID_REUSED")
        assert refused.metadata == {"user_id": user_id, "event_id": "e"}
    assert used(client, user_id, [a, b]) == [1, 2]


def test_the_calls_that_count_share_the_ids_of_a_user(client: Client, stubs: Stubs) -> None:
    user_id, [a, b] = user_with(client, 9, 9)
    client.use_features(user_id, {a: 1, b: 1}, event_id="several")
    client.use_feature(user_id, a, event_id="one")
    client.create_usage_event(user_id, a, event_id="fact")
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": a}
    methods = stubs.entitlements
    for call, sent in (
        (methods.UseFeature, v1.UseFeatureRequest(**ids, event_id="several")),
        (methods.CreateUsageEvent, v1.CreateUsageEventRequest(**ids, event_id="several")),
        (methods.UseFeatures, request(user_id, (a, 1), (b, 1), event_id="one")),
        (methods.UseFeatures, request(user_id, (a, 1), event_id="fact")),
    ):
        assert failure(call, sent).reason == "EVENT_ID_REUSED"
    assert used(client, user_id, [a, b]) == [3, 1]
    # A single charge with the event id of the equal use is that use.
    assert client.use_features(user_id, {a: 1}, event_id="one").replayed
    assert used(client, user_id, [a, b]) == [3, 1]


def test_an_id_sent_many_times_at_once_counts_once(client: Client, stubs: Stubs) -> None:
    user_id, [a, b] = user_with(client, 9, 9)
    sent = request(user_id, (a, 1), (b, 2), event_id="e")
    answers = [call.result() for call in [stubs.entitlements.UseFeatures.future(sent) for _ in range(50)]]
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 49
    assert used(client, user_id, [a, b]) == [1, 2]


def test_callers_at_once_never_get_half_of_it(client: Client, stubs: Stubs) -> None:
    user_id, [a, b] = user_with(client, 3, 7)
    grant(client, user_id, a, 2)
    use = stubs.entitlements.UseFeatures
    # Half of them name the features in the other order.
    either = request(user_id, (a, 1), (b, 1)), request(user_id, (b, 1), (a, 1))
    answers = [call.result() for call in [use.future(either[number % 2]) for number in range(100)]]
    assert sum(answer.access for answer in answers) == 5
    assert used(client, user_id, [a, b]) == [5, 5]
    assert {summary(answer) for answer in answers if not answer.access} == {(False, "BUDGET_EXCEEDED", a)}


def test_callers_at_once_share_two_budgets_exactly(client: Client, stubs: Stubs) -> None:
    user_id, [a, b] = user_with(client, 5, 5)
    single = [v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id) for feature_id in (a, b)]
    calls: list[Any] = []
    for number in range(60):
        calls.append(stubs.entitlements.UseFeatures.future(request(user_id, (a, 1), (b, 1))))
        calls.append(stubs.entitlements.UseFeature.future(single[number % 2]))
    answers = [call.result() for call in calls]
    both = sum(answer.access for answer in answers[::2])
    of_a, of_b = (sum(answer.access for answer in answers[first::4]) for first in (1, 3))
    assert used(client, user_id, [a, b]) == [both + of_a, both + of_b]
    # A caller that was alone took what was left of both.
    assert max(both + of_a, both + of_b) == 5


@pytest.mark.parametrize("number", [0, MAX_CHARGES + 1])
def test_no_charge_or_too_many_are_refused(stubs: Stubs, number: int) -> None:
    refused = failure(
        stubs.entitlements.UseFeatures, request(unique("user"), *((unique("feature"), 1) for _ in range(number)))
    )
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["charges"])
    assert f"{number} were sent" in refused.violations["charges"]


def test_a_feature_is_charged_once(client: Client, stubs: Stubs) -> None:
    user_id, [a, b] = user_with(client, 5, 5)
    refused = failure(stubs.entitlements.UseFeatures, request(user_id, (a, 1), (b, 1), (a, 2)))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["charges"])
    assert used(client, user_id, [a, b]) == [0, 0]


@pytest.mark.parametrize("delta", [0, -1, LARGEST + 1, -(2**63)])
def test_a_bad_charge_is_named_by_its_place_and_nothing_is_counted(client: Client, stubs: Stubs, delta: int) -> None:
    user_id, [a, b] = user_with(client, None, None)
    refused = failure(stubs.entitlements.UseFeatures, request(user_id, (a, 1), (b, delta), ("x\n", 1)))
    assert refused.fields == ["charges[1].delta", "charges[2].feature_id"]
    assert refused.violations["charges[1].delta"] == f"must be 1 to 2^53 - 1; {delta} was sent"
    assert used(client, user_id, [a, b]) == [0, 0]


def test_bad_metadata_or_a_bad_event_id_is_refused(stubs: Stubs) -> None:
    sent = request("u", ("f", 1), event_id="e" * 129, metadata={f"{number}": "" for number in range(17)})
    assert failure(stubs.entitlements.UseFeatures, sent).fields == ["event_id", "metadata"]


def test_a_binary_or_unknown_feature_or_an_unknown_user_is_an_error_and_nothing_is_counted(
    client: Client, stubs: Stubs
) -> None:
    user_id, [a] = user_with(client, 5)
    use, missing, switch = stubs.entitlements.UseFeatures, unique("missing"), binary(client)
    not_consumable = failure(use, request(user_id, (a, 1), (switch, 1)))
    assert (not_consumable.code, not_consumable.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "FEATURE_NOT_CONSUMABLE",
    )
    assert not_consumable.metadata == {"feature_id": switch}
    no_feature = failure(use, request(user_id, (a, 1), (missing, 1)))
    assert (no_feature.reason, no_feature.metadata) == ("FEATURE_NOT_FOUND", {"feature_id": missing})
    no_user = failure(use, request(missing, (a, 1)))
    assert (no_user.reason, no_user.metadata) == ("USER_NOT_FOUND", {"user_id": missing})
    assert used(client, user_id, [a]) == [0]


def test_a_total_past_the_largest_of_one_is_refused_and_none_is_counted(client: Client, stubs: Stubs) -> None:
    user_id, [a, b] = user_with(client, None, None)
    client.create_usage_event(user_id, b, LARGEST)
    refused = failure(stubs.entitlements.UseFeatures, request(user_id, (a, 1), (b, 1)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TOTAL_OUT_OF_RANGE")
    assert refused.metadata == {"user_id": user_id, "feature_id": f"{a},{b}"}
    assert used(client, user_id, [a, b]) == [0, LARGEST]


@pytest.mark.parametrize("period", [v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_MONTH])
def test_as_many_as_there_can_be_go_on_in_the_next_period_together(
    clocked: Client, clock: Clock, period: v1.ResetPeriod.ValueType
) -> None:
    user_id, features = user_with(clocked, *range(1, MAX_CHARGES + 1), period=period)
    charges = {feature_id: limit for limit, feature_id in enumerate(features, 1)}
    start = clock.now()
    for number in range(3):
        clock.set(start + number * timedelta(days=31))
        assert clocked.use_features(user_id, charges).access
        assert summary(clocked.use_features(user_id, charges)) == (False, "BUDGET_EXCEEDED", features[0])
    usage = clocked.show_usage(user_id, features[-1])
    assert [usage.current.used, *(past.used for past in usage.past)] == [MAX_CHARGES] * 3
