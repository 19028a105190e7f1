"""Which tests run in one process, one after the other, where they run in several side by side."""

import re
from typing import Final

from xdist.scheduler import LoadScopeScheduling

FIRST: Final = ("native-valkey", "grpcio-valkey")
"""The servers with the most tests."""
_SERVER: Final = re.compile(r"\[((?:native|grpcio)-(?:valkey|redis|sentinel|cluster|acl))\b")
_FRONT: Final = re.compile(r"\[(\w+)")
_SYSTEM_WIDE: Final = ("test_power_cut", "test_full_disk", "test_partitions")
"""Disks and networks: a disk can't be taken away while a network is made, which has a view of all disks of its own."""
_INDEPENDENT: Final = ("chaos", "test_durability", "test_keepalive_pings")
"""Folders and modules whose tests share nothing, and mostly wait."""


def scope_of(name: str) -> str:
    """Return what a test shares with others that is worth being made once: a server, or what its module needs.

    By its name: the process that hands the tests out knows no more of them. A test that shares nothing is its own.
    """
    if server := _SERVER.search(name):
        return server[1]
    path, _, rest = name.partition("::")
    _, folder, *_ = path.split("/")
    module = path.rpartition("/")[2].removesuffix(".py")
    if module in _SYSTEM_WIDE:
        return "the system"
    if module == "test_hostile_clients" and (front := _FRONT.search(rest)):
        return f"{module} {front[1].partition('-')[0]}"
    return name if folder in _INDEPENDENT or module in _INDEPENDENT else path


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Hands the tests of a scope to one process, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)
