"""Commands of the hot path."""

from typing import Final, NamedTuple

from canuse_server.store.scripts.loader import Script


class Command(NamedTuple):
    """One command to the store. `script` is the script that it runs, if any: only scripts write."""

    command: tuple[str | bytes, ...]
    script: Script | None = None


NO_COMMAND: Final = Command(())
"""The command in the plan of a call whose command is made without one, or with those of others."""
