"""Which servers the tests run on, and which tests `make test` leaves to `make test-all`.

A new test is in both, unless it lies in a folder, asks for a server or bears the mark that says otherwise.
"""

from typing import Final

import pytest

FAST: Final = "--fast"
TRANSPORTS: Final = ("native", "grpcio")
STORES: Final = ("valkey", "redis", "sentinel", "cluster", "acl")
TARGETS: Final = tuple(f"{transport}-{store}" for store in STORES for transport in TRANSPORTS)
"""Each transport on each store; `acl` speaks TLS and has a user for canuse who may do no more than the docs say."""
FAST_TARGETS: Final = ("native-valkey", "grpcio-valkey")
EXTENDED_FOLDERS: Final = ("chaos", "gateway")
ON_ONE_TRANSPORT: Final = ("conformance", "faults")
"""Folders whose tests `make test` runs with the native transport alone, but for those below."""
ON_EACH_TRANSPORT: Final = (
    "test_api_key_matrix.py",
    "test_api_keys.py",
    "test_batches.py",
    "test_can_use.py",
    "test_client.py",
    "test_errors.py",
    "test_event_ids.py",
    "test_malformed_requests.py",
    "test_rate_limits.py",
    "test_user_journey.py",
    "test_usage_events.py",
    "test_use_feature.py",
    "test_use_features.py",
)
"""Files of conformance tests about what each transport does in its own way."""


def is_fast(config: pytest.Config) -> bool:
    """Whether what is extended is left out."""
    return bool(config.getoption(FAST))


def is_extended(item: pytest.Item) -> bool:
    """Whether only `make test-all` runs a test."""
    field_paths = item.nodeid.partition("::")[0].split("/")
    callspec = getattr(item, "callspec", None)
    values = [value for value in callspec.params.values() if isinstance(value, str)] if callspec else []
    return (
        item.get_closest_marker("extended") is not None
        or any(place in EXTENDED_FOLDERS for place in field_paths)
        or (_is_on_one_transport(field_paths) and any(value.startswith("grpcio") for value in values))
        or any(value in TARGETS and value not in FAST_TARGETS for value in values)
    )


def _is_on_one_transport(field_paths: list[str]) -> bool:
    """Whether `make test` runs a file of tests with the native transport alone."""
    _, folder, *_, file = field_paths
    return folder in ON_ONE_TRANSPORT and not (folder == "conformance" and file in ON_EACH_TRANSPORT)
