"""How durable a caller wants a write to be: the metadata `canuse-durability` of a call that changes something."""

from collections.abc import Iterable
from typing import Final

from canuse_server.api.errors import invalid
from canuse_server.store.durability import LEVELS, Durability

HEADER: Final = "canuse-durability"
READING: Final = ("CanUse", "BatchCanUse", "Get", "List", "Show")
"""How the names of methods begin that change nothing. For them the metadata has no meaning."""

NOTHING: Final = Durability.MEMORY
"""What nearly all calls ask for. To see that by its identity costs nothing; arithmetic with flags is slow."""


def changes(path: str) -> bool:
    """Whether the method of a path changes something."""
    return not path.rpartition("/")[2].startswith(READING)


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
