"""ListSubscriptions: of one user or of all, filtered by package and status."""

from typing import Final

from canuse.v1 import subscription_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import subscription_message
from canuse_server.api.environment import Environment
from canuse_server.api.errors import package_not_found, user_not_found
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.validation import Violations, page_size
from canuse_server.domain.model import Subscription, SubscriptionStatus
from canuse_server.domain.subscriptions import ENDED, status_at
from canuse_server.runtime.fairness import yield_if_due
from canuse_server.store.keys import bucket_of

MAX_USERS_READ: Final = 1000
"""Maximum number of users that a page reads."""
USERS_AT_ONCE: Final = 100
_SEPARATOR: Final = "\n"
"""Separates a user id and a token; no id has control characters."""


async def list_subscriptions(
    request: pb.ListSubscriptionsRequest, context: CallContext
) -> pb.ListSubscriptionsResponse:
    """List subscriptions, oldest first for each user."""
    group, last = page_tokens.decode(request)
    violations = Violations()
    if request.user_id:
        violations.id("user_id", request.user_id)
    if request.package_id:
        violations.id("package_id", request.package_id)
    if request.status not in (pb.SUBSCRIPTION_STATUS_UNSPECIFIED, *SubscriptionStatus):
        accepted = ", ".join(status.name for status in SubscriptionStatus)
        violations.add("status", f"must be one of {accepted}, or nothing; {request.status} was sent")
    violations.check()
    if request.package_id and await context.env.catalog.package(request.package_id) is None:
        raise package_not_found(request.package_id)
    if not request.user_id:
        return await _of_all(request, context.env, group, last)
    found = await context.env.users.all_subscriptions(request.user_id)
    if found is None:
        raise user_not_found(request.user_id)
    listed, now_ms = found
    subscriptions, token = await page_tokens.fill(
        request,
        [item for item in listed if _age(item) > (group, last) and _matches(request, item, now_ms)],
        lambda item: subscription_message(request.user_id, item, now_ms),
        lambda item: (item.token, item.started_at_ms),
    )
    return pb.ListSubscriptionsResponse(subscriptions=subscriptions, next_page_token=token)


async def _of_all(
    request: pb.ListSubscriptionsRequest, env: Environment, started_at_ms: int, last: str
) -> pb.ListSubscriptionsResponse:
    """List the subscriptions of all users, after the last user of the previous page or within that user."""
    size, remaining_bytes = page_size(request.page_size), page_tokens.BYTES
    last_user_id, within, after_token = last.partition(_SEPARATOR)
    user_ids = await env.users.page((bucket_of(last_user_id), last_user_id) if last else (0, ""), MAX_USERS_READ + 1)
    more, user_ids = len(user_ids) > MAX_USERS_READ, user_ids[:MAX_USERS_READ]
    if within:
        user_ids.insert(0, last_user_id)
    page: list[pb.Subscription] = []
    ended = request.status in (pb.SUBSCRIPTION_STATUS_UNSPECIFIED, *map(int, ENDED))
    place = (last, started_at_ms)
    for at in range(0, len(user_ids), USERS_AT_ONCE):
        batch = user_ids[at : at + USERS_AT_ONCE]
        found, now_ms = await env.users.all_subscriptions_of(batch, ended=ended)
        for user_id, items in zip(batch, found, strict=True):
            for item in items:
                if within and user_id == last_user_id and _age(item) <= (started_at_ms, after_token):
                    continue
                if not _matches(request, item, now_ms):
                    continue
                if len(page) == size or remaining_bytes < 0:
                    token = page_tokens.encode(request, *place)
                    return pb.ListSubscriptionsResponse(subscriptions=page, next_page_token=token)
                page.append(subscription_message(user_id, item, now_ms))
                remaining_bytes -= page[-1].ByteSize()
                place = (f"{user_id}{_SEPARATOR}{item.token}", item.started_at_ms)
                await yield_if_due()
            place = (user_id, 0)
    token = page_tokens.encode(request, *place) if more else ""
    return pb.ListSubscriptionsResponse(subscriptions=page, next_page_token=token)


def _age(item: Subscription) -> tuple[int, str]:
    return item.started_at_ms, item.token


def _matches(request: pb.ListSubscriptionsRequest, item: Subscription, now_ms: int) -> bool:
    """Whether a subscription matches the filters of a request."""
    if request.package_id not in ("", item.package_id):
        return False
    return request.status in (pb.SUBSCRIPTION_STATUS_UNSPECIFIED, status_at(item, now_ms))
