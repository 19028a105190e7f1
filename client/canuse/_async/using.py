"""A check before a piece of work, and a use recorded after it, if it succeeds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from canuse import _requests, v1
from canuse._async.entitlements import EntitlementMethods
from canuse._async.leases import LeaseMethods
from canuse._moments import Length
from canuse._requests import GENERATED_ID_SECONDS
from canuse._unavailable import is_no_answer
from canuse._use import Use
from canuse.answers import CanUseAnswer, ReserveAnswer
from canuse.errors import CanuseError, FailedPrecondition, NotFound

_RELEASE_SECONDS = 1.0
"""Maximum time to give units back for. Otherwise they are free when the lease expires."""


class UsingMethods(EntitlementMethods, LeaseMethods):
    """A check before a piece of work, and a use recorded after it, if it succeeds."""

    @asynccontextmanager
    async def using(
        self,
        user_id: str,
        feature_id: str,
        delta: int = 1,
        *,
        ttl: Length | None = None,
        feature_name: str | None = None,
    ) -> AsyncIterator[Use]:
        """Guard a block, `with client.using("124", "api-calls", 3):`, that does the work for which units are used.

        Before the block the units are reserved, so blocks that run at once never use more than the budget together.
        After it they are recorded, with an `event_id`, so that retries count once. A block that raises an exception
        gives them back. A binary feature is only checked. If the service does not answer before the block, the client
        does, as to `can_use`; the use is recorded after the block nevertheless.

        Args:
            user_id: The user.
            feature_id: The feature.
            delta: The amount, in the feature's units, 1 to 2^53 - 1.
            ttl: How long the units stay reserved for a block that takes longer, or never ends: 1 second to 7 days.
                None: 1 minute. The use of a block that takes longer is recorded nevertheless, also above the budget.
            feature_name: The name of the feature in the text of AccessDenied, such as `API calls`.

        Returns:
            A context manager; its value has the `answer`, the `event_id` and the `delta`, which the block may change.

        Raises:
            AccessDenied: The answer is no. The block does not run.
            NotFound: The user or the feature does not exist. The block does not run.
            CanuseError: Before the block: there is no answer, and it does not run. After it: the work is done, and it
                is not certain that its use is recorded. `create_usage_event` with the error's `event_id` records it;
                AlreadyExists then means that it was recorded.
        """
        answer = await self._reserve_or_check(user_id, feature_id, delta, ttl)
        use = Use(answer.raise_if_denied(feature_name), delta)
        lease_id = answer.lease_id if isinstance(answer, ReserveAnswer) else ""
        try:
            yield use
        except BaseException:
            if lease_id:
                with suppress(CanuseError):
                    request = _requests.settle(lease_id, 0, final=True, event_id=None, metadata=None)
                    await self._call(self._stubs.entitlements.Settle, request, timeout_seconds=_RELEASE_SECONDS)
            raise
        if lease_id or (isinstance(answer, CanUseAnswer) and answer.failure is not None):
            await self._record_or_keep(user_id, feature_id, lease_id, use)

    async def _reserve_or_check(
        self, user_id: str, feature_id: str, delta: int, ttl: Length | None
    ) -> ReserveAnswer | CanUseAnswer:
        """Reserve units, or check a feature that has none."""
        answer = await self._reserve_or_check_once(user_id, feature_id, delta, ttl)
        if self._leases is None or not await self._gave_back(self._leases, user_id, feature_id, delta, answer):
            return answer
        return await self._reserve_or_check_once(user_id, feature_id, delta, ttl)

    async def _reserve_or_check_once(
        self, user_id: str, feature_id: str, delta: int, ttl: Length | None
    ) -> ReserveAnswer | CanUseAnswer:
        request = _requests.reserve(user_id, feature_id, delta, min_amount=delta, ttl=ttl, event_id=None)
        patience = self._fallbacks.retry_seconds(feature_id)
        try:
            response = await self._call(self._stubs.entitlements.Reserve, request, retry_seconds=patience)
        except FailedPrecondition as error:
            if error.reason != "FEATURE_NOT_CONSUMABLE":
                raise
            return await self.can_use(user_id, feature_id)
        except CanuseError as error:
            # A lease that was made without an answer expires by itself.
            return self._fallbacks.answer(user_id, feature_id, delta, error)
        return ReserveAnswer.from_message(response, feature_id)

    async def _record_or_keep(self, user_id: str, feature_id: str, lease_id: str, use: Use) -> None:
        """Record a use, or let the attached recorder keep it."""
        recorder = self._recorder
        try:
            if lease_id:
                await self._record_use(user_id, feature_id, lease_id, use)
            else:
                await self._record_fact(user_id, feature_id, use)
        except CanuseError as error:
            if recorder is None or not is_no_answer(error):
                raise
            self._fallbacks.missed()
            use.failure = error
            if use.delta:
                await recorder.record(user_id, feature_id, use.delta, use.event_id)

    def _for_retries(self, request: v1.SettleRequest | v1.CreateUsageEventRequest) -> float | None:
        """Let an event id be kept for the retries of one call, or for those of a recorder; return how long to retry."""
        if self._recorder is not None:
            return self._fallbacks.patience_seconds()
        request.event_id_ttl.seconds = GENERATED_ID_SECONDS
        return None

    async def _record_use(self, user_id: str, feature_id: str, lease_id: str, use: Use) -> None:
        """Record a use and end its lease."""
        settling = _requests.settle(lease_id, use.delta, final=True, event_id=use.event_id, metadata=None)
        patience = self._for_retries(settling)
        try:
            await self._call(self._stubs.entitlements.Settle, settling, retry_seconds=patience)
        except NotFound:
            # The block took so much longer than the lease that this was deleted, and the use is not recorded yet.
            await self._record_fact(user_id, feature_id, use)

    async def _record_fact(self, user_id: str, feature_id: str, use: Use) -> None:
        """Record a use without a lease."""
        if not use.delta:
            return
        event = _requests.create_usage_event(
            user_id, feature_id, delta=use.delta, action=v1.USAGE_ACTION_ADD, event_id=use.event_id, metadata=None
        )
        patience = self._for_retries(event)
        try:
            await self._call(self._stubs.entitlements.CreateUsageEvent, event, retry_seconds=patience)
        except FailedPrecondition as error:
            # Without an answer it was not known that the feature is binary.
            if error.reason != "FEATURE_NOT_CONSUMABLE":
                raise
