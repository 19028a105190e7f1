"""Amounts are exact up to 2^53 - 1, and ids are any text of up to 128 bytes without control characters."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from canuse import v1
from support.message_clients import Client
from support.resources import consumable, package, subscriber, unique
from support.wire import Stubs, failure

MAX_AMOUNT = 2**53 - 1
FAMILY = "👨\u200d👩\u200d👧\u200d👦"
GOOD_IDS = {
    "one byte": "a",
    "braces": "{{a}:{b}}",
    "brace open": "}{",
    "colons": ":a::b:",
    "spaces": " a b ",
    "glob": "*?[a-z]\\",
    "quotes": "'\"`$;--",
    "percent": "%s%d%%00",
    "slash": "../../a/b",
    "umlaut": "Ünïcödé",
    "decomposed": "U\u0308",
    "family": FAMILY,
    "flag": "🏳️\u200d🌈",
    "right to left": "مستخدم\u200f",
    "line separator": "a\u2028b",
    "no-break space": "\u00a0",
    "byte order mark": "\ufeffa",
    "beyond": "\U0010ffff",
    "128 ascii": "a" * 128,
    "128 of 2 bytes": "é" * 64,
    "128 of 4 bytes": "👨" * 32,
}
BAD_IDS = {
    "empty": "",
    "129 ascii": "a" * 129,
    "130 of 2 bytes": "é" * 65,
    "129 mixed": "é" * 64 + "a",
    "NUL": "a\x00b",
    "newline": "a\n",
    "tab": "\ta",
    "escape": "\x1b[31m",
    "delete": "a\x7f",
    "C1": "a\x85b",
    "very long": "a" * 100_000,
}


def give(client: Client, user_id: str, feature_id: str) -> None:
    """Create a feature with a given id and subscribe a user to it."""
    client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    entry = v1.PackageFeature(feature_id=feature_id, limit=5)
    client.subscribe(user_id, [package(client, [entry], v1.PACKAGE_TYPE_ADD_ON)])


@pytest.mark.parametrize("amount", [1, 2**31, 2**32 + 1, 10**15, 10**15 + 1, MAX_AMOUNT - 1, MAX_AMOUNT])
def test_an_amount_is_counted_to_the_unit(client: Client, amount: int) -> None:
    user_id, feature_id = subscriber(client, MAX_AMOUNT)
    recorded = client.create_usage_event(user_id, feature_id, amount)
    counts = recorded.consumption
    assert (recorded.applied_delta, counts.used, counts.budget, counts.remaining) == (
        amount,
        amount,
        MAX_AMOUNT,
        MAX_AMOUNT - amount,
    )
    assert client.can_use(user_id, feature_id).consumption == counts
    assert client.show_usage(user_id, feature_id).current == counts
    back = client.create_usage_event(user_id, feature_id, -amount)
    assert (back.applied_delta, back.consumption.used) == (-amount, 0)
    assert client.use_feature(user_id, feature_id, amount).consumption.used == amount
    again = client.create_usage_event(user_id, feature_id, amount, action=v1.USAGE_ACTION_SET)
    assert (again.applied_delta, again.consumption.used) == (0, amount)


def test_a_limit_is_exact_at_its_largest(client: Client) -> None:
    user_id, feature_id = subscriber(client, MAX_AMOUNT - 1)
    client.create_usage_event(user_id, feature_id, MAX_AMOUNT - 2)
    assert client.can_use(user_id, feature_id, 1).access
    assert not client.can_use(user_id, feature_id, 2).access
    assert client.use_feature(user_id, feature_id, 2).reason == v1.REASON_BUDGET_EXCEEDED
    assert client.use_feature(user_id, feature_id, 1).access
    assert not client.use_feature(user_id, feature_id, 1).access


@pytest.mark.parametrize("amount", [2**53, 2**53 + 1, 2**63 - 1, -(2**53), -(2**63)])
def test_an_amount_past_the_largest_is_refused_everywhere(stubs: Stubs, client: Client, amount: int) -> None:
    user_id, feature_id = subscriber(client, None)
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id, "delta": amount}
    entitlements = stubs.entitlements
    for call, request in (
        (entitlements.CanUse, v1.CanUseRequest(**ids)),
        (entitlements.UseFeature, v1.UseFeatureRequest(**ids)),
        (entitlements.CreateUsageEvent, v1.CreateUsageEventRequest(**ids)),
        (entitlements.CreateUsageEvent, v1.CreateUsageEventRequest(**ids, action=v1.USAGE_ACTION_SET)),
    ):
        refused = failure(call, request)
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["delta"])
        assert f"{amount} was sent" in refused.violations["delta"]
        assert "2^53 - 1" in refused.violations["delta"]
    assert client.show_usage(user_id, feature_id).current.used == 0


@pytest.mark.parametrize(
    "limits", [{"limit": None}, {"limit": 5, "overage_enabled": True}], ids=["unlimited", "overage"]
)
def test_a_total_past_the_largest_is_refused_by_check_use_and_record_alike(
    stubs: Stubs, client: Client, limits: dict[str, Any]
) -> None:
    user_id, feature_id = subscriber(client, **limits)
    client.create_usage_event(user_id, feature_id, MAX_AMOUNT - 3)
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id}
    entitlements = stubs.entitlements
    for delta in (4, 5, MAX_AMOUNT):
        for call, request in (
            (entitlements.CanUse, v1.CanUseRequest(**ids, delta=delta)),
            (entitlements.UseFeature, v1.UseFeatureRequest(**ids, delta=delta)),
            (entitlements.CreateUsageEvent, v1.CreateUsageEventRequest(**ids, delta=delta)),
        ):
            refused = failure(call, request)
            assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TOTAL_OUT_OF_RANGE")
            assert refused.metadata == ids
    assert client.show_usage(user_id, feature_id).current.used == MAX_AMOUNT - 3
    assert client.can_use(user_id, feature_id, 3).access
    assert client.use_feature(user_id, feature_id, 3).consumption.used == MAX_AMOUNT


def test_a_total_past_the_largest_is_refused_though_the_budget_is_exceeded_anyway(stubs: Stubs, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    client.create_usage_event(user_id, feature_id, MAX_AMOUNT)
    request = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)
    assert failure(stubs.entitlements.CreateUsageEvent, request).reason == "TOTAL_OUT_OF_RANGE"
    assert client.can_use(user_id, feature_id, MAX_AMOUNT).reason == v1.REASON_BUDGET_EXCEEDED
    assert client.use_feature(user_id, feature_id, MAX_AMOUNT).reason == v1.REASON_BUDGET_EXCEEDED
    assert client.show_usage(user_id, feature_id).current.used == MAX_AMOUNT


@pytest.mark.parametrize("name", GOOD_IDS)
def test_an_id_may_be_any_text_within_128_bytes(client: Client, name: str) -> None:
    text = GOOD_IDS[name]
    client.create_user(text)
    give(client, text, text)
    assert client.get_user(text).id == text
    assert client.get_feature(text).id == text
    assert client.use_feature(text, text, 2, event_id=text).event_id == text
    assert client.use_feature(text, text, 2, event_id=text).replayed
    assert client.can_use(text, text).consumption.used == 2
    [entitlement] = client.list_entitlements(text)
    assert entitlement.feature_id == text
    [subscription] = client.list_subscriptions(text)
    assert (client.get_subscription(subscription.id), subscription.user_id) == (subscription, text)
    assert text in {user.id for user in client.list_users(page_size=1000)}


@pytest.mark.parametrize("name", GOOD_IDS)
def test_a_package_id_may_be_any_text_within_128_bytes(client: Client, name: str) -> None:
    package_id, user_id = GOOD_IDS[name], client.create_user(unique("user")).id
    client.create_package(package_id, [v1.PackageFeature(feature_id=consumable(client), limit=5)])
    client.publish_package(package_id)
    [subscription] = client.subscribe(user_id, [package_id])
    assert client.get_subscription(subscription.id).package_id == package_id
    [entitlement] = client.list_entitlements(user_id)
    assert entitlement.access


@pytest.mark.parametrize("name", BAD_IDS)
def test_any_other_id_is_refused_by_field_on_every_call_that_takes_one(stubs: Stubs, name: str) -> None:
    bad = BAD_IDS[name]
    catalog, entitlements, users = stubs.catalog, stubs.entitlements, stubs.users
    feature = v1.Feature(id=bad, type=v1.FEATURE_TYPE_BINARY)
    both: dict[str, Any] = {"user_id": bad, "feature_id": bad}
    calls: list[tuple[Callable[..., object], object, list[str]]] = [
        (entitlements.CanUse, v1.CanUseRequest(**both), ["feature_id", "user_id"]),
        (entitlements.UseFeature, v1.UseFeatureRequest(**both), ["feature_id", "user_id"]),
        (entitlements.CreateUsageEvent, v1.CreateUsageEventRequest(**both), ["feature_id", "user_id"]),
        (entitlements.ListEntitlements, v1.ListEntitlementsRequest(user_id=bad), ["user_id"]),
        (stubs.usage.ShowUsage, v1.ShowUsageRequest(**both), ["feature_id", "user_id"]),
        (users.CreateUser, v1.CreateUserRequest(user=v1.User(id=bad)), ["user.id"]),
        (users.GetUser, v1.GetUserRequest(user_id=bad), ["user_id"]),
        (users.UpdateUser, v1.UpdateUserRequest(user=v1.User(id=bad, name="a")), ["user.id"]),
        (users.DeleteUser, v1.DeleteUserRequest(user_id=bad), ["user_id"]),
        (
            catalog.CreateFeature,
            v1.CreateFeatureRequest(feature=feature),
            ["feature.id"],
        ),
        (catalog.GetFeature, v1.GetFeatureRequest(feature_id=bad), ["feature_id"]),
        (catalog.UpdateFeature, v1.UpdateFeatureRequest(feature=v1.Feature(id=bad)), ["feature.id"]),
        (catalog.ArchiveFeature, v1.ArchiveFeatureRequest(feature_id=bad), ["feature_id"]),
        (catalog.CreatePackage, v1.CreatePackageRequest(package=v1.Package(id=bad)), ["package.id"]),
        (catalog.GetPackage, v1.GetPackageRequest(package_id=bad), ["package_id"]),
        (catalog.UpdatePackage, v1.UpdatePackageRequest(package=v1.Package(id=bad)), ["package.id"]),
        (catalog.PublishPackage, v1.PublishPackageRequest(package_id=bad), ["package_id"]),
        (catalog.ArchivePackage, v1.ArchivePackageRequest(package_id=bad), ["package_id"]),
        (
            stubs.subscriptions.Subscribe,
            v1.SubscribeRequest(user_id=bad, package_ids=[bad]),
            ["package_ids[0]", "user_id"],
        ),
    ]
    if bad:  # Without an id it lists the subscriptions of all users.
        calls.append((stubs.subscriptions.ListSubscriptions, v1.ListSubscriptionsRequest(user_id=bad), ["user_id"]))
    for call, request, fields in calls:
        refused = failure(call, request)
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert refused.fields == fields
        sent = f"({len(bad.encode())} bytes) was sent" if bad else "nothing was sent"
        assert all(text.endswith(sent) and "1 to 128 bytes" in text for text in refused.violations.values())


def test_ids_that_join_to_the_same_text_are_different_users_and_features(client: Client) -> None:
    one, other = unique("a"), unique("c")
    for user_id, feature_id in ((f"{one}:b", other), (one, f"b:{other}")):
        client.create_user(user_id)
        give(client, user_id, feature_id)
    assert client.use_feature(f"{one}:b", other, 5, event_id=f"b:{other}").access
    assert client.use_feature(one, f"b:{other}", 2, event_id=other).consumption.used == 2
    assert not client.can_use(f"{one}:b", other).access
    assert client.can_use(one, f"b:{other}").access
    for user_id, feature_id in ((one, other), (f"{one}:b", f"b:{other}")):
        assert client.can_use(user_id, feature_id).reason == v1.REASON_NOT_ENTITLED


def test_ids_that_look_alike_are_different_users(client: Client) -> None:
    name, feature_id = unique("Zoé"), consumable(client)
    package_id = package(client, [v1.PackageFeature(feature_id=feature_id, limit=5)])
    variants = [name, name.replace("é", "e\u0301"), name.lower(), f"{name} ", f"{name}\u200d"]
    for number, user_id in enumerate(variants):
        client.create_user(user_id)
        client.subscribe(user_id, [package_id])
        assert client.create_usage_event(user_id, feature_id, number + 1).consumption.used == number + 1
    assert [client.show_usage(user_id, feature_id).current.used for user_id in variants] == [1, 2, 3, 4, 5]
