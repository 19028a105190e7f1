"""Unique event ids, as long as those that canuse's clients generate."""

from collections.abc import Iterator
from itertools import count
from secrets import token_hex
from typing import Final

PLACEHOLDER: Final = "event-id-event-id-event-id-event"
"""The placeholder of an event id in a request."""
_PLACEHOLDER_BYTES: Final = PLACEHOLDER.encode()


def _new_ids() -> Iterator[bytes]:
    process = token_hex(8).encode()
    return (b"%b%016x" % (process, number) for number in count())


_IDS: Final = _new_ids()


def with_new_ids(request: bytes) -> bytes:
    """Return a request with new event ids in place of the placeholders."""
    first, *rest = request.split(_PLACEHOLDER_BYTES)
    if len(rest) == 1:
        return first + next(_IDS) + rest[0]
    parts = [first]
    for part in rest:
        parts += (next(_IDS), part)
    return b"".join(parts)
