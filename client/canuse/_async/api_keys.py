"""API keys."""

# ruff: noqa: A002 - `type` is what the field is called everywhere else too

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
        scopes: Iterable[str] = (),
        *,
        environment: v1.Environment.ValueType,
        expires_at: Moment | None = None,
        type: v1.ApiKeyType.ValueType = v1.API_KEY_TYPE_SECRET,
    ) -> NewApiKey:
        """Create an API key. Its `secret` is in this answer only and never shown again: store it.

        Args:
            name: The holder of the key, 1 to 128 bytes. Several keys may have the same name.
            scopes: What the key may do: any of entitlements:read, usage:write, catalog:read, users:write,
                catalog:write, keys:admin. None for a publishable key, which has entitlements:read.
            environment: `v1.ENVIRONMENT_LIVE` or `v1.ENVIRONMENT_TEST`: the environment of every call with the key.
            expires_at: When the key expires, with a time zone. Default: never.
            type: `v1.API_KEY_TYPE_PUBLISHABLE` for a key that web pages may contain, if the server allows them.

        Raises:
            FailedPrecondition: The first key must be a live key with keys:admin and no expiry; or there are too many
                keys.
            PermissionDenied: The client's own key may not create keys, or not in this environment; or the server does
                not allow publishable keys.
            BadArgument: A time has no time zone.
        """
        request = _requests.create_api_key(name, scopes, environment=environment, expires_at=expires_at, type=type)
        response = await self._call(self._stubs.api_keys.CreateApiKey, request)
        return NewApiKey(response.api_key, response.secret)

    def list_api_keys(self, *, page_size: int = 50) -> AsyncIterator[v1.ApiKey]:
        """Iterate over the API keys, oldest first, without their secrets."""
        request = build(v1.ListApiKeysRequest, page_size=page_size)
        return self._pages(self._stubs.api_keys.ListApiKeys, request, lambda page: page.api_keys)

    async def revoke_api_key(self, api_key_id: str) -> v1.ApiKey:
        """Revoke an API key by its id: within a second no server accepts it.

        Returns:
            The key before it was revoked.

        Raises:
            NotFound: The key does not exist or is already revoked.
            FailedPrecondition: It is the last key that can manage keys.
        """
        request = build(v1.RevokeApiKeyRequest, api_key_id=api_key_id)
        response = await self._call(self._stubs.api_keys.RevokeApiKey, request)
        return response.api_key
