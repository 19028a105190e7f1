"""Hot methods on the event loop: a round trip to the store, and repairs if one is not enough."""

from canuse_server.api.environment import Environment
from canuse_server.api.errors import feature_not_found
from canuse_server.api.failures import log_store_failure
from canuse_server.api.hotpath.decisions import DECISIONS, count_decision
from canuse_server.api.hotpath.explain import explain
from canuse_server.api.hotpath.method import (
    RETRYABLE,
    ExplanationWantedError,
    FeatureUnknownError,
    HotMethod,
    Plan,
    StoreNotNeededError,
)
from canuse_server.api.users.changes import create_default_user, renew
from canuse_server.api.users.state import MAX_REPAIRS
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from canuse_server.store.repositories.usage_commands import LeasesDueError, StaleError, UserMissingError


async def answer(method: HotMethod, payload: bytes, env: Environment) -> bytes:
    """Answer a call of a hot method, with repairs. The batch lane delegates calls that need them.

    Raises:
        ApiError: the request is invalid, or the user or feature does not exist.
        StoreError: the store is unavailable, and there is no response without it.
    """
    plan = None
    try:
        for _ in range(MAX_REPAIRS):
            try:
                plan = method.plan(payload, env)
                reply, now_ms = await env.store.execute(plan.command)
                response = method.respond(plan, reply, now_ms)
                count_decision(DECISIONS.own(), env.environment, method, plan, response)
                return response
            except StoreNotNeededError as error:
                return error.answer
            except ExplanationWantedError as error:
                response = await explain(error.plan, env)
                count_decision(DECISIONS.own(), env.environment, method, error.plan, response)
                return response
            except RETRYABLE as retryable:
                await repair(retryable, plan.user_id if plan else "", env)
        raise retries_exhausted()
    except (StoreUnavailableError, OutcomeUnknownError) as error:
        return without_store(method, plan, error)


def without_store(method: HotMethod, plan: Plan | None, error: StoreError) -> bytes:
    """Return the response while the store is unavailable; raise the error if there is none.

    Raises:
        ApiError: as `respond` of the method.
    """
    response = None if plan is None else method.without_store(plan)
    if response is None:
        raise error
    log_store_failure(method.path, error)
    return response


async def repair(retryable: Exception, user_id: str, env: Environment) -> None:
    """Repair the cause of a retryable error, before the call is made again.

    Raises:
        ApiError: that is impossible: the user or the feature does not exist.
        StoreError: the store is unavailable.
    """
    if isinstance(retryable, FeatureUnknownError):
        if await env.cache.find_feature(retryable.feature_id) is None:
            raise retryable.refusal or feature_not_found(retryable.feature_id)
    elif isinstance(retryable, UserMissingError):
        await create_default_user(env, user_id)
    elif isinstance(retryable, LeasesDueError):
        await env.leases.sweep(user_id)
    elif isinstance(retryable, StaleError):
        await renew(env, user_id)


def retries_exhausted() -> StoreUnavailableError:
    """Return the error for a call that needed too many repairs."""
    return StoreUnavailableError("what a call needs went stale again and again")
