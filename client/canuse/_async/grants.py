"""Grants: amounts of a feature in addition to packages."""

from collections.abc import AsyncIterator

from canuse import _requests, v1
from canuse._arguments import build
from canuse._async.base import BaseClient
from canuse._moments import Moment


class GrantMethods(BaseClient):
    """Grants: amounts of a feature in addition to packages."""

    async def create_grant(
        self,
        user_id: str,
        grant_id: str,
        feature_id: str,
        *,
        amount: int | None,
        effective_at: Moment | None = None,
        expires_at: Moment | None = None,
        priority: int = 0,
        note: str = "",
    ) -> v1.Grant:
        """Give a user an amount of a feature in addition to packages.

        The same call again changes nothing, so it can be retried if no answer arrives.

        Args:
            user_id: The user.
            grant_id: Your id for it, unique among the grants of the user.
            feature_id: The feature.
            amount: Units, 1 to 2^53 - 1, or None for unlimited; None for a binary feature, which the grant enables.
            effective_at: When it takes effect, with a time zone. Default: now.
            expires_at: When it expires, with a time zone. Default: never.
            priority: Grants with a lower number are used first. 0 to 1,000,000.
            note: A note for people, at most 256 bytes.

        Raises:
            NotFound: The user or the feature does not exist.
            AlreadyExists: The user has a grant with this id and different content.
            FailedPrecondition: The feature is archived, or the user has too many grants of it.
            BadArgument: A time has no time zone.
        """
        request = _requests.create_grant(
            user_id,
            grant_id,
            feature_id,
            amount=amount,
            effective_at=effective_at,
            expires_at=expires_at,
            priority=priority,
            note=note,
        )
        response = await self._call(self._stubs.subscriptions.CreateGrant, request)
        return response.grant

    def list_grants(self, user_id: str, *, page_size: int = 50) -> AsyncIterator[v1.Grant]:
        """Iterate over a user's grants by id, including ended ones."""
        request = build(v1.ListGrantsRequest, user_id=user_id, page_size=page_size)
        return self._pages(self._stubs.subscriptions.ListGrants, request, lambda page: page.grants)

    async def revoke_grant(self, user_id: str, grant_id: str) -> v1.Grant:
        """Revoke a grant: from now on it gives nothing. Units already used from it stay used.

        Returns:
            The grant after the change; revoking twice changes nothing.

        Raises:
            NotFound: The user or the grant does not exist.
        """
        request = build(v1.RevokeGrantRequest, user_id=user_id, grant_id=grant_id)
        response = await self._call(self._stubs.subscriptions.RevokeGrant, request)
        return response.grant
