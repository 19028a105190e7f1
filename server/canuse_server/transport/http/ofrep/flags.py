"""An entitlement as a flag: the value is whether the user may use the feature, the variant why."""

from collections.abc import Mapping
from typing import Any, Final

from canuse.v1 import entitlement_service_pb2 as pb
from canuse.v1.consumption_pb2 import Consumption
from canuse.v1.reason_pb2 import REASON_FEATURE_ARCHIVED, REASON_STORE_UNAVAILABLE, Reason

_PREFIX: Final = "REASON_"
_OPENFEATURE_REASONS: Final[Mapping[int, str]] = {
    REASON_FEATURE_ARCHIVED: "DISABLED",
    REASON_STORE_UNAVAILABLE: "UNKNOWN",
}
"""The reasons that do not come from the user's own entitlement. That of others is TARGETING_MATCH."""


def flag(feature_id: str, answer: pb.CanUseResponse | pb.Entitlement) -> dict[str, Any]:
    """Return an answer about a feature as a flag."""
    shown = {
        "key": feature_id,
        "value": answer.access,
        "reason": _OPENFEATURE_REASONS.get(answer.reason, "TARGETING_MATCH"),
        "variant": Reason.Name(answer.reason).removeprefix(_PREFIX),
    }
    return {**shown, "metadata": _metadata(answer.consumption)} if answer.HasField("consumption") else shown


def _metadata(counts: Consumption) -> dict[str, int | str]:
    """Return counts as the metadata of a flag, which has only plain values."""
    shown: dict[str, int | str] = {"used": counts.used, "reserved": counts.reserved}
    if counts.HasField("budget"):
        shown |= {"budget": counts.budget, "remaining": counts.remaining}
    if counts.HasField("resets_at"):
        shown["resets_at"] = counts.resets_at.ToJsonString()
    return shown
