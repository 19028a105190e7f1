"""Statuses of the scripts that count: the first byte of their replies."""

from typing import Final

CHAIN_BROKEN: Final = b"B"
USER_MISSING: Final = b"U"
LEASES_DUE: Final = b"L"
STALE: Final = b"S"
EVENT_ID_REUSED: Final = b"X"
OUT_OF_RANGE: Final = b"O"
NOT_MADE: Final = b"N"

_REPAIRABLE: Final = (CHAIN_BROKEN, USER_MISSING, LEASES_DUE, STALE, NOT_MADE)


def needs_repair(reply: object) -> bool:
    """Whether a script wrote nothing because something has to be repaired first: there is nothing to confirm."""
    return isinstance(reply, bytes) and reply[:1] in _REPAIRABLE
