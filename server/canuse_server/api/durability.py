"""How durable a caller wants a write to be: the metadata `canuse-durability`.

It has no meaning for what only reads.
"""

from collections.abc import Iterable
from typing import Final

from canuse_server.api.errors import invalid
from canuse_server.store.redis.durability import LEVELS, Durability

HEADER: Final = "canuse-durability"
NOTHING: Final = Durability.MEMORY
"""What nearly all calls ask for. To see that by its identity costs nothing; arithmetic with flags is slow."""


def wanted(metadata: Iterable[tuple[str, str | bytes]]) -> Durability:
    """Return what a call's metadata asks for; raise ApiError where it is no level."""
    level = NOTHING
    for name, value in metadata:
        if name == HEADER:
            found = LEVELS.get(str(value))
            if found is None:
                accepted = ", ".join(LEVELS)
                raise invalid([(HEADER, f"must be one of {accepted}; {value!r} was sent")])
            level |= found
    return level
