"""SubscriptionService: the subscriptions of users to packages."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from canuse.v1 import subscription_service_pb2 as pb
from canuse_server.api.bounds import MAX_SUBSCRIBED_PACKAGES
from canuse_server.api.context import CallContext
from canuse_server.api.convert import subscription_message, timestamp
from canuse_server.api.environment import Environment
from canuse_server.api.errors import (
    ApiError,
    ErrorReason,
    event_id_reused,
    invalid,
    subscription_not_found,
)
from canuse_server.api.hotpath.event_ids import check_event_id, event_argument
from canuse_server.api.services.grants import GrantMethods
from canuse_server.api.services.subscription_service import listing, subscribe_event
from canuse_server.api.services.subscription_service.package_changes import PackageChangeMethods
from canuse_server.api.tokens import subscription as subscription_tokens
from canuse_server.api.users.changes import Edit, change_user, published_package
from canuse_server.api.users.subscriptions import free_token, refuse_too_much
from canuse_server.api.validation import Violations, masked, repeated
from canuse_server.domain.model import Subscription, SubscriptionStatus
from canuse_server.domain.subscriptions import ENDED, has_ended, period_end_ms
from canuse_server.store.codec.event_ids import fingerprint
from canuse_server.store.repositories.usage_commands import EventIdReusedError
from canuse_server.store.repositories.users.change import AnsweredError, Event
from canuse_server.store.repositories.users.state import UserState

CHANGEABLE: Final = ("status", "trial_end", "cancel_at")


class SubscriptionServicer(GrantMethods, PackageChangeMethods):
    """SubscriptionService; the methods for grants are in `grants.py`, ChangePackage is in `package_changes.py`."""

    async def subscribe(self, request: pb.SubscribeRequest, context: CallContext) -> pb.SubscribeResponse:
        """Subscribe a user to packages, all or none."""
        draft = _check_subscribe(request)
        event = event_argument(context.env, request, _fingerprint(request, draft)) if request.event_id else b""

        async def edit(state: UserState) -> tuple[Edit, list[Subscription]]:
            # First, so that a repetition gets the stored answer, not an error that the first call has caused.
            if event:
                await context.env.users.refuse_answered(request.user_id, event)
            created = await _new_subscriptions(context.env, state, request, draft)
            await refuse_too_much(context.env, state, created)
            answer = subscribe_event.pack(created, state.now_ms)
            return Edit(tuple(created), event=Event(event, answer) if event else None), created

        try:
            changed = await change_user(context.env, request.user_id, edit)
            subscriptions, now_ms, replayed = changed.result, changed.state.now_ms, False
        except AnsweredError as error:
            (subscriptions, now_ms), replayed = subscribe_event.unpack(error.answer), True
        except EventIdReusedError:
            raise event_id_reused(request.user_id, request.event_id) from None
        return pb.SubscribeResponse(
            subscriptions=[subscription_message(request.user_id, item, now_ms) for item in subscriptions],
            event_id=request.event_id,
            replayed=replayed,
        )

    async def get_subscription(
        self, request: pb.GetSubscriptionRequest, context: CallContext
    ) -> pb.GetSubscriptionResponse:
        """Get a subscription."""
        user_id, token = _parse_id("subscription_id", request.subscription_id)
        state = await context.env.users.read(user_id)
        found = None if state is None else await _find(context.env, state, token)
        if state is None or found is None:
            raise subscription_not_found(request.subscription_id)
        return pb.GetSubscriptionResponse(subscription=subscription_message(user_id, found, state.now_ms))

    async def list_subscriptions(
        self, request: pb.ListSubscriptionsRequest, context: CallContext
    ) -> pb.ListSubscriptionsResponse:
        """List the subscriptions of a user or of all users."""
        return await listing.list_subscriptions(request, context)

    async def update_subscription(
        self, request: pb.UpdateSubscriptionRequest, context: CallContext
    ) -> pb.UpdateSubscriptionResponse:
        """Change the status, the trial end or the cancellation."""
        requested = request.subscription
        _parse_id("subscription.id", requested.id)
        chosen = masked(request.update_mask, requested, CHANGEABLE)
        violations = Violations()
        status = _status(violations, "subscription.status", requested.status) if "status" in chosen else None
        dates: dict[str, int | None] = {}
        for name in chosen.intersection(("trial_end", "cancel_at")):
            date = getattr(requested, name) if requested.HasField(name) else None  # type: ignore[arg-type]
            dates[f"{name}_ms"] = None if date is None else violations.time_ms(f"subscription.{name}", date)
        violations.check()

        def change(old: Subscription, now_ms: int) -> Subscription:
            end_ms = dates.get("cancel_at_ms")
            ends_now = end_ms is not None and end_ms <= now_ms
            if has_ended(old, now_ms) and (status is None or status in ENDED or ends_now):
                return replace(old, status=status if status in ENDED else old.status)
            new = replace(
                old,
                trial_end_ms=dates.get("trial_end_ms", old.trial_end_ms),
                cancel_at_ms=_not_before(now_ms, dates["cancel_at_ms"])
                if "cancel_at_ms" in dates
                else old.cancel_at_ms,
            )
            if status is not None:
                new = _with_status(new, status, now_ms, ends_now=ends_now)
            _check_trial(new, "subscription.")
            return new

        return pb.UpdateSubscriptionResponse(
            subscription=await _change(context.env, "subscription.id", requested.id, change)
        )

    async def cancel_subscription(
        self, request: pb.CancelSubscriptionRequest, context: CallContext
    ) -> pb.CancelSubscriptionResponse:
        """Cancel a subscription, now or at the end of its period."""

        def change(old: Subscription, now_ms: int) -> Subscription:
            if has_ended(old, now_ms):
                return old
            if not request.at_period_end:
                return replace(old, cancel_at_ms=now_ms)
            end_ms = period_end_ms(old, context.env.cache.packages[old.package_id, old.package_version], now_ms)
            if end_ms is None:
                text = f"no feature of package {old.package_id!r} resets, so the subscription has no period"
                raise ApiError(ErrorReason.NO_PERIOD_END, text, {"subscription_id": request.subscription_id})
            return replace(old, cancel_at_ms=end_ms if old.cancel_at_ms is None else min(old.cancel_at_ms, end_ms))

        changed = await _change(context.env, "subscription_id", request.subscription_id, change)
        return pb.CancelSubscriptionResponse(subscription=changed)


async def _change(
    env: Environment, field: str, subscription_id: str, change: Callable[[Subscription, int], Subscription]
) -> pb.Subscription:
    user_id, token = _parse_id(field, subscription_id)
    if await env.users.read(user_id) is None:
        raise subscription_not_found(subscription_id)

    async def edit(state: UserState) -> tuple[Edit, Subscription]:
        old = await _find(env, state, token)
        if old is None:
            raise subscription_not_found(subscription_id)
        await env.cache.load_packages([(old.package_id, old.package_version)])
        new = change(old, state.now_ms)
        await refuse_too_much(env, state, [new])
        return Edit((new,), replaced=(old,)), new

    changed = await change_user(env, user_id, edit)
    return subscription_message(user_id, changed.result, changed.state.now_ms)


def _not_before(now_ms: int, moment_ms: int | None) -> int | None:
    return None if moment_ms is None else max(now_ms, moment_ms)


def _with_status(
    subscription: Subscription, status: SubscriptionStatus, now_ms: int, *, ends_now: bool
) -> Subscription:
    """Return a subscription with a status. `ends_now`: the request also sets an end that has passed."""
    cancel_at_ms = subscription.cancel_at_ms
    passed = cancel_at_ms is not None and cancel_at_ms <= now_ms
    if status in ENDED:
        cancel_at_ms = cancel_at_ms if passed else now_ms
    elif passed and not ends_now:
        cancel_at_ms = None  # It is reactivated. A future end stays, unless the request changes it.
    return replace(subscription, status=status, cancel_at_ms=cancel_at_ms)


async def _new_subscriptions(
    env: Environment, state: UserState, request: pb.SubscribeRequest, draft: Subscription
) -> list[Subscription]:
    # Looked up for each attempt: another version may have been published meanwhile.
    packages = [await published_package(env, package_id) for package_id in request.package_ids]
    started_at_ms = draft.started_at_ms if request.HasField("started_at") else state.now_ms
    _check_trial(replace(draft, started_at_ms=started_at_ms), "")
    subscriptions: list[Subscription] = []
    for package in packages:
        token = await free_token(env, state, (item.token for item in subscriptions))
        source = {"token": token, "package_id": package.id, "package_version": package.version}
        subscriptions.append(replace(draft, started_at_ms=started_at_ms, **source))  # type: ignore[arg-type]
    return subscriptions


def _fingerprint(request: pb.SubscribeRequest, draft: Subscription) -> bytes:
    """Return the fingerprint of a request, which tells it from other requests with the same event id."""
    started_at_ms = draft.started_at_ms if request.HasField("started_at") else None
    content = (tuple(request.package_ids), started_at_ms, draft.trial_end_ms, int(draft.status))
    return fingerprint("subscribe", content, {})


def _check_subscribe(request: pb.SubscribeRequest) -> Subscription:
    """Check a request and return the requested subscription, without its package."""
    violations = Violations()
    violations.id("user_id", request.user_id)
    check_event_id(violations, request)
    for index, package_id in enumerate(request.package_ids):
        violations.id(f"package_ids[{index}]", package_id)
    count = len(request.package_ids)
    if not count or len(set(request.package_ids)) != count:
        accepted = f"must be 1 to {MAX_SUBSCRIBED_PACKAGES} packages, each once"
        violations.add("package_ids", f"{accepted}; {count} ids were sent{repeated(request.package_ids)}")
    started_at_ms = violations.time_ms("started_at", request.started_at)
    trial_end_ms = violations.time_ms("trial_end", request.trial_end) if request.HasField("trial_end") else None
    default = SubscriptionStatus.ACTIVE if trial_end_ms is None else SubscriptionStatus.TRIALING
    status = _status(violations, "status", request.status) if request.status else default
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
    parsed = subscription_tokens.decode(subscription_id)
    if parsed is None:
        raise subscription_not_found(subscription_id)
    return parsed


async def _find(env: Environment, state: UserState, token: str) -> Subscription | None:
    found = next((item for item in state.subscriptions if item.token == token), None)
    return found or await env.users.ended_subscription(state.user_id, token)
