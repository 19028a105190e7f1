"""The hot methods as the event loop answers them: a round trip to the store, and repairs where one is not enough."""

from canuse_server.api.environment import Environment
from canuse_server.api.errors import feature_not_found
from canuse_server.api.failures import log_store_failure
from canuse_server.api.hotpath.explain import explain
from canuse_server.api.hotpath.method import (
    RETRYABLE,
    AnsweredError,
    ExplanationWantedError,
    FeatureUnknownError,
    HotMethod,
    Plan,
)
from canuse_server.api.users.changes import create_default_user, renew
from canuse_server.api.users.state import MAX_REPAIRS
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from canuse_server.store.repositories.usage_commands import LeasesDueError, StaleError, UserMissingError


async def answer(method: HotMethod, payload: bytes, env: Environment) -> bytes:
    """Answer a call of a hot method, repairs and all. The batch lane leaves to this what it can't answer itself.

    Raises:
        ApiError: the call is no good, or the user or feature unknown.
        StoreError: the store is unavailable, and there is no answer without it.
    """
    plan = None
    try:
        for _ in range(MAX_REPAIRS):
            try:
                plan = method.plan(payload, env)
                reply, now_ms = await env.store.execute(plan.command)
                return method.respond(plan, reply, now_ms)
            except AnsweredError as known:
                return known.answer
            except ExplanationWantedError as wanted:
                return await explain(wanted.plan, env)
            except RETRYABLE as retryable:
                await repair(retryable, plan.user_id if plan else "", env)
        raise retries_exhausted()
    except (StoreUnavailableError, OutcomeUnknownError) as error:
        return without_store(method, plan, error)


def without_store(method: HotMethod, plan: Plan | None, error: StoreError) -> bytes:
    """Answer a call that the store failed, where there is an answer without it; else raise the error.

    Raises:
        ApiError: as `respond` of the method would.
    """
    known = None if plan is None else method.without_store(plan)
    if known is None:
        raise error
    log_store_failure(method.path, error)
    return known


async def repair(retryable: Exception, user_id: str, env: Environment) -> None:
    """Do what has to be done before a call that needs a repair is made again.

    Raises:
        ApiError: it can't be: the user or the feature is unknown.
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
    """Return the error for a call that needed one repair after the other."""
    return StoreUnavailableError("what a call needs went stale again and again")
