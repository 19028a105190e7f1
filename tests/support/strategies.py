"""Hypothesis strategies: moments, periods, subscriptions, packages, grants, entitlements."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import strategies as st

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import (
    MAX_AMOUNT,
    Package,
    PackageFeature,
    PackageType,
    ResetPeriod,
    Subscription,
    SubscriptionStatus,
)
from canuse_server.domain.periods import CALENDAR_MONTHS, FIXED_LENGTH_MS, Period, period_at
from canuse_server.domain.subscriptions import Packages
from canuse_server.store.repositories.manual_clock import LATEST_MS

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MS: Final = 86_400_000
FEATURES: Final = ("calls", "messages")


def ms(moment: datetime) -> int:
    """Return a moment in milliseconds since 1970."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def month_ends() -> st.SearchStrategy[int]:
    """Moments on the last days of a month, where calendar periods are hardest."""
    first = st.datetimes(datetime(1970, 2, 1), datetime(8999, 12, 1)).map(lambda moment: moment.replace(day=1))  # noqa: DTZ001
    return st.builds(
        lambda moment, days: ms(moment.replace(tzinfo=UTC) - timedelta(days=days)), first, st.integers(1, 4)
    )


moments = st.integers(0, LATEST_MS - 1) | month_ends()
"""Moments of all years that canuse accepts, often at the end of a month."""
recent_moments = st.integers(ms(datetime(2023, 12, 1, tzinfo=UTC)), ms(datetime(2027, 1, 1, tzinfo=UTC)))
"""Moments of a few years: close enough to overlap."""
reset_periods = st.sampled_from(ResetPeriod)
statuses = st.sampled_from(SubscriptionStatus)
amounts = st.one_of(st.integers(0, 20), st.integers(0, MAX_AMOUNT), st.integers(MAX_AMOUNT - 3, MAX_AMOUNT))
limits = st.none() | amounts


@st.composite
def subscriptions(
    draw: st.DrawFn, token: str, package_ids: tuple[str, ...], times: st.SearchStrategy[int] = recent_moments
) -> Subscription:
    """A subscription that the API allows: its trial ends after its start."""
    status = draw(statuses)
    started_at_ms = draw(times)
    later = times.filter(lambda moment: moment > started_at_ms)
    trial_end_ms = draw(later if status == SubscriptionStatus.TRIALING else st.none() | later)
    return Subscription(
        token=token,
        package_id=draw(st.sampled_from(package_ids)),
        package_version=1,
        status=status,
        started_at_ms=started_at_ms,
        trial_end_ms=trial_end_ms,
        cancel_at_ms=draw(st.none() | times),
    )


@st.composite
def packages(draw: st.DrawFn, package_id: str) -> Package:
    """A package that lists one feature or both."""
    listed = draw(st.lists(st.sampled_from(FEATURES), min_size=1, unique=True))
    entries = tuple(
        PackageFeature(feature_id, draw(limits), draw(reset_periods), draw(st.booleans())) for feature_id in listed
    )
    return Package(id=package_id, created_at_ms=0, type=draw(st.sampled_from(PackageType)), features=entries)


@st.composite
def users(draw: st.DrawFn) -> tuple[list[Subscription], Packages]:
    """The subscriptions of one user, with their packages."""
    ids = ("p1", "p2", "p3")
    package_list = [draw(packages(package_id)) for package_id in ids]
    count = draw(st.integers(1, 4))
    return (
        [draw(subscriptions(f"t{number}", ids)) for number in range(count)],
        {(package.id, package.version): package for package in package_list},
    )


@st.composite
def balances(draw: st.DrawFn, now_ms: int) -> GrantBalance:
    """A grant that is open at a moment, or opens or ends about then; some of it may be drawn."""
    effective_at_ms = now_ms + draw(st.integers(-3, 3) | st.integers(-DAY_MS, DAY_MS))
    end_ms = draw(st.none() | st.integers(now_ms - 2, now_ms + 6) | st.integers(now_ms, now_ms + 2 * DAY_MS))
    drawn = draw(st.just(0) | st.integers(0, 9))
    left = draw(st.none() | st.just(0) | amounts.map(lambda amount: min(amount, MAX_AMOUNT - drawn)))
    return GrantBalance(effective_at_ms, end_ms, left, drawn)


@st.composite
def entitlements(draw: st.DrawFn, now_ms: int) -> Entitlement:
    """A consumable entitlement computed before a moment; it may be stale by then."""
    reset_period = draw(reset_periods)
    anchor_ms = now_ms - draw(st.integers(-DAY_MS, 800 * DAY_MS))
    computed_at_ms = now_ms - draw(st.integers(-DAY_MS, 40 * DAY_MS))
    period = period_at(anchor_ms, reset_period, computed_at_ms)
    candidates = [period.end_ms] if reset_period in CALENDAR_MONTHS else []
    candidates.append(draw(st.none() | st.integers(now_ms - 5, now_ms + 5) | st.integers(now_ms + 1, now_ms + DAY_MS)))
    valid_until_ms = min((end for end in candidates if end is not None), default=None)
    ends_later = valid_until_ms is None or valid_until_ms > period.start_ms
    if reset_period == ResetPeriod.NEVER and ends_later and draw(st.booleans()):
        # As before the start of a subscription or a grant.
        period = Period(period.start_ms, valid_until_ms)
    return Entitlement(
        consumable=True,
        active=draw(st.booleans() | st.just(value=True)),
        limit=draw(limits),
        overage_enabled=draw(st.booleans()),
        reset_period=reset_period,
        period=period,
        valid_until_ms=valid_until_ms,
        predictable=valid_until_ms is not None and draw(st.booleans()),
    )


def granted(entitlement: Entitlement) -> Entitlement:
    """Return an entitlement that no package gives any more, but a grant does."""
    return replace(entitlement, active=True, granted=True, overage_enabled=False)


def length_ms(reset_period: ResetPeriod) -> int:
    """Return the length of a period of fixed length."""
    return FIXED_LENGTH_MS[reset_period]
