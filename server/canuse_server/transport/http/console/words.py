"""Words for people in place of the names in the API."""

from collections.abc import Mapping
from typing import Final

from google.protobuf.descriptor import EnumDescriptor

from canuse.v1 import api_key_service_pb2 as api_key
from canuse.v1 import catalog_service_pb2 as catalog
from canuse.v1 import subscription_service_pb2 as subscription
from canuse.v1.reason_pb2 import Reason
from canuse_server.api.hotpath.decisions import RATE_LIMIT_OK, RATE_LIMIT_OVER_LIMIT

_RATE_LIMITS: Final = {RATE_LIMIT_OK: "Rate limit: within", RATE_LIMIT_OVER_LIMIT: "Rate limit: over"}
PERIODS: Final[Mapping[int, str]] = {
    catalog.RESET_PERIOD_NEVER: "in total",
    catalog.RESET_PERIOD_HOUR: "an hour",
    catalog.RESET_PERIOD_DAY: "a day",
    catalog.RESET_PERIOD_WEEK: "a week",
    catalog.RESET_PERIOD_MONTH: "a month",
    catalog.RESET_PERIOD_YEAR: "a year",
}


def words(kind: EnumDescriptor, number: int, prefix: str) -> str:
    """Return a value of an enum as words: `REASON_NOT_ENTITLED` is `Not entitled`; a newer one as its number."""
    value = kind.values_by_number.get(number)
    return str(number) if value is None else value.name.removeprefix(prefix).replace("_", " ").capitalize()


def reason_words(number: int) -> str:
    """Return a reason in words."""
    return _RATE_LIMITS.get(number) or words(Reason.DESCRIPTOR, number, "REASON_")


def status_words(number: int) -> str:
    """Return the status of a subscription in words."""
    return words(subscription.SubscriptionStatus.DESCRIPTOR, number, "SUBSCRIPTION_STATUS_")


def entry_words(entry: catalog.PackageFeature, feature: catalog.Feature | None) -> str:
    """Return what a package gives of a feature, in words. None: the visitor may not see the feature."""
    if feature is not None and feature.type == catalog.FEATURE_TYPE_BINARY:
        return "included"
    if not entry.HasField("limit"):
        return "unlimited"
    overage = ", then overage" if entry.overage_enabled else ""
    return f"{entry.limit:,} {PERIODS.get(entry.reset_period, '')}".strip() + overage


def given_words(given: catalog.PackageFeature) -> str:
    """Return what packages give a user of a feature together, in words."""
    # A binary feature has no period.
    return "included" if given.reset_period == catalog.RESET_PERIOD_UNSPECIFIED else entry_words(given, None)


def feature_type_words(number: int) -> str:
    """Return the type of a feature in words."""
    return words(catalog.FeatureType.DESCRIPTOR, number, "FEATURE_TYPE_")


def package_type_words(number: int) -> str:
    """Return the type of a package in words."""
    return words(catalog.PackageType.DESCRIPTOR, number, "PACKAGE_TYPE_")


def package_status_words(number: int) -> str:
    """Return the status of a version of a package in words."""
    return words(catalog.PackageStatus.DESCRIPTOR, number, "PACKAGE_STATUS_")


def catalog_action_words(number: int) -> str:
    """Return the kind of a change of the catalogue in words."""
    return words(catalog.CatalogAction.DESCRIPTOR, number, "CATALOG_ACTION_")


def on_unavailable_words(number: int) -> str:
    """Return in words what a feature's checks answer while the store is unavailable."""
    return words(catalog.OnUnavailable.DESCRIPTOR, number, "ON_UNAVAILABLE_")


def environment_words(number: int) -> str:
    """Return an environment's name."""
    return words(api_key.Environment.DESCRIPTOR, number, "ENVIRONMENT_").lower()
