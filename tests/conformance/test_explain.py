"""CanUse with `explain`: the same answer as without, and the steps that led to it, as text and as data."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast

import grpc
import pytest

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, binary, consumable, package, subscriber, unique
from support.store_inspection import StoreInspector
from support.wire import Stubs, failure, moment

START = datetime(2024, 1, 31, 12, tzinfo=UTC)
MAX_AMOUNT = 2**53 - 1


def kinds(response: v1.CanUseResponse) -> list[str]:
    """Return the kind of each step of an explanation."""
    return [cast("str", step.WhichOneof("step")) for step in response.explanation.steps]


def texts(response: v1.CanUseResponse) -> list[str]:
    """Return the sentences of an explanation."""
    return [step.text for step in response.explanation.steps]


def grant(client: Stubs, user_id: str, feature_id: str, grant_id: str, amount: int | None, **fields: object) -> None:
    """Give a user a grant."""
    given = v1.Grant(id=grant_id, user_id=user_id, feature_id=feature_id, amount=amount, **fields)  # type: ignore[arg-type]
    client.subscriptions.CreateGrant(v1.CreateGrantRequest(grant=given))


def revoke(client: Stubs, user_id: str, grant_id: str) -> None:
    """Revoke a grant."""
    client.subscriptions.RevokeGrant(v1.RevokeGrantRequest(user_id=user_id, grant_id=grant_id))


def daily(feature_id: str, limit: int | None) -> v1.PackageFeature:
    """Return a package entry with a daily limit."""
    return v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=v1.RESET_PERIOD_DAY)


def test_the_steps_say_all_that_the_answer_came_from_in_order(
    clocked: Client, clocked_stubs: Stubs, clock: Clock
) -> None:
    now = clock.now()
    user_id, feature_id = clocked.create_user(unique("user")).id, unique("feature")
    clocked.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE, unit_label="call", unit_label_plural="calls")
    base = package(clocked, [daily(feature_id, 5)])
    [more, late, other] = [
        package(clocked, entries, v1.PACKAGE_TYPE_ADD_ON)
        for entries in ([daily(feature_id, 10)], [daily(feature_id, None)], [daily(consumable(clocked), 1)])
    ]
    start = now - timedelta(hours=90)
    one, two, three, four = (
        clocked.subscribe(user_id, [package_id], started_at=start + timedelta(hours=place))[0]
        for place, package_id in enumerate((base, more, late, other))
    )
    clocked.update_subscription(three.id, status=v1.SUBSCRIPTION_STATUS_PAST_DUE)
    grant(clocked_stubs, user_id, feature_id, "a", 3, priority=0)
    grant(clocked_stubs, user_id, feature_id, "b", 4, priority=1, expires_at=moment(now + timedelta(days=9)))
    grant(clocked_stubs, user_id, feature_id, "c", None, priority=2, effective_at=moment(now + timedelta(days=1)))
    grant(clocked_stubs, user_id, feature_id, "d", 5, priority=3)
    revoke(clocked_stubs, user_id, "d")
    clocked.create_usage_event(user_id, feature_id, 14)

    response = clocked.can_use(user_id, feature_id, 2, explain=True)
    day = two.started_at.ToDatetime(UTC) + timedelta(days=3)
    period = f"from {_json(day)} to {_json(day + timedelta(days=1))}"
    assert response.access
    assert texts(response) == [
        f"User '{user_id}' is enabled.",
        f"Feature '{feature_id}' is consumable: its use is counted.",
        _subscribed(one, "ACTIVE and counts; the package lists"),
        f"Package '{base}' gives 5 calls a day; another active entry takes precedence.",
        _subscribed(two, "ACTIVE and counts; the package lists"),
        f"Package '{more}' gives 10 calls a day; this entry applies.",
        _subscribed(three, "PAST_DUE and does not count; the package lists"),
        f"Package '{late}' gives unlimited calls a day; its subscription does not count.",
        _subscribed(four, "ACTIVE and counts; the package does not list"),
        "Grant 'a' of 3 calls has 0 left.",
        "Grant 'b' of 4 calls has 3 left.",
        f"Grant 'c' of unlimited calls is not active yet: it takes effect at {_json(now + timedelta(days=1))}.",
        f"Grant 'd' of 5 calls is no longer active: it was revoked at {_json(now)}.",
        f"In the current period, {period}, the user has used 14 of 17 calls, 4 of them from grants.",
        "The answer is yes: 14 used and 2 more make 16, within the budget of 17.",
    ]
    assert kinds(response) == [
        *("user", "feature", "subscription", "package_entry", "subscription", "package_entry", "subscription"),
        *("package_entry", "subscription", "grant", "grant", "grant", "grant", "counter", "decision"),
    ]
    steps = response.explanation.steps
    assert steps[1].feature == v1.FeatureStep(type=v1.FEATURE_TYPE_CONSUMABLE)
    assert steps[4].subscription == v1.SubscriptionStep(
        subscription_id=two.id,
        package_id=more,
        package_version=1,
        status=v1.SUBSCRIPTION_STATUS_ACTIVE,
        counts=True,
        lists_feature=True,
    )
    assert steps[5].package_entry == v1.PackageEntryStep(
        subscription_id=two.id, limit=10, reset_period=v1.RESET_PERIOD_DAY, holds=True
    )
    assert steps[6].subscription.status == v1.SUBSCRIPTION_STATUS_PAST_DUE
    assert not steps[6].subscription.counts
    assert not steps[7].package_entry.HasField("limit")
    assert not steps[8].subscription.lists_feature
    assert steps[10].grant == v1.GrantStep(
        grant_id="b",
        amount=4,
        left=3,
        open=True,
        effective_at=moment(now),
        ends_at=moment(now + timedelta(days=9)),
    )
    assert [(step.grant.open, step.grant.left) for step in steps[9:13]] == [
        (True, 0),
        (True, 3),
        (False, 0),
        (False, 0),
    ]
    assert steps[13].counter == v1.CounterStep(
        period_start=moment(day), period_end=moment(day + timedelta(days=1)), used=14, drawn_from_grants=4, budget=17
    )
    assert steps[14].decision == v1.DecisionStep(delta=2, access=True, reason=v1.REASON_WITHIN_BUDGET)


def _json(time: datetime) -> str:
    return moment(time).ToJsonString()


def _subscribed(item: v1.Subscription, stands: str) -> str:
    return f"Subscription '{item.id}' to version 1 of package '{item.package_id}' is {stands} the feature."


Case = Callable[[Client, Stubs], tuple[str, str, int]]


def _on(limit: int | None, used: int, delta: int, *, overage_enabled: bool = False) -> Case:
    def case(client: Client, _: Stubs) -> tuple[str, str, int]:
        user_id, feature_id = subscriber(client, limit, overage_enabled=overage_enabled)
        client.create_usage_event(user_id, feature_id, used, action=v1.USAGE_ACTION_SET)
        return user_id, feature_id, delta

    return case


def _with_status(status: v1.SubscriptionStatus.ValueType) -> Case:
    def case(client: Client, _: Stubs) -> tuple[str, str, int]:
        user_id, feature_id = subscriber(client, 5)
        [subscription] = client.list_subscriptions(user_id)
        client.update_subscription(subscription.id, status=status)
        return user_id, feature_id, 1

    return case


def _switched(*, on: bool) -> Case:
    def case(client: Client, stubs: Stubs) -> tuple[str, str, int]:
        feature_id, user_id = binary(client), client.create_user(unique("user")).id
        client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=feature_id)] if on else [])])
        return user_id, feature_id, 7

    return case


def _granted(client: Client, stubs: Stubs) -> tuple[str, str, int]:
    user_id, feature_id = client.create_user(unique("user")).id, consumable(client)
    grant(stubs, user_id, feature_id, "g", 5)
    client.create_usage_event(user_id, feature_id, 2)
    return user_id, feature_id, 3


def _set_aside(delta: int) -> Case:
    def case(client: Client, _: Stubs) -> tuple[str, str, int]:
        user_id, feature_id = subscriber(client, 10)
        client.create_usage_event(user_id, feature_id, 2)
        client.reserve(user_id, feature_id, 3, ttl=timedelta(hours=1))
        return user_id, feature_id, delta

    return case


def _switched_on_by_a_grant(client: Client, stubs: Stubs) -> tuple[str, str, int]:
    user_id, feature_id = client.create_user(unique("user")).id, binary(client)
    grant(stubs, user_id, feature_id, "g", None)
    return user_id, feature_id, 1


def _in_the_future(client: Client, _: Stubs) -> tuple[str, str, int]:
    user_id, feature_id = subscriber(client, 5, started_at=datetime(2999, 1, 1, tzinfo=UTC))
    return user_id, feature_id, 1


def _disabled(client: Client, _: Stubs) -> tuple[str, str, int]:
    user_id, feature_id = subscriber(client, 5)
    client.update_user(user_id, disabled=True)
    return user_id, feature_id, 1


def _archived(client: Client, _: Stubs) -> tuple[str, str, int]:
    user_id, feature_id = subscriber(client, 5)
    client.archive_feature(feature_id)
    return user_id, feature_id, 1


def _without_anything(client: Client, _: Stubs) -> tuple[str, str, int]:
    return client.create_user(unique("user")).id, consumable(client), 1


CASES: dict[str, tuple[Case, str]] = {
    "within": (_on(10, 4, 6), "The answer is yes: 4 used and 6 more make 10, within the budget of 10."),
    "exceeded": (_on(10, 4, 7), "The answer is no: 4 used and 7 more make 11, above the budget of 10."),
    "none of none": (_on(0, 0, 1), "The answer is no: 0 used and 1 more make 1, above the budget of 0."),
    "unlimited": (_on(None, 4, 7), "The answer is yes: the feature has no limit, so 7 units can be used."),
    "overage": (
        _on(10, 12, 1, overage_enabled=True),
        "The answer is yes: 12 used and 1 more make 13, above the budget of 10, but overage is allowed.",
    ),
    "past due": (
        _with_status(v1.SUBSCRIPTION_STATUS_PAST_DUE),
        "The answer is no: no subscription or grant that gives the feature is active now.",
    ),
    "cancelled": (
        _with_status(v1.SUBSCRIPTION_STATUS_CANCELLED),
        "The answer is no: no subscription or grant that gives the feature is active now.",
    ),
    "future": (_in_the_future, "The answer is no: no subscription or grant that gives the feature is active now."),
    "on": (_switched(on=True), "The answer is yes: the feature is enabled for the user."),
    "off": (_switched(on=False), "The answer is no: no subscription or grant of the user gives the feature."),
    "set aside": (
        _set_aside(6),
        "The answer is no: 2 used, 3 reserved and 6 more make 11, above the budget of 10.",
    ),
    "set aside, and enough": (
        _set_aside(5),
        "The answer is yes: 2 used, 3 reserved and 5 more make 10, within the budget of 10.",
    ),
    "granted": (_granted, "The answer is yes: 2 used and 3 more make 5, within the budget of 5."),
    "on by a grant": (_switched_on_by_a_grant, "The answer is yes: the feature is enabled for the user."),
    "disabled": (_disabled, "The answer is no: the user is disabled."),
    "archived": (_archived, "The answer is no: the feature is archived."),
    "nothing": (_without_anything, "The answer is no: no subscription or grant of the user gives the feature."),
}


@pytest.mark.parametrize(("case", "decision"), CASES.values(), ids=CASES)
def test_the_answer_is_the_same_as_without_and_the_last_step_says_why(
    client: Client, stubs: Stubs, case: Case, decision: str
) -> None:
    user_id, feature_id, delta = case(client, stubs)
    plain, explained = (client.can_use(user_id, feature_id, delta, explain=explain) for explain in (False, True))
    assert not plain.HasField("explanation")
    then = re.search(r"; it will be yes at ([0-9TZ:.-]+)\.$", texts(explained)[-1])
    assert texts(explained)[-1].removesuffix(then[0] if then else ".") == decision.removesuffix(".")
    last = explained.explanation.steps[-1].decision
    assert (last.delta, last.access, last.reason) == (delta, plain.access, plain.reason)
    assert last.retry_after == explained.retry_after
    assert (then is not None) == last.HasField("retry_after") == plain.HasField("retry_after")
    assert kinds(explained)[:2] == ["user", "feature"]
    counted = [step.counter for step in explained.explanation.steps if step.HasField("counter")]
    assert len(counted) == plain.HasField("consumption")
    for counter in counted:
        counts = plain.consumption
        assert (counter.used, counter.budget, counter.reserved) == (counts.used, counts.budget, counts.reserved)
        assert counter.HasField("budget") == counts.HasField("budget")
        assert (counter.period_start, counter.period_end) == (counts.period_start, counts.resets_at)
    for text in texts(explained):
        assert text[0].isupper()
        assert text.endswith(".")
        assert text.isprintable()
    # The second answer is a moment later.
    assert explained.retry_after.ToTimedelta() <= plain.retry_after.ToTimedelta()
    for response in (explained, plain):
        response.ClearField("retry_after")
    explained.ClearField("explanation")
    assert explained == plain


def test_what_makes_no_difference_is_explained_all_the_same(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    client.update_user(user_id, disabled=True)
    client.archive_feature(feature_id)
    response = client.can_use(user_id, feature_id, explain=True)
    assert kinds(response) == ["user", "feature", "subscription", "package_entry", "counter", "decision"]
    assert response.explanation.steps[0].user.disabled
    assert response.explanation.steps[1].feature.archived
    assert texts(response)[:2] == [
        f"User '{user_id}' is disabled, so the answer is no.",
        f"Feature '{feature_id}' is consumable: its use is counted. It is archived, so the answer is no.",
    ]


def test_a_subscription_that_has_not_started_says_when_it_does(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5, started_at=datetime(2999, 1, 1, tzinfo=UTC))
    sentences = texts(client.can_use(user_id, feature_id, explain=True))
    assert "is ACTIVE, starts at 2999-01-01T00:00:00Z and does not count" in sentences[2]


def test_an_expired_grant_says_when_it_did(clocked: Client, clocked_stubs: Stubs, clock: Clock) -> None:
    user_id, feature_id = clocked.create_user(unique("user")).id, consumable(clocked)
    end = clock.now() + timedelta(hours=1)
    grant(clocked_stubs, user_id, feature_id, "g", 1, expires_at=moment(end))
    clock.set(end)
    response = clocked.can_use(user_id, feature_id, explain=True)
    assert texts(response)[2] == f"Grant 'g' of 1 unit is no longer active: it expired at {_json(end)}."
    assert kinds(response) == ["user", "feature", "grant", "decision"]


def test_right_after_a_period_has_ended_the_new_one_is_explained(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_MONTH)
    full = clocked.create_usage_event(user_id, feature_id, 5)
    clock.advance(days=32)
    response = clocked.can_use(user_id, feature_id, explain=True)
    [counter] = [step.counter for step in response.explanation.steps if step.HasField("counter")]
    assert (response.access, counter.used) == (True, 0)
    assert counter.period_start.ToMilliseconds() >= full.consumption.resets_at.ToMilliseconds()


def test_reserved_amounts_are_explained_until_their_leases_expire(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 10, v1.RESET_PERIOD_NEVER)
    clocked.reserve(user_id, feature_id, 4, ttl=timedelta(minutes=1))
    sentences = texts(clocked.can_use(user_id, feature_id, explain=True))
    assert sentences[-2].endswith(" on, the user has used 0 of 10 units, and leases reserve 4.")
    clock.advance(minutes=1)
    sentences = texts(clocked.can_use(user_id, feature_id, explain=True))
    assert sentences[-2].endswith(" on, the user has used 0 of 10 units.")


def test_what_never_resets_has_a_period_without_an_end(client: Client) -> None:
    user_id, feature_id = subscriber(client, None, v1.RESET_PERIOD_NEVER, started_at=START)
    response = client.can_use(user_id, feature_id, explain=True)
    start = "In the current period, from 2024-01-31T12:00:00Z on, the user has used 0 units without a limit."
    assert texts(response)[-2] == start
    assert not response.explanation.steps[-2].counter.HasField("period_end")
    assert "gives unlimited units in total;" in texts(response)[3]


def test_an_explanation_changes_nothing(client: Client, store: StoreInspector) -> None:
    user_id, feature_id = subscriber(client, 5)
    before = store.dump(user_id)
    client.can_use(user_id, feature_id, explain=True)
    assert store.dump(user_id) == before


def test_an_error_is_the_same_with_explain_as_without(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, None)
    client.create_usage_event(user_id, feature_id, MAX_AMOUNT)
    errors = set()
    for user, feature, delta in (
        (unique("nobody"), feature_id, 1),
        (user_id, unique("missing"), 1),
        (user_id, feature_id, 0),
        (user_id, feature_id, 1),
        ("", "", 1),
    ):
        plain, explained = (
            failure(
                stubs.entitlements.CanUse,
                v1.CanUseRequest(user_id=user, feature_id=feature, delta=delta, explain=explain),
            )
            for explain in (False, True)
        )
        assert explained == plain
        errors.add((plain.code, plain.reason))
    assert len(errors) == 4
    assert (grpc.StatusCode.FAILED_PRECONDITION, "TOTAL_OUT_OF_RANGE") in errors
