"""Subscriptions of users to packages."""

from collections.abc import AsyncIterator, Sequence

from canuse import _requests, v1
from canuse._arguments import build, optional
from canuse._async.base import BaseClient
from canuse._moments import Moment
from canuse._requests import UNSET, Unset


class SubscriptionMethods(BaseClient):
    """Subscriptions of users to packages."""

    async def subscribe(
        self,
        user_id: str,
        package_ids: Sequence[str],
        *,
        started_at: Moment | None = None,
        trial_end: Moment | None = None,
        status: v1.SubscriptionStatus.ValueType | None = None,
        event_id: str | None = None,
    ) -> list[v1.Subscription]:
        """Subscribe a user to published packages, all or none.

        Args:
            user_id: The user.
            package_ids: 1 to 32 packages.
            started_at: When they start, with a time zone; periods are counted from here. Default: now.
            trial_end: When the trial ends, with a time zone. Default: no trial.
            status: Default `v1.SUBSCRIPTION_STATUS_ACTIVE`, or TRIALING with a trial end.
            event_id: Idempotency key, at most 128 bytes. A retry gets the first answer and changes nothing.

        Returns:
            One subscription per package, in the order of `package_ids`.

        Raises:
            NotFound: The user or a package does not exist.
            FailedPrecondition: A package is not published, or the user would have two base packages, or more than 100
                subscriptions that have not ended.
            AlreadyExists: The `event_id` was already used for a different request.
            BadArgument: A time has no time zone.
        """
        request = _requests.subscribe(
            user_id, package_ids, started_at=started_at, trial_end=trial_end, status=status, event_id=event_id
        )
        response = await self._call(self._stubs.subscriptions.Subscribe, request)
        return list(response.subscriptions)

    async def get_subscription(self, subscription_id: str) -> v1.Subscription:
        """Get a subscription. NotFound if it does not exist."""
        request = build(v1.GetSubscriptionRequest, subscription_id=subscription_id)
        response = await self._call(self._stubs.subscriptions.GetSubscription, request)
        return response.subscription

    def list_subscriptions(
        self,
        user_id: str | None = None,
        *,
        package_id: str | None = None,
        status: v1.SubscriptionStatus.ValueType | None = None,
        page_size: int = 50,
    ) -> AsyncIterator[v1.Subscription]:
        """Iterate over the subscriptions of a user or of all users, oldest first for each, including ended ones.

        Args:
            user_id: The user. Default: all users.
            package_id: Only subscriptions to this package, in any version.
            status: Only subscriptions with this status now.
            page_size: Maximum number of subscriptions per page.

        Raises:
            NotFound: The user or the package does not exist.
        """
        filters = optional(user_id=user_id, package_id=package_id, status=status)
        request = build(v1.ListSubscriptionsRequest, page_size=page_size, **filters)
        return self._pages(self._stubs.subscriptions.ListSubscriptions, request, lambda page: page.subscriptions)

    async def update_subscription(
        self,
        subscription_id: str,
        *,
        status: v1.SubscriptionStatus.ValueType | Unset = UNSET,
        trial_end: Moment | Unset | None = UNSET,
        cancel_at: Moment | Unset | None = UNSET,
    ) -> v1.Subscription:
        """Change the status, the trial end or the end of a subscription. None removes a time.

        Returns:
            The subscription after the change.

        Raises:
            NotFound: The subscription does not exist.
            BadArgument: No field was given, or a time without a time zone.
        """
        request = _requests.update_subscription(
            subscription_id, status=status, trial_end=trial_end, cancel_at=cancel_at
        )
        response = await self._call(self._stubs.subscriptions.UpdateSubscription, request)
        return response.subscription

    async def cancel_subscription(self, subscription_id: str, *, at_period_end: bool = False) -> v1.Subscription:
        """Cancel a subscription, now or at the end of its period or trial.

        Returns:
            The subscription after the change; `cancel_at` says when it ends.

        Raises:
            NotFound: The subscription does not exist.
            FailedPrecondition: It has no period that ends.
        """
        request = build(v1.CancelSubscriptionRequest, subscription_id=subscription_id, at_period_end=at_period_end)
        response = await self._call(self._stubs.subscriptions.CancelSubscription, request)
        return response.subscription

    async def change_package(
        self, user_id: str, package_id: str, *, at_period_end: bool = False, event_id: str | None = None
    ) -> v1.ChangePackageResponse:
        """Change a user's base package in one step, now or at the end of the period. Usage, add-ons and grants stay.

        Args:
            user_id: The user.
            package_id: The new base package.
            at_period_end: Change at the end of the period or trial. A later call replaces the planned change.
            event_id: Idempotency key, at most 128 bytes. A retry gets the first answer and changes nothing.

        Returns:
            The new subscription, those that it replaces, and whether anything changed: not if the user already has the
            package.

        Raises:
            NotFound: The user or the package does not exist.
            FailedPrecondition: The package is an add-on or not published, or there is no period that ends.
            AlreadyExists: The `event_id` was already used for a different request.
        """
        request = build(
            v1.ChangePackageRequest,
            user_id=user_id,
            package_id=package_id,
            timing=v1.CHANGE_TIMING_PERIOD_END if at_period_end else v1.CHANGE_TIMING_NOW,
            **optional(event_id=event_id),
        )
        return await self._call(self._stubs.subscriptions.ChangePackage, request)
