"""Stamps: what a version is known by. Each change gives what it changes the next number and random bits.

The number alone would not tell histories apart: a store that was restored from a backup, or taken over by a replica
that had not received everything, comes to the same numbers again with other content.
"""

import re
import secrets
from typing import Final

_STAMP: Final = re.compile(rb"(\d{1,15})-\d{1,19}")
_RANDOM_BITS: Final = 63
"""Those of the second part of a stream entry's id, which a stamp is as well."""


def random_part() -> str:
    """Return the random part of a new stamp, as the scripts take it."""
    return str(secrets.randbits(_RANDOM_BITS))


def number_of(stamp: bytes) -> int:
    """Return the number of a stamp; 0 where it is none: nothing was changed yet, or by a version without stamps."""
    found = _STAMP.fullmatch(stamp)
    return int(found[1]) if found else 0
