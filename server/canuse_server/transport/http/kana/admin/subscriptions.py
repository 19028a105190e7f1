"""Subscriptions of the Admin API. Kana's three rules have Kana's words: programs compare them."""

from typing import Any, Final

from ariadne import MutationType, ObjectType, QueryType

from canuse import v1
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.api.users.access import giving_access
from canuse_server.transport.http.kana import words
from canuse_server.transport.http.kana.errors import KanaError, subscription_error
from canuse_server.transport.http.kana.execution import Info
from canuse_server.transport.http.kana.work import Work

_query, _mutation, _subscription = QueryType(), MutationType(), ObjectType("PackageSubscription")
BOUND: Final = (_query, _mutation, _subscription)
LIST_SUBSCRIPTIONS: Final = "SubscriptionService/ListSubscriptions"
NO_BASE: Final = "Cannot subscribe to addon. Missing live tier subscription."
SECOND_BASE: Final = "Cannot subscribe to multiple tiers"
NO_PACKAGE: Final = "Package Id not found for app"
NO_PAYMENTS: Final = "there is no payment provider: subscribe a user with the mutation subscribe"


@_query.field("subscription")
async def _get_subscription(_: Any, info: Info, id: str) -> v1.Subscription:  # noqa: A002 - Kana's name
    work: Work = info.context
    request = v1.GetSubscriptionRequest(subscription_id=id)
    answer = await work.calls("SubscriptionService/GetSubscription", request, v1.GetSubscriptionResponse)
    return answer.subscription


@_query.field("subscriptions")
async def _subscriptions(_: Any, info: Info, user_id: str | None = None) -> Any:
    work: Work = info.context
    if user_id == "":
        # canuse takes an empty id for all users.
        raise KanaError("userId: must not be empty; without the argument, the subscriptions of all users are listed")
    return work.listed(await subscriptions_of(work, user_id or ""))


async def subscriptions_of(work: Work, user_id: str) -> list[v1.Subscription]:
    """Return the subscriptions of a user, or of all users if the id is empty."""
    request = v1.ListSubscriptionsRequest(user_id=user_id)
    return await work.calls.all(LIST_SUBSCRIPTIONS, request, v1.ListSubscriptionsResponse, "subscriptions")


@_mutation.field("subscribe")
async def _subscribe(
    _: Any,
    info: Info,
    user_id: str,
    package_ids: list[str] | None = None,
    plan_ids: list[int] | None = None,
) -> Any:
    work: Work = info.context
    if package_ids is None and plan_ids is None:
        raise KanaError("subscribe: the argument packageIds is missing")
    ids = [*(package_ids or ()), *map(str, plan_ids or ())]
    request = v1.SubscribeRequest(user_id=user_id, package_ids=ids)
    try:
        await _require_base(work, user_id, [await work.catalog.package(package_id) for package_id in ids])
        answer = await work.calls("SubscriptionService/Subscribe", request, v1.SubscribeResponse)
    except ApiError as error:
        if error.reason is ErrorReason.PACKAGE_NOT_FOUND:
            raise subscription_error(NO_PACKAGE) from error
        if error.reason is ErrorReason.SECOND_BASE_PACKAGE:
            raise subscription_error(SECOND_BASE) from error
        raise
    return work.listed(answer.subscriptions)


async def _require_base(work: Work, user_id: str, packages: list[v1.Package]) -> None:
    """Raise KanaError if there are only add-ons, for a user without a base package. canuse has no such rule."""
    if not packages or not all(map(words.is_addon, packages)):
        return
    subscriptions = await subscriptions_of(work, user_id)
    for subscription in await giving_access(work.calls.open(LIST_SUBSCRIPTIONS), user_id, subscriptions):
        if not words.is_addon(await _package(subscription, work)):
            return
    raise subscription_error(NO_BASE)


async def _package(subscription: v1.Subscription, work: Work) -> v1.Package:
    return await work.catalog.package(subscription.package_id, subscription.package_version)


@_subscription.field("status")
def _status(subscription: v1.Subscription, _: Info) -> str:
    return words.word(v1.SubscriptionStatus, subscription.status, "SUBSCRIPTION_STATUS_")


@_subscription.field("package")
@_subscription.field("plan")
async def _package_of(subscription: v1.Subscription, info: Info) -> v1.Package:
    return await _package(subscription, info.context)


@_mutation.field("generateSubscriptionLink")
def _generate_subscription_link(_: Any, __: Info, **___: Any) -> None:
    raise KanaError(NO_PAYMENTS, name="SubscriptionLinkError")
