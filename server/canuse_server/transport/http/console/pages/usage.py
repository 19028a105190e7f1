"""A user's use of one feature: now, where it comes from, and in the past."""

from typing import Final

from canuse.v1 import usage_service_pb2 as pb
from canuse_server.transport.http.console import shown
from canuse_server.transport.http.console.pages.user import features_of
from canuse_server.transport.http.console.visit import View, Visit

MAX_PERIODS: Final = 62
"""How many periods the chart has at most."""


async def read(visit: Visit) -> View:
    """Show it."""
    user_id, feature_id = visit.query("id"), visit.query("feature")
    request = pb.ShowUsageRequest(user_id=user_id, feature_id=feature_id)
    answer = await visit.call("UsageService/ShowUsage", request, pb.ShowUsageResponse)
    features = await features_of(visit, [feature_id])
    past = list(answer.past[:MAX_PERIODS])
    rows = [
        (
            shown.day(each.period_start),
            f"{shown.date_time(each.period_start)}: {each.used:,} used",
            each.used,
            each.overage,
        )
        for each in reversed(past)
    ]
    if answer.HasField("current"):
        used = answer.current.used
        beyond = max(used - answer.current.budget, 0) if answer.current.HasField("budget") else 0
        rows.append(("now", f"this period: {used:,} used", used, beyond))
    values = {
        "user_id": user_id,
        "feature_id": feature_id,
        "feature": features.get(feature_id),
        "usage": answer,
        "past": past,
        "rows": rows,
        "unshown": len(answer.past) - len(past),
    }
    return View("usage.html", values)
