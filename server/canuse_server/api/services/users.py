"""UserService: creating, changing, listing and deleting users."""

from canuse.v1 import user_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import user_message
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason, user_not_found
from canuse_server.api.services.ensure_user import EnsureUserMethods
from canuse_server.api.services.user_input import CHANGEABLE, PROFILE, changed_profile, check_user, profile_of
from canuse_server.api.services.user_tokens import UserTokenMethods
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.users import changes
from canuse_server.api.users.changes import Edit, ProfileChange, change_user
from canuse_server.api.validation import Violations, masked, page_size, require_id
from canuse_server.domain.model import Profile
from canuse_server.store.codec.user_values import Meta
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.keys import bucket_of
from canuse_server.store.repositories.users.state import UserState


class UserServicer(EnsureUserMethods, UserTokenMethods):
    """UserService; EnsureUser is in `ensure_user.py`, and the methods about tokens are in `user_tokens.py`."""

    async def create_user(self, request: pb.CreateUserRequest, context: CallContext) -> pb.CreateUserResponse:
        """Create a user."""
        user = request.user
        check_user(user)
        profile = profile_of(user)
        meta = await changes.create_user(context.env, user.id, profile, disabled=user.disabled)
        if meta is None:
            raise ApiError(ErrorReason.USER_EXISTS, f"user {user.id!r} already exists", {"user_id": user.id})
        return pb.CreateUserResponse(user=user_message(user.id, meta, profile))

    async def get_user(self, request: pb.GetUserRequest, context: CallContext) -> pb.GetUserResponse:
        """Get a user."""
        return pb.GetUserResponse(user=await _describe(context.env, require_id("user_id", request.user_id)))

    async def update_user(self, request: pb.UpdateUserRequest, context: CallContext) -> pb.UpdateUserResponse:
        """Change fields of a user."""
        user = request.user
        check_user(user)
        chosen = masked(request.update_mask, user, CHANGEABLE)

        async def edit(state: UserState) -> tuple[Edit, tuple[Meta, Profile]]:
            # Read for each attempt, so that a concurrent change of other fields is kept.
            found = (await context.env.users.describe([user.id]))[0]
            if found is None:
                raise user_not_found(user.id)
            disabled = user.disabled if "disabled" in chosen else state.meta.disabled
            profile = changed_profile(found[1], user, chosen)
            replaced = ProfileChange(found[1], profile) if chosen.intersection(PROFILE) else None
            change = Edit(disabled=disabled, profile=replaced)
            return change, (state.meta._replace(disabled=disabled), profile)

        meta, profile = (await change_user(context.env, user.id, edit)).result
        return pb.UpdateUserResponse(user=user_message(user.id, meta, profile))

    async def list_users(self, request: pb.ListUsersRequest, context: CallContext) -> pb.ListUsersResponse:
        """List users, by bucket and id: all, or those that match the filters."""
        size, after = page_size(request.page_size), page_tokens.decode(request)
        violations = Violations()
        violations.text("email", request.email)
        violations.text("billing_id", request.billing_id)
        violations.event_id("id_prefix", request.id_prefix)
        violations.check()
        users, last = context.env.users, ""
        if request.email or request.billing_id:
            field = "email" if request.email else "billing_id"
            ids = await context.env.search.page(field, getattr(request, field), after, size + 1)
        elif request.id_prefix:
            ids, last = await users.page_with_prefix(after, request.id_prefix, size)
        else:
            ids = await users.page(after, size + 1)
        described = dict(zip(ids, await users.describe(ids[:size]), strict=False))

        def make(user_id: str) -> pb.User | None:
            found = described[user_id]
            return None if found is None or not _matches(request, user_id, found[1]) else user_message(user_id, *found)

        listed, token = await page_tokens.fill(request, ids, make, lambda user_id: (user_id, bucket_of(user_id)))
        if last and not token:
            token = page_tokens.encode(request, last, bucket_of(last))
        return pb.ListUsersResponse(users=listed, next_page_token=token)

    async def delete_user(self, request: pb.DeleteUserRequest, context: CallContext) -> pb.DeleteUserResponse:
        """Delete a user."""
        user_id = require_id("user_id", request.user_id)
        context.env.last_known.forget(user_id)
        try:
            # Events are deleted first: after an interruption, the user still exists and can be deleted again.
            erased = await context.env.ledger.erase(user_id)
            existed, last = await context.env.users.delete(user_id)
            if last is not None:
                # Events recorded meanwhile, but not those of a user created again since.
                erased += await context.env.ledger.erase(user_id, last)
        except StoreUnavailableError as error:
            raise OutcomeUnknownError(str(error)) from error  # Something may already be deleted.
        if not existed and not erased:
            raise user_not_found(user_id)
        return pb.DeleteUserResponse()


def _matches(request: pb.ListUsersRequest, user_id: str, profile: Profile) -> bool:
    """Whether a user matches the filters of a request."""
    return (
        user_id.startswith(request.id_prefix)
        and request.email in ("", profile.email)
        and request.billing_id in ("", profile.billing_id)
    )


async def _describe(env: Environment, user_id: str) -> pb.User:
    found = (await env.users.describe([user_id]))[0]
    if found is None:
        raise user_not_found(user_id)
    return user_message(user_id, *found)
