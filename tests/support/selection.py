"""Which servers the tests run on, and which tests only `make test-all` runs.

A new test is part of `make test`, unless its folder, its server or a mark says otherwise.
"""

from typing import Final

import pytest

FAST: Final = "--fast"
TRANSPORTS: Final = ("native", "grpcio")
HTTP: Final = "http"
"""The transport of tests that call over the HTTP port: the store behind it makes no difference."""
STORES: Final = ("valkey", "redis", "sentinel", "cluster", "acl")
TARGETS: Final = (*(f"{transport}-{store}" for store in STORES for transport in TRANSPORTS), f"{HTTP}-valkey")
"""Each transport on each store; `acl` has TLS and a user with no more rights than the docs grant."""
FAST_TARGETS: Final = ("native-valkey", "grpcio-valkey", "http-valkey")
EXTENDED_FOLDERS: Final = ("chaos", "gateway", "web")
ON_ONE_TRANSPORT: Final = ("conformance", "faults")
"""Folders whose tests `make test` runs on the native transport only, except for the files below."""
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
"""Files of conformance tests about what each transport implements separately."""
FAST_OVER_HTTP: Final = (
    "test_can_use.py",
    "test_errors.py",
    "test_user_journey.py",
)
"""Files of conformance tests that `make test` also runs over HTTP."""


def is_fast(config: pytest.Config) -> bool:
    """Whether extended tests are left out."""
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
        or (any(value.startswith(HTTP) for value in values) and not _is_fast_over_http(field_paths))
    )


def _is_on_one_transport(field_paths: list[str]) -> bool:
    """Whether `make test` runs a file of tests on the native transport only."""
    _, folder, *_, file = field_paths
    return folder in ON_ONE_TRANSPORT and not (folder == "conformance" and file in ON_EACH_TRANSPORT)


def _is_fast_over_http(field_paths: list[str]) -> bool:
    """Whether `make test` runs a file of tests over HTTP."""
    _, folder, *_, file = field_paths
    return folder != "conformance" or file in FAST_OVER_HTTP
