"""SubscriptionService: which users have which packages."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from canuse.v1 import subscription_service_pb2 as pb
from canuse_server.api import pages, subscription_ids
from canuse_server.api.convert import subscription_message, timestamp
from canuse_server.api.errors import (
    ApiError,
    ErrorReason,
    invalid,
    subscription_not_found,
    user_not_found,
)
from canuse_server.api.grants import GrantMethods
from canuse_server.api.user_changes import Edit, change_user, new_token, published_package
from canuse_server.api.validation import Violations, masked, require_id
from canuse_server.api.world import World
from canuse_server.domain.model import Subscription, SubscriptionStatus
from canuse_server.domain.subscriptions import ENDED, has_two_bases, period_end_ms, status_at
from canuse_server.store.users import UserState

PACKAGES_AT_MOST: Final = 32
CHANGEABLE: Final = ("status", "trial_end", "cancel_at")


class SubscriptionServicer(GrantMethods):
    """SubscriptionService; the methods about grants are in `grants.py`."""

    async def subscribe(self, request: pb.SubscribeRequest, world: World) -> pb.SubscribeResponse:
        """Subscribe a user to packages, all or none."""
        draft = _check_subscribe(request)
        made: list[Subscription] = []

        async def edit(state: UserState) -> Edit:
            made.clear()
            # Looked up each time: while others changed the user, another version may have been published.
            packages = [await published_package(world, package_id) for package_id in request.package_ids]
            started_at_ms = draft.started_at_ms if request.HasField("started_at") else state.now_ms
            _check_trial(replace(draft, started_at_ms=started_at_ms), "")
            for package in packages:
                token = new_token((*state.subscriptions, *made))
                source = {"token": token, "package_id": package.id, "package_version": package.version}
                made.append(replace(draft, started_at_ms=started_at_ms, **source))  # type: ignore[arg-type]
            await _refuse_two_bases(world, state, made)
            return Edit(tuple(made))

        state = (await change_user(world, request.user_id, edit)).state
        return pb.SubscribeResponse(
            subscriptions=[subscription_message(state.user_id, item, state.now_ms) for item in made]
        )

    async def get_subscription(self, request: pb.GetSubscriptionRequest, world: World) -> pb.GetSubscriptionResponse:
        """Get a subscription."""
        user_id, token = _parse_id("subscription_id", request.subscription_id)
        state = await world.users.read(user_id)
        found = None if state is None else _find(state, token)
        if state is None or found is None:
            raise subscription_not_found(request.subscription_id)
        return pb.GetSubscriptionResponse(subscription=subscription_message(user_id, found, state.now_ms))

    async def list_subscriptions(
        self, request: pb.ListSubscriptionsRequest, world: World
    ) -> pb.ListSubscriptionsResponse:
        """List a user's subscriptions, oldest first."""
        started_at_ms, token = pages.decode(request)
        state = await world.users.read(require_id("user_id", request.user_id))
        if state is None:
            raise user_not_found(request.user_id)
        rest = [item for item in state.subscriptions if (item.started_at_ms, item.token) > (started_at_ms, token)]
        user_id, now_ms = state.user_id, state.now_ms
        subscriptions, next_token = await pages.fill(
            request,
            rest,
            lambda item: subscription_message(user_id, item, now_ms),
            lambda item: (item.token, item.started_at_ms),
        )
        return pb.ListSubscriptionsResponse(subscriptions=subscriptions, next_page_token=next_token)

    async def update_subscription(
        self, request: pb.UpdateSubscriptionRequest, world: World
    ) -> pb.UpdateSubscriptionResponse:
        """Change the status or the trial end."""
        wanted = request.subscription
        chosen = masked(request.update_mask, wanted, CHANGEABLE)
        violations = Violations()
        status = _status(violations, "subscription.status", wanted.status) if "status" in chosen else None
        dates: dict[str, int | None] = {}
        for name in chosen.intersection(("trial_end", "cancel_at")):
            given = wanted.HasField(name)  # type: ignore[arg-type]
            dates[f"{name}_ms"] = violations.time_ms(f"subscription.{name}", getattr(wanted, name)) if given else None
        violations.check()

        def change(old: Subscription, now_ms: int) -> Subscription:
            new = replace(
                old,
                trial_end_ms=dates.get("trial_end_ms", old.trial_end_ms),
                cancel_at_ms=_not_before(now_ms, dates["cancel_at_ms"])
                if "cancel_at_ms" in dates
                else old.cancel_at_ms,
            )
            if status is not None:
                new = _with_status(new, status, now_ms)
            _check_trial(new, "subscription.")
            return new

        return pb.UpdateSubscriptionResponse(subscription=await _change(world, "subscription.id", wanted.id, change))

    async def cancel_subscription(
        self, request: pb.CancelSubscriptionRequest, world: World
    ) -> pb.CancelSubscriptionResponse:
        """Cancel a subscription, now or at the end of its period."""

        def change(old: Subscription, now_ms: int) -> Subscription:
            if status_at(old, now_ms) in ENDED:
                return old
            if not request.at_period_end:
                return replace(old, cancel_at_ms=now_ms)
            end_ms = period_end_ms(old, world.cache.packages[old.package_id, old.package_version], now_ms)
            if end_ms is None:
                text = f"nothing in package {old.package_id!r} resets, so that the subscription has no period"
                raise ApiError(ErrorReason.NO_PERIOD_END, text, {"subscription_id": request.subscription_id})
            return replace(old, cancel_at_ms=end_ms)

        changed = await _change(world, "subscription_id", request.subscription_id, change)
        return pb.CancelSubscriptionResponse(subscription=changed)


async def _change(
    world: World, field: str, subscription_id: str, change: Callable[[Subscription, int], Subscription]
) -> pb.Subscription:
    user_id, token = _parse_id(field, subscription_id)
    if await world.users.read(user_id) is None:
        raise subscription_not_found(subscription_id)
    made: list[Subscription] = []

    async def edit(state: UserState) -> Edit:
        old = _find(state, token)
        if old is None:
            raise subscription_not_found(subscription_id)
        await world.cache.load_packages([(old.package_id, old.package_version)])
        made[:] = [change(old, state.now_ms)]
        await _refuse_two_bases(world, state, made)
        return Edit(tuple(made))

    state = (await change_user(world, user_id, edit)).state
    return subscription_message(user_id, made[0], state.now_ms)


def _not_before(now_ms: int, moment_ms: int | None) -> int | None:
    return None if moment_ms is None else max(now_ms, moment_ms)


def _with_status(subscription: Subscription, status: SubscriptionStatus, now_ms: int) -> Subscription:
    cancel_at_ms = subscription.cancel_at_ms
    passed = cancel_at_ms is not None and cancel_at_ms <= now_ms
    if status in ENDED:
        cancel_at_ms = cancel_at_ms if passed else now_ms
    elif passed:
        cancel_at_ms = None  # It goes on again. An end that is still to come stays, unless it is changed itself.
    return replace(subscription, status=status, cancel_at_ms=cancel_at_ms)


async def _refuse_two_bases(world: World, state: UserState, changed: list[Subscription]) -> None:
    merged = {item.token: item for item in (*state.subscriptions, *changed)}
    # Another server may have made some of them.
    await world.cache.load_packages((item.package_id, item.package_version) for item in merged.values())
    if has_two_bases(merged.values(), world.cache.packages, state.now_ms):
        text = "the user would have two base packages at a time; end the other subscription first"
        raise ApiError(ErrorReason.SECOND_BASE_PACKAGE, text, {"user_id": state.user_id})


def _check_subscribe(request: pb.SubscribeRequest) -> Subscription:
    """Check a request and return the subscription it asks for, without its package."""
    violations = Violations()
    violations.id("user_id", request.user_id)
    for index, package_id in enumerate(request.package_ids):
        violations.id(f"package_ids[{index}]", package_id)
    count = len(request.package_ids)
    if not 1 <= count <= PACKAGES_AT_MOST or len(set(request.package_ids)) != count:
        accepted = f"must be 1 to {PACKAGES_AT_MOST} packages, each once"
        violations.add("package_ids", f"{accepted}; {count} ids were sent")
    started_at_ms = violations.time_ms("started_at", request.started_at)
    trial_end_ms = violations.time_ms("trial_end", request.trial_end) if request.HasField("trial_end") else None
    usual = SubscriptionStatus.ACTIVE if trial_end_ms is None else SubscriptionStatus.TRIALING
    status = _status(violations, "status", request.status) if request.status else usual
    draft = Subscription("", "", 0, status, started_at_ms, trial_end_ms)
    violations.check()
    _check_trial(draft, "")
    return draft


def _check_trial(subscription: Subscription, prefix: str) -> None:
    trial_end_ms = subscription.trial_end_ms
    if subscription.status == SubscriptionStatus.TRIALING and trial_end_ms is None:
        raise invalid([(f"{prefix}trial_end", "must be given with SUBSCRIPTION_STATUS_TRIALING; nothing was sent")])
    if trial_end_ms is not None and trial_end_ms <= subscription.started_at_ms:
        start, end = timestamp(subscription.started_at_ms), timestamp(trial_end_ms)
        text = f"must be after started_at, {start.ToJsonString()}; {end.ToJsonString()} was sent"
        raise invalid([(f"{prefix}trial_end", text)])


def _status(violations: Violations, field: str, value: int) -> SubscriptionStatus:
    try:
        return SubscriptionStatus(value)
    except ValueError:
        accepted = ", ".join(status.name for status in SubscriptionStatus)
        violations.add(field, f"must be one of {accepted}; {value} was sent")
        return SubscriptionStatus.ACTIVE


def _parse_id(field: str, subscription_id: str) -> tuple[str, str]:
    if not subscription_id:
        raise invalid([(field, "must be the id of a subscription; nothing was sent")])
    parsed = subscription_ids.decode(subscription_id)
    if parsed is None:
        raise subscription_not_found(subscription_id)
    return parsed


def _find(state: UserState, token: str) -> Subscription | None:
    return next((item for item in state.subscriptions if item.token == token), None)
