"""Values of messages in the words of Kana's API."""

from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from canuse_server.transport.http.kana.errors import KanaError

MAX_INT: Final = (1 << 31) - 1
USE_GRPC: Final = "amounts beyond 32 bits need canuse's own API, over gRPC or HTTP"
REASONS: Final = {
    v1.REASON_INCLUDED: "The feature is included in a package of the user.",
    v1.REASON_WITHIN_BUDGET: "The amount is within the budget of the current period.",
    v1.REASON_UNLIMITED: "The user may use the feature without a limit.",
    v1.REASON_OVERAGE: "The amount exceeds the budget, but overage is enabled.",
    v1.REASON_NOT_ENTITLED: "No package of the user has the feature.",
    v1.REASON_BUDGET_EXCEEDED: "The amount exceeds what is left of the budget.",
    v1.REASON_SUBSCRIPTION_INACTIVE: "The subscription that has the feature is not active.",
    v1.REASON_FEATURE_ARCHIVED: "The feature is archived.",
    v1.REASON_USER_DISABLED: "The user is disabled.",
    v1.REASON_STORE_UNAVAILABLE: "The counts cannot be read at the moment.",
}


def reason(number: int) -> str:
    """Return a reason as a sentence."""
    return REASONS.get(v1.Reason.ValueType(number), "The server gives no reason.")


def word(kind: Any, number: int, prefix: str) -> str:
    """Return the name of an enum's value without its prefix."""
    name: str = kind.Name(number)
    return name.removeprefix(prefix)


def feature_type(feature: v1.Feature) -> str:
    """Return BINARY or CONSUMABLE."""
    return word(v1.FeatureType, feature.type, "FEATURE_TYPE_")


def is_addon(package: v1.Package) -> bool:
    """Whether a package is an add-on."""
    return package.type == v1.PACKAGE_TYPE_ADD_ON


def date_time(time: Timestamp) -> str:
    """Return a time like 2026-01-31T12:00:00.000Z."""
    return time.ToDatetime().isoformat(timespec="milliseconds") + "Z"


def consumption(of: v1.Consumption) -> dict[str, Any]:
    """Return the counts of a period; raise KanaError where GraphQL has no number for them."""
    budget = amount(of.budget) if of.HasField("budget") else None
    return {"used": amount(of.used), "budget": budget, "overage_enabled": of.overage_enabled}


def amount(number: int) -> int:
    """Return an amount; raise KanaError where it is too large. A field that fails is null, which means unlimited."""
    if number > MAX_INT:
        raise KanaError(f"{number} is too large for GraphQL; {USE_GRPC}")
    return number


def decision(answer: v1.CanUseResponse | v1.Entitlement) -> dict[str, Any]:
    """Return whether a feature may be used, and why; `counts` is what `consumption_of` reads."""
    counts = answer.consumption if answer.HasField("consumption") else None
    return {"access": answer.access, "reason": reason(answer.reason), "counts": counts}


def consumption_of(answer: dict[str, Any], _: Any) -> dict[str, Any] | None:
    """Resolve the field `consumption` of a decision."""
    return None if answer["counts"] is None else consumption(answer["counts"])
