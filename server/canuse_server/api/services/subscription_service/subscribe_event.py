"""The stored answer of a call under an event id: subscriptions, new ones or others, and the time of the call."""

from collections.abc import Iterable
from struct import Struct
from typing import Final

from canuse_server.domain.model import Subscription
from canuse_server.store.codec.user_values import pack_subscription, unpack_subscription

_TIME: Final = Struct("<q")
# length of the token, length of the subscription; both follow
_ITEM: Final = Struct("<BB")


def pack(subscriptions: Iterable[Subscription], now_ms: int) -> bytes:
    """Return the stored form of an answer."""
    parts = [_TIME.pack(now_ms)]
    for subscription in subscriptions:
        token, packed = subscription.token.encode(), pack_subscription(subscription)
        parts += (_ITEM.pack(len(token), len(packed)), token, packed)
    return b"".join(parts)


def unpack(value: bytes) -> tuple[list[Subscription], int]:
    """Read a stored answer; return the subscriptions and the time."""
    (now_ms,) = _TIME.unpack_from(value)
    at, found = _TIME.size, list[Subscription]()
    while at < len(value):
        token_bytes, packed_bytes = _ITEM.unpack_from(value, at)
        middle = at + _ITEM.size + token_bytes
        token, at = value[at + _ITEM.size : middle].decode(), middle + packed_bytes
        found.append(unpack_subscription(token, value[middle:at]))
    return found, now_ms
