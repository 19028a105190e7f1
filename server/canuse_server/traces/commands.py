"""What a span says about commands for the store: their names, never their keys or values."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from canuse_server.store.scripts.loader import ALL

MAX_READ: Final = 4
"""Maximum number of commands of a round trip that are looked at."""
PREPARATION: Final = frozenset({"TIME", "ASKING", "SCRIPT"})
"""Commands that are sent before those that a round trip is made for."""
_SCRIPTS: Final = {script.sha.encode(): script.name for script in ALL}
_CRLF: Final = b"\r\n"


class Operation(NamedTuple):
    """What a round trip does: the first command that is more than preparation, and the script that it runs."""

    command: str
    script: str | None


def operation(packed: bytes) -> Operation:
    """Return what packed commands do."""
    found = Operation("", None)
    for name, argument in _heads(packed):
        found = Operation(name, _SCRIPTS.get(argument) if name == "EVALSHA" else None)
        if name not in PREPARATION:
            break
    return found


def _heads(packed: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the names of the first packed commands, each with its first argument."""
    position = 0
    for _ in range(MAX_READ):
        if position >= len(packed):
            return
        end = packed.index(_CRLF, position)
        parts, position = int(packed[position + 1 : end]), end + 2
        head: list[bytes] = []
        for _ in range(parts):
            end = packed.index(_CRLF, position)
            start = end + 2
            position = start + int(packed[position + 1 : end]) + 2
            if len(head) < 2:
                head.append(packed[start : position - 2])
        yield head[0].decode(), head[1] if parts > 1 else b""
