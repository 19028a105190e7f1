"""The hot methods as the event loop answers them: a trip to the store, with detours where one trip is not enough."""

from canuse_server.api.environment import World
from canuse_server.api.errors import feature_not_found
from canuse_server.api.failures import note_store_fault
from canuse_server.api.hotpath.explain import explain
from canuse_server.api.hotpath.method import (
    DETOURS,
    AnsweredError,
    ExplanationWantedError,
    FeatureUnknownError,
    HotMethod,
    Plan,
)
from canuse_server.api.users.changes import create_default_user, renew
from canuse_server.api.users.state import DETOURS_AT_MOST
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from canuse_server.store.repositories.usage_commands import LeasesDueError, StaleError, UserMissingError


async def answer(method: HotMethod, payload: bytes, world: World) -> bytes:
    """Answer a call of a hot method, detours and all. The batch lane leaves to this what it can't answer itself.

    Raises:
        ApiError: the call is no good, or the user or feature unknown.
        StoreError: the store is away, and there is no answer without it.
    """
    plan = None
    try:
        for _ in range(DETOURS_AT_MOST):
            try:
                plan = method.plan(payload, world)
                reply, now_ms = await world.store.travel(plan.trip)
                return method.conclude(plan, reply, now_ms)
            except AnsweredError as known:
                return known.answer
            except ExplanationWantedError as wanted:
                return await explain(wanted.plan, world)
            except DETOURS as detour:
                await take(detour, plan.user_id if plan else "", world)
        raise gone_stale()
    except (StoreUnavailableError, OutcomeUnknownError) as error:
        return without_store(method, plan, error)


def without_store(method: HotMethod, plan: Plan | None, error: StoreError) -> bytes:
    """Answer a call that the store failed, where there is an answer without it; else raise the error.

    Raises:
        ApiError: as `conclude` of the method would.
    """
    known = None if plan is None else method.without_store(plan)
    if known is None:
        raise error
    note_store_fault(method.path, error)
    return known


async def take(detour: Exception, user_id: str, world: World) -> None:
    """Do what has to be done before a call that took a detour is made again.

    Raises:
        ApiError: it can't be: the user or the feature is unknown.
        StoreError: the store is away.
    """
    if isinstance(detour, FeatureUnknownError):
        if await world.cache.find_feature(detour.feature_id) is None:
            raise detour.refusal or feature_not_found(detour.feature_id)
    elif isinstance(detour, UserMissingError):
        await create_default_user(world, user_id)
    elif isinstance(detour, LeasesDueError):
        await world.leases.sweep(user_id)
    elif isinstance(detour, StaleError):
        await renew(world, user_id)


def gone_stale() -> StoreUnavailableError:
    """Return the error for a call that took one detour after the other."""
    return StoreUnavailableError("what a call needs went stale again and again")
