"""A store's clock ran ahead and was corrected: users recover within one period, and are never reset twice."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from canuse import v1
from canuse_server.api.context import CallContext
from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.can_use import CanUse
from canuse_server.api.hotpath.executor import answer
from canuse_server.api.hotpath.leases import Reserve, Settle
from canuse_server.api.hotpath.record import CreateUsageEvent
from canuse_server.api.services.subscription_service.servicer import SubscriptionServicer
from canuse_server.api.services.usage import UsageServicer
from canuse_server.api.users.changes import Edit, change_user, create_user
from canuse_server.domain.model import (
    Feature,
    FeatureType,
    Package,
    PackageFeature,
    PackageStatus,
    PackageType,
    Profile,
    ResetPeriod,
    Subscription,
    SubscriptionStatus,
)
from canuse_server.domain.periods import CALENDAR_MONTHS, FIXED_LENGTH_MS, Period, period_at
from canuse_server.store.repositories.users.state import UserState
from support.database import KEYS, Database
from support.strategies import DAY_MS, ms

START_MS: Final = ms(datetime(2026, 1, 31, 9, tzinfo=UTC))
NOW_MS: Final = ms(datetime(2026, 3, 5, 12, 30, tzinfo=UTC))
FAR_MS: Final = NOW_MS + 400 * DAY_MS
RESETTING: Final = [period for period in ResetPeriod if period is not ResetPeriod.NEVER]
resetting = pytest.mark.parametrize("reset_period", RESETTING, ids=[period.name for period in RESETTING])


async def subscribed(env: Environment, *entries: PackageFeature, cancel_at_ms: int | None = None) -> None:
    """Create a user, at NOW_MS, with a subscription since START_MS to a package with some entries."""
    env.store.manual_now_ms = NOW_MS
    types = {"calls": FeatureType.CONSUMABLE, "sso": FeatureType.BINARY}
    for feature_id, kind in types.items():
        await env.catalog.put_feature(None, Feature(feature_id, kind, 1))
    for package_id in ("base", "other"):
        package = Package(
            package_id, 1, type=PackageType.BASE, features=entries, status=PackageStatus.PUBLISHED, published_version=1
        )
        await env.catalog.put_package(None, package)
    await create_user(env, "124", Profile(), disabled=False)
    subscription = Subscription("token", "base", 1, SubscriptionStatus.ACTIVE, START_MS, cancel_at_ms=cancel_at_ms)

    async def edit(_: UserState) -> tuple[Edit, None]:
        return Edit((subscription,)), None

    await change_user(env, "124", edit)


async def use(env: Environment, at_ms: int, delta: int, *, setting: bool = False, event_id: str = "") -> int:
    """Record a use at a moment; return the total."""
    env.store.manual_now_ms = at_ms
    action = v1.USAGE_ACTION_SET if setting else v1.USAGE_ACTION_ADD
    request = v1.CreateUsageEventRequest(
        user_id="124", feature_id="calls", delta=delta, action=action, event_id=event_id
    )
    reply = await answer(CreateUsageEvent(), request.SerializeToString(), env)
    return v1.CreateUsageEventResponse.FromString(reply).consumption.used


async def check(env: Environment, at_ms: int, feature_id: str = "calls") -> v1.CanUseResponse:
    """Make a check at a moment."""
    env.store.manual_now_ms = at_ms
    request = v1.CanUseRequest(user_id="124", feature_id=feature_id)
    return v1.CanUseResponse.FromString(await answer(CanUse(), request.SerializeToString(), env))


async def shown(env: Environment, at_ms: int) -> tuple[int, int]:
    """Return the total and the period start that ShowUsage shows at a moment."""
    env.store.manual_now_ms = at_ms
    usage = await UsageServicer().show_usage(v1.ShowUsageRequest(user_id="124", feature_id="calls"), CallContext(env))
    return usage.current.used, usage.current.period_start.ToMilliseconds()


def period(reset_period: ResetPeriod, at_ms: int) -> Period:
    """Return the period of a moment; it must have an end."""
    found = period_at(START_MS, reset_period, at_ms)
    assert found.end_ms is not None
    return found


@pytest.mark.parametrize("reset_period", FIXED_LENGTH_MS)
async def test_a_user_who_was_only_asked_about_has_the_count_of_the_current_period_as_it_was(
    env: Environment, database: Database, reset_period: ResetPeriod
) -> None:
    await subscribed(env, PackageFeature("calls", 10, reset_period))
    assert await use(env, NOW_MS, 4) == 4
    assert (await check(env, FAR_MS)).consumption.used == 0
    await shown(env, FAR_MS)
    answered = await check(env, NOW_MS + 1)
    current = period(reset_period, NOW_MS)
    assert (answered.consumption.used, answered.access) == (4, True)
    assert answered.consumption.period_start.ToMilliseconds() == current.start_ms
    assert await use(env, NOW_MS + 2, 1) == 5
    assert await shown(env, NOW_MS + 3) == (5, current.start_ms)
    assert current.end_ms is not None
    assert await shown(env, current.end_ms) == (0, current.end_ms)
    assert database.past() == []


@pytest.mark.parametrize("reset_period", CALENDAR_MONTHS)
async def test_a_period_that_a_check_closed_is_not_closed_again_at_its_end(
    env: Environment, database: Database, reset_period: ResetPeriod
) -> None:
    """The entitlement stayed in a period a year ahead, and all uses until then counted to it."""
    # Long enough that the clock that is ahead does not make the period too old to keep.
    retention = replace(env.retention, past_periods_max_age_days=400)
    env = Environment.of(env.store, "live", retention, default_package="")
    await subscribed(env, PackageFeature("calls", 10, reset_period))
    await use(env, NOW_MS, 4)
    assert (await check(env, FAR_MS)).consumption.used == 0
    current = period(reset_period, NOW_MS)
    assert current.end_ms is not None
    following = period(reset_period, current.end_ms)
    assert following.end_ms is not None
    answered = await check(env, NOW_MS + 1)
    assert answered.consumption.resets_at.ToMilliseconds() == current.end_ms
    assert await use(env, NOW_MS + 2, 5) == 5
    assert await shown(env, current.end_ms) == (5, current.end_ms)
    assert await shown(env, following.end_ms) == (0, following.end_ms)
    assert [(past.used, past.period.start_ms) for past in database.past()] == [
        (5, current.end_ms),
        (4, current.start_ms),
    ]


@resetting
@pytest.mark.parametrize("looking", [True, False], ids=["asked", "recorded"])
async def test_a_count_of_a_period_far_ahead_is_right_within_one_period_and_has_not_been_reset_twice(
    env: Environment, reset_period: ResetPeriod, looking: bool
) -> None:
    """It stayed in that period for over a year, and SET 0 kept it there."""
    await subscribed(env, PackageFeature("calls", 10, reset_period))
    await use(env, NOW_MS, 4)
    # The reset at the end of the current period, as at the end of every period before it.
    assert await use(env, FAR_MS, 3) == 3
    if looking:
        assert (await check(env, NOW_MS + 1)).consumption.used == 3
    else:
        assert await use(env, NOW_MS + 1, 3, setting=True) == 3
    current = period(reset_period, NOW_MS)
    assert current.end_ms is not None
    following = period(reset_period, current.end_ms)
    assert following.end_ms is not None
    for moment_ms in (current.end_ms - 1, current.end_ms, following.end_ms - 1):
        assert (await check(env, moment_ms)).consumption.used == 3
    assert await shown(env, current.end_ms) == (3, current.end_ms)
    assert await shown(env, following.end_ms) == (0, following.end_ms)
    assert await use(env, following.end_ms, 2) == 2


@resetting
async def test_a_denied_user_who_goes_on_being_asked_about_is_let_in_after_one_period(
    env: Environment, reset_period: ResetPeriod
) -> None:
    await subscribed(env, PackageFeature("calls", 3, reset_period))
    await use(env, FAR_MS, 3)
    current = period(reset_period, NOW_MS)
    assert current.end_ms is not None
    following = period(reset_period, current.end_ms)
    assert following.end_ms is not None
    moments = (NOW_MS, current.end_ms, following.end_ms - 1, following.end_ms)
    assert [(await check(env, moment_ms)).access for moment_ms in moments] == [False, False, False, True]


@resetting
async def test_a_clock_that_was_ahead_by_seconds_at_the_end_of_a_period_changes_nothing(
    env: Environment, reset_period: ResetPeriod
) -> None:
    await subscribed(env, PackageFeature("calls", 10, reset_period))
    await use(env, NOW_MS, 4)
    end_ms = period(reset_period, NOW_MS).end_ms
    assert end_ms is not None
    assert await use(env, end_ms + 1000, 3) == 3
    for moment_ms in (end_ms - 1000, end_ms, end_ms + 2000):
        assert (await check(env, moment_ms)).consumption.used == 3
    assert await use(env, end_ms - 1000, 1) == 4
    assert await shown(env, end_ms) == (4, end_ms)


async def test_what_had_ended_under_the_wrong_clock_has_not(env: Environment) -> None:
    """Without a period, only the time of its computation shows that an entitlement was computed for the future."""
    await subscribed(
        env,
        PackageFeature("calls", 10, ResetPeriod.NEVER),
        PackageFeature("sso", None, ResetPeriod.NEVER),
        cancel_at_ms=NOW_MS + 90 * DAY_MS,
    )
    for feature_id in ("calls", "sso"):
        assert [(await check(env, moment_ms, feature_id)).access for moment_ms in (NOW_MS, FAR_MS)] == [True, False]
        assert (await check(env, NOW_MS + 1, feature_id)).access
    assert await use(env, FAR_MS, 3) == await use(env, NOW_MS + 2, 0, setting=True) + 3
    assert (await check(env, NOW_MS + 3)).reason == v1.REASON_WITHIN_BUDGET


async def test_a_change_of_packages_finds_the_count_where_it_would_be(env: Environment) -> None:
    await subscribed(env, PackageFeature("calls", 10, ResetPeriod.MONTH))
    await use(env, FAR_MS, 4)
    env.store.manual_now_ms = NOW_MS + 1
    servicer = SubscriptionServicer()
    listed = await servicer.list_subscriptions(v1.ListSubscriptionsRequest(user_id="124"), CallContext(env))
    cancel = v1.CancelSubscriptionRequest(subscription_id=listed.subscriptions[0].id)
    await servicer.cancel_subscription(cancel, CallContext(env))
    await servicer.subscribe(v1.SubscribeRequest(user_id="124", package_ids=["other"]), CallContext(env))
    assert await shown(env, NOW_MS + 2) == (4, NOW_MS + 1)
    assert await use(env, NOW_MS + 3, 2) == 6
    end_ms = period_at(NOW_MS + 1, ResetPeriod.MONTH, NOW_MS + 1).end_ms
    assert end_ms is not None
    assert await shown(env, end_ms) == (0, end_ms)


@pytest.mark.parametrize("reset_period", [ResetPeriod.NEVER, ResetPeriod.DAY, ResetPeriod.MONTH])
async def test_a_lease_that_would_be_open_for_a_year_ends(
    env: Environment, database: Database, reset_period: ResetPeriod
) -> None:
    await subscribed(env, PackageFeature("calls", 10, reset_period))
    env.store.manual_now_ms = FAR_MS
    request = v1.ReserveRequest(user_id="124", feature_id="calls", amount=6)
    lease = v1.ReserveResponse.FromString(await answer(Reserve(), request.SerializeToString(), env))
    assert lease.granted == 6
    answered = await check(env, NOW_MS)
    assert (answered.consumption.reserved, answered.consumption.used) == (0, 0)
    settle = v1.SettleRequest(lease_id=lease.lease_id, used=2)
    settled = v1.SettleResponse.FromString(await answer(Settle(), settle.SerializeToString(), env))
    assert (settled.recorded, settled.late, settled.consumption.used) == (True, True, 2)
    assert not database.redis.exists(KEYS.leases("124"), KEYS.leases_due("124"))


async def test_a_lease_that_is_settled_late_is_waited_for_however_long_that_is(env: Environment) -> None:
    """The sweep looks once a week for what is due later than any lease can end."""
    await subscribed(env, PackageFeature("calls", 10, ResetPeriod.NEVER))
    request = v1.ReserveRequest(user_id="124", feature_id="calls", amount=6)
    request.ttl.FromSeconds(1)
    lease = v1.ReserveResponse.FromString(await answer(Reserve(), request.SerializeToString(), env))
    env.leases._late_ms = 30 * DAY_MS  # As of a server with another `dedupe_ttl_seconds`.
    for day in (1, 6, 8, 15, 29):
        assert (await check(env, NOW_MS + day * DAY_MS)).consumption.reserved == 0
    settle = v1.SettleRequest(lease_id=lease.lease_id, used=2)
    settled = v1.SettleResponse.FromString(await answer(Settle(), settle.SerializeToString(), env))
    assert (settled.recorded, settled.late) == (True, True)


async def test_event_ids_are_kept_for_their_time_and_no_longer_than_twice_that(
    env: Environment, database: Database
) -> None:
    await subscribed(env, PackageFeature("calls", None, ResetPeriod.NEVER))
    ttl_ms = env.retention.dedupe_ttl_ms
    await use(env, FAR_MS, 1, event_id="far")
    await use(env, NOW_MS, 1, event_id="now")
    assert await use(env, NOW_MS + ttl_ms - 1, 1, event_id="now") == 2
    assert await use(env, NOW_MS + ttl_ms - 1, 1, event_id="far") == 1
    await use(env, NOW_MS + ttl_ms, 1, event_id="then")
    await use(env, NOW_MS + 2 * ttl_ms, 1, event_id="later")
    kept = {field for key in KEYS.events("124") for field in database.redis.hkeys(key)}
    assert kept == {env.store.event_key.digest(event_id.encode()) for event_id in ("then", "later")}
