"""The example catalogue of the README, for `--demo`. What is there already stays as it is."""

from typing import Final

from canuse.v1 import catalog_service_pb2 as catalog
from canuse.v1 import subscription_service_pb2 as subscription
from canuse.v1 import user_service_pb2 as user
from canuse_server.api.catalog import CatalogServicer
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.api.subscriptions import SubscriptionServicer
from canuse_server.api.users import UserServicer
from canuse_server.api.world import World

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

_PRESENT: Final = (ErrorReason.FEATURE_EXISTS, ErrorReason.PACKAGE_EXISTS, ErrorReason.USER_EXISTS)


async def load_demo(world: World) -> None:
    """Create the example's features, packages and users where they are missing."""
    catalogue, users, subscriptions = CatalogServicer(), UserServicer(), SubscriptionServicer()
    for feature in FEATURES:
        try:
            await catalogue.create_feature(catalog.CreateFeatureRequest(feature=feature), world)
        except ApiError as error:
            _ignore_present(error)
    for package in PACKAGES:
        try:
            await catalogue.create_package(catalog.CreatePackageRequest(package=package), world)
            await catalogue.publish_package(catalog.PublishPackageRequest(package_id=package.id), world)
        except ApiError as error:
            _ignore_present(error)
    for user_id, package_id in USERS.items():
        try:
            await users.create_user(user.CreateUserRequest(user=user.User(id=user_id)), world)
            request = subscription.SubscribeRequest(user_id=user_id, package_ids=[package_id])
            await subscriptions.subscribe(request, world)
        except ApiError as error:
            _ignore_present(error)


def _ignore_present(error: ApiError) -> None:
    if error.reason not in _PRESENT:
        raise error
