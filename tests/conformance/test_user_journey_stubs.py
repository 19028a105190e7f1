"""The main use case, with nothing but the generated stubs."""

import grpc
from google.protobuf.duration_pb2 import Duration

from canuse import v1
from canuse.testing import v1 as testing
from support.processes import Canuse
from support.resources import unique


def test_a_user_is_allowed_until_the_budget_is_used_up_and_again_a_month_later(clocked_server: Canuse) -> None:
    feature_id, package_id, user_id = unique("api-calls"), unique("starter"), unique("124")
    with grpc.insecure_channel(clocked_server.address) as channel:
        catalog, entitlements = v1.CatalogServiceStub(channel), v1.EntitlementServiceStub(channel)
        v1.UserServiceStub(channel).CreateUser(v1.CreateUserRequest(user=v1.User(id=user_id)))
        feature = v1.Feature(id=feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
        catalog.CreateFeature(v1.CreateFeatureRequest(feature=feature))
        entry = v1.PackageFeature(feature_id=feature_id, limit=3, reset_period=v1.RESET_PERIOD_MONTH)
        package = v1.Package(id=package_id, features=[entry])
        catalog.CreatePackage(v1.CreatePackageRequest(package=package))
        catalog.PublishPackage(v1.PublishPackageRequest(package_id=package_id))
        subscribe = v1.SubscribeRequest(user_id=user_id, package_ids=[package_id])
        [subscription] = v1.SubscriptionServiceStub(channel).Subscribe(subscribe).subscriptions
        assert subscription.status == v1.SUBSCRIPTION_STATUS_ACTIVE

        check_request = v1.CanUseRequest(user_id=user_id, feature_id=feature_id)
        let_in = entitlements.CanUse(check_request)
        assert (let_in.access, let_in.reason) == (True, v1.REASON_WITHIN_BUDGET)
        assert (let_in.consumption.used, let_in.consumption.budget, let_in.consumption.remaining) == (0, 3, 3)

        event = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)
        for used in (1, 2, 3):
            recorded = entitlements.CreateUsageEvent(event)
            assert (recorded.recorded, recorded.applied_delta, recorded.consumption.used) == (True, 1, used)

        refused = entitlements.CanUse(check_request)
        assert (refused.access, refused.reason) == (False, v1.REASON_BUDGET_EXCEEDED)
        assert (refused.consumption.used, refused.consumption.budget, refused.consumption.remaining) == (3, 3, 0)
        assert refused.consumption.resets_at.seconds > refused.consumption.period_start.seconds
        assert not entitlements.UseFeature(v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id)).access

        month = Duration(seconds=31 * 86_400)
        testing.ClockServiceStub(channel).AdvanceTime(testing.AdvanceTimeRequest(duration=month))
        again = entitlements.CanUse(check_request)
        assert (again.access, again.consumption.used) == (True, 0)
        assert again.consumption.period_start == refused.consumption.resets_at

        usage = v1.ShowUsageRequest(user_id=user_id, feature_id=feature_id)
        shown = v1.UsageServiceStub(channel).ShowUsage(usage)
        assert [(past.used, past.budget) for past in shown.past] == [(3, 3)]
        assert shown.past[0].period_end == refused.consumption.resets_at
