"""Pages of lists: how much one holds at most, and the tokens, opaque to callers, of where the next one starts."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.tokens import base64url
from canuse_server.api.validation import page_size
from canuse_server.runtime.fairness import yield_if_due

LENGTH: Final = 1024
"""More than any token that `encode` makes: an id of 128 bytes, escaped and encoded, is below it."""
BYTES: Final = 3 * 1024 * 1024
"""How large a page becomes, before the last item on it: clients take answers of up to 4 MiB."""

_Item = TypeVar("_Item")
_Made = TypeVar("_Made", bound=Message)


def encode(request: Any, last: str, group: int = 0) -> str:
    """Return the token for what follows an id in the list of a request, in the order of groups and ids."""
    return base64url.encode_json([_list_of(request), group, last])


def decode(request: Any) -> tuple[int, str]:
    """Return the group and id after which the page of a request starts; without a token, what comes before all.

    Raises:
        ApiError: the page size is out of bounds; or the token is none, or of another list: of another method, of
            another user, or with another filter.
    """
    page_size(request.page_size)
    token: str = request.page_token
    if not token:
        return 0, ""
    try:
        of, group, last = base64url.decode_json(token, LENGTH)
        if not (isinstance(group, int) and isinstance(last, str) and group >= 0):
            raise unknown(token)
        last.encode()  # Half of a surrogate pair is no text.
    except (ValueError, TypeError):
        raise unknown(token) from None
    if of != _list_of(request):
        raise unknown(token)
    return group, last


async def fill(
    request: Any,
    found: Sequence[_Item],
    make: Callable[[_Item], _Made | None],
    place: Callable[[_Item], tuple[str, int]],
) -> tuple[list[_Made], str]:
    """Return the page of a request and the token of the next one, empty if there is none.

    `found` is what follows the token, at least one more item than the page takes if there are more; None is left out.
    `place` says the id and the group of an item.
    """
    page, taken, left = list[_Made](), 0, BYTES
    for item in found[: page_size(request.page_size)]:
        taken += 1
        if (message := make(item)) is not None:
            page.append(message)
            left -= message.ByteSize()
        if left < 0:
            break
        await yield_if_due()
    return page, encode(request, *place(found[taken - 1])) if taken < len(found) else ""


def unknown(token: str) -> ApiError:
    """Return the error for a token that no earlier answer held to the same request."""
    accepted = "must be the next_page_token of an earlier answer to the same request, or empty"
    return invalid([("page_token", f"{accepted}; {token[:40]!r} was sent")])


def _list_of(request: Any) -> str:
    """Return a mark of the list that a request asks for a page of: its method, and what all its other fields say."""
    rest = type(request)()
    rest.CopyFrom(request)
    rest.ClearField("page_size")
    rest.ClearField("page_token")
    rest.DiscardUnknownFields()
    name = request.DESCRIPTOR.full_name.encode()
    return blake2b(name + b"\0" + rest.SerializeToString(deterministic=True), digest_size=6).hexdigest()
