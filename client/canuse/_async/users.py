"""Users."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC

from canuse import _requests, v1
from canuse._arguments import build, optional
from canuse._async.base import BaseClient
from canuse._moments import Length
from canuse._requests import UNSET, Unset
from canuse._user_tokens import UserToken


class UserMethods(BaseClient):
    """Users."""

    async def create_user(
        self,
        user_id: str,
        *,
        name: str = "",
        email: str = "",
        billing_id: str = "",
        metadata: Mapping[str, str] | None = None,
        disabled: bool = False,
    ) -> v1.User:
        """Create a user.

        Args:
            user_id: Your id for the user, 1 to 128 bytes without control characters.
            name: Display name.
            email: Not checked.
            billing_id: The user's id in the billing system.
            metadata: Metadata to store with the user: at most 16 pairs, 2 KiB in total.
            disabled: A disabled user may not use any feature.

        Raises:
            AlreadyExists: The id is in use.
        """
        user = build(
            v1.User,
            id=user_id,
            name=name,
            email=email,
            billing_id=billing_id,
            disabled=disabled,
            **optional(metadata=metadata),
        )
        response = await self._call(self._stubs.users.CreateUser, v1.CreateUserRequest(user=user))
        return response.user

    async def get_user(self, user_id: str) -> v1.User:
        """Get a user. NotFound if it does not exist."""
        request = build(v1.GetUserRequest, user_id=user_id)
        response = await self._call(self._stubs.users.GetUser, request)
        return response.user

    async def update_user(
        self,
        user_id: str,
        *,
        name: str | Unset = UNSET,
        email: str | Unset = UNSET,
        billing_id: str | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
        disabled: bool | Unset = UNSET,
    ) -> v1.User:
        """Change the given fields of a user, and no others.

        Returns:
            The user after the change.

        Raises:
            NotFound: The user does not exist.
            BadArgument: No field was given.
        """
        request = _requests.update_user(
            user_id, name=name, email=email, billing_id=billing_id, metadata=metadata, disabled=disabled
        )
        response = await self._call(self._stubs.users.UpdateUser, request)
        return response.user

    async def ensure_user(
        self,
        user_id: str,
        *,
        name: str | Unset = UNSET,
        email: str | Unset = UNSET,
        billing_id: str | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
        disabled: bool | Unset = UNSET,
        package_id: str | None = None,
    ) -> v1.EnsureUserResponse:
        """Create a user or change the given fields, and subscribe the user to a package if the user has none.

        It is one step, and safe to retry and to call at every sign-in.

        Args:
            user_id: Your id for the user.
            name: Display name.
            email: Not checked.
            billing_id: The user's id in the billing system.
            metadata: Metadata to store with the user: at most 16 pairs, 2 KiB in total.
            disabled: A disabled user may not use any feature.
            package_id: A base package, if the user has no base package, or an add-on that the user does not have.

        Returns:
            The user, the subscription, and whether the user was created, updated or subscribed.

        Raises:
            NotFound: The package does not exist.
            FailedPrecondition: A subscription is needed, and the package is not published.
        """
        request = _requests.ensure_user(
            user_id,
            name=name,
            email=email,
            billing_id=billing_id,
            metadata=metadata,
            disabled=disabled,
            package_id=package_id,
        )
        return await self._call(self._stubs.users.EnsureUser, request)

    def list_users(
        self,
        *,
        email: str | None = None,
        billing_id: str | None = None,
        id_prefix: str | None = None,
        page_size: int = 50,
    ) -> AsyncIterator[v1.User]:
        """Iterate over users in a fixed order, which is not the order of their ids.

        Args:
            email: Only users with exactly this e-mail address.
            billing_id: Only users with exactly this id in the billing system.
            id_prefix: Only users whose id begins with this.
            page_size: Maximum number of users per page.
        """
        filters = optional(email=email, billing_id=billing_id, id_prefix=id_prefix)
        request = build(v1.ListUsersRequest, page_size=page_size, **filters)
        return self._pages(self._stubs.users.ListUsers, request, lambda page: page.users)

    async def delete_user(self, user_id: str) -> None:
        """Delete a user and all data about the user. NotFound if it does not exist."""
        await self._call(self._stubs.users.DeleteUser, build(v1.DeleteUserRequest, user_id=user_id))

    async def generate_user_token(self, user_id: str, *, ttl: Length | None = None) -> UserToken:
        """Generate a token with which a web page or an app can read what this user may use, and nothing else.

        The token is in this answer only: the server does not store it.

        Args:
            user_id: The user.
            ttl: How long the token is valid, 1 minute to 30 days. None: 1 hour.

        Raises:
            NotFound: The user does not exist.
        """
        request = build(v1.GenerateUserTokenRequest, user_id=user_id, **optional(ttl=ttl))
        response = await self._call(self._stubs.users.GenerateUserToken, request)
        return UserToken(response.token, response.expires_at.ToDatetime(UTC))

    async def revoke_user_tokens(self, user_id: str) -> None:
        """Revoke all tokens of a user: from now on no server accepts them. NotFound if the user does not exist."""
        await self._call(self._stubs.users.RevokeUserTokens, build(v1.RevokeUserTokensRequest, user_id=user_id))
