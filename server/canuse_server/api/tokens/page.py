"""Pages of lists: their maximum size, and the tokens of next pages, which callers do not read."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.tokens import base64url
from canuse_server.api.validation import page_size
from canuse_server.runtime.fairness import yield_if_due

LENGTH: Final = 1536
"""Maximum length; tokens of `encode` are shorter, even with two escaped ids of 128 bytes."""
BYTES: Final = 3 * 1024 * 1024
"""Size in bytes after which a page ends: clients accept responses of up to 4 MiB."""

_Item = TypeVar("_Item")
_Message = TypeVar("_Message", bound=Message)


def encode(request: Any, last: str, group: int = 0) -> str:
    """Return the token of the page after a group and an id in the list of a request."""
    return base64url.encode_json([_list_of(request), group, last])


def decode(request: Any) -> tuple[int, str]:
    """Return the group and id after which the page of a request starts; without a token, `(0, "")`.

    Raises:
        ApiError: the page size is out of bounds, or the token is invalid or belongs to another list (method, user or
            filter).
    """
    page_size(request.page_size)
    token: str = request.page_token
    if not token:
        return 0, ""
    try:
        list_id, group, last = base64url.decode_json(token, LENGTH)
        if not (isinstance(group, int) and isinstance(last, str) and group >= 0):
            raise unknown(token)
        last.encode()  # A lone surrogate is not valid UTF-8.
    except (ValueError, TypeError):
        raise unknown(token) from None
    if list_id != _list_of(request):
        raise unknown(token)
    return group, last


async def fill(
    request: Any,
    found: Sequence[_Item],
    make: Callable[[_Item], _Message | None],
    place: Callable[[_Item], tuple[str, int]],
) -> tuple[list[_Message], str]:
    """Return the page of a request and the token of the next page, empty if this is the last one.

    `found` are the items after the token: if there are more than the page size, at least one more than that. `make`
    returns the message of an item, or None to leave it out; `place` returns the id and the group of an item.
    """
    page, taken, remaining_bytes = list[_Message](), 0, BYTES
    for item in found[: page_size(request.page_size)]:
        taken += 1
        if (message := make(item)) is not None:
            page.append(message)
            remaining_bytes -= message.ByteSize()
        if remaining_bytes < 0:
            break
        await yield_if_due()
    return page, encode(request, *place(found[taken - 1])) if taken < len(found) else ""


def unknown(token: str) -> ApiError:
    """Return the error for a token that is not from an earlier response to the same request."""
    accepted = "must be the next_page_token of an earlier answer to the same request, or empty"
    return invalid([("page_token", f"{accepted}; {token[:40]!r} was sent")])


def _list_of(request: Any) -> str:
    """Return an identifier of the requested list: a hash of the method and of all fields except page size and token."""
    query = type(request)()
    query.CopyFrom(request)
    query.ClearField("page_size")
    query.ClearField("page_token")
    query.DiscardUnknownFields()
    name = request.DESCRIPTOR.full_name.encode()
    return blake2b(name + b"\0" + query.SerializeToString(deterministic=True), digest_size=6).hexdigest()
