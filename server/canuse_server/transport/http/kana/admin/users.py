"""Users of the Admin API, and their tokens."""

from typing import Any, Final

from ariadne import MutationType, ObjectType, QueryType
from google.protobuf.duration_pb2 import Duration

from canuse import v1
from canuse_server.kana.metadata import from_stored, to_stored
from canuse_server.transport.http.kana.errors import KanaError
from canuse_server.transport.http.kana.execution import Info
from canuse_server.transport.http.kana.work import Work

_query, _mutation, _user = QueryType(), MutationType(), ObjectType("User")
BOUND: Final = (_query, _mutation, _user)
TOKEN_SECONDS: Final = 30 * 86_400
"""How long a token is valid, as Kana's are."""


async def get_user(work: Work, user_id: str) -> v1.User:
    """Return a user; raise ApiError where there is none."""
    request = v1.GetUserRequest(user_id=user_id)
    return (await work.calls("UserService/GetUser", request, v1.GetUserResponse)).user


@_query.field("user")
async def _get_user(_: Any, info: Info, id: str) -> v1.User:  # noqa: A002 - Kana's name
    return await get_user(info.context, id)


@_query.field("users")
async def _users(_: Any, info: Info, id: str | None = None) -> Any:  # noqa: A002
    work: Work = info.context
    if id is not None:
        return [await get_user(work, id)]
    users = await work.calls.all("UserService/ListUsers", v1.ListUsersRequest(), v1.ListUsersResponse, "users")
    return work.listed(users)


@_mutation.field("createUser")
async def _create_user(_: Any, info: Info, input: dict[str, Any]) -> v1.User:  # noqa: A002
    work: Work = info.context
    user = v1.User(
        id=input["id"],
        billing_id=input.get("billing_id") or "",
        name=input.get("name") or "",
        email=input.get("email") or "",
        metadata=to_stored(input.get("metadata")),
    )
    request = v1.CreateUserRequest(user=user)
    return (await work.calls("UserService/CreateUser", request, v1.CreateUserResponse)).user


@_mutation.field("updateUser")
async def _update_user(_: Any, info: Info, id: str, input: dict[str, Any]) -> v1.User:  # noqa: A002
    work: Work = info.context
    if input["id"] != id:
        raise KanaError(f"input.id: must be {id!r}: the id of a user cannot be changed; {input['id']!r} was sent")
    request = v1.UpdateUserRequest(user=v1.User(id=id))
    if "name" in input:
        request.update_mask.paths.append("name")
        request.user.name = input["name"] or ""
    if "metadata" in input:
        request.update_mask.paths.append("metadata")
        request.user.metadata.update(to_stored(input["metadata"]))
    if not request.update_mask.paths:
        return await get_user(work, id)
    return (await work.calls("UserService/UpdateUser", request, v1.UpdateUserResponse)).user


@_mutation.field("generateUserToken")
async def _generate_user_token(_: Any, info: Info, user_id: str) -> v1.GenerateUserTokenResponse:
    work: Work = info.context
    request = v1.GenerateUserTokenRequest(user_id=user_id, ttl=Duration(seconds=TOKEN_SECONDS))
    return await work.calls("UserService/GenerateUserToken", request, v1.GenerateUserTokenResponse)


@_user.field("billingId")
def _billing_id(user: v1.User, _: Info) -> str | None:
    return user.billing_id or None


@_user.field("name")
def _name(user: v1.User, _: Info) -> str | None:
    return user.name or None


@_user.field("email")
def _email(user: v1.User, _: Info) -> str | None:
    return user.email or None


@_user.field("metadata")
def _metadata(user: v1.User, _: Info) -> Any:
    return from_stored(user.metadata)
