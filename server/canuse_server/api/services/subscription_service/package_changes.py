"""ChangePackage of SubscriptionService: another base package in one step."""

from dataclasses import replace
from typing import Final

from canuse.v1 import subscription_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import subscription_message
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason, event_id_reused
from canuse_server.api.hotpath.event_ids import check_event_id, event_argument
from canuse_server.api.services.subscription_service import subscribe_event
from canuse_server.api.tokens import subscription as subscription_tokens
from canuse_server.api.users.changes import Edit, change_user, published_package
from canuse_server.api.users.subscriptions import free_token, refuse_too_much
from canuse_server.api.validation import Violations
from canuse_server.domain.model import Package, PackageType
from canuse_server.domain.package_change import NoPeriodEndError, PackageChange, change_at_period_end, change_now
from canuse_server.store.codec.event_ids import fingerprint
from canuse_server.store.repositories.usage_commands import EventIdReusedError
from canuse_server.store.repositories.users.change import AnsweredError, Event
from canuse_server.store.repositories.users.state import UserState

_TIMINGS: Final = {
    pb.CHANGE_TIMING_UNSPECIFIED: change_now,
    pb.CHANGE_TIMING_NOW: change_now,
    pb.CHANGE_TIMING_PERIOD_END: change_at_period_end,
}


class PackageChangeMethods:
    """ChangePackage."""

    async def change_package(self, request: pb.ChangePackageRequest, context: CallContext) -> pb.ChangePackageResponse:
        """Change a user's base package, now or at the end of the period."""
        _check(request)
        at_period_end = request.timing == pb.CHANGE_TIMING_PERIOD_END
        mark = fingerprint("change_package", (request.package_id, at_period_end), {})
        event = event_argument(context.env, request, mark) if request.event_id else b""

        async def edit(state: UserState) -> tuple[Edit | None, bytes]:
            # First, so that a repetition gets the stored answer, not the effect of what has changed since.
            if event:
                await context.env.users.refuse_answered(request.user_id, event)
            change = await _change(context.env, state, request)
            subscriptions = (change.subscription, *change.replaced) if change.changes else ()
            await refuse_too_much(context.env, state, subscriptions)
            answer = _pack(change, state.now_ms)
            if not (event or change.changes):
                return None, answer
            return Edit(subscriptions, event=Event(event, answer) if event else None), answer

        try:
            answer, replayed = (await change_user(context.env, request.user_id, edit)).result, False
        except AnsweredError as error:
            answer, replayed = error.answer, True
        except EventIdReusedError:
            raise event_id_reused(request.user_id, request.event_id) from None
        return _response(request, answer, replayed=replayed)


async def _change(env: Environment, state: UserState, request: pb.ChangePackageRequest) -> PackageChange:
    """Return the requested change of a user as read."""
    await env.cache.load_packages((item.package_id, item.package_version) for item in state.subscriptions)
    plan = _TIMINGS[request.timing]
    try:
        change = plan(state.subscriptions, env.cache.packages, request.package_id, state.now_ms)
    except NoPeriodEndError as error:
        raise _no_period_end(state.user_id, error.current.token, error.current.package_id) from None
    if not change.is_new:
        return change
    # Looked up for each attempt: another version may have been published meanwhile.
    package = await published_package(env, request.package_id)
    if package.type != PackageType.BASE:
        raise _not_base(package)
    token = await free_token(env, state)
    new = replace(change.subscription, token=token, package_version=package.version)
    return change._replace(subscription=new)


def _pack(change: PackageChange, now_ms: int) -> bytes:
    """Return the stored form of an answer: one byte, whether anything changed, then the subscriptions."""
    return bytes((change.changes,)) + subscribe_event.pack((change.subscription, *change.replaced), now_ms)


def _response(request: pb.ChangePackageRequest, answer: bytes, *, replayed: bool) -> pb.ChangePackageResponse:
    subscriptions, now_ms = subscribe_event.unpack(answer[1:])
    first, *replaced = (subscription_message(request.user_id, item, now_ms) for item in subscriptions)
    return pb.ChangePackageResponse(
        subscription=first, replaced=replaced, changed=bool(answer[0]), event_id=request.event_id, replayed=replayed
    )


def _check(request: pb.ChangePackageRequest) -> None:
    violations = Violations()
    violations.id("user_id", request.user_id)
    violations.id("package_id", request.package_id)
    check_event_id(violations, request)
    if request.timing not in _TIMINGS:
        accepted = "must be CHANGE_TIMING_NOW or CHANGE_TIMING_PERIOD_END"
        violations.add("timing", f"{accepted}; {request.timing} was sent")
    violations.check()


def _not_base(package: Package) -> ApiError:
    text = f"package {package.id!r} is an add-on; subscribe to it with Subscribe"
    return ApiError(ErrorReason.PACKAGE_NOT_BASE, text, {"package_id": package.id})


def _no_period_end(user_id: str, token: str, package_id: str) -> ApiError:
    text = f"no feature of the current package {package_id!r} resets, so the subscription has no period"
    ids = {"subscription_id": subscription_tokens.encode(user_id, token)}
    return ApiError(ErrorReason.NO_PERIOD_END, text, ids)
