"""Checks and uses of features."""

from collections.abc import AsyncIterator, Iterable, Mapping

from canuse import _requests, v1
from canuse._arguments import build
from canuse._async.base import BaseClient
from canuse.answers import (
    CanUseAnswer,
    CreateUsageEventAnswer,
    Entitlement,
    UseFeatureAnswer,
    UseFeaturesAnswer,
    batch_can_use_answers,
    batch_create_usage_events_answers,
)
from canuse.errors import CanuseError


class EntitlementMethods(BaseClient):
    """Checks and uses of features."""

    async def can_use(self, user_id: str, feature_id: str, delta: int = 1, *, explain: bool = False) -> CanUseAnswer:
        """Ask whether a user may use an amount of a feature now, without recording anything.

        Args:
            user_id: The user.
            feature_id: The feature.
            delta: The amount about to be used, in the feature's units, 1 to 2^53 - 1. A binary feature ignores it.
            explain: Whether to say how the answer came about. It takes longer: for people and tests.

        Returns:
            `access`, the `reason`, the `consumption` it was based on, and with `explain` the `explanation`.

        Raises:
            NotFound: There is no such user or feature.
        """
        request = build(v1.CanUseRequest, user_id=user_id, feature_id=feature_id, delta=delta, explain=explain)
        return CanUseAnswer.from_message(await self._call(self._entitlements.CanUse, request))

    async def create_usage_event(
        self,
        user_id: str,
        feature_id: str,
        delta: int | None = None,
        *,
        action: v1.UsageAction.ValueType = v1.USAGE_ACTION_ADD,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> CreateUsageEventAnswer:
        """Record that a use happened, past the budget too.

        Args:
            user_id: The user.
            feature_id: The feature, a consumable one.
            delta: With ADD the amount, in the feature's units: 1 by default, a negative one takes back, down to zero.
                With SET the new total of the period, which must be given.
            action: `v1.USAGE_ACTION_ADD` or `v1.USAGE_ACTION_SET`.
            event_id: Idempotency key, at most 128 bytes. A repeat gets the first answer again and is not counted; after
                `recorded` false the key is still free.
            metadata: Kept with the event: at most 16 pairs, 2 KiB in all.

        Returns:
            `recorded`, false only where there is nothing to count against, and the `consumption` after it.

        Raises:
            NotFound: There is no such user or feature.
            FailedPrecondition: The feature is binary.
            AlreadyExists: The `event_id` was sent before with other content.
        """
        request = _requests.create_usage_event(
            user_id, feature_id, delta=delta, action=action, event_id=event_id, metadata=metadata
        )
        return CreateUsageEventAnswer.from_message(await self._call(self._entitlements.CreateUsageEvent, request))

    async def use_feature(
        self,
        user_id: str,
        feature_id: str,
        delta: int = 1,
        *,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> UseFeatureAnswer:
        """Check and record a use in one atomic step.

        Args:
            user_id: The user.
            feature_id: The feature, a consumable one.
            delta: The amount, in the feature's units, 1 to 2^53 - 1.
            event_id: Idempotency key, at most 128 bytes. A no is kept too: to try again after one, send a new key.
            metadata: Kept with the event: at most 16 pairs, 2 KiB in all.

        Returns:
            `access`, true exactly when the use was recorded, the `reason`, and the `consumption` after it.

        Raises:
            NotFound: There is no such user or feature.
            FailedPrecondition: The feature is binary.
            AlreadyExists: The `event_id` was sent before with other content.
        """
        request = _requests.use_feature(user_id, feature_id, delta=delta, event_id=event_id, metadata=metadata)
        return UseFeatureAnswer.from_message(await self._call(self._entitlements.UseFeature, request))

    async def use_features(
        self,
        user_id: str,
        charges: Mapping[str, int],
        *,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> UseFeaturesAnswer:
        """Check and record uses of several features in one atomic step: all of them or none.

        Args:
            user_id: The user.
            charges: Amounts by feature id, in each feature's units: 1 to 32 features, consumable ones.
            event_id: Idempotency key, at most 128 bytes. A no is kept too: to try again after one, send a new key.
            metadata: Kept with each event: at most 16 pairs, 2 KiB in all.

        Returns:
            `access`, true exactly when all were recorded, the `reason`, the `blocking_feature_id` that all were refused
            for, and the `consumptions` after it, in the order of `charges`.

        Raises:
            NotFound: There is no such user or feature.
            FailedPrecondition: A feature is binary.
            AlreadyExists: The `event_id` was sent before with other content.
        """
        request = _requests.use_features(user_id, charges, event_id=event_id, metadata=metadata)
        return UseFeaturesAnswer.from_message(await self._call(self._entitlements.UseFeatures, request))

    async def batch_can_use(self, requests: Iterable[v1.CanUseRequest]) -> list[CanUseAnswer | CanuseError]:
        """Ask many checks at once.

        Args:
            requests: 1 to 1000 checks: `v1.CanUseRequest(user_id="user-124", feature_id="api-calls")`.

        Returns:
            One item for each request, in their order: the answer, or the error that `can_use` alone would have raised.
            An item is true where its answer is yes; an error in the place of one is false.
        """
        request = build(v1.BatchCanUseRequest, requests=requests)
        return batch_can_use_answers(await self._call(self._entitlements.BatchCanUse, request))

    async def batch_create_usage_events(
        self, requests: Iterable[v1.CreateUsageEventRequest]
    ) -> list[CreateUsageEventAnswer | CanuseError]:
        """Record many uses at once, those of one user in their order.

        Args:
            requests: 1 to 1000 uses: `v1.CreateUsageEventRequest(user_id="user-124", feature_id="api-calls", delta=3)`.

        Returns:
            One item for each request, in their order: what was recorded, or the error that `create_usage_event` alone
            would have raised. An item is true where its use was recorded; an error in the place of one is false.
        """
        request = build(v1.BatchCreateUsageEventsRequest, requests=requests)
        return batch_create_usage_events_answers(await self._call(self._entitlements.BatchCreateUsageEvents, request))

    def list_entitlements(self, user_id: str, *, page_size: int = 50) -> AsyncIterator[Entitlement]:
        """Iterate over what a user may use, one entry per feature, ordered by feature id."""
        request = build(v1.ListEntitlementsRequest, user_id=user_id, page_size=page_size)
        return self._pages(self._entitlements.ListEntitlements, request, _entitlements)


def _entitlements(page: v1.ListEntitlementsResponse) -> Iterable[Entitlement]:
    return map(Entitlement.from_message, page.entitlements)
