"""Which tests share a process when several processes run tests."""

import re
from typing import Final

from xdist.scheduler import LoadScopeScheduling

FIRST: Final = ("native-valkey", "grpcio-valkey", "http-valkey")
"""The servers with the most tests."""
_SERVER: Final = re.compile(r"\[((?:native|grpcio|http)-(?:valkey|redis|sentinel|cluster|acl))\b")
_FRONT: Final = re.compile(r"\[(\w+)")
_SYSTEM_WIDE: Final = ("test_power_cut", "test_full_disk", "test_partitions")
"""Tests of disks and networks: a disk can't be unmounted while a network namespace, which sees all mounts, is created.
"""
_INDEPENDENT: Final = ("chaos", "test_durability", "test_keepalive_pings")
"""Folders and modules whose tests share nothing, and mostly wait."""


def scope_of(name: str) -> str:
    """Return what a test shares with others and is expensive to create: a server, or the fixtures of its module.

    It depends on the name alone: the process that distributes the tests knows nothing else. A test that shares nothing
    is a scope of its own.
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
    """Gives the tests of a scope to one process, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)
