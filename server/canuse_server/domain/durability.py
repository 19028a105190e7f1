"""The durability of acknowledged writes."""

from enum import IntFlag
from typing import Final


class Durability(IntFlag):
    """The places that a write must reach besides the store's memory. Each can be required without the other."""

    MEMORY = 0
    FSYNC = 1
    """The store's append-only file, on its disk."""
    REPLICA = 2
    """The memory of a number of replicas."""


LEVELS: Final = {level.name.lower(): level for level in Durability.__members__.values() if level.name is not None}
"""The levels by the names in settings and in the metadata of calls."""
