"""What canuse reads of the metadata of a call, or of the headers that stand for it on other transports."""

from collections.abc import Sequence
from typing import Final

from canuse_server.api.errors import ApiError, invalid
from canuse_server.domain.durability import LEVELS, Durability

Metadata = Sequence[tuple[str, str | bytes]]

AUTHORIZATION: Final = "authorization"
DURABILITY: Final = "canuse-durability"
"""How durable a write has to be. It has no meaning for methods that only read."""
CALL_METADATA_BYTES: Final = 16 << 10
"""The most metadata of a call, in bytes: names, values, and PAIR_BYTES for each pair."""
PAIR_BYTES: Final = 32
"""What a pair of metadata counts for besides its name and value, as in HTTP/2."""


def metadata_bytes(metadata: Metadata) -> int:
    """Return how many bytes the metadata of a call counts for."""
    size = 0
    for name, value in metadata:
        size += len(name) + len(value) + PAIR_BYTES
    return size


def check_metadata(metadata: Metadata) -> int:
    """Return how many bytes the metadata of a call counts for; raise ApiError where that is too much."""
    size = metadata_bytes(metadata)
    if size > CALL_METADATA_BYTES:
        raise too_much_metadata(size)
    return size


def too_much_metadata(size: int) -> ApiError:
    """Return the error for a call with so much metadata."""
    accepted = f"must be at most {CALL_METADATA_BYTES} bytes: names, values, and {PAIR_BYTES} for each pair"
    return invalid([("metadata", f"{accepted}; {size} were sent")])


def authorization(metadata: Metadata) -> bytes | None:
    """Return the value of a call's `authorization`; the first, if there is more than one."""
    for name, value in metadata:
        if name == AUTHORIZATION:
            return value.encode() if isinstance(value, str) else value
    return None


def required_durability(metadata: Metadata) -> Durability:
    """Return how durable a call requires its write to be; raise ApiError where that is no level."""
    # Nearly all calls require nothing: the identity of MEMORY costs nothing to see, arithmetic with flags is slow.
    level = Durability.MEMORY
    for name, value in metadata:
        if name == DURABILITY:
            found = LEVELS.get(str(value))
            if found is None:
                accepted = ", ".join(LEVELS)
                raise invalid([(DURABILITY, f"must be one of {accepted}; {value!r} was sent")])
            level |= found
    return level
