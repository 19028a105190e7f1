"""The metadata of a call that canuse reads."""

import re
import secrets
from collections.abc import Sequence
from typing import Final

from canuse_server.api.errors import invalid
from canuse_server.domain.durability import LEVELS, Durability

Metadata = Sequence[tuple[str, str | bytes]]

AUTHORIZATION: Final = "authorization"
DURABILITY: Final = "canuse-durability"
"""Required durability of a write. It has no effect on methods that only read."""
REQUEST_ID: Final = "x-request-id"
"""By which callers and proxies find the calls of a request in logs."""
_SAFE_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
MAX_METADATA_BYTES: Final = 16 << 10
"""Maximum size of the metadata of a call: names, values, and PAIR_BYTES for each pair."""
PAIR_BYTES: Final = 32
"""Size that a pair of metadata adds to its name and value, as in HTTP/2."""


def check_metadata(metadata: Metadata) -> int:
    """Return the size of the metadata of a call, in bytes; raise ApiError if it is too large."""
    size = 0
    for name, value in metadata:
        size += len(name) + len(value) + PAIR_BYTES
    if size > MAX_METADATA_BYTES:
        accepted = f"must be at most {MAX_METADATA_BYTES} bytes: names, values, and {PAIR_BYTES} for each pair"
        raise invalid([("metadata", f"{accepted}; {size} were sent")])
    return size


def authorization(metadata: Metadata) -> bytes | None:
    """Return the value of a call's `authorization`; the first, if there is more than one."""
    for name, value in metadata:
        if name == AUTHORIZATION:
            return value.encode() if isinstance(value, str) else value
    return None


def required_durability(metadata: Metadata) -> Durability:
    """Return the required durability of a call; raise ApiError if a value is not a level."""
    # Nearly all calls require nothing. Callers test for it by identity, since arithmetic with flags is slow.
    level = Durability.MEMORY
    for name, value in metadata:
        if name == DURABILITY:
            required = LEVELS.get(str(value))
            if required is None:
                accepted = ", ".join(LEVELS)
                raise invalid([(DURABILITY, f"must be one of {accepted}; {value!r} was sent")])
            level |= required
    return level


def with_request_id(metadata: Metadata) -> Metadata:
    """Return metadata with exactly one request id: the caller's, or a new one if it is absent or not safe to log."""
    if safe_request_id(metadata):
        return metadata
    others = [(name, value) for name, value in metadata if name != REQUEST_ID]
    return [*others, (REQUEST_ID, secrets.token_hex(16))]


def request_id(metadata: Metadata) -> str:
    """Return the request id in the result of `with_request_id`; empty if the metadata has none."""
    return next((str(value) for name, value in metadata if name == REQUEST_ID), "")


def safe_request_id(metadata: Metadata) -> str:
    """Return the request id of any metadata; empty if there is none, several, or one that is not safe to log."""
    sent = [value for name, value in metadata if name == REQUEST_ID]
    return sent[0] if len(sent) == 1 and isinstance(sent[0], str) and _SAFE_REQUEST_ID.fullmatch(sent[0]) else ""
