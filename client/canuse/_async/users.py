"""Users."""

from collections.abc import AsyncIterator, Mapping

from canuse import _requests, v1
from canuse._arguments import build, optional
from canuse._async.base import BaseClient
from canuse._requests import UNSET, Unset


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
            user_id: Your id for them, 1 to 128 bytes without control characters.
            name: For people to read.
            email: Not checked.
            billing_id: Their id in the billing system.
            metadata: Kept with the user: at most 16 pairs, 2 KiB in all.
            disabled: A disabled user may use nothing.

        Raises:
            AlreadyExists: The id is taken.
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
        response = await self._call(self._users.CreateUser, v1.CreateUserRequest(user=user))
        return response.user

    async def get_user(self, user_id: str) -> v1.User:
        """Get a user. NotFound if there is none."""
        request = build(v1.GetUserRequest, user_id=user_id)
        response = await self._call(self._users.GetUser, request)
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
            NotFound: There is no such user.
            BadArgument: No field was given.
        """
        request = _requests.update_user(
            user_id, name=name, email=email, billing_id=billing_id, metadata=metadata, disabled=disabled
        )
        response = await self._call(self._users.UpdateUser, request)
        return response.user

    def list_users(self, *, page_size: int = 50) -> AsyncIterator[v1.User]:
        """Iterate over all users, in an order that is fixed but not that of their ids."""
        request = build(v1.ListUsersRequest, page_size=page_size)
        return self._pages(self._users.ListUsers, request, lambda page: page.users)

    async def delete_user(self, user_id: str) -> None:
        """Erase a user and everything kept about them. NotFound if there is none."""
        await self._call(self._users.DeleteUser, build(v1.DeleteUserRequest, user_id=user_id))
