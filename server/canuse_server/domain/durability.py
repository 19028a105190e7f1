"""How durable an acknowledged write is."""

from enum import IntFlag
from typing import Final


class Durability(IntFlag):
    """What an acknowledged write has reached besides the store's memory; each may be required without the other."""

    MEMORY = 0
    FSYNC = 1
    """The store's append-only file, on its disk."""
    REPLICA = 2
    """The memory of a number of replicas."""


LEVELS: Final = {level.name.lower(): level for level in Durability.__members__.values() if level.name is not None}
"""The levels by the names in settings and in the metadata of calls."""
