"""Words for people in place of the names in the API."""

from collections.abc import Mapping
from typing import Final

from google.protobuf.descriptor import EnumDescriptor

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


def limit_words(limit: int | None, period: int) -> str:
    """Return a package's limit in words."""
    if limit is None:
        return "unlimited"
    return f"{limit:,} {PERIODS.get(period, '')}".strip()
