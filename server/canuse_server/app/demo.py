"""The example catalogue of the README, for `--demo`. Existing data is not changed."""

from collections.abc import Awaitable
from typing import Final

import structlog
from grpc import StatusCode

from canuse.v1 import catalog_service_pb2 as catalog
from canuse.v1 import subscription_service_pb2 as subscription
from canuse.v1 import user_service_pb2 as user
from canuse_server.api.context import CallContext
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.services.catalog_service.servicer import CatalogServicer
from canuse_server.api.services.subscription_service.servicer import SubscriptionServicer
from canuse_server.api.services.users import UserServicer

FEATURES: Final = (
    catalog.Feature(
        id="api-calls",
        name="API calls",
        type=catalog.FEATURE_TYPE_CONSUMABLE,
        unit_label="call",
        unit_label_plural="calls",
    ),
    catalog.Feature(
        id="messages",
        name="Messages",
        type=catalog.FEATURE_TYPE_CONSUMABLE,
        unit_label="message",
        unit_label_plural="messages",
    ),
    catalog.Feature(id="sso", name="Single sign-on", type=catalog.FEATURE_TYPE_BINARY),
)
PACKAGES: Final = (
    catalog.Package(
        id="starter",
        name="Starter",
        features=[
            catalog.PackageFeature(feature_id="api-calls", limit=100, reset_period=catalog.RESET_PERIOD_MONTH),
            catalog.PackageFeature(feature_id="messages", limit=5, reset_period=catalog.RESET_PERIOD_DAY),
        ],
    ),
    catalog.Package(
        id="pro",
        name="Pro",
        features=[
            catalog.PackageFeature(feature_id="api-calls", reset_period=catalog.RESET_PERIOD_MONTH),
            catalog.PackageFeature(
                feature_id="messages", limit=1000, reset_period=catalog.RESET_PERIOD_DAY, overage_enabled=True
            ),
            catalog.PackageFeature(feature_id="sso"),
        ],
    ),
)
USERS: Final = {"124": "starter", "200": "pro"}

log = structlog.get_logger(__name__)


async def load_demo(env: Environment) -> None:
    """Create the missing features, packages and users of the example."""
    context = CallContext(env)
    catalogue, users, subscriptions = CatalogServicer(), UserServicer(), SubscriptionServicer()
    for feature in FEATURES:
        await _ignore_existing(catalogue.create_feature(catalog.CreateFeatureRequest(feature=feature), context))
    for package in PACKAGES:
        await _ignore_existing(catalogue.create_package(catalog.CreatePackageRequest(package=package), context))
        await _ignore_existing(catalogue.publish_package(catalog.PublishPackageRequest(package_id=package.id), context))
    for user_id, package_id in USERS.items():
        await _ignore_existing(users.create_user(user.CreateUserRequest(user=user.User(id=user_id)), context))
        listing = subscription.ListSubscriptionsRequest(user_id=user_id)
        if not (await subscriptions.list_subscriptions(listing, context)).subscriptions:
            request = subscription.SubscribeRequest(user_id=user_id, package_ids=[package_id])
            await _ignore_existing(subscriptions.subscribe(request, context))


async def _ignore_existing(creation: Awaitable[object]) -> None:
    """Await the creation of an object; one that already exists stays as it is and does not prevent the start."""
    try:
        await creation
    except ApiError as error:
        if error.reason.status == StatusCode.FAILED_PRECONDITION:
            log.warning("part of the example data could not be created", cause=error.message)
        elif error.reason.status != StatusCode.ALREADY_EXISTS:
            raise
