"""Leases: amounts set aside ahead of use."""

from collections.abc import Mapping

from canuse import _requests
from canuse._async.base import BaseClient
from canuse._moments import Length
from canuse.answers import ReserveAnswer, SettleAnswer


class LeaseMethods(BaseClient):
    """Leases: amounts set aside ahead of use."""

    async def reserve(
        self,
        user_id: str,
        feature_id: str,
        amount: int,
        *,
        min_amount: int = 1,
        ttl: Length | None = None,
        event_id: str | None = None,
    ) -> ReserveAnswer:
        """Set an amount aside ahead of use, or what there is of it: a lease, to be settled.

        Args:
            user_id: The user.
            feature_id: The feature, a consumable one.
            amount: The amount wanted, in the feature's units, 1 to 2^53 - 1.
            min_amount: The least that is of use: with less than that nothing is granted.
            ttl: How long it is set aside, 1 second to 7 days. None: 1 minute. What is not settled by then goes back.
            event_id: Idempotency key, at most 128 bytes. A repeat gets the same lease; a no is kept, too.

        Returns:
            `granted`, 0 where the answer is no, the `lease_id` and when it `expires_at`, the `reason`, and the
            `consumption` after it.

        Raises:
            NotFound: There is no such user or feature.
            FailedPrecondition: The feature is binary.
            AlreadyExists: The `event_id` was sent before with other content.
        """
        request = _requests.reserve(user_id, feature_id, amount, min_amount=min_amount, ttl=ttl, event_id=event_id)
        return ReserveAnswer.from_message(await self._call(self._entitlements.Reserve, request))

    async def settle(
        self,
        lease_id: str,
        used: int,
        *,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> SettleAnswer:
        """End a lease: record what was used, and give the rest back.

        Args:
            lease_id: The lease, as `reserve` named it.
            used: What was used, in the feature's units, 0 to 2^53 - 1. It may be more than was granted.
            event_id: Idempotency key, at most 128 bytes. Without one a repeat is NotFound.
            metadata: Kept with the event: at most 16 pairs, 2 KiB in all.

        Returns:
            The `consumption` after it, and `late`: whether the lease had expired. The use is recorded all the same.

        Raises:
            NotFound: There is no such lease, or it was settled, or it expired so long ago that it was forgotten.
            AlreadyExists: The `event_id` was sent before with other content.
        """
        request = _requests.settle(lease_id, used, event_id=event_id, metadata=metadata)
        return SettleAnswer.from_message(await self._call(self._entitlements.Settle, request))
