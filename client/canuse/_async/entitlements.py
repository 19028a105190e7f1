"""Checks and uses of features."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from canuse import _requests, v1
from canuse._arguments import build
from canuse._async.base import BaseClient
from canuse._async.lending import in_thread
from canuse._unavailable import is_no_answer
from canuse.answers import (
    CanUseAnswer,
    CreateUsageEventAnswer,
    Entitlement,
    ReserveAnswer,
    UseFeatureAnswer,
    UseFeaturesAnswer,
    batch_can_use_answers,
    batch_create_usage_events_answers,
    batch_use_feature_answers,
)
from canuse.errors import CanuseError
from canuse.leases.clock import clock

if TYPE_CHECKING:
    from canuse.leases.worker import Worker


class EntitlementMethods(BaseClient):
    """Checks and uses of features."""

    async def can_use(self, user_id: str, feature_id: str, delta: int = 1, *, explain: bool = False) -> CanUseAnswer:
        """Check whether a user may use an amount of a feature now. It records nothing.

        Args:
            user_id: The user.
            feature_id: The feature.
            delta: The amount to use, in the feature's units, 1 to 2^53 - 1. Ignored for a binary feature.
            explain: Whether to explain the answer. It makes the call slower: use it for debugging and tests.

        Returns:
            `access`, the `reason`, the `consumption` that the answer is based on, and with `explain` the `explanation`.
            If the service does not answer, the client does: as its setting `unavailable` says for the feature, or the
            feature itself. Then the `failure` is set. With `leases`, it may be `local`.

        Raises:
            NotFound: The user or the feature does not exist.
            Unavailable, DeadlineExceeded: There is no answer, and none is to be given in its place.
        """
        leases = self._leases if explain is False else None
        if leases is None:
            return await self._can_use(user_id, feature_id, delta, explain)
        if (local := leases.table.check(user_id, feature_id, delta)) is not None:
            return local
        asked_at = clock()
        answer = await self._can_use(user_id, feature_id, delta, explain)
        if await self._gave_back(leases, user_id, feature_id, delta, answer):
            answer = await self._can_use(user_id, feature_id, delta, explain)
        leases.table.note_check(user_id, answer, asked_at)
        return answer

    async def _can_use(self, user_id: str, feature_id: str, delta: int, explain: bool) -> CanUseAnswer:
        request = _requests.can_use(user_id, feature_id, delta=delta, explain=explain)
        patience = self._fallbacks.retry_seconds(feature_id)
        try:
            response = await self._call(self._stubs.entitlements.CanUse, request, retry_seconds=patience)
        except CanuseError as error:
            return self._fallbacks.answer(user_id, feature_id, delta, error)
        answer = CanUseAnswer.from_message(response, feature_id)
        self._fallbacks.note(user_id, answer)
        return answer

    async def _gave_back(
        self,
        leases: "Worker",
        user_id: str,
        feature_id: str,
        delta: int,
        answer: CanUseAnswer | UseFeatureAnswer | ReserveAnswer,
    ) -> bool:
        """Give a lease back whose units were missing for a yes; return whether to ask again."""
        account = leases.table.lent(user_id, feature_id, delta, answer)
        return account is not None and await in_thread(lambda: leases.give_back(account))

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
        """Record a use that has happened, also above the budget.

        Args:
            user_id: The user.
            feature_id: The feature, a consumable one.
            delta: With ADD, the amount in the feature's units: 1 by default; a negative one reduces the total, down to
                zero. With SET, the new total of the period, required.
            action: `v1.USAGE_ACTION_ADD` or `v1.USAGE_ACTION_SET`.
            event_id: Idempotency key, at most 128 bytes. A retry gets the first answer and is not counted. A use that
                was not recorded does not keep its key.
            metadata: Metadata to store with the event: at most 16 pairs, 2 KiB in total.

        Returns:
            `recorded`, false if there is no entitlement to count against, and the `consumption` after the event. It is
            also false if an attached recorder keeps the use (`attach`); then the `failure` is set.

        Raises:
            NotFound: The user or the feature does not exist.
            FailedPrecondition: The feature is binary.
            AlreadyExists: The `event_id` was already used for a different request.
        """
        recorder = self._recorder if action == v1.USAGE_ACTION_ADD and not metadata else None
        if recorder is not None and event_id is None:
            event_id = uuid4().hex  # One that is kept for a day, not for the retries of one call.
        request = _requests.create_usage_event(
            user_id, feature_id, delta=delta, action=action, event_id=event_id, metadata=metadata
        )
        patience = None if recorder is None else self._fallbacks.patience_seconds()
        try:
            response = await self._call(self._stubs.entitlements.CreateUsageEvent, request, retry_seconds=patience)
        except CanuseError as error:
            if recorder is None or not is_no_answer(error):
                raise
            self._fallbacks.missed()
            await recorder.record(user_id, feature_id, 1 if delta is None else delta, event_id)
            kept = v1.CreateUsageEventResponse(reason=v1.REASON_STORE_UNAVAILABLE, event_id=request.event_id)
            return CreateUsageEventAnswer.from_message(kept, error)
        answer = CreateUsageEventAnswer.from_message(response)
        self._fallbacks.note_counts(user_id, feature_id, answer)
        return answer

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
            event_id: Idempotency key, at most 128 bytes. A no is kept as well: to try again after a no, send a new key.
            metadata: Metadata to store with the event: at most 16 pairs, 2 KiB in total.

        Returns:
            `access`, true if and only if the use was recorded, the `reason`, and the `consumption` after the call. With
            `leases`, a use without `event_id` and `metadata` may be decided without a call: then the answer is `local`,
            and the use is recorded later, with others.

        Raises:
            NotFound: The user or the feature does not exist.
            FailedPrecondition: The feature is binary.
            AlreadyExists: The `event_id` was already used for a different request.
        """
        leases = self._leases if event_id is None and metadata is None else None
        if leases is None:
            return await self._use_feature(user_id, feature_id, delta, event_id, metadata)
        if (local := leases.table.use(user_id, feature_id, delta)) is not None:
            return local
        asked_at = clock()
        answer = await self._use_feature(user_id, feature_id, delta, None, None)
        if await self._gave_back(leases, user_id, feature_id, delta, answer):
            answer = await self._use_feature(user_id, feature_id, delta, None, None)
        leases.table.note_use(user_id, feature_id, delta, answer, asked_at)
        return answer

    async def _use_feature(
        self, user_id: str, feature_id: str, delta: int, event_id: str | None, metadata: Mapping[str, str] | None
    ) -> UseFeatureAnswer:
        request = _requests.use_feature(user_id, feature_id, delta=delta, event_id=event_id, metadata=metadata)
        response = await self._call(self._stubs.entitlements.UseFeature, request)
        answer = UseFeatureAnswer.from_message(response, feature_id)
        self._fallbacks.note_counts(user_id, feature_id, answer)
        return answer

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
            event_id: Idempotency key, at most 128 bytes. A no is kept as well: to try again after a no, send a new key.
            metadata: Metadata to store with each event: at most 16 pairs, 2 KiB in total.

        Returns:
            `access`, true if and only if all uses were recorded, the `reason`, the `blocking_feature_id` of the first
            refused charge, and the `consumptions` after the call, in the order of `charges`.

        Raises:
            NotFound: The user or the feature does not exist.
            FailedPrecondition: A feature is binary.
            AlreadyExists: The `event_id` was already used for a different request.
        """
        request = _requests.use_features(user_id, charges, event_id=event_id, metadata=metadata)
        return UseFeaturesAnswer.from_message(await self._call(self._stubs.entitlements.UseFeatures, request))

    async def batch_can_use(self, requests: Iterable[v1.CanUseRequest]) -> list[CanUseAnswer | CanuseError]:
        """Make many checks in one call.

        Args:
            requests: 1 to 1000 checks: `v1.CanUseRequest(user_id="user-124", feature_id="api-calls")`.

        Returns:
            One item per request, in the same order: the answer, or the error that `can_use` would have raised. An
            answer is true if it is a yes; an error is false.
        """
        request = build(v1.BatchCanUseRequest, requests=requests)
        patience = self._fallbacks.retry_seconds(*{each.feature_id for each in request.requests})
        method = self._stubs.entitlements.BatchCanUse
        try:
            answers = await self._batch(method, request, batch_can_use_answers, retry_seconds=patience)
        except CanuseError as error:
            return self._fallbacks.batch(request.requests, error)
        return self._fallbacks.settled(request.requests, answers)

    async def batch_create_usage_events(
        self, requests: Iterable[v1.CreateUsageEventRequest]
    ) -> list[CreateUsageEventAnswer | CanuseError]:
        """Record many uses in one call, those of one user in their order.

        Args:
            requests: 1 to 1000 uses: `v1.CreateUsageEventRequest(user_id="user-124", feature_id="api-calls", delta=3)`.

        Returns:
            One item per request, in the same order: the answer, or the error that `create_usage_event` would have
            raised. An answer is true if its use was recorded; an error is false. Items that got no answer are sent
            again, as single calls are.
        """
        request = build(v1.BatchCreateUsageEventsRequest, requests=requests)
        method = self._stubs.entitlements.BatchCreateUsageEvents
        return await self._batch(method, request, batch_create_usage_events_answers)

    async def batch_use_feature(self, requests: Iterable[v1.UseFeatureRequest]) -> list[UseFeatureAnswer | CanuseError]:
        """Check and record many uses in one call, those of one user in their order, each in one atomic step.

        Args:
            requests: 1 to 1000 uses: `v1.UseFeatureRequest(user_id="user-124", feature_id="api-calls", delta=3)`.

        Returns:
            One item per request, in the same order: the answer, or the error that `use_feature` would have raised. An
            answer is true if its use was recorded; an error is false. Items that got no answer are sent again, as
            single calls are.
        """
        request = build(v1.BatchUseFeatureRequest, requests=requests)
        return await self._batch(self._stubs.entitlements.BatchUseFeature, request, batch_use_feature_answers)

    def list_entitlements(
        self, user_id: str, *, include_locked: bool = False, page_size: int = 50
    ) -> AsyncIterator[Entitlement]:
        """Iterate over a user's entitlements, one per feature, ordered by feature id.

        With `include_locked` also over the features that the user does not have, with the packages that give them.
        """
        request = build(v1.ListEntitlementsRequest, user_id=user_id, include_locked=include_locked, page_size=page_size)
        return self._pages(self._stubs.entitlements.ListEntitlements, request, _entitlements)

    async def entitlements(self, user_id: str, *, include_locked: bool = False) -> dict[str, Entitlement]:
        """Get all of a user's entitlements, by feature id, in the order of the ids.

        Args:
            user_id: The user.
            include_locked: Whether to include the features that the user does not have, with the packages that give
                them: `package_ids`.

        Returns:
            What a page of prices or settings shows: `entitlements["sso"].access`.

        Raises:
            NotFound: The user does not exist.
        """
        listed = self.list_entitlements(user_id, include_locked=include_locked, page_size=_PAGE_SIZE)
        return {each.feature_id: each async for each in listed}


_PAGE_SIZE: Final = 1000
"""The maximum: for most users one call."""


def _entitlements(page: v1.ListEntitlementsResponse) -> Iterable[Entitlement]:
    return map(Entitlement.from_message, page.entitlements)
