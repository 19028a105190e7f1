"""Recorded usage: totals of periods, and events."""

from collections.abc import AsyncIterator

from canuse import _requests, v1
from canuse._arguments import build, optional
from canuse._async.base import BaseClient
from canuse._moments import Moment
from canuse.answers import ShowUsageAnswer


class UsageMethods(BaseClient):
    """Recorded usage: totals of periods, and events."""

    async def show_usage(self, user_id: str, feature_id: str) -> ShowUsageAnswer:
        """Show a user's use of a consumable feature: the `current` period, and `past` ones, newest first.

        Raises:
            NotFound: The user or the feature does not exist.
            FailedPrecondition: The feature is binary.
        """
        request = build(v1.ShowUsageRequest, user_id=user_id, feature_id=feature_id)
        return ShowUsageAnswer.from_message(await self._call(self._stubs.usage.ShowUsage, request))

    def list_usage_events(
        self,
        user_id: str,
        *,
        feature_id: str | None = None,
        start_time: Moment | None = None,
        end_time: Moment | None = None,
        page_size: int = 50,
    ) -> AsyncIterator[v1.UsageEvent]:
        """Iterate over a user's recorded usage events, newest first, as far back as the ledger goes.

        Args:
            user_id: The user.
            feature_id: Only events of this feature. Default: all features.
            start_time: Only events at or after this time, with a time zone.
            end_time: Only events before this time, with a time zone.
            page_size: Maximum number of events per page.

        Raises:
            NotFound: The user or the feature does not exist.
            BadArgument: A time has no time zone.
        """
        request = _requests.list_usage_events(
            user_id, feature_id=feature_id, start_time=start_time, end_time=end_time, page_size=page_size
        )
        return self._pages(self._stubs.usage.ListUsageEvents, request, lambda page: page.events)

    def list_leases(
        self, user_id: str, *, feature_id: str | None = None, page_size: int = 50
    ) -> AsyncIterator[v1.Lease]:
        """Iterate over a user's open leases, in the order in which they expire.

        Args:
            user_id: The user.
            feature_id: Only leases of this feature. Default: all features.
            page_size: Maximum number of leases per page.

        Raises:
            NotFound: The user or the feature does not exist.
        """
        request = build(v1.ListLeasesRequest, user_id=user_id, page_size=page_size, **optional(feature_id=feature_id))
        return self._pages(self._stubs.usage.ListLeases, request, lambda page: page.leases)

    def list_usage_totals(
        self,
        *,
        start_time: Moment | None = None,
        end_time: Moment | None = None,
        feature_id: str | None = None,
        page_size: int = 50,
    ) -> AsyncIterator[v1.UsageTotal]:
        """Iterate over what all users have used, by user, feature and period: what to bill.

        Args:
            start_time: Only periods that started at or after this time, with a time zone. Hours that ended more than a
                week ago are summed into days (UTC).
            end_time: Only periods that started before this time, with a time zone. Default: up to now.
            feature_id: Only this consumable feature. Default: all features.
            page_size: Maximum number of totals per page.

        Raises:
            NotFound: The feature does not exist.
            FailedPrecondition: The feature is binary.
            BadArgument: A time has no time zone.
        """
        request = _requests.list_usage_totals(
            start_time=start_time, end_time=end_time, feature_id=feature_id, page_size=page_size
        )
        return self._pages(self._stubs.usage.ListUsageTotals, request, lambda page: page.totals)
