"""API keys."""

from collections.abc import AsyncIterator, Iterable

from canuse import _requests, v1
from canuse._api_keys import NewApiKey
from canuse._arguments import build
from canuse._async.base import BaseClient
from canuse._moments import Moment


class ApiKeyMethods(BaseClient):
    """API keys."""

    async def create_api_key(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        environment: v1.Environment.ValueType,
        expires_at: Moment | None = None,
    ) -> NewApiKey:
        """Make an API key. Its `secret` is in this answer and nowhere else: keep it.

        Args:
            name: Who it is for, 1 to 128 bytes. Several keys may have the same name.
            scopes: What it may do, of entitlements:read, usage:write, catalog:read, catalog:write and keys:admin.
            environment: `v1.ENVIRONMENT_LIVE` or `v1.ENVIRONMENT_TEST`: where every call made with it takes place.
            expires_at: From when on it is not taken any more, with a time zone. Default: never.

        Raises:
            FailedPrecondition: The first key has to be live, with keys:admin and without an expiry; or there are too
                many keys.
            PermissionDenied: The client's own key may not make keys, or not of this environment.
            BadArgument: A time without a time zone.
        """
        request = _requests.create_api_key(name, scopes, environment=environment, expires_at=expires_at)
        response = await self._call(self._api_keys.CreateApiKey, request)
        return NewApiKey(response.api_key, response.secret)

    def list_api_keys(self, *, page_size: int = 50) -> AsyncIterator[v1.ApiKey]:
        """Iterate over the API keys, the oldest first, without their secrets."""
        request = build(v1.ListApiKeysRequest, page_size=page_size)
        return self._pages(self._api_keys.ListApiKeys, request, lambda page: page.api_keys)

    async def revoke_api_key(self, api_key_id: str) -> v1.ApiKey:
        """Revoke an API key, by its id: within a second no server takes it any more.

        Returns:
            The key as it was.

        Raises:
            NotFound: There is no such key, or not any more.
            FailedPrecondition: Nobody could make keys without it.
        """
        request = build(v1.RevokeApiKeyRequest, api_key_id=api_key_id)
        response = await self._call(self._api_keys.RevokeApiKey, request)
        return response.api_key
