"""A call of each method that writes, and the answer to its repetition after the first answer was lost."""

from collections.abc import Callable
from typing import Final, NamedTuple

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from canuse import v1
from chaos.scenario import LIMIT, Scenario

REPLAYED: Final = "replayed"
"""The first answer again, with `replayed` set: the call has an event id."""
SAME: Final = "the same state"
"""An equal answer, as nothing is left to change."""
DONE: Final = "nothing left to do"
UNCHANGED: Final = "nothing left to change"


class Case(NamedTuple):
    """A call, the answer to its repetition, and the effect of both."""

    request: Callable[[Scenario], Message]
    """Prepares the scenario, and returns the request."""
    repeated: str
    """REPLAYED, SAME, DONE or UNCHANGED, or the reason with which the repetition fails."""
    look: Callable[[Scenario], object]
    expected: Callable[[Scenario], object]


def _use(s: Scenario, feature_id: str, event_id: str) -> v1.CreateUsageEventRequest:
    return v1.CreateUsageEventRequest(user_id=s.user_id, feature_id=feature_id, delta=3, event_id=event_id)


def _settle(s: Scenario) -> Message:
    lease = s.client.reserve(s.user_id, s.first, 5)
    return v1.SettleRequest(lease_id=lease.lease_id, used=3, event_id="event")


def _settle_a_part(s: Scenario) -> Message:
    lease = s.client.reserve(s.user_id, s.first, 5)
    return v1.SettleRequest(lease_id=lease.lease_id, used=3, final=False, event_id="event")


def _extend(s: Scenario) -> Message:
    lease = s.client.reserve(s.user_id, s.first, 5)
    return v1.ExtendLeaseRequest(lease_id=lease.lease_id, amount=2, event_id="event")


def _update_subscription(s: Scenario) -> Message:
    changed = v1.Subscription(id=s.subscription_id, status=v1.SUBSCRIPTION_STATUS_PAST_DUE)
    return v1.UpdateSubscriptionRequest(subscription=changed, update_mask=FieldMask(paths=["status"]))


def _grant(s: Scenario) -> v1.Grant:
    return v1.Grant(id="bonus", user_id=s.user_id, feature_id=s.first, amount=50)


def _revoke(s: Scenario) -> Message:
    s.client.create_grant(s.user_id, "bonus", s.first, amount=50)
    return v1.RevokeGrantRequest(user_id=s.user_id, grant_id="bonus")


def _feature(s: Scenario, feature_id: str) -> v1.Feature:
    return v1.Feature(id=feature_id, name="calls", type=v1.FEATURE_TYPE_CONSUMABLE)


def _package(s: Scenario, package_id: str) -> v1.Package:
    return v1.Package(id=package_id, name="new", features=[v1.PackageFeature(feature_id=s.first, limit=7)])


def _update_package(s: Scenario) -> Message:
    return v1.UpdatePackageRequest(package=_package(s, s.base_id), update_mask=FieldMask(paths=["name"]))


def _publish(s: Scenario) -> Message:
    s.client.update_package(s.base_id, name="new")
    return v1.PublishPackageRequest(package_id=s.base_id)


def _migrate(s: Scenario) -> Message:
    s.client.create_usage_event(s.user_id, s.first, 3)
    s.client.update_package(s.base_id, name="new")
    s.client.publish_package(s.base_id)
    return v1.MigrateSubscriptionsRequest(package_id=s.base_id)


def _api_key(s: Scenario) -> v1.ApiKey:
    return v1.ApiKey(name=s.new_id, environment=v1.ENVIRONMENT_LIVE, scopes=["usage:write"])


def _revoke_key(s: Scenario) -> Message:
    created = s.client.create_api_key(s.new_id, ["usage:write"], environment=v1.ENVIRONMENT_LIVE)
    return v1.RevokeApiKeyRequest(api_key_id=created.api_key.id)


def _counts(s: Scenario) -> object:
    return s.counts()


CASES: Final[dict[str, Case]] = {
    "CreateUsageEvent": Case(lambda s: _use(s, s.first, "event"), REPLAYED, _counts, lambda _: (3, 0, 0, 0, 1)),
    "UseFeature": Case(
        lambda s: v1.UseFeatureRequest(user_id=s.user_id, feature_id=s.first, delta=3, event_id="event"),
        REPLAYED, _counts, lambda _: (3, 0, 0, 0, 1),
    ),
    "UseFeatures": Case(
        lambda s: v1.UseFeaturesRequest(
            user_id=s.user_id, event_id="event",
            charges=[v1.Charge(feature_id=s.first, delta=3), v1.Charge(feature_id=s.second, delta=4)],
        ),
        REPLAYED, _counts, lambda _: (3, 4, 0, 0, 2),
    ),
    "BatchCreateUsageEvents": Case(
        lambda s: v1.BatchCreateUsageEventsRequest(requests=[_use(s, s.first, "one"), _use(s, s.second, "two")]),
        REPLAYED, _counts, lambda _: (3, 3, 0, 0, 2),
    ),
    "BatchUseFeature": Case(
        lambda s: v1.BatchUseFeatureRequest(
            requests=[
                v1.UseFeatureRequest(user_id=s.user_id, feature_id=feature_id, delta=3, event_id=feature_id)
                for feature_id in (s.first, s.second)
            ]
        ),
        REPLAYED, _counts, lambda _: (3, 3, 0, 0, 2),
    ),
    "Reserve": Case(
        lambda s: v1.ReserveRequest(user_id=s.user_id, feature_id=s.first, amount=5, event_id="event"),
        REPLAYED, _counts, lambda _: (0, 0, 5, 0, 0),
    ),
    "Settle": Case(_settle, REPLAYED, _counts, lambda _: (3, 0, 0, 0, 1)),
    "Settle, of a part": Case(_settle_a_part, REPLAYED, _counts, lambda _: (3, 0, 2, 0, 1)),
    "ExtendLease": Case(_extend, REPLAYED, _counts, lambda _: (0, 0, 7, 0, 0)),
    "Subscribe, to a base package": Case(
        lambda s: v1.SubscribeRequest(user_id=s.newcomer_id, package_ids=[s.base_id]),
        "SECOND_BASE_PACKAGE", lambda s: s.subscriptions(s.newcomer_id), lambda s: [(s.base_id, 1)],
    ),
    "Subscribe, with an event id": Case(
        lambda s: v1.SubscribeRequest(
            user_id=s.newcomer_id, package_ids=[s.base_id, s.addon_id], event_id="event"
        ),
        REPLAYED,
        lambda s: sorted(s.subscriptions(s.newcomer_id)), lambda s: sorted([(s.base_id, 1), (s.addon_id, 1)]),
    ),
    "ChangePackage": Case(
        lambda s: v1.ChangePackageRequest(user_id=s.user_id, package_id=s.other_base_id, event_id="event"),
        REPLAYED, lambda s: (s.subscriptions(s.user_id), s.budget()),
        lambda s: ([(s.base_id, 1), (s.other_base_id, 1)], 2 * LIMIT),
    ),
    "ChangePackage, without an event id": Case(
        lambda s: v1.ChangePackageRequest(user_id=s.user_id, package_id=s.other_base_id),
        SAME, lambda s: (s.subscriptions(s.user_id), s.budget()),
        lambda s: ([(s.base_id, 1), (s.other_base_id, 1)], 2 * LIMIT),
    ),
    "UpdateSubscription": Case(
        _update_subscription, SAME, lambda s: s.client.get_subscription(s.subscription_id).status,
        lambda _: v1.SUBSCRIPTION_STATUS_PAST_DUE,
    ),
    "CancelSubscription": Case(
        lambda s: v1.CancelSubscriptionRequest(subscription_id=s.subscription_id), SAME,
        lambda s: s.client.get_subscription(s.subscription_id).status,
        lambda _: v1.SUBSCRIPTION_STATUS_CANCELLED,
    ),
    "CreateGrant": Case(
        lambda s: v1.CreateGrantRequest(grant=_grant(s)), SAME, lambda s: s.budget(), lambda _: LIMIT + 50
    ),
    "RevokeGrant": Case(_revoke, SAME, lambda s: s.budget(), lambda _: LIMIT),
    "CreateUser": Case(
        lambda s: v1.CreateUserRequest(user=v1.User(id=s.new_id, name="Ada")), "USER_EXISTS",
        lambda s: s.client.get_user(s.new_id).name, lambda _: "Ada",
    ),
    "UpdateUser": Case(
        lambda s: v1.UpdateUserRequest(
            user=v1.User(id=s.user_id, name="Ada"), update_mask=FieldMask(paths=["name"])
        ),
        SAME, lambda s: s.client.get_user(s.user_id).name, lambda _: "Ada",
    ),
    "EnsureUser": Case(
        lambda s: v1.EnsureUserRequest(user=v1.User(id=s.new_id, name="Ada"), package_id=s.base_id),
        SAME, lambda s: (s.client.get_user(s.new_id).name, s.subscriptions(s.new_id)),
        lambda s: ("Ada", [(s.base_id, 1)]),
    ),
    "DeleteUser": Case(
        lambda s: v1.DeleteUserRequest(user_id=s.user_id), "USER_NOT_FOUND",
        lambda s: s.gone(s.user_id), lambda _: True,
    ),
    "GenerateUserToken": Case(
        lambda s: v1.GenerateUserTokenRequest(user_id=s.user_id), "one more each time",
        _counts, lambda _: (0, 0, 0, 0, 0),
    ),
    "RevokeUserTokens": Case(
        lambda s: v1.RevokeUserTokensRequest(user_id=s.user_id), SAME, _counts, lambda _: (0, 0, 0, 0, 0)
    ),
    "CreateFeature": Case(
        lambda s: v1.CreateFeatureRequest(feature=_feature(s, s.new_id)), "FEATURE_EXISTS",
        lambda s: s.client.get_feature(s.new_id).name, lambda _: "calls",
    ),
    "UpdateFeature": Case(
        lambda s: v1.UpdateFeatureRequest(feature=_feature(s, s.first), update_mask=FieldMask(paths=["name"])),
        SAME, lambda s: s.client.get_feature(s.first).name, lambda _: "calls",
    ),
    "ArchiveFeature": Case(
        lambda s: v1.ArchiveFeatureRequest(feature_id=s.first), SAME,
        lambda s: s.client.get_feature(s.first).archived, lambda _: True,
    ),
    "CreatePackage": Case(
        lambda s: v1.CreatePackageRequest(package=_package(s, s.new_id)), "PACKAGE_EXISTS",
        lambda s: s.package(s.new_id), lambda _: ("PACKAGE_STATUS_DRAFT", 1, 0),
    ),
    "UpdatePackage": Case(
        _update_package, SAME, lambda s: s.package(s.base_id), lambda _: ("PACKAGE_STATUS_DRAFT", 2, 1)
    ),
    "PublishPackage": Case(
        _publish, SAME, lambda s: s.package(s.base_id), lambda _: ("PACKAGE_STATUS_PUBLISHED", 2, 2)
    ),
    "ArchivePackage": Case(
        lambda s: v1.ArchivePackageRequest(package_id=s.base_id), SAME,
        lambda s: s.package(s.base_id)[0], lambda _: "PACKAGE_STATUS_ARCHIVED",
    ),
    "MigrateSubscriptions": Case(
        _migrate, DONE, lambda s: (*s.subscriptions(s.user_id), s.counts()),
        lambda s: ((s.base_id, 2), (3, 0, 0, 0, 1)),
    ),
    "ApplyCatalog": Case(
        lambda s: v1.ApplyCatalogRequest(
            features=[_feature(s, s.new_id)],
            packages=[_package(s, s.new_id), v1.Package(id=s.base_id, status=v1.PACKAGE_STATUS_ARCHIVED)],
        ),
        UNCHANGED, lambda s: (s.client.get_feature(s.new_id).name, s.package(s.new_id), s.package(s.base_id)[0]),
        lambda _: ("calls", ("PACKAGE_STATUS_PUBLISHED", 1, 1), "PACKAGE_STATUS_ARCHIVED"),
    ),
    "RevokeApiKey": Case(_revoke_key, "API_KEY_NOT_FOUND", lambda s: s.keys(), lambda _: 0),
    # These have no id of the caller's that identifies the call, so a caller without an answer must look first.
    "Subscribe, to an add-on without an event id": Case(
        lambda s: v1.SubscribeRequest(user_id=s.newcomer_id, package_ids=[s.addon_id]),
        "one more each time",
        lambda s: s.subscriptions(s.newcomer_id), lambda s: 3 * [(s.addon_id, 1)],
    ),
    "CreateApiKey": Case(
        lambda s: v1.CreateApiKeyRequest(api_key=_api_key(s)), "one more each time", lambda s: s.keys(), lambda _: 3
    ),
}  # fmt: skip
"""By the name of the method, and a word on which call of it this is."""
