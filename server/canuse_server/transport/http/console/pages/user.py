"""A user: what they may use, and why."""

import asyncio
from typing import Final

from canuse.v1 import catalog_service_pb2 as catalog
from canuse.v1 import entitlement_service_pb2 as entitlement
from canuse.v1 import subscription_service_pb2 as subscription
from canuse.v1 import usage_service_pb2 as usage
from canuse.v1 import user_service_pb2 as pb
from canuse_server.api.errors import ApiError
from canuse_server.transport.http.console.visit import View, Visit

PAGE_SIZE: Final = 50


async def read(visit: Visit) -> View:
    """Show the user's entitlements, subscriptions and grants."""
    user_id, every = visit.query("id"), bool(visit.query("all"))
    user, entitlements, subscriptions, grants, leases = await asyncio.gather(
        visit.call_if_may("UserService/GetUser", pb.GetUserRequest(user_id=user_id), pb.GetUserResponse),
        visit.call_if_may(
            "EntitlementService/ListEntitlements",
            entitlement.ListEntitlementsRequest(
                user_id=user_id, page_size=PAGE_SIZE, page_token=visit.query("page_token"), include_locked=every
            ),
            entitlement.ListEntitlementsResponse,
        ),
        visit.call_if_may(
            "SubscriptionService/ListSubscriptions",
            subscription.ListSubscriptionsRequest(user_id=user_id, page_size=PAGE_SIZE),
            subscription.ListSubscriptionsResponse,
        ),
        visit.call_if_may(
            "SubscriptionService/ListGrants",
            subscription.ListGrantsRequest(user_id=user_id, page_size=PAGE_SIZE),
            subscription.ListGrantsResponse,
        ),
        visit.call_if_may(
            "UsageService/ListLeases",
            usage.ListLeasesRequest(user_id=user_id, page_size=PAGE_SIZE),
            usage.ListLeasesResponse,
        ),
    )
    shown = entitlements.entitlements if entitlements else ()
    values = {
        "user_id": user_id,
        "user": user.user if user else None,
        "entitlements": entitlements,
        "features": await features_of(visit, [each.feature_id for each in shown]),
        "subscriptions": subscriptions,
        "grants": grants,
        "leases": leases,
        "every": every,
    }
    return View("user.html", values)


async def features_of(visit: Visit, feature_ids: list[str]) -> dict[str, catalog.Feature]:
    """Return features by id, as far as the visitor may see them."""
    if not visit.may("CatalogService/GetFeature"):
        return {}

    async def one(feature_id: str) -> tuple[str, catalog.Feature] | None:
        request = catalog.GetFeatureRequest(feature_id=feature_id)
        try:
            answer = await visit.call("CatalogService/GetFeature", request, catalog.GetFeatureResponse, shown=False)
        except ApiError:
            return None
        return feature_id, answer.feature

    found = await asyncio.gather(*map(one, dict.fromkeys(feature_ids)))
    return dict(each for each in found if each is not None)
