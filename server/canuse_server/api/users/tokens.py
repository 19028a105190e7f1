"""The check of calls with a user token: the request names no other user, and the token was not revoked."""

from google.protobuf.message_factory import GetMessageClass

from canuse_server.api.bounds import check_size
from canuse_server.api.context import CallContext
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.api.hotpath.batch.items import batch_items
from canuse_server.api.hotpath.method import parse
from canuse_server.api.methods import Method, method_at


async def check_token(context: CallContext, payload: bytes) -> None:
    """Check a call, unless it has no user token.

    Raises:
        ApiError: the call names another user, the token was revoked, or the request is malformed.
        StoreError: the store is unavailable.
    """
    principal = context.principal
    if principal is None or not principal.user_id:
        return
    # First, and without the store: the answer must not depend on whether there is such a user.
    if named_users(method_at(context.path), payload) != {principal.user_id}:
        text = "a user token is valid only for calls that name its own user, and no other one"
        raise ApiError(ErrorReason.USER_MISMATCH, text)
    if await context.env.token_generations.get(principal.user_id) != principal.token_generation:
        text = "the user token was revoked, or its user was deleted"
        raise ApiError(ErrorReason.USER_TOKEN_INVALID, text)


def named_users(method: Method, payload: bytes) -> set[str]:
    """Return the ids of the users that a request names; raise ApiError if it is malformed or too large.

    The request is parsed as its handler parses it, so both read the same ids.
    """
    check_size(method.path, len(payload))
    field, _, field_of_item = method.user_field.partition(".")
    if not field:
        return set()
    if not field_of_item:
        return {getattr(parse(GetMessageClass(method.input_type), payload), field)}
    item_type = method.input_type.fields_by_name[field].message_type
    assert item_type is not None
    items = batch_items(method.input_type.full_name, payload)
    return {getattr(parse(GetMessageClass(item_type), item), field_of_item) for item in items}
