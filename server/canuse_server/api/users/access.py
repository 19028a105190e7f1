"""Which of a user's subscriptions give access, for what is built on the messages of the API."""

from collections.abc import Iterable

from canuse.v1 import subscription_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.failures import to_api_error
from canuse_server.domain.subscriptions import gives_access
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError


async def giving_access(
    context: CallContext, user_id: str, subscriptions: Iterable[pb.Subscription]
) -> list[pb.Subscription]:
    """Return those of a user's subscriptions that give access now, by the time of the store; raise ApiError if it
    cannot tell the time. `context`: of an authorized call.
    """
    try:
        now_ms = await context.env.store.now_ms(context.env.keys.user(user_id))
    except (StoreUnavailableError, OutcomeUnknownError) as error:
        raise to_api_error(context.path, error) from error
    return [each for each in subscriptions if gives_access(each.status, each.started_at.ToMilliseconds(), now_ms)]
