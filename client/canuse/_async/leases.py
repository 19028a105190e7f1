"""Leases: amounts reserved before use."""

from collections.abc import Mapping

from canuse import _requests
from canuse._async.base import BaseClient
from canuse._moments import Length
from canuse.answers import ExtendLeaseAnswer, ReserveAnswer, SettleAnswer


class LeaseMethods(BaseClient):
    """Leases: amounts reserved before use."""

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
        """Reserve an amount before use, or what is available of it, for a limited time: a lease.

        Args:
            user_id: The user.
            feature_id: The feature, a consumable one.
            amount: The requested amount, in the feature's units, 1 to 2^53 - 1.
            min_amount: The smallest amount to grant. If less is available, nothing is granted.
            ttl: Lifetime of the lease, 1 second to 7 days. None: 1 minute. After it, units that are not settled are
                released.
            event_id: Idempotency key, at most 128 bytes. A retry gets the same lease; a no is kept as well.

        Returns:
            `granted`, 0 if the answer is no, the `lease_id`, when the lease `expires_at`, the `reason`, and the
            `consumption` after the call.

        Raises:
            NotFound: The user or the feature does not exist.
            FailedPrecondition: The feature is binary.
            AlreadyExists: The `event_id` was already used for a different request.
        """
        request = _requests.reserve(user_id, feature_id, amount, min_amount=min_amount, ttl=ttl, event_id=event_id)
        response = await self._call(self._stubs.entitlements.Reserve, request)
        return ReserveAnswer.from_message(response, feature_id)

    async def settle(
        self,
        lease_id: str,
        used: int,
        *,
        final: bool = True,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> SettleAnswer:
        """End a lease: record what was used, and release the rest.

        Args:
            lease_id: The lease, as `reserve` returned it.
            used: The amount used, in the feature's units, 0 to 2^53 - 1. It may exceed what was granted.
            final: Whether to end the lease. False: record `used` and keep the rest of the lease.
            event_id: Idempotency key, at most 128 bytes. Without a key, a retry is NotFound.
            metadata: Metadata to store with the event: at most 16 pairs, 2 KiB in total.

        Returns:
            The `consumption` after the event, and `late`: whether the lease had expired. The use is recorded
            nevertheless.

        Raises:
            NotFound: The lease does not exist, was settled, or expired so long ago that it was deleted.
            AlreadyExists: The `event_id` was already used for a different request.
        """
        request = _requests.settle(lease_id, used, final=final, event_id=event_id, metadata=metadata)
        return SettleAnswer.from_message(await self._call(self._stubs.entitlements.Settle, request))

    async def extend_lease(
        self,
        lease_id: str,
        *,
        ttl: Length | None = None,
        amount: int | None = None,
        event_id: str | None = None,
    ) -> ExtendLeaseAnswer:
        """Extend a lease: a later expiry, more units, or both. If the units are not available, nothing is changed.

        Args:
            lease_id: The lease, as `reserve` returned it.
            ttl: Lifetime of the lease from now on, 1 second to 7 days. It never shortens the lease.
            amount: Units to reserve in addition, in the feature's units, 1 to 2^53 - 1: all of them or none.
            event_id: Idempotency key, at most 128 bytes. Without a key, each repeat adds the amount again.

        Returns:
            `extended`, the units that the lease reserves (`granted`), when it `expires_at`, the `reason`, and the
            `consumption` after the call.

        Raises:
            NotFound: The lease does not exist, was settled, or has expired.
            FailedPrecondition: Units cannot be added: the period of the lease has ended.
            AlreadyExists: The `event_id` was already used for a different request.
        """
        request = _requests.extend_lease(lease_id, ttl=ttl, amount=amount, event_id=event_id)
        return ExtendLeaseAnswer.from_message(await self._call(self._stubs.entitlements.ExtendLease, request))
