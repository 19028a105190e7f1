"""A call of each method that changes something, and what a repetition gives when the first answer was lost."""

from collections.abc import Callable
from typing import Final, NamedTuple

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from canuse import v1
from chaos.scenario import LIMIT, Ground

REPLAYED: Final = "replayed"
"""The first answer once more, with `replayed` set: the call has an event id."""
SAME: Final = "the same state"
"""The same answer, as nothing is left to change."""
DONE: Final = "nothing left to do"


class Case(NamedTuple):
    """A call, what its repetition is answered with, and what there is to see of the effect of both."""

    request: Callable[[Ground], Message]
    """Does what has to come first, and returns the request."""
    repeated: str
    """REPLAYED, SAME or DONE, or the reason with which it fails."""
    look: Callable[[Ground], object]
    expected: Callable[[Ground], object]


def _use(on: Ground, feature_id: str, event_id: str) -> v1.CreateUsageEventRequest:
    return v1.CreateUsageEventRequest(user_id=on.user_id, feature_id=feature_id, delta=3, event_id=event_id)


def _settle(on: Ground) -> Message:
    lease = on.client.reserve(on.user_id, on.first, 5)
    return v1.SettleRequest(lease_id=lease.lease_id, used=3, event_id="event")


def _update_subscription(on: Ground) -> Message:
    changed = v1.Subscription(id=on.subscription_id, status=v1.SUBSCRIPTION_STATUS_PAST_DUE)
    return v1.UpdateSubscriptionRequest(subscription=changed, update_mask=FieldMask(paths=["status"]))


def _grant(on: Ground) -> v1.Grant:
    return v1.Grant(id="bonus", user_id=on.user_id, feature_id=on.first, amount=50)


def _revoke(on: Ground) -> Message:
    on.client.create_grant(on.user_id, "bonus", on.first, amount=50)
    return v1.RevokeGrantRequest(user_id=on.user_id, grant_id="bonus")


def _feature(on: Ground, feature_id: str) -> v1.Feature:
    return v1.Feature(id=feature_id, name="calls", type=v1.FEATURE_TYPE_CONSUMABLE)


def _package(on: Ground, package_id: str) -> v1.Package:
    return v1.Package(id=package_id, name="new", features=[v1.PackageFeature(feature_id=on.first, limit=7)])


def _update_package(on: Ground) -> Message:
    return v1.UpdatePackageRequest(package=_package(on, on.base_id), update_mask=FieldMask(paths=["name"]))


def _publish(on: Ground) -> Message:
    on.client.update_package(on.base_id, name="new")
    return v1.PublishPackageRequest(package_id=on.base_id)


def _migrate(on: Ground) -> Message:
    on.client.create_usage_event(on.user_id, on.first, 3)
    on.client.update_package(on.base_id, name="new")
    on.client.publish_package(on.base_id)
    return v1.MigrateSubscriptionsRequest(package_id=on.base_id)


def _api_key(on: Ground) -> v1.ApiKey:
    return v1.ApiKey(name=on.new_id, environment=v1.ENVIRONMENT_LIVE, scopes=["usage:write"])


def _revoke_key(on: Ground) -> Message:
    made = on.client.create_api_key(on.new_id, ["usage:write"], environment=v1.ENVIRONMENT_LIVE)
    return v1.RevokeApiKeyRequest(api_key_id=made.api_key.id)


def _counts(on: Ground) -> object:
    return on.counts()


CASES: Final[dict[str, Case]] = {
    "CreateUsageEvent": Case(lambda on: _use(on, on.first, "event"), REPLAYED, _counts, lambda _: (3, 0, 0, 0, 1)),
    "UseFeature": Case(
        lambda on: v1.UseFeatureRequest(user_id=on.user_id, feature_id=on.first, delta=3, event_id="event"),
        REPLAYED, _counts, lambda _: (3, 0, 0, 0, 1),
    ),
    "UseFeatures": Case(
        lambda on: v1.UseFeaturesRequest(
            user_id=on.user_id, event_id="event",
            charges=[v1.Charge(feature_id=on.first, delta=3), v1.Charge(feature_id=on.second, delta=4)],
        ),
        REPLAYED, _counts, lambda _: (3, 4, 0, 0, 2),
    ),
    "BatchCreateUsageEvents": Case(
        lambda on: v1.BatchCreateUsageEventsRequest(requests=[_use(on, on.first, "one"), _use(on, on.second, "two")]),
        REPLAYED, _counts, lambda _: (3, 3, 0, 0, 2),
    ),
    "Reserve": Case(
        lambda on: v1.ReserveRequest(user_id=on.user_id, feature_id=on.first, amount=5, event_id="event"),
        REPLAYED, _counts, lambda _: (0, 0, 5, 0, 0),
    ),
    "Settle": Case(_settle, REPLAYED, _counts, lambda _: (3, 0, 0, 0, 1)),
    "Subscribe, to a base package": Case(
        lambda on: v1.SubscribeRequest(user_id=on.newcomer_id, package_ids=[on.base_id]),
        "SECOND_BASE_PACKAGE", lambda on: on.subscriptions(on.newcomer_id), lambda on: [(on.base_id, 1)],
    ),
    "Subscribe, with an event id": Case(
        lambda on: v1.SubscribeRequest(
            user_id=on.newcomer_id, package_ids=[on.base_id, on.addon_id], event_id="event"
        ),
        REPLAYED,
        lambda on: sorted(on.subscriptions(on.newcomer_id)), lambda on: sorted([(on.base_id, 1), (on.addon_id, 1)]),
    ),
    "UpdateSubscription": Case(
        _update_subscription, SAME, lambda on: on.client.get_subscription(on.subscription_id).status,
        lambda _: v1.SUBSCRIPTION_STATUS_PAST_DUE,
    ),
    "CancelSubscription": Case(
        lambda on: v1.CancelSubscriptionRequest(subscription_id=on.subscription_id), SAME,
        lambda on: on.client.get_subscription(on.subscription_id).status,
        lambda _: v1.SUBSCRIPTION_STATUS_CANCELLED,
    ),
    "CreateGrant": Case(
        lambda on: v1.CreateGrantRequest(grant=_grant(on)), SAME, lambda on: on.budget(), lambda _: LIMIT + 50
    ),
    "RevokeGrant": Case(_revoke, SAME, lambda on: on.budget(), lambda _: LIMIT),
    "CreateUser": Case(
        lambda on: v1.CreateUserRequest(user=v1.User(id=on.new_id, name="Ada")), "USER_EXISTS",
        lambda on: on.client.get_user(on.new_id).name, lambda _: "Ada",
    ),
    "UpdateUser": Case(
        lambda on: v1.UpdateUserRequest(
            user=v1.User(id=on.user_id, name="Ada"), update_mask=FieldMask(paths=["name"])
        ),
        SAME, lambda on: on.client.get_user(on.user_id).name, lambda _: "Ada",
    ),
    "DeleteUser": Case(
        lambda on: v1.DeleteUserRequest(user_id=on.user_id), "USER_NOT_FOUND",
        lambda on: on.gone(on.user_id), lambda _: True,
    ),
    "CreateFeature": Case(
        lambda on: v1.CreateFeatureRequest(feature=_feature(on, on.new_id)), "FEATURE_EXISTS",
        lambda on: on.client.get_feature(on.new_id).name, lambda _: "calls",
    ),
    "UpdateFeature": Case(
        lambda on: v1.UpdateFeatureRequest(feature=_feature(on, on.first), update_mask=FieldMask(paths=["name"])),
        SAME, lambda on: on.client.get_feature(on.first).name, lambda _: "calls",
    ),
    "ArchiveFeature": Case(
        lambda on: v1.ArchiveFeatureRequest(feature_id=on.first), SAME,
        lambda on: on.client.get_feature(on.first).archived, lambda _: True,
    ),
    "CreatePackage": Case(
        lambda on: v1.CreatePackageRequest(package=_package(on, on.new_id)), "PACKAGE_EXISTS",
        lambda on: on.package(on.new_id), lambda _: ("PACKAGE_STATUS_DRAFT", 1, 0),
    ),
    "UpdatePackage": Case(
        _update_package, SAME, lambda on: on.package(on.base_id), lambda _: ("PACKAGE_STATUS_DRAFT", 2, 1)
    ),
    "PublishPackage": Case(
        _publish, SAME, lambda on: on.package(on.base_id), lambda _: ("PACKAGE_STATUS_PUBLISHED", 2, 2)
    ),
    "ArchivePackage": Case(
        lambda on: v1.ArchivePackageRequest(package_id=on.base_id), SAME,
        lambda on: on.package(on.base_id)[0], lambda _: "PACKAGE_STATUS_ARCHIVED",
    ),
    "MigrateSubscriptions": Case(
        _migrate, DONE, lambda on: (*on.subscriptions(on.user_id), on.counts()),
        lambda on: ((on.base_id, 2), (3, 0, 0, 0, 1)),
    ),
    "RevokeApiKey": Case(_revoke_key, "API_KEY_NOT_FOUND", lambda on: on.keys(), lambda _: 0),
    # No id of the caller's tells two of these calls apart, so that whoever was not answered has to look first.
    "Subscribe, to an add-on without an event id": Case(
        lambda on: v1.SubscribeRequest(user_id=on.newcomer_id, package_ids=[on.addon_id]),
        "one more each time",
        lambda on: on.subscriptions(on.newcomer_id), lambda on: 3 * [(on.addon_id, 1)],
    ),
    "CreateApiKey": Case(
        lambda on: v1.CreateApiKeyRequest(api_key=_api_key(on)), "one more each time", lambda on: on.keys(), lambda _: 3
    ),
}  # fmt: skip
"""By the name of the method, and a word on which call of it this is."""
