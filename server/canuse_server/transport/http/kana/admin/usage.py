"""Checks and usage of the Admin API."""

from typing import Any, Final

from ariadne import MutationType, ObjectType, QueryType

from canuse import v1
from canuse_server.transport.http.kana import words
from canuse_server.transport.http.kana.execution import Info
from canuse_server.transport.http.kana.work import Work

_query, _mutation = QueryType(), MutationType()
_feature, _entitlement, _decision = ObjectType("Feature"), ObjectType("Entitlement"), ObjectType("CanUseFeatureData")
BOUND: Final = (_query, _mutation, _feature, _entitlement, _decision)
for _kind in (_entitlement, _decision):
    _kind.set_field("consumption", words.consumption_of)


@_query.field("canUseFeature")
async def _can_use_feature(
    _: Any, info: Info, user_id: str, feature_id: str, delta: int | None = None
) -> dict[str, Any]:
    return await _can_use(info.context, user_id, feature_id, delta)


async def _can_use(work: Work, user_id: str, feature_id: str, delta: int | None = None) -> dict[str, Any]:
    request = v1.CanUseRequest(user_id=user_id, feature_id=feature_id, delta=delta)
    return words.decision(await work.calls("EntitlementService/CanUse", request, v1.CanUseResponse))


@_feature.field("entitlement")
async def _entitlement_of(feature: v1.Feature, info: Info, user_id: str) -> dict[str, Any]:
    return await _can_use(info.context, user_id, feature.id)


@_decision.field("data")
def _data(decision: dict[str, Any], _: Info) -> dict[str, Any]:
    return decision


@_query.field("showUsage")
async def _show_usage(_: Any, info: Info, user_id: str, feature_id: str) -> dict[str, Any]:
    work: Work = info.context
    request = v1.ShowUsageRequest(user_id=user_id, feature_id=feature_id)
    answer = await work.calls("UsageService/ShowUsage", request, v1.ShowUsageResponse)
    return {
        "current": _current(answer.current) if answer.HasField("current") else None,
        "past": work.listed([_past(period) for period in answer.past]),
    }


def _current(period: v1.Consumption) -> dict[str, Any]:
    return {
        "period_start": words.date_time(period.period_start),
        "period_end": words.date_time(period.resets_at) if period.HasField("resets_at") else None,
        "consumption": words.consumption(period),
    }


def _past(period: v1.PastPeriod) -> dict[str, Any]:
    return {
        "period_start": words.date_time(period.period_start),
        "period_end": words.date_time(period.period_end),
        "consumption": {
            "used": words.amount(period.used),
            "budget": words.amount(period.budget) if period.HasField("budget") else None,
            # Whether it was allowed is not kept; that there was some is.
            "overage_enabled": period.overage > 0,
        },
    }


@_mutation.field("recordUsage")
async def _record_usage(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:  # noqa: A002 - Kana's name
    answer = await _record(info.context, input)
    return {"recorded": answer.recorded, "reason": None if answer.recorded else words.reason(answer.reason)}


@_mutation.field("createUsageEvent")
async def _create_usage_event(_: Any, info: Info, input: dict[str, Any]) -> bool:  # noqa: A002
    return (await _record(info.context, input)).recorded


async def _record(work: Work, sent: dict[str, Any]) -> v1.CreateUsageEventResponse:
    request = v1.CreateUsageEventRequest(
        user_id=sent["user_id"],
        feature_id=sent["feature_id"],
        delta=sent.get("delta"),
        action=v1.USAGE_ACTION_SET if sent.get("action") == "SET" else v1.USAGE_ACTION_ADD,
    )
    return await work.calls("EntitlementService/CreateUsageEvent", request, v1.CreateUsageEventResponse)
