"""Event ids, a new one for each use: as long as those that canuse's clients invent, and never the same twice."""

from collections.abc import Iterator, Sequence
from itertools import count
from secrets import token_hex
from typing import Final

PLACEHOLDER: Final = "event-id-event-id-event-id-event"
"""Stands in a request where a new event id goes."""


def _new_ids() -> Iterator[bytes]:
    process = token_hex(8).encode()
    return (b"%b%016x" % (process, number) for number in count())


_IDS: Final = _new_ids()


def template(message: bytes) -> list[bytes]:
    """Return what is before, between and after the event ids of a request."""
    return message.split(PLACEHOLDER.encode())


def with_new_ids(parts: Sequence[bytes]) -> bytes:
    """Return the request of a template, with new event ids."""
    if len(parts) == 2:
        return parts[0] + next(_IDS) + parts[1]
    message = [parts[0]]
    for part in parts[1:]:
        message += (next(_IDS), part)
    return b"".join(message)
