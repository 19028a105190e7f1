"""ListUsageTotals: what all users have used, by feature and period."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from canuse.v1 import usage_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import optional_timestamp, timestamp
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, feature_not_found, not_consumable
from canuse_server.api.services.usage_events import UsageEventMethods, time_range
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.users.changes import renew
from canuse_server.api.users.state import MAX_REPAIRS
from canuse_server.api.users.usage import current_period, past_periods
from canuse_server.api.validation import Violations, page_size
from canuse_server.domain.model import FeatureType
from canuse_server.domain.past_periods import PastPeriod
from canuse_server.runtime.fairness import yield_if_due
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.keys import bucket_of
from canuse_server.store.repositories.users.reading import PastUsage
from canuse_server.store.repositories.users.state import UserState

MAX_WORK: Final = 1000
"""Maximum number of users that a page reads. One whose entitlements have to be renewed counts as several."""
RENEWAL_WORK: Final = 10
MAX_USERS_AT_ONCE: Final = 128
MAX_PERIODS_AT_ONCE: Final = 5000
"""Number of past periods in one read above which the next one asks for fewer users."""
_SEPARATOR: Final = "\n"
"""Separates the ids of a page token; no id has control characters."""
_SAME_START: Final = 1 << 20
"""More than the number of periods of a feature that have the same start."""


class _Place(NamedTuple):
    """A place in the list: after a feature's period, or after everything of a user if `feature_id` is empty."""

    user_id: str
    feature_id: str = ""
    period: int = 0
    """The start of the period and its number among those with this start."""

    def encode(self, request: pb.ListUsageTotalsRequest) -> str:
        last = f"{self.user_id}{_SEPARATOR}{self.feature_id}" if self.feature_id else self.user_id
        return page_tokens.encode(request, last, self.period)

    @classmethod
    def decode(cls, request: pb.ListUsageTotalsRequest) -> "_Place":
        period, last = page_tokens.decode(request)
        user_id, _, feature_id = last.partition(_SEPARATOR)
        return cls(user_id, feature_id, period)


class UsageTotalMethods(UsageEventMethods):
    """The method of UsageService for all users."""

    async def list_usage_totals(
        self, request: pb.ListUsageTotalsRequest, context: CallContext
    ) -> pb.ListUsageTotalsResponse:
        """List what users have used, by user, feature and period."""
        size, after = page_size(request.page_size), _Place.decode(request)
        violations = Violations()
        feature_id = request.feature_id
        if feature_id:
            violations.id("feature_id", feature_id)
        since_ms, until_ms = time_range(violations, request)
        if feature_id:
            await _check_feature(context.env, feature_id)
        page = _Page(request, context.env, after, since_ms, until_ms)
        await page.fill(size)
        return pb.ListUsageTotalsResponse(totals=page.totals, next_page_token=page.token)


async def _check_feature(env: Environment, feature_id: str) -> None:
    feature = await env.cache.find_feature(feature_id)
    if feature is None:
        raise feature_not_found(feature_id)
    if feature.type == FeatureType.BINARY:
        raise not_consumable(feature_id)


class _Page:
    """A page that is being made."""

    def __init__(
        self,
        request: pb.ListUsageTotalsRequest,
        env: Environment,
        after: _Place,
        since_ms: int,
        until_ms: int | None,
    ) -> None:
        self._request = request
        self._env = env
        self._after = after
        self._since_ms = since_ms
        self._until_ms = until_ms
        self._work = 0
        self.totals: list[pb.UsageTotal] = []
        self.token = ""

    async def fill(self, size: int) -> None:
        """Fill the page up to a number of totals, a number of bytes or an amount of work."""
        after, remaining_bytes = self._after, page_tokens.BYTES
        start = (bucket_of(after.user_id), after.user_id) if after.user_id else (0, "")
        user_ids = await self._env.users.page(start, MAX_WORK + 1)
        if after.feature_id:
            user_ids.insert(0, after.user_id)
        at, at_once, place = 0, 4, after
        while at < len(user_ids):
            batch = user_ids[at : at + at_once]
            at += len(batch)
            periods = 0
            for user_id, found in zip(batch, await self._env.users.usage(batch, self._request.feature_id), strict=True):
                if self._work >= MAX_WORK:
                    self.token = place.encode(self._request)
                    return
                self._work += 1
                current = await self._current(user_id, found)
                periods += 0 if found is None else sum(map(len, found[1].values()))
                for next_place, total in () if current is None else self._totals(*current):
                    if len(self.totals) == size or remaining_bytes < 0:
                        self.token = place.encode(self._request)
                        return
                    self.totals.append(total)
                    remaining_bytes -= total.ByteSize()
                    place = next_place
                    await yield_if_due()
                place = _Place(user_id)
            at_once = min(2 * at_once, MAX_USERS_AT_ONCE) if periods < MAX_PERIODS_AT_ONCE else max(1, at_once // 2)

    async def _current(
        self, user_id: str, found: tuple[UserState, PastUsage] | None
    ) -> tuple[UserState, PastUsage] | None:
        """Return a user with current entitlements; None if the user does not exist."""
        for _ in range(MAX_REPAIRS):
            if found is None or found[0].is_current():
                return found
            self._work += RENEWAL_WORK
            try:
                await renew(self._env, user_id)
            except ApiError:
                return None  # Deleted meanwhile.
            (found,) = await self._env.users.usage([user_id], self._request.feature_id)
        raise StoreUnavailableError("the entitlements of a user became stale repeatedly")

    def _totals(self, state: UserState, past: PastUsage) -> Iterator[tuple[_Place, pb.UsageTotal]]:
        """Return the totals of a user in their order, each with its place."""
        requested = self._request.feature_id
        for feature_id in [requested] if requested else sorted(past.keys() | state.counters.keys()):
            if state.user_id == self._after.user_id and feature_id < self._after.feature_id:
                continue
            found = [(item, True) for item in past_periods(self._env, state, feature_id, past.get(feature_id, ()))]
            if current := current_period(state, feature_id):
                found.append((current, False))
            found.sort(key=lambda item: item[0].period.start_ms)
            start_ms, number = -1, 0
            for item, complete in found:
                number = number + 1 if item.period.start_ms == start_ms else 0
                start_ms = item.period.start_ms
                place = _Place(state.user_id, feature_id, start_ms * _SAME_START + number)
                if start_ms < self._since_ms or (self._until_ms is not None and start_ms >= self._until_ms):
                    continue
                if place[:2] != self._after[:2] or place > self._after:
                    yield place, _message(state.user_id, feature_id, item, complete=complete)


def _message(user_id: str, feature_id: str, item: PastPeriod, *, complete: bool) -> pb.UsageTotal:
    return pb.UsageTotal(
        user_id=user_id,
        feature_id=feature_id,
        period_start=timestamp(item.period.start_ms),
        period_end=optional_timestamp(item.period.end_ms),
        used=item.used,
        budget=item.budget,
        drawn_from_grants=item.drawn,
        overage=item.overage(),
        complete=complete,
        summed=item.summed_overage is not None,
    )
