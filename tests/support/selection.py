"""Which servers the tests run on, and which tests `make test` leaves to `make test-all`.

A new test is in both, unless it lies in a folder, asks for a server or bears the mark that says otherwise.
"""

from typing import Final

import pytest

FAST: Final = "--fast"
TRANSPORTS: Final = ("native", "grpcio")
STORES: Final = ("valkey", "redis", "sentinel", "cluster", "locked")
TARGETS: Final = tuple(f"{transport}-{store}" for store in STORES for transport in TRANSPORTS)
"""Each transport on each store; `locked` speaks TLS and has a user for canuse who may do no more than the docs say."""
FAST_TARGETS: Final = ("native-valkey", "grpcio-valkey")
EXTENDED_FOLDERS: Final = ("chaos", "gateway")
ON_ONE_TRANSPORT: Final = ("faults", "test_migration_crowd.py", "test_safe_by_default.py")
"""Folders and files whose tests take long: `make test` runs them with the native transport."""


def is_fast(config: pytest.Config) -> bool:
    """Whether what is extended is left out."""
    return bool(config.getoption(FAST))


def is_extended(item: pytest.Item) -> bool:
    """Whether only `make test-all` runs a test."""
    places = item.nodeid.partition("::")[0].split("/")
    callspec = getattr(item, "callspec", None)
    values = [value for value in callspec.params.values() if isinstance(value, str)] if callspec else []
    return (
        item.get_closest_marker("extended") is not None
        or any(place in EXTENDED_FOLDERS for place in places)
        or (any(place in ON_ONE_TRANSPORT for place in places) and any(value.startswith("grpcio") for value in values))
        or any(value in TARGETS and value not in FAST_TARGETS for value in values)
    )
