"""The effects of the dates of subscriptions, without a background job: the same whichever call comes first."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse import v1
from canuse_server.api.context import CallContext
from canuse_server.api.environment import Environment
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
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.usage_commands import StaleError
from canuse_server.store.repositories.users.state import UserState
from support.database import RETENTION, Database
from support.strategies import ms

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
TEN: Final = PackageFeature("calls", 10, ResetPeriod.MONTH)
TWENTY: Final = PackageFeature("calls", 20, ResetPeriod.MONTH)
DAILY: Final = PackageFeature("messages", 100, ResetPeriod.DAY)
Span = tuple[PackageFeature, float, float | None]
"""A package entry, its start, and its end."""
Use = tuple[float, str, int]
"""The time, the feature and the amount of a use."""
GrantSpan = tuple[float, float | None, int | None]
"""The start, the end and the amount of a grant."""
Past = tuple[int, int | None, int, int, int]
FeatureState = tuple[int, int | None, int, list[int], list[Past]]


def day(number: float) -> int:
    """Return a day of the year 2026 in milliseconds; the first is 1."""
    return ms(START + timedelta(days=number - 1))


async def subscribed(env: Environment, *spans: Span, grant_spans: Iterable[GrantSpan] = ()) -> None:
    """Create a user, since 1 January, with a subscription and a grant of `calls` for each span and gift.

    The user also has a subscription to `messages` without an end.
    """
    env.store.manual_now_ms = day(1)
    for feature_id in ("calls", "messages"):
        await env.catalog.put_feature(None, Feature(feature_id, FeatureType.CONSUMABLE, 1))
    subscriptions = []
    for number, (entry, start, end) in enumerate((*spans, (DAILY, 1, None))):
        package = Package(f"p{number}", 1, type=PackageType.ADD_ON, features=(entry,), status=PackageStatus.PUBLISHED)
        await env.catalog.put_package(None, package)
        cancel_at_ms = None if end is None else day(end)
        subscriptions.append(
            Subscription(package.id, package.id, 1, SubscriptionStatus.ACTIVE, day(start), cancel_at_ms=cancel_at_ms)
        )
    await create_user(env, "124", Profile(), disabled=False)

    async def edit(_: UserState) -> tuple[Edit, None]:
        return Edit(tuple(subscriptions)), None

    await change_user(env, "124", edit)
    for number, (start, end, amount) in enumerate(grant_spans):
        grant = v1.Grant(id=f"g{number}", user_id="124", feature_id="calls", amount=amount, priority=number)
        grant.effective_at.FromMilliseconds(day(start))
        if end is not None:
            grant.expires_at.FromMilliseconds(day(end))
        await SubscriptionServicer().create_grant(v1.CreateGrantRequest(grant=grant), CallContext(env))


async def state_at(env: Environment, at_ms: int, feature_id: str = "calls") -> FeatureState:
    """Return total, budget, period start, what the grants have left, and the past periods at a moment.

    A past period is its total, budget, what was drawn from grants, start and end.
    """
    env.store.manual_now_ms = at_ms
    shown = await UsageServicer().show_usage(
        v1.ShowUsageRequest(user_id="124", feature_id=feature_id), CallContext(env)
    )
    current = shown.current
    past = [
        (
            item.used,
            _budget(item),
            item.drawn_from_grants,
            item.period_start.ToMilliseconds(),
            item.period_end.ToMilliseconds(),
        )
        for item in shown.past
    ]
    left = [source.left if source.HasField("left") else -1 for source in shown.sources if source.grant_id]
    return current.used, _budget(current), current.period_start.ToMilliseconds(), left, past


def _budget(counts: v1.Consumption | v1.PastPeriod) -> int | None:
    return counts.budget if counts.HasField("budget") else None


@pytest.mark.parametrize("looks", [[], [25], [20, 21, 25, 31.5, 32, 33]])
async def test_what_was_used_counts_on_under_a_higher_limit_whether_somebody_looks_in_between_or_not(
    env: Environment, database: Database, looks: list[float]
) -> None:
    """Unless a call came before the end of the old period, its count was lost."""
    await subscribed(env, (TEN, 1, None), (TWENTY, 20, None))
    database.record(day(10), delta=5)
    for look in looks:
        await state_at(env, day(look))
    assert await state_at(env, day(34)) == (5, 20, day(20), [], [])


@pytest.mark.parametrize("looks", [[], [16], [15, 16, 31.9, 32]])
async def test_a_new_period_starts_at_zero_whether_somebody_looks_in_between_or_not(
    env: Environment, database: Database, looks: list[float]
) -> None:
    """An add-on ended in January: its count, not read before February, was subtracted from February's budget."""
    await subscribed(env, (TEN, 1, None), (TWENTY, 10, 15))
    await state_at(env, day(10))
    database.record(day(12), delta=7)
    for look in looks:
        await state_at(env, day(look))
    assert await state_at(env, day(33)) == (0, 10, day(32), [], [(7, 10, 0, day(1), day(32))])


@pytest.mark.parametrize("looks", [[], [40], [32, 60, 61, 90]])
async def test_months_that_pass_unseen_are_over_as_if_they_had_been_seen(
    env: Environment, database: Database, looks: list[float]
) -> None:
    await subscribed(env, (TEN, 1, None))
    database.record(day(10), delta=5)
    for look in looks:
        await state_at(env, day(look))
    assert await state_at(env, day(93)) == (0, 10, day(91), [], [(5, 10, 0, day(1), day(32))])


@pytest.mark.parametrize("looks", [[], [12], [5, 10, 11, 19.9, 20, 21]])
async def test_what_was_drawn_from_a_grant_is_of_its_time_and_not_of_the_next_one_s(
    env: Environment, database: Database, looks: list[float]
) -> None:
    """It was stored in a period that began in 1970 and ended when the next grant began."""
    await subscribed(env, grant_spans=[(2, 10, 5), (20, None, 7)])
    await state_at(env, day(5))
    database.record(day(5), delta=3)
    for look in looks:
        await state_at(env, day(look))
    past = [(3, 0, 3, day(2), day(10))]
    assert await state_at(env, day(30)) == (0, 7, day(20), [0, 7], past)


@pytest.mark.parametrize("looks", [[], [12]])
async def test_the_time_of_the_last_grant_ends_with_it(
    env: Environment, database: Database, looks: list[float]
) -> None:
    """Its uses were stored in a period that ended when it began."""
    await subscribed(env, grant_spans=[(2, 10, 5), (4, 8, 1)])
    await state_at(env, day(5))
    database.record(day(5), delta=3)
    for look in looks:
        await state_at(env, day(look))
    assert await state_at(env, day(30)) == (0, None, 0, [0, 0], [(3, 0, 3, day(2), day(10))])


days = st.integers(1, 60) | st.integers(10, 600).map(lambda number: number / 10)
entries = st.builds(
    PackageFeature,
    st.just("calls"),
    st.none() | st.integers(0, 30),
    st.sampled_from((ResetPeriod.MONTH, ResetPeriod.WEEK, ResetPeriod.DAY, ResetPeriod.NEVER)),
    st.booleans(),
)


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    """Up to four subscriptions that start and end within two months."""
    found: list[Span] = []
    for _ in range(draw(st.integers(2, 4))):
        start = draw(days)
        lasts = draw(st.none() | days)
        found.append((draw(entries), start, None if lasts is None else start + lasts))
    return found


@st.composite
def grant_spans(draw: st.DrawFn) -> list[GrantSpan]:
    """Up to three grants, often one after the other with a pause between them."""
    found: list[GrantSpan] = []
    for _ in range(draw(st.integers(0, 3))):
        start = draw(days)
        lasts = draw(st.none() | st.integers(1, 30))
        found.append((start, None if lasts is None else start + lasts, draw(st.none() | st.integers(1, 9))))
    return found


@given(
    st.just([]) | spans(),
    grant_spans(),
    st.lists(st.tuples(days, st.sampled_from(("calls", "messages")), st.integers(1, 5)), min_size=1, max_size=3),
    st.lists(st.integers(1, 120), max_size=6),
    st.integers(0, 60),
)
@pytest.mark.extended
@settings(max_examples=80, deadline=None)
async def test_when_reads_happen_makes_no_difference_to_what_is_counted(
    shared_store: Store,
    shared_database: Database,
    spans: list[Span],
    grant_spans: list[GrantSpan],
    uses: list[Use],
    looks: list[int],
    rest: int,
) -> None:
    end = max(at for at, _, _ in uses) + rest
    outcomes = []
    for moments in ([], looks):
        shared_database.empty()
        env = Environment.of(shared_store, "live", RETENTION, "")
        await subscribed(env, *spans, grant_spans=grant_spans)
        outcomes.append(await final_state(env, shared_database, uses, moments, end))
    assert outcomes[0] == outcomes[1]


async def final_state(
    env: Environment, database: Database, uses: Iterable[Use], looks: Iterable[int], end: float
) -> list[FeatureState]:
    """Record uses and make reads, each at its time, and return the state of both features at the end."""
    for at, feature_id, delta in sorted([*uses, *((at, "", 0) for at in looks if at <= end)]):
        env.store.manual_now_ms = day(at)
        if not delta:
            await state_at(env, day(at))
            continue
        try:
            database.record(day(at), feature_id=feature_id, delta=delta)
        except StaleError:
            await state_at(env, day(at))
            database.record(day(at), feature_id=feature_id, delta=delta)
    return [await state_at(env, day(end), feature_id) for feature_id in ("calls", "messages")]
