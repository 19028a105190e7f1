"""Errors list everything that is wrong, reach the caller however long they are, and mean that nothing has changed."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from canuse import v1
from support.message_clients import Client
from support.resources import consumable, package, subscriber, unique
from support.store_inspection import StoreInspector
from support.wire import Failure, Stubs, failure


def test_all_violations_are_reported_at_once(stubs: Stubs) -> None:
    wrong: dict[str, Any] = {"feature_id": "a\n", "delta": 2**53, "event_id": "e" * 129, "action": 9}
    request = v1.CreateUsageEventRequest(**wrong, metadata={"a": "b" * 2048})
    refused = failure(stubs.entitlements.CreateUsageEvent, request)
    assert refused.violations == {
        "user_id": "must be 1 to 128 bytes of UTF-8 without control characters; nothing was sent",
        "feature_id": "must be 1 to 128 bytes of UTF-8 without control characters; 'a\\n' (2 bytes) was sent",
        "delta": "must be -(2^53 - 1) to 2^53 - 1; 9007199254740992 was sent",
        "event_id": refused.violations["event_id"],
        "action": "must be USAGE_ACTION_ADD or USAGE_ACTION_SET; 9 was sent",
        "metadata": "must be at most 16 pairs and 2048 bytes in all; 1 pairs and 2049 bytes were sent",
    }
    assert refused.violations["event_id"].endswith("(129 bytes) was sent")


def test_what_is_there_twice_is_named(stubs: Stubs) -> None:
    """The error said that three ids were sent, where 1 to 32 were accepted."""
    ids = ["a", "b", "a"]
    subscribe = v1.SubscribeRequest(user_id="u", package_ids=ids)
    violations = failure(stubs.subscriptions.Subscribe, subscribe).violations
    assert violations == {"package_ids": "must be 1 to 32 packages, each once; 3 ids were sent, 'a' more than once"}
    use = v1.UseFeaturesRequest(user_id="u", charges=[v1.Charge(feature_id=each) for each in ids])
    violations = failure(stubs.entitlements.UseFeatures, use).violations
    assert violations == {
        "charges": "must be 1 to 32 charges, each for a different feature; 3 were sent, 'a' more than once"
    }
    entries = [v1.PackageFeature(feature_id=each) for each in ids]
    create = v1.CreatePackageRequest(package=v1.Package(id=unique("package"), features=entries))
    violations = failure(stubs.catalog.CreatePackage, create).violations
    assert violations == {
        "package.features": "must be at most 1000 features, each once; 3 were sent, 'a' more than once"
    }


def _many_bad_features() -> v1.CreatePackageRequest:
    entries = [v1.PackageFeature(feature_id=f"f{number}\n", limit=-1) for number in range(500)]
    return v1.CreatePackageRequest(package=v1.Package(id=unique("package"), features=entries))


LARGE: dict[str, Callable[[Stubs], Failure]] = {
    "a package of bad features": lambda stubs: failure(stubs.catalog.CreatePackage, _many_bad_features()),
    "many bad package ids": lambda stubs: failure(
        stubs.subscriptions.Subscribe, v1.SubscribeRequest(user_id="a", package_ids=["\n" * 200] * 2000)
    ),
    "a long mask": lambda stubs: failure(
        stubs.users.UpdateUser,
        v1.UpdateUserRequest(user=v1.User(id="a"), update_mask=FieldMask(paths=["x" * 50_000])),
    ),
    "a mask of many fields": lambda stubs: failure(
        stubs.users.UpdateUser,
        v1.UpdateUserRequest(user=v1.User(id="a"), update_mask=FieldMask(paths=[f"x{n}" for n in range(5_000)])),
    ),
    "a long id": lambda stubs: failure(stubs.users.GetUser, v1.GetUserRequest(user_id="\x00" * 100_000)),
    "a long page token": lambda stubs: failure(
        stubs.users.ListUsers, v1.ListUsersRequest(page_token="\u00fc" * 100_000)
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_an_error_about_much_input_still_arrives(stubs: Stubs, name: str) -> None:
    # Clients accept about 8 KiB of trailing metadata: a larger error reaches nobody.
    refused = LARGE[name](stubs)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


def test_an_error_about_much_input_disturbs_no_other_call(stubs: Stubs, client: Client) -> None:
    # Too large an error once broke the connection between the two servers of the native transport, for all its calls.
    user_id = client.create_user(unique("user")).id
    mask = FieldMask(paths=["x" * 20_000])
    bad = v1.UpdateUserRequest(user=v1.User(id=user_id), update_mask=mask)
    calls, refused = [], []
    for _ in range(10):
        calls += [stubs.users.GetUser.future(v1.GetUserRequest(user_id=user_id)) for _ in range(9)]
        refused.append(stubs.users.UpdateUser.future(bad))
    assert {call.code() for call in refused} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert {call.code() for call in calls} == {grpc.StatusCode.OK}


def test_an_id_of_a_subscription_that_is_much_too_long_is_not_found(stubs: Stubs, client: Client) -> None:
    user_id, _ = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    # "YWFh" is how an id encodes "aaa".
    for subscription_id in ("a" * 50_000, subscription.id.rpartition("_")[0] + "_" + "YWFh" * 20_000):
        request = v1.GetSubscriptionRequest(subscription_id=subscription_id)
        refused = failure(stubs.subscriptions.GetSubscription, request)
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")


def test_a_call_that_is_refused_writes_nothing(client: Client, stubs: Stubs, store: StoreInspector) -> None:
    user_id, feature_id = subscriber(client, 5)
    package_id, other_id = package(client, []), consumable(client)
    client.use_feature(user_id, feature_id, event_id="e")
    ids: dict[str, Any] = {"user_id": user_id, "feature_id": feature_id}
    before = store.dump(user_id)
    entitlements, catalog = stubs.entitlements, stubs.catalog
    for call, request in (
        (entitlements.CreateUsageEvent, v1.CreateUsageEventRequest(**ids, delta=0)),
        (entitlements.CreateUsageEvent, v1.CreateUsageEventRequest(**ids, event_id="e")),
        (entitlements.UseFeature, v1.UseFeatureRequest(**ids, delta=2, event_id="e")),
        (entitlements.UseFeature, v1.UseFeatureRequest(user_id=user_id, feature_id=unique("missing"))),
        (stubs.users.UpdateUser, v1.UpdateUserRequest(user=v1.User(id=user_id, name="n" * 257, disabled=True))),
        (stubs.subscriptions.Subscribe, v1.SubscribeRequest(user_id=user_id, package_ids=[package_id])),
        (
            catalog.UpdatePackage,
            v1.UpdatePackageRequest(package=v1.Package(id=package_id, name="a", type=v1.PACKAGE_TYPE_ADD_ON)),
        ),
        (catalog.CreateFeature, v1.CreateFeatureRequest(feature=v1.Feature(id=other_id, type=v1.FEATURE_TYPE_BINARY))),
    ):
        failure(call, request)
    assert store.dump(user_id) == before
