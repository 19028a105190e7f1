"""Stamps: identifiers of a version. Each change sets a new stamp, of the next number and random bits.

The number alone does not identify a version: a store that was restored from a backup, or was taken over by a replica
that lacked recent writes, reaches the same numbers again with other content.
"""

import re
import secrets
from typing import Final

_STAMP: Final = re.compile(rb"(\d{1,15})-\d{1,19}")
STAMP_BYTES: Final = 35
"""The most bytes of a stamp."""
_RANDOM_BITS: Final = 63
"""Size of the second part of a stream entry's id: a stamp is such an id."""


def random_part() -> str:
    """Return the random part of a new stamp as an argument of a script."""
    return str(secrets.randbits(_RANDOM_BITS))


def number_of(stamp: bytes) -> int:
    """Return the number of a stamp; 0 before the first change, or after one by a version without stamps."""
    found = _STAMP.fullmatch(stamp)
    return int(found[1]) if found else 0
